/* SPDX-License-Identifier: MIT */
/*
 * Saved state of what is common to virtio devices. What is loaded is not trusted: it is parsed into
 * a structure of its own, checked against what a driver could have brought about, then committed.
 */
#include "virtio/virtio_private.h"

#include <errno.h>
#include <stdlib.h>

struct queue_state {
	struct virtq_layout layout;
	bool enabled;
	struct virtq_position position;
};

struct generic_state {
	uint64_t driver_features;
	uint8_t status, generation;
	bool features_beyond, resetting;
	struct queue_state queues[];
};

static void save_queue(const struct virtio_queue *q, struct state_writer *w)
{
	state_begin(w, "queue", 1);
	state_put_u64(w, "size", q->layout.size);
	state_put_u64(w, "desc", q->layout.desc.v);
	state_put_u64(w, "driver", q->layout.driver.v);
	state_put_u64(w, "device", q->layout.device.v);
	state_put_u64(w, "enabled", q->enabled);
	virtq_save(q->vq, w);
	state_end(w);
}

void virtio_device_save(struct device *dev, struct state_writer *w)
{
	struct virtio_device *vd = virtio_device(dev);

	device_lock(dev);
	/* What the end of the batch would publish must not depend on who runs first. */
	virtio_publish(vd);
	virtio_finish_queue_resets(vd, true);
	state_put_u64(w, "status", vd->status);
	state_put_u64(w, "driver_features", vd->driver_features);
	state_put_u64(w, "features_beyond", vd->features_beyond);
	state_put_u64(w, "config_generation", vd->config_generation);
	state_put_u64(w, "resetting", vd->resetting);
	state_put_u64(w, "queues", vd->queue_count);
	for (unsigned i = 0; i < vd->queue_count; i++)
		save_queue(&vd->queues[i], w);
	if (virtio_class(vd)->save)
		virtio_class(vd)->save(vd, w);
	device_unlock(dev);
}

static int parse_queue(struct queue_state *q, struct state_reader *r)
{
	uint64_t size = 0, enabled = 0;
	uint32_t version;
	int rc = state_enter(r, "queue", 1, &version);

	if (!rc)
		rc = state_get_u64(r, "size", &size, 0, UINT16_MAX);
	if (!rc)
		rc = state_get_u64(r, "desc", &q->layout.desc.v, 0, UINT64_MAX);
	if (!rc)
		rc = state_get_u64(r, "driver", &q->layout.driver.v, 0, UINT64_MAX);
	if (!rc)
		rc = state_get_u64(r, "device", &q->layout.device.v, 0, UINT64_MAX);
	if (!rc)
		rc = state_get_u64(r, "enabled", &enabled, 0, 1);
	if (!rc)
		rc = virtq_load(&q->position, r);
	q->layout.size = (uint16_t)size;
	q->enabled = enabled;
	return rc ? rc : state_leave(r);
}

static int parse(struct virtio_device *vd, struct generic_state *s, struct state_reader *r)
{
	uint64_t status = 0, beyond = 0, generation = 0, resetting = 0, count;
	int rc = state_get_u64(r, "status", &status, 0, UINT8_MAX);

	if (!rc)
		rc = state_get_u64(r, "driver_features", &s->driver_features, 0, UINT64_MAX);
	if (!rc)
		rc = state_get_u64(r, "features_beyond", &beyond, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "config_generation", &generation, 0, UINT8_MAX);
	if (!rc)
		rc = state_get_u64(r, "resetting", &resetting, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "queues", &count, vd->queue_count, vd->queue_count);
	for (unsigned i = 0; !rc && i < vd->queue_count; i++)
		rc = parse_queue(&s->queues[i], r);
	s->status = (uint8_t)status;
	s->features_beyond = beyond;
	s->generation = (uint8_t)generation;
	s->resetting = resetting;
	return rc;
}

static bool queue_ok(const struct virtio_queue *q, const struct queue_state *s,
		     uint64_t driver_features)
{
	unsigned features = virtio_ring_features(driver_features);

	return virtq_check(q->vq, &s->layout, features) == 0 &&
	       virtq_position_ok(&s->position, &s->layout, features);
}

static int validate(struct virtio_device *vd, const struct generic_state *s)
{
	const uint8_t known = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			      VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK |
			      VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
	bool negotiated = s->status & VIRTIO_CONFIG_S_FEATURES_OK;

	if (s->status & ~known)
		return -ERANGE;
	if (!negotiated && ((s->status & VIRTIO_CONFIG_S_DRIVER_OK) || s->resetting))
		return -ERANGE;
	if (negotiated && (s->features_beyond || (s->driver_features & ~vd->features) ||
			   !(s->driver_features >> VIRTIO_F_VERSION_1 & 1)))
		return -ERANGE;
	for (unsigned i = 0; i < vd->queue_count; i++) {
		const struct queue_state *q = &s->queues[i];

		if (q->enabled && (!negotiated || !queue_ok(&vd->queues[i], q, s->driver_features)))
			return -ERANGE;
	}
	return 0;
}

static void commit_queue(struct virtio_queue *q, const struct queue_state *s)
{
	q->layout = s->layout;
	/* Checked by validate, so that it cannot fail. */
	if (s->enabled && !virtio_queue_start(q))
		virtq_set_position(q->vq, &s->position);
}

static void commit(struct virtio_device *vd, const struct generic_state *s)
{
	device_lock(&vd->dev);
	virtio_clear(vd);
	vd->driver_features = s->driver_features;
	vd->features_beyond = s->features_beyond;
	vd->config_generation = s->generation;
	vd->status = s->status;
	vd->resetting = s->resetting;
	/* Its transport is yet to be loaded: interrupts of now would be lost. */
	vd->stopped = true;
	for (unsigned i = 0; i < vd->queue_count; i++)
		commit_queue(&vd->queues[i], &s->queues[i]);
	device_unlock(&vd->dev);
}

int virtio_device_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	struct virtio_device *vd = virtio_device(dev);
	struct generic_state *s =
		calloc(1, sizeof(*s) + vd->queue_count * sizeof(struct queue_state));
	int rc;

	if (!s)
		return -ENOMEM;
	rc = parse(vd, s, r);
	if (!rc)
		rc = validate(vd, s);
	if (!rc && virtio_class(vd)->load) {
		device_lock(dev);
		rc = virtio_class(vd)->load(vd, r, version);
		device_unlock(dev);
	}
	if (!rc)
		commit(vd, s);
	free(s);
	return rc;
}
