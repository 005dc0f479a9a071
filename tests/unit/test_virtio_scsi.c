/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi: what its commands do to an image, and what units say about themselves.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/scsi_fixture.h"

static struct scsi_fixture f;

static void setup(void)
{
	scsi_init(&f, NULL, "serial=SN-1,wwn=0x5000c50015ea71ac");
	scsi_start(&f, 1);
}

static void teardown(void)
{
	scsi_fini(&f);
}

TestSuite(virtio_scsi, .init = setup, .fini = teardown, .timeout = 30);

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

/* Write a pattern through the disk. */
static void fill(uint64_t lba, uint32_t blocks, uint8_t seed)
{
	struct scsi_ask ask = scsi_rw16(SCSI_WRITE_16, lba, blocks);

	ask.out = scsi_pattern(&f, blocks * 512, seed);
	ask.out_len = blocks * 512;
	scsi_assert_good(scsi_do(&f, &ask));
}

/* ---- configuration ---- */

Test(virtio_scsi, configuration_says_what_the_controller_can)
{
	struct virtio_scsi_config c = {0};

	virtio_read_config(&f.scsi->vd, 0, &c, sizeof(c));
	cr_assert_eq(c.num_queues, 1u);
	cr_assert_eq(c.seg_max, 254u);
	cr_assert_eq(c.max_sectors, 0xffffu);
	cr_assert_eq(c.cmd_per_lun, 128u);
	cr_assert_eq(c.event_info_size, 16u);
	cr_assert_eq(c.sense_size, 96u);
	cr_assert_eq(c.cdb_size, 32u);
	cr_assert_eq(c.max_channel, 0u);
	cr_assert_eq(c.max_target, 255u);
	cr_assert_eq(c.max_lun, 16383u);
}

Test(virtio_scsi, driver_may_set_the_sizes_until_the_reset)
{
	const uint32_t sense = 20, cdb = 16, too_large = 256;
	struct virtio_scsi_config c = {0};

	virtio_write_config(&f.scsi->vd, 20, &sense, 4);
	virtio_write_config(&f.scsi->vd, 24, &cdb, 4);
	virtio_read_config(&f.scsi->vd, 0, &c, sizeof(c));
	cr_assert_eq(c.sense_size, 20u);
	cr_assert_eq(c.cdb_size, 16u);
	virtio_write_config(&f.scsi->vd, 20, &too_large, 4);
	cr_assert(virtio_driver_broken(&f.driver));
	virtio_driver_reset(&f.driver);
	virtio_read_config(&f.scsi->vd, 0, &c, sizeof(c));
	cr_assert_eq(c.sense_size, 96u);
	cr_assert_eq(c.cdb_size, 32u);
}

/* ---- reading and writing ---- */

static void write_and_read(struct scsi_ask write, struct scsi_ask read, uint64_t lba,
			   uint32_t blocks, uint8_t seed)
{
	struct scsi_answer a;

	write.out = scsi_pattern(&f, blocks * 512, seed);
	write.out_len = read.in_len = blocks * 512;
	read.in = virtio_driver_alloc(&f.driver, blocks * 512);
	a = scsi_do(&f, &write);
	scsi_assert_good(a);
	cr_assert_eq(a.resid, 0u);
	cr_assert_eq(a.written, SCSI_RESPONSE_SIZE);
	scsi_expect_image(&f, lba * 512, blocks * 512, seed);
	a = scsi_do(&f, &read);
	scsi_assert_good(a);
	cr_assert_eq(a.resid, 0u);
	cr_assert_eq(a.written, SCSI_RESPONSE_SIZE + blocks * 512);
	scsi_expect_guest(&f, read.in, blocks * 512, seed);
}

