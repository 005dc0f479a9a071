/* SPDX-License-Identifier: MIT */
/*
 * The platform devices: what an x86 Linux guest expects at fixed ports. Their ports and interrupts
 * are in devices/ports_x86.h. Accesses to what a device does not define read as given below, and
 * are ignored otherwise.
 */
#ifndef DEVICES_DEVICES_H
#define DEVICES_DEVICES_H

#include "core/device.h"

/*
 * A 16550A on COM1 to COM4, with a character stream (console/chardev.h) at its other end.
 *
 * Options: chardev=SPEC (default none; a comma in the spec is written twice), index=1 to 4.
 * The transmitter hands bytes to the stream on the home loop, so a write costs the guest no system
 * call of ours; it reads as full (no THRE) while the stream takes no more. The receiver takes input
 * only as far as its FIFO has room. Waiting data below the trigger level raises the time-out
 * interrupt at once. The user's Ctrl-a x becomes MACHINE_EVENT_QUIT.
 */
extern const struct device_class isa_serial_class;

#define COM_PORTS 4u

/* Which port it is: 1 for COM1. dev: of isa_serial_class. */
unsigned isa_serial_com(const struct device *dev);

/*
 * MC146818 clock and 128 bytes of CMOS memory (IRQ 8). Builtin.
 *
 * Option: base=utc|localtime. The time is the host's plus what the guest has set; it survives a
 * reset, as do the CMOS bytes, because the battery does. Registers 15h to 18h, 30h, 31h, 34h, 35h
 * and 5Bh to 5Dh tell the size of RAM, as PC firmware has it. Interrupt flags (C) are worked out
 * when somebody looks: the host has timers only for interrupts that the guest enabled and has
 * acknowledged since.
 */
extern const struct device_class rtc_cmos_class;

/*
 * No keyboard controller, but its reset line: command FEh (or a clear bit 0 in the output port,
 * D1h) gives MACHINE_EVENT_RESET. The status says "output full, input empty" for ever: a driver
 * that probes gives up after a few reads, one that wants to reset goes ahead at once. Builtin.
 */
extern const struct device_class i8042_class;

/*
 * The guest's kernel says that it has panicked (bit 0) or goes on to a crash kernel (bit 1):
 * MACHINE_EVENT_PANIC with the bits. Reads give the bits that are supported. Builtin.
 */
extern const struct device_class pvpanic_class;

/*
 * A guest's write gives MACHINE_EVENT_DEBUG_EXIT with the value. Options: iobase (0xf4), iosize
 * (4). Reads give 0.
 */
extern const struct device_class debug_exit_class;

/*
 * The I/O APIC with its 24 lines, for a hypervisor that only has local APICs (env->apic). Builtin.
 */
extern const struct device_class ioapic_class;

/* A line into it, 0 to 23, which lives as long as the device. dev: of ioapic_class. */
struct irq_line *ioapic_line(struct device *dev, unsigned pin);
/* A local APIC has seen the end of the level-triggered interrupt `vector`. Any thread. */
void ioapic_eoi(struct device *dev, uint8_t vector);

/*
 * The registers of a hardware-reduced ACPI machine: sleep control and status, reset, the event
 * register of the generic event device (ACPI 6, 4.8.3.7, 5.6.9), and those that tell which PCI
 * slots the event X86_GED_PCI_HOTPLUG is about, with a bit for each slot of the root bus. Builtin.
 */
extern const struct device_class acpi_pm_class;

/*
 * Add X86_GED_… bits to the event register and raise IRQ 9. The line stays high until the guest
 * reads the register, which clears it. dev: of acpi_pm_class. Any thread.
 */
void acpi_pm_raise(struct device *dev, uint32_t events);

/*
 * Tell the guest what happens in a PCI slot (1 to 31). A device that shall leave does so with
 * MACHINE_EVENT_EJECT, once the guest has written its slot's bit to the eject register; to be told
 * EMPTY when it is gone. Slots of which nobody asked that cannot be ejected. Any thread.
 */
enum acpi_slot_event { ACPI_SLOT_FILLED, ACPI_SLOT_SHALL_LEAVE, ACPI_SLOT_EMPTY };
void acpi_pm_slot(struct device *dev, unsigned slot, enum acpi_slot_event event);
/* The slots whose device shall leave and has not yet left. Any thread. */
uint32_t acpi_pm_leaving(struct device *dev);

#endif
