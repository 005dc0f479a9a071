/* SPDX-License-Identifier: MIT */
/*
 * What the ring formats share with virtq.c. For virtq*.c only.
 *
 * virtq.c owns the chains in flight and their iovecs; a format (virtq_split.c) knows how the driver
 * and the device pass them to each other in memory. Packed rings are to be a second format.
 */
#ifndef VIRTIO_VIRTQ_PRIVATE_H
#define VIRTIO_VIRTQ_PRIVATE_H

#include <linux/virtio_ring.h>

#include "virtio/virtq.h"

/* Most requests of most drivers fit: header, a few pages, status. Others grow a slot once. */
#define VIRTQ_INLINE_SEGMENTS 8u

struct virtq_range {
	gpa_t addr;
	uint64_t len;
};

struct virtq_slot {
	struct virtq_chain chain;
	unsigned capacity; /* of iov and in_range */
	unsigned in_count; /* as popped; the device may trim the chain's own */
	uint64_t in_len;   /* likewise */
	struct iovec *iov;
	struct virtq_range *in_range; /* guest addresses of the writable segments, to mark dirty */
	struct iovec inline_iov[VIRTQ_INLINE_SEGMENTS];
	struct virtq_range inline_range[VIRTQ_INLINE_SEGMENTS];
};

struct virtq_format {
	/* Check a layout; virtq_fail with a sentence. */
	int (*check)(struct virtq *vq, const struct virtq_layout *layout);
	/* The layout was checked and is in vq->layout. */
	void (*enable)(struct virtq *vq);
	int (*pop)(struct virtq *vq, struct virtq_chain **chain);
	/* Step back over a chain (NULL: none), and look at the driver's index anew. */
	void (*unpop)(struct virtq *vq, const struct virtq_slot *slot);
	void (*push)(struct virtq *vq, const struct virtq_slot *slot, uint32_t written);
	bool (*publish)(struct virtq *vq);
	void (*notify_disable)(struct virtq *vq);
	bool (*notify_enable)(struct virtq *vq);
	void (*get_position)(const struct virtq *vq, struct virtq_position *position);
	void (*set_position)(struct virtq *vq, const struct virtq_position *position);
};

extern const struct virtq_format virtq_split;

/* Host pointers into the three parts, resolved once when the queue is enabled. */
struct virtq_split_ring {
	const struct vring_desc *desc;
	const struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* index of the next chain to pop */
	uint16_t seen_avail; /* the driver's index when it was last read */
	uint16_t next_used;  /* index of the next chain to push */
	uint16_t published;  /* the used index that the driver sees */
};

struct virtq {
	const struct virtq_format *format;
	struct guest_memory *memory;
	uint16_t max_size;
	bool enabled;
	int dead; /* -errno: the driver broke the rules */
	unsigned features;
	struct virtq_layout layout;
	uint32_t generation;
	unsigned in_flight;
	struct virtq_slot *slots; /* max_size */
	struct virtq_split_ring split;
	char error[128];
};

/* Note why the driver broke the rules. Returns -code. */
int virtq_fail(struct virtq *vq, int code, const char *fmt, ...) PRINTF(3, 4);

/* Begin a chain in a slot that is not busy. */
void virtq_slot_begin(struct virtq *vq, uint16_t index, uint16_t head);
/*
 * Append the buffer [addr, addr + len), in several segments where it crosses regions. Returns 0 or
 * -errno with a sentence.
 */
int virtq_slot_add(struct virtq *vq, struct virtq_slot *slot, gpa_t addr, uint32_t len,
		   bool writable) MUST_CHECK;
/* The chain is complete and in flight. */
void virtq_slot_commit(struct virtq *vq, struct virtq_slot *slot);

/*
 * Copy from memory that the guest may change meanwhile. The compiler is told that the copy may hold
 * anything, so that it cannot read the original again in place of the copy.
 */
static inline void virtq_copy_once(void *dst, const void *src, size_t len)
{
	__builtin_memcpy(dst, src, len);
	__asm__ volatile("" : : "r"(dst) : "memory");
}

#endif
