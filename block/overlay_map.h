/* SPDX-License-Identifier: MIT */
/*
 * Which sectors of a disk the overlay holds: a bitmap in two levels. A root entry covers 2 MiB; it
 * is empty, full, or a leaf with one bit for each 512 bytes. Memory: 8 bytes for each 2 MiB that is
 * touched at all, and 512 bytes for each 2 MiB that is held in part, so never more than 1/4000 of
 * the disk.
 */
#ifndef BLOCK_OVERLAY_MAP_H
#define BLOCK_OVERLAY_MAP_H

#include "core/types.h"

struct overlay_leaf;

struct overlay_map {
	struct overlay_leaf **root;
	uint64_t root_count;
};

/* All offsets and lengths: bytes, multiples of 512, within the size. */
int overlay_map_init(struct overlay_map *map, uint64_t size) MUST_CHECK;
void overlay_map_destroy(struct overlay_map *map);

/* Make a later set of this range unable to fail. 0 or -ENOMEM. */
int overlay_map_prepare(struct overlay_map *map, uint64_t offset, uint64_t length) MUST_CHECK;

/* The overlay holds this range, which was prepared, from now on. */
void overlay_map_set(struct overlay_map *map, uint64_t offset, uint64_t length);

/*
 * Whether the overlay holds the sector at `offset`; *run: how many bytes from there, at most
 * `length` (not 0), are alike.
 */
bool overlay_map_test(const struct overlay_map *map, uint64_t offset, uint64_t length,
		      uint64_t *run);

#endif
