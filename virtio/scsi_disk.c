/* SPDX-License-Identifier: MIT */
#include "virtio/scsi_disk.h"

#include <string.h>

#include "virtio/virtio_classes.h"

/* ---- what the disk says about itself ---- */

#define PAGE_RECOVERY 0x01
#define PAGE_CACHING  0x08
#define WCE           0x04

static bool mode_page(const struct scsi_lun *lun, unsigned index, bool defaults,
		      struct scsi_mode_page *page)
{
	const struct scsi_disk *disk = scsi_disk(lun);

	switch (index) {
	case 0:
		page->code = PAGE_RECOVERY;
		page->len = 12;
		page->data[2] = 0x80; /* bad blocks are reassigned, by the host */
		return true;
	case 1:
		page->code = PAGE_CACHING;
		page->len = 20;
		if (defaults ? disk->initial_writeback : block_writeback(disk->block))
			page->data[2] = WCE;
		page->changeable[2] = WCE;
		return true;
	default:
		return false;
	}
}

static void mode_select(struct scsi_lun *lun, const struct scsi_mode_page *page)
{
	if (page->code == PAGE_CACHING)
		block_set_writeback(scsi_disk(lun)->block, page->data[2] & WCE);
}

static void mode_done(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);

	/* Without a cache nothing is left in it (SBC-3, 6.5.5). */
	if (block_writeback(disk->block))
		scsi_good(cmd);
	else
		scsi_disk_flush(disk, cmd);
}

static uint8_t mode_parameter(const struct scsi_lun *lun)
{
	/* Write protection; FUA is known. */
	return block_info(scsi_disk(lun)->block)->readonly ? 0x80 | 0x10 : 0x10;
}

static bool geometry(const struct scsi_lun *lun, uint64_t *blocks, uint32_t *block_size)
{
	*blocks = scsi_blocks(scsi_disk(lun)->block);
	*block_size = block_info(scsi_disk(lun)->block)->logical_block_size;
	return true;
}

static struct scsi_sense ready(const struct scsi_lun *lun UNUSED)
{
	return SENSE_NONE;
}

/* Offsets are those of the standard, less the four bytes of the header. */
static size_t vpd_block_limits(const struct scsi_disk *disk, uint8_t *buf)
{
	const struct block_info *info = block_info(disk->block);
	const uint32_t size = info->logical_block_size;
	const uint32_t range = (uint32_t)(SCSI_MAX_RANGE / size);

	buf[0] = 1; /* WSNZ */
	buf[1] = (uint8_t)scsi_disk_compare_blocks(disk);
	put_be16(buf + 2, (uint16_t)MIN(info->physical_block_size / size, (uint32_t)UINT16_MAX));
	put_be32(buf + 4, scsi_max_transfer_blocks(disk->block));
	put_be32(buf + 8, MIN(info->optimal_io_size / size, scsi_max_transfer_blocks(disk->block)));
	if (info->can_discard) {
		put_be32(buf + 16, range);
		put_be32(buf + 20, SCSI_UNMAP_RANGES);
		put_be32(buf + 24, info->discard_alignment / size);
	}
	put_be64(buf + 32, range);
	return 60;
}

static size_t vpd(const struct scsi_lun *lun, uint8_t page, uint8_t *buf)
{
	const struct scsi_disk *disk = scsi_disk(lun);

	switch (page) {
	case 0xb0:
		return vpd_block_limits(disk, buf);
	case 0xb1:
		put_be16(buf, disk->rotational ? 7200 : 1); /* 1: no rotation */
		return 60;
	case 0xb2:
		if (block_info(disk->block)->can_discard) {
			/* UNMAP and both WRITE SAMEs deallocate; what is deallocated reads as 0. */
			buf[1] = 0x80 | 0x40 | 0x20 | 0x04;
			buf[2] = 2; /* thin */
		}
		return 4;
	default:
		return 0;
	}
}

static void read_capacity_10(struct scsi_lun *lun, struct scsi_command *cmd)
{
	scsi_read_capacity_10(cmd, scsi_disk(lun)->block);
}

static void read_capacity_16(struct scsi_lun *lun, struct scsi_command *cmd)
{
	scsi_read_capacity_16(cmd, scsi_disk(lun)->block);
}

