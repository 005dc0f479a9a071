/* SPDX-License-Identifier: MIT */
/*
 * Blocks that a unit reads and writes: what disks and CD drives have in common in their commands.
 */
#ifndef VIRTIO_SCSI_MEDIUM_H
#define VIRTIO_SCSI_MEDIUM_H

#include "block/drive.h"
#include "virtio/scsi_lun.h"

/* Of one READ, WRITE or VERIFY: what the controller's max_sectors says. */
#define SCSI_MAX_SECTORS 0xffffu
/* Of one UNMAP or WRITE SAME. */
#define SCSI_MAX_RANGE (2 * GIB)

static inline uint64_t scsi_blocks(const struct block *block)
{
	return block_info(block)->size / block_info(block)->logical_block_size;
}

static inline uint32_t scsi_max_transfer_blocks(const struct block *block)
{
	return SCSI_MAX_SECTORS * BLOCK_SECTOR_SIZE / block_info(block)->logical_block_size;
}

/* Address and number of blocks in a CDB of READ, WRITE, VERIFY, WRITE SAME, SYNCHRONIZE CACHE. */
void scsi_address(const uint8_t *cdb, uint64_t *lba, uint32_t *count);

/*
 * The same in bytes, in cmd->req.offset and .length. False: it is not on the medium, and the
 * command has ended.
 */
bool scsi_range(struct scsi_command *cmd, const struct block *block) MUST_CHECK;
/* The same for data: at most what B0 says, and all in `data`, which is cut to it. */
bool scsi_transfer_range(struct scsi_command *cmd, const struct block *block,
			 struct scsi_data *data) MUST_CHECK;

/* READ, READ CAPACITY (10) and (16). */
void scsi_medium_read(struct scsi_command *cmd, struct block *block);
void scsi_read_capacity_10(struct scsi_command *cmd, const struct block *block);
void scsi_read_capacity_16(struct scsi_command *cmd, const struct block *block);

#endif
