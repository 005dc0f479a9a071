/* SPDX-License-Identifier: MIT */
/*
 * A small virtio driver: modern virtio-pci, split rings, one request after another or several in
 * flight. It offers what a test needs to look inside, not what a kernel needs.
 */
#ifndef PVH_VIRTIO_H
#define PVH_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "pci.h"

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_DEVICE 0x1040 /* plus the virtio id */
#define QUEUE_MAX     64
#define NO_VECTOR     0xffff

struct vdev {
	unsigned devfn;
	uint64_t common, isr, device, notify; /* addresses */
	uint32_t notify_multiplier;
	uint64_t features; /* negotiated */
};

struct vqueue {
	struct vdev *dev;
	uint16_t index, size;
	uint16_t next_desc; /* descriptors are taken in a ring: the tests free in order */
	uint16_t next_avail, seen_used;
	uint64_t doorbell;
	struct vring_desc desc[QUEUE_MAX] __attribute__((aligned(16)));
	struct {
		uint16_t flags, idx, ring[QUEUE_MAX], used_event;
	} avail __attribute__((aligned(4)));
	struct {
		uint16_t flags, idx;
		struct vring_used_elem ring[QUEUE_MAX];
		uint16_t avail_event;
	} used __attribute__((aligned(4)));
};

struct segment {
	void *data;
	uint32_t len;
};

/* The first device with this virtio id: finds its structures and enables memory and DMA. */
bool vdev_find(struct vdev *d, unsigned virtio_id);
/* Find the structures again, after BARs were moved. */
bool vdev_locate(struct vdev *d);

uint8_t vdev_status(const struct vdev *d);
void vdev_set_status(const struct vdev *d, uint8_t status);
/* Write 0 and wait until the device says that it is done. */
bool vdev_reset(const struct vdev *d);
/* Reset, ACKNOWLEDGE, DRIVER, features (offered & wanted), FEATURES_OK. */
bool vdev_negotiate(struct vdev *d, uint64_t wanted);
uint64_t vdev_offered(const struct vdev *d);
bool vdev_driver_ok(const struct vdev *d);
uint16_t vdev_queue_count(const struct vdev *d);
bool vdev_config_vector(const struct vdev *d, uint16_t vector);
uint32_t vdev_config32(const struct vdev *d, unsigned offset);
uint16_t vdev_config16(const struct vdev *d, unsigned offset);
/* Reads and so clears the interrupt status. */
uint8_t vdev_isr(const struct vdev *d);

/* Between FEATURES_OK and DRIVER_OK. vector: of MSI-X, or NO_VECTOR. */
bool vqueue_enable(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t vector);
/* Make a chain available: `out` segments that the device reads, then `in` that it writes. */
uint16_t vqueue_add(struct vqueue *q, const struct segment *segs, unsigned out, unsigned in);
/* The same through an indirect table, which must live until the chain comes back. */
uint16_t vqueue_add_indirect(struct vqueue *q, struct vring_desc *table, const struct segment *segs,
			     unsigned out, unsigned in);
void vqueue_kick(struct vqueue *q);
/* Takes the next used chain; false: none. */
bool vqueue_poll(struct vqueue *q, uint32_t *head, uint32_t *written);
bool vqueue_wait(struct vqueue *q, uint32_t *head, uint32_t *written);

#endif
