/* SPDX-License-Identifier: MIT */
/*
 * A small virtio driver: modern virtio-pci or virtio-mmio, split or packed rings, one request after
 * another or several in flight. It offers what a test needs to look inside, not what a kernel
 * needs.
 *
 * The guest's command line says which: transport=mmio, ring=packed.
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

/* Where vmm has the registers of devices over MMIO, and the first one's interrupt. */
#define MMIO_WINDOWS     0xfeb00000ull
#define MMIO_WINDOW_SIZE 0x200u
#define MMIO_SLOTS       8u
#define MMIO_FIRST_GSI   5u

#define F_RING_PACKED (1ull << VIRTIO_F_RING_PACKED)
#define F_RING_RESET  (1ull << 40)

struct vdev {
	uint64_t window; /* of a device over MMIO; 0: it is on PCI */
	unsigned devfn;
	uint64_t common, isr, device, notify; /* addresses */
	uint32_t notify_multiplier;
	uint64_t features; /* negotiated */
};

struct split_ring {
	uint16_t next_desc; /* descriptors are taken in a ring: the tests free in order */
	uint16_t next_avail, seen_used;
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

struct packed_ring {
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	uint64_t ids;              /* buffer ids in use */
	uint8_t counts[QUEUE_MAX]; /* of each id: descriptors of its chain */
	struct vring_packed_desc desc[QUEUE_MAX] __attribute__((aligned(16)));
	/* Event suppression: offset and wrap counter, then flags. */
	uint32_t driver_event, device_event;
};

struct vqueue {
	struct vdev *dev;
	uint16_t index, size;
	bool packed;
	uint64_t doorbell;
	union {
		struct split_ring split;
		struct packed_ring ring;
	};
};

struct segment {
	void *data;
	uint32_t len;
};

/*
 * The first device with this virtio id, on the transport of the command line: finds its structures
 * and enables memory and DMA.
 */
bool vdev_find(struct vdev *d, unsigned virtio_id);
/* Find the structures again, after BARs were moved. */
bool vdev_locate(struct vdev *d);

uint8_t vdev_status(const struct vdev *d);
void vdev_set_status(const struct vdev *d, uint8_t status);
/* Write 0 and wait until the device says that it is done. */
bool vdev_reset(const struct vdev *d);
/*
 * Reset, ACKNOWLEDGE, DRIVER, features (offered & wanted, and RING_PACKED as the command line
 * says), FEATURES_OK.
 */
bool vdev_negotiate(struct vdev *d, uint64_t wanted);
uint64_t vdev_offered(const struct vdev *d);
bool vdev_driver_ok(const struct vdev *d);
uint16_t vdev_queue_count(const struct vdev *d);
bool vdev_config_vector(const struct vdev *d, uint16_t vector);
uint32_t vdev_config32(const struct vdev *d, unsigned offset);
uint16_t vdev_config16(const struct vdev *d, unsigned offset);
/* Reads and so clears the interrupt status. */
uint8_t vdev_isr(const struct vdev *d);

/* The largest size of a queue; 0: it does not exist. */
uint16_t vdev_queue_size(const struct vdev *d, uint16_t index);
/* Tell the device where the ring is, and enable the queue. */
bool vdev_enable_queue(struct vqueue *q, uint16_t vector);
/* RING_RESET: reset one queue and wait until that is done. */
bool vdev_reset_queue(struct vdev *d, uint16_t index);

/*
 * Between FEATURES_OK and DRIVER_OK. vector: of MSI-X, or NO_VECTOR. The size is the largest
 * possible, or with vqueue_enable_sized the one that is given.
 */
bool vqueue_enable(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t vector);
bool vqueue_enable_sized(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t size);
/* Make a chain available: `out` segments that the device reads, then `in` that it writes. */
uint16_t vqueue_add(struct vqueue *q, const struct segment *segs, unsigned out, unsigned in);
/* The same through an indirect table, which must live until the chain comes back. */
uint16_t vqueue_add_indirect(struct vqueue *q, struct vring_desc *table, const struct segment *segs,
			     unsigned out, unsigned in);
/* Ring the doorbell, wanted or not / only where the device wants it for what was added last. */
void vqueue_kick(struct vqueue *q);
bool vqueue_wants_kick(const struct vqueue *q);
/* EVENT_IDX: no interrupt before `n` more descriptors have come back; without: at the next. */
void vqueue_interrupt_after(struct vqueue *q, unsigned n);
/* Takes the next used chain; false: none. */
bool vqueue_poll(struct vqueue *q, uint32_t *head, uint32_t *written);
bool vqueue_wait(struct vqueue *q, uint32_t *head, uint32_t *written);

#endif
