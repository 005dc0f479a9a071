/* SPDX-License-Identifier: MIT */
/*
 * One attempt to boot an image in memory of some size: for the tests of the kernel loader. What
 * cannot go wrong for the loader's sake is asserted here.
 */
#ifndef SUPPORT_BOOT_ATTEMPT_H
#define SUPPORT_BOOT_ATTEMPT_H

#include <criterion/criterion.h>

#include "boot_image.h"
#include "vmm/boot.h"
#include "vmm/layout_x86.h"

#define ATTEMPT_RSDP X86_ACPI_START

struct attempt {
	struct guest_memory *memory;
	struct boot *boot;
	struct boot_entry entry;
	struct vmm_error err;
	char kernel_path[32];
	int kernel_fd;
};

/* A machine with `ram` bytes, and the image in a file. Ended by attempt_end. */
void attempt_begin(struct attempt *a, const void *image, size_t size, uint64_t ram);
void attempt_end(struct attempt *a);

/* boot_open and boot_load. guest_unpacks, cmdline, initrds: as in struct boot_config. */
int attempt_open(struct attempt *a, const char *cmdline, const char *const *initrds,
		 bool guest_unpacks);
int attempt_load(struct attempt *a);

#define assert_ok(a, ret) cr_assert_eq(ret, 0, "%s", (a)->err.message)

/* The error's sentence has all of these words. */
#define SAYS(a, ...) attempt_says(a, (const char *const[]){__VA_ARGS__, NULL})
void attempt_says(const struct attempt *a, const char *const *words);

/* The image is refused with a sentence that has this word and the file's path. */
void attempt_refused(const void *image, size_t size, const char *word);

/* Read what the guest would. */
void attempt_peek(const struct attempt *a, uint64_t addr, void *to, size_t len);
void attempt_zero_page(const struct attempt *a, struct boot_params *params);

/* The ELF kernel's segments are where they belong, and .bss is clear. */
void attempt_assert_segments(const struct attempt *a);

#endif
