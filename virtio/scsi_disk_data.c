/* SPDX-License-Identifier: MIT */
/*
 * READ, WRITE, SYNCHRONIZE CACHE, VERIFY, COMPARE AND WRITE.
 */
#include "virtio/scsi_disk.h"

#include <string.h>

#define FUA 0x08

bool scsi_disk_writable(struct scsi_disk *disk, struct scsi_command *cmd)
{
	if (!block_info(disk->block)->readonly)
		return true;
	scsi_fail(cmd, SENSE_WRITE_PROTECTED);
	return false;
}

void scsi_disk_read(struct scsi_lun *lun, struct scsi_command *cmd)
{
	scsi_medium_read(cmd, scsi_disk(lun)->block);
}

/* Write all of cmd->out to cmd->req's range. */
static void write_out(struct scsi_disk *disk, struct scsi_command *cmd, bool fua)
{
	cmd->req.op = BLOCK_WRITE;
	cmd->req.flags = fua ? (unsigned)BLOCK_FUA : 0;
	cmd->req.iov = cmd->out.iov;
	cmd->req.iovcnt = (int)cmd->out.count;
	scsi_submit(cmd, disk->block, scsi_good);
}

void scsi_disk_write(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);
	const bool six = cmd->cdb[0] == SCSI_WRITE_6;

	if (!six && cmd->cdb[1] >> 5) {
		scsi_fail(cmd, SENSE_INVALID_FIELD); /* WRPROTECT */
		return;
	}
	if (scsi_disk_writable(disk, cmd) && scsi_transfer_range(cmd, disk->block, &cmd->out))
		write_out(disk, cmd, !six && (cmd->cdb[1] & FUA));
}

void scsi_disk_flush(struct scsi_disk *disk, struct scsi_command *cmd)
{
	cmd->req.op = BLOCK_FLUSH;
	cmd->req.flags = 0;
	cmd->req.offset = cmd->req.length = 0;
	scsi_submit(cmd, disk->block, scsi_good);
}

void scsi_disk_synchronize(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);

	/* All is flushed whatever the range; but a wrong range is an error. */
	if (scsi_range(cmd, disk->block))
		scsi_disk_flush(disk, cmd);
}

/* ---- comparing ---- */

/* Bytes that are alike from the start: the data from `offset` on, and buf. */
static size_t same_bytes(const struct scsi_data *data, uint64_t offset, const uint8_t *buf,
			 size_t len)
{
	uint8_t part[512];

	for (size_t done = 0; done < len;) {
		const size_t n =
			scsi_data_read(data, offset + done, part, MIN(len - done, sizeof(part)));

		for (size_t i = 0; i < n; i++)
			if (part[i] != buf[done + i])
				return done + i;
		if (!n)
			return done;
		done += n;
	}
	return len;
}

/* Read the next piece, at most a bounce buffer full, of cmd->offset and ->left. */
static void read_piece(struct scsi_disk *disk, struct scsi_command *cmd,
		       void (*next)(struct scsi_command *cmd))
{
	void *bounce = scsi_lun_bounce(&disk->lun);

	if (!bounce) {
		scsi_fail(cmd, SENSE_INTERNAL_FAILURE);
		return;
	}
	cmd->one = (struct iovec){bounce, (size_t)MIN(cmd->left, SCSI_BOUNCE_SIZE)};
	cmd->req.op = BLOCK_READ;
	cmd->req.flags = 0;
	cmd->req.offset = cmd->offset;
	cmd->req.length = cmd->one.iov_len;
	cmd->req.iov = &cmd->one;
	cmd->req.iovcnt = 1;
	scsi_submit(cmd, disk->block, next);
}

/* False: the piece that was read is not what the guest sent; the command has ended. */
static bool piece_equal(struct scsi_command *cmd)
{
	const size_t len = cmd->one.iov_len;
	const size_t same = same_bytes(&cmd->out, cmd->position, cmd->one.iov_base, len);

	if (same == len)
		return true;
	scsi_fail_info(cmd, SENSE_MISCOMPARE, (uint32_t)(cmd->position + same));
	return false;
}

static void verify_next(struct scsi_command *cmd)
{
	if (cmd->flag && !piece_equal(cmd))
		return;
	cmd->position += cmd->one.iov_len;
	cmd->offset += cmd->one.iov_len;
	cmd->left -= cmd->one.iov_len;
	if (cmd->left)
		read_piece(scsi_disk(cmd->lun), cmd, verify_next);
	else
		scsi_good(cmd);
}

/* The data are read, and with BYTCHK compared with what the guest sends (SBC-3, 5.29). */
void scsi_disk_verify(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);
	const unsigned bytchk = cmd->cdb[1] >> 1 & 3;
	struct scsi_data none = {.len = UINT64_MAX};

	if (cmd->cdb[1] >> 5 || bytchk > 1) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (!scsi_transfer_range(cmd, disk->block, bytchk ? &cmd->out : &none))
		return;
	cmd->transferred = bytchk ? cmd->req.length : 0;
	cmd->flag = bytchk;
	cmd->offset = cmd->req.offset;
	cmd->left = cmd->req.length;
	cmd->position = 0;
	if (cmd->left)
		read_piece(disk, cmd, verify_next);
	else
		scsi_good(cmd);
}

static void compared(struct scsi_command *cmd)
{
	if (!piece_equal(cmd))
		return;
	/* The first half was compared, the second half is what to write. */
	scsi_data_skip(&cmd->out, cmd->left);
	write_out(scsi_disk(cmd->lun), cmd, cmd->cdb[1] & FUA);
}

/* The gate lets nothing else run on the unit between the read and the write (SBC-3, 5.2). */
void scsi_disk_compare_and_write(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_disk *disk = scsi_disk(lun);
	const uint32_t count = cmd->cdb[13];

	if (cmd->cdb[1] >> 5 || count > scsi_disk_compare_blocks(disk) || get_be16(cmd->cdb + 10) ||
	    cmd->cdb[12]) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (!scsi_disk_writable(disk, cmd) || !scsi_range(cmd, disk->block))
		return;
	if (!count) {
		scsi_good(cmd);
		return;
	}
	cmd->offset = cmd->req.offset;
	cmd->left = cmd->req.length;
	cmd->position = 0;
	if (cmd->out.len < 2 * cmd->left) {
		scsi_overrun(cmd);
		return;
	}
	scsi_data_trim(&cmd->out, 2 * cmd->left);
	cmd->transferred = 2 * cmd->left;
	read_piece(disk, cmd, compared);
}
