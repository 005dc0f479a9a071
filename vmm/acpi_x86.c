/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables of the x86 machine. Sections are of ACPI 6.4.
 */
#include "vmm/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/acpi_internal.h"
#include "vmm/layout_x86.h"

/* Where a PC's processor begins and where software jumps to restart it: F000:FFF0. */
#define BIOS_ENTRY UINT64_C(0xffff0)

#define PACKED __attribute__((packed))

#define OEM_ID       "VMM   "
#define OEM_TABLE_ID "VMMX86  "
#define CREATOR_ID   "VMM "

/* 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} PACKED;
_Static_assert(sizeof(struct rsdp) == 36, "RSDP");
#define RSDP_V1_SIZE 20

/* 5.2.6 */
struct table_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;
_Static_assert(sizeof(struct table_header) == 36, "table header");

/* 5.2.3.2: generic address structure. */
struct gas {
	uint8_t space; /* 1: system I/O */
	uint8_t bits;
	uint8_t offset;
	uint8_t access; /* 1: byte */
	uint64_t address;
} PACKED;
_Static_assert(sizeof(struct gas) == 12, "GAS");

/* 5.2.9; the fields that a hardware-reduced machine leaves 0 have no names of their own. */
struct fadt {
	struct table_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved1;
	uint8_t preferred_profile;
	uint8_t fixed_hardware1[62]; /* SCI, PM1 and so on */
	uint8_t century;
	uint16_t boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset_register;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_revision;
	uint64_t x_facs;
	uint64_t x_dsdt;
	struct gas fixed_hardware2[8];
	struct gas sleep_control;
	struct gas sleep_status;
	uint8_t hypervisor[8];
} PACKED;
_Static_assert(sizeof(struct fadt) == 276, "FADT of revision 6");
_Static_assert(offsetof(struct fadt, boot_arch) == 109, "FADT");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "FADT");

#define FADT_REVISION 6
#define FADT_MINOR    4

/* 5.2.9.3, IA-PC boot architecture flags. */
#define BOOT_ARCH_LEGACY_DEVICES (1u << 0)
#define BOOT_ARCH_8042           (1u << 1)
#define BOOT_ARCH_NO_VGA         (1u << 2)
#define BOOT_ARCH_NO_RTC         (1u << 5)

/* 5.2.9, table 5.10. */
#define FADT_WBINVD       (1u << 0)
#define FADT_PROC_C1      (1u << 2)
#define FADT_POWER_BUTTON (1u << 4) /* not fixed hardware but a device */
#define FADT_SLEEP_BUTTON (1u << 5)
#define FADT_FIX_RTC      (1u << 6) /* the RTC's alarm is not fixed hardware */
#define FADT_RESET_REG    (1u << 10)
#define FADT_HW_REDUCED   (1u << 20)
#define PROFILE_SERVER    4

/* CMOS index of the century, as PCs have it. */
#define CMOS_CENTURY 0x32

/* 5.2.12 */
struct madt {
	struct table_header header;
	uint32_t lapic;
	uint32_t flags; /* bit 0: has 8259s too, which this machine does not want to be used */
} PACKED;

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_LAPIC_NMI = 4, MADT_X2APIC = 9, MADT_X2APIC_NMI = 10 };

struct madt_lapic {
	uint8_t type, length;
	uint8_t uid;
	uint8_t id;
	uint32_t flags; /* bit 0: enabled */
} PACKED;
_Static_assert(sizeof(struct madt_lapic) == 8, "MADT: LAPIC");

struct madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t id;
	uint32_t flags;
	uint32_t uid;
} PACKED;
_Static_assert(sizeof(struct madt_x2apic) == 16, "MADT: x2APIC");

struct madt_ioapic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;
_Static_assert(sizeof(struct madt_ioapic) == 12, "MADT: IOAPIC");

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t uid; /* 0xff: all */
	uint16_t flags;
	uint8_t lint;
} PACKED;
_Static_assert(sizeof(struct madt_lapic_nmi) == 6, "MADT: LAPIC NMI");

struct madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid; /* 0xffffffff: all */
	uint8_t lint;
	uint8_t reserved[3];
} PACKED;
_Static_assert(sizeof(struct madt_x2apic_nmi) == 12, "MADT: x2APIC NMI");

/* APIC ids from here on need an x2APIC entry (5.2.12.12). */
#define X2APIC_FIRST 255u

