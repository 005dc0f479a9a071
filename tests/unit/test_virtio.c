/* SPDX-License-Identifier: MIT */
/*
 * What all virtio devices have in common: status, features, queues, doorbells, configuration space.
 */
#include <string.h>

#include "tests/unit/support/toy_fixture.h"

TestSuite(virtio, .init = toy_setup, .fini = toy_teardown, .timeout = 30);
TestSuite(virtio_packed, .init = toy_setup_packed, .fini = toy_teardown, .timeout = 30);

/* ---- status and features ---- */

TEST_BOTH(virtio, driver_that_follows_the_rules_gets_its_chains_back)
{
	virtio_driver_start(&driver, 0, 2);
	cr_assert_eq(toy->features_set, 1u);
	cr_assert_eq(toy->activations, 1u);
	for (unsigned q = 0; q < 2; q++) {
		add_echo(q);
		virtio_driver_kick(&driver, q);
		cr_assert_eq(virtio_driver_wait(&driver, q, NULL), 16u);
		cr_assert_eq(driver.queue_interrupts[q], 1u);
	}
}

Test(virtio, unoffered_feature_is_refused)
{
	cr_assert_not(virtio_driver_negotiate(&driver, UINT64_C(1) << 6));
	cr_assert_eq(toy->features_set, 0u);
	/* A driver may think again. */
	cr_assert(virtio_driver_negotiate(&driver, UINT64_C(1) << TOY_FEATURE));
	cr_assert(virtio_has(vd, TOY_FEATURE));
}

Test(virtio, features_of_the_transport_are_as_the_options_say)
{
	const uint64_t all = VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
			     UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
			     UINT64_C(1) << VIRTIO_F_RING_PACKED |
			     UINT64_C(1) << VIRTIO_F_RING_RESET | UINT64_C(1) << TOY_FEATURE;

	cr_assert_eq(virtio_offered(vd), all);
	fake_env_remove(dev);
	dev = fake_env_device(&fake, &toy_class.device, "notification-data=on");
	vd = virtio_device(dev);
	toy = toy_of(dev);
	cr_assert_eq(virtio_offered(vd), (all & ~(UINT64_C(1) << VIRTIO_F_RING_PACKED)) |
						 UINT64_C(1) << VIRTIO_F_NOTIFICATION_DATA);
}

Test(virtio, access_platform_is_not_offered)
{
	cr_assert_not(virtio_offered(vd) >> VIRTIO_F_ACCESS_PLATFORM & 1);
	cr_assert_not(virtio_driver_negotiate(&driver, UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM));
}

Test(virtio, feature_above_63_is_refused)
{
	virtio_write_driver_features(vd, 2, 1);
	cr_assert_not(virtio_driver_negotiate(&driver, 0));
	virtio_driver_reset(&driver);
	virtio_write_driver_features(vd, 3, 0);
	cr_assert(virtio_driver_negotiate(&driver, 0));
}

Test(virtio, driver_without_version_1_is_refused)
{
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER);
	driver.ops->set_features(&driver, UINT64_C(1) << TOY_FEATURE);
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	cr_assert_eq(virtio_read_status(vd), ACKNOWLEDGE | DRIVER);
}

Test(virtio, features_are_frozen_after_features_ok)
{
	cr_assert(virtio_driver_negotiate(&driver, 0));
	driver.ops->set_features(&driver, UINT64_MAX);
	cr_assert_eq(vd->driver_features, VERSION_1);
}

Test(virtio, features_ok_needs_a_driver)
{
	driver.ops->set_features(&driver, VERSION_1);
	driver.ops->set_status(&driver, FEATURES_OK);
	cr_assert_eq(virtio_read_status(vd), 0);
}

Test(virtio, driver_ok_needs_features_ok)
{
	driver.ops->set_features(&driver, VERSION_1);
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER | DRIVER_OK);
	cr_assert_eq(virtio_read_status(vd), ACKNOWLEDGE | DRIVER);
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	cr_assert_eq(virtio_read_status(vd), ACKNOWLEDGE | DRIVER | FEATURES_OK);
	fake_env_settle(&fake);
	cr_assert_eq(toy->activations, 0u);
}

