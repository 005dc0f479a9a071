/* SPDX-License-Identifier: MIT */
#include "virtio/scsi_reservation.h"

#include <errno.h>
#include <string.h>

#include "virtio/scsi_lun.h"

#define PARAMETERS_SIZE 24u

enum pr_in_action { READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS };

enum pr_out_action {
	REGISTER,
	RESERVE,
	RELEASE,
	CLEAR,
	PREEMPT,
	PREEMPT_AND_ABORT,
	REGISTER_AND_IGNORE,
};

/* ---- who may do what ---- */

static bool valid_type(unsigned type)
{
	return type == SCSI_PR_WRITE_EXCLUSIVE || type == SCSI_PR_EXCLUSIVE_ACCESS ||
	       (type >= SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS &&
		type <= SCSI_PR_EXCLUSIVE_ACCESS_ALL);
}

static bool all_hold(const struct scsi_reservations *pr)
{
	return pr->type == SCSI_PR_WRITE_EXCLUSIVE_ALL || pr->type == SCSI_PR_EXCLUSIVE_ACCESS_ALL;
}

/* Types whose end the other registrants are told of. */
static bool for_registrants(const struct scsi_reservations *pr)
{
	return pr->type >= SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS;
}

static bool holds(const struct scsi_reservations *pr, unsigned nexus)
{
	return pr->type && (all_hold(pr) ? pr->keys[nexus] != 0 : pr->holder == nexus);
}

bool scsi_pr_conflict(const struct scsi_reservations *pr, unsigned nexus, bool reads, bool writes)
{
	if (!pr->type || holds(pr, nexus) || (for_registrants(pr) && pr->keys[nexus]))
		return false;
	/* The exclusive-access types are the even ones, but for the first of them. */
	if (pr->type == SCSI_PR_EXCLUSIVE_ACCESS ||
	    pr->type == SCSI_PR_EXCLUSIVE_ACCESS_REGISTRANTS ||
	    pr->type == SCSI_PR_EXCLUSIVE_ACCESS_ALL)
		return reads || writes;
	return writes;
}

/* ---- PERSISTENT RESERVE IN (SPC-4, 6.15) ---- */

static void read_keys(const struct scsi_reservations *pr, struct scsi_command *cmd, uint16_t room)
{
	uint8_t data[8 + 8 * SCSI_PR_NEXUSES] = {0};
	uint32_t n = 0;

	put_be32(data, pr->generation);
	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++)
		if (pr->keys[i])
			put_be64(data + 8 + 8 * n++, pr->keys[i]);
	put_be32(data + 4, 8 * n);
	scsi_reply(cmd, data, 8 + 8 * n, room);
}

static void read_reservation(const struct scsi_reservations *pr, struct scsi_command *cmd,
			     uint16_t room)
{
	uint8_t data[24] = {0};

	put_be32(data, pr->generation);
	if (pr->type) {
		put_be32(data + 4, 16);
		put_be64(data + 8, all_hold(pr) ? 0 : pr->keys[pr->holder]);
		data[21] = (uint8_t)pr->type;
	}
	scsi_reply(cmd, data, pr->type ? 24 : 8, room);
}

static void report_capabilities(struct scsi_command *cmd, uint16_t room)
{
	uint8_t data[8] = {0};

	put_be16(data, sizeof(data));
	data[3] = 0x80; /* the type mask is valid; nothing survives the loss of power */
	data[4] = 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3 | 1 << 1;
	data[5] = 1 << 0;
	scsi_reply(cmd, data, sizeof(data), room);
}

/* A full status descriptor ends with a transport identifier; ours is a SAS one (7.6.4.5). */
static void read_full_status(const struct scsi_reservations *pr, struct scsi_command *cmd,
			     uint16_t room)
{
	uint8_t data[8 + 48 * SCSI_PR_NEXUSES] = {0};
	uint32_t n = 0;

	put_be32(data, pr->generation);
	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++) {
		uint8_t *d = data + 8 + 48 * n;

		if (!pr->keys[i])
			continue;
		put_be64(d, pr->keys[i]);
		d[12] = holds(pr, i);
		d[13] = (uint8_t)(holds(pr, i) ? pr->type : 0);
		put_be16(d + 18, 1);
		put_be32(d + 20, 24);
		d[24] = 6;
		put_be64(d + 28, UINT64_C(0x3000000000000000) + i);
		n++;
	}
	put_be32(data + 4, 48 * n);
	scsi_reply(cmd, data, 8 + 48 * n, room);
}

