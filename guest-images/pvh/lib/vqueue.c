/* SPDX-License-Identifier: MIT */
/* Virtio 1.2: 2.7 (split rings), 2.8 (packed rings). */
#include <linux/virtio_mmio.h>

#include "virtio.h"

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

static bool enable(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t size, uint16_t vector)
{
	memset(q, 0, sizeof(*q));
	q->dev = d;
	q->index = index;
	q->size = size;
	q->packed = d->features & F_RING_PACKED;
	if (q->packed)
		q->ring.avail_wrap = q->ring.used_wrap = true;
	return vdev_enable_queue(q, vector);
}

bool vqueue_enable(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t vector)
{
	uint16_t max = vdev_queue_size(d, index);

	return max && enable(q, d, index, max < QUEUE_MAX ? max : QUEUE_MAX, vector);
}

bool vqueue_enable_sized(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t size)
{
	return enable(q, d, index, size, NO_VECTOR);
}

/* ---- split ---- */

static void publish(struct split_ring *s, uint16_t size, uint16_t head)
{
	s->avail.ring[s->next_avail % size] = head;
	barrier(); /* x86 keeps stores in order */
	*(volatile uint16_t *)&s->avail.idx = ++s->next_avail;
}

static struct vring_desc descriptor(const struct segment *seg, bool write, bool last, uint16_t next)
{
	return (struct vring_desc){
		.addr = (uint64_t)seg->data,
		.len = seg->len,
		.flags = (uint16_t)((write ? VRING_DESC_F_WRITE : 0) |
				    (last ? 0 : VRING_DESC_F_NEXT)),
		.next = last ? 0 : next,
	};
}

static uint16_t split_add(struct vqueue *q, const struct segment *segs, unsigned out, unsigned in)
{
	struct split_ring *s = &q->split;
	uint16_t head = s->next_desc;

	for (unsigned i = 0; i < out + in; i++) {
		uint16_t at = s->next_desc;

		s->next_desc = (uint16_t)((at + 1) % q->size);
		s->desc[at] = descriptor(&segs[i], i >= out, i + 1 == out + in, s->next_desc);
	}
	publish(s, q->size, head);
	return head;
}

static uint16_t split_add_indirect(struct vqueue *q, struct vring_desc *table,
				   const struct segment *segs, unsigned out, unsigned in)
{
	struct split_ring *s = &q->split;
	uint16_t head = s->next_desc;

	for (unsigned i = 0; i < out + in; i++)
		table[i] = descriptor(&segs[i], i >= out, i + 1 == out + in, (uint16_t)(i + 1));
	s->next_desc = (uint16_t)((head + 1) % q->size);
	s->desc[head] = (struct vring_desc){
		.addr = (uint64_t)table,
		.len = (uint32_t)((out + in) * sizeof(*table)),
		.flags = VRING_DESC_F_INDIRECT,
	};
	publish(s, q->size, head);
	return head;
}

static bool split_poll(struct vqueue *q, uint32_t *head, uint32_t *written)
{
	struct split_ring *s = &q->split;
	struct vring_used_elem *e;

	if (*(volatile uint16_t *)&s->used.idx == s->seen_used)
		return false;
	barrier();
	e = &s->used.ring[s->seen_used++ % q->size];
	*head = e->id;
	*written = e->len;
	return true;
}

/* With EVENT_IDX both events lie right behind the rings, whatever the arrays' size here. */
static volatile uint16_t *split_used_event(struct vqueue *q)
{
	return &q->split.avail.ring[q->size];
}

static uint16_t split_avail_event(const struct vqueue *q)
{
	const volatile uint32_t *event = &q->split.used.ring[q->size].id;

	return (uint16_t)*event;
}

/* ---- packed ---- */

static void go_on(const struct vqueue *q, uint16_t *offset, bool *wrap, unsigned n)
{
	unsigned to = *offset + n;

	if (to >= q->size) {
		to -= q->size;
		*wrap = !*wrap;
	}
	*offset = (uint16_t)to;
}

static uint16_t take_id(struct packed_ring *r, unsigned descs)
{
	uint16_t id = 0;

	while (r->ids >> id & 1)
		id++;
	r->ids |= 1ull << id;
	r->counts[id] = (uint8_t)descs;
	return id;
}

/* Write the next descriptor; its flags are returned, with those of the turn. */
static uint16_t packed_desc(struct vqueue *q, const struct segment *seg, uint16_t id,
			    unsigned flags)
{
	struct packed_ring *r = &q->ring;
	struct vring_packed_desc *d = &r->desc[r->next_avail];

	d->addr = (uint64_t)seg->data;
	d->len = seg->len;
	d->id = id;
	flags |= r->avail_wrap ? AVAIL : USED;
	go_on(q, &r->next_avail, &r->avail_wrap, 1);
	return (uint16_t)flags;
}