/* PCI Firmware 3.3, 4.1.2. */
struct mcfg {
	struct table_header header;
	uint64_t reserved;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved2;
} PACKED;
_Static_assert(sizeof(struct mcfg) == 60, "MCFG");

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len-- > 0)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static struct table_header header(const char *signature, uint8_t revision)
{
	struct table_header h = {.revision = revision, .oem_revision = 1, .creator_revision = 1};

	memcpy(h.signature, signature, sizeof(h.signature));
	memcpy(h.oem_id, OEM_ID, sizeof(h.oem_id));
	memcpy(h.oem_table_id, OEM_TABLE_ID, sizeof(h.oem_table_id));
	memcpy(h.creator_id, CREATOR_ID, sizeof(h.creator_id));
	return h;
}

/* Tables stand one after another in the area; `out` is the area and counts from its start. */
static size_t table_begin(struct aml *out)
{
	static const uint8_t zero[16];

	aml_bytes(out, zero, (size_t)(align_up(out->len, sizeof(zero)) - out->len));
	return out->len;
}

/* Fill in length and checksum of the table that began at `start`. Returns its address. */
static uint64_t table_end(struct aml *out, size_t start)
{
	struct table_header h;

	if (!out->overflow) {
		memcpy(&h, out->data + start, sizeof(h));
		h.length = (uint32_t)(out->len - start);
		memcpy(out->data + start, &h, sizeof(h));
		h.checksum = checksum(out->data + start, h.length);
		memcpy(out->data + start, &h, sizeof(h));
	}
	return X86_ACPI_START + start;
}

static uint64_t put_dsdt(struct aml *out, const struct acpi_config *config)
{
	struct table_header h = header("DSDT", 2); /* 2: integers have 64 bits */
	size_t start = table_begin(out);

	aml_bytes(out, &h, sizeof(h));
	acpi_dsdt(out, config);
	return table_end(out, start);
}

static struct gas port_register(unsigned offset)
{
	return (struct gas){.space = 1, .bits = 8, .access = 1, .address = X86_PORT_ACPI + offset};
}

static uint64_t put_fadt(struct aml *out, const struct acpi_config *config, uint64_t dsdt)
{
	struct fadt fadt = {
		.header = header("FACP", FADT_REVISION),
		.dsdt = (uint32_t)dsdt,
		.preferred_profile = PROFILE_SERVER,
		.boot_arch = BOOT_ARCH_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_POWER_BUTTON | FADT_SLEEP_BUTTON |
			 FADT_FIX_RTC | FADT_RESET_REG | FADT_HW_REDUCED,
		.reset_register = port_register(X86_ACPI_RESET),
		.reset_value = X86_ACPI_RESET_VALUE,
		.minor_revision = FADT_MINOR,
		.x_dsdt = dsdt,
		.sleep_control = port_register(X86_ACPI_SLEEP_CONTROL),
		.sleep_status = port_register(X86_ACPI_SLEEP_STATUS),
		.hypervisor = "VMM",
	};
	size_t start = table_begin(out);

	if (config->com_ports)
		fadt.boot_arch |= BOOT_ARCH_LEGACY_DEVICES;
	if (config->has_i8042)
		fadt.boot_arch |= BOOT_ARCH_8042;
	if (config->has_rtc)
		fadt.century = CMOS_CENTURY;
	else
		fadt.boot_arch |= BOOT_ARCH_NO_RTC;
	aml_bytes(out, &fadt, sizeof(fadt));
	return table_end(out, start);
}

static void put_cpu(struct aml *out, uint32_t uid, uint32_t apic_id)
{
	const struct madt_lapic lapic = {.type = MADT_LAPIC,
					 .length = sizeof(lapic),
					 .uid = (uint8_t)uid,
					 .id = (uint8_t)apic_id,
					 .flags = 1};
	const struct madt_x2apic x2apic = {.type = MADT_X2APIC,
					   .length = sizeof(x2apic),
					   .id = apic_id,
					   .flags = 1,
					   .uid = uid};

	if (apic_id < X2APIC_FIRST && uid < X2APIC_FIRST)
		aml_bytes(out, &lapic, sizeof(lapic));
	else
		aml_bytes(out, &x2apic, sizeof(x2apic));
}

