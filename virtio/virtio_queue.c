/* SPDX-License-Identifier: MIT */
/*
 * The queues of a virtio device: their registers, doorbells and the two ways that chains take.
 */
#include "virtio/virtio_private.h"

#include <errno.h>
#include <unistd.h>

static struct virtio_queue *queue_at(struct virtio_device *vd, unsigned index)
{
	return index < vd->queue_count ? &vd->queues[index] : NULL;
}

/* ---- registers ---- */

static gpa_t *part_of(struct virtq_layout *layout, enum virtio_queue_part part)
{
	switch (part) {
	case VIRTIO_QUEUE_DESC:
		return &layout->desc;
	case VIRTIO_QUEUE_DRIVER:
		return &layout->driver;
	case VIRTIO_QUEUE_DEVICE:
	default:
		return &layout->device;
	}
}

uint16_t virtio_queue_size(struct virtio_device *vd, unsigned queue)
{
	struct virtio_queue *q = queue_at(vd, queue);
	uint16_t size;

	device_lock(&vd->dev);
	size = q ? q->layout.size : 0;
	device_unlock(&vd->dev);
	return size;
}

bool virtio_queue_enabled(struct virtio_device *vd, unsigned queue)
{
	struct virtio_queue *q = queue_at(vd, queue);
	bool enabled;

	device_lock(&vd->dev);
	enabled = q && q->enabled;
	device_unlock(&vd->dev);
	return enabled;
}

uint64_t virtio_queue_address(struct virtio_device *vd, unsigned queue, enum virtio_queue_part part)
{
	struct virtio_queue *q = queue_at(vd, queue);
	uint64_t address;

	device_lock(&vd->dev);
	address = q ? part_of(&q->layout, part)->v : 0;
	device_unlock(&vd->dev);
	return address;
}

void virtio_queue_set_size(struct virtio_device *vd, unsigned queue, uint16_t size)
{
	struct virtio_queue *q = queue_at(vd, queue);

	device_lock(&vd->dev);
	if (q && !q->enabled && !vd->resetting)
		q->layout.size = size;
	device_unlock(&vd->dev);
}

void virtio_queue_set_address(struct virtio_device *vd, unsigned queue, enum virtio_queue_part part,
			      uint64_t mask, uint64_t value)
{
	struct virtio_queue *q = queue_at(vd, queue);

	device_lock(&vd->dev);
	if (q && !q->enabled && !vd->resetting) {
		gpa_t *address = part_of(&q->layout, part);

		address->v = (address->v & ~mask) | (value & mask);
	}
	device_unlock(&vd->dev);
}

unsigned virtio_ring_features(uint64_t driver_features)
{
	return (driver_features >> VIRTIO_RING_F_EVENT_IDX & 1 ? VIRTQ_EVENT_IDX : 0u) |
	       (driver_features >> VIRTIO_RING_F_INDIRECT_DESC & 1 ? VIRTQ_INDIRECT : 0u) |
	       (driver_features >> VIRTIO_F_RING_PACKED & 1 ? VIRTQ_PACKED : 0u);
}

int virtio_queue_start(struct virtio_queue *q)
{
	int rc = virtq_enable(q->vq, &q->layout, virtio_ring_features(q->vd->driver_features));

	q->enabled = rc == 0;
	return rc;
}

void virtio_queue_enable(struct virtio_device *vd, unsigned queue)
{
	const uint8_t mask = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	struct virtio_queue *q = queue_at(vd, queue);

	device_lock(&vd->dev);
	if (!q || q->enabled || vd->resetting)
		goto out;
	/* 3.1.1: queues are set up in step 7, after FEATURES_OK and before DRIVER_OK. */
	if ((vd->status & mask) != VIRTIO_CONFIG_S_FEATURES_OK) {
		device_guest_error(&vd->dev, "queue %u enabled at status %#x: ignored", queue,
				   vd->status);
		goto out;
	}
	if (virtio_queue_start(q))
		virtio_broken(vd, "queue %u: %s", queue, virtq_error(q->vq));
out:
	device_unlock(&vd->dev);
}

