/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues (virtio 1.2, section 2.7).
 */
#include "virtio/virtq_private.h"

#include <errno.h>

_Static_assert(sizeof(struct vring_desc) == 16, "2.7.5: descriptors have 16 bytes");
_Static_assert(sizeof(struct vring_used_elem) == 8, "2.7.8: used elements have 8 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are read as they are");

/* Sizes of the three parts (2.7); rings with their event index at the end. */
static uint64_t desc_bytes(uint16_t size)
{
	return UINT64_C(16) * size;
}

static uint64_t avail_bytes(uint16_t size)
{
	return 6 + UINT64_C(2) * size;
}

static uint64_t used_bytes(uint16_t size)
{
	return 6 + UINT64_C(8) * size;
}

static int split_check(struct virtq *vq, const struct virtq_layout *l)
{
	int rc;

	if (!is_power_of_two(l->size) || l->size > vq->max_size)
		return virtq_fail(vq, EINVAL, "queue size %u is not a power of two of at most %u",
				  l->size, vq->max_size);
	rc = virtq_check_part(vq, "descriptor table", l->desc, desc_bytes(l->size), 16);
	if (!rc)
		rc = virtq_check_part(vq, "available ring", l->driver, avail_bytes(l->size), 2);
	if (!rc)
		rc = virtq_check_part(vq, "used ring", l->device, used_bytes(l->size), 4);
	return rc;
}

static void split_enable(struct virtq *vq)
{
	const struct virtq_layout *l = &vq->layout;

	vq->split = (struct virtq_split_ring){
		.desc = virtq_resolve_whole(vq, l->desc, desc_bytes(l->size)),
		.avail = virtq_resolve_whole(vq, l->driver, avail_bytes(l->size)),
		.used = virtq_resolve_whole(vq, l->device, used_bytes(l->size)),
	};
}

/* ---- the chain walker ---- */

/* The descriptors that are being walked: the queue's table, or an indirect one. */
struct table {
	const struct vring_desc *desc;
	unsigned count;
	bool indirect;
};

/* Follow the pointer to an indirect table (2.7.5.3). Its WRITE flag means nothing (2.7.5.3.2). */
static int enter_indirect(struct virtq *vq, const struct vring_desc *d, struct table *table)
{
	const void *desc;
	int rc;

	if (table->indirect)
		return virtq_fail(vq, EINVAL, "indirect descriptor in an indirect table");
	if (d->flags & VRING_DESC_F_NEXT)
		return virtq_fail(vq, EINVAL, "indirect descriptor with NEXT");
	rc = virtq_indirect_table(vq, d->addr, d->len, &desc);
	if (rc)
		return rc;
	*table = (struct table){
		.desc = desc,
		.count = d->len / (uint32_t)sizeof(*d),
		.indirect = true,
	};
	return 0;
}

/*
 * Everything that a chain can get wrong is found here. The walk ends: each step takes one of at
 * most max_size descriptors, and an indirect table is entered once.
 */
static int walk(struct virtq *vq, struct virtq_slot *slot)
{
	struct table table = {.desc = vq->split.desc, .count = vq->layout.size};
	unsigned index = slot->chain.head, buffers = 0;
	struct vring_desc d;
	int rc;

	for (;;) {
		if (index >= table.count)
			return virtq_fail(vq, EINVAL, "descriptor index %u of %u", index,
					  table.count);
		virtq_copy_once(&d, &table.desc[index], sizeof(d));
		if (d.flags & VRING_DESC_F_INDIRECT) {
			rc = enter_indirect(vq, &d, &table);
			if (rc)
				return rc;
			index = 0;
			continue;
		}
		if (++buffers > vq->max_size)
			return virtq_fail(vq, EINVAL, "chain %u loops", slot->chain.head);
		rc = virtq_slot_add(vq, slot, gpa(d.addr), d.len, d.flags & VRING_DESC_F_WRITE);
		if (rc || !(d.flags & VRING_DESC_F_NEXT))
			return rc;
		index = d.next;
	}
}

/* Returns 1 if there are chains to pop, 0 if not, or -errno. */
static int look_for_chains(struct virtq *vq)
{
	struct virtq_split_ring *s = &vq->split;
	uint16_t idx;

	if (s->next_avail != s->seen_avail)
		return 1;
	/*
	 * Acquire: pairs with the driver's barrier before it stores the index. The ring entries and
	 * descriptors that the index covers must not be read before it.
	 */
	idx = __atomic_load_n(&s->avail->idx, __ATOMIC_ACQUIRE);
	if ((uint16_t)(idx - s->next_avail) > vq->layout.size)
		return virtq_fail(vq, EINVAL, "available index jumped from %u to %u", s->next_avail,
				  idx);
	s->seen_avail = idx;
	return s->next_avail != idx;
}

