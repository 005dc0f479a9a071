/* SPDX-License-Identifier: MIT */
/* Shared between virtio_pci.c and virtio_pci_common.c. */
#ifndef VIRTIO_VIRTIO_PCI_PRIVATE_H
#define VIRTIO_VIRTIO_PCI_PRIVATE_H

#include <linux/virtio_pci.h>

#include "pci/pci.h"
#include "virtio/virtio.h"

/* With the two fields that 1.2 added, whatever the kernel header knows (4.1.4.3). */
#define VIRTIO_PCI_COMMON_NOTIFY_DATA 56u
#define VIRTIO_PCI_COMMON_QUEUE_RESET 58u
#define VIRTIO_PCI_COMMON_SIZE        60u
_Static_assert(VIRTIO_PCI_COMMON_NOTIFY_DATA == sizeof(struct virtio_pci_common_cfg), "4.1.4.3");

struct virtio_pci {
	struct virtio_transport transport;
	struct virtio_device *vd;
	struct pci_function fn;
	struct bus_region bar;
	unsigned vectors; /* 0: no MSI-X */
	unsigned cfg_cap; /* offset of the PCI configuration access capability */
	bool *attached;   /* for each queue: its doorbell is in the sink; the bus's map lock */
	/* The registers; the device's lock. */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select, config_vector;
	uint8_t isr;
	uint16_t queue_vector[];
};

/* Accesses of any width; those that fit no field read 0 and write nothing. */
uint64_t virtio_pci_common_read(struct virtio_pci *vp, uint64_t offset, unsigned size);
void virtio_pci_common_write(struct virtio_pci *vp, uint64_t offset, uint64_t value, unsigned size);

/* 4.1.5.1.2.1: a vector that the device does not have reads back as NO_VECTOR. */
uint16_t virtio_pci_usable_vector(const struct virtio_pci *vp, uint64_t vector);

#endif
