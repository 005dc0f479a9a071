/* SPDX-License-Identifier: MIT */
/* Timers of the event loop: a binary heap, the next one first. */
#include "core/loop_impl.h"

#include <errno.h>
#include <stdlib.h>

void loop_timer_init(struct loop *loop, struct loop_timer *timer,
		     void (*fn)(struct loop_timer *timer))
{
	*timer = (struct loop_timer){.fn = fn, .loop = loop, .heap_index = -1};
}

static void heap_put(struct loop *loop, size_t i, struct loop_timer *timer)
{
	loop->heap[i] = timer;
	timer->heap_index = (int64_t)i;
}

/* Move the timer from the hole at i to where its deadline belongs. */
static void heap_sift(struct loop *loop, size_t i, struct loop_timer *timer)
{
	size_t child;

	while (i > 0 && loop->heap[(i - 1) / 2]->deadline_ns > timer->deadline_ns) {
		heap_put(loop, i, loop->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	while ((child = 2 * i + 1) < loop->timers) {
		if (child + 1 < loop->timers &&
		    loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (loop->heap[child]->deadline_ns >= timer->deadline_ns)
			break;
		heap_put(loop, i, loop->heap[child]);
		i = child;
	}
	heap_put(loop, i, timer);
}

int loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns)
{
	struct loop *loop = timer->loop;

	timer->deadline_ns = deadline_ns;
	if (timer->heap_index >= 0) {
		heap_sift(loop, (size_t)timer->heap_index, timer);
		return 0;
	}
	if (loop->timers == loop->heap_size) {
		size_t size = loop->heap_size ? 2 * loop->heap_size : 16;
		struct loop_timer **heap = reallocarray(loop->heap, size, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_size = size;
	}
	heap_sift(loop, loop->timers++, timer);
	return 0;
}

void loop_timer_disarm(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	struct loop_timer *last;
	size_t hole;

	if (timer->heap_index < 0)
		return;
	hole = (size_t)timer->heap_index;
	timer->heap_index = -1;
	last = loop->heap[--loop->timers];
	if (last != timer)
		heap_sift(loop, hole, last);
}

unsigned loop_run_timers(struct loop *loop)
{
	/* At most those that are armed now: one that re-arms itself for the past waits a turn. */
	size_t left = loop->timers;
	unsigned ran = 0;
	uint64_t now;

	if (!left)
		return 0;
	now = clock_now(loop->clock);
	for (; left && loop->timers && loop->heap[0]->deadline_ns <= now; left--) {
		struct loop_timer *timer = loop->heap[0];

		loop_timer_disarm(timer);
		timer->fn(timer);
		ran++;
	}
	return ran;
}
