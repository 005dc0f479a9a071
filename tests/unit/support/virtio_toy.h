/* SPDX-License-Identifier: MIT */
/*
 * The smallest virtio device, for tests of what all have in common: it copies what it reads to what
 * it may write. It can hold chains back, as a device does whose backend is slow.
 */
#ifndef SUPPORT_VIRTIO_TOY_H
#define SUPPORT_VIRTIO_TOY_H

#include "virtio/virtio.h"

#define TOY_QUEUES      2
#define TOY_QUEUE_SIZE  16
#define TOY_FEATURE     5
#define TOY_CONFIG_SIZE 6

struct toy {
	struct virtio_device vd; /* first */
	uint8_t config[TOY_CONFIG_SIZE];
	bool hold; /* chains stay in flight until toy_release */
	struct virtq_chain *held;
	unsigned held_queue;
	bool give_back; /* ... or until its queue is drained */
	bool draining;
	/* Counters. */
	unsigned kicks, activations, drains, queue_drains, resets, chains, features_set;
	/* Called for each chain, before it is pushed. */
	void (*hook)(struct toy *toy);
	void *hook_arg;
};

extern const struct virtio_class toy_class;

static inline struct toy *toy_of(struct device *dev)
{
	return container_of(virtio_device(dev), struct toy, vd);
}

/* Finish the chain that is held, as a completion on the home loop does. */
void toy_release(struct toy *toy);

#endif
