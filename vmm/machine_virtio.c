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

	if (vm->vcpus)
		return error_set(err, EBUSY,
				 "%s: a device with transport=mmio can only be added before the VM "
				 "starts; with transport=pci it can",
				 md->dev->id);
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

static int attach_pci(struct vmm *vm, struct machine_device *md, struct vmm_error *err)
{
	int devfn = machine_free_devfn(vm);

	if (devfn < 0)
		return error_set(err, ENOSPC, "%s: all %d PCI slots are taken%s", md->dev->id,
				 PCI_MAX_SLOTS,
				 vm->pulled_slots ? "; those of devices that were pulled out are "
						    "free when the guest has restarted"
						  : "");
	return virtio_pci_create(&md->pci, virtio_device(md->dev), devfn, err);
}

int machine_attach_virtio(struct vmm *vm, struct machine_device *md, struct vmm_error *err)
{
	if (virtio_device(md->dev)->options.transport == VIRTIO_TRANSPORT_MMIO)
		return attach_mmio(vm, md, err);
	return attach_pci(vm, md, err);
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
