/* SPDX-License-Identifier: MIT */
/* PCI configuration space by both ways, and BARs. */
#ifndef PVH_PCI_H
#define PVH_PCI_H

#include <linux/pci_regs.h>

#include "rt.h"

/* Configuration mechanism 1 (ports) and ECAM; devfn on bus 0; offset is aligned to the size. */
uint32_t cf8_read(unsigned devfn, unsigned offset, unsigned size);
void cf8_write(unsigned devfn, unsigned offset, unsigned size, uint32_t v);
uint32_t ecam_read(unsigned devfn, unsigned offset, unsigned size);
void ecam_write(unsigned devfn, unsigned offset, unsigned size, uint32_t v);

/* What everything else uses: ECAM. */
static inline uint8_t config_read8(unsigned devfn, unsigned offset)
{
	return (uint8_t)ecam_read(devfn, offset, 1);
}

static inline uint16_t config_read16(unsigned devfn, unsigned offset)
{
	return (uint16_t)ecam_read(devfn, offset, 2);
}

static inline uint32_t config_read32(unsigned devfn, unsigned offset)
{
	return ecam_read(devfn, offset, 4);
}

static inline void config_write16(unsigned devfn, unsigned offset, uint16_t v)
{
	ecam_write(devfn, offset, 2, v);
}

static inline void config_write32(unsigned devfn, unsigned offset, uint32_t v)
{
	ecam_write(devfn, offset, 4, v);
}

/* First function with these ids from devfn `from` on, or -1. */
int pci_find(uint16_t vendor, uint16_t device, unsigned from);

/* Offset of the next capability with this id after `after` (0: the first), or 0. */
unsigned pci_capability(unsigned devfn, uint8_t id, unsigned after);

struct bar {
	uint64_t address, size;
	unsigned index;
	bool io, is64, prefetchable;
};

/* Read and size a BAR. Decoding is switched off meanwhile. false: there is none. */
bool bar_probe(unsigned devfn, unsigned index, struct bar *bar);
/* Where it is, without sizing. */
uint64_t bar_address(unsigned devfn, unsigned index);
/* Move it. Decoding is switched off meanwhile. */
void bar_move(unsigned devfn, const struct bar *bar, uint64_t address);

/* Set and clear bits of the command register. */
void pci_command(unsigned devfn, uint16_t set, uint16_t clear);

/* MSI-X: the addresses of the table and the pending bits, both mapped. */
struct msix {
	unsigned devfn, cap, vectors;
	uint64_t table, pba;
};

bool msix_find(unsigned devfn, struct msix *m);
void msix_set(const struct msix *m, unsigned index, uint8_t vector, bool masked);
void msix_mask(const struct msix *m, unsigned index, bool masked);
bool msix_pending(const struct msix *m, unsigned index);
/* The control register's enable and function mask bits. */
void msix_control(const struct msix *m, bool enable, bool mask_all);

#endif
