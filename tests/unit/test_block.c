/* SPDX-License-Identifier: MIT */
/* Disks: opening, and what requests do, for each engine and cache mode. */
#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/block_fixture.h"

#define DISK_SIZE (4 * MIB)

static const int engines[] = {BLOCK_ENGINE_IO_URING, BLOCK_ENGINE_THREADS};
static const int caches[] = {BLOCK_CACHE_WRITEBACK, BLOCK_CACHE_WRITETHROUGH, BLOCK_CACHE_NONE,
			     BLOCK_CACHE_UNSAFE};

/* Run fn on an open disk for each engine and cache mode. */
static void on_every_disk(void (*fn)(struct block_fixture *f))
{
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		for (size_t c = 0; c < ARRAY_SIZE(caches); c++) {
			struct block_fixture f;

			fixture_init(&f, DISK_SIZE);
			f.options.engine = engines[e];
			f.options.cache = caches[c];
			if (fixture_open(&f))
				fn(&f);
			fixture_destroy(&f);
		}
	}
}

static void fill(char *memory, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		memory[i] = (char)(seed + i * 31 + i / 512);
}

static bool all_zero(const char *memory, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (memory[i])
			return false;
	return true;
}

struct noted {
	struct block_request req;
	int result;
	sem_t done;
};

static void note(struct block_request *req, int result)
{
	struct noted *noted = container_of(req, struct noted, req);

	noted->result = result;
	sem_post(&noted->done);
}

/* --- what requests do --- */

static void write_then_read(struct block_fixture *f)
{
	char *out = pages(65536), *in = pages(65536), *file = pages(65536);

	fill(out, 65536, 7);
	cr_assert_eq(fixture_do(f, BLOCK_WRITE, 4096, 65536, out, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 4096, 65536, in, 0), 0);
	cr_assert_arr_eq(in, out, 65536);
	fixture_peek(f, 4096, file, 65536);
	cr_assert_arr_eq(file, out, 65536);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, 4096, in, 0), 0);
	cr_assert(all_zero(in, 4096));
	free(out);
	free(in);
	free(file);
}

Test(block, what_was_written_is_read)
{
	on_every_disk(write_then_read);
}

/* Memory and lengths that no O_DIRECT takes, in many pieces. */
static void odd_memory(struct block_fixture *f)
{
	char *out = pages(16384), *in = pages(16384);
	struct iovec iov[8] = {
		{out + 1, 511}, {out + 600, 0},  {out + 513, 1},    {out + 1000, 3000},
		{out + 5, 72},  {out + 4096, 0}, {out + 7001, 512}, {out + 9000, 2048},
	};
	struct iovec back[8];
	size_t at = 0;

	fill(out, 16384, 3);
	for (int i = 0; i < 8; i++) {
		back[i] = (struct iovec){in + at + 3, iov[i].iov_len};
		at += iov[i].iov_len;
	}
	cr_assert_eq(at, 6144);
	cr_assert_eq(fixture_dov(f, BLOCK_WRITE, 512 * 5, iov, 8, 0), 0);
	cr_assert_eq(fixture_dov(f, BLOCK_READ, 512 * 5, back, 8, 0), 0);
	at = 0;
	for (int i = 0; i < 8; i++) {
		cr_assert_eq(memcmp(in + at + 3, iov[i].iov_base, iov[i].iov_len), 0);
		at += iov[i].iov_len;
	}
	free(out);
	free(in);
}

Test(block, memory_may_be_anywhere)
{
	on_every_disk(odd_memory);
}

/* More pieces than one system call takes. */
static void many_pieces(struct block_fixture *f)
{
	enum { PIECES = 3000, PIECE = 512 };
	char *out = pages(PIECES * PIECE), *in = pages(PIECES * PIECE);
	struct iovec *iov = calloc(PIECES, sizeof(*iov));

	fill(out, PIECES * PIECE, 9);
	for (int i = 0; i < PIECES; i++)
		iov[i] = (struct iovec){out + i * PIECE, PIECE};
	cr_assert_eq(fixture_dov(f, BLOCK_WRITE, 0, iov, PIECES, 0), 0);
	for (int i = 0; i < PIECES; i++)
		iov[i].iov_base = in + i * PIECE;
	cr_assert_eq(fixture_dov(f, BLOCK_READ, 0, iov, PIECES, 0), 0);
	cr_assert_eq(memcmp(in, out, PIECES * PIECE), 0);
	free(iov);
	free(out);
	free(in);
}

