/* SPDX-License-Identifier: MIT */
/* Thousands of random requests, many in flight, compared with a model in memory. */
#include "block_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 24, OPERATIONS = 4000, REQUEST_MAX = 48 };

struct slot {
	struct block_request req;
	struct random_run *run;
	bool busy;
	char *memory;
	struct iovec iov[4];
};

struct random_run {
	struct block_fixture *f;
	struct dice dice;
	char *model;
	uint64_t size;
	struct slot slots[SLOTS];
};

static void slot_done(struct block_request *req, int result)
{
	struct slot *slot = container_of(req, struct slot, req);
	const char *model = slot->run->model + req->offset;

	cr_assert_eq(result, 0, "op %d at %lu", req->op, (unsigned long)req->offset);
	slot->busy = false;
	if (req->op != BLOCK_READ)
		return;
	for (int i = 0; i < req->iovcnt; model += req->iov[i].iov_len, i++)
		cr_assert_eq(memcmp(req->iov[i].iov_base, model, req->iov[i].iov_len), 0,
			     "read of %lu at %lu", (unsigned long)req->length,
			     (unsigned long)req->offset);
}

static bool overlaps(const struct random_run *run, uint64_t offset, uint64_t length)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct block_request *req = &run->slots[i].req;

		if (run->slots[i].busy && offset < req->offset + req->length &&
		    req->offset < offset + length)
			return true;
	}
	return false;
}

/* Cut the request's memory into up to four pieces at odd places. */
static void cut(struct slot *slot, struct dice *dice, uint64_t length)
{
	char *at = slot->memory + dice_roll(dice, 3) * dice_roll(dice, 512);
	int n = 0;

	while (length) {
		size_t part = n == 3 ? length : MIN(length, dice_roll(dice, 12000));

		if (dice_roll(dice, 2) && n < 3)
			part = MIN(length, align_up(part, 4096));
		slot->iov[n++] = (struct iovec){at, part};
		at += part;
		length -= part;
	}
	slot->req.iov = slot->iov;
	slot->req.iovcnt = n;
}

static void start_random(struct random_run *run, struct slot *slot)
{
	static const enum block_op ops[] = {BLOCK_READ,  BLOCK_READ,         BLOCK_READ,
					    BLOCK_WRITE, BLOCK_WRITE,        BLOCK_WRITE,
					    BLOCK_FLUSH, BLOCK_WRITE_ZEROES, BLOCK_DISCARD};
	const uint32_t sector = block_info(run->f->block)->logical_block_size;
	struct dice *dice = &run->dice;
	struct block_request *req = &slot->req;

	req->op = ops[dice_roll(dice, ARRAY_SIZE(ops))];
	req->flags = dice_roll(dice, 8) ? dice_roll(dice, 2) * BLOCK_UNMAP : BLOCK_FUA;
	req->length = (1 + dice_roll(dice, REQUEST_MAX)) * 512;
	req->offset = dice_roll(dice, (uint32_t)((run->size - req->length) / 512 + 1)) * 512;
	if (dice_roll(dice, 3) == 0)
		req->offset = align_down(req->offset, 4096);
	req->done = slot_done;
	/* What is no whole sector of the disk stays when it is discarded. */
	if (req->op == BLOCK_DISCARD) {
		req->offset = align_down(req->offset, sector);
		req->length = align_up(req->length, sector);
	}
	if (req->op == BLOCK_FLUSH)
		req->offset = req->length = 0;
	else if (overlaps(run, req->offset, req->length))
		return;
	if (req->op == BLOCK_READ || req->op == BLOCK_WRITE)
		cut(slot, dice, req->length);
	char *model = run->model + req->offset;

	if (req->op == BLOCK_WRITE)
		for (int i = 0; i < req->iovcnt; model += req->iov[i].iov_len, i++) {
			memset(req->iov[i].iov_base, (int)dice_roll(dice, 256),
			       req->iov[i].iov_len);
			memcpy(model, req->iov[i].iov_base, req->iov[i].iov_len);
		}
	else if (req->op == BLOCK_WRITE_ZEROES || req->op == BLOCK_DISCARD)
		memset(model, 0, req->length);
	slot->busy = true;
	block_submit(run->f->block, req);
}

void fixture_random(struct block_fixture *f)
{
	const uint64_t size = block_info(f->block)->size;
	struct random_run *run = calloc(1, sizeof(*run));
	char *end = pages(size);

	run->f = f;
	run->size = size;
	run->dice.state = 42;
	run->model = calloc(1, size);
	for (int i = 0; i < SLOTS; i++) {
		run->slots[i].run = run;
		run->slots[i].memory = pages(REQUEST_MAX * 512 + 4096);
	}
	for (int n = 0; n < OPERATIONS; n++) {
		struct slot *slot = &run->slots[dice_roll(&run->dice, SLOTS)];

		if (!slot->busy)
			start_random(run, slot);
		else
			loop_turn(f->loop, true);
	}
	fixture_settle(f);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, size, end, 0), 0);
	cr_assert_eq(memcmp(end, run->model, size), 0);
	for (int i = 0; i < SLOTS; i++)
		free(run->slots[i].memory);
	free(end);
	free(run->model);
	free(run);
}
