/* SPDX-License-Identifier: MIT */
/* A driver that reaches its device through memory-mapped registers; see virtio_driver.h. */
#include <linux/virtio_mmio.h>

#include "tests/unit/support/virtio_driver.h"

#define QUEUE_RESET 0x0c0u /* newer than some headers */

static uint32_t reg(struct virtio_driver *d, unsigned offset)
{
	return (uint32_t)fake_mmio_read(d->fake, d->window + offset, 4);
}

static void set_reg(struct virtio_driver *d, unsigned offset, uint64_t value)
{
	fake_mmio_write(d->fake, d->window + offset, 4, value);
}

static uint8_t get_status(struct virtio_driver *d)
{
	return (uint8_t)reg(d, VIRTIO_MMIO_STATUS);
}

static void set_status(struct virtio_driver *d, uint8_t status)
{
	set_reg(d, VIRTIO_MMIO_STATUS, status);
}

static uint64_t get_features(struct virtio_driver *d)
{
	uint64_t v;

	set_reg(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	v = reg(d, VIRTIO_MMIO_DEVICE_FEATURES);
	set_reg(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return v | (uint64_t)reg(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void set_features(struct virtio_driver *d, uint64_t features)
{
	for (unsigned word = 0; word < 2; word++) {
		set_reg(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		set_reg(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * word)));
	}
}

static uint32_t queue_reg(struct virtio_driver *d, unsigned queue, unsigned offset)
{
	set_reg(d, VIRTIO_MMIO_QUEUE_SEL, queue);
	return reg(d, offset);
}

static uint16_t queue_size(struct virtio_driver *d, unsigned queue)
{
	return (uint16_t)queue_reg(d, queue, VIRTIO_MMIO_QUEUE_NUM_MAX);
}

static void setup_queue(struct virtio_driver *d, unsigned queue, const struct virtq_layout *l)
{
	static const unsigned at[] = {VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
				      VIRTIO_MMIO_QUEUE_USED_LOW};
	const uint64_t parts[] = {l->desc.v, l->driver.v, l->device.v};

	set_reg(d, VIRTIO_MMIO_QUEUE_SEL, queue);
	set_reg(d, VIRTIO_MMIO_QUEUE_NUM, l->size);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		set_reg(d, at[i], (uint32_t)parts[i]);
		set_reg(d, at[i] + 4, parts[i] >> 32);
	}
	set_reg(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void reset_queue(struct virtio_driver *d, unsigned queue)
{
	set_reg(d, VIRTIO_MMIO_QUEUE_SEL, queue);
	set_reg(d, QUEUE_RESET, 1);
}

static bool queue_resetting(struct virtio_driver *d, unsigned queue)
{
	return queue_reg(d, queue, QUEUE_RESET);
}

static bool queue_enabled(struct virtio_driver *d, unsigned queue)
{
	return queue_reg(d, queue, VIRTIO_MMIO_QUEUE_READY);
}

static void ring(struct virtio_driver *d, unsigned queue)
{
	uint64_t at = d->window + VIRTIO_MMIO_QUEUE_NOTIFY;

	if (d->register_doorbells || !fake_doorbell_write(d->fake, at, 4, queue))
		fake_mmio_write(d->fake, at, 4, queue);
}

static void read_config(struct virtio_driver *d, unsigned offset, void *buf, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)fake_mmio_read(
			d->fake, d->window + VIRTIO_MMIO_CONFIG + offset + i, 1);
}

static void write_config(struct virtio_driver *d, unsigned offset, const void *buf, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		fake_mmio_write(d->fake, d->window + VIRTIO_MMIO_CONFIG + offset + i, 1,
				((const uint8_t *)buf)[i]);
}

static const struct virtio_driver_ops mmio_ops = {
	.get_status = get_status,
	.set_status = set_status,
	.get_features = get_features,
	.set_features = set_features,
	.queue_size = queue_size,
	.setup_queue = setup_queue,
	.reset_queue = reset_queue,
	.queue_resetting = queue_resetting,
	.queue_enabled = queue_enabled,
	.ring = ring,
	.read_config = read_config,
	.write_config = write_config,
};

void virtio_driver_init_mmio(struct virtio_driver *d, struct fake_env *fake,
			     struct virtio_device *vd, uint64_t window, gpa_t heap)
{
	*d = (struct virtio_driver){
		.ops = &mmio_ops,
		.fake = fake,
		.memory = fake->env.memory,
		.vd = vd,
		.next = heap,
		.window = window,
	};
}