Test(virtio_scsi, data_come_back_with_every_length_of_command)
{
	write_and_read((struct scsi_ask){.cdb = {SCSI_WRITE_6, 0, 1, 2, 3}},
		       (struct scsi_ask){.cdb = {SCSI_READ_6, 0, 1, 2, 3}}, 258, 3, 1);
	/* No blocks are 256 blocks. */
	write_and_read((struct scsi_ask){.cdb = {SCSI_WRITE_6, 0, 0, 4, 0}},
		       (struct scsi_ask){.cdb = {SCSI_READ_6, 0, 0, 4, 0}}, 4, 256, 2);
	write_and_read(scsi_rw10(SCSI_WRITE_10, 1000, 64), scsi_rw10(SCSI_READ_10, 1000, 64), 1000,
		       64, 3);
	write_and_read((struct scsi_ask){.cdb = {SCSI_WRITE_12, 8, 0, 0, 1, 0, 0, 0, 0, 5}},
		       (struct scsi_ask){.cdb = {SCSI_READ_12, 0, 0, 0, 1, 0, 0, 0, 0, 5}}, 256, 5,
		       4);
	write_and_read(scsi_rw16(SCSI_WRITE_16, SCSI_BLOCKS - 1, 1),
		       scsi_rw16(SCSI_READ_16, SCSI_BLOCKS - 1, 1), SCSI_BLOCKS - 1, 1, 5);
}

Test(virtio_scsi, ranges_beyond_the_end_are_refused)
{
	static const struct {
		uint64_t lba;
		uint32_t count;
	} bad[] = {{SCSI_BLOCKS, 1},     {SCSI_BLOCKS - 1, 2},      {UINT64_MAX, 1},
		   {0, SCSI_BLOCKS + 1}, {UINT64_MAX / 512 + 1, 1}, {0, UINT32_MAX}};
	static const uint8_t opcodes[] = {SCSI_READ_16, SCSI_WRITE_16, SCSI_VERIFY_16,
					  SCSI_SYNCHRONIZE_CACHE_16};

	for (size_t o = 0; o < ARRAY_SIZE(opcodes); o++)
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			struct scsi_ask ask = scsi_rw16(opcodes[o], bad[i].lba, bad[i].count);

			scsi_assert_sense(scsi_do(&f, &ask), SENSE_LBA_OUT_OF_RANGE);
		}
}

Test(virtio_scsi, nothing_to_read_or_write_is_done_at_once)
{
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 0, 0);

	scsi_assert_good(scsi_do(&f, &ask));
	ask = scsi_rw16(SCSI_WRITE_16, SCSI_BLOCKS, 0);
	scsi_assert_good(scsi_do(&f, &ask));
}

Test(virtio_scsi, fua_and_flush_reach_the_disk)
{
	struct scsi_ask ask;

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	f.tap->count = 0;
	fill(0, 1, 1);
	ask = scsi_rw10(SCSI_WRITE_10, 0, 1);
	ask.cdb[1] = 8;
	ask.out = scsi_pattern(&f, 512, 1);
	ask.out_len = 512;
	scsi_assert_good(scsi_do(&f, &ask));
	fill(0, 1, 1);
	ask = scsi_rw10(SCSI_SYNCHRONIZE_CACHE_10, 0, 0);
	scsi_assert_good(scsi_do(&f, &ask));
	f.tap->log[f.tap->count] = '\0';
	cr_assert_str_eq(f.tap->log, "WWSWS");
}

Test(virtio_scsi, disk_errors_become_sense_data)
{
	struct scsi_ask read = scsi_rw10(SCSI_READ_10, 0, 1),
			write = scsi_rw10(SCSI_WRITE_10, 0, 1);
	struct scsi_answer a;

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	read.in = write.out = scsi_pattern(&f, 512, 1);
	read.in_len = write.out_len = 512;
	f.tap->fail = 5; /* EIO */
	a = scsi_do(&f, &read);
	scsi_assert_sense(a, SENSE_READ_ERROR);
	cr_assert_eq(a.resid, 512u);
	cr_assert_eq(a.written, SCSI_RESPONSE_SIZE);
	scsi_assert_sense(scsi_do(&f, &write), SENSE_WRITE_ERROR);
	f.tap->fail = 28; /* ENOSPC */
	scsi_assert_sense(scsi_do(&f, &write), SENSE_SPACE_ALLOCATION_FAILED);
	f.tap->fail = 0;
	scsi_assert_good(scsi_do(&f, &read));
}

