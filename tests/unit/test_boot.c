/* SPDX-License-Identifier: MIT */
/* The kernel loader: what it takes, what it refuses and how it says so, what the guest then finds.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot_image.h"
#include "vmm/boot.h"
#include "vmm/layout_x86.h"

#define RSDP X86_ACPI_START

/* One attempt to boot. */
struct attempt {
	struct guest_memory *memory;
	struct boot *boot;
	struct boot_entry entry;
	struct vmm_error err;
	char kernel_path[32];
	int kernel_fd;
};

static void begin(struct attempt *a, const void *image, size_t size, uint64_t ram)
{
	uint64_t low = MIN(ram, X86_LOW_RAM_END);

	memset(a, 0, sizeof(*a));
	cr_assert_eq(guest_memory_create(&a->memory, NULL), 0);
	cr_assert_eq(guest_memory_add(a->memory, gpa(0), low, 0, NULL), 0);
	if (ram > low)
		cr_assert_eq(
			guest_memory_add(a->memory, gpa(X86_HIGH_RAM_START), ram - low, 0, NULL),
			0);
	a->kernel_fd = image_file(image, size, a->kernel_path);
}

static int open_boot(struct attempt *a, const char *cmdline, const char *const *initrds,
		     bool guest_unpacks)
{
	const struct boot_config config = {.kernel = a->kernel_path,
					   .cmdline = cmdline,
					   .initrds = initrds,
					   .guest_unpacks = guest_unpacks,
					   .memory = a->memory};

	return boot_open(&a->boot, &config, &a->err);
}

static int load(struct attempt *a)
{
	return boot_load(a->boot, a->memory, gpa(RSDP), &a->entry, &a->err);
}

static void end(struct attempt *a)
{
	boot_close(a->boot);
	guest_memory_destroy(a->memory);
	close(a->kernel_fd);
}

#define assert_ok(a, ret) cr_assert_eq(ret, 0, "%s", (a)->err.message)

/* The sentence has all of these words. */
static void assert_says(const struct attempt *a, const char *const *words)
{
	cr_assert_neq(a->err.code, 0);
	for (; *words; words++)
		cr_assert(strstr(a->err.message, *words), "\"%s\" lacks \"%s\"", a->err.message,
			  *words);
}
#define SAYS(a, ...) assert_says(a, (const char *const[]){__VA_ARGS__, NULL})

static void peek(const struct attempt *a, uint64_t addr, void *to, size_t len)
{
	cr_assert_eq(guest_read(a->memory, gpa(addr), to, len), 0);
}

static void zero_page(const struct attempt *a, struct boot_params *params)
{
	peek(a, a->entry.rsi, params, sizeof(*params));
}

/* A bzImage whose payload is a plain ELF kernel: valid in every build. */
static uint8_t *plain_bzimage(size_t *size)
{
	uint8_t *elf = malloc(IMAGE_SIZE);
	uint8_t *image;

	image_elf(elf, true);
	image = image_bzimage(elf, IMAGE_SIZE, size);
	free(elf);
	return image;
}

/* The ELF kernel's segments are where they belong, and .bss is clear. */
static void assert_segments(const struct attempt *a)
{
	static uint8_t text[IMAGE_TEXT_SIZE], data[IMAGE_DATA_SIZE + IMAGE_BSS_SIZE];

	peek(a, IMAGE_TEXT_ADDR, text, sizeof(text));
	for (unsigned i = 0; i < sizeof(text); i++)
		cr_assert_eq(text[i], image_byte(IMAGE_TEXT_OFFSET + i), "text at %#x", i);
	peek(a, IMAGE_DATA_ADDR, data, sizeof(data));
	for (unsigned i = 0; i < sizeof(data); i++)
		cr_assert_eq(data[i], i < IMAGE_DATA_SIZE ? image_byte(IMAGE_DATA_OFFSET + i) : 0,
			     "data at %#x", i);
}