/* It never stops turning; but what was written is safe when a stop completes. */
static void start_stop(struct scsi_lun *lun, struct scsi_command *cmd)
{
	if (cmd->cdb[4] & 2)
		scsi_fail(cmd, SENSE_INVALID_FIELD); /* LOEJ: nothing to eject */
	else if (cmd->cdb[4] & 1)
		scsi_good(cmd);
	else
		scsi_disk_flush(scsi_disk(lun), cmd);
}

/* Guests ask even for what cannot be removed. */
static void prevent_allow(struct scsi_lun *lun UNUSED, struct scsi_command *cmd)
{
	scsi_good(cmd);
}

#define READS  SCSI_READS
#define WRITES SCSI_WRITES
#define ANY    SCSI_NO_ACTION

static const struct scsi_opcode opcodes[] = {
	SCSI_COMMON_OPCODES,
	{SCSI_READ_6, ANY, READS, scsi_disk_read},
	{SCSI_READ_10, ANY, READS, scsi_disk_read},
	{SCSI_READ_12, ANY, READS, scsi_disk_read},
	{SCSI_READ_16, ANY, READS, scsi_disk_read},
	{SCSI_WRITE_6, ANY, WRITES, scsi_disk_write},
	{SCSI_WRITE_10, ANY, WRITES, scsi_disk_write},
	{SCSI_WRITE_12, ANY, WRITES, scsi_disk_write},
	{SCSI_WRITE_16, ANY, WRITES, scsi_disk_write},
	{SCSI_VERIFY_10, ANY, READS | SCSI_EXCLUSIVE, scsi_disk_verify},
	{SCSI_VERIFY_16, ANY, READS | SCSI_EXCLUSIVE, scsi_disk_verify},
	{SCSI_COMPARE_AND_WRITE, ANY, WRITES | SCSI_EXCLUSIVE, scsi_disk_compare_and_write},
	{SCSI_WRITE_SAME_10, ANY, WRITES, scsi_disk_write_same},
	{SCSI_WRITE_SAME_16, ANY, WRITES, scsi_disk_write_same},
	{SCSI_UNMAP, ANY, WRITES, scsi_disk_unmap},
	{SCSI_SYNCHRONIZE_CACHE_10, ANY, WRITES, scsi_disk_synchronize},
	{SCSI_SYNCHRONIZE_CACHE_16, ANY, WRITES, scsi_disk_synchronize},
	{SCSI_READ_CAPACITY_10, ANY, 0, read_capacity_10},
	{SCSI_SERVICE_ACTION_IN_16, SCSI_READ_CAPACITY_16, 0, read_capacity_16},
	{SCSI_START_STOP_UNIT, ANY, WRITES, start_stop},
	{SCSI_PREVENT_ALLOW, ANY, 0, prevent_allow},
	{SCSI_PERSISTENT_RESERVE_IN, 0, 0, scsi_reserve_in},
	{SCSI_PERSISTENT_RESERVE_IN, 1, 0, scsi_reserve_in},
	{SCSI_PERSISTENT_RESERVE_IN, 2, 0, scsi_reserve_in},
	{SCSI_PERSISTENT_RESERVE_IN, 3, 0, scsi_reserve_in},
	{SCSI_PERSISTENT_RESERVE_OUT, 0, 0, scsi_reserve_out},
	{SCSI_PERSISTENT_RESERVE_OUT, 1, 0, scsi_reserve_out},
	{SCSI_PERSISTENT_RESERVE_OUT, 2, 0, scsi_reserve_out},
	{SCSI_PERSISTENT_RESERVE_OUT, 3, 0, scsi_reserve_out},
	{SCSI_PERSISTENT_RESERVE_OUT, 4, 0, scsi_reserve_out},
	{SCSI_PERSISTENT_RESERVE_OUT, 5, 0, scsi_reserve_out},
	{SCSI_PERSISTENT_RESERVE_OUT, 6, 0, scsi_reserve_out},
	{0},
};

static bool has(const struct scsi_lun *lun, const struct scsi_opcode *op)
{
	return op->opcode != SCSI_UNMAP || block_info(scsi_disk(lun)->block)->can_discard;
}

/* ---- saved state ---- */

static void save(struct device *dev, struct state_writer *w)
{
	const struct scsi_disk *disk = scsi_disk(scsi_lun(dev));

	scsi_lun_save(&disk->lun, w);
	state_put_u64(w, "capacity", block_info(disk->block)->size);
	state_put_u64(w, "writeback", block_writeback(disk->block));
}

