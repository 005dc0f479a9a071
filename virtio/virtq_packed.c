/* SPDX-License-Identifier: MIT */
/*
 * Packed virtqueues (virtio 1.2, section 2.8): one ring of descriptors, which driver and device
 * write in turns.
 *
 * Whose turn it is, is said by two flags of each descriptor together with a wrap counter that each
 * side keeps and flips when it passes the end of the ring. A chain lies in consecutive descriptors;
 * its buffer id is in the last one. The device gives a chain back by writing one descriptor at its
 * own place in the ring, and then goes on as many places as the chain had descriptors.
 */
#include "virtio/virtq_private.h"

#include <errno.h>

_Static_assert(sizeof(struct vring_packed_desc) == 16, "2.8.13: descriptors have 16 bytes");
_Static_assert(sizeof(struct vring_packed_desc_event) == 4, "2.8.14: event suppression");

#define DESC_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  (1u << VRING_PACKED_DESC_F_USED)

/* Of offset and wrap counter in one 16-bit field (2.8.14, and our saved positions). */
#define WRAP_BIT (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static uint64_t ring_bytes(uint16_t size)
{
	return sizeof(struct vring_packed_desc) * (uint64_t)size;
}

static int packed_check(struct virtq *vq, const struct virtq_layout *l)
{
	const uint64_t event = sizeof(struct vring_packed_desc_event);
	int rc;

	if (!l->size || l->size > vq->max_size)
		return virtq_fail(vq, EINVAL, "queue size %u is not between 1 and %u", l->size,
				  vq->max_size);
	rc = virtq_check_part(vq, "descriptor ring", l->desc, ring_bytes(l->size), 16);
	if (!rc)
		rc = virtq_check_part(vq, "driver event suppression", l->driver, event, 4);
	if (!rc)
		rc = virtq_check_part(vq, "device event suppression", l->device, event, 4);
	return rc;
}

static void packed_enable(struct virtq *vq)
{
	const struct virtq_layout *l = &vq->layout;

	vq->packed = (struct virtq_packed_ring){
		.desc = virtq_resolve_whole(vq, l->desc, ring_bytes(l->size)),
		.driver_event = virtq_resolve_whole(vq, l->driver, 4),
		.device_event = virtq_resolve_whole(vq, l->device, 4),
		/* 2.8.1: both counters start at 1. */
		.avail.wrap = true,
		.used.wrap = true,
	};
	for (uint16_t i = 0; i < l->size; i++)
		vq->slots[i].next_free = (uint16_t)(i + 1);
}

/* ---- places ---- */

/* n: at most the size of the ring. */
static void go_on(const struct virtq *vq, struct virtq_packed_place *place, unsigned n)
{
	unsigned offset = place->offset + n;

	if (offset >= vq->layout.size) {
		offset -= vq->layout.size;
		place->wrap = !place->wrap;
	}
	place->offset = (uint16_t)offset;
}

static void go_back(const struct virtq *vq, struct virtq_packed_place *place, unsigned n)
{
	unsigned offset = place->offset;

	if (offset < n) {
		offset += vq->layout.size;
		place->wrap = !place->wrap;
	}
	place->offset = (uint16_t)(offset - n);
}

static uint16_t pack(const struct virtq_packed_place *place)
{
	return (uint16_t)(place->offset | (place->wrap ? WRAP_BIT : 0));
}

static struct virtq_packed_place unpack(uint16_t v)
{
	return (struct virtq_packed_place){(uint16_t)(v & ~WRAP_BIT), v & WRAP_BIT};
}

/* ---- the chain walker ---- */

/* 2.8.1: available to a device with this wrap counter: AVAIL equals it, USED does not. */
static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

/*
 * The flags of the next descriptor. Acquire: pairs with the driver's barrier before it stores them;
 * the rest of the chain must not be read before.
 */
static uint16_t next_flags(const struct virtq_packed_ring *p)
{
	return __atomic_load_n(&p->desc[p->avail.offset].flags, __ATOMIC_ACQUIRE);
}

/*
 * An indirect table (2.8.7): all of its descriptors, one after the other. Of their flags only WRITE
 * means something; drivers are known to set NEXT and the turn's flags as well.
 */
