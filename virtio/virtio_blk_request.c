/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct virtio_blk_outhdr) == 16, "5.2.6");
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "5.2.6");

/* No status: the request goes on at the backend. */
#define PENDING -1

/* ---- completion ---- */

/* Lock held. The chain is the driver's from here on. */
static void finish(struct virtio_blk_request *r, uint8_t status)
{
	uint32_t written;

	*r->status = status;
	/*
	 * 2.7.8.2: what is reported was written from the start without a gap. The status is last:
	 * it counts only where everything in front of it was written.
	 */
	if (status != VIRTIO_BLK_S_OK)
		r->data_done = 0;
	written = r->data_done == r->in_data ? r->in_data + 1 : r->data_done;
	/* Status and data beyond that were, or may have been, written nevertheless. */
	if (written <= r->in_data)
		virtq_dirty_in(r->blk->vd.queues[r->queue].vq, r->chain);
	virtio_push(&r->blk->vd, r->queue, r->chain, written);
}

static void submit(struct virtio_blk_request *r)
{
	r->blk->in_flight++;
	block_submit(r->blk->block, &r->req);
}

/* Submit the next range that has sectors in it; false if there is none. */
static bool submit_range(struct virtio_blk_request *r)
{
	while (r->next_range < r->range_count) {
		const struct virtio_blk_discard_write_zeroes *range = &r->ranges[r->next_range++];

		if (!range->num_sectors)
			continue;
		r->req.offset = range->sector * BLOCK_SECTOR_SIZE;
		r->req.length = (uint64_t)range->num_sectors * BLOCK_SECTOR_SIZE;
		if (range->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
			r->req.flags |= BLOCK_UNMAP;
		else
			r->req.flags &= ~(unsigned)BLOCK_UNMAP;
		submit(r);
		return true;
	}
	return false;
}

static void done(struct block_request *req, int result)
{
	struct virtio_blk_request *r = container_of(req, struct virtio_blk_request, req);
	struct virtio_blk *blk = r->blk;
	bool drained = false;

	device_lock(&blk->vd.dev);
	blk->in_flight--;
	/*
	 * A reset waits for the backend, so that the chain is still ours. Were that ever broken, a
	 * completion of the time before must not land in a request of the time after.
	 */
	if (r->generation == virtq_generation(blk->vd.queues[r->queue].vq)) {
		if (result)
			finish(r, result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
		else if (!submit_range(r))
			finish(r, VIRTIO_BLK_S_OK);
	}
	if (blk->draining && !blk->in_flight) {
		blk->draining = false;
		drained = true;
	}
	device_unlock(&blk->vd.dev);
	if (drained)
		virtio_drained(&blk->vd);
}

/* ---- the request types; each returns a status, or PENDING ---- */

/* Whether [sector, sector + count) is on the disk. */
static bool in_capacity(const struct virtio_blk *blk, uint64_t sector, uint64_t count)
{
	uint64_t sectors = blk->info.size / BLOCK_SECTOR_SIZE;

	return sector <= sectors && count <= sectors - sector;
}

static int start_data(struct virtio_blk_request *r, const struct virtio_blk_outhdr *h, bool write)
{
	struct virtio_blk *blk = r->blk;
	struct virtq_chain *c = r->chain;
	uint64_t len = write ? c->out_len : r->in_data;

	if (len % BLOCK_SECTOR_SIZE || !in_capacity(blk, h->sector, len / BLOCK_SECTOR_SIZE))
		return VIRTIO_BLK_S_IOERR;
	if (write && blk->info.readonly)
		return VIRTIO_BLK_S_IOERR; /* 5.2.6.2 */
	if (!len)
		return VIRTIO_BLK_S_OK;
	r->req.op = write ? BLOCK_WRITE : BLOCK_READ;
	/*
	 * A write is stable when it completes unless the driver asked for a cache that it flushes
	 * itself (5.2.6.2). Decided here, once: a later change is for later writes.
	 */
	r->req.flags = write && !blk->writeback ? (unsigned)BLOCK_FUA : 0;
	r->req.offset = h->sector * BLOCK_SECTOR_SIZE;
	r->req.length = len;
	r->req.iov = write ? virtq_chain_out(c) : virtq_chain_in(c);
	r->req.iovcnt = (int)(write ? c->out_count : c->in_count);
	r->data_done = write ? 0 : r->in_data;
	submit(r);
	return PENDING;
}

static int start_flush(struct virtio_blk_request *r)
{
	r->req.op = BLOCK_FLUSH;
	r->req.flags = 0;
	r->req.offset = r->req.length = 0;
	submit(r);
	return PENDING;
}

static int get_id(struct virtio_blk_request *r)
{
	char id[VIRTIO_BLK_ID_BYTES] = {0};

	/* 5.2.6: padded with NULs, none where it takes all 20 bytes. */
	if (r->blk->serial)
		memcpy(id, r->blk->serial, strnlen(r->blk->serial, sizeof(id)));
	r->data_done = (uint32_t)virtq_write_in(r->chain, 0, id, sizeof(id));
	return VIRTIO_BLK_S_OK;
}

/* Copy the ranges and check each of them before anything is done. */
static int get_ranges(struct virtio_blk_request *r, uint32_t type)
{
	const uint32_t known =
		type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	uint64_t len = r->chain->out_len;

	if (!len || len % sizeof(r->ranges[0]) || len > sizeof(r->ranges))
		return VIRTIO_BLK_S_IOERR;
	virtq_read_out(r->chain, 0, r->ranges, (size_t)len);
	r->range_count = (unsigned)(len / sizeof(r->ranges[0]));
	for (unsigned i = 0; i < r->range_count; i++) {
		/* 5.2.6.2: unknown flags, and `unmap` in a discard. */
		if (r->ranges[i].flags & ~known)
			return VIRTIO_BLK_S_UNSUPP;
		if (r->ranges[i].num_sectors > VIRTIO_BLK_MAX_RANGE_SECTORS ||
		    !in_capacity(r->blk, r->ranges[i].sector, r->ranges[i].num_sectors))
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

static int start_ranges(struct virtio_blk_request *r, uint32_t type)
{
	const unsigned feature =
		type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
	int status;

	if (!virtio_has(&r->blk->vd, feature))
		return VIRTIO_BLK_S_UNSUPP;
	status = get_ranges(r, type);
	if (status != VIRTIO_BLK_S_OK)
		return status;
	r->req.op = type == VIRTIO_BLK_T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	/* Zeroes are a write (see start_data); a discard promises nothing. */
	r->req.flags =
		r->req.op == BLOCK_WRITE_ZEROES && !r->blk->writeback ? (unsigned)BLOCK_FUA : 0;
	return submit_range(r) ? PENDING : VIRTIO_BLK_S_OK;
}

static int start(struct virtio_blk_request *r, const struct virtio_blk_outhdr *h)
{
	switch (h->type) {
	case VIRTIO_BLK_T_IN:
		return start_data(r, h, false);
	case VIRTIO_BLK_T_OUT:
		return start_data(r, h, true);
	case VIRTIO_BLK_T_FLUSH:
		return start_flush(r);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(r);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return start_ranges(r, h->type);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* What counts for the limit on bytes: data that the driver moves, whatever comes of it. */
static uint64_t data_bytes(const struct virtio_blk_request *r, uint32_t type)
{
	switch (type) {
	case VIRTIO_BLK_T_IN:
		return r->in_data;
	case VIRTIO_BLK_T_OUT:
		return r->chain->out_len;
	default:
		return 0;
	}
}

void virtio_blk_start(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_blk *blk = virtio_blk(vd);
	struct virtio_blk_request *r = &blk->requests[queue][chain->slot];
	const struct iovec *last = virtq_chain_in(chain) + chain->in_count - 1;
	struct virtio_blk_outhdr header;
	int status;

	/* No place for an answer, or no question: not a request. The reset drops the chain. */
	if (!chain->in_len || chain->out_len < sizeof(header)) {
		virtio_broken(vd, "queue %u: a request of %llu and %llu bytes", queue,
			      (unsigned long long)chain->out_len,
			      (unsigned long long)chain->in_len);
		return;
	}
	r->chain = chain;
	r->generation = chain->generation;
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->in_data = (uint32_t)chain->in_len - 1;
	r->data_done = 0;
	r->range_count = r->next_range = 0;
	/* However the driver has cut it into descriptors (2.7.4.1): header, data, data, status. */
	virtq_read_out(chain, 0, &header, sizeof(header));
	virtq_skip_out(chain, sizeof(header));
	virtq_trim_in(chain, 1);
	r->req.done = done;
	virtio_throttle_charge(&blk->throttle, data_bytes(r, header.type));
	status = start(r, &header);
	if (status != PENDING)
		finish(r, (uint8_t)status);
}
