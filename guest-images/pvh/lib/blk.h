/* SPDX-License-Identifier: MIT */
/* virtio-blk on the small driver (virtio 1.2, 5.2). */
#ifndef PVH_BLK_H
#define PVH_BLK_H

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "virtio.h"

#define SECTOR 512u

struct disk {
	struct vdev dev;
	uint64_t sectors;
	unsigned queue_count;
	struct vqueue queues[2];
};

/* One request: lives until it has come back. */
struct disk_request {
	struct virtio_blk_outhdr header;
	struct vring_desc table[3]; /* for indirect */
	uint8_t status;
	uint16_t head;
};

enum disk_flags {
	DISK_INDIRECT = 1 << 0,
};

/*
 * Find, negotiate `wanted` plus VERSION_1, enable up to two queues with MSI-X vector 1, 2 (or
 * none), and go. Gives up with a test line if that fails.
 */
void disk_start(struct disk *disk, uint64_t wanted, bool msix);

/* Queue a request of `type` with `len` bytes of data in the direction of the type; no doorbell. */
void disk_submit(struct disk *disk, unsigned queue, struct disk_request *r, uint32_t type,
		 uint64_t sector, void *data, uint32_t len, unsigned flags);

/* Submit, ring, wait. Returns the status byte, or 0xff if it never came back. */
uint8_t disk_do(struct disk *disk, uint32_t type, uint64_t sector, void *data, uint32_t len,
		unsigned flags);

#endif
