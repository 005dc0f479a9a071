/* SPDX-License-Identifier: MIT */
#include "virtio/scsi_command.h"

#include <errno.h>
#include <string.h>

#include "virtio/scsi_lun.h"

/* ---- data ---- */

void scsi_data_trim(struct scsi_data *data, uint64_t len)
{
	uint64_t left = len;
	unsigned i;

	for (i = 0; i < data->count && left; i++) {
		if (data->iov[i].iov_len > left)
			data->iov[i].iov_len = (size_t)left;
		left -= data->iov[i].iov_len;
	}
	data->count = i;
	data->len = len;
}

void scsi_data_skip(struct scsi_data *data, uint64_t len)
{
	data->len -= len;
	while (data->count && len >= data->iov->iov_len) {
		len -= data->iov->iov_len;
		data->iov++;
		data->count--;
	}
	if (len) {
		data->iov->iov_base = (char *)data->iov->iov_base + len;
		data->iov->iov_len -= (size_t)len;
	}
}

/* to_guest: from buf to the segments. */
static size_t copy(const struct scsi_data *data, uint64_t offset, char *buf, size_t len,
		   bool to_guest)
{
	size_t done = 0;

	for (unsigned i = 0; i < data->count && done < len; i++) {
		const struct iovec *iov = &data->iov[i];
		size_t n;

		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		n = MIN(len - done, iov->iov_len - (size_t)offset);
		if (to_guest)
			memcpy((char *)iov->iov_base + offset, buf + done, n);
		else
			memcpy(buf + done, (const char *)iov->iov_base + offset, n);
		done += n;
		offset = 0;
	}
	return done;
}

size_t scsi_data_read(const struct scsi_data *data, uint64_t offset, void *dst, size_t len)
{
	return copy(data, offset, dst, len, false);
}

size_t scsi_data_write(const struct scsi_data *data, uint64_t offset, const void *src, size_t len)
{
	return copy(data, offset, (char *)(uintptr_t)src, len, true);
}

/* ---- sense data (SPC-4, 4.5) ---- */

static unsigned descriptor_sense(uint8_t *buf, struct scsi_sense sense, const uint32_t *information)
{
	buf[0] = 0x72;
	buf[1] = sense.key;
	buf[2] = sense.asc;
	buf[3] = sense.ascq;
	if (!information)
		return 8;
	/* The information descriptor (4.5.2.2): type 0, ten more bytes, valid, eight bytes. */
	buf[7] = 12;
	buf[9] = 10;
	buf[10] = 0x80;
	put_be64(buf + 12, *information);
	return 20;
}

static unsigned fixed_sense(uint8_t *buf, struct scsi_sense sense, const uint32_t *information)
{
	buf[0] = information ? 0xf0 : 0x70;
	buf[2] = sense.key;
	if (information)
		put_be32(buf + 3, *information);
	buf[7] = 10; /* bytes that follow */
	buf[12] = sense.asc;
	buf[13] = sense.ascq;
	return 18;
}

unsigned scsi_sense_build(uint8_t *buf, bool descriptor, struct scsi_sense sense,
			  const uint32_t *information)
{
	memset(buf, 0, SCSI_SENSE_SIZE);
	return descriptor ? descriptor_sense(buf, sense, information)
			  : fixed_sense(buf, sense, information);
}

/* ---- ends ---- */

static void end(struct scsi_command *cmd)
{
	if (cmd->lun)
		scsi_lun_finish(cmd);
	else
		cmd->bus->ops->complete(cmd->bus, cmd);
}

void scsi_status(struct scsi_command *cmd, enum scsi_status status)
{
	cmd->status = (uint8_t)status;
	end(cmd);
}

void scsi_good(struct scsi_command *cmd)
{
	scsi_status(cmd, SCSI_STATUS_GOOD);
}

static void check_condition(struct scsi_command *cmd, struct scsi_sense sense,
			    const uint32_t *information)
{
	cmd->sense_len = scsi_sense_build(cmd->sense, cmd->lun && cmd->lun->descriptor_sense, sense,
					  information);
	cmd->transferred = 0;
	scsi_status(cmd, SCSI_STATUS_CHECK_CONDITION);
}

void scsi_fail(struct scsi_command *cmd, struct scsi_sense sense)
{
	check_condition(cmd, sense, NULL);
}

void scsi_fail_info(struct scsi_command *cmd, struct scsi_sense sense, uint32_t information)
{
	check_condition(cmd, sense, &information);
}

void scsi_overrun(struct scsi_command *cmd)
{
	cmd->outcome = SCSI_OVERRUN;
	cmd->transferred = 0;
	end(cmd);
}

void scsi_reply(struct scsi_command *cmd, const void *data, size_t len, uint32_t allocation)
{
	len = MIN(len, (size_t)allocation);
	if (len > cmd->in.len) {
		scsi_overrun(cmd);
		return;
	}
	cmd->transferred = scsi_data_write(&cmd->in, 0, data, len);
	scsi_good(cmd);
}

bool scsi_take(struct scsi_command *cmd, void *buf, size_t len)
{
	if (len > cmd->out.len) {
		scsi_overrun(cmd);
		return false;
	}
	cmd->transferred = scsi_data_read(&cmd->out, 0, buf, len);
	return true;
}

/* ---- disk requests ---- */

static struct scsi_sense disk_error(const struct scsi_command *cmd, int result)
{
	switch (result) {
	case -ENOSPC:
		return SENSE_SPACE_ALLOCATION_FAILED;
	case -EROFS:
		return SENSE_WRITE_PROTECTED;
	case -EINVAL:
		return SENSE_LBA_OUT_OF_RANGE;
	default:
		return cmd->req.op == BLOCK_READ ? SENSE_READ_ERROR : SENSE_WRITE_ERROR;
	}
}

static void disk_done(struct block_request *req, int result)
{
	struct scsi_command *cmd = container_of(req, struct scsi_command, req);
	struct device *controller = cmd->bus->dev;

	device_lock(controller);
	if (cmd->abort != SCSI_COMPLETE)
		scsi_good(cmd); /* scsi_lun_finish says what came in between */
	else if (result)
		scsi_fail(cmd, disk_error(cmd, result));
	else
		cmd->next(cmd);
	device_unlock(controller);
}

void scsi_submit(struct scsi_command *cmd, struct block *block,
		 void (*next)(struct scsi_command *cmd))
{
	cmd->next = next;
	cmd->req.done = disk_done;
	block_submit(block, &cmd->req);
}
