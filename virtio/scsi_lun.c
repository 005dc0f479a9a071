/* SPDX-License-Identifier: MIT */
/*
 * The way of a command through a logical unit: gate, unit attentions, reservations, dispatch; and
 * the commands that are the same for each unit.
 */
#include "virtio/scsi_lun.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- opcodes ---- */

unsigned scsi_cdb_length(uint8_t opcode)
{
	static const uint8_t lengths[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return lengths[opcode >> 5];
}

const struct scsi_opcode *scsi_opcode_next(const struct scsi_lun *lun, const struct scsi_opcode *op)
{
	const struct scsi_lun_class *cls = scsi_lun_class(lun);

	for (op = op ? op + 1 : cls->opcodes; op->run; op++)
		if (!cls->has || cls->has(lun, op))
			return op;
	return NULL;
}

const struct scsi_opcode *scsi_opcode_find(const struct scsi_lun *lun, const uint8_t *cdb)
{
	const struct scsi_opcode *op = NULL;

	while ((op = scsi_opcode_next(lun, op)))
		if (op->opcode == cdb[0] &&
		    (op->action == SCSI_NO_ACTION || op->action == (cdb[1] & 0x1f)))
			break;
	return op;
}

bool scsi_opcode_has_actions(const struct scsi_lun *lun, uint8_t opcode)
{
	const struct scsi_opcode *op = NULL;

	while ((op = scsi_opcode_next(lun, op)))
		if (op->opcode == opcode && op->action != SCSI_NO_ACTION)
			return true;
	return false;
}

/* ---- unit attentions (SAM-5, 5.14) ---- */

static struct scsi_sense attention_sense(enum scsi_attention what)
{
	switch (what) {
	case SCSI_ATTENTION_POWER_ON:
		return SENSE_POWER_ON;
	case SCSI_ATTENTION_RESET:
		return SENSE_DEVICE_RESET;
	case SCSI_ATTENTION_MEDIUM:
		return SENSE_MEDIUM_CHANGED;
	case SCSI_ATTENTION_CAPACITY:
		return SENSE_CAPACITY_CHANGED;
	case SCSI_ATTENTION_LUNS:
		return SENSE_LUNS_CHANGED;
	case SCSI_ATTENTION_PREEMPTED:
		return SENSE_RESERVATIONS_PREEMPTED;
	case SCSI_ATTENTION_UNREGISTERED:
		return SENSE_REGISTRATIONS_PREEMPTED;
	case SCSI_ATTENTION_RELEASED:
	case SCSI_ATTENTIONS:
		break;
	}
	return SENSE_RESERVATIONS_RELEASED;
}

void scsi_lun_attention_nexus(struct scsi_lun *lun, unsigned nexus, enum scsi_attention what)
{
	/* That the power came on says it all. */
	if (!(lun->attentions[nexus] & 1u << SCSI_ATTENTION_POWER_ON))
		lun->attentions[nexus] |= 1u << what;
}

void scsi_lun_attention(struct scsi_lun *lun, enum scsi_attention what)
{
	for (unsigned nexus = 0; nexus < SCSI_PR_NEXUSES; nexus++)
		scsi_lun_attention_nexus(lun, nexus, what);
}

/* Take the most important one. SENSE_NONE: there is none. */
static struct scsi_sense take_attention(struct scsi_lun *lun, unsigned nexus)
{
	uint32_t *pending = &lun->attentions[nexus];
	unsigned what;

	if (!*pending)
		return SENSE_NONE;
	what = (unsigned)__builtin_ctz(*pending);
	*pending &= *pending - 1;
	return attention_sense((enum scsi_attention)what);
}

/* ---- the gate ---- */

static void run(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const struct scsi_lun_class *cls = scsi_lun_class(lun);
	const struct scsi_opcode *op = cmd->opcode;
	struct scsi_sense sense = SENSE_NONE;

	if (!op)
		sense = scsi_opcode_has_actions(lun, cmd->cdb[0]) ? SENSE_INVALID_FIELD
								  : SENSE_INVALID_OPCODE;
	else if (cmd->cdb[scsi_cdb_length(op->opcode) - 1] & 4)
		sense = SENSE_INVALID_FIELD; /* NACA: we have no ACA */
	else if (!(op->flags & SCSI_ANY_TIME))
		sense = take_attention(lun, cmd->nexus);
	if (!sense.key && op && (op->flags & SCSI_MEDIUM))
		sense = cls->ready(lun);
	if (sense.key)
		scsi_fail(cmd, sense);
	else if (scsi_pr_conflict(&lun->reservations, cmd->nexus, op->flags & SCSI_READS,
				  op->flags & SCSI_WRITES))
		scsi_status(cmd, SCSI_STATUS_RESERVATION_CONFLICT);
	else
		op->run(lun, cmd);
}

static bool exclusive(const struct scsi_command *cmd)
{
	return cmd->ordered || (cmd->opcode && (cmd->opcode->flags & SCSI_EXCLUSIVE));
}

static bool limited(const struct scsi_lun *lun, const struct scsi_command *cmd)
{
	return cmd->opcode && (cmd->opcode->flags & (SCSI_READS | SCSI_WRITES)) && !cmd->charged &&
	       rate_limit_applies(&lun->limit);
}

/* Whether the limit holds the command up. Then the timer will call. */
static bool over_limit(struct scsi_lun *lun, const struct scsi_command *cmd)
{
	uint64_t wait, deadline;

	if (!limited(lun, cmd))
		return false;
	/* The timer is armed for the first of those that wait: so is this one. */
	if (lun->limit_timer.heap_index >= 0)
		return true;
	wait = rate_limit_wait(&lun->limit);
	if (!wait)
		return false;
	if (__builtin_add_overflow(clock_now(lun->limit.clock), wait, &deadline))
		deadline = UINT64_MAX;
	/* Without memory for a timer: better a disk that is too fast than one that hangs. */
	return lun->stopped || !loop_timer_arm(&lun->limit_timer, deadline);
}

static void pass(struct scsi_lun *lun, struct scsi_command *cmd)
{
	if (limited(lun, cmd)) {
		rate_limit_charge(&lun->limit, cmd->out.len + cmd->in.len);
		cmd->charged = true;
	}
	list_del(&cmd->wait);
	lun->exclusive = exclusive(cmd);
	lun->running++;
	cmd->running = true;
	run(lun, cmd);
}

void scsi_lun_pump(struct scsi_lun *lun)
{
	/* A command may end at once and come back here: no deeper for each that waits. */
	if (lun->pumping)
		return;
	lun->pumping = true;
	while (!list_empty(&lun->waiting) && !lun->exclusive) {
		struct scsi_command *cmd = list_entry(lun->waiting.next, struct scsi_command, wait);

		if (exclusive(cmd) && lun->running)
			break;
		if (!over_limit(lun, cmd))
			pass(lun, cmd);
		else if (lun->stopped)
			scsi_status(cmd, SCSI_STATUS_BUSY);
		else
			break;
	}
	lun->pumping = false;
}

void scsi_lun_stop_waiting(struct scsi_lun *lun)
{
	const bool pumping = lun->pumping;

	/* Behind one that is alone on the unit there may be some that have yet to wait for it. */
	lun->pumping = true;
	list_for_each (it, &lun->waiting) {
		struct scsi_command *cmd = list_entry(it, struct scsi_command, wait);

		if (limited(lun, cmd))
			scsi_status(cmd, SCSI_STATUS_BUSY);
	}
	lun->pumping = pumping;
	scsi_lun_pump(lun);
}

void scsi_lun_execute(struct scsi_lun *lun, struct scsi_command *cmd)
{
	cmd->opcode = scsi_opcode_find(lun, cmd->cdb);
	cmd->outcome = cmd->abort = SCSI_COMPLETE;
	cmd->running = cmd->charged = false;
	cmd->sequence = ++lun->bus->sequence;
	lun->bus->in_flight++;
	list_add_tail(&lun->commands, &cmd->link);
	list_add_tail(&lun->waiting, &cmd->wait);
	if (lun->stopped)
		scsi_status(cmd, SCSI_STATUS_BUSY);
	else
		scsi_lun_pump(lun);
}

void scsi_lun_finish(struct scsi_command *cmd)
{
	struct scsi_lun *lun = cmd->lun;

	if (cmd->abort != SCSI_COMPLETE)
		cmd->outcome = cmd->abort;
	list_del(&cmd->link);
	list_del(&cmd->wait);
	lun->bus->in_flight--;
	if (cmd->running) {
		lun->running--;
		if (lun->exclusive) {
			lun->exclusive = false;
			free(lun->bounce);
			lun->bounce = NULL;
		}
	}
	lun->bus->ops->complete(lun->bus, cmd);
	if (scsi_lun_class(lun)->finished)
		scsi_lun_class(lun)->finished(lun);
	if (lun->resting && list_empty(&lun->commands))
		loop_post(lun->dev.loop, &lun->rest_task);
	scsi_lun_pump(lun);
}

void scsi_lun_abort(struct scsi_lun *lun, unsigned nexus, const uint64_t *tag,
		    enum scsi_outcome why)
{
	const bool pumping = lun->pumping;

	/* Nothing is let through the gate, so that only what is at hand leaves the list. */
	lun->pumping = true;
	list_for_each (it, &lun->commands) {
		struct scsi_command *cmd = list_entry(it, struct scsi_command, link);

		if (cmd->nexus != nexus || (tag && cmd->tag != *tag))
			continue;
		/* The first reason stands. */
		if (cmd->abort == SCSI_COMPLETE)
			cmd->abort = why;
		if (!cmd->running)
			scsi_lun_finish(cmd);
	}
	lun->pumping = pumping;
	scsi_lun_pump(lun);
}

bool scsi_lun_alone(const struct scsi_command *cmd)
{
	return cmd->lun->exclusive;
}

void scsi_lun_again_alone(struct scsi_command *cmd)
{
	struct scsi_lun *lun = cmd->lun;

	cmd->ordered = true;
	cmd->running = false;
	lun->running--;
	/* In front: it was its turn. */
	list_add_tail(lun->waiting.next, &cmd->wait);
	scsi_lun_pump(lun);
}

void *scsi_lun_bounce(struct scsi_lun *lun)
{
	assert(lun->exclusive);
	if (!lun->bounce)
		lun->bounce = aligned_alloc(GUEST_PAGE_SIZE, SCSI_BOUNCE_SIZE);
	return lun->bounce;
}

void scsi_lun_reset(struct scsi_lun *lun, enum scsi_attention why)
{
	lun->descriptor_sense = false;
	/* Persistent means: a reset does not end them, the loss of power does. */
	if (why == SCSI_ATTENTION_POWER_ON) {
		lun->reservations = (struct scsi_reservations){0};
		memset(lun->attentions, 0, sizeof(lun->attentions));
	}
	if (scsi_lun_class(lun)->reset)
		scsi_lun_class(lun)->reset(lun);
	scsi_lun_attention(lun, why);
}

/* ---- commands that all units know ---- */

void scsi_test_unit_ready(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const struct scsi_sense sense = scsi_lun_class(lun)->ready(lun);

	if (sense.key)
		scsi_fail(cmd, sense);
	else
		scsi_good(cmd);
}

void scsi_request_sense(struct scsi_lun *lun, struct scsi_command *cmd)
{
	uint8_t data[SCSI_SENSE_SIZE];
	struct scsi_sense sense = take_attention(lun, cmd->nexus);
	unsigned len;

	if (!sense.key)
		sense = scsi_lun_class(lun)->ready(lun);
	len = scsi_sense_build(data, cmd->cdb[1] & 1, sense, NULL);
	scsi_reply(cmd, data, len, cmd->cdb[4]);
}

void scsi_lun_report_luns(struct scsi_lun *lun, struct scsi_command *cmd)
{
	lun->attentions[cmd->nexus] &= ~(1u << SCSI_ATTENTION_LUNS);
	scsi_report_luns(lun->bus, (unsigned)lun->target, cmd);
}
