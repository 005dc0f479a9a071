/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi and a guest that breaks the rules: each test is named after what it forbids.
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

TestSuite(virtio_scsi_hostile, .init = setup, .fini = teardown, .timeout = 60);

/* A chain of our own on a queue; the device must stop. */
static void expect_broken(unsigned queue, const struct driver_buffer *b, unsigned n)
{
	driver_ring_add(&f.driver.rings[queue], b, n);
	virtio_driver_kick(&f.driver, queue);
	cr_assert(virtio_driver_broken(&f.driver));
	scsi_start(&f, 1);
}

/* Rule 12. */
Test(virtio_scsi_hostile, no_response_without_room_for_it)
{
	gpa_t at = virtio_driver_alloc(&f.driver, 4096);

	for (uint32_t out = 0; out <= SCSI_REQUEST_SIZE; out += SCSI_REQUEST_SIZE)
		for (uint32_t in = 0; in <= SCSI_RESPONSE_SIZE; in += SCSI_RESPONSE_SIZE - 1) {
			const struct driver_buffer b[] = {{at, out ? out : 1, false},
							  {gpa_add(at, 512), in ? in : 1, true}};

			expect_broken(VIRTIO_SCSI_REQUEST, b, 2);
			at = virtio_driver_alloc(&f.driver, 4096);
		}
	expect_broken(VIRTIO_SCSI_REQUEST, (struct driver_buffer[]){{at, SCSI_REQUEST_SIZE, false}},
		      1);
	expect_broken(VIRTIO_SCSI_REQUEST, (struct driver_buffer[]){{at, 4096, true}}, 1);
	expect_broken(VIRTIO_SCSI_CONTROL, (struct driver_buffer[]){{at, 4, false}}, 1);
	expect_broken(VIRTIO_SCSI_CONTROL, (struct driver_buffer[]){{at, 24, false}}, 1);
	expect_broken(VIRTIO_SCSI_CONTROL, (struct driver_buffer[]){{at, 1, true}}, 1);
}

Test(virtio_scsi_hostile, no_event_into_a_buffer_too_small)
{
	gpa_t at = virtio_driver_alloc(&f.driver, 16);

	driver_ring_add(&f.driver.rings[VIRTIO_SCSI_EVENT],
			(struct driver_buffer[]){{at, 15, true}}, 1);
	virtio_driver_kick(&f.driver, VIRTIO_SCSI_EVENT);
	fake_env_settle(&f.fake);
	fake_env_remove(scsi_add_disk(&f, "late", "target=1"));
	cr_assert(virtio_driver_broken(&f.driver));
	scsi_start(&f, 1);
}

Test(virtio_scsi_hostile, no_command_goes_both_ways)
{
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 0, 1);

	ask.in = ask.out = scsi_pattern(&f, 512, 1);
	ask.in_len = ask.out_len = 512;
	cr_assert_eq(scsi_do(&f, &ask).response, VIRTIO_SCSI_S_FAILURE);
}

Test(virtio_scsi_hostile, no_unit_at_an_address_of_another_form)
{
	static const uint8_t bad[][8] = {
		{0, 0, 0x40, 0},             /* not the single-target form */
		{2, 0, 0x40, 0},             /* … */
		{1, 0, 0x80, 0},             /* another addressing method */
		{1, 0, 0xc0, 0},             /* … */
		{1, 0, 0x01, 0},             /* a bus number */
		{1, 0, 0x40, 0, 0, 0, 0, 1}, /* a second level */
		{0xc1, 0x02},                /* another well-known unit */
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(scsi_do(&f, &(struct scsi_ask){.address = bad[i]}).response,
			     VIRTIO_SCSI_S_BAD_TARGET, "address %zu", i);
	/* Peripheral device addressing is the other form that is allowed. */
	scsi_assert_good(scsi_do(&f, &(struct scsi_ask){.address = (const uint8_t[8]){1}}));
}

/* Rules 11, 26: whatever the CDB and the lengths say. */
Test(virtio_scsi_hostile, no_byte_beyond_what_the_guest_offers)
{
	uint64_t random = 88172645463325252;

	for (unsigned i = 0; i < 20000; i++) {
		const gpa_t heap = f.driver.next;
		struct scsi_ask ask = {.target = 0};
		struct scsi_answer a;
		uint8_t guard;

		for (unsigned b = 0; b < 16; b++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			/* Mostly small numbers, so that something happens. */
			ask.cdb[b] = (uint8_t)(random & 0x300 ? random & 0xf : random >> 32);
		}
		/* Each operation code in turn. */
		ask.cdb[0] = (uint8_t)i;
		ask.in = ask.out = virtio_driver_alloc(&f.driver, 4096);
		cr_assert_eq(guest_fill(f.driver.memory, ask.in, (int)(random >> 40), 4096), 0);
		if (random >> 63)
			ask.in_len = (uint32_t)(random >> 20 & 0x7ff);
		else
			ask.out_len = (uint32_t)(random >> 20 & 0x7ff);
		driver_write(f.driver.memory, gpa_add(ask.in, ask.in_len), "\x5a", 1);
		a = scsi_do(&f, &ask);
		cr_assert_leq(a.resid, MAX(ask.in_len, ask.out_len));
		cr_assert_leq(a.written, SCSI_RESPONSE_SIZE + ask.in_len);
		cr_assert_leq(a.sense_len, 96u);
		driver_read(f.driver.memory, gpa_add(ask.in, ask.in_len), &guard, 1);
		cr_assert_eq(guard, 0x5a, "operation %#x", ask.cdb[0]);
		f.driver.next = heap;
	}
}

/* Rule 7. */
Test(virtio_scsi_hostile, no_more_requests_than_the_queue_has_entries)
{
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, 0, 1);

	scsi_fini(&f);
	scsi_init(&f, "queue-size=8", NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	f.tap->hold = true;
	ask.out = scsi_pattern(&f, 512, 1);
	ask.out_len = 512;
	scsi_add(&f, &ask);
	/* The same head over and over. */
	for (unsigned i = 0; i < 100; i++) {
		driver_ring_offer(&f.driver.rings[VIRTIO_SCSI_REQUEST], 0);
		scsi_kick(&f, 0);
		fake_env_settle(&f.fake);
		cr_assert_leq(f.scsi->bus.in_flight, 8u);
	}
	cr_assert(virtio_driver_broken(&f.driver));
	blk_tap_release(f.tap);
	scsi_start(&f, 1);
}

/* Rule 17. */
Test(virtio_scsi_hostile, no_write_of_the_time_before_a_reset_lands_after_it)
{
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, 100, 1);

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	f.tap->hold = true;
	ask.out = scsi_pattern(&f, 512, 1);
	ask.out_len = 512;
	scsi_add(&f, &ask);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	f.driver.ops->set_status(&f.driver, 0);
	fake_env_settle(&f.fake);
	cr_assert_neq(f.driver.ops->get_status(&f.driver), 0);
	blk_tap_release(f.tap);
	virtio_driver_reset(&f.driver);
	cr_assert_eq(f.scsi->bus.in_flight, 0u);
	scsi_expect_image(&f, 51200, 512, 1);
	scsi_start(&f, 1);
}

