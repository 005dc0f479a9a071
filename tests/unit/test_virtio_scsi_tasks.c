/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi: task management, units that come and go, events, many units, resets.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/scsi_fixture.h"

static struct scsi_fixture f;

static void setup(void)
{
	scsi_init(&f, NULL, NULL);
	scsi_tap(&f);
	scsi_start(&f, 1);
	f.tap->count = 0;
}

static void teardown(void)
{
	scsi_fini(&f);
}

TestSuite(virtio_scsi_tasks, .init = setup, .fini = teardown, .timeout = 60);

static const struct scsi_ask ready = {.cdb = {SCSI_TEST_UNIT_READY}};

/* A write of one block with this tag, which the tap holds back. */
static gpa_t held_write(uint32_t lba, uint64_t tag)
{
	struct scsi_ask ask = scsi_rw10(SCSI_WRITE_10, lba, 1);
	gpa_t at;

	f.tap->hold = true;
	ask.out = scsi_pattern(&f, 512, (uint8_t)tag);
	ask.out_len = 512;
	ask.tag = tag;
	at = scsi_add(&f, &ask);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	cr_assert_not(scsi_answered(&f, at));
	return at;
}

static void release_and_wait(unsigned commands)
{
	blk_tap_release(f.tap);
	for (unsigned i = 0; i < commands; i++)
		virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
	fake_env_settle(&f.fake);
}

/* ---- task management ---- */

Test(virtio_scsi_tasks, abort_waits_for_what_the_disk_works_on)
{
	gpa_t first = held_write(0, 1), second = held_write(1, 2), abort;

	abort = scsi_manage(&f, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 1);
	cr_assert_eq(scsi_managed(&f, abort), 0xff);
	release_and_wait(2);
	cr_assert_eq(scsi_managed(&f, abort), VIRTIO_SCSI_S_OK);
	cr_assert_eq(scsi_answer_at(&f, first).response, VIRTIO_SCSI_S_ABORTED);
	scsi_assert_good(scsi_answer_at(&f, second));
}

Test(virtio_scsi_tasks, abort_of_what_waits_at_the_gate_is_done_at_once)
{
	struct scsi_ask caw = {.cdb = {SCSI_COMPARE_AND_WRITE}, .tag = 7};
	gpa_t first = held_write(0, 1), second, third, abort;

	caw.cdb[13] = 1;
	caw.out = scsi_pattern(&f, 1024, 1);
	caw.out_len = 1024;
	second = scsi_add(&f, &caw);
	caw = ready;
	caw.tag = 8;
	third = scsi_add(&f, &caw);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	cr_assert_not(scsi_answered(&f, third));
	abort = scsi_manage(&f, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 7);
	cr_assert_eq(scsi_managed(&f, abort), VIRTIO_SCSI_S_OK);
	cr_assert_eq(scsi_answer_at(&f, second).response, VIRTIO_SCSI_S_ABORTED);
	/* What was behind it has its turn. */
	scsi_assert_good(scsi_answer_at(&f, third));
	cr_assert_not(scsi_answered(&f, first));
	release_and_wait(3);
}

Test(virtio_scsi_tasks, reset_of_a_unit_ends_its_commands_and_is_reported)
{
	gpa_t first = held_write(0, 1), second = held_write(1, 2), reset;

	f.disk->lun.descriptor_sense = true;
	reset = scsi_manage(&f, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0);
	cr_assert_eq(scsi_managed(&f, reset), 0xff);
	release_and_wait(2);
	cr_assert_eq(scsi_managed(&f, reset), VIRTIO_SCSI_S_OK);
	cr_assert_eq(scsi_answer_at(&f, first).response, VIRTIO_SCSI_S_RESET);
	cr_assert_eq(scsi_answer_at(&f, second).response, VIRTIO_SCSI_S_RESET);
	cr_assert_not(f.disk->lun.descriptor_sense);
	scsi_assert_sense(scsi_do(&f, &ready), SENSE_DEVICE_RESET);
}

Test(virtio_scsi_tasks, task_sets_and_nexuses_are_cleared)
{
	static const struct {
		uint32_t function;
		uint8_t response;
	} functions[] = {{VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, VIRTIO_SCSI_S_ABORTED},
			 {VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET, VIRTIO_SCSI_S_ABORTED},
			 {VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, VIRTIO_SCSI_S_RESET}};

	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		gpa_t write = held_write(0, 1);
		gpa_t done = scsi_manage(&f, functions[i].function, 0, 0, 0);
		gpa_t later = held_write(1, 2);

		cr_assert_eq(scsi_managed(&f, done), 0xff);
		release_and_wait(2);
		cr_assert_eq(scsi_managed(&f, done), VIRTIO_SCSI_S_OK);
		cr_assert_eq(scsi_answer_at(&f, write).response, functions[i].response);
		/* What came after the function is none of its business. */
		scsi_assert_good(scsi_answer_at(&f, later));
	}
}

