/* SPDX-License-Identifier: MIT */
/*
 * PCI: functions with configuration space, BARs, capabilities and MSI-X, on one root bus.
 *
 * The host bridge answers CF8/CFC and ECAM. BARs are assigned by the machine before boot and may be
 * sized, moved, enabled and disabled by the guest at run time. Configuration accesses of one
 * function are serialised by its lock; the slot table is read without locks. Functions come at any
 * time, complete when they can be seen, and go while no vCPU runs.
 *
 * Lock order: fn->lock, the bus's map lock, the device's own lock, then the leaves inside (MSI-X
 * table, INTx line). So the config hooks and `mapped` callbacks of a function may take its device's
 * lock, and pci_msix_signal and pci_intx_set may be called with that lock held; everything else
 * here takes fn->lock and must not be.
 *
 * A BAR is decoded while its enable bit is set and it lies within one of the bus's windows without
 * overlapping another. Whatever else the guest writes there is remembered, but not decoded.
 *
 * References: PCI Local Bus 3.0 (config space 6.1, BARs 6.2.5, MSI-X 6.8.2), PCI Express Base 4.0
 * 7.2.2 (ECAM).
 */
#ifndef PCI_PCI_H
#define PCI_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>

#include "core/irq.h"
#include "core/log.h"
#include "core/state.h"
#include "mmio/bus.h"

#define PCI_MAX_SLOTS     32
#define PCI_MAX_FUNCTIONS 8
#define PCI_CONFIG_SIZE   4096u
#define PCI_BARS          6

#define PCI_DEVFN(slot, fn) ((unsigned)(((slot) << 3) | (fn)))

struct pci_bus;
struct pci_function;

enum pci_bar_type { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
	enum pci_bar_type type;
	bool prefetchable;
	struct bus_region *region; /* size is a power of two */

	/* Private to pci/. */
	uint64_t assigned; /* at boot; 0: none */
	uint64_t address;  /* while mapped */
	bool mapped;
	bool conflict; /* enabled at a legal address, but something else is there */
};

/* Notified of accesses to a capability that the function's owner handles itself. */
typedef void pci_config_write_fn(struct pci_function *fn, unsigned offset, unsigned size);
typedef void pci_config_read_fn(struct pci_function *fn, unsigned offset, unsigned size);

struct pci_msix;
struct pci_intx;

struct pci_function {
	const char *name;
	struct pci_bus *bus; /* NULL: not plugged */
	unsigned devfn;
	pthread_mutex_t lock; /* guards config and BARs; see the order above */
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];    /* mask of bits that the guest may write */
	uint8_t write1clear[PCI_CONFIG_SIZE]; /* mask of bits that a written 1 clears */
	struct pci_bar bars[PCI_BARS];
	uint8_t *boot_config;  /* what reset restores; copied when plugged */
	uint8_t next_cap;      /* offset of the last capability in the list */
	uint16_t cap_end;      /* first free byte for capabilities */
	struct pci_msix *msix; /* NULL: none */
	/* INTx, guarded by a lock of the line. */
	struct pci_intx *intx;   /* set when plugged; NULL: no pin */
	_Atomic bool intx_level; /* what the function asserts; the status bit */
	bool intx_disabled;      /* the command bit */
	bool intx_counted;       /* whether it holds the line up */
	/*
	 * Optional hooks, called with `lock` held: after a write to [40h, 1000h) has been merged /
	 * before such a read. May look at and change config[]. May access a register of one of the
	 * function's own regions (virtio's PCI_CFG capability), but must not access config space.
	 */
	pci_config_write_fn *config_written;
	pci_config_read_fn *config_reading;
};

struct pci_ids {
	uint16_t vendor, device, subvendor, subdevice;
	uint8_t revision;
	uint32_t class_code; /* 24 bits: class, subclass, programming interface */
	bool multifunction;
};

/* Prepare a function: ids, command and status masks, interrupt pin (0: none, 1: INTA#). */
void pci_function_init(struct pci_function *fn, const char *name, const struct pci_ids *ids,
		       unsigned pin);
/* Release what the function holds. Must be unplugged. */
void pci_function_fini(struct pci_function *fn);

/*
 * Before plugging. region->size: a power of two, >= 16 (I/O: 4 to 256). MEM64 takes index and
 * index+1.
 */
void pci_bar_init(struct pci_function *fn, unsigned index, enum pci_bar_type type,
		  bool prefetchable, struct bus_region *region);

/*
 * Append a capability of `len` bytes (id and next pointer included). Returns its offset, or 0 if
 * there is no room. The bytes after the header are zero and read-only: set config and writable.
 */
unsigned pci_cap_add(struct pci_function *fn, uint8_t id, unsigned len);

