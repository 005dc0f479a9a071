/* SPDX-License-Identifier: MIT */
/*
 * MODE SENSE and MODE SELECT, 6 and 10 (SPC-4, 6.11 to 6.14, 7.5). The pages are the class's; the
 * control page is common.
 */
#include <string.h>

#include "virtio/scsi_lun.h"

#define PAGE_CONTROL 0x0a
#define PAGE_ALL     0x3f
/* The longest list that can make sense: header, block descriptor, pages. */
#define LIST_MAX 512u

enum page_control { CURRENT, CHANGEABLE, DEFAULTS, SAVED };

/* ---- pages ---- */

static bool page_at(const struct scsi_lun *lun, unsigned index, bool defaults,
		    struct scsi_mode_page *page)
{
	memset(page, 0, sizeof(*page));
	if (index)
		return scsi_lun_class(lun)->mode_page(lun, index - 1, defaults, page);
	page->code = PAGE_CONTROL;
	page->len = 12;
	page->data[2] = lun->descriptor_sense && !defaults ? 4 : 0;
	page->data[3] = 0x10; /* commands may be reordered */
	page->changeable[2] = 4;
	return true;
}

static bool page_find(const struct scsi_lun *lun, uint8_t code, struct scsi_mode_page *page)
{
	for (unsigned i = 0; page_at(lun, i, false, page); i++)
		if (page->code == code)
			return true;
	return false;
}

/* ---- MODE SENSE ---- */

static size_t put_pages(const struct scsi_lun *lun, uint8_t code, enum page_control control,
			uint8_t *buf)
{
	struct scsi_mode_page page;
	size_t n = 0;

	for (unsigned i = 0; page_at(lun, i, control == DEFAULTS, &page); i++) {
		if (code != PAGE_ALL && code != page.code)
			continue;
		memcpy(buf + n, control == CHANGEABLE ? page.changeable : page.data, page.len);
		buf[n] = page.code;
		buf[n + 1] = (uint8_t)(page.len - 2);
		n += page.len;
	}
	return n;
}

/* The short descriptor: number of blocks as far as it fits, block length (SBC-3, 6.5.2.2). */
static size_t put_block_descriptor(const struct scsi_lun *lun, uint8_t *buf)
{
	uint64_t blocks;
	uint32_t size;

	if (!scsi_lun_class(lun)->geometry || !scsi_lun_class(lun)->geometry(lun, &blocks, &size))
		return 0;
	put_be32(buf, (uint32_t)MIN(blocks, (uint64_t)UINT32_MAX));
	put_be32(buf + 4, size & 0xffffff);
	return 8;
}

void scsi_mode_sense(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const bool ten = cmd->cdb[0] == SCSI_MODE_SENSE_10;
	const uint8_t code = cmd->cdb[2] & 0x3f, sub = cmd->cdb[3];
	const enum page_control control = cmd->cdb[2] >> 6;
	const size_t header = ten ? 8 : 4;
	uint8_t data[LIST_MAX] = {0};
	size_t descriptor = 0, pages;

	if (control == SAVED) {
		scsi_fail(cmd, SENSE_SAVING_NOT_SUPPORTED);
		return;
	}
	if (!(cmd->cdb[1] & 8)) /* DBD */
		descriptor = put_block_descriptor(lun, data + header);
	pages = put_pages(lun, code, control, data + header + descriptor);
	if (!pages || (sub && !(sub == 0xff && code == PAGE_ALL))) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (ten) {
		put_be16(data, (uint16_t)(header + descriptor + pages - 2));
		data[3] = scsi_lun_class(lun)->mode_parameter(lun);
		data[7] = (uint8_t)descriptor;
	} else {
		data[0] = (uint8_t)(header + descriptor + pages - 1);
		data[2] = scsi_lun_class(lun)->mode_parameter(lun);
		data[3] = (uint8_t)descriptor;
	}
	scsi_reply(cmd, data, header + descriptor + pages,
		   ten ? get_be16(cmd->cdb + 7) : cmd->cdb[4]);
}

/* ---- MODE SELECT ---- */

/* Only the current geometry, or zeroes for "no change", is taken. */
static bool block_descriptor_ok(const struct scsi_lun *lun, const uint8_t *p)
{
	uint8_t now[8] = {0};

	if (!put_block_descriptor(lun, now))
		return false;
	return (!get_be32(p) || get_be32(p) == UINT32_MAX || !memcmp(p, now, 4)) &&
	       !memcmp(p + 5, now + 5, 3);
}

/* Nothing but what is changeable may differ from what is. */
static bool page_ok(const struct scsi_lun *lun, const uint8_t *p, size_t left,
		    struct scsi_mode_page *page)
{
	if (left < 2 || (p[0] & 0x40) || !page_find(lun, p[0] & 0x3f, page) ||
	    p[1] != page->len - 2 || left < page->len)
		return false;
	for (unsigned i = 2; i < page->len; i++) {
		if ((p[i] ^ page->data[i]) & ~page->changeable[i])
			return false;
		page->data[i] = p[i];
	}
	return true;
}

static void commit_page(struct scsi_lun *lun, const struct scsi_mode_page *page)
{
	if (page->code == PAGE_CONTROL)
		lun->descriptor_sense = page->data[2] & 4;
	else
		scsi_lun_class(lun)->mode_select(lun, page);
}

/* Check all pages / commit them: a list with an error changes nothing. */
static bool walk_pages(struct scsi_lun *lun, const uint8_t *p, size_t left, bool commit)
{
	struct scsi_mode_page page;

	for (; left; p += page.len, left -= page.len) {
		if (!page_ok(lun, p, left, &page))
			return false;
		if (commit)
			commit_page(lun, &page);
	}
	return true;
}

void scsi_mode_select(struct scsi_lun *lun, struct scsi_command *cmd)
{
	const bool ten = cmd->cdb[0] == SCSI_MODE_SELECT_10;
	const size_t len = ten ? get_be16(cmd->cdb + 7) : cmd->cdb[4];
	const size_t header = ten ? 8 : 4;
	uint8_t data[LIST_MAX] = {0};
	size_t descriptor;

	/* Pages in the standard's format, not to be saved. */
	if ((cmd->cdb[1] & 0x11) != 0x10) {
		scsi_fail(cmd, SENSE_INVALID_FIELD);
		return;
	}
	if (!len) {
		scsi_good(cmd);
		return;
	}
	if (len < header || len > sizeof(data)) {
		scsi_fail(cmd, SENSE_LIST_LENGTH);
		return;
	}
	if (!scsi_take(cmd, data, len))
		return;
	descriptor = ten ? get_be16(data + 6) : data[3];
	if (descriptor > len - header) {
		scsi_fail(cmd, SENSE_LIST_LENGTH);
		return;
	}
	if ((descriptor && (descriptor != 8 || !block_descriptor_ok(lun, data + header))) ||
	    !walk_pages(lun, data + header + descriptor, len - header - descriptor, false)) {
		scsi_fail(cmd, SENSE_INVALID_PARAMETER);
		return;
	}
	walk_pages(lun, data + header + descriptor, len - header - descriptor, true);
	if (scsi_lun_class(lun)->mode_done)
		scsi_lun_class(lun)->mode_done(lun, cmd);
	else
		scsi_good(cmd);
}
