/* SPDX-License-Identifier: MIT */
/*
 * Layers: what stands between block_submit and an engine. Internal to block/.
 *
 *     block.c      checks, counts, decides durability; knows no files
 *     overlay.c    snapshot=on: a temporary raw layer above a read-only one
 *     raw*.c       one file or block device: short transfers, O_DIRECT alignment, sync, zeroes
 *     raw_file.c   opens, locks and measures it
 *     engine_*.c   io_uring or threads
 *
 * Everything runs on the block's loop.
 */
#ifndef BLOCK_LAYER_H
#define BLOCK_LAYER_H

#include "block/block.h"
#include "block/engine.h"

struct block_layer {
	const struct block_layer_ops *ops;
	struct block_info info; /* filled by open */
	/*
	 * Set by who stands above, which may free req in it. Called once for each submit, and also
	 * from within submit where a result is known at once.
	 */
	void (*complete)(struct block_layer *layer, struct block_request *req, int result);
	void *above;
};

struct block_layer_ops {
	/*
	 * Start a request that is in range, has a length (except FLUSH) and is allowed. flags: the
	 * block_request_flags that are in force, which may differ from what req says: BLOCK_FUA
	 * where the request must be durable when it completes, BLOCK_UNMAP only where allowed.
	 */
	void (*submit)(struct block_layer *layer, struct block_request *req, unsigned flags);
	/*
	 * Optional. Make the image `size` bytes long, or with 0 look how long it is now, and set
	 * info.size.
	 */
	int (*resize)(struct block_layer *layer, uint64_t size, struct vmm_error *err);
	/* Make completed writes durable, waiting for it. Nothing is in flight. Any thread. */
	int (*sync)(struct block_layer *layer);
	/* Nothing is in flight. */
	void (*close)(struct block_layer *layer);
};

/* Where tests reach in. */
struct block_seams {
	/* Put an engine around `inner`, which the new one owns. NULL: none. */
	struct engine *(*wrap)(struct engine *inner, void *arg);
	void *arg;
	/* Pretend that O_DIRECT needs this alignment; 0: what the host says. */
	uint32_t direct_align;
};

int block_open_seams(struct block **block, const struct block_options *options, const char *what,
		     struct loop *loop, const struct log *log, const struct block_seams *seams,
		     struct vmm_error *err) MUST_CHECK;

/*
 * A device begins to use a block that was open before it: nothing counted yet, the cache as it was
 * at first, and from `options` sector sizes, if they say any, discard, and readonly, which can only
 * add to what the image is. On the loop; nothing is in flight.
 */
int block_begin(struct block *block, const struct block_options *options,
		struct vmm_error *err) MUST_CHECK;
/* Whose it is beyond a device's use of it; NULL: nobody's. */
struct drive *block_drive(const struct block *block);
void block_set_drive(struct block *block, struct drive *drive);

/* What a raw layer needs; what, engine and log outlive it. */
struct raw_params {
	const char *what;
	const char *path;
	bool writable;
	bool direct;
	uint32_t sector_size; /* that the guest will see; 0: what the image needs */
	struct engine *engine;
	struct block_file_system *file_system; /* what is known; updated */
	const struct log *log;
	const struct block_seams *seams; /* may be NULL */
};

int raw_open(struct block_layer **layer, const struct raw_params *params,
	     struct vmm_error *err) MUST_CHECK;

/* A sparse, already unlinked file of `size` bytes in $TMPDIR or /var/tmp. params->path unused. */
int raw_open_temporary(struct block_layer **layer, const struct raw_params *params, uint64_t size,
		       struct vmm_error *err) MUST_CHECK;

/* Writes go to `top`, reads of what was never written come from `base`. Takes both over. */
int overlay_open(struct block_layer **layer, struct block_layer *base, struct block_layer *top,
		 struct vmm_error *err) MUST_CHECK;

#endif
