/* SPDX-License-Identifier: MIT */
/*
 * What a completed request promises: errors, failed syncs, and the loss of power.
 *
 * The power-loss model logs what the guest asks and is told, and what reaches the file. Then the
 * power fails after each event of the log: writes that an fdatasync covers are on the disk, every
 * other sector that was written may be or not. Each sector must hold what was promised, or
 * something newer.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/block_fixture.h"

static const int engines[] = {BLOCK_ENGINE_IO_URING, BLOCK_ENGINE_THREADS};
static const int promising[] = {BLOCK_CACHE_WRITEBACK, BLOCK_CACHE_WRITETHROUGH, BLOCK_CACHE_NONE};

/* --- the power-loss model --- */

enum {
	SECTORS = 64,
	EVENTS_MAX = 20000,
	PENDING = 8,
	STAMPS = 16,
	GUEST_OPERATIONS = 600,
	SUBSETS = 4
};

enum event_kind {
	GUEST_SUBMIT, /* a write, zeroes or flush begins */
	GUEST_DONE,   /* and is reported as a success */
	FILE_START,   /* a write, fallocate or fdatasync begins */
	FILE_DONE,
};

struct event {
	enum event_kind kind;
	int begin;    /* of a DONE: the index of its SUBMIT or START; else -1 */
	int end;      /* of a SUBMIT or START: the index of its DONE, or -1 */
	bool sync;    /* flush or fdatasync */
	bool durable; /* GUEST_SUBMIT: must be durable when done */
	unsigned first, count;
	uint32_t stamps[STAMPS]; /* one for each sector */
	const void *op;          /* FILE_START: who */
};

struct guest_op {
	struct block_request req;
	struct model *model;
	bool busy;
	int submitted; /* index of the event */
	char *memory;
	struct iovec iov;
};

struct model {
	struct block_fixture f;
	struct dice dice;
	struct event *events;
	int count;
	uint32_t next_stamp;
	struct guest_op ops[PENDING];
};

static struct event *log_event(struct model *m, enum event_kind kind, int begin)
{
	cr_assert_lt(m->count, EVENTS_MAX);
	struct event *e = &m->events[m->count];

	*e = (struct event){.kind = kind, .begin = begin, .end = -1};
	if (begin >= 0)
		m->events[begin].end = m->count;
	m->count++;
	return e;
}

static void file_start(void *arg, const struct engine_op *op, struct tap_action *action)
{
	struct model *m = arg;
	(void)action;

	if (op->code == ENGINE_READ)
		return;
	struct event *e = log_event(m, FILE_START, -1);

	e->op = op;
	e->sync = op->code == ENGINE_SYNC;
	if (e->sync)
		return;
	e->first = (unsigned)(op->offset / 512);
	e->count = (unsigned)(op->length / 512);
	if (op->code == ENGINE_WRITE) {
		cr_assert_eq(op->iovcnt, 1);
		e->count = (unsigned)(op->iov[0].iov_len / 512);
		for (unsigned i = 0; i < e->count; i++)
			memcpy(&e->stamps[i], (char *)op->iov[0].iov_base + i * 512, 4);
	}
	cr_assert_leq(e->count, STAMPS);
}

static void file_done(void *arg, const struct engine_op *op, int64_t result)
{
	struct model *m = arg;

	if (op->code == ENGINE_READ)
		return;
	for (int i = m->count - 1; i >= 0; i--)
		if (m->events[i].kind == FILE_START && m->events[i].op == op) {
			cr_assert_geq(result, 0);
			log_event(m, FILE_DONE, i);
			return;
		}
	cr_assert_fail("an operation ended that had not begun");
}

static void guest_done(struct block_request *req, int result)
{
	struct guest_op *op = container_of(req, struct guest_op, req);

	cr_assert_eq(result, 0);
	op->busy = false;
	log_event(op->model, GUEST_DONE, op->submitted);
}

static bool guest_overlaps(const struct model *m, unsigned first, unsigned count)
{
	for (int i = 0; i < PENDING; i++) {
		const struct block_request *req = &m->ops[i].req;

		if (m->ops[i].busy && first < (req->offset + req->length) / 512 &&
		    req->offset / 512 < first + count)
			return true;
	}
	return false;
}

static void guest_describe(struct model *m, struct guest_op *op, struct event *e)
{
	const bool force = m->f.options.cache == BLOCK_CACHE_WRITETHROUGH;

	op->submitted = (int)(e - m->events);
	e->sync = op->req.op == BLOCK_FLUSH;
	e->durable =
		!e->sync && (force || (op->req.flags & BLOCK_FUA) || !block_writeback(m->f.block));
	e->first = (unsigned)(op->req.offset / 512);
	e->count = (unsigned)(op->req.length / 512);
	for (unsigned i = 0; i < e->count && op->req.op == BLOCK_WRITE; i++) {
		e->stamps[i] = ++m->next_stamp;
		memcpy(op->memory + i * 512, &e->stamps[i], 4);
	}
}