/* ---- bzImage ---- */

Test(boot, bzimage_payload_is_unpacked_by_each_method)
{
	static uint8_t elf[IMAGE_SIZE];

	image_elf(elf, true);
	for (enum image_method m = IMAGE_PLAIN; m < IMAGE_METHODS; m++) {
		size_t packed_size, size;
		uint8_t *packed = image_compress(m, elf, sizeof(elf), &packed_size);
		uint8_t *image;
		struct attempt a;

		if (!packed)
			continue;
		image = image_bzimage(packed, packed_size, &size);
		begin(&a, image, size, 64 * MIB);
		assert_ok(&a, open_boot(&a, "quiet", NULL, false));
		/* Twice: .bss must be clear again after a reboot. */
		for (int i = 0; i < 2; i++) {
			assert_ok(&a, load(&a));
			assert_segments(&a);
			cr_assert_eq(guest_fill(a.memory, gpa(IMAGE_DATA_ADDR), 0xff, 0x5000), 0);
		}
		cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
		cr_assert_eq(a.entry.rip, IMAGE_ENTRY, "method %d was not unpacked", m);
		end(&a);
		free(image);
		free(packed);
	}
}

/* LZ4's blocks of 8 MiB: a segment that holds whole ones, and blocks that span segments. */
Test(boot, large_lz4_payload_is_unpacked)
{
	enum { SIZE = 27 << 20 };
	uint8_t *elf = calloc(1, SIZE), *packed, *image;
	size_t packed_size, size;
	struct attempt a;
	/* e_phoff is right after the header; p_filesz and p_memsz are at 32 and 40 there. */
	uint64_t filesz[2] = {20 << 20, 20 << 20}, offset = 21 << 20;
	uint64_t paddr = IMAGE_TEXT_ADDR + (20 << 20), memsz[2] = {5 << 20, 5 << 20};

	image_elf(elf, false);
	for (uint64_t i = IMAGE_TEXT_OFFSET; i < SIZE; i++)
		elf[i] = image_byte(i);
	memcpy(elf + 64 + 32, filesz, sizeof(filesz));
	memcpy(elf + 64 + 56 + 8, &offset, sizeof(offset));
	memcpy(elf + 64 + 56 + 24, &paddr, sizeof(paddr));
	memcpy(elf + 64 + 56 + 32, memsz, sizeof(memsz));
	packed = image_compress(IMAGE_LZ4, elf, SIZE, &packed_size);
	if (!packed)
		cr_skip_test("built without LZ4");
	image = image_bzimage(packed, packed_size, &size);
	image_header(image)->init_size = 40 << 20;
	begin(&a, image, size, 128 * MIB);
	assert_ok(&a, open_boot(&a, NULL, NULL, false));
	assert_ok(&a, load(&a));
	cr_assert_eq(a.entry.rip, IMAGE_ENTRY);
	peek(&a, IMAGE_TEXT_ADDR, image, 1);
	for (uint64_t i = 0; i < filesz[0]; i += 4093) {
		uint8_t byte;

		peek(&a, IMAGE_TEXT_ADDR + i, &byte, 1);
		cr_assert_eq(byte, image_byte(IMAGE_TEXT_OFFSET + i));
		if (i < memsz[0]) {
			peek(&a, paddr + i, &byte, 1);
			cr_assert_eq(byte, image_byte(offset + i));
		}
	}
	end(&a);
	free(image);
	free(packed);
	free(elf);
}

/* Boot a bzImage around the payload: the guest's own decompressor must be entered. */
static void assert_left_to_guest(const void *payload, size_t payload_size, bool guest_unpacks)
{
	struct attempt a;
	uint8_t code[512];
	size_t size;
	uint8_t *image = image_bzimage(payload, payload_size, &size);

	begin(&a, image, size, 64 * MIB);
	assert_ok(&a, open_boot(&a, NULL, NULL, guest_unpacks));
	assert_ok(&a, load(&a));
	cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
	cr_assert_eq(a.entry.rip, IMAGE_TEXT_ADDR + 0x200);
	peek(&a, IMAGE_TEXT_ADDR, code, sizeof(code));
	for (unsigned i = 0; i < sizeof(code); i++)
		cr_assert_eq(code[i], 0xcc);
	end(&a);
	free(image);
}

