/* SPDX-License-Identifier: MIT */
/*
 * The loop by itself: descriptors, timers, tasks and hooks, in turns that the test makes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/support/loop_fixture.h"

static int new_eventfd(unsigned count)
{
	int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);

	cr_assert_geq(fd, 0);
	return fd;
}

/* ---- descriptors ---- */

Test(loop, a_readable_descriptor_runs_its_handler_each_turn)
{
	struct loop_fixture f;
	struct probe p;
	uint64_t v;
	int fd = new_eventfd(1);

	loop_fixture_init(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, fd, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(p.events, LOOP_IN);
	cr_assert_eq(read(fd, &v, sizeof(v)), 8);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	loop_fd_set(&p.fd, LOOP_IN | LOOP_OUT);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(p.events, LOOP_OUT);
	loop_fd_set(&p.fd, 0);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	loop_fd_del(&p.fd);
	loop_fd_del(&p.fd);
	cr_assert_eq(p.ran, 3);
	close(fd);
	loop_destroy(f.loop);
}

Test(loop, hang_up_is_reported_without_being_asked_for)
{
	struct loop_fixture f;
	struct probe p;
	int fds[2];

	loop_fixture_init(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, fds[0], 0, probe_on_fd), 0);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	close(fds[1]);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(p.events, LOOP_HUP);
	loop_fd_del(&p.fd);
	close(fds[0]);
	loop_destroy(f.loop);
}

Test(loop, a_descriptor_that_cannot_be_waited_for_is_an_error)
{
	struct loop_fixture f;
	struct probe p;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, -1, LOOP_IN, probe_on_fd), -EBADF);
	loop_fd_del(&p.fd);
	loop_fd_set(&p.fd, LOOP_OUT);
	memset(&p.fd, 0, sizeof(p.fd));
	loop_fd_del(&p.fd);
	loop_destroy(f.loop);
}

static void delete_other(struct probe *p)
{
	loop_fd_del(&p->other->fd);
	loop_fd_del(&p->fd);
}

