/* SPDX-License-Identifier: MIT */
#include "virtio/scsi_medium.h"

void scsi_address(const uint8_t *cdb, uint64_t *lba, uint32_t *count)
{
	switch (scsi_cdb_length(cdb[0])) {
	case 6:
		*lba = get_be32(cdb) & 0x1fffff;
		*count = cdb[4] ? cdb[4] : 256;
		break;
	case 10:
		*lba = get_be32(cdb + 2);
		*count = get_be16(cdb + 7);
		break;
	case 12:
		*lba = get_be32(cdb + 2);
		*count = get_be32(cdb + 6);
		break;
	default:
		*lba = get_be64(cdb + 2);
		*count = get_be32(cdb + 10);
		break;
	}
}

bool scsi_range(struct scsi_command *cmd, const struct block *block)
{
	const uint32_t size = block_info(block)->logical_block_size;
	const uint64_t blocks = scsi_blocks(block);
	uint64_t lba;
	uint32_t count;

	scsi_address(cmd->cdb, &lba, &count);
	if (lba > blocks || count > blocks - lba) {
		scsi_fail(cmd, SENSE_LBA_OUT_OF_RANGE);
		return false;
	}
	cmd->req.offset = lba * size;
	cmd->req.length = (uint64_t)count * size;
	return true;
}

bool scsi_transfer_range(struct scsi_command *cmd, const struct block *block,
			 struct scsi_data *data)
{
	if (!scsi_range(cmd, block))
		return false;
	if (cmd->req.length > (uint64_t)SCSI_MAX_SECTORS * BLOCK_SECTOR_SIZE) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return false;
	}
	if (cmd->req.length > data->len) {
		scsi_overrun(cmd);
		return false;
	}
	scsi_data_trim(data, cmd->req.length);
	cmd->transferred = cmd->req.length;
	return true;
}

void scsi_medium_read(struct scsi_command *cmd, struct block *block)
{
	if (cmd->cdb[0] != SCSI_READ_6 && cmd->cdb[1] >> 5) {
		scsi_fail(cmd, SENSE_INVALID_FIELD); /* RDPROTECT: there is no protection data */
		return;
	}
	if (!scsi_transfer_range(cmd, block, &cmd->in))
		return;
	cmd->req.op = BLOCK_READ;
	cmd->req.flags = 0;
	cmd->req.iov = cmd->in.iov;
	cmd->req.iovcnt = (int)cmd->in.count;
	scsi_submit(cmd, block, scsi_good);
}

void scsi_read_capacity_10(struct scsi_command *cmd, const struct block *block)
{
	const uint64_t last = scsi_blocks(block) - 1;
	uint8_t data[8];

	/* Without PMI, which is obsolete, an address means nothing. */
	if ((cmd->cdb[8] & 1) || get_be32(cmd->cdb + 2)) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	put_be32(data, (uint32_t)MIN(last, (uint64_t)UINT32_MAX));
	put_be32(data + 4, block_info(block)->logical_block_size);
	scsi_reply(cmd, data, sizeof(data), sizeof(data));
}

void scsi_read_capacity_16(struct scsi_command *cmd, const struct block *block)
{
	const struct block_info *info = block_info(block);
	const uint32_t ratio = info->physical_block_size / info->logical_block_size;
	uint8_t data[32] = {0};

	put_be64(data, scsi_blocks(block) - 1);
	put_be32(data + 8, info->logical_block_size);
	data[13] = (uint8_t)(31 - __builtin_clz(MAX(ratio, 1u)));
	if (info->can_discard)
		data[14] = 0x80 | 0x40; /* LBPME, LBPRZ */
	scsi_reply(cmd, data, sizeof(data), get_be32(cmd->cdb + 10));
}
