/* SPDX-License-Identifier: MIT */
/* virtio-blk on the small driver. */
#include "blk.h"

void disk_start(struct disk *d, uint64_t wanted, bool msix)
{
	uint16_t queues;

	if (!vdev_find(&d->dev, VIRTIO_ID_BLOCK))
		give_up("disk", "no virtio-blk device");
	if (!vdev_negotiate(&d->dev, wanted | 1ull << VIRTIO_F_VERSION_1))
		give_up("disk", "the device did not accept the features 0x%lx", d->dev.features);
	queues = vdev_queue_count(&d->dev);
	d->queue_count = queues < ARRAY_SIZE(d->queues) ? queues : ARRAY_SIZE(d->queues);
	if (!vdev_config_vector(&d->dev, msix ? 0 : NO_VECTOR))
		give_up("disk", "the configuration vector was refused");
	for (unsigned i = 0; i < d->queue_count; i++)
		if (!vqueue_enable(&d->queues[i], &d->dev, (uint16_t)i,
				   msix ? (uint16_t)(i + 1) : NO_VECTOR))
			give_up("disk", "queue %u could not be enabled", i);
	d->sectors = vdev_config32(&d->dev, 0) | (uint64_t)vdev_config32(&d->dev, 4) << 32;
	if (!vdev_driver_ok(&d->dev))
		give_up("disk", "status 0x%x after DRIVER_OK", vdev_status(&d->dev));
}

void disk_submit(struct disk *d, unsigned queue, struct disk_request *r, uint32_t type,
		 uint64_t sector, void *data, uint32_t len, unsigned flags)
{
	bool to_device = type & 1; /* the types of requests with data for the device are odd */
	struct segment segs[3] = {{&r->header, sizeof(r->header)}};
	unsigned n = 1, out;

	r->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	r->status = 0xff;
	if (len)
		segs[n++] = (struct segment){data, len};
	out = to_device ? n : 1;
	segs[n++] = (struct segment){&r->status, 1};
	if (flags & DISK_INDIRECT)
		r->head = vqueue_add_indirect(&d->queues[queue], r->table, segs, out, n - out);
	else
		r->head = vqueue_add(&d->queues[queue], segs, out, n - out);
}

uint8_t disk_do(struct disk *d, uint32_t type, uint64_t sector, void *data, uint32_t len,
		unsigned flags)
{
	static struct disk_request r;
	uint32_t head, written;

	disk_submit(d, 0, &r, type, sector, data, len, flags);
	vqueue_kick(&d->queues[0]);
	if (!vqueue_wait(&d->queues[0], &head, &written) || head != r.head)
		return 0xff;
	return *(volatile uint8_t *)&r.status;
}
