/* SPDX-License-Identifier: MIT */
#include "core/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/thread.h"
#include "core/trace.h"

#define HOOK_ROUNDS 4

static uintptr_t self(void)
{
	return (uintptr_t)pthread_self();
}

int loop_create(struct loop **out, const char *name, struct clock *clock, struct vmm_error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = loop};
	int r;

	if (!loop)
		return error_set(err, ENOMEM, "out of memory");
	snprintf(loop->name, sizeof(loop->name), "%s", name);
	loop->clock = clock;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event)) {
		r = error_set_errno(err, errno, "event loop %s", name);
		if (loop->epoll_fd >= 0)
			close(loop->epoll_fd);
		if (loop->wake_fd >= 0)
			close(loop->wake_fd);
		free(loop);
		return r;
	}
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->called, NULL);
	list_init(&loop->posts);
	list_init(&loop->calls);
	list_init(&loop->fds);
	list_init(&loop->ready_posts);
	list_init(&loop->ready_calls);
	list_init(&loop->hooks);
	list_init(&loop->ready_hooks);
	*out = loop;
	return 0;
}

static void drop_tasks(struct list *list)
{
	list_for_each (it, list) {
		list_del(it);
		list_entry(it, struct loop_task, link)->posted = false;
	}
}

static void drop_hooks(struct list *list)
{
	list_for_each (it, list) {
		list_del(it);
		list_entry(it, struct loop_hook, link)->scheduled = false;
	}
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->has_thread && !loop->batch);
	assert(list_empty(&loop->calls));
	/* What is still there learns that it is not armed: taking it back later does no harm. */
	list_for_each (it, &loop->fds) {
		list_del(it);
		list_entry(it, struct loop_fd, link)->fd = -1;
	}
	for (size_t i = 0; i < loop->timers; i++)
		loop->heap[i]->heap_index = -1;
	drop_tasks(&loop->posts);
	drop_tasks(&loop->ready_posts);
	drop_hooks(&loop->hooks);
	drop_hooks(&loop->ready_hooks);
	free(loop->heap);
	close(loop->epoll_fd);
	close(loop->wake_fd);
	pthread_cond_destroy(&loop->called);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

struct clock *loop_clock(const struct loop *loop)
{
	return loop->clock;
}

uint64_t loop_now(struct loop *loop)
{
	uint64_t now = loop->now_ns;

	if (!now) {
		now = clock_now(loop->clock);
		/* Between turns nothing would say that it is old. */
		if (atomic_load_explicit(&loop->owner, memory_order_relaxed))
			loop->now_ns = now;
	}
	return now;
}

bool loop_runs(const struct loop *loop)
{
	return atomic_load_explicit(&loop->owner, memory_order_acquire) != 0;
}

bool loop_on_thread(const struct loop *loop)
{
	uintptr_t owner = atomic_load_explicit(&loop->owner, memory_order_acquire);

	return owner == 0 || owner == self();
}

/* ---- from other threads ---- */

