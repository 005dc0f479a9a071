/* SPDX-License-Identifier: MIT */
#include "block/drive.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/layer.h"
#include "core/device.h"

struct drive {
	struct provided provided;
	struct provided_set *set;
	struct drive *base; /* whose block it is, and which nobody else has; NULL: its own */
	struct loop *loop;
	struct block *block;
	char name[DEVICE_ID_MAX + 1]; /* for the base, also while the set does not know it */
	const char *driver;
	/* What a device that has it may do. */
	bool readonly;
	enum block_discard discard;
};

static struct drive *drive_of(struct provided *own)
{
	return container_of(own, struct drive, provided);
}

void drive_report_name(const struct drive *drive, struct report *report)
{
	report_string(report, "drive", drive->name);
	report_string(report, "drive-driver", drive->driver);
}

/* ---- coming and going ---- */

struct begin_call {
	struct block *block;
	struct block_options options;
	struct vmm_error *err;
	int rc;
};

static void begin(void *arg)
{
	struct begin_call *call = arg;

	call->rc = block_begin(call->block, &call->options, call->err);
}

/* A use of the block begins, as the device's options and the drive want it. options: may be NULL.
 */
static int begin_use(const struct drive *drive, const struct block_options *options,
		     struct vmm_error *err)
{
	struct begin_call call = {.block = drive->block, .err = err};

	if (options)
		call.options = *options;
	call.options.readonly = drive->readonly;
	call.options.discard = (int)drive->discard;
	loop_call(drive->loop, begin, &call);
	return call.rc;
}

/* Nobody uses it: what a device wanted is forgotten. */
static void be_unused(struct drive *drive)
{
	block_set_drive(drive->block, drive);
	/* Without sizes there is nothing that could not be. */
	(void)!begin_use(drive, NULL, NULL);
}

static void release(struct provided *own)
{
	struct drive *drive = drive_of(own);
	struct drive *base = drive->base;

	if (base) {
		be_unused(base);
		provided_give_back(base->set, &base->provided);
	} else {
		block_close(drive->block);
	}
	free(drive);
}

static int open_image(struct drive *drive, const struct block_options *options, const char *name,
		      struct block_engines *engines, const struct log *log, struct vmm_error *err)
{
	int rc = block_open_shared(&drive->block, options, name, engines, log, err);

	if (rc == 0)
		drive->readonly = block_info(drive->block)->readonly;
	return rc;
}

static int stand_on(struct drive *drive, const struct drive_options *options, struct vmm_error *err)
{
	const char *base = options->image.drive;
	struct provided *own;
	int rc = provided_take(drive->set, BACKEND_DRIVE, base, "drive", drive->name, &own, err);

	if (rc)
		return rc;
	if (options->writable && drive_of(own)->readonly) {
		provided_give_back(drive->set, own);
		return error_set(err, EROFS, "the node %s is read-only", base);
	}
	drive->base = drive_of(own);
	drive->block = drive->base->block;
	drive->readonly |= drive->base->readonly;
	if (drive->base->discard == BLOCK_DISCARD_IGNORE)
		drive->discard = BLOCK_DISCARD_IGNORE;
	return 0;
}

int drive_add(struct provided_set *set, const char *name, const struct drive_options *options,
	      struct block_engines *engines, const struct log *log, struct vmm_error *err)
{
	const struct block_options *image = &options->image;
	struct drive *drive;
	/* Before anything is opened: its own lock would be in its way. */
	int rc = provided_check(set, BACKEND_DRIVE, name, err);

	if (rc)
		return rc;
	drive = calloc(1, sizeof(*drive));
	if (!drive)
		return error_set(err, ENOMEM, "drive %s: out of memory", name);
	drive->provided = (struct provided){.kind = BACKEND_DRIVE, .release = release};
	drive->set = set;
	drive->loop = engines->loop;
	snprintf(drive->name, sizeof(drive->name), "%s", name);
	drive->driver = options->driver;
	drive->readonly = image->readonly;
	drive->discard = (enum block_discard)image->discard;
	rc = image->drive ? stand_on(drive, options, err)
			  : open_image(drive, image, name, engines, log, err);
	if (rc == 0)
		rc = provided_add(set, &drive->provided, name, err);
	if (rc)
		release(&drive->provided);
	else
		be_unused(drive);
	return rc;
}

/* ---- without a device ---- */

static void report_one(struct provided *own, void *report)
{
	const struct drive *drive = drive_of(own);

	report_begin(report, NULL);
	drive_report_name(drive, report);
	report_bool(report, "readonly", drive->readonly);
	block_report_image(drive->block, report);
	report_end(report);
}

void drive_report_all(struct provided_set *set, struct report *report)
{
	provided_each(set, BACKEND_DRIVE, report_one, report);
}

struct resize_call {
	struct block *block;
	uint64_t size;
	struct vmm_error *err;
	int rc;
};

static void resize(void *arg)
{
	struct resize_call *call = arg;

	call->rc = block_resize(call->block, call->size, call->err);
}

int drive_resize(struct provided_set *set, const char *name, uint64_t size, struct vmm_error *err)
{
	struct provided *own;
	struct resize_call call = {.size = size, .err = err};
	int rc = provided_take(set, BACKEND_DRIVE, name, "resize", "block_resize", &own, err);

	if (rc)
		return rc;
	call.block = drive_of(own)->block;
	loop_call(drive_of(own)->loop, resize, &call);
	provided_give_back(set, own);
	return call.rc;
}

/* ---- for a device ---- */

/* What is the drive's own is not the device's to say. */
static int check_options(const struct block_options *o, struct vmm_error *err)
{
	if (o->path)
		return error_set(err, EINVAL, "path and drive exclude each other");
	if (o->readonly || o->snapshot || o->cache != BLOCK_CACHE_WRITEBACK ||
	    o->engine != BLOCK_ENGINE_AUTO || o->discard != BLOCK_DISCARD_UNMAP)
		return error_set(err, EINVAL,
				 "drive=%s: readonly, snapshot, cache, engine and discard were "
				 "decided when it was opened",
				 o->drive);
	return 0;
}

static int take(struct block **block, const struct block_options *options, const struct device *dev,
		struct vmm_error *err)
{
	struct provided_set *set = dev->env->provided;
	struct provided *own;
	int rc = check_options(options, err);

	if (rc == 0)
		rc = provided_take(set, BACKEND_DRIVE, options->drive, "drive", dev->id, &own, err);
	if (rc)
		return rc;
	assert(drive_of(own)->loop == dev->loop);
	rc = begin_use(drive_of(own), options, err);
	if (rc)
		provided_give_back(set, own);
	else
		*block = drive_of(own)->block;
	return rc;
}

int block_acquire(struct block **block, const struct block_options *options,
		  const struct device *dev, struct block_engines *engines, struct vmm_error *err)
{
	const struct log *log = dev->env->log;

	if (options->drive)
		return take(block, options, dev, err);
	return engines ? block_open_shared(block, options, dev->id, engines, log, err)
		       : block_open(block, options, dev->id, dev->loop, log, err);
}

void block_release(struct block *block)
{
	struct drive *drive = block ? block_drive(block) : NULL;

	if (!drive) {
		block_close(block);
		return;
	}
	be_unused(drive);
	provided_give_back(drive->set, &drive->provided);
}
