/* SPDX-License-Identifier: MIT */
/*
 * Rate limits: token buckets for bytes and for operations.
 *
 * A bucket holds up to `burst` tokens and is filled at a steady rate. Whoever wants to work asks
 * first whether the bucket has a token in it (rate_limit_wait), does one piece of work and then
 * pays for it (rate_limit_charge). The last piece may cost more than the bucket had: the debt is
 * paid off before the next one may begin. So nobody needs to know the size of a piece before it is
 * taken, no piece is too large to ever begin, nothing is held back half done, and over time the
 * rate is kept to the token.
 *
 * There is no timer here: rate_limit_wait says when to ask again. Virtio devices have theirs in
 * virtio/virtio_throttle.h.
 *
 * Not thread-safe: the owner's lock guards it.
 */
#ifndef CORE_RATELIMIT_H
#define CORE_RATELIMIT_H

#include "core/clock.h"
#include "core/error.h"
#include "core/option.h"
#include "core/report.h"

/*
 * One bucket. Its level is kept as a time: when it will be (or was) full. What is missing until
 * then is what has been taken; `burst_ns` is how long an empty bucket takes to fill.
 */
struct token_bucket {
	uint64_t amount; /* tokens in each period; 0: no limit */
	uint64_t period_ns;
	uint64_t burst_ns;
	uint64_t full_ns; /* UINT64_MAX: never again */
	uint64_t rest;    /* of the division by `amount`, so that no fraction is lost */
};

/* Longest period: 48 days. */
#define TOKEN_BUCKET_MAX_PERIOD_NS (UINT64_C(1) << 52)

/*
 * Set the rate to `amount` tokens in `period_ns` (1 to TOKEN_BUCKET_MAX_PERIOD_NS), with a bucket
 * of `burst` (at least 1 is used). amount 0: no limit. A bucket whose numbers do not change keeps
 * its level; else it begins full.
 */
void token_bucket_set(struct token_bucket *b, uint64_t amount, uint64_t period_ns, uint64_t burst);
/* Nanoseconds from `now` on until there is a token; 0: there is one. */
uint64_t token_bucket_wait(const struct token_bucket *b, uint64_t now);
/* Take tokens, more than there are if need be. */
void token_bucket_take(struct token_bucket *b, uint64_t now, uint64_t tokens);

/* As QEMU's throttling has it: per second; 0: no limit. A burst of 0 is a tenth of the rate. */
struct rate_limit_options {
	uint64_t bps, bps_burst;   /* bytes */
	uint64_t iops, iops_burst; /* operations */
};

/*
 * Rows for an option table, of a device or of an action; `field` is a rate_limit_options. The long
 * form is for those that have several limits, or call an operation by another name.
 */
/* clang-format off */
#define RATE_LIMIT_ROWS(prefix, ops, operations, owner, field)                                     \
	{.name = prefix "bps", .type = OPTION_SIZE, .offset = offsetof(owner, field.bps),          \
	 .help = "bytes per second at most; 0: no limit"},                                         \
	{.name = prefix "bps-burst", .type = OPTION_SIZE,                                          \
	 .offset = offsetof(owner, field.bps_burst),                                               \
	 .help = "bytes at once after a rest; 0: a tenth of " prefix "bps"},                       \
	{.name = prefix ops, .type = OPTION_UINT, .offset = offsetof(owner, field.iops),           \
	 .help = operations " per second at most; 0: no limit"},                                   \
	{.name = prefix ops "-burst", .type = OPTION_UINT,                                         \
	 .offset = offsetof(owner, field.iops_burst),                                              \
	 .help = operations " at once after a rest; 0: a tenth of " prefix ops}
#define RATE_LIMIT_OPTIONS(owner, field) RATE_LIMIT_ROWS("", "iops", "operations", owner, field)
/* clang-format on */

struct rate_limit {
	struct clock *clock; /* not owned */
	struct token_bucket bytes, operations;
};

/* No limit at first. */
void rate_limit_init(struct rate_limit *limit, struct clock *clock);

/*
 * Whether the options can be: -EINVAL for a burst without a rate, with a sentence that has the
 * names of RATE_LIMIT_ROWS. Or 0.
 */
int rate_limit_check(const struct rate_limit_options *options, const char *prefix, const char *ops,
		     struct vmm_error *err) MUST_CHECK;

/*
 * Set the limits, at first or while running. Returns 0, or -EINVAL for a burst without a rate
 * (then nothing has changed).
 */
int rate_limit_set(struct rate_limit *limit, const struct rate_limit_options *options,
		   struct vmm_error *err) MUST_CHECK;

/* The rates in force, as fields "bps" and "iops" of a report; 0: no limit. */
void rate_limit_report(const struct rate_limit *limit, struct report *report);

/* Whether there is a limit at all. */
bool rate_limit_applies(const struct rate_limit *limit);

/*
 * Nanoseconds until the next operation may begin; 0: now. Where many small operations wait, this is
 * up to a millisecond more than the next one needs, so that one wake-up does for several.
 */
uint64_t rate_limit_wait(const struct rate_limit *limit);

/* One operation of so many bytes has begun. */
void rate_limit_charge(struct rate_limit *limit, uint64_t bytes);

#endif
