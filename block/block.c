/* SPDX-License-Identifier: MIT */
/*
 * The front of a disk: options, checks, counting, and what each request must promise.
 *
 * Every request is checked once, here. Layers below may complete a request at once; here such
 * completions wait for the end-of-batch hook, so that callers never see `done` from within submit.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/drive.h"
#include "block/layer.h"
#include "core/trace.h"

#define LOGICAL_MAX 65536u

const char *const block_cache_names[] = {"writeback", "writethrough", "none", "unsafe", NULL};
const char *const block_engine_names[] = {"auto", "io_uring", "threads", NULL};
const char *const block_discard_names[] = {"unmap", "ignore", NULL};
const char *const block_format_names[] = {"raw", NULL};

struct block {
	struct block_info info;
	struct block_layer *layer;
	struct engine *engine;
	struct block_engines *shared; /* NULL: the engine is its own */
	enum block_engine kind;
	struct loop *loop;
	const struct log *log;
	char *what, *path;
	struct drive *drive; /* NULL: it goes with its device */
	enum block_cache cache;
	bool ignore_discard;
	bool writeback;
	bool submitting;
	unsigned in_flight;
	struct {
		uint64_t operations, bytes; /* submitted and not refused */
		uint64_t errors;            /* that ended with one, or were refused */
		uint64_t time_ns;           /* of those that were not refused, until they ended */
	} counters[BLOCK_WRITE_ZEROES + 1]; /* by enum block_op */
	uint64_t last_ns;                   /* when one ended; 0: none has */
	struct loop_hook hook;
	struct list finished; /* results that wait for the hook; the result is in priv.u[0] */
};

/* --- requests --- */

/* In priv.start_ns: there was nothing to start, so that its time does not count. */
#define NOT_STARTED UINT64_MAX

static void block_finish_later(struct block *block, struct block_request *req, int result)
{
	req->priv.u[0] = (uint64_t)(int64_t)result;
	list_add_tail(&block->finished, &req->priv.link);
	loop_hook_schedule(block->loop, &block->hook);
}

static void block_finish(struct block *block, struct block_request *req, int result)
{
	trace_block_complete(block->what, req, req->op, req->offset, req->length, result);
	block->in_flight--;
	if (result < 0 && (unsigned)req->op <= BLOCK_WRITE_ZEROES)
		block->counters[req->op].errors++;
	if (req->priv.start_ns != NOT_STARTED) {
		block->last_ns = loop_now(block->loop);
		block->counters[req->op].time_ns += block->last_ns - req->priv.start_ns;
	}
	req->done(req, result);
}

static void block_hook(struct loop_hook *hook)
{
	struct block *block = container_of(hook, struct block, hook);
	struct list finished;

	/* What is added meanwhile waits for the next round: done may submit without end. */
	list_take(&finished, &block->finished);
	while (!list_empty(&finished)) {
		struct block_request *req =
			list_entry(finished.next, struct block_request, priv.link);

		list_del(&req->priv.link);
		block_finish(block, req, (int)(int64_t)req->priv.u[0]);
	}
}

static void block_layer_complete(struct block_layer *layer, struct block_request *req, int result)
{
	struct block *block = layer->above;

	if (block->submitting)
		block_finish_later(block, req, result);
	else
		block_finish(block, req, result);
}

static bool iov_sums_to(const struct block_request *req)
{
	uint64_t left = req->length;

	if (req->iovcnt < 0)
		return false;
	for (int i = 0; i < req->iovcnt; i++) {
		if (req->iov[i].iov_len > left)
			return false;
		left -= req->iov[i].iov_len;
	}
	return left == 0;
}

static bool in_range(const struct block *block, const struct block_request *req)
{
	return ((req->offset | req->length) & (BLOCK_SECTOR_SIZE - 1)) == 0 &&
	       req->offset <= block->info.size && req->length <= block->info.size - req->offset;
}

