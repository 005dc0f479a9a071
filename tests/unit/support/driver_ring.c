/* SPDX-License-Identifier: MIT */
/* The driver's side of a ring, split ones in full; see virtio_driver.h. */
#include "tests/unit/support/virtio_driver.h"

#include <criterion/criterion.h>

void driver_write(struct guest_memory *memory, gpa_t at, const void *data, size_t len)
{
	cr_assert_eq(guest_write(memory, at, data, len), 0);
}

void driver_read(const struct guest_memory *memory, gpa_t at, void *data, size_t len)
{
	cr_assert_eq(guest_read(memory, at, data, len), 0);
}

/* Indices and flags are shared with the device's thread: one access, with the driver's barriers. */
static uint16_t *shared16(const struct driver_ring *ring, gpa_t at)
{
	uint64_t n;
	void *host = guest_resolve(ring->memory, at, 2, &n);

	cr_assert(host && n == 2);
	return host;
}

static void put16(struct driver_ring *ring, gpa_t at, uint16_t v)
{
	__atomic_store_n(shared16(ring, at), v, __ATOMIC_RELEASE);
}

static uint16_t get16(const struct driver_ring *ring, gpa_t at)
{
	return __atomic_load_n(shared16(ring, at), __ATOMIC_ACQUIRE);
}

/* ---- a split ring ---- */

static uint64_t avail_offset(uint16_t size)
{
	return UINT64_C(16) * size;
}

static uint64_t used_offset(uint16_t size)
{
	return align_up(avail_offset(size) + 6 + UINT64_C(2) * size, 16);
}

uint64_t driver_ring_bytes(uint16_t size)
{
	return align_up(used_offset(size) + 6 + UINT64_C(8) * size, 16);
}

void driver_ring_init(struct driver_ring *ring, struct guest_memory *memory, gpa_t at,
		      uint16_t size)
{
	*ring = (struct driver_ring){
		.memory = memory,
		.layout = {size, at, gpa_add(at, avail_offset(size)),
			   gpa_add(at, used_offset(size))},
		.free_count = size,
	};
	for (uint16_t i = 0; i < size && i < VIRTQ_MAX_SIZE; i++)
		ring->next[i] = (uint16_t)(i + 1);
	cr_assert_eq(guest_fill(memory, at, 0, driver_ring_bytes(size)), 0);
}

void driver_table_desc(struct guest_memory *memory, gpa_t table, uint16_t index, uint64_t addr,
		       uint32_t len, unsigned flags, uint16_t next)
{
	const struct vring_desc d = {addr, len, (uint16_t)flags, next};

	driver_write(memory, gpa_add(table, UINT64_C(16) * index), &d, sizeof(d));
}

void driver_ring_desc(struct driver_ring *ring, uint16_t index, uint64_t addr, uint32_t len,
		      unsigned flags, uint16_t next)
{
	driver_table_desc(ring->memory, ring->layout.desc, index, addr, len, flags, next);
}

void driver_ring_set_avail(struct driver_ring *ring, uint16_t idx)
{
	ring->avail_idx = idx;
	put16(ring, gpa_add(ring->layout.driver, 2), idx);
}

void driver_ring_offer(struct driver_ring *ring, uint16_t head)
{
	uint16_t at = ring->avail_idx % ring->layout.size;

	put16(ring, gpa_add(ring->layout.driver, 4 + UINT64_C(2) * at), head);
	driver_ring_set_avail(ring, (uint16_t)(ring->avail_idx + 1));
}

static uint16_t take_desc(struct driver_ring *ring)
{
	uint16_t index = ring->free_head;

	cr_assert(ring->free_count > 0, "the test's ring has no free descriptor");
	ring->free_head = ring->next[index];
	ring->free_count--;
	return index;
}

uint16_t driver_ring_add(struct driver_ring *ring, const struct driver_buffer *buffers, unsigned n)
{
	uint16_t head = ring->free_head;

	if (ring->packed)
		return driver_packed_add(ring, buffers, n);
	for (unsigned i = 0; i < n; i++) {
		uint16_t index = take_desc(ring);
		bool last = i + 1 == n;

		driver_ring_desc(ring, index, buffers[i].addr.v, buffers[i].len,
				 (buffers[i].writable ? VRING_DESC_F_WRITE : 0u) |
					 (last ? 0u : VRING_DESC_F_NEXT),
				 last ? 0 : ring->free_head);
	}
	ring->count[head] = (uint16_t)n;
	driver_ring_offer(ring, head);
	return head;
}

