/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the kernel loader share: boot_x86.c puts the parts together, boot_file.c reads
 * files, boot_bzimage.c and boot_elf.c know the formats, boot_unpack.c and boot_codec.c the
 * compressions, boot_params_x86.c what the kernel is told.
 *
 * Every number that comes from an image is checked before it is used: images may be hostile.
 */
#ifndef VMM_BOOT_INTERNAL_H
#define VMM_BOOT_INTERNAL_H

#include <asm/bootparam.h>

#include "vmm/boot.h"

/* The part of an image that is read before anything is known about it. */
#define BOOT_HEAD_SIZE    4096u
#define BOOT_MAX_SEGMENTS 16
#define BOOT_MAX_NOTES    4

/* ---- files ---- */

struct boot_file {
	char *path;
	int fd; /* -1: not open */
	uint64_t size;
};

/* what: "kernel", "initrd". Fails for what is not a regular file, and for an empty one. */
int boot_file_open(struct boot_file *file, const char *what, const char *path,
		   struct vmm_error *err) MUST_CHECK;
void boot_file_close(struct boot_file *file);

/* Read exactly len bytes. Returns 0, -ENODATA if the file is shorter, or another -errno. */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, size_t len) MUST_CHECK;

/* Read into guest memory, without a copy in between. */
int boot_file_to_guest(const struct boot_file *file, uint64_t offset, struct guest_memory *memory,
		       gpa_t addr, uint64_t len, struct vmm_error *err) MUST_CHECK;

/* ---- ELF ---- */

struct boot_segment {
	uint64_t offset, filesz; /* in the image */
	uint64_t paddr, memsz;   /* in memory; memsz >= filesz */
	uint64_t vaddr;
};

struct boot_elf {
	bool is64;
	uint64_t entry; /* physical; 0: in no segment */
	bool has_pvh;
	uint32_t pvh_entry;
	uint64_t end; /* of the highest segment in memory */
	unsigned count;
	struct boot_segment segments[BOOT_MAX_SEGMENTS]; /* in the order of their offsets */
	unsigned note_count;
	struct {
		uint64_t offset, size;
	} notes[BOOT_MAX_NOTES]; /* PT_NOTE */
};

/*
 * Parse the header and program headers of an x86 executable. head: its first BOOT_HEAD_SIZE bytes
 * (fewer if the image is smaller). image_size: bytes in the image. Segments lie within the image,
 * at or above 1 MiB; nothing wraps. Returns 0 or -EINVAL; then *why says what is wrong.
 */
int boot_elf_parse(struct boot_elf *elf, const void *head, size_t head_size, uint64_t image_size,
		   const char **why) MUST_CHECK;

/* Look for the PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY) and set has_pvh. */
int boot_elf_find_pvh(struct boot_elf *elf, const struct boot_file *file) MUST_CHECK;

/* Copy the segments of an ELF file into guest memory. */
int boot_elf_load(const struct boot_elf *elf, const struct boot_file *file,
		  struct guest_memory *memory, struct vmm_error *err) MUST_CHECK;

/* ---- bzImage ---- */

struct boot_bzimage {
	struct setup_header header;
	uint64_t kernel_offset, kernel_size;   /* protected-mode part, in the file */
	uint64_t payload_offset, payload_size; /* in the file; size 0: not known */
	uint64_t load_addr;                    /* physical */
	uint64_t end;                          /* of what the kernel needs while it starts */
};

/* True if the head is that of a bzImage, good or not. */
bool boot_bzimage_probe(const void *head, size_t size);
int boot_bzimage_parse(struct boot_bzimage *image, const void *head, size_t head_size,
		       const struct boot_file *file, struct vmm_error *err) MUST_CHECK;

/*
 * Load the kernel; *rip: its 64-bit entry; *unpacked: whether it is the payload, unpacked on the
 * host, that is entered there (then the guest's decompressor does not run).
 */
