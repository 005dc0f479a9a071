/* SPDX-License-Identifier: MIT */
/*
 * A logical unit: what disks and CD drives have in common.
 *
 *     scsi_lun.c          the way of a command: gate, unit attentions, reservations, dispatch
 *     scsi_inquiry.c      INQUIRY, vital product data, REPORT SUPPORTED OPERATION CODES
 *     scsi_mode.c         MODE SENSE, MODE SELECT
 *     scsi_reservation.c  PERSISTENT RESERVE IN and OUT
 *     scsi_disk*.c        disks (SBC)
 *     scsi_cd*.c          CD drives (MMC)
 *
 * The gate: commands run side by side, except those that must be alone on the unit (COMPARE AND
 * WRITE, all that need the unit's one bounce buffer, ORDERED tasks). These wait until nothing runs,
 * and later ones wait behind them.
 *
 * A unit's rate limit is kept at the gate too, for commands that reservations may exclude (those
 * that read or write): so it holds up no other unit. They have left the ring, which bounds how many
 * there can be. To wait for a limit would make a reset or a pause take as long as the limit
 * pleases, so that then they end with BUSY, and a driver sends them again.
 *
 * Home loop and the bus's lock, except where something else is said.
 */
#ifndef VIRTIO_SCSI_LUN_H
#define VIRTIO_SCSI_LUN_H

#include "core/ratelimit.h"
#include "virtio/scsi_bus.h"
#include "virtio/scsi_reservation.h"

#define SCSI_BOUNCE_SIZE (64 * KIB)

enum scsi_opcode_flags {
	SCSI_ANY_TIME = 1 << 0,  /* also with a unit attention pending */
	SCSI_READS = 1 << 1,     /* reads the medium: what reservations may exclude */
	SCSI_WRITES = 1 << 2,    /* changes the medium or the unit */
	SCSI_EXCLUSIVE = 1 << 3, /* alone on the unit */
	SCSI_MEDIUM = 1 << 4,    /* needs a medium */
};

#define SCSI_NO_ACTION 0xff

/* A command that a unit knows. */
struct scsi_opcode {
	uint8_t opcode;
	uint8_t action; /* service action (CDB byte 1), or SCSI_NO_ACTION */
	uint8_t flags;
	void (*run)(struct scsi_lun *lun, struct scsi_command *cmd);
};

/* A mode page: its bytes, and those bits of them that MODE SELECT may change. */
#define SCSI_MODE_PAGE_MAX 24u
struct scsi_mode_page {
	uint8_t code;
	uint8_t len; /* of data, header included */
	uint8_t data[SCSI_MODE_PAGE_MAX], changeable[SCSI_MODE_PAGE_MAX];
};

struct scsi_lun_class {
	struct device_class device; /* first */
	enum scsi_peripheral_type type;
	const struct scsi_opcode *opcodes; /* ended by one without `run` */
	/* Optional: whether a unit has this one of them; without the function it has all. */
	bool (*has)(const struct scsi_lun *lun, const struct scsi_opcode *opcode);
	/* The index-th mode page, with current or default values. False: no more. */
	bool (*mode_page)(const struct scsi_lun *lun, unsigned index, bool defaults,
			  struct scsi_mode_page *page);
	/* Take over a page that MODE SELECT has changed within what is changeable. */
	void (*mode_select)(struct scsi_lun *lun, const struct scsi_mode_page *page);
	/* Optional: end a MODE SELECT whose pages are taken over, after what they call for. */
	void (*mode_done)(struct scsi_lun *lun, struct scsi_command *cmd);
	/* For the block descriptor. False: there is no medium to describe. */
	bool (*geometry)(const struct scsi_lun *lun, uint64_t *blocks, uint32_t *block_size);
	/* The device-specific parameter of the mode header. */
	uint8_t (*mode_parameter)(const struct scsi_lun *lun);
	/* SENSE_NONE (key 0), or why the medium cannot be used. */
	struct scsi_sense (*ready)(const struct scsi_lun *lun);
	/* VPD pages of the type; 0: no such page. buf: SCSI_VPD_MAX bytes, zeroed. */
	size_t (*vpd)(const struct scsi_lun *lun, uint8_t page, uint8_t *buf);
	/* Optional: a command of this unit has ended. */
	void (*finished)(struct scsi_lun *lun);
	/* Optional: back to what realize made of it. Nothing is running. */
	void (*reset)(struct scsi_lun *lun);
};

#define SCSI_VPD_MAX 128u

