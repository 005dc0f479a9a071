/* SPDX-License-Identifier: MIT */
#include "pci/pci_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_WRITABLE                                                                 \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)
#define STATUS_WRITE1CLEAR                                                               \
	(PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT | \
	 PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

#define HEADER_SIZE        0x40u
#define LEGACY_CONFIG_SIZE 256u /* capabilities lie below */
#define MULTIFUNCTION      0x80u

void pci_function_init(struct pci_function *fn, const char *name, const struct pci_ids *ids,
		       unsigned pin)
{
	memset(fn, 0, sizeof(*fn));
	fn->name = name;
	pthread_mutex_init(&fn->lock, NULL);
	fn->cap_end = HEADER_SIZE;

	pci_put(fn->config, PCI_VENDOR_ID, 2, ids->vendor);
	pci_put(fn->config, PCI_DEVICE_ID, 2, ids->device);
	pci_put(fn->config, PCI_SUBSYSTEM_VENDOR_ID, 2, ids->subvendor);
	pci_put(fn->config, PCI_SUBSYSTEM_ID, 2, ids->subdevice);
	pci_put(fn->config, PCI_REVISION_ID, 1, ids->revision);
	pci_put(fn->config, PCI_CLASS_PROG, 3, ids->class_code);
	pci_put(fn->config, PCI_HEADER_TYPE, 1, ids->multifunction ? MULTIFUNCTION : 0);
	pci_put(fn->config, PCI_INTERRUPT_PIN, 1, pin);

	pci_put(fn->writable, PCI_COMMAND, 2, COMMAND_WRITABLE);
	pci_put(fn->writable, PCI_CACHE_LINE_SIZE, 1, 0xff);
	pci_put(fn->writable, PCI_INTERRUPT_LINE, 1, 0xff);
	pci_put(fn->write1clear, PCI_STATUS, 2, STATUS_WRITE1CLEAR);
}

void pci_function_fini(struct pci_function *fn)
{
	assert(!fn->bus);
	pci_msix_destroy(fn);
	free(fn->boot_config);
	fn->boot_config = NULL;
	pthread_mutex_destroy(&fn->lock);
}

unsigned pci_cap_add(struct pci_function *fn, uint8_t id, unsigned len)
{
	const unsigned offset = (unsigned)align_up(fn->cap_end, 4);

	if (len < 2 || offset + len > LEGACY_CONFIG_SIZE)
		return 0;
	fn->config[offset + PCI_CAP_LIST_ID] = id;
	if (fn->next_cap)
		fn->config[fn->next_cap + PCI_CAP_LIST_NEXT] = (uint8_t)offset;
	else
		fn->config[PCI_CAPABILITY_LIST] = (uint8_t)offset;
	fn->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fn->next_cap = (uint8_t)offset;
	fn->cap_end = (uint16_t)(offset + len);
	return offset;
}

uint32_t pci_function_read(struct pci_function *fn, unsigned offset, unsigned size)
{
	uint32_t v;

	pthread_mutex_lock(&fn->lock);
	if (offset >= HEADER_SIZE && fn->config_reading)
		fn->config_reading(fn, offset, size);
	v = pci_get(fn->config, offset, size);
	pthread_mutex_unlock(&fn->lock);

	/* The interrupt status bit is not stored: the line has a lock of its own. */
	if (fn->intx_level && pci_touches(offset, size, PCI_STATUS, 1))
		v |= (uint32_t)PCI_STATUS_INTERRUPT << (8 * (PCI_STATUS - offset));
	return v;
}

static void merge(struct pci_function *fn, unsigned offset, unsigned size, uint32_t value)
{
	for (unsigned i = offset; i < offset + size; i++, value >>= 8) {
		const uint8_t mask = fn->writable[i];
		const uint8_t v = (uint8_t)value;

		fn->config[i] = (uint8_t)((fn->config[i] & ~mask) | (v & mask));
		fn->config[i] &= (uint8_t) ~(v & fn->write1clear[i]);
	}
}

static bool intx_disabled(const struct pci_function *fn)
{
	return (pci_get(fn->config, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE) != 0;
}

void pci_function_write(struct pci_function *fn, unsigned offset, unsigned size, uint32_t value)
{
	struct pci_bus *bus = fn->bus;
	bool released = false;

	pthread_mutex_lock(&fn->lock);
	merge(fn, offset, size, value);
	if (pci_touches(offset, size, PCI_COMMAND, 2))
		pci_intx_set_disabled(fn, intx_disabled(fn));
	if (pci_touches(offset, size, PCI_COMMAND, 2) ||
	    pci_touches(offset, size, PCI_BASE_ADDRESS_0, 4 * PCI_BARS))
		released = pci_bars_update(fn);
	if (pci_msix_touched(fn, offset, size))
		pci_msix_update(fn);
	if (offset >= HEADER_SIZE && fn->config_written)
		fn->config_written(fn, offset, size);
	pthread_mutex_unlock(&fn->lock);

	if (released)
		pci_bars_settle(bus);
}

void pci_function_reset(struct pci_function *fn)
{
	bool released = false;

	pci_intx_set(fn, false);
	pthread_mutex_lock(&fn->lock);
	if (fn->boot_config)
		memcpy(fn->config, fn->boot_config, PCI_CONFIG_SIZE);
	pci_msix_reset(fn);
	pci_intx_set_disabled(fn, intx_disabled(fn));
	if (fn->bus)
		released = pci_bars_update(fn);
	pthread_mutex_unlock(&fn->lock);
	if (released)
		pci_bars_settle(fn->bus);
}

/* Saved state. */

void pci_function_save(struct pci_function *fn, struct state_writer *w)
{
	pthread_mutex_lock(&fn->lock);
	state_begin(w, "pci", 1);
	state_put_bytes(w, "config", fn->config, PCI_CONFIG_SIZE);
	state_put_u64(w, "intx", fn->intx_level);
	if (fn->msix)
		pci_msix_save(fn, w);
	state_end(w);
	pthread_mutex_unlock(&fn->lock);
}

/* What the guest could not have changed must be as this function has it. */
static bool config_fits(const struct pci_function *fn, const uint8_t *config)
{
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		const uint8_t may_differ = fn->writable[i] | fn->write1clear[i];

		if ((config[i] ^ fn->config[i]) & ~may_differ)
			return false;
	}
	return true;
}

static int parse(struct pci_function *fn, struct state_reader *r, uint8_t *config, uint64_t *intx,
		 struct pci_msix_state **msix)
{
	uint32_t version;
	int rc;

	rc = state_enter(r, "pci", 1, &version);
	if (rc == 0)
		rc = state_get_bytes(r, "config", config, PCI_CONFIG_SIZE);
	if (rc == 0)
		rc = state_get_u64(r, "intx", intx, 0, 1);
	if (rc == 0 && fn->msix)
		rc = pci_msix_parse(fn, r, msix);
	if (rc == 0)
		rc = state_leave(r);
	if (rc == 0 && !config_fits(fn, config))
		rc = -EPROTO;
	return rc;
}

static void commit(struct pci_function *fn, const uint8_t *config, bool intx,
		   struct pci_msix_state *msix)
{
	bool released = false;

	pthread_mutex_lock(&fn->lock);
	memcpy(fn->config, config, PCI_CONFIG_SIZE);
	pci_intx_set_disabled(fn, intx_disabled(fn));
	if (fn->bus)
		released = pci_bars_update(fn);
	if (fn->msix)
		pci_msix_commit(fn, msix);
	pthread_mutex_unlock(&fn->lock);
	pci_intx_set(fn, intx);
	if (released)
		pci_bars_settle(fn->bus);
}

int pci_function_load(struct pci_function *fn, struct state_reader *r)
{
	struct pci_msix_state *msix = NULL;
	uint8_t *config = malloc(PCI_CONFIG_SIZE);
	uint64_t intx;
	int rc = -ENOMEM;

	if (config)
		rc = parse(fn, r, config, &intx, &msix);
	if (rc == 0)
		commit(fn, config, intx != 0, msix);
	else
		free(msix);
	free(config);
	return rc;
}
