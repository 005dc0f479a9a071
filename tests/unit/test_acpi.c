/* SPDX-License-Identifier: MIT */
/* The ACPI tables: sums, lengths, links; and what the reference compiler says, where it is there.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/acpi.h"
#include "vmm/aml.h"
#include "vmm/layout_x86.h"

#define HEADER_SIZE 36u
#define TABLES_MAX  8

struct tables {
	struct guest_memory *memory;
	uint8_t area[X86_ACPI_END - X86_ACPI_START];
	unsigned count;
	const uint8_t *table[TABLES_MAX]; /* of the XSDT, then the DSDT */
};

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len-- > 0)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *at(const struct tables *t, uint64_t addr)
{
	cr_assert_geq(addr, X86_ACPI_START);
	cr_assert_lt(addr, X86_ACPI_END - HEADER_SIZE);
	return t->area + (addr - X86_ACPI_START);
}

static const uint8_t *find(const struct tables *t, const char *signature)
{
	for (unsigned i = 0; i < t->count; i++)
		if (memcmp(t->table[i], signature, 4) == 0)
			return t->table[i];
	cr_assert_fail("no table %s", signature);
	return NULL;
}

static int build(struct tables *t, unsigned cpus, bool devices, struct vmm_error *err)
{
	static uint32_t ids[70000];
	const struct acpi_config config = {.cpus = cpus,
					   .cpu_apic_id = ids,
					   .pci_mem64_base = devices ? UINT64_C(0x140000000) : 0,
					   .pci_mem64_size = X86_PCI_MEM64_SIZE,
					   .com_ports = devices ? 0xf : 0,
					   .virtio_mmio =
						   devices ? (1u << X86_VIRTIO_MMIO_SLOTS) - 1 : 0,
					   .has_rtc = devices,
					   .has_pvpanic = devices,
					   .has_i8042 = devices};
	gpa_t rsdp;
	int ret;

	for (unsigned i = 0; i < cpus; i++)
		ids[i] = i;
	memset(t, 0, sizeof(*t));
	cr_assert_eq(guest_memory_create(&t->memory, NULL), 0);
	cr_assert_eq(guest_memory_add(t->memory, gpa(0), 16 * MIB, 0, NULL), 0);
	ret = acpi_build(&config, t->memory, &rsdp, err);
	if (ret == 0) {
		cr_assert_eq(rsdp.v, X86_ACPI_START);
		cr_assert_eq(guest_read(t->memory, rsdp, t->area, sizeof(t->area)), 0);
	}
	return ret;
}

/* Follow RSDP, XSDT and FADT as a kernel does, checking each. */
static void walk(struct tables *t)
{
	const uint8_t *xsdt, *fadt;

	cr_assert_arr_eq(t->area, "RSD PTR ", 8);
	cr_assert_eq(sum(t->area, 20), 0);
	cr_assert_eq(sum(t->area, u32(t->area + 20)), 0);
	xsdt = at(t, u64(t->area + 24));
	cr_assert_arr_eq(xsdt, "XSDT", 4);
	cr_assert_eq(sum(xsdt, u32(xsdt + 4)), 0);
	for (uint32_t pos = HEADER_SIZE; pos < u32(xsdt + 4); pos += 8)
		t->table[t->count++] = at(t, u64(xsdt + pos));
	fadt = find(t, "FACP");
	cr_assert_eq(u32(fadt + 40), u64(fadt + 140), "DSDT and X_DSDT");
	t->table[t->count++] = at(t, u64(fadt + 140));
	for (unsigned i = 0; i < t->count; i++)
		cr_assert_eq(sum(t->table[i], u32(t->table[i] + 4)), 0, "%.4s", t->table[i]);
}

Test(acpi, a_kernel_finds_every_table)
{
	struct tables t;

	cr_assert_eq(build(&t, 4, true, NULL), 0);
	walk(&t);
	find(&t, "FACP");
	find(&t, "APIC");
	find(&t, "MCFG");
	find(&t, "DSDT");
	guest_memory_destroy(t.memory);
}

