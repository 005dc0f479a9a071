/* SPDX-License-Identifier: MIT */
/*
 * What the ring formats share with virtq.c. For virtq*.c only.
 *
 * virtq.c owns the chains in flight and their iovecs; a format (virtq_split.c, virtq_packed.c)
 * knows how the driver and the device pass them to each other in memory.
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
	unsigned capacity;   /* of iov and in_range */
	uint16_t ring_descs; /* packed: descriptors of the ring that the chain takes */
	uint16_t next_free;  /* packed: list of free slots */
	unsigned in_count;   /* as popped; the device may trim the chain's own */
	uint64_t in_len;     /* likewise */
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
	bool (*position_ok)(const struct virtq_position *position,
			    const struct virtq_layout *layout);
	void (*set_position)(struct virtq *vq, const struct virtq_position *position);
};

extern const struct virtq_format virtq_split, virtq_packed;

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

/* A place in a packed ring: an offset, and the wrap counter of whose turn it is (2.8.1). */
struct virtq_packed_place {
	uint16_t offset;
	bool wrap;
};

struct virtq_packed_ring {
	struct vring_packed_desc *desc;
	const uint32_t *driver_event; /* event suppression: offset and wrap, then flags */
	uint32_t *device_event;
	struct virtq_packed_place avail, used; /* of the next chain to pop, to push */
	struct virtq_packed_place batch;   /* of the first chain pushed since the last publish */
	uint16_t batch_flags;              /* its flags, which make the whole batch visible */
	uint16_t batch_descs;              /* descriptors that the batch gives back */
	uint16_t held_descs;               /* popped and not given back yet: at most the size */
	uint16_t free_slot;                /* head of the list */
	uint64_t ids[VIRTQ_MAX_SIZE / 64]; /* in flight */
};

struct virtq {
	const struct virtq_format *format; /* while enabled */
	struct guest_memory *memory;
	uint16_t max_size;
	bool enabled;
	int dead; /* -errno: the driver broke the rules */
	unsigned features;
	struct virtq_layout layout;
	uint32_t generation;
	unsigned in_flight;
	struct virtq_slot *slots; /* max_size */
	union {
		struct virtq_split_ring split;
		struct virtq_packed_ring packed;
	};
	char error[128];
};

/* Note why the driver broke the rules. Returns -code. */
int virtq_fail(struct virtq *vq, int code, const char *fmt, ...) PRINTF(3, 4);

/* All of [addr, addr + len) as one piece of host memory, or NULL. */
void *virtq_resolve_whole(const struct virtq *vq, gpa_t addr, uint64_t len);
/* Whether a part of the rings is aligned and in RAM; virtq_fail with a sentence. */
int virtq_check_part(struct virtq *vq, const char *name, gpa_t addr, uint64_t len,
		     uint64_t align) MUST_CHECK;
/*
 * The table that an indirect descriptor points to (2.7.5.3, 2.8.7): checked, of len / 16
 * descriptors, *table set. Returns 0 or -errno with a sentence.
 */
int virtq_indirect_table(struct virtq *vq, uint64_t addr, uint32_t len,
			 const void **table) MUST_CHECK;

/* Begin a chain in a slot that is not busy. */
void virtq_slot_begin(struct virtq *vq, uint16_t index, uint16_t head);
/*
 * Append the buffer of a descriptor, in several segments where it crosses regions. Returns 0 or
 * -errno with a sentence: it is empty, not RAM, or readable behind writable ones.
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

/*
 * A store of ours before a load of what the other side stores: a wish, or a doorbell's cause.
 * Without it both could miss each other (2.7.7.2, 2.8.14.3).
 */
static inline void virtq_full_barrier(void)
{
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
	/* ThreadSanitizer does not see fences, and gcc says so; the indices synchronise without. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#pragma GCC diagnostic pop
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#endif
