/* SPDX-License-Identifier: MIT */
/*
 * Drives: images that stay open, and locked, while the devices that use them come and go.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/drive.h"
#include "core/device.h"
#include "tests/unit/support/block_fixture.h"

#define SIZE (1u << 20)

static struct block_fixture f;
static struct provided_set set;
static struct block_engines engines;
static struct device_env env;
static struct device dev;
static char dev_id[] = "dev";

static int try_add(const char *name, const struct block_options *image)
{
	const struct drive_options options = {.image = *image, .driver = "file"};

	return drive_add(&set, name, &options, &engines, &f.log, &f.err);
}

static void add_drive(const char *name, enum block_cache cache)
{
	struct block_options options = f.options;

	options.cache = cache;
	cr_assert_eq(try_add(name, &options), 0, "%s", f.err.message);
}

static void setup(void)
{
	fixture_init(&f, SIZE);
	provided_init(&set);
	engines.loop = f.loop;
	env = (struct device_env){.log = &f.log, .loop = f.loop, .provided = &set};
	dev = (struct device){.env = &env, .loop = f.loop, .id = dev_id};
}

static void teardown(void)
{
	provided_clear(&set, BACKEND_DRIVE);
	provided_fini(&set);
	for (size_t i = 0; i < ARRAY_SIZE(engines.users); i++)
		cr_assert_eq(engines.users[i], 0, "an engine was left behind");
	fixture_destroy(&f);
}

TestSuite(drive, .init = setup, .fini = teardown, .timeout = 60);

static int acquire(const char *drive, uint64_t logical_block_size)
{
	const struct block_options options = {
		.drive = (char *)(uintptr_t)drive,
		.logical_block_size = logical_block_size,
	};

	return block_acquire(&f.block, &options, &dev, NULL, &f.err);
}

static void release(void)
{
	block_release(f.block);
	f.block = NULL;
}

/* Whether the report of all drives has this in it. */
static bool told(const char *part)
{
	struct report *report = report_create();
	char *json;
	bool found;

	report_begin_array(report, "drives");
	drive_report_all(&set, report);
	report_end_array(report);
	cr_assert_eq(report_finish(report, &json), 0);
	found = strstr(json, part);
	free(json);
	return found;
}

Test(drive, what_one_device_wrote_the_next_one_reads_and_its_counts_are_its_own)
{
	unsigned char *data = pages(4096), *back = pages(4096);

	memset(data, 0x5a, 4096);
	add_drive("d", BLOCK_CACHE_WRITEBACK);
	cr_assert_eq(acquire("d", 0), 0, "%s", f.err.message);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 8192, 4096, data, 0), 0);
	cr_assert(told("\"write\":{\"operations\":1,\"bytes\":4096"));
	release();
	cr_assert_eq(acquire("d", 0), 0);
	cr_assert(told("\"write\":{\"operations\":0,\"bytes\":0"));
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 8192, 4096, back, 0), 0);
	cr_assert_eq(memcmp(data, back, 4096), 0);
	release();
	free(data);
	free(back);
}

Test(drive, the_next_device_finds_the_cache_and_the_sectors_as_they_were)
{
	add_drive("d", BLOCK_CACHE_WRITEBACK);
	cr_assert_eq(acquire("d", 4096), 0);
	cr_assert_eq(block_info(f.block)->logical_block_size, 4096);
	block_set_writeback(f.block, false);
	release();
	cr_assert(told("\"logical-block-size\":512"));
	cr_assert_eq(acquire("d", 0), 0);
	cr_assert_eq(block_info(f.block)->logical_block_size, 512);
	cr_assert(block_writeback(f.block));
	release();
	provided_clear(&set, BACKEND_DRIVE);
	add_drive("d", BLOCK_CACHE_WRITETHROUGH);
	cr_assert_eq(acquire("d", 0), 0);
	cr_assert_not(block_writeback(f.block));
	release();
}

Test(drive, sectors_that_do_not_fit_are_refused_and_the_drive_stays_free)
{
	add_drive("d", BLOCK_CACHE_WRITEBACK);
	cr_assert_eq(drive_resize(&set, "d", SIZE + 512, &f.err), 0, "%s", f.err.message);
	cr_assert_eq(acquire("d", 4096), -EINVAL);
	cr_assert_eq(acquire("d", 1000), -EINVAL);
	cr_assert_eq(acquire("d", 512), 0, "%s", f.err.message);
	cr_assert_eq(block_info(f.block)->size, SIZE + 512);
	release();
}

Test(drive, one_device_at_a_time_has_it_and_it_is_locked_until_it_is_removed)
{
	struct block *second;
	const struct block_options by_name = {.drive = (char[]){"d"}};

	add_drive("d", BLOCK_CACHE_WRITEBACK);
	cr_assert_eq(try_add("e", &f.options), -EAGAIN);
	cr_assert_eq(try_add("d", &f.options), -EEXIST);
	cr_assert_eq(acquire("d", 0), 0);
	cr_assert_eq(block_acquire(&second, &by_name, &dev, NULL, &f.err), -EBUSY);
	cr_assert_eq(drive_resize(&set, "d", 2 * SIZE, &f.err), -EBUSY);
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "d", &f.err), -EBUSY);
	release();
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "d", &f.err), 0);
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "d", &f.err), -ENOENT);
	cr_assert_eq(drive_resize(&set, "d", 2 * SIZE, &f.err), -ENOENT);
	cr_assert_eq(acquire("d", 0), -ENOENT);
	add_drive("e", BLOCK_CACHE_WRITEBACK);
}

