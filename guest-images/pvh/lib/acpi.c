/* SPDX-License-Identifier: MIT */
/* Finds what the guests need in the ACPI tables (ACPI 6.x, chapter 5). No AML. */
#include "rt.h"

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
} __attribute__((packed));

#define FADT_FLAGS_OFFSET       112
#define FADT_HW_REDUCED         (1u << 20)
#define FADT_RESET_OFFSET       116
#define FADT_RESET_VALUE_OFFSET 128
#define FADT_SLEEP_CONTROL      244

uint64_t rt_rsdp(void);

static struct acpi found;

static bool sums_to_zero(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + b[i]);
	return sum == 0;
}

static void parse_fadt(const struct header *h)
{
	const char *p = (const char *)h;

	if (h->length < FADT_SLEEP_CONTROL + sizeof(found.sleep_control))
		return; /* older than ACPI 5 */
	found.hardware_reduced = *(const uint32_t *)(p + FADT_FLAGS_OFFSET) & FADT_HW_REDUCED;
	memcpy(&found.reset, p + FADT_RESET_OFFSET, sizeof(found.reset));
	memcpy(&found.reset_value, p + FADT_RESET_VALUE_OFFSET, 1);
	memcpy(&found.sleep_control, p + FADT_SLEEP_CONTROL, sizeof(found.sleep_control));
}

static void add_cpu(uint32_t id, uint32_t flags)
{
	if ((flags & 1) && found.cpus < ARRAY_SIZE(found.apic_ids))
		found.apic_ids[found.cpus++] = id;
}

static void parse_madt(const struct header *h)
{
	const uint8_t *p = (const uint8_t *)h + 44, *end = (const uint8_t *)h + h->length;

	for (; p + 2 <= end && p[1] >= 2; p += p[1]) {
		if (p[0] == 0)
			add_cpu(p[3], *(const uint32_t *)(p + 4));
		else if (p[0] == 9)
			add_cpu(*(const uint32_t *)(p + 4), *(const uint32_t *)(p + 8));
		else if (p[0] == 1 && !found.ioapic)
			found.ioapic = *(const uint32_t *)(p + 4);
	}
}

static void parse_mcfg(const struct header *h)
{
	const uint8_t *p = (const uint8_t *)h + 44;

	found.ecam = *(const uint64_t *)p;
	found.ecam_buses = p[11] - p[10] + 1u;
}

static void parse_table(const struct header *h)
{
	if (!sums_to_zero(h, h->length))
		give_up("acpi-checksum", "table at 0x%lx", (uint64_t)h);
	if (!memcmp(h->signature, "FACP", 4))
		parse_fadt(h);
	else if (!memcmp(h->signature, "APIC", 4))
		parse_madt(h);
	else if (!memcmp(h->signature, "MCFG", 4))
		parse_mcfg(h);
}

/* The XSDT (8-byte entries), or the RSDT (4) of firmware that has only that. */
static void parse_root(uint64_t address, uint32_t entry_size)
{
	const struct header *root = (const struct header *)address;

	if (!sums_to_zero(root, root->length))
		give_up("acpi-checksum", "root table at 0x%lx", address);
	for (uint32_t at = sizeof(*root); at + entry_size <= root->length; at += entry_size) {
		uint64_t table = 0;

		memcpy(&table, (const char *)root + at, entry_size);
		parse_table((const struct header *)table);
	}
}

const struct acpi *acpi(void)
{
	static bool parsed;
	const struct rsdp *rsdp = (const struct rsdp *)rt_rsdp();

	if (parsed)
		return &found;
	parsed = true;
	if (!rsdp || memcmp(rsdp->signature, "RSD PTR ", 8) || !sums_to_zero(rsdp, 20))
		give_up("acpi-rsdp", "none at 0x%lx", (uint64_t)rsdp);
	if (rsdp->revision < 2)
		parse_root(rsdp->rsdt, 4);
	else if (sums_to_zero(rsdp, rsdp->length))
		parse_root(rsdp->xsdt, 8);
	else
		give_up("acpi-checksum", "RSDP at 0x%lx", (uint64_t)rsdp);
	return &found;
}

void acpi_write(const struct acpi_address *a, uint8_t v)
{
	if (!a->address)
		return;
	if (a->space == 1) {
		outb((uint16_t)a->address, v);
	} else {
		map_device(a->address, 1);
		write8(a->address, v);
	}
}
