/* SPDX-License-Identifier: MIT */
/*
 * Kernel loading on x86: which format, where the initrd goes, and putting it all into memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/boot_internal.h"
#include "vmm/layout_x86.h"

/* Linux: COMMAND_LINE_SIZE - 1 on x86. An ELF image does not tell. */
#define ELF_CMDLINE_SIZE 2047u
#define INITRDS_MAX      64u
#define INITRD_ALIGN     4u

struct boot {
	struct boot_file kernel;
	bool is_bzimage;
	struct boot_bzimage bzimage; /* if it is */
	struct boot_elf elf;         /* if not */
	struct boot_file *initrds;
	unsigned initrd_count;
	uint64_t initrd_addr, initrd_size; /* size 0: none */
	char *cmdline;
	bool guest_unpacks;
	const struct log *log;
};

/* The end of the RAM that starts at address 0. */
static uint64_t low_ram_end(const struct guest_memory *memory)
{
	uint64_t end = 0;

	/* Regions may be in any order; there are few. */
	for (unsigned i = 0; i < guest_memory_count(memory); i++) {
		for (unsigned j = 0; j < guest_memory_count(memory); j++) {
			const struct guest_region *r = guest_memory_region(memory, j);

			if (r->base.v == end)
				end += r->size;
		}
	}
	return end;
}

static uint64_t to_mib(uint64_t bytes)
{
	return align_up(bytes, MIB) / MIB;
}

/* What an image that is no kernel may be instead. */
static const char *describe_other(const uint8_t *head, size_t size)
{
	if (size >= 0x3c && memcmp(head + 0x38, "ARM\x64", 4) == 0)
		return "it is an arm64 kernel";
	if (size >= 8 && memcmp(head + 4, "zimg", 4) == 0)
		return "it is an EFI zboot image";
	if (size >= 2 && memcmp(head, "\x1f\x8b", 2) == 0)
		return "it is a gzip file; unpack it first";
	if (size >= 6 && memcmp(head, "070701", 6) == 0)
		return "it is a cpio archive; is it the initrd?";
	if (size >= 512 && memcmp(head + 510, "\x55\xaa", 2) == 0)
		return "it is a boot sector or a disk image";
	return "it is neither a bzImage nor an ELF executable for x86";
}

static int open_elf(struct boot *boot, const uint8_t *head, size_t head_size, struct vmm_error *err)
{
	const char *path = boot->kernel.path;
	const char *why = NULL;
	int ret;

	if (boot_elf_parse(&boot->elf, head, head_size, boot->kernel.size, &why) < 0)
		return error_set(err, ENOEXEC, "cannot boot the kernel '%s': %s", path, why);
	ret = boot_elf_find_pvh(&boot->elf, &boot->kernel);
	if (ret == -ENODATA)
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is truncated: its notes lie beyond its end",
				 path);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot read the kernel '%s'", path);
	if (boot->elf.has_pvh)
		return 0;
	if (!boot->elf.is64)
		return error_set(err, ENOEXEC,
				 "cannot boot the kernel '%s': it is a 32-bit executable without "
				 "a PVH entry note",
				 path);
	if (boot->elf.entry == 0 || boot->elf.entry >= X86_HIGH_RAM_START)
		return error_set(err, ENOEXEC,
				 "cannot boot the kernel '%s': its entry is not in a segment below "
				 "4 GiB",
				 path);
	return 0;
}

static int open_kernel(struct boot *boot, const char *path, struct vmm_error *err)
{
	uint8_t head[BOOT_HEAD_SIZE];
	size_t size;
	int ret;

	ret = boot_file_open(&boot->kernel, "kernel", path, err);
	if (ret < 0)
		return ret;
	size = (size_t)MIN(boot->kernel.size, sizeof(head));
	ret = boot_file_read(&boot->kernel, 0, head, size);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot read the kernel '%s'", path);
	boot->is_bzimage = boot_bzimage_probe(head, size);
	if (boot->is_bzimage)
		return boot_bzimage_parse(&boot->bzimage, head, size, &boot->kernel, err);
	if (size >= 4 && memcmp(head, "\177ELF", 4) == 0)
		return open_elf(boot, head, size, err);
	return error_set(err, ENOEXEC, "'%s' is not a kernel that can be booted: %s", path,
			 describe_other(head, size));
}

