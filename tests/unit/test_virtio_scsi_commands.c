/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi disks: commands beyond reading and writing.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/scsi_fixture.h"

static struct scsi_fixture f;

static void setup(void)
{
	scsi_init(&f, NULL, NULL);
	scsi_start(&f, 1);
}

static void teardown(void)
{
	scsi_fini(&f);
}

TestSuite(virtio_scsi_commands, .init = setup, .fini = teardown, .timeout = 30);

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

static void fill(uint64_t lba, uint32_t blocks, uint8_t seed)
{
	struct scsi_ask ask = scsi_rw16(SCSI_WRITE_16, lba, blocks);

	ask.out = scsi_pattern(&f, blocks * 512, seed);
	ask.out_len = blocks * 512;
	scsi_assert_good(scsi_do(&f, &ask));
}

/* ---- UNMAP ---- */

static struct scsi_answer unmap(const struct scsi_range *ranges, unsigned n)
{
	struct scsi_ask ask = {.cdb = {SCSI_UNMAP}};
	uint8_t list[8 + 16 * 32] = {0};

	put_be16(list, (uint16_t)(6 + 16 * n));
	put_be16(list + 2, (uint16_t)(16 * n));
	for (unsigned i = 0; i < n; i++) {
		put_be64(list + 8 + 16 * i, ranges[i].offset);
		put_be32(list + 16 + 16 * i, (uint32_t)ranges[i].length);
	}
	put_be16(ask.cdb + 7, (uint16_t)(8 + 16 * n));
	return scsi_put(&f, ask, list, 8 + 16 * n);
}

static bool can_unmap(void)
{
	if (block_info(f.disk->block)->can_discard)
		return true;
	fprintf(stderr, "skipped: the file system cannot discard\n");
	return false;
}

Test(virtio_scsi_commands, unmapped_blocks_read_as_zeroes)
{
	const struct scsi_range ranges[] = {{0, 8}, {32, 0}, {64, 8}};

	if (!can_unmap())
		return;
	fill(0, 128, 1);
	scsi_assert_good(unmap(ranges, 3));
	cr_assert(image_is_zero(0, 4096));
	cr_assert_not(image_is_zero(4096, 4096));
	cr_assert(image_is_zero(64 * 512, 4096));
	scsi_assert_good(unmap(ranges, 0));
	scsi_assert_good(scsi_do(&f, &(struct scsi_ask){.cdb = {SCSI_UNMAP}}));
}

Test(virtio_scsi_commands, unmap_with_one_bad_range_changes_nothing)
{
	struct scsi_range ranges[SCSI_UNMAP_RANGES + 1] = {{0, 8}, {SCSI_BLOCKS, 1}};

	if (!can_unmap())
		return;
	fill(0, 8, 1);
	scsi_assert_sense(unmap(ranges, 2), SENSE_LBA_OUT_OF_RANGE);
	ranges[1] = (struct scsi_range){UINT64_MAX, 2};
	scsi_assert_sense(unmap(ranges, 2), SENSE_LBA_OUT_OF_RANGE);
	scsi_assert_sense(unmap(ranges, SCSI_UNMAP_RANGES + 1), SENSE_INVALID_PARAMETER);
	scsi_expect_image(&f, 0, 4096, 1);
}

Test(virtio_scsi_commands, disk_that_ignores_discards_does_not_offer_them)
{
	const struct scsi_range range = {0, 8};
	struct scsi_ask ask = {.cdb = {SCSI_SERVICE_ACTION_IN_16, SCSI_READ_CAPACITY_16}};
	uint8_t data[32];

	scsi_fini(&f);
	scsi_init(&f, NULL, "discard=ignore");
	scsi_start(&f, 1);
	scsi_assert_sense(unmap(&range, 1), SENSE_INVALID_OPCODE);
	put_be32(ask.cdb + 10, 32);
	scsi_assert_good(scsi_get(&f, ask, data, 32));
	cr_assert_eq(data[14], 0);
	ask = (struct scsi_ask){.cdb = {SCSI_INQUIRY, 1, 0xb2, 0, 8}};
	scsi_assert_good(scsi_get(&f, ask, data, 8));
	cr_assert_eq(data[5], 0);
	ask = scsi_rw16(SCSI_WRITE_SAME_16, 0, 1);
	ask.cdb[1] = 8;
	memset(data, 0, sizeof(data));
	scsi_assert_sense(scsi_put(&f, ask, data, sizeof(data)), SENSE_INVALID_FIELD);
}