void virtio_queue_clear(struct virtio_queue *q)
{
	uint64_t count;

	virtq_drop_all(q->vq);
	q->layout = (struct virtq_layout){.size = q->max_size};
	q->enabled = false;
	/* A doorbell of the time before the reset must not ring after it. */
	while (read(q->kick_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/* ---- doorbells ---- */

void virtio_queue_ring(struct virtio_device *vd, unsigned queue)
{
	struct virtio_queue *q = queue_at(vd, queue);
	const uint64_t one = 1;

	/* A full counter (EAGAIN) is a doorbell that rings already. */
	while (q && write(q->kick_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void on_doorbell(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct virtio_queue *q = container_of(lfd, struct virtio_queue, kick);
	struct virtio_device *vd = q->vd;
	uint64_t count;

	/*
	 * Before looking at the ring: a doorbell that rings from here on is seen as a new one.
	 */
	while (read(q->kick_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	device_lock(&vd->dev);
	if (vd->active && q->enabled && !(vd->status & VIRTIO_CONFIG_S_NEEDS_RESET))
		virtio_class(vd)->kick(vd, q->index);
	device_unlock(&vd->dev);
}

int virtio_watch_doorbells(struct virtio_device *vd)
{
	for (unsigned i = 0; i < vd->queue_count; i++) {
		struct virtio_queue *q = &vd->queues[i];
		int rc;

		if (!q->enabled)
			continue;
		rc = loop_fd_add(vd->dev.loop, &q->kick, q->kick_fd, LOOP_IN, on_doorbell);
		if (rc) {
			virtio_ignore_doorbells(vd);
			return rc;
		}
	}
	return 0;
}

void virtio_ignore_doorbells(struct virtio_device *vd)
{
	for (unsigned i = 0; i < vd->queue_count; i++)
		loop_fd_del(&vd->queues[i].kick);
}

/* ---- chains ---- */

int virtio_pop(struct virtio_device *vd, unsigned queue, struct virtq_chain **chain)
{
	struct virtq *vq = vd->queues[queue].vq;
	int rc;

	/* 2.1.2: once the device needs a reset, no queue of it works. */
	if (vd->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return -EINVAL;
	rc = virtq_pop(vq, chain);
	if (rc < 0)
		virtio_broken(vd, "queue %u: %s", queue, virtq_error(vq));
	return rc;
}

void virtio_push(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain,
		 uint32_t written)
{
	virtq_push(vd->queues[queue].vq, chain, written);
	vd->dirty_queues[queue / 64] |= UINT64_C(1) << (queue % 64);
	loop_hook_schedule(vd->dev.loop, &vd->publish);
}

void virtio_publish(struct virtio_device *vd)
{
	for (unsigned w = 0; w < ARRAY_SIZE(vd->dirty_queues); w++) {
		while (vd->dirty_queues[w]) {
			unsigned bit = (unsigned)__builtin_ctzll(vd->dirty_queues[w]);
			unsigned queue = w * 64 + bit;

			vd->dirty_queues[w] &= vd->dirty_queues[w] - 1;
			if (virtq_publish(vd->queues[queue].vq) && vd->transport)
				vd->transport->ops->notify_queue(vd->transport, queue);
		}
	}
}

void virtio_process(struct virtio_device *vd, unsigned queue,
		    void (*fn)(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain))
{
	struct virtq *vq = vd->queues[queue].vq;
	unsigned budget = 2u * virtq_size(vq);
	struct virtq_chain *chain;
	int rc;

	do {
		virtq_notify_disable(vq);
		while ((rc = virtio_pop(vd, queue, &chain)) > 0) {
			fn(vd, queue, chain);
			if (!--budget)
				goto later;
		}
		if (rc < 0)
			return;
		/* A driver that moves its index to and fro would keep us here without a chain. */
		if (!--budget)
			goto later;
	} while (virtq_notify_enable(vq));
	return;
later:
	virtio_queue_ring(vd, queue);
}