Test(virtio_scsi, read_only_disk_says_so_and_takes_no_writes)
{
	static const uint8_t writes[] = {SCSI_WRITE_16, SCSI_WRITE_SAME_16, SCSI_COMPARE_AND_WRITE};
	uint8_t mode[64];

	scsi_fini(&f);
	scsi_init(&f, NULL, "readonly=on");
	scsi_start(&f, 1);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		struct scsi_ask ask = scsi_rw16(writes[i], 0, 1);

		ask.out = scsi_pattern(&f, 1024, 1);
		ask.out_len = 1024;
		scsi_assert_sense(scsi_do(&f, &ask), SENSE_WRITE_PROTECTED);
	}
	scsi_assert_good(scsi_get(
		&f, (struct scsi_ask){.cdb = {SCSI_MODE_SENSE_6, 0, 0x3f, 0, sizeof(mode)}}, mode,
		sizeof(mode)));
	cr_assert_eq(mode[2] & 0x80, 0x80);
}

/* ---- layouts: the device must not care how descriptors are cut (2.7.4.1) ---- */

Test(virtio_scsi, response_and_data_may_share_descriptors)
{
	const struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 8, 2);
	struct virtio_scsi_cmd_req head = {.lun = {1, 0, 0x40, 0}};
	gpa_t request, in;
	uint32_t written;

	fill(8, 2, 7);
	request = virtio_driver_alloc(&f.driver, SCSI_REQUEST_SIZE);
	in = virtio_driver_alloc(&f.driver, SCSI_RESPONSE_SIZE + 1024);
	driver_write(f.driver.memory, request, &head, sizeof(head));
	driver_write(f.driver.memory, gpa_add(request, sizeof(head)), ask.cdb, 32);
	driver_ring_add(
		&f.driver.rings[2],
		(struct driver_buffer[]){{request, 7, false},
					 {gpa_add(request, 7), SCSI_REQUEST_SIZE - 7, false},
					 {in, 5, true},
					 {gpa_add(in, 5), SCSI_RESPONSE_SIZE + 100, true},
					 {gpa_add(in, SCSI_RESPONSE_SIZE + 105), 919, true}},
		5);
	scsi_kick(&f, 0);
	written = virtio_driver_wait(&f.driver, 2, NULL);
	cr_assert_eq(written, SCSI_RESPONSE_SIZE + 1024);
	scsi_assert_good(scsi_answer_at(&f, in));
	scsi_expect_guest(&f, gpa_add(in, SCSI_RESPONSE_SIZE), 1024, 7);
}

Test(virtio_scsi, buffers_longer_than_the_command_leave_a_residual)
{
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 8, 1);
	struct scsi_answer a;
	uint8_t tail;

	fill(8, 1, 7);
	ask.in = virtio_driver_alloc(&f.driver, 2000);
	ask.in_len = 2000;
	cr_assert_eq(guest_fill(f.driver.memory, ask.in, 0xee, 2000), 0);
	a = scsi_do(&f, &ask);
	scsi_assert_good(a);
	cr_assert_eq(a.resid, 2000u - 512u);
	cr_assert_eq(a.written, SCSI_RESPONSE_SIZE + 512);
	scsi_expect_guest(&f, ask.in, 512, 7);
	driver_read(f.driver.memory, gpa_add(ask.in, 512), &tail, 1);
	cr_assert_eq(tail, 0xee);
	ask = scsi_rw10(SCSI_WRITE_10, 0, 1);
	ask.out = scsi_pattern(&f, 1536, 3);
	ask.out_len = 1536;
	a = scsi_do(&f, &ask);
	scsi_assert_good(a);
	cr_assert_eq(a.resid, 1024u);
	scsi_expect_image(&f, 0, 512, 3);
	cr_assert(image_is_zero(512, 1024));
}

