/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/loop_impl.h"

/* A loop with a clock that moves by hand; most tests turn it themselves. */
struct fixture {
	struct loop *loop;
	struct clock_fake clock;
};

static void start(struct fixture *f)
{
	struct vmm_error err;

	clock_fake_init(&f->clock);
	cr_assert_eq(loop_create(&f->loop, "test", &f->clock.clock, &err), 0);
}

static int new_eventfd(unsigned count)
{
	int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);

	cr_assert_geq(fd, 0);
	return fd;
}

/* One of each, with a count and an action. */
struct probe {
	struct loop_fd fd;
	struct loop_timer timer;
	struct loop_task task;
	struct loop_hook hook;
	struct loop *loop;
	unsigned ran, events;
	void (*action)(struct probe *p);
	struct probe *other;
	unsigned *order;
	unsigned at;
};

static void act(struct probe *p)
{
	p->ran++;
	if (p->order)
		p->at = ++*p->order;
	if (p->action)
		p->action(p);
}

static void on_fd(struct loop_fd *lfd, unsigned events)
{
	struct probe *p = container_of(lfd, struct probe, fd);

	p->events = events;
	act(p);
}

static void on_timer(struct loop_timer *t)
{
	act(container_of(t, struct probe, timer));
}

static void on_task(struct loop_task *t)
{
	act(container_of(t, struct probe, task));
}

static void on_hook(struct loop_hook *h)
{
	act(container_of(h, struct probe, hook));
}

static void probe_init(struct probe *p, struct loop *loop, void (*action)(struct probe *p))
{
	memset(p, 0, sizeof(*p));
	p->loop = loop;
	p->action = action;
	loop_timer_init(loop, &p->timer, on_timer);
	loop_task_init(&p->task, on_task);
	loop_hook_init(&p->hook, on_hook);
	p->fd.fd = -1;
}

/* ---- descriptors ---- */

Test(loop, a_readable_descriptor_runs_its_handler_each_turn)
{
	struct fixture f;
	struct probe p;
	uint64_t v;
	int fd = new_eventfd(1);

	start(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, fd, LOOP_IN, on_fd), 0);
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
	struct fixture f;
	struct probe p;
	int fds[2];

	start(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, fds[0], 0, on_fd), 0);
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
	struct fixture f;
	struct probe p;

	start(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, -1, LOOP_IN, on_fd), -EBADF);
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
	struct fixture f;
	struct probe a, *b = malloc(sizeof(*b));
	int fd1 = new_eventfd(1), fd2 = new_eventfd(1);

	start(&f);
	probe_init(&a, f.loop, delete_other);
	probe_init(b, f.loop, delete_other);
	a.other = b;
	b->other = &a;
	cr_assert_eq(loop_fd_add(f.loop, &a.fd, fd1, LOOP_IN, on_fd), 0);
	cr_assert_eq(loop_fd_add(f.loop, &b->fd, fd2, LOOP_IN, on_fd), 0);
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
	struct fixture f;
	struct probe a, b;
	int fd1 = new_eventfd(1), fd2 = new_eventfd(1);

	start(&f);
	probe_init(&a, f.loop, want_nothing);
	probe_init(&b, f.loop, want_nothing);
	a.other = &b;
	b.other = &a;
	cr_assert_eq(loop_fd_add(f.loop, &a.fd, fd1, LOOP_IN, on_fd), 0);
	cr_assert_eq(loop_fd_add(f.loop, &b.fd, fd2, LOOP_IN, on_fd), 0);
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
	struct fixture f;
	struct probe a, b;
	int fd1 = new_eventfd(1), fd2 = new_eventfd(1);

	start(&f);
	probe_init(&a, f.loop, turn_inside);
	probe_init(&b, f.loop, turn_inside);
	cr_assert_eq(loop_fd_add(f.loop, &a.fd, fd1, LOOP_IN, on_fd), 0);
	cr_assert_eq(loop_fd_add(f.loop, &b.fd, fd2, LOOP_IN, on_fd), 0);
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
	struct fixture f;
	struct probe *p = calloc(N, sizeof(*p));
	int fd[N];
	unsigned turns = 0, served = 0;

	start(&f);
	for (int i = 0; i < N; i++) {
		probe_init(&p[i], f.loop, NULL);
		fd[i] = new_eventfd(1);
		cr_assert_eq(loop_fd_add(f.loop, &p[i].fd, fd[i], LOOP_IN, on_fd), 0);
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
	struct fixture f;
	struct probe p;

	start(&f);
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
	struct fixture f;
	struct probe a, b;

	start(&f);
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
	struct fixture f;
	struct probe *p = calloc(N, sizeof(*p));
	unsigned order = 0, seed = 1, armed = 0;

	start(&f);
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
	struct fixture f;
	struct probe p;

	start(&f);
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
	struct fixture f;
	struct probe a, b;

	start(&f);
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
	struct fixture f;
	struct probe p;

	start(&f);
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
	struct fixture f;
	struct probe p;

	start(&f);
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
	struct fixture f;
	struct probe a, b;

	start(&f);
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
	struct fixture f;
	struct probe a, b, hook;

	start(&f);
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
	struct fixture f;
	unsigned order = 0;
	struct probe hook, a, b;

	start(&f);
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
	struct fixture f;
	struct probe a, b;

	start(&f);
	probe_init(&a, f.loop, schedule_other);
	probe_init(&b, f.loop, NULL);
	a.other = &b;
	loop_hook_schedule(f.loop, &a.hook);
	cr_assert_eq(loop_turn(f.loop, true), 2);
	loop_destroy(f.loop);
}

