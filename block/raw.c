/* SPDX-License-Identifier: MIT */
/*
 * The raw layer: one file or block device.
 *
 * A request becomes a sequence of engine operations, one at a time: raw_step() starts the next
 * piece of what is left, a completion moves `progress` on and comes back to it. Short transfers
 * need nothing else.
 *
 * Durability: one fdatasync at a time (raw_sync.c).
 *
 * O_DIRECT: a piece whose memory or range does not fit its alignment goes through a bounce buffer.
 * A write that covers an alignment unit only in part must read the rest first; nothing else may
 * write meanwhile, or its data would be put back (the gate below). This is rare: it needs a host
 * with larger sectors than the guest uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "block/raw.h"

#define BOUNCE_SIZE  (128 * KIB)
#define ZEROES_SIZE  (256 * KIB)
#define SPARE_MAX    128
#define STALLS_MAX   16
#define BUFFER_ALIGN 4096u

static void raw_step(struct raw_io *io);

static bool is_write(const struct raw_io *io)
{
	return io->req->op == BLOCK_WRITE || io->req->op == BLOCK_WRITE_ZEROES;
}

static uint64_t remaining(const struct raw_io *io)
{
	return io->req->length - io->progress;
}

/* --- the gate: a read-modify-write excludes every other change --- */

static void gate_run(struct raw *raw)
{
	/* A step may complete at once and come back here: no deeper for each that waits. */
	if (raw->gate_running)
		return;
	raw->gate_running = true;
	while (!list_empty(&raw->gate_waiting) && !raw->gate_exclusive) {
		struct raw_io *io = list_entry(raw->gate_waiting.next, struct raw_io, link);

		if (io->exclusive && raw->gate_count)
			break;
		list_del(&io->link);
		raw->gate_exclusive = io->exclusive;
		raw->gate_count++;
		io->gated = true;
		raw_step(io);
	}
	raw->gate_running = false;
}

static void gate_enter(struct raw_io *io)
{
	const uint64_t mask = io->raw->file.offset_alignment - 1;

	io->exclusive = is_write(io) && ((io->req->offset | io->req->length) & mask);
	list_add_tail(&io->raw->gate_waiting, &io->link);
	gate_run(io->raw);
}

static void gate_leave(struct raw_io *io)
{
	struct raw *raw = io->raw;

	io->gated = false;
	raw->gate_count--;
	if (io->exclusive)
		raw->gate_exclusive = false;
	gate_run(raw);
}

/* --- the life of a request --- */

static struct raw_io *io_get(struct raw *raw)
{
	struct raw_io *io;

	if (list_empty(&raw->spare)) {
		io = malloc(sizeof(*io));
	} else {
		io = list_entry(raw->spare.next, struct raw_io, link);
		list_del(&io->link);
		raw->spare_count--;
	}
	if (io)
		*io = (struct raw_io){.raw = raw};
	return io;
}

void raw_complete(struct raw_io *io, int result)
{
	struct raw *raw = io->raw;
	struct block_request *req = io->req;

	free(io->bounce);
	if (raw->spare_count < SPARE_MAX) {
		list_add_tail(&raw->spare, &io->link);
		raw->spare_count++;
	} else {
		free(io);
	}
	raw->layer.complete(&raw->layer, req, result);
}

