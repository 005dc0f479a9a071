/* SPDX-License-Identifier: MIT */
/*
 * What all virtio devices have in common: status, features, reset, doorbells, configuration space.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/virtio_driver.h"
#include "tests/unit/support/virtio_toy.h"

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)

static struct fake_env fake;
static struct device *dev;
static struct virtio_device *vd;
static struct toy *toy;
static struct virtio_driver driver;

static void setup(void)
{
	fake_env_init(&fake, 16 * MIB);
	dev = fake_env_device(&fake, &toy_class.device, NULL);
	vd = virtio_device(dev);
	toy = toy_of(dev);
	virtio_driver_init(&driver, &fake, vd, gpa(MIB));
}

static void teardown(void)
{
	if (toy->held)
		toy_release(toy);
	fake_env_remove(dev);
	fake_env_fini(&fake);
}

TestSuite(virtio, .init = setup, .fini = teardown, .timeout = 30);

static void add_echo(unsigned queue)
{
	struct driver_buffer b[2] = {{virtio_driver_alloc(&driver, 16), 16, false},
				     {virtio_driver_alloc(&driver, 16), 16, true}};

	driver_ring_add(&driver.rings[queue], b, 2);
}

static void break_queue(unsigned queue)
{
	driver_ring_set_avail(&driver.rings[queue], 1000);
	virtio_driver_kick(&driver, queue);
}

/* ---- status and features ---- */

Test(virtio, driver_that_follows_the_rules_gets_its_chains_back)
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

Test(virtio, enabled_queue_keeps_its_place)
{
	virtio_driver_start(&driver, 0, 1);
	virtio_queue_set_size(vd, 0, 2);
	virtio_queue_set_address(vd, 0, VIRTIO_QUEUE_DESC, UINT64_MAX, 0);
	cr_assert_eq(virtio_queue_size(vd, 0), TOY_QUEUE_SIZE);
	cr_assert_eq(virtio_queue_address(vd, 0, VIRTIO_QUEUE_DESC), driver.rings[0].layout.desc.v);
}

Test(virtio, smaller_queue_than_offered_works)
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

Test(virtio, queue_larger_than_offered_breaks_the_device)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 2 * TOY_QUEUE_SIZE);
	cr_assert_not(virtio_queue_enabled(vd, 0));
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_eq(driver.config_interrupts, 0u, "2.1.2: not before DRIVER_OK");
}

/* ---- doorbells ---- */

Test(virtio, doorbell_before_activation_is_not_lost)
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

Test(virtio, doorbell_between_driver_ok_and_activation_is_not_lost)
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

Test(virtio, chains_of_one_batch_give_one_interrupt)
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

/* ---- NEEDS_RESET ---- */

Test(virtio, broken_device_tells_its_driver_once)
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

Test(virtio, broken_queue_stops_all_queues_until_reset)
{
	virtio_driver_start(&driver, 0, 2);
	break_queue(0);
	cr_assert(virtio_driver_broken(&driver));
	add_echo(1);
	virtio_driver_kick(&driver, 1);
	fake_env_settle(&fake);
	cr_assert_eq(driver_ring_used_idx(&driver.rings[1]), 0u);
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

Test(virtio, status_reads_0_only_once_nothing_is_in_flight)
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

Test(virtio, writes_while_resetting_are_ignored)
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

Test(virtio, no_chain_is_taken_while_resetting)
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

Test(virtio, reset_before_features_ok_is_immediate)
{
	driver.ops->set_status(&driver, ACKNOWLEDGE | DRIVER);
	driver.ops->set_status(&driver, 0);
	cr_assert_eq(virtio_read_status(vd), 0);
	cr_assert_eq(toy->drains, 0u);
}

Test(virtio, system_reset_during_a_driver_reset_does_both_once)
{
	start_and_hold();
	driver.ops->set_status(&driver, 0);
	fake_env_settle(&fake);
	device_quiesce(dev, NULL, NULL);
	toy_release(toy);
	device_quiesce_wait(dev);
	device_reset(dev);
	cr_assert_eq(virtio_read_status(vd), 0);
	virtio_driver_start(&driver, 0, 1);
	toy->hold = false;
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(virtio_driver_wait(&driver, 0, NULL), 16u);
}

Test(virtio, quiesced_device_starts_nothing_until_it_is_resumed)
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

Test(virtio, reset_forgets_queues_and_features)
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

/* ---- saved state ---- */

Test(virtio, queues_go_on_in_a_loaded_device)
{
	void *data;
	size_t len;

	virtio_driver_start(&driver, UINT64_C(1) << TOY_FEATURE, 1);
	add_echo(0);
	virtio_driver_kick(&driver, 0);
	virtio_driver_wait(&driver, 0, NULL);
	len = fake_env_save(dev, &data);
	fake_env_remove(dev);

	dev = fake_env_device(&fake, &toy_class.device, NULL);
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

Test(virtio, state_that_no_driver_could_bring_about_is_refused)
{
	static const struct {
		const char *field;
		uint8_t value;
	} bad[] = {
		{"status", ACKNOWLEDGE | DRIVER | DRIVER_OK}, /* without FEATURES_OK */
		{"status", 0x10},                             /* a bit that means nothing */
		{"driver_features", 0x80},                    /* not offered; no VERSION_1 */
		{"queues", TOY_QUEUES + 1},
		{"size", 7},
		{"desc", 1},
	};

	virtio_driver_start(&driver, 0, 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t value = bad[i].value;
		size_t len, namelen = strlen(bad[i].field);
		uint8_t *data, *at;

		len = fake_env_save(dev, (void **)&data);
		at = memmem(data, len, bad[i].field, namelen);
		cr_assert(at);
		memcpy(at + namelen, &value, sizeof(value));
		cr_assert_neq(fake_env_load(dev, data, len), 0, "%s = %u", bad[i].field,
			      bad[i].value);
		cr_assert_eq(vd->driver_features, VERSION_1, "not as it was");
		cr_assert(virtio_queue_enabled(vd, 0));
		free(data);
	}
}

/* ---- threads ---- */

Test(virtio, driver_on_another_thread_than_the_loop)
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
