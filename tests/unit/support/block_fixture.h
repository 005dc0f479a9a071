/* SPDX-License-Identifier: MIT */
/*
 * Disks for tests: an image in a scratch folder, a loop that the test turns, requests that are
 * waited for, and an engine in between that can watch, shorten and fail what goes to the file.
 */
#ifndef TESTS_BLOCK_FIXTURE_H
#define TESTS_BLOCK_FIXTURE_H

#include "block/layer.h"

/* --- the engine in between --- */

struct tap_action {
	int error;      /* not 0: the operation is not done and gives -error */
	uint64_t limit; /* not 0: a transfer moves at most this many bytes */
};

struct tap_watch {
	/* An operation is about to start. */
	void (*start)(void *arg, const struct engine_op *op, struct tap_action *action);
	/* It is over; the layer above does not know yet. */
	void (*finish)(void *arg, const struct engine_op *op, int64_t result);
	void *arg;
};

/* --- the disk --- */

#define FIXTURE_LOG_SIZE 4096

struct block_fixture {
	struct clock_fake clock; /* of the loop */
	struct loop *loop;
	struct log log;
	char lines[FIXTURE_LOG_SIZE]; /* what was logged */
	char path[512];
	struct block_options options; /* change before fixture_open */
	struct tap_watch watch;       /* set before fixture_open to have the tap */
	uint32_t direct_align;        /* as block_seams has it */
	struct block *block;
	struct vmm_error err;
};

/* A new image of `size` zero bytes, default options for it. */
void fixture_init(struct block_fixture *f, uint64_t size);

/* Open; asserts that it works. False: this host cannot do that combination (said on stderr). */
bool fixture_open(struct block_fixture *f);

/* As it comes: the result of block_open, the error in f->err. */
int fixture_try_open(struct block_fixture *f);

void fixture_close(struct block_fixture *f);

/* Also removes the image. */
void fixture_destroy(struct block_fixture *f);

/* Run f->loop until nothing is in flight. */
void fixture_settle(struct block_fixture *f);

/* One request, waited for. */
int fixture_do(struct block_fixture *f, enum block_op op, uint64_t offset, uint64_t length,
	       void *data, unsigned flags);
int fixture_dov(struct block_fixture *f, enum block_op op, uint64_t offset, const struct iovec *iov,
		int iovcnt, unsigned flags);

/* Read the image file behind the disk's back, through the page cache. */
void fixture_peek(struct block_fixture *f, uint64_t offset, void *data, size_t length);

/*
 * Thousands of random requests on a disk of zeroes, many in flight but never two that overlap,
 * compared with a model in memory. Discarded ranges must read as zeroes.
 */
void fixture_random(struct block_fixture *f);

/* A folder for scratch files. */
const char *scratch_dir(void);

/* Page-aligned memory; freed with free. */
void *pages(size_t length);

/* A small generator with a seed, so that failures can be repeated. */
struct dice {
	uint64_t state;
};
uint32_t dice_roll(struct dice *dice, uint32_t sides);

#endif
