/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/virtio_driver.h"

#include <criterion/criterion.h>
#include <linux/virtio_pci.h>

/* ---- through the transport functions ---- */

static uint8_t direct_get_status(struct virtio_driver *d)
{
	return virtio_read_status(d->vd);
}

static void direct_set_status(struct virtio_driver *d, uint8_t status)
{
	virtio_write_status(d->vd, status);
}

static uint64_t direct_get_features(struct virtio_driver *d)
{
	return virtio_offered(d->vd);
}

static void direct_set_features(struct virtio_driver *d, uint64_t features)
{
	virtio_write_driver_features(d->vd, 0, (uint32_t)features);
	virtio_write_driver_features(d->vd, 1, (uint32_t)(features >> 32));
}

static uint16_t direct_queue_size(struct virtio_driver *d, unsigned queue)
{
	return virtio_queue_size(d->vd, queue);
}

static void direct_setup_queue(struct virtio_driver *d, unsigned queue,
			       const struct virtq_layout *l)
{
	virtio_queue_set_size(d->vd, queue, l->size);
	virtio_queue_set_address(d->vd, queue, VIRTIO_QUEUE_DESC, UINT64_MAX, l->desc.v);
	virtio_queue_set_address(d->vd, queue, VIRTIO_QUEUE_DRIVER, UINT64_MAX, l->driver.v);
	virtio_queue_set_address(d->vd, queue, VIRTIO_QUEUE_DEVICE, UINT64_MAX, l->device.v);
	virtio_queue_enable(d->vd, queue);
}

static void direct_reset_queue(struct virtio_driver *d, unsigned queue)
{
	virtio_queue_reset(d->vd, queue);
}

static bool direct_queue_resetting(struct virtio_driver *d, unsigned queue)
{
	return virtio_queue_resetting(d->vd, queue);
}

static bool direct_queue_enabled(struct virtio_driver *d, unsigned queue)
{
	return virtio_queue_enabled(d->vd, queue);
}

static void direct_ring(struct virtio_driver *d, unsigned queue)
{
	virtio_queue_ring(d->vd, queue);
}

static void direct_read_config(struct virtio_driver *d, unsigned offset, void *buf, unsigned len)
{
	virtio_read_config(d->vd, offset, buf, len);
}

static void direct_write_config(struct virtio_driver *d, unsigned offset, const void *buf,
				unsigned len)
{
	virtio_write_config(d->vd, offset, buf, len);
}

static const struct virtio_driver_ops direct_ops = {
	.get_status = direct_get_status,
	.set_status = direct_set_status,
	.get_features = direct_get_features,
	.set_features = direct_set_features,
	.queue_size = direct_queue_size,
	.setup_queue = direct_setup_queue,
	.reset_queue = direct_reset_queue,
	.queue_resetting = direct_queue_resetting,
	.queue_enabled = direct_queue_enabled,
	.ring = direct_ring,
	.read_config = direct_read_config,
	.write_config = direct_write_config,
};

static struct virtio_driver *from_transport(struct virtio_transport *t)
{
	return container_of(t, struct virtio_driver, transport);
}

static void count_queue(struct virtio_transport *t, unsigned queue)
{
	if (queue < DRIVER_QUEUES)
		from_transport(t)->queue_interrupts[queue]++;
}

static void count_config(struct virtio_transport *t)
{
	from_transport(t)->config_interrupts++;
}

static void count_reset(struct virtio_transport *t)
{
	from_transport(t)->resets++;
}

static void count_queue_reset(struct virtio_transport *t, unsigned queue UNUSED)
{
	from_transport(t)->queue_resets++;
}

static const struct virtio_transport_ops count_ops = {
	.notify_queue = count_queue,
	.notify_config = count_config,
	.reset = count_reset,
	.reset_queue = count_queue_reset,
};

void virtio_driver_init(struct virtio_driver *d, struct fake_env *fake, struct virtio_device *vd,
			gpa_t heap)
{
	*d = (struct virtio_driver){
		.ops = &direct_ops,
		.fake = fake,
		.memory = fake->env.memory,
		.vd = vd,
		.next = heap,
		.transport = {&count_ops},
	};
	vd->transport = &d->transport;
}

