/* SPDX-License-Identifier: MIT */
/*
 * The root bus: the host bridge, its two ways into config space, and the table of functions.
 */
#include "pci/pci_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT_ADDRESS 0xcf8u /* PCI 3.0, 3.2.2.3.2 */
#define PORT_COUNT   8u
#define DATA_OFFSET  4u

#define ADDRESS_ENABLE   UINT32_C(0x80000000)
#define ADDRESS_WRITABLE UINT32_C(0x80fffffc)

/* The generic host bridge that guests know from QEMU. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

/* Config space of whatever is there. */

static struct pci_function *lookup(struct pci_bus *bus, unsigned devfn)
{
	return devfn < ARRAY_SIZE(bus->functions) ? bus->functions[devfn] : NULL;
}

static bool legal(unsigned offset, unsigned size)
{
	return size >= 1 && offset % 4 + size <= 4 && offset < PCI_CONFIG_SIZE;
}

uint32_t pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size)
{
	struct pci_function *fn = lookup(bus, devfn);

	if (!fn || !legal(offset, size))
		return (uint32_t)low_bytes(UINT64_MAX, size);
	return pci_function_read(fn, offset, size);
}

void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size,
		      uint32_t value)
{
	struct pci_function *fn = lookup(bus, devfn);

	if (fn && legal(offset, size))
		pci_function_write(fn, offset, size, value);
}

/* CF8 and CFC. */

/* What the address register selects: false if nothing on bus 0. */
static bool selected(struct pci_bus *bus, uint64_t port, unsigned *devfn, unsigned *offset)
{
	const uint32_t address = bus->address;

	*devfn = (address >> 8) & 0xff;
	*offset = (address & 0xfc) | (unsigned)(port & 3);
	return (address & ADDRESS_ENABLE) && ((address >> 16) & 0xff) == 0;
}

static uint64_t ports_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = container_of(region, struct pci_bus, ports);
	unsigned devfn, reg;

	/* Only a dword access reaches the address register; others would be other ports. */
	if (offset == 0 && size == 4)
		return bus->address;
	if (offset < DATA_OFFSET || !selected(bus, offset, &devfn, &reg))
		return UINT64_MAX;
	return pci_config_read(bus, devfn, reg, size);
}

static void ports_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_bus *bus = container_of(region, struct pci_bus, ports);
	unsigned devfn, reg;

	if (offset == 0 && size == 4)
		bus->address = (uint32_t)value & ADDRESS_WRITABLE;
	else if (offset >= DATA_OFFSET && selected(bus, offset, &devfn, &reg))
		pci_config_write(bus, devfn, reg, size, (uint32_t)value);
}

/* ECAM: bus, device and function, register (PCI Express 4.0, 7.2.2). */

static uint64_t ecam_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = container_of(region, struct pci_bus, ecam);
	const unsigned devfn = (unsigned)(offset >> 12);
	const unsigned reg = offset & (PCI_CONFIG_SIZE - 1);

	if (size < 8)
		return pci_config_read(bus, devfn, reg, size);
	if (offset % 8)
		return UINT64_MAX;
	return pci_config_read(bus, devfn, reg, 4) |
	       (uint64_t)pci_config_read(bus, devfn, reg + 4, 4) << 32;
}

static void ecam_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_bus *bus = container_of(region, struct pci_bus, ecam);
	const unsigned devfn = (unsigned)(offset >> 12);
	const unsigned reg = offset & (PCI_CONFIG_SIZE - 1);

	if (size == 8 && offset % 8)
		return;
	pci_config_write(bus, devfn, reg, MIN(size, 4u), (uint32_t)value);
	if (size == 8)
		pci_config_write(bus, devfn, reg + 4, 4, (uint32_t)(value >> 32));
}

/* Life. */

static int map_registers(struct pci_bus *bus, struct vmm_error *err)
{
	int rc = 0;

	bus->ports = (struct bus_region){
		.name = "pci-config",
		.size = PORT_COUNT,
		.read = ports_read,
		.write = ports_write,
	};
	bus->ecam = (struct bus_region){
		.name = "pci-ecam",
		.size = bus->config.ecam.size,
		.read = ecam_read,
		.write = ecam_write,
	};
	if (bus->config.pio)
		rc = bus_map(bus->config.pio, &bus->ports, PORT_ADDRESS);
	if (rc == 0 && bus->config.mmio && bus->config.ecam.size)
		rc = bus_map(bus->config.mmio, &bus->ecam, bus->config.ecam.base);
	return rc ? error_set_errno(err, -rc, "PCI configuration registers") : 0;
}

static int plug_bridge(struct pci_bus *bus, struct vmm_error *err)
{
	const struct pci_ids ids = {
		.vendor = BRIDGE_VENDOR,
		.device = BRIDGE_DEVICE,
		.class_code = BRIDGE_CLASS,
	};

	pci_function_init(&bus->bridge, "pci-host", &ids, 0);
	return pci_plug(bus, &bus->bridge, PCI_DEVFN(0, 0), err);
}

