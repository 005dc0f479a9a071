/* SPDX-License-Identifier: MIT */
/*
 * The devices that a guest cannot find by itself, in AML. The ASL that each function stands for is
 * what `iasl -d` shows.
 */
#include "vmm/acpi_internal.h"
#include "vmm/layout_x86.h"

#define PCI_SLOTS       32u
#define PCI_PINS        4u
#define PCI_PORT_CONFIG 0xcf8u
#define I8042_IRQ       1u
#define NOTIFY_PRESSED  0x80u /* ACPI 6.4, table 5.171: power button pressed */
/* Table 5.168: what devices of all kinds are told. */
#define NOTIFY_DEVICE_CHECK  1u
#define NOTIFY_EJECT_REQUEST 3u

static void put_hid(struct aml *aml, const char *name, const char *hid, unsigned uid)
{
	aml_device(aml, name);
	aml_name_eisa_id(aml, "_HID", hid);
	aml_name_integer(aml, "_UID", uid);
}

/* ---- PCI ---- */

/*
 * Which GSI each slot's pins go to (ACPI 6.4, section 6.2.13): packages of device address, pin (0
 * is INTA#), source (0: none, the next is a GSI), GSI.
 */
static void put_prt(struct aml *aml)
{
	aml_name(aml, "_PRT");
	aml_package(aml, PCI_SLOTS * PCI_PINS);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		for (unsigned pin = 1; pin <= PCI_PINS; pin++) {
			aml_package(aml, 4);
			aml_integer(aml, slot << 16 | 0xffff);
			aml_integer(aml, pin - 1);
			aml_integer(aml, 0);
			aml_integer(aml, x86_pci_gsi(slot, pin));
			aml_end(aml);
		}
	}
	aml_end(aml);
}

/*
 * What the kernel may control itself (PCI Firmware 3.3, 4.5.1): all that it asks for, as there is
 * no firmware that would. The kernel passes the capabilities in a buffer and gets that back. Native
 * hotplug is a matter of PCIe ports, and slots of the root bus have none above them.
 */
static void put_osc(struct aml *aml)
{
	/* 33DB4D5B-1FF7-401C-9657-7441C03DD766, in the mixed byte order of ToUUID. */
	static const uint8_t pci_uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					     0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	enum { UNKNOWN_UUID = 4, UNKNOWN_REVISION = 8 };

	aml_method(aml, "_OSC", 4, false); /* UUID, revision, count, capabilities */
	aml_op(aml, AML_CREATE_DWORD_FIELD);
	aml_arg(aml, 3);
	aml_integer(aml, 0);
	aml_path(aml, "CDW1");
	aml_if(aml);
	aml_op(aml, AML_EQUAL);
	aml_arg(aml, 0);
	aml_buffer(aml, pci_uuid, sizeof(pci_uuid));
	aml_if(aml);
	aml_op(aml, AML_EQUAL);
	aml_arg(aml, 1);
	aml_integer(aml, 1);
	aml_op(aml, AML_RETURN);
	aml_arg(aml, 3);
	aml_end(aml);
	aml_op(aml, AML_OR);
	aml_path(aml, "CDW1");
	aml_integer(aml, UNKNOWN_REVISION);
	aml_path(aml, "CDW1");
	aml_end(aml);
	aml_else(aml);
	aml_op(aml, AML_OR);
	aml_path(aml, "CDW1");
	aml_integer(aml, UNKNOWN_UUID);
	aml_path(aml, "CDW1");
	aml_end(aml);
	aml_op(aml, AML_RETURN);
	aml_arg(aml, 3);
	aml_end(aml);
}

/* The name of a slot's device: "S01" to "S1F". */
struct slot_name {
	char text[4];
};

static struct slot_name slot_name(unsigned slot)
{
	static const char digits[] = "0123456789ABCDEF";

	return (struct slot_name){{'S', digits[slot / 16], digits[slot % 16], '\0'}};
}

/* _EJ0 makes a slot one that can be hotplugged (ACPI 6.4, section 6.3.3). */
static void put_slot(struct aml *aml, unsigned slot)
{
	aml_device(aml, slot_name(slot).text);
	aml_name_integer(aml, "_ADR", slot << 16);
	aml_name_integer(aml, "_SUN", slot);
	aml_method(aml, "_EJ0", 1, true);
	aml_op(aml, AML_STORE);
	aml_integer(aml, UINT32_C(1) << slot);
	aml_path(aml, "EJCT");
	aml_end(aml);
	aml_end(aml);
}

