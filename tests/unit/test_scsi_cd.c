/* SPDX-License-Identifier: MIT */
/*
 * The CD-ROM drive of virtio-scsi: media that are read, change and go; the tray.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/scsi_fixture.h"
#include "virtio/scsi_cd.h"

static struct scsi_fixture f;
static struct device *dev;
static struct scsi_cd *cd;

/* At target 2, with the image of 1 MiB that scsi_add_disk uses. */
static void setup(void)
{
	char options[128];

	scsi_init(&f, NULL, NULL);
	snprintf(options, sizeof(options), "path=%s,engine=threads,target=2", f.other);
	dev = fake_env_device(&f.fake, &scsi_cd_class.device, options);
	cd = scsi_cd(scsi_lun(dev));
	scsi_start(&f, 1);
	while (scsi_do(&f, &(struct scsi_ask){.target = 2}).status)
		;
}

static void teardown(void)
{
	fake_env_remove(dev);
	scsi_fini(&f);
}

TestSuite(scsi_cd, .init = setup, .fini = teardown, .timeout = 30);

static struct scsi_answer get(const uint8_t *cdb, void *buf, uint32_t len)
{
	struct scsi_ask ask = {.target = 2};

	memcpy(ask.cdb, cdb, SCSI_CDB_SIZE);
	return scsi_get(&f, ask, buf, len);
}

static struct scsi_answer ready(void)
{
	return scsi_do(&f, &(struct scsi_ask){.target = 2});
}

#define CDB(...) ((const uint8_t[SCSI_CDB_SIZE]){__VA_ARGS__})

/* The media event and the state of the tray. */
static void expect_event(uint8_t event, uint8_t state)
{
	uint8_t data[8];

	scsi_assert_good(get(CDB(SCSI_GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8), data, 8));
	cr_assert_eq(data[2], 4);
	cr_assert_eq(data[4], event, "event %u", data[4]);
	cr_assert_eq(data[5], state, "state %u", data[5]);
}

/* How often the host was told of the tray, and how it was then. */
static void expect_notices(unsigned count, bool open)
{
	cr_assert_eq(f.fake.notices, count, "%u notices", f.fake.notices);
	cr_assert_eq(f.fake.last_notice, DEVICE_NOTICE_TRAY);
	cr_assert_eq(f.fake.last_notice_value, open);
}

static int act(const char *action, const char *options)
{
	struct vmm_error err = {0};

	return device_action(dev, action, options, NULL, &err);
}

Test(scsi_cd, image_is_read_in_blocks_of_2_kib)
{
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 3, 2);
	uint8_t data[36];
	FILE *image = fopen(f.other, "r+");

	fseek(image, 3 * 2048, SEEK_SET);
	for (unsigned i = 0; i < 4096; i++)
		fputc((uint8_t)(4 + i * 7 + i / 512), image);
	fclose(image);
	scsi_assert_good(get(CDB(SCSI_INQUIRY, 0, 0, 0, 36), data, 36));
	cr_assert_eq(data[0], 5);
	cr_assert_eq(data[1], 0x80);
	scsi_assert_good(get(CDB(SCSI_READ_CAPACITY_10), data, 8));
	cr_assert_eq(get_be32(data), MIB / 2048 - 1);
	cr_assert_eq(get_be32(data + 4), 2048u);
	ask.target = 2;
	ask.in = virtio_driver_alloc(&f.driver, 4096);
	ask.in_len = 4096;
	scsi_assert_good(scsi_do(&f, &ask));
	scsi_expect_guest(&f, ask.in, 4096, 4);
	ask = scsi_rw10(SCSI_WRITE_10, 3, 2);
	ask.target = 2;
	scsi_assert_sense(scsi_do(&f, &ask), SENSE_INVALID_OPCODE);
}