static uint16_t packed_add(struct vqueue *q, const struct segment *segs, unsigned out, unsigned in)
{
	struct packed_ring *r = &q->ring;
	uint16_t id = take_id(r, out + in), first = r->next_avail, first_flags = 0;

	for (unsigned i = 0; i < out + in; i++) {
		uint16_t at = r->next_avail;
		uint16_t flags = packed_desc(q, &segs[i], id,
					     (i >= out ? VRING_DESC_F_WRITE : 0u) |
						     (i + 1 < out + in ? VRING_DESC_F_NEXT : 0u));

		if (i == 0)
			first_flags = flags;
		else
			r->desc[at].flags = flags;
	}
	barrier(); /* x86 keeps stores in order */
	*(volatile uint16_t *)&r->desc[first].flags = first_flags;
	return id;
}

static uint16_t packed_add_indirect(struct vqueue *q, struct vring_packed_desc *table,
				    const struct segment *segs, unsigned out, unsigned in)
{
	struct segment seg = {table, (uint32_t)((out + in) * sizeof(*table))};
	struct packed_ring *r = &q->ring;
	uint16_t id = take_id(r, 1), at = r->next_avail, flags;

	for (unsigned i = 0; i < out + in; i++)
		table[i] = (struct vring_packed_desc){
			.addr = (uint64_t)segs[i].data,
			.len = segs[i].len,
			.flags = i >= out ? VRING_DESC_F_WRITE : 0,
		};
	flags = packed_desc(q, &seg, id, VRING_DESC_F_INDIRECT);
	barrier();
	*(volatile uint16_t *)&r->desc[at].flags = flags;
	return id;
}

static bool packed_poll(struct vqueue *q, uint32_t *head, uint32_t *written)
{
	struct packed_ring *r = &q->ring;
	struct vring_packed_desc *d = &r->desc[r->next_used];
	uint16_t flags = *(volatile uint16_t *)&d->flags;

	if (!!(flags & AVAIL) != r->used_wrap || !!(flags & USED) != r->used_wrap)
		return false;
	barrier();
	if (d->id >= q->size || !(r->ids >> d->id & 1))
		give_up("packed-used", "buffer id %u is not in flight", d->id);
	*head = d->id;
	*written = d->len;
	r->ids &= ~(1ull << d->id);
	go_on(q, &r->next_used, &r->used_wrap, r->counts[*head]);
	return true;
}

/* Whether the device's event is the place of the descriptor that was added last. */
static bool packed_wants_kick(const struct vqueue *q)
{
	uint32_t event = *(const volatile uint32_t *)&q->ring.device_event;
	uint16_t at = event & 0x7fff;
	bool wrap = event >> 15 & 1;

	if (event >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return event >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	go_on(q, &at, &wrap, 1);
	return at == q->ring.next_avail && wrap == q->ring.avail_wrap;
}

/* ---- either ---- */

uint16_t vqueue_add(struct vqueue *q, const struct segment *segs, unsigned out, unsigned in)
{
	return q->packed ? packed_add(q, segs, out, in) : split_add(q, segs, out, in);
}

uint16_t vqueue_add_indirect(struct vqueue *q, struct vring_desc *table, const struct segment *segs,
			     unsigned out, unsigned in)
{
	/* Descriptors of both formats have the same size. */
	return q->packed ? packed_add_indirect(q, (void *)table, segs, out, in)
			 : split_add_indirect(q, table, segs, out, in);
}

/* Our stores before a look at what the device stores, or before its doorbell. */
static void full_barrier(void)
{
	__asm__ volatile("lock orl $0, (%%rsp)" : : : "memory");
}

void vqueue_kick(struct vqueue *q)
{
	full_barrier();
	if (q->dev->window)
		write32(q->dev->window + VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
	else
		write16(q->doorbell, q->index);
}

bool vqueue_wants_kick(const struct vqueue *q)
{
	full_barrier();
	if (q->packed)
		return packed_wants_kick(q);
	if (q->dev->features & 1ull << VIRTIO_RING_F_EVENT_IDX)
		return split_avail_event(q) == (uint16_t)(q->split.next_avail - 1);
	return !(*(const volatile uint16_t *)&q->split.used.flags & VRING_USED_F_NO_NOTIFY);
}

void vqueue_interrupt_after(struct vqueue *q, unsigned n)
{
	uint16_t at = q->ring.next_used;
	bool wrap = q->ring.used_wrap;

	if (!q->packed) {
		*split_used_event(q) = (uint16_t)(q->split.seen_used + n);
		return;
	}
	go_on(q, &at, &wrap, n);
	*(volatile uint32_t *)&q->ring.driver_event =
		(uint32_t)VRING_PACKED_EVENT_FLAG_DESC << 16 | (wrap ? 0x8000u : 0) | at;
}

bool vqueue_poll(struct vqueue *q, uint32_t *head, uint32_t *written)
{
	return q->packed ? packed_poll(q, head, written) : split_poll(q, head, written);
}

bool vqueue_wait(struct vqueue *q, uint32_t *head, uint32_t *written)
{
	return wait_until(vqueue_poll(q, head, written));
}
