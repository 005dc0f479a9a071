/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: the CD-ROM image, read as ECMA-119 says; numbers in brackets are its sections.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "cli/validate.h"
#include "tests/unit/support/scratch.h"

#define SECTOR 2048u

TestSuite(validate_iso, .init = scratch_make, .fini = scratch_remove);

static const uint8_t *image;
static size_t size;

static void make(const char *label, const char *text)
{
	char *path = scratch_path("cd");

	cr_assert_eq(validate_iso(path, label, text), 0);
	image = (const uint8_t *)scratch_read(path, &size);
	cr_assert_eq(size % SECTOR, 0);
}

static const uint8_t *sector(uint32_t n)
{
	cr_assert_lt(n, size / SECTOR);
	return image + (size_t)n * SECTOR;
}

/* Numbers in both byte orders (7.2.3, 7.3.3), which must agree. */
static uint32_t both16(const uint8_t *p)
{
	cr_assert(p[0] == p[3] && p[1] == p[2]);
	return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t both32(const uint8_t *p)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(p[i], p[7 - i]);
		v |= (uint32_t)p[i] << 8 * i;
	}
	return v;
}

/* The directory record at p (9.1) has this name. Returns the record behind it. */
static const uint8_t *record_is(const uint8_t *p, const void *name, uint8_t len, bool folder)
{
	cr_assert_geq(p[0], 33 + len);
	cr_assert_eq(p[0] % 2, 0);
	cr_assert_eq(p[25] & 2, folder ? 2 : 0);
	cr_assert_eq(both16(p + 28), 1);
	cr_assert_eq(p[32], len);
	cr_assert_eq(memcmp(p + 33, name, len), 0);
	cr_assert_lt(both32(p + 2), size / SECTOR);
	return p + p[0];
}

/* Text with blanks up to its end (7.4.3). */
static void field_is(const uint8_t *p, size_t len, const char *text)
{
	size_t used = strlen(text);

	cr_assert_leq(used, len);
	cr_assert_eq(memcmp(p, text, used), 0);
	for (; used < len; used++)
		cr_assert_eq(p[used], ' ');
}

static void path_table_is(const uint8_t *p, uint32_t root, bool big)
{
	cr_assert_eq(p[0], 1);
	cr_assert_eq(big ? p[5] | p[4] << 8 | p[3] << 16 | p[2] << 24
			 : p[2] | p[3] << 8 | p[4] << 16 | p[5] << 24,
		     (int)root);
	cr_assert_eq(big ? p[7] | p[6] << 8 : p[6] | p[7] << 8, 1);
	cr_assert_eq(p[8], 0);
}

Test(validate_iso, a_volume_with_one_file)
{
	const uint8_t *volume, *entry;
	uint32_t root;

	make("FIRST", "what is in it\n");
	volume = sector(16);
	cr_assert_eq(memcmp(volume, "\1CD001\1", 7), 0);
	field_is(volume + 8, 32, "");
	field_is(volume + 40, 32, "FIRST");
	cr_assert_eq(both32(volume + 80), size / SECTOR);
	cr_assert_eq(both16(volume + 120), 1);
	cr_assert_eq(both16(volume + 124), 1);
	cr_assert_eq(both16(volume + 128), SECTOR);
	cr_assert_eq(volume[881], 1);
	cr_assert_eq(memcmp(sector(17), "\377CD001\1", 7), 0);

	root = both32(volume + 158);
	cr_assert_eq(both32(volume + 166), SECTOR);
	record_is(volume + 156, "", 1, true);
	cr_assert_eq(both32(volume + 132), 10);
	path_table_is(sector(volume[140]), root, false);
	path_table_is(sector(volume[151]), root, true);

	entry = record_is(sector(root), "\0", 1, true);
	cr_assert_eq(both32(sector(root) + 2), root);
	cr_assert_eq(both32(entry + 2), root);
	entry = record_is(entry, "\1", 1, true);
	cr_assert_eq(both32(entry + 10), 14);
	cr_assert_eq(memcmp(sector(both32(entry + 2)), "what is in it\n", 15), 0);
	entry = record_is(entry, "FILE.TXT;1", 10, false);
	cr_assert_eq(*entry, 0, "there is another record");
}

Test(validate_iso, what_is_too_long_is_cut)
{
	char *text = allocate(3 * SECTOR);
	const uint8_t *file;

	memset(text, 'x', 3 * SECTOR - 1);
	make("A_LABEL_THAT_HAS_MORE_THAN_32_CHARACTERS", text);
	field_is(sector(16) + 40, 32, "A_LABEL_THAT_HAS_MORE_THAN_32_CH");
	field_is(sector(16) + 190, 128, "");
	file = sector(both32(sector(16) + 158));
	file += file[0];
	file += file[0];
	cr_assert_eq(both32(file + 10), SECTOR);
	cr_assert_eq(*sector(both32(file + 2) + 1), 0);
}

/* An image is one's own: nothing of the one before is left in it. */
Test(validate_iso, a_second_image_starts_anew)
{
	make("FIRST", "a long text");
	make("B", "b");
	field_is(sector(16) + 40, 32, "B");
	cr_assert_null(memmem(image, size, "long", 4));
}

Test(validate_iso, an_image_that_cannot_be_written_is_an_error)
{
	cr_assert_eq(validate_iso(scratch_path("none/cd"), "A", "b"), -1);
	cr_assert_eq(validate_iso("/dev/full", "A", "b"), -1);
}
