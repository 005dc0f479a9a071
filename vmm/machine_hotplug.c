/* SPDX-License-Identifier: MIT */
/*
 * PCI devices that come and go while the guest runs.
 *
 * Coming: the device is on the bus, then the guest is told through ACPI. Going: the guest is asked;
 * when it has let go it writes its slot to the eject register (devices/acpi_pm.c). That parks the
 * vCPUs, as a reset does, and leaves a request. The control thread takes the device out while they
 * are parked: so none is in a handler of the device, and after that write the guest sees an empty
 * slot, or already the next device. A guest that restarts has let go of everything.
 *
 * What is pulled goes the same way unasked. The guest's driver does not notice, and would find no
 * other device in its slot: none comes there before the guest restarts.
 */
#include "virtio/virtio.h"
#include "vmm/machine.h"

static unsigned slot_of(const struct machine_device *md)
{
	return virtio_pci_devfn(md->pci) / PCI_MAX_FUNCTIONS;
}

void machine_tell_slot(struct vmm *vm, const struct machine_device *md, enum acpi_slot_event event)
{
	acpi_pm_slot(vm->acpi_pm, slot_of(md), event);
}

static struct machine_device *find_ejected(struct vmm *vm, uint32_t slots)
{
	list_for_each (it, &vm->devices) {
		struct machine_device *md = list_entry(it, struct machine_device, link);

		if (md->pci && (md->pulled || (slots >> slot_of(md) & 1)))
			return md;
	}
	return NULL;
}

/* Nothing is left of what was let go: the next device in a slot is another's. */
static uint32_t take_ejected(struct vmm *vm)
{
	uint32_t slots;

	pthread_mutex_lock(&vm->lock);
	slots = vm->ejected;
	vm->ejected = 0;
	pthread_mutex_unlock(&vm->lock);
	return slots;
}

static void take_out(struct vmm *vm, uint32_t slots)
{
	struct machine_device *md;

	while ((md = find_ejected(vm, slots))) {
		if (md->pulled)
			vm->pulled_slots |= UINT32_C(1) << slot_of(md);
		machine_tell_slot(vm, md, ACPI_SLOT_EMPTY);
		machine_take_out(vm, md);
	}
}

void machine_eject(struct vmm *vm)
{
	take_out(vm, take_ejected(vm));
}

void machine_eject_at_reset(struct vmm *vm)
{
	/* Who writes to the eject register while another vCPU resets is not answered later. */
	(void)take_ejected(vm);
	take_out(vm, acpi_pm_leaving(vm->acpi_pm));
	vm->pulled_slots = 0;
}

int machine_free_devfn(const struct vmm *vm)
{
	for (unsigned slot = 0; slot < PCI_MAX_SLOTS; slot++)
		if (!(vm->pulled_slots >> slot & 1) && pci_slot_free(vm->env.pci, slot))
			return (int)PCI_DEVFN(slot, 0);
	return -1;
}