/* ---- WRITE SAME ---- */

static struct scsi_answer write_same(uint8_t opcode, uint8_t flags, uint32_t lba, uint16_t count,
				     const void *block)
{
	struct scsi_ask ask = opcode == SCSI_WRITE_SAME_16 ? scsi_rw16(opcode, lba, count)
							   : scsi_rw10(opcode, lba, count);

	ask.cdb[1] = flags;
	return block ? scsi_put(&f, ask, block, 512) : scsi_do(&f, &ask);
}

Test(virtio_scsi_commands, write_same_writes_zeroes_with_and_without_unmap)
{
	static const uint8_t zeroes[512];
	static const uint8_t opcodes[] = {SCSI_WRITE_SAME_10, SCSI_WRITE_SAME_16};

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		for (uint8_t flags = 0; flags <= 8; flags = (uint8_t)(flags + 8)) {
			if (flags && !can_unmap())
				continue;
			fill(0, 32, 1);
			scsi_assert_good(write_same(opcodes[i], flags, 8, 8, zeroes));
			cr_assert_not(image_is_zero(0, 4096));
			cr_assert(image_is_zero(4096, 4096));
			cr_assert_not(image_is_zero(8192, 8192));
		}
	/* No data at all. */
	fill(0, 16, 1);
	scsi_assert_good(write_same(SCSI_WRITE_SAME_16, 1, 0, 16, NULL));
	cr_assert(image_is_zero(0, 16 * 512));
}

Test(virtio_scsi_commands, write_same_repeats_a_block)
{
	uint8_t block[512], back[512];

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 3 + 1);
	/* More than a bounce buffer full. */
	scsi_assert_good(write_same(SCSI_WRITE_SAME_16, 0, 3, 300, block));
	for (unsigned lba = 3; lba < 303; lba++) {
		cr_assert_eq(pread(f.fd, back, 512, lba * 512), 512);
		cr_assert_arr_eq(back, block, 512);
	}
	cr_assert(image_is_zero(0, 3 * 512));
	cr_assert(image_is_zero(303 * 512, 512));
}

Test(virtio_scsi_commands, write_same_of_nothing_or_too_much_is_refused)
{
	static const uint8_t zeroes[512];
	struct scsi_ask ask = scsi_rw16(SCSI_WRITE_SAME_16, 0, 0);

	scsi_assert_sense(scsi_put(&f, ask, zeroes, 512), SENSE_INVALID_FIELD);
	put_be32(ask.cdb + 10, UINT32_MAX);
	scsi_assert_sense(scsi_put(&f, ask, zeroes, 512), SENSE_INVALID_FIELD);
	put_be32(ask.cdb + 10, 2);
	put_be64(ask.cdb + 2, SCSI_BLOCKS - 1);
	scsi_assert_sense(scsi_put(&f, ask, zeroes, 512), SENSE_LBA_OUT_OF_RANGE);
	/* ANCHOR, LBDATA, PBDATA. */
	for (uint8_t bit = 0x10; bit >= 2; bit >>= 1)
		if (bit != 8)
			scsi_assert_sense(write_same(SCSI_WRITE_SAME_16, bit, 0, 1, zeroes),
					  SENSE_INVALID_FIELD);
	cr_assert_eq(scsi_put(&f, scsi_rw10(SCSI_WRITE_SAME_10, 0, 1), zeroes, 511).response,
		     VIRTIO_SCSI_S_OVERRUN);
}