void scsi_reserve_in(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const uint16_t room = get_be16(cmd->cdb + 7);

	switch ((enum pr_in_action)(cmd->cdb[1] & 0x1f)) {
	case READ_KEYS:
		read_keys(&lun->reservations, cmd, room);
		break;
	case READ_RESERVATION:
		read_reservation(&lun->reservations, cmd, room);
		break;
	case REPORT_CAPABILITIES:
		report_capabilities(cmd, room);
		break;
	case READ_FULL_STATUS:
		read_full_status(&lun->reservations, cmd, room);
		break;
	default:
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		break;
	}
}

/* ---- PERSISTENT RESERVE OUT (SPC-4, 6.16) ---- */

static void tell_others(struct scsi_lun *lun, unsigned nexus, enum scsi_attention what)
{
	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++)
		if (i != nexus && lun->reservations.keys[i])
			scsi_lun_attention_nexus(lun, i, what);
}

static void release(struct scsi_lun *lun, unsigned nexus)
{
	if (for_registrants(&lun->reservations))
		tell_others(lun, nexus, SCSI_ATTENTION_RELEASED);
	lun->reservations.type = SCSI_PR_NONE;
}

static void unregister(struct scsi_lun *lun, unsigned nexus)
{
	struct scsi_reservations *pr = &lun->reservations;
	bool others = false;

	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++)
		others = others || (i != nexus && pr->keys[i]);
	if (holds(pr, nexus) && (!all_hold(pr) || !others))
		release(lun, nexus);
	pr->keys[nexus] = 0;
}

static void do_register(struct scsi_lun *lun, struct scsi_command *cmd, uint64_t key,
			uint64_t action_key)
{
	struct scsi_reservations *pr = &lun->reservations;

	if ((cmd->cdb[1] & 0x1f) == REGISTER && key != pr->keys[cmd->nexus]) {
		scsi_status(cmd, SCSI_STATUS_RESERVATION_CONFLICT);
		return;
	}
	if (pr->keys[cmd->nexus] || action_key)
		pr->generation++;
	if (action_key)
		pr->keys[cmd->nexus] = action_key;
	else if (pr->keys[cmd->nexus])
		unregister(lun, cmd->nexus);
	scsi_good(cmd);
}

static void do_reserve(struct scsi_lun *lun, struct scsi_command *cmd, enum scsi_pr_type type)
{
	struct scsi_reservations *pr = &lun->reservations;

	if (pr->type && (!holds(pr, cmd->nexus) || pr->type != type)) {
		scsi_status(cmd, SCSI_STATUS_RESERVATION_CONFLICT);
		return;
	}
	if (!pr->type)
		pr->holder = cmd->nexus;
	pr->type = type;
	scsi_good(cmd);
}

static void do_release(struct scsi_lun *lun, struct scsi_command *cmd, enum scsi_pr_type type)
{
	struct scsi_reservations *pr = &lun->reservations;

	if (holds(pr, cmd->nexus) && pr->type != type) {
		scsi_fail(cmd, SENSE_INVALID_RELEASE);
		return;
	}
	if (holds(pr, cmd->nexus))
		release(lun, cmd->nexus);
	scsi_good(cmd);
}

static void do_clear(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_reservations *pr = &lun->reservations;

	tell_others(lun, cmd->nexus, SCSI_ATTENTION_PREEMPTED);
	memset(pr->keys, 0, sizeof(pr->keys));
	pr->type = SCSI_PR_NONE;
	pr->generation++;
	scsi_good(cmd);
}

/* Take the registrations with this key away (0: all), but not ours. False: there was none. */
static bool take_away(struct scsi_lun *lun, struct scsi_command *cmd, uint64_t key)
{
	const bool abort = (cmd->cdb[1] & 0x1f) == PREEMPT_AND_ABORT;
	struct scsi_reservations *pr = &lun->reservations;
	bool found = false;

	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++) {
		if (!pr->keys[i] || (key && pr->keys[i] != key))
			continue;
		found = true;
		if (i == cmd->nexus)
			continue;
		pr->keys[i] = 0;
		scsi_lun_attention_nexus(lun, i, SCSI_ATTENTION_UNREGISTERED);
		if (abort)
			scsi_lun_abort(lun, i, NULL, SCSI_ABORTED);
	}
	return found;
}

