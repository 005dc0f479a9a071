/* SPDX-License-Identifier: MIT */
/*
 * The commands of a CD-ROM drive (MMC-6). A medium is one data track; beyond the size of a CD it
 * passes for a DVD.
 */
#include <string.h>

#include "virtio/scsi_cd.h"

#define CD_BLOCKS       (80u * 60 * 75) /* 80 minutes */
#define PROFILE_CD_ROM  0x0008
#define PROFILE_DVD_ROM 0x0010
#define LEAD_OUT        0xaa
#define LEAD_IN_FRAMES  150u /* the address of block 0 in frames */

static bool is_dvd(const struct scsi_cd *cd)
{
	return scsi_blocks(cd->block) > CD_BLOCKS;
}

static bool has_medium(const struct scsi_cd *cd)
{
	return cd->block && !cd->tray_open;
}

/* ---- the data ---- */

static void read_blocks(struct scsi_lun *lun, struct scsi_command *cmd)
{
	scsi_medium_read(cmd, scsi_cd(lun)->block);
}

static void read_capacity(struct scsi_lun *lun, struct scsi_command *cmd)
{
	scsi_read_capacity_10(cmd, scsi_cd(lun)->block);
}

/* ---- the tray ---- */

static void start_stop(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_cd *cd = scsi_cd(lun);
	const bool start = cmd->cdb[4] & 1, load_eject = cmd->cdb[4] & 2;

	/* A power condition, or a start or stop of what does not really turn. */
	if (cmd->cdb[4] >> 4 || !load_eject) {
		scsi_good(cmd);
		return;
	}
	if (!start && cd->locked && !cd->tray_open) {
		scsi_fail(cmd, SENSE_REMOVAL_PREVENTED);
		return;
	}
	scsi_cd_move_tray(cd, !start);
	scsi_good(cmd);
}

static void prevent_allow(struct scsi_lun *lun, struct scsi_command *cmd)
{
	scsi_cd(lun)->locked = cmd->cdb[4] & 1;
	scsi_good(cmd);
}

/* GET EVENT STATUS NOTIFICATION (6.6): of its classes we have the media's, bit 4. */
static void event_status(struct scsi_lun *lun, struct scsi_command *cmd)
{
	struct scsi_cd *cd = scsi_cd(lun);
	uint8_t data[8] = {0};
	size_t len = 4;

	if (!(cmd->cdb[1] & 1)) { /* polled is all that there is */
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	data[2] = 0x80; /* none of the classes asked for */
	data[3] = 1 << 4;
	if (cmd->cdb[4] & 1 << 4) {
		len = 8;
		put_be16(data, 4);
		data[2] = 4;
		data[4] = (uint8_t)cd->event;
		data[5] = (uint8_t)(cd->tray_open | (cd->block ? 2 : 0));
		cd->event = SCSI_CD_NO_EVENT;
	}
	scsi_reply(cmd, data, len, get_be16(cmd->cdb + 7));
}

static void mechanism_status(struct scsi_lun *lun, struct scsi_command *cmd)
{
	uint8_t data[8] = {0};

	data[1] = scsi_cd(lun)->tray_open ? 0x10 : 0;
	scsi_reply(cmd, data, sizeof(data), get_be16(cmd->cdb + 8));
}

/* ---- what is on the medium ---- */

/* An address as blocks, or as minutes, seconds and frames of 1/75 s. */
static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
	const uint32_t frames = lba + LEAD_IN_FRAMES;

	if (!msf) {
		put_be32(p, lba);
		return;
	}
	p[0] = 0;
	p[1] = (uint8_t)MIN(frames / 75 / 60, 255u);
	p[2] = (uint8_t)(frames / 75 % 60);
	p[3] = (uint8_t)(frames % 75);
}

/* One data track and the lead-out. */
static size_t toc(const struct scsi_cd *cd, const struct scsi_command *cmd, uint8_t *data)
{
	const uint32_t blocks = (uint32_t)MIN(scsi_blocks(cd->block), (uint64_t)UINT32_MAX);
	const bool msf = cmd->cdb[1] & 2;
	const uint8_t start = cmd->cdb[6];
	size_t n = 4;

	if (start > 1 && start != LEAD_OUT)
		return 0;
	data[2] = data[3] = 1;
	if (start != LEAD_OUT) {
		data[n + 1] = 0x14; /* data */
		data[n + 2] = 1;
		put_address(data + n + 4, 0, msf);
		n += 8;
	}
	data[n + 1] = 0x14;
	data[n + 2] = LEAD_OUT;
	put_address(data + n + 4, blocks, msf);
	return n + 8;
}

static size_t sessions(const struct scsi_command *cmd, uint8_t *data)
{
	data[2] = data[3] = 1;
	data[5] = 0x14;
	data[6] = 1;
	put_address(data + 8, 0, cmd->cdb[1] & 2);
	return 12;
}

static void read_toc(struct scsi_lun *lun, struct scsi_command *cmd)
{
	/* Older drivers say the format in the control byte. */
	const unsigned format = cmd->cdb[2] & 0xf ? cmd->cdb[2] & 0xf : cmd->cdb[9] >> 6;
	uint8_t data[20] = {0};
	size_t len = 0;

	if (format == 0)
		len = toc(scsi_cd(lun), cmd, data);
	else if (format == 1)
		len = sessions(cmd, data);
	if (!len) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	put_be16(data, (uint16_t)(len - 2));
	scsi_reply(cmd, data, len, get_be16(cmd->cdb + 7));
}

