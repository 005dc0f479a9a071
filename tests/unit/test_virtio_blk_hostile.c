/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk: requests that no driver should send, failures of the image, durability, and resets in
 * the middle of it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/blk_fixture.h"

static struct blk_fixture f;

static void setup(void)
{
	blk_init(&f, NULL);
	blk_tap(&f);
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

TestSuite(virtio_blk_hostile, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(virtio_blk_hostile_packed, .init = setup_packed, .fini = teardown, .timeout = 30);

static void start(uint64_t features)
{
	virtio_driver_start(&f.driver, features, 1);
}

static uint8_t get_writeback(void)
{
	uint8_t v;

	virtio_read_config(&f.blk->vd, offsetof(struct virtio_blk_config, wce), &v, 1);
	return v;
}

static void set_writeback(uint8_t v)
{
	virtio_write_config(&f.blk->vd, offsetof(struct virtio_blk_config, wce), &v, 1);
}

static void write_expecting(const char *log)
{
	gpa_t data = blk_pattern(&f, 4096, 1);

	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, data, 4096, NULL), VIRTIO_BLK_S_OK);
	blk_expect_log(&f, log);
}

/* ---- durability: W is a write to the file, S a sync of it ---- */

TEST_BOTH(virtio_blk_hostile, write_is_durable_when_neither_flush_nor_config_wce_was_taken)
{
	start(0);
	write_expecting("WS");
}

TEST_BOTH(virtio_blk_hostile, write_waits_for_flush_when_flush_was_taken)
{
	start(BLK_FEATURE(FLUSH));
	write_expecting("W");
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, gpa(0), 0, NULL), VIRTIO_BLK_S_OK);
	blk_expect_log(&f, "S");
}

TEST_BOTH(virtio_blk_hostile, config_wce_without_flush_reads_0_and_stays)
{
	start(BLK_FEATURE(CONFIG_WCE));
	cr_assert_eq(get_writeback(), 0);
	set_writeback(1);
	cr_assert_eq(get_writeback(), 0);
	write_expecting("WS");
}

TEST_BOTH(virtio_blk_hostile, driver_chooses_between_writeback_and_writethrough)
{
	start(BLK_LINUX);
	cr_assert_eq(get_writeback(), 1);
	write_expecting("W");
	set_writeback(0);
	cr_assert_eq(get_writeback(), 0);
	write_expecting("WS");
	set_writeback(1);
	write_expecting("W");
}

TEST_BOTH(virtio_blk_hostile, writeback_is_back_after_a_reset)
{
	start(BLK_LINUX);
	set_writeback(0);
	start(BLK_LINUX);
	cr_assert_eq(get_writeback(), 1);
}

TEST_BOTH(virtio_blk_hostile, writeback_without_config_wce_is_not_the_drivers)
{
	start(BLK_FEATURE(FLUSH));
	set_writeback(0);
	write_expecting("W");
}

TEST_BOTH(virtio_blk_hostile, zeroes_are_durable_where_writes_are)
{
	const struct virtio_blk_discard_write_zeroes range = {0, 8, 0};
	gpa_t at;

	start(BLK_FEATURE(WRITE_ZEROES));
	at = virtio_driver_alloc(&f.driver, sizeof(range));
	driver_write(f.driver.memory, at, &range, sizeof(range));
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, at, sizeof(range), NULL), 0);
	f.tap->log[f.tap->count] = '\0';
	cr_assert_eq(f.tap->log[f.tap->count - 1], 'S', "%s", f.tap->log);
}

TEST_BOTH(virtio_blk_hostile, writethrough_option_starts_with_writeback_off)
{
	blk_again(&f, "cache=writethrough");
	blk_tap(&f);
	start(BLK_LINUX);
	cr_assert_eq(get_writeback(), 0);
	write_expecting("WS");
}

/* ---- requests that are wrong ---- */

TEST_BOTH(virtio_blk_hostile, request_beyond_the_end_fails)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {{BLK_SECTORS, 512},          {BLK_SECTORS - 1, 1024},  {UINT64_MAX, 512},
		   {UINT64_MAX / 512 + 1, 512}, {UINT64_C(1) << 55, 512}, {0, BLK_DISK_SIZE + 512}};
	gpa_t data = gpa(32 * MIB);
	uint32_t written;

	start(BLK_LINUX);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_eq(
			blk_do(&f, VIRTIO_BLK_T_OUT, bad[i].sector, data, bad[i].len, &written),
			VIRTIO_BLK_S_IOERR);
		cr_assert_eq(written, 1u);
		cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_IN, bad[i].sector, data, bad[i].len, &written),
			     VIRTIO_BLK_S_IOERR);
		cr_assert_eq(written, 0u, "more is reported than was written");
	}
	blk_expect_log(&f, "");
}

