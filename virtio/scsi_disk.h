/* SPDX-License-Identifier: MIT */
/*
 * A SCSI disk (SBC-3). For scsi_disk*.c only.
 *
 * scsi_disk.c is the device: options, mode pages, vital product data, life. scsi_disk_data.c reads,
 * writes, flushes and compares; scsi_disk_unmap.c deallocates and writes the same block many times.
 */
#ifndef VIRTIO_SCSI_DISK_H
#define VIRTIO_SCSI_DISK_H

#include "virtio/scsi_medium.h"

struct scsi_disk {
	struct scsi_lun lun; /* first */
	struct block_options options;
	bool rotational;
	struct block *block;
	bool initial_writeback;
};

static inline struct scsi_disk *scsi_disk(const struct scsi_lun *lun)
{
	return container_of(lun, struct scsi_disk, lun);
}

/* Blocks that one COMPARE AND WRITE may have. */
static inline uint32_t scsi_disk_compare_blocks(const struct scsi_disk *disk)
{
	return MIN((uint32_t)(SCSI_BOUNCE_SIZE / block_info(disk->block)->logical_block_size),
		   255u);
}

/* False: the disk is read-only, and the command has ended. */
bool scsi_disk_writable(struct scsi_disk *disk, struct scsi_command *cmd) MUST_CHECK;

void scsi_disk_read(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_disk_write(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_disk_synchronize(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_disk_verify(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_disk_compare_and_write(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_disk_unmap(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_disk_write_same(struct scsi_lun *lun, struct scsi_command *cmd);

/* Make completed writes durable, then end the command. */
void scsi_disk_flush(struct scsi_disk *disk, struct scsi_command *cmd);

#endif
