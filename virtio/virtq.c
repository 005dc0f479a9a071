/* SPDX-License-Identifier: MIT */
#include "virtio/virtq_private.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int virtq_create(struct virtq **out, struct guest_memory *memory, uint16_t max_size)
{
	struct virtq *vq = calloc(1, sizeof(*vq));

	assert(max_size > 0 && max_size <= VIRTQ_MAX_SIZE);
	if (!vq)
		return -ENOMEM;
	/* For the largest ring, whatever the driver chooses: nothing to resize, nothing to outgrow.
	 */
	vq->slots = calloc(max_size, sizeof(*vq->slots));
	if (!vq->slots) {
		free(vq);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < max_size; i++) {
		struct virtq_slot *slot = &vq->slots[i];

		slot->iov = slot->inline_iov;
		slot->in_range = slot->inline_range;
		slot->capacity = VIRTQ_INLINE_SEGMENTS;
	}
	guest_memory_get(memory);
	vq->memory = memory;
	vq->max_size = max_size;
	*out = vq;
	return 0;
}

static void slot_shrink(struct virtq_slot *slot)
{
	if (slot->iov == slot->inline_iov)
		return;
	free(slot->iov);
	free(slot->in_range);
	slot->iov = slot->inline_iov;
	slot->in_range = slot->inline_range;
	slot->capacity = VIRTQ_INLINE_SEGMENTS;
}

void virtq_destroy(struct virtq *vq)
{
	if (!vq)
		return;
	for (unsigned i = 0; i < vq->max_size; i++)
		slot_shrink(&vq->slots[i]);
	guest_memory_put(vq->memory);
	free(vq->slots);
	free(vq);
}

int virtq_fail(struct virtq *vq, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(vq->error, sizeof(vq->error), fmt, args);
	va_end(args);
	return -code;
}

const char *virtq_error(const struct virtq *vq)
{
	return vq->error;
}

static const struct virtq_format *format_of(unsigned features)
{
	return features & VIRTQ_PACKED ? &virtq_packed : &virtq_split;
}

int virtq_check(struct virtq *vq, const struct virtq_layout *layout, unsigned features)
{
	return format_of(features)->check(vq, layout);
}

int virtq_enable(struct virtq *vq, const struct virtq_layout *layout, unsigned features)
{
	int rc = virtq_check(vq, layout, features);

	if (rc)
		return rc;
	assert(!vq->enabled);
	vq->format = format_of(features);
	vq->layout = *layout;
	vq->features = features;
	vq->dead = 0;
	vq->error[0] = '\0';
	vq->format->enable(vq);
	vq->enabled = true;
	return 0;
}

void virtq_drop_all(struct virtq *vq)
{
	for (unsigned i = 0; i < vq->max_size; i++) {
		vq->slots[i].chain.busy = false;
		/* What one driver made grow does not burden the next. */
		slot_shrink(&vq->slots[i]);
	}
	vq->in_flight = 0;
	vq->generation++;
	vq->enabled = false;
	vq->dead = 0;
	vq->error[0] = '\0';
	vq->layout = (struct virtq_layout){0};
	memset(&vq->packed, 0, sizeof(vq->packed)); /* the larger of the two */
}

bool virtq_enabled(const struct virtq *vq)
{
	return vq->enabled;
}

/* ---- memory ---- */

void *virtq_resolve_whole(const struct virtq *vq, gpa_t addr, uint64_t len)
{
	uint64_t contiguous;
	void *host = guest_resolve(vq->memory, addr, len, &contiguous);

	return host && contiguous == len ? host : NULL;
}

int virtq_check_part(struct virtq *vq, const char *name, gpa_t addr, uint64_t len, uint64_t align)
{
	if (addr.v & (align - 1))
		return virtq_fail(vq, EINVAL, "%s at %#llx is not aligned to %u bytes", name,
				  (unsigned long long)addr.v, (unsigned)align);
	if (!virtq_resolve_whole(vq, addr, len))
		return virtq_fail(vq, EFAULT, "%s at %#llx is not RAM", name,
				  (unsigned long long)addr.v);
	return 0;
}

int virtq_indirect_table(struct virtq *vq, uint64_t addr, uint32_t len, const void **table)
{
	const uint32_t desc = sizeof(struct vring_desc);

	if (!(vq->features & VIRTQ_INDIRECT))
		return virtq_fail(vq, EINVAL, "indirect descriptor without the feature");
	if (!len || len % desc)
		return virtq_fail(vq, EINVAL, "indirect table of %u bytes", len);
	/*
	 * 2.7.5.3.1 and 2.8.19 allow no more than the queue size. Drivers are known to take the
	 * size that was offered for the one that they have chosen, so the bound is that one.
	 */
	if (len / desc > vq->max_size)
		return virtq_fail(vq, EINVAL, "indirect table is longer than the queue");
	*table = virtq_resolve_whole(vq, gpa(addr), len);
	if (!*table)
		return virtq_fail(vq, EFAULT, "indirect table at %#llx is not RAM",
				  (unsigned long long)addr);
	return 0;
}