Test(virtio_scsi, buffers_shorter_than_the_command_are_an_overrun)
{
	static const uint8_t opcodes[] = {SCSI_READ_10, SCSI_WRITE_10};

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		struct scsi_ask ask = scsi_rw10(opcodes[i], 0, 2);
		struct scsi_answer a;

		ask.in = ask.out = scsi_pattern(&f, 1023, 3);
		ask.in_len = i == 0 ? 1023 : 0;
		ask.out_len = i == 1 ? 1023 : 0;
		a = scsi_do(&f, &ask);
		cr_assert_eq(a.response, VIRTIO_SCSI_S_OVERRUN);
		cr_assert_eq(a.resid, 1023u);
		cr_assert_eq(a.written, SCSI_RESPONSE_SIZE);
	}
	cr_assert(image_is_zero(0, 1024));
}

/* ---- who is where ---- */

Test(virtio_scsi, target_that_does_not_exist_is_a_bad_target)
{
	const struct scsi_ask ask = {.cdb = {SCSI_INQUIRY, 0, 0, 0, 36}, .target = 7};
	uint8_t data[36];

	cr_assert_eq(scsi_get(&f, ask, data, sizeof(data)).response, VIRTIO_SCSI_S_BAD_TARGET);
}

Test(virtio_scsi, unit_that_does_not_exist_is_answered_by_its_target)
{
	struct device *third = scsi_add_disk(&f, "third", "target=4,lun=3");
	uint8_t data[36];

	/* LUN 0: none is connected, but one could be; others cannot be there. */
	scsi_assert_good(scsi_get(
		&f, (struct scsi_ask){.cdb = {SCSI_INQUIRY, 0, 0, 0, 36}, .target = 4}, data, 36));
	cr_assert_eq(data[0], 0x3f);
	scsi_assert_good(scsi_get(
		&f, (struct scsi_ask){.cdb = {SCSI_INQUIRY, 0, 0, 0, 36}, .target = 4, .lun = 9},
		data, 36));
	cr_assert_eq(data[0], 0x7f);
	scsi_assert_sense(scsi_do(&f, &(struct scsi_ask){.target = 4, .lun = 9}),
			  SENSE_LUN_NOT_SUPPORTED);
	scsi_assert_good(scsi_get(
		&f, (struct scsi_ask){.cdb = {SCSI_REQUEST_SENSE, 0, 0, 0, 18}, .target = 4}, data,
		18));
	cr_assert_eq(data[12], 0x25);
	memset(data, 0, sizeof(data));
	scsi_assert_good(
		scsi_get(&f,
			 (struct scsi_ask){.cdb = {SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 36},
					   .target = 4},
			 data, 36));
	cr_assert_eq(get_be32(data), 16u);
	cr_assert_eq(get_be16(data + 8), 0);
	cr_assert_eq(get_be16(data + 16), 3);
	fake_env_remove(third);
}

Test(virtio_scsi, well_known_unit_reports_itself)
{
	static const uint8_t address[8] = {0xc1, 0x01};
	uint8_t data[64];
	struct scsi_answer a;

	scsi_assert_good(scsi_get(
		&f, (struct scsi_ask){.cdb = {SCSI_INQUIRY, 0, 0, 0, 36}, .address = address}, data,
		36));
	cr_assert_eq(data[0], 0x1e);
	a = scsi_get(&f,
		     (struct scsi_ask){.cdb = {SCSI_REPORT_LUNS, 0, 2, 0, 0, 0, 0, 0, 0, 64},
				       .address = address},
		     data, 64);
	scsi_assert_good(a);
	cr_assert_eq(get_be32(data), 8u);
	cr_assert_eq(get_be16(data + 8), 0xc101);
	cr_assert_eq(a.resid, 64u - 16u);
	scsi_assert_good(scsi_do(&f, &(struct scsi_ask){.address = address}));
	scsi_assert_sense(
		scsi_do(&f, &(struct scsi_ask){.cdb = {SCSI_READ_10}, .address = address}),
		SENSE_INVALID_OPCODE);
}

