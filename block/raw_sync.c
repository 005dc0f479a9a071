/* SPDX-License-Identifier: MIT */
/*
 * Flushes and durable writes of the raw layer.
 *
 * One fdatasync runs at a time; what comes meanwhile shares the next one. That is not only cheaper:
 * the kernel reports a failed write-back once for each open file, so of two fdatasync calls that
 * run at once one could return success although data were lost. For the same reason there is no
 * RWF_DSYNC here: the error of such a write may be the only report that earlier data were lost.
 *
 * After a failure the pages are clean in the kernel's eyes and a second fdatasync would succeed:
 * the disk stays failed until it is opened again.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/raw.h"

static void sync_kick(struct raw *raw)
{
	if (raw->sync_running || list_empty(&raw->to_sync))
		return;
	list_take(&raw->syncing, &raw->to_sync);
	raw->sync_running = true;
	/* Before it starts: a write that completes from here on is not covered. */
	raw->dirty = false;
	engine_submit(raw->engine, &raw->sync_op);
}

static void sync_fail(struct raw *raw, int code)
{
	raw->failed = true;
	log_error(raw->log, raw->what,
		  "fdatasync failed: %s; written data may be lost, and no flush of this disk will "
		  "succeed any more",
		  strerror(code));
}

static void sync_done(struct engine_op *op, int64_t result)
{
	struct raw *raw = container_of(op, struct raw, sync_op);
	struct list finished;

	if (result == -EINTR) {
		engine_submit(raw->engine, op);
		return;
	}
	raw->sync_running = false;
	if (result < 0)
		sync_fail(raw, (int)-result);
	bool failed = raw->failed;

	list_take(&finished, &raw->syncing);
	while (failed && !list_empty(&raw->to_sync)) {
		struct list *item = raw->to_sync.next;

		list_del(item);
		list_add_tail(&finished, item);
	}
	sync_kick(raw);
	while (!list_empty(&finished)) {
		struct raw_io *io = list_entry(finished.next, struct raw_io, link);

		list_del(&io->link);
		raw_complete(io, failed ? -EIO : 0);
	}
}

void raw_sync_init(struct raw *raw)
{
	list_init(&raw->syncing);
	list_init(&raw->to_sync);
	raw->sync_op = (struct engine_op){
		.code = ENGINE_SYNC,
		.fd = raw->file.fd,
		.done = sync_done,
	};
}

void raw_sync_add(struct raw_io *io)
{
	struct raw *raw = io->raw;

	if (raw->failed) {
		raw_complete(io, -EIO);
		return;
	}
	list_add_tail(&raw->to_sync, &io->link);
	sync_kick(raw);
}

int raw_sync_now(struct block_layer *layer)
{
	struct raw *raw = container_of(layer, struct raw, layer);

	if (!raw->dirty || raw->failed)
		return 0;
	raw->dirty = false;
	if (fdatasync(raw->file.fd) == 0)
		return 0;
	int code = errno;

	sync_fail(raw, code);
	return -code;
}
