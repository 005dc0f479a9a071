/* SPDX-License-Identifier: MIT */
/*
 * Inside of the event loop; only loop*.c include this.
 *
 * epoll waits for descriptors, its timeout for timers, and an eventfd wakes it for other threads.
 * That eventfd is written only while the loop waits (`waiting`): a busy loop looks at its lists
 * before it waits again, so that posting to it costs no system call.
 */
#ifndef CORE_LOOP_IMPL_H
#define CORE_LOOP_IMPL_H

#include <pthread.h>
#include <sys/epoll.h>

#include "core/loop.h"

#define BATCH_EVENTS 64

/* What one epoll call returned. On the stack of a turn; turns can nest, so they form a chain. */
struct batch {
	struct epoll_event events[BATCH_EVENTS];
	int next, count;
	struct batch *outer;
};

/* A loop_call that waits on its caller's stack. */
struct call {
	void (*fn)(void *arg);
	void *arg;
	bool done;
	struct list link;
};

struct loop {
	char name[16];
	struct clock *clock;
	int epoll_fd, wake_fd;
	pthread_t thread;
	bool has_thread;
	_Atomic bool stop;
	_Atomic uintptr_t owner; /* pthread_self() of the thread that runs it; 0: none */

	pthread_mutex_t lock; /* guards from here */
	pthread_cond_t called;
	struct list posts, calls;
	bool waiting, wake; /* in the kernel; asked to take a turn */
	/* to here */

	/* The loop's thread only. */
	struct list fds;
	struct batch *batch;
	uint64_t now_ns;                      /* of loop_now; 0: to be read */
	struct list ready_posts, ready_calls; /* taken from posts and calls, not yet run */
	struct list hooks, ready_hooks;
	struct loop_timer **heap;
	size_t timers, heap_size;
};

/* Parts of a turn; each returns how many handlers it ran. */
unsigned loop_run_fds(struct loop *loop, struct batch *batch);
unsigned loop_run_timers(struct loop *loop);

#endif
