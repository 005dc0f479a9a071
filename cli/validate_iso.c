/* SPDX-License-Identifier: MIT */
/*
 * A CD-ROM image with one file, as small as ECMA-119 (ISO 9660) allows: for drives to read.
 */
#include <errno.h>
#include <string.h>

#include "validate.h"

#define SECTOR       2048u
#define SECTORS      32u /* of the image */
#define DESCRIPTOR   16u /* sectors: the volume descriptor, its end, path tables, folder, file */
#define PATH_TABLE_L 18u
#define PATH_TABLE_M 19u
#define FOLDER       20u
#define FILE_DATA    21u

/* Numbers that are stored twice, in both byte orders (7.2.3, 7.3.3). */
static void put16(uint8_t *p, uint16_t v)
{
	p[0] = p[3] = (uint8_t)v;
	p[1] = p[2] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = p[7 - i] = (uint8_t)(v >> (8 * i));
}

/* Directory record (9.1). Returns its length. */
static size_t put_record(uint8_t *p, uint32_t sector, uint32_t size, bool folder, const char *name,
			 size_t name_len)
{
	size_t len = (33 + name_len + 1) & ~(size_t)1;

	p[0] = (uint8_t)len;
	put32(p + 2, sector);
	put32(p + 10, size);
	p[18] = 125; /* years since 1900, month, day */
	p[19] = p[20] = 1;
	p[25] = folder ? 2 : 0;
	put16(p + 28, 1);
	p[32] = (uint8_t)name_len;
	memcpy(p + 33, name, name_len);
	return len;
}

/* Path table with the root alone (9.4). */
static void put_path_table(uint8_t *p, bool big)
{
	p[0] = 1;
	p[big ? 5 : 2] = FOLDER;
	p[big ? 7 : 6] = 1;
}

/* 8.4 */
static void put_volume(uint8_t *p, const char *label)
{
	memcpy(p, "\1CD001\1", 7);
	memset(p + 8, ' ', 64);
	memcpy(p + 40, label, strnlen(label, 32));
	put32(p + 80, SECTORS);
	put16(p + 120, 1);
	put16(p + 124, 1);
	put16(p + 128, SECTOR);
	put32(p + 132, 10);
	p[140] = PATH_TABLE_L;
	p[151] = PATH_TABLE_M;
	put_record(p + 156, FOLDER, SECTOR, true, "", 1);
	memset(p + 190, ' ', 623);
	p[881] = 1;
}

int validate_iso(const char *path, const char *label, const char *text)
{
	static uint8_t image[SECTORS * SECTOR];
	uint8_t *folder = image + FOLDER * SECTOR;
	size_t len = strnlen(text, SECTOR);
	FILE *out = fopen(path, "we");
	bool failed;

	if (!out)
		return -1;
	memset(image, 0, sizeof(image));
	put_volume(image + DESCRIPTOR * SECTOR, label);
	memcpy(image + (DESCRIPTOR + 1) * SECTOR, "\377CD001\1", 7);
	put_path_table(image + PATH_TABLE_L * SECTOR, false);
	put_path_table(image + PATH_TABLE_M * SECTOR, true);
	folder += put_record(folder, FOLDER, SECTOR, true, "\0", 1);
	folder += put_record(folder, FOLDER, SECTOR, true, "\1", 1);
	put_record(folder, FILE_DATA, (uint32_t)len, false, "FILE.TXT;1", 10);
	memcpy(image + FILE_DATA * SECTOR, text, len);
	failed = fwrite(image, sizeof(image), 1, out) != 1;
	return fclose(out) != 0 || failed ? -1 : 0;
}
