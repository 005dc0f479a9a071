/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/boot_internal.h"
#include "vmm/layout_x86.h"

/* Xen's public/elfnote.h: the 32-bit physical address at which a PVH guest is entered. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTES_MAX                (64 * KIB)

/* The fields that both classes have, widened. */
struct elf_layout {
	uint64_t entry, phoff;
	unsigned phnum, phentsize;
};

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EINVAL;
}

static int read_header(struct boot_elf *elf, const uint8_t *head, size_t size,
		       struct elf_layout *layout, const char **why)
{
	unsigned machine, type;

	if (size < sizeof(Elf32_Ehdr) || memcmp(head, ELFMAG, SELFMAG) != 0)
		return refuse(why, "it has no ELF header");
	if (head[EI_DATA] != ELFDATA2LSB)
		return refuse(why, "it is for a big-endian machine");
	elf->is64 = head[EI_CLASS] == ELFCLASS64;
	if (elf->is64) {
		Elf64_Ehdr e;

		if (size < sizeof(e))
			return refuse(why, "its ELF header is cut off");
		memcpy(&e, head, sizeof(e));
		machine = e.e_machine;
		type = e.e_type;
		*layout = (struct elf_layout){e.e_entry, e.e_phoff, e.e_phnum, e.e_phentsize};
	} else {
		Elf32_Ehdr e;

		memcpy(&e, head, sizeof(e));
		machine = e.e_machine;
		type = e.e_type;
		*layout = (struct elf_layout){e.e_entry, e.e_phoff, e.e_phnum, e.e_phentsize};
	}
	if (machine != EM_X86_64 && machine != EM_386)
		return refuse(why, "it is for another kind of processor");
	if (type != ET_EXEC && type != ET_DYN)
		return refuse(why, "it is not an executable");
	return 0;
}

static Elf64_Phdr read_phdr(bool is64, const uint8_t *from)
{
	Elf64_Phdr wide;
	Elf32_Phdr p;

	if (is64) {
		memcpy(&wide, from, sizeof(wide));
		return wide;
	}
	memcpy(&p, from, sizeof(p));
	return (Elf64_Phdr){
		.p_type = p.p_type,
		.p_offset = p.p_offset,
		.p_vaddr = p.p_vaddr,
		.p_paddr = p.p_paddr,
		.p_filesz = p.p_filesz,
		.p_memsz = p.p_memsz,
	};
}

/* Keep the segments in the order of their offsets: an unpacked image arrives in that order. */
static void insert_segment(struct boot_elf *elf, const Elf64_Phdr *p)
{
	unsigned i = elf->count++;

	for (; i > 0 && elf->segments[i - 1].offset > p->p_offset; i--)
		elf->segments[i] = elf->segments[i - 1];
	elf->segments[i] = (struct boot_segment){.offset = p->p_offset,
						 .filesz = p->p_filesz,
						 .paddr = p->p_paddr,
						 .memsz = p->p_memsz,
						 .vaddr = p->p_vaddr};
	elf->end = MAX(elf->end, p->p_paddr + p->p_memsz);
}

static int add_load(struct boot_elf *elf, const Elf64_Phdr *p, uint64_t image_size,
		    const char **why)
{
	uint64_t end;

	if (p->p_memsz == 0)
		return 0;
	if (p->p_offset > image_size || p->p_filesz > image_size - p->p_offset)
		return refuse(why, "it is truncated: a segment lies beyond its end");
	if (p->p_filesz > p->p_memsz)
		return refuse(why, "a segment is larger in the file than in memory");
	if (__builtin_add_overflow(p->p_paddr, p->p_memsz, &end))
		return refuse(why, "a segment's address wraps");
	/* Below are the boot parameters and the ACPI tables. */
	if (p->p_paddr < X86_KERNEL_START)
		return refuse(why, "a segment's physical address is below 1 MiB");
	if (elf->count == BOOT_MAX_SEGMENTS)
		return refuse(why, "it has too many segments");
	insert_segment(elf, p);
	return 0;
}

