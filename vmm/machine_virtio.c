/* SPDX-License-Identifier: MIT */
/*
 * Virtio devices of a machine: each on the transport that its options name.
 */
#include <errno.h>

#include "virtio/virtio.h"
#include "vmm/machine.h"

static int attach_mmio(struct vmm *vm, struct machine_device *md, struct vmm_error *err)
{
	struct machine_mmio_place place;
	unsigned slot = 0;
	int ret;

	while (machine_arch_mmio_taken(vm, slot))
		slot++;
	if (!machine_arch_mmio_place(vm, slot, &place))
		return error_set(err, ENOSPC,
				 "%s: a VM has no more than %u devices with "
				 "transport=mmio",
				 md->dev->id, slot);
	ret = virtio_mmio_create(&md->mmio, virtio_device(md->dev), place.address, place.line, err);
	if (ret < 0)
		return ret;
	md->mmio_slot = slot;
	vm->mmio_slots |= 1u << slot;
	return 0;
}

int machine_attach_virtio(struct vmm *vm, struct machine_device *md, struct vmm_error *err)
{
	struct virtio_device *vd = virtio_device(md->dev);

	if (vd->options.transport == VIRTIO_TRANSPORT_MMIO)
		return attach_mmio(vm, md, err);
	return virtio_pci_create(&md->pci, vd, -1, err);
}

void machine_detach_virtio(struct vmm *vm, struct machine_device *md)
{
	virtio_pci_destroy(md->pci);
	md->pci = NULL;
	if (!md->mmio)
		return;
	virtio_mmio_destroy(md->mmio);
	md->mmio = NULL;
	vm->mmio_slots &= ~(1u << md->mmio_slot);
}
