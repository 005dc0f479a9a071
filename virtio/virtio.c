/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_private.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED      VIRTIO_CONFIG_S_FAILED

#define BIT(n) (UINT64_C(1) << (n))

const char *const virtio_transport_names[] = {
	[VIRTIO_TRANSPORT_PCI] = "pci",
	[VIRTIO_TRANSPORT_MMIO] = "mmio",
	NULL,
};

/* ---- life ---- */

/* Section 6. ACCESS_PLATFORM is not among them: guest physical addresses are what devices use. */
static uint64_t core_features(const struct virtio_options *options)
{
	uint64_t f = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
		     BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_RING_RESET);

	if (options->packed)
		f |= BIT(VIRTIO_F_RING_PACKED);
	/* What they say is a hint: a device that looks at the ring needs none. */
	if (options->notification_data)
		f |= BIT(VIRTIO_F_NOTIFICATION_DATA);
	return f;
}

static void activate(struct loop_task *task);
static void reset_on_loop(struct loop_task *task);

static void publish_hook(struct loop_hook *hook)
{
	struct virtio_device *vd = container_of(hook, struct virtio_device, publish);

	device_lock(&vd->dev);
	virtio_publish(vd);
	device_unlock(&vd->dev);
}

static int queue_init(struct virtio_device *vd, unsigned index, uint16_t max_size)
{
	struct virtio_queue *q = &vd->queues[index];
	int rc;

	*q = (struct virtio_queue){
		.vd = vd,
		.index = index,
		.max_size = max_size,
		.layout = {.size = max_size},
		.kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.kick = {.fd = -1},
	};
	if (q->kick_fd < 0)
		return -errno;
	rc = virtq_create(&q->vq, vd->dev.env->memory, max_size);
	if (rc)
		close(q->kick_fd);
	return rc;
}

static void queues_fini(struct virtio_device *vd)
{
	for (unsigned i = 0; i < vd->queue_count; i++) {
		virtq_destroy(vd->queues[i].vq);
		close(vd->queues[i].kick_fd);
	}
	pthread_cond_destroy(&vd->reset_done);
	free(vd->queues);
	vd->queues = NULL;
	vd->queue_count = 0;
}

int virtio_init(struct virtio_device *vd, unsigned count, uint16_t max_size, uint64_t features,
		struct vmm_error *err)
{
	int rc;

	assert(count <= VIRTIO_MAX_QUEUES);
	loop_hook_init(&vd->publish, publish_hook);
	loop_task_init(&vd->reset_task, reset_on_loop);
	loop_task_init(&vd->activate_task, activate);
	loop_task_init(&vd->queue_task, virtio_queues_on_loop);
	vd->features = features | core_features(&vd->options);
	vd->queues = calloc(MAX(count, 1u), sizeof(*vd->queues));
	if (!vd->queues)
		return error_set(err, ENOMEM, "no memory for %u queues", count);
	pthread_cond_init(&vd->reset_done, NULL);
	for (vd->queue_count = 0; vd->queue_count < count; vd->queue_count++) {
		rc = queue_init(vd, vd->queue_count, max_size);
		if (rc) {
			queues_fini(vd);
			return error_set_errno(err, -rc, "cannot create a queue");
		}
	}
	return 0;
}

static void leave_loop(void *arg)
{
	struct virtio_device *vd = arg;

	virtio_ignore_doorbells(vd);
	loop_task_cancel(vd->dev.loop, &vd->reset_task);
	loop_task_cancel(vd->dev.loop, &vd->activate_task);
	loop_task_cancel(vd->dev.loop, &vd->queue_task);
	loop_hook_cancel(vd->dev.loop, &vd->publish);
}

void virtio_fini(struct virtio_device *vd)
{
	if (!vd->queues)
		return;
	loop_call(vd->dev.loop, leave_loop, vd);
	queues_fini(vd);
}

/* ---- telling the driver ---- */

void virtio_broken(struct virtio_device *vd, const char *fmt, ...)
{
	char why[256];
	va_list args;

	if (vd->status & NEEDS_RESET)
		return;
	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	device_guest_error(&vd->dev, "%s: the device stops until the driver resets it", why);
	device_tell(&vd->dev, DEVICE_NOTICE_ERROR, 0, why);
	vd->status |= NEEDS_RESET;
	/* Resets of queues that wait for a chain may wait for this one. */
	loop_post(vd->dev.loop, &vd->queue_task);
	/* 2.1.2: only a driver that has said DRIVER_OK is told. */
	if ((vd->status & DRIVER_OK) && vd->transport)
		vd->transport->ops->notify_config(vd->transport);
}

