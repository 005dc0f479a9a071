/* SPDX-License-Identifier: MIT */
#include "core/clock.h"

#include <stdatomic.h>
#include <time.h>

static uint64_t system_monotonic(struct clock *clock UNUSED)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t system_realtime(struct clock *clock UNUSED)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * (int64_t)NS_PER_SEC + ts.tv_nsec;
}

static const struct clock system_clock = {
	.monotonic_ns = system_monotonic,
	.realtime_ns = system_realtime,
	.is_system = true,
};

struct clock *clock_system(void)
{
	/* A clock has no const in its interface because fakes change; nobody writes this one. */
	return (struct clock *)(uintptr_t)&system_clock;
}

static uint64_t fake_monotonic(struct clock *clock)
{
	struct clock_fake *fake = container_of(clock, struct clock_fake, clock);

	return atomic_load_explicit(&fake->monotonic_ns, memory_order_acquire);
}

static int64_t fake_realtime(struct clock *clock)
{
	struct clock_fake *fake = container_of(clock, struct clock_fake, clock);

	return atomic_load_explicit(&fake->realtime_ns, memory_order_acquire);
}

void clock_fake_init(struct clock_fake *fake)
{
	*fake = (struct clock_fake){
		.clock = {.monotonic_ns = fake_monotonic, .realtime_ns = fake_realtime},
	};
}

void clock_fake_advance(struct clock_fake *fake, uint64_t ns)
{
	atomic_fetch_add_explicit(&fake->realtime_ns, (int64_t)ns, memory_order_release);
	atomic_fetch_add_explicit(&fake->monotonic_ns, ns, memory_order_release);
}
