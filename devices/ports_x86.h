/* SPDX-License-Identifier: MIT */
/*
 * Ports, interrupts and registers of the platform devices on x86. vmm/layout_x86.h includes this,
 * so that the boot code, the ACPI tables, the machine and the devices read the same constants.
 */
#ifndef DEVICES_PORTS_X86_H
#define DEVICES_PORTS_X86_H

#define X86_PORT_I8042_DATA    0x60
#define X86_PORT_I8042_COMMAND 0x64
#define X86_PORT_CMOS          0x70 /* index, data */
#define X86_PORT_DEBUG_EXIT    0xf4
#define X86_PORT_COM1          0x3f8
#define X86_PORT_COM2          0x2f8
#define X86_PORT_COM3          0x3e8
#define X86_PORT_COM4          0x2e8
#define X86_PORT_PVPANIC       0x505
#define X86_PORT_ACPI          0x600 /* devices/acpi_pm.c */

/* ACPI registers, offsets from X86_PORT_ACPI. */
#define X86_ACPI_SLEEP_CONTROL 0  /* byte: SLP_EN bit 5, SLP_TYP bits 2..4 (ACPI 6, 4.8.3.7) */
#define X86_ACPI_SLEEP_STATUS  1  /* byte: WAK_STS bit 7 */
#define X86_ACPI_RESET         2  /* byte: X86_ACPI_RESET_VALUE resets the machine */
#define X86_ACPI_GED_EVENTS    4  /* dword: events that wait, cleared by reading */
#define X86_ACPI_PCI_UP        8  /* dword: slots that a device came to, cleared by reading */
#define X86_ACPI_PCI_DOWN      12 /* dword: slots whose device shall leave, cleared by reading */
#define X86_ACPI_PCI_EJECT     16 /* dword, written: slots whose device may be taken out */
#define X86_ACPI_PORTS         20
#define X86_ACPI_RESET_VALUE   0x01
#define X86_ACPI_S5            5 /* SLP_TYP that means "off" */
#define X86_GED_POWER_BUTTON   (1u << 0)
#define X86_GED_PCI_HOTPLUG    (1u << 1)

#define X86_IOAPIC      UINT64_C(0xfec00000)
#define X86_IOAPIC_SIZE 0x100
#define X86_IOAPIC_PINS 24
#define X86_LAPIC       UINT64_C(0xfee00000)

/* Interrupts (GSI). */
#define X86_IRQ_COM1 4
#define X86_IRQ_COM2 3
/* Not 4 and 3 again: edges of two ports on one ISA line would merge. These are free here. */
#define X86_IRQ_COM3 13
#define X86_IRQ_COM4 1
#define X86_IRQ_RTC  8
#define X86_IRQ_GED  9

#endif
