/* SPDX-License-Identifier: MIT */
/* Token buckets, with a clock that moves by hand. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/ratelimit.h"

static struct clock_fake fake;
static struct rate_limit limit;

static void setup(void)
{
	clock_fake_init(&fake);
	clock_fake_advance(&fake, 1000 * NS_PER_SEC);
	rate_limit_init(&limit, &fake.clock);
}

TestSuite(ratelimit, .init = setup, .timeout = 30);

static void set(struct rate_limit_options options)
{
	cr_assert_eq(rate_limit_set(&limit, &options, NULL), 0);
}

/* Begin operations of `bytes` until `ns` have passed; returns how many could begin. */
static uint64_t work(uint64_t bytes, uint64_t ns)
{
	const uint64_t end = clock_now(&fake.clock) + ns;
	uint64_t n = 0, wait;

	for (;;) {
		wait = rate_limit_wait(&limit);
		if (clock_now(&fake.clock) + wait >= end)
			break;
		clock_fake_advance(&fake, wait);
		if (wait)
			continue;
		rate_limit_charge(&limit, bytes);
		n++;
	}
	clock_fake_advance(&fake, end - clock_now(&fake.clock));
	return n;
}

Test(ratelimit, without_limits_nothing_waits)
{
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(rate_limit_wait(&limit), 0u);
		rate_limit_charge(&limit, UINT64_MAX);
	}
}

Test(ratelimit, burst_is_what_may_begin_at_once)
{
	set((struct rate_limit_options){.iops = 10, .iops_burst = 7});
	for (int i = 0; i < 7; i++) {
		cr_assert_eq(rate_limit_wait(&limit), 0u, "operation %d", i);
		rate_limit_charge(&limit, 0);
	}
	cr_assert_neq(rate_limit_wait(&limit), 0u);
}

Test(ratelimit, operations_keep_their_rate)
{
	set((struct rate_limit_options){.iops = 100, .iops_burst = 1});
	cr_assert_leq(work(0, 10 * NS_PER_SEC), 1001u);
	cr_assert_geq(work(0, 10 * NS_PER_SEC), 999u);
}

Test(ratelimit, bytes_keep_their_rate_whatever_the_size)
{
	static const uint64_t sizes[] = {1, 512, 4096, 12345, 1 << 20};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t bytes;

		rate_limit_init(&limit, &fake.clock);
		set((struct rate_limit_options){.bps = 100000, .bps_burst = 1});
		bytes = work(sizes[i], 100 * NS_PER_SEC) * sizes[i];
		cr_assert_leq(bytes, 10000001 + sizes[i], "%lu at %lu", bytes, sizes[i]);
		cr_assert_geq(bytes, 9990000, "%lu at %lu", bytes, sizes[i]);
	}
}

Test(ratelimit, high_rates_lose_no_fractions)
{
	uint64_t bytes;

	/* 512 bytes take 51.2 ns: cut or rounded, that would be off by one or two percent. */
	set((struct rate_limit_options){.bps = 10000000000, .bps_burst = 512});
	bytes = work(512, NS_PER_SEC / 10) * 512;
	cr_assert_geq(bytes, 999000000u);
	cr_assert_leq(bytes, 1001000000u);
}

Test(ratelimit, both_limits_hold_together)
{
	set((struct rate_limit_options){.bps = 1000, .bps_burst = 1, .iops = 100, .iops_burst = 1});
	/* Small ones: operations decide; large ones: bytes do. */
	cr_assert_leq(work(1, 10 * NS_PER_SEC), 1001u);
	cr_assert_leq(work(500, 10 * NS_PER_SEC), 21u);
}

Test(ratelimit, operation_larger_than_the_burst_begins_and_is_paid_for_after)
{
	set((struct rate_limit_options){.bps = 1000, .bps_burst = 10});
	cr_assert_eq(rate_limit_wait(&limit), 0u);
	rate_limit_charge(&limit, 5000);
	cr_assert_geq(rate_limit_wait(&limit), 4989 * NS_PER_MS);
	clock_fake_advance(&fake, rate_limit_wait(&limit));
	cr_assert_eq(rate_limit_wait(&limit), 0u);
}

