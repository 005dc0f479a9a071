/* SPDX-License-Identifier: MIT */
/*
 * A loop, and something of each kind that it serves.
 */
#ifndef SUPPORT_LOOP_FIXTURE_H
#define SUPPORT_LOOP_FIXTURE_H

#include "core/loop_impl.h"

/* A loop with a clock that moves by hand; no thread runs it. */
struct loop_fixture {
	struct loop *loop;
	struct clock_fake clock;
};

/* Or the test fails. loop_destroy ends it. */
void loop_fixture_init(struct loop_fixture *f);

/* A descriptor, a timer, a task and a hook of one loop, with a count and an action. */
struct probe {
	struct loop_fd fd;
	struct loop_timer timer;
	struct loop_task task;
	struct loop_hook hook;
	struct loop *loop;
	unsigned ran;                    /* how often any of them ran */
	unsigned events;                 /* of the descriptor, the last time */
	void (*action)(struct probe *p); /* what to do then; NULL: nothing */
	struct probe *other;             /* the action's */
	void *opaque;                    /* the action's */
	unsigned *order;                 /* counts the runs of several probes; NULL: nobody does */
	unsigned at;                     /* *order when it ran last */
};

/* The descriptor is added by loop_fd_add, with probe_on_fd for its handler. */
void probe_init(struct probe *p, struct loop *loop, void (*action)(struct probe *p));
void probe_on_fd(struct loop_fd *lfd, unsigned events);

#endif
