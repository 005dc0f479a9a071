/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/blk_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/layer.h"
#include "virtio/virtio_classes.h"

/* ---- the tap ---- */

static void fail_all(struct loop_task *task)
{
	struct blk_tap *tap = container_of(task, struct blk_tap, fail_task);
	struct list all;

	list_take(&all, &tap->failed);
	while (!list_empty(&all)) {
		struct engine_op *op = list_entry(all.next, struct engine_op, link);

		list_del(&op->link);
		op->done(op, -tap->fail_with);
	}
}

static void tap_submit(struct engine *engine, struct engine_op *op)
{
	struct blk_tap *tap = container_of(engine, struct blk_tap, engine);

	cr_assert_lt(tap->count, BLK_TAP_LOG - 1u);
	tap->log[tap->count++] = "RWSF"[op->code];
	if (tap->fail) {
		tap->fail_with = tap->fail;
		list_add_tail(&tap->failed, &op->link);
		loop_post(tap->loop, &tap->fail_task);
	} else if (tap->hold) {
		list_add_tail(&tap->held, &op->link);
	} else {
		engine_submit(tap->inner, op);
	}
}

static void tap_destroy(struct engine *engine)
{
	struct blk_tap *tap = container_of(engine, struct blk_tap, engine);

	cr_assert(list_empty(&tap->held));
	engine_destroy(tap->inner);
	free(tap);
}

static const struct engine_class tap_class = {"tap", tap_submit, tap_destroy};

struct wrap_call {
	struct blk_tap *tap;
	struct loop *loop;
};

static struct engine *wrap(struct engine *inner, void *arg)
{
	struct wrap_call *call = arg;
	struct blk_tap *tap = calloc(1, sizeof(*tap));

	cr_assert(tap);
	tap->engine.cls = &tap_class;
	tap->inner = inner;
	tap->loop = call->loop;
	list_init(&tap->held);
	list_init(&tap->failed);
	loop_task_init(&tap->fail_task, fail_all);
	call->tap = tap;
	return &tap->engine;
}

void blk_tap_open(struct blk_tap **tap, struct block **block, const struct block_options *options,
		  struct fake_env *fake)
{
	struct wrap_call call = {.loop = fake->env.loop};
	const struct block_seams seams = {.wrap = wrap, .arg = &call};
	struct vmm_error err = {0};

	block_close(*block);
	cr_assert_eq(block_open_seams(block, options, "disk", fake->env.loop, fake->env.log, &seams,
				      &err),
		     0, "%s", err.message);
	*tap = call.tap;
}

void blk_tap(struct blk_fixture *f)
{
	blk_tap_open(&f->tap, &f->blk->block, &f->blk->options, &f->fake);
}

void blk_tap_release(struct blk_tap *tap)
{
	tap->hold = false;
	while (!list_empty(&tap->held)) {
		struct engine_op *op = list_entry(tap->held.next, struct engine_op, link);

		list_del(&op->link);
		engine_submit(tap->inner, op);
	}
}

void blk_release(struct blk_fixture *f)
{
	blk_tap_release(f->tap);
}

void blk_expect_log(struct blk_fixture *f, const char *log)
{
	f->tap->log[f->tap->count] = '\0';
	cr_assert_str_eq(f->tap->log, log);
	f->tap->count = 0;
}

/* ---- life ---- */

void blk_create(struct blk_fixture *f, const char *options)
{
	char all[512];

	snprintf(all, sizeof(all), "packed=on,path=%s%s%s", f->path, options ? "," : "",
		 options ? options : "");
	f->dev = fake_env_device(&f->fake, &virtio_blk_class.device, all);
	f->blk = virtio_blk(virtio_device(f->dev));
	f->tap = NULL;
	virtio_driver_init(&f->driver, &f->fake, &f->blk->vd, gpa(MIB));
	f->driver.always = f->always;
}

void blk_packed(struct blk_fixture *f)
{
	f->always = f->driver.always = UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

void blk_init(struct blk_fixture *f, const char *options)
{
	memset(f, 0, sizeof(*f));
	fake_env_init(&f->fake, 64 * MIB);
	snprintf(f->path, sizeof(f->path), "/var/tmp/vmm-blk-XXXXXX");
	f->fd = mkostemp(f->path, O_CLOEXEC);
	cr_assert_geq(f->fd, 0);
	cr_assert_eq(ftruncate(f->fd, BLK_DISK_SIZE), 0);
	blk_create(f, options);
}

void blk_again(struct blk_fixture *f, const char *options)
{
	fake_env_remove(f->dev);
	blk_create(f, options);
}

void blk_fini(struct blk_fixture *f)
{
	fake_env_remove(f->dev);
	unlink(f->path);
	close(f->fd);
	fake_env_fini(&f->fake);
}

/* ---- requests ---- */

static bool device_reads(uint32_t type)
{
	return type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID;
}

gpa_t blk_add(struct blk_fixture *f, unsigned queue, uint32_t type, uint64_t sector, gpa_t data,
	      uint32_t len)
{
	const struct virtio_blk_outhdr header = {.type = type, .sector = sector};
	gpa_t head = virtio_driver_alloc(&f->driver, sizeof(header));
	gpa_t status = virtio_driver_alloc(&f->driver, 1);
	struct driver_buffer b[3] = {{head, sizeof(header), false}};
	unsigned n = 1;

	driver_write(f->driver.memory, head, &header, sizeof(header));
	driver_write(f->driver.memory, status, "\xff", 1);
	if (len)
		b[n++] = (struct driver_buffer){data, len, !device_reads(type)};
	b[n++] = (struct driver_buffer){status, 1, true};
	driver_ring_add(&f->driver.rings[queue], b, n);
	return status;
}

uint8_t blk_status(struct blk_fixture *f, gpa_t status)
{
	uint8_t v;

	driver_read(f->driver.memory, status, &v, 1);
	return v;
}

uint8_t blk_do(struct blk_fixture *f, uint32_t type, uint64_t sector, gpa_t data, uint32_t len,
	       uint32_t *written)
{
	gpa_t status = blk_add(f, 0, type, sector, data, len);
	uint32_t n;

	virtio_driver_kick(&f->driver, 0);
	n = virtio_driver_wait(&f->driver, 0, NULL);
	if (written)
		*written = n;
	return blk_status(f, status);
}

gpa_t blk_pattern(struct blk_fixture *f, uint32_t len, uint8_t seed)
{
	gpa_t at = virtio_driver_alloc(&f->driver, len);
	uint8_t *bytes = malloc(len);

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + i / 512);
	driver_write(f->driver.memory, at, bytes, len);
	free(bytes);
	return at;
}

bool blk_is_pattern(const uint8_t *data, uint32_t len, uint8_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		if (data[i] != (uint8_t)(seed + i * 7 + i / 512))
			return false;
	return true;
}