static int check_memory(const struct boot *boot, const struct guest_memory *memory,
			struct vmm_error *err)
{
	const struct boot_elf *elf = &boot->elf;
	uint64_t end = boot->is_bzimage ? boot->bzimage.end : elf->end;
	bool fits = low_ram_end(memory) > X86_KERNEL_START;

	if (boot->is_bzimage)
		fits = fits && end <= low_ram_end(memory);
	else
		for (unsigned i = 0; i < elf->count; i++)
			fits = fits && guest_memory_contains(memory, gpa(elf->segments[i].paddr),
							     elf->segments[i].memsz);
	if (fits)
		return 0;
	return error_set(
		err, ENOMEM,
		"the kernel '%s' needs memory up to %llu MiB to start, and the VM has %llu "
		"MiB",
		boot->kernel.path, (unsigned long long)to_mib(end),
		(unsigned long long)(guest_memory_size(memory) / MIB));
}

static int set_cmdline(struct boot *boot, const char *cmdline, struct vmm_error *err)
{
	size_t limit = boot->is_bzimage ? boot->bzimage.header.cmdline_size : ELF_CMDLINE_SIZE;
	size_t len = strlen(cmdline);

	limit = MIN(limit, X86_CMDLINE_MAX - 1);
	if (len > limit)
		return error_set(err, E2BIG,
				 "the kernel command line has %zu bytes, and the kernel '%s' takes "
				 "at most %zu",
				 len, boot->kernel.path, limit);
	boot->cmdline = strdup(cmdline);
	return boot->cmdline ? 0 : error_set(err, ENOMEM, "out of memory");
}

static int open_initrds(struct boot *boot, const char *const *paths, struct vmm_error *err)
{
	unsigned count = 0;

	while (paths && paths[count])
		if (++count > INITRDS_MAX)
			return error_set(err, E2BIG, "more than %u initrds", INITRDS_MAX);
	boot->initrds = calloc(count ? count : 1, sizeof(*boot->initrds));
	if (!boot->initrds)
		return error_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < count; i++) {
		struct boot_file *f = &boot->initrds[boot->initrd_count++];
		int ret = boot_file_open(f, "initrd", paths[i], err);

		if (ret < 0)
			return ret;
		/* A file offset has 63 bits and there are few files: no overflow before this. */
		if (f->size > X86_HIGH_RAM_START)
			return error_set(err, EFBIG,
					 "the initrd '%s' has %llu MiB, and 4 GiB is "
					 "the most that a kernel can take",
					 paths[i], (unsigned long long)to_mib(f->size));
		boot->initrd_size = align_up(boot->initrd_size, INITRD_ALIGN) + f->size;
	}
	return 0;
}

/* The initrd goes as high as the kernel allows, so that it is out of the kernel's way. */
static int place_initrd(struct boot *boot, const struct guest_memory *memory, struct vmm_error *err)
{
	const struct setup_header *h = &boot->bzimage.header;
	uint64_t start = boot->is_bzimage ? boot->bzimage.end : boot->elf.end;
	uint64_t top = MIN(low_ram_end(memory), X86_HIGH_RAM_START);
	uint64_t addr;

	if (boot->initrd_size == 0)
		return 0;
	/* initrd_addr_max is for 32-bit code; this flag lifts it (boot.rst, "xloadflags"). */
	if (boot->is_bzimage && !(h->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G))
		top = MIN(top, (uint64_t)h->initrd_addr_max + 1);
	start = MAX(start, X86_KERNEL_START);
	if (top > start && boot->initrd_size <= top - start) {
		addr = align_down(top - boot->initrd_size, GUEST_PAGE_SIZE);
		if (addr >= start) {
			boot->initrd_addr = addr;
			return 0;
		}
	}
	return error_set(
		err, ENOMEM,
		"the initrd does not fit: it has %llu MiB, and %llu MiB are left above the "
		"kernel in a VM with %llu MiB of memory",
		(unsigned long long)to_mib(boot->initrd_size),
		(unsigned long long)(top > start ? (top - start) / MIB : 0),
		(unsigned long long)(guest_memory_size(memory) / MIB));
}