/* ---- VERIFY, COMPARE AND WRITE ---- */

Test(virtio_scsi_commands, verify_compares_what_it_is_sent)
{
	uint8_t *data = malloc(300 * 512);
	struct scsi_ask ask = scsi_rw10(SCSI_VERIFY_10, 0, 300);
	struct scsi_answer a;

	fill(0, 300, 5);
	scsi_assert_good(scsi_do(&f, &ask)); /* without data: it can be read */
	for (uint32_t i = 0; i < 300 * 512; i++)
		data[i] = (uint8_t)(5 + i * 7 + i / 512);
	ask.cdb[1] = 2; /* BYTCHK */
	scsi_assert_good(scsi_put(&f, ask, data, 300 * 512));
	data[200 * 512 + 17] ^= 1;
	a = scsi_put(&f, ask, data, 300 * 512);
	scsi_assert_sense(a, SENSE_MISCOMPARE);
	cr_assert_eq(get_be32(a.sense + 3), 200u * 512 + 17);
	cr_assert_eq(scsi_put(&f, ask, data, 299 * 512).response, VIRTIO_SCSI_S_OVERRUN);
	free(data);
}

static struct scsi_answer compare_and_write(uint64_t lba, uint8_t blocks, uint8_t expect,
					    uint8_t seed)
{
	struct scsi_ask ask = {.cdb = {SCSI_COMPARE_AND_WRITE}};
	const uint32_t half = blocks * 512u;
	uint8_t *data = malloc(2 * half);
	struct scsi_answer a;

	put_be64(ask.cdb + 2, lba);
	ask.cdb[13] = blocks;
	for (uint32_t i = 0; i < half; i++) {
		data[i] = (uint8_t)(expect + i * 7 + i / 512);
		data[half + i] = (uint8_t)(seed + i * 7 + i / 512);
	}
	a = scsi_put(&f, ask, data, 2 * half);
	free(data);
	return a;
}

Test(virtio_scsi_commands, compare_and_write_writes_only_what_is_as_expected)
{
	struct scsi_answer a;

	fill(16, 4, 1);
	scsi_assert_good(compare_and_write(16, 4, 1, 2));
	scsi_expect_image(&f, 16 * 512, 4 * 512, 2);
	a = compare_and_write(16, 4, 1, 3);
	scsi_assert_sense(a, SENSE_MISCOMPARE);
	cr_assert_eq(get_be32(a.sense + 3), 0u);
	scsi_expect_image(&f, 16 * 512, 4 * 512, 2);
	scsi_assert_good(compare_and_write(16, 0, 1, 3));
	scsi_assert_sense(compare_and_write(SCSI_BLOCKS - 1, 2, 1, 2), SENSE_LBA_OUT_OF_RANGE);
	scsi_assert_sense(compare_and_write(0, 129, 1, 2), SENSE_INVALID_FIELD);
}

/* 2.7.4.1: wherever the driver cuts the data, also where the two halves meet. */
Test(virtio_scsi_commands, compare_and_write_takes_data_in_pieces)
{
	static const uint32_t cuts[] = {300, 1, 700, 23, 512, 512};
	struct virtio_scsi_cmd_req head = {.lun = {1}};
	uint8_t cdb[32] = {SCSI_COMPARE_AND_WRITE, [13] = 2};
	struct driver_buffer b[ARRAY_SIZE(cuts) + 2];
	gpa_t request = virtio_driver_alloc(&f.driver, SCSI_REQUEST_SIZE);
	gpa_t response = virtio_driver_alloc(&f.driver, SCSI_RESPONSE_SIZE);
	gpa_t expect = scsi_pattern(&f, 1024, 6), data = scsi_pattern(&f, 1024, 8);
	unsigned n = 0;

	cr_assert_eq(data.v, expect.v + 1024);
	fill(0, 2, 6);
	driver_write(f.driver.memory, request, &head, sizeof(head));
	driver_write(f.driver.memory, gpa_add(request, sizeof(head)), cdb, sizeof(cdb));
	b[n++] = (struct driver_buffer){request, SCSI_REQUEST_SIZE, false};
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		b[n++] = (struct driver_buffer){expect, cuts[i], false};
		expect = gpa_add(expect, cuts[i]);
	}
	b[n++] = (struct driver_buffer){response, SCSI_RESPONSE_SIZE, true};
	driver_ring_add(&f.driver.rings[VIRTIO_SCSI_REQUEST], b, n);
	scsi_kick(&f, 0);
	virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
	scsi_assert_good(scsi_answer_at(&f, response));
	scsi_expect_image(&f, 0, 1024, 8);
}

