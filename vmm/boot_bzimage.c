/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "vmm/boot_internal.h"
#include "vmm/layout_x86.h"

#define SECTOR           512u
#define HEADER_OFFSET    0x1f1u
#define HEADER_LENGTH_AT 0x201u      /* the header ends at 0x202 plus the byte here */
#define HEADER_MAGIC     0x53726448u /* "HdrS" */
#define BOOT_FLAG        0xaa55u
#define ENTRY64_OFFSET   0x200u /* from the protected-mode code (64-bit boot protocol) */

#define VERSION_CMDLINE_SIZE 0x206u
#define VERSION_XLOADFLAGS   0x20cu

/* The first 4 GiB are what the page tables map and what `initrd_addr` and others can express. */
#define ADDRESS_LIMIT UINT64_C(0xffffffff)

bool boot_bzimage_probe(const void *head, size_t size)
{
	uint32_t magic;

	if (size < 0x206)
		return false;
	memcpy(&magic, (const uint8_t *)head + 0x202, sizeof(magic));
	return magic == HEADER_MAGIC;
}

/* The header, as long as this kernel's is and no longer than the one that we know. */
static void copy_header(struct setup_header *header, const uint8_t *head, size_t head_size)
{
	size_t end = 0x202u + head[HEADER_LENGTH_AT];
	size_t len = MIN(end, head_size) - HEADER_OFFSET;

	memset(header, 0, sizeof(*header));
	memcpy(header, head + HEADER_OFFSET, MIN(len, sizeof(*header)));
}

static int check_protocol(const struct setup_header *h, const char *path, struct vmm_error *err)
{
	if (h->boot_flag != BOOT_FLAG)
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is damaged: its boot sector has no signature",
				 path);
	if (h->version < VERSION_CMDLINE_SIZE)
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is too old: it has boot protocol %u.%02u, "
				 "and 2.12 or newer is needed",
				 path, h->version >> 8, h->version & 0xffu);
	if (!(h->loadflags & LOADED_HIGH))
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is a zImage; build a bzImage instead", path);
	if (h->version < VERSION_XLOADFLAGS || !(h->xloadflags & XLF_KERNEL_64))
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is a 32-bit kernel; use a 64-bit one (x86_64)",
				 path);
	return 0;
}

static int check_complete(struct boot_bzimage *image, const struct boot_file *file,
			  struct vmm_error *err)
{
	const struct setup_header *h = &image->header;
	/* 0 means 4, for reasons of history (boot.rst, "setup_sects"). */
	uint64_t setup_sects = h->setup_sects ? h->setup_sects : 4;
	uint64_t payload_end = (uint64_t)h->payload_offset + h->payload_length;

	image->kernel_offset = (setup_sects + 1) * SECTOR;
	image->kernel_size = (uint64_t)h->syssize * 16;
	/* syssize is rounded up to 16 bytes, and some kernels end where their last byte does. */
	if (image->kernel_size <= ENTRY64_OFFSET ||
	    file->size + 15 < image->kernel_offset + image->kernel_size)
		return error_set(
			err, ENOEXEC,
			"the kernel '%s' is truncated: its header tells of %llu bytes, and "
			"the file has %llu",
			file->path, (unsigned long long)(image->kernel_offset + image->kernel_size),
			(unsigned long long)file->size);
	image->kernel_size = MIN(image->kernel_size, file->size - image->kernel_offset);
	if (payload_end > image->kernel_size)
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is damaged: its payload ends beyond the kernel",
				 file->path);
	image->payload_offset = image->kernel_offset + h->payload_offset;
	image->payload_size = h->payload_length;
	return 0;
}

static int check_addresses(struct boot_bzimage *image, const char *path, struct vmm_error *err)
{
	uint64_t size = MAX((uint64_t)image->header.init_size, image->kernel_size);

	image->load_addr = image->header.pref_address;
	if (image->load_addr < X86_KERNEL_START || image->load_addr > ADDRESS_LIMIT ||
	    image->load_addr % GUEST_PAGE_SIZE != 0 || size > ADDRESS_LIMIT - image->load_addr)
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is damaged: it asks to be loaded at %#llx", path,
				 (unsigned long long)image->load_addr);
	image->end = image->load_addr + size;
	return 0;
}

int boot_bzimage_parse(struct boot_bzimage *image, const void *head, size_t head_size,
		       const struct boot_file *file, struct vmm_error *err)
{
	int ret;

	memset(image, 0, sizeof(*image));
	if (head_size < HEADER_OFFSET + sizeof(image->header))
		return error_set(err, ENOEXEC,
				 "the kernel '%s' is truncated: it has only %zu bytes", file->path,
				 head_size);
	copy_header(&image->header, head, head_size);
	ret = check_protocol(&image->header, file->path, err);
	if (ret == 0)
		ret = check_complete(image, file, err);
	if (ret == 0)
		ret = check_addresses(image, file->path, err);
	return ret;
}

/*
 * Unpack the payload to where its segments belong. What is written lies in the range that the
 * guest's own decompressor would use, so after a failure that one can still run.
 */
static int unpack(const struct boot_bzimage *image, const struct boot_file *file,
		  struct guest_memory *memory, const struct log *log, uint64_t *rip)
{
	uint64_t start = clock_now(clock_system());
	const char *method = "unknown";
	struct boot_sink *sink;
	int ret;

	sink = malloc(sizeof(*sink));
	if (!sink)
		return -ENOMEM;
	/* init_size covers the unpacked image (boot.rst); relocations may follow it. */
	ret = boot_sink_init(sink, memory, image->load_addr, image->end,
			     2 * (image->end - image->load_addr));
	if (ret == 0)
		ret = boot_unpack(file, image->payload_offset, image->payload_size, sink, &method);
	if (ret == 0)
		ret = boot_sink_finish(sink);
	if (ret == 0)
		*rip = sink->elf.entry;
	if (ret == 0)
		log_info(log, "boot", "kernel unpacked on the host: %s, %llu bytes in %llu us",
			 method, (unsigned long long)sink->pos,
			 (unsigned long long)((clock_now(clock_system()) - start) / 1000));
	else
		log_info(log, "boot", "the guest unpacks its kernel itself (%s: %s)", method,
			 sink->why ? sink->why : "not possible on the host");
	boot_sink_destroy(sink);
	free(sink);
	return ret;
}

int boot_bzimage_load(const struct boot_bzimage *image, const struct boot_file *file,
		      bool guest_unpacks, struct guest_memory *memory, const struct log *log,
		      uint64_t *rip, bool *unpacked, struct vmm_error *err)
{
	*unpacked = !guest_unpacks && image->payload_size > 0 &&
		    unpack(image, file, memory, log, rip) == 0;
	if (*unpacked)
		return 0;
	*rip = image->load_addr + ENTRY64_OFFSET;
	return boot_file_to_guest(file, image->kernel_offset, memory, gpa(image->load_addr),
				  image->kernel_size, err);
}
