/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 machine: where memory, buses, interrupts and platform devices are.
 */
#include "vmm/machine.h"

#include <errno.h>

#include "devices/devices.h"
#include "virtio/virtio.h"
#include "vmm/acpi.h"
#include "vmm/layout_x86.h"

int machine_arch_memory(struct vmm *vm, unsigned flags, struct vmm_error *err)
{
	uint64_t low = MIN(vm->memory_size, X86_LOW_RAM_END);
	uint64_t high = vm->memory_size - low;
	int ret = guest_memory_add(vm->memory, gpa(0), low, flags, err);

	if (ret == 0 && high > 0)
		ret = guest_memory_add(vm->memory, gpa(X86_HIGH_RAM_START), high, flags, err);
	vm->pci_mem64 = align_up(X86_HIGH_RAM_START + high, GIB);
	return ret;
}

_Static_assert(X86_VIRTIO_MMIO_SIZE == VIRTIO_MMIO_SIZE, "windows without gaps");

static struct irq_line *gsi_line(struct vmm *vm, unsigned gsi)
{
	return vm->ioapic ? ioapic_line(vm->ioapic, gsi) : kvm_irq_line(vm->kvm, gsi);
}

static struct irq_line *isa_irq(const struct device_env *env, unsigned irq)
{
	return irq < 16 ? gsi_line(env->opaque, irq) : NULL;
}

bool machine_arch_mmio_place(struct vmm *vm, unsigned slot, struct machine_mmio_place *place)
{
	if (slot >= X86_VIRTIO_MMIO_SLOTS)
		return false;
	*place = (struct machine_mmio_place){
		.address = x86_virtio_mmio_base(slot),
		.line = isa_irq(&vm->env, x86_virtio_mmio_gsi(slot)),
	};
	return true;
}

int machine_arch_check_region(const char *id, enum vmm_space space, uint64_t address,
			      uint64_t length, struct vmm_error *err)
{
	const bool ports = space == VMM_SPACE_PORT;
	const uint64_t start = ports ? X86_PROGRAM_IO : X86_PROGRAM_MMIO,
		       end = ports ? X86_PCI_IO : X86_PROGRAM_MMIO_END;

	if (length && address >= start && address < end && length <= end - address)
		return 0;
	return error_set(err, EINVAL,
			 "region %s: %#llx with %#llx bytes: it must lie in %#llx..%#llx", id,
			 (unsigned long long)address, (unsigned long long)length,
			 (unsigned long long)start, (unsigned long long)end - 1);
}

/* Virtio devices over MMIO take the same interrupts, in this order. */
static int mmio_slot_of(unsigned irq)
{
	for (unsigned slot = 0; slot < X86_VIRTIO_MMIO_SLOTS; slot++)
		if (x86_virtio_mmio_gsi(slot) == irq)
			return (int)slot;
	return -1;
}

bool machine_arch_mmio_taken(const struct vmm *vm, unsigned slot)
{
	if (slot >= X86_VIRTIO_MMIO_SLOTS)
		return false;
	return vm->mmio_slots >> slot & 1 || vm->irqs_taken >> x86_virtio_mmio_gsi(slot) & 1;
}

int machine_arch_take_irq(struct vmm *vm, unsigned irq, struct irq_line **line,
			  struct vmm_error *err)
{
	const int slot = mmio_slot_of(irq);

	if (slot < 0)
		return error_set(err, EINVAL, "irq %u: 5, 6, 7, 10, 11, 12, 14 and 15 are free",
				 irq);
	if (machine_arch_mmio_taken(vm, (unsigned)slot))
		return error_set(err, EBUSY, "irq %u: another device has it", irq);
	vm->irqs_taken |= 1u << irq;
	*line = isa_irq(&vm->env, irq);
	return 0;
}

void machine_arch_give_back_irq(struct vmm *vm, unsigned irq)
{
	vm->irqs_taken &= ~(1u << irq);
}

static struct irq_line *pci_line(void *opaque, unsigned slot, unsigned pin)
{
	return gsi_line(opaque, x86_pci_gsi(slot, pin));
}

static unsigned pci_gsi(void *opaque UNUSED, unsigned slot, unsigned pin)
{
	return x86_pci_gsi(slot, pin);
}

