/* SPDX-License-Identifier: MIT */
/*
 * Where things are in an x86 guest: memory map, ports and interrupts. The boot code, the ACPI
 * tables and the machine read the same constants.
 */
#ifndef VMM_LAYOUT_X86_H
#define VMM_LAYOUT_X86_H

#include "core/types.h"
#include "devices/ports_x86.h"

/* RAM: [0, 3 GiB) and from 4 GiB on. Real-mode leftovers are reserved in e820. */
#define X86_LOW_RAM_END    UINT64_C(0xc0000000)
#define X86_HIGH_RAM_START UINT64_C(0x100000000)

/* Below 1 MiB. */
#define X86_BOOT_GDT     UINT64_C(0x500)
#define X86_BOOT_STACK   UINT64_C(0x8ff0)
#define X86_BOOT_PARAMS  UINT64_C(0x7000) /* Linux zero page; also hvm_start_info for PVH */
#define X86_BOOT_PGTABLE UINT64_C(0x9000) /* PML4, PDPT, 4 page directories: 6 pages */
#define X86_CMDLINE      UINT64_C(0x20000)
#define X86_CMDLINE_MAX  UINT64_C(0x10000)
#define X86_EBDA         UINT64_C(0x9fc00) /* end of conventional memory */
#define X86_ACPI_START   UINT64_C(0xe0000) /* RSDP first: the BIOS area that kernels scan */
#define X86_ACPI_END     UINT64_C(0x100000)
#define X86_KERNEL_START UINT64_C(0x100000)

/* The PCI hole: [3 GiB, 4 GiB). */
#define X86_PCI_MEM32      UINT64_C(0xc0000000)
#define X86_PCI_MEM32_SIZE UINT64_C(0x20000000)
#define X86_PCI_ECAM       UINT64_C(0xe0000000)
#define X86_PCI_ECAM_SIZE  UINT64_C(0x100000) /* one bus */
/* Registers of the program that embeds the VM; ports: from X86_PROGRAM_IO to the window of PCI. */
#define X86_PROGRAM_MMIO     UINT64_C(0xf0000000)
#define X86_PROGRAM_MMIO_END UINT64_C(0xfe000000)
#define X86_PROGRAM_IO       0x1000
#define X86_KVM_IDENTITY     UINT64_C(0xfffbc000)
#define X86_KVM_TSS          UINT64_C(0xfffbd000)

/*
 * Virtio devices over MMIO: windows one after the other, each with an ISA interrupt of its own that
 * no platform device has.
 */
#define X86_VIRTIO_MMIO       UINT64_C(0xfeb00000)
#define X86_VIRTIO_MMIO_SIZE  UINT64_C(0x200)
#define X86_VIRTIO_MMIO_SLOTS 8

static inline uint64_t x86_virtio_mmio_base(unsigned slot)
{
	return X86_VIRTIO_MMIO + slot * X86_VIRTIO_MMIO_SIZE;
}

static inline unsigned x86_virtio_mmio_gsi(unsigned slot)
{
	static const uint8_t gsis[X86_VIRTIO_MMIO_SLOTS] = {5, 6, 7, 10, 11, 12, 14, 15};

	return gsis[slot];
}

/* 64-bit BARs start at the first GiB boundary at or above both 4 GiB and the end of RAM. */
#define X86_PCI_MEM64_SIZE UINT64_C(0x400000000)

/* Ports and interrupts of the platform devices: devices/ports_x86.h. Those of PCI: */
#define X86_PCI_IO      0xc000
#define X86_PCI_IO_SIZE 0x2000

#define X86_IRQ_PCI_FIRST 16
#define X86_IRQ_PCI_COUNT 8

/* INTx of slot and pin (1 to 4); the same in _PRT and in the interrupt line register. */
static inline unsigned x86_pci_gsi(unsigned slot, unsigned pin)
{
	return X86_IRQ_PCI_FIRST + (slot + pin - 1) % X86_IRQ_PCI_COUNT;
}

#endif