static int split_pop(struct virtq *vq, struct virtq_chain **chain)
{
	struct virtq_split_ring *s = &vq->split;
	struct virtq_slot *slot;
	uint16_t head;
	int rc = look_for_chains(vq);

	if (rc <= 0)
		return rc;
	/* Relaxed, but atomic: one load, whatever the guest does to the entry. */
	head = __atomic_load_n(&s->avail->ring[s->next_avail & (vq->layout.size - 1)],
			       __ATOMIC_RELAXED);
	if (head >= vq->layout.size)
		return virtq_fail(vq, EINVAL, "head %u of %u", head, vq->layout.size);
	slot = &vq->slots[head];
	if (slot->chain.busy)
		return virtq_fail(vq, EINVAL, "head %u is in flight already", head);
	virtq_slot_begin(vq, head, head);
	rc = walk(vq, slot);
	if (rc)
		return rc;
	s->next_avail++;
	virtq_slot_commit(vq, slot);
	*chain = &slot->chain;
	return 1;
}

static void split_unpop(struct virtq *vq, const struct virtq_slot *slot)
{
	if (slot)
		vq->split.next_avail--;
	vq->split.seen_avail = vq->split.next_avail;
}

/* ---- the used ring ---- */

static void split_push(struct virtq *vq, const struct virtq_slot *slot, uint32_t written)
{
	struct virtq_split_ring *s = &vq->split;
	struct vring_used_elem *e = &s->used->ring[s->next_used & (vq->layout.size - 1)];

	e->id = slot->chain.head;
	e->len = written;
	s->next_used++;
}

static bool split_publish(struct virtq *vq)
{
	struct virtq_split_ring *s = &vq->split;
	const uint16_t *used_event = &s->avail->ring[vq->layout.size];
	uint16_t old = s->published;

	if (old == s->next_used)
		return false;
	/* Release: the elements, and the data they stand for, are visible before the index. */
	__atomic_store_n(&s->used->idx, s->next_used, __ATOMIC_RELEASE);
	s->published = s->next_used;
	guest_mark_dirty(vq->memory, vq->layout.device, used_bytes(vq->layout.size));
	/*
	 * Full barrier: our index store before our look at the driver's wish (2.7.7.2). The driver
	 * stores its wish and then looks at the index; without the barrier both could miss each
	 * other, and it would wait for an interrupt that never comes.
	 */
	virtq_full_barrier();
	if (vq->features & VIRTQ_EVENT_IDX)
		return vring_need_event(__atomic_load_n(used_event, __ATOMIC_RELAXED), s->next_used,
					old);
	return !(__atomic_load_n(&s->avail->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* ---- doorbell suppression (2.7.10) ---- */

static uint16_t *avail_event(const struct virtq *vq)
{
	return (uint16_t *)(void *)&vq->split.used->ring[vq->layout.size];
}

static void split_notify_disable(struct virtq *vq)
{
	/* With EVENT_IDX an event index that lies behind asks for nothing: leave it. */
	if (vq->features & VIRTQ_EVENT_IDX)
		return;
	__atomic_store_n(&vq->split.used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
	guest_mark_dirty(vq->memory, vq->layout.device, 2);
}

static bool split_notify_enable(struct virtq *vq)
{
	struct virtq_split_ring *s = &vq->split;

	if (vq->features & VIRTQ_EVENT_IDX)
		__atomic_store_n(avail_event(vq), s->next_avail, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&s->used->flags, 0, __ATOMIC_RELAXED);
	guest_mark_dirty(vq->memory, vq->layout.device, used_bytes(vq->layout.size));
	/*
	 * Full barrier: our wish is visible before we look at the driver's index for the last time.
	 * A chain that was added before the driver could see the wish came without a doorbell.
	 */
	virtq_full_barrier();
	return __atomic_load_n(&s->avail->idx, __ATOMIC_RELAXED) != s->next_avail;
}

/* ---- saved state ---- */

static void split_get_position(const struct virtq *vq, struct virtq_position *position)
{
	*position = (struct virtq_position){vq->split.next_avail, vq->split.next_used};
}

static bool split_position_ok(const struct virtq_position *position UNUSED,
			      const struct virtq_layout *layout UNUSED)
{
	return true; /* the indices run freely */
}

static void split_set_position(struct virtq *vq, const struct virtq_position *position)
{
	struct virtq_split_ring *s = &vq->split;

	s->next_avail = s->seen_avail = position->next_avail;
	s->next_used = s->published = position->next_used;
}

const struct virtq_format virtq_split = {
	.check = split_check,
	.enable = split_enable,
	.pop = split_pop,
	.unpop = split_unpop,
	.push = split_push,
	.publish = split_publish,
	.notify_disable = split_notify_disable,
	.notify_enable = split_notify_enable,
	.get_position = split_get_position,
	.position_ok = split_position_ok,
	.set_position = split_set_position,
};
