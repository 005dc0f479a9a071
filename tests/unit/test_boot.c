/* SPDX-License-Identifier: MIT */
/* The kernel loader: what it refuses and how it says so, what the guest is told. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot_attempt.h"

Test(boot, zero_page_tells_everything)
{
	struct boot_params params;
	struct attempt a;
	char cmdline[32];
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);

	attempt_begin(&a, image, size, 64 * MIB);
	assert_ok(&a, attempt_open(&a, "console=ttyS0 quiet", NULL, false));
	assert_ok(&a, attempt_load(&a));
	cr_assert_eq(a.entry.rsi, X86_BOOT_PARAMS);
	cr_assert_eq(a.entry.rsp, X86_BOOT_STACK);
	cr_assert_eq(a.entry.cr3, X86_BOOT_PGTABLE);
	attempt_zero_page(&a, &params);
	cr_assert_eq(params.hdr.header, 0x53726448u);
	cr_assert_eq(params.hdr.version, 0x20fu);
	cr_assert_eq(params.hdr.type_of_loader, 0xffu);
	cr_assert_eq(params.hdr.loadflags & (LOADED_HIGH | KASLR_FLAG), LOADED_HIGH | KASLR_FLAG);
	cr_assert_eq(params.sentinel, 0u);
	cr_assert_eq(params.acpi_rsdp_addr, ATTEMPT_RSDP);
	cr_assert_eq(params.hdr.ramdisk_size, 0u);
	attempt_peek(&a, params.hdr.cmd_line_ptr, cmdline, 20);
	cr_assert_str_eq(cmdline, "console=ttyS0 quiet");
	attempt_end(&a);

	attempt_begin(&a, image, size, 64 * MIB);
	assert_ok(&a, attempt_open(&a, "quiet nokaslr", NULL, false));
	assert_ok(&a, attempt_load(&a));
	attempt_zero_page(&a, &params);
	cr_assert_eq(params.hdr.loadflags & KASLR_FLAG, 0u);
	attempt_end(&a);
	free(image);
}

Test(boot, each_load_brings_a_fresh_seed)
{
	uint8_t seed[2][16 + 32];
	struct boot_params params;
	struct attempt a;
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);

	attempt_begin(&a, image, size, 64 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, NULL, false));
	for (int i = 0; i < 2; i++) {
		struct setup_data head;

		assert_ok(&a, attempt_load(&a));
		attempt_zero_page(&a, &params);
		attempt_peek(&a, params.hdr.setup_data, &head, sizeof(head));
		cr_assert_eq(head.type, SETUP_RNG_SEED);
		cr_assert_eq(head.next, 0u);
		cr_assert_eq(head.len, 32u);
		attempt_peek(&a, params.hdr.setup_data, seed[i], sizeof(seed[i]));
	}
	cr_assert_arr_neq(seed[0] + 16, seed[1] + 16, 32);
	attempt_end(&a);
	free(image);
}

Test(boot, page_tables_and_descriptors_are_as_the_protocol_asks)
{
	uint64_t gdt[BOOT_GDT_SIZE / 8], pml4, pdpt[4], pd[512];
	struct attempt a;
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);

	attempt_begin(&a, image, size, 64 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, NULL, false));
	assert_ok(&a, attempt_load(&a));
	attempt_peek(&a, X86_BOOT_GDT, gdt, sizeof(gdt));
	cr_assert_eq(gdt[BOOT_CS / 8], 0x00af9b000000ffff);
	cr_assert_eq(gdt[BOOT_DS / 8], 0x00cf93000000ffff);
	attempt_peek(&a, a.entry.cr3, &pml4, sizeof(pml4));
	attempt_peek(&a, pml4 & ~UINT64_C(0xfff), pdpt, sizeof(pdpt));
	for (uint64_t i = 0; i < 4; i++) {
		attempt_peek(&a, pdpt[i] & ~UINT64_C(0xfff), pd, sizeof(pd));
		for (uint64_t j = 0; j < 512; j++)
			cr_assert_eq(pd[j], (i * GIB + j * 2 * MIB) | 0x83);
	}
	attempt_end(&a);
	free(image);
}

Test(boot, initrds_are_joined_at_multiples_of_four)
{
	const char *paths[3] = {NULL};
	char first[32], second[32], got[13];
	struct boot_params params;
	struct attempt a;
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);
	int fds[2] = {image_file("hello", 5, first), image_file("world", 5, second)};

	paths[0] = first;
	paths[1] = second;
	attempt_begin(&a, image, size, 64 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, paths, false));
	assert_ok(&a, attempt_load(&a));
	attempt_zero_page(&a, &params);
	cr_assert_eq(params.hdr.ramdisk_size, sizeof(got));
	cr_assert_eq(params.hdr.ramdisk_image, 64 * MIB - 4096, "as high as it can be");
	attempt_peek(&a, params.hdr.ramdisk_image, got, sizeof(got));
	cr_assert_arr_eq(got, "hello\0\0\0world", sizeof(got));
	attempt_end(&a);
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
	uint8_t *image = image_plain_bzimage(&size);
	int fd = image_file("initrd", 6, path);

	attempt_begin(&a, image, size, 6 * GIB);
	assert_ok(&a, attempt_open(&a, NULL, paths, false));
	assert_ok(&a, attempt_load(&a));
	attempt_zero_page(&a, &params);
	cr_assert_eq(params.hdr.ramdisk_image, 0x80000000u - 4096);
	attempt_end(&a);

	image_header(image)->xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
	attempt_begin(&a, image, size, 6 * GIB);
	assert_ok(&a, attempt_open(&a, NULL, paths, false));
	assert_ok(&a, attempt_load(&a));
	attempt_zero_page(&a, &params);
	cr_assert_eq(params.hdr.ramdisk_image, X86_LOW_RAM_END - 4096);
	attempt_end(&a);
	close(fd);
	free(image);
}

Test(boot, initrd_that_does_not_fit_is_refused_with_sizes)
{
	char path[32];
	const char *paths[] = {path, NULL};
	struct attempt a;
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);
	int fd = image_file("x", 1, path);

	/* 16 MiB below the kernel, 1 MiB of kernel: 47 MiB are left. */
	attempt_begin(&a, image, size, 64 * MIB);
	cr_assert_eq(ftruncate(fd, 48 << 20), 0);
	cr_assert_eq(attempt_open(&a, NULL, paths, false), -ENOMEM);
	SAYS(&a, "48 MiB", "47 MiB", "64 MiB");
	cr_assert_null(a.boot);
	cr_assert_eq(ftruncate(fd, 47 << 20), 0);
	assert_ok(&a, attempt_open(&a, NULL, paths, false));
	assert_ok(&a, attempt_load(&a));
	/* Shrinks after it was checked. */
	cr_assert_eq(ftruncate(fd, 4096), 0);
	cr_assert_eq(attempt_load(&a), -EIO);
	SAYS(&a, "shorter");
	boot_close(a.boot);
	cr_assert_eq(ftruncate(fd, INT64_C(1) << 40), 0);
	cr_assert_eq(attempt_open(&a, NULL, paths, false), -EFBIG);
	attempt_end(&a);
	close(fd);
	free(image);
}