/* RAM must be within the processor's reach; where the 64-bit window is not, there is none. */
static int check_addresses(struct vmm *vm, struct vmm_error *err)
{
	uint64_t limit = kvm_address_limit(vm->kvm);

	if (vm->pci_mem64 > limit)
		return error_set(
			err, EINVAL,
			"%llu MiB of memory are more than this host's CPU can give to a VM "
			"(it reaches %llu MiB)",
			(unsigned long long)(vm->memory_size / MIB),
			(unsigned long long)(limit / MIB));
	vm->pci_mem64_size = limit - vm->pci_mem64 >= X86_PCI_MEM64_SIZE ? X86_PCI_MEM64_SIZE : 0;
	return 0;
}

int machine_arch_buses(struct vmm *vm, struct vmm_error *err)
{
	int ret;

	if ((ret = check_addresses(vm, err)) < 0 ||
	    (ret = bus_create(&vm->pio, "port", 0x10000, err)) < 0 ||
	    (ret = bus_create(&vm->mmio, "memory", UINT64_C(1) << 52, err)) < 0)
		return ret;

	struct pci_bus_config config = {
		.pio = vm->pio,
		.mmio = vm->mmio,
		.ecam = {X86_PCI_ECAM, X86_PCI_ECAM_SIZE},
		.mem32 = {X86_PCI_MEM32, X86_PCI_MEM32_SIZE},
		.mem64 = {vm->pci_mem64, vm->pci_mem64_size},
		.io = {X86_PCI_IO, X86_PCI_IO_SIZE},
		.intx = pci_line,
		.intx_gsi = pci_gsi,
		.opaque = vm,
		.log = &vm->log,
	};

	vm->env.isa_irq = isa_irq;
	return pci_bus_create(&vm->pci, &config, err);
}

int machine_arch_devices(struct vmm *vm, struct vmm_error *err)
{
	int ret = 0;

	/* First: the others ask it for their lines. */
	if (vm->env.apic)
		ret = machine_add_device(vm, &ioapic_class, NULL, &vm->ioapic, err);
	if (ret < 0 ||
	    (ret = machine_add_device(vm, &acpi_pm_class, NULL, &vm->acpi_pm, err)) < 0 ||
	    (ret = machine_add_device(vm, &rtc_cmos_class, NULL, NULL, err)) < 0 ||
	    (ret = machine_add_device(vm, &i8042_class, NULL, NULL, err)) < 0 ||
	    (ret = machine_add_device(vm, &pvpanic_class, NULL, NULL, err)) < 0)
		return ret;
	return 0;
}

static bool has_device(struct vmm *vm, const struct device_class *cls)
{
	return vm->env.find(&vm->env, NULL, cls) != NULL;
}

/* The serial ports that there are, as a set of bits: bit 0 is COM1. */
static unsigned com_ports(const struct vmm *vm)
{
	unsigned ports = 0;

	list_for_each (it, &vm->devices) {
		const struct device *dev = list_entry(it, struct machine_device, link)->dev;

		if (dev->cls == &isa_serial_class)
			ports |= 1u << (isa_serial_com(dev) - 1);
	}
	return ports;
}

static int build_tables(struct vmm *vm, gpa_t *rsdp, struct vmm_error *err)
{
	uint32_t apic_ids[256];
	struct acpi_config config = {
		.cpus = vm->cpus,
		.cpu_apic_id = apic_ids,
		.pci_mem64_base = vm->pci_mem64_size ? vm->pci_mem64 : 0,
		.pci_mem64_size = vm->pci_mem64_size,
		.com_ports = com_ports(vm),
		.virtio_mmio = vm->mmio_slots,
		.has_rtc = has_device(vm, &rtc_cmos_class),
		.has_pvpanic = has_device(vm, &pvpanic_class),
	};

	for (unsigned i = 0; i < vm->cpus; i++)
		apic_ids[i] = i;
	return acpi_build(&config, vm->memory, rsdp, err);
}

int machine_arch_load(struct vmm *vm, struct vmm_error *err)
{
	struct boot_entry entry;
	gpa_t rsdp;
	int ret;

	if ((ret = build_tables(vm, &rsdp, err)) < 0 ||
	    (ret = boot_load(vm->boot, vm->memory, rsdp, &entry, err)) < 0)
		return ret;
	ret = vcpu_boot(vm->vcpus[0], &entry);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot set the registers of the boot vCPU");
	return 0;
}