static void do_preempt(struct scsi_lun *lun, struct scsi_command *cmd, enum scsi_pr_type type,
		       uint64_t action_key)
{
	struct scsi_reservations *pr = &lun->reservations;
	const bool holder =
		pr->type && (all_hold(pr) ? !action_key : pr->keys[pr->holder] == action_key);

	if (!action_key && !holder) {
		scsi_fail(cmd, SENSE_INVALID_PARAMETER);
		return;
	}
	if (!take_away(lun, cmd, action_key)) {
		scsi_status(cmd, SCSI_STATUS_RESERVATION_CONFLICT);
		return;
	}
	if (holder) {
		if (pr->type != type)
			release(lun, cmd->nexus);
		pr->type = type;
		pr->holder = cmd->nexus;
	}
	pr->generation++;
	scsi_good(cmd);
}

static void reserve_out(struct scsi_lun *lun, struct scsi_command *cmd, uint64_t key,
			uint64_t action_key)
{
	const enum scsi_pr_type type = cmd->cdb[2] & 0xf;

	switch ((enum pr_out_action)(cmd->cdb[1] & 0x1f)) {
	case REGISTER:
	case REGISTER_AND_IGNORE:
		do_register(lun, cmd, key, action_key);
		break;
	case RESERVE:
		do_reserve(lun, cmd, type);
		break;
	case RELEASE:
		do_release(lun, cmd, type);
		break;
	case CLEAR:
		do_clear(lun, cmd);
		break;
	case PREEMPT:
	case PREEMPT_AND_ABORT:
		do_preempt(lun, cmd, type, action_key);
		break;
	}
}

/* What is wrong with the CDB; SENSE_NONE: nothing. */
static struct scsi_sense check_cdb(const struct scsi_command *cmd)
{
	const unsigned action = cmd->cdb[1] & 0x1f;
	const bool typed = action == RESERVE || action == RELEASE || action == PREEMPT ||
			   action == PREEMPT_AND_ABORT;

	if (action > REGISTER_AND_IGNORE)
		return SENSE_INVALID_FIELD;
	/* Scope: the logical unit, there is no other. */
	if (typed && (cmd->cdb[2] >> 4 || !valid_type(cmd->cdb[2] & 0xf)))
		return SENSE_INVALID_FIELD;
	if (get_be32(cmd->cdb + 5) != PARAMETERS_SIZE)
		return SENSE_LIST_LENGTH;
	return SENSE_NONE;
}

void scsi_reserve_out(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const struct scsi_sense sense = check_cdb(cmd);
	const unsigned action = cmd->cdb[1] & 0x1f;
	uint8_t data[PARAMETERS_SIZE];
	uint64_t key;

	if (sense.key) {
		scsi_fail(cmd, sense);
		return;
	}
	if (!scsi_take(cmd, data, sizeof(data)))
		return;
	key = get_be64(data);
	/* SPEC_I_PT and APTPL, which we do not have; ALL_TG_PT changes nothing with one port. */
	if (data[20] & 0x09)
		scsi_fail(cmd, SENSE_INVALID_PARAMETER);
	else if (action != REGISTER && action != REGISTER_AND_IGNORE &&
		 (!key || key != lun->reservations.keys[cmd->nexus]))
		scsi_status(cmd, SCSI_STATUS_RESERVATION_CONFLICT);
	else
		reserve_out(lun, cmd, key, get_be64(data + 8));
}

/* ---- saved state ---- */

void scsi_pr_save(const struct scsi_reservations *pr, struct state_writer *w)
{
	state_begin(w, "reservations", 1);
	state_put_u64(w, "generation", pr->generation);
	state_put_u64(w, "type", pr->type);
	state_put_u64(w, "holder", pr->holder);
	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++)
		state_put_u64(w, "key", pr->keys[i]);
	state_end(w);
}

int scsi_pr_load(struct scsi_reservations *pr, struct state_reader *r)
{
	uint64_t generation = 0, type = 0, holder = 0;
	uint32_t version;
	int rc = state_enter(r, "reservations", 1, &version);

	if (!rc)
		rc = state_get_u64(r, "generation", &generation, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "type", &type, 0, SCSI_PR_EXCLUSIVE_ACCESS_ALL);
	if (!rc)
		rc = state_get_u64(r, "holder", &holder, 0, SCSI_PR_NEXUSES - 1);
	for (unsigned i = 0; !rc && i < SCSI_PR_NEXUSES; i++)
		rc = state_get_u64(r, "key", &pr->keys[i], 0, UINT64_MAX);
	if (!rc)
		rc = state_leave(r);
	if (rc)
		return rc;
	pr->generation = (uint32_t)generation;
	pr->type = (enum scsi_pr_type)type;
	pr->holder = (unsigned)holder;
	/* Only a registrant holds anything. */
	if (type && (!valid_type((unsigned)type) || (!all_hold(pr) && !pr->keys[holder])))
		return -ERANGE;
	return 0;
}
