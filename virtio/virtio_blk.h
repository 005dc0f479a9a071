/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk (virtio 1.2, section 5.2). For virtio_blk*.c only.
 *
 * virtio_blk.c is the device: options, features, configuration space, life. virtio_blk_request.c is
 * the way of a request: from the chain to the backend and back.
 */
#ifndef VIRTIO_VIRTIO_BLK_H
#define VIRTIO_VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "block/drive.h"
#include "virtio/virtio_throttle.h"

/* Ranges in one discard or write-zeroes request, and sectors in one range (2 GiB). */
#define VIRTIO_BLK_MAX_RANGES        16u
#define VIRTIO_BLK_MAX_RANGE_SECTORS (UINT32_C(1) << 22)

#define VIRTIO_BLK_MAX_QUEUES 256u

struct virtio_blk;

/*
 * A request in flight, at [queue][slot]. Everything that decides what it does was copied from the
 * guest once; only the data itself stays in guest memory.
 */
struct virtio_blk_request {
	struct block_request req;
	struct virtio_blk *blk;
	struct virtq_chain *chain;
	unsigned queue;
	uint32_t generation;
	uint8_t *status;    /* the last byte of the writable part */
	uint32_t in_data;   /* writable bytes in front of the status */
	uint32_t data_done; /* of these, written from the start without a gap once it succeeds */
	/* Discard, write zeroes: one after the other. */
	struct virtio_blk_discard_write_zeroes ranges[VIRTIO_BLK_MAX_RANGES];
	unsigned range_count, next_range;
};

struct virtio_blk {
	struct virtio_device vd; /* first */
	struct block_options options;
	char *serial;
	uint64_t queues, queue_size;
	struct rate_limit_options limits;
	struct virtio_throttle throttle;
	struct block *block;
	struct block_info info;
	bool initial_writeback;
	bool writeback; /* what configuration space says; decides about FUA at submission */
	bool draining;
	unsigned in_flight;                   /* at the backend */
	struct virtio_blk_request **requests; /* [queue][slot] */
};

static inline struct virtio_blk *virtio_blk(struct virtio_device *vd)
{
	return container_of(vd, struct virtio_blk, vd);
}

/* Start the request in a chain, or answer it. Home loop, lock held. */
void virtio_blk_start(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain);

#endif