Test(virtio_scsi, taken_address_is_refused_with_both_names)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;
	char options[128];

	snprintf(options, sizeof(options), "path=%s,readonly=on,target=0,lun=0", f.other);
	cr_assert_eq(
		device_create(&dev, &scsi_disk_class.device, "second", options, &f.fake.env, &err),
		-EEXIST);
	cr_assert(strstr(err.message, "second: ") && strstr(err.message, "'scsi-disk'"), "%s",
		  err.message);
}

/* ---- what a disk says about itself ---- */

static struct scsi_ask inquiry(uint8_t page, uint16_t room)
{
	struct scsi_ask ask = {.cdb = {SCSI_INQUIRY, 1, page}};

	put_be16(ask.cdb + 3, room);
	return ask;
}

Test(virtio_scsi, inquiry_describes_a_disk)
{
	const struct scsi_ask ask = {.cdb = {SCSI_INQUIRY, 0, 0, 0, 96}};
	struct scsi_answer a;
	uint8_t data[96];

	a = scsi_get(&f, ask, data, sizeof(data));
	scsi_assert_good(a);
	cr_assert_eq(data[0], 0);
	cr_assert_eq(data[2], 6);
	cr_assert_eq(data[3] & 0xf, 2);
	cr_assert_eq(memcmp(data + 8, "VMM     HARDDISK        1   ", 28), 0);
	cr_assert_eq(data[4] + 5u, 96 - a.resid);
}

Test(virtio_scsi, allocation_length_cuts_what_is_returned)
{
	struct scsi_ask ask = {.cdb = {SCSI_INQUIRY, 0, 0, 0, 5}};
	struct scsi_answer a;
	uint8_t data[8];

	a = scsi_get(&f, ask, data, sizeof(data));
	scsi_assert_good(a);
	cr_assert_eq(a.resid, 3u);
	cr_assert_eq(data[5], 0xee);
	ask.cdb[4] = 36;
	cr_assert_eq(scsi_get(&f, ask, data, sizeof(data)).response, VIRTIO_SCSI_S_OVERRUN);
}

