/* SPDX-License-Identifier: MIT */
/*
 * The common configuration structure (virtio 1.2, section 4.1.4.3).
 */
#include "virtio/virtio_pci_private.h"

/* Width of the field that begins at an offset; 0: none does. */
static unsigned common_width(uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return 1;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
	case VIRTIO_PCI_COMMON_Q_NOFF:
	case VIRTIO_PCI_COMMON_NOTIFY_DATA:
	case VIRTIO_PCI_COMMON_QUEUE_RESET:
		return 2;
	default:
		return offset % 4 || offset >= VIRTIO_PCI_COMMON_SIZE ? 0 : 4;
	}
}

/* 4.1.3.1: a field is accessed by its width; an address also by its two halves. */
static bool common_access_ok(uint64_t offset, unsigned size)
{
	if (size == 8)
		return offset >= VIRTIO_PCI_COMMON_Q_DESCLO &&
		       offset < VIRTIO_PCI_COMMON_NOTIFY_DATA && offset % 8 == 0;
	return common_width(offset) == size;
}

static enum virtio_queue_part part_at(uint64_t offset)
{
	return (enum virtio_queue_part)((offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 8);
}

/* A register of the transport's own, copied under the lock. */
static uint32_t own_register(struct virtio_pci *vp, uint64_t offset)
{
	uint32_t v = 0;

	device_lock(&vp->vd->dev);
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		v = vp->device_feature_select;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		v = vp->driver_feature_select;
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		v = vp->config_vector;
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		v = vp->queue_select;
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		v = vp->queue_select < vp->vd->queue_count ? vp->queue_vector[vp->queue_select]
							   : VIRTIO_MSI_NO_VECTOR;
		break;
	default:
		break;
	}
	device_unlock(&vp->vd->dev);
	return v;
}

static uint64_t read_address(struct virtio_pci *vp, uint64_t offset)
{
	unsigned queue = own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT);
	uint64_t v = virtio_queue_address(vp->vd, queue, part_at(offset));

	return offset % 8 ? v >> 32 : v;
}

uint64_t virtio_pci_common_read(struct virtio_pci *vp, uint64_t offset, unsigned size)
{
	struct virtio_device *vd = vp->vd;
	uint32_t select;

	if (!common_access_ok(offset, size))
		return 0;
	switch (offset) {
	case VIRTIO_PCI_COMMON_DF:
		select = own_register(vp, VIRTIO_PCI_COMMON_DFSELECT);
		return select < 2 ? virtio_offered(vd) >> (32 * select) : 0;
	case VIRTIO_PCI_COMMON_GF:
		select = own_register(vp, VIRTIO_PCI_COMMON_GFSELECT);
		return virtio_read_driver_features(vd, select);
	case VIRTIO_PCI_COMMON_NUMQ:
		return vd->queue_count;
	case VIRTIO_PCI_COMMON_STATUS:
		return virtio_read_status(vd);
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return virtio_read_generation(vd);
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return virtio_queue_size(vd, own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT));
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return virtio_queue_enabled(vd, own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT));
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT);
	case VIRTIO_PCI_COMMON_NOTIFY_DATA:
		return 0; /* NOTIF_CONFIG_DATA is not offered */
	case VIRTIO_PCI_COMMON_QUEUE_RESET:
		return virtio_queue_resetting(vd, own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT));
	default:
		return offset >= VIRTIO_PCI_COMMON_Q_DESCLO ? read_address(vp, offset)
							    : own_register(vp, offset);
	}
}

uint16_t virtio_pci_usable_vector(const struct virtio_pci *vp, uint64_t vector)
{
	return vector < vp->vectors ? (uint16_t)vector : VIRTIO_MSI_NO_VECTOR;
}

static void set_own_register(struct virtio_pci *vp, uint64_t offset, uint64_t value)
{
	device_lock(&vp->vd->dev);
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		vp->device_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vp->driver_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		vp->config_vector = virtio_pci_usable_vector(vp, value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vp->queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		if (vp->queue_select < vp->vd->queue_count)
			vp->queue_vector[vp->queue_select] = virtio_pci_usable_vector(vp, value);
		break;
	default:
		break;
	}
	device_unlock(&vp->vd->dev);
}

static void write_address(struct virtio_pci *vp, uint64_t offset, uint64_t value, unsigned size)
{
	unsigned queue = own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT);
	unsigned shift = offset % 8 ? 32 : 0;
	uint64_t mask = size == 8 ? UINT64_MAX : UINT64_C(0xffffffff) << shift;

	virtio_queue_set_address(vp->vd, queue, part_at(offset), mask, value << shift);
}

void virtio_pci_common_write(struct virtio_pci *vp, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_device *vd = vp->vd;

	if (!common_access_ok(offset, size))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_GF:
		virtio_write_driver_features(vd, own_register(vp, VIRTIO_PCI_COMMON_GFSELECT),
					     (uint32_t)value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		virtio_write_status(vd, (uint8_t)value);
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		virtio_queue_set_size(vd, own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT),
				      (uint16_t)value);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		/* 4.1.4.3.2: the driver must not write 0. */
		if ((uint16_t)value == 1)
			virtio_queue_enable(vd, own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT));
		break;
	case VIRTIO_PCI_COMMON_NOTIFY_DATA:
		break; /* read-only */
	case VIRTIO_PCI_COMMON_QUEUE_RESET:
		if ((uint16_t)value == 1)
			virtio_queue_reset(vd, own_register(vp, VIRTIO_PCI_COMMON_Q_SELECT));
		break;
	default:
		if (offset >= VIRTIO_PCI_COMMON_Q_DESCLO)
			write_address(vp, offset, value, size);
		else
			set_own_register(vp, offset, value);
	}
}