static int load(struct device *dev, struct state_reader *r, uint32_t version UNUSED)
{
	struct scsi_disk *disk = scsi_disk(scsi_lun(dev));
	const uint64_t size = block_info(disk->block)->size;
	struct scsi_lun_state state = {0};
	uint64_t capacity, writeback;
	int rc = scsi_lun_parse(&state, r);

	if (!rc) /* of another size it is another disk */
		rc = state_get_u64(r, "capacity", &capacity, size, size);
	if (!rc)
		rc = state_get_u64(r, "writeback", &writeback, 0, 1);
	if (rc)
		return rc;
	scsi_lun_commit(&disk->lun, &state);
	block_set_writeback(disk->block, writeback);
	return 0;
}

/* ---- life ---- */

static void reset(struct scsi_lun *lun)
{
	block_set_writeback(scsi_disk(lun)->block, scsi_disk(lun)->initial_writeback);
}

static void unrealize(struct device *dev)
{
	struct scsi_disk *disk = scsi_disk(scsi_lun(dev));

	scsi_lun_fini(&disk->lun);
	block_release(disk->block);
	disk->block = NULL;
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct scsi_disk *disk = scsi_disk(scsi_lun(dev));
	int rc = scsi_lun_init(&disk->lun, err);

	if (rc)
		return rc;
	rc = block_acquire(&disk->block, &disk->options, dev, &disk->lun.bus->engines, err);
	if (!rc) {
		disk->initial_writeback = block_writeback(disk->block);
		rc = scsi_lun_attach(&disk->lun, err);
	}
	if (rc)
		unrealize(dev);
	return rc;
}

/* ---- actions ---- */

static int resize(struct device *dev, const void *args, struct report *report,
		  struct vmm_error *err)
{
	const struct block_resize_args *a = args;
	struct scsi_disk *disk = scsi_disk(scsi_lun(dev));
	struct scsi_bus *bus = disk->lun.bus;
	int rc = block_resize(disk->block, a->size, err);

	if (rc)
		return rc;
	device_lock(bus->dev);
	scsi_lun_attention(&disk->lun, SCSI_ATTENTION_CAPACITY);
	bus->ops->changed(bus, &disk->lun, SENSE_CAPACITY_CHANGED);
	device_unlock(bus->dev);
	report_u64(report, "size", block_info(disk->block)->size);
	return 0;
}

static int status(struct device *dev, const void *args UNUSED, struct report *report,
		  struct vmm_error *err UNUSED)
{
	block_report(scsi_disk(scsi_lun(dev))->block, report);
	scsi_lun_report(scsi_lun(dev), report);
	return 0;
}

static void stats(struct device *dev, struct report *report)
{
	block_stats(scsi_disk(scsi_lun(dev))->block, report);
}

static const struct device_action actions[] = {
	{.name = "resize",
	 .help = "make the disk larger, and tell the guest",
	 .options = block_resize_options,
	 .implied = "size",
	 .args_size = sizeof(struct block_resize_args),
	 .run = resize},
	SCSI_LUN_THROTTLE_ACTION,
	{.name = "status", .help = "size, engine, requests so far", .run = status},
	{.name = NULL},
};

static const struct option_desc options[] = {
	BLOCK_OPTIONS(struct scsi_disk, options),
	SCSI_LUN_OPTIONS,
	{.name = "product",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct scsi_disk, lun.product),
	 .fallback = "HARDDISK",
	 .help = "product name (at most 16 characters)"},
	{.name = "removable",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct scsi_disk, lun.removable),
	 .fallback = "off",
	 .help = "say that the medium is removable"},
	{.name = "rotational",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct scsi_disk, rotational),
	 .fallback = "off",
	 .help = "say that it is a turning disk"},
	OPTION_END,
};

const struct scsi_lun_class scsi_disk_class = {
	.device =
		{
			.name = "scsi-disk",
			.help = "SCSI disk of a virtio-scsi controller: an image file or a device",
			.kind = DEVICE_CHILD,
			.options = options,
			.actions = actions,
			.size = sizeof(struct scsi_disk),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
			.stats = stats,
			.quiesce = scsi_lun_quiesce,
			.reset = scsi_lun_reset_device,
			.save = save,
			.load = load,
		},
	.type = SCSI_TYPE_DISK,
	.opcodes = opcodes,
	.has = has,
	.mode_page = mode_page,
	.mode_select = mode_select,
	.mode_done = mode_done,
	.geometry = geometry,
	.mode_parameter = mode_parameter,
	.ready = ready,
	.vpd = vpd,
	.reset = reset,
};
