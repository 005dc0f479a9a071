/* SPDX-License-Identifier: MIT */
/*
 * The program that embeds the machine as the other end. Output goes straight to its function. Input
 * comes from any thread into a ring, and from there to the device on the loop: nobody waits for
 * anybody, and no lock of this file is held while the
 * program's functions run (the device's own may be).
 */
#include "console/chardev_api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "console/chardev_internal.h"
#include "core/versioned.h"

#define RING_SIZE (64u * 1024)

struct vmm_chardev {
	struct provided provided;
	struct vmm_chardev_ops ops;
	void *opaque;
	struct loop *loop;
	struct loop_task pump;
	struct chardev *cd; /* the loop's: the device's stream, or NULL */

	pthread_mutex_t lock; /* guards what follows */
	bool refused;         /* input_ready is due once there is room */
	size_t start, len;
	uint8_t ring[RING_SIZE];
};

/* ---- the program's side ---- */

static size_t put(struct vmm_chardev *c, const uint8_t *data, size_t len)
{
	const size_t end = (c->start + c->len) % RING_SIZE;
	const size_t taken = MIN(len, RING_SIZE - c->len), first = MIN(taken, RING_SIZE - end);

	memcpy(c->ring + end, data, first);
	memcpy(c->ring, data + first, taken - first);
	c->len += taken;
	return taken;
}

size_t chardev_api_input(struct vmm_chardev *c, const void *data, size_t len)
{
	size_t taken;

	if (!len)
		return 0;
	pthread_mutex_lock(&c->lock);
	taken = put(c, data, len);
	c->refused |= taken < len;
	pthread_mutex_unlock(&c->lock);
	loop_post(c->loop, &c->pump);
	return taken;
}

void chardev_api_ready(struct vmm_chardev *c)
{
	loop_post(c->loop, &c->pump);
}

/* ---- the device's side ---- */

/* As much input as the stream has room for. Only the loop takes from the ring. */
static void feed(struct vmm_chardev *c)
{
	size_t chunk, fed = 0;

	do {
		pthread_mutex_lock(&c->lock);
		c->start = (c->start + fed) % RING_SIZE;
		c->len -= fed;
		chunk = MIN(c->len, RING_SIZE - c->start);
		pthread_mutex_unlock(&c->lock);
		fed = chunk ? chardev_feed(c->cd, c->ring + c->start, chunk) : 0;
	} while (fed);
}

static void tell_room(struct vmm_chardev *c)
{
	bool tell;

	pthread_mutex_lock(&c->lock);
	tell = c->refused && c->len < RING_SIZE;
	if (tell)
		c->refused = false;
	pthread_mutex_unlock(&c->lock);
	if (tell && c->ops.input_ready)
		c->ops.input_ready(c->opaque);
}

static void pump(struct loop_task *task)
{
	struct vmm_chardev *c = container_of(task, struct vmm_chardev, pump);

	if (!c->cd)
		return;
	feed(c);
	tell_room(c);
	chardev_kick(c->cd); /* output that was not taken is offered again */
}

struct api {
	struct chardev cd;
	struct vmm_chardev *program; /* NULL: not opened */
};

static struct api *api_of(struct chardev *cd)
{
	return container_of(cd, struct api, cd);
}

static int api_check(const char *args, const char *what, struct vmm_error *err)
{
	return device_check_id(what, args, err);
}

static int api_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct api *a = api_of(cd);
	struct provided *own;
	int rc = provided_take(cd->provided, PROVIDED_CHARDEV, args, cd->what, NULL, &own, err);

	if (rc)
		return rc;
	a->program = container_of(own, struct vmm_chardev, provided);
	a->program->cd = cd;
	loop_post(cd->loop, &a->program->pump);
	return chardev_set_describe(cd, err, PROVIDED_PREFIX "%s", args);
}

static void api_close(struct chardev *cd)
{
	struct api *a = api_of(cd);

	if (!a->program)
		return;
	a->program->cd = NULL;
	provided_give_back(cd->provided, &a->program->provided);
}

static void api_ended(struct chardev *cd UNUSED, bool hangup UNUSED)
{
}

static size_t api_write(struct chardev *cd, const uint8_t *data, size_t len)
{
	struct vmm_chardev *c = api_of(cd)->program;

	return MIN(c->ops.output(c->opaque, data, len), len);
}

static void api_room(struct chardev *cd)
{
	loop_post(cd->loop, &api_of(cd)->program->pump);
}

const struct chardev_ops chardev_api_ops = {
	.size = sizeof(struct api),
	.check = api_check,
	.open = api_open,
	.close = api_close,
	.ended = api_ended,
	.write = api_write,
	.room = api_room,
};

/* ---- life ---- */

static void release(struct provided *own)
{
	struct vmm_chardev *c = container_of(own, struct vmm_chardev, provided);

	pthread_mutex_destroy(&c->lock);
	free(c);
}

int chardev_api_create(struct vmm_chardev **out, struct provided_set *set, const char *name,
		       const struct vmm_chardev_ops *ops, void *opaque, struct loop *loop,
		       struct vmm_error *err)
{
	struct vmm_chardev_ops own;
	struct vmm_chardev *c;
	int rc;

	rc = versioned_copy(&own, sizeof(own), ops,
			    VERSIONED_SIZE(struct vmm_chardev_ops, input_ready),
			    "struct vmm_chardev_ops", err);
	if (rc)
		return rc;
	if (!own.output)
		return error_set(err, EINVAL, "stream %s: its functions are not complete", name);
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_set(err, ENOMEM, "stream %s: out of memory", name);
	c->provided.kind = PROVIDED_CHARDEV;
	c->provided.release = release;
	c->ops = own;
	c->opaque = opaque;
	c->loop = loop;
	loop_task_init(&c->pump, pump);
	pthread_mutex_init(&c->lock, NULL);
	rc = provided_add(set, &c->provided, name, err);
	if (rc) {
		release(&c->provided);
		return rc;
	}
	*out = c;
	return 0;
}
