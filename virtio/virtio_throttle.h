/* SPDX-License-Identifier: MIT */
/*
 * A rate limit on the queues of a virtio device.
 *
 * While the limit is reached, requests stay where they are: in the ring, in order, not popped. A
 * timer kicks the queues that wait, each time another one first, so that none starves. Nothing is
 * in flight because of a limit, so a reset and a quiesce have nothing to wait for; a reset does not
 * clear a debt either.
 *
 * How a device hooks in:
 *
 *     options      RATE_LIMIT_OPTIONS(struct virtio_foo, limits)
 *     realize      virtio_throttle_init(&foo->throttle, &foo->vd, &foo->limits, err)
 *     unrealize    virtio_throttle_fini(&foo->throttle)
 *     kick         virtio_process_while(vd, queue, may_pop, start), where may_pop returns
 *                  virtio_throttle_may_pop(&foo->throttle, queue); in a loop of its own, it asks
 *                  that before each virtio_pop
 *     a request    virtio_throttle_charge(&foo->throttle, bytes) once for each
 *     action       VIRTIO_THROTTLE_ACTION(run), where run calls virtio_throttle_set with its args
 *
 * Home loop, lock held, but for what says otherwise.
 */
#ifndef VIRTIO_VIRTIO_THROTTLE_H
#define VIRTIO_VIRTIO_THROTTLE_H

#include "core/ratelimit.h"
#include "virtio/virtio.h"

struct virtio_throttle {
	struct virtio_device *vd; /* NULL: not initialised */
	struct rate_limit limit;
	struct loop_timer timer;                         /* armed while the limit is reached */
	uint64_t waiting[(VIRTIO_MAX_QUEUES + 63) / 64]; /* queues that were told to wait */
	unsigned turn;                                   /* the queue that is kicked first */
};

/* For realize. Returns 0 or -EINVAL (see rate_limit_set). */
int virtio_throttle_init(struct virtio_throttle *t, struct virtio_device *vd,
			 const struct rate_limit_options *options,
			 struct vmm_error *err) MUST_CHECK;
/* For unrealize, before virtio_fini. Quiesced, lock not held. Harmless where init was not called.
 */
void virtio_throttle_fini(struct virtio_throttle *t);

/* Whether the queue may pop a chain now. If not, it is kicked again when it may. */
bool virtio_throttle_may_pop(struct virtio_throttle *t, unsigned queue) MUST_CHECK;

/* A request of so many bytes was popped. */
void virtio_throttle_charge(struct virtio_throttle *t, uint64_t bytes);

/* Change the limits; queues that wait are kicked if they need not any more. Lock not held. */
int virtio_throttle_set(struct virtio_throttle *t, const struct rate_limit_options *options,
			struct vmm_error *err) MUST_CHECK;

/* The row for a class's table of actions; run: calls virtio_throttle_set with its args. */
extern const struct option_desc virtio_throttle_options[];
#define VIRTIO_THROTTLE_ACTION(run_fn)                                        \
	{                                                                     \
		.name = "throttle",                                           \
		.help = "change the rate limits; what is not given "          \
			"is not limited",                                     \
		.options = virtio_throttle_options,                           \
		.args_size = sizeof(struct rate_limit_options), .run = run_fn \
	}

#endif