/* 1: start it; 0: there is nothing to do; else -errno. */
static int block_check(const struct block *block, const struct block_request *req)
{
	const bool data = req->op == BLOCK_READ || req->op == BLOCK_WRITE;

	if (req->op == BLOCK_FLUSH)
		return !block->info.readonly && block->cache != BLOCK_CACHE_UNSAFE;
	if ((unsigned)req->op > BLOCK_WRITE_ZEROES || !in_range(block, req) ||
	    (data && !iov_sums_to(req)))
		return -EINVAL;
	if (req->op != BLOCK_READ && block->info.readonly)
		return -EROFS;
	if (req->op == BLOCK_DISCARD && block->ignore_discard)
		return 0;
	return req->length > 0;
}

/* The flags in force for a request that is submitted now. */
static unsigned block_flags(const struct block *block, const struct block_request *req)
{
	const bool write = req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES;
	unsigned flags = 0;

	if (write && block->cache != BLOCK_CACHE_UNSAFE &&
	    ((req->flags & BLOCK_FUA) || !block->writeback ||
	     block->cache == BLOCK_CACHE_WRITETHROUGH))
		flags |= BLOCK_FUA;
	if (req->op == BLOCK_WRITE_ZEROES && (req->flags & BLOCK_UNMAP) && !block->ignore_discard)
		flags |= BLOCK_UNMAP;
	return flags;
}

void block_submit(struct block *block, struct block_request *req)
{
	const int check = block_check(block, req);

	trace_block_submit(block->what, req, req->op, req->offset, req->length);
	block->in_flight++;
	if (check <= 0) {
		req->priv.start_ns = NOT_STARTED;
		block_finish_later(block, req, check);
		return;
	}
	req->priv.start_ns = loop_now(block->loop);
	block->counters[req->op].operations++;
	block->counters[req->op].bytes += req->length;
	block->submitting = true;
	block->layer->ops->submit(block->layer, req, block_flags(block, req));
	block->submitting = false;
}

const struct block_info *block_info(const struct block *block)
{
	return &block->info;
}

const char *block_path(const struct block *block)
{
	return block->path;
}

void block_set_writeback(struct block *block, bool writeback)
{
	block->writeback = writeback;
}

bool block_writeback(const struct block *block)
{
	return block->writeback;
}

void block_stats(const struct block *block, struct report *report)
{
	static const char *const ops[] = {
		[BLOCK_READ] = "read",
		[BLOCK_WRITE] = "write",
		[BLOCK_FLUSH] = "flush",
		[BLOCK_DISCARD] = "discard",
		[BLOCK_WRITE_ZEROES] = "write-zeroes",
	};

	report_u64(report, "in-flight", block->in_flight);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		report_begin(report, ops[i]);
		report_u64(report, "operations", block->counters[i].operations);
		report_u64(report, "bytes", block->counters[i].bytes);
		report_u64(report, "errors", block->counters[i].errors);
		report_u64(report, "time-ns", block->counters[i].time_ns);
		report_end(report);
	}
}

void block_report_image(const struct block *block, struct report *report)
{
	report_string(report, "path", block->path);
	report_u64(report, "size", block->info.size);
	report_u64(report, "logical-block-size", block->info.logical_block_size);
	report_string(report, "engine", block->info.engine);
	report_string(report, "cache", block_cache_names[block->cache]);
	report_bool(report, "writeback", block->writeback);
	if (block->last_ns)
		report_u64(report, "idle-ns", loop_now(block->loop) - block->last_ns);
	block_stats(block, report);
}

void block_report(const struct block *block, struct report *report)
{
	if (block->drive)
		drive_report_name(block->drive, report);
	report_bool(report, "readonly", block->info.readonly);
	block_report_image(block, report);
}

const struct option_desc block_resize_options[] = {
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct block_resize_args, size),
	 .help = "the new size; without it what the host has made of the image"},
	OPTION_END,
};

int block_resize(struct block *block, uint64_t size, struct vmm_error *err)
{
	struct block_layer *layer = block->layer;
	const uint32_t sector = block->info.logical_block_size;
	int r;

	if (!layer->ops->resize)
		return error_set(err, EOPNOTSUPP, "with snapshot=on its size cannot change");
	if (size && block->info.readonly)
		return error_set(err, EROFS, "it is read-only");
	if (size % sector)
		return error_set(err, EINVAL, "size=%" PRIu64 " is not a multiple of %u", size,
				 sector);
	if (size && size < block->info.size)
		return error_set(err, EINVAL,
				 "size=%" PRIu64 " is less than the %" PRIu64
				 " bytes that it has: that would cut off data",
				 size, block->info.size);
	r = layer->ops->resize(layer, size, err);
	if (r == 0)
		block->info.size = align_down(layer->info.size, sector);
	return r;
}

