/* SPDX-License-Identifier: MIT */
/*
 * A SCSI CD-ROM drive (MMC-6) for ISO images. For scsi_cd*.c only.
 *
 * scsi_cd.c is the device: options, actions, media that come and go, life. scsi_cd_commands.c has
 * the commands.
 */
#ifndef VIRTIO_SCSI_CD_H
#define VIRTIO_SCSI_CD_H

#include "virtio/scsi_medium.h"

/* Media that are out of the drive but still have reads in flight. */
#define SCSI_CD_CLOSING 4u

/* What GET EVENT STATUS NOTIFICATION reports of the medium (MMC-6, 6.6.2.6). */
enum scsi_cd_event {
	SCSI_CD_NO_EVENT,
	SCSI_CD_EJECT_REQUEST,
	SCSI_CD_NEW_MEDIUM,
	SCSI_CD_REMOVAL,
};

struct scsi_cd {
	struct scsi_lun lun; /* first */
	char *path, *drive;  /* of the medium in it at first, one of the two; NULL: none */
	int cache, engine;   /* enum block_cache, block_engine */
	struct block *block; /* the medium; NULL: none */
	bool tray_open;
	bool locked; /* PREVENT ALLOW MEDIUM REMOVAL */
	enum scsi_cd_event event;
	struct block *closing[SCSI_CD_CLOSING];
	struct loop_task close_task;
};

static inline struct scsi_cd *scsi_cd(const struct scsi_lun *lun)
{
	return container_of(lun, struct scsi_cd, lun);
}

extern const struct scsi_opcode scsi_cd_opcodes[];

/* Home loop, lock held: move the tray; a closed one with a medium in it is a new medium. */
void scsi_cd_move_tray(struct scsi_cd *cd, bool open);

#endif