Test(virtio_scsi_commands, nothing_comes_between_compare_and_write)
{
	struct scsi_ask caw = {.cdb = {SCSI_COMPARE_AND_WRITE}}, write;
	gpa_t first, second, data;

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	caw.cdb[13] = 1;
	caw.out = data = virtio_driver_alloc(&f.driver, 1024);
	cr_assert_eq(guest_fill(f.driver.memory, data, 0, 1024), 0);
	driver_write(f.driver.memory, gpa_add(data, 512), "new", 3);
	caw.out_len = 1024;
	write = scsi_rw10(SCSI_WRITE_10, 0, 1);
	write.out = scsi_pattern(&f, 512, 9);
	write.out_len = 512;
	f.tap->count = 0;
	f.tap->hold = true;
	first = scsi_add(&f, &caw);
	second = scsi_add(&f, &write);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	/* The read of the first is under way; the second has to wait. */
	f.tap->log[f.tap->count] = '\0';
	cr_assert_str_eq(f.tap->log, "R");
	cr_assert_eq(f.scsi->bus.in_flight, 2u);
	blk_tap_release(f.tap);
	virtio_driver_wait(&f.driver, 2, NULL);
	virtio_driver_wait(&f.driver, 2, NULL);
	scsi_assert_good(scsi_answer_at(&f, first));
	scsi_assert_good(scsi_answer_at(&f, second));
	f.tap->log[f.tap->count] = '\0';
	cr_assert_str_eq(f.tap->log, "RWW");
	scsi_expect_image(&f, 0, 512, 9);
}

Test(virtio_scsi_commands, ordered_tasks_wait_for_those_before_them)
{
	struct scsi_ask write = scsi_rw10(SCSI_WRITE_10, 0, 1);

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	write.out = scsi_pattern(&f, 512, 9);
	write.out_len = 512;
	f.tap->count = 0;
	f.tap->hold = true;
	scsi_add(&f, &write);
	scsi_add(&f, &write);
	write.attribute = VIRTIO_SCSI_S_ORDERED;
	scsi_add(&f, &write);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(f.tap->count, 2u);
	blk_tap_release(f.tap);
	for (unsigned i = 0; i < 3; i++)
		virtio_driver_wait(&f.driver, 2, NULL);
	cr_assert_eq(f.tap->count, 3u);
}

/* ---- mode pages ---- */

static struct scsi_answer mode_sense(uint8_t page, uint8_t *data, uint8_t room)
{
	const struct scsi_ask ask = {.cdb = {SCSI_MODE_SENSE_6, 8, page, 0, room}};

	return scsi_get(&f, ask, data, room);
}

static struct scsi_answer select_page(const uint8_t *page, uint8_t len)
{
	struct scsi_ask ask = {.cdb = {SCSI_MODE_SELECT_6, 0x10, 0, 0, (uint8_t)(4 + len)}};
	uint8_t list[64] = {0};

	memcpy(list + 4, page, len);
	return scsi_put(&f, ask, list, 4u + len);
}

