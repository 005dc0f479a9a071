/* SPDX-License-Identifier: MIT */
/*
 * The event loop. Every device has one home loop: its doorbells, completions and timers run there.
 *
 * A turn of the loop: wait for events, run the handlers of descriptors, posted tasks and due
 * timers, then run the end-of-batch hooks that those scheduled. Hooks are where rings publish
 * completions and notify the guest, and where disks submit their requests: once for the whole
 * batch. Hooks that schedule hooks run in the same turn, up to a bound, then in the next.
 *
 * Nothing outside loop*.c knows how the loop waits.
 *
 * Threads: loop_post, loop_call, loop_wake and loop_stop may be called from any thread; everything
 * else only on the loop's thread, or while the loop does not run.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include "core/clock.h"
#include "core/error.h"
#include "core/list.h"

struct loop;

/* name: for the thread and the log, at most 15 characters. clock: not owned. */
int loop_create(struct loop **loop, const char *name, struct clock *clock,
		struct vmm_error *err) MUST_CHECK;

/*
 * The loop must not run any more. Tasks that never ran are dropped; what is still added, armed or
 * scheduled is taken off, so it must still exist. NULL is allowed.
 */
void loop_destroy(struct loop *loop);

/* Run on the calling thread until loop_stop. */
void loop_run(struct loop *loop);

/*
 * One turn, for tests and for embedding. block: wait for an event (false: only what is there
 * already). Returns the number of handlers, tasks, timers and hooks that ran.
 */
unsigned loop_turn(struct loop *loop, bool block);

/* Run the loop on a thread of its own / end that thread (stops, then joins). */
int loop_start(struct loop *loop, struct vmm_error *err) MUST_CHECK;
void loop_join(struct loop *loop);

/* Make loop_run return after the current turn, or at once if it has yet to begin. Any thread. */
void loop_stop(struct loop *loop);

/* Make the loop take a turn (a fake clock has moved). Any thread. */
void loop_wake(struct loop *loop);

/* True while a thread runs the loop, or a turn of it. */
bool loop_runs(const struct loop *loop);

/* True on the loop's own thread, or where no thread runs the loop (single-threaded tests). */
bool loop_on_thread(const struct loop *loop);

struct clock *loop_clock(const struct loop *loop);

/*
 * The time, for what is measured thousands of times in a turn: the clock is read at most once for
 * the handlers, tasks and timers of a turn and once for each of its rounds of hooks, so that it is
 * late by at most what these take. Loop's thread only; between turns it is exact.
 */
uint64_t loop_now(struct loop *loop);

/* Descriptors. Level-triggered. */
enum loop_events {
	LOOP_IN = 1 << 0,
	LOOP_OUT = 1 << 1,
	LOOP_HUP = 1 << 2, /* reported, never asked for: hang-up or error */
};

struct loop_fd {
	int fd; /* -1: not added */
	unsigned events;
	void (*fn)(struct loop_fd *lfd, unsigned events);
	struct loop *loop;
	struct list link;
};

/*
 * lfd: owned by the caller, must live until loop_fd_del. fd: stays the caller's. Returns 0 or
 * -errno
 * (-EPERM: a regular file, which is always ready).
 */
int loop_fd_add(struct loop *loop, struct loop_fd *lfd, int fd, unsigned events,
		void (*fn)(struct loop_fd *lfd, unsigned events)) MUST_CHECK;
/* Change the wanted events (0: only hang-up is reported). */
void loop_fd_set(struct loop_fd *lfd, unsigned events);
/* Its handler does not run again, also not later in the same turn. No-op if not added. */
void loop_fd_del(struct loop_fd *lfd);

/* Timers, one-shot. */
struct loop_timer {
	uint64_t deadline_ns; /* on the loop's monotonic clock */
	void (*fn)(struct loop_timer *timer);
	struct loop *loop;
	int64_t heap_index; /* -1: not armed */
};

void loop_timer_init(struct loop *loop, struct loop_timer *timer,
		     void (*fn)(struct loop_timer *timer));
/* Arm or re-arm for an absolute time. Returns 0 or -ENOMEM. */
int loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns) MUST_CHECK;
void loop_timer_disarm(struct loop_timer *timer);

/* Tasks: a function that runs once on the loop. Posting a task that is already posted is a no-op.
 */
struct loop_task {
	void (*fn)(struct loop_task *task);
	struct list link;
	bool posted; /* guarded by the loop's lock */
};

void loop_task_init(struct loop_task *task, void (*fn)(struct loop_task *task));
void loop_post(struct loop *loop, struct loop_task *task);
/* Take back a task that has not run yet. On the loop's thread only. */
void loop_task_cancel(struct loop *loop, struct loop_task *task);

/*
 * Run fn(arg) on the loop and wait until it has returned. On the loop's own thread (or where no
 * thread runs the loop) it is called directly. The caller must hold no lock that fn takes.
 */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

/* End-of-batch hooks. Scheduling one that is already scheduled is a no-op. Loop's thread only. */
struct loop_hook {
	void (*fn)(struct loop_hook *hook);
	struct list link;
	bool scheduled;
};

void loop_hook_init(struct loop_hook *hook, void (*fn)(struct loop_hook *hook));
void loop_hook_schedule(struct loop *loop, struct loop_hook *hook);
void loop_hook_cancel(struct loop *loop, struct loop_hook *hook);

#endif
