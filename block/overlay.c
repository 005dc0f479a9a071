/* SPDX-License-Identifier: MIT */
/*
 * snapshot=on: writes go to a temporary file, the base stays as it is.
 *
 * The temporary file has the size of the disk and is sparse; a map says which sectors it holds. A
 * sector is marked when its write has completed, so a read meanwhile sees the old data, as on a
 * disk. Marks never go away: a discard or zeroes punch a hole in the temporary file and mark the
 * range, and the hole reads as zeroes.
 *
 * A read is cut into runs that lie in one of the two, done one after the other: memory for each
 * request is bounded by its own iovec however scattered the runs are.
 *
 * Nothing here is durable: the file is gone with the disk. FLUSH succeeds at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/layer.h"
#include "block/overlay_map.h"

struct overlay {
	struct block_layer layer;
	struct block_layer *base;
	struct block_layer *top;
	struct overlay_map map;
};

/* A request and the part of it that is under way. */
struct overlay_io {
	struct block_request child;
	struct overlay *overlay;
	struct block_request *req;
	uint64_t progress;  /* bytes done */
	int index;          /* position in req->iov … */
	size_t skip;        /* … and within that entry */
	struct iovec iov[]; /* the child's; READ only */
};

static void overlay_finish(struct overlay_io *io, int result)
{
	struct overlay *overlay = io->overlay;
	struct block_request *req = io->req;

	free(io);
	overlay->layer.complete(&overlay->layer, req, result);
}

/* Make child.iov the next `length` bytes of the request's memory. */
static void read_slice(struct overlay_io *io, uint64_t length)
{
	int n = 0;

	while (length) {
		const struct iovec *from = &io->req->iov[io->index];
		const size_t part = (size_t)MIN(length, from->iov_len - io->skip);

		if (part)
			io->iov[n++] = (struct iovec){(char *)from->iov_base + io->skip, part};
		length -= part;
		io->skip += part;
		if (io->skip == from->iov_len) {
			io->index++;
			io->skip = 0;
		}
	}
	io->child.iovcnt = n;
}

static void read_next(struct overlay_io *io)
{
	struct overlay *overlay = io->overlay;
	uint64_t run;

	io->child.offset = io->req->offset + io->progress;
	bool held = overlay_map_test(&overlay->map, io->child.offset,
				     io->req->length - io->progress, &run);
	struct block_layer *from = held ? overlay->top : overlay->base;

	io->child.length = run;
	read_slice(io, run);
	from->ops->submit(from, &io->child, 0);
}

static void overlay_child_done(struct block_layer *layer, struct block_request *child, int result)
{
	struct overlay_io *io = container_of(child, struct overlay_io, child);
	(void)layer;

	if (result < 0) {
		overlay_finish(io, result);
	} else if (io->req->op == BLOCK_READ) {
		io->progress += child->length;
		if (io->progress < io->req->length)
			read_next(io);
		else
			overlay_finish(io, 0);
	} else {
		overlay_map_set(&io->overlay->map, child->offset, child->length);
		overlay_finish(io, 0);
	}
}

static void change_start(struct overlay_io *io)
{
	struct overlay *overlay = io->overlay;
	unsigned flags = 0;

	if (overlay_map_prepare(&overlay->map, io->req->offset, io->req->length) < 0) {
		overlay_finish(io, -EIO);
		return;
	}
	if (io->req->op != BLOCK_WRITE) {
		io->child.op = BLOCK_WRITE_ZEROES;
		flags = BLOCK_UNMAP;
	}
	overlay->top->ops->submit(overlay->top, &io->child, flags);
}

static void overlay_submit(struct block_layer *layer, struct block_request *req,
			   unsigned flags UNUSED)
{
	struct overlay *overlay = container_of(layer, struct overlay, layer);
	const size_t slices = req->op == BLOCK_READ ? (size_t)req->iovcnt : 0;

	if (req->op == BLOCK_FLUSH) {
		layer->complete(layer, req, 0);
		return;
	}
	struct overlay_io *io = calloc(1, sizeof(*io) + slices * sizeof(io->iov[0]));

	if (!io) {
		layer->complete(layer, req, -EIO);
		return;
	}
	io->overlay = overlay;
	io->req = req;
	io->child.op = req->op;
	io->child.offset = req->offset;
	io->child.length = req->length;
	io->child.iov = req->iov;
	io->child.iovcnt = req->iovcnt;
	if (req->op == BLOCK_READ) {
		io->child.iov = io->iov;
		read_next(io);
	} else {
		change_start(io);
	}
}

static int overlay_sync(struct block_layer *layer UNUSED)
{
	return 0;
}

static void overlay_close(struct block_layer *layer)
{
	struct overlay *overlay = container_of(layer, struct overlay, layer);

	overlay->base->ops->close(overlay->base);
	overlay->top->ops->close(overlay->top);
	overlay_map_destroy(&overlay->map);
	free(overlay);
}

static const struct block_layer_ops overlay_ops = {
	.submit = overlay_submit,
	.sync = overlay_sync,
	.close = overlay_close,
};

int overlay_open(struct block_layer **layer, struct block_layer *base, struct block_layer *top,
		 struct vmm_error *err)
{
	struct overlay *overlay = calloc(1, sizeof(*overlay));

	if (!overlay || overlay_map_init(&overlay->map, base->info.size) < 0) {
		free(overlay);
		base->ops->close(base);
		top->ops->close(top);
		return error_set(err, ENOMEM, "snapshot=on: no memory for the overlay's map");
	}
	overlay->layer.ops = &overlay_ops;
	overlay->layer.info = base->info;
	overlay->layer.info.readonly = false;
	overlay->layer.info.can_discard = true;
	overlay->layer.info.discard_alignment = top->info.discard_alignment;
	overlay->base = base;
	overlay->top = top;
	base->complete = overlay_child_done;
	top->complete = overlay_child_done;
	base->above = overlay;
	top->above = overlay;
	*layer = &overlay->layer;
	return 0;
}