Test(boot, odd_payloads_are_left_to_the_guest)
{
	static uint8_t elf[IMAGE_SIZE];
	uint64_t addr = IMAGE_TEXT_ADDR + IMAGE_INIT_SIZE;

	assert_left_to_guest("BZh91AY&SY unknown to us", 24, false);
	assert_left_to_guest("x", 1, false);
	assert_left_to_guest("", 0, false);

	image_elf(elf, true);
	assert_left_to_guest(elf, sizeof(elf), true);
	assert_left_to_guest(elf, 0x200, false);
	assert_left_to_guest(elf, IMAGE_DATA_OFFSET + 16, false);
	elf[4] = 1; /* 32-bit */
	assert_left_to_guest(elf, sizeof(elf), false);
	image_elf(elf, true);
	memcpy(elf + 64 + 24, &addr, sizeof(addr)); /* outside of what init_size covers */
	assert_left_to_guest(elf, sizeof(elf), false);
	addr = ~UINT64_C(0) - 16;
	memcpy(elf + 64 + 24, &addr, sizeof(addr));
	assert_left_to_guest(elf, sizeof(elf), false);
}

Test(boot, damaged_streams_are_left_to_the_guest)
{
	static uint8_t elf[IMAGE_SIZE];

	image_elf(elf, true);
	for (enum image_method m = IMAGE_GZIP; m < IMAGE_METHODS; m++) {
		size_t size;
		uint8_t *packed = image_compress(m, elf, sizeof(elf), &size);

		if (!packed)
			continue;
		assert_left_to_guest(packed, size / 2, false);
		assert_left_to_guest(packed, 13, false);
		for (size_t i = 16; i < size - 4; i += 9)
			packed[i] ^= 0x5a;
		assert_left_to_guest(packed, size, false);
		free(packed);
	}
}

/* A stream that unpacks to far more than the kernel's header tells must end early. */
Test(boot, unpacking_is_bounded)
{
	enum { SIZE = 64 << 20 };
	uint8_t *elf = calloc(1, SIZE);

	image_elf(elf, true);
	for (enum image_method m = IMAGE_PLAIN; m < IMAGE_METHODS; m++) {
		size_t size;
		uint8_t *packed = image_compress(m, elf, SIZE, &size);

		/* Uncompressed it would not fit into the kernel itself. */
		if (packed && m != IMAGE_PLAIN)
			assert_left_to_guest(packed, size, false);
		free(packed);
	}
	free(elf);
}

Test(boot, zero_page_tells_everything)
{
	struct boot_params params;
	struct attempt a;
	char cmdline[32];
	size_t size;
	uint8_t *image = plain_bzimage(&size);

	begin(&a, image, size, 64 * MIB);
	assert_ok(&a, open_boot(&a, "console=ttyS0 quiet", NULL, false));
	assert_ok(&a, load(&a));
	cr_assert_eq(a.entry.rsi, X86_BOOT_PARAMS);
	cr_assert_eq(a.entry.rsp, X86_BOOT_STACK);
	cr_assert_eq(a.entry.cr3, X86_BOOT_PGTABLE);
	zero_page(&a, &params);
	cr_assert_eq(params.hdr.header, 0x53726448u);
	cr_assert_eq(params.hdr.version, 0x20fu);
	cr_assert_eq(params.hdr.type_of_loader, 0xffu);
	cr_assert_eq(params.hdr.loadflags & (LOADED_HIGH | KASLR_FLAG), LOADED_HIGH | KASLR_FLAG);
	cr_assert_eq(params.sentinel, 0u);
	cr_assert_eq(params.acpi_rsdp_addr, RSDP);
	cr_assert_eq(params.hdr.ramdisk_size, 0u);
	peek(&a, params.hdr.cmd_line_ptr, cmdline, 20);
	cr_assert_str_eq(cmdline, "console=ttyS0 quiet");
	end(&a);

	begin(&a, image, size, 64 * MIB);
	assert_ok(&a, open_boot(&a, "quiet nokaslr", NULL, false));
	assert_ok(&a, load(&a));
	zero_page(&a, &params);
	cr_assert_eq(params.hdr.loadflags & KASLR_FLAG, 0u);
	end(&a);
	free(image);
}