Test(boot, command_line_has_the_kernels_limit)
{
	char cmdline[IMAGE_CMDLINE_SIZE + 2];
	struct attempt a;
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);

	memset(cmdline, 'x', sizeof(cmdline));
	cmdline[IMAGE_CMDLINE_SIZE + 1] = '\0';
	attempt_begin(&a, image, size, 64 * MIB);
	cr_assert_eq(attempt_open(&a, cmdline, NULL, false), -E2BIG);
	SAYS(&a, "256 bytes", "at most 255");
	cmdline[IMAGE_CMDLINE_SIZE] = '\0';
	assert_ok(&a, attempt_open(&a, cmdline, NULL, false));
	attempt_end(&a);
	free(image);
}

Test(boot, e820_matches_the_memory)
{
	static const uint64_t sizes[] = {64 * MIB, X86_LOW_RAM_END, X86_LOW_RAM_END + 4096,
					 16 * GIB, UINT64_C(1) << 40};
	struct boot_params params;
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t ram = 0, last = 0;
		struct attempt a;

		attempt_begin(&a, image, size, sizes[i]);
		assert_ok(&a, attempt_open(&a, NULL, NULL, false));
		assert_ok(&a, attempt_load(&a));
		attempt_zero_page(&a, &params);
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
		attempt_end(&a);
	}
	free(image);
}