Test(loop, a_hook_that_schedules_itself_for_ever_lets_the_turn_end)
{
	struct fixture f;
	struct probe p, task;

	start(&f);
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
	struct fixture f;
	struct probe a, b;

	start(&f);
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
	struct fixture f;
	struct probe p;
	int fd = new_eventfd(1);

	start(&f);
	probe_init(&p, f.loop, NULL);
	cr_assert_eq(loop_fd_add(f.loop, &p.fd, fd, LOOP_IN, on_fd), 0);
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

/* ---- threads ---- */

struct sem_task {
	struct loop_task task;
	sem_t sem;
	_Atomic unsigned ran;
	struct loop *loop;
	_Atomic bool on_thread;
};

static void post_sem(struct loop_task *task)
{
	struct sem_task *t = container_of(task, struct sem_task, task);

	t->ran++;
	t->on_thread = loop_on_thread(t->loop);
	sem_post(&t->sem);
}

static void sem_task_init(struct sem_task *t, struct loop *loop)
{
	memset(t, 0, sizeof(*t));
	loop_task_init(&t->task, post_sem);
	sem_init(&t->sem, 0, 0);
	t->loop = loop;
}

Test(loop, a_task_from_another_thread_wakes_the_loop)
{
	struct fixture f;
	struct sem_task t;

	start(&f);
	sem_task_init(&t, f.loop);
	cr_assert(loop_on_thread(f.loop));
	cr_assert_eq(loop_start(f.loop, NULL), 0);
	cr_assert_not(loop_on_thread(f.loop));
	for (unsigned i = 1; i <= 1000; i++) {
		loop_post(f.loop, &t.task);
		sem_wait(&t.sem);
		cr_assert_eq(t.ran, i);
	}
	cr_assert(t.on_thread);
	loop_join(f.loop);
	loop_join(f.loop);
	cr_assert(loop_on_thread(f.loop));
	loop_destroy(f.loop);
}

static void count_up(void *arg)
{
	(*(unsigned *)arg)++;
}

struct caller {
	struct loop *loop;
	unsigned *count;
};

static void *call_often(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < 500; i++)
		loop_call(c->loop, count_up, c->count);
	return NULL;
}

