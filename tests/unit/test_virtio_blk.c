/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk: what its requests do to an image, on both engines.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/blk_fixture.h"
#include "virtio/virtio_classes.h"

static struct blk_fixture f;

static void setup(void)
{
	blk_init(&f, NULL);
}

static void setup_packed(void)
{
	setup();
	blk_packed(&f);
}

static void teardown(void)
{
	blk_fini(&f);
}

TestSuite(virtio_blk, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(virtio_blk_packed, .init = setup_packed, .fini = teardown, .timeout = 30);

static void start(void)
{
	virtio_driver_start(&f.driver, BLK_LINUX, 1);
}

static struct virtio_blk_config config(void)
{
	struct virtio_blk_config c = {0};

	virtio_read_config(&f.blk->vd, 0, &c, sizeof(c));
	return c;
}

static void expect_guest(gpa_t at, uint32_t len, uint8_t seed)
{
	uint8_t *bytes = malloc(len);

	driver_read(f.driver.memory, at, bytes, len);
	cr_assert(blk_is_pattern(bytes, len, seed));
	free(bytes);
}

static void expect_image(uint64_t offset, uint32_t len, uint8_t seed)
{
	uint8_t *bytes = malloc(len);

	cr_assert_eq(pread(f.fd, bytes, len, (off_t)offset), (ssize_t)len);
	cr_assert(blk_is_pattern(bytes, len, seed));
	free(bytes);
}

static bool image_is_zero(uint64_t offset, uint32_t len)
{
	uint8_t *bytes = malloc(len);
	bool zero = true;

	cr_assert_eq(pread(f.fd, bytes, len, (off_t)offset), (ssize_t)len);
	for (uint32_t i = 0; i < len; i++)
		zero = zero && !bytes[i];
	free(bytes);
	return zero;
}

/* ---- configuration ---- */

Test(virtio_blk, configuration_describes_the_image)
{
	struct virtio_blk_config c = config();

	cr_assert_eq(c.capacity, BLK_SECTORS);
	cr_assert_eq(c.seg_max, 254u);
	cr_assert_eq(c.blk_size, 512u);
	cr_assert_eq(c.num_queues, 1u);
	cr_assert_eq(c.wce, 1u);
	cr_assert_eq(virtio_offered(&f.blk->vd) & BLK_LINUX, BLK_LINUX);
	cr_assert_not(virtio_offered(&f.blk->vd) & (BLK_FEATURE(RO) | BLK_FEATURE(MQ)));
}

Test(virtio_blk, options_shape_the_device)
{
	struct virtio_blk_config c;

	blk_again(&f, "queues=4,queue-size=64,logical-block-size=4096,readonly=on");
	c = config();
	cr_assert_eq(c.num_queues, 4u);
	cr_assert_eq(c.seg_max, 62u);
	cr_assert_eq(c.blk_size, 4096u);
	cr_assert_eq(virtio_queue_size(&f.blk->vd, 3), 64u);
	cr_assert_eq(virtio_queue_size(&f.blk->vd, 4), 0u);
	cr_assert(virtio_offered(&f.blk->vd) & BLK_FEATURE(RO));
	cr_assert(virtio_offered(&f.blk->vd) & BLK_FEATURE(MQ));
	cr_assert_not(virtio_offered(&f.blk->vd) &
		      (BLK_FEATURE(DISCARD) | BLK_FEATURE(WRITE_ZEROES)));
}

Test(virtio_blk, bad_options_name_themselves)
{
	static const char *const bad[] = {"queue-size=100",  "queue-size=2",
					  "queue-size=2048", "queues=0",
					  "queues=257",      "serial=123456789012345678901"};
	char options[256];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vmm_error err = {0};
		struct device *dev = NULL;
		char name[16] = {0};

		snprintf(options, sizeof(options), "path=%s,readonly=on,%s", f.path, bad[i]);
		memcpy(name, bad[i], strcspn(bad[i], "="));
		cr_assert_lt(device_create(&dev, &virtio_blk_class.device, NULL, options,
					   &f.fake.env, &err),
			     0, "%s is accepted", bad[i]);
		cr_assert(strstr(err.message, name), "%s", err.message);
	}
}

/* ---- reading and writing ---- */

static void write_and_read_back(void)
{
	gpa_t out = blk_pattern(&f, 65536, 3), in = virtio_driver_alloc(&f.driver, 65536);
	uint32_t written;

	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 8, out, 65536, &written), VIRTIO_BLK_S_OK);
	cr_assert_eq(written, 1u);
	expect_image(4096, 65536, 3);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_IN, 8, in, 65536, &written), VIRTIO_BLK_S_OK);
	cr_assert_eq(written, 65537u);
	expect_guest(in, 65536, 3);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, gpa(0), 0, &written), VIRTIO_BLK_S_OK);
	cr_assert_eq(written, 1u);
}

