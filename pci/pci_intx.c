/* SPDX-License-Identifier: MIT */
/*
 * INTx (PCI 3.0, 2.2.6): lines that several functions may share. A line is high while at least one
 * function holds it up.
 */
#include "pci/pci_internal.h"

struct pci_intx *pci_intx_find(struct pci_bus *bus, unsigned slot, unsigned pin)
{
	struct irq_line *line = NULL;
	struct pci_intx *intx;

	if (bus->config.intx)
		line = bus->config.intx(bus->config.opaque, slot, pin);
	if (!line)
		return NULL;
	for (unsigned i = 0; i < bus->intx_count; i++)
		if (bus->intx[i].line == line)
			return &bus->intx[i];
	if (bus->intx_count == PCI_MAX_INTX)
		return NULL;
	intx = &bus->intx[bus->intx_count++];
	intx->line = line;
	intx->asserted = 0;
	pthread_mutex_init(&intx->lock, NULL);
	return intx;
}

/* intx->lock held. */
static void update(struct pci_function *fn)
{
	struct pci_intx *intx = fn->intx;
	const bool holds = fn->intx_level && !fn->intx_disabled;

	if (holds == fn->intx_counted)
		return;
	fn->intx_counted = holds;
	/* The line is set under the lock: levels must reach it in the order of their causes. */
	if (holds && intx->asserted++ == 0)
		irq_line_set(intx->line, true);
	if (!holds && --intx->asserted == 0)
		irq_line_set(intx->line, false);
}

void pci_intx_set(struct pci_function *fn, bool level)
{
	if (!fn->intx)
		return;
	pthread_mutex_lock(&fn->intx->lock);
	fn->intx_level = level;
	update(fn);
	pthread_mutex_unlock(&fn->intx->lock);
}

void pci_intx_set_disabled(struct pci_function *fn, bool disabled)
{
	if (!fn->intx)
		return;
	pthread_mutex_lock(&fn->intx->lock);
	fn->intx_disabled = disabled;
	update(fn);
	pthread_mutex_unlock(&fn->intx->lock);
}