Test(scsi_cd, table_of_contents_has_one_data_track)
{
	uint8_t data[64];

	scsi_assert_good(get(CDB(SCSI_READ_TOC, 0, 0, 0, 0, 0, 0, 0, 20), data, 20));
	cr_assert_eq(get_be16(data), 18);
	cr_assert_eq(data[5], 0x14);
	cr_assert_eq(get_be32(data + 8), 0u);
	cr_assert_eq(data[14], 0xaa);
	cr_assert_eq(get_be32(data + 16), MIB / 2048);
	/* In minutes, seconds and frames: block 0 is at 2 s. */
	scsi_assert_good(get(CDB(SCSI_READ_TOC, 2, 0, 0, 0, 0, 0, 0, 20), data, 20));
	cr_assert_eq(data[9], 0);
	cr_assert_eq(data[10], 2);
	scsi_assert_good(get(CDB(SCSI_READ_TOC, 0, 1, 0, 0, 0, 0, 0, 12), data, 12));
	cr_assert_eq(get_be16(data), 10);
	scsi_assert_sense(get(CDB(SCSI_READ_TOC, 0, 0, 0, 0, 0, 2, 0, 12), data, 12),
			  SENSE_INVALID_FIELD);
	scsi_assert_good(get(CDB(SCSI_READ_DISC_INFORMATION, 0, 0, 0, 0, 0, 0, 0, 34), data, 34));
	cr_assert_eq(data[2], 0x0e);
}

Test(scsi_cd, profile_follows_the_medium)
{
	uint8_t data[128];

	scsi_assert_good(get(CDB(SCSI_GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, 0, 128), data, 128));
	cr_assert_eq(get_be16(data + 6), 0x0008);
	scsi_assert_sense(get(CDB(SCSI_READ_DVD_STRUCTURE, 0, 0, 0, 0, 0, 0, 0, 0, 64), data, 64),
			  SENSE_INCOMPATIBLE_MEDIUM);
	/* Larger than any CD. */
	cr_assert_eq(truncate(f.other, GIB), 0);
	cr_assert_eq(act("change", f.other), 0);
	scsi_assert_good(get(CDB(SCSI_GET_CONFIGURATION, 2, 0, 0x1f, 0, 0, 0, 0, 128), data, 128));
	cr_assert_eq(get_be16(data + 6), 0x0010);
	cr_assert_eq(get_be32(data), 4u + 8);
	ready();
	scsi_assert_good(get(CDB(SCSI_READ_DVD_STRUCTURE, 0, 0, 0, 0, 0, 0, 0, 0, 64), data, 64));
	cr_assert_eq(get_be32(data + 12), GIB / 2048 - 1);
}

Test(scsi_cd, guest_ejects_and_loads)
{
	const struct scsi_ask eject = {.cdb = {SCSI_START_STOP_UNIT, 0, 0, 0, 2}, .target = 2};
	const struct scsi_ask load = {.cdb = {SCSI_START_STOP_UNIT, 0, 0, 0, 3}, .target = 2};
	const struct scsi_ask lock = {.cdb = {SCSI_PREVENT_ALLOW, 0, 0, 0, 1}, .target = 2};
	const struct scsi_ask unlock = {.cdb = {SCSI_PREVENT_ALLOW}, .target = 2};

	expect_event(0, 2);
	scsi_assert_good(scsi_do(&f, &lock));
	scsi_assert_sense(scsi_do(&f, &eject), SENSE_REMOVAL_PREVENTED);
	scsi_assert_good(scsi_do(&f, &unlock));
	cr_assert_eq(f.fake.notices, 0u);
	scsi_assert_good(scsi_do(&f, &eject));
	expect_notices(1, true);
	/* It need not be told what it did. */
	cr_assert_eq(f.scsi->event_count, 0u);
	scsi_assert_sense(ready(), SENSE_NO_MEDIUM_TRAY_OPEN);
	expect_event(3, 3);
	expect_event(0, 3);
	scsi_assert_good(scsi_do(&f, &eject));
	expect_notices(1, true); /* it is open already */
	scsi_assert_good(scsi_do(&f, &load));
	expect_notices(2, false);
	expect_event(2, 2);
	scsi_assert_sense(ready(), SENSE_MEDIUM_CHANGED);
	scsi_assert_good(ready());
}

Test(scsi_cd, locked_tray_is_asked_for_and_can_be_forced)
{
	const struct scsi_ask lock = {.cdb = {SCSI_PREVENT_ALLOW, 0, 0, 0, 1}, .target = 2};

	scsi_assert_good(scsi_do(&f, &lock));
	cr_assert_eq(act("eject", NULL), -EBUSY);
	expect_event(1, 2);
	cr_assert_eq(act("change", f.other), -EBUSY);
	cr_assert_eq(act("open", NULL), -EBUSY);
	scsi_assert_good(ready());
	cr_assert_eq(act("eject", "force=on"), 0);
	expect_notices(1, true);
	expect_event(3, 1);
	scsi_assert_sense(ready(), SENSE_NO_MEDIUM_TRAY_OPEN);
	cr_assert_eq(act("close", NULL), 0);
	expect_notices(2, false);
	scsi_assert_sense(ready(), SENSE_NO_MEDIUM);
}