Test(block, requests_may_have_more_pieces_than_iov_max)
{
	on_every_disk(many_pieces);
}

static void zeroes_read_back(struct block_fixture *f)
{
	char *data = pages(MIB);

	for (unsigned unmap = 0; unmap < 2; unmap++) {
		unsigned flags = unmap ? BLOCK_UNMAP : 0;

		memset(data, 0x5a, MIB);
		cr_assert_eq(fixture_do(f, BLOCK_WRITE, 0, MIB, data, 0), 0);
		cr_assert_eq(fixture_do(f, BLOCK_WRITE_ZEROES, 512 * 3, 512 * 1001, NULL, flags),
			     0);
		cr_assert_eq(fixture_do(f, BLOCK_READ, 0, MIB, data, 0), 0);
		cr_assert(all_zero(data + 512 * 3, 512 * 1001));
		cr_assert_eq(data[512 * 3 - 1], 0x5a);
		cr_assert_eq(data[512 * 1004], 0x5a);
	}
	free(data);
}

Test(block, written_zeroes_read_back_as_zeroes)
{
	on_every_disk(zeroes_read_back);
}

static uint64_t allocated(const struct block_fixture *f)
{
	struct stat st;

	cr_assert_eq(stat(f->path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void discard_frees(struct block_fixture *f)
{
	char *data = pages(MIB);

	memset(data, 1, MIB);
	cr_assert_eq(fixture_do(f, BLOCK_WRITE, 0, MIB, data, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	if (!block_info(f->block)->can_discard)
		return;
	if (f->options.cache != BLOCK_CACHE_UNSAFE)
		cr_assert_geq(allocated(f), MIB);
	cr_assert_eq(fixture_do(f, BLOCK_DISCARD, 0, MIB, NULL, 0), 0);
	cr_assert_lt(allocated(f), MIB);
	struct stat st;

	cr_assert_eq(stat(f->path, &st), 0);
	cr_assert_eq((uint64_t)st.st_size, DISK_SIZE);
	free(data);
}

Test(block, discard_frees_space_and_keeps_the_size)
{
	on_every_disk(discard_frees);
}

Test(block, discard_can_be_ignored)
{
	struct block_fixture f;
	char *data = pages(MIB);

	fixture_init(&f, DISK_SIZE);
	f.options.discard = BLOCK_DISCARD_IGNORE;
	cr_assert(fixture_open(&f));
	cr_assert_not(block_info(f.block)->can_discard);
	memset(data, 1, MIB);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, MIB, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_DISCARD, 0, MIB, NULL, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, MIB, data, 0), 0);
	cr_assert_eq(data[12345], 1);
	/* Zeroes must still be zeroes, but stay allocated. */
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE_ZEROES, 0, MIB, NULL, BLOCK_UNMAP), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	cr_assert_geq(allocated(&f), MIB);
	fixture_destroy(&f);
	free(data);
}

static void wrong_requests(struct block_fixture *f)
{
	char *data = pages(4096);
	struct iovec none = {data, 0};

	cr_assert_eq(fixture_do(f, BLOCK_READ, DISK_SIZE, 512, data, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, BLOCK_WRITE, DISK_SIZE - 512, 1024, data, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, BLOCK_READ, UINT64_MAX - 511, 1024, data, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 1, 512, data, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, 513, data, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, BLOCK_DISCARD, 512, UINT64_MAX - 511, NULL, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, BLOCK_WRITE_ZEROES, 0, DISK_SIZE + 512, NULL, 0), -EINVAL);
	cr_assert_eq(fixture_do(f, (enum block_op)77, 0, 512, NULL, 0), -EINVAL);
	cr_assert_eq(fixture_dov(f, BLOCK_READ, DISK_SIZE, &none, 1, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_DISCARD, 0, 0, NULL, 0), 0);
	free(data);
}

Test(block, wrong_requests_are_refused_through_done)
{
	on_every_disk(wrong_requests);
}

Test(block, an_iovec_that_does_not_sum_to_the_length_is_refused)
{
	struct block_fixture f;
	char *data = pages(4096);
	struct iovec iov = {data, 1024};
	struct noted noted = {
		.req = {.op = BLOCK_READ, .length = 512, .iov = &iov, .iovcnt = 1, .done = note},
		.result = 1};

	fixture_init(&f, DISK_SIZE);
	cr_assert(fixture_open(&f));
	sem_init(&noted.done, 0, 0);
	block_submit(f.block, &noted.req);
	cr_assert_eq(noted.result, 1);
	cr_assert_eq(block_in_flight(f.block), 1);
	fixture_settle(&f);
	cr_assert_eq(noted.result, -EINVAL);
	fixture_destroy(&f);
	free(data);
}

Test(block, a_readonly_disk_refuses_changes)
{
	struct block_fixture f;
	char *data = pages(4096);

	fixture_init(&f, DISK_SIZE);
	f.options.readonly = true;
	cr_assert(fixture_open(&f));
	cr_assert(block_info(f.block)->readonly);
	cr_assert_not(block_info(f.block)->can_discard);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), -EROFS);
	cr_assert_eq(fixture_do(&f, BLOCK_DISCARD, 0, 4096, NULL, 0), -EROFS);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE_ZEROES, 0, 4096, NULL, 0), -EROFS);
	cr_assert_eq(fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	fixture_destroy(&f);
	free(data);
}

