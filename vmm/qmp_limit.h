/* SPDX-License-Identifier: MIT */
/*
 * Events that a guest can provoke without end. Of each device so many are told at once in a second,
 * as they happen; of those beyond that the latest is told when the second is over, unless it says
 * what was told last. So a client is never flooded, and always knows the state that lasts.
 *
 * What is remembered: one entry for each device and event of the last second.
 */
#ifndef VMM_QMP_LIMIT_H
#define VMM_QMP_LIMIT_H

#include "core/list.h"
#include "vmm/qmp.h"

#define QMP_LIMIT_NS NS_PER_SEC

struct qmp_limited {
	const char *name;
	unsigned burst; /* told at once in QMP_LIMIT_NS; at least 1 */
	json_t *(*data)(const char *id, uint64_t value);
};

struct qmp_limiter {
	struct qmp *qmp;
	struct clock *clock; /* of the loop, too */
	const struct log *log;
	struct log_limit log_limit;
	pthread_mutex_t lock; /* guards `recent`; outside the server's, held while it is told */
	struct list recent;   /* what was told lately, by the time until which it counts */
	struct loop_task arm;
	struct loop_timer timer; /* loop's thread: armed for the first of them */
};

/* Set-up and end; the server lives longer, and nobody tells any more when it ends. */
void qmp_limiter_init(struct qmp_limiter *limiter, struct qmp *qmp, struct clock *clock,
		      const struct log *log);
void qmp_limiter_fini(struct qmp_limiter *limiter);

/*
 * Something has happened to the device `id`, and `value` is how it is now. event: static. Any
 * thread, never blocks.
 */
void qmp_limiter_tell(struct qmp_limiter *limiter, const struct qmp_limited *event, const char *id,
		      uint64_t value);

/*
 * The device is gone, or with NULL the machine has stopped: what has yet to be told of it is told
 * now. Any thread, never blocks.
 */
void qmp_limiter_end(struct qmp_limiter *limiter, const char *id);

#endif
