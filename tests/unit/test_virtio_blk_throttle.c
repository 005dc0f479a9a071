/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk under a rate limit: requests wait in the ring, in order, and nothing else changes.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/support/blk_fixture.h"
#include "virtio/virtio_classes.h"

static struct blk_fixture f;

static void teardown(void)
{
	blk_fini(&f);
}

TestSuite(virtio_blk_throttle, .fini = teardown, .timeout = 30);

static void start(const char *options, unsigned queues)
{
	blk_init(&f, options);
	virtio_driver_start(&f.driver, BLK_LINUX | (queues > 1 ? BLK_FEATURE(MQ) : 0), queues);
}

/* Add n reads of `len` to a queue. */
static void add_reads(unsigned queue, unsigned n, uint32_t len)
{
	gpa_t data = virtio_driver_alloc(&f.driver, len);

	for (unsigned i = 0; i < n; i++)
		blk_add(&f, queue, VIRTIO_BLK_T_IN, 0, data, len);
	virtio_driver_kick(&f.driver, queue);
}

/* Wait for what is at the backend, then count the chains that came back. */
static unsigned take_done(unsigned queue)
{
	unsigned n = 0;
	uint32_t id, len;

	fake_env_settle(&f.fake);
	while (f.blk->in_flight)
		loop_turn(f.fake.env.loop, true);
	fake_env_settle(&f.fake);
	while (driver_ring_used(&f.driver.rings[queue], &id, &len))
		n++;
	return n;
}

static int throttle(const char *options, struct vmm_error *err)
{
	return device_action(f.dev, "throttle", options, NULL, err);
}

Test(virtio_blk_throttle, operations_wait_for_the_limit)
{
	unsigned total;

	start("iops=10,iops-burst=4", 1);
	add_reads(0, 20, 512);
	cr_assert_eq(take_done(0), 4u);
	for (total = 4; total < 20; total++) {
		fake_env_advance(&f.fake, 50 * NS_PER_MS);
		cr_assert_eq(take_done(0), 0u);
		fake_env_advance(&f.fake, 51 * NS_PER_MS);
		cr_assert_eq(take_done(0), 1u, "after %u", total);
	}
}

Test(virtio_blk_throttle, bytes_wait_for_the_limit)
{
	start("bps=64K,bps-burst=4K", 1);
	add_reads(0, 8, 8192);
	/* One that is larger than the bucket begins, and is paid for. */
	cr_assert_eq(take_done(0), 1u);
	fake_env_advance(&f.fake, 60 * NS_PER_MS);
	cr_assert_eq(take_done(0), 0u);
	fake_env_advance(&f.fake, 66 * NS_PER_MS);
	cr_assert_eq(take_done(0), 1u);
	for (unsigned i = 2; i < 8; i++) {
		fake_env_advance(&f.fake, 126 * NS_PER_MS);
		cr_assert_eq(take_done(0), 1u);
	}
}

Test(virtio_blk_throttle, requests_keep_their_order)
{
	uint32_t id, len, heads[6];
	gpa_t status[6];

	start("iops=10,iops-burst=1", 1);
	for (unsigned i = 0; i < 6; i++)
		status[i] = blk_add(&f, 0, VIRTIO_BLK_T_IN, 0, virtio_driver_alloc(&f.driver, 512),
				    512);
	virtio_driver_kick(&f.driver, 0);
	for (unsigned i = 0; i < 6; i++) {
		while (!driver_ring_used(&f.driver.rings[0], &id, &len)) {
			fake_env_advance(&f.fake, 101 * NS_PER_MS);
			while (f.blk->in_flight)
				loop_turn(f.fake.env.loop, true);
			fake_env_settle(&f.fake);
		}
		heads[i] = id;
		cr_assert_eq(blk_status(&f, status[i]), VIRTIO_BLK_S_OK);
		for (unsigned later = i + 1; later < 6; later++)
			cr_assert_eq(blk_status(&f, status[later]), 0xff, "%u overtook", later);
	}
	cr_assert_neq(heads[0], heads[1]);
}

Test(virtio_blk_throttle, flush_costs_no_bytes)
{
	start("bps=512,bps-burst=512", 1);
	add_reads(0, 1, 512);
	cr_assert_eq(take_done(0), 1u);
	fake_env_advance(&f.fake, NS_PER_SEC);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, gpa(0), 0, NULL), VIRTIO_BLK_S_OK);
}

