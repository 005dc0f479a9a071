/* SPDX-License-Identifier: MIT */
#include "core/ratelimit.h"

#include <assert.h>
#include <errno.h>

/* A wake-up each millisecond is often enough, if the bucket holds what comes in meanwhile. */
#define WAKE_UP_NS NS_PER_MS

typedef unsigned __int128 u128;

/* ---- one bucket ---- */

static uint64_t saturate(u128 v)
{
	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

void token_bucket_set(struct token_bucket *b, uint64_t amount, uint64_t period_ns, uint64_t burst)
{
	u128 burst_ns = 0;

	assert(period_ns > 0 && period_ns <= TOKEN_BUCKET_MAX_PERIOD_NS);
	if (amount)
		burst_ns = (u128)(burst ? burst : 1) * period_ns / amount;
	/* Less than a nanosecond deep, it would never have anything in it. */
	burst_ns = saturate(burst_ns ? burst_ns : 1);
	if (amount == b->amount && period_ns == b->period_ns && burst_ns == b->burst_ns)
		return;
	*b = (struct token_bucket){
		.amount = amount, .period_ns = period_ns, .burst_ns = (uint64_t)burst_ns};
}

uint64_t token_bucket_wait(const struct token_bucket *b, uint64_t now)
{
	uint64_t missing, one;

	if (!b->amount || b->full_ns <= now)
		return 0;
	missing = b->full_ns - now;
	/* How far below full it is when there is one token in it. */
	one = b->burst_ns - MIN(b->burst_ns, b->period_ns / b->amount);
	return missing > one ? missing - one : 0;
}

void token_bucket_take(struct token_bucket *b, uint64_t now, uint64_t tokens)
{
	u128 cost;

	if (!b->amount)
		return;
	if (b->full_ns < now) {
		b->full_ns = now;
		b->rest = 0;
	}
	/* 64 bits and 52, and a rest below 64: no overflow. */
	cost = (u128)tokens * b->period_ns + b->rest;
	b->rest = (uint64_t)(cost % b->amount);
	b->full_ns = saturate(cost / b->amount + b->full_ns);
}

/* ---- bytes and operations ---- */

void rate_limit_init(struct rate_limit *limit, struct clock *clock)
{
	*limit = (struct rate_limit){.clock = clock};
}

static uint64_t burst_of(uint64_t rate, uint64_t burst)
{
	return burst ? burst : rate / 10;
}

int rate_limit_check(const struct rate_limit_options *o, const char *prefix, const char *ops,
		     struct vmm_error *err)
{
	if (o->bps_burst && !o->bps)
		return error_set(err, EINVAL, "%sbps-burst needs a limit: %sbps=…", prefix, prefix);
	if (o->iops_burst && !o->iops)
		return error_set(err, EINVAL, "%s%s-burst needs a limit: %s%s=…", prefix, ops,
				 prefix, ops);
	return 0;
}

int rate_limit_set(struct rate_limit *limit, const struct rate_limit_options *o,
		   struct vmm_error *err)
{
	int rc = rate_limit_check(o, "", "iops", err);

	if (rc)
		return rc;
	token_bucket_set(&limit->bytes, o->bps, NS_PER_SEC, burst_of(o->bps, o->bps_burst));
	token_bucket_set(&limit->operations, o->iops, NS_PER_SEC, burst_of(o->iops, o->iops_burst));
	return 0;
}

void rate_limit_report(const struct rate_limit *limit, struct report *report)
{
	report_u64(report, "bps", limit->bytes.amount);
	report_u64(report, "iops", limit->operations.amount);
}

static uint64_t bucket_wait(const struct token_bucket *b, uint64_t now)
{
	uint64_t wait = token_bucket_wait(b, now);

	return wait ? MAX(wait, MIN(WAKE_UP_NS, b->burst_ns)) : 0;
}

bool rate_limit_applies(const struct rate_limit *limit)
{
	return limit->bytes.amount || limit->operations.amount;
}

uint64_t rate_limit_wait(const struct rate_limit *limit)
{
	uint64_t now, bytes, operations;

	/* The usual case costs no look at the clock. */
	if (!rate_limit_applies(limit))
		return 0;
	now = clock_now(limit->clock);
	bytes = bucket_wait(&limit->bytes, now);
	operations = bucket_wait(&limit->operations, now);
	return MAX(bytes, operations);
}

void rate_limit_charge(struct rate_limit *limit, uint64_t bytes)
{
	uint64_t now;

	if (!rate_limit_applies(limit))
		return;
	now = clock_now(limit->clock);
	token_bucket_take(&limit->bytes, now, bytes);
	token_bucket_take(&limit->operations, now, 1);
}
