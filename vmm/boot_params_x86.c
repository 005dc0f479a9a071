/* SPDX-License-Identifier: MIT */
/*
 * What the kernel is told: the zero page (boot.rst, zero-page.rst) or PVH's start info, with the
 * memory map; and the tables that its entry expects, GDT and page tables.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "vmm/boot_internal.h"
#include "vmm/layout_x86.h"

#define E820_RAM      1u
#define E820_RESERVED 2u
#define E820_ACPI     3u
#define E820_MAX      (GUEST_MEMORY_MAX_REGIONS + 8u)

/* Page tables end here; between them and the command line is room for setup_data. */
#define PAGE_TABLE_COUNT 6u
#define SETUP_DATA       (X86_BOOT_PGTABLE + PAGE_TABLE_COUNT * GUEST_PAGE_SIZE)
#define RNG_SEED_SIZE    32u

/* Asks for an unspecific boot loader (boot.rst, "type_of_loader"). */
#define LOADER_UNDEFINED 0xffu
#define VID_MODE_NORMAL  0xffffu

/* KVM's real-mode identity map (1 page) and TSS (3 pages) for processors that need them. */
#define KVM_PAGES_SIZE (4 * (uint64_t)GUEST_PAGE_SIZE)

/* Xen's public/arch-x86/hvm/start_info.h, version 1. */
#define HVM_START_MAGIC 0x336ec578u

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "hvm_start_info");

struct hvm_module {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};
_Static_assert(sizeof(struct hvm_module) == 32, "hvm_modlist_entry");

struct hvm_memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type; /* as in e820 */
	uint32_t reserved;
};
_Static_assert(sizeof(struct hvm_memmap_entry) == 24, "hvm_memmap_table_entry");

struct pvh_page {
	struct hvm_start_info info;
	struct hvm_module module;
	struct hvm_memmap_entry memmap[E820_MAX];
};

struct e820 {
	unsigned count;
	struct boot_e820_entry entries[E820_MAX];
};

/* Insert in the order of addresses. */
static void e820_add(struct e820 *map, uint64_t start, uint64_t end, unsigned type)
{
	unsigned i = map->count;

	if (start >= end || map->count == E820_MAX)
		return;
	map->count++;
	for (; i > 0 && map->entries[i - 1].addr > start; i--)
		map->entries[i] = map->entries[i - 1];
	map->entries[i] = (struct boot_e820_entry){start, end - start, type};
}

static void build_e820(struct e820 *map, const struct guest_memory *memory)
{
	map->count = 0;
	for (unsigned i = 0; i < guest_memory_count(memory); i++) {
		const struct guest_region *r = guest_memory_region(memory, i);
		uint64_t end = r->base.v + r->size;

		/* Below 1 MiB is RAM too, but what is above the EBDA is the firmware's. */
		e820_add(map, r->base.v, MIN(end, X86_EBDA), E820_RAM);
		e820_add(map, MAX(r->base.v, X86_KERNEL_START), end, E820_RAM);
	}
	e820_add(map, X86_EBDA, X86_ACPI_START, E820_RESERVED);
	e820_add(map, X86_ACPI_START, X86_ACPI_END, E820_ACPI);
	e820_add(map, X86_PCI_ECAM, X86_PCI_ECAM + X86_PCI_ECAM_SIZE, E820_RESERVED);
	e820_add(map, X86_KVM_IDENTITY, X86_KVM_IDENTITY + KVM_PAGES_SIZE, E820_RESERVED);
}

