/* SPDX-License-Identifier: MIT */
/* Virtio 1.2: 3.1 (initialization), 4.1 (PCI), 4.2 (MMIO). */
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "virtio.h"

#define COMMON(d, field) ((d)->common + offsetof(struct virtio_pci_common_cfg, field))

static uint64_t structure(unsigned devfn, unsigned cap)
{
	unsigned bar = config_read8(devfn, cap + offsetof(struct virtio_pci_cap, bar));
	uint32_t offset = config_read32(devfn, cap + offsetof(struct virtio_pci_cap, offset));
	uint32_t length = config_read32(devfn, cap + offsetof(struct virtio_pci_cap, length));
	uint64_t address = bar_address(devfn, bar) + offset;

	map_device(address, length);
	return address;
}

static bool find_window(struct vdev *d, unsigned virtio_id)
{
	for (unsigned slot = 0; slot < MMIO_SLOTS; slot++) {
		uint64_t window = MMIO_WINDOWS + slot * MMIO_WINDOW_SIZE;

		if (read32(window + VIRTIO_MMIO_MAGIC_VALUE) != 0x74726976 ||
		    read32(window + VIRTIO_MMIO_DEVICE_ID) != virtio_id)
			continue;
		d->window = window;
		d->device = window + VIRTIO_MMIO_CONFIG;
		return read32(window + VIRTIO_MMIO_VERSION) == 2;
	}
	return false;
}

bool vdev_locate(struct vdev *d)
{
	unsigned cap = 0;

	d->common = d->isr = d->device = d->notify = 0;
	while ((cap = pci_capability(d->devfn, PCI_CAP_ID_VNDR, cap))) {
		uint8_t type = config_read8(d->devfn, cap + 3);

		if (type == VIRTIO_PCI_CAP_COMMON_CFG)
			d->common = structure(d->devfn, cap);
		else if (type == VIRTIO_PCI_CAP_ISR_CFG)
			d->isr = structure(d->devfn, cap);
		else if (type == VIRTIO_PCI_CAP_DEVICE_CFG)
			d->device = structure(d->devfn, cap);
		else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			d->notify = structure(d->devfn, cap);
		if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			d->notify_multiplier =
				config_read32(d->devfn, cap + sizeof(struct virtio_pci_cap));
	}
	return d->common && d->isr && d->notify;
}