Test(boot, each_load_brings_a_fresh_seed)
{
	uint8_t seed[2][16 + 32];
	struct boot_params params;
	struct attempt a;
	size_t size;
	uint8_t *image = plain_bzimage(&size);

	begin(&a, image, size, 64 * MIB);
	assert_ok(&a, open_boot(&a, NULL, NULL, false));
	for (int i = 0; i < 2; i++) {
		struct setup_data head;

		assert_ok(&a, load(&a));
		zero_page(&a, &params);
		peek(&a, params.hdr.setup_data, &head, sizeof(head));
		cr_assert_eq(head.type, SETUP_RNG_SEED);
		cr_assert_eq(head.next, 0u);
		cr_assert_eq(head.len, 32u);
		peek(&a, params.hdr.setup_data, seed[i], sizeof(seed[i]));
	}
	cr_assert_arr_neq(seed[0] + 16, seed[1] + 16, 32);
	end(&a);
	free(image);
}

Test(boot, page_tables_and_descriptors_are_as_the_protocol_asks)
{
	uint64_t gdt[BOOT_GDT_SIZE / 8], pml4, pdpt[4], pd[512];
	struct attempt a;
	size_t size;
	uint8_t *image = plain_bzimage(&size);

	begin(&a, image, size, 64 * MIB);
	assert_ok(&a, open_boot(&a, NULL, NULL, false));
	assert_ok(&a, load(&a));
	peek(&a, X86_BOOT_GDT, gdt, sizeof(gdt));
	cr_assert_eq(gdt[BOOT_CS / 8], 0x00af9b000000ffff);
	cr_assert_eq(gdt[BOOT_DS / 8], 0x00cf93000000ffff);
	peek(&a, a.entry.cr3, &pml4, sizeof(pml4));
	peek(&a, pml4 & ~UINT64_C(0xfff), pdpt, sizeof(pdpt));
	for (uint64_t i = 0; i < 4; i++) {
		peek(&a, pdpt[i] & ~UINT64_C(0xfff), pd, sizeof(pd));
		for (uint64_t j = 0; j < 512; j++)
			cr_assert_eq(pd[j], (i * GIB + j * 2 * MIB) | 0x83);
	}
	end(&a);
	free(image);
}

Test(boot, initrds_are_joined_at_multiples_of_four)
{
	const char *paths[3] = {NULL};
	char first[32], second[32], got[13];
	struct boot_params params;
	struct attempt a;
	size_t size;
	uint8_t *image = plain_bzimage(&size);
	int fds[2] = {image_file("hello", 5, first), image_file("world", 5, second)};

	paths[0] = first;
	paths[1] = second;
	begin(&a, image, size, 64 * MIB);
	assert_ok(&a, open_boot(&a, NULL, paths, false));
	assert_ok(&a, load(&a));
	zero_page(&a, &params);
	cr_assert_eq(params.hdr.ramdisk_size, sizeof(got));
	cr_assert_eq(params.hdr.ramdisk_image, 64 * MIB - 4096, "as high as it can be");
	peek(&a, params.hdr.ramdisk_image, got, sizeof(got));
	cr_assert_arr_eq(got, "hello\0\0\0world", sizeof(got));
	end(&a);
	close(fds[0]);
	close(fds[1]);
	free(image);
}

