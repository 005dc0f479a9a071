/* SPDX-License-Identifier: MIT */
/*
 * Time is injected: everything that needs it asks a clock, so that tests move time by hand.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include "core/types.h"

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS  UINT64_C(1000000)

struct clock {
	/* Nanoseconds since some fixed point; never goes back. Any thread. */
	uint64_t (*monotonic_ns)(struct clock *clock);
	/* Nanoseconds since 1970-01-01 UTC. Any thread. */
	int64_t (*realtime_ns)(struct clock *clock);
	/*
	 * True where monotonic_ns is CLOCK_MONOTONIC, so that the kernel can wait for a deadline.
	 * A loop with a clock for which it is false sleeps only for events: timers fire when
	 * somebody moves the clock and wakes the loop (loop_wake).
	 */
	bool is_system;
};

/* The system's clocks. Static, immutable, never freed. */
struct clock *clock_system(void);

/* A clock that tests move by hand. Initialise with clock_fake_init. */
struct clock_fake {
	struct clock clock;
	_Atomic uint64_t monotonic_ns;
	_Atomic int64_t realtime_ns;
};

/* Both times are 0 at first; realtime_ns may be set directly. */
void clock_fake_init(struct clock_fake *fake);

/* Move both times forward. Timers that are due fire at the loop's next turn. */
void clock_fake_advance(struct clock_fake *fake, uint64_t ns);

static inline uint64_t clock_now(struct clock *clock)
{
	return clock->monotonic_ns(clock);
}

#endif