static void guest_submit(struct model *m, struct guest_op *op)
{
	static const enum block_op kinds[] = {BLOCK_WRITE, BLOCK_WRITE,        BLOCK_WRITE,
					      BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_FLUSH};
	struct block_request *req = &op->req;

	memset(req, 0, sizeof(*req));
	req->op = kinds[dice_roll(&m->dice, ARRAY_SIZE(kinds))];
	req->done = guest_done;
	if (req->op != BLOCK_FLUSH) {
		unsigned count = 1 + dice_roll(&m->dice, 4);
		unsigned first = dice_roll(&m->dice, SECTORS - count);

		if (guest_overlaps(m, first, count))
			return;
		req->flags = (dice_roll(&m->dice, 6) ? 0 : BLOCK_FUA) |
			     (dice_roll(&m->dice, 2) ? 0 : BLOCK_UNMAP);
		req->offset = first * 512;
		req->length = count * 512;
		op->iov = (struct iovec){op->memory, req->length};
		req->iov = &op->iov;
		req->iovcnt = req->op == BLOCK_WRITE;
	}
	op->busy = true;
	guest_describe(m, op, log_event(m, GUEST_SUBMIT, -1));
	block_submit(m->f.block, req);
}

static void run_guest(struct model *m)
{
	for (int i = 0; i < PENDING; i++) {
		m->ops[i].model = m;
		m->ops[i].memory = pages(4096);
	}
	for (int n = 0; n < GUEST_OPERATIONS; n++) {
		struct guest_op *op = &m->ops[dice_roll(&m->dice, PENDING)];

		if (dice_roll(&m->dice, 40) == 0)
			block_set_writeback(m->f.block, dice_roll(&m->dice, 2));
		if (op->busy || dice_roll(&m->dice, 4) == 0)
			loop_turn(m->f.loop, block_in_flight(m->f.block) > 0);
		else
			guest_submit(m, op);
	}
	fixture_settle(&m->f);
	for (int i = 0; i < PENDING; i++)
		free(m->ops[i].memory);
}

/* Is the file write at `index` covered by an fdatasync that ended before the power failed? */
static bool on_disk(const struct model *m, int index, int crash)
{
	const int end = m->events[index].end;

	if (end < 0)
		return false;
	for (int i = end + 1; i < crash; i++) {
		const struct event *e = &m->events[i];

		if (e->kind == FILE_START && e->sync && e->end >= 0 && e->end < crash)
			return true;
	}
	return false;
}

/* Was the guest told before the power failed that the write at `index` is durable? */
static bool promised(const struct model *m, int index, int crash)
{
	const struct event *write = &m->events[index];

	if (write->end < 0 || write->end >= crash)
		return false;
	if (write->durable)
		return true;
	for (int i = write->end + 1; i < crash; i++) {
		const struct event *e = &m->events[i];

		if (e->kind == GUEST_SUBMIT && e->sync && e->end >= 0 && e->end < crash)
			return true;
	}
	return false;
}

/* The disk after a loss of power: what is not safe is kept with the chance of keep in 4. */
static void make_image(struct model *m, int crash, uint32_t keep, uint32_t *image)
{
	memset(image, 0, SECTORS * sizeof(*image));
	for (int i = 0; i < crash; i++) {
		const struct event *e = &m->events[i];

		if (e->kind != FILE_START || e->sync)
			continue;
		const bool safe = on_disk(m, i, crash);

		for (unsigned s = 0; s < e->count; s++)
			if (safe || dice_roll(&m->dice, 4) < keep)
				image[e->first + s] = e->stamps[s];
	}
}

/* Is `stamp` an allowed content of the sector: the last promise for it, or newer? */
static bool allowed(const struct model *m, int crash, unsigned sector, uint32_t stamp)
{
	for (int i = crash - 1; i >= 0; i--) {
		const struct event *e = &m->events[i];

		if (e->kind != GUEST_SUBMIT || e->sync || sector < e->first ||
		    sector >= e->first + e->count)
			continue;
		if (e->stamps[sector - e->first] == stamp)
			return true;
		if (promised(m, i, crash))
			return false;
	}
	return stamp == 0;
}

