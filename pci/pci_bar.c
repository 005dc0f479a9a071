/* SPDX-License-Identifier: MIT */
/*
 * Base address registers: assignment before boot, decoding at run time (PCI 3.0, 6.2.5).
 */
#include "pci/pci_internal.h"

#include <assert.h>
#include <errno.h>

#define bar_offset(index) (PCI_BASE_ADDRESS_0 + 4 * (index))

void pci_bar_init(struct pci_function *fn, unsigned index, enum pci_bar_type type,
		  bool prefetchable, struct bus_region *region)
{
	const uint64_t mask = ~(region->size - 1);
	const unsigned offset = bar_offset(index);
	uint32_t flags = prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0;

	assert(is_power_of_two(region->size) && !fn->bus);
	assert(index + (type == PCI_BAR_MEM64) < PCI_BARS);
	assert(region->size >= (type == PCI_BAR_IO ? 4 : 16));

	if (type == PCI_BAR_IO)
		flags = PCI_BASE_ADDRESS_SPACE_IO;
	if (type == PCI_BAR_MEM64)
		flags |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	pci_put(fn->config, offset, 4, flags);
	pci_put(fn->writable, offset, 4, (uint32_t)mask);
	if (type == PCI_BAR_MEM64)
		pci_put(fn->writable, offset + 4, 4, (uint32_t)(mask >> 32));
	fn->bars[index] = (struct pci_bar){
		.type = type,
		.prefetchable = prefetchable,
		.region = region,
	};
}

/* Assignment. */

static const struct pci_bar *overlapping(const struct pci_function *fn, const struct pci_bar *bar,
					 uint64_t address)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *other = &fn->bars[i];

		if (other->type == PCI_BAR_NONE || other->assigned == 0)
			continue;
		if ((other->type == PCI_BAR_IO) != (bar->type == PCI_BAR_IO))
			continue;
		if (address < other->assigned + other->region->size &&
		    other->assigned < address + bar->region->size)
			return other;
	}
	return NULL;
}

static const struct pci_bar *find_overlap(struct pci_function *fn, const struct pci_bar *bar,
					  uint64_t address)
{
	const struct pci_bar *found = overlapping(fn, bar, address);

	for (unsigned i = 0; !found && i < ARRAY_SIZE(fn->bus->functions); i++) {
		const struct pci_function *other = fn->bus->functions[i];

		if (other)
			found = overlapping(other, bar, address);
	}
	return found;
}

/* First fit. Returns 0 if there is no room. */
static uint64_t find_room(struct pci_function *fn, const struct pci_bar *bar,
			  const struct pci_window *window)
{
	const uint64_t size = bar->region->size;
	uint64_t address = align_up(window->base, size);
	const struct pci_bar *other;

	while (window->size >= size && address - window->base <= window->size - size) {
		other = find_overlap(fn, bar, address);
		if (!other)
			return address;
		address = align_up(other->assigned + other->region->size, size);
	}
	return 0;
}

static uint64_t read_address(const struct pci_function *fn, unsigned index)
{
	const unsigned offset = bar_offset(index);
	const uint64_t low = pci_get(fn->config, offset, 4);

	if (fn->bars[index].type == PCI_BAR_IO)
		return low & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
	if (fn->bars[index].type == PCI_BAR_MEM32)
		return low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
	return (low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) |
	       (uint64_t)pci_get(fn->config, offset + 4, 4) << 32;
}

static void write_address(struct pci_function *fn, unsigned index, uint64_t address)
{
	const unsigned offset = bar_offset(index);
	const uint32_t flags = fn->config[offset] & (fn->bars[index].type == PCI_BAR_IO ? 3u : 15u);

	pci_put(fn->config, offset, 4, (uint32_t)address | flags);
	if (fn->bars[index].type == PCI_BAR_MEM64)
		pci_put(fn->config, offset + 4, 4, (uint32_t)(address >> 32));
}

static int assign(struct pci_function *fn, unsigned index)
{
	const struct pci_bus_config *config = &fn->bus->config;
	struct pci_bar *bar = &fn->bars[index];
	uint64_t address = 0;

	if (bar->type == PCI_BAR_IO)
		address = find_room(fn, bar, &config->io);
	if (bar->type == PCI_BAR_MEM64)
		address = find_room(fn, bar, &config->mem64);
	if (address == 0 && bar->type != PCI_BAR_IO)
		address = find_room(fn, bar, &config->mem32);
	if (address == 0)
		return -ENOSPC;
	bar->assigned = address;
	write_address(fn, index, address);
	return 0;
}