/* Rule 1: the CDB is taken once, before anything is checked. */
Test(virtio_scsi_hostile, no_second_look_at_the_command)
{
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, 5, 1);
	gpa_t at, request;

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	f.tap->hold = true;
	ask.out = scsi_pattern(&f, 512, 1);
	ask.out_len = 512;
	request = gpa(align_up(f.driver.next.v, 16));
	at = scsi_add(&f, &ask);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	/* The request is of this; now it is of something else. */
	cr_assert_eq(guest_fill(f.driver.memory, request, 0xff, SCSI_REQUEST_SIZE), 0);
	blk_tap_release(f.tap);
	virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
	scsi_assert_good(scsi_answer_at(&f, at));
	scsi_expect_image(&f, 5 * 512, 512, 1);
}

/* Rule 22: many functions for one command, and one that goes round for ever. */
Test(virtio_scsi_hostile, no_end_of_functions_waits_for_more_than_one_command)
{
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, 0, 1);
	gpa_t done[60];

	scsi_fini(&f);
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	f.tap->hold = true;
	ask.out = scsi_pattern(&f, 512, 1);
	ask.out_len = 512;
	ask.tag = 3;
	scsi_add(&f, &ask);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	for (unsigned i = 0; i < ARRAY_SIZE(done); i++) {
		done[i] = scsi_manage(&f,
				      i % 2 ? VIRTIO_SCSI_T_TMF_ABORT_TASK
					    : VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET,
				      0, 0, 3);
		cr_assert_eq(scsi_managed(&f, done[i]), 0xff);
	}
	blk_tap_release(f.tap);
	virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(done); i++)
		cr_assert_eq(scsi_managed(&f, done[i]), VIRTIO_SCSI_S_OK);
}

/* Rule 25: what the guest writes there does not change what the image is. */
Test(virtio_scsi_hostile, no_format_is_guessed_from_what_the_guest_wrote)
{
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, 0, 1);
	uint8_t data[512] = "QFI\xfb\0\0\0\x03", capacity[8];

	scsi_assert_good(scsi_put(&f, ask, data, sizeof(data)));
	fake_env_remove(f.disk_dev);
	f.disk_dev = NULL;
	virtio_driver_reset(&f.driver);
	char options[128];
	snprintf(options, sizeof(options), "path=%s", f.path);
	f.disk_dev = fake_env_device(&f.fake, &scsi_disk_class.device, options);
	f.disk = scsi_disk(scsi_lun(f.disk_dev));
	scsi_start(&f, 1);
	scsi_assert_good(
		scsi_get(&f, (struct scsi_ask){.cdb = {SCSI_READ_CAPACITY_10}}, capacity, 8));
	cr_assert_eq(get_be32(capacity), SCSI_BLOCKS - 1);
}

Test(virtio_scsi_hostile, bad_options_name_themselves)
{
	static const char *const units[] = {"target=256", "lun=16384", "bus=nobody",
					    "serial=0123456789012345678901234567890123456",
					    "vendor=ninechars"};
	static const char *const controllers[] = {"queues=0", "queues=257", "queue-size=100",
						  "queue-size=2048"};
	char options[256], name[16];
	struct device *dev = NULL;
	struct vmm_error err;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		snprintf(options, sizeof(options), "path=%s,readonly=on,%s", f.other, units[i]);
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(units[i], "="), units[i]);
		cr_assert_lt(device_create(&dev, &scsi_disk_class.device, "bad", options,
					   &f.fake.env, &err),
			     0, "%s is accepted", units[i]);
		cr_assert(strstr(err.message, name), "%s", err.message);
	}
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(controllers[i], "="),
			 controllers[i]);
		cr_assert_lt(device_create(&dev, &virtio_scsi_class.device, "bad", controllers[i],
					   &f.fake.env, &err),
			     0, "%s is accepted", controllers[i]);
		cr_assert(strstr(err.message, name), "%s", err.message);
	}
}