Test(drive, what_the_drive_decides_is_not_the_devices_to_say)
{
	struct block_options options = {.drive = (char[]){"d"}};
	const struct block_options plain = options;

	add_drive("d", BLOCK_CACHE_WRITEBACK);
	options.path = f.path;
	cr_assert_eq(block_acquire(&f.block, &options, &dev, NULL, &f.err), -EINVAL);
	options = plain;
	options.readonly = true;
	cr_assert_eq(block_acquire(&f.block, &options, &dev, NULL, &f.err), -EINVAL);
	options = plain;
	options.cache = BLOCK_CACHE_UNSAFE;
	cr_assert_eq(block_acquire(&f.block, &options, &dev, NULL, &f.err), -EINVAL);
	options = plain;
	options.discard = BLOCK_DISCARD_IGNORE;
	cr_assert_eq(block_acquire(&f.block, &options, &dev, NULL, &f.err), -EINVAL);
}

/* ---- one on another ---- */

static void stand(const char *name, const char *base, bool readonly, enum block_discard discard)
{
	const struct block_options options = {
		.drive = (char *)(uintptr_t)base,
		.readonly = readonly,
		.discard = (int)discard,
	};

	cr_assert_eq(try_add(name, &options), 0, "%s", f.err.message);
}

Test(drive, on_another_it_is_a_second_name_of_the_image)
{
	unsigned char *data = pages(4096);

	add_drive("base", BLOCK_CACHE_WRITEBACK);
	stand("top", "base", false, BLOCK_DISCARD_UNMAP);
	stand("roof", "top", false, BLOCK_DISCARD_UNMAP);
	/* Each is had by the one above it, and by none else. */
	cr_assert_eq(acquire("base", 0), -EBUSY);
	cr_assert_eq(acquire("top", 0), -EBUSY);
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "base", &f.err), -EBUSY);
	cr_assert_str_eq(f.err.message, "top has the drive base: remove that first");
	cr_assert_eq(drive_resize(&set, "roof", 2 * SIZE, &f.err), 0, "%s", f.err.message);
	cr_assert_eq(acquire("roof", 0), 0, "%s", f.err.message);
	cr_assert_eq(block_info(f.block)->size, 2 * SIZE);
	cr_assert_not(block_info(f.block)->readonly);
	cr_assert(block_info(f.block)->can_discard);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 2 * SIZE - 4096, 4096, data, 0), 0);
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "roof", &f.err), -EBUSY);
	release();
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "roof", &f.err), 0);
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "top", &f.err), 0);
	cr_assert_eq(acquire("base", 0), 0, "%s", f.err.message);
	release();
	/* The rest goes with the set, whatever stands on what. */
	stand("top", "base", false, BLOCK_DISCARD_UNMAP);
	free(data);
}

Test(drive, on_another_it_may_be_allowed_less_but_not_more)
{
	struct block_options options = f.options;
	unsigned char *data = pages(4096);

	options.discard = BLOCK_DISCARD_IGNORE;
	cr_assert_eq(try_add("base", &options), 0);
	stand("top", "base", true, BLOCK_DISCARD_UNMAP);
	stand("roof", "top", false, BLOCK_DISCARD_UNMAP);
	cr_assert(told("\"drive\":\"base\",\"drive-driver\":\"file\",\"readonly\":false"));
	cr_assert(told("\"drive\":\"top\",\"drive-driver\":\"file\",\"readonly\":true"));
	cr_assert(told("\"drive\":\"roof\",\"drive-driver\":\"file\",\"readonly\":true"));
	cr_assert_eq(acquire("roof", 0), 0, "%s", f.err.message);
	cr_assert(block_info(f.block)->readonly);
	cr_assert_not(block_info(f.block)->can_discard);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), -EROFS);
	cr_assert_eq(block_resize(f.block, 2 * SIZE, &f.err), -EROFS);
	release();
	cr_assert_eq(drive_resize(&set, "roof", 2 * SIZE, &f.err), -EROFS);
	/* What one use was not allowed, the next one is. */
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "roof", &f.err), 0);
	cr_assert_eq(provided_remove(&set, BACKEND_DRIVE, "top", &f.err), 0);
	cr_assert_eq(acquire("base", 0), 0, "%s", f.err.message);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), 0);
	release();
	free(data);
}

Test(drive, on_one_that_is_read_only_it_cannot_be_writable)
{
	struct drive_options options = {
		.image = {.drive = (char[]){"base"}}, .writable = true, .driver = "raw"};
	struct block_options image = f.options;

	image.readonly = true;
	cr_assert_eq(try_add("base", &image), 0, "%s", f.err.message);
	cr_assert_eq(drive_add(&set, "top", &options, &engines, &f.log, &f.err), -EROFS);
	cr_assert_str_eq(f.err.message, "the node base is read-only");
	/* Which is still free. */
	options.writable = false;
	cr_assert_eq(drive_add(&set, "top", &options, &engines, &f.log, &f.err), 0, "%s",
		     f.err.message);
	cr_assert(told("\"drive\":\"top\",\"drive-driver\":\"raw\",\"readonly\":true"));
}

Test(drive, on_one_that_is_not_free_it_cannot_be)
{
	struct block_options options = {.drive = (char[]){"base"}};

	cr_assert_eq(try_add("top", &options), -ENOENT);
	add_drive("base", BLOCK_CACHE_WRITEBACK);
	cr_assert_eq(try_add("base", &options), -EEXIST);
	cr_assert_eq(acquire("base", 0), 0, "%s", f.err.message);
	cr_assert_eq(try_add("top", &options), -EBUSY);
	cr_assert_str_eq(f.err.message, "drive: dev has the drive base");
	release();
	stand("top", "base", false, BLOCK_DISCARD_UNMAP);
	cr_assert_eq(try_add("side", &options), -EBUSY);
}
