/* SPDX-License-Identifier: MIT */
/*
 * Dispatch of port and memory accesses to the region that claims the address.
 *
 * A bus is one address space: the machine has one for ports (64 KiB) and one for memory. Regions
 * may be mapped and unmapped while the guest runs (BAR relocation). Look-ups take no lock: the
 * sorted table has a fixed capacity and is guarded by a sequence counter, so that a reader on a
 * vCPU thread never waits for one that changes the map, and nothing is freed behind its back.
 */
#ifndef MMIO_BUS_H
#define MMIO_BUS_H

#include "core/error.h"

#define BUS_MAX_REGIONS 1024

struct bus;

/*
 * One range of registers. Embedded in its device; must outlive the bus or be unmapped while no
 * vCPU runs.
 */
struct bus_region {
	const char *name;
	uint64_t size; /* bytes, > 0 */
	/*
	 * offset: from the region's start, offset + size never passes its end. size: 1, 2, 4 or 8
	 * (1, 2 or 4 on the port bus). Called on vCPU threads, concurrently: the device takes its
	 * lock. read returns the value in its low `size` bytes.
	 */
	uint64_t (*read)(struct bus_region *region, uint64_t offset, unsigned size);
	void (*write)(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size);
	/*
	 * Optional. The region is now visible at address / no longer visible. Here a transport
	 * attaches its doorbells. Called with the bus's map lock held: must not change the bus.
	 */
	void (*mapped)(struct bus_region *region, uint64_t address);
	void (*unmapped)(struct bus_region *region, uint64_t address);

	/* Set by the bus, guarded by its map lock. */
	struct bus *bus; /* NULL: not mapped */
	uint64_t address;
};

/* limit: first address that is not on the bus (0x10000 for ports). */
int bus_create(struct bus **bus, const char *name, uint64_t limit,
	       struct vmm_error *err) MUST_CHECK;
/* Unmaps what is still mapped. NULL is allowed. */
void bus_destroy(struct bus *bus);

/*
 * Make the region visible at [address, address + size). Any thread.
 * Errors: -EBUSY (overlaps another region), -EINVAL (out of range or already mapped), -ENOSPC.
 */
int bus_map(struct bus *bus, struct bus_region *region, uint64_t address) MUST_CHECK;
/* No-op if it is not mapped. Any thread. A handler that runs at this moment may still finish. */
void bus_unmap(struct bus_region *region);

/*
 * One access by a vCPU. Unclaimed reads give all ones, unclaimed writes vanish; false is returned
 * for both so that the caller can trace them. An access that straddles the end of a region is
 * unclaimed, and so is one of 3, 5, 6 or 7 bytes: what the hypervisor makes of a guest's access
 * across pages. Any thread, lock-free look-up.
 */
bool bus_read(struct bus *bus, uint64_t address, unsigned size, uint64_t *value);
bool bus_write(struct bus *bus, uint64_t address, uint64_t value, unsigned size);

#endif