Test(boot, initrd_stays_below_what_the_kernel_can_reach)
{
	char path[32];
	const char *paths[] = {path, NULL};
	struct boot_params params;
	struct attempt a;
	size_t size;
	uint8_t *image = plain_bzimage(&size);
	int fd = image_file("initrd", 6, path);

	begin(&a, image, size, 6 * GIB);
	assert_ok(&a, open_boot(&a, NULL, paths, false));
	assert_ok(&a, load(&a));
	zero_page(&a, &params);
	cr_assert_eq(params.hdr.ramdisk_image, 0x80000000u - 4096);
	end(&a);

	image_header(image)->xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
	begin(&a, image, size, 6 * GIB);
	assert_ok(&a, open_boot(&a, NULL, paths, false));
	assert_ok(&a, load(&a));
	zero_page(&a, &params);
	cr_assert_eq(params.hdr.ramdisk_image, X86_LOW_RAM_END - 4096);
	end(&a);
	close(fd);
	free(image);
}

Test(boot, initrd_that_does_not_fit_is_refused_with_sizes)
{
	char path[32];
	const char *paths[] = {path, NULL};
	struct attempt a;
	size_t size;
	uint8_t *image = plain_bzimage(&size);
	int fd = image_file("x", 1, path);

	/* 16 MiB below the kernel, 1 MiB of kernel: 47 MiB are left. */
	begin(&a, image, size, 64 * MIB);
	cr_assert_eq(ftruncate(fd, 48 << 20), 0);
	cr_assert_eq(open_boot(&a, NULL, paths, false), -ENOMEM);
	SAYS(&a, "48 MiB", "47 MiB", "64 MiB");
	cr_assert_null(a.boot);
	cr_assert_eq(ftruncate(fd, 47 << 20), 0);
	assert_ok(&a, open_boot(&a, NULL, paths, false));
	assert_ok(&a, load(&a));
	/* Shrinks after it was checked. */
	cr_assert_eq(ftruncate(fd, 4096), 0);
	cr_assert_eq(load(&a), -EIO);
	SAYS(&a, "shorter");
	boot_close(a.boot);
	cr_assert_eq(ftruncate(fd, INT64_C(1) << 40), 0);
	cr_assert_eq(open_boot(&a, NULL, paths, false), -EFBIG);
	end(&a);
	close(fd);
	free(image);
}

Test(boot, command_line_has_the_kernels_limit)
{
	char cmdline[IMAGE_CMDLINE_SIZE + 2];
	struct attempt a;
	size_t size;
	uint8_t *image = plain_bzimage(&size);

	memset(cmdline, 'x', sizeof(cmdline));
	cmdline[IMAGE_CMDLINE_SIZE + 1] = '\0';
	begin(&a, image, size, 64 * MIB);
	cr_assert_eq(open_boot(&a, cmdline, NULL, false), -E2BIG);
	SAYS(&a, "256 bytes", "at most 255");
	cmdline[IMAGE_CMDLINE_SIZE] = '\0';
	assert_ok(&a, open_boot(&a, cmdline, NULL, false));
	end(&a);
	free(image);
}

Test(boot, e820_matches_the_memory)
{
	static const uint64_t sizes[] = {64 * MIB, X86_LOW_RAM_END, X86_LOW_RAM_END + 4096,
					 16 * GIB, UINT64_C(1) << 40};
	struct boot_params params;
	size_t size;
	uint8_t *image = plain_bzimage(&size);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t ram = 0, last = 0;
		struct attempt a;

		begin(&a, image, size, sizes[i]);
		assert_ok(&a, open_boot(&a, NULL, NULL, false));
		assert_ok(&a, load(&a));
		zero_page(&a, &params);
		for (unsigned j = 0; j < params.e820_entries; j++) {
			const struct boot_e820_entry *e = &params.e820_table[j];

			cr_assert_geq(e->addr, last, "sorted, without overlap");
			last = e->addr + e->size;
			if (e->type != 1)
				continue;
			ram += e->size;
			cr_assert(guest_memory_contains(a.memory, gpa(e->addr), e->size));
			cr_assert(last <= X86_EBDA || e->addr >= X86_KERNEL_START);
		}
		cr_assert_eq(ram, sizes[i] - (X86_KERNEL_START - X86_EBDA));
		end(&a);
	}
	free(image);
}

