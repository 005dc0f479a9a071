/* SPDX-License-Identifier: MIT */
/*
 * Units under a rate limit: their commands wait at the gate of the unit, and nobody else does.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/support/scsi_fixture.h"

#define BLOCKS 8u

static struct scsi_fixture f;
static gpa_t at[64]; /* of the responses */

static void teardown(void)
{
	scsi_fini(&f);
}

TestSuite(virtio_scsi_throttle, .fini = teardown, .timeout = 30);

static void start(const char *disk)
{
	scsi_init(&f, NULL, disk);
	scsi_tap(&f);
	f.driver.always |= UINT64_C(1) << VIRTIO_F_RING_RESET;
	scsi_start(&f, 1);
	f.tap->count = 0;
}

static gpa_t add_task(unsigned target, uint64_t tag, uint8_t attribute)
{
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 0, BLOCKS);

	ask.target = target;
	ask.tag = tag;
	ask.attribute = attribute;
	ask.in_len = BLOCKS * 512;
	ask.in = virtio_driver_alloc(&f.driver, ask.in_len);
	return scsi_add(&f, &ask);
}

static gpa_t add_read(unsigned target, uint64_t tag)
{
	return add_task(target, tag, VIRTIO_SCSI_S_SIMPLE);
}

/* Reads of the limited unit; their responses are at[0] and on. */
static void add_reads(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		at[i] = add_read(0, i);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
}

static void settle(void)
{
	fake_env_settle(&f.fake);
	while (f.disk->lun.running)
		loop_turn(f.fake.env.loop, true);
	fake_env_settle(&f.fake);
}

/* How many of the first n have been answered, well; they must be the first ones. */
static unsigned answered(unsigned n)
{
	unsigned done = 0;

	settle();
	for (unsigned i = 0; i < n; i++) {
		if (!scsi_answered(&f, at[i]))
			continue;
		cr_assert_eq(i, done, "%u overtook", i);
		scsi_assert_good(scsi_answer_at(&f, at[i]));
		done++;
	}
	return done;
}

static void advance(uint64_t ms)
{
	fake_env_advance(&f.fake, ms * NS_PER_MS);
}

static int throttle(const char *options, struct vmm_error *err)
{
	return device_action(f.disk_dev, "throttle", options, NULL, err);
}

Test(virtio_scsi_throttle, commands_wait_for_the_limit_in_order)
{
	start("iops=10,iops-burst=4");
	add_reads(12);
	cr_assert_eq(answered(12), 4u);
	for (unsigned done = 4; done < 12; done++) {
		advance(50);
		cr_assert_eq(answered(12), done);
		advance(51);
		cr_assert_eq(answered(12), done + 1);
	}
}

Test(virtio_scsi_throttle, bytes_wait_for_the_limit)
{
	start("bps=40960,bps-burst=1");
	add_reads(3);
	/* One that is larger than the bucket begins, and is paid for. */
	cr_assert_eq(answered(3), 1u);
	advance(95);
	cr_assert_eq(answered(3), 1u);
	advance(10);
	cr_assert_eq(answered(3), 2u);
}

Test(virtio_scsi_throttle, other_units_do_not_wait)
{
	struct device *dev;
	gpa_t other[20];

	scsi_init(&f, NULL, "iops=1,iops-burst=1");
	dev = scsi_add_disk(&f, "other", "target=1");
	scsi_start(&f, 1);
	scsi_do(&f, &(struct scsi_ask){.cdb = {SCSI_TEST_UNIT_READY}, .target = 1});
	for (unsigned i = 0; i < 20; i++) {
		at[i] = add_read(0, i);
		other[i] = add_read(1, i);
	}
	scsi_kick(&f, 0);
	for (unsigned i = 0; i < 21; i++)
		virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
	for (unsigned i = 0; i < 20; i++)
		scsi_assert_good(scsi_answer_at(&f, other[i]));
	cr_assert_eq(answered(20), 1u);
	fake_env_remove(dev);
}

Test(virtio_scsi_throttle, questions_about_the_unit_cost_nothing)
{
	start("iops=1,iops-burst=1");
	for (int i = 0; i < 50; i++)
		scsi_assert_good(scsi_do(&f, &(struct scsi_ask){.cdb = {SCSI_TEST_UNIT_READY}}));
	add_reads(2);
	cr_assert_eq(answered(2), 1u);
}

/* WRITE SAME of what is not zeroes begins anew, alone on the unit. */
Test(virtio_scsi_throttle, command_that_begins_anew_is_paid_once)
{
	struct scsi_ask ask = scsi_rw16(SCSI_WRITE_SAME_16, 0, 4);
	uint8_t block[512] = {1};

	start("iops=10,iops-burst=2");
	scsi_assert_good(scsi_put(&f, ask, block, sizeof(block)));
	add_reads(2);
	cr_assert_eq(answered(2), 1u);
	advance(101);
	cr_assert_eq(answered(2), 2u);
}