Test(loop, a_deleted_handler_does_not_run_later_in_the_same_turn)
{
	struct loop_fixture f;
	struct probe a, *b = malloc(sizeof(*b));
	int fd1 = new_eventfd(1), fd2 = new_eventfd(1);

	loop_fixture_init(&f);
	probe_init(&a, f.loop, delete_other);
	probe_init(b, f.loop, delete_other);
	a.other = b;
	b->other = &a;
	cr_assert_eq(loop_fd_add(f.loop, &a.fd, fd1, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_fd_add(f.loop, &b->fd, fd2, LOOP_IN, probe_on_fd), 0);
	/* Both are ready; whichever comes first deletes both. */
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(a.ran + b->ran, 1);
	free(b);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	close(fd1);
	close(fd2);
	loop_destroy(f.loop);
}

static void want_nothing(struct probe *p)
{
	loop_fd_set(&p->other->fd, 0);
}

Test(loop, events_that_are_no_longer_wanted_are_not_delivered)
{
	struct loop_fixture f;
	struct probe a, b;
	int fd1 = new_eventfd(1), fd2 = new_eventfd(1);

	loop_fixture_init(&f);
	probe_init(&a, f.loop, want_nothing);
	probe_init(&b, f.loop, want_nothing);
	a.other = &b;
	b.other = &a;
	cr_assert_eq(loop_fd_add(f.loop, &a.fd, fd1, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_fd_add(f.loop, &b.fd, fd2, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	loop_fd_del(&a.fd);
	loop_fd_del(&b.fd);
	close(fd1);
	close(fd2);
	loop_destroy(f.loop);
}

static void turn_inside(struct probe *p)
{
	p->action = NULL;
	loop_turn(p->loop, false);
}

Test(loop, turns_can_nest)
{
	struct loop_fixture f;
	struct probe a, b;
	int fd1 = new_eventfd(1), fd2 = new_eventfd(1);

	loop_fixture_init(&f);
	probe_init(&a, f.loop, turn_inside);
	probe_init(&b, f.loop, turn_inside);
	cr_assert_eq(loop_fd_add(f.loop, &a.fd, fd1, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_fd_add(f.loop, &b.fd, fd2, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_turn(f.loop, true), 2);
	cr_assert_geq(a.ran + b.ran, 4);
	loop_fd_del(&a.fd);
	loop_fd_del(&b.fd);
	close(fd1);
	close(fd2);
	loop_destroy(f.loop);
}

Test(loop, more_descriptors_than_one_batch_are_all_served)
{
	enum { N = 200 };
	struct loop_fixture f;
	struct probe *p = calloc(N, sizeof(*p));
	int fd[N];
	unsigned turns = 0, served = 0;

	loop_fixture_init(&f);
	for (int i = 0; i < N; i++) {
		probe_init(&p[i], f.loop, NULL);
		fd[i] = new_eventfd(1);
		cr_assert_eq(loop_fd_add(f.loop, &p[i].fd, fd[i], LOOP_IN, probe_on_fd), 0);
	}
	for (; served < N && turns < 20; turns++) {
		loop_turn(f.loop, true);
		served = 0;
		for (int i = 0; i < N; i++)
			served += p[i].ran > 0;
	}
	cr_assert_eq(served, N);
	for (int i = 0; i < N; i++) {
		loop_fd_del(&p[i].fd);
		close(fd[i]);
	}
	loop_destroy(f.loop);
	free(p);
}

/* ---- timers ---- */

Test(loop, timer_fires_when_the_clock_passes_its_deadline)
{
	struct loop_fixture f;
	struct probe p;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_timer_arm(&p.timer, 100), 0);
	clock_fake_advance(&f.clock, 99);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	clock_fake_advance(&f.clock, 1);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	cr_assert_eq(p.ran, 1);
	loop_destroy(f.loop);
}

Test(loop, disarmed_timers_do_not_fire_and_rearmed_ones_fire_once)
{
	struct loop_fixture f;
	struct probe a, b;

	loop_fixture_init(&f);
	probe_init(&a, f.loop, NULL);
	probe_init(&b, f.loop, NULL);
	cr_assert_eq(loop_timer_arm(&a.timer, 10), 0);
	cr_assert_eq(loop_timer_arm(&b.timer, 10), 0);
	cr_assert_eq(loop_timer_arm(&b.timer, 50), 0);
	loop_timer_disarm(&a.timer);
	loop_timer_disarm(&a.timer);
	clock_fake_advance(&f.clock, 20);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	clock_fake_advance(&f.clock, 1000);
	cr_assert_eq(loop_turn(f.loop, false), 1);
	cr_assert_eq(b.ran, 1);
	cr_assert_eq(a.ran, 0);
	loop_destroy(f.loop);
}

Test(loop, many_timers_fire_in_the_order_of_their_deadlines)
{
	enum { N = 500 };
	struct loop_fixture f;
	struct probe *p = calloc(N, sizeof(*p));
	unsigned order = 0, seed = 1, armed = 0;

	loop_fixture_init(&f);
	for (unsigned i = 0; i < N; i++) {
		probe_init(&p[i], f.loop, NULL);
		p[i].order = &order;
		seed = seed * 1103515245 + 12345;
		/* Distinct deadlines, scattered; some are moved, some taken out. */
		cr_assert_eq(loop_timer_arm(&p[i].timer, 1 + ((seed >> 8) % 1000) * 1000 + i), 0);
		if (i % 3 == 0)
			cr_assert_eq(loop_timer_arm(&p[i / 2].timer, 2000000 + i), 0);
		if (i % 7 == 0)
			loop_timer_disarm(&p[i / 3].timer);
	}
	for (unsigned i = 0; i < N; i++)
		armed += p[i].timer.heap_index >= 0;
	clock_fake_advance(&f.clock, 3000000);
	cr_assert_eq(loop_turn(f.loop, false), armed);
	for (unsigned i = 0; i < N; i++)
		for (unsigned j = 0; j < N; j++)
			if (p[i].ran && p[j].ran && p[i].timer.deadline_ns < p[j].timer.deadline_ns)
				cr_assert_lt(p[i].at, p[j].at);
	loop_destroy(f.loop);
	free(p);
}

static void arm_for_the_past(struct probe *p)
{
	cr_assert_eq(loop_timer_arm(&p->timer, 0), 0);
}

Test(loop, a_timer_that_rearms_itself_for_the_past_does_not_hold_the_turn)
{
	struct loop_fixture f;
	struct probe p;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, arm_for_the_past);
	cr_assert_eq(loop_timer_arm(&p.timer, 0), 0);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	loop_timer_disarm(&p.timer);
	loop_destroy(f.loop);
}

static void disarm_other(struct probe *p)
{
	loop_timer_disarm(&p->other->timer);
}

Test(loop, a_due_timer_that_another_disarms_does_not_fire)
{
	struct loop_fixture f;
	struct probe a, b;

	loop_fixture_init(&f);
	probe_init(&a, f.loop, disarm_other);
	probe_init(&b, f.loop, NULL);
	a.other = &b;
	cr_assert_eq(loop_timer_arm(&a.timer, 1), 0);
	cr_assert_eq(loop_timer_arm(&b.timer, 2), 0);
	clock_fake_advance(&f.clock, 5);
	cr_assert_eq(loop_turn(f.loop, false), 1);
	cr_assert_eq(b.ran, 0);
	loop_destroy(f.loop);
}

Test(loop, the_system_clock_wakes_the_loop_for_a_timer)
{
	struct loop *loop;
	struct probe p;
	uint64_t deadline = clock_now(clock_system()) + NS_PER_MS;

	cr_assert_eq(loop_create(&loop, "test", clock_system(), NULL), 0);
	probe_init(&p, loop, NULL);
	cr_assert_eq(loop_timer_arm(&p.timer, deadline), 0);
	while (!p.ran)
		loop_turn(loop, true);
	cr_assert_geq(clock_now(clock_system()), deadline);
	loop_destroy(loop);
}

/* ---- tasks ---- */

Test(loop, a_task_that_is_posted_twice_runs_once)
{
	struct loop_fixture f;
	struct probe p;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, NULL);
	loop_post(f.loop, &p.task);
	loop_post(f.loop, &p.task);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	loop_post(f.loop, &p.task);
	loop_task_cancel(f.loop, &p.task);
	loop_task_cancel(f.loop, &p.task);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	loop_destroy(f.loop);
}

static void post_self(struct probe *p)
{
	loop_post(p->loop, &p->task);
}

Test(loop, a_task_that_posts_itself_runs_once_a_turn)
{
	struct loop_fixture f;
	struct probe p;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, post_self);
	loop_post(f.loop, &p.task);
	for (unsigned i = 1; i < 10; i++) {
		cr_assert_eq(loop_turn(f.loop, true), 1);
		cr_assert_eq(p.ran, i);
	}
	loop_destroy(f.loop);
}

static void cancel_other(struct probe *p)
{
	loop_task_cancel(p->loop, &p->other->task);
}

Test(loop, a_task_may_cancel_the_next_of_the_same_turn)
{
	struct loop_fixture f;
	struct probe a, b;

	loop_fixture_init(&f);
	probe_init(&a, f.loop, cancel_other);
	probe_init(&b, f.loop, NULL);
	a.other = &b;
	loop_post(f.loop, &a.task);
	loop_post(f.loop, &b.task);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(b.ran, 0);
	loop_destroy(f.loop);
}

/* ---- the time ---- */

static uint64_t moments[4];
static unsigned moment_count;

/* As what many small jobs of a turn do, while time goes on. */
static void note_time(struct probe *p)
{
	struct clock_fake *clock = container_of(loop_clock(p->loop), struct clock_fake, clock);

	moments[moment_count++] = loop_now(p->loop);
	clock_fake_advance(clock, 10);
}

Test(loop, the_time_is_read_once_for_what_a_turn_does_and_anew_for_its_hooks)
{
	struct loop_fixture f;
	struct probe a, b, hook;

	loop_fixture_init(&f);
	clock_fake_advance(&f.clock, 100);
	cr_assert_eq(loop_now(f.loop), 100);
	clock_fake_advance(&f.clock, 100);
	cr_assert_eq(loop_now(f.loop), 200, "between turns it is exact");
	probe_init(&a, f.loop, note_time);
	probe_init(&b, f.loop, note_time);
	probe_init(&hook, f.loop, note_time);
	loop_hook_schedule(f.loop, &hook.hook);
	loop_post(f.loop, &a.task);
	loop_post(f.loop, &b.task);
	cr_assert_eq(loop_turn(f.loop, false), 3);
	cr_assert_eq(moments[0], 200);
	cr_assert_eq(moments[1], 200);
	cr_assert_eq(moments[2], 220);
	cr_assert_eq(loop_now(f.loop), 230);
	loop_post(f.loop, &a.task);
	loop_turn(f.loop, false);
	cr_assert_eq(moments[3], 230);
	loop_destroy(f.loop);
}

/* ---- hooks ---- */

static void schedule_hook(struct probe *p)
{
	loop_hook_schedule(p->loop, &p->hook);
}

Test(loop, a_hook_runs_once_at_the_end_of_the_batch_that_schedules_it)
{
	struct loop_fixture f;
	unsigned order = 0;
	struct probe hook, a, b;

	loop_fixture_init(&f);
	probe_init(&hook, f.loop, NULL);
	probe_init(&a, f.loop, NULL);
	probe_init(&b, f.loop, NULL);
	hook.order = a.order = b.order = &order;
	loop_hook_schedule(f.loop, &hook.hook);
	loop_hook_schedule(f.loop, &hook.hook);
	loop_post(f.loop, &a.task);
	cr_assert_eq(loop_timer_arm(&b.timer, 0), 0);
	cr_assert_eq(loop_turn(f.loop, true), 3);
	cr_assert_eq(hook.ran, 1);
	cr_assert_eq(hook.at, 3);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	loop_destroy(f.loop);
}

static void schedule_other(struct probe *p)
{
	loop_hook_schedule(p->loop, &p->other->hook);
}

Test(loop, hooks_that_hooks_schedule_run_in_the_same_turn)
{
	struct loop_fixture f;
	struct probe a, b;

	loop_fixture_init(&f);
	probe_init(&a, f.loop, schedule_other);
	probe_init(&b, f.loop, NULL);
	a.other = &b;
	loop_hook_schedule(f.loop, &a.hook);
	cr_assert_eq(loop_turn(f.loop, true), 2);
	loop_destroy(f.loop);
}

Test(loop, a_hook_that_schedules_itself_for_ever_lets_the_turn_end)
{
	struct loop_fixture f;
	struct probe p, task;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, schedule_hook);
	probe_init(&task, f.loop, NULL);
	loop_hook_schedule(f.loop, &p.hook);
	loop_post(f.loop, &task.task);
	loop_turn(f.loop, true);
	cr_assert_leq(p.ran, 16);
	/* The next turn does not wait: work is left. */
	cr_assert_gt(loop_turn(f.loop, true), 0);
	loop_hook_cancel(f.loop, &p.hook);
	cr_assert_eq(loop_turn(f.loop, false), 0);
	loop_destroy(f.loop);
}

static void cancel_other_hook(struct probe *p)
{
	loop_hook_cancel(p->loop, &p->other->hook);
}

Test(loop, a_hook_may_cancel_the_next_of_the_same_round)
{
	struct loop_fixture f;
	struct probe a, b;

	loop_fixture_init(&f);
	probe_init(&a, f.loop, cancel_other_hook);
	probe_init(&b, f.loop, NULL);
	a.other = &b;
	loop_hook_schedule(f.loop, &a.hook);
	loop_hook_schedule(f.loop, &b.hook);
	cr_assert_eq(loop_turn(f.loop, true), 1);
	cr_assert_eq(b.ran, 0);
	loop_destroy(f.loop);
}

/* ---- end of life ---- */

Test(loop, destroying_a_loop_with_everything_armed_takes_it_off)
{
	struct loop_fixture f;
	struct probe p;
	int fd = new_eventfd(1);

	loop_fixture_init(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, fd, LOOP_IN, probe_on_fd), 0);
	cr_assert_eq(loop_timer_arm(&p.timer, 5), 0);
	loop_post(f.loop, &p.task);
	loop_hook_schedule(f.loop, &p.hook);
	loop_destroy(f.loop);
	cr_assert_eq(p.ran, 0);
	loop_fd_del(&p.fd);
	loop_timer_disarm(&p.timer);
	cr_assert_not(p.task.posted);
	cr_assert_not(p.hook.scheduled);
	close(fd);
	loop_destroy(NULL);
}