/* True if the command line has `word` as a word of its own. */
static bool has_word(const char *cmdline, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = cmdline; (p = strstr(p, word)) != NULL; p += len)
		if ((p == cmdline || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
			return true;
	return false;
}

/* A header for a kernel that came without one: what a 64-bit entry reads of it. */
static const struct setup_header bare_header = {
	.boot_flag = 0xaa55,
	.header = 0x53726448, /* "HdrS" */
	.version = 0x20f,
	.loadflags = LOADED_HIGH,
	.kernel_alignment = 0x1000000,
	.xloadflags = XLF_KERNEL_64,
};

static void fill_header(struct setup_header *h, const struct boot_params_info *info)
{
	*h = info->header ? *info->header : bare_header;
	h->type_of_loader = LOADER_UNDEFINED;
	h->ext_loader_type = 0;
	h->ext_loader_ver = 0;
	h->vid_mode = VID_MODE_NORMAL;
	h->cmd_line_ptr = (uint32_t)X86_CMDLINE;
	h->ramdisk_image = info->initrd_size ? (uint32_t)info->initrd_addr : 0;
	h->ramdisk_size = (uint32_t)info->initrd_size;
	h->setup_data = SETUP_DATA;
	if (info->header)
		h->code32_start = (uint32_t)info->load_addr;
	/*
	 * The decompressor tells the kernel by this flag whether it may randomise its memory
	 * regions and modules (boot.rst, "loadflags", bit 1). We are the decompressor here.
	 */
	h->loadflags &= (uint8_t)~KASLR_FLAG;
	if (info->unpacked && !has_word(info->cmdline, "nokaslr"))
		h->loadflags |= KASLR_FLAG;
}

/* One setup_data node: a seed for the random number generator (boot.rst, "setup_data"). */
static int write_rng_seed(struct guest_memory *memory)
{
	const struct setup_data head = {.type = SETUP_RNG_SEED, .len = RNG_SEED_SIZE};
	uint8_t node[sizeof(head) + RNG_SEED_SIZE];
	int ret;

	memcpy(node, &head, sizeof(head));
	if (getrandom(node + sizeof(head), RNG_SEED_SIZE, 0) != (ssize_t)RNG_SEED_SIZE)
		return -EIO;
	ret = guest_write(memory, gpa(SETUP_DATA), node, sizeof(node));
	explicit_bzero(node, sizeof(node));
	return ret;
}

int boot_write_zero_page(struct guest_memory *memory, const struct boot_params_info *info)
{
	struct boot_params params;
	struct e820 map;
	int ret;

	_Static_assert(sizeof(params) == GUEST_PAGE_SIZE, "boot_params");
	memset(&params, 0, sizeof(params));
	fill_header(&params.hdr, info);
	params.acpi_rsdp_addr = info->rsdp.v;
	build_e820(&map, memory);
	memcpy(params.e820_table, map.entries, map.count * sizeof(map.entries[0]));
	params.e820_entries = (uint8_t)map.count;
	ret = write_rng_seed(memory);
	if (ret < 0)
		return ret;
	return guest_write(memory, gpa(X86_BOOT_PARAMS), &params, sizeof(params));
}

int boot_write_pvh_info(struct guest_memory *memory, const struct boot_params_info *info)
{
	struct pvh_page page;
	struct e820 map;

	_Static_assert(sizeof(page) <= GUEST_PAGE_SIZE, "PVH start info");
	memset(&page, 0, sizeof(page));
	build_e820(&map, memory);
	for (unsigned i = 0; i < map.count; i++)
		page.memmap[i] = (struct hvm_memmap_entry){.addr = map.entries[i].addr,
							   .size = map.entries[i].size,
							   .type = map.entries[i].type};
	page.module.paddr = info->initrd_addr;
	page.module.size = info->initrd_size;
	page.info = (struct hvm_start_info){
		.magic = HVM_START_MAGIC,
		.version = 1,
		.nr_modules = info->initrd_size ? 1 : 0,
		.modlist_paddr = X86_BOOT_PARAMS + offsetof(struct pvh_page, module),
		.cmdline_paddr = X86_CMDLINE,
		.rsdp_paddr = info->rsdp.v,
		.memmap_paddr = X86_BOOT_PARAMS + offsetof(struct pvh_page, memmap),
		.memmap_entries = map.count,
	};
	return guest_write(memory, gpa(X86_BOOT_PARAMS), &page, sizeof(page));
}

int boot_write_page_tables(struct guest_memory *memory)
{
	enum { ENTRIES = 512, TABLE = 3, LARGE_PAGE = 0x83 }; /* present, writable, page size */
	uint64_t tables[PAGE_TABLE_COUNT][ENTRIES];

	memset(tables, 0, sizeof(tables));
	tables[0][0] = (X86_BOOT_PGTABLE + GUEST_PAGE_SIZE) | TABLE;
	for (unsigned i = 0; i < 4; i++) {
		tables[1][i] = (X86_BOOT_PGTABLE + (2 + i) * GUEST_PAGE_SIZE) | TABLE;
		for (unsigned j = 0; j < ENTRIES; j++)
			tables[2 + i][j] = (i * GIB + j * 2 * MIB) | LARGE_PAGE;
	}
	return guest_write(memory, gpa(X86_BOOT_PGTABLE), tables, sizeof(tables));
}

int boot_write_gdt(struct guest_memory *memory, enum boot_mode mode)
{
	/* Flat, accessed: code execute/read, data read/write, a 32-bit TSS of 0x68 bytes. */
	const uint64_t gdt[] = {
		[BOOT_CS / 8] = mode == BOOT_LONG_MODE ? UINT64_C(0x00af9b000000ffff)
						       : UINT64_C(0x00cf9b000000ffff),
		[BOOT_DS / 8] = UINT64_C(0x00cf93000000ffff),
		[BOOT_TSS / 8] = UINT64_C(0x00008b0000000067),
	};

	_Static_assert(sizeof(gdt) == BOOT_GDT_SIZE, "GDT");
	return guest_write(memory, gpa(X86_BOOT_GDT), gdt, sizeof(gdt));
}
