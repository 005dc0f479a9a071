/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk from ring 0: reads, writes, flush, indirect descriptors, GET_ID, requests beyond the
 * end, and a device reset while requests are in flight. Overwrites the start of the disk. With
 * ring=packed and transport=mmio the same over those.
 */
#include "lib/blk.h"

#define FEATURES ((1ull << VIRTIO_BLK_F_FLUSH) | (1ull << VIRTIO_RING_F_INDIRECT_DESC))
#define BYTES    8192u
#define BURST    16u

static struct disk disk;
static uint8_t buffer[BYTES], copy[BYTES];
static struct disk_request burst[BURST];

static void fill(uint8_t seed)
{
	uint32_t *words = (uint32_t *)buffer;

	for (uint32_t i = 0; i < BYTES / 4; i++)
		words[i] = i * 2654435761u + seed;
}

static void check_status(uint8_t got, uint8_t wanted, const char *name)
{
	check(got == wanted, name, "status %u, wanted %u", got, wanted);
}

static void check_data(const char *name)
{
	check(!memcmp(buffer, copy, BYTES), name, "other data than was written");
}

static void write_and_read(uint8_t seed, uint64_t sector, unsigned flags, const char *name)
{
	print("# %s\n", name);
	fill(seed);
	check_status(disk_do(&disk, VIRTIO_BLK_T_OUT, sector, buffer, BYTES, flags),
		     VIRTIO_BLK_S_OK, "write");
	memset(copy, 0, BYTES);
	check_status(disk_do(&disk, VIRTIO_BLK_T_IN, sector, copy, BYTES, flags), VIRTIO_BLK_S_OK,
		     "read");
	check_data("read-back");
}

static void check_other_requests(void)
{
	char id[VIRTIO_BLK_ID_BYTES + 1] = {0};

	check(disk.dev.features & 1ull << VIRTIO_BLK_F_FLUSH, "offers-flush", "it does not");
	check_status(disk_do(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0), VIRTIO_BLK_S_OK, "flush");
	check_status(disk_do(&disk, VIRTIO_BLK_T_GET_ID, 0, id, VIRTIO_BLK_ID_BYTES, 0),
		     VIRTIO_BLK_S_OK, "get-id");
	print("# id \"%s\", %lu sectors\n", id, disk.sectors);
	check_status(disk_do(&disk, 0x7ffe, 0, buffer, SECTOR, 0), VIRTIO_BLK_S_UNSUPP,
		     "unknown-type");
	check_status(disk_do(&disk, VIRTIO_BLK_T_IN, disk.sectors, copy, SECTOR, 0),
		     VIRTIO_BLK_S_IOERR, "read-beyond-end");
	check_status(disk_do(&disk, VIRTIO_BLK_T_OUT, disk.sectors - 1, buffer, 2 * SECTOR, 0),
		     VIRTIO_BLK_S_IOERR, "write-across-end");
	check_status(disk_do(&disk, VIRTIO_BLK_T_IN, UINT64_MAX, copy, SECTOR, 0),
		     VIRTIO_BLK_S_IOERR, "read-at-overflow");
}

/* Several requests under one doorbell: each comes back exactly once. */
static void check_burst(unsigned queue)
{
	uint32_t head, written, seen = 0;
	unsigned n;

	for (n = 0; n < BURST; n++)
		disk_submit(&disk, queue, &burst[n], VIRTIO_BLK_T_IN, n, copy + n % 16 * SECTOR,
			    SECTOR, 0);
	vqueue_kick(&disk.queues[queue]);
	for (n = 0; n < BURST && vqueue_wait(&disk.queues[queue], &head, &written); n++) {
		check(written == SECTOR + 1, "burst-length", "%u bytes written", written);
		for (unsigned i = 0; i < BURST; i++)
			if (burst[i].head == head && burst[i].status == VIRTIO_BLK_S_OK)
				seen |= 1u << i;
	}
	check_equal(seen, (1u << BURST) - 1, "burst-complete");
}

/*
 * Reset with requests in flight: once the status reads 0 the device must not touch the rings or
 * the buffers again, and the disk works after a new start.
 */
static void check_reset(void)
{
	struct vqueue *q = &disk.queues[0];

	fill(3);
	for (unsigned n = 0; n < BURST; n++)
		disk_submit(&disk, 0, &burst[n], n % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 64 + n,
			    n % 2 ? copy : buffer, SECTOR, 0);
	vqueue_kick(q);
	check(vdev_reset(&disk.dev), "reset-in-flight", "the status never read 0");
	if (q->packed)
		memset(q->ring.desc, 0x5a, sizeof(q->ring.desc));
	else
		memset(&q->split.used, 0x5a, sizeof(q->split.used));
	memset(copy, 0x5a, BYTES);
	disk_start(&disk, FEATURES, false); /* clears the rings of this test, not `copy` */
	for (unsigned i = 0; i < BYTES; i += SECTOR)
		if (copy[i] != 0x5a)
			check(false, "reset-quiet", "a buffer changed after the reset");
	write_and_read(4, 8, 0, "after the reset");
}

void guest_main(void)
{
	disk_start(&disk, FEATURES, false);
	check_equal(disk.queues[0].packed, option_is("ring", "packed"), "ring-format");
	check_equal(disk.dev.window != 0, option_is("transport", "mmio"), "transport");
	if (disk.sectors < 256)
		give_up("disk-size", "%lu sectors are too few", disk.sectors);
	write_and_read(1, 0, 0, "plain");
	if (check(disk.dev.features & 1ull << VIRTIO_RING_F_INDIRECT_DESC, "offers-indirect",
		  "it does not"))
		write_and_read(2, disk.sectors - BYTES / SECTOR, DISK_INDIRECT,
			       "indirect, at the end");
	check_other_requests();
	for (unsigned queue = 0; queue < disk.queue_count; queue++)
		check_burst(queue);
	check_reset();
}