TEST_BOTH(virtio_blk, data_comes_back_from_the_image)
{
	blk_again(&f, "engine=threads");
	start();
	write_and_read_back();
}

TEST_BOTH(virtio_blk, data_comes_back_from_the_image_with_io_uring)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;
	char options[128];

	snprintf(options, sizeof(options), "path=%s,readonly=on,engine=io_uring", f.path);
	fake_env_remove(f.dev);
	if (device_create(&dev, &virtio_blk_class.device, NULL, options, &f.fake.env, &err)) {
		fprintf(stderr, "skipped: %s\n", err.message);
	} else {
		fake_env_remove(dev);
	}
	f.dev = NULL;
	blk_create(&f, dev ? "engine=io_uring" : NULL);
	start();
	write_and_read_back();
}

TEST_BOTH(virtio_blk, last_sector_is_reachable)
{
	gpa_t data = blk_pattern(&f, 512, 9);

	start();
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, BLK_SECTORS - 1, data, 512, NULL),
		     VIRTIO_BLK_S_OK);
	expect_image(BLK_DISK_SIZE - 512, 512, 9);
}

TEST_BOTH(virtio_blk, requests_on_several_queues_run_together)
{
	gpa_t status[4], data[4];

	blk_again(&f, "queues=4");
	blk_tap(&f);
	virtio_driver_start(&f.driver, BLK_LINUX | BLK_FEATURE(MQ), 4);
	f.tap->hold = true;
	for (unsigned q = 0; q < 4; q++) {
		data[q] = blk_pattern(&f, 4096, (uint8_t)(q + 1));
		status[q] = blk_add(&f, q, VIRTIO_BLK_T_OUT, 8 * q, data[q], 4096);
		virtio_driver_kick(&f.driver, q);
	}
	fake_env_settle(&f.fake);
	cr_assert_eq(f.blk->in_flight, 4u, "%u in flight, %u: %s", f.blk->in_flight, f.tap->count,
		     f.fake.last_log);
	blk_release(&f);
	for (unsigned q = 0; q < 4; q++) {
		virtio_driver_wait(&f.driver, q, NULL);
		cr_assert_eq(blk_status(&f, status[q]), VIRTIO_BLK_S_OK);
		expect_image(4096 * q, 4096, (uint8_t)(q + 1));
		cr_assert_eq(f.driver.queue_interrupts[q], 1u);
	}
}

/* ---- layouts: the device must not care how descriptors are cut (2.7.4.1) ---- */

static void expect_layout(const struct driver_buffer *b, unsigned n, gpa_t status, uint32_t used)
{
	driver_write(f.driver.memory, status, "\xff", 1);
	driver_ring_add_indirect(&f.driver.rings[0], virtio_driver_alloc(&f.driver, 16 * n), b, n);
	virtio_driver_kick(&f.driver, 0);
	cr_assert_eq(virtio_driver_wait(&f.driver, 0, NULL), used);
	cr_assert_eq(blk_status(&f, status), VIRTIO_BLK_S_OK);
}

TEST_BOTH(virtio_blk, header_may_be_cut_and_joined_with_data)
{
	struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT, .sector = 16};
	gpa_t head, data, status;

	virtio_driver_start(&f.driver, BLK_LINUX | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC, 1);
	head = virtio_driver_alloc(&f.driver, sizeof(header));
	data = blk_pattern(&f, 1024, 5);
	cr_assert_eq(data.v, head.v + 16);
	status = virtio_driver_alloc(&f.driver, 1);
	driver_write(f.driver.memory, head, &header, sizeof(header));
	expect_layout((struct driver_buffer[]){{head, 5, false},
					       {gpa_add(head, 5), 11 + 100, false},
					       {gpa_add(data, 100), 924, false},
					       {status, 1, true}},
		      4, status, 1);
	expect_image(16 * 512, 1024, 5);
	header.sector = 32;
	driver_write(f.driver.memory, head, &header, sizeof(header));
	expect_layout((struct driver_buffer[]){{head, 16 + 1024, false}, {status, 1, true}}, 2,
		      status, 1);
	expect_image(32 * 512, 1024, 5);
}

TEST_BOTH(virtio_blk, status_may_be_joined_with_data)
{
	const struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_IN, .sector = 16};
	gpa_t head, in;

	virtio_driver_start(&f.driver, BLK_LINUX | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC, 1);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 16, blk_pattern(&f, 1024, 6), 1024, NULL), 0);
	head = virtio_driver_alloc(&f.driver, sizeof(header));
	in = virtio_driver_alloc(&f.driver, 1025);
	driver_write(f.driver.memory, head, &header, sizeof(header));
	expect_layout((struct driver_buffer[]){{head, 16, false}, {in, 1025, true}}, 2,
		      gpa_add(in, 1024), 1025);
	expect_guest(in, 1024, 6);
}