uint16_t driver_ring_add_indirect(struct driver_ring *ring, gpa_t table,
				  const struct driver_buffer *buffers, unsigned n)
{
	uint16_t head;

	if (ring->packed)
		return driver_packed_add_indirect(ring, table, buffers, n);
	head = take_desc(ring);
	for (uint16_t i = 0; i < n; i++)
		driver_table_desc(ring->memory, table, i, buffers[i].addr.v, buffers[i].len,
				  (buffers[i].writable ? VRING_DESC_F_WRITE : 0u) |
					  (i + 1u == n ? 0u : VRING_DESC_F_NEXT),
				  (uint16_t)(i + 1));
	driver_ring_desc(ring, head, table.v, 16 * n, VRING_DESC_F_INDIRECT, 0);
	ring->count[head] = 1;
	driver_ring_offer(ring, head);
	return head;
}

uint16_t driver_ring_used_idx(const struct driver_ring *ring)
{
	return get16(ring, gpa_add(ring->layout.device, 2));
}

bool driver_ring_has_used(const struct driver_ring *ring)
{
	return ring->packed ? driver_packed_has_used(ring)
			    : driver_ring_used_idx(ring) != ring->used_seen;
}

bool driver_ring_used(struct driver_ring *ring, uint32_t *id, uint32_t *len)
{
	struct vring_used_elem e;
	uint16_t last;

	if (ring->packed)
		return driver_packed_used(ring, id, len);
	if (!driver_ring_has_used(ring))
		return false;
	driver_read(ring->memory,
		    gpa_add(ring->layout.device,
			    4 + UINT64_C(8) * (ring->used_seen % ring->layout.size)),
		    &e, sizeof(e));
	ring->used_seen++;
	*id = e.id;
	*len = e.len;
	cr_assert(e.id < ring->layout.size, "used element with id %u", e.id);
	if (!ring->count[e.id]) /* a chain that the test made by hand */
		return true;
	last = (uint16_t)e.id;
	for (unsigned i = 1; i < ring->count[e.id]; i++)
		last = ring->next[last];
	ring->next[last] = ring->free_head;
	ring->free_head = (uint16_t)e.id;
	ring->free_count = (uint16_t)(ring->free_count + ring->count[e.id]);
	ring->count[e.id] = 0;
	return true;
}

void driver_ring_set_avail_flags(struct driver_ring *ring, uint16_t flags)
{
	put16(ring, ring->layout.driver, flags);
}

void driver_ring_set_used_event(struct driver_ring *ring, uint16_t idx)
{
	put16(ring, gpa_add(ring->layout.driver, 4 + UINT64_C(2) * ring->layout.size), idx);
}

uint16_t driver_ring_used_flags(const struct driver_ring *ring)
{
	return get16(ring, ring->layout.device);
}

uint16_t driver_ring_avail_event(const struct driver_ring *ring)
{
	return get16(ring, gpa_add(ring->layout.device, 4 + UINT64_C(8) * ring->layout.size));
}

/* ---- of either format ---- */

void driver_ring_break(struct driver_ring *ring)
{
	if (ring->packed)
		driver_packed_desc(ring, 0, 16, 0, ring->layout.size);
	else
		driver_ring_set_avail(ring, (uint16_t)(ring->avail_idx + 1000));
}

void driver_ring_interrupts(struct driver_ring *ring, bool on)
{
	if (ring->packed)
		driver_packed_set_event(ring, 0, false,
					on ? VRING_PACKED_EVENT_FLAG_ENABLE
					   : VRING_PACKED_EVENT_FLAG_DISABLE);
	else
		driver_ring_set_avail_flags(ring, on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
}

void driver_ring_interrupt_after(struct driver_ring *ring, uint16_t n)
{
	if (ring->packed)
		driver_packed_interrupt_after(ring, n);
	else
		driver_ring_set_used_event(ring, (uint16_t)(ring->used_seen + n));
}

bool driver_ring_wants_doorbell(const struct driver_ring *ring)
{
	if (ring->packed)
		return driver_packed_wants_doorbell(ring);
	if (ring->event_idx)
		return vring_need_event(driver_ring_avail_event(ring), ring->avail_idx,
					(uint16_t)(ring->avail_idx - 1));
	return !(driver_ring_used_flags(ring) & VRING_USED_F_NO_NOTIFY);
}
