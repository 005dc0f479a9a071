/* SPDX-License-Identifier: MIT */
#include "boot_image.h"

#include <assert.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef CONFIG_ZLIB
#include <zlib.h>
#endif
#ifdef CONFIG_LIBLZMA
#include <lzma.h>
#endif
#ifdef CONFIG_LIBZSTD
#include <zstd.h>
#endif
#ifdef CONFIG_LIBLZ4
#include <lz4.h>
#endif

#define NOTE_OFFSET    0x800u
#define XEN_PHYS32     18u
#define SETUP_SECTS    4u
#define SECTOR         512u
#define PAYLOAD_OFFSET 0x400u /* from the protected-mode code */
#define LZ4_BLOCK      (8u << 20)

struct pvh_note {
	Elf64_Nhdr head;
	char name[4];
	uint64_t entry;
};

void image_elf(uint8_t *elf, bool pvh)
{
	Elf64_Ehdr e = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = IMAGE_ENTRY,
			.e_phoff = sizeof(e),
			.e_ehsize = sizeof(e),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 3};
	const Elf64_Phdr p[3] = {
		{.p_type = PT_LOAD,
		 .p_offset = IMAGE_TEXT_OFFSET,
		 .p_vaddr = 0xffffffff80000000 + IMAGE_TEXT_ADDR,
		 .p_paddr = IMAGE_TEXT_ADDR,
		 .p_filesz = IMAGE_TEXT_SIZE,
		 .p_memsz = IMAGE_TEXT_SIZE},
		{.p_type = PT_LOAD,
		 .p_offset = IMAGE_DATA_OFFSET,
		 .p_vaddr = 0xffffffff80000000 + IMAGE_DATA_ADDR,
		 .p_paddr = IMAGE_DATA_ADDR,
		 .p_filesz = IMAGE_DATA_SIZE,
		 .p_memsz = IMAGE_DATA_SIZE + IMAGE_BSS_SIZE},
		{.p_type = PT_NOTE, .p_offset = NOTE_OFFSET, .p_filesz = sizeof(struct pvh_note)},
	};
	const struct pvh_note note = {.head = {.n_namesz = 4, .n_descsz = 8, .n_type = XEN_PHYS32},
				      .name = "Xen",
				      .entry = IMAGE_PVH_ENTRY};

	for (uint64_t i = 0; i < IMAGE_SIZE; i++)
		elf[i] = image_byte(i);
	memset(elf, 0, IMAGE_TEXT_OFFSET);
	memcpy(elf, &e, sizeof(e));
	memcpy(elf + sizeof(e), p, sizeof(p));
	if (pvh)
		memcpy(elf + NOTE_OFFSET, &note, sizeof(note));
}

struct setup_header *image_header(uint8_t *bzimage)
{
	return (struct setup_header *)(bzimage + 0x1f1);
}

uint8_t *image_bzimage(const void *payload, size_t payload_size, size_t *size)
{
	size_t code = (PAYLOAD_OFFSET + payload_size + 15) & ~(size_t)15;
	uint8_t *image;

	*size = (SETUP_SECTS + 1) * SECTOR + code;
	image = calloc(1, *size);
	assert(image);
	*image_header(image) = (struct setup_header){
		.setup_sects = SETUP_SECTS,
		.syssize = (uint32_t)(code / 16),
		.boot_flag = 0xaa55,
		.jump = 0x6aeb, /* to 0x26c: the header ends there */
		.header = 0x53726448,
		.version = 0x20f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = IMAGE_CMDLINE_SIZE,
		.payload_offset = PAYLOAD_OFFSET,
		.payload_length = (uint32_t)payload_size,
		.pref_address = IMAGE_TEXT_ADDR,
		.init_size = IMAGE_INIT_SIZE,
	};
	memset(image + (SETUP_SECTS + 1) * SECTOR, 0xcc, PAYLOAD_OFFSET);
	memcpy(image + (SETUP_SECTS + 1) * SECTOR + PAYLOAD_OFFSET, payload, payload_size);
	return image;
}

uint8_t *image_plain_bzimage(size_t *size)
{
	uint8_t *elf = malloc(IMAGE_SIZE);
	uint8_t *image;

	image_elf(elf, true);
	image = image_bzimage(elf, IMAGE_SIZE, size);
	free(elf);
	return image;
}

static size_t add_size(uint8_t *out, size_t len, size_t unpacked)
{
	uint32_t size = (uint32_t)unpacked;

	memcpy(out + len, &size, sizeof(size));
	return len + sizeof(size);
}

#ifdef CONFIG_ZLIB
static size_t compress_gzip(const void *data, size_t len, uint8_t *out, size_t room)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)data,
		      .avail_in = (uInt)len,
		      .next_out = out,
		      .avail_out = (uInt)room};
	int ret = deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);

	assert(ret == Z_OK);
	ret = deflate(&z, Z_FINISH);
	assert(ret == Z_STREAM_END);
	(void)ret;
	deflateEnd(&z);
	return z.total_out; /* gzip ends with the size anyway */
}
#endif

#ifdef CONFIG_LIBLZMA
static size_t compress_xz(const void *data, size_t len, uint8_t *out, size_t room)
{
	size_t pos = 0;
	lzma_ret ret =
		lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, data, len, out, &pos, room);

	assert(ret == LZMA_OK);
	(void)ret;
	return add_size(out, pos, len);
}
#endif

#ifdef CONFIG_LIBLZ4
static size_t compress_lz4(const void *data, size_t len, uint8_t *out, size_t room)
{
	static const uint8_t magic[] = {0x02, 0x21, 0x4c, 0x18};
	size_t pos = sizeof(magic);

	memcpy(out, magic, sizeof(magic));
	for (size_t done = 0; done < len; done += LZ4_BLOCK) {
		int n = LZ4_compress_default((const char *)data + done, (char *)out + pos + 4,
					     (int)MIN(len - done, (size_t)LZ4_BLOCK),
					     (int)(room - pos - 8));

		assert(n > 0);
		pos = add_size(out, pos, (size_t)n) + (size_t)n;
	}
	return add_size(out, pos, len);
}
#endif

#ifdef CONFIG_LIBZSTD
static size_t compress_zstd(const void *data, size_t len, uint8_t *out, size_t room)
{
	size_t n = ZSTD_compress(out, room - 4, data, len, 1);

	assert(!ZSTD_isError(n));
	return add_size(out, n, len);
}
#endif

uint8_t *image_compress(enum image_method method, const void *data, size_t len, size_t *out_len)
{
	size_t room = len + len / 8 + 4096;
	uint8_t *out = malloc(room);

	assert(out);
	*out_len = 0;
	switch (method) {
	case IMAGE_PLAIN:
		memcpy(out, data, len);
		*out_len = len;
		break;
#ifdef CONFIG_ZLIB
	case IMAGE_GZIP:
		*out_len = compress_gzip(data, len, out, room);
		break;
#endif
#ifdef CONFIG_LIBLZMA
	case IMAGE_XZ:
		*out_len = compress_xz(data, len, out, room);
		break;
#endif
#ifdef CONFIG_LIBLZ4
	case IMAGE_LZ4:
		*out_len = compress_lz4(data, len, out, room);
		break;
#endif
#ifdef CONFIG_LIBZSTD
	case IMAGE_ZSTD:
		*out_len = compress_zstd(data, len, out, room);
		break;
#endif
	default:
		free(out);
		return NULL;
	}
	return out;
}

int image_file(const void *data, size_t len, char *path)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert(fd >= 0);
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		assert(n > 0);
		done += (size_t)n;
	}
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}