Test(ratelimit, rest_fills_the_bucket_only_to_the_burst)
{
	set((struct rate_limit_options){.iops = 100, .iops_burst = 5});
	clock_fake_advance(&fake, 3600 * NS_PER_SEC);
	for (int i = 0; i < 5; i++)
		rate_limit_charge(&limit, 0);
	cr_assert_neq(rate_limit_wait(&limit), 0u);
}

Test(ratelimit, wait_is_enough_and_never_without_end)
{
	static const uint64_t rates[] = {1, 3, 7, 1000, 999999937, 1000000000, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		rate_limit_init(&limit, &fake.clock);
		set((struct rate_limit_options){.iops = rates[i], .iops_burst = 1});
		for (int n = 0; n < 100; n++) {
			clock_fake_advance(&fake, rate_limit_wait(&limit));
			cr_assert_eq(rate_limit_wait(&limit), 0u, "rate %lu", rates[i]);
			rate_limit_charge(&limit, 0);
		}
	}
}

Test(ratelimit, many_small_ones_share_a_wake_up)
{
	unsigned wakes = 0, done = 0;

	set((struct rate_limit_options){.iops = 100000});
	while (done < 20000) {
		uint64_t wait = rate_limit_wait(&limit);

		clock_fake_advance(&fake, wait);
		wakes += wait > 0;
		rate_limit_charge(&limit, 0);
		done++;
	}
	/* 10000 at once, then 100 in each millisecond. */
	cr_assert_leq(wakes, 105u);
	cr_assert_geq(wakes, 95u);
}

Test(ratelimit, numbers_at_the_limit_do_not_overflow)
{
	struct token_bucket b = {0};

	token_bucket_set(&b, 1, TOKEN_BUCKET_MAX_PERIOD_NS, UINT64_MAX);
	token_bucket_take(&b, 1, UINT64_MAX);
	token_bucket_take(&b, 1, UINT64_MAX);
	cr_assert_eq(b.full_ns, UINT64_MAX);
	cr_assert_eq(token_bucket_wait(&b, UINT64_MAX), 0u);
	token_bucket_set(&b, 1, TOKEN_BUCKET_MAX_PERIOD_NS, 1);
	cr_assert_eq(token_bucket_wait(&b, 5), 0u);
	token_bucket_take(&b, 5, UINT64_MAX);
	cr_assert_geq(token_bucket_wait(&b, 5), UINT64_MAX / 2);
	token_bucket_set(&b, UINT64_MAX, 1, UINT64_MAX);
	token_bucket_take(&b, 7, UINT64_MAX);
	cr_assert_leq(token_bucket_wait(&b, 7), 1u);
}

Test(ratelimit, change_takes_effect_and_no_change_changes_nothing)
{
	const struct rate_limit_options slow = {.iops = 1, .iops_burst = 1};

	set(slow);
	rate_limit_charge(&limit, 0);
	cr_assert_neq(rate_limit_wait(&limit), 0u);
	/* Setting it again is no way around it. */
	set(slow);
	cr_assert_neq(rate_limit_wait(&limit), 0u);
	set((struct rate_limit_options){0});
	cr_assert_eq(rate_limit_wait(&limit), 0u);
	set(slow);
	cr_assert_eq(rate_limit_wait(&limit), 0u);
}

Test(ratelimit, burst_without_a_rate_is_refused)
{
	struct vmm_error err = {0};

	set((struct rate_limit_options){.bps = 5});
	cr_assert_lt(rate_limit_set(&limit, &(struct rate_limit_options){.bps_burst = 1}, &err), 0);
	cr_assert(strstr(err.message, "bps-burst"));
	cr_assert_lt(rate_limit_set(&limit, &(struct rate_limit_options){.iops_burst = 1}, &err),
		     0);
	cr_assert(strstr(err.message, "iops-burst"));
	cr_assert_eq(limit.bytes.amount, 5u);
}