void virtio_config_changed(struct virtio_device *vd)
{
	vd->config_generation++;
	if ((vd->status & DRIVER_OK) && vd->transport)
		vd->transport->ops->notify_config(vd->transport);
}

/* ---- starting ---- */

static void activate(struct loop_task *task)
{
	struct virtio_device *vd = container_of(task, struct virtio_device, activate_task);
	const struct virtio_class *cls = virtio_class(vd);

	device_lock(&vd->dev);
	if (!(vd->status & DRIVER_OK) || (vd->status & NEEDS_RESET) || vd->active ||
	    vd->resetting || vd->stopped)
		goto out;
	if (virtio_watch_doorbells(vd)) {
		virtio_broken(vd, "the event loop has no room for its doorbells");
		goto out;
	}
	vd->active = true;
	if (cls->activate)
		cls->activate(vd);
	/* Chains may wait whose doorbell was read by an earlier life of the device. */
	for (unsigned i = 0; i < vd->queue_count; i++)
		if (virtio_queue_works(&vd->queues[i]))
			cls->kick(vd, i);
out:
	device_unlock(&vd->dev);
}

void virtio_resume(struct virtio_device *vd)
{
	device_lock(&vd->dev);
	vd->stopped = false;
	device_unlock(&vd->dev);
	/* Each looks for itself whether there is something to do. */
	loop_post(vd->dev.loop, &vd->activate_task);
	loop_post(vd->dev.loop, &vd->reset_task);
}

/* ---- stopping ---- */

/* For resets by the driver and for a quiesce by the machine; they may want it at once. */
void virtio_drain(struct virtio_device *vd)
{
	const struct virtio_class *cls = virtio_class(vd);

	if (vd->draining)
		return;
	vd->draining = true;
	device_lock(&vd->dev);
	vd->active = false;
	virtio_ignore_doorbells(vd);
	device_unlock(&vd->dev);
	if (cls->drain)
		cls->drain(vd);
	else
		virtio_drained(vd);
}

void virtio_drained(struct virtio_device *vd)
{
	bool reset;

	/* Nothing drains: a class that says it twice. */
	if (!vd->draining)
		return;
	vd->draining = false;
	device_lock(&vd->dev);
	virtio_publish(vd);
	virtio_finish_queue_resets(vd, true);
	reset = vd->resetting;
	device_unlock(&vd->dev);
	if (reset)
		virtio_device_reset(&vd->dev);
	device_quiesced(&vd->dev);
}

void virtio_device_quiesce(struct device *dev)
{
	struct virtio_device *vd = virtio_device(dev);

	device_lock(dev);
	vd->stopped = true;
	device_unlock(dev);
	virtio_drain(vd);
}

static bool is_resetting(struct virtio_device *vd)
{
	bool resetting;

	device_lock(&vd->dev);
	resetting = vd->resetting;
	device_unlock(&vd->dev);
	return resetting;
}

static void reset_on_loop(struct loop_task *task)
{
	struct virtio_device *vd = container_of(task, struct virtio_device, reset_task);

	/* A system reset may have come first. */
	if (is_resetting(vd))
		virtio_drain(vd);
}

void virtio_clear(struct virtio_device *vd)
{
	vd->active = vd->resetting = vd->stopped = false;
	pthread_cond_broadcast(&vd->reset_done);
	vd->status = 0;
	vd->driver_features = 0;
	vd->features_beyond = false;
	memset(vd->dirty_queues, 0, sizeof(vd->dirty_queues));
	for (unsigned i = 0; i < vd->queue_count; i++)
		virtio_queue_clear(&vd->queues[i]);
	if (vd->transport)
		vd->transport->ops->reset(vd->transport);
}

void virtio_device_reset(struct device *dev)
{
	struct virtio_device *vd = virtio_device(dev);

	device_lock(dev);
	if (virtio_class(vd)->reset)
		virtio_class(vd)->reset(vd);
	virtio_clear(vd);
	device_unlock(dev);
}

/* ---- status (2.1) ---- */

uint8_t virtio_read_status(struct virtio_device *vd)
{
	uint8_t status;

	device_lock(&vd->dev);
	status = vd->status;
	device_unlock(&vd->dev);
	return status;
}

static void begin_reset(struct virtio_device *vd)
{
	/*
	 * Before FEATURES_OK the class has seen nothing of the driver: there is nothing to wait
	 * for, and drivers that probe need not poll.
	 */
	if (!(vd->status & FEATURES_OK)) {
		virtio_clear(vd);
		return;
	}
	vd->resetting = true;
	vd->active = false; /* no chain is taken from here on */
	loop_post(vd->dev.loop, &vd->reset_task);
}