Test(boot, files_that_are_no_kernel_are_refused)
{
	static uint8_t other[4096];
	struct attempt a;

	attempt_refused("#!/bin/sh\n", 10, "neither a bzImage nor an ELF");
	attempt_refused("", 0, "empty");
	attempt_refused("\x7f"
			"ELF",
			4, "no ELF header");
	memcpy(other, "\x1f\x8b\x08", 3);
	attempt_refused(other, sizeof(other), "gzip");
	memcpy(other, "070701", 6);
	attempt_refused(other, sizeof(other), "initrd");
	memcpy(other, "MZ", 2);
	memcpy(other + 0x38, "ARM\x64", 4);
	attempt_refused(other, sizeof(other), "arm64");

	attempt_begin(&a, "x", 1, 64 * MIB);
	snprintf(a.kernel_path, sizeof(a.kernel_path), "/nonexistent");
	cr_assert_eq(attempt_open(&a, NULL, NULL, false), -ENOENT);
	SAYS(&a, "/nonexistent", "kernel");
	snprintf(a.kernel_path, sizeof(a.kernel_path), "/");
	cr_assert_lt(attempt_open(&a, NULL, NULL, false), 0);
	SAYS(&a, "not a regular file");
	attempt_end(&a);
}

Test(boot, bad_bzimage_headers_are_refused)
{
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);
	struct setup_header *h = image_header(image);
	const struct setup_header good = *h;

	attempt_refused(image, size - 16, "truncated");
	attempt_refused(image, 0x230, "truncated");
	attempt_refused(image, 0x206, "truncated");
	h->version = 0x205;
	attempt_refused(image, size, "too old");
	h->version = 0x20b;
	attempt_refused(image, size, "32-bit kernel");
	*h = good;
	h->xloadflags = 0;
	attempt_refused(image, size, "32-bit kernel");
	*h = good;
	h->boot_flag = 0;
	attempt_refused(image, size, "damaged");
	*h = good;
	h->loadflags = 0;
	attempt_refused(image, size, "zImage");
	*h = good;
	h->payload_length = UINT32_MAX;
	attempt_refused(image, size, "payload");
	*h = good;
	h->payload_offset = UINT32_MAX;
	attempt_refused(image, size, "payload");
	*h = good;
	h->syssize = UINT32_MAX;
	attempt_refused(image, size, "truncated");
	*h = good;
	h->syssize = 0;
	attempt_refused(image, size, "truncated");
	*h = good;
	h->pref_address = UINT64_MAX - 4095;
	attempt_refused(image, size, "asks to be loaded");
	h->pref_address = 0;
	attempt_refused(image, size, "asks to be loaded");
	*h = good;
	h->init_size = 0x7fffffff;
	attempt_refused(image, size, "2064 MiB");
	free(image);
}

Test(boot, every_byte_of_the_header_may_be_anything)
{
	size_t size;
	uint8_t *image = image_plain_bzimage(&size);

	for (size_t at = 0x1f1; at < 0x270; at++) {
		static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
		uint8_t good = image[at];

		for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
			struct attempt a;

			image[at] = values[v];
			attempt_begin(&a, image, size, 64 * MIB);
			if (attempt_open(&a, NULL, NULL, false) == 0)
				assert_ok(&a, attempt_load(&a));
			attempt_end(&a);
		}
		image[at] = good;
	}
	free(image);
}
