/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi (virtio 1.2, section 5.6), the controller. For virtio_scsi*.c only.
 *
 * virtio_scsi.c is the device: options, configuration space, life. virtio_scsi_request.c carries
 * commands between the request queues and the bus, virtio_scsi_control.c does task management,
 * virtio_scsi_event.c reports what has changed. The units are scsi_*.c, which know no virtqueues.
 */
#ifndef VIRTIO_VIRTIO_SCSI_H
#define VIRTIO_VIRTIO_SCSI_H

/* The two sizes are the driver's to set: fields of fixed size would be wrong. */
#define VIRTIO_SCSI_CDB_SIZE   0
#define VIRTIO_SCSI_SENSE_SIZE 0
#include <linux/virtio_scsi.h>

#include "virtio/scsi_bus.h"
#include "virtio/virtio.h"

enum { VIRTIO_SCSI_CONTROL, VIRTIO_SCSI_EVENT, VIRTIO_SCSI_REQUEST };

/* Request queues. */
#define VIRTIO_SCSI_MAX_QUEUES 256u
/* Events that wait for a buffer of the driver's; more are lost, and it is told so. */
#define VIRTIO_SCSI_EVENTS 64u
/* The largest sizes that a driver may set. */
#define VIRTIO_SCSI_SIZE_MAX 255u

struct virtio_scsi;

/* A command in flight, at [queue][slot]. */
struct virtio_scsi_request {
	struct scsi_command cmd;
	struct virtio_scsi *scsi;
	struct virtq_chain *chain;
	unsigned queue;
	uint32_t generation;
	uint32_t response_size; /* bytes in front of the data in */
	uint64_t data_len;      /* bytes of data buffers, whichever way they go */
	struct iovec *cut;      /* the segment that response and data share; NULL: none */
	struct iovec whole;     /* … as it was */
};

/* A task management function that waits for commands to end, at [slot]. */
struct virtio_scsi_tmf {
	struct virtq_chain *chain;
	struct list link;
	uint32_t function; /* VIRTIO_SCSI_T_TMF_… */
	unsigned target, lun;
	uint64_t tag;
	uint64_t sequence; /* it is about commands up to this one */
};

struct virtio_scsi {
	struct virtio_device vd; /* first */
	uint64_t queues, queue_size;
	struct scsi_bus bus;
	uint32_t sense_size, cdb_size; /* configuration space */
	bool draining;
	struct loop_task drained_task;
	struct virtio_scsi_request **requests; /* [queue][slot] */
	struct virtio_scsi_tmf *tmfs;
	struct list tmfs_waiting;
	struct virtio_scsi_event events[VIRTIO_SCSI_EVENTS]; /* a ring */
	unsigned event_first, event_count;
	bool events_missed;
};

static inline struct virtio_scsi *virtio_scsi(struct virtio_device *vd)
{
	return container_of(vd, struct virtio_scsi, vd);
}

/* Target and unit of an address (5.6.6.1). False: it is none, or that of a well-known unit. */
bool virtio_scsi_address(const uint8_t lun[8], unsigned *target, unsigned *unit) MUST_CHECK;

/* All: home loop, lock held. */

/* Start the command in a chain, or answer it. */
void virtio_scsi_start(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain);
/* A command has ended (scsi_bus_ops.complete). */
void virtio_scsi_complete(struct scsi_bus *bus, struct scsi_command *cmd);

void virtio_scsi_control(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain);
/* A command has ended: answer the task management functions that waited only for it. */
void virtio_scsi_tmfs_check(struct virtio_scsi *scsi);

/* scsi_bus_ops.driven, .plugged and .changed. */
bool virtio_scsi_driven(const struct scsi_bus *bus);
void virtio_scsi_plugged(struct scsi_bus *bus, const struct scsi_lun *lun, bool added);
void virtio_scsi_changed(struct scsi_bus *bus, const struct scsi_lun *lun, struct scsi_sense what);
/* Give the driver what waits, as far as it has buffers. */
void virtio_scsi_events_flush(struct virtio_scsi *scsi);

#endif