/*
 * Give the function an MSI-X capability with `vectors` (1 to 2048) entries. Table and pending bits
 * lie in a region that pci_msix_region returns, which the caller passes to pci_bar_init with index
 * `bar`. MSI vectors are taken from the sink when the guest unmasks them and given back when it
 * disables MSI-X. Returns 0, -EINVAL, -ENOMEM or -ENOSPC.
 */
int pci_msix_init(struct pci_function *fn, unsigned vectors, unsigned bar,
		  struct msi_sink *sink) MUST_CHECK;
struct bus_region *pci_msix_region(struct pci_function *fn);

/*
 * Signal a vector: sends its message, or sets its pending bit while the vector or the function is
 * masked. Without effect (false) when MSI-X is disabled: use pci_intx_set then. A vector that does
 * not exist is ignored. Any thread, takes only a leaf lock; no message leaves after the guest's
 * write that masks has completed.
 */
bool pci_msix_signal(struct pci_function *fn, unsigned vector);
bool pci_msix_enabled(struct pci_function *fn);

/*
 * Assert or deassert INTA#; honours the interrupt disable bit and keeps the status bit. A line that
 * functions share stays up until the last of them has let go. Any thread, takes only a leaf lock.
 */
void pci_intx_set(struct pci_function *fn, bool level);

/* Reset config space to its state after init (BAR addresses as assigned at boot stay). */
void pci_function_reset(struct pci_function *fn);

/*
 * Save or load a section "pci": config space, BARs, MSI-X, INTx. Loading commits at once (BARs
 * move, pending vectors are signalled), so an owner parses its own fields first. On error the
 * function is as it was. Plugged, vCPUs stopped. Errors: -EPROTO, -ERANGE, -ENOTSUP, -ENOMEM.
 */
void pci_function_save(struct pci_function *fn, struct state_writer *w);
int pci_function_load(struct pci_function *fn, struct state_reader *r) MUST_CHECK;

/* The root bus with its host bridge at 00:00.0. */
struct pci_window {
	uint64_t base, size; /* guest physical; size 0: none */
};

struct pci_bus_config {
	struct bus *pio, *mmio;
	struct pci_window ecam;  /* 1 MiB for one bus */
	struct pci_window mem32; /* below 4 GiB */
	struct pci_window mem64; /* above RAM */
	struct pci_window io;    /* ports */
	/* INTx line of a slot and pin (1 to 4); NULL where none. Owned by the machine. */
	struct irq_line *(*intx)(void *opaque, unsigned slot, unsigned pin);
	/* The interrupt line number (GSI) for the config register; what ACPI's _PRT says as well.
	 */
	unsigned (*intx_gsi)(void *opaque, unsigned slot, unsigned pin);
	void *opaque;
	const struct log *log;
};

int pci_bus_create(struct pci_bus **bus, const struct pci_bus_config *config,
		   struct vmm_error *err) MUST_CHECK;
void pci_bus_destroy(struct pci_bus *bus);

/*
 * Plug a function. devfn: -1 for function 0 of the first free slot. Assigns BAR addresses out of
 * the windows. Returns 0, -EBUSY, -ENOSPC (slot or window). vCPUs may run; plugging and unplugging
 * exclude each other.
 */
int pci_plug(struct pci_bus *bus, struct pci_function *fn, int devfn,
	     struct vmm_error *err) MUST_CHECK;
/* Take it off the bus. vCPUs stopped. */
void pci_unplug(struct pci_function *fn);
/* Whether no function is in the slot. Not while one is plugged or unplugged. */
bool pci_slot_free(const struct pci_bus *bus, unsigned slot);

/* Reset every function, CF8 and the BAR assignment (system reset). vCPUs stopped. */
void pci_bus_reset(struct pci_bus *bus);

/* The host bridge and CF8, as a section "pci-bus"; functions are saved by their owners. */
void pci_bus_save(struct pci_bus *bus, struct state_writer *w);
int pci_bus_load(struct pci_bus *bus, struct state_reader *r) MUST_CHECK;

/* A base address register as the guest has set it. */
struct pci_bar_state {
	enum pci_bar_type type;
	bool prefetchable;
	bool mapped;      /* decoded; else the address means nothing */
	uint64_t address; /* in guest physical memory, or a port */
	uint64_t size;
};

/*
 * Look at BAR number `index` of the function there; false: it has none. No lock held, and nothing
 * is plugged or unplugged meanwhile.
 */
bool pci_bar_query(struct pci_bus *bus, unsigned devfn, unsigned index,
		   struct pci_bar_state *state);

/*
 * Config access as CF8/CFC and ECAM do it; for tests. offset: 0 to 4095; size: 1 to 4 bytes within
 * one dword. Reads of what is not there give all ones.
 */
uint32_t pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size,
		      uint32_t value);

#endif
