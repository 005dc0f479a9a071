/* SPDX-License-Identifier: MIT */
#include "block_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the tap --- */

struct tap {
	struct engine engine;
	struct engine *inner;
	struct block_fixture *fixture;
	struct list failed;
	struct loop_hook hook;
};

struct tap_op {
	struct engine_op op;
	struct engine_op *outer;
	struct tap *tap;
	struct iovec one;
};

static void tap_over(struct tap *tap, struct engine_op *outer, int64_t result)
{
	const struct tap_watch *watch = &tap->fixture->watch;

	if (watch->finish)
		watch->finish(watch->arg, outer, result);
	outer->done(outer, result);
}

static void tap_done(struct engine_op *op, int64_t result)
{
	struct tap_op *inner = container_of(op, struct tap_op, op);
	struct engine_op *outer = inner->outer;
	struct tap *tap = inner->tap;

	free(inner);
	tap_over(tap, outer, result);
}

static void tap_fail(struct loop_hook *hook)
{
	struct tap *tap = container_of(hook, struct tap, hook);
	struct list failed;

	list_take(&failed, &tap->failed);
	while (!list_empty(&failed)) {
		struct engine_op *op = list_entry(failed.next, struct engine_op, link);

		list_del(&op->link);
		tap_over(tap, op, op->result);
	}
}

static void tap_submit(struct engine *engine, struct engine_op *op)
{
	struct tap *tap = container_of(engine, struct tap, engine);
	const struct tap_watch *watch = &tap->fixture->watch;
	struct tap_action action = {0};

	if (watch->start)
		watch->start(watch->arg, op, &action);
	if (action.error) {
		op->result = -action.error;
		list_add_tail(&tap->failed, &op->link);
		loop_hook_schedule(tap->fixture->loop, &tap->hook);
		return;
	}
	struct tap_op *inner = calloc(1, sizeof(*inner));

	inner->op = *op;
	inner->op.done = tap_done;
	inner->outer = op;
	inner->tap = tap;
	if (action.limit && (op->code == ENGINE_READ || op->code == ENGINE_WRITE)) {
		inner->one.iov_base = op->iov[0].iov_base;
		inner->one.iov_len = MIN(op->iov[0].iov_len, action.limit);
		inner->op.iov = &inner->one;
		inner->op.iovcnt = 1;
	}
	engine_submit(tap->inner, &inner->op);
}

static void tap_destroy(struct engine *engine)
{
	struct tap *tap = container_of(engine, struct tap, engine);

	loop_hook_cancel(tap->fixture->loop, &tap->hook);
	engine_destroy(tap->inner);
	free(tap);
}

static const struct engine_class tap_class = {
	.name = "tap",
	.submit = tap_submit,
	.destroy = tap_destroy,
};

static struct engine *tap_wrap(struct engine *inner, void *arg)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	tap->engine.cls = &tap_class;
	tap->inner = inner;
	tap->fixture = arg;
	list_init(&tap->failed);
	loop_hook_init(&tap->hook, tap_fail);
	return &tap->engine;
}

/* --- the disk --- */

const char *scratch_dir(void)
{
	const char *dir = getenv("TMPDIR");

	if (!dir || !*dir)
		dir = getenv("VMM_BUILD");
	/* Not here: what a test that crashes leaves behind would be taken for a source file. */
	return dir && *dir ? dir : "/var/tmp";
}

void *pages(size_t length)
{
	void *memory = aligned_alloc(4096, align_up(length, 4096));

	cr_assert_not_null(memory);
	return memory;
}

uint32_t dice_roll(struct dice *dice, uint32_t sides)
{
	dice->state = dice->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((dice->state >> 33) % sides);
}

static void keep_line(void *opaque, enum vmm_log_level level, const char *source, const char *line)
{
	struct block_fixture *f = opaque;
	size_t used = strlen(f->lines);

	(void)level;
	snprintf(f->lines + used, sizeof(f->lines) - used, "%s: %s\n", source, line);
}