static bool features_acceptable(struct virtio_device *vd)
{
	uint64_t unoffered = vd->driver_features & ~vd->features;

	if (unoffered || vd->features_beyond)
		device_guest_error(&vd->dev,
				   "the driver accepts features that are not offered: %#llx",
				   (unsigned long long)unoffered);
	else if (!virtio_has(vd, VIRTIO_F_VERSION_1))
		device_guest_error(&vd->dev, "the driver does not accept VERSION_1");
	else
		return true;
	return false;
}

/* Set the bits whose turn it is (3.1.1); a driver cannot clear any but by a reset. */
static void advance(struct virtio_device *vd, uint8_t value)
{
	const struct virtio_class *cls = virtio_class(vd);
	uint8_t added = value & (uint8_t)~vd->status;
	uint8_t before = vd->status;

	vd->status |= added & (ACKNOWLEDGE | DRIVER | FAILED);
	if ((added & FEATURES_OK) &&
	    (vd->status & (ACKNOWLEDGE | DRIVER)) == (ACKNOWLEDGE | DRIVER) &&
	    features_acceptable(vd)) {
		vd->status |= FEATURES_OK;
		if (cls->features_set)
			cls->features_set(vd);
	}
	/* A driver has to look whether FEATURES_OK stayed before it goes on. */
	if ((added & DRIVER_OK) && (before & FEATURES_OK)) {
		vd->status |= DRIVER_OK;
		/* Not here: the class works on the home loop. Doorbells until then keep ringing. */
		loop_post(vd->dev.loop, &vd->activate_task);
	}
	if (added & (FEATURES_OK | DRIVER_OK) & ~vd->status)
		device_guest_error(&vd->dev, "status %#x refused at status %#x", value, before);
}

void virtio_write_status(struct virtio_device *vd, uint8_t value)
{
	device_lock(&vd->dev);
	if (vd->resetting)
		; /* It will be 0, whatever the driver writes while it waits for that. */
	else if (!value)
		begin_reset(vd);
	else
		advance(vd, value);
	device_unlock(&vd->dev);
}

void virtio_reset_wait(struct virtio_device *vd)
{
	struct loop *loop = vd->dev.loop;

	if (loop_on_thread(loop)) {
		while (is_resetting(vd) && loop_turn(loop, false))
			;
		return;
	}
	device_lock(&vd->dev);
	while (vd->resetting)
		pthread_cond_wait(&vd->reset_done, &vd->dev.lock);
	device_unlock(&vd->dev);
}

/* ---- features (2.2) ---- */

uint64_t virtio_offered(struct virtio_device *vd)
{
	return vd->features;
}

uint32_t virtio_read_driver_features(struct virtio_device *vd, unsigned word)
{
	uint64_t features;

	device_lock(&vd->dev);
	features = vd->driver_features;
	device_unlock(&vd->dev);
	return word < 2 ? (uint32_t)(features >> (32 * word)) : 0;
}

void virtio_write_driver_features(struct virtio_device *vd, unsigned word, uint32_t value)
{
	device_lock(&vd->dev);
	if ((vd->status & FEATURES_OK) || vd->resetting)
		; /* 3.1.1 step 6: final */
	else if (word < 2)
		vd->driver_features =
			(vd->driver_features & ~(UINT64_C(0xffffffff) << (32 * word))) |
			(uint64_t)value << (32 * word);
	else if (value)
		vd->features_beyond = true;
	device_unlock(&vd->dev);
}

/* ---- configuration space (2.5) ---- */

uint8_t virtio_read_generation(struct virtio_device *vd)
{
	uint8_t generation;

	device_lock(&vd->dev);
	generation = vd->config_generation;
	device_unlock(&vd->dev);
	return generation;
}

void virtio_read_config(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	const struct virtio_class *cls = virtio_class(vd);

	memset(buf, 0, len);
	if (offset >= cls->config_size)
		return;
	device_lock(&vd->dev);
	cls->config_read(vd, offset, buf, MIN(len, cls->config_size - offset));
	device_unlock(&vd->dev);
}

void virtio_write_config(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len)
{
	const struct virtio_class *cls = virtio_class(vd);

	if (!cls->config_write || offset >= cls->config_size)
		return;
	device_lock(&vd->dev);
	/* 3.1.1 step 4: before FEATURES_OK the driver may read but must not write. */
	if (((vd->status & FEATURES_OK) || cls->config_write_early) && !vd->resetting)
		cls->config_write(vd, offset, buf, MIN(len, cls->config_size - offset));
	device_unlock(&vd->dev);
}