/* ---- what is refused ---- */

static void assert_refused(const void *image, size_t size, const char *word)
{
	struct attempt a;

	begin(&a, image, size, 64 * MIB);
	cr_assert_lt(open_boot(&a, NULL, NULL, false), 0);
	SAYS(&a, word, a.kernel_path);
	end(&a);
}

Test(boot, files_that_are_no_kernel_are_refused)
{
	static uint8_t other[4096];
	struct attempt a;

	assert_refused("#!/bin/sh\n", 10, "neither a bzImage nor an ELF");
	assert_refused("", 0, "empty");
	assert_refused("\x7f"
		       "ELF",
		       4, "no ELF header");
	memcpy(other, "\x1f\x8b\x08", 3);
	assert_refused(other, sizeof(other), "gzip");
	memcpy(other, "070701", 6);
	assert_refused(other, sizeof(other), "initrd");
	memcpy(other, "MZ", 2);
	memcpy(other + 0x38, "ARM\x64", 4);
	assert_refused(other, sizeof(other), "arm64");

	begin(&a, "x", 1, 64 * MIB);
	strcpy(a.kernel_path, "/nonexistent");
	cr_assert_eq(open_boot(&a, NULL, NULL, false), -ENOENT);
	SAYS(&a, "/nonexistent", "kernel");
	strcpy(a.kernel_path, "/");
	cr_assert_lt(open_boot(&a, NULL, NULL, false), 0);
	SAYS(&a, "not a regular file");
	end(&a);
}

Test(boot, bad_bzimage_headers_are_refused)
{
	size_t size;
	uint8_t *image = plain_bzimage(&size);
	struct setup_header *h = image_header(image);
	const struct setup_header good = *h;

	assert_refused(image, size - 16, "truncated");
	assert_refused(image, 0x230, "truncated");
	assert_refused(image, 0x206, "truncated");
	h->version = 0x205;
	assert_refused(image, size, "too old");
	h->version = 0x20b;
	assert_refused(image, size, "32-bit kernel");
	*h = good;
	h->xloadflags = 0;
	assert_refused(image, size, "32-bit kernel");
	*h = good;
	h->boot_flag = 0;
	assert_refused(image, size, "damaged");
	*h = good;
	h->loadflags = 0;
	assert_refused(image, size, "zImage");
	*h = good;
	h->payload_length = UINT32_MAX;
	assert_refused(image, size, "payload");
	*h = good;
	h->payload_offset = UINT32_MAX;
	assert_refused(image, size, "payload");
	*h = good;
	h->syssize = UINT32_MAX;
	assert_refused(image, size, "truncated");
	*h = good;
	h->syssize = 0;
	assert_refused(image, size, "truncated");
	*h = good;
	h->pref_address = UINT64_MAX - 4095;
	assert_refused(image, size, "asks to be loaded");
	h->pref_address = 0;
	assert_refused(image, size, "asks to be loaded");
	*h = good;
	h->init_size = 0x7fffffff;
	assert_refused(image, size, "2064 MiB");
	free(image);
}

Test(boot, every_byte_of_the_header_may_be_anything)
{
	size_t size;
	uint8_t *image = plain_bzimage(&size);

	for (size_t at = 0x1f1; at < 0x270; at++) {
		static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
		uint8_t good = image[at];

		for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
			struct attempt a;

			image[at] = values[v];
			begin(&a, image, size, 64 * MIB);
			if (open_boot(&a, NULL, NULL, false) == 0)
				assert_ok(&a, load(&a));
			end(&a);
		}
		image[at] = good;
	}
	free(image);
}