int pci_bars_assign(struct pci_function *fn, struct vmm_error *err)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &fn->bars[i];

		if (bar->type == PCI_BAR_NONE || assign(fn, i) == 0)
			continue;
		for (unsigned k = 0; k < i; k++)
			fn->bars[k].assigned = 0;
		return error_set(err, ENOSPC, "%s: no room for %llu bytes of PCI %s space",
				 fn->name, (unsigned long long)bar->region->size,
				 bar->type == PCI_BAR_IO ? "I/O" : "memory");
	}
	return 0;
}

/* Decoding. */

static bool within(const struct pci_window *window, uint64_t address, uint64_t size)
{
	return address >= window->base && window->size >= size &&
	       address - window->base <= window->size - size;
}

/* Whether the BAR shall be decoded, and where. */
static bool wanted(const struct pci_function *fn, unsigned index, uint64_t *address)
{
	const struct pci_bus_config *config = &fn->bus->config;
	const struct pci_bar *bar = &fn->bars[index];
	const uint32_t command = pci_get(fn->config, PCI_COMMAND, 2);
	const uint64_t size = bar->region->size;

	*address = read_address(fn, index);
	if (bar->type == PCI_BAR_IO)
		return (command & PCI_COMMAND_IO) && within(&config->io, *address, size);
	if (!(command & PCI_COMMAND_MEMORY))
		return false;
	return within(&config->mem32, *address, size) || within(&config->mem64, *address, size);
}

static void set_conflict(struct pci_function *fn, struct pci_bar *bar, bool conflict)
{
	if (bar->conflict == conflict)
		return;
	bar->conflict = conflict;
	if (conflict)
		fn->bus->conflicts++;
	else
		fn->bus->conflicts--;
}

static void map(struct pci_function *fn, struct pci_bar *bar, uint64_t address)
{
	struct pci_bus *bus = fn->bus;
	struct bus *space = bar->type == PCI_BAR_IO ? bus->config.pio : bus->config.mmio;
	const bool waited = bar->conflict;

	/* Counted before the attempt: whoever releases the room meanwhile then tries again. */
	set_conflict(fn, bar, true);
	bar->mapped = bus_map(space, bar->region, address) == 0;
	bar->address = address;
	if (bar->mapped)
		set_conflict(fn, bar, false);
	else if (!waited)
		log_guest(bus->config.log, &bus->guest_log, fn->name,
			  "the guest placed a BAR at %#llx, where something else is",
			  (unsigned long long)address);
}

bool pci_bars_update(struct pci_function *fn)
{
	bool released = false;
	uint64_t address;

	/* First let go of everything, so that BARs of one function may swap places. */
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bars[i];
		bool want;

		if (bar->type == PCI_BAR_NONE)
			continue;
		want = wanted(fn, i, &address);
		if (!want)
			set_conflict(fn, bar, false);
		if (!bar->mapped || (want && address == bar->address))
			continue;
		bus_unmap(bar->region);
		bar->mapped = false;
		released = true;
	}
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bars[i];

		if (bar->type != PCI_BAR_NONE && !bar->mapped && wanted(fn, i, &address))
			map(fn, bar, address);
	}
	return released;
}

void pci_bars_unmap(struct pci_function *fn)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bars[i];

		set_conflict(fn, bar, false);
		if (bar->mapped)
			bus_unmap(bar->region);
		bar->mapped = false;
		bar->assigned = 0;
	}
}

bool pci_bar_query(struct pci_bus *bus, unsigned devfn, unsigned index, struct pci_bar_state *state)
{
	struct pci_function *fn = bus->functions[devfn];
	const struct pci_bar *bar = fn ? &fn->bars[index] : NULL;

	if (!bar || bar->type == PCI_BAR_NONE)
		return false;
	pthread_mutex_lock(&fn->lock);
	*state = (struct pci_bar_state){
		.type = bar->type,
		.prefetchable = bar->prefetchable,
		.mapped = bar->mapped,
		.address = bar->address,
		.size = bar->region->size,
	};
	pthread_mutex_unlock(&fn->lock);
	return true;
}

void pci_bars_settle(struct pci_bus *bus)
{
	for (unsigned i = 0; bus->conflicts && i < ARRAY_SIZE(bus->functions); i++) {
		struct pci_function *fn = bus->functions[i];

		if (!fn)
			continue;
		pthread_mutex_lock(&fn->lock);
		pci_bars_update(fn);
		pthread_mutex_unlock(&fn->lock);
	}
}