/* Sectors that broke a promise, over all crash points and some subsets at each. */
static unsigned broken_promises(struct model *m)
{
	uint32_t image[SECTORS];
	unsigned broken = 0;

	for (int crash = 0; crash <= m->count; crash++)
		for (uint32_t subset = 0; subset < SUBSETS; subset++) {
			make_image(m, crash, subset, image);
			for (unsigned s = 0; s < SECTORS; s++)
				broken += !allowed(m, crash, s, image[s]);
		}
	return broken;
}

/* The broken promises of a random run, or -1 where this host cannot do it. */
static int lose_power(int engine, int cache, uint32_t direct_align, unsigned seed)
{
	struct model *m = calloc(1, sizeof(*m));
	int broken = -1;

	m->events = calloc(EVENTS_MAX, sizeof(*m->events));
	m->dice.state = seed;
	fixture_init(&m->f, SECTORS * 512);
	m->f.options.engine = engine;
	m->f.options.cache = cache;
	m->f.direct_align = direct_align;
	m->f.watch = (struct tap_watch){file_start, file_done, m};
	if (fixture_open(&m->f)) {
		run_guest(m);
		broken = (int)broken_promises(m);
	}
	fixture_destroy(&m->f);
	free(m->events);
	free(m);
	return broken;
}

static void keeps_its_promises(int cache, uint32_t direct_align)
{
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++)
		for (unsigned seed = 1; seed <= 3; seed++)
			cr_assert_leq(lose_power(engines[e], cache, direct_align, seed), 0,
				      "engine %d cache %d seed %u", engines[e], cache, seed);
}

Test(block_durability, what_was_promised_survives_the_loss_of_power)
{
	for (size_t c = 0; c < ARRAY_SIZE(promising); c++)
		keeps_its_promises(promising[c], 0);
}

/* Sectors that share a unit of the host are written again with their neighbours. */
Test(block_durability, what_was_promised_survives_also_where_the_host_has_large_sectors)
{
	keeps_its_promises(BLOCK_CACHE_NONE, 4096);
}

/* The model can tell: a disk that ignores flushes does lose what it promised. */
Test(block_durability, the_model_sees_a_disk_that_ignores_flushes)
{
	cr_assert_gt(lose_power(BLOCK_ENGINE_THREADS, BLOCK_CACHE_UNSAFE, 0, 1), 0);
}

/* --- what reaches the file, in which order --- */

struct counts {
	unsigned writes, syncs, syncs_running, syncs_at_once;
	int fail_write, fail_sync, fail_read; /* errno for the next ones */
	unsigned fail_times;
};

static void count_start(void *arg, const struct engine_op *op, struct tap_action *action)
{
	struct counts *c = arg;
	int error = 0;

	if (op->code == ENGINE_SYNC) {
		c->syncs++;
		c->syncs_running++;
		c->syncs_at_once = MAX(c->syncs_at_once, c->syncs_running);
		error = c->fail_sync;
	} else if (op->code == ENGINE_WRITE) {
		c->writes++;
		error = c->fail_write;
	} else if (op->code == ENGINE_READ) {
		error = c->fail_read;
	}
	if (error && c->fail_times) {
		c->fail_times--;
		action->error = error;
	}
}

static void count_finish(void *arg, const struct engine_op *op, int64_t result)
{
	struct counts *c = arg;
	(void)result;

	if (op->code == ENGINE_SYNC)
		c->syncs_running--;
}

static struct block_fixture f;
static struct counts counts;
static char *data;

static void open_counted(int cache)
{
	fixture_init(&f, MIB);
	f.options.cache = cache;
	f.watch = (struct tap_watch){count_start, count_finish, &counts};
	if (!fixture_open(&f))
		cr_skip_test("not on this host");
	data = pages(8192);
}

static void teardown(void)
{
	if (f.loop)
		fixture_destroy(&f);
	free(data);
}

TestSuite(block_durability, .fini = teardown);

static int do_write(unsigned flags)
{
	return fixture_do(&f, BLOCK_WRITE, 4096, 4096, data, flags);
}

static int do_flush(void)
{
	return fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0);
}

Test(block_durability, writeback_syncs_on_flush_and_fua_only)
{
	open_counted(BLOCK_CACHE_WRITEBACK);
	cr_assert(block_writeback(f.block));
	cr_assert_eq(do_write(0), 0);
	cr_assert_eq(counts.syncs, 0);
	cr_assert_eq(do_flush(), 0);
	cr_assert_eq(counts.syncs, 1);
	cr_assert_eq(do_write(BLOCK_FUA), 0);
	cr_assert_eq(counts.syncs, 2);
	block_set_writeback(f.block, false);
	cr_assert_eq(do_write(0), 0);
	cr_assert_eq(counts.syncs, 3);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE_ZEROES, 0, 8192, NULL, 0), 0);
	cr_assert_eq(counts.syncs, 4);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 8192, data, BLOCK_FUA), 0);
	cr_assert_eq(counts.syncs, 4);
}

