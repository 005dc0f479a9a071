/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_throttle.h"

struct args {
	struct rate_limit_options limits;
};

const struct option_desc virtio_throttle_options[] = {
	RATE_LIMIT_OPTIONS(struct args, limits),
	OPTION_END,
};

#define WORD(queue) ((queue) / 64)
#define BIT(queue)  (UINT64_C(1) << ((queue) % 64))

static void kick_waiting(struct virtio_throttle *t, unsigned queue)
{
	t->waiting[WORD(queue)] &= ~BIT(queue);
	virtio_kick(t->vd, queue);
}

static void on_timer(struct loop_timer *timer)
{
	struct virtio_throttle *t = container_of(timer, struct virtio_throttle, timer);
	const unsigned count = t->vd->queue_count, first = t->turn;
	bool any = false;

	device_lock(&t->vd->dev);
	/* Each once: a queue that has to wait again does so until the next time. */
	for (unsigned i = 0; i < count; i++) {
		unsigned queue = (first + i) % count;

		if (!(t->waiting[WORD(queue)] & BIT(queue)))
			continue;
		if (!any)
			t->turn = (queue + 1) % count;
		any = true;
		kick_waiting(t, queue);
	}
	device_unlock(&t->vd->dev);
}

int virtio_throttle_init(struct virtio_throttle *t, struct virtio_device *vd,
			 const struct rate_limit_options *options, struct vmm_error *err)
{
	*t = (struct virtio_throttle){.vd = vd};
	rate_limit_init(&t->limit, vd->dev.env->clock);
	loop_timer_init(vd->dev.loop, &t->timer, on_timer);
	return rate_limit_set(&t->limit, options, err);
}

static void disarm(void *arg)
{
	loop_timer_disarm(arg);
}

void virtio_throttle_fini(struct virtio_throttle *t)
{
	if (t->vd)
		loop_call(t->vd->dev.loop, disarm, &t->timer);
	t->vd = NULL;
}

static bool armed(const struct virtio_throttle *t)
{
	return t->timer.heap_index >= 0;
}

bool virtio_throttle_may_pop(struct virtio_throttle *t, unsigned queue)
{
	uint64_t wait, now, deadline;

	/* Nobody overtakes those that wait for the timer. */
	if (!armed(t)) {
		wait = rate_limit_wait(&t->limit);
		if (!wait)
			return true;
		now = clock_now(t->limit.clock);
		if (__builtin_add_overflow(now, wait, &deadline))
			deadline = UINT64_MAX;
		/* Without memory for a timer: better a disk that is too fast than one that hangs.
		 */
		if (loop_timer_arm(&t->timer, deadline))
			return true;
	}
	t->waiting[WORD(queue)] |= BIT(queue);
	return false;
}

void virtio_throttle_charge(struct virtio_throttle *t, uint64_t bytes)
{
	rate_limit_charge(&t->limit, bytes);
}

int virtio_throttle_set(struct virtio_throttle *t, const struct rate_limit_options *options,
			struct vmm_error *err)
{
	int rc;

	device_lock(&t->vd->dev);
	rc = rate_limit_set(&t->limit, options, err);
	/* Who waits looks again; moving an armed timer takes no memory. */
	if (!rc && armed(t))
		rc = loop_timer_arm(&t->timer, 0);
	device_unlock(&t->vd->dev);
	return rc;
}