Test(acpi, fadt_tells_of_a_hardware_reduced_machine)
{
	const uint8_t *fadt;
	struct tables t;

	cr_assert_eq(build(&t, 1, true, NULL), 0);
	walk(&t);
	fadt = find(&t, "FACP");
	cr_assert_eq(u32(fadt + 4), 276u);
	cr_assert(u32(fadt + 112) & (1u << 20), "HW_REDUCED_ACPI");
	cr_assert(u32(fadt + 112) & (1u << 10), "RESET_REG_SUP");
	cr_assert_eq(u64(fadt + 116 + 4), X86_PORT_ACPI + X86_ACPI_RESET);
	cr_assert_eq(fadt[128], X86_ACPI_RESET_VALUE);
	cr_assert_eq(u64(fadt + 244 + 4), X86_PORT_ACPI + X86_ACPI_SLEEP_CONTROL);
	cr_assert_eq(u64(fadt + 256 + 4), X86_PORT_ACPI + X86_ACPI_SLEEP_STATUS);
	cr_assert_eq(fadt[109], 0x07, "legacy devices, 8042, no VGA");
	guest_memory_destroy(t.memory);

	cr_assert_eq(build(&t, 1, false, NULL), 0);
	walk(&t);
	cr_assert_eq(find(&t, "FACP")[109], 0x24, "no VGA, no CMOS clock");
	guest_memory_destroy(t.memory);
}

/* Where Linux goes to restart a hardware-reduced machine without EFI. */
Test(acpi, bios_entry_writes_the_reset_register)
{
	static const uint8_t want[] = {0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd};
	struct tables t;

	cr_assert_eq(build(&t, 1, true, NULL), 0);
	cr_assert_arr_eq(t.area + sizeof(t.area) - 16, want, sizeof(want));
	guest_memory_destroy(t.memory);
}

/* Count the entries of a type in the MADT. */
static unsigned madt_count(const uint8_t *madt, uint8_t type)
{
	unsigned n = 0;

	for (uint32_t pos = HEADER_SIZE + 8; pos < u32(madt + 4); pos += madt[pos + 1]) {
		cr_assert_neq(madt[pos + 1], 0);
		n += madt[pos] == type;
	}
	return n;
}

Test(acpi, madt_has_each_cpu_once)
{
	struct tables t;

	cr_assert_eq(build(&t, 3, true, NULL), 0);
	walk(&t);
	cr_assert_eq(madt_count(find(&t, "APIC"), 0), 3u);
	cr_assert_eq(madt_count(find(&t, "APIC"), 1), 1u);
	cr_assert_eq(madt_count(find(&t, "APIC"), 9), 0u);
	guest_memory_destroy(t.memory);

	cr_assert_eq(build(&t, 300, true, NULL), 0);
	walk(&t);
	cr_assert_eq(madt_count(find(&t, "APIC"), 0), 255u);
	cr_assert_eq(madt_count(find(&t, "APIC"), 9), 45u);
	guest_memory_destroy(t.memory);
}

Test(acpi, too_many_cpus_are_an_error_with_a_sentence)
{
	struct vmm_error err = {0};
	struct tables t;

	cr_assert_eq(build(&t, 70000, true, &err), -ENOSPC);
	cr_assert(strstr(err.message, "70000"));
	guest_memory_destroy(t.memory);
}

Test(acpi, memory_that_lacks_the_area_is_an_error)
{
	const struct acpi_config config = {0};
	struct guest_memory *memory;
	gpa_t rsdp;

	cr_assert_eq(guest_memory_create(&memory, NULL), 0);
	cr_assert_lt(acpi_build(&config, memory, &rsdp, NULL), 0);
	guest_memory_destroy(memory);
}

Test(acpi, dsdt_has_each_virtio_device_that_is_not_on_pci)
{
	/* Those of slot 2: at 0xfeb00400, 512 bytes; level-triggered, active high, GSI 7. */
	static const uint8_t memory32[] = {0x86, 9, 0, 1, 0x00, 0x04, 0xb0, 0xfe, 0, 2, 0, 0};
	static const uint8_t interrupt[] = {0x89, 6, 0, 1, 1, 7, 0, 0, 0};
	char name[5] = "VIO0";
	const uint8_t *dsdt;
	struct tables t;

	cr_assert_eq(build(&t, 1, true, NULL), 0);
	walk(&t);
	dsdt = find(&t, "DSDT");
	for (; name[3] < '0' + X86_VIRTIO_MMIO_SLOTS; name[3]++)
		cr_assert(memmem(dsdt, u32(dsdt + 4), name, 4), "%s", name);
	cr_assert(memmem(dsdt, u32(dsdt + 4), "LNRO0005", 9));
	cr_assert(memmem(dsdt, u32(dsdt + 4), memory32, sizeof(memory32)));
	cr_assert(memmem(dsdt, u32(dsdt + 4), interrupt, sizeof(interrupt)));
	guest_memory_destroy(t.memory);

	cr_assert_eq(build(&t, 1, false, NULL), 0);
	walk(&t);
	dsdt = find(&t, "DSDT");
	cr_assert_not(memmem(dsdt, u32(dsdt + 4), "LNRO0005", 9));
	guest_memory_destroy(t.memory);
}