/* Lock held. The write stays inside the lock: after it, the loop may already be gone. */
static void wake_locked(struct loop *loop)
{
	uint64_t one = 1;

	if (!loop->waiting)
		return;
	loop->waiting = false;
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_wake(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->wake = true;
	wake_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

void loop_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	atomic_store_explicit(&loop->stop, true, memory_order_relaxed);
	loop->wake = true;
	wake_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

void loop_task_init(struct loop_task *task, void (*fn)(struct loop_task *task))
{
	task->fn = fn;
	task->posted = false;
	list_init(&task->link);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	pthread_mutex_lock(&loop->lock);
	if (!task->posted) {
		task->posted = true;
		list_add_tail(&loop->posts, &task->link);
		wake_locked(loop);
	}
	pthread_mutex_unlock(&loop->lock);
}

void loop_task_cancel(struct loop *loop, struct loop_task *task)
{
	pthread_mutex_lock(&loop->lock);
	list_del(&task->link);
	task->posted = false;
	pthread_mutex_unlock(&loop->lock);
}

void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct call call = {.fn = fn, .arg = arg};

	pthread_mutex_lock(&loop->lock);
	/* Under the lock, so that a loop that is about to end either runs the call or is seen gone.
	 */
	if (loop_on_thread(loop)) {
		pthread_mutex_unlock(&loop->lock);
		fn(arg);
		return;
	}
	list_add_tail(&loop->calls, &call.link);
	wake_locked(loop);
	while (!call.done)
		pthread_cond_wait(&loop->called, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
}

/* ---- hooks ---- */

void loop_hook_init(struct loop_hook *hook, void (*fn)(struct loop_hook *hook))
{
	hook->fn = fn;
	hook->scheduled = false;
	list_init(&hook->link);
}

void loop_hook_schedule(struct loop *loop, struct loop_hook *hook)
{
	if (hook->scheduled)
		return;
	hook->scheduled = true;
	list_add_tail(&loop->hooks, &hook->link);
}

void loop_hook_cancel(struct loop *loop UNUSED, struct loop_hook *hook)
{
	list_del(&hook->link);
	hook->scheduled = false;
}

static void append(struct list *to, struct list *from)
{
	while (!list_empty(from)) {
		struct list *it = from->next;

		list_del(it);
		list_add_tail(to, it);
	}
}

static unsigned run_hooks(struct loop *loop)
{
	unsigned ran = 0;

	for (unsigned round = 0; round < HOOK_ROUNDS && !list_empty(&loop->hooks); round++) {
		loop->now_ns = 0;
		append(&loop->ready_hooks, &loop->hooks);
		while (!list_empty(&loop->ready_hooks)) {
			struct loop_hook *hook =
				list_entry(loop->ready_hooks.next, struct loop_hook, link);

			loop_hook_cancel(loop, hook);
			hook->fn(hook);
			ran++;
		}
	}
	return ran;
}

/* ---- turns ---- */

static unsigned run_posts(struct loop *loop)
{
	unsigned ran = 0;

	for (;;) {
		struct loop_task *task = NULL;

		/* One at a time under the lock: a task may cancel the next one. */
		pthread_mutex_lock(&loop->lock);
		if (!list_empty(&loop->ready_posts)) {
			task = list_entry(loop->ready_posts.next, struct loop_task, link);
			list_del(&task->link);
			task->posted = false;
		}
		pthread_mutex_unlock(&loop->lock);
		if (!task)
			return ran;
		task->fn(task);
		ran++;
	}
}

static unsigned run_calls(struct loop *loop)
{
	unsigned ran = 0;

	while (!list_empty(&loop->ready_calls)) {
		struct call *call = list_entry(loop->ready_calls.next, struct call, link);

		list_del(&call->link);
		call->fn(call->arg);
		pthread_mutex_lock(&loop->lock);
		call->done = true;
		pthread_cond_broadcast(&loop->called);
		pthread_mutex_unlock(&loop->lock);
		ran++;
	}
	return ran;
}

/*
 * How long to wait: NULL for until something happens. Hooks that are left over from the last turn
 * and timers that are due do not wait.
 */
static struct timespec *timeout(struct loop *loop, bool block, struct timespec *ts)
{
	uint64_t now, deadline;

	*ts = (struct timespec){0};
	if (!block || !list_empty(&loop->hooks))
		return ts;
	if (!loop->timers)
		return NULL;
	deadline = loop->heap[0]->deadline_ns;
	now = clock_now(loop->clock);
	if (deadline <= now)
		return ts;
	if (!loop->clock->is_system)
		return NULL;
	ts->tv_sec = (time_t)((deadline - now) / NS_PER_SEC);
	ts->tv_nsec = (long)((deadline - now) % NS_PER_SEC);
	return ts;
}

static int wait_events(struct loop *loop, struct batch *batch, const struct timespec *ts)
{
	int n, ms = -1;

	n = epoll_pwait2(loop->epoll_fd, batch->events, BATCH_EVENTS, ts, NULL);
	if (n < 0 && errno == ENOSYS) {
		/* Before Linux 5.11. Rounded up, so that a timer is never found not yet due. */
		if (ts)
			ms = (int)MIN(ts->tv_sec * 1000 + (ts->tv_nsec + 999999) / 1000000,
				      (time_t)86400000);
		n = epoll_wait(loop->epoll_fd, batch->events, BATCH_EVENTS, ms);
	}
	/* EINTR: the program's own signals. Nothing else can go wrong with valid arguments. */
	return MAX(n, 0);
}

/* Wait, then take what other threads have left. */
static int collect(struct loop *loop, struct batch *batch, bool block)
{
	static const struct timespec none = {0};
	struct timespec ts, *wait = timeout(loop, block, &ts);
	bool idle;
	int n;

	pthread_mutex_lock(&loop->lock);
	idle = !loop->wake && list_empty(&loop->posts) && list_empty(&loop->calls) &&
	       list_empty(&loop->ready_posts) && list_empty(&loop->ready_calls);
	loop->waiting = idle && block;
	pthread_mutex_unlock(&loop->lock);

	n = wait_events(loop, batch, idle ? wait : &none);

	pthread_mutex_lock(&loop->lock);
	loop->waiting = loop->wake = false;
	append(&loop->ready_posts, &loop->posts);
	append(&loop->ready_calls, &loop->calls);
	pthread_mutex_unlock(&loop->lock);
	return n;
}

/* One turn, by the thread that owns the loop. */
static unsigned turn(struct loop *loop, bool block)
{
	struct batch batch;
	unsigned ran = 0;

	batch.next = 0;
	batch.outer = loop->batch;
	batch.count = collect(loop, &batch, block);
	loop->now_ns = 0;
	loop->batch = &batch;
	ran += loop_run_fds(loop, &batch);
	loop->batch = batch.outer;
	ran += run_posts(loop);
	ran += run_calls(loop);
	ran += loop_run_timers(loop);
	ran += run_hooks(loop);
	loop->now_ns = 0; /* a turn may be nested in another one */
	trace_loop_turn(loop->name, ran);
	return ran;
}

/* Become the thread that the loop belongs to. False: it already is. */
static bool enter(struct loop *loop)
{
	bool entered;

	pthread_mutex_lock(&loop->lock);
	assert(loop_on_thread(loop));
	entered = !atomic_load_explicit(&loop->owner, memory_order_relaxed);
	atomic_store_explicit(&loop->owner, self(), memory_order_release);
	pthread_mutex_unlock(&loop->lock);
	return entered;
}

/* Nobody waits for a loop that has ended: calls that are already queued still run. */
static unsigned leave(struct loop *loop)
{
	unsigned ran = 0;

	for (;;) {
		loop->now_ns = 0;
		pthread_mutex_lock(&loop->lock);
		append(&loop->ready_calls, &loop->calls);
		if (list_empty(&loop->ready_calls))
			break;
		pthread_mutex_unlock(&loop->lock);
		ran += run_calls(loop);
		ran += run_hooks(loop);
	}
	atomic_store_explicit(&loop->owner, 0, memory_order_release);
	pthread_mutex_unlock(&loop->lock);
	return ran;
}

unsigned loop_turn(struct loop *loop, bool block)
{
	bool entered = enter(loop);
	unsigned ran = turn(loop, block);

	return entered ? ran + leave(loop) : ran;
}

static void run(struct loop *loop)
{
	while (!atomic_exchange_explicit(&loop->stop, false, memory_order_relaxed))
		turn(loop, true);
	leave(loop);
}

void loop_run(struct loop *loop)
{
	enter(loop);
	run(loop);
}

/* ---- a thread of its own ---- */

static void *thread_main(void *arg)
{
	struct loop *loop = arg;

	enter(loop);
	run(loop);
	return NULL;
}

int loop_start(struct loop *loop, struct vmm_error *err)
{
	int r;

	assert(!loop->has_thread);
	/*
	 * Held until the owner is known: from here on nobody takes the loop for one without a
	 * thread.
	 */
	pthread_mutex_lock(&loop->lock);
	r = thread_start(&loop->thread, loop->name, thread_main, loop);
	if (!r) {
		loop->has_thread = true;
		atomic_store_explicit(&loop->owner, (uintptr_t)loop->thread, memory_order_release);
	}
	pthread_mutex_unlock(&loop->lock);
	if (r)
		return error_set_errno(err, -r, "cannot start the thread of event loop %s",
				       loop->name);
	return 0;
}

void loop_join(struct loop *loop)
{
	if (!loop->has_thread)
		return;
	loop_stop(loop);
	pthread_join(loop->thread, NULL);
	loop->has_thread = false;
	/* The thread may have ended by an earlier stop; then this one is still pending. */
	atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
}
