/* SPDX-License-Identifier: MIT */
#include "virtio/scsi_bus.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/scsi_lun.h"

void scsi_bus_init(struct scsi_bus *bus, struct device *dev, const struct scsi_bus_ops *ops)
{
	*bus = (struct scsi_bus){.dev = dev, .ops = ops, .engines = {.loop = dev->loop}};
}

void scsi_bus_fini(struct scsi_bus *bus)
{
	assert(!bus->count);
}

/* ---- look-up ---- */

struct scsi_target *scsi_bus_target(const struct scsi_bus *bus, unsigned target)
{
	return target < SCSI_MAX_TARGETS ? bus->targets[target] : NULL;
}

struct scsi_lun *scsi_bus_lun(const struct scsi_bus *bus, unsigned target, unsigned lun)
{
	const struct scsi_target *t = scsi_bus_target(bus, target);
	struct scsi_lun **page;

	if (!t || lun >= SCSI_MAX_LUNS)
		return NULL;
	page = t->pages[lun / SCSI_LUN_PAGE];
	return page ? page[lun % SCSI_LUN_PAGE] : NULL;
}

struct scsi_lun *scsi_target_next(const struct scsi_target *target, unsigned lun)
{
	while (target && lun < SCSI_MAX_LUNS) {
		struct scsi_lun **page = target->pages[lun / SCSI_LUN_PAGE];

		if (page && page[lun % SCSI_LUN_PAGE])
			return page[lun % SCSI_LUN_PAGE];
		lun = page ? lun + 1 : (lun / SCSI_LUN_PAGE + 1) * SCSI_LUN_PAGE;
	}
	return NULL;
}

struct scsi_lun *scsi_bus_next(const struct scsi_bus *bus, unsigned target, unsigned lun)
{
	for (; target < SCSI_MAX_TARGETS; target++, lun = 0) {
		struct scsi_lun *found = scsi_target_next(bus->targets[target], lun);

		if (found)
			return found;
	}
	return NULL;
}

int scsi_bus_attach(struct scsi_bus *bus, struct scsi_lun *lun)
{
	const unsigned page = (unsigned)lun->lun / SCSI_LUN_PAGE;
	struct scsi_target *t = bus->targets[lun->target];

	if (scsi_bus_lun(bus, (unsigned)lun->target, (unsigned)lun->lun))
		return -EEXIST;
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return -ENOMEM;
	}
	if (!t->pages[page])
		t->pages[page] = calloc(SCSI_LUN_PAGE, sizeof(struct scsi_lun *));
	if (!t->pages[page]) {
		if (!t->count)
			free(t);
		return -ENOMEM;
	}
	bus->targets[lun->target] = t;
	t->pages[page][lun->lun % SCSI_LUN_PAGE] = lun;
	t->page_counts[page]++;
	t->count++;
	bus->count++;
	return 0;
}

void scsi_bus_detach(struct scsi_bus *bus, struct scsi_lun *lun)
{
	const unsigned page = (unsigned)lun->lun / SCSI_LUN_PAGE;
	struct scsi_target *t = bus->targets[lun->target];

	assert(t && t->pages[page] && t->pages[page][lun->lun % SCSI_LUN_PAGE] == lun);
	t->pages[page][lun->lun % SCSI_LUN_PAGE] = NULL;
	bus->count--;
	t->count--;
	if (!--t->page_counts[page]) {
		free(t->pages[page]);
		t->pages[page] = NULL;
	}
	if (!t->count) {
		free(t);
		bus->targets[lun->target] = NULL;
	}
}

/* ---- REPORT LUNS (SPC-4, 6.33) ---- */

void scsi_lun_encode(uint8_t p[2], unsigned lun)
{
	p[0] = (uint8_t)(lun < 256 ? 0 : 0x40 | lun >> 8);
	p[1] = (uint8_t)lun;
}

/* Entries are written where they go: a target may have more than would fit a buffer of ours. */
static void put_entry(struct scsi_command *cmd, unsigned *n, const uint8_t *entry, uint64_t room)
{
	const uint64_t at = 8 + 8 * (uint64_t)(*n)++;

	if (at < room)
		scsi_data_write(&cmd->in, at, entry, (size_t)MIN(room - at, UINT64_C(8)));
}

