/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/scsi_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- life ---- */

static int make_image(char *path, size_t room, uint64_t size)
{
	int fd;

	snprintf(path, room, "/var/tmp/vmm-scsi-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

void scsi_init(struct scsi_fixture *f, const char *controller, const char *disk)
{
	char options[256];

	memset(f, 0, sizeof(*f));
	fake_env_init(&f->fake, 64 * MIB);
	f->fd = make_image(f->path, sizeof(f->path), SCSI_DISK_SIZE);
	close(make_image(f->other, sizeof(f->other), MIB));
	f->dev = fake_env_device(&f->fake, &virtio_scsi_class.device, controller);
	f->scsi = virtio_scsi(virtio_device(f->dev));
	virtio_driver_init(&f->driver, &f->fake, &f->scsi->vd, gpa(MIB));
	snprintf(options, sizeof(options), "path=%s,engine=threads%s%s", f->path, disk ? "," : "",
		 disk ? disk : "");
	f->disk_dev = fake_env_device(&f->fake, &scsi_disk_class.device, options);
	f->disk = scsi_disk(scsi_lun(f->disk_dev));
}

void scsi_fini(struct scsi_fixture *f)
{
	if (f->disk_dev)
		fake_env_remove(f->disk_dev);
	fake_env_remove(f->dev);
	unlink(f->path);
	unlink(f->other);
	close(f->fd);
	fake_env_fini(&f->fake);
}

void scsi_start(struct scsi_fixture *f, unsigned request_queues)
{
	const struct scsi_ask ready = {.cdb = {SCSI_TEST_UNIT_READY}};

	virtio_driver_start(&f->driver, SCSI_LINUX, VIRTIO_SCSI_REQUEST + request_queues);
	while (scsi_do(f, &ready).status)
		;
}

struct device *scsi_add_disk(struct scsi_fixture *f, const char *id, const char *options)
{
	char all[256];

	snprintf(all, sizeof(all), "path=%s,readonly=on,engine=threads,%s", f->other, options);
	return fake_env_device_id(&f->fake, &scsi_disk_class.device, id, all);
}

void scsi_tap(struct scsi_fixture *f)
{
	blk_tap_open(&f->tap, &f->disk->block, &f->disk->options, &f->fake);
}

/* ---- commands ---- */

gpa_t scsi_add(struct scsi_fixture *f, const struct scsi_ask *ask)
{
	struct virtio_scsi_cmd_req head = {.tag = ask->tag, .task_attr = ask->attribute};
	gpa_t request = virtio_driver_alloc(&f->driver, SCSI_REQUEST_SIZE);
	gpa_t response = virtio_driver_alloc(&f->driver, SCSI_RESPONSE_SIZE);
	struct driver_buffer b[4] = {{request, SCSI_REQUEST_SIZE, false}};
	unsigned n = 1;

	if (ask->address) {
		memcpy(head.lun, ask->address, 8);
	} else {
		head.lun[0] = 1;
		head.lun[1] = (uint8_t)ask->target;
		head.lun[2] = (uint8_t)(0x40 | ask->lun >> 8);
		head.lun[3] = (uint8_t)ask->lun;
	}
	driver_write(f->driver.memory, request, &head, sizeof(head));
	driver_write(f->driver.memory, gpa_add(request, sizeof(head)), ask->cdb, 32);
	cr_assert_eq(guest_fill(f->driver.memory, response, 0xee, SCSI_RESPONSE_SIZE), 0);
	if (ask->out_len)
		b[n++] = (struct driver_buffer){ask->out, ask->out_len, false};
	b[n++] = (struct driver_buffer){response, SCSI_RESPONSE_SIZE, true};
	if (ask->in_len)
		b[n++] = (struct driver_buffer){ask->in, ask->in_len, true};
	driver_ring_add(&f->driver.rings[VIRTIO_SCSI_REQUEST + ask->queue], b, n);
	return response;
}

void scsi_kick(struct scsi_fixture *f, unsigned queue)
{
	virtio_driver_kick(&f->driver, VIRTIO_SCSI_REQUEST + queue);
}

bool scsi_answered(struct scsi_fixture *f, gpa_t at)
{
	uint8_t response;

	driver_read(f->driver.memory, gpa_add(at, 11), &response, 1);
	return response != 0xee;
}

struct scsi_answer scsi_answer_at(struct scsi_fixture *f, gpa_t at)
{
	struct virtio_scsi_cmd_resp head;
	struct scsi_answer a = {0};

	driver_read(f->driver.memory, at, &head, sizeof(head));
	driver_read(f->driver.memory, gpa_add(at, sizeof(head)), a.sense, sizeof(a.sense));
	a.response = head.response;
	a.status = head.status;
	a.resid = head.resid;
	a.sense_len = head.sense_len;
	if (!a.sense_len)
		return a;
	if ((a.sense[0] & 0x7f) >= 0x72) {
		a.key = a.sense[1];
		a.asc = a.sense[2];
		a.ascq = a.sense[3];
	} else {
		a.key = a.sense[2];
		a.asc = a.sense[12];
		a.ascq = a.sense[13];
	}
	return a;
}

struct scsi_answer scsi_do(struct scsi_fixture *f, const struct scsi_ask *ask)
{
	gpa_t at = scsi_add(f, ask);
	struct scsi_answer a;
	uint32_t written;

	scsi_kick(f, ask->queue);
	written = virtio_driver_wait(&f->driver, VIRTIO_SCSI_REQUEST + ask->queue, NULL);
	a = scsi_answer_at(f, at);
	a.written = written;
	return a;
}

struct scsi_answer scsi_get(struct scsi_fixture *f, struct scsi_ask ask, void *buf, uint32_t len)
{
	struct scsi_answer a;

	ask.in = virtio_driver_alloc(&f->driver, len);
	ask.in_len = len;
	cr_assert_eq(guest_fill(f->driver.memory, ask.in, 0xee, len), 0);
	a = scsi_do(f, &ask);
	driver_read(f->driver.memory, ask.in, buf, len);
	return a;
}

struct scsi_answer scsi_put(struct scsi_fixture *f, struct scsi_ask ask, const void *buf,
			    uint32_t len)
{
	ask.out = virtio_driver_alloc(&f->driver, len);
	ask.out_len = len;
	driver_write(f->driver.memory, ask.out, buf, len);
	return scsi_do(f, &ask);
}

/* ---- task management ---- */

gpa_t scsi_manage(struct scsi_fixture *f, uint32_t function, unsigned target, unsigned lun,
		  uint64_t tag)
{
	const struct virtio_scsi_ctrl_tmf_req req = {
		.type = VIRTIO_SCSI_T_TMF,
		.subtype = function,
		.lun = {1, (uint8_t)target, (uint8_t)(0x40 | lun >> 8), (uint8_t)lun},
		.tag = tag,
	};
	gpa_t request = virtio_driver_alloc(&f->driver, sizeof(req));
	gpa_t response = virtio_driver_alloc(&f->driver, 1);

	driver_write(f->driver.memory, request, &req, sizeof(req));
	driver_write(f->driver.memory, response, "\xff", 1);
	driver_ring_add(
		&f->driver.rings[VIRTIO_SCSI_CONTROL],
		(struct driver_buffer[]){{request, sizeof(req), false}, {response, 1, true}}, 2);
	virtio_driver_kick(&f->driver, VIRTIO_SCSI_CONTROL);
	fake_env_settle(&f->fake);
	return response;
}

uint8_t scsi_managed(struct scsi_fixture *f, gpa_t at)
{
	uint8_t v;

	driver_read(f->driver.memory, at, &v, 1);
	return v;
}

/* ---- CDBs and data ---- */

struct scsi_ask scsi_rw10(uint8_t opcode, uint32_t lba, uint16_t count)
{
	struct scsi_ask ask = {.cdb = {opcode}};

	put_be32(ask.cdb + 2, lba);
	put_be16(ask.cdb + 7, count);
	return ask;
}

struct scsi_ask scsi_rw16(uint8_t opcode, uint64_t lba, uint32_t count)
{
	struct scsi_ask ask = {.cdb = {opcode}};

	put_be64(ask.cdb + 2, lba);
	put_be32(ask.cdb + 10, count);
	return ask;
}

gpa_t scsi_pattern(struct scsi_fixture *f, uint32_t len, uint8_t seed)
{
	gpa_t at = virtio_driver_alloc(&f->driver, len);
	uint8_t *bytes = malloc(len);

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + i / 512);
	driver_write(f->driver.memory, at, bytes, len);
	free(bytes);
	return at;
}

void scsi_expect_image(struct scsi_fixture *f, uint64_t offset, uint32_t len, uint8_t seed)
{
	uint8_t *bytes = malloc(len);

	cr_assert_eq(pread(f->fd, bytes, len, (off_t)offset), (ssize_t)len);
	cr_assert(blk_is_pattern(bytes, len, seed), "other bytes at %llu of the image",
		  (unsigned long long)offset);
	free(bytes);
}

void scsi_expect_guest(struct scsi_fixture *f, gpa_t at, uint32_t len, uint8_t seed)
{
	uint8_t *bytes = malloc(len);

	driver_read(f->driver.memory, at, bytes, len);
	cr_assert(blk_is_pattern(bytes, len, seed), "other bytes in the guest's memory");
	free(bytes);
}
