/* SPDX-License-Identifier: MIT */
#include "vmm/qmp_limit.h"

#include <stdlib.h>
#include <string.h>

#include "core/device.h"

struct recent {
	struct list link; /* qmp_limiter.recent */
	const struct qmp_limited *event;
	char id[DEVICE_ID_MAX + 1];
	uint64_t until_ns;     /* the end of its second */
	unsigned told_count;   /* in it; 0: never told */
	uint64_t told, latest; /* values */
};

/* ---- lock held ---- */

static struct recent *find(struct qmp_limiter *limiter, const struct qmp_limited *event,
			   const char *id)
{
	list_for_each (it, &limiter->recent) {
		struct recent *r = list_entry(it, struct recent, link);

		if (r->event == event && !strcmp(r->id, id))
			return r;
	}
	return NULL;
}

/* Its second begins. */
static void begin(struct qmp_limiter *limiter, struct recent *r)
{
	r->until_ns = clock_now(limiter->clock) + QMP_LIMIT_NS;
	r->told_count = 0;
	list_add_tail(&limiter->recent, &r->link);
}

/* NULL: no memory. */
static struct recent *add(struct qmp_limiter *limiter, const struct qmp_limited *event,
			  const char *id)
{
	struct recent *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->event = event;
	strncpy(r->id, id, sizeof(r->id) - 1);
	begin(limiter, r);
	return r;
}

static void tell(struct qmp_limiter *limiter, struct recent *r)
{
	r->told = r->latest;
	r->told_count++;
	qmp_tell(limiter->qmp, r->event->name, r->event->data(r->id, r->told));
}

static void forget(struct recent *r)
{
	list_del(&r->link);
	free(r);
}

/* Its second is over: another one begins if there is something to tell. */
static void renew(struct qmp_limiter *limiter, struct recent *r)
{
	if (r->latest == r->told) {
		forget(r);
		return;
	}
	list_del(&r->link);
	begin(limiter, r);
	tell(limiter, r);
}

static struct recent *first(const struct qmp_limiter *limiter)
{
	if (list_empty(&limiter->recent))
		return NULL;
	return list_entry(limiter->recent.next, struct recent, link);
}

/* ---- loop's thread ---- */

static void arm(struct qmp_limiter *limiter)
{
	struct recent *r;
	int rc = 0;

	pthread_mutex_lock(&limiter->lock);
	r = first(limiter);
	if (r)
		rc = loop_timer_arm(&limiter->timer, r->until_ns);
	pthread_mutex_unlock(&limiter->lock);
	if (rc)
		log_guest(limiter->log, &limiter->log_limit, "control", "no memory for a timer");
}

static void on_arm(struct loop_task *task)
{
	arm(container_of(task, struct qmp_limiter, arm));
}

static void on_timer(struct loop_timer *timer)
{
	struct qmp_limiter *limiter = container_of(timer, struct qmp_limiter, timer);
	const uint64_t now = clock_now(limiter->clock);
	struct recent *r;

	pthread_mutex_lock(&limiter->lock);
	while ((r = first(limiter)) && r->until_ns <= now)
		renew(limiter, r);
	pthread_mutex_unlock(&limiter->lock);
	arm(limiter);
}

/* ---- any thread ---- */

void qmp_limiter_tell(struct qmp_limiter *limiter, const struct qmp_limited *event, const char *id,
		      uint64_t value)
{
	struct recent *r;

	pthread_mutex_lock(&limiter->lock);
	r = find(limiter, event, id);
	if (!r) {
		r = add(limiter, event, id);
		loop_post(qmp_loop(limiter->qmp), &limiter->arm);
	}
	if (r) {
		r->latest = value;
		if (!r->told_count || (r->told != value && r->told_count < event->burst))
			tell(limiter, r);
	}
	pthread_mutex_unlock(&limiter->lock);
	if (!r)
		log_guest(limiter->log, &limiter->log_limit, "control",
			  "no memory for the event %s of %s", event->name, id);
}

void qmp_limiter_end(struct qmp_limiter *limiter, const char *id)
{
	pthread_mutex_lock(&limiter->lock);
	list_for_each (it, &limiter->recent) {
		struct recent *r = list_entry(it, struct recent, link);

		if (id && strcmp(r->id, id) != 0)
			continue;
		if (r->latest != r->told)
			tell(limiter, r);
		forget(r);
	}
	pthread_mutex_unlock(&limiter->lock);
}

/* ---- life ---- */

void qmp_limiter_init(struct qmp_limiter *limiter, struct qmp *qmp, struct clock *clock,
		      const struct log *log)
{
	*limiter = (struct qmp_limiter){.qmp = qmp, .clock = clock, .log = log};
	pthread_mutex_init(&limiter->lock, NULL);
	list_init(&limiter->recent);
	loop_task_init(&limiter->arm, on_arm);
	loop_timer_init(qmp_loop(qmp), &limiter->timer, on_timer);
}

static void take_back(void *arg)
{
	struct qmp_limiter *limiter = arg;

	loop_task_cancel(qmp_loop(limiter->qmp), &limiter->arm);
	loop_timer_disarm(&limiter->timer);
}

void qmp_limiter_fini(struct qmp_limiter *limiter)
{
	loop_call(qmp_loop(limiter->qmp), take_back, limiter);
	list_for_each (it, &limiter->recent)
		forget(list_entry(it, struct recent, link));
	pthread_mutex_destroy(&limiter->lock);
}