Test(loop, calls_from_many_threads_run_one_after_the_other_on_the_loop)
{
	struct fixture f;
	unsigned count = 0; /* deliberately not atomic */
	struct caller c;
	pthread_t threads[4];

	start(&f);
	c = (struct caller){f.loop, &count};
	cr_assert_eq(loop_start(f.loop, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, call_often, &c);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	loop_join(f.loop);
	cr_assert_eq(count, 2000);
	loop_destroy(f.loop);
}

Test(loop, a_call_without_a_loop_thread_runs_directly)
{
	struct fixture f;
	unsigned count = 0;

	start(&f);
	loop_call(f.loop, count_up, &count);
	cr_assert_eq(count, 1);
	loop_destroy(f.loop);
}

static void call_inside(struct probe *p)
{
	loop_call(p->loop, count_up, &p->events);
}

Test(loop, a_call_on_the_loops_thread_runs_directly)
{
	struct fixture f;
	struct probe p;

	start(&f);
	probe_init(&p, f.loop, call_inside);
	loop_post(f.loop, &p.task);
	loop_turn(f.loop, true);
	cr_assert_eq(p.events, 1);
	loop_destroy(f.loop);
}

Test(loop, stopping_never_leaves_a_caller_waiting)
{
	/* Calls race with the end of the thread; each must return, on the loop or directly. */
	for (int round = 0; round < 200; round++) {
		struct fixture f;
		unsigned count = 0;
		struct caller c;
		pthread_t thread;

		start(&f);
		c = (struct caller){f.loop, &count};
		cr_assert_eq(loop_start(f.loop, NULL), 0);
		pthread_create(&thread, NULL, call_often, &c);
		loop_stop(f.loop);
		loop_join(f.loop);
		pthread_join(thread, NULL);
		cr_assert_eq(count, 500);
		loop_destroy(f.loop);
	}
}

static void ask_time(void *arg)
{
	(void)loop_now(arg);
}

static void *call_for_the_time(void *arg)
{
	loop_call(arg, ask_time, arg);
	return NULL;
}

/* Another thread's call that waits for the end of the turn; other: where its thread goes. */
static void let_another_call(struct probe *p)
{
	bool waits = false;

	pthread_create((pthread_t *)(void *)p->other, NULL, call_for_the_time, p->loop);
	while (!waits) {
		sched_yield();
		pthread_mutex_lock(&p->loop->lock);
		waits = !list_empty(&p->loop->calls);
		pthread_mutex_unlock(&p->loop->lock);
	}
}

Test(loop, a_call_that_is_run_at_the_end_leaves_no_old_time_behind)
{
	struct fixture f;
	struct probe p;
	pthread_t thread;

	start(&f);
	clock_fake_advance(&f.clock, 100);
	probe_init(&p, f.loop, let_another_call);
	p.other = (void *)&thread;
	loop_post(f.loop, &p.task);
	cr_assert_eq(loop_turn(f.loop, false), 2);
	pthread_join(thread, NULL);
	clock_fake_advance(&f.clock, 100);
	cr_assert_eq(loop_now(f.loop), clock_now(&f.clock.clock));
	loop_destroy(f.loop);
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

Test(loop, stop_makes_run_return_also_when_it_comes_first)
{
	struct fixture f;
	struct sem_task t;
	pthread_t thread;

	start(&f);
	loop_stop(f.loop);
	loop_run(f.loop);

	sem_task_init(&t, f.loop);
	pthread_create(&thread, NULL, run_loop, f.loop);
	loop_post(f.loop, &t.task);
	sem_wait(&t.sem);
	loop_stop(f.loop);
	pthread_join(thread, NULL);
	loop_destroy(f.loop);
}

Test(loop, a_loop_can_be_started_again)
{
	struct fixture f;
	struct sem_task t;

	start(&f);
	sem_task_init(&t, f.loop);
	for (unsigned i = 0; i < 50; i++) {
		cr_assert_eq(loop_start(f.loop, NULL), 0);
		loop_post(f.loop, &t.task);
		sem_wait(&t.sem);
		if (i % 2)
			loop_stop(f.loop);
		loop_join(f.loop);
	}
	loop_destroy(f.loop);
}

static void post_timer_sem(struct loop_timer *timer)
{
	struct probe *p = container_of(timer, struct probe, timer);

	sem_post((sem_t *)(void *)p->other);
}

Test(loop, moving_a_fake_clock_and_waking_fires_timers_on_a_running_loop)
{
	struct fixture f;
	struct probe p;
	sem_t fired;

	start(&f);
	sem_init(&fired, 0, 0);
	probe_init(&p, f.loop, NULL);
	p.other = (void *)&fired;
	loop_timer_init(f.loop, &p.timer, post_timer_sem);
	cr_assert_eq(loop_timer_arm(&p.timer, NS_PER_SEC), 0);
	cr_assert_eq(loop_start(f.loop, NULL), 0);
	clock_fake_advance(&f.clock, NS_PER_SEC);
	loop_wake(f.loop);
	sem_wait(&fired);
	loop_join(f.loop);
	loop_destroy(f.loop);
}

static void *post_often(void *arg)
{
	struct sem_task *t = arg;

	for (int i = 0; i < 5000; i++)
		loop_post(t->loop, &t->task);
	return NULL;
}

Test(loop, posts_from_many_threads_are_never_lost)
{
	struct fixture f;
	struct sem_task t[4];
	pthread_t threads[4];
	unsigned calls = 0;

	start(&f);
	cr_assert_eq(loop_start(f.loop, NULL), 0);
	for (int i = 0; i < 4; i++) {
		sem_task_init(&t[i], f.loop);
		pthread_create(&threads[i], NULL, post_often, &t[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	/* A call comes after every post that was before it. */
	loop_call(f.loop, count_up, &calls);
	for (int i = 0; i < 4; i++) {
		cr_assert_gt(t[i].ran, 0);
		cr_assert_not(t[i].task.posted);
	}
	loop_join(f.loop);
	loop_destroy(f.loop);
}

static void get_mask(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, arg);
}

Test(loop, the_loops_thread_takes_no_signals_of_the_program)
{
	struct fixture f;
	sigset_t mask, mine;

	start(&f);
	cr_assert_eq(loop_start(f.loop, NULL), 0);
	loop_call(f.loop, get_mask, &mask);
	cr_assert(sigismember(&mask, SIGINT));
	cr_assert(sigismember(&mask, SIGCHLD));
	cr_assert_not(sigismember(&mask, SIGSEGV));
	get_mask(&mine);
	cr_assert_not(sigismember(&mine, SIGINT));
	loop_join(f.loop);
	loop_destroy(f.loop);
}