/* ---- ELF ---- */

Test(boot, elf_with_a_pvh_note_is_entered_there)
{
	static uint8_t elf[IMAGE_SIZE];
	struct {
		uint32_t magic, version, flags, modules;
		uint64_t modlist, cmdline, rsdp, memmap;
		uint32_t entries, reserved;
	} info;
	uint64_t module[4];
	char path[32], cmdline[8];
	const char *paths[] = {path, NULL};
	int fd = image_file("initrd", 6, path);
	struct attempt a;

	image_elf(elf, true);
	begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, open_boot(&a, "a b c", paths, false));
	assert_ok(&a, load(&a));
	assert_segments(&a);
	cr_assert_eq(a.entry.mode, BOOT_PVH);
	cr_assert_eq(a.entry.rip, IMAGE_PVH_ENTRY);
	peek(&a, a.entry.rbx, &info, sizeof(info));
	cr_assert_eq(info.magic, 0x336ec578u);
	cr_assert_eq(info.version, 1u);
	cr_assert_eq(info.rsdp, RSDP);
	cr_assert_eq(info.modules, 1u);
	cr_assert_geq(info.entries, 5u);
	peek(&a, info.cmdline, cmdline, 6);
	cr_assert_str_eq(cmdline, "a b c");
	peek(&a, info.modlist, module, sizeof(module));
	cr_assert_eq(module[1], 6u);
	peek(&a, module[0], cmdline, 6);
	cr_assert_arr_eq(cmdline, "initrd", 6);
	end(&a);
	close(fd);
}

Test(boot, elf_without_a_note_is_entered_in_long_mode)
{
	static uint8_t elf[IMAGE_SIZE];
	uint64_t virt = 0xffffffff80000000 + IMAGE_ENTRY;
	struct boot_params params;
	struct attempt a;

	image_elf(elf, false);
	begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, open_boot(&a, "quiet", NULL, false));
	assert_ok(&a, load(&a));
	assert_segments(&a);
	cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
	cr_assert_eq(a.entry.rip, IMAGE_ENTRY);
	zero_page(&a, &params);
	cr_assert_eq(params.hdr.boot_flag, 0xaa55u);
	cr_assert_eq(params.hdr.header, 0x53726448u);
	end(&a);

	/* Some link their entry as a virtual address. */
	memcpy(elf + 24, &virt, sizeof(virt));
	begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, open_boot(&a, "quiet", NULL, false));
	assert_ok(&a, load(&a));
	cr_assert_eq(a.entry.rip, IMAGE_ENTRY);
	end(&a);
}

/* As small bare-metal guests are built: 32-bit, one segment. */
Test(boot, elf32_with_a_pvh_note_is_entered_there)
{
	struct {
		Elf32_Ehdr e;
		Elf32_Phdr p[2];
		Elf32_Nhdr note;
		char name[4];
		uint32_t entry;
	} image = {
		.e = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
		      .e_type = ET_EXEC,
		      .e_machine = EM_386,
		      .e_phoff = sizeof(Elf32_Ehdr),
		      .e_phentsize = sizeof(Elf32_Phdr),
		      .e_phnum = 2},
		.p = {{.p_type = PT_LOAD,
		       .p_paddr = X86_KERNEL_START,
		       .p_filesz = sizeof(image),
		       .p_memsz = 0x3000},
		      {.p_type = PT_NOTE,
		       .p_offset = offsetof(__typeof__(image), note),
		       .p_filesz = 20}},
		.note = {.n_namesz = 4, .n_descsz = 4, .n_type = 18},
		.name = "Xen",
		.entry = X86_KERNEL_START + 0x10,
	};
	uint8_t got[sizeof(image)];
	struct attempt a;

	begin(&a, &image, sizeof(image), 16 * MIB);
	assert_ok(&a, open_boot(&a, NULL, NULL, false));
	assert_ok(&a, load(&a));
	cr_assert_eq(a.entry.mode, BOOT_PVH);
	cr_assert_eq(a.entry.rip, X86_KERNEL_START + 0x10);
	cr_assert_eq(a.entry.rbx, X86_BOOT_PARAMS);
	peek(&a, X86_KERNEL_START, got, sizeof(got));
	cr_assert_arr_eq(got, &image, sizeof(got));
	end(&a);

	image.note.n_type = 17;
	assert_refused(&image, sizeof(image), "without a PVH entry note");
}

