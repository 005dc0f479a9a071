/* SPDX-License-Identifier: MIT */
/*
 * The state of the raw layer, shared by raw.c (requests), raw_sync.c and raw_open.c.
 */
#ifndef BLOCK_RAW_H
#define BLOCK_RAW_H

#include "block/layer.h"
#include "block/raw_file.h"

struct raw {
	struct block_layer layer;
	struct raw_file file;
	struct engine *engine;
	const struct log *log;
	struct log_limit limit;
	const char *what;

	bool no_punch; /* the file system or device refused */
	bool no_zero_range;
	bool dirty;  /* written since the last sync began */
	bool failed; /* an fdatasync failed: nothing is durable any more */

	/* One fdatasync at a time: `syncing` wait for the running one, `to_sync` for the next. */
	struct engine_op sync_op;
	bool sync_running;
	struct list syncing;
	struct list to_sync;

	/* See raw.c; only where O_DIRECT needs more than sectors. */
	bool gate;
	bool gate_exclusive;
	bool gate_running;
	unsigned gate_count;
	struct list gate_waiting;

	struct list spare; /* struct raw_io to use again */
	unsigned spare_count;
	char *zeroes;
};

struct raw_io {
	struct engine_op op;
	struct raw *raw;
	struct block_request *req;
	struct list link;  /* in gate_waiting, syncing, to_sync or spare */
	unsigned flags;    /* in force */
	uint64_t progress; /* bytes done */
	int index;         /* position in req->iov … */
	size_t skip;       /* … and within that entry */
	unsigned stalls;
	bool zeroing; /* the data are zeroes, not req->iov */
	bool gated;
	bool exclusive;
	struct iovec one;
	char *bounce;
};

/* Its operations; contracts in layer.h. */
void raw_submit(struct block_layer *layer, struct block_request *req, unsigned flags);
int raw_sync_now(struct block_layer *layer);

/* Give the request back. */
void raw_complete(struct raw_io *io, int result);

void raw_sync_init(struct raw *raw);

/* Complete io once what was written before is on stable storage, or with -EIO. */
void raw_sync_add(struct raw_io *io);

#endif