static int walk_table(struct virtq *vq, struct virtq_slot *slot, uint64_t addr, uint32_t len)
{
	const struct vring_packed_desc *desc;
	struct vring_packed_desc d;
	const void *table;
	int rc = virtq_indirect_table(vq, addr, len, &table);

	desc = table;
	for (uint32_t i = 0; !rc && i < len / sizeof(d); i++) {
		virtq_copy_once(&d, &desc[i], sizeof(d));
		if (d.flags & VRING_DESC_F_INDIRECT)
			return virtq_fail(vq, EINVAL, "indirect descriptor in an indirect table");
		rc = virtq_slot_add(vq, slot, gpa(d.addr), d.len, d.flags & VRING_DESC_F_WRITE);
	}
	return rc;
}

/*
 * Everything that a chain can get wrong is found here. The walk ends: each step takes one of the
 * descriptors that are not in flight. first_flags: of the first descriptor, as they were when it
 * was found available. *id: the chain's.
 */
static int walk(struct virtq *vq, struct virtq_slot *slot, uint16_t first_flags, uint16_t *id)
{
	struct virtq_packed_ring *p = &vq->packed;
	struct virtq_packed_place at = p->avail;
	struct vring_packed_desc d;
	int rc;

	for (uint16_t n = 1;; n++, go_on(vq, &at, 1)) {
		if (n > vq->layout.size - p->held_descs)
			return virtq_fail(vq, EINVAL, "chain %u is longer than the ring has room",
					  slot->chain.head);
		virtq_copy_once(&d, &p->desc[at.offset], sizeof(d));
		if (n == 1)
			d.flags = first_flags;
		*id = d.id;
		slot->ring_descs = n;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* 2.8.19: never together with direct descriptors. */
			if (n > 1 || d.flags & VRING_DESC_F_NEXT)
				return virtq_fail(vq, EINVAL, "indirect descriptor in a chain");
			return walk_table(vq, slot, d.addr, d.len);
		}
		rc = virtq_slot_add(vq, slot, gpa(d.addr), d.len, d.flags & VRING_DESC_F_WRITE);
		if (rc || !(d.flags & VRING_DESC_F_NEXT))
			return rc;
	}
}

static int packed_pop(struct virtq *vq, struct virtq_chain **chain)
{
	struct virtq_packed_ring *p = &vq->packed;
	uint16_t flags = next_flags(p), index = p->free_slot, id = 0;
	struct virtq_slot *slot;
	int rc;

	if (!is_available(flags, p->avail.wrap))
		return 0;
	if (p->held_descs == vq->layout.size)
		return virtq_fail(vq, EINVAL, "more descriptors than the ring has are in flight");
	/* Each chain takes a descriptor at least: as there is one left, there is a slot. */
	slot = &vq->slots[index];
	virtq_slot_begin(vq, index, p->avail.offset);
	rc = walk(vq, slot, flags, &id);
	if (rc)
		return rc;
	/* 2.8.5 sets no bound, but no driver in use needs more ids than there are buffers. */
	if (id >= vq->layout.size)
		return virtq_fail(vq, EINVAL, "buffer id %u of %u", id, vq->layout.size);
	if (p->ids[id / 64] >> (id % 64) & 1)
		return virtq_fail(vq, EINVAL, "buffer id %u is in flight already", id);
	p->ids[id / 64] |= UINT64_C(1) << (id % 64);
	slot->chain.head = id;
	p->free_slot = slot->next_free;
	p->held_descs = (uint16_t)(p->held_descs + slot->ring_descs);
	go_on(vq, &p->avail, slot->ring_descs);
	virtq_slot_commit(vq, slot);
	*chain = &slot->chain;
	return 1;
}

/* The chain is not in flight any more; its slot and id are free. */
static void let_go(struct virtq *vq, const struct virtq_slot *slot)
{
	struct virtq_packed_ring *p = &vq->packed;
	uint16_t id = slot->chain.head, index = slot->chain.slot;

	p->ids[id / 64] &= ~(UINT64_C(1) << (id % 64));
	vq->slots[index].next_free = p->free_slot;
	p->free_slot = index;
}

static void packed_unpop(struct virtq *vq, const struct virtq_slot *slot)
{
	struct virtq_packed_ring *p = &vq->packed;

	/* How far the driver has come is never remembered here: its flags say it each time. */
	if (!slot)
		return;
	let_go(vq, slot);
	p->held_descs = (uint16_t)(p->held_descs - slot->ring_descs);
	go_back(vq, &p->avail, slot->ring_descs);
}

/* ---- giving back ---- */

