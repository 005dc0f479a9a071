/* SPDX-License-Identifier: MIT */
/* ELF kernels, as Linux builds them and as hostile ones may look. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot_attempt.h"

Test(boot_elf, elf_with_a_pvh_note_is_entered_there)
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
	attempt_begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, attempt_open(&a, "a b c", paths, false));
	assert_ok(&a, attempt_load(&a));
	attempt_assert_segments(&a);
	cr_assert_eq(a.entry.mode, BOOT_PVH);
	cr_assert_eq(a.entry.rip, IMAGE_PVH_ENTRY);
	attempt_peek(&a, a.entry.rbx, &info, sizeof(info));
	cr_assert_eq(info.magic, 0x336ec578u);
	cr_assert_eq(info.version, 1u);
	cr_assert_eq(info.rsdp, ATTEMPT_RSDP);
	cr_assert_eq(info.modules, 1u);
	cr_assert_geq(info.entries, 5u);
	attempt_peek(&a, info.cmdline, cmdline, 6);
	cr_assert_str_eq(cmdline, "a b c");
	attempt_peek(&a, info.modlist, module, sizeof(module));
	cr_assert_eq(module[1], 6u);
	attempt_peek(&a, module[0], cmdline, 6);
	cr_assert_arr_eq(cmdline, "initrd", 6);
	attempt_end(&a);
	close(fd);
}

Test(boot_elf, elf_without_a_note_is_entered_in_long_mode)
{
	static uint8_t elf[IMAGE_SIZE];
	uint64_t virt = 0xffffffff80000000 + IMAGE_ENTRY;
	struct boot_params params;
	struct attempt a;

	image_elf(elf, false);
	attempt_begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, attempt_open(&a, "quiet", NULL, false));
	assert_ok(&a, attempt_load(&a));
	attempt_assert_segments(&a);
	cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
	cr_assert_eq(a.entry.rip, IMAGE_ENTRY);
	attempt_zero_page(&a, &params);
	cr_assert_eq(params.hdr.boot_flag, 0xaa55u);
	cr_assert_eq(params.hdr.header, 0x53726448u);
	attempt_end(&a);

	/* Some link their entry as a virtual address. */
	memcpy(elf + 24, &virt, sizeof(virt));
	attempt_begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, attempt_open(&a, "quiet", NULL, false));
	assert_ok(&a, attempt_load(&a));
	cr_assert_eq(a.entry.rip, IMAGE_ENTRY);
	attempt_end(&a);
}

/* As small bare-metal guests are built: 32-bit, one segment. */
Test(boot_elf, elf32_with_a_pvh_note_is_entered_there)
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

	attempt_begin(&a, &image, sizeof(image), 16 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, NULL, false));
	assert_ok(&a, attempt_load(&a));
	cr_assert_eq(a.entry.mode, BOOT_PVH);
	cr_assert_eq(a.entry.rip, X86_KERNEL_START + 0x10);
	cr_assert_eq(a.entry.rbx, X86_BOOT_PARAMS);
	attempt_peek(&a, X86_KERNEL_START, got, sizeof(got));
	cr_assert_arr_eq(got, &image, sizeof(got));
	attempt_end(&a);

	image.note.n_type = 17;
	attempt_refused(&image, sizeof(image), "without a PVH entry note");
}

static void assert_elf_refused(size_t at, uint64_t value, size_t len, const char *word)
{
	static uint8_t elf[IMAGE_SIZE];

	image_elf(elf, false);
	memcpy(elf + at, &value, len);
	attempt_refused(elf, sizeof(elf), word);
}

Test(boot_elf, bad_elf_images_are_refused)
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

Test(boot_elf, notes_may_be_anything)
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
		attempt_begin(&a, elf, sizeof(elf), 64 * MIB);
		assert_ok(&a, attempt_open(&a, NULL, NULL, false));
		assert_ok(&a, attempt_load(&a));
		cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
		attempt_end(&a);
	}
}

Test(boot_elf, kernel_that_shrinks_is_an_error)
{
	static uint8_t elf[IMAGE_SIZE];
	struct attempt a;

	image_elf(elf, false);
	attempt_begin(&a, elf, sizeof(elf), 64 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, NULL, false));
	cr_assert_eq(ftruncate(a.kernel_fd, 0x4000), 0);
	cr_assert_eq(attempt_load(&a), -EIO);
	SAYS(&a, "shorter");
	attempt_end(&a);
}