int pci_bus_create(struct pci_bus **out, const struct pci_bus_config *config, struct vmm_error *err)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	int rc;

	if (!bus)
		return error_set(err, ENOMEM, "PCI: out of memory");
	bus->config = *config;
	rc = plug_bridge(bus, err);
	if (rc == 0)
		rc = map_registers(bus, err);
	if (rc) {
		pci_bus_destroy(bus);
		return rc;
	}
	*out = bus;
	return 0;
}

void pci_bus_destroy(struct pci_bus *bus)
{
	if (!bus)
		return;
	bus_unmap(&bus->ports);
	bus_unmap(&bus->ecam);
	if (bus->bridge.bus)
		pci_unplug(&bus->bridge);
	pci_function_fini(&bus->bridge);
	for (unsigned i = 0; i < ARRAY_SIZE(bus->functions); i++)
		assert(!bus->functions[i]);
	for (unsigned i = 0; i < bus->intx_count; i++)
		pthread_mutex_destroy(&bus->intx[i].lock);
	free(bus);
}

/* Plugging. */

bool pci_slot_free(const struct pci_bus *bus, unsigned slot)
{
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (bus->functions[PCI_DEVFN(slot, i)])
			return false;
	return true;
}

static int choose(const struct pci_bus *bus, int devfn)
{
	if (devfn >= 0)
		return (size_t)devfn >= ARRAY_SIZE(bus->functions) || bus->functions[devfn] ? -EBUSY
											    : devfn;
	for (unsigned slot = 0; slot < PCI_MAX_SLOTS; slot++)
		if (pci_slot_free(bus, slot))
			return (int)PCI_DEVFN(slot, 0);
	return -ENOSPC;
}

static void connect_intx(struct pci_function *fn)
{
	struct pci_bus *bus = fn->bus;
	const unsigned pin = fn->config[PCI_INTERRUPT_PIN];
	const unsigned slot = fn->devfn >> 3;

	if (pin == 0)
		return;
	fn->intx = pci_intx_find(bus, slot, pin);
	if (fn->intx && bus->config.intx_gsi)
		pci_put(fn->config, PCI_INTERRUPT_LINE, 1,
			bus->config.intx_gsi(bus->config.opaque, slot, pin));
}

int pci_plug(struct pci_bus *bus, struct pci_function *fn, int devfn, struct vmm_error *err)
{
	const int where = choose(bus, devfn);
	int rc;

	if (where == -EBUSY)
		return error_set(err, EBUSY, "%s: PCI address %02x.%x is not free", fn->name,
				 (unsigned)devfn >> 3, (unsigned)devfn & 7);
	if (where < 0)
		return error_set(err, ENOSPC, "%s: all %d PCI slots are taken", fn->name,
				 PCI_MAX_SLOTS);
	if (!fn->boot_config)
		fn->boot_config = malloc(PCI_CONFIG_SIZE);
	if (!fn->boot_config)
		return error_set(err, ENOMEM, "%s: out of memory", fn->name);
	fn->bus = bus;
	fn->devfn = (unsigned)where;
	rc = pci_bars_assign(fn, err);
	if (rc) {
		fn->bus = NULL;
		return rc;
	}
	connect_intx(fn);
	memcpy(fn->boot_config, fn->config, PCI_CONFIG_SIZE);
	bus->functions[where] = fn;
	return 0;
}

void pci_unplug(struct pci_function *fn)
{
	struct pci_bus *bus = fn->bus;

	if (!bus)
		return;
	bus->functions[fn->devfn] = NULL;
	pci_intx_set(fn, false);
	pthread_mutex_lock(&fn->lock);
	pci_bars_unmap(fn);
	fn->intx = NULL;
	fn->bus = NULL;
	pthread_mutex_unlock(&fn->lock);
	pci_bars_settle(bus);
}

void pci_bus_reset(struct pci_bus *bus)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bus->functions); i++)
		if (bus->functions[i])
			pci_function_reset(bus->functions[i]);
	bus->address = 0;
}

/* Saved state. */

void pci_bus_save(struct pci_bus *bus, struct state_writer *w)
{
	state_begin(w, "pci-bus", 1);
	state_put_u64(w, "address", bus->address);
	pci_function_save(&bus->bridge, w);
	state_end(w);
}

int pci_bus_load(struct pci_bus *bus, struct state_reader *r)
{
	uint32_t version;
	uint64_t address;
	int rc;

	rc = state_enter(r, "pci-bus", 1, &version);
	if (rc == 0)
		rc = state_get_u64(r, "address", &address, 0, UINT32_MAX);
	if (rc == 0)
		rc = pci_function_load(&bus->bridge, r);
	if (rc == 0)
		rc = state_leave(r);
	if (rc == 0)
		bus->address = (uint32_t)address & ADDRESS_WRITABLE;
	return rc;
}
