/* SPDX-License-Identifier: MIT */
/*
 * Engines: how the file operations of a disk reach the kernel without blocking its loop.
 *
 * The seam is one asynchronous operation. An engine starts it some time after submit, at the latest
 * in the end-of-batch hook of the loop, and calls `done` on the loop with what the system call
 * would have returned. It does not interpret the result: short transfers, retries and durability
 * are the raw layer's. No order is promised between operations in flight.
 */
#ifndef BLOCK_ENGINE_H
#define BLOCK_ENGINE_H

#include <sys/uio.h>

#include "block/block.h"

enum engine_code {
	ENGINE_READ,      /* preadv */
	ENGINE_WRITE,     /* pwritev */
	ENGINE_SYNC,      /* fdatasync */
	ENGINE_FALLOCATE, /* fallocate(mode, offset, length) */
};

/* Owned by who submits it; unchanged and alive until done. */
struct engine_op {
	enum engine_code code;
	int fd;
	bool may_wait; /* WRITE: the file system cannot take it without waiting (a hint) */
	int mode;      /* FALLOCATE */
	uint64_t offset;
	uint64_t length;         /* FALLOCATE */
	const struct iovec *iov; /* READ, WRITE */
	int iovcnt;              /* 1 to IOV_MAX */
	/* Bytes transferred, 0 for the others, or -errno. Never from within submit. */
	void (*done)(struct engine_op *op, int64_t result);

	/* Private to the engine while in flight. */
	struct list link;
	int64_t result;
};

struct engine;

struct engine_class {
	const char *name;
	void (*submit)(struct engine *engine, struct engine_op *op);
	/* Nothing is in flight. On the loop. */
	void (*destroy)(struct engine *engine);
};

struct engine {
	const struct engine_class *cls;
};

/*
 * Make the engine that `which` asks for. AUTO is io_uring where the kernel allows it, otherwise
 * the thread pool, with a log line. what: the log's source. On the loop.
 */
int engine_create(struct engine **engine, enum block_engine which, const char *what,
		  struct loop *loop, const struct log *log, struct vmm_error *err) MUST_CHECK;

/* The two. On error the sentence says why the host does not have it. */
int engine_uring_create(struct engine **engine, struct loop *loop,
			struct vmm_error *err) MUST_CHECK;
int engine_threads_create(struct engine **engine, struct loop *loop,
			  struct vmm_error *err) MUST_CHECK;

static inline void engine_submit(struct engine *engine, struct engine_op *op)
{
	engine->cls->submit(engine, op);
}

static inline void engine_destroy(struct engine *engine)
{
	if (engine)
		engine->cls->destroy(engine);
}

#endif