Test(virtio, driver_cannot_clear_or_invent_status_bits)
{
	cr_assert(virtio_driver_negotiate(&driver, 0));
	driver.ops->set_status(&driver, ACKNOWLEDGE);
	cr_assert_eq(virtio_read_status(vd), ACKNOWLEDGE | DRIVER | FEATURES_OK);
	driver.ops->set_status(&driver, 0x30 | NEEDS_RESET);
	cr_assert_eq(virtio_read_status(vd), ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

Test(virtio, second_driver_ok_activates_nothing_again)
{
	virtio_driver_start(&driver, 0, 1);
	driver.ops->set_status(&driver, virtio_read_status(vd));
	fake_env_settle(&fake);
	cr_assert_eq(toy->activations, 1u);
}

/* ---- queues ---- */

Test(virtio, queue_enabled_before_features_ok_stays_off)
{
	virtio_driver_queue(&driver, 0, 0);
	cr_assert_not(virtio_queue_enabled(vd, 0));
}

Test(virtio, queue_enabled_after_driver_ok_stays_off)
{
	virtio_driver_start(&driver, 0, 1);
	virtio_driver_queue(&driver, 1, 0);
	cr_assert_not(virtio_queue_enabled(vd, 1));
	virtio_driver_kick(&driver, 1);
	cr_assert_not(virtio_driver_broken(&driver));
}

Test(virtio, queue_that_does_not_exist_is_harmless)
{
	cr_assert(virtio_driver_negotiate(&driver, 0));
	for (unsigned q = TOY_QUEUES; q < 70000; q += 999) {
		virtio_queue_set_size(vd, q, 4);
		virtio_queue_set_address(vd, q, VIRTIO_QUEUE_DESC, UINT64_MAX, MIB);
		virtio_queue_enable(vd, q);
		virtio_queue_ring(vd, q);
		cr_assert_eq(virtio_queue_size(vd, q), 0u);
		cr_assert_eq(virtio_queue_address(vd, q, VIRTIO_QUEUE_DESC), 0u);
		cr_assert_not(virtio_queue_enabled(vd, q));
	}
	cr_assert_not(virtio_driver_broken(&driver));
}

TEST_BOTH(virtio, enabled_queue_keeps_its_place)
{
	virtio_driver_start(&driver, 0, 1);
	virtio_queue_set_size(vd, 0, 2);
	virtio_queue_set_address(vd, 0, VIRTIO_QUEUE_DESC, UINT64_MAX, 0);
	cr_assert_eq(virtio_queue_size(vd, 0), TOY_QUEUE_SIZE);
	cr_assert_eq(virtio_queue_address(vd, 0, VIRTIO_QUEUE_DESC), driver.rings[0].layout.desc.v);
}

TEST_BOTH(virtio, smaller_queue_than_offered_works)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 2);
	virtio_driver_ok(&driver);
	for (unsigned i = 0; i < 10; i++) {
		add_echo(0);
		virtio_driver_kick(&driver, 0);
		cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
	}
}

TEST_BOTH(virtio, queue_larger_than_offered_breaks_the_device)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 2 * TOY_QUEUE_SIZE);
	cr_assert_not(virtio_queue_enabled(vd, 0));
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_eq(driver.config_interrupts, 0u, "2.1.2: not before DRIVER_OK");
}

/* ---- doorbells ---- */

TEST_BOTH(virtio, doorbell_before_activation_is_not_lost)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 0);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_eq(toy->kicks, 0u, "a kick before DRIVER_OK");
	virtio_driver_ok(&driver);
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
}

TEST_BOTH(virtio, doorbell_between_driver_ok_and_activation_is_not_lost)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 0);
	virtio_driver_ok(&driver);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
}

Test(virtio, doorbell_of_the_time_before_a_reset_does_not_ring_after_it)
{
	virtio_driver_start(&driver, 0, 1);
	virtio_driver_kick(&driver, 0);
	virtio_driver_reset(&driver);
	toy->kicks = 0;
	cr_assert(virtio_driver_negotiate(&driver, 0));
	fake_env_settle(&fake);
	cr_assert_eq(toy->kicks, 0u);
}

TEST_BOTH(virtio, chains_of_one_batch_give_one_interrupt)
{
	virtio_driver_start(&driver, 0, 1);
	for (unsigned i = 0; i < 8; i++)
		add_echo(0);
	virtio_driver_kick(&driver, 0);
	for (unsigned i = 0; i < 8; i++)
		virtio_driver_wait(&driver, 0, NULL);
	cr_assert_eq(driver.queue_interrupts[0], 1u);
}

/* What a second vCPU does that never stops: it offers a head as soon as the device is through. */
static void offer_again(struct toy *t)
{
	driver_ring_offer(&driver.rings[0], t->chains & 1);
}

Test(virtio, driver_that_never_stops_does_not_hold_the_loop)
{
	virtio_driver_start(&driver, 0, 1);
	driver_ring_desc(&driver.rings[0], 0, MIB, 1, 0, 0);
	driver_ring_desc(&driver.rings[0], 1, MIB, 1, 0, 0);
	toy->hook = offer_again;
	driver_ring_offer(&driver.rings[0], 0);
	virtio_driver_kick(&driver, 0);
	for (unsigned i = 0; i < 20; i++) {
		unsigned before = toy->chains;

		loop_turn(fake.env.loop, false);
		cr_assert_leq(toy->chains - before, 2u * TOY_QUEUE_SIZE);
		cr_assert_gt(toy->chains, before, "its turn never comes");
	}
	toy->hook = NULL;
	fake_env_settle(&fake);
}

/* ---- configuration space ---- */

Test(virtio, configuration_space_ends_where_it_ends)
{
	uint8_t buf[8];

	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_write_config(vd, 4, "abcdefgh", 8);
	virtio_write_config(vd, TOY_CONFIG_SIZE, "abcdefgh", 8);
	virtio_write_config(vd, 0xfffffff0, "abcdefgh", 8);
	memset(buf, 0xff, sizeof(buf));
	virtio_read_config(vd, 4, buf, 8);
	cr_assert_eq(memcmp(buf, "ab\0\0\0\0\0\0", 8), 0);
	virtio_read_config(vd, 0xfffffff0, buf, 8);
	cr_assert_eq(memcmp(buf, "\0\0\0\0\0\0\0\0", 8), 0);
}

Test(virtio, configuration_space_is_read_only_before_features_ok)
{
	virtio_write_config(vd, 0, "x", 1);
	cr_assert_eq(toy->config[0], 0);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_write_config(vd, 0, "x", 1);
	cr_assert_eq(toy->config[0], 'x');
}

Test(virtio, changed_configuration_has_a_new_generation_and_an_interrupt)
{
	uint8_t generation;

	virtio_driver_start(&driver, 0, 1);
	generation = virtio_read_generation(vd);
	device_lock(dev);
	virtio_config_changed(vd);
	device_unlock(dev);
	cr_assert_neq(virtio_read_generation(vd), generation);
	cr_assert_eq(driver.config_interrupts, 1u);
}