static void put_slot_register(struct aml *aml, const char *region, const char *name, unsigned at)
{
	aml_operation_region_io(aml, region, X86_PORT_ACPI + at, 4);
	aml_field_register(aml, region, name, 4);
}

/* TELL (slots, notification). */
static void put_tell_slots(struct aml *aml)
{
	aml_method(aml, "TELL", 2, true);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		aml_if(aml);
		aml_op(aml, AML_AND);
		aml_arg(aml, 0);
		aml_integer(aml, UINT32_C(1) << slot);
		aml_no_target(aml);
		aml_op(aml, AML_NOTIFY);
		aml_path(aml, slot_name(slot).text);
		aml_arg(aml, 1);
		aml_end(aml);
	}
	aml_end(aml);
}

static void put_tell(struct aml *aml, const char *slots, unsigned notification)
{
	/* Read once: that clears it. */
	aml_op(aml, AML_STORE);
	aml_path(aml, slots);
	aml_local(aml, 0);
	aml_path(aml, "TELL");
	aml_local(aml, 0);
	aml_integer(aml, notification);
}

/*
 * Hotplug in all slots but the host bridge's: registers of devices/acpi_pm.c, and HPEV, which hands
 * on what they say. What left goes first: another device may have come to its slot.
 */
static void put_slots(struct aml *aml)
{
	put_slot_register(aml, "UPRG", "SLUP", X86_ACPI_PCI_UP);
	put_slot_register(aml, "DNRG", "SLDN", X86_ACPI_PCI_DOWN);
	put_slot_register(aml, "EJRG", "EJCT", X86_ACPI_PCI_EJECT);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		put_slot(aml, slot);
	put_tell_slots(aml);
	aml_method(aml, "HPEV", 0, true);
	put_tell(aml, "SLDN", NOTIFY_EJECT_REQUEST);
	put_tell(aml, "SLUP", NOTIFY_DEVICE_CHECK);
	aml_end(aml);
}

static void put_pci(struct aml *aml, const struct acpi_config *config)
{
	put_hid(aml, "PCI0", "PNP0A08", 0);
	aml_name_eisa_id(aml, "_CID", "PNP0A03");
	aml_name_integer(aml, "_SEG", 0);
	aml_name_integer(aml, "_BBN", 0);
	aml_crs_begin(aml);
	aml_window_bus(aml, 0, 0);
	aml_io(aml, PCI_PORT_CONFIG, 8);
	aml_window_io(aml, X86_PCI_IO, X86_PCI_IO_SIZE);
	aml_window_memory32(aml, (uint32_t)X86_PCI_MEM32, (uint32_t)X86_PCI_MEM32_SIZE);
	if (config->pci_mem64_base != 0)
		aml_window_memory64(aml, config->pci_mem64_base, config->pci_mem64_size);
	aml_crs_end(aml);
	put_prt(aml);
	put_osc(aml);
	put_slots(aml);
	aml_end(aml);
}

/* Kernels use ECAM only where a device reserves it (PCI Firmware 3.3, 4.1.2). */
static void put_motherboard(struct aml *aml)
{
	put_hid(aml, "MBRD", "PNP0C02", 0);
	aml_crs_begin(aml);
	aml_memory32(aml, (uint32_t)X86_PCI_ECAM, (uint32_t)X86_PCI_ECAM_SIZE);
	aml_io(aml, X86_PORT_ACPI, X86_ACPI_PORTS);
	aml_crs_end(aml);
	aml_end(aml);
}

/* ---- platform devices ---- */

static void put_com(struct aml *aml, unsigned ports)
{
	static const struct {
		char name[5];
		uint16_t port;
		uint8_t irq;
	} com[] = {
		{"COM1", X86_PORT_COM1, X86_IRQ_COM1},
		{"COM2", X86_PORT_COM2, X86_IRQ_COM2},
		{"COM3", X86_PORT_COM3, X86_IRQ_COM3},
		{"COM4", X86_PORT_COM4, X86_IRQ_COM4},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(com); i++) {
		if (!(ports & 1u << i))
			continue;
		put_hid(aml, com[i].name, "PNP0501", i);
		aml_crs_begin(aml);
		aml_io(aml, com[i].port, 8);
		aml_interrupt(aml, com[i].irq, true);
		aml_crs_end(aml);
		aml_end(aml);
	}
}

static void put_rtc(struct aml *aml)
{
	put_hid(aml, "RTC", "PNP0B00", 0);
	aml_crs_begin(aml);
	aml_io(aml, X86_PORT_CMOS, 2);
	aml_interrupt(aml, X86_IRQ_RTC, true);
	aml_crs_end(aml);
	aml_end(aml);
}

