/* SPDX-License-Identifier: MIT */
/*
 * UNMAP (SBC-3, 5.28) and WRITE SAME (5.43, 5.44).
 */
#include <string.h>

#include "virtio/scsi_disk.h"

/* ---- UNMAP ---- */

static void unmap_next(struct scsi_command *cmd)
{
	while (cmd->next_range < cmd->range_count) {
		const struct scsi_range *range = &cmd->ranges[cmd->next_range++];

		if (!range->length)
			continue;
		cmd->req.op = BLOCK_DISCARD;
		cmd->req.flags = 0;
		cmd->req.offset = range->offset;
		cmd->req.length = range->length;
		scsi_submit(cmd, scsi_disk(cmd->lun)->block, unmap_next);
		return;
	}
	scsi_good(cmd);
}

/* Check each range before anything is done. SENSE_NONE: all is well. */
static struct scsi_sense get_ranges(struct scsi_command *cmd, const struct block *block,
				    const uint8_t *list, unsigned count)
{
	const uint32_t size = block_info(block)->logical_block_size;
	const uint64_t blocks = scsi_blocks(block);
	uint64_t total = 0;

	for (unsigned i = 0; i < count; i++) {
		const uint64_t lba = get_be64(list + 16 * i);
		const uint32_t n = get_be32(list + 16 * i + 8);

		if (lba > blocks || n > blocks - lba)
			return SENSE_LBA_OUT_OF_RANGE;
		total += (uint64_t)n * size;
		cmd->ranges[i] = (struct scsi_range){lba * size, (uint64_t)n * size};
	}
	cmd->range_count = count;
	cmd->next_range = 0;
	return total > SCSI_MAX_RANGE ? SENSE_INVALID_PARAMETER : SENSE_NONE;
}

void scsi_disk_unmap(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);
	const size_t len = get_be16(cmd->cdb + 7);
	uint8_t list[8 + 16 * SCSI_UNMAP_RANGES];
	struct scsi_sense sense;
	size_t ranges;

	if (cmd->cdb[1] & 1) { /* ANCHOR */
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (!len) {
		scsi_good(cmd);
		return;
	}
	if (len < 8 || len > sizeof(list)) {
		scsi_fail(cmd, len < 8 ? SENSE_LIST_LENGTH : SENSE_INVALID_PARAMETER);
		return;
	}
	if (!scsi_disk_writable(disk, cmd) || !scsi_take(cmd, list, len))
		return;
	ranges = MIN((size_t)get_be16(list + 2), len - 8) / 16;
	sense = get_ranges(cmd, disk->block, list + 8, (unsigned)ranges);
	if (sense.key)
		scsi_fail(cmd, sense);
	else
		unmap_next(cmd);
}

/* ---- WRITE SAME ---- */

#define NDOB    0x01
#define LBDATA  0x02
#define PBDATA  0x04
#define UNMAP   0x08
#define ANCHOR  0x10
#define PROTECT 0xe0

static bool is_zero(const struct scsi_data *data)
{
	for (unsigned i = 0; i < data->count; i++) {
		const uint8_t *p = data->iov[i].iov_base;
		const size_t len = data->iov[i].iov_len;

		if (len && (p[0] || memcmp(p, p + 1, len - 1)))
			return false;
	}
	return true;
}

static void write_zeroes(struct scsi_disk *disk, struct scsi_command *cmd, bool unmap)
{
	cmd->req.op = BLOCK_WRITE_ZEROES;
	cmd->req.flags = unmap ? (unsigned)BLOCK_UNMAP : 0;
	scsi_submit(cmd, disk->block, scsi_good);
}

/* Write the next bounce buffer full of copies. */
static void write_copies(struct scsi_command *cmd)
{
	if (!cmd->left) {
		scsi_good(cmd);
		return;
	}
	cmd->one.iov_len = (size_t)MIN(cmd->left, SCSI_BOUNCE_SIZE);
	cmd->req.op = BLOCK_WRITE;
	cmd->req.flags = 0;
	cmd->req.offset = cmd->offset;
	cmd->req.length = cmd->one.iov_len;
	cmd->req.iov = &cmd->one;
	cmd->req.iovcnt = 1;
	cmd->offset += cmd->one.iov_len;
	cmd->left -= cmd->one.iov_len;
	scsi_submit(cmd, scsi_disk(cmd->lun)->block, write_copies);
}

static void fill_and_write(struct scsi_disk *disk, struct scsi_command *cmd)
{
	const size_t size = block_info(disk->block)->logical_block_size;
	uint8_t *bounce = scsi_lun_bounce(&disk->lun);

	if (!bounce) {
		scsi_fail(cmd, SENSE_INTERNAL_FAILURE);
		return;
	}
	scsi_data_read(&cmd->out, 0, bounce, size);
	for (size_t at = size; at < SCSI_BOUNCE_SIZE; at += size)
		memcpy(bounce + at, bounce, size);
	cmd->one.iov_base = bounce;
	cmd->offset = cmd->req.offset;
	cmd->left = cmd->req.length;
	write_copies(cmd);
}

/* Why the CDB is refused; SENSE_NONE: it is not. */
static struct scsi_sense check_write_same(const struct scsi_disk *disk,
					  const struct scsi_command *cmd)
{
	const uint8_t known = cmd->cdb[0] == SCSI_WRITE_SAME_16 ? NDOB | UNMAP : UNMAP;
	uint64_t lba;
	uint32_t count;

	scsi_address(cmd->cdb, &lba, &count);
	if (cmd->cdb[1] & (LBDATA | PBDATA | ANCHOR | PROTECT | NDOB) & ~known)
		return SENSE_INVALID_FIELD;
	if ((cmd->cdb[1] & UNMAP) && !block_info(disk->block)->can_discard)
		return SENSE_INVALID_FIELD;
	/* None would mean all that follow; B0 says that it does not (WSNZ). */
	if (!count ||
	    (uint64_t)count * block_info(disk->block)->logical_block_size > SCSI_MAX_RANGE)
		return SENSE_INVALID_FIELD;
	return SENSE_NONE;
}

void scsi_disk_write_same(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);
	const size_t size = block_info(disk->block)->logical_block_size;
	const struct scsi_sense sense = check_write_same(disk, cmd);
	const bool data = !(cmd->cdb[0] == SCSI_WRITE_SAME_16 && (cmd->cdb[1] & NDOB));

	if (sense.key) {
		scsi_fail(cmd, sense);
		return;
	}
	if (!scsi_disk_writable(disk, cmd) || !scsi_range(cmd, disk->block))
		return;
	if (data && cmd->out.len < size) {
		scsi_overrun(cmd);
		return;
	}
	scsi_data_trim(&cmd->out, data ? size : 0);
	cmd->transferred = cmd->out.len;
	if (!data || is_zero(&cmd->out))
		write_zeroes(disk, cmd, cmd->cdb[1] & UNMAP);
	else if (!scsi_lun_alone(cmd))
		scsi_lun_again_alone(cmd); /* for the bounce buffer; this is rare */
	else
		fill_and_write(disk, cmd);
}
