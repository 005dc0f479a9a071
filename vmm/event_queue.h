/* SPDX-License-Identifier: MIT */
/*
 * What happened to a machine, for the program that has it: the latest EVENT_QUEUE_SIZE events, and
 * a descriptor that is readable while there are some. Of a fixed size: what a guest provokes pushes
 * out the oldest, and the next event tells how many that were.
 */
#ifndef VMM_EVENT_QUEUE_H
#define VMM_EVENT_QUEUE_H

#include "core/clock.h"
#include "vmm/machine_watch.h"

#include <vmm.h>

#define EVENT_QUEUE_SIZE 256u

struct event_queue {
	struct machine_watcher watcher;
	struct clock *clock;
	int fd; /* an eventfd: its count is 1 while there are events, else 0 */

	pthread_mutex_t lock; /* a leaf; guards what follows */
	unsigned first, count;
	uint64_t lost; /* before the oldest */
	bool closed;   /* the machine has stopped */
	struct vmm_event ring[EVENT_QUEUE_SIZE];
};

/* Set-up; fini also after init has failed. Returns 0 or -errno. */
int event_queue_init(struct event_queue *queue, struct clock *clock) MUST_CHECK;
void event_queue_fini(struct event_queue *queue);

/* False: there is none. Any thread. */
bool event_queue_take(struct event_queue *queue, struct vmm_event *event);

#endif
