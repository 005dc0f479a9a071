/* SPDX-License-Identifier: MIT */
/*
 * Reset of one queue while the device works (virtio 1.2, section 2.6.1).
 */
#include <stdlib.h>

#include "tests/unit/support/toy_fixture.h"

#define RING_RESET (UINT64_C(1) << VIRTIO_F_RING_RESET)

TestSuite(queue_reset, .init = toy_setup, .fini = toy_teardown, .timeout = 30);
TestSuite(queue_reset_packed, .init = toy_setup_packed, .fini = toy_teardown, .timeout = 30);

static void expect_echo(unsigned queue)
{
	add_echo(queue);
	virtio_driver_kick(&driver, queue);
	cr_assert_eq(virtio_driver_wait(&driver, queue, NULL), 16u);
}

/* A chain of queue 0 stays in flight. */
static void hold_one(void)
{
	toy->hold = true;
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert(toy->held);
}

TEST_BOTH(queue_reset, queue_is_as_new_and_works_with_another_size)
{
	virtio_driver_start(&driver, RING_RESET, 2);
	expect_echo(0);
	for (unsigned round = 0; round < 3; round++) {
		virtio_queue_reset(vd, 0);
		cr_assert(virtio_queue_resetting(vd, 0));
		fake_env_settle(&fake);
		cr_assert_not(virtio_queue_resetting(vd, 0));
		cr_assert_not(virtio_queue_enabled(vd, 0));
		cr_assert_eq(virtio_queue_size(vd, 0), TOY_QUEUE_SIZE);
		cr_assert_eq(virtio_queue_address(vd, 0, VIRTIO_QUEUE_DESC), 0u);
		cr_assert_eq(driver.queue_resets, round + 1);
		expect_echo(1);
		virtio_driver_queue(&driver, 0, 8);
		cr_assert(virtio_queue_enabled(vd, 0));
		expect_echo(0);
		expect_echo(0);
	}
	cr_assert_eq(toy->activations, 1u);
	cr_assert_eq(driver.resets, 1u, "the device was reset");
	cr_assert_not(virtio_driver_broken(&driver));
}

TEST_BOTH(queue_reset, chain_that_waits_when_the_queue_is_enabled_anew_needs_no_doorbell)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	virtio_queue_reset(vd, 0);
	fake_env_settle(&fake);
	virtio_driver_queue(&driver, 0, 0);
	add_echo(0);
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
}

TEST_BOTH(queue_reset, chains_in_flight_are_waited_for)
{
	unsigned chains;

	virtio_driver_start(&driver, RING_RESET, 2);
	hold_one();
	chains = toy->chains;
	virtio_queue_reset(vd, 0);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert(virtio_queue_resetting(vd, 0));
	cr_assert(virtio_queue_enabled(vd, 0), "2.6.1.1: until it is complete");
	cr_assert_eq(toy->chains, chains, "a chain is taken meanwhile");
	cr_assert_eq(toy->queue_drains, 1u);
	/* The other queue goes on. */
	expect_echo(1);
	toy_release(toy);
	fake_env_settle(&fake);
	cr_assert_not(virtio_queue_resetting(vd, 0));
	cr_assert_not(virtio_queue_enabled(vd, 0));
	toy->hold = false;
	virtio_driver_queue(&driver, 0, 0);
	expect_echo(0);
}

TEST_BOTH(queue_reset, chain_that_is_done_is_seen_by_the_driver)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	hold_one();
	toy_release(toy);
	/* Before the end of the batch that would publish it. */
	virtio_queue_reset(vd, 0);
	fake_env_settle(&fake);
	cr_assert_not(virtio_queue_resetting(vd, 0));
	cr_assert(driver_ring_has_used(&driver.rings[0]));
	cr_assert_eq(driver.queue_interrupts[0], 1u);
}

TEST_BOTH(queue_reset, chains_that_only_the_class_holds_are_given_back)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	toy->give_back = true;
	hold_one();
	virtio_queue_reset(vd, 0);
	fake_env_settle(&fake);
	cr_assert_eq(toy->queue_drains, 1u);
	cr_assert_not(virtio_queue_resetting(vd, 0));
}

TEST_BOTH(queue_reset, second_request_changes_nothing)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	hold_one();
	for (unsigned i = 0; i < 3; i++) {
		virtio_queue_reset(vd, 0);
		/* 2.6.1.2: not before the reset is complete. */
		virtio_queue_enable(vd, 0);
		fake_env_settle(&fake);
	}
	cr_assert_eq(toy->queue_drains, 1u);
	toy_release(toy);
	fake_env_settle(&fake);
	cr_assert_eq(driver.queue_resets, 1u);
}

Test(queue_reset, reset_of_a_queue_without_the_feature_is_ignored)
{
	virtio_driver_start(&driver, 0, 1);
	virtio_queue_reset(vd, 0);
	cr_assert_not(virtio_queue_resetting(vd, 0));
	fake_env_settle(&fake);
	cr_assert(virtio_queue_enabled(vd, 0));
	expect_echo(0);
}

Test(queue_reset, reset_of_a_queue_that_is_not_enabled_is_ignored)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	for (unsigned q = 1; q < 70000; q += 777) {
		virtio_queue_reset(vd, q);
		cr_assert_not(virtio_queue_resetting(vd, q));
	}
	fake_env_settle(&fake);
	cr_assert_eq(driver.queue_resets, 0u);
}

TEST_BOTH(queue_reset, bad_rings_after_a_reset_break_the_device)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	virtio_queue_reset(vd, 0);
	fake_env_settle(&fake);
	virtio_queue_set_address(vd, 0, VIRTIO_QUEUE_DESC, UINT64_MAX, 8);
	virtio_queue_enable(vd, 0);
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_not(virtio_queue_enabled(vd, 0));
}

TEST_BOTH(queue_reset, queue_of_a_broken_device_can_be_reset)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	break_queue(0);
	cr_assert(virtio_driver_broken(&driver));
	virtio_queue_reset(vd, 0);
	fake_env_settle(&fake);
	cr_assert_not(virtio_queue_enabled(vd, 0));
	/* 2.1.2: the device itself still needs one. */
	virtio_driver_queue(&driver, 0, 0);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_not(driver_ring_has_used(&driver.rings[0]));
}

TEST_BOTH(queue_reset, reset_of_the_device_ends_that_of_a_queue)
{
	virtio_driver_start(&driver, RING_RESET, 1);
	hold_one();
	virtio_queue_reset(vd, 0);
	fake_env_settle(&fake);
	driver.ops->set_status(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_neq(virtio_read_status(vd), 0);
	toy_release(toy);
	fake_env_settle(&fake);
	cr_assert_eq(virtio_read_status(vd), 0);
	cr_assert_not(virtio_queue_resetting(vd, 0));
	toy->hold = false;
	virtio_driver_start(&driver, 0, 1);
	expect_echo(0);
}

TEST_BOTH(queue_reset, saved_state_knows_only_complete_resets)
{
	size_t len;
	void *data;

	virtio_driver_start(&driver, RING_RESET, 2);
	device_quiesce_wait(dev);
	/* What a vCPU did last, too late for the loop. */
	virtio_queue_reset(vd, 0);
	len = fake_env_save(dev, &data);
	cr_assert_not(virtio_queue_resetting(vd, 0));
	cr_assert_eq(fake_env_load(dev, data, len), 0);
	fake_env_settle(&fake);
	cr_assert_not(virtio_queue_enabled(vd, 0));
	expect_echo(1);
	virtio_driver_queue(&driver, 0, 0);
	expect_echo(0);
	free(data);
}
