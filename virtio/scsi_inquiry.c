/* SPDX-License-Identifier: MIT */
/*
 * What a unit says about itself: INQUIRY (SPC-4, 6.6) with its vital product data (7.8), and REPORT
 * SUPPORTED OPERATION CODES (6.35).
 */
#include <string.h>

#include "virtio/scsi_lun.h"

#define STANDARD_SIZE 66u

/* Space-padded, not terminated. */
static void put_text(uint8_t *p, size_t len, const char *text)
{
	memset(p, ' ', len);
	if (text)
		memcpy(p, text, strnlen(text, len));
}

static const char *product(const struct scsi_lun *lun)
{
	if (lun->product)
		return lun->product;
	return scsi_lun_class(lun)->type == SCSI_TYPE_CD ? "CD-ROM" : "HARDDISK";
}

static void standard(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const enum scsi_peripheral_type type = scsi_lun_class(lun)->type;
	uint8_t data[STANDARD_SIZE] = {0};

	data[0] = (uint8_t)type;
	data[1] = lun->removable ? 0x80 : 0;
	data[2] = 6;        /* SPC-4 */
	data[3] = 2 | 0x10; /* response format 2, hierarchical addresses */
	data[4] = sizeof(data) - 5;
	data[7] = 0x02; /* command queuing */
	put_text(data + 8, 8, lun->vendor);
	put_text(data + 16, 16, product(lun));
	put_text(data + 32, 4, "1");
	/* Version descriptors: SAM-5, SPC-4, and SBC-3 or MMC-6. */
	put_be16(data + 58, 0x00a0);
	put_be16(data + 60, 0x0460);
	put_be16(data + 62, type == SCSI_TYPE_CD ? 0x1900 : 0x04c0);
	scsi_reply(cmd, data, sizeof(data), get_be16(cmd->cdb + 3));
}

/* ---- vital product data; each gives the bytes behind the four of the header ---- */

static size_t vpd_serial(const struct scsi_lun *lun, uint8_t *buf)
{
	const size_t len = lun->serial ? strlen(lun->serial) : 0;

	if (len)
		memcpy(buf, lun->serial, len);
	return len;
}

/* One designator: code set, type (of the logical unit), the bytes. */
static size_t designator(uint8_t *buf, uint8_t code_set, uint8_t type, size_t len)
{
	buf[0] = code_set;
	buf[1] = type;
	buf[3] = (uint8_t)len;
	return 4 + len;
}

static size_t vpd_identification(const struct scsi_lun *lun, uint8_t *buf)
{
	const char *name = lun->serial ? lun->serial : lun->dev.id;
	/* ASCII, T10 vendor identification: the vendor, then what makes it unique. */
	const size_t unique = MIN(strlen(name), (size_t)63);
	size_t n = designator(buf, 2, 1, 8 + unique);

	put_text(buf + 4, 8, lun->vendor);
	memcpy(buf + 12, name, unique);
	if (lun->wwn) {
		put_be64(buf + n + 4, lun->wwn);
		n += designator(buf + n, 1, 3, 8);
	}
	return n;
}

static size_t vpd_page(const struct scsi_lun *lun, uint8_t page, uint8_t *buf)
{
	switch (page) {
	case 0x80:
		return vpd_serial(lun, buf);
	case 0x83:
		return vpd_identification(lun, buf);
	default:
		return scsi_lun_class(lun)->vpd(lun, page, buf);
	}
}

static size_t vpd_supported(const struct scsi_lun *lun, uint8_t *buf)
{
	uint8_t scratch[SCSI_VPD_MAX];
	size_t n = 0;

	buf[n++] = 0x00;
	for (unsigned page = 0x80; page <= 0xb2; page++) {
		memset(scratch, 0, sizeof(scratch));
		if (vpd_page(lun, (uint8_t)page, scratch))
			buf[n++] = (uint8_t)page;
	}
	return n;
}

void scsi_inquiry(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const uint8_t page = cmd->cdb[2];
	uint8_t data[4 + SCSI_VPD_MAX] = {0};
	size_t len;

	/* CMDDT is obsolete; a page code without EVPD is an error. */
	if ((cmd->cdb[1] & 2) || (page && !(cmd->cdb[1] & 1))) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (!(cmd->cdb[1] & 1)) {
		standard(lun, cmd);
		return;
	}
	len = page ? vpd_page(lun, page, data + 4) : vpd_supported(lun, data + 4);
	if (!len) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	data[0] = (uint8_t)scsi_lun_class(lun)->type;
	data[1] = page;
	put_be16(data + 2, (uint16_t)len);
	scsi_reply(cmd, data, 4 + len, get_be16(cmd->cdb + 3));
}

/* ---- REPORT SUPPORTED OPERATION CODES ---- */

#define OPCODES_MAX 64u

static void all_opcodes(const struct scsi_lun *lun, struct scsi_command *cmd)
{
	uint8_t data[4 + 8 * OPCODES_MAX] = {0};
	const struct scsi_opcode *op = NULL;
	unsigned n = 0;

	for (; n < OPCODES_MAX && (op = scsi_opcode_next(lun, op)); n++) {
		uint8_t *d = data + 4 + 8 * n;

		d[0] = op->opcode;
		if (op->action != SCSI_NO_ACTION) {
			d[3] = op->action;
			d[5] = 1;
		}
		put_be16(d + 6, (uint16_t)scsi_cdb_length(op->opcode));
	}
	put_be32(data, 8 * n);
	scsi_reply(cmd, data, 4 + 8 * n, get_be32(cmd->cdb + 6));
}

/* What is asked for: an operation code alone, one with its service action, or as the code has it.
 */
enum { ONE_OPCODE = 1, ONE_ACTION = 2, ONE_OF_EITHER = 3 };

static void one_opcode(const struct scsi_lun *lun, struct scsi_command *cmd, unsigned option)
{
	const uint8_t opcode = cmd->cdb[3];
	const uint16_t action = get_be16(cmd->cdb + 4);
	const bool actions = scsi_opcode_has_actions(lun, opcode);
	const uint8_t cdb[SCSI_CDB_SIZE] = {opcode, action & 0x1f};
	const struct scsi_opcode *op = scsi_opcode_find(lun, cdb);
	uint8_t data[4 + SCSI_CDB_SIZE] = {0};
	unsigned len;

	if ((option == ONE_OPCODE && actions) || (option == ONE_ACTION && op && !actions)) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (option != ONE_OPCODE && action > (actions ? 0x1f : 0))
		op = NULL;
	len = op ? scsi_cdb_length(op->opcode) : 0;
	data[1] = op ? 3 : 1; /* as in the standard / not supported */
	put_be16(data + 2, (uint16_t)len);
	if (op) {
		memset(data + 4, 0xff, len);
		data[4] = op->opcode;
		if (actions)
			data[5] = (uint8_t)(0xe0 | action);
	}
	scsi_reply(cmd, data, 4 + len, get_be32(cmd->cdb + 6));
}

void scsi_report_opcodes(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const unsigned option = cmd->cdb[2] & 7;

	if (!option)
		all_opcodes(lun, cmd);
	else if (option <= ONE_OF_EITHER)
		one_opcode(lun, cmd, option);
	else
		scsi_fail(cmd, SENSE_INVALID_FIELD);
}