/* What the disk says of itself has this in it. */
static void reports(const struct block_fixture *f, const char *part)
{
	struct report *report = report_create();
	char *json;

	block_report(f->block, report);
	cr_assert_eq(report_finish(report, &json), 0);
	cr_assert_not_null(strstr(json, part), "%s", json);
	free(json);
}

static void shrunk(struct block_fixture *f)
{
	char *data = pages(8192);

	cr_assert_eq(truncate(f->path, MIB), 0);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 2 * MIB, 4096, data, 0), -EIO);
	cr_assert_eq(fixture_do(f, BLOCK_READ, MIB - 4096, 8192, data, 0), -EIO);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 2 * MIB + 512, 512, data + 1, 0), -EIO);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, 4096, data, 0), 0);
	reports(f, "\"read\":{\"operations\":4,\"bytes\":16896,\"errors\":3,");
	free(data);
}

Test(block, reading_beyond_a_shrunk_file_fails)
{
	on_every_disk(shrunk);
}

/* --- random requests against a model --- */

Test(block, random_requests_agree_with_a_model)
{
	on_every_disk(fixture_random);
}

Test(block, random_requests_on_an_overlay_agree_with_a_model)
{
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		struct block_fixture f;

		fixture_init(&f, DISK_SIZE);
		f.options.engine = engines[e];
		f.options.snapshot = true;
		if (fixture_open(&f))
			fixture_random(&f);
		fixture_destroy(&f);
	}
}

/* Every transfer is cut short somewhere. */
struct shortener {
	struct dice dice;
	uint32_t unit;
};

static void shorten(void *arg, const struct engine_op *op, struct tap_action *action)
{
	struct shortener *s = arg;
	(void)op;

	action->limit = (1 + dice_roll(&s->dice, 20)) * s->unit;
}

Test(block, short_transfers_are_carried_on)
{
	for (size_t c = 0; c < ARRAY_SIZE(caches); c++) {
		struct block_fixture f;
		struct shortener s = {{5}, caches[c] == BLOCK_CACHE_NONE ? 4096 : 100};

		fixture_init(&f, DISK_SIZE);
		f.options.cache = caches[c];
		f.watch = (struct tap_watch){shorten, NULL, &s};
		if (fixture_open(&f))
			fixture_random(&f);
		fixture_destroy(&f);
	}
}

/* What goes to an O_DIRECT descriptor must fit, also where it needs more than sectors. */
static void check_alignment(void *arg, const struct engine_op *op, struct tap_action *action)
{
	const uint32_t mask = *(const uint32_t *)arg - 1;
	uint64_t total = 0;
	(void)action;

	if (op->code != ENGINE_READ && op->code != ENGINE_WRITE)
		return;
	for (int i = 0; i < op->iovcnt; i++) {
		cr_assert_eq((uintptr_t)op->iov[i].iov_base & mask, 0);
		cr_assert_eq(op->iov[i].iov_len & mask, 0);
		total += op->iov[i].iov_len;
	}
	cr_assert_eq((op->offset | total) & mask, 0);
	cr_assert_leq(op->offset + total, DISK_SIZE);
}

