/* SPDX-License-Identifier: MIT */
/*
 * Kernel images made up for tests: an ELF kernel, and a bzImage around any payload. They live in
 * memory files, whose paths the loader opens.
 */
#ifndef SUPPORT_BOOT_IMAGE_H
#define SUPPORT_BOOT_IMAGE_H

#include <asm/bootparam.h>

#include "core/types.h"

/* Where the ELF kernel's two segments are: file offset, address, size. The second has a .bss. */
#define IMAGE_TEXT_OFFSET 0x1000u
#define IMAGE_TEXT_ADDR   UINT64_C(0x1000000)
#define IMAGE_TEXT_SIZE   0x5000u
#define IMAGE_DATA_OFFSET 0x8000u
#define IMAGE_DATA_ADDR   UINT64_C(0x1010000)
#define IMAGE_DATA_SIZE   0x2100u
#define IMAGE_BSS_SIZE    0x3000u
#define IMAGE_SIZE        0x10000u /* of the file; what follows the data belongs to no segment */
#define IMAGE_ENTRY       (IMAGE_TEXT_ADDR + 0x40)
#define IMAGE_PVH_ENTRY   ((uint32_t)IMAGE_TEXT_ADDR + 0x80)

/* Of the bzImage: what its header says the kernel needs. */
#define IMAGE_INIT_SIZE    0x100000u
#define IMAGE_CMDLINE_SIZE 255u

/* The byte at an offset of the ELF kernel's segments. */
static inline uint8_t image_byte(uint64_t offset)
{
	return (uint8_t)(offset * 7 + offset / 251 + 1);
}

/* Fill a buffer of IMAGE_SIZE with the ELF kernel. pvh: with a PVH entry note. */
void image_elf(uint8_t *elf, bool pvh);

/* Allocate a bzImage around a payload; *size: bytes of the image. */
uint8_t *image_bzimage(const void *payload, size_t payload_size, size_t *size);

/* A bzImage whose payload is the ELF kernel, not compressed: valid in every build. */
uint8_t *image_plain_bzimage(size_t *size);
struct setup_header *image_header(uint8_t *bzimage);

/* Compress as Linux does, size trailer included. Allocated; NULL if the build has no such library.
 */
enum image_method { IMAGE_PLAIN, IMAGE_GZIP, IMAGE_XZ, IMAGE_LZ4, IMAGE_ZSTD, IMAGE_METHODS };
uint8_t *image_compress(enum image_method method, const void *data, size_t len, size_t *out_len);

/* A memory file with these bytes; path has room for 32 characters. Returns its descriptor. */
int image_file(const void *data, size_t len, char *path);

#endif