static void packed_push(struct virtq *vq, const struct virtq_slot *slot, uint32_t written)
{
	struct virtq_packed_ring *p = &vq->packed;
	struct vring_packed_desc *d = &p->desc[p->used.offset];
	/* 2.8.1: used: both equal the counter. 2.8.4: WRITE: there is something at all. */
	uint16_t flags = (uint16_t)((p->used.wrap ? DESC_AVAIL | DESC_USED : 0) |
				    (written ? VRING_DESC_F_WRITE : 0u));

	d->id = slot->chain.head;
	d->len = written;
	/* The driver looks at one after the other: without the first it sees none of a batch. */
	if (!p->batch_descs) {
		p->batch = p->used;
		p->batch_flags = flags;
	} else {
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
	}
	p->batch_descs = (uint16_t)(p->batch_descs + slot->ring_descs);
	go_on(vq, &p->used, slot->ring_descs);
	let_go(vq, slot);
}

/* 2.8.14: whether the place that the driver names is one of `n` from `from` on. */
static bool names_one_of(const struct virtq *vq, uint16_t event, struct virtq_packed_place from,
			 unsigned n)
{
	struct virtq_packed_place wanted = unpack(event);
	int distance = wanted.offset - from.offset;

	if (wanted.wrap != from.wrap)
		distance += vq->layout.size;
	return distance >= 0 && (unsigned)distance < n;
}

static bool packed_publish(struct virtq *vq)
{
	struct virtq_packed_ring *p = &vq->packed;
	unsigned descs = p->batch_descs;
	uint32_t event;

	if (!descs)
		return false;
	/* Release: the batch, and the data it stands for, are visible before its first flags. */
	__atomic_store_n(&p->desc[p->batch.offset].flags, p->batch_flags, __ATOMIC_RELEASE);
	p->batch_descs = 0;
	p->held_descs = (uint16_t)(p->held_descs - descs);
	guest_mark_dirty(vq->memory, vq->layout.desc, ring_bytes(vq->layout.size));
	/* Our store before our look at the driver's wish. */
	virtq_full_barrier();
	event = __atomic_load_n(p->driver_event, __ATOMIC_RELAXED);
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		/* Without the feature it means nothing; one interrupt too many does no harm. */
		return !(vq->features & VIRTQ_EVENT_IDX) ||
		       names_one_of(vq, (uint16_t)event, p->batch, descs);
	default:
		return true;
	}
}

/* ---- doorbell suppression (2.8.14) ---- */

/* Both fields with one store: the driver reads them with one load. */
static void set_device_event(struct virtq *vq, unsigned flags, uint16_t place)
{
	__atomic_store_n(vq->packed.device_event, flags << 16 | place, __ATOMIC_RELAXED);
	guest_mark_dirty(vq->memory, vq->layout.device, 4);
}

static void packed_notify_disable(struct virtq *vq)
{
	/* With EVENT_IDX a place that lies behind asks for nothing: leave it. */
	if (!(vq->features & VIRTQ_EVENT_IDX))
		set_device_event(vq, VRING_PACKED_EVENT_FLAG_DISABLE, 0);
}

static bool packed_notify_enable(struct virtq *vq)
{
	struct virtq_packed_ring *p = &vq->packed;

	if (vq->features & VIRTQ_EVENT_IDX)
		set_device_event(vq, VRING_PACKED_EVENT_FLAG_DESC, pack(&p->avail));
	else
		set_device_event(vq, VRING_PACKED_EVENT_FLAG_ENABLE, 0);
	/* Our wish before our last look at the ring, as in virtq_split.c. */
	virtq_full_barrier();
	return is_available(next_flags(p), p->avail.wrap);
}

/* ---- saved state ---- */

static void packed_get_position(const struct virtq *vq, struct virtq_position *position)
{
	*position = (struct virtq_position){pack(&vq->packed.avail), pack(&vq->packed.used)};
}

static bool packed_position_ok(const struct virtq_position *position,
			       const struct virtq_layout *layout)
{
	return unpack(position->next_avail).offset < layout->size &&
	       unpack(position->next_used).offset < layout->size;
}

static void packed_set_position(struct virtq *vq, const struct virtq_position *position)
{
	vq->packed.avail = unpack(position->next_avail);
	vq->packed.used = unpack(position->next_used);
}

const struct virtq_format virtq_packed = {
	.check = packed_check,
	.enable = packed_enable,
	.pop = packed_pop,
	.unpop = packed_unpop,
	.push = packed_push,
	.publish = packed_publish,
	.notify_disable = packed_notify_disable,
	.notify_enable = packed_notify_enable,
	.get_position = packed_get_position,
	.position_ok = packed_position_ok,
	.set_position = packed_set_position,
};