bool vdev_find(struct vdev *d, unsigned virtio_id)
{
	int devfn;

	if (option_is("transport", "mmio"))
		return find_window(d, virtio_id);
	devfn = pci_find(VIRTIO_VENDOR, (uint16_t)(VIRTIO_DEVICE + virtio_id), 0);
	if (devfn < 0)
		return false;
	d->devfn = (unsigned)devfn;
	pci_command(d->devfn, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	return vdev_locate(d);
}

uint8_t vdev_status(const struct vdev *d)
{
	return d->window ? (uint8_t)read32(d->window + VIRTIO_MMIO_STATUS)
			 : read8(COMMON(d, device_status));
}

void vdev_set_status(const struct vdev *d, uint8_t status)
{
	if (d->window)
		write32(d->window + VIRTIO_MMIO_STATUS, status);
	else
		write8(COMMON(d, device_status), status);
}

bool vdev_reset(const struct vdev *d)
{
	vdev_set_status(d, 0);
	return wait_until(vdev_status(d) == 0);
}

static uint32_t offered_word(const struct vdev *d, unsigned word)
{
	if (d->window) {
		write32(d->window + VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
		return read32(d->window + VIRTIO_MMIO_DEVICE_FEATURES);
	}
	write32(COMMON(d, device_feature_select), word);
	return read32(COMMON(d, device_feature));
}

uint64_t vdev_offered(const struct vdev *d)
{
	return offered_word(d, 0) | (uint64_t)offered_word(d, 1) << 32;
}

static void accept_word(const struct vdev *d, unsigned word, uint32_t features)
{
	if (d->window) {
		write32(d->window + VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		write32(d->window + VIRTIO_MMIO_DRIVER_FEATURES, features);
		return;
	}
	write32(COMMON(d, guest_feature_select), word);
	write32(COMMON(d, guest_feature), features);
}

bool vdev_negotiate(struct vdev *d, uint64_t wanted)
{
	const uint8_t driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	if (!vdev_reset(d))
		return false;
	vdev_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vdev_set_status(d, driver);
	if (option_is("ring", "packed"))
		wanted |= F_RING_PACKED;
	d->features = vdev_offered(d) & wanted;
	accept_word(d, 0, (uint32_t)d->features);
	accept_word(d, 1, (uint32_t)(d->features >> 32));
	vdev_set_status(d, driver | VIRTIO_CONFIG_S_FEATURES_OK);
	return vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

bool vdev_driver_ok(const struct vdev *d)
{
	vdev_set_status(d, vdev_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
	return !(vdev_status(d) & (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED));
}

uint16_t vdev_queue_count(const struct vdev *d)
{
	uint16_t n = 0;

	if (!d->window)
		return read16(COMMON(d, num_queues));
	while (vdev_queue_size(d, n))
		n++;
	return n;
}

bool vdev_config_vector(const struct vdev *d, uint16_t vector)
{
	if (d->window)
		return vector == NO_VECTOR;
	write16(COMMON(d, msix_config), vector);
	return read16(COMMON(d, msix_config)) == vector;
}

uint32_t vdev_config32(const struct vdev *d, unsigned offset)
{
	return read32(d->device + offset);
}

uint16_t vdev_config16(const struct vdev *d, unsigned offset)
{
	return read16(d->device + offset);
}

uint8_t vdev_isr(const struct vdev *d)
{
	uint32_t isr;

	if (!d->window)
		return read8(d->isr);
	isr = read32(d->window + VIRTIO_MMIO_INTERRUPT_STATUS);
	write32(d->window + VIRTIO_MMIO_INTERRUPT_ACK, isr);
	return (uint8_t)isr;
}

/* ---- queues ---- */

/* Newer than some headers. */
#define PCI_QUEUE_RESET  58u
#define MMIO_QUEUE_RESET 0x0c0u

static void select_queue(const struct vdev *d, uint16_t index)
{
	if (d->window)
		write32(d->window + VIRTIO_MMIO_QUEUE_SEL, index);
	else
		write16(COMMON(d, queue_select), index);
}

uint16_t vdev_queue_size(const struct vdev *d, uint16_t index)
{
	select_queue(d, index);
	return d->window ? (uint16_t)read32(d->window + VIRTIO_MMIO_QUEUE_NUM_MAX)
			 : read16(COMMON(d, queue_size));
}

/* 64-bit fields are written as two halves, as 4.1.3.1 and 4.2.2 want it. */
static void write_address(uint64_t reg, const volatile void *p)
{
	write32(reg, (uint32_t)(uint64_t)p);
	write32(reg + 4, (uint32_t)((uint64_t)p >> 32));
}

static void ring_parts(struct vqueue *q, volatile void *parts[3])
{
	parts[0] = q->packed ? (void *)q->ring.desc : (void *)q->split.desc;
	parts[1] = q->packed ? (void *)&q->ring.driver_event : (void *)&q->split.avail;
	parts[2] = q->packed ? (void *)&q->ring.device_event : (void *)&q->split.used;
}

static bool enable_mmio(struct vqueue *q)
{
	uint64_t window = q->dev->window;
	volatile void *parts[3];

	ring_parts(q, parts);
	write32(window + VIRTIO_MMIO_QUEUE_NUM, q->size);
	write_address(window + VIRTIO_MMIO_QUEUE_DESC_LOW, parts[0]);
	write_address(window + VIRTIO_MMIO_QUEUE_AVAIL_LOW, parts[1]);
	write_address(window + VIRTIO_MMIO_QUEUE_USED_LOW, parts[2]);
	write32(window + VIRTIO_MMIO_QUEUE_READY, 1);
	return read32(window + VIRTIO_MMIO_QUEUE_READY) == 1;
}

bool vdev_enable_queue(struct vqueue *q, uint16_t vector)
{
	struct vdev *d = q->dev;
	volatile void *parts[3];

	select_queue(d, q->index);
	if (d->window)
		return vector == NO_VECTOR && enable_mmio(q);
	ring_parts(q, parts);
	write16(COMMON(d, queue_size), q->size);
	write16(COMMON(d, queue_msix_vector), vector);
	if (read16(COMMON(d, queue_msix_vector)) != vector)
		return false;
	write_address(COMMON(d, queue_desc_lo), parts[0]);
	write_address(COMMON(d, queue_avail_lo), parts[1]);
	write_address(COMMON(d, queue_used_lo), parts[2]);
	q->doorbell =
		d->notify + (uint64_t)read16(COMMON(d, queue_notify_off)) * d->notify_multiplier;
	write16(COMMON(d, queue_enable), 1);
	return read16(COMMON(d, queue_enable)) == 1;
}

bool vdev_reset_queue(struct vdev *d, uint16_t index)
{
	select_queue(d, index);
	if (d->window) {
		write32(d->window + MMIO_QUEUE_RESET, 1);
		return wait_until(!read32(d->window + MMIO_QUEUE_RESET)) &&
		       !read32(d->window + VIRTIO_MMIO_QUEUE_READY);
	}
	write16(d->common + PCI_QUEUE_RESET, 1);
	return wait_until(!read16(d->common + PCI_QUEUE_RESET)) && !read16(COMMON(d, queue_enable));
}
