/* SPDX-License-Identifier: MIT */
/*
 * Memory as the other end: the latest output is kept until somebody reads it through the API, and
 * what is written through the API is input. A guest that prints for ever overwrites the oldest.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ring_options {
	uint64_t size;
};

static const struct option_desc ring_table[] = {
	{
		.name = "size",
		.type = OPTION_SIZE,
		.offset = offsetof(struct ring_options, size),
		.fallback = "64K",
		.min = 1,
		.max = 16 * MIB,
		.help = "bytes of output that are kept",
	},
	OPTION_END,
};

struct ring {
	struct chardev cd;
	size_t size, start, len;
	uint64_t dropped; /* since the last read */
	uint8_t *data;
};

static struct ring *ring_of(struct chardev *cd)
{
	return cd->ops == &chardev_ring_ops ? container_of(cd, struct ring, cd) : NULL;
}

static size_t ring_write(struct chardev *cd, const uint8_t *data, size_t len)
{
	struct ring *r = container_of(cd, struct ring, cd);
	const size_t kept = MIN(len, r->size), old = MIN(r->len, r->size - kept);
	size_t end, first;

	/* The oldest make room, and bytes that would be overwritten at once are not copied. */
	r->dropped += (r->len - old) + (len - kept);
	r->start = (r->start + (r->len - old)) % r->size;
	end = (r->start + old) % r->size;
	first = MIN(kept, r->size - end);
	data += len - kept;
	memcpy(r->data + end, data, first);
	memcpy(r->data, data + first, kept - first);
	r->len = old + kept;
	return len;
}

ssize_t chardev_ring_read(struct chardev *cd, void *data, size_t len, uint64_t *dropped)
{
	struct ring *r = ring_of(cd);
	size_t first;

	if (!r)
		return -ENOTSUP;
	len = MIN(len, r->len);
	first = MIN(len, r->size - r->start);
	memcpy(data, r->data + r->start, first);
	memcpy((uint8_t *)data + first, r->data, len - first);
	r->start = (r->start + len) % r->size;
	r->len -= len;
	if (dropped)
		*dropped = r->dropped;
	r->dropped = 0;
	return (ssize_t)len;
}

ssize_t chardev_ring_write(struct chardev *cd, const void *data, size_t len)
{
	return ring_of(cd) ? (ssize_t)chardev_feed(cd, data, len) : -ENOTSUP;
}

size_t chardev_ring_pending(const struct chardev *cd)
{
	return cd->ops == &chardev_ring_ops ? container_of(cd, const struct ring, cd)->len : 0;
}

static int ring_check(const char *args, const char *what, struct vmm_error *err)
{
	struct ring_options options;

	return options_parse(ring_table, what, NULL, args, &options, err);
}

static int ring_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct ring *r = container_of(cd, struct ring, cd);
	struct ring_options options;
	int rc = options_parse(ring_table, cd->what, NULL, args, &options, err);

	if (rc)
		return rc;
	r->size = (size_t)options.size;
	r->data = malloc(r->size);
	if (!r->data)
		return error_set(err, ENOMEM, "%s: no memory for a ring of %zu bytes", cd->what,
				 r->size);
	return chardev_set_describe(cd, err, "ring");
}

static void ring_close(struct chardev *cd)
{
	free(container_of(cd, struct ring, cd)->data);
}

static void ring_ended(struct chardev *cd UNUSED, bool hangup UNUSED)
{
}

const struct chardev_ops chardev_ring_ops = {
	.size = sizeof(struct ring),
	.check = ring_check,
	.open = ring_open,
	.close = ring_close,
	.ended = ring_ended,
	.write = ring_write,
};
