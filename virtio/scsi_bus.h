/* SPDX-License-Identifier: MIT */
/*
 * The logical units behind one controller: who is where, and what a target says for a unit that it
 * does not have.
 *
 * Look-up takes the same time however many there are: targets, then pages of units, allocated when
 * the first unit comes and freed with the last.
 *
 * Everything on a bus runs on the controller's home loop and is guarded by the controller's lock;
 * units use no lock of their own.
 */
#ifndef VIRTIO_SCSI_BUS_H
#define VIRTIO_SCSI_BUS_H

#include "core/device.h"
#include "virtio/scsi_command.h"

#define SCSI_MAX_TARGETS 256u
#define SCSI_MAX_LUNS    16384u
#define SCSI_LUN_PAGE    256u

struct scsi_bus;

/* What the controller does for the bus. Home loop, lock held. */
struct scsi_bus_ops {
	/* The command is over. It is the controller's again. */
	void (*complete)(struct scsi_bus *bus, struct scsi_command *cmd);
	/* Whether a driver is at work. One that has yet to start will look for itself. */
	bool (*driven)(const struct scsi_bus *bus);
	/* A unit has come or is about to go. */
	void (*plugged)(struct scsi_bus *bus, const struct scsi_lun *lun, bool added);
	/* Something about a unit has changed (capacity, medium). */
	void (*changed)(struct scsi_bus *bus, const struct scsi_lun *lun, struct scsi_sense what);
};

struct scsi_target {
	struct scsi_lun **pages[SCSI_MAX_LUNS / SCSI_LUN_PAGE];
	unsigned page_counts[SCSI_MAX_LUNS / SCSI_LUN_PAGE];
	unsigned count;
};

struct scsi_bus {
	struct device *dev; /* the controller */
	const struct scsi_bus_ops *ops;
	struct block_engines engines; /* of all units */
	struct scsi_target *targets[SCSI_MAX_TARGETS];
	unsigned count;     /* units */
	unsigned in_flight; /* commands */
	uint64_t sequence;  /* of the last command */
};

void scsi_bus_init(struct scsi_bus *bus, struct device *dev, const struct scsi_bus_ops *ops);
/* All units are gone. */
void scsi_bus_fini(struct scsi_bus *bus);

/*
 * The bus of the controller with this id, or with NULL of the first one; NULL if there is none. The
 * thread that adds and removes devices.
 */
struct scsi_bus *scsi_bus_find(const struct device_env *env, const char *id);

struct scsi_target *scsi_bus_target(const struct scsi_bus *bus, unsigned target);
struct scsi_lun *scsi_bus_lun(const struct scsi_bus *bus, unsigned target, unsigned lun);
/* The first unit at or behind (target, lun) of that target / of all targets; NULL: none. */
struct scsi_lun *scsi_target_next(const struct scsi_target *target, unsigned lun);
struct scsi_lun *scsi_bus_next(const struct scsi_bus *bus, unsigned target, unsigned lun);

/* -EEXIST: the address is taken; -ENOMEM. */
int scsi_bus_attach(struct scsi_bus *bus, struct scsi_lun *lun) MUST_CHECK;
void scsi_bus_detach(struct scsi_bus *bus, struct scsi_lun *lun);

/*
 * Start a command for a unit, which may not exist, of a target that does (-ENOENT: it does not,
 * nothing was started). It may be over when this returns.
 */
int scsi_bus_execute(struct scsi_bus *bus, unsigned target, unsigned lun,
		     struct scsi_command *cmd) MUST_CHECK;
/* The same for the well-known unit REPORT LUNS, which is of no target. */
void scsi_bus_execute_well_known(struct scsi_bus *bus, struct scsi_command *cmd);

/*
 * A logical unit's number as REPORT LUNS has it, of which six more bytes are 0: single level,
 * peripheral device addressing below 256, flat space addressing above (SAM-5, 4.7).
 */
void scsi_lun_encode(uint8_t p[2], unsigned lun);

/* Answer REPORT LUNS for a target. */
void scsi_report_luns(struct scsi_bus *bus, unsigned target, struct scsi_command *cmd);

#endif