TEST_BOTH(virtio_blk_hostile, data_that_is_not_in_sectors_fails)
{
	gpa_t data = gpa(32 * MIB);

	start(BLK_LINUX);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, data, 511, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, data, 513, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_IN, 0, data, 1, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_IN, 0, data, 0, NULL), VIRTIO_BLK_S_OK);
	blk_expect_log(&f, "");
}

TEST_BOTH(virtio_blk_hostile, unknown_request_is_unsupported)
{
	static const uint32_t types[] = {2,  3,   5,           VIRTIO_BLK_T_SECURE_ERASE,
					 99, ~0u, 0x80000001u, VIRTIO_BLK_T_SCSI_CMD};

	start(BLK_LINUX);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		cr_assert_eq(blk_do(&f, types[i], 0, gpa(32 * MIB), 512, NULL),
			     VIRTIO_BLK_S_UNSUPP);
}

TEST_BOTH(virtio_blk_hostile, readonly_disk_is_never_written)
{
	const struct virtio_blk_discard_write_zeroes range = {0, 8, 0};
	gpa_t at;

	blk_again(&f, "readonly=on");
	blk_tap(&f);
	start(BLK_FEATURE(RO) | BLK_FEATURE(FLUSH));
	at = blk_pattern(&f, 512, 1);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, at, 512, NULL), VIRTIO_BLK_S_IOERR);
	driver_write(f.driver.memory, at, &range, sizeof(range));
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, at, sizeof(range), NULL),
		     VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_IN, 0, at, 512, NULL), VIRTIO_BLK_S_OK);
	blk_expect_log(&f, "R");
}

TEST_BOTH(virtio_blk_hostile, request_without_room_for_a_status_breaks_the_device)
{
	const struct driver_buffer b = {gpa(32 * MIB), 16 + 512, false};

	start(BLK_LINUX);
	driver_ring_add(&f.driver.rings[0], &b, 1);
	virtio_driver_kick(&f.driver, 0);
	cr_assert(virtio_driver_broken(&f.driver));
	blk_expect_log(&f, "");
	start(BLK_LINUX);
	write_expecting("W");
}

TEST_BOTH(virtio_blk_hostile, request_with_half_a_header_breaks_the_device)
{
	const struct driver_buffer b[] = {{gpa(32 * MIB), 15, false}, {gpa(33 * MIB), 513, true}};

	start(BLK_LINUX);
	driver_ring_add(&f.driver.rings[0], b, 2);
	virtio_driver_kick(&f.driver, 0);
	cr_assert(virtio_driver_broken(&f.driver));
	blk_expect_log(&f, "");
}

TEST_BOTH(virtio_blk_hostile, chain_that_breaks_the_queue_does_not_stop_what_is_in_flight)
{
	gpa_t status;

	start(BLK_LINUX);
	f.tap->hold = true;
	status = blk_add(&f, 0, VIRTIO_BLK_T_OUT, 0, blk_pattern(&f, 512, 1), 512);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	driver_ring_break(&f.driver.rings[0]);
	virtio_driver_kick(&f.driver, 0);
	cr_assert(virtio_driver_broken(&f.driver));
	cr_assert_eq(blk_status(&f, status), 0xff);
	blk_release(&f);
	start(BLK_LINUX);
	write_expecting("WW");
}

/* ---- requests are immutable (double fetch; CVE-2023-5088) ---- */

TEST_BOTH(virtio_blk_hostile, header_changed_after_submission_has_no_effect)
{
	struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT, .sector = 0};
	uint8_t bytes[512];
	gpa_t data, head;

	start(BLK_LINUX);
	f.tap->hold = true;
	data = blk_pattern(&f, 512, 1);
	head = gpa(align_up(f.driver.next.v, 16));
	blk_add(&f, 0, VIRTIO_BLK_T_OUT, 100, data, 512);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	driver_write(f.driver.memory, head, &header, sizeof(header));
	blk_release(&f);
	virtio_driver_wait(&f.driver, 0, NULL);
	cr_assert_eq(pread(f.fd, bytes, 512, 0), 512);
	cr_assert_eq(bytes[1], 0, "it landed on sector 0");
	cr_assert_eq(pread(f.fd, bytes, 512, 51200), 512);
	cr_assert(blk_is_pattern(bytes, 512, 1));
}