/* ---- chains ---- */

void virtq_slot_begin(struct virtq *vq, uint16_t index, uint16_t head)
{
	struct virtq_slot *slot = &vq->slots[index];

	assert(!slot->chain.busy);
	slot->chain = (struct virtq_chain){
		.head = head,
		.slot = index,
		.generation = vq->generation,
		.iov = slot->iov,
	};
}

/*
 * A chain has at most as many descriptors as the queue that was offered has entries, and each
 * border between regions can split one buffer of a driver that does not overlap its buffers.
 */
static unsigned segment_limit(const struct virtq *vq)
{
	return vq->max_size + GUEST_MEMORY_MAX_REGIONS;
}

static int slot_grow(struct virtq *vq, struct virtq_slot *slot)
{
	unsigned capacity = MIN(slot->capacity * 2, segment_limit(vq));
	unsigned count = slot->chain.out_count + slot->chain.in_count;
	struct virtq_range *in_range;
	struct iovec *iov;

	if (slot->capacity >= segment_limit(vq))
		return virtq_fail(vq, EINVAL, "chain %u has more than %u segments",
				  slot->chain.head, segment_limit(vq));
	iov = malloc(capacity * sizeof(*iov));
	in_range = malloc(capacity * sizeof(*in_range));
	if (!iov || !in_range) {
		free(iov);
		free(in_range);
		return virtq_fail(vq, ENOMEM, "no memory for a chain of %u segments", capacity);
	}
	memcpy(iov, slot->iov, count * sizeof(*iov));
	memcpy(in_range, slot->in_range, slot->chain.in_count * sizeof(*in_range));
	slot_shrink(slot);
	slot->iov = slot->chain.iov = iov;
	slot->in_range = in_range;
	slot->capacity = capacity;
	return 0;
}

int virtq_slot_add(struct virtq *vq, struct virtq_slot *slot, gpa_t addr, uint32_t len,
		   bool writable)
{
	struct virtq_chain *c = &slot->chain;
	uint64_t left = len, piece;

	/*
	 * The specification gives a buffer of no bytes no meaning, no driver in use makes one, and
	 * devices that let them pass have looped on them: refused.
	 */
	if (!len)
		return virtq_fail(vq, EINVAL, "chain %u has an empty descriptor", c->head);
	if (!writable && c->in_count)
		return virtq_fail(vq, EINVAL, "chain %u: readable after writable", /* 2.7.4.2 */
				  c->head);
	/* 2.7.5.2: "a buffer", all of a chain, is not longer than 2^32 bytes. */
	if (c->out_len + c->in_len + len > UINT32_MAX)
		return virtq_fail(vq, EINVAL, "chain %u is 4 GiB or longer", c->head);
	for (; left; left -= piece, addr = gpa_add(addr, piece)) {
		/* The end of the address space is not RAM: an address that wraps fails here. */
		void *host = guest_resolve(vq->memory, addr, left, &piece);

		if (!host)
			return virtq_fail(vq, EFAULT, "chain %u: %#llx is not RAM", c->head,
					  (unsigned long long)addr.v);
		if (c->out_count + c->in_count == slot->capacity) {
			int rc = slot_grow(vq, slot);

			if (rc)
				return rc;
		}
		slot->iov[c->out_count + c->in_count] = (struct iovec){host, piece};
		if (writable)
			slot->in_range[c->in_count++] = (struct virtq_range){addr, piece};
		else
			c->out_count++;
	}
	if (writable)
		c->in_len += len;
	else
		c->out_len += len;
	return 0;
}

void virtq_slot_commit(struct virtq *vq, struct virtq_slot *slot)
{
	slot->in_count = slot->chain.in_count;
	slot->in_len = slot->chain.in_len;
	slot->chain.busy = true;
	vq->in_flight++;
}

int virtq_pop(struct virtq *vq, struct virtq_chain **chain)
{
	int rc;

	if (!vq->enabled)
		return 0;
	if (vq->dead)
		return vq->dead;
	rc = vq->format->pop(vq, chain);
	if (rc < 0)
		vq->dead = rc;
	return rc;
}

/* Mark the first `len` bytes of the writable part, as it was when the chain was popped. */
static void mark_in(struct virtq *vq, const struct virtq_slot *slot, uint64_t len)
{
	for (unsigned i = 0; i < slot->in_count && len; i++) {
		uint64_t n = MIN(len, slot->in_range[i].len);

		guest_mark_dirty(vq->memory, slot->in_range[i].addr, n);
		len -= n;
	}
}

void virtq_dirty_in(struct virtq *vq, struct virtq_chain *chain)
{
	struct virtq_slot *slot = container_of(chain, struct virtq_slot, chain);

	mark_in(vq, slot, slot->in_len);
}

