/* SPDX-License-Identifier: MIT */
/*
 * The table is a sequence lock over atomics. A writer makes `seq` odd, moves entries, makes it even
 * again; a reader that saw it odd or changed looks again. Entries are stored with release and
 * loaded with acquire, so that neither can pass the sequence number; no fence is needed.
 */
#include "mmio/bus.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct entry {
	_Atomic uint64_t start, size;
	struct bus_region *_Atomic region;
};

struct bus {
	const char *name;
	uint64_t limit;
	pthread_mutex_t lock; /* of the map: writers only */
	_Atomic unsigned seq;
	_Atomic unsigned count;
	struct entry entries[BUS_MAX_REGIONS]; /* sorted by start */
};

int bus_create(struct bus **out, const char *name, uint64_t limit, struct vmm_error *err)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return error_set(err, ENOMEM, "out of memory");
	bus->name = name;
	bus->limit = limit;
	pthread_mutex_init(&bus->lock, NULL);
	*out = bus;
	return 0;
}

/* ---- look-up, without locks ---- */

static uint64_t entry_start(struct entry *e)
{
	return atomic_load_explicit(&e->start, memory_order_acquire);
}

/* Index of the first entry that starts after the address. */
static unsigned upper_bound(struct bus *bus, uint64_t address)
{
	unsigned low = 0, high = atomic_load_explicit(&bus->count, memory_order_acquire);

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (entry_start(&bus->entries[mid]) <= address)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* While a writer is at work the result may be nonsense: the caller checks the sequence number. */
static struct bus_region *look_up(struct bus *bus, uint64_t address, unsigned size,
				  uint64_t *offset)
{
	unsigned i = upper_bound(bus, address);
	struct entry *e;
	uint64_t length;

	if (i == 0)
		return NULL;
	e = &bus->entries[i - 1];
	*offset = address - entry_start(e);
	length = atomic_load_explicit(&e->size, memory_order_acquire);
	if (size > length || *offset > length - size)
		return NULL;
	return atomic_load_explicit(&e->region, memory_order_acquire);
}

static struct bus_region *find(struct bus *bus, uint64_t address, unsigned size, uint64_t *offset)
{
	struct bus_region *region = NULL;
	unsigned before, after;

	if (size > 8 || !is_power_of_two(size))
		return NULL;
	for (;;) {
		before = atomic_load_explicit(&bus->seq, memory_order_acquire);
		if (before & 1) {
			/* The writer may need this processor. */
			sched_yield();
			continue;
		}
		region = look_up(bus, address, size, offset);
		after = atomic_load_explicit(&bus->seq, memory_order_relaxed);
		if (before == after)
			return region;
	}
}

bool bus_read(struct bus *bus, uint64_t address, unsigned size, uint64_t *value)
{
	uint64_t offset;
	struct bus_region *region = find(bus, address, size, &offset);

	*value = region && region->read ? region->read(region, offset, size) : UINT64_MAX;
	*value = low_bytes(*value, size);
	return region != NULL;
}

bool bus_write(struct bus *bus, uint64_t address, uint64_t value, unsigned size)
{
	uint64_t offset;
	struct bus_region *region = find(bus, address, size, &offset);

	if (region && region->write)
		region->write(region, offset, low_bytes(value, size), size);
	return region != NULL;
}

/* ---- changes, under the lock ---- */

static void entry_set(struct entry *e, uint64_t start, uint64_t size, struct bus_region *region)
{
	atomic_store_explicit(&e->start, start, memory_order_release);
	atomic_store_explicit(&e->size, size, memory_order_release);
	atomic_store_explicit(&e->region, region, memory_order_release);
}

static void entry_copy(struct entry *to, struct entry *from)
{
	entry_set(to, atomic_load_explicit(&from->start, memory_order_relaxed),
		  atomic_load_explicit(&from->size, memory_order_relaxed),
		  atomic_load_explicit(&from->region, memory_order_relaxed));
}

static void change_begin(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->seq, 1, memory_order_acquire);
}

static void change_end(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->seq, 1, memory_order_release);
}

static int insert(struct bus *bus, struct bus_region *region, uint64_t address)
{
	unsigned count = atomic_load_explicit(&bus->count, memory_order_relaxed);
	unsigned at = upper_bound(bus, address);
	struct entry *e = bus->entries;

	if (at > 0 && address - entry_start(&e[at - 1]) < e[at - 1].size)
		return -EBUSY;
	if (at < count && entry_start(&e[at]) - address < region->size)
		return -EBUSY;
	if (count == BUS_MAX_REGIONS)
		return -ENOSPC;
	change_begin(bus);
	for (unsigned i = count; i > at; i--)
		entry_copy(&e[i], &e[i - 1]);
	entry_set(&e[at], address, region->size, region);
	atomic_store_explicit(&bus->count, count + 1, memory_order_release);
	change_end(bus);
	return 0;
}

int bus_map(struct bus *bus, struct bus_region *region, uint64_t address)
{
	int r;

	if (region->size == 0 || address >= bus->limit || region->size > bus->limit - address)
		return -EINVAL;
	pthread_mutex_lock(&bus->lock);
	r = __atomic_load_n(&region->bus, __ATOMIC_ACQUIRE) ? -EINVAL
							    : insert(bus, region, address);
	if (!r) {
		region->address = address;
		__atomic_store_n(&region->bus, bus, __ATOMIC_RELEASE);
		if (region->mapped)
			region->mapped(region, address);
	}
	pthread_mutex_unlock(&bus->lock);
	return r;
}

static void remove_entry(struct bus *bus, uint64_t address)
{
	unsigned count = atomic_load_explicit(&bus->count, memory_order_relaxed);
	unsigned at = upper_bound(bus, address) - 1;

	change_begin(bus);
	for (unsigned i = at; i + 1 < count; i++)
		entry_copy(&bus->entries[i], &bus->entries[i + 1]);
	atomic_store_explicit(&bus->count, count - 1, memory_order_release);
	change_end(bus);
}

static void forget(struct bus_region *region)
{
	__atomic_store_n(&region->bus, NULL, __ATOMIC_RELEASE);
	if (region->unmapped)
		region->unmapped(region, region->address);
}

void bus_unmap(struct bus_region *region)
{
	struct bus *bus = __atomic_load_n(&region->bus, __ATOMIC_ACQUIRE);

	if (!bus)
		return;
	pthread_mutex_lock(&bus->lock);
	/* Another thread may have been faster. */
	if (__atomic_load_n(&region->bus, __ATOMIC_RELAXED) == bus) {
		remove_entry(bus, region->address);
		forget(region);
	}
	pthread_mutex_unlock(&bus->lock);
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	while (atomic_load_explicit(&bus->count, memory_order_relaxed) > 0) {
		struct entry *e = &bus->entries[0];
		struct bus_region *region = atomic_load_explicit(&e->region, memory_order_relaxed);

		remove_entry(bus, entry_start(e));
		forget(region);
	}
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}