Test(virtio_scsi_throttle, waiting_command_is_aborted_at_once)
{
	gpa_t done;

	start("iops=1,iops-burst=1");
	add_reads(3);
	cr_assert_eq(answered(3), 1u);
	done = scsi_manage(&f, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(scsi_managed(&f, done), VIRTIO_SCSI_S_OK);
	cr_assert_eq(scsi_answer_at(&f, at[1]).response, VIRTIO_SCSI_S_ABORTED);
	cr_assert_not(scsi_answered(&f, at[2]));
	advance(1001);
	settle();
	scsi_assert_good(scsi_answer_at(&f, at[2]));
}

Test(virtio_scsi_throttle, action_changes_the_limit_at_once)
{
	struct vmm_error err = {0};

	start("iops=1,iops-burst=1");
	add_reads(20);
	cr_assert_eq(answered(20), 1u);
	cr_assert_eq(throttle("iops=10,iops-burst=5", &err), 0, "%s", err.message);
	cr_assert_eq(answered(20), 6u);
	cr_assert_lt(throttle("bps-burst=4", &err), 0);
	cr_assert(strstr(err.message, "bps-burst"), "%s", err.message);
	cr_assert_eq(answered(20), 6u);
	cr_assert_eq(throttle(NULL, &err), 0, "%s", err.message);
	cr_assert_eq(answered(20), 20u);
}

Test(virtio_scsi_throttle, reset_does_not_wait_and_keeps_the_debt)
{
	start("iops=10,iops-burst=1");
	add_reads(5);
	cr_assert_eq(answered(5), 1u);
	virtio_write_status(&f.scsi->vd, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(virtio_read_status(&f.scsi->vd), 0, "the reset waits for the limit");
	cr_assert_eq(f.tap->count, 1u, "a reset is a way around the limit");
	scsi_start(&f, 1);
	add_reads(2);
	cr_assert_eq(answered(2), 0u);
	advance(101);
	cr_assert_eq(answered(2), 1u);
	advance(101);
	cr_assert_eq(answered(2), 2u);
}

Test(virtio_scsi_throttle, quiesce_does_not_wait_for_the_limit)
{
	start("iops=1,iops-burst=1");
	add_reads(3);
	cr_assert_eq(answered(3), 1u);
	device_quiesce_wait(f.dev);
	cr_assert_eq(f.tap->count, 1u);
	/* The driver sends them again. */
	cr_assert_eq(scsi_answer_at(&f, at[1]).status, SCSI_STATUS_BUSY);
	cr_assert_eq(scsi_answer_at(&f, at[2]).status, SCSI_STATUS_BUSY);
	virtio_resume(&f.scsi->vd);
	add_reads(1);
	cr_assert_eq(answered(1), 0u);
	advance(1001);
	cr_assert_eq(answered(1), 1u);
}

Test(virtio_scsi_throttle, unit_that_goes_does_not_wait)
{
	start("iops=1,iops-burst=1");
	add_reads(3);
	cr_assert_eq(answered(3), 1u);
	fake_env_remove(f.disk_dev);
	f.disk_dev = NULL;
	fake_env_settle(&f.fake);
	cr_assert_eq(scsi_answer_at(&f, at[1]).status, SCSI_STATUS_BUSY);
	cr_assert_eq(scsi_answer_at(&f, at[2]).status, SCSI_STATUS_BUSY);
	advance(10000);
}

Test(virtio_scsi_throttle, queue_reset_does_not_wait)
{
	start("iops=1,iops-burst=1");
	add_reads(3);
	cr_assert_eq(answered(3), 1u);
	virtio_queue_reset(&f.scsi->vd, VIRTIO_SCSI_REQUEST);
	cr_assert(virtio_queue_resetting(&f.scsi->vd, VIRTIO_SCSI_REQUEST));
	fake_env_settle(&f.fake);
	cr_assert_not(virtio_queue_resetting(&f.scsi->vd, VIRTIO_SCSI_REQUEST));
}

/* Those behind a command that is alone on the unit have not come to the limit yet. */
Test(virtio_scsi_throttle, queue_reset_does_not_wait_behind_an_ordered_task)
{
	start("iops=1,iops-burst=2");
	f.tap->hold = true;
	add_task(0, 100, VIRTIO_SCSI_S_ORDERED);
	add_reads(4);
	virtio_queue_reset(&f.scsi->vd, VIRTIO_SCSI_REQUEST);
	fake_env_settle(&f.fake);
	cr_assert(virtio_queue_resetting(&f.scsi->vd, VIRTIO_SCSI_REQUEST));
	blk_tap_release(f.tap);
	settle();
	cr_assert_not(virtio_queue_resetting(&f.scsi->vd, VIRTIO_SCSI_REQUEST));
}

Test(virtio_scsi_throttle, burst_without_a_rate_is_refused)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;

	start(NULL);
	cr_assert_lt(device_create(&dev, &scsi_cd_class.device, "cd", "target=3,iops-burst=3",
				   &f.fake.env, &err),
		     0);
	cr_assert(strstr(err.message, "iops-burst"), "%s", err.message);
}