Test(block, direct_io_is_aligned_whatever_the_guest_asks)
{
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		for (uint32_t align = 512; align <= 16384; align *= 2) {
			struct block_fixture f;

			fixture_init(&f, DISK_SIZE);
			f.options.engine = engines[e];
			f.options.cache = BLOCK_CACHE_NONE;
			f.direct_align = align;
			f.watch = (struct tap_watch){check_alignment, NULL, &align};
			if (fixture_open(&f))
				fixture_random(&f);
			fixture_destroy(&f);
		}
	}
}

/* --- sectors that share a unit of the host --- */

enum { NEIGHBOURS = 64 };

/* Writes of whole units (0xee) and of every second sector (its number), all in flight at once. */
static void write_neighbours(struct block_fixture *f, char *data)
{
	static struct noted writes[NEIGHBOURS];
	struct iovec iov[NEIGHBOURS];

	memset(data, 0xee, 4096);
	for (int i = 0; i < NEIGHBOURS; i++) {
		const bool whole = i % 8 == 4;
		char *memory = whole ? data : data + 4096 + i * 512;

		memset(memory, whole ? 0xee : i + 1, 512);
		iov[i] = (struct iovec){memory, whole ? 4096 : 512};
		writes[i].req = (struct block_request){
			.op = BLOCK_WRITE,
			.offset = (uint64_t)(whole ? i / 8 * 8 : i) * 512,
			.length = iov[i].iov_len,
			.iov = &iov[i],
			.iovcnt = 1,
			.done = note,
		};
		sem_init(&writes[i].done, 0, 0);
		if (whole || i % 2)
			block_submit(f->block, &writes[i].req);
	}
	fixture_settle(f);
}

Test(block, writes_of_neighbours_in_one_unit_of_the_host_do_not_undo_each_other)
{
	struct block_fixture f;
	char *data = pages(4096 + NEIGHBOURS * 512), *back = pages(NEIGHBOURS * 512);

	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		fixture_init(&f, DISK_SIZE);
		f.options.engine = engines[e];
		f.options.cache = BLOCK_CACHE_NONE;
		f.direct_align = 4096;
		for (int round = 0; round < 50 && (f.block || fixture_open(&f)); round++) {
			cr_assert_eq(fixture_do(&f, BLOCK_WRITE_ZEROES, 0, DISK_SIZE, NULL, 0), 0);
			write_neighbours(&f, data);
			cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, NEIGHBOURS * 512, back, 0), 0);
			/* Where only the whole unit was written its data must be there. */
			for (int i = 0; i < NEIGHBOURS; i++) {
				const char got = back[i * 512 + 100];

				if (i % 2)
					cr_assert(got == (char)0xee || got == i + 1);
				else
					cr_assert_eq(got, (char)0xee, "sector %d", i);
			}
		}
		fixture_destroy(&f);
	}
	free(data);
	free(back);
}

/* Write `count` sectors one by one, all in flight at once, and read them back. */
static void write_all_at_once(struct block_fixture *f, int count)
{
	const size_t length = (size_t)count * 512;
	struct noted *writes = calloc((size_t)count, sizeof(*writes));
	struct iovec *iov = calloc((size_t)count, sizeof(*iov));
	char *data = pages(length), *back = pages(length);

	fill(data, length, 11);
	for (int i = 0; i < count; i++) {
		iov[i] = (struct iovec){data + i * 512, 512};
		writes[i].req = (struct block_request){.op = BLOCK_WRITE,
						       .offset = (uint64_t)i * 512,
						       .length = 512,
						       .iov = &iov[i],
						       .iovcnt = 1,
						       .done = note};
		sem_init(&writes[i].done, 0, 0);
		block_submit(f->block, &writes[i].req);
	}
	cr_assert_eq(block_in_flight(f->block), (unsigned)count);
	fixture_settle(f);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, length, back, 0), 0);
	cr_assert_eq(memcmp(back, data, length), 0);
	free(writes);
	free(iov);
	free(data);
	free(back);
}

Test(block, writes_of_single_sectors_in_one_unit_all_arrive)
{
	struct block_fixture f;

	fixture_init(&f, DISK_SIZE);
	f.options.cache = BLOCK_CACHE_NONE;
	f.direct_align = 4096;
	if (fixture_open(&f))
		write_all_at_once(&f, NEIGHBOURS);
	fixture_destroy(&f);
}

static void flood(struct block_fixture *f)
{
	write_all_at_once(f, 1500);
}