TEST_BOTH(virtio_blk, as_many_segments_as_promised_are_taken)
{
	const struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT};
	uint32_t n = config().seg_max;
	struct driver_buffer *b = calloc(n + 2, sizeof(*b));
	gpa_t head, data, status;

	virtio_driver_start(&f.driver, BLK_LINUX | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC, 1);
	head = virtio_driver_alloc(&f.driver, sizeof(header));
	data = blk_pattern(&f, n * 512, 8);
	status = virtio_driver_alloc(&f.driver, 1);
	driver_write(f.driver.memory, head, &header, sizeof(header));
	b[0] = (struct driver_buffer){head, 16, false};
	for (unsigned i = 0; i < n; i++)
		b[i + 1] = (struct driver_buffer){gpa_add(data, 512 * i), 512, false};
	b[n + 1] = (struct driver_buffer){status, 1, true};
	expect_layout(b, n + 2, status, 1);
	expect_image(0, n * 512, 8);
	free(b);
}

/* ---- serial number ---- */

TEST_BOTH(virtio_blk, serial_is_what_the_option_says)
{
	char id[21] = {0};
	gpa_t at;
	uint32_t written;

	blk_again(&f, "serial=root-disk");
	start();
	at = blk_pattern(&f, 20, 0xff);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_GET_ID, 0, at, 20, &written), VIRTIO_BLK_S_OK);
	cr_assert_eq(written, 21u);
	driver_read(f.driver.memory, at, id, 20);
	cr_assert_eq(memcmp(id, "root-disk\0\0\0\0\0\0\0\0\0\0\0", 20), 0);
	/* Twenty bytes have no NUL behind them. */
	blk_again(&f, "serial=12345678901234567890");
	start();
	at = virtio_driver_alloc(&f.driver, 21);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_GET_ID, 0, at, 20, NULL), VIRTIO_BLK_S_OK);
	driver_read(f.driver.memory, at, id, 21);
	cr_assert_str_eq(id, "12345678901234567890");
}

TEST_BOTH(virtio_blk, serial_never_leaves_the_buffer)
{
	char id[16] = {0};
	uint32_t written;
	gpa_t at;

	blk_again(&f, "serial=0123456789abcdef");
	start();
	at = virtio_driver_alloc(&f.driver, 64);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_GET_ID, 0, at, 4, &written), VIRTIO_BLK_S_OK);
	cr_assert_eq(written, 5u);
	driver_read(f.driver.memory, at, id, 15);
	cr_assert_str_eq(id, "0123");
	/* A longer one: what is reported ends where the id does, not at the status behind the gap.
	 */
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_GET_ID, 0, at, 40, &written), VIRTIO_BLK_S_OK);
	cr_assert_eq(written, 20u);
}

/* ---- discard, write zeroes ---- */

static uint8_t do_ranges(uint32_t type, const struct virtio_blk_discard_write_zeroes *ranges,
			 unsigned n)
{
	uint32_t len = n * (uint32_t)sizeof(*ranges);
	gpa_t at = virtio_driver_alloc(&f.driver, len);

	driver_write(f.driver.memory, at, ranges, len);
	return blk_do(&f, type, 0, at, len, NULL);
}

TEST_BOTH(virtio_blk, zeroes_read_back_as_zeroes_with_and_without_unmap)
{
	start();
	for (uint32_t flags = 0; flags < 2; flags++) {
		const struct virtio_blk_discard_write_zeroes ranges[] = {
			{8, 8, flags}, {24, 0, flags}, {32, 16, flags}};

		cr_assert_eq(
			blk_do(&f, VIRTIO_BLK_T_OUT, 0, blk_pattern(&f, 65536, 1), 65536, NULL),
			VIRTIO_BLK_S_OK);
		cr_assert_eq(do_ranges(VIRTIO_BLK_T_WRITE_ZEROES, ranges, 3), VIRTIO_BLK_S_OK);
		expect_image(0, 4096, 1);
		cr_assert(image_is_zero(4096, 4096));
		cr_assert_not(image_is_zero(8192, 4096));
		cr_assert(image_is_zero(16384, 8192));
		cr_assert_not(image_is_zero(24576, 4096));
	}
}

TEST_BOTH(virtio_blk, discarded_blocks_are_freed)
{
	const struct virtio_blk_discard_write_zeroes range = {0, BLK_SECTORS, 0};

	if (!(virtio_offered(&f.blk->vd) & BLK_FEATURE(DISCARD))) {
		fprintf(stderr, "skipped: the file system cannot discard\n");
		return;
	}
	virtio_driver_start(&f.driver, BLK_LINUX | BLK_FEATURE(DISCARD), 1);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, blk_pattern(&f, 65536, 1), 65536, NULL),
		     VIRTIO_BLK_S_OK);
	cr_assert_eq(do_ranges(VIRTIO_BLK_T_DISCARD, &range, 1), VIRTIO_BLK_S_OK);
	cr_assert(image_is_zero(0, 65536));
}

