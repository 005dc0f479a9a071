/* SPDX-License-Identifier: MIT */
/*
 * Persistent reservations of one logical unit (SPC-4, 5.13): who is registered with which key, who
 * holds the reservation, and whom that keeps out. virtio-scsi has one initiator, nexus 0; the rules
 * are those for several.
 *
 * Home loop, the bus's lock held.
 */
#ifndef VIRTIO_SCSI_RESERVATION_H
#define VIRTIO_SCSI_RESERVATION_H

#include "core/state.h"
#include "core/types.h"

#define SCSI_PR_NEXUSES 4u

enum scsi_pr_type {
	SCSI_PR_NONE = 0,
	SCSI_PR_WRITE_EXCLUSIVE = 1,
	SCSI_PR_EXCLUSIVE_ACCESS = 3,
	SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS = 5,
	SCSI_PR_EXCLUSIVE_ACCESS_REGISTRANTS = 6,
	SCSI_PR_WRITE_EXCLUSIVE_ALL = 7,
	SCSI_PR_EXCLUSIVE_ACCESS_ALL = 8,
};

struct scsi_reservations {
	uint32_t generation;
	uint64_t keys[SCSI_PR_NEXUSES]; /* 0: not registered */
	enum scsi_pr_type type;
	unsigned holder; /* with a type that has one holder */
};

/* Whether a command of this nexus that reads or changes the medium is kept out. */
bool scsi_pr_conflict(const struct scsi_reservations *pr, unsigned nexus, bool reads, bool writes);

void scsi_pr_save(const struct scsi_reservations *pr, struct state_writer *w);
/* Parse and validate. */
int scsi_pr_load(struct scsi_reservations *pr, struct state_reader *r) MUST_CHECK;

#endif