Test(virtio_scsi_commands, cache_is_switched_by_its_mode_page)
{
	uint8_t data[64];

	scsi_assert_good(mode_sense(0x08, data, sizeof(data)));
	cr_assert_eq(data[4], 0x08);
	cr_assert_eq(data[6] & 4, 4);
	data[6] &= 0xfb;
	scsi_assert_good(select_page(data + 4, 20));
	cr_assert_not(block_writeback(f.disk->block));
	scsi_assert_good(mode_sense(0x08, data, sizeof(data)));
	cr_assert_eq(data[6] & 4, 0);
	/* What can be changed, and what it was at first. */
	scsi_assert_good(mode_sense(0x48, data, sizeof(data)));
	cr_assert_eq(data[6], 4);
	scsi_assert_good(mode_sense(0x88, data, sizeof(data)));
	cr_assert_eq(data[6] & 4, 4);
	scsi_assert_sense(mode_sense(0xc8, data, sizeof(data)), SENSE_SAVING_NOT_SUPPORTED);
	/* A reset brings it back. */
	virtio_driver_reset(&f.driver);
	cr_assert(block_writeback(f.disk->block));
}

Test(virtio_scsi_commands, mode_select_with_an_error_changes_nothing)
{
	uint8_t data[64], both[32] = {0x0a, 10, 4, 0x10};
	struct scsi_ask ask = {.cdb = {SCSI_MODE_SELECT_6, 0x10, 0, 0, 24}};

	scsi_assert_good(mode_sense(0x08, data, sizeof(data)));
	data[6] &= 0xfb;
	data[7] = 1; /* not changeable */
	memcpy(both + 12, data + 4, 20);
	scsi_assert_sense(select_page(both, 32), SENSE_INVALID_PARAMETER);
	cr_assert(block_writeback(f.disk->block));
	cr_assert_not(f.disk->lun.descriptor_sense);
	scsi_assert_sense(select_page(both, 11), SENSE_INVALID_PARAMETER);
	scsi_assert_sense(select_page((const uint8_t[]){0x3f, 0}, 2), SENSE_INVALID_PARAMETER);
	cr_assert_eq(scsi_put(&f, ask, data, 20).response, VIRTIO_SCSI_S_OVERRUN);
	ask.cdb[4] = 3;
	scsi_assert_sense(scsi_put(&f, ask, data, 3), SENSE_LIST_LENGTH);
	ask.cdb[1] = 0x11; /* to be saved */
	scsi_assert_sense(scsi_put(&f, ask, data, 3), SENSE_INVALID_FIELD);
}

Test(virtio_scsi_commands, sense_data_have_the_format_that_was_asked_for)
{
	struct scsi_ask ask = {.cdb = {0xd7}};
	struct scsi_answer a = scsi_do(&f, &ask);

	cr_assert_eq(a.sense[0], 0x70);
	cr_assert_eq(a.sense_len, 18u);
	scsi_assert_good(
		select_page((const uint8_t[]){0x0a, 10, 4, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}, 12));
	a = scsi_do(&f, &ask);
	scsi_assert_sense(a, SENSE_INVALID_OPCODE);
	cr_assert_eq(a.sense[0], 0x72);
	cr_assert_eq(a.sense_len, 8u);
	/* With an information descriptor: where the data differ. */
	a = compare_and_write(0, 1, 1, 2);
	scsi_assert_sense(a, SENSE_MISCOMPARE);
	cr_assert_eq(a.sense_len, 20u);
	cr_assert_arr_eq(a.sense + 7, "\x0c\0\x0a\x80\0", 5);
	cr_assert_eq(get_be64(a.sense + 12), 0u);
}

Test(virtio_scsi_commands, mode_select_takes_the_geometry_that_is)
{
	struct scsi_ask ask = {.cdb = {SCSI_MODE_SELECT_6, 0x10, 0, 0, 12}};
	uint8_t list[12] = {0, 0, 0, 8};

	put_be32(list + 8, 512);
	scsi_assert_good(scsi_put(&f, ask, list, sizeof(list)));
	put_be32(list + 4, SCSI_BLOCKS);
	scsi_assert_good(scsi_put(&f, ask, list, sizeof(list)));
	put_be32(list + 4, SCSI_BLOCKS / 2);
	scsi_assert_sense(scsi_put(&f, ask, list, sizeof(list)), SENSE_INVALID_PARAMETER);
	put_be32(list + 4, 0);
	put_be32(list + 8, 520);
	scsi_assert_sense(scsi_put(&f, ask, list, sizeof(list)), SENSE_INVALID_PARAMETER);
	list[3] = 9;
	scsi_assert_sense(scsi_put(&f, ask, list, sizeof(list)), SENSE_LIST_LENGTH);
	ask.cdb[4] = 0;
	scsi_assert_good(scsi_do(&f, &ask));
}