/* ---- AML ---- */

Test(aml, integers_take_the_shortest_form)
{
	static const uint8_t want[] = {0x00, 0x01, 0x0a, 0x02, 0x0b, 0x00, 0x01,
				       0x0c, 0x00, 0x00, 0x01, 0x00, 0x0e, 0,
				       0,    0,    0,    1,    0,    0,    0};
	uint8_t data[64];
	struct aml aml;

	aml_init(&aml, data, sizeof(data));
	aml_integer(&aml, 0);
	aml_integer(&aml, 1);
	aml_integer(&aml, 2);
	aml_integer(&aml, 0x100);
	aml_integer(&aml, 0x10000);
	aml_integer(&aml, UINT64_C(0x100000000));
	cr_assert_eq(aml.len, sizeof(want));
	cr_assert_arr_eq(data, want, sizeof(want));
}

Test(aml, eisa_ids_are_compressed)
{
	static const uint8_t want[] = {0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0a, 0x08};
	uint8_t data[32];
	struct aml aml;

	aml_init(&aml, data, sizeof(data));
	aml_name_eisa_id(&aml, "_HID", "PNP0A08");
	cr_assert_eq(aml.len, sizeof(want));
	cr_assert_arr_eq(data, want, sizeof(want));
}

Test(aml, overflow_is_noticed_and_writes_nothing)
{
	uint8_t data[8];
	struct aml aml;

	memset(data, 0x55, sizeof(data));
	aml_init(&aml, data, 4);
	aml_scope(&aml, "\\_SB");
	aml_crs_begin(&aml);
	aml_crs_end(&aml);
	aml_end(&aml);
	cr_assert(aml.overflow);
	cr_assert_leq(aml.len, 4u);
	cr_assert_eq(data[4], 0x55);
}

/* ---- the reference compiler ---- */

/* Run a command in `dir`; what it prints goes to a file there. */
static int run_in(const char *dir, const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "cd '%s' && { %s; } >>log 2>&1", dir, command);
	return system(line);
}

static void write_table(const char *dir, const uint8_t *table)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%.4s.dat", dir, table);
	f = fopen(path, "wb");
	cr_assert_not_null(f);
	cr_assert_eq(fwrite(table, 1, u32(table + 4), f), u32(table + 4));
	fclose(f);
}

static bool log_has_clean_compile(const char *dir)
{
	char path[128], line[256];
	bool clean = false, bad = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", dir);
	f = fopen(path, "r");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f)) {
		bad |= strstr(line, "ACPI Error") || strstr(line, "ACPI Warning");
		if (!strstr(line, "Compilation"))
			continue;
		clean = true;
		/* Remarks and optimisations are fine: the long form of a length is one. */
		bad |= !strstr(line, " 0 Errors, 0 Warnings");
	}
	fclose(f);
	return clean && !bad;
}

static void compile_all(bool devices)
{
	char dir[] = "/tmp/vmm-acpi-XXXXXX";
	char command[128];
	struct tables t;

	if (system("iasl -v >/dev/null 2>&1") != 0)
		cr_skip_test("iasl is not installed");
	cr_assert_eq(build(&t, 2, devices, NULL), 0);
	walk(&t);
	cr_assert_not_null(mkdtemp(dir));
	for (unsigned i = 0; i < t.count; i++) {
		write_table(dir, t.table[i]);
		snprintf(command, sizeof(command), ": >log; iasl -d %.4s.dat && iasl %.4s.dsl",
			 t.table[i], t.table[i]);
		cr_assert_eq(run_in(dir, command), 0, "%.4s: see %s/log", t.table[i], dir);
		cr_assert(memcmp(t.table[i], "DSDT", 4) != 0 || log_has_clean_compile(dir),
			  "%.4s: see %s/log", t.table[i], dir);
	}
	run_in(dir, "rm -rf \"$PWD\"");
	guest_memory_destroy(t.memory);
}

Test(acpi, iasl_takes_every_table)
{
	compile_all(true);
}

Test(acpi, iasl_takes_the_tables_of_a_machine_without_devices)
{
	compile_all(false);
}
