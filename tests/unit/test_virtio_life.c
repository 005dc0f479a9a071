/* SPDX-License-Identifier: MIT */
/*
 * What all virtio devices have in common: broken drivers, reset, saved state, threads.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/toy_fixture.h"

TestSuite(virtio_life, .init = toy_setup, .fini = toy_teardown, .timeout = 30);
TestSuite(virtio_life_packed, .init = toy_setup_packed, .fini = toy_teardown, .timeout = 30);

/* ---- NEEDS_RESET ---- */

TEST_BOTH(virtio_life, broken_device_tells_its_driver_once)
{
	virtio_driver_start(&driver, 0, 2);
	break_queue(0);
	cr_assert(virtio_driver_broken(&driver));
	break_queue(0);
	break_queue(1);
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_eq(driver.config_interrupts, 1u);
	cr_assert(strstr(fake.last_log, "queue 0"), "%s", fake.last_log);
}

TEST_BOTH(virtio_life, broken_queue_stops_all_queues_until_reset)
{
	virtio_driver_start(&driver, 0, 2);
	break_queue(0);
	cr_assert(virtio_driver_broken(&driver));
	add_echo(1);
	virtio_driver_kick(&driver, 1);
	fake_env_settle(&fake);
	cr_assert_not(driver_ring_has_used(&driver.rings[1]));
	virtio_driver_start(&driver, 0, 2);
	cr_assert_not(virtio_driver_broken(&driver));
	add_echo(1);
	virtio_driver_kick(&driver, 1);
	cr_assert_eq(virtio_driver_wait(&driver, 1, NULL), 16u);
}

/* ---- reset ---- */

static void start_and_hold(void)
{
	virtio_driver_start(&driver, 0, 1);
	toy->hold = true;
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert(toy->held);
}

TEST_BOTH(virtio_life, status_reads_0_only_once_nothing_is_in_flight)
{
	start_and_hold();
	driver.ops->set_status(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_neq(virtio_read_status(vd), 0);
	toy_release(toy);
	cr_assert_eq(virtio_read_status(vd), 0);
	cr_assert_eq(toy->resets, 1u);
	cr_assert_eq(driver.resets, 2u);
	fake_env_settle(&fake);
}

Test(virtio_life, writes_while_resetting_are_ignored)
{
	start_and_hold();
	driver.ops->set_status(&driver, 0);
	fake_env_settle(&fake);
	driver.ops->set_status(&driver, 0);
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER);
	driver.ops->set_features(&driver, 0);
	virtio_write_config(vd, 0, "x", 1);
	virtio_queue_set_size(vd, 1, 2);
	virtio_queue_enable(vd, 1);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_eq(toy->drains, 1u);
	toy_release(toy);
	fake_env_settle(&fake);
	cr_assert_eq(virtio_read_status(vd), 0);
	cr_assert_eq(toy->resets, 1u);
	cr_assert_eq(virtio_queue_size(vd, 1), TOY_QUEUE_SIZE);
	virtio_driver_start(&driver, 0, 1);
}

TEST_BOTH(virtio_life, no_chain_is_taken_while_resetting)
{
	unsigned chains;

	start_and_hold();
	chains = toy->chains;
	driver.ops->set_status(&driver, 0);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_eq(toy->chains, chains);
}

Test(virtio_life, reset_before_features_ok_is_immediate)
{
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER);
	driver.ops->set_status(&driver, 0);
	cr_assert_eq(virtio_read_status(vd), 0);
	cr_assert_eq(toy->drains, 0u);
}

static void count_call(struct device *d UNUSED, void *arg)
{
	++*(unsigned *)arg;
}

TEST_BOTH(virtio_life, system_reset_during_a_driver_reset_does_both_once)
{
	unsigned quiesced = 0;

	start_and_hold();
	driver.ops->set_status(&driver, 0);
	fake_env_settle(&fake);
	device_quiesce(dev, count_call, &quiesced);
	cr_assert_eq(quiesced, 0u);
	toy_release(toy);
	cr_assert_eq(quiesced, 1u);
	cr_assert_eq(toy->drains, 1u);
	device_reset(dev);
	cr_assert_eq(virtio_read_status(vd), 0);
	virtio_driver_start(&driver, 0, 1);
	toy->hold = false;
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
}