Test(scsi_cd, reset_draws_the_tray_in)
{
	cr_assert_eq(act("open", NULL), 0);
	expect_notices(1, true);
	device_quiesce_wait(dev);
	device_reset(dev);
	expect_notices(2, false);
	device_quiesce_wait(dev);
	device_reset(dev);
	cr_assert_eq(f.fake.notices, 2u, "it was closed");
}

Test(scsi_cd, changed_medium_is_noticed)
{
	char options[128];
	uint8_t data[8];

	cr_assert_eq(truncate(f.other, 2 * MIB), 0);
	snprintf(options, sizeof(options), "path=%s", f.other);
	cr_assert_eq(act("change", options), 0);
	expect_notices(2, false);
	cr_assert_eq(f.scsi->event_count, 1u);
	cr_assert_eq(f.scsi->events[0].event, VIRTIO_SCSI_T_PARAM_CHANGE);
	cr_assert_eq(f.scsi->events[0].reason, 0x28u);
	scsi_assert_sense(ready(), SENSE_MEDIUM_CHANGED);
	expect_event(2, 2);
	scsi_assert_good(get(CDB(SCSI_READ_CAPACITY_10), data, 8));
	cr_assert_eq(get_be32(data), 2 * MIB / 2048 - 1);
	/* What cannot be opened leaves the old one where it is. */
	cr_assert_lt(act("change", "path=/nonexistent/image.iso"), 0);
	scsi_assert_good(ready());
	cr_assert_eq(act("open", NULL), 0);
	cr_assert_eq(act("close", NULL), 0);
	scsi_assert_sense(ready(), SENSE_MEDIUM_CHANGED);
}

Test(scsi_cd, drive_may_be_empty)
{
	uint8_t data[8];

	fake_env_remove(dev);
	dev = fake_env_device(&f.fake, &scsi_cd_class.device, "target=2");
	cd = scsi_cd(scsi_lun(dev));
	scsi_assert_sense(ready(), SENSE_POWER_ON);
	scsi_assert_sense(ready(), SENSE_NO_MEDIUM);
	scsi_assert_sense(get(CDB(SCSI_READ_CAPACITY_10), data, 8), SENSE_NO_MEDIUM);
	scsi_assert_sense(get(CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1), data, 8), SENSE_NO_MEDIUM);
	expect_event(0, 0);
	cr_assert_eq(act("change", f.other), 0);
	scsi_assert_sense(ready(), SENSE_MEDIUM_CHANGED);
	scsi_assert_good(ready());
}

Test(scsi_cd, medium_goes_only_when_its_reads_have_ended)
{
	const struct block_options options = {.path = f.other,
					      .readonly = true,
					      .engine = BLOCK_ENGINE_THREADS,
					      .logical_block_size = 2048};
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 0, 1);
	struct blk_tap *tap;
	gpa_t at;

	blk_tap_open(&tap, &cd->block, &options, &f.fake);
	tap->hold = true;
	ask.target = 2;
	ask.in = virtio_driver_alloc(&f.driver, 2048);
	ask.in_len = 2048;
	at = scsi_add(&f, &ask);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(act("eject", NULL), 0);
	fake_env_settle(&f.fake);
	cr_assert_not_null(cd->closing[0]);
	blk_tap_release(tap);
	virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
	scsi_assert_good(scsi_answer_at(&f, at));
	fake_env_settle(&f.fake);
	cr_assert_null(cd->closing[0]);
}

Test(scsi_cd, capabilities_page_says_what_linux_asks_for)
{
	uint8_t data[64];

	scsi_assert_good(get(CDB(SCSI_MODE_SENSE_10, 0, 0x2a, 0, 0, 0, 0, 0, 64), data, 64));
	cr_assert_eq(data[7], 0);
	cr_assert_eq(data[8], 0x2a);
	cr_assert_eq(data[14], 0x29);
	scsi_assert_good(get(CDB(SCSI_MECHANISM_STATUS, 0, 0, 0, 0, 0, 0, 0, 0, 8), data, 8));
	cr_assert_eq(data[1], 0);
}