/* What the guest learns: out of space, or an error. Alignment and memory are not its business. */
static int guest_result(int64_t result)
{
	switch (result) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static void io_fail(struct raw_io *io, int64_t result)
{
	static const char *const names[] = {"read", "write", "flush", "discard", "write zeroes"};
	struct raw *raw = io->raw;

	log_guest(raw->log, &raw->limit, raw->what, "%s of %" PRIu64 " bytes at %" PRIu64 ": %s",
		  names[io->req->op], io->req->length, io->req->offset, strerror((int)-result));
	/* A part may have been written. */
	if (io->req->op != BLOCK_READ)
		raw->dirty = true;
	if (io->gated)
		gate_leave(io);
	raw_complete(io, guest_result(result));
}

/* The data phase is over. */
static void io_finish(struct raw_io *io)
{
	if (io->req->op != BLOCK_READ)
		io->raw->dirty = true;
	if (io->gated)
		gate_leave(io);
	if (io->flags & BLOCK_FUA)
		raw_sync_add(io);
	else
		raw_complete(io, 0);
}

/* Interrupted or out of resources for a moment. Bounded, so that nothing spins. */
static bool io_try_again(struct raw_io *io, int64_t result)
{
	return (result == -EINTR || result == -EAGAIN) && io->stalls++ < STALLS_MAX;
}

/* --- the position in the caller's iovec --- */

/* Entries without bytes are stepped over, so that an operation always has some. */
static void io_skip_empty(struct raw_io *io)
{
	while (io->index < io->req->iovcnt && io->skip == io->req->iov[io->index].iov_len) {
		io->index++;
		io->skip = 0;
	}
}

static void io_advance(struct raw_io *io, uint64_t n)
{
	io->progress += n;
	io->stalls = 0;
	if (io->zeroing)
		return;
	while (n) {
		size_t part = (size_t)MIN(n, io->req->iov[io->index].iov_len - io->skip);

		io->skip += part;
		n -= part;
		io_skip_empty(io);
	}
}

/* Copy n bytes from the caller's memory at the current position into `buffer`, or back. */
static void io_copy(struct raw_io *io, char *buffer, size_t n, bool to_caller)
{
	size_t skip = io->skip;

	if (io->zeroing) {
		memset(buffer, 0, n);
		return;
	}
	for (int i = io->index; n; i++, skip = 0) {
		char *memory = (char *)io->req->iov[i].iov_base + skip;
		size_t part = MIN(n, io->req->iov[i].iov_len - skip);

		if (part && to_caller)
			memcpy(memory, buffer, part);
		else if (part)
			memcpy(buffer, memory, part);
		buffer += part;
		n -= part;
	}
}

/* --- data without a bounce buffer --- */

static void plain_done(struct engine_op *op, int64_t result)
{
	struct raw_io *io = container_of(op, struct raw_io, op);

	if (io_try_again(io, result)) {
		engine_submit(io->raw->engine, op);
		return;
	}
	/* A direct transfer goes on at a unit's start; a guest's image never ends within one. */
	if (result > 0 && io->raw->file.direct && (uint64_t)result < remaining(io))
		result = (int64_t)align_down((uint64_t)result, io->raw->file.offset_alignment);
	if (result <= 0) {
		/* Nothing read: the file has shrunk. */
		io_fail(io, result ? result : -EIO);
		return;
	}
	io_advance(io, MIN((uint64_t)result, remaining(io)));
	raw_step(io);
}

static void plain_start(struct raw_io *io)
{
	struct engine_op *op = &io->op;

	op->code = is_write(io) ? ENGINE_WRITE : ENGINE_READ;
	op->offset = io->req->offset + io->progress;
	op->iov = &io->one;
	op->iovcnt = 1;
	op->done = plain_done;
	if (io->zeroing) {
		io->one.iov_base = io->raw->zeroes;
		io->one.iov_len = (size_t)MIN(ZEROES_SIZE, remaining(io));
	} else if (io->skip) {
		/* The rest of a half-done entry goes alone: the caller's array is not ours. */
		io->one.iov_base = (char *)io->req->iov[io->index].iov_base + io->skip;
		io->one.iov_len = io->req->iov[io->index].iov_len - io->skip;
	} else {
		op->iov = &io->req->iov[io->index];
		op->iovcnt = MIN(io->req->iovcnt - io->index, IOV_MAX);
	}
	engine_submit(io->raw->engine, op);
}

/* --- data through a bounce buffer --- */

/* Can the rest go to the kernel as it is? */
static bool fits_direct(const struct raw_io *io)
{
	const struct raw_file *file = &io->raw->file;
	uint64_t memory = 0, lengths = 0;

	if (((io->req->offset + io->progress) | remaining(io)) & (file->offset_alignment - 1))
		return false;
	if (io->zeroing)
		return true;
	if (io->skip || io->req->iovcnt - io->index > IOV_MAX)
		return false;
	for (int i = io->index; i < io->req->iovcnt; i++) {
		memory |= (uintptr_t)io->req->iov[i].iov_base | io->req->iov[i].iov_len;
		lengths |= io->req->iov[i].iov_len;
	}
	/* The kernel wants whole units in each buffer, not only in their sum. */
	return (memory & (file->memory_alignment - 1)) == 0 &&
	       (lengths & (file->offset_alignment - 1)) == 0;
}

/* Bytes of the caller that the buffer holds when the file has given or taken `n` of it. */
static uint64_t bounce_useful(const struct raw_io *io, uint64_t n)
{
	uint64_t head = io->req->offset + io->progress - io->op.offset;

	return n <= head ? 0 : MIN(n - head, remaining(io));
}

static void bounce_written(struct engine_op *op, int64_t result)
{
	struct raw_io *io = container_of(op, struct raw_io, op);

	if (io_try_again(io, result)) {
		engine_submit(io->raw->engine, op);
		return;
	}
	uint64_t useful = 0;

	if (result > 0)
		useful = bounce_useful(
			io, align_down((uint64_t)result, io->raw->file.offset_alignment));
	if (useful == 0) {
		io_fail(io, result < 0 ? result : -EIO);
		return;
	}
	io_advance(io, useful);
	raw_step(io);
}

static void bounce_write(struct raw_io *io)
{
	uint64_t head = io->req->offset + io->progress - io->op.offset;

	io_copy(io, io->bounce + head, (size_t)bounce_useful(io, io->one.iov_len), false);
	io->op.code = ENGINE_WRITE;
	io->op.done = bounce_written;
	engine_submit(io->raw->engine, &io->op);
}

static void bounce_read(struct engine_op *op, int64_t result)
{
	struct raw_io *io = container_of(op, struct raw_io, op);

	if (io_try_again(io, result)) {
		engine_submit(io->raw->engine, op);
		return;
	}
	uint64_t useful = result > 0 ? bounce_useful(io, (uint64_t)result) : 0;

	/* What is to be put back must be there in full. */
	if (useful == 0 || (is_write(io) && (uint64_t)result < io->one.iov_len)) {
		io_fail(io, result < 0 ? result : -EIO);
		return;
	}
	if (is_write(io)) {
		bounce_write(io);
		return;
	}
	io_copy(io, io->bounce + (io->req->offset + io->progress - op->offset), (size_t)useful,
		true);
	io_advance(io, useful);
	raw_step(io);
}

static void bounce_start(struct raw_io *io)
{
	const struct raw_file *file = &io->raw->file;
	const uint64_t align = file->offset_alignment;
	const uint64_t position = io->req->offset + io->progress;
	const uint64_t start = align_down(position, align);
	const uint64_t end = MIN(align_up(position + remaining(io), align), start + BOUNCE_SIZE);

	if (!io->bounce)
		io->bounce = aligned_alloc(MAX(file->memory_alignment, BUFFER_ALIGN), BOUNCE_SIZE);
	if (!io->bounce) {
		io_fail(io, -ENOMEM);
		return;
	}
	io->one = (struct iovec){io->bounce, (size_t)(end - start)};
	io->op.iov = &io->one;
	io->op.iovcnt = 1;
	io->op.offset = start;
	if (is_write(io) && start == position && end <= position + remaining(io)) {
		bounce_write(io);
		return;
	}
	io->op.code = ENGINE_READ;
	io->op.done = bounce_read;
	engine_submit(io->raw->engine, &io->op);
}

/* --- discard and write zeroes --- */

static void fallocate_done(struct engine_op *op, int64_t result)
{
	struct raw_io *io = container_of(op, struct raw_io, op);
	struct raw *raw = io->raw;

	if (result == 0) {
		io_finish(io);
	} else if (result == -EOPNOTSUPP || result == -ENOSYS) {
		/* Remember, and do what there is instead. */
		if (op->mode & FALLOC_FL_PUNCH_HOLE)
			raw->no_punch = true;
		else
			raw->no_zero_range = true;
		raw_step(io);
	} else if (io_try_again(io, result)) {
		engine_submit(raw->engine, op);
	} else {
		io_fail(io, result);
	}
}

static void fallocate_start(struct raw_io *io, int mode, uint64_t start, uint64_t end)
{
	io->op.code = ENGINE_FALLOCATE;
	io->op.mode = mode | FALLOC_FL_KEEP_SIZE;
	io->op.offset = start;
	io->op.length = end - start;
	io->op.done = fallocate_done;
	engine_submit(io->raw->engine, &io->op);
}

/* A hint: what cannot be discarded stays. */
static void discard_step(struct raw_io *io)
{
	const uint64_t align = io->raw->file.fallocate_alignment;
	const uint64_t start = align_up(io->req->offset, align);
	const uint64_t end = align_down(io->req->offset + io->req->length, align);

	if (io->raw->no_punch || start >= end)
		io_finish(io);
	else
		fallocate_start(io, FALLOC_FL_PUNCH_HOLE, start, end);
}

/* True when the file system or device makes the zeroes. */
static bool zeroes_by_fallocate(struct raw_io *io)
{
	const struct raw *raw = io->raw;
	const uint64_t start = io->req->offset;
	const uint64_t end = start + io->req->length;
	int mode;

	if (io->zeroing || ((start | end) & (raw->file.fallocate_alignment - 1)))
		return false;
	if ((io->flags & BLOCK_UNMAP) && !raw->no_punch)
		mode = FALLOC_FL_PUNCH_HOLE;
	else if (!raw->no_zero_range)
		mode = FALLOC_FL_ZERO_RANGE;
	else
		return false;
	fallocate_start(io, mode, start, end);
	return true;
}

static bool zeroes_prepare(struct raw_io *io)
{
	struct raw *raw = io->raw;

	if (!raw->zeroes) {
		raw->zeroes =
			aligned_alloc(MAX(raw->file.memory_alignment, BUFFER_ALIGN), ZEROES_SIZE);
		if (raw->zeroes)
			memset(raw->zeroes, 0, ZEROES_SIZE);
	}
	io->zeroing = true;
	return raw->zeroes != NULL;
}

/* Start the next piece. */
static void raw_step(struct raw_io *io)
{
	if (io->req->op == BLOCK_DISCARD) {
		discard_step(io);
		return;
	}
	if (io->progress == io->req->length) {
		io_finish(io);
		return;
	}
	if (io->req->op == BLOCK_WRITE_ZEROES) {
		if (zeroes_by_fallocate(io))
			return;
		if (!zeroes_prepare(io)) {
			io_fail(io, -ENOMEM);
			return;
		}
	}
	if (io->raw->file.direct && !fits_direct(io))
		bounce_start(io);
	else
		plain_start(io);
}

void raw_submit(struct block_layer *layer, struct block_request *req, unsigned flags)
{
	struct raw *raw = container_of(layer, struct raw, layer);
	struct raw_io *io = io_get(raw);

	if (!io) {
		layer->complete(layer, req, -EIO);
		return;
	}
	io->req = req;
	io->flags = flags;
	io->op.fd = raw->file.fd;
	io->op.may_wait = raw->file.writes_wait;
	list_init(&io->link);
	if (req->op == BLOCK_FLUSH) {
		raw_sync_add(io);
		return;
	}
	if (req->op == BLOCK_READ || req->op == BLOCK_WRITE)
		io_skip_empty(io);
	if (req->op != BLOCK_READ && raw->gate)
		gate_enter(io);
	else
		raw_step(io);
}
