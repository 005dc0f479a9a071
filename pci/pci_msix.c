/* SPDX-License-Identifier: MIT */
/*
 * MSI-X (PCI 3.0, 6.8.2): table and pending bits in one region, vectors from an MSI sink.
 *
 * One leaf lock per function guards the table, and messages are sent under it: a signal takes a few
 * instructions beside what the message itself costs, and once the guest's write that masks a vector
 * has completed no message is under way. Routes are set when a vector is unmasked, and only if its
 * address or data has changed since.
 */
#include "pci/pci_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAP_SIZE   12u
#define ENTRY_SIZE PCI_MSIX_ENTRY_SIZE

struct msix_entry {
	uint32_t words[4];         /* as the guest sees it: address low, high, data, control */
	struct msi_vector *vector; /* NULL: none taken from the sink yet */
	bool routed;               /* to the address and data that follow */
	uint64_t address;
	uint32_t data;
};

enum { ADDRESS_LOW, ADDRESS_HIGH, DATA, CONTROL };

static const uint32_t writable_bits[4] = {
	[ADDRESS_LOW] = ~UINT32_C(3),
	[ADDRESS_HIGH] = UINT32_MAX,
	[DATA] = UINT32_MAX,
	[CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT,
};

struct pci_msix {
	struct bus_region region;
	struct pci_function *fn;
	struct msi_sink *sink;
	unsigned vectors;
	unsigned cap;
	unsigned pba; /* offset of the pending bits */

	pthread_mutex_t lock;
	_Atomic bool enabled;
	bool masked; /* the function mask */
	struct msix_entry *entries;
	uint64_t *pending;
};

static unsigned pending_words(const struct pci_msix *msix)
{
	return (msix->vectors + 63) / 64;
}

static bool is_pending(const struct pci_msix *msix, unsigned i)
{
	return (msix->pending[i / 64] >> (i % 64)) & 1;
}

static void set_pending(struct pci_msix *msix, unsigned i, bool pending)
{
	const uint64_t bit = UINT64_C(1) << (i % 64);

	if (pending)
		msix->pending[i / 64] |= bit;
	else
		msix->pending[i / 64] &= ~bit;
}

/* Vectors. All with msix->lock held. */

static bool can_send(const struct pci_msix *msix, unsigned i)
{
	return msix->enabled && !msix->masked &&
	       !(msix->entries[i].words[CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

static void complain(struct pci_msix *msix, unsigned i, const char *why)
{
	struct pci_bus *bus = msix->fn->bus;

	if (bus)
		log_guest(bus->config.log, &bus->guest_log, msix->fn->name,
			  "MSI-X vector %u cannot be used: %s", i, why);
}

/* Make the vector send what the table says. */
static bool route(struct pci_msix *msix, unsigned i)
{
	struct msix_entry *e = &msix->entries[i];
	const uint64_t address = (uint64_t)e->words[ADDRESS_HIGH] << 32 | e->words[ADDRESS_LOW];

	if (e->routed && e->address == address && e->data == e->words[DATA])
		return true;
	if (!e->vector)
		e->vector = msix->sink ? msix->sink->create(msix->sink) : NULL;
	if (!e->vector) {
		complain(msix, i, "no MSI vector is left");
		return false;
	}
	e->address = address;
	e->data = e->words[DATA];
	e->routed = e->vector->ops->set(e->vector, e->address, e->data) == 0;
	if (!e->routed)
		complain(msix, i, "the hypervisor takes no more routes");
	return e->routed;
}

/* The vector may have become sendable, or its message may have changed. */
static void refresh(struct pci_msix *msix, unsigned i)
{
	if (!can_send(msix, i) || !route(msix, i) || !is_pending(msix, i))
		return;
	set_pending(msix, i, false);
	msix->entries[i].vector->ops->signal(msix->entries[i].vector);
}

static void refresh_all(struct pci_msix *msix)
{
	for (unsigned i = 0; i < msix->vectors; i++)
		refresh(msix, i);
}

static void release_vectors(struct pci_msix *msix)
{
	for (unsigned i = 0; i < msix->vectors; i++) {
		struct msix_entry *e = &msix->entries[i];

		msi_vector_put(e->vector);
		e->vector = NULL;
		e->routed = false;
	}
}

bool pci_msix_signal(struct pci_function *fn, unsigned vector)
{
	struct pci_msix *msix = fn->msix;

	if (!pci_msix_enabled(fn))
		return false;
	if (vector >= msix->vectors)
		return true;
	pthread_mutex_lock(&msix->lock);
	if (can_send(msix, vector) && route(msix, vector))
		msix->entries[vector].vector->ops->signal(msix->entries[vector].vector);
	else
		set_pending(msix, vector, true);
	pthread_mutex_unlock(&msix->lock);
	return true;
}

bool pci_msix_enabled(struct pci_function *fn)
{
	return fn->msix && fn->msix->enabled;
}

/* The region. */

static uint32_t read_dword(const struct pci_msix *msix, uint64_t offset)
{
	const uint64_t entry = offset / ENTRY_SIZE;
	const uint64_t word = (offset - msix->pba) / 8;

	if (entry < msix->vectors)
		return msix->entries[entry].words[offset % ENTRY_SIZE / 4];
	if (offset < msix->pba || word >= pending_words(msix))
		return 0;
	return (uint32_t)(msix->pending[word] >> (offset % 8 * 8));
}

static uint64_t msix_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct pci_msix *msix = container_of(region, struct pci_msix, region);
	uint64_t v;

	/* Only aligned dwords and qwords are defined; narrower reads see their part. */
	if (offset % size)
		return UINT64_MAX;
	pthread_mutex_lock(&msix->lock);
	v = read_dword(msix, offset & ~UINT64_C(3)) >> (offset % 4 * 8);
	if (size == 8)
		v |= (uint64_t)read_dword(msix, offset + 4) << 32;
	pthread_mutex_unlock(&msix->lock);
	return v;
}

static void write_dword(struct pci_msix *msix, uint64_t offset, uint32_t value)
{
	const uint64_t entry = offset / ENTRY_SIZE;
	const unsigned word = (unsigned)(offset % ENTRY_SIZE / 4);

	if (entry >= msix->vectors)
		return;
	msix->entries[entry].words[word] = value & writable_bits[word];
}

static void msix_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_msix *msix = container_of(region, struct pci_msix, region);

	if (size < 4 || offset % size || offset / ENTRY_SIZE >= msix->vectors)
		return;
	pthread_mutex_lock(&msix->lock);
	write_dword(msix, offset, (uint32_t)value);
	if (size == 8)
		write_dword(msix, offset + 4, (uint32_t)(value >> 32));
	refresh(msix, (unsigned)(offset / ENTRY_SIZE));
	pthread_mutex_unlock(&msix->lock);
}

struct bus_region *pci_msix_region(struct pci_function *fn)
{
	return fn->msix ? &fn->msix->region : NULL;
}

/* Life. */

static void clear_table(struct pci_msix *msix)
{
	for (unsigned i = 0; i < msix->vectors; i++) {
		memset(msix->entries[i].words, 0, sizeof(msix->entries[i].words));
		msix->entries[i].words[CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
	memset(msix->pending, 0, pending_words(msix) * sizeof(*msix->pending));
}

static struct pci_msix *msix_new(unsigned vectors)
{
	struct pci_msix *msix = calloc(1, sizeof(*msix));

	if (!msix)
		return NULL;
	msix->vectors = vectors;
	msix->entries = calloc(vectors, sizeof(*msix->entries));
	msix->pending = calloc(pending_words(msix), sizeof(*msix->pending));
	if (!msix->entries || !msix->pending) {
		free(msix->entries);
		free(msix->pending);
		free(msix);
		return NULL;
	}
	pthread_mutex_init(&msix->lock, NULL);
	clear_table(msix);
	return msix;
}

static void init_layout(struct pci_msix *msix)
{
	/* The table in the first half of the region, the pending bits in the second. */
	msix->pba = 2048;
	while (msix->pba < msix->vectors * ENTRY_SIZE)
		msix->pba *= 2;
	msix->region = (struct bus_region){
		.name = "msix",
		.size = 2 * (uint64_t)msix->pba,
		.read = msix_read,
		.write = msix_write,
	};
}

int pci_msix_init(struct pci_function *fn, unsigned vectors, unsigned bar, struct msi_sink *sink)
{
	struct pci_msix *msix;
	unsigned cap;

	if (vectors == 0 || vectors > PCI_MSIX_FLAGS_QSIZE + 1 || bar >= PCI_BARS || fn->msix)
		return -EINVAL;
	msix = msix_new(vectors);
	if (!msix)
		return -ENOMEM;
	cap = pci_cap_add(fn, PCI_CAP_ID_MSIX, CAP_SIZE);
	msix->fn = fn;
	msix->sink = sink;
	msix->cap = cap;
	init_layout(msix);
	fn->msix = msix;
	if (!cap) {
		pci_msix_destroy(fn);
		return -ENOSPC;
	}
	pci_put(fn->config, cap + PCI_MSIX_FLAGS, 2, vectors - 1);
	pci_put(fn->writable, cap + PCI_MSIX_FLAGS, 2,
		PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_put(fn->config, cap + PCI_MSIX_TABLE, 4, bar);
	pci_put(fn->config, cap + PCI_MSIX_PBA, 4, msix->pba | bar);
	return 0;
}

void pci_msix_destroy(struct pci_function *fn)
{
	struct pci_msix *msix = fn->msix;

	if (!msix)
		return;
	release_vectors(msix);
	pthread_mutex_destroy(&msix->lock);
	free(msix->entries);
	free(msix->pending);
	free(msix);
	fn->msix = NULL;
}

bool pci_msix_touched(const struct pci_function *fn, unsigned offset, unsigned size)
{
	return fn->msix && pci_touches(offset, size, fn->msix->cap + PCI_MSIX_FLAGS, 2);
}

void pci_msix_update(struct pci_function *fn)
{
	struct pci_msix *msix = fn->msix;
	const uint32_t control = pci_get(fn->config, msix->cap + PCI_MSIX_FLAGS, 2);

	pthread_mutex_lock(&msix->lock);
	msix->enabled = (control & PCI_MSIX_FLAGS_ENABLE) != 0;
	msix->masked = (control & PCI_MSIX_FLAGS_MASKALL) != 0;
	if (msix->enabled)
		refresh_all(msix);
	else
		release_vectors(msix);
	pthread_mutex_unlock(&msix->lock);
}

void pci_msix_reset(struct pci_function *fn)
{
	struct pci_msix *msix = fn->msix;

	if (!msix)
		return;
	pthread_mutex_lock(&msix->lock);
	msix->enabled = false;
	msix->masked = false;
	clear_table(msix);
	release_vectors(msix);
	pthread_mutex_unlock(&msix->lock);
}

/* Saved state. */

struct pci_msix_state {
	uint64_t pending[(PCI_MSIX_FLAGS_QSIZE + 1) / 64];
	uint32_t words[PCI_MSIX_FLAGS_QSIZE + 1][4];
};

void pci_msix_save(struct pci_function *fn, struct state_writer *w)
{
	struct pci_msix *msix = fn->msix;

	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < msix->vectors; i++) {
		uint8_t bytes[ENTRY_SIZE];

		for (unsigned k = 0; k < 4; k++)
			pci_put(bytes, 4 * k, 4, msix->entries[i].words[k]);
		state_put_bytes(w, "msix-entry", bytes, sizeof(bytes));
	}
	for (unsigned i = 0; i < pending_words(msix); i++)
		state_put_u64(w, "msix-pending", msix->pending[i]);
	pthread_mutex_unlock(&msix->lock);
}

static int parse_entry(struct state_reader *r, uint32_t words[4])
{
	uint8_t bytes[ENTRY_SIZE];
	int rc;

	rc = state_get_bytes(r, "msix-entry", bytes, sizeof(bytes));
	for (unsigned k = 0; rc == 0 && k < 4; k++)
		words[k] = pci_get(bytes, 4 * k, 4);
	return rc;
}

static int parse_pending(const struct pci_msix *msix, struct state_reader *r, uint64_t *pending)
{
	const unsigned rest = msix->vectors % 64;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < pending_words(msix); i++) {
		const bool partial = rest && i == pending_words(msix) - 1;
		const uint64_t max = partial ? (UINT64_C(1) << rest) - 1 : UINT64_MAX;

		rc = state_get_u64(r, "msix-pending", &pending[i], 0, max);
	}
	return rc;
}

int pci_msix_parse(struct pci_function *fn, struct state_reader *r, struct pci_msix_state **state)
{
	const struct pci_msix *msix = fn->msix;
	struct pci_msix_state *s = calloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return -ENOMEM;
	for (unsigned i = 0; rc == 0 && i < msix->vectors; i++)
		rc = parse_entry(r, s->words[i]);
	if (rc == 0)
		rc = parse_pending(msix, r, s->pending);
	if (rc) {
		free(s);
		return rc;
	}
	*state = s;
	return 0;
}

void pci_msix_commit(struct pci_function *fn, struct pci_msix_state *state)
{
	struct pci_msix *msix = fn->msix;

	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < msix->vectors; i++)
		for (unsigned k = 0; k < 4; k++)
			msix->entries[i].words[k] = state->words[i][k] & writable_bits[k];
	memcpy(msix->pending, state->pending, pending_words(msix) * sizeof(*msix->pending));
	pthread_mutex_unlock(&msix->lock);
	free(state);
	pci_msix_update(fn);
}
