/* SPDX-License-Identifier: MIT */
/*
 * Virtqueues, the device's side (virtio 1.2, sections 2.6 to 2.8), in both of their formats: split
 * and packed. Devices need not know which it is.
 *
 * The driver is hostile: every index, address and length it writes is copied once and checked.
 *
 *     virtq_pop            a checked chain as iovecs, or none, or "the driver broke the rules"
 *     ... the device works on the chain; it may finish chains in any order ...
 *     virtq_push           put it back with the number of bytes written
 *     virtq_publish        one index store and one interrupt decision for all that was pushed
 *
 * Every popped chain is pushed exactly once, or dropped with the queue by virtq_drop_all at a
 * reset. At most `size` chains are in flight, and no head is in flight twice.
 *
 * All functions are called with the device's lock held.
 */
#ifndef VIRTIO_VIRTQ_H
#define VIRTIO_VIRTQ_H

#include <sys/uio.h>

#include "core/memory.h"
#include "core/state.h"

#define VIRTQ_MAX_SIZE 1024u /* offered by any device; the specification allows 32768 */

struct virtq;

/*
 * One descriptor chain: first what the driver wrote for the device (`out`, device-readable), then
 * what the device may write (`in`, device-writable). Belongs to the queue; valid from pop to push.
 * Devices keep per-request data in an array indexed by `slot`.
 *
 * The lengths are bounded, the bytes are not: the guest may change them at any time. Copy what is
 * to be examined with virtq_read_out, once, and use the copy.
 */
struct virtq_chain {
	uint16_t head;       /* how the driver names it: the first descriptor, or the buffer id */
	uint16_t slot;       /* 0 to queue size - 1, unique among the chains in flight */
	uint32_t generation; /* of the queue; changes at each reset */
	struct iovec *iov;   /* out_count readable, then in_count writable segments */
	unsigned out_count, in_count;
	uint64_t out_len, in_len; /* bytes in total; out_len + in_len < 4 GiB */
	bool busy;
};

static inline struct iovec *virtq_chain_out(const struct virtq_chain *c)
{
	return c->iov;
}

static inline struct iovec *virtq_chain_in(const struct virtq_chain *c)
{
	return c->iov + c->out_count;
}

struct virtq_layout {
	uint16_t size; /* split: a power of two */
	/*
	 * split: descriptor table, available ring, used ring;
	 * packed: descriptor ring, event suppression structures of the driver and of the device
	 */
	gpa_t desc, driver, device;
};

enum virtq_features {
	VIRTQ_EVENT_IDX = 1 << 0,
	VIRTQ_INDIRECT = 1 << 1,
	VIRTQ_PACKED = 1 << 2,
};

/*
 * max_size: largest ring that may be enabled, 1 to VIRTQ_MAX_SIZE. Holds a reference to the memory.
 * Returns 0 or -ENOMEM.
 */
int virtq_create(struct virtq **vq, struct guest_memory *memory, uint16_t max_size) MUST_CHECK;
/* NULL is allowed. */
void virtq_destroy(struct virtq *vq);

/*
 * Whether these rings could be used: size, alignment (2.7, 2.8.10.1), and each of the three parts
 * within one region of RAM. Returns 0, -EINVAL or -EFAULT; virtq_error says why.
 */
int virtq_check(struct virtq *vq, const struct virtq_layout *layout, unsigned features) MUST_CHECK;

/* Begin to use the rings. Returns what virtq_check returns: not 0: the driver broke the rules. */
int virtq_enable(struct virtq *vq, const struct virtq_layout *layout, unsigned features) MUST_CHECK;
/* Forget the rings and every chain in flight; the generation changes. */
void virtq_drop_all(struct virtq *vq);
bool virtq_enabled(const struct virtq *vq);

/*
 * Take the next available chain.
 * Returns 1 (*chain is set), 0 (none), or -errno: the driver broke the rules (why: virtq_error);
 * the queue is then dead until it is reset, and pop keeps returning the error.
 */
int virtq_pop(struct virtq *vq, struct virtq_chain **chain) MUST_CHECK;
/* One sentence, "" if nothing is wrong. */
const char *virtq_error(const struct virtq *vq);

/*
 * Put a chain back; it appears to the driver at the next publish. written: bytes that were written
 * without a gap from the start of the in part, <= in_len at pop (2.7.8.2). They are marked dirty.
 */
void virtq_push(struct virtq *vq, struct virtq_chain *chain, uint32_t written);

/*
 * Take back the latest pop: the chain is available again and will be popped next. NULL: only forget
 * how far the driver's index was seen to go, where a driver may have taken chains back that were
 * not popped yet.
 */
void virtq_unpop(struct virtq *vq, struct virtq_chain *chain);

/*
 * Make what was pushed visible. Returns true if the driver wants an interrupt (2.7.7, 2.8.8).
 * Without anything pushed: false.
 */
bool virtq_publish(struct virtq *vq);

/*
 * Doorbells: disable while the device polls the ring, enable before it waits. enable returns true
 * if chains have arrived meanwhile: then pop again.
 */
void virtq_notify_disable(struct virtq *vq);
bool virtq_notify_enable(struct virtq *vq) MUST_CHECK;

unsigned virtq_in_flight(const struct virtq *vq);
uint16_t virtq_size(const struct virtq *vq);
uint32_t virtq_generation(const struct virtq *vq);

/*
 * Copy between a chain's segments and a buffer, from byte `offset` of the out or in part.
 * Return the number of bytes copied (short at the end of the chain).
 */
size_t virtq_read_out(const struct virtq_chain *chain, uint64_t offset, void *dst, size_t len);
size_t virtq_write_in(struct virtq_chain *chain, uint64_t offset, const void *src, size_t len);

/*
 * Take a header off the front of the out part, or a trailer off the end of the in part, so that the
 * rest can go to a backend as it is. len: at most out_len / in_len.
 */
void virtq_skip_out(struct virtq_chain *chain, uint64_t len);
void virtq_trim_in(struct virtq_chain *chain, uint64_t len);

/*
 * Mark the whole in part dirty: for a device that writes there without saying so in `written`,
 * such as a status byte behind data that never arrived. Before virtq_push.
 */
void virtq_dirty_in(struct virtq *vq, struct virtq_chain *chain);

/*
 * Positions in the rings; the layout is the transport's to save. Nothing in flight, everything
 * published. split: free-running indices; packed: an offset, and the wrap counter in bit 15.
 */
struct virtq_position {
	uint16_t next_avail, next_used;
};

void virtq_save(const struct virtq *vq, struct state_writer *w);
/* Parse only. */
int virtq_load(struct virtq_position *position, struct state_reader *r) MUST_CHECK;
/* Of an enabled queue. */
struct virtq_position virtq_position(const struct virtq *vq);
/* Whether rings of this layout can have such positions. */
bool virtq_position_ok(const struct virtq_position *position, const struct virtq_layout *layout,
		       unsigned features) MUST_CHECK;
/* Continue where another instance stopped. Just enabled; the position is one that is ok. */
void virtq_set_position(struct virtq *vq, const struct virtq_position *position);

#endif