Test(virtio_scsi_tasks, queries_tell_what_is_there)
{
	gpa_t write = held_write(0, 5);

	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 5)),
		     VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 6)),
		     VIRTIO_SCSI_S_OK);
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0, 0)),
		     VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	release_and_wait(1);
	scsi_assert_good(scsi_answer_at(&f, write));
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0, 0)),
		     VIRTIO_SCSI_S_OK);
}

Test(virtio_scsi_tasks, functions_for_nobody_are_refused)
{
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_ABORT_TASK, 9, 0, 0)),
		     VIRTIO_SCSI_S_BAD_TARGET);
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 1, 0)),
		     VIRTIO_SCSI_S_INCORRECT_LUN);
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_CLEAR_ACA, 0, 0, 0)),
		     VIRTIO_SCSI_S_FUNCTION_REJECTED);
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, 99, 0, 0, 0)),
		     VIRTIO_SCSI_S_FUNCTION_REJECTED);
	/* Nothing to abort is a success. */
	cr_assert_eq(scsi_managed(&f, scsi_manage(&f, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 77)),
		     VIRTIO_SCSI_S_OK);
}

Test(virtio_scsi_tasks, notifications_are_subscribed_to_in_vain)
{
	for (uint32_t type = VIRTIO_SCSI_T_AN_QUERY; type <= VIRTIO_SCSI_T_AN_SUBSCRIBE; type++)
		for (uint8_t target = 0; target < 2; target++) {
			const struct virtio_scsi_ctrl_an_req req = {
				.type = type, .lun = {1, target}, .event_requested = 2};
			gpa_t at = virtio_driver_alloc(&f.driver, sizeof(req));
			gpa_t in = virtio_driver_alloc(&f.driver, 5);
			struct virtio_scsi_ctrl_an_resp resp;

			driver_write(f.driver.memory, at, &req, sizeof(req));
			cr_assert_eq(guest_fill(f.driver.memory, in, 0xff, 5), 0);
			driver_ring_add(
				&f.driver.rings[VIRTIO_SCSI_CONTROL],
				(struct driver_buffer[]){{at, sizeof(req), false}, {in, 5, true}},
				2);
			virtio_driver_kick(&f.driver, VIRTIO_SCSI_CONTROL);
			cr_assert_eq(virtio_driver_wait(&f.driver, VIRTIO_SCSI_CONTROL, NULL), 5u);
			driver_read(f.driver.memory, in, &resp, sizeof(resp));
			cr_assert_eq(resp.event_actual, 0u);
			cr_assert_eq(resp.response,
				     target ? VIRTIO_SCSI_S_BAD_TARGET : VIRTIO_SCSI_S_OK);
		}
}

Test(virtio_scsi_tasks, driver_reset_waits_for_the_disk)
{
	held_write(0, 1);
	scsi_manage(&f, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0);
	f.driver.ops->set_status(&f.driver, 0);
	fake_env_settle(&f.fake);
	cr_assert_neq(f.driver.ops->get_status(&f.driver), 0);
	blk_tap_release(f.tap);
	virtio_driver_reset(&f.driver);
	scsi_start(&f, 1);
	scsi_expect_image(&f, 0, 512, 1);
}

/* ---- events ---- */

static gpa_t event_buffer(void)
{
	gpa_t at = virtio_driver_alloc(&f.driver, 16);

	cr_assert_eq(guest_fill(f.driver.memory, at, 0xee, 16), 0);
	driver_ring_add(&f.driver.rings[VIRTIO_SCSI_EVENT],
			(struct driver_buffer[]){{at, 16, true}}, 1);
	virtio_driver_kick(&f.driver, VIRTIO_SCSI_EVENT);
	fake_env_settle(&f.fake);
	return at;
}

static struct virtio_scsi_event event_at(gpa_t at)
{
	struct virtio_scsi_event event;

	fake_env_settle(&f.fake);
	driver_read(f.driver.memory, at, &event, sizeof(event));
	return event;
}