void scsi_report_luns(struct scsi_bus *bus, unsigned target, struct scsi_command *cmd)
{
	const struct scsi_target *t = scsi_bus_target(bus, target);
	const uint32_t allocation = get_be32(cmd->cdb + 6);
	const bool well_known = cmd->cdb[2] != 0, units = cmd->cdb[2] != 1;
	/* LUN 0 is always there, if only to say that nothing is. */
	const bool zero = t && !scsi_bus_lun(bus, target, 0);
	const unsigned count = (units && t ? t->count + zero : 0) + (well_known && !t);
	const uint64_t room = MIN(UINT64_C(8) + 8 * (uint64_t)count, (uint64_t)allocation);
	uint8_t entry[8] = {0};
	unsigned n = 0;

	if (cmd->cdb[2] > 2 || allocation < 16) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (room > cmd->in.len) {
		scsi_overrun(cmd);
		return;
	}
	put_be32(entry, 8 * count);
	scsi_data_write(&cmd->in, 0, entry, 8);
	memset(entry, 0, sizeof(entry));
	if (units && zero) {
		scsi_lun_encode(entry, 0);
		put_entry(cmd, &n, entry, room);
	}
	for (struct scsi_lun *l = units ? scsi_target_next(t, 0) : NULL; l && 8 + 8 * n < room;
	     l = scsi_target_next(t, (unsigned)l->lun + 1)) {
		scsi_lun_encode(entry, (unsigned)l->lun);
		put_entry(cmd, &n, entry, room);
	}
	if (well_known && !t)
		put_entry(cmd, &n, (const uint8_t[8]){0xc1, 0x01}, room);
	cmd->transferred = room;
	scsi_good(cmd);
}

/* ---- what a target answers for units that it does not have (SPC-4, 6.6.2) ---- */

static void absent_inquiry(struct scsi_command *cmd, uint8_t first)
{
	/* Version SPC-3, response format 2, 31 more bytes. */
	uint8_t data[36] = {first, 0, 5, 2, 31, 0, 0, 2};

	if (cmd->cdb[1] & 1) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	memcpy(data + 8, "VMM     TARGET          1   ", 28);
	scsi_reply(cmd, data, sizeof(data), get_be16(cmd->cdb + 3));
}

static void absent_sense(struct scsi_command *cmd, struct scsi_sense sense)
{
	uint8_t data[SCSI_SENSE_SIZE];
	unsigned len = scsi_sense_build(data, cmd->cdb[1] & 1, sense, NULL);

	scsi_reply(cmd, data, len, cmd->cdb[4]);
}

static void absent_execute(struct scsi_bus *bus, unsigned target, unsigned lun,
			   struct scsi_command *cmd)
{
	switch (cmd->cdb[0]) {
	case SCSI_INQUIRY:
		/* A unit 0 could be connected; the others cannot be there. */
		absent_inquiry(cmd, lun ? 0x7f : 0x3f);
		break;
	case SCSI_REPORT_LUNS:
		scsi_report_luns(bus, target, cmd);
		break;
	case SCSI_REQUEST_SENSE:
		absent_sense(cmd, SENSE_LUN_NOT_SUPPORTED);
		break;
	default:
		scsi_fail(cmd, SENSE_LUN_NOT_SUPPORTED);
		break;
	}
}

void scsi_bus_execute_well_known(struct scsi_bus *bus, struct scsi_command *cmd)
{
	cmd->bus = bus;
	cmd->lun = NULL;
	switch (cmd->cdb[0]) {
	case SCSI_INQUIRY:
		absent_inquiry(cmd, SCSI_TYPE_WELL_KNOWN_LUN);
		break;
	case SCSI_REPORT_LUNS:
		scsi_report_luns(bus, SCSI_MAX_TARGETS, cmd);
		break;
	case SCSI_REQUEST_SENSE:
		absent_sense(cmd, SENSE_NONE);
		break;
	case SCSI_TEST_UNIT_READY:
		scsi_good(cmd);
		break;
	default:
		scsi_fail(cmd, SENSE_INVALID_OPCODE);
		break;
	}
}

int scsi_bus_execute(struct scsi_bus *bus, unsigned target, unsigned lun, struct scsi_command *cmd)
{
	struct scsi_lun *found = scsi_bus_lun(bus, target, lun);

	if (!scsi_bus_target(bus, target))
		return -ENOENT;
	cmd->bus = bus;
	cmd->lun = found;
	if (found)
		scsi_lun_execute(found, cmd);
	else
		absent_execute(bus, target, lun, cmd);
	return 0;
}