unsigned block_in_flight(const struct block *block)
{
	return block->in_flight;
}

/* --- open and close --- */

static int check_size_option(const char *name, uint64_t v, struct vmm_error *err)
{
	if (v == 0 || (is_power_of_two(v) && v >= BLOCK_SECTOR_SIZE && v <= LOGICAL_MAX))
		return 0;
	return error_set(err, EINVAL, "%s=%" PRIu64 " is not a power of two from 512 to 65536",
			 name, v);
}

static int check_sizes(const struct block_options *options, struct vmm_error *err)
{
	int r = check_size_option("logical-block-size", options->logical_block_size, err);

	if (r == 0)
		r = check_size_option("physical-block-size", options->physical_block_size, err);
	if (r == 0 && options->physical_block_size &&
	    options->physical_block_size < options->logical_block_size)
		r = error_set(err, EINVAL,
			      "physical-block-size=%" PRIu64
			      " is smaller than logical-block-size=%" PRIu64,
			      options->physical_block_size, options->logical_block_size);
	return r;
}

static int check_options(const struct block_options *options, struct vmm_error *err)
{
	if (!options->path || !*options->path)
		return error_set(err, EINVAL, "path is missing: name an image or block device");
	return check_sizes(options, err);
}

static void decide_info(struct block *block, const struct block_options *options)
{
	struct block_info *info = &block->info;

	*info = block->layer->info;
	info->engine = block->engine->cls->name;
	info->readonly |= options->readonly;
	block->ignore_discard = options->discard == BLOCK_DISCARD_IGNORE;
	if (options->logical_block_size)
		info->logical_block_size = (uint32_t)options->logical_block_size;
	if (options->physical_block_size)
		info->physical_block_size = (uint32_t)options->physical_block_size;
	info->physical_block_size = MAX(info->physical_block_size, info->logical_block_size);
	if (info->discard_alignment < info->logical_block_size)
		info->discard_alignment = info->logical_block_size;
	if (block->ignore_discard)
		info->can_discard = false;
}

static int open_layers(struct block *block, const struct block_options *options,
		       const struct block_seams *seams, struct vmm_error *err)
{
	const bool overlay = options->snapshot && !options->readonly;
	struct block_file_system unknown = {.known = false};
	const struct raw_params params = {
		.what = block->what,
		.path = options->path,
		.writable = !options->readonly && !overlay,
		.direct = block->cache == BLOCK_CACHE_NONE,
		.sector_size = (uint32_t)options->logical_block_size,
		.engine = block->engine,
		.file_system = block->shared ? &block->shared->file_system : &unknown,
		.log = block->log,
		.seams = seams,
	};
	struct raw_params temporary = params;
	struct block_layer *base, *top;
	int r = raw_open(&base, &params, err);

	if (r < 0)
		return r;
	block->layer = base;
	if (overlay) {
		temporary.direct = false;
		r = raw_open_temporary(&top, &temporary, base->info.size, err);
		if (r < 0)
			return r;
		/* Takes both over, also when it fails. */
		block->layer = NULL;
		r = overlay_open(&block->layer, base, top, err);
		if (r < 0)
			return r;
	}
	block->layer->complete = block_layer_complete;
	block->layer->above = block;
	return 0;
}

/* One of its own, or the shared one of its kind. */
static int get_engine(struct block *block, struct vmm_error *err)
{
	struct block_engines *shared = block->shared;
	struct engine **engine = shared ? &shared->engines[block->kind] : &block->engine;
	int r = 0;

	if (!*engine)
		r = engine_create(engine, block->kind, block->what, block->loop, block->log, err);
	if (r == 0 && shared)
		shared->users[block->kind]++;
	block->engine = r == 0 ? *engine : NULL;
	return r;
}

