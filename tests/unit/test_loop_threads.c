/* SPDX-License-Identifier: MIT */
/*
 * The loop among threads: its own, and those that post, call and stop.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/unit/support/loop_fixture.h"

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

Test(loop_threads, a_task_from_another_thread_wakes_the_loop)
{
	struct loop_fixture f;
	struct sem_task t;

	loop_fixture_init(&f);
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

Test(loop_threads, calls_from_many_threads_run_one_after_the_other_on_the_loop)
{
	struct loop_fixture f;
	unsigned count = 0; /* deliberately not atomic */
	struct caller c;
	pthread_t threads[4];

	loop_fixture_init(&f);
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

Test(loop_threads, a_call_without_a_loop_thread_runs_directly)
{
	struct loop_fixture f;
	unsigned count = 0;

	loop_fixture_init(&f);
	loop_call(f.loop, count_up, &count);
	cr_assert_eq(count, 1);
	loop_destroy(f.loop);
}

static void call_inside(struct probe *p)
{
	loop_call(p->loop, count_up, &p->events);
}

Test(loop_threads, a_call_on_the_loops_thread_runs_directly)
{
	struct loop_fixture f;
	struct probe p;

	loop_fixture_init(&f);
	probe_init(&p, f.loop, call_inside);
	loop_post(f.loop, &p.task);
	loop_turn(f.loop, true);
	cr_assert_eq(p.events, 1);
	loop_destroy(f.loop);
}

Test(loop_threads, stopping_never_leaves_a_caller_waiting)
{
	/* Calls race with the end of the thread; each must return, on the loop or directly. */
	for (int round = 0; round < 200; round++) {
		struct loop_fixture f;
		unsigned count = 0;
		struct caller c;
		pthread_t thread;

		loop_fixture_init(&f);
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

/* Another thread's call that waits for the end of the turn; opaque: where its thread goes. */
static void let_another_call(struct probe *p)
{
	bool waits = false;

	pthread_create(p->opaque, NULL, call_for_the_time, p->loop);
	while (!waits) {
		sched_yield();
		pthread_mutex_lock(&p->loop->lock);
		waits = !list_empty(&p->loop->calls);
		pthread_mutex_unlock(&p->loop->lock);
	}
}

Test(loop_threads, a_call_that_is_run_at_the_end_leaves_no_old_time_behind)
{
	struct loop_fixture f;
	struct probe p;
	pthread_t thread;

	loop_fixture_init(&f);
	clock_fake_advance(&f.clock, 100);
	probe_init(&p, f.loop, let_another_call);
	p.opaque = &thread;
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

Test(loop_threads, stop_makes_run_return_also_when_it_comes_first)
{
	struct loop_fixture f;
	struct sem_task t;
	pthread_t thread;

	loop_fixture_init(&f);
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

Test(loop_threads, a_loop_can_be_started_again)
{
	struct loop_fixture f;
	struct sem_task t;

	loop_fixture_init(&f);
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

	sem_post(p->opaque);
}

Test(loop_threads, moving_a_fake_clock_and_waking_fires_timers_on_a_running_loop)
{
	struct loop_fixture f;
	struct probe p;
	sem_t fired;

	loop_fixture_init(&f);
	sem_init(&fired, 0, 0);
	probe_init(&p, f.loop, NULL);
	p.opaque = &fired;
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

Test(loop_threads, posts_from_many_threads_are_never_lost)
{
	struct loop_fixture f;
	struct sem_task t[4];
	pthread_t threads[4];
	unsigned calls = 0;

	loop_fixture_init(&f);
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

Test(loop_threads, the_loops_thread_takes_no_signals_of_the_program)
{
	struct loop_fixture f;
	sigset_t mask, mine;

	loop_fixture_init(&f);
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