TEST_BOTH(virtio_blk_hostile, reset_waits_for_the_image)
{
	gpa_t status;

	start(BLK_LINUX);
	f.tap->hold = true;
	status = blk_add(&f, 0, VIRTIO_BLK_T_IN, 0, blk_pattern(&f, 512, 1), 512);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	virtio_write_status(&f.blk->vd, 0);
	fake_env_settle(&f.fake);
	cr_assert_neq(virtio_read_status(&f.blk->vd), 0, "guest memory is still in use");
	blk_release(&f);
	while (virtio_read_status(&f.blk->vd))
		loop_turn(f.fake.env.loop, true);
	/* From here on the memory is the guest's. */
	driver_write(f.driver.memory, status, "\x77", 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(blk_status(&f, status), 0x77);
	cr_assert_eq(f.blk->in_flight, 0u);
	start(BLK_LINUX);
	f.tap->count = 0;
	write_expecting("W");
}

TEST_BOTH(virtio_blk_hostile, machine_quiesces_while_the_driver_resets)
{
	start(BLK_LINUX);
	f.tap->hold = true;
	blk_add(&f, 0, VIRTIO_BLK_T_OUT, 0, blk_pattern(&f, 512, 1), 512);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	virtio_write_status(&f.blk->vd, 0);
	fake_env_settle(&f.fake);
	blk_release(&f);
	device_quiesce_wait(f.dev);
	cr_assert_eq(f.blk->in_flight, 0u);
	device_reset(f.dev);
	cr_assert_eq(virtio_read_status(&f.blk->vd), 0);
}

TEST_BOTH(virtio_blk_hostile, nothing_is_written_after_the_chain_is_pushed)
{
	gpa_t data, status;
	uint8_t bytes[512];

	start(BLK_LINUX);
	data = blk_pattern(&f, 512, 1);
	status = blk_add(&f, 0, VIRTIO_BLK_T_IN, 0, data, 512);
	virtio_driver_kick(&f.driver, 0);
	virtio_driver_wait(&f.driver, 0, NULL);
	/* The memory is the driver's again, who may have given it to a process by now. */
	driver_write(f.driver.memory, status, "\x77", 1);
	cr_assert_eq(guest_fill(f.driver.memory, data, 0x77, 512), 0);
	fake_env_settle(&f.fake);
	start(BLK_LINUX);
	cr_assert_eq(blk_status(&f, status), 0x77);
	driver_read(f.driver.memory, data, bytes, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], 0x77);
}

/* ---- failures of the image ---- */

TEST_BOTH(virtio_blk_hostile, failing_image_gives_ioerr_and_works_again_after)
{
	gpa_t data;
	uint32_t written;

	start(BLK_LINUX);
	data = blk_pattern(&f, 512, 1);
	f.tap->fail = EIO;
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_IN, 0, data, 512, &written), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(written, 0u);
	f.tap->fail = ENOSPC;
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_OUT, 0, data, 512, NULL), VIRTIO_BLK_S_IOERR);
	f.tap->fail = 0;
	f.tap->count = 0;
	write_expecting("W");
}

TEST_BOTH(virtio_blk_hostile, failing_flush_is_not_reported_as_done)
{
	start(BLK_LINUX);
	write_expecting("W");
	f.tap->fail = EIO;
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, gpa(0), 0, NULL), VIRTIO_BLK_S_IOERR);
	f.tap->fail = 0;
	cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, gpa(0), 0, NULL), VIRTIO_BLK_S_IOERR);
}

/* ---- saved state ---- */

TEST_BOTH(virtio_blk_hostile, state_of_a_disk_of_another_size_is_refused)
{
	void *data;
	size_t len;

	start(BLK_LINUX);
	len = fake_env_save(f.dev, &data);
	cr_assert_eq(ftruncate(f.fd, 2 * BLK_DISK_SIZE), 0);
	blk_again(&f, NULL);
	cr_assert_neq(fake_env_load(f.dev, data, len), 0);
	cr_assert_eq(ftruncate(f.fd, BLK_DISK_SIZE), 0);
	blk_again(&f, NULL);
	cr_assert_eq(fake_env_load(f.dev, data, len), 0);
	free(data);
}
