/* SPDX-License-Identifier: MIT */
/*
 * ACPI 6 tables, hardware-reduced: RSDP, XSDT, FADT, MADT, MCFG, DSDT.
 *
 * Hardware-reduced means: no PM timer, no fixed power button, no SCI, no legacy interrupt
 * controller. Interrupts go to the IOAPIC only; sleep, reset and events are registers of
 * devices/acpi_pm.c.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include "core/memory.h"

struct acpi_config {
	unsigned cpus; /* APIC ids: cpu_apic_id[i] */
	const uint32_t *cpu_apic_id;
	uint64_t pci_mem64_base; /* 0: no 64-bit window */
	uint64_t pci_mem64_size;
	unsigned com_ports;   /* bit 0: COM1, to bit 3: COM4 */
	uint32_t virtio_mmio; /* a bit for each slot that has a device */
	bool has_rtc, has_pvpanic;
	bool has_i8042; /* a keyboard controller with a keyboard; false for a mere reset line */
};

/*
 * Write all tables from X86_ACPI_START on, and code at the BIOS's entry (F000:FFF0) that writes the
 * reset register: Linux without EFI restarts a hardware-reduced machine by jumping there. *rsdp:
 * where the RSDP is. Returns 0, -ENOSPC (too many CPUs), -ENOMEM or -EFAULT.
 */
int acpi_build(const struct acpi_config *config, struct guest_memory *memory, gpa_t *rsdp,
	       struct vmm_error *err) MUST_CHECK;

#endif