int boot_open(struct boot **out, const struct boot_config *config, struct vmm_error *err)
{
	struct boot *boot = calloc(1, sizeof(*boot));
	int ret;

	*out = NULL;
	if (!boot)
		return error_set(err, ENOMEM, "out of memory");
	boot->kernel.fd = -1;
	boot->guest_unpacks = config->guest_unpacks;
	boot->log = config->log;
	if (!config->kernel)
		ret = error_set(err, EINVAL, "no kernel was given");
	else
		ret = open_kernel(boot, config->kernel, err);
	if (ret == 0)
		ret = check_memory(boot, config->memory, err);
	if (ret == 0)
		ret = set_cmdline(boot, config->cmdline ? config->cmdline : "", err);
	if (ret == 0)
		ret = open_initrds(boot, config->initrds, err);
	if (ret == 0)
		ret = place_initrd(boot, config->memory, err);
	if (ret < 0) {
		boot_close(boot);
		return ret;
	}
	*out = boot;
	return 0;
}

void boot_close(struct boot *boot)
{
	if (!boot)
		return;
	boot_file_close(&boot->kernel);
	for (unsigned i = 0; i < boot->initrd_count; i++)
		boot_file_close(&boot->initrds[i]);
	free(boot->initrds);
	free(boot->cmdline);
	free(boot);
}

static int load_initrds(const struct boot *boot, struct guest_memory *memory, struct vmm_error *err)
{
	static const uint8_t zero[INITRD_ALIGN];
	uint64_t addr = boot->initrd_addr;

	for (unsigned i = 0; i < boot->initrd_count; i++) {
		const struct boot_file *f = &boot->initrds[i];
		uint64_t next = align_up(addr, INITRD_ALIGN);
		int ret = guest_write(memory, gpa(addr), zero, (size_t)(next - addr));

		if (ret < 0)
			return error_set(err, EFAULT, "the initrd does not fit into memory");
		ret = boot_file_to_guest(f, 0, memory, gpa(next), f->size, err);
		if (ret < 0)
			return ret;
		addr = next + f->size;
	}
	return 0;
}

/* Tell the kernel about the machine, the way its entry expects. */
static int write_info(const struct boot *boot, struct guest_memory *memory,
		      const struct boot_params_info *info, const struct boot_entry *entry)
{
	int ret = guest_write(memory, gpa(X86_CMDLINE), boot->cmdline, strlen(boot->cmdline) + 1);

	if (ret == 0)
		ret = boot_write_gdt(memory, entry->mode);
	if (ret == 0 && entry->mode == BOOT_PVH)
		return boot_write_pvh_info(memory, info);
	if (ret == 0)
		ret = boot_write_page_tables(memory);
	if (ret == 0)
		ret = boot_write_zero_page(memory, info);
	return ret;
}

static void set_entry(struct boot_entry *entry, enum boot_mode mode, uint64_t rip)
{
	*entry = (struct boot_entry){.mode = mode, .rip = rip, .rsp = X86_BOOT_STACK};
	if (mode == BOOT_PVH) {
		entry->rbx = X86_BOOT_PARAMS;
	} else {
		entry->rsi = X86_BOOT_PARAMS;
		entry->cr3 = X86_BOOT_PGTABLE;
	}
}

int boot_load(struct boot *boot, struct guest_memory *memory, gpa_t rsdp, struct boot_entry *entry,
	      struct vmm_error *err)
{
	struct boot_params_info info = {
		.header = boot->is_bzimage ? &boot->bzimage.header : NULL,
		.load_addr = boot->bzimage.load_addr,
		.cmdline = boot->cmdline,
		.initrd_addr = boot->initrd_addr,
		.initrd_size = boot->initrd_size,
		.rsdp = rsdp,
	};
	uint64_t rip = 0;
	int ret;

	if (boot->is_bzimage) {
		ret = boot_bzimage_load(&boot->bzimage, &boot->kernel, boot->guest_unpacks, memory,
					boot->log, &rip, &info.unpacked, err);
		set_entry(entry, BOOT_LONG_MODE, rip);
	} else {
		ret = boot_elf_load(&boot->elf, &boot->kernel, memory, err);
		if (boot->elf.has_pvh)
			set_entry(entry, BOOT_PVH, boot->elf.pvh_entry);
		else
			set_entry(entry, BOOT_LONG_MODE, boot->elf.entry);
	}
	if (ret == 0)
		ret = load_initrds(boot, memory, err);
	if (ret < 0)
		return ret;
	ret = write_info(boot, memory, &info, entry);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot write the boot parameters");
	return 0;
}
