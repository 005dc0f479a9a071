/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtio_classes.h"

#define MIN_QUEUE_SIZE 4 /* header, data, status; a power of two */

/* Up to what secure erase would add, which is not offered. */
#define CONFIG_SIZE offsetof(struct virtio_blk_config, max_secure_erase_sectors)

_Static_assert(offsetof(struct virtio_blk_config, wce) == 32, "5.2.4");
_Static_assert(CONFIG_SIZE == 60, "5.2.4");

#define BIT(n) (UINT64_C(1) << (n))

/* ---- configuration space (5.2.4) ---- */

static uint8_t log2_of(uint32_t v)
{
	return (uint8_t)(31 - __builtin_clz(v));
}

static void fill_topology(const struct block_info *info, struct virtio_blk_config *c)
{
	uint32_t block = info->logical_block_size;
	uint32_t min_io = info->physical_block_size / block;

	c->blk_size = block;
	c->physical_block_exp = min_io ? log2_of(min_io) : 0;
	c->min_io_size = (uint16_t)MIN(min_io, (uint32_t)UINT16_MAX);
	c->opt_io_size = info->optimal_io_size / block;
}

static void config_read(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	const struct virtio_blk *blk = virtio_blk(vd);
	const struct block_info *info = &blk->info;
	uint32_t block_sectors = info->logical_block_size / BLOCK_SECTOR_SIZE;
	struct virtio_blk_config c = {
		.capacity = info->size / BLOCK_SECTOR_SIZE,
		/* Header and status have a descriptor each. */
		.seg_max = (uint32_t)blk->queue_size - 2,
		.wce = blk->writeback,
		.num_queues = (uint16_t)blk->queues,
	};

	fill_topology(info, &c);
	if (vd->features & BIT(VIRTIO_BLK_F_DISCARD)) {
		c.max_discard_sectors = VIRTIO_BLK_MAX_RANGE_SECTORS;
		c.max_discard_seg = VIRTIO_BLK_MAX_RANGES;
		c.discard_sector_alignment =
			MAX(info->discard_alignment / BLOCK_SECTOR_SIZE, block_sectors);
	}
	if (vd->features & BIT(VIRTIO_BLK_F_WRITE_ZEROES)) {
		c.max_write_zeroes_sectors = VIRTIO_BLK_MAX_RANGE_SECTORS;
		c.max_write_zeroes_seg = VIRTIO_BLK_MAX_RANGES;
		c.write_zeroes_may_unmap = info->can_discard;
	}
	memcpy(buf, (const char *)&c + offset, len);
}

static void config_write(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len)
{
	struct virtio_blk *blk = virtio_blk(vd);
	const unsigned wce = offsetof(struct virtio_blk_config, wce);

	if (offset > wce || offset + len <= wce || !virtio_has(vd, VIRTIO_BLK_F_CONFIG_WCE))
		return;
	/* A driver that cannot flush gets no cache that would need it (5.2.5.2). */
	blk->writeback = ((const uint8_t *)buf)[wce - offset] && virtio_has(vd, VIRTIO_BLK_F_FLUSH);
}

static void features_set(struct virtio_device *vd)
{
	struct virtio_blk *blk = virtio_blk(vd);

	/*
	 * 5.2.5.2, 5.2.6.2. Without FLUSH each write is stable when it completes: nothing else
	 * could make it so. With FLUSH alone the driver takes a cache for granted and flushes it.
	 */
	if (!virtio_has(vd, VIRTIO_BLK_F_FLUSH))
		blk->writeback = false;
	else if (!virtio_has(vd, VIRTIO_BLK_F_CONFIG_WCE))
		blk->writeback = true;
	else
		blk->writeback = blk->initial_writeback;
}

/* ---- working ---- */

static bool may_pop(struct virtio_device *vd, unsigned queue)
{
	return virtio_throttle_may_pop(&virtio_blk(vd)->throttle, queue);
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	virtio_process_while(vd, queue, may_pop, virtio_blk_start);
}

static void drain(struct virtio_device *vd)
{
	struct virtio_blk *blk = virtio_blk(vd);
	bool wait;

	device_lock(&vd->dev);
	wait = blk->draining = blk->in_flight > 0;
	device_unlock(&vd->dev);
	if (!wait)
		virtio_drained(vd);
}

static void reset(struct virtio_device *vd)
{
	struct virtio_blk *blk = virtio_blk(vd);

	assert(!blk->in_flight);
	blk->writeback = blk->initial_writeback;
}

/* ---- saved state ---- */

static void save(struct virtio_device *vd, struct state_writer *w)
{
	const struct virtio_blk *blk = virtio_blk(vd);

	state_put_u64(w, "capacity", blk->info.size);
	state_put_u64(w, "writeback", blk->writeback);
}

static int load(struct virtio_device *vd, struct state_reader *r, uint32_t version UNUSED)
{
	struct virtio_blk *blk = virtio_blk(vd);
	uint64_t capacity, writeback;
	/* Of another size it is another disk. */
	int rc = state_get_u64(r, "capacity", &capacity, blk->info.size, blk->info.size);

	if (!rc)
		rc = state_get_u64(r, "writeback", &writeback, 0, 1);
	if (!rc)
		blk->writeback = writeback;
	return rc;
}

/* ---- life ---- */

static uint64_t offered(const struct virtio_blk *blk)
{
	uint64_t f = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
		     BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_FLUSH) |
		     BIT(VIRTIO_BLK_F_CONFIG_WCE);

	if (blk->queues > 1)
		f |= BIT(VIRTIO_BLK_F_MQ);
	if (blk->info.readonly)
		return f | BIT(VIRTIO_BLK_F_RO);
	if (blk->info.can_discard)
		f |= BIT(VIRTIO_BLK_F_DISCARD);
	return f | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
}