/* ---- through PCI ---- */

static uint64_t reg_read(struct virtio_driver *d, unsigned reg, unsigned size)
{
	return fake_mmio_read(d->fake, d->common + reg, size);
}

static void reg_write(struct virtio_driver *d, unsigned reg, unsigned size, uint64_t v)
{
	fake_mmio_write(d->fake, d->common + reg, size, v);
}

static uint8_t pci_get_status(struct virtio_driver *d)
{
	return (uint8_t)reg_read(d, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void pci_set_status(struct virtio_driver *d, uint8_t status)
{
	reg_write(d, VIRTIO_PCI_COMMON_STATUS, 1, status);
}

static uint64_t pci_get_features(struct virtio_driver *d)
{
	uint64_t v;

	reg_write(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	v = reg_read(d, VIRTIO_PCI_COMMON_DF, 4);
	reg_write(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	return v | reg_read(d, VIRTIO_PCI_COMMON_DF, 4) << 32;
}

static void pci_set_features(struct virtio_driver *d, uint64_t features)
{
	for (unsigned word = 0; word < 2; word++) {
		reg_write(d, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
		reg_write(d, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> (32 * word)));
	}
}

static uint16_t pci_queue_size(struct virtio_driver *d, unsigned queue)
{
	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	return (uint16_t)reg_read(d, VIRTIO_PCI_COMMON_Q_SIZE, 2);
}

static void pci_setup_queue(struct virtio_driver *d, unsigned queue, const struct virtq_layout *l)
{
	const uint64_t parts[] = {l->desc.v, l->driver.v, l->device.v};

	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	reg_write(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, l->size);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		reg_write(d, VIRTIO_PCI_COMMON_Q_DESCLO + 8 * i, 4, (uint32_t)parts[i]);
		reg_write(d, VIRTIO_PCI_COMMON_Q_DESCHI + 8 * i, 4, parts[i] >> 32);
	}
	reg_write(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

/* The two fields that are newer than some headers (4.1.4.3). */
#define COMMON_Q_RESET 58

static void pci_reset_queue(struct virtio_driver *d, unsigned queue)
{
	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	reg_write(d, COMMON_Q_RESET, 2, 1);
}

static bool pci_queue_resetting(struct virtio_driver *d, unsigned queue)
{
	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	return reg_read(d, COMMON_Q_RESET, 2);
}

static bool pci_queue_enabled(struct virtio_driver *d, unsigned queue)
{
	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	return reg_read(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2);
}

static void pci_ring(struct virtio_driver *d, unsigned queue)
{
	uint64_t address;

	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	address = d->notify +
		  reg_read(d, VIRTIO_PCI_COMMON_Q_NOFF, 2) * (uint64_t)d->notify_multiplier;
	if (d->register_doorbells || !fake_doorbell_ring(d->fake, address))
		fake_mmio_write(d->fake, address, 2, queue);
}

static void pci_read_config(struct virtio_driver *d, unsigned offset, void *buf, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)fake_mmio_read(d->fake, d->device + offset + i, 1);
}

static void pci_write_config(struct virtio_driver *d, unsigned offset, const void *buf,
			     unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		fake_mmio_write(d->fake, d->device + offset + i, 1, ((const uint8_t *)buf)[i]);
}

static const struct virtio_driver_ops pci_ops = {
	.get_status = pci_get_status,
	.set_status = pci_set_status,
	.get_features = pci_get_features,
	.set_features = pci_set_features,
	.queue_size = pci_queue_size,
	.setup_queue = pci_setup_queue,
	.reset_queue = pci_reset_queue,
	.queue_resetting = pci_queue_resetting,
	.queue_enabled = pci_queue_enabled,
	.ring = pci_ring,
	.read_config = pci_read_config,
	.write_config = pci_write_config,
};

static uint32_t config_read(struct virtio_driver *d, unsigned offset, unsigned size)
{
	return pci_config_read(d->fake->env.pci, d->devfn, offset, size);
}

static void find_structure(struct virtio_driver *d, unsigned cap)
{
	uint64_t at = d->bar + config_read(d, cap + VIRTIO_PCI_CAP_OFFSET, 4);

	switch (config_read(d, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		d->common = at;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		d->notify = at;
		d->notify_multiplier = config_read(d, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		d->isr = at;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		d->device = at;
		break;
	default:
		break;
	}
}

void virtio_driver_init_pci(struct virtio_driver *d, struct fake_env *fake,
			    struct virtio_device *vd, unsigned devfn, gpa_t heap)
{
	*d = (struct virtio_driver){
		.ops = &pci_ops,
		.fake = fake,
		.memory = fake->env.memory,
		.vd = vd,
		.next = heap,
		.devfn = devfn,
	};
	d->bar = (config_read(d, PCI_BASE_ADDRESS_0, 4) & ~0xfu) |
		 (uint64_t)config_read(d, PCI_BASE_ADDRESS_1, 4) << 32;
	pci_config_write(fake->env.pci, devfn, PCI_COMMAND, 2,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned cap = config_read(d, PCI_CAPABILITY_LIST, 1); cap;
	     cap = config_read(d, cap + PCI_CAP_LIST_NEXT, 1))
		if (config_read(d, cap, 1) == PCI_CAP_ID_VNDR)
			find_structure(d, cap);
}

/* ---- what drivers do ---- */

gpa_t virtio_driver_alloc(struct virtio_driver *d, uint64_t bytes)
{
	gpa_t at = gpa(align_up(d->next.v, 16));

	d->next = gpa_add(at, bytes);
	cr_assert(guest_memory_contains(d->memory, at, bytes), "the test's heap is too small");
	return at;
}

void virtio_driver_reset(struct virtio_driver *d)
{
	d->ops->set_status(d, 0);
	while (d->ops->get_status(d))
		loop_turn(d->fake->env.loop, true);
}

bool virtio_driver_negotiate(struct virtio_driver *d, uint64_t features)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	d->features = features | d->always | UINT64_C(1) << VIRTIO_F_VERSION_1;
	d->ops->set_status(d, status);
	d->ops->set_status(d, status |= VIRTIO_CONFIG_S_DRIVER);
	d->ops->set_features(d, d->features);
	d->ops->set_status(d, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	return d->ops->get_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void virtio_driver_queue(struct virtio_driver *d, unsigned queue, uint16_t size)
{
	struct driver_ring *ring = &d->rings[queue];
	gpa_t at;

	cr_assert(queue < DRIVER_QUEUES);
	size = size ? size : d->ops->queue_size(d, queue);
	at = virtio_driver_alloc(d, driver_ring_bytes(size));
	if (d->features >> VIRTIO_F_RING_PACKED & 1)
		driver_ring_init_packed(ring, d->memory, at, size);
	else
		driver_ring_init(ring, d->memory, at, size);
	ring->event_idx = d->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	d->ops->setup_queue(d, queue, &ring->layout);
}

void virtio_driver_ok(struct virtio_driver *d)
{
	d->ops->set_status(d, d->ops->get_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_driver_start(struct virtio_driver *d, uint64_t features, unsigned queues)
{
	virtio_driver_reset(d);
	cr_assert(virtio_driver_negotiate(d, features), "the device refuses the features");
	for (unsigned i = 0; i < queues; i++)
		virtio_driver_queue(d, i, 0);
	virtio_driver_ok(d);
	fake_env_settle(d->fake);
}

void virtio_driver_kick(struct virtio_driver *d, unsigned queue)
{
	d->ops->ring(d, queue);
}

uint32_t virtio_driver_wait(struct virtio_driver *d, unsigned queue, uint32_t *head)
{
	uint32_t id, len;

	while (!driver_ring_used(&d->rings[queue], &id, &len)) {
		cr_assert(!(d->ops->get_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET),
			  "the device needs a reset: %s", d->fake->last_log);
		loop_turn(d->fake->env.loop, true);
	}
	if (head)
		*head = id;
	return len;
}

bool virtio_driver_broken(struct virtio_driver *d)
{
	fake_env_settle(d->fake);
	return d->ops->get_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET;
}