Test(block, more_requests_than_the_engine_takes_at_once)
{
	on_every_disk(flood);
}

/* What cannot be read in full is not written back. */
Test(block, a_part_of_a_unit_that_the_file_has_lost_is_not_written)
{
	struct block_fixture f;
	char *data = pages(512);
	struct stat st;

	fixture_init(&f, DISK_SIZE);
	f.options.cache = BLOCK_CACHE_NONE;
	f.direct_align = 4096;
	if (fixture_open(&f)) {
		cr_assert_eq(truncate(f.path, MIB + 1024), 0);
		cr_assert_eq(fixture_do(&f, BLOCK_WRITE, MIB + 512, 512, data, 0), -EIO);
		cr_assert_eq(stat(f.path, &st), 0);
		cr_assert_eq(st.st_size, (off_t)(MIB + 1024));
	}
	fixture_destroy(&f);
	free(data);
}

/* A file system without holes: everything falls back to writing zeroes. */
static void refuse_fallocate(void *arg, const struct engine_op *op, struct tap_action *action)
{
	(void)arg;
	if (op->code == ENGINE_FALLOCATE)
		action->error = EOPNOTSUPP;
}

Test(block, without_fallocate_zeroes_are_written_and_discard_is_a_hint)
{
	for (size_t c = 0; c < ARRAY_SIZE(caches); c++) {
		struct block_fixture f;
		char *data = pages(MIB);

		fixture_init(&f, DISK_SIZE);
		f.options.cache = caches[c];
		f.watch = (struct tap_watch){refuse_fallocate, NULL, NULL};
		if (fixture_open(&f)) {
			zeroes_read_back(&f);
			memset(data, 3, MIB);
			cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, MIB, data, 0), 0);
			cr_assert_eq(fixture_do(&f, BLOCK_DISCARD, 0, MIB, NULL, 0), 0);
			cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, MIB, data, 0), 0);
			cr_assert_eq(data[777], 3);
		}
		fixture_destroy(&f);
		free(data);
	}
}

static unsigned counted;

static void count(struct block_request *req, int result)
{
	(void)req;
	cr_assert_eq(result, 0);
	counted++;
}

/* Behind a write of a part of a unit: discards that complete at once, each letting the next in. */
Test(block, any_number_of_requests_may_wait_for_a_unit)
{
	enum { COUNT = 256 * 1024 };
	struct block_request *discards = calloc(COUNT, sizeof(*discards));
	struct block_request write = {.op = BLOCK_WRITE, .length = 512, .iovcnt = 1, .done = count};
	struct iovec iov = {pages(512), 512};
	struct block_fixture f;

	fixture_init(&f, DISK_SIZE);
	f.options.cache = BLOCK_CACHE_NONE;
	f.direct_align = 4096;
	f.watch.start = refuse_fallocate;
	if (fixture_open(&f)) {
		cr_assert_eq(fixture_do(&f, BLOCK_DISCARD, 0, DISK_SIZE, NULL, 0), 0);
		write.iov = &iov;
		block_submit(f.block, &write);
		for (int i = 0; i < COUNT; i++) {
			discards[i] = (struct block_request){
				.op = BLOCK_DISCARD, .length = 512, .done = count};
			block_submit(f.block, &discards[i]);
		}
		fixture_settle(&f);
		cr_assert_eq(counted, COUNT + 1);
	}
	fixture_destroy(&f);
	free(iov.iov_base);
	free(discards);
}

/* --- a loop with a thread of its own --- */

static void submit_on_loop(void *arg)
{
	void **args = arg;

	block_submit(args[0], args[1]);
}

Test(block, open_and_close_work_while_the_loop_runs_on_its_thread)
{
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		struct block_fixture f;
		struct noted noted = {.req = {.op = BLOCK_FLUSH, .done = note}, .result = 1};
		void *args[] = {NULL, &noted.req};

		fixture_init(&f, DISK_SIZE);
		f.options.engine = engines[e];
		sem_init(&noted.done, 0, 0);
		cr_assert_eq(loop_start(f.loop, &f.err), 0);
		if (fixture_open(&f)) {
			args[0] = f.block;
			loop_call(f.loop, submit_on_loop, args);
			sem_wait(&noted.done);
			cr_assert_eq(noted.result, 0);
			fixture_close(&f);
		}
		loop_join(f.loop);
		fixture_destroy(&f);
	}
}