static void put_i8042(struct aml *aml)
{
	put_hid(aml, "KBD", "PNP0303", 0);
	aml_crs_begin(aml);
	aml_io(aml, X86_PORT_I8042_DATA, 1);
	aml_io(aml, X86_PORT_I8042_COMMAND, 1);
	aml_interrupt(aml, I8042_IRQ, true);
	aml_crs_end(aml);
	aml_end(aml);
}

/* As QEMU describes it (docs/specs/pvpanic), which is what drivers know. */
static void put_pvpanic(struct aml *aml)
{
	aml_device(aml, "PEVT");
	aml_name_string(aml, "_HID", "QEMU0001");
	aml_crs_begin(aml);
	aml_io(aml, X86_PORT_PVPANIC, 1);
	aml_crs_end(aml);
	aml_name_integer(aml, "_STA", 0xf); /* present, enabled, shown, working */
	aml_end(aml);
}

/*
 * The id that Linux's virtio_mmio driver knows. Distribution kernels have no command line entries
 * for such devices (VIRTIO_MMIO_CMDLINE_DEVICES), and need none with these.
 */
static void put_virtio_mmio(struct aml *aml, unsigned slot)
{
	const char name[] = {'V', 'I', 'O', (char)('0' + slot), '\0'};

	aml_device(aml, name);
	aml_name_string(aml, "_HID", "LNRO0005");
	aml_name_integer(aml, "_UID", slot);
	aml_crs_begin(aml);
	aml_memory32(aml, (uint32_t)x86_virtio_mmio_base(slot), (uint32_t)X86_VIRTIO_MMIO_SIZE);
	aml_interrupt(aml, x86_virtio_mmio_gsi(slot), false);
	aml_crs_end(aml);
	aml_end(aml);
}

/*
 * The generic event device (ACPI 6.4, section 5.6.9): its interrupt runs _EVT, which reads and so
 * clears the events that wait, and hands each on.
 */
static void put_events(struct aml *aml)
{
	put_hid(aml, "PWRB", "PNP0C0C", 0);
	aml_end(aml);

	aml_device(aml, "GED");
	aml_name_string(aml, "_HID", "ACPI0013");
	aml_name_integer(aml, "_UID", 0);
	aml_crs_begin(aml);
	aml_interrupt(aml, X86_IRQ_GED, false);
	aml_crs_end(aml);
	aml_operation_region_io(aml, "EVTR", X86_PORT_ACPI + X86_ACPI_GED_EVENTS, 4);
	aml_field_register(aml, "EVTR", "EVTS", 4);
	aml_method(aml, "_EVT", 1, true);
	aml_op(aml, AML_STORE);
	aml_path(aml, "EVTS");
	aml_local(aml, 0);
	aml_if(aml);
	aml_op(aml, AML_AND);
	aml_local(aml, 0);
	aml_integer(aml, X86_GED_POWER_BUTTON);
	aml_no_target(aml);
	aml_op(aml, AML_NOTIFY);
	aml_path(aml, "\\_SB.PWRB");
	aml_integer(aml, NOTIFY_PRESSED);
	aml_end(aml);
	aml_if(aml);
	aml_op(aml, AML_AND);
	aml_local(aml, 0);
	aml_integer(aml, X86_GED_PCI_HOTPLUG);
	aml_no_target(aml);
	aml_path(aml, "\\_SB.PCI0.HPEV");
	aml_end(aml);
	aml_end(aml);
	aml_end(aml);
}

/* What SLP_TYP means "off" (ACPI 6.4, section 7.4.2). */
static void put_sleep_states(struct aml *aml)
{
	aml_name(aml, "\\_S5");
	aml_package(aml, 4);
	aml_integer(aml, X86_ACPI_S5);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_end(aml);
}

void acpi_dsdt(struct aml *aml, const struct acpi_config *config)
{
	put_sleep_states(aml);
	aml_scope(aml, "\\_SB");
	put_pci(aml, config);
	put_motherboard(aml);
	put_com(aml, config->com_ports);
	if (config->has_rtc)
		put_rtc(aml);
	if (config->has_i8042)
		put_i8042(aml);
	if (config->has_pvpanic)
		put_pvpanic(aml);
	for (unsigned slot = 0; slot < X86_VIRTIO_MMIO_SLOTS; slot++)
		if (config->virtio_mmio & 1u << slot)
			put_virtio_mmio(aml, slot);
	put_events(aml);
	aml_end(aml);
}