Test(virtio_blk_throttle, no_queue_starves_another)
{
	unsigned done[3] = {0};

	start("queues=3,iops=100,iops-burst=1", 3);
	for (unsigned q = 0; q < 3; q++)
		add_reads(q, 60, 512);
	for (unsigned i = 0; i < 90; i++) {
		for (unsigned q = 0; q < 3; q++) {
			done[q] += take_done(q);
			/* A driver that keeps ringing does not get ahead. */
			virtio_driver_kick(&f.driver, 0);
		}
		fake_env_advance(&f.fake, 10 * NS_PER_MS + 1);
	}
	for (unsigned q = 0; q < 3; q++)
		cr_assert(done[q] >= 25 && done[q] <= 35, "queue %u: %u of %u", q, done[q],
			  done[0] + done[1] + done[2]);
}

Test(virtio_blk_throttle, waiting_driver_costs_no_doorbells)
{
	start("iops=10,iops-burst=1", 1);
	add_reads(0, 3, 512);
	cr_assert_eq(take_done(0), 1u);
	cr_assert(driver_ring_used_flags(&f.driver.rings[0]) & VRING_USED_F_NO_NOTIFY);
	fake_env_advance(&f.fake, NS_PER_SEC);
	fake_env_advance(&f.fake, NS_PER_SEC);
	cr_assert_eq(take_done(0), 2u);
	fake_env_advance(&f.fake, NS_PER_SEC);
	cr_assert_not(driver_ring_used_flags(&f.driver.rings[0]) & VRING_USED_F_NO_NOTIFY);
}

Test(virtio_blk_throttle, action_changes_the_limit_at_once)
{
	struct vmm_error err = {0};

	start("iops=1,iops-burst=1", 1);
	add_reads(0, 20, 512);
	cr_assert_eq(take_done(0), 1u);
	cr_assert_eq(throttle("iops=10,iops-burst=5", &err), 0, "%s", err.message);
	cr_assert_eq(take_done(0), 5u);
	cr_assert_lt(throttle("bps-burst=4", &err), 0);
	cr_assert(strstr(err.message, "bps-burst"), "%s", err.message);
	cr_assert_eq(take_done(0), 0u);
	cr_assert_eq(throttle(NULL, &err), 0, "%s", err.message);
	cr_assert_eq(take_done(0), 14u);
}

Test(virtio_blk_throttle, burst_without_a_rate_is_refused)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;
	char options[128];

	blk_init(&f, NULL);
	snprintf(options, sizeof(options), "path=%s,readonly=on,iops-burst=3", f.path);
	fake_env_remove(f.dev);
	cr_assert_lt(
		device_create(&dev, &virtio_blk_class.device, NULL, options, &f.fake.env, &err), 0);
	cr_assert(strstr(err.message, "iops-burst"), "%s", err.message);
	blk_create(&f, NULL);
}

Test(virtio_blk_throttle, reset_with_waiting_requests_drops_them_and_keeps_the_debt)
{
	start("iops=10,iops-burst=1", 1);
	add_reads(0, 5, 512);
	cr_assert_eq(take_done(0), 1u);
	virtio_driver_start(&f.driver, BLK_LINUX, 1);
	add_reads(0, 2, 512);
	cr_assert_eq(take_done(0), 0u, "a reset is a way around the limit");
	fake_env_advance(&f.fake, 101 * NS_PER_MS);
	cr_assert_eq(take_done(0), 1u);
	fake_env_advance(&f.fake, 101 * NS_PER_MS);
	cr_assert_eq(take_done(0), 1u);
}

Test(virtio_blk_throttle, quiesce_does_not_wait_for_the_limit_and_resume_goes_on)
{
	start("iops=1,iops-burst=1", 1);
	add_reads(0, 2, 512);
	cr_assert_eq(take_done(0), 1u);
	device_quiesce_wait(f.dev);
	fake_env_advance(&f.fake, 10 * NS_PER_SEC);
	cr_assert_eq(take_done(0), 0u, "works while it is stopped");
	virtio_resume(&f.blk->vd);
	cr_assert_eq(take_done(0), 1u);
}
