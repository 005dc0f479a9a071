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
/* Watch the doorbells / stop watching them. Home loop. */
int virtio_watch_doorbells(struct virtio_device *vd) MUST_CHECK;
void virtio_ignore_doorbells(struct virtio_device *vd);
/* Forget rings, layout and doorbells that were rung. */
void virtio_queue_clear(struct virtio_queue *q);

#endif