/* Pending unit attentions, the most important first: one bit each (SAM-5, 5.14). */
enum scsi_attention {
	SCSI_ATTENTION_POWER_ON,
	SCSI_ATTENTION_RESET,
	SCSI_ATTENTION_MEDIUM,
	SCSI_ATTENTION_CAPACITY,
	SCSI_ATTENTION_LUNS,
	SCSI_ATTENTION_PREEMPTED,
	SCSI_ATTENTION_UNREGISTERED,
	SCSI_ATTENTION_RELEASED,
	SCSI_ATTENTIONS
};

struct scsi_lun {
	struct device dev; /* first */
	/* Options. */
	char *bus_id, *serial, *vendor, *product;
	uint64_t target, lun;
	uint64_t wwn;
	bool removable;
	struct rate_limit_options limits;

	struct scsi_bus *bus; /* NULL: no controller */
	struct list commands; /* all that have not ended, oldest first */
	struct list waiting;  /* at the gate, oldest first */
	unsigned running;
	bool exclusive; /* the one that runs is alone */
	bool pumping;
	bool stopped; /* quiesced: new commands get BUSY */
	bool resting; /* a quiesce waits for the last command */
	struct loop_task rest_task;
	struct rate_limit limit;
	struct loop_timer limit_timer;        /* armed while the first that waits does so for it */
	uint32_t attentions[SCSI_PR_NEXUSES]; /* bits of enum scsi_attention */
	bool descriptor_sense;                /* D_SENSE of the control page */
	struct scsi_reservations reservations;
	void *bounce; /* of the exclusive command */
};

static inline const struct scsi_lun_class *scsi_lun_class(const struct scsi_lun *lun)
{
	return container_of(lun->dev.cls, const struct scsi_lun_class, device);
}

static inline struct scsi_lun *scsi_lun(struct device *dev)
{
	return container_of(dev, struct scsi_lun, dev);
}

/* Rows for the option table of a unit whose struct begins with `struct scsi_lun`. */
/* clang-format off */
#define SCSI_LUN_OPTIONS                                                                           \
	{.name = "bus", .type = OPTION_STRING, .offset = offsetof(struct scsi_lun, bus_id),        \
	 .help = "id of the virtio-scsi controller (default: the first one)"},                     \
	{.name = "target", .type = OPTION_UINT, .offset = offsetof(struct scsi_lun, target),       \
	 .fallback = "0", .max = SCSI_MAX_TARGETS - 1, .help = "SCSI target"},                     \
	{.name = "lun", .type = OPTION_UINT, .offset = offsetof(struct scsi_lun, lun),             \
	 .fallback = "0", .max = SCSI_MAX_LUNS - 1, .help = "logical unit of the target"},         \
	{.name = "serial", .type = OPTION_STRING, .offset = offsetof(struct scsi_lun, serial),     \
	 .help = "unit serial number (at most 36 characters)"},                                    \
	{.name = "wwn", .type = OPTION_UINT, .offset = offsetof(struct scsi_lun, wwn),             \
	 .fallback = "0", .help = "world wide name, a 64-bit NAA number; 0: none"},         \
	{.name = "vendor", .type = OPTION_STRING, .offset = offsetof(struct scsi_lun, vendor),     \
	 .fallback = "VMM", .help = "vendor (at most 8 characters)"},                              \
	RATE_LIMIT_OPTIONS(struct scsi_lun, limits)

/* A row for its table of actions. */
#define SCSI_LUN_THROTTLE_ACTION                                                                   \
	{.name = "throttle",                                                                       \
	 .help = "change the rate limits; what is not given is not limited",                       \
	 .options = scsi_lun_throttle_options,                                                     \
	 .args_size = sizeof(struct rate_limit_options),                                           \
	 .run = scsi_lun_throttle}
/* clang-format on */

/* ---- life; the thread that adds and removes devices ---- */

/*
 * For realize: check the options, find the controller and become its child. Then the unit opens
 * what it stands on (on dev.loop) and attaches.
 */
int scsi_lun_init(struct scsi_lun *lun, struct vmm_error *err) MUST_CHECK;
/* The guest can see it from here on. */
int scsi_lun_attach(struct scsi_lun *lun, struct vmm_error *err) MUST_CHECK;
/* For unrealize: nobody sees it any more, and nothing is in flight when this returns. */
void scsi_lun_fini(struct scsi_lun *lun);

extern const struct option_desc scsi_lun_throttle_options[];
/* device_action.run */
int scsi_lun_throttle(struct device *dev, const void *args, struct report *report,
		      struct vmm_error *err);

/* For the `status` action of a unit: its rate limit. Home loop. */
void scsi_lun_report(struct scsi_lun *lun, struct report *report);

