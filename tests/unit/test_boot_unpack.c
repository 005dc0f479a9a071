/* SPDX-License-Identifier: MIT */
/* A bzImage's payload, unpacked on the host or left to the guest. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot_attempt.h"

Test(boot_unpack, bzimage_payload_is_unpacked_by_each_method)
{
	static uint8_t elf[IMAGE_SIZE];

	image_elf(elf, true);
	for (enum image_method m = IMAGE_PLAIN; m < IMAGE_METHODS; m++) {
		size_t packed_size, size;
		uint8_t *packed = image_compress(m, elf, sizeof(elf), &packed_size);
		uint8_t *image;
		struct attempt a;

		if (!packed)
			continue;
		image = image_bzimage(packed, packed_size, &size);
		attempt_begin(&a, image, size, 64 * MIB);
		assert_ok(&a, attempt_open(&a, "quiet", NULL, false));
		/* Twice: .bss must be clear again after a reboot. */
		for (int i = 0; i < 2; i++) {
			assert_ok(&a, attempt_load(&a));
			attempt_assert_segments(&a);
			cr_assert_eq(guest_fill(a.memory, gpa(IMAGE_DATA_ADDR), 0xff, 0x5000), 0);
		}
		cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
		cr_assert_eq(a.entry.rip, IMAGE_ENTRY, "method %d was not unpacked", m);
		attempt_end(&a);
		free(image);
		free(packed);
	}
}

/* LZ4's blocks of 8 MiB: a segment that holds whole ones, and blocks that span segments. */
Test(boot_unpack, large_lz4_payload_is_unpacked)
{
	enum { SIZE = 27 << 20 };
	uint8_t *elf = calloc(1, SIZE), *packed, *image;
	size_t packed_size, size;
	struct attempt a;
	/* e_phoff is right after the header; p_filesz and p_memsz are at 32 and 40 there. */
	uint64_t filesz[2] = {20 << 20, 20 << 20}, offset = 21 << 20;
	uint64_t paddr = IMAGE_TEXT_ADDR + (20 << 20), memsz[2] = {5 << 20, 5 << 20};

	image_elf(elf, false);
	for (uint64_t i = IMAGE_TEXT_OFFSET; i < SIZE; i++)
		elf[i] = image_byte(i);
	memcpy(elf + 64 + 32, filesz, sizeof(filesz));
	memcpy(elf + 64 + 56 + 8, &offset, sizeof(offset));
	memcpy(elf + 64 + 56 + 24, &paddr, sizeof(paddr));
	memcpy(elf + 64 + 56 + 32, memsz, sizeof(memsz));
	packed = image_compress(IMAGE_LZ4, elf, SIZE, &packed_size);
	if (!packed)
		cr_skip_test("built without LZ4");
	image = image_bzimage(packed, packed_size, &size);
	image_header(image)->init_size = 40 << 20;
	attempt_begin(&a, image, size, 128 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, NULL, false));
	assert_ok(&a, attempt_load(&a));
	cr_assert_eq(a.entry.rip, IMAGE_ENTRY);
	attempt_peek(&a, IMAGE_TEXT_ADDR, image, 1);
	for (uint64_t i = 0; i < filesz[0]; i += 4093) {
		uint8_t byte;

		attempt_peek(&a, IMAGE_TEXT_ADDR + i, &byte, 1);
		cr_assert_eq(byte, image_byte(IMAGE_TEXT_OFFSET + i));
		if (i < memsz[0]) {
			attempt_peek(&a, paddr + i, &byte, 1);
			cr_assert_eq(byte, image_byte(offset + i));
		}
	}
	attempt_end(&a);
	free(image);
	free(packed);
	free(elf);
}

/* Boot a bzImage around the payload: the guest's own decompressor must be entered. */
static void assert_left_to_guest(const void *payload, size_t payload_size, bool guest_unpacks)
{
	struct attempt a;
	uint8_t code[512];
	size_t size;
	uint8_t *image = image_bzimage(payload, payload_size, &size);

	attempt_begin(&a, image, size, 64 * MIB);
	assert_ok(&a, attempt_open(&a, NULL, NULL, guest_unpacks));
	assert_ok(&a, attempt_load(&a));
	cr_assert_eq(a.entry.mode, BOOT_LONG_MODE);
	cr_assert_eq(a.entry.rip, IMAGE_TEXT_ADDR + 0x200);
	attempt_peek(&a, IMAGE_TEXT_ADDR, code, sizeof(code));
	for (unsigned i = 0; i < sizeof(code); i++)
		cr_assert_eq(code[i], 0xcc);
	attempt_end(&a);
	free(image);
}

Test(boot_unpack, odd_payloads_are_left_to_the_guest)
{
	static uint8_t elf[IMAGE_SIZE];
	uint64_t addr = IMAGE_TEXT_ADDR + IMAGE_INIT_SIZE;

	assert_left_to_guest("BZh91AY&SY unknown to us", 24, false);
	assert_left_to_guest("x", 1, false);
	assert_left_to_guest("", 0, false);

	image_elf(elf, true);
	assert_left_to_guest(elf, sizeof(elf), true);
	assert_left_to_guest(elf, 0x200, false);
	assert_left_to_guest(elf, IMAGE_DATA_OFFSET + 16, false);
	elf[4] = 1; /* 32-bit */
	assert_left_to_guest(elf, sizeof(elf), false);
	image_elf(elf, true);
	memcpy(elf + 64 + 24, &addr, sizeof(addr)); /* outside of what init_size covers */
	assert_left_to_guest(elf, sizeof(elf), false);
	addr = ~UINT64_C(0) - 16;
	memcpy(elf + 64 + 24, &addr, sizeof(addr));
	assert_left_to_guest(elf, sizeof(elf), false);
}

Test(boot_unpack, damaged_streams_are_left_to_the_guest)
{
	static uint8_t elf[IMAGE_SIZE];

	image_elf(elf, true);
	for (enum image_method m = IMAGE_GZIP; m < IMAGE_METHODS; m++) {
		size_t size;
		uint8_t *packed = image_compress(m, elf, sizeof(elf), &size);

		if (!packed)
			continue;
		assert_left_to_guest(packed, size / 2, false);
		assert_left_to_guest(packed, 13, false);
		for (size_t i = 16; i < size - 4; i += 9)
			packed[i] ^= 0x5a;
		assert_left_to_guest(packed, size, false);
		free(packed);
	}
}

/* A stream that unpacks to far more than the kernel's header tells must end early. */
Test(boot_unpack, unpacking_is_bounded)
{
	enum { SIZE = 64 << 20 };
	uint8_t *elf = calloc(1, SIZE);

	image_elf(elf, true);
	for (enum image_method m = IMAGE_PLAIN; m < IMAGE_METHODS; m++) {
		size_t size;
		uint8_t *packed = image_compress(m, elf, SIZE, &size);

		/* Uncompressed it would not fit into the kernel itself. */
		if (packed && m != IMAGE_PLAIN)
			assert_left_to_guest(packed, size, false);
		free(packed);
	}
	free(elf);
}