Test(virtio_scsi_commands, all_mode_pages_come_with_a_block_descriptor)
{
	const struct scsi_ask ask = {.cdb = {SCSI_MODE_SENSE_10, 0, 0x3f, 0, 0, 0, 0, 0, 255}};
	uint8_t data[255];

	scsi_assert_good(scsi_get(&f, ask, data, sizeof(data)));
	cr_assert_eq(get_be16(data), 6u + 8 + 12 + 12 + 20);
	cr_assert_eq(data[7], 8);
	cr_assert_eq(get_be32(data + 8), SCSI_BLOCKS);
	cr_assert_eq(get_be32(data + 12), 512u);
}

/* ---- persistent reservations ---- */

static struct scsi_answer reserve(uint8_t action, uint8_t type, uint64_t key, uint64_t action_key)
{
	struct scsi_ask ask = {.cdb = {SCSI_PERSISTENT_RESERVE_OUT, action, type}};
	uint8_t list[24] = {0};

	ask.cdb[8] = 24;
	put_be64(list, key);
	put_be64(list + 8, action_key);
	return scsi_put(&f, ask, list, sizeof(list));
}

static void reserve_in(uint8_t action, uint8_t *data)
{
	const struct scsi_ask ask = {
		.cdb = {SCSI_PERSISTENT_RESERVE_IN, action, 0, 0, 0, 0, 0, 0, 64}};

	memset(data, 0, 64);
	scsi_assert_good(scsi_get(&f, ask, data, 64));
}

#define assert_conflict(answer) cr_assert_eq((answer).status, SCSI_STATUS_RESERVATION_CONFLICT)

Test(virtio_scsi_commands, reservation_is_registered_held_and_released)
{
	uint8_t data[64];

	assert_conflict(reserve(1, 1, 0xabc, 0)); /* not registered */
	scsi_assert_good(reserve(0, 0, 0, 0xabc));
	assert_conflict(reserve(0, 0, 0x123, 0xdef)); /* with a wrong key */
	scsi_assert_good(reserve(1, 3, 0xabc, 0));
	reserve_in(0, data);
	cr_assert_eq(get_be32(data), 1u);
	cr_assert_eq(get_be32(data + 4), 8u);
	cr_assert_eq(get_be64(data + 8), UINT64_C(0xabc));
	reserve_in(1, data);
	cr_assert_eq(get_be64(data + 8), UINT64_C(0xabc));
	cr_assert_eq(data[21], 3);
	assert_conflict(reserve(1, 1, 0xabc, 0)); /* of another type */
	scsi_assert_sense(reserve(2, 1, 0xabc, 0), SENSE_INVALID_RELEASE);
	scsi_assert_good(reserve(2, 3, 0xabc, 0));
	reserve_in(1, data);
	cr_assert_eq(get_be32(data + 4), 0u);
	reserve_in(2, data);
	cr_assert_eq(get_be16(data), 8);
	reserve_in(3, data);
	cr_assert_eq(get_be32(data + 4), 48u);
	scsi_assert_good(reserve(3, 0, 0xabc, 0));
	reserve_in(0, data);
	cr_assert_eq(get_be32(data + 4), 0u);
}