TEST_BOTH(virtio_life, quiesced_device_starts_nothing_until_it_is_resumed)
{
	virtio_driver_start(&driver, 0, 1);
	device_quiesce_wait(dev);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_eq(toy->chains, 0u);
	virtio_resume(vd);
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
}

Test(virtio_life, reset_forgets_queues_and_features)
{
	virtio_driver_start(&driver, UINT64_C(1) << TOY_FEATURE, 2);
	virtio_driver_reset(&driver);
	cr_assert_eq(vd->driver_features, 0u);
	for (unsigned q = 0; q < 2; q++) {
		cr_assert_not(virtio_queue_enabled(vd, q));
		cr_assert_eq(virtio_queue_address(vd, q, VIRTIO_QUEUE_DEVICE), 0u);
		cr_assert_eq(virtio_queue_size(vd, q), TOY_QUEUE_SIZE);
	}
}

/* ---- saved state ---- */

TEST_BOTH(virtio_life, queues_go_on_in_a_loaded_device)
{
	void *data;
	size_t len;

	virtio_driver_start(&driver, UINT64_C(1) << TOY_FEATURE, 1);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	virtio_driver_wait(&driver, 0, NULL);
	len = fake_env_save(dev, &data);
	fake_env_remove(dev);

	dev = fake_env_device(&fake, &toy_class.device, "packed=on");
	driver.vd = vd = virtio_device(dev);
	toy = toy_of(dev);
	vd->transport = &driver.transport;
	/* Added while nobody looked: no doorbell will come. */
	add_echo(0);
	cr_assert_eq(fake_env_load(dev, data, len), 0);
	cr_assert(virtio_has(vd, TOY_FEATURE));
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
	cr_assert_eq(toy->activations, 1u);
	cr_assert_eq(toy->chains, 1u);
	free(data);
}

TEST_BOTH(virtio_life, state_that_no_driver_could_bring_about_is_refused)
{
	static const struct {
		const char *field;
		uint8_t value;
	} bad[] = {
		{"status", ACKNOWLEDGE | DRIVER | DRIVER_OK}, /* without FEATURES_OK */
		{"status", 0x10},                             /* a bit that means nothing */
		{"driver_features", 0x80},                    /* not offered; no VERSION_1 */
		{"queues", TOY_QUEUES + 1},
		{"size", TOY_QUEUE_SIZE + 1},
		{"desc", 1},
		{"next_avail", TOY_QUEUE_SIZE}, /* packed */
		{"next_used", TOY_QUEUE_SIZE},
	};
	size_t count = ARRAY_SIZE(bad) - (driver.always ? 0 : 2);

	virtio_driver_start(&driver, 0, 1);
	for (size_t i = 0; i < count; i++) {
		uint64_t value = bad[i].value;
		size_t len, namelen = strlen(bad[i].field);
		uint8_t *data, *at;

		len = fake_env_save(dev, (void **)&data);
		at = memmem(data, len, bad[i].field, namelen);
		cr_assert(at);
		memcpy(at + namelen, &value, sizeof(value));
		cr_assert_neq(fake_env_load(dev, data, len), 0, "%s = %u", bad[i].field,
			      bad[i].value);
		cr_assert_eq(vd->driver_features, VERSION_1 | driver.always, "not as it was");
		cr_assert(virtio_queue_enabled(vd, 0));
		free(data);
	}
}

/* ---- threads ---- */

TEST_BOTH(virtio_life, driver_on_another_thread_than_the_loop)
{
	struct vmm_error err;

	cr_assert_eq(loop_start(fake.env.loop, &err), 0, "%s", err.message);
	for (unsigned round = 0; round < 50; round++) {
		virtio_write_status(vd, 0);
		while (virtio_read_status(vd))
			sched_yield();
		cr_assert(virtio_driver_negotiate(&driver, 0));
		driver.next = gpa(MIB);
		virtio_driver_queue(&driver, 0, 0);
		virtio_driver_ok(&driver);
		for (unsigned i = 0; i < 20; i++) {
			uint32_t id, len;

			add_echo(0);
			virtio_driver_kick(&driver, 0);
			while (!driver_ring_used(&driver.rings[0], &id, &len))
				sched_yield();
		}
	}
	device_quiesce_wait(dev);
	loop_join(fake.env.loop);
}