static void disc_information(struct scsi_lun *lun UNUSED, struct scsi_command *cmd)
{
	uint8_t data[34] = {0};

	if (cmd->cdb[1] & 7) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	put_be16(data, sizeof(data) - 2);
	data[2] = 0x0e; /* finished: disc and last session */
	data[3] = data[4] = data[5] = data[6] = 1;
	data[7] = 0x20; /* for unrestricted use */
	scsi_reply(cmd, data, sizeof(data), get_be16(cmd->cdb + 7));
}

/* Format 0: one layer, a disc of 120 mm. */
static size_t dvd_physical(const struct scsi_cd *cd, uint8_t *data)
{
	const uint32_t last = (uint32_t)MIN(scsi_blocks(cd->block) - 1, (uint64_t)0xffffff);

	data[4] = 0x01; /* DVD-ROM, part version 1 */
	data[5] = 0x0f; /* no minimum rate */
	data[6] = 0x01; /* one layer, read-only */
	put_be32(data + 8, 0);
	put_be32(data + 12, last);
	return 4 + 2048;
}

static void dvd_structure(struct scsi_lun *lun, struct scsi_command *cmd)
{
	uint8_t data[4 + 2048] = {0};
	size_t len = 0;

	if (!is_dvd(scsi_cd(lun))) {
		scsi_fail(cmd, SENSE_INCOMPATIBLE_MEDIUM);
		return;
	}
	if (cmd->cdb[7] == 0x00 && !cmd->cdb[6])
		len = dvd_physical(scsi_cd(lun), data);
	else if (cmd->cdb[7] == 0x01)
		len = 8; /* no copyright protection, all regions */
	if (!len || (cmd->cdb[1] & 0xf)) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	put_be16(data, (uint16_t)(len - 2));
	scsi_reply(cmd, data, len, get_be16(cmd->cdb + 8));
}

/* ---- GET CONFIGURATION (6.5) ---- */

struct feature {
	uint16_t code;
	bool current; /* not only a possibility, but with the medium that is there */
	uint8_t len;
	uint8_t data[8];
};

static size_t put_feature(uint8_t *p, const struct feature *f, const uint8_t *cdb)
{
	const unsigned which = cdb[1] & 3;
	const uint16_t start = get_be16(cdb + 2);

	/* From `start` on, of these only the current ones, or `start` alone. */
	if (f->code < start || (which == 1 && !f->current) || (which == 2 && f->code != start))
		return 0;
	put_be16(p, f->code);
	/* Persistent but for the profiles of a medium. */
	p[2] = (uint8_t)((f->code < 0x10 ? 2 : 0) | f->current);
	p[3] = f->len;
	memcpy(p + 4, f->data, f->len);
	return 4u + f->len;
}

static void configuration(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const struct scsi_cd *cd = scsi_cd(lun);
	const bool medium = has_medium(cd), dvd = medium && is_dvd(cd);
	const struct feature features[] = {
		/* Profiles; core, over SCSI; removable, with a tray that can be locked. */
		{0x0000, true, 8, {0, PROFILE_DVD_ROM, dvd, 0, 0, PROFILE_CD_ROM, medium && !dvd}},
		{0x0001, true, 8, {0, 0, 0, 1}},
		{0x0003, true, 4, {0x29}},
		{0x0010, medium, 8, {0, 0, 8, 0, 0, 1}}, /* random reads of 2 KiB blocks */
		{0x001e, medium && !dvd, 4, {0}},
		{0x001f, dvd, 4, {0}},
	};
	uint8_t data[8 + 12 * ARRAY_SIZE(features)] = {0};
	size_t len = 8;

	if ((cmd->cdb[1] & 3) == 3) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		len += put_feature(data + len, &features[i], cmd->cdb);
	put_be32(data, (uint32_t)(len - 4));
	if (medium)
		put_be16(data + 6, dvd ? PROFILE_DVD_ROM : PROFILE_CD_ROM);
	scsi_reply(cmd, data, len, get_be16(cmd->cdb + 7));
}

#define ANY   SCSI_NO_ACTION
#define READS (SCSI_READS | SCSI_MEDIUM)

const struct scsi_opcode scsi_cd_opcodes[] = {
	SCSI_COMMON_OPCODES,
	{SCSI_READ_6, ANY, READS, read_blocks},
	{SCSI_READ_10, ANY, READS, read_blocks},
	{SCSI_READ_12, ANY, READS, read_blocks},
	{SCSI_READ_CAPACITY_10, ANY, SCSI_MEDIUM, read_capacity},
	{SCSI_READ_TOC, ANY, SCSI_MEDIUM, read_toc},
	{SCSI_READ_DISC_INFORMATION, ANY, SCSI_MEDIUM, disc_information},
	{SCSI_READ_DVD_STRUCTURE, ANY, SCSI_MEDIUM, dvd_structure},
	{SCSI_GET_CONFIGURATION, ANY, SCSI_ANY_TIME, configuration},
	{SCSI_GET_EVENT_STATUS, ANY, SCSI_ANY_TIME, event_status},
	{SCSI_MECHANISM_STATUS, ANY, 0, mechanism_status},
	{SCSI_START_STOP_UNIT, ANY, 0, start_stop},
	{SCSI_PREVENT_ALLOW, ANY, 0, prevent_allow},
	{0},
};