/* virtio has one initiator; a second one is put in behind its back. */
Test(virtio_scsi_commands, reservation_of_another_keeps_out_until_it_is_preempted)
{
	struct scsi_reservations *pr = &f.disk->lun.reservations;
	struct scsi_ask read = scsi_rw10(SCSI_READ_10, 0, 0);
	struct scsi_ask write = scsi_rw10(SCSI_WRITE_10, 0, 0);

	f.disk->lun.attentions[1] = 0; /* it has used the unit */
	pr->keys[1] = 0x222;
	pr->holder = 1;
	pr->type = SCSI_PR_WRITE_EXCLUSIVE;
	scsi_assert_good(scsi_do(&f, &read));
	assert_conflict(scsi_do(&f, &write));
	pr->type = SCSI_PR_EXCLUSIVE_ACCESS;
	assert_conflict(scsi_do(&f, &read));
	pr->type = SCSI_PR_EXCLUSIVE_ACCESS_REGISTRANTS;
	assert_conflict(scsi_do(&f, &read));
	scsi_assert_good(reserve(0, 0, 0, 0x111));
	scsi_assert_good(scsi_do(&f, &read));
	scsi_assert_good(scsi_do(&f, &write));
	assert_conflict(reserve(1, 6, 0x111, 0));
	assert_conflict(reserve(4, 3, 0x111, 0x333)); /* nobody has that key */
	scsi_assert_good(reserve(5, 3, 0x111, 0x222));
	cr_assert_eq(pr->keys[1], 0u);
	cr_assert_eq(pr->holder, 0u);
	cr_assert_eq(pr->type, SCSI_PR_EXCLUSIVE_ACCESS);
	cr_assert(f.disk->lun.attentions[1] & 1u << SCSI_ATTENTION_UNREGISTERED);
	cr_assert(scsi_pr_conflict(pr, 1, true, false));
	/* Unregistering lets go of it. */
	scsi_assert_good(reserve(0, 0, 0x111, 0));
	cr_assert_eq(pr->type, SCSI_PR_NONE);
}

Test(virtio_scsi_commands, reservation_of_all_registrants_ends_with_the_last)
{
	struct scsi_reservations *pr = &f.disk->lun.reservations;

	pr->keys[1] = 0x222;
	scsi_assert_good(reserve(6, 0, 0x999, 0x111)); /* whatever the key */
	scsi_assert_good(reserve(1, 8, 0x111, 0));
	cr_assert_not(scsi_pr_conflict(pr, 1, true, true));
	cr_assert(scsi_pr_conflict(pr, 2, true, false));
	scsi_assert_good(reserve(6, 0, 0, 0));
	cr_assert_eq(pr->type, SCSI_PR_EXCLUSIVE_ACCESS_ALL);
	pr->keys[0] = 0x111;
	/* Key 0 of all registrants: they all go, and it is ours. */
	scsi_assert_good(reserve(4, 1, 0x111, 0));
	cr_assert_eq(pr->keys[1], 0u);
	cr_assert_eq(pr->type, SCSI_PR_WRITE_EXCLUSIVE);
}

Test(virtio_scsi_commands, reservation_requests_that_make_no_sense_are_refused)
{
	struct scsi_ask ask = {.cdb = {SCSI_PERSISTENT_RESERVE_OUT, 0, 0, 0, 0, 0, 0, 0, 23}};
	uint8_t list[24] = {0};

	scsi_assert_sense(scsi_put(&f, ask, list, 23), SENSE_LIST_LENGTH);
	ask.cdb[8] = 24;
	cr_assert_eq(scsi_put(&f, ask, list, 23).response, VIRTIO_SCSI_S_OVERRUN);
	list[20] = 1; /* APTPL: we forget it with the power */
	scsi_assert_sense(scsi_put(&f, ask, list, 24), SENSE_INVALID_PARAMETER);
	scsi_assert_sense(reserve(1, 0x11, 0, 0), SENSE_INVALID_FIELD); /* scope */
	scsi_assert_sense(reserve(1, 2, 0, 0), SENSE_INVALID_FIELD);    /* type */
	scsi_assert_sense(reserve(7, 1, 0, 0), SENSE_INVALID_FIELD);    /* action */
}
