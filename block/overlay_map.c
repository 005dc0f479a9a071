/* SPDX-License-Identifier: MIT */
/* The overlay's bitmap. */
#include <errno.h>
#include <stdlib.h>

#include "block/block.h"
#include "block/overlay_map.h"

#define LEAF_BYTES   (2 * MIB)
#define LEAF_SECTORS (LEAF_BYTES / BLOCK_SECTOR_SIZE)
#define LEAF_WORDS   (LEAF_SECTORS / 64)

struct overlay_leaf {
	uint64_t bits[LEAF_WORDS];
};

/* A root entry for 2 MiB that the overlay holds in full. Never written, never read. */
static struct overlay_leaf *leaf_full(void)
{
	static const struct overlay_leaf full;

	return (struct overlay_leaf *)(uintptr_t)&full;
}

int overlay_map_init(struct overlay_map *map, uint64_t size)
{
	map->root_count = size / LEAF_BYTES + (size % LEAF_BYTES != 0);
	map->root = calloc(map->root_count, sizeof(struct overlay_leaf *));
	return map->root ? 0 : -ENOMEM;
}

void overlay_map_destroy(struct overlay_map *map)
{
	for (uint64_t i = 0; map->root && i < map->root_count; i++)
		if (map->root[i] != leaf_full())
			free(map->root[i]);
	free(map->root);
	map->root = NULL;
}

/* The part of the range that lies in the leaf of `offset`: sectors [first, end) of it. */
static void leaf_part(uint64_t offset, uint64_t length, unsigned *first, unsigned *end)
{
	const uint64_t in_leaf = offset % LEAF_BYTES;

	*first = (unsigned)(in_leaf / BLOCK_SECTOR_SIZE);
	*end = *first + (unsigned)(MIN(length, LEAF_BYTES - in_leaf) / BLOCK_SECTOR_SIZE);
}

int overlay_map_prepare(struct overlay_map *map, uint64_t offset, uint64_t length)
{
	while (length) {
		struct overlay_leaf **leaf = &map->root[offset / LEAF_BYTES];
		unsigned first, end;

		leaf_part(offset, length, &first, &end);
		/* A whole leaf becomes full without having been one. */
		if (!*leaf && end - first < LEAF_SECTORS) {
			*leaf = calloc(1, sizeof(**leaf));
			if (!*leaf)
				return -ENOMEM;
		}
		offset += (uint64_t)(end - first) * BLOCK_SECTOR_SIZE;
		length -= (uint64_t)(end - first) * BLOCK_SECTOR_SIZE;
	}
	return 0;
}

/* Bits [first, end) of the word, first < 64, end may be more. */
static uint64_t word_mask(unsigned first, unsigned end)
{
	const uint64_t from = ~UINT64_C(0) << first;

	return end >= 64 ? from : from & ~(~UINT64_C(0) << end);
}

/* Set sectors [first, end). True when the leaf is full then. */
static bool leaf_set(struct overlay_leaf *leaf, unsigned first, unsigned end)
{
	for (unsigned w = first / 64; w * 64 < end; w++) {
		const unsigned base = w * 64;

		leaf->bits[w] |= word_mask(first > base ? first - base : 0, end - base);
	}
	for (unsigned w = 0; w < LEAF_WORDS; w++)
		if (leaf->bits[w] != ~UINT64_C(0))
			return false;
	return true;
}

void overlay_map_set(struct overlay_map *map, uint64_t offset, uint64_t length)
{
	while (length) {
		struct overlay_leaf **leaf = &map->root[offset / LEAF_BYTES];
		unsigned first, end;

		leaf_part(offset, length, &first, &end);
		if (*leaf != leaf_full() &&
		    (end - first == LEAF_SECTORS || leaf_set(*leaf, first, end))) {
			free(*leaf);
			*leaf = leaf_full();
		}
		offset += (uint64_t)(end - first) * BLOCK_SECTOR_SIZE;
		length -= (uint64_t)(end - first) * BLOCK_SECTOR_SIZE;
	}
}

/* The first sector from `first` on, before `end`, whose bit is not `value`; else end. */
static unsigned leaf_run(const struct overlay_leaf *leaf, unsigned first, unsigned end, bool value)
{
	while (first < end) {
		uint64_t differs = leaf->bits[first / 64] ^ (value ? ~UINT64_C(0) : 0);

		differs &= ~UINT64_C(0) << (first % 64);
		if (differs)
			return MIN(first / 64 * 64 + (unsigned)__builtin_ctzll(differs), end);
		first = first / 64 * 64 + 64;
	}
	return end;
}

static bool leaf_test(const struct overlay_leaf *leaf, unsigned sector)
{
	if (!leaf || leaf == leaf_full())
		return leaf != NULL;
	return (leaf->bits[sector / 64] >> (sector % 64)) & 1;
}

bool overlay_map_test(const struct overlay_map *map, uint64_t offset, uint64_t length,
		      uint64_t *run)
{
	const uint64_t start = offset;
	const bool value = leaf_test(map->root[offset / LEAF_BYTES],
				     (unsigned)(offset % LEAF_BYTES / BLOCK_SECTOR_SIZE));

	while (length) {
		const struct overlay_leaf *leaf = map->root[offset / LEAF_BYTES];
		unsigned first, end, stop;

		leaf_part(offset, length, &first, &end);
		if (!leaf || leaf == leaf_full())
			stop = (leaf != NULL) == value ? end : first;
		else
			stop = leaf_run(leaf, first, end, value);
		offset += (uint64_t)(stop - first) * BLOCK_SECTOR_SIZE;
		length -= (uint64_t)(stop - first) * BLOCK_SECTOR_SIZE;
		if (stop < end)
			break;
	}
	*run = offset - start;
	return value;
}