/* True if addr lies in a segment; *physical: where that is. Prefers the reading as physical. */
static bool find_entry(const struct boot_elf *elf, uint64_t addr, uint64_t *physical)
{
	*physical = addr;
	for (unsigned i = 0; i < elf->count; i++)
		if (addr - elf->segments[i].paddr < elf->segments[i].memsz)
			return true;
	for (unsigned i = 0; i < elf->count; i++) {
		const struct boot_segment *s = &elf->segments[i];

		if (addr - s->vaddr < s->memsz) {
			*physical = s->paddr + (addr - s->vaddr);
			return true;
		}
	}
	return false;
}

int boot_elf_parse(struct boot_elf *elf, const void *head, size_t head_size, uint64_t image_size,
		   const char **why)
{
	struct elf_layout layout;
	size_t want;
	int ret;

	memset(elf, 0, sizeof(*elf));
	ret = read_header(elf, head, head_size, &layout, why);
	if (ret < 0)
		return ret;
	want = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	if (layout.phentsize != want)
		return refuse(why, "its program headers have an unknown size");
	if (layout.phoff > head_size || layout.phnum * want > head_size - layout.phoff)
		return refuse(why, "its program headers do not follow the ELF header");

	for (unsigned i = 0; i < layout.phnum; i++) {
		Elf64_Phdr p =
			read_phdr(elf->is64, (const uint8_t *)head + layout.phoff + i * want);

		if (p.p_type == PT_LOAD) {
			ret = add_load(elf, &p, image_size, why);
			if (ret < 0)
				return ret;
		} else if (p.p_type == PT_NOTE && elf->note_count < BOOT_MAX_NOTES) {
			elf->notes[elf->note_count].offset = p.p_offset;
			elf->notes[elf->note_count++].size = p.p_filesz;
		}
	}
	if (elf->count == 0)
		return refuse(why, "it has nothing to load");
	/* A PVH image is entered elsewhere: the caller knows whether it needs this entry. */
	if (!find_entry(elf, layout.entry, &elf->entry))
		elf->entry = 0;
	return 0;
}

/*
 * Notes: name size, descriptor size, type, then name and descriptor, each padded to 4 bytes (System
 * V ABI; x86 kernels use 4 in ELF64 too).
 */
static void scan_notes(struct boot_elf *elf, const uint8_t *notes, size_t size)
{
	size_t pos = 0;

	while (size - pos >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = pos + sizeof(n);
		uint64_t desc, next;

		memcpy(&n, notes + pos, sizeof(n));
		desc = name + align_up(n.n_namesz, 4);
		next = desc + align_up(n.n_descsz, 4);
		if (desc > size || n.n_descsz > size - desc)
			return;
		/* Linux has a 32-bit or a 64-bit descriptor; the address has 32 bits in both. */
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 && n.n_descsz >= 4 &&
		    memcmp(notes + name, "Xen", 4) == 0) {
			memcpy(&elf->pvh_entry, notes + desc, 4);
			elf->has_pvh = true;
			return;
		}
		if (next > size)
			return;
		pos = (size_t)next;
	}
}

int boot_elf_find_pvh(struct boot_elf *elf, const struct boot_file *file)
{
	uint8_t *notes = malloc(NOTES_MAX);
	int ret = 0;

	if (!notes)
		return -ENOMEM;
	for (unsigned i = 0; i < elf->note_count && !elf->has_pvh && ret == 0; i++) {
		size_t size = (size_t)MIN(elf->notes[i].size, NOTES_MAX);

		ret = boot_file_read(file, elf->notes[i].offset, notes, size);
		if (ret == 0)
			scan_notes(elf, notes, size);
	}
	free(notes);
	return ret;
}

int boot_elf_load(const struct boot_elf *elf, const struct boot_file *file,
		  struct guest_memory *memory, struct vmm_error *err)
{
	for (unsigned i = 0; i < elf->count; i++) {
		const struct boot_segment *s = &elf->segments[i];
		int ret;

		ret = boot_file_to_guest(file, s->offset, memory, gpa(s->paddr), s->filesz, err);
		if (ret < 0)
			return ret;
		ret = guest_fill(memory, gpa(s->paddr + s->filesz), 0, s->memsz - s->filesz);
		if (ret < 0)
			return error_set(err, ENOMEM, "'%s' needs more memory than this VM has",
					 file->path);
	}
	return 0;
}