static void assert_elf_refused(size_t at, uint64_t value, size_t len, const char *word)
{
	static uint8_t elf[IMAGE_SIZE];

	image_elf(elf, false);
	memcpy(elf + at, &value, len);
	assert_refused(elf, sizeof(elf), word);
}

Test(boot, bad_elf_images_are_refused)
{
	enum { PHDR = 64, OFFSET = 8, PADDR = 24, FILESZ = 32, MEMSZ = 40, SECOND = 56 };

	assert_elf_refused(5, 2, 1, "big-endian");
	assert_elf_refused(16, 1, 2, "not an executable");
	assert_elf_refused(18, 183, 2, "another kind of processor");
	assert_elf_refused(24, 0x1234, 8, "entry");
	assert_elf_refused(32, UINT64_MAX, 8, "program headers");
	assert_elf_refused(54, 32, 2, "program headers");
	assert_elf_refused(56, 0xffff, 2, "program headers");
	assert_elf_refused(56, 0, 2, "nothing to load");
	assert_elf_refused(PHDR + OFFSET, UINT64_MAX, 8, "truncated");
	assert_elf_refused(PHDR + FILESZ, UINT64_MAX, 8, "truncated");
	assert_elf_refused(PHDR + MEMSZ, 1, 8, "larger in the file");
	assert_elf_refused(PHDR + MEMSZ, UINT64_MAX, 8, "wraps");
	assert_elf_refused(PHDR + PADDR, UINT64_MAX, 8, "wraps");
	assert_elf_refused(PHDR + PADDR, 0, 8, "below 1 MiB");
	assert_elf_refused(PHDR + PADDR, 8 * GIB, 8, "below 4 GiB");
	assert_elf_refused(PHDR + SECOND + PADDR, 4 * GIB, 8, "needs memory");
	assert_elf_refused(PHDR + MEMSZ, 1 * GIB, 8, "1040 MiB");
}

Test(boot, notes_may_be_anything)
{
	static uint8_t elf[IMAGE_SIZE];
	const struct {
		uint32_t namesz, descsz, type;
	} notes[] = {
		{UINT32_MAX, 8, 18}, {4, UINT32_MAX, 18},         {0, 0, 0}, {4, 3, 18}, {4, 8, 17},
		{5, 8, 18},          {UINT32_MAX, UINT32_MAX, 18}};
	struct attempt a;

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		image_elf(elf, true);
		memcpy(elf + 0x800, &notes[i], sizeof(notes[i]));
		begin(&a, elf, sizeof(elf), 64 * MIB);
		assert_ok(&a, open_boot(&a, NULL, NULL, false));
		assert_ok(&a, load(&a));
		cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
		end(&a);
	}
}

Test(boot, kernel_that_shrinks_is_an_error)
{
	static uint8_t elf[IMAGE_SIZE];
	struct attempt a;

	image_elf(elf, false);
	begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, open_boot(&a, NULL, NULL, false));
	cr_assert_eq(ftruncate(a.kernel_fd, 0x4000), 0);
	cr_assert_eq(load(&a), -EIO);
	SAYS(&a, "shorter");
	end(&a);
}