Test(virtio_scsi, vital_product_data_are_listed_and_there)
{
	static const uint8_t expected[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
	uint8_t list[64], data[160];

	scsi_assert_good(scsi_get(&f, inquiry(0, sizeof(list)), list, sizeof(list)));
	cr_assert_eq(get_be16(list + 2), sizeof(expected));
	cr_assert_arr_eq(list + 4, expected, sizeof(expected));
	for (size_t i = 0; i < sizeof(expected); i++) {
		scsi_assert_good(
			scsi_get(&f, inquiry(expected[i], sizeof(data)), data, sizeof(data)));
		cr_assert_eq(data[1], expected[i]);
	}
	scsi_assert_sense(scsi_get(&f, inquiry(0x85, 64), data, 64), SENSE_INVALID_FIELD);
}

Test(virtio_scsi, serial_and_wwn_are_what_the_options_say)
{
	uint8_t data[160];

	scsi_assert_good(scsi_get(&f, inquiry(0x80, 64), data, 64));
	cr_assert_eq(get_be16(data + 2), 4);
	cr_assert_eq(memcmp(data + 4, "SN-1", 4), 0);
	scsi_assert_good(scsi_get(&f, inquiry(0x83, 64), data, 64));
	cr_assert_eq(get_be16(data + 2), 4u + 12 + 4 + 8);
	cr_assert_eq(memcmp(data + 4, "\x02\x01\0\x0cVMM     SN-1", 16), 0);
	cr_assert_eq(memcmp(data + 20, "\x01\x03\0\x08", 4), 0);
	cr_assert_eq(get_be64(data + 24), UINT64_C(0x5000c50015ea71ac));
}

Test(virtio_scsi, block_limits_are_those_that_hold)
{
	uint8_t data[64];

	scsi_assert_good(scsi_get(&f, inquiry(0xb0, 64), data, 64));
	cr_assert_eq(get_be16(data + 2), 60);
	cr_assert_eq(data[4] & 1, 1);
	cr_assert_eq(data[5], 128); /* 64 KiB of 512 */
	cr_assert_eq(get_be32(data + 8), 0xffffu);
	cr_assert_eq(get_be64(data + 36), 2 * GIB / 512);
	scsi_assert_good(scsi_get(&f, inquiry(0xb1, 64), data, 64));
	cr_assert_eq(get_be16(data + 4), 1);
}

Test(virtio_scsi, capacity_is_the_image_s)
{
	struct scsi_ask ask = {.cdb = {SCSI_SERVICE_ACTION_IN_16, SCSI_READ_CAPACITY_16}};
	uint8_t data[32];

	scsi_assert_good(scsi_get(&f, (struct scsi_ask){.cdb = {SCSI_READ_CAPACITY_10}}, data, 8));
	cr_assert_eq(get_be32(data), SCSI_BLOCKS - 1);
	cr_assert_eq(get_be32(data + 4), 512u);
	put_be32(ask.cdb + 10, 32);
	scsi_assert_good(scsi_get(&f, ask, data, 32));
	cr_assert_eq(get_be64(data), SCSI_BLOCKS - 1);
	cr_assert_eq(get_be32(data + 8), 512u);
	cr_assert_eq(data[14] >> 7, block_info(f.disk->block)->can_discard);
}

Test(virtio_scsi, sectors_of_4_kib_count_as_such)
{
	uint8_t data[8];
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, 1, 1);

	scsi_fini(&f);
	scsi_init(&f, NULL, "logical-block-size=4096");
	scsi_start(&f, 1);
	scsi_assert_good(scsi_get(&f, (struct scsi_ask){.cdb = {SCSI_READ_CAPACITY_10}}, data, 8));
	cr_assert_eq(get_be32(data), SCSI_DISK_SIZE / 4096 - 1);
	cr_assert_eq(get_be32(data + 4), 4096u);
	ask.out = scsi_pattern(&f, 4096, 9);
	ask.out_len = 4096;
	scsi_assert_good(scsi_do(&f, &ask));
	scsi_expect_image(&f, 4096, 4096, 9);
}

/* ---- unit attentions and sense ---- */

Test(virtio_scsi, unit_attention_is_reported_once)
{
	const struct scsi_ask ready = {.cdb = {SCSI_TEST_UNIT_READY}};
	uint8_t data[36];

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	virtio_driver_start(&f.driver, SCSI_LINUX, 3);
	/* INQUIRY neither reports nor clears it. */
	scsi_assert_good(
		scsi_get(&f, (struct scsi_ask){.cdb = {SCSI_INQUIRY, 0, 0, 0, 36}}, data, 36));
	scsi_assert_sense(scsi_do(&f, &ready), SENSE_POWER_ON);
	scsi_assert_good(scsi_do(&f, &ready));
	scsi_lun_attention(&f.disk->lun, SCSI_ATTENTION_CAPACITY);
	scsi_assert_good(scsi_get(&f, (struct scsi_ask){.cdb = {SCSI_REQUEST_SENSE, 0, 0, 0, 18}},
				  data, 18));
	cr_assert_eq(data[2], 6);
	cr_assert_eq(data[12], 0x2a);
	scsi_assert_good(scsi_do(&f, &ready));
}

Test(virtio_scsi, unknown_commands_and_fields_are_refused)
{
	struct scsi_ask ask = {.cdb = {0xd7}};

	scsi_assert_sense(scsi_do(&f, &ask), SENSE_INVALID_OPCODE);
	/* A service action that we do not know; NACA in the control byte. */
	ask = (struct scsi_ask){.cdb = {SCSI_SERVICE_ACTION_IN_16, 0x12}};
	scsi_assert_sense(scsi_do(&f, &ask), SENSE_INVALID_FIELD);
	ask = (struct scsi_ask){.cdb = {SCSI_TEST_UNIT_READY, 0, 0, 0, 0, 4}};
	scsi_assert_sense(scsi_do(&f, &ask), SENSE_INVALID_FIELD);
}
