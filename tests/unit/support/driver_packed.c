/* SPDX-License-Identifier: MIT */
/* The driver's side of a packed ring (virtio 1.2, section 2.8); see virtio_driver.h. */
#include <criterion/criterion.h>

#include "tests/unit/support/virtio_driver.h"

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

/* Flags and events are shared with the device's thread: one access, with the driver's barriers. */
static void *shared(const struct driver_ring *ring, gpa_t at, uint64_t len)
{
	uint64_t n;
	void *host = guest_resolve(ring->memory, at, len, &n);

	cr_assert(host && n == len);
	return host;
}

static gpa_t desc_at(const struct driver_ring *ring, uint16_t index)
{
	return gpa_add(ring->layout.desc, UINT64_C(16) * index);
}

static uint16_t *flags_of(const struct driver_ring *ring, uint16_t index)
{
	return shared(ring, gpa_add(desc_at(ring, index), 14), 2);
}

void driver_ring_init_packed(struct driver_ring *ring, struct guest_memory *memory, gpa_t at,
			     uint16_t size)
{
	gpa_t events = gpa_add(at, UINT64_C(16) * size);

	*ring = (struct driver_ring){
		.memory = memory,
		.layout = {size, at, events, gpa_add(events, 4)},
		.packed = true,
		.avail_wrap = true,
		.used_wrap = true,
		.free_count = size,
	};
	for (uint16_t i = 0; i < size && i < VIRTQ_MAX_SIZE; i++)
		ring->next[i] = (uint16_t)(i + 1);
	cr_assert_eq(guest_fill(memory, at, 0, driver_ring_bytes(size)), 0);
}

static void go_on(const struct driver_ring *ring, uint16_t *offset, bool *wrap, unsigned n)
{
	unsigned to = *offset + n;

	if (to >= ring->layout.size) {
		to -= ring->layout.size;
		*wrap = !*wrap;
	}
	*offset = (uint16_t)to;
}

/* All but the flags. */
static void put_body(struct driver_ring *ring, uint16_t index, uint64_t addr, uint32_t len,
		     uint16_t id)
{
	const struct vring_packed_desc d = {.addr = addr, .len = len, .id = id};

	driver_write(ring->memory, desc_at(ring, index), &d,
		     offsetof(struct vring_packed_desc, flags));
}

static void put_flags(struct driver_ring *ring, uint16_t index, unsigned flags, bool wrap)
{
	flags |= wrap ? AVAIL : USED;
	__atomic_store_n(flags_of(ring, index), (uint16_t)flags, __ATOMIC_RELEASE);
}

void driver_packed_desc(struct driver_ring *ring, uint64_t addr, uint32_t len, unsigned flags,
			uint16_t id)
{
	put_body(ring, ring->avail_idx, addr, len, id);
	put_flags(ring, ring->avail_idx, flags, ring->avail_wrap);
	go_on(ring, &ring->avail_idx, &ring->avail_wrap, 1);
}

static uint16_t take_id(struct driver_ring *ring, unsigned descs)
{
	uint16_t id = ring->free_head;

	cr_assert(ring->free_count >= descs, "the test's ring has no free descriptor");
	ring->free_head = ring->next[id];
	ring->free_count = (uint16_t)(ring->free_count - descs);
	ring->count[id] = (uint16_t)descs;
	return id;
}

uint16_t driver_packed_add(struct driver_ring *ring, const struct driver_buffer *buffers,
			   unsigned n)
{
	uint16_t id = take_id(ring, n), first = ring->avail_idx;
	bool first_wrap = ring->avail_wrap;
	unsigned first_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		bool last = i + 1 == n;
		unsigned flags = (buffers[i].writable ? VRING_DESC_F_WRITE : 0u) |
				 (last ? 0u : VRING_DESC_F_NEXT);

		/* Only the last one's id counts. */
		put_body(ring, ring->avail_idx, buffers[i].addr.v, buffers[i].len,
			 last ? id : (uint16_t)~id);
		if (i == 0)
			first_flags = flags;
		else
			put_flags(ring, ring->avail_idx, flags, ring->avail_wrap);
		go_on(ring, &ring->avail_idx, &ring->avail_wrap, 1);
	}
	/* 2.8.20: the first descriptor becomes available last. */
	put_flags(ring, first, first_flags, first_wrap);
	return id;
}

uint16_t driver_packed_add_indirect(struct driver_ring *ring, gpa_t table,
				    const struct driver_buffer *buffers, unsigned n)
{
	uint16_t id = take_id(ring, 1);

	for (unsigned i = 0; i < n; i++) {
		const struct vring_packed_desc d = {
			.addr = buffers[i].addr.v,
			.len = buffers[i].len,
			.id = 0xdead,
			.flags = buffers[i].writable ? VRING_DESC_F_WRITE : 0,
		};

		driver_write(ring->memory, gpa_add(table, UINT64_C(16) * i), &d, sizeof(d));
	}
	driver_packed_desc(ring, table.v, 16 * n, VRING_DESC_F_INDIRECT, id);
	return id;
}

bool driver_packed_has_used(const struct driver_ring *ring)
{
	uint16_t flags = __atomic_load_n(flags_of(ring, ring->used_seen), __ATOMIC_ACQUIRE);

	return !!(flags & AVAIL) == ring->used_wrap && !!(flags & USED) == ring->used_wrap;
}

bool driver_packed_used(struct driver_ring *ring, uint32_t *id, uint32_t *len)
{
	struct vring_packed_desc d;
	uint16_t count;

	if (!driver_packed_has_used(ring))
		return false;
	driver_read(ring->memory, desc_at(ring, ring->used_seen), &d, 14);
	cr_assert(d.id < ring->layout.size, "used descriptor with id %u", d.id);
	*id = d.id;
	*len = d.len;
	count = ring->count[d.id];
	/* None: a chain that the test made by hand. */
	go_on(ring, &ring->used_seen, &ring->used_wrap, count ? count : 1);
	if (!count)
		return true;
	ring->count[d.id] = 0;
	ring->next[d.id] = ring->free_head;
	ring->free_head = d.id;
	ring->free_count = (uint16_t)(ring->free_count + count);
	return true;
}

/* ---- events ---- */

void driver_packed_set_event(struct driver_ring *ring, uint16_t offset, bool wrap, unsigned flags)
{
	uint32_t *event = shared(ring, ring->layout.driver, 4);

	__atomic_store_n(event,
			 flags << 16 | (wrap ? 1u << VRING_PACKED_EVENT_F_WRAP_CTR : 0) | offset,
			 __ATOMIC_RELEASE);
}

void driver_packed_interrupt_after(struct driver_ring *ring, uint16_t n)
{
	uint16_t offset = ring->used_seen;
	bool wrap = ring->used_wrap;

	go_on(ring, &offset, &wrap, n);
	driver_packed_set_event(ring, offset, wrap, VRING_PACKED_EVENT_FLAG_DESC);
}

uint32_t driver_packed_event(const struct driver_ring *ring)
{
	return __atomic_load_n((uint32_t *)shared(ring, ring->layout.device, 4), __ATOMIC_ACQUIRE);
}

bool driver_packed_wants_doorbell(const struct driver_ring *ring)
{
	uint32_t event = driver_packed_event(ring);
	uint16_t offset = event & 0x7fff, at = offset;
	bool wrap = event >> 15 & 1;

	if (event >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return event >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	/* The place right before the next descriptor. */
	go_on(ring, &at, &wrap, 1);
	return at == ring->avail_idx && wrap == ring->avail_wrap;
}