void fixture_init(struct block_fixture *f, uint64_t size)
{
	memset(f, 0, sizeof(*f));
	f->log = (struct log){keep_line, f, VMM_LOG_DEBUG, clock_system()};
	clock_fake_init(&f->clock);
	clock_fake_advance(&f->clock, NS_PER_SEC);
	cr_assert_eq(loop_create(&f->loop, "test", &f->clock.clock, &f->err), 0, "%s",
		     f->err.message);
	snprintf(f->path, sizeof(f->path), "%s/disk-XXXXXX", scratch_dir());
	int fd = mkstemp(f->path);

	cr_assert_geq(fd, 0, "no scratch file %s", f->path);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
	f->options.path = f->path;
}

int fixture_try_open(struct block_fixture *f)
{
	const struct block_seams seams = {
		.wrap = f->watch.start || f->watch.finish ? tap_wrap : NULL,
		.arg = f,
		.direct_align = f->direct_align,
	};

	return block_open_seams(&f->block, &f->options, "disk0", f->loop, &f->log, &seams, &f->err);
}

bool fixture_open(struct block_fixture *f)
{
	int r = fixture_try_open(f);

	if (r < 0 && f->options.engine == BLOCK_ENGINE_IO_URING &&
	    strstr(f->err.message, "engine=io_uring")) {
		fprintf(stderr, "not tested here: %s\n", f->err.message);
		return false;
	}
	if (r == -EINVAL && f->options.cache == BLOCK_CACHE_NONE) {
		fprintf(stderr, "not tested here: %s\n", f->err.message);
		return false;
	}
	cr_assert_eq(r, 0, "%s", f->err.message);
	return true;
}

void fixture_close(struct block_fixture *f)
{
	block_close(f->block);
	f->block = NULL;
}

void fixture_destroy(struct block_fixture *f)
{
	fixture_close(f);
	loop_destroy(f->loop);
	unlink(f->path);
}

void fixture_settle(struct block_fixture *f)
{
	while (block_in_flight(f->block))
		loop_turn(f->loop, true);
}

struct waited {
	struct block_request req;
	bool done;
	int result;
};

static void waited_done(struct block_request *req, int result)
{
	struct waited *w = container_of(req, struct waited, req);

	cr_assert_not(w->done, "done was called twice");
	w->done = true;
	w->result = result;
}

int fixture_dov(struct block_fixture *f, enum block_op op, uint64_t offset, const struct iovec *iov,
		int iovcnt, unsigned flags)
{
	struct waited w = {.req = {.op = op,
				   .flags = flags,
				   .offset = offset,
				   .iov = iov,
				   .iovcnt = iovcnt,
				   .done = waited_done}};

	for (int i = 0; i < iovcnt; i++)
		w.req.length += iov[i].iov_len;
	block_submit(f->block, &w.req);
	cr_assert_not(w.done, "done was called from within submit");
	while (!w.done)
		loop_turn(f->loop, true);
	return w.result;
}

int fixture_do(struct block_fixture *f, enum block_op op, uint64_t offset, uint64_t length,
	       void *data, unsigned flags)
{
	struct iovec iov = {data, length};
	struct waited w = {.req = {.op = op,
				   .flags = flags,
				   .offset = offset,
				   .length = length,
				   .done = waited_done}};

	if (op == BLOCK_READ || op == BLOCK_WRITE) {
		w.req.iov = &iov;
		w.req.iovcnt = 1;
	}
	block_submit(f->block, &w.req);
	cr_assert_not(w.done, "done was called from within submit");
	while (!w.done)
		loop_turn(f->loop, true);
	return w.result;
}

void fixture_peek(struct block_fixture *f, uint64_t offset, void *data, size_t length)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(pread(fd, data, length, (off_t)offset), (ssize_t)length);
	close(fd);
}
