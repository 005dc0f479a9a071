/* SPDX-License-Identifier: MIT */
/*
 * The queues of a virtio device: their registers, doorbells and the two ways that chains take.
 */
#include "virtio/virtio_private.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "core/trace.h"

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

uint16_t virtio_queue_max_size(struct virtio_device *vd, unsigned queue)
{
	const struct virtio_queue *q = queue_at(vd, queue);

	return q ? q->max_size : 0;
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
	struct virtio_queue *q = queue_at(vd, queue);

	device_lock(&vd->dev);
	if (!q || q->enabled || vd->resetting)
		goto out;
	/*
	 * 3.1.1: queues are set up in step 7, after FEATURES_OK and before DRIVER_OK. Those that
	 * were reset also later (2.6.1.2).
	 */
	if (!(vd->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    ((vd->status & VIRTIO_CONFIG_S_DRIVER_OK) && !virtio_has(vd, VIRTIO_F_RING_RESET))) {
		device_guest_error(&vd->dev, "queue %u enabled at status %#x: ignored", queue,
				   vd->status);
		goto out;
	}
	if (virtio_queue_start(q))
		virtio_broken(vd, "queue %u: %s", queue, virtq_error(q->vq));
	else
		loop_post(vd->dev.loop, &vd->queue_task); /* in case the device works already */
out:
	device_unlock(&vd->dev);
}

void virtio_queue_clear(struct virtio_queue *q)
{
	uint64_t count;

	virtq_drop_all(q->vq);
	q->layout = (struct virtq_layout){.size = q->max_size};
	q->enabled = q->resetting = q->drain_asked = false;
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

void virtio_kick(struct virtio_device *vd, unsigned queue)
{
	if (!vd->active || !virtio_queue_works(&vd->queues[queue]))
		return;
	trace_virtio_kick(vd->dev.id, queue);
	virtio_class(vd)->kick(vd, queue);
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
	virtio_kick(vd, q->index);
	device_unlock(&vd->dev);
}

/* If it is enabled and not watched yet. */
static int watch_doorbell(struct virtio_queue *q)
{
	if (!q->enabled || q->lent || q->kick.fd >= 0)
		return 0;
	return loop_fd_add(q->vd->dev.loop, &q->kick, q->kick_fd, LOOP_IN, on_doorbell);
}

int virtio_watch_doorbells(struct virtio_device *vd)
{
	for (unsigned i = 0; i < vd->queue_count; i++) {
		int rc = watch_doorbell(&vd->queues[i]);

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

/* ---- rings that others serve ---- */

void virtio_lend(struct virtio_device *vd, unsigned queue, struct virtq_layout *layout,
		 uint16_t *position)
{
	struct virtio_queue *q = &vd->queues[queue];

	assert(!q->lent && !virtq_in_flight(q->vq));
	virtio_publish(vd);
	loop_fd_del(&q->kick);
	q->lent = true;
	*layout = q->layout;
	*position = virtq_position(q->vq).next_avail;
}

void virtio_take_back(struct virtio_device *vd, unsigned queue, uint16_t position)
{
	struct virtio_queue *q = &vd->queues[queue];

	assert(q->lent);
	q->lent = false;
	virtq_set_position(q->vq, &(struct virtq_position){position, position});
	if (!vd->active)
		return;
	if (watch_doorbell(q))
		virtio_broken(vd, "the event loop has no room for its doorbells");
	else
		virtio_queue_ring(vd, queue); /* for what the other one has left */
}

void virtio_interrupt(struct virtio_device *vd, unsigned queue)
{
	if (!vd->transport)
		return;
	trace_virtio_notify(vd->dev.id, queue);
	vd->transport->ops->notify_queue(vd->transport, queue);
}

/* ---- reset of one queue (2.6.1) ---- */

static void finish_reset(struct virtio_queue *q)
{
	struct virtio_transport *t = q->vd->transport;

	loop_fd_del(&q->kick);
	virtio_queue_clear(q);
	if (t && t->ops->reset_queue)
		t->ops->reset_queue(t, q->index);
}

/* Lock held. */
static void begin_reset(struct virtio_queue *q)
{
	if (!q->enabled || q->resetting || q->vd->resetting)
		return;
	/* The class has not seen it yet: there is nothing to wait for. */
	if (!(q->vd->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		finish_reset(q);
		return;
	}
	q->resetting = true; /* no chain is taken from here on */
	loop_post(q->vd->dev.loop, &q->vd->queue_task);
}

void virtio_queue_reset(struct virtio_device *vd, unsigned queue)
{
	struct virtio_queue *q = queue_at(vd, queue);

	device_lock(&vd->dev);
	if (q && virtio_has(vd, VIRTIO_F_RING_RESET))
		begin_reset(q);
	device_unlock(&vd->dev);
}

void virtio_queue_disable(struct virtio_device *vd, unsigned queue)
{
	struct virtio_queue *q = queue_at(vd, queue);

	device_lock(&vd->dev);
	if (q)
		begin_reset(q);
	device_unlock(&vd->dev);
}

bool virtio_queue_resetting(struct virtio_device *vd, unsigned queue)
{
	struct virtio_queue *q = queue_at(vd, queue);
	bool resetting;

	device_lock(&vd->dev);
	resetting = q && q->resetting;
	device_unlock(&vd->dev);
	return resetting;
}

void virtio_finish_queue_resets(struct virtio_device *vd, bool drained)
{
	bool drop = drained && (vd->status & VIRTIO_CONFIG_S_NEEDS_RESET);

	for (unsigned i = 0; i < vd->queue_count; i++) {
		struct virtio_queue *q = &vd->queues[i];

		if (q->resetting && (drop || !virtq_in_flight(q->vq)))
			finish_reset(q);
	}
}

static void ask_to_drain(struct virtio_queue *q)
{
	const struct virtio_class *cls = virtio_class(q->vd);

	if (q->drain_asked)
		return;
	q->drain_asked = true;
	if (cls->drain_queue)
		cls->drain_queue(q->vd, q->index);
}

/* A queue that was enabled while the device works. */
static void start_late(struct virtio_queue *q)
{
	if (q->kick.fd >= 0 || !virtio_queue_works(q))
		return;
	if (watch_doorbell(q))
		virtio_broken(q->vd, "the event loop has no room for its doorbells");
	else
		virtio_class(q->vd)->kick(q->vd, q->index);
}

void virtio_queues_on_loop(struct loop_task *task)
{
	struct virtio_device *vd = container_of(task, struct virtio_device, queue_task);
	bool waits = false;

	device_lock(&vd->dev);
	for (unsigned i = 0; i < vd->queue_count; i++)
		if (vd->queues[i].resetting)
			ask_to_drain(&vd->queues[i]);
	/* Work that is done is seen to be done: the end of this batch would find no rings. */
	virtio_publish(vd);
	virtio_finish_queue_resets(vd, false);
	for (unsigned i = 0; i < vd->queue_count; i++) {
		if (vd->active)
			start_late(&vd->queues[i]);
		waits |= vd->queues[i].resetting;
	}
	/* A class that found a request wrong keeps its chain: it comes back with no completion. */
	waits = waits && (vd->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	device_unlock(&vd->dev);
	if (waits)
		virtio_drain(vd);
}

/* ---- chains ---- */

int virtio_pop(struct virtio_device *vd, unsigned queue, struct virtq_chain **chain)
{
	struct virtq *vq = vd->queues[queue].vq;
	int rc;

	/* 2.1.2: once the device needs a reset, no queue of it works. */
	if (vd->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return -EINVAL;
	if (vd->queues[queue].resetting)
		return 0;
	rc = virtq_pop(vq, chain);
	if (rc < 0)
		virtio_broken(vd, "queue %u: %s", queue, virtq_error(vq));
	if (rc > 0)
		trace_virtq_pop(vd->dev.id, queue, (*chain)->head);
	return rc;
}

int virtio_pop_or_wait(struct virtio_device *vd, unsigned queue, struct virtq_chain **chain)
{
	/* A driver that moves its index to and fro would keep us here. */
	for (unsigned tries = 0; tries < 2; tries++) {
		const int rc = virtio_pop(vd, queue, chain);

		if (rc || !virtq_notify_enable(vd->queues[queue].vq))
			return rc;
	}
	virtio_queue_ring(vd, queue);
	return 0;
}

void virtio_push(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain,
		 uint32_t written)
{
	trace_virtq_push(vd->dev.id, queue, chain->head, written);
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
			struct virtio_queue *q = &vd->queues[queue];

			vd->dirty_queues[w] &= vd->dirty_queues[w] - 1;
			if (virtq_publish(q->vq))
				virtio_interrupt(vd, queue);
			/* The last chain that a reset of the queue has waited for? */
			if (q->resetting && !virtq_in_flight(q->vq))
				loop_post(vd->dev.loop, &vd->queue_task);
		}
	}
}

void virtio_process_while(struct virtio_device *vd, unsigned queue, virtio_may_pop_fn *may_pop,
			  virtio_chain_fn *fn)
{
	struct virtq *vq = vd->queues[queue].vq;
	unsigned budget = 2u * virtq_size(vq);
	struct virtq_chain *chain;
	int rc;

	if (vd->queues[queue].resetting)
		return;
	do {
		virtq_notify_disable(vq);
		for (;;) {
			if (may_pop && !may_pop(vd, queue))
				return;
			rc = virtio_pop(vd, queue, &chain);
			if (rc <= 0)
				break;
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

void virtio_process(struct virtio_device *vd, unsigned queue, virtio_chain_fn *fn)
{
	virtio_process_while(vd, queue, NULL, fn);
}