/* ISA interrupts are at the GSI of their number, edge-triggered, active high: no overrides. */
static uint64_t put_madt(struct aml *out, const struct acpi_config *config)
{
	const struct madt madt = {.header = header("APIC", 5), .lapic = (uint32_t)X86_LAPIC};
	const struct madt_ioapic ioapic = {
		.type = MADT_IOAPIC, .length = sizeof(ioapic), .address = (uint32_t)X86_IOAPIC};
	const struct madt_lapic_nmi nmi = {
		.type = MADT_LAPIC_NMI, .length = sizeof(nmi), .uid = 0xff, .lint = 1};
	const struct madt_x2apic_nmi nmi2 = {
		.type = MADT_X2APIC_NMI, .length = sizeof(nmi2), .uid = UINT32_MAX, .lint = 1};
	size_t start = table_begin(out);
	bool x2apic = false;

	aml_bytes(out, &madt, sizeof(madt));
	for (unsigned i = 0; i < config->cpus; i++) {
		put_cpu(out, i, config->cpu_apic_id[i]);
		x2apic |= config->cpu_apic_id[i] >= X2APIC_FIRST || i >= X2APIC_FIRST;
	}
	aml_bytes(out, &ioapic, sizeof(ioapic));
	aml_bytes(out, &nmi, sizeof(nmi));
	if (x2apic)
		aml_bytes(out, &nmi2, sizeof(nmi2));
	return table_end(out, start);
}

static uint64_t put_mcfg(struct aml *out)
{
	const struct mcfg mcfg = {
		.header = header("MCFG", 1),
		.base = X86_PCI_ECAM,
		.last_bus = (uint8_t)((X86_PCI_ECAM_SIZE >> 20) - 1),
	};
	size_t start = table_begin(out);

	aml_bytes(out, &mcfg, sizeof(mcfg));
	return table_end(out, start);
}

static uint64_t put_xsdt(struct aml *out, const uint64_t *tables, size_t count)
{
	struct table_header h = header("XSDT", 1);
	size_t start = table_begin(out);

	aml_bytes(out, &h, sizeof(h));
	aml_bytes(out, tables, count * sizeof(*tables));
	return table_end(out, start);
}

static void put_rsdp(uint8_t *area, uint64_t xsdt)
{
	struct rsdp rsdp = {.signature = "RSD PTR ",
			    .oem_id = OEM_ID,
			    .revision = 2,
			    .length = sizeof(rsdp),
			    .xsdt = xsdt};

	rsdp.checksum = checksum(&rsdp, RSDP_V1_SIZE);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(area, &rsdp, sizeof(rsdp));
}

/*
 * A kernel on a hardware-reduced machine tries to reboot by EFI before it looks at the reset
 * register, and where there is no EFI it jumps to the BIOS's entry, in real mode: so there is one,
 * whose only work is to write that register.
 */
static int write_reset_entry(struct guest_memory *memory)
{
	static const uint8_t code[] = {
		0xba,
		(X86_PORT_ACPI + X86_ACPI_RESET) & 0xff,
		(X86_PORT_ACPI + X86_ACPI_RESET) >> 8, /* mov dx, reset register */
		0xb0,
		X86_ACPI_RESET_VALUE, /* mov al, value */
		0xee,                 /* out dx, al */
		0xf4,                 /* hlt */
		0xeb,
		0xfd, /* jmp to the hlt */
	};

	return guest_write(memory, gpa(BIOS_ENTRY), code, sizeof(code));
}

static int build(const struct acpi_config *config, struct guest_memory *memory, uint8_t *area,
		 struct vmm_error *err)
{
	uint64_t tables[3], xsdt, dsdt;
	struct aml out;
	int ret;

	aml_init(&out, area, BIOS_ENTRY - X86_ACPI_START);
	out.len = sizeof(struct rsdp); /* written last, but the first in memory */
	dsdt = put_dsdt(&out, config);
	tables[0] = put_fadt(&out, config, dsdt);
	tables[1] = put_madt(&out, config);
	tables[2] = put_mcfg(&out);
	xsdt = put_xsdt(&out, tables, ARRAY_SIZE(tables));
	if (out.overflow)
		return error_set(err, ENOSPC, "the ACPI tables do not fit: too many CPUs (%u)",
				 config->cpus);
	put_rsdp(area, xsdt);
	ret = guest_write(memory, gpa(X86_ACPI_START), area, out.len);
	if (ret == 0)
		ret = write_reset_entry(memory);
	if (ret < 0)
		return error_set(err, -ret, "there is no memory for the ACPI tables");
	return 0;
}

int acpi_build(const struct acpi_config *config, struct guest_memory *memory, gpa_t *rsdp,
	       struct vmm_error *err)
{
	uint8_t *area = calloc(1, X86_ACPI_END - X86_ACPI_START);
	int ret;

	if (!area)
		return error_set(err, ENOMEM, "out of memory");
	ret = build(config, memory, area, err);
	free(area);
	*rsdp = gpa(X86_ACPI_START);
	return ret;
}
