/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <time.h>

#include "core/clock.h"

Test(clock, system_clock_never_goes_back)
{
	struct clock *clock = clock_system();
	uint64_t last = clock_now(clock);

	cr_assert(clock->is_system);
	for (int i = 0; i < 10000; i++) {
		uint64_t now = clock_now(clock);

		cr_assert_geq(now, last);
		last = now;
	}
}

Test(clock, system_realtime_is_that_of_the_system)
{
	time_t before = time(NULL);
	int64_t ns = clock_system()->realtime_ns(clock_system());

	/* time() may read a coarser clock, so one second either way. */
	cr_assert_geq(ns / (int64_t)NS_PER_SEC, before - 1);
	cr_assert_leq(ns / (int64_t)NS_PER_SEC, time(NULL) + 1);
}

Test(clock, fake_clock_moves_only_by_hand)
{
	struct clock_fake fake;

	clock_fake_init(&fake);
	cr_assert_not(fake.clock.is_system);
	cr_assert_eq(clock_now(&fake.clock), 0);
	cr_assert_eq(fake.clock.realtime_ns(&fake.clock), 0);
	clock_fake_advance(&fake, 7);
	clock_fake_advance(&fake, NS_PER_SEC);
	cr_assert_eq(clock_now(&fake.clock), NS_PER_SEC + 7);
	cr_assert_eq(fake.clock.realtime_ns(&fake.clock), (int64_t)NS_PER_SEC + 7);
}
