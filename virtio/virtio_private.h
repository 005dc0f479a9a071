/* SPDX-License-Identifier: MIT */
/* Shared between virtio.c, virtio_queue.c and virtio_state.c. All with the device's lock held. */
#ifndef VIRTIO_VIRTIO_PRIVATE_H
#define VIRTIO_VIRTIO_PRIVATE_H

#include "virtio/virtio.h"

/* Status, features, queues and transport back to their defaults. Drained. */
void virtio_clear(struct virtio_device *vd);
/* Publish what was pushed, and interrupt the driver where it wants that. */
void virtio_publish(struct virtio_device *vd);
/* enum virtq_features of what a driver accepted. */
unsigned virtio_ring_features(uint64_t driver_features);
/* Start using the rings that the driver has set. Returns virtq_enable's errors. */
int virtio_queue_start(struct virtio_queue *q);
/* Whether the class may work on it, once the device is active. */
static inline bool virtio_queue_works(const struct virtio_queue *q)
{
	return q->enabled && !q->resetting && !q->lent &&
	       !(q->vd->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}
/* struct virtio_device.queue_task: resets of queues, and queues that were enabled late. */
void virtio_queues_on_loop(struct loop_task *task);
/*
 * Complete the resets of queues that have nothing in flight. drained: no backend holds a chain, so
 * that those of a broken device can be dropped; nobody will push them. Home loop, or not active.
 */
void virtio_finish_queue_resets(struct virtio_device *vd, bool drained);
/* Stop kicking and drain, if that is not under way; virtio_drained follows. Home loop, no lock. */
void virtio_drain(struct virtio_device *vd);
/* Watch the doorbells / stop watching them. Home loop. */
int virtio_watch_doorbells(struct virtio_device *vd) MUST_CHECK;
void virtio_ignore_doorbells(struct virtio_device *vd);
/* Forget rings, layout and doorbells that were rung. */
void virtio_queue_clear(struct virtio_queue *q);

#endif
