/* SPDX-License-Identifier: MIT */
/*
 * One SCSI command on its way through a logical unit.
 *
 * Whoever brings commands (virtio_scsi_request.c) fills the first part and hands it to
 * scsi_bus_execute. A logical unit ends it with exactly one of scsi_good, scsi_fail, scsi_status
 * and scsi_overrun, at once or when its disk is done; the command must not be touched afterwards.
 *
 * What the guest wrote is copied once: the CDB by the caller, parameter lists by scsi_take. The
 * data of reads and writes go between the guest's memory and the disk without a copy.
 *
 * Everything here: home loop, the bus's lock held.
 */
#ifndef VIRTIO_SCSI_COMMAND_H
#define VIRTIO_SCSI_COMMAND_H

#include "block/block.h"
#include "virtio/scsi_proto.h"

#define SCSI_CDB_SIZE   16u /* the longest command that we know */
#define SCSI_SENSE_SIZE 20u
/* Ranges in one UNMAP. */
#define SCSI_UNMAP_RANGES 16u

struct scsi_bus;
struct scsi_lun;
struct scsi_opcode;

/* Guest memory in segments. The array is the caller's; what it holds may be cut by the LUN. */
struct scsi_data {
	struct iovec *iov;
	unsigned count;
	uint64_t len; /* bytes */
};

enum scsi_outcome {
	SCSI_COMPLETE, /* status and sense count */
	SCSI_OVERRUN,  /* the CDB asks for more than the buffers hold */
	SCSI_ABORTED,  /* by a task management function */
	SCSI_RESET,    /* by a reset of the logical unit or nexus */
};

struct scsi_range {
	uint64_t offset, length; /* bytes */
};

struct scsi_command {
	/* The caller's. */
	uint8_t cdb[SCSI_CDB_SIZE];
	uint64_t tag;
	unsigned nexus; /* which initiator */
	bool ordered;   /* after all that came before, before all that comes after */
	struct scsi_data out, in;

	/* The result. */
	enum scsi_outcome outcome;
	uint8_t status; /* enum scsi_status */
	uint8_t sense[SCSI_SENSE_SIZE];
	unsigned sense_len;
	uint64_t transferred; /* bytes of out taken or of in written from the start */

	/* The bus's and the logical unit's. */
	struct scsi_bus *bus;
	struct scsi_lun *lun; /* NULL: for a unit that does not exist */
	const struct scsi_opcode *opcode;
	struct list link;        /* in lun->commands */
	struct list wait;        /* in lun->waiting */
	uint64_t sequence;       /* in order of arrival on the bus */
	bool running;            /* past the gate */
	bool charged;            /* to the unit's rate limit */
	enum scsi_outcome abort; /* not SCSI_COMPLETE: end it with this as soon as possible */
	struct block_request req;
	void (*next)(struct scsi_command *cmd); /* when req has succeeded */
	struct iovec one;
	uint64_t offset, left; /* bytes of the disk still to do */
	uint64_t position;     /* in out */
	bool flag;
	struct scsi_range ranges[SCSI_UNMAP_RANGES];
	unsigned range_count, next_range;
};

/* ---- data ---- */

/* Cut to the first `len` bytes (at most data->len) / drop the first `len` bytes. */
void scsi_data_trim(struct scsi_data *data, uint64_t len);
void scsi_data_skip(struct scsi_data *data, uint64_t len);
/* Copy from or to the segments, from byte `offset` on. Returns the bytes copied. */
size_t scsi_data_read(const struct scsi_data *data, uint64_t offset, void *dst, size_t len);
size_t scsi_data_write(const struct scsi_data *data, uint64_t offset, const void *src, size_t len);

/* ---- ends of a command ---- */

void scsi_good(struct scsi_command *cmd);
void scsi_status(struct scsi_command *cmd, enum scsi_status status);
/* CHECK CONDITION, in the sense format that the LUN's control page asks for. */
void scsi_fail(struct scsi_command *cmd, struct scsi_sense sense);
/* The same with an INFORMATION field. */
void scsi_fail_info(struct scsi_command *cmd, struct scsi_sense sense, uint32_t information);
void scsi_overrun(struct scsi_command *cmd);
/*
 * GOOD with `len` bytes for the guest, of which it gets at most `allocation` (the CDB's allocation
 * length); overrun if there is less room than that.
 */
void scsi_reply(struct scsi_command *cmd, const void *data, size_t len, uint32_t allocation);

/*
 * Copy a parameter list of `len` bytes, the length that the CDB says, into buf. False: there is
 * less data; the command has ended.
 */
bool scsi_take(struct scsi_command *cmd, void *buf, size_t len) MUST_CHECK;

/* Sense data into buf (SCSI_SENSE_SIZE); descriptor: 72h, else 70h. Returns the length. */
unsigned scsi_sense_build(uint8_t *buf, bool descriptor, struct scsi_sense sense,
			  const uint32_t *information);

/* ---- disk requests ---- */

/*
 * Submit cmd->req, of which op, flags, offset, length and the data are set. When it has succeeded
 * next(cmd) runs; a failure or an abort ends the command.
 */
void scsi_submit(struct scsi_command *cmd, struct block *block,
		 void (*next)(struct scsi_command *cmd));

#endif
