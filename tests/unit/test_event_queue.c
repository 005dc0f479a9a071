/* SPDX-License-Identifier: MIT */
/*
 * The queue of events between a machine and the program that has it.
 */
#include <criterion/criterion.h>
#include <poll.h>

#include "vmm/event_queue.h"

static struct machine_watchers watchers;
static struct event_queue queue;
static struct clock_fake fake;

static void setup(void)
{
	clock_fake_init(&fake);
	fake.realtime_ns = 5;
	machine_watchers_init(&watchers);
	cr_assert_eq(event_queue_init(&queue, &fake.clock), 0);
	machine_watch(&watchers, &queue.watcher);
}

static void teardown(void)
{
	machine_unwatch(&watchers, &queue.watcher);
	event_queue_fini(&queue);
	machine_watchers_fini(&watchers);
}

TestSuite(event_queue, .init = setup, .fini = teardown);

static void happen(enum machine_notice_kind kind, uint64_t value, const char *id, const char *text)
{
	machine_notify(&watchers, &(struct machine_notice){
					  .kind = kind, .value = value, .id = id, .text = text});
}

static bool readable(void)
{
	struct pollfd p = {.fd = queue.fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

Test(event_queue, what_happened_comes_out_in_order_with_its_details)
{
	struct vmm_event e;

	cr_assert_not(readable());
	cr_assert_not(event_queue_take(&queue, &e));
	happen(MACHINE_NOTICE_RUNNING, 0, NULL, NULL);
	happen(MACHINE_NOTICE_ERROR, 0, "disk0", "a loop of descriptors");
	cr_assert(readable());
	cr_assert(event_queue_take(&queue, &e));
	cr_assert_eq(e.kind, VMM_EVENT_RUNNING);
	cr_assert_eq(e.time_ns, 5);
	cr_assert_str_eq(e.device, "");
	cr_assert(readable());
	cr_assert(event_queue_take(&queue, &e));
	cr_assert_eq(e.kind, VMM_EVENT_DEVICE_ERROR);
	cr_assert_str_eq(e.device, "disk0");
	cr_assert_str_eq(e.text, "a loop of descriptors");
	cr_assert_eq(e.lost, 0);
	cr_assert_not(readable());
}

Test(event_queue, a_tray_that_moves_is_told)
{
	struct vmm_event e;

	happen(MACHINE_NOTICE_TRAY, 1, "cd0", NULL);
	cr_assert(event_queue_take(&queue, &e));
	cr_assert_eq(e.kind, VMM_EVENT_TRAY);
	cr_assert_eq(e.value, 1);
	cr_assert_str_eq(e.device, "cd0");
}

Test(event_queue, a_guest_that_provokes_events_for_ever_pushes_out_the_oldest_and_that_is_told)
{
	const unsigned surplus = 1000;
	uint64_t lost = 0;
	struct vmm_event e;

	for (uint64_t i = 0; i < EVENT_QUEUE_SIZE + surplus; i++)
		happen(MACHINE_NOTICE_PORT, i, "port0", NULL);
	cr_assert(event_queue_take(&queue, &e));
	cr_assert_eq(e.lost, surplus);
	cr_assert_eq(e.value, surplus);
	for (unsigned i = 1; i < EVENT_QUEUE_SIZE; i++) {
		cr_assert(event_queue_take(&queue, &e));
		lost += e.lost;
	}
	cr_assert_eq(lost, 0);
	cr_assert_eq(e.value, EVENT_QUEUE_SIZE + surplus - 1);
	cr_assert_not(event_queue_take(&queue, &e));
	cr_assert_not(readable());
}

Test(event_queue, nothing_follows_the_end_and_the_end_is_never_lost)
{
	struct vmm_event e;

	for (uint64_t i = 0; i < EVENT_QUEUE_SIZE; i++)
		happen(MACHINE_NOTICE_BALLOON, i, NULL, NULL);
	happen(MACHINE_NOTICE_STOPPED, VMM_EXIT_POWEROFF, NULL, NULL);
	for (uint64_t i = 0; i < 2 * EVENT_QUEUE_SIZE; i++)
		happen(MACHINE_NOTICE_PORT, i, NULL, NULL);
	for (unsigned i = 0; i < EVENT_QUEUE_SIZE; i++)
		cr_assert(event_queue_take(&queue, &e));
	cr_assert_eq(e.kind, VMM_EVENT_STOPPED);
	cr_assert_eq(e.value, VMM_EXIT_POWEROFF);
	cr_assert_not(event_queue_take(&queue, &e));
}