Test(block_durability, writethrough_syncs_each_write_whatever_the_guest_sets)
{
	open_counted(BLOCK_CACHE_WRITETHROUGH);
	cr_assert_not(block_writeback(f.block));
	cr_assert_eq(do_write(0), 0);
	cr_assert_eq(counts.syncs, 1);
	block_set_writeback(f.block, true);
	cr_assert_eq(do_write(0), 0);
	cr_assert_eq(counts.syncs, 2);
}

Test(block_durability, unsafe_never_syncs)
{
	open_counted(BLOCK_CACHE_UNSAFE);
	block_set_writeback(f.block, false);
	cr_assert_eq(do_write(BLOCK_FUA), 0);
	cr_assert_eq(do_flush(), 0);
	cr_assert_eq(counts.syncs, 0);
}

static void plain_done(struct block_request *req, int result)
{
	req->length = (uint64_t)(int64_t)result;
}

/* Submit `n` flushes at once; their results are left in length. */
static void flush_many(struct block_request *reqs, int n)
{
	for (int i = 0; i < n; i++) {
		reqs[i] = (struct block_request){.op = BLOCK_FLUSH, .done = plain_done};
		block_submit(f.block, &reqs[i]);
	}
	fixture_settle(&f);
}

Test(block_durability, flushes_share_a_sync_and_never_run_at_once)
{
	struct block_request reqs[20];

	open_counted(BLOCK_CACHE_WRITEBACK);
	flush_many(reqs, 20);
	/* The first, and one for all that came while it ran. */
	cr_assert_eq(counts.syncs, 2);
	cr_assert_eq(counts.syncs_at_once, 1);
	for (int i = 0; i < 20; i++)
		cr_assert_eq((int)(int64_t)reqs[i].length, 0);
}

/* --- errors --- */

Test(block_durability, after_a_failed_sync_nothing_is_durable_any_more)
{
	open_counted(BLOCK_CACHE_WRITEBACK);
	cr_assert_eq(do_write(0), 0);
	counts.fail_sync = EIO;
	counts.fail_times = 1;
	cr_assert_eq(do_flush(), -EIO);
	cr_assert(strstr(f.lines, "disk0: fdatasync failed"), "%s", f.lines);
	/* From here on the kernel would say that all is well. */
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(do_flush(), -EIO);
		cr_assert_eq(do_write(BLOCK_FUA), -EIO);
	}
	cr_assert_eq(do_write(0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 8192, data, 0), 0);
	block_set_writeback(f.block, false);
	cr_assert_eq(do_write(0), -EIO);
}

Test(block_durability, flushes_that_wait_for_a_failing_sync_all_fail)
{
	struct block_request reqs[5];

	open_counted(BLOCK_CACHE_WRITEBACK);
	counts.fail_sync = ENOSPC;
	counts.fail_times = 1;
	flush_many(reqs, 5);
	for (int i = 0; i < 5; i++)
		cr_assert_eq((int)(int64_t)reqs[i].length, -EIO);
	cr_assert_eq(counts.syncs, 1);
}

static void fails_then_works(int cache, int error, int expected)
{
	open_counted(cache);
	counts = (struct counts){.fail_write = error, .fail_read = error, .fail_times = 1};
	cr_assert_eq(do_write(BLOCK_FUA), expected);
	cr_assert_eq(do_write(BLOCK_FUA), 0);
	counts.fail_times = 1;
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), error == EIO ? -EIO : expected);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), 0);
	/* Through a bounce buffer where there is one. */
	counts.fail_times = 1;
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 512, data + 1, 0), expected);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 512, data + 1, 0), 0);
	cr_assert_eq(do_flush(), 0);
	fixture_destroy(&f);
	f.loop = NULL;
	free(data);
	data = NULL;
}

Test(block_durability, errors_reach_the_guest_and_the_disk_works_again)
{
	for (size_t c = 0; c < ARRAY_SIZE(promising); c++) {
		fails_then_works(promising[c], EIO, -EIO);
		fails_then_works(promising[c], ENOSPC, -ENOSPC);
		fails_then_works(promising[c], EDQUOT, -ENOSPC);
		fails_then_works(promising[c], EINTR, 0);
		fails_then_works(promising[c], EAGAIN, 0);
	}
}

Test(block_durability, an_error_that_stays_does_not_spin_for_ever)
{
	open_counted(BLOCK_CACHE_WRITEBACK);
	counts = (struct counts){.fail_write = EAGAIN, .fail_times = 1000000};
	cr_assert_eq(do_write(0), -EIO);
	cr_assert_lt(counts.writes, 100);
}