static void put_engine(struct block *block)
{
	struct block_engines *shared = block->shared;

	if (!block->engine)
		return;
	if (shared && --shared->users[block->kind])
		return;
	if (shared)
		shared->engines[block->kind] = NULL;
	engine_destroy(block->engine);
}

static void block_free(struct block *block)
{
	loop_hook_cancel(block->loop, &block->hook);
	if (block->layer)
		block->layer->ops->close(block->layer);
	put_engine(block);
	free(block->what);
	free(block->path);
	free(block);
}

struct open_call {
	struct block *block;
	const struct block_options *options;
	const struct block_seams *seams;
	struct vmm_error *err;
	int result;
};

static void open_on_loop(void *arg)
{
	struct open_call *call = arg;
	struct block *block = call->block;
	const struct block_options *options = call->options;

	call->result = get_engine(block, call->err);
	if (call->result == 0 && call->seams && call->seams->wrap)
		block->engine = call->seams->wrap(block->engine, call->seams->arg);
	if (call->result == 0)
		call->result = open_layers(block, options, call->seams, call->err);
	if (call->result == 0)
		decide_info(block, options);
	else
		block_free(block);
}

static int open_block(struct block **out, const struct block_options *options,
		      const struct block *with, const struct block_seams *seams,
		      struct vmm_error *err)
{
	int r = check_options(options, err);

	if (r < 0)
		return r;
	struct block *block = malloc(sizeof(*block));

	if (!block)
		return error_set(err, ENOMEM, "out of memory");
	*block = *with;
	block->what = strdup(with->what);
	block->path = strdup(options->path);
	if (!block->what || !block->path) {
		free(block->what);
		free(block->path);
		free(block);
		return error_set(err, ENOMEM, "out of memory");
	}
	block->kind = (enum block_engine)options->engine;
	block->cache = (enum block_cache)options->cache;
	block->writeback = block->cache != BLOCK_CACHE_WRITETHROUGH;
	list_init(&block->finished);
	loop_hook_init(&block->hook, block_hook);
	struct open_call call = {block, options, seams, err, 0};

	loop_call(block->loop, open_on_loop, &call);
	if (call.result == 0)
		*out = block;
	return call.result;
}

int block_open_seams(struct block **block, const struct block_options *options, const char *what,
		     struct loop *loop, const struct log *log, const struct block_seams *seams,
		     struct vmm_error *err)
{
	const struct block with = {.what = (char *)(uintptr_t)what, .loop = loop, .log = log};

	return open_block(block, options, &with, seams, err);
}

int block_open(struct block **block, const struct block_options *options, const char *what,
	       struct loop *loop, const struct log *log, struct vmm_error *err)
{
	return block_open_seams(block, options, what, loop, log, NULL, err);
}

int block_open_shared(struct block **block, const struct block_options *options, const char *what,
		      struct block_engines *engines, const struct log *log, struct vmm_error *err)
{
	const struct block with = {.what = (char *)(uintptr_t)what,
				   .loop = engines->loop,
				   .log = log,
				   .shared = engines};

	return open_block(block, options, &with, NULL, err);
}

int block_begin(struct block *block, const struct block_options *options, struct vmm_error *err)
{
	const uint64_t sector = options->logical_block_size;
	int r = check_sizes(options, err);

	if (r < 0)
		return r;
	if (sector && block->layer->info.size % sector)
		return error_set(
			err, EINVAL,
			"the size of '%s' is not a multiple of logical-block-size=%" PRIu64,
			block->path, sector);
	decide_info(block, options);
	block->writeback = block->cache != BLOCK_CACHE_WRITETHROUGH;
	memset(block->counters, 0, sizeof(block->counters));
	block->last_ns = 0;
	return 0;
}

struct drive *block_drive(const struct block *block)
{
	return block->drive;
}

void block_set_drive(struct block *block, struct drive *drive)
{
	block->drive = drive;
}

static void close_on_loop(void *arg)
{
	block_free(arg);
}

void block_close(struct block *block)
{
	if (!block)
		return;
	/* On the caller's thread: it may take long. The layer logs a failure. */
	if (block->cache != BLOCK_CACHE_UNSAFE)
		block->layer->ops->sync(block->layer);
	loop_call(block->loop, close_on_loop, block);
}