Test(virtio_scsi_tasks, units_that_come_and_go_are_reported)
{
	gpa_t come = event_buffer(), go = event_buffer();
	struct device *dev = scsi_add_disk(&f, "late", "target=3,lun=300");
	struct virtio_scsi_event event = event_at(come);

	cr_assert_eq(event.event, VIRTIO_SCSI_T_TRANSPORT_RESET);
	cr_assert_eq(event.reason, VIRTIO_SCSI_EVT_RESET_RESCAN);
	cr_assert_arr_eq(event.lun, "\x01\x03\x41\x2c\0\0\0\0", 8);
	scsi_assert_sense(scsi_do(&f, &(struct scsi_ask){.target = 3, .lun = 300}), SENSE_POWER_ON);
	fake_env_remove(dev);
	event = event_at(go);
	cr_assert_eq(event.event, VIRTIO_SCSI_T_TRANSPORT_RESET);
	cr_assert_eq(event.reason, VIRTIO_SCSI_EVT_RESET_REMOVED);
	cr_assert_eq(scsi_do(&f, &(struct scsi_ask){.target = 3, .lun = 300}).response,
		     VIRTIO_SCSI_S_BAD_TARGET);
}

/* Linux looks a unit up by the number that REPORT LUNS gave it. */
Test(virtio_scsi_tasks, events_name_a_unit_as_report_luns_does)
{
	static const struct {
		const char *options;
		uint8_t lun[8];
	} units[] = {
		{"target=3,lun=0", {1, 3, 0, 0}},
		{"target=3,lun=255", {1, 3, 0, 255}},
		{"target=3,lun=256", {1, 3, 0x41, 0}},
		{"target=255,lun=16383", {1, 255, 0x7f, 255}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		gpa_t come = event_buffer(), go = event_buffer();

		fake_env_remove(scsi_add_disk(&f, "late", units[i].options));
		cr_assert_arr_eq(event_at(come).lun, units[i].lun, 8, "%s", units[i].options);
		cr_assert_arr_eq(event_at(go).lun, units[i].lun, 8, "%s", units[i].options);
		cr_assert_eq(event_at(go).reason, VIRTIO_SCSI_EVT_RESET_REMOVED);
	}
}

Test(virtio_scsi_tasks, other_units_of_the_target_report_the_change)
{
	struct device *dev = scsi_add_disk(&f, "late", "lun=1");

	scsi_assert_sense(scsi_do(&f, &ready), SENSE_LUNS_CHANGED);
	scsi_assert_good(scsi_do(&f, &ready));
	fake_env_remove(dev);
	scsi_assert_sense(scsi_do(&f, &ready), SENSE_LUNS_CHANGED);
}

/* Linux warns of a change that it has never seen the state before of, at each start. */
Test(virtio_scsi_tasks, unit_that_nobody_has_used_reports_only_that_its_power_came_on)
{
	struct device *first = scsi_add_disk(&f, "first", "target=4"),
		      *second = scsi_add_disk(&f, "second", "target=4,lun=1");
	const struct scsi_ask ask = {.cdb = {SCSI_TEST_UNIT_READY}, .target = 4};

	scsi_assert_sense(scsi_do(&f, &ask), SENSE_POWER_ON);
	scsi_assert_good(scsi_do(&f, &ask));
	fake_env_remove(second);
	scsi_assert_sense(scsi_do(&f, &ask), SENSE_LUNS_CHANGED);
	fake_env_remove(first);
}

Test(virtio_scsi_tasks, events_without_buffers_wait_and_then_are_missed)
{
	struct virtio_scsi_event event;
	unsigned n = 0;

	for (unsigned i = 0; i < VIRTIO_SCSI_EVENTS; i++)
		fake_env_remove(scsi_add_disk(&f, "late", "target=1"));
	cr_assert_eq(f.scsi->event_count, VIRTIO_SCSI_EVENTS);
	do {
		event = event_at(event_buffer());
		/* The first one that is delivered says that others were not. */
		cr_assert_eq(event.event >> 31, n == 0);
		n++;
	} while (f.scsi->event_count);
	cr_assert_eq(n, VIRTIO_SCSI_EVENTS);
	event_buffer();
	cr_assert_eq(f.scsi->event_count, 0u);
}

/* As Linux gives a buffer back: it rings only if the device asks for it. */
Test(virtio_scsi_tasks, driver_that_runs_out_of_event_buffers_is_asked_for_a_doorbell)
{
	gpa_t at = virtio_driver_alloc(&f.driver, 16);

	f.driver.always |= UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
	scsi_start(&f, 1);
	event_buffer();
	fake_env_remove(scsi_add_disk(&f, "late", "target=1"));
	cr_assert_eq(f.scsi->event_count, 1u);
	driver_ring_add(&f.driver.rings[VIRTIO_SCSI_EVENT],
			(struct driver_buffer[]){{at, 16, true}}, 1);
	cr_assert(driver_ring_wants_doorbell(&f.driver.rings[VIRTIO_SCSI_EVENT]));
	virtio_driver_kick(&f.driver, VIRTIO_SCSI_EVENT);
	cr_assert_eq(event_at(at).reason, VIRTIO_SCSI_EVT_RESET_REMOVED);
}

Test(virtio_scsi_tasks, driver_that_did_not_ask_gets_no_events)
{
	virtio_driver_start(&f.driver, 0, 3);
	fake_env_remove(scsi_add_disk(&f, "late", "target=1"));
	cr_assert_eq(f.scsi->event_count, 0u);
}

Test(virtio_scsi_tasks, larger_disk_is_noticed)
{
	gpa_t at = event_buffer();
	struct virtio_scsi_event event;
	struct vmm_error err = {0};
	uint8_t data[8];

	cr_assert_eq(device_action(f.disk_dev, "resize", "size=8M", NULL, &err), 0, "%s",
		     err.message);
	event = event_at(at);
	cr_assert_eq(event.event, VIRTIO_SCSI_T_PARAM_CHANGE);
	cr_assert_eq(event.lun[2], 0, "below 256 as REPORT LUNS has it: Linux compares");
	cr_assert_eq(event.reason, 0x2a | 0x09 << 8);
	scsi_assert_sense(scsi_do(&f, &ready), SENSE_CAPACITY_CHANGED);
	scsi_assert_good(scsi_get(&f, (struct scsi_ask){.cdb = {SCSI_READ_CAPACITY_10}}, data, 8));
	cr_assert_eq(get_be32(data), 8 * MIB / 512 - 1);
	cr_assert_lt(device_action(f.disk_dev, "resize", "size=4M", NULL, &err), 0);
	cr_assert(strstr(err.message, "cut off"), "%s", err.message);
	cr_assert_lt(device_action(f.disk_dev, "resize", "size=8388609", NULL, &err), 0);
	/* What the host has done is taken over. */
	cr_assert_eq(ftruncate(f.fd, 16 * MIB), 0);
	cr_assert_eq(device_action(f.disk_dev, "resize", NULL, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(block_info(f.disk->block)->size, 16 * MIB);
}

/* ---- removal under I/O ---- */

static void quiesced(struct device *dev, void *arg)
{
	(void)dev;
	*(bool *)arg = true;
}

Test(virtio_scsi_tasks, unit_goes_only_when_its_commands_have_ended)
{
	gpa_t write = held_write(0, 1), late;
	bool done = false;

	device_quiesce(f.disk_dev, quiesced, &done);
	fake_env_settle(&f.fake);
	cr_assert_not(done);
	/* A guest that goes on does not keep it from coming to rest. */
	late = scsi_add(&f, &ready);
	scsi_kick(&f, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(scsi_answer_at(&f, late).status, SCSI_STATUS_BUSY);
	release_and_wait(2);
	scsi_assert_good(scsi_answer_at(&f, write));
	while (!done)
		loop_turn(f.fake.env.loop, true);
	fake_env_remove(f.disk_dev);
	f.disk_dev = NULL;
	cr_assert_eq(scsi_do(&f, &ready).response, VIRTIO_SCSI_S_BAD_TARGET);
}

Test(virtio_scsi_tasks, unit_that_was_quiesced_goes_on_with_the_controller)
{
	device_quiesce_wait(f.disk_dev);
	device_quiesce_wait(f.dev);
	virtio_resume(&f.scsi->vd);
	fake_env_settle(&f.fake);
	scsi_assert_good(scsi_do(&f, &ready));
}

/* The add and remove on another thread, as the machine does it, while the driver works. */
struct worker {
	_Atomic bool done;
};

static void *come_and_go(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 50; i++)
		fake_env_remove(scsi_add_disk(&f, "late", "target=1"));
	w->done = true;
	loop_wake(f.fake.env.loop);
	return NULL;
}

Test(virtio_scsi_tasks, units_come_and_go_while_the_guest_works)
{
	struct worker w = {false};
	struct vmm_error err = {0};
	pthread_t thread;
	unsigned answers = 0;

	cr_assert_eq(loop_start(f.fake.env.loop, &err), 0);
	cr_assert_eq(pthread_create(&thread, NULL, come_and_go, &w), 0);
	while (!w.done || answers < 50) {
		const gpa_t heap = f.driver.next;
		const struct scsi_ask ask = {.target = 1};
		uint32_t id, len;
		gpa_t at = scsi_add(&f, &ask);
		struct scsi_answer a;

		scsi_kick(&f, 0);
		while (!driver_ring_used(&f.driver.rings[VIRTIO_SCSI_REQUEST], &id, &len))
			sched_yield();
		a = scsi_answer_at(&f, at);
		cr_assert(a.response == VIRTIO_SCSI_S_OK || a.response == VIRTIO_SCSI_S_BAD_TARGET);
		f.driver.next = heap;
		answers++;
	}
	pthread_join(thread, NULL);
	loop_stop(f.fake.env.loop);
	loop_join(f.fake.env.loop);
	cr_assert_eq(f.scsi->bus.count, 1u);
}

/* ---- many ---- */

Test(virtio_scsi_tasks, disks_that_share_an_engine_read_at_once_and_go_one_by_one)
{
	struct device *devs[8];
	struct scsi_ask ask = scsi_rw10(SCSI_READ_10, 0, 8);
	gpa_t at[ARRAY_SIZE(devs)], in[ARRAY_SIZE(devs)];

	ask.in_len = 4096;
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		char id[8], options[32];

		in[i] = virtio_driver_alloc(&f.driver, ask.in_len);
		snprintf(id, sizeof(id), "d%u", i);
		snprintf(options, sizeof(options), "target=%u", i + 1);
		devs[i] = scsi_add_disk(&f, id, options);
		scsi_do(&f, &(struct scsi_ask){.target = i + 1});
	}
	for (unsigned left = ARRAY_SIZE(devs); left; left--) {
		for (unsigned i = 0; i < left; i++) {
			ask.target = i + 1;
			ask.in = in[i];
			at[i] = scsi_add(&f, &ask);
		}
		scsi_kick(&f, 0);
		for (unsigned i = 0; i < left; i++)
			virtio_driver_wait(&f.driver, VIRTIO_SCSI_REQUEST, NULL);
		for (unsigned i = 0; i < left; i++)
			scsi_assert_good(scsi_answer_at(&f, at[i]));
		cr_assert_eq(f.scsi->bus.engines.users[BLOCK_ENGINE_THREADS], left);
		fake_env_remove(devs[left - 1]);
	}
	cr_assert_null(f.scsi->bus.engines.engines[BLOCK_ENGINE_THREADS]);
}

#define MANY 1024u

Test(virtio_scsi_tasks, a_thousand_units_are_found_and_listed)
{
	static struct device *devs[MANY];
	struct scsi_ask report = {.cdb = {SCSI_REPORT_LUNS}, .target = 255};
	uint8_t *list = malloc(8 + 8 * MANY);

	for (unsigned i = 0; i < MANY; i++) {
		char id[16], options[48];

		/* 512 on one target, up to the last LUN; the others on as many targets as there
		 * are. */
		snprintf(id, sizeof(id), "many%u", i);
		snprintf(options, sizeof(options), "target=%u,lun=%u", i < 512 ? 255 : i % 254 + 1,
			 i < 512 ? 16383 - 32 * i : i / 254);
		devs[i] = scsi_add_disk(&f, id, options);
	}
	cr_assert_eq(f.scsi->bus.count, MANY + 1);
	/* With one engine, not a thousand. The first disk has the tap's. */
	cr_assert_eq(f.scsi->bus.engines.users[BLOCK_ENGINE_THREADS], MANY);
	put_be32(report.cdb + 6, 8 + 8 * MANY);
	scsi_assert_good(scsi_get(&f, report, list, 8 + 8 * MANY));
	/* And LUN 0, which is not there. */
	cr_assert_eq(get_be32(list), 8u * 513);
	cr_assert_eq(get_be16(list + 8), 0);
	cr_assert_eq(get_be16(list + 8 + 8 * 512), 0x4000 | 16383);
	for (unsigned i = 0; i < MANY; i++) {
		struct scsi_lun *lun = scsi_lun(devs[i]);
		const struct scsi_ask ask = {.target = (unsigned)lun->target,
					     .lun = (unsigned)lun->lun};
		const gpa_t heap = f.driver.next;

		cr_assert_eq(scsi_bus_lun(&f.scsi->bus, ask.target, ask.lun), lun);
		scsi_assert_sense(scsi_do(&f, &ask), SENSE_POWER_ON);
		lun->attentions[0] = 0; /* that others have come */
		scsi_assert_good(scsi_do(&f, &ask));
		f.driver.next = heap;
	}
	for (unsigned i = 0; i < MANY; i++)
		fake_env_remove(devs[i]);
	cr_assert_eq(f.scsi->bus.count, 1u);
	cr_assert_null(f.scsi->bus.engines.engines[BLOCK_ENGINE_THREADS]);
	for (unsigned t = 1; t < SCSI_MAX_TARGETS; t++)
		cr_assert_null(f.scsi->bus.targets[t]);
	free(list);
}