int boot_bzimage_load(const struct boot_bzimage *image, const struct boot_file *file,
		      bool guest_unpacks, struct guest_memory *memory, const struct log *log,
		      uint64_t *rip, bool *unpacked, struct vmm_error *err) MUST_CHECK;

/* ---- unpacking ---- */

/*
 * Takes the bytes of an unpacked ELF image in order and puts each where its segment says; padding
 * and what follows the segments goes nowhere. Writes only to [low, high) of guest memory.
 */
struct boot_sink {
	struct guest_memory *memory;
	uint64_t low, high;
	uint64_t size; /* the image must be at most as large */
	uint64_t pos;  /* bytes taken so far */
	bool parsed;   /* the headers were taken, `elf` and `pins` are filled */
	struct boot_elf elf;
	struct guest_pin pins[BOOT_MAX_SEGMENTS];
	const char *why;  /* for a person, when something failed */
	uint8_t *discard; /* where bytes go that nobody needs */
	uint8_t head[BOOT_HEAD_SIZE];
};

int boot_sink_init(struct boot_sink *sink, struct guest_memory *memory, uint64_t low, uint64_t high,
		   uint64_t size) MUST_CHECK;
void boot_sink_destroy(struct boot_sink *sink);

/* Where the next bytes go. *len: how many fit there; 0: the image is longer than it may be. */
uint8_t *boot_sink_space(struct boot_sink *sink, size_t *len);

/* n bytes were written to boot_sink_space. Returns 0 or -errno, then sink->why is set. */
int boot_sink_advance(struct boot_sink *sink, size_t n) MUST_CHECK;

/* Take n bytes by copying them. */
int boot_sink_write(struct boot_sink *sink, const void *data, size_t n) MUST_CHECK;

/* The image is complete: check that every segment is. */
int boot_sink_finish(struct boot_sink *sink) MUST_CHECK;

/*
 * Unpack a kernel's payload into the sink. method: set to the compression's name. Returns 0,
 * -ENOTSUP (a compression that this build does not know), or another -errno; sink->why is set.
 */
int boot_unpack(const struct boot_file *file, uint64_t offset, uint64_t size,
		struct boot_sink *sink, const char **method) MUST_CHECK;

/*
 * One streaming decompressor. code: take from in (*in_len bytes; set to what was used), put to out
 * (likewise). Returns 0, 1 at the stream's end, or -EINVAL for bad data, -ENOMEM.
 */
struct boot_codec {
	const char *name;
	uint8_t magic[6];
	unsigned magic_len;
	void *(*open)(void);
	int (*code)(void *state, const uint8_t *in, size_t *in_len, uint8_t *out, size_t *out_len);
	void (*close)(void *state);
};

/* Those that this build has, NULL-terminated. */
extern const struct boot_codec *const boot_codecs[];

#ifdef CONFIG_LIBLZ4
/* LZ4's legacy format works by whole blocks. in_size: bytes of the format at offset. */
int boot_unlz4(const struct boot_file *file, uint64_t offset, uint64_t in_size,
	       struct boot_sink *sink) MUST_CHECK;
#endif

/* ---- what the kernel is told ---- */

struct boot_params_info {
	const struct setup_header *header; /* of a bzImage; NULL: made up */
	bool unpacked;                     /* see boot_bzimage_load */
	uint64_t load_addr;
	const char *cmdline;
	uint64_t initrd_addr, initrd_size; /* size 0: none */
	gpa_t rsdp;
};

/* Each writes its structures; -errno can only mean that there is no RAM below 1 MiB. */
int boot_write_zero_page(struct guest_memory *memory,
			 const struct boot_params_info *info) MUST_CHECK;
int boot_write_pvh_info(struct guest_memory *memory,
			const struct boot_params_info *info) MUST_CHECK;
int boot_write_page_tables(struct guest_memory *memory) MUST_CHECK;
int boot_write_gdt(struct guest_memory *memory, enum boot_mode mode) MUST_CHECK;

#endif