void virtq_push(struct virtq *vq, struct virtq_chain *chain, uint32_t written)
{
	struct virtq_slot *slot = container_of(chain, struct virtq_slot, chain);

	assert(chain->busy && chain->generation == vq->generation);
	assert(written <= slot->in_len);
	mark_in(vq, slot, written);
	chain->busy = false;
	vq->in_flight--;
	/* A driver that broke the rules gets nothing more until it resets the device (2.1.2). */
	if (!vq->dead)
		vq->format->push(vq, slot, written);
}

void virtq_unpop(struct virtq *vq, struct virtq_chain *chain)
{
	struct virtq_slot *slot = chain ? container_of(chain, struct virtq_slot, chain) : NULL;

	if (slot) {
		assert(chain->busy && chain->generation == vq->generation);
		chain->busy = false;
		vq->in_flight--;
	}
	if (vq->enabled && !vq->dead)
		vq->format->unpop(vq, slot);
}

bool virtq_publish(struct virtq *vq)
{
	return vq->enabled && vq->format->publish(vq);
}

void virtq_notify_disable(struct virtq *vq)
{
	if (vq->enabled)
		vq->format->notify_disable(vq);
}

bool virtq_notify_enable(struct virtq *vq)
{
	return vq->enabled && !vq->dead && vq->format->notify_enable(vq);
}

unsigned virtq_in_flight(const struct virtq *vq)
{
	return vq->in_flight;
}

uint16_t virtq_size(const struct virtq *vq)
{
	return vq->layout.size;
}

uint32_t virtq_generation(const struct virtq *vq)
{
	return vq->generation;
}

/* ---- copying ---- */

/* Copy from (to_iov false) or to the segments; returns the bytes copied. */
static size_t iov_copy(const struct iovec *iov, unsigned count, uint64_t offset, char *buf,
		       size_t len, bool to_iov)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		size_t n;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		n = MIN(len - done, iov[i].iov_len - (size_t)offset);
		if (to_iov)
			memcpy((char *)iov[i].iov_base + offset, buf + done, n);
		else
			virtq_copy_once(buf + done, (char *)iov[i].iov_base + offset, n);
		done += n;
		offset = 0;
	}
	return done;
}

size_t virtq_read_out(const struct virtq_chain *chain, uint64_t offset, void *dst, size_t len)
{
	return iov_copy(virtq_chain_out(chain), chain->out_count, offset, dst, len, false);
}

size_t virtq_write_in(struct virtq_chain *chain, uint64_t offset, const void *src, size_t len)
{
	return iov_copy(virtq_chain_in(chain), chain->in_count, offset, (char *)(uintptr_t)src, len,
			true);
}

void virtq_skip_out(struct virtq_chain *chain, uint64_t len)
{
	assert(len <= chain->out_len);
	chain->out_len -= len;
	while (len && len >= chain->iov->iov_len) {
		len -= chain->iov->iov_len;
		chain->iov++;
		chain->out_count--;
	}
	if (len) {
		chain->iov->iov_base = (char *)chain->iov->iov_base + len;
		chain->iov->iov_len -= len;
	}
}

void virtq_trim_in(struct virtq_chain *chain, uint64_t len)
{
	assert(len <= chain->in_len);
	chain->in_len -= len;
	while (len) {
		struct iovec *last = &virtq_chain_in(chain)[chain->in_count - 1];
		uint64_t n = MIN(len, (uint64_t)last->iov_len);

		last->iov_len -= n;
		len -= n;
		if (!last->iov_len)
			chain->in_count--;
	}
}

/* ---- saved state ---- */

struct virtq_position virtq_position(const struct virtq *vq)
{
	struct virtq_position position;

	vq->format->get_position(vq, &position);
	return position;
}

void virtq_save(const struct virtq *vq, struct state_writer *w)
{
	struct virtq_position position = {0};

	if (vq->enabled)
		vq->format->get_position(vq, &position);
	state_put_u64(w, "next_avail", position.next_avail);
	state_put_u64(w, "next_used", position.next_used);
}

int virtq_load(struct virtq_position *position, struct state_reader *r)
{
	uint64_t avail, used;
	int rc = state_get_u64(r, "next_avail", &avail, 0, UINT16_MAX);

	if (!rc)
		rc = state_get_u64(r, "next_used", &used, 0, UINT16_MAX);
	if (rc)
		return rc;
	*position = (struct virtq_position){(uint16_t)avail, (uint16_t)used};
	return 0;
}

bool virtq_position_ok(const struct virtq_position *position, const struct virtq_layout *layout,
		       unsigned features)
{
	return format_of(features)->position_ok(position, layout);
}

void virtq_set_position(struct virtq *vq, const struct virtq_position *position)
{
	assert(vq->enabled && !vq->in_flight);
	vq->format->set_position(vq, position);
}
