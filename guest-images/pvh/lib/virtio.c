/* SPDX-License-Identifier: MIT */
/* Virtio 1.2: 3.1 (initialization), 2.7 (split rings), 4.1 (PCI). */
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
	int devfn = pci_find(VIRTIO_VENDOR, (uint16_t)(VIRTIO_DEVICE + virtio_id), 0);

	if (devfn < 0)
		return false;
	d->devfn = (unsigned)devfn;
	pci_command(d->devfn, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	return vdev_locate(d);
}

uint8_t vdev_status(const struct vdev *d)
{
	return read8(COMMON(d, device_status));
}

void vdev_set_status(const struct vdev *d, uint8_t status)
{
	write8(COMMON(d, device_status), status);
}

bool vdev_reset(const struct vdev *d)
{
	vdev_set_status(d, 0);
	return wait_until(vdev_status(d) == 0);
}

uint64_t vdev_offered(const struct vdev *d)
{
	uint64_t features;

	write32(COMMON(d, device_feature_select), 1);
	features = (uint64_t)read32(COMMON(d, device_feature)) << 32;
	write32(COMMON(d, device_feature_select), 0);
	return features | read32(COMMON(d, device_feature));
}

bool vdev_negotiate(struct vdev *d, uint64_t wanted)
{
	const uint8_t driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	if (!vdev_reset(d))
		return false;
	vdev_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vdev_set_status(d, driver);
	d->features = vdev_offered(d) & wanted;
	write32(COMMON(d, guest_feature_select), 0);
	write32(COMMON(d, guest_feature), (uint32_t)d->features);
	write32(COMMON(d, guest_feature_select), 1);
	write32(COMMON(d, guest_feature), (uint32_t)(d->features >> 32));
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
	return read16(COMMON(d, num_queues));
}

bool vdev_config_vector(const struct vdev *d, uint16_t vector)
{
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
	return read8(d->isr);
}

/* ---- queues ---- */

/* 64-bit fields are written as two halves, as 4.1.3.1 wants it. */
static void write_address(uint64_t reg, const volatile void *p)
{
	write32(reg, (uint32_t)(uint64_t)p);
	write32(reg + 4, (uint32_t)((uint64_t)p >> 32));
}

bool vqueue_enable(struct vqueue *q, struct vdev *d, uint16_t index, uint16_t vector)
{
	uint16_t max;

	memset(q, 0, sizeof(*q));
	q->dev = d;
	q->index = index;
	write16(COMMON(d, queue_select), index);
	max = read16(COMMON(d, queue_size));
	if (!max)
		return false;
	q->size = max < QUEUE_MAX ? max : QUEUE_MAX;
	write16(COMMON(d, queue_size), q->size);
	write16(COMMON(d, queue_msix_vector), vector);
	if (read16(COMMON(d, queue_msix_vector)) != vector)
		return false;
	write_address(COMMON(d, queue_desc_lo), q->desc);
	write_address(COMMON(d, queue_avail_lo), &q->avail);
	write_address(COMMON(d, queue_used_lo), &q->used);
	q->doorbell =
		d->notify + (uint64_t)read16(COMMON(d, queue_notify_off)) * d->notify_multiplier;
	write16(COMMON(d, queue_enable), 1);
	return read16(COMMON(d, queue_enable)) == 1;
}

static void publish(struct vqueue *q, uint16_t head)
{
	q->avail.ring[q->next_avail % q->size] = head;
	barrier(); /* x86 keeps stores in order */
	*(volatile uint16_t *)&q->avail.idx = ++q->next_avail;
}

/* Fill a table with the segments, chained by `next` as next(i) says. */
static struct vring_desc descriptor(const struct segment *seg, bool write, bool last, uint16_t next)
{
	return (struct vring_desc){
		.addr = (uint64_t)seg->data,
		.len = seg->len,
		.flags = (uint16_t)((write ? VRING_DESC_F_WRITE : 0) |
				    (last ? 0 : VRING_DESC_F_NEXT)),
		.next = last ? 0 : next,
	};
}

uint16_t vqueue_add(struct vqueue *q, const struct segment *segs, unsigned out, unsigned in)
{
	uint16_t head = q->next_desc;

	for (unsigned i = 0; i < out + in; i++) {
		uint16_t at = q->next_desc;

		q->next_desc = (uint16_t)((at + 1) % q->size);
		q->desc[at] = descriptor(&segs[i], i >= out, i + 1 == out + in, q->next_desc);
	}
	publish(q, head);
	return head;
}

uint16_t vqueue_add_indirect(struct vqueue *q, struct vring_desc *table, const struct segment *segs,
			     unsigned out, unsigned in)
{
	uint16_t head = q->next_desc;

	for (unsigned i = 0; i < out + in; i++)
		table[i] = descriptor(&segs[i], i >= out, i + 1 == out + in, (uint16_t)(i + 1));
	q->next_desc = (uint16_t)((head + 1) % q->size);
	q->desc[head] = (struct vring_desc){
		.addr = (uint64_t)table,
		.len = (uint32_t)((out + in) * sizeof(*table)),
		.flags = VRING_DESC_F_INDIRECT,
	};
	publish(q, head);
	return head;
}

void vqueue_kick(struct vqueue *q)
{
	/* The device may look at the ring before it sees the store, but never after the doorbell.
	 */
	__asm__ volatile("lock orl $0, (%%rsp)" : : : "memory");
	write16(q->doorbell, q->index);
}

bool vqueue_poll(struct vqueue *q, uint32_t *head, uint32_t *written)
{
	struct vring_used_elem *e;

	if (*(volatile uint16_t *)&q->used.idx == q->seen_used)
		return false;
	barrier();
	e = &q->used.ring[q->seen_used++ % q->size];
	*head = e->id;
	*written = e->len;
	return true;
}

bool vqueue_wait(struct vqueue *q, uint32_t *head, uint32_t *written)
{
	return wait_until(vqueue_poll(q, head, written));
}
