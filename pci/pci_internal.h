/* SPDX-License-Identifier: MIT */
/*
 * What the files of pci/ share. Nothing outside this folder includes it.
 */
#ifndef PCI_PCI_INTERNAL_H
#define PCI_PCI_INTERNAL_H

#include "pci/pci.h"

/* An interrupt line and how many functions hold it up. The lock is a leaf. */
struct pci_intx {
	struct irq_line *line;
	pthread_mutex_t lock;
	unsigned asserted;
};

#define PCI_MAX_INTX (PCI_MAX_SLOTS * 4)

struct pci_bus {
	struct pci_bus_config config;
	struct bus_region ports; /* CF8..CFF */
	struct bus_region ecam;
	_Atomic uint32_t address; /* CF8 */
	_Atomic(struct pci_function *) functions[PCI_MAX_SLOTS * PCI_MAX_FUNCTIONS];
	_Atomic unsigned conflicts; /* BARs that wait for another to move away */
	struct pci_intx intx[PCI_MAX_INTX];
	unsigned intx_count;
	struct log_limit guest_log;
	struct pci_function bridge;
};

static inline uint32_t pci_get(const uint8_t *bytes, unsigned offset, unsigned size)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)bytes[offset + i] << (8 * i);
	return v;
}

static inline void pci_put(uint8_t *bytes, unsigned offset, unsigned size, uint32_t v)
{
	for (unsigned i = 0; i < size; i++)
		bytes[offset + i] = (uint8_t)(v >> (8 * i));
}

/* Whether [offset, offset + size) and [start, start + len) have a byte in common. */
static inline bool pci_touches(unsigned offset, unsigned size, unsigned start, unsigned len)
{
	return offset < start + len && start < offset + size;
}

/* pci_function.c: one access, size bytes within a dword. The lock is taken inside. */
uint32_t pci_function_read(struct pci_function *fn, unsigned offset, unsigned size);
void pci_function_write(struct pci_function *fn, unsigned offset, unsigned size, uint32_t value);

/* pci_bar.c: give every BAR an address out of the windows. */
int pci_bars_assign(struct pci_function *fn, struct vmm_error *err) MUST_CHECK;
/*
 * Map and unmap regions as config space now says. fn->lock held. Returns true if room was released
 * that another function's BAR may wait for: call pci_bars_settle then, without the lock.
 */
bool pci_bars_update(struct pci_function *fn);
/* Unmap all. fn->lock held. */
void pci_bars_unmap(struct pci_function *fn);
/* Map BARs of any function that waited for room. No lock held. */
void pci_bars_settle(struct pci_bus *bus);

/* pci_intx.c: the counted line for a slot and pin, or NULL. */
struct pci_intx *pci_intx_find(struct pci_bus *bus, unsigned slot, unsigned pin);
/* The command register's interrupt disable bit may have changed. */
void pci_intx_set_disabled(struct pci_function *fn, bool disabled);

/* pci_msix.c, all with fn->lock held. */
bool pci_msix_touched(const struct pci_function *fn, unsigned offset, unsigned size);
/* Take over the message control word from config space. */
void pci_msix_update(struct pci_function *fn);
void pci_msix_reset(struct pci_function *fn);
void pci_msix_destroy(struct pci_function *fn);
void pci_msix_save(struct pci_function *fn, struct state_writer *w);
/* Parse into memory that pci_msix_commit takes over, or that the caller frees. */
struct pci_msix_state;
int pci_msix_parse(struct pci_function *fn, struct state_reader *r,
		   struct pci_msix_state **state) MUST_CHECK;
void pci_msix_commit(struct pci_function *fn, struct pci_msix_state *state);

#endif