static void free_requests(struct virtio_blk *blk)
{
	for (unsigned q = 0; blk->requests && q < blk->queues; q++)
		free(blk->requests[q]);
	free(blk->requests);
	blk->requests = NULL;
}

static int alloc_requests(struct virtio_blk *blk)
{
	blk->requests = calloc(blk->queues, sizeof(struct virtio_blk_request *));
	if (!blk->requests)
		return -ENOMEM;
	for (unsigned q = 0; q < blk->queues; q++) {
		blk->requests[q] = calloc(blk->queue_size, sizeof(struct virtio_blk_request));
		if (!blk->requests[q])
			return -ENOMEM;
		for (unsigned slot = 0; slot < blk->queue_size; slot++) {
			blk->requests[q][slot].blk = blk;
			blk->requests[q][slot].queue = q;
		}
	}
	return 0;
}

static void unrealize(struct device *dev)
{
	struct virtio_blk *blk = virtio_blk(virtio_device(dev));

	virtio_throttle_fini(&blk->throttle);
	virtio_fini(&blk->vd);
	block_release(blk->block);
	blk->block = NULL;
	free_requests(blk);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_blk *blk = virtio_blk(virtio_device(dev));
	int rc;

	if (!is_power_of_two(blk->queue_size))
		return error_set(err, EINVAL, "queue-size=%llu is not a power of two",
				 (unsigned long long)blk->queue_size);
	if (blk->serial && strlen(blk->serial) > VIRTIO_BLK_ID_BYTES)
		return error_set(err, EINVAL, "serial=%s is longer than %d bytes", blk->serial,
				 VIRTIO_BLK_ID_BYTES);
	rc = virtio_throttle_init(&blk->throttle, &blk->vd, &blk->limits, err);
	if (rc)
		return rc;
	rc = block_acquire(&blk->block, &blk->options, dev, NULL, err);
	if (rc)
		return rc;
	blk->info = *block_info(blk->block);
	blk->initial_writeback = blk->writeback = block_writeback(blk->block);
	rc = alloc_requests(blk);
	if (rc)
		error_set_errno(err, -rc, "no room for its requests");
	else
		rc = virtio_init(&blk->vd, (unsigned)blk->queues, (uint16_t)blk->queue_size,
				 offered(blk), err);
	if (rc)
		unrealize(dev);
	return rc;
}

/* ---- actions ---- */

static int resize(struct device *dev, const void *args, struct report *report,
		  struct vmm_error *err)
{
	const struct block_resize_args *a = args;
	struct virtio_blk *blk = virtio_blk(virtio_device(dev));
	int rc = block_resize(blk->block, a->size, err);

	if (rc)
		return rc;
	device_lock(dev);
	blk->info.size = block_info(blk->block)->size;
	virtio_config_changed(&blk->vd);
	device_unlock(dev);
	report_u64(report, "size", blk->info.size);
	return 0;
}

static int status(struct device *dev, const void *args UNUSED, struct report *report,
		  struct vmm_error *err UNUSED)
{
	struct virtio_blk *blk = virtio_blk(virtio_device(dev));

	block_report(blk->block, report);
	device_lock(dev);
	rate_limit_report(&blk->throttle.limit, report);
	device_unlock(dev);
	return 0;
}

static void stats(struct device *dev, struct report *report)
{
	block_stats(virtio_blk(virtio_device(dev))->block, report);
}

static int run_throttle(struct device *dev, const void *args, struct report *report UNUSED,
			struct vmm_error *err)
{
	return virtio_throttle_set(&virtio_blk(virtio_device(dev))->throttle, args, err);
}

static const struct device_action actions[] = {
	{.name = "resize",
	 .help = "make the disk larger, and tell the guest",
	 .options = block_resize_options,
	 .implied = "size",
	 .args_size = sizeof(struct block_resize_args),
	 .run = resize},
	VIRTIO_THROTTLE_ACTION(run_throttle),
	{.name = "status", .help = "size, engine, requests so far", .run = status},
	{.name = NULL},
};

static const struct option_desc options[] = {
	BLOCK_OPTIONS(struct virtio_blk, options),
	VIRTIO_OPTIONS(struct virtio_blk, vd),
	{.name = "serial",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_blk, serial),
	 .help = "what the guest sees as the disk's serial number (at most 20 bytes)"},
	{.name = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_blk, queues),
	 .fallback = "1",
	 .min = 1,
	 .max = VIRTIO_BLK_MAX_QUEUES,
	 .help = "request queues; as many as the guest has CPUs is best"},
	{.name = "queue-size",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_blk, queue_size),
	 .fallback = "256",
	 .min = MIN_QUEUE_SIZE,
	 .max = VIRTQ_MAX_SIZE,
	 .help = "entries of each queue, a power of two"},
	RATE_LIMIT_OPTIONS(struct virtio_blk, limits),
	OPTION_END,
};

const struct virtio_class virtio_blk_class = {
	.device =
		{
			.name = "virtio-blk",
			.help = "disk: an image file or a block device",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.actions = actions,
			.size = sizeof(struct virtio_blk),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
			.stats = stats,
		},
	.device_id = VIRTIO_ID_BLOCK,
	.pci_class = 0x010000, /* mass storage, SCSI: what guests expect of virtio disks */
	.config_size = CONFIG_SIZE,
	.config_read = config_read,
	.config_write = config_write,
	.features_set = features_set,
	.kick = kick,
	.drain = drain,
	.reset = reset,
	.save = save,
	.load = load,
};