/* device_class functions that are the same for each unit. */
void scsi_lun_quiesce(struct device *dev);
void scsi_lun_reset_device(struct device *dev);
/* What is common in the saved state. */
void scsi_lun_save(const struct scsi_lun *lun, struct state_writer *w);

struct scsi_lun_state {
	uint32_t attentions[SCSI_PR_NEXUSES];
	bool descriptor_sense;
	struct scsi_reservations reservations;
};
/* Parse and validate / commit. */
int scsi_lun_parse(struct scsi_lun_state *state, struct state_reader *r) MUST_CHECK;
void scsi_lun_commit(struct scsi_lun *lun, const struct scsi_lun_state *state);

/* ---- working ---- */

void scsi_lun_execute(struct scsi_lun *lun, struct scsi_command *cmd);
/* Let those through the gate that may pass. */
void scsi_lun_pump(struct scsi_lun *lun);
/*
 * End those at the gate that wait for the limit, or may have to, with BUSY. While lun->stopped,
 * none waits for it.
 */
void scsi_lun_stop_waiting(struct scsi_lun *lun);
/* A command has ended (scsi_command.c). */
void scsi_lun_finish(struct scsi_command *cmd);

/*
 * End the commands of a nexus, or the one with this tag, early: at once what waits at the gate,
 * else when the disk lets go of it.
 */
void scsi_lun_abort(struct scsi_lun *lun, unsigned nexus, const uint64_t *tag,
		    enum scsi_outcome why);
/* After a reset: mode pages, reservations' volatile part and medium locks to their defaults. */
void scsi_lun_reset(struct scsi_lun *lun, enum scsi_attention why);

/* Report it with the next command of each initiator / of one. */
void scsi_lun_attention(struct scsi_lun *lun, enum scsi_attention what);
void scsi_lun_attention_nexus(struct scsi_lun *lun, unsigned nexus, enum scsi_attention what);

/* Whether the command that runs is alone on the unit / run it again, alone; do not touch it then.
 */
bool scsi_lun_alone(const struct scsi_command *cmd);
void scsi_lun_again_alone(struct scsi_command *cmd);

/* SCSI_BOUNCE_SIZE bytes for the exclusive command that runs; NULL: no memory. Freed at its end. */
void *scsi_lun_bounce(struct scsi_lun *lun);

/* The entries of its opcode table that a unit has, one after the other; NULL: the first, no more.
 */
const struct scsi_opcode *scsi_opcode_next(const struct scsi_lun *lun,
					   const struct scsi_opcode *opcode);
/* The one for a CDB; NULL: not known. */
const struct scsi_opcode *scsi_opcode_find(const struct scsi_lun *lun, const uint8_t *cdb);
/* Whether it has service actions of this operation code. */
bool scsi_opcode_has_actions(const struct scsi_lun *lun, uint8_t opcode);
/* Bytes of a CDB with this operation code; 0: not defined. */
unsigned scsi_cdb_length(uint8_t opcode);

/* ---- commands that all units know ---- */

void scsi_test_unit_ready(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_request_sense(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_lun_report_luns(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_inquiry(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_report_opcodes(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_mode_sense(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_mode_select(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_reserve_in(struct scsi_lun *lun, struct scsi_command *cmd);
void scsi_reserve_out(struct scsi_lun *lun, struct scsi_command *cmd);

/* clang-format off */
#define SCSI_COMMON_OPCODES                                                                        \
	{SCSI_TEST_UNIT_READY, SCSI_NO_ACTION, 0, scsi_test_unit_ready},                           \
	{SCSI_REQUEST_SENSE, SCSI_NO_ACTION, SCSI_ANY_TIME, scsi_request_sense},                   \
	{SCSI_INQUIRY, SCSI_NO_ACTION, SCSI_ANY_TIME, scsi_inquiry},                               \
	{SCSI_REPORT_LUNS, SCSI_NO_ACTION, SCSI_ANY_TIME, scsi_lun_report_luns},                   \
	{SCSI_MODE_SENSE_6, SCSI_NO_ACTION, 0, scsi_mode_sense},                                   \
	{SCSI_MODE_SENSE_10, SCSI_NO_ACTION, 0, scsi_mode_sense},                                  \
	{SCSI_MODE_SELECT_6, SCSI_NO_ACTION, SCSI_WRITES, scsi_mode_select},                       \
	{SCSI_MODE_SELECT_10, SCSI_NO_ACTION, SCSI_WRITES, scsi_mode_select},                      \
	{SCSI_MAINTENANCE_IN, SCSI_REPORT_SUPPORTED_OPCODES, 0, scsi_report_opcodes}
/* clang-format on */

#endif
