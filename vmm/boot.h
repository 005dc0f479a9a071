/* SPDX-License-Identifier: MIT */
/*
 * Loading a Linux kernel: bzImage (Documentation/arch/x86/boot.rst, 64-bit protocol) and ELF
 * (the PVH entry where the image has that note, else the 64-bit entry). No firmware.
 *
 * boot_open reads the headers and checks everything that they say; boot_load writes the kernel into
 * guest memory, at start and again at each reboot. Nothing but the headers is kept in between: the
 * files stay open and are read again.
 *
 * The payload of a bzImage is unpacked on the host where a library for its compression was found
 * at build time (gzip, xz, LZ4, zstd): that is faster than the guest's own decompressor. The kernel
 * then runs at its preferred address: its text is where it was linked, while its memory regions and
 * modules are still randomised (unless the command line says nokaslr). Whatever looks odd about a
 * payload is left to the guest's own decompressor. See boot_config.guest_unpacks.
 *
 * Kernel and initrd are untrusted input. The files must be regular ones.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "core/log.h"
#include "core/memory.h"

struct boot;

struct boot_config {
	const char *kernel;         /* path */
	const char *const *initrds; /* NULL-terminated paths, or NULL; concatenated, 4-aligned */
	const char *cmdline;        /* NULL: empty */
	bool guest_unpacks;         /* leave a bzImage's payload to the guest: full KASLR, slower */
	const struct guest_memory *memory; /* for "does it fit" */
	const struct log *log;             /* outlives the boot; may be NULL */
};

enum boot_mode {
	BOOT_LONG_MODE, /* 64-bit, paging on, rsi = zero page */
	BOOT_PVH,       /* 32-bit flat protected mode, paging off, ebx = hvm_start_info */
};

/*
 * The descriptor table at X86_BOOT_GDT. Code is 64-bit in BOOT_LONG_MODE and 32-bit in BOOT_PVH;
 * both segments are flat (base 0, limit 4 GiB). The TSS has base 0 and limit 0x67, as PVH asks.
 */
#define BOOT_CS       0x10
#define BOOT_DS       0x18
#define BOOT_TSS      0x20
#define BOOT_GDT_SIZE 0x28 /* bytes; the limit is one less */

/* The state in which the first vCPU starts; registers not named here are 0. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t rsi, rbx, rsp;
	uint64_t cr3; /* BOOT_LONG_MODE: the first 4 GiB, identity-mapped with 2 MiB pages */
};

/*
 * Open and check kernel and initrds. Errors with a sentence: missing, no kernel, truncated, command
 * line longer than the kernel takes (both lengths named), an initrd that does not fit (sizes
 * named).
 */
int boot_open(struct boot **boot, const struct boot_config *config,
	      struct vmm_error *err) MUST_CHECK;
/* NULL is allowed. */
void boot_close(struct boot *boot);

/*
 * Write kernel, initrd, command line, e820 map, zero page or start info, GDT and page tables into
 * memory. memory: with the regions that boot_open saw. rsdp: where the ACPI tables are (0: none).
 * Fresh RNG seed at each call. vCPUs stopped. Errors: a file that cannot be read or has changed.
 */
int boot_load(struct boot *boot, struct guest_memory *memory, gpa_t rsdp, struct boot_entry *entry,
	      struct vmm_error *err) MUST_CHECK;

#endif
