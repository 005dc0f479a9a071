/* SPDX-License-Identifier: MIT */
/* Disks on block devices: loop devices, where this host lets tests have some. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "support/block_fixture.h"

#define DISK_SIZE (4 * MIB)
#define ATTEMPTS  20

static struct block_fixture f;
static char device[32];
static int device_fd = -1;

/* A loop device over f.path. Another process may take the free one first: then the next. */
static bool attach(uint32_t sector)
{
	struct loop_config config = {.block_size = sector};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	bool ok = false;

	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	config.fd = (uint32_t)open(f.path, O_RDWR | O_CLOEXEC);
	for (int i = 0; control >= 0 && !ok && i < ATTEMPTS; i++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		if (n < 0)
			break;
		snprintf(device, sizeof(device), "/dev/loop%d", n);
		device_fd = open(device, O_RDWR | O_CLOEXEC);
		ok = device_fd >= 0 && ioctl(device_fd, LOOP_CONFIGURE, &config) == 0;
		if (!ok && device_fd >= 0)
			close(device_fd);
		if (!ok && errno != EBUSY)
			break;
	}
	close((int)config.fd);
	close(control);
	return ok;
}

static void on_device(uint32_t sector, int engine, int cache)
{
	fixture_init(&f, DISK_SIZE);
	if (!attach(sector)) {
		fixture_destroy(&f);
		cr_skip_test("no loop devices here");
	}
	f.options.path = device;
	f.options.engine = engine;
	f.options.cache = cache;
	if (fixture_open(&f)) {
		cr_assert_eq(block_info(f.block)->size, DISK_SIZE);
		cr_assert_eq(block_info(f.block)->logical_block_size, sector);
		cr_assert_geq(block_info(f.block)->physical_block_size, sector);
		fixture_random(&f);
	}
	fixture_destroy(&f);
	close(device_fd);
}

Test(block_device, random_requests_agree_with_a_model)
{
	for (uint32_t sector = 512; sector <= 4096; sector *= 8)
		for (int cache = BLOCK_CACHE_WRITEBACK; cache <= BLOCK_CACHE_NONE; cache++) {
			on_device(sector, BLOCK_ENGINE_THREADS, cache);
			on_device(sector, BLOCK_ENGINE_IO_URING, cache);
		}
}