TEST_BOTH(virtio_blk, discard_that_was_not_negotiated_is_unsupported)
{
	const struct virtio_blk_discard_write_zeroes range = {0, 8, 0};

	virtio_driver_start(&f.driver, 0, 1);
	cr_assert_eq(do_ranges(VIRTIO_BLK_T_DISCARD, &range, 1), VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(do_ranges(VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), VIRTIO_BLK_S_UNSUPP);
}

TEST_BOTH(virtio_blk, discard_with_the_unmap_flag_is_unsupported)
{
	const struct virtio_blk_discard_write_zeroes unmap = {0, 8, 1}, unknown = {0, 8, 2};

	if (virtio_offered(&f.blk->vd) & BLK_FEATURE(DISCARD)) {
		virtio_driver_start(&f.driver, BLK_LINUX | BLK_FEATURE(DISCARD), 1);
		cr_assert_eq(do_ranges(VIRTIO_BLK_T_DISCARD, &unmap, 1), VIRTIO_BLK_S_UNSUPP);
		cr_assert_eq(do_ranges(VIRTIO_BLK_T_DISCARD, &unknown, 1), VIRTIO_BLK_S_UNSUPP);
	}
	start();
	cr_assert_eq(do_ranges(VIRTIO_BLK_T_WRITE_ZEROES, &unknown, 1), VIRTIO_BLK_S_UNSUPP);
}

TEST_BOTH(virtio_blk, ranges_beyond_the_limits_change_nothing)
{
	struct virtio_blk_discard_write_zeroes many[VIRTIO_BLK_MAX_RANGES + 1] = {{0, 1, 0}};
	const struct virtio_blk_discard_write_zeroes bad[] = {
		{BLK_SECTORS, 1, 0}, {BLK_SECTORS - 1, 2, 0},      {0, BLK_SECTORS + 1, 0},
		{UINT64_MAX, 2, 0},  {UINT64_MAX / 512 + 1, 1, 0}, {0, UINT32_MAX, 0},
	};
	gpa_t at;

	start();
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, blk_pattern(&f, 4096, 1), 4096, NULL), 0);
	cr_assert_eq(do_ranges(VIRTIO_BLK_T_WRITE_ZEROES, many, VIRTIO_BLK_MAX_RANGES + 1),
		     VIRTIO_BLK_S_IOERR);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		/* The good range in front of it is not done either. */
		const struct virtio_blk_discard_write_zeroes both[] = {{0, 8, 0}, bad[i]};

		cr_assert_eq(do_ranges(VIRTIO_BLK_T_WRITE_ZEROES, both, 2), VIRTIO_BLK_S_IOERR);
	}
	at = virtio_driver_alloc(&f.driver, 64);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, at, 15, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, at, 0, NULL), VIRTIO_BLK_S_IOERR);
	expect_image(0, 4096, 1);
}

/* ---- resize ---- */

Test(virtio_blk, larger_disk_is_noticed)
{
	struct vmm_error err = {0};
	unsigned before;

	start();
	before = f.driver.config_interrupts;
	cr_assert_eq(device_action(f.dev, "resize", "8M", NULL, &err), 0, "%s", err.message);
	cr_assert_eq(config().capacity, 2u * BLK_SECTORS);
	cr_assert_eq(f.driver.config_interrupts, before + 1);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 2u * BLK_SECTORS - 1, blk_pattern(&f, 512, 4),
			    512, NULL),
		     VIRTIO_BLK_S_OK);
	expect_image(2u * BLK_DISK_SIZE - 512, 512, 4);
	cr_assert_lt(device_action(f.dev, "resize", "4M", NULL, &err), 0);
	cr_assert(strstr(err.message, "cut off"), "%s", err.message);
	cr_assert_eq(config().capacity, 2u * BLK_SECTORS);
}

Test(virtio_blk, disk_on_an_overlay_or_read_only_cannot_grow)
{
	struct vmm_error err = {0};

	blk_again(&f, "snapshot=on");
	cr_assert_eq(device_action(f.dev, "resize", "8M", NULL, &err), -EOPNOTSUPP);
	cr_assert(strstr(err.message, "snapshot"), "%s", err.message);
	blk_again(&f, "readonly=on");
	cr_assert_eq(device_action(f.dev, "resize", "8M", NULL, &err), -EROFS);
	/* But what the host has done is taken over. */
	cr_assert_eq(ftruncate(f.fd, 2 * BLK_DISK_SIZE), 0);
	cr_assert_eq(device_action(f.dev, "resize", NULL, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(config().capacity, 2u * BLK_SECTORS);
}
