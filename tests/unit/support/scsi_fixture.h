/* SPDX-License-Identifier: MIT */
/*
 * A virtio-scsi controller with a driver, disks on scratch images, and commands that are waited
 * for.
 */
#ifndef SUPPORT_SCSI_FIXTURE_H
#define SUPPORT_SCSI_FIXTURE_H

#include "tests/unit/support/blk_fixture.h"
#include "virtio/scsi_disk.h"
#include "virtio/virtio_classes.h"
#include "virtio/virtio_scsi.h"

#define SCSI_DISK_SIZE  (4 * MIB)
#define SCSI_BLOCKS     (SCSI_DISK_SIZE / 512)
#define SCSI_FEATURE(f) (UINT64_C(1) << VIRTIO_SCSI_F_##f)
/* What a Linux driver takes of what is offered. */
#define SCSI_LINUX (SCSI_FEATURE(HOTPLUG) | SCSI_FEATURE(CHANGE))
/* Request and response as a driver finds them. */
#define SCSI_REQUEST_SIZE  (19u + 32u)
#define SCSI_RESPONSE_SIZE (12u + 96u)

struct scsi_fixture {
	struct fake_env fake;
	struct device *dev;
	struct virtio_scsi *scsi;
	struct virtio_driver driver;
	struct device *disk_dev; /* at target 0, LUN 0 */
	struct scsi_disk *disk;
	struct blk_tap *tap; /* of that disk; NULL until scsi_tap */
	char path[64];
	int fd;         /* of the image */
	char other[64]; /* of what scsi_add_disk makes disks of */
};

/* A command for scsi_add; all that is not said is 0: target 0, LUN 0, queue 0. */
struct scsi_ask {
	uint8_t cdb[32];
	unsigned target, lun, queue;
	uint64_t tag;
	uint8_t attribute;
	gpa_t out, in;
	uint32_t out_len, in_len;
	const uint8_t *address; /* not NULL: instead of target and LUN */
};

struct scsi_answer {
	uint8_t response, status, key, asc, ascq;
	uint32_t resid, sense_len, written;
	uint8_t sense[96];
};

/* disk: its options after the path; NULL: none but the path. */
void scsi_init(struct scsi_fixture *f, const char *controller, const char *disk);
void scsi_fini(struct scsi_fixture *f);
/* Start the driver, and take the unit attention of the disk. */
void scsi_start(struct scsi_fixture *f, unsigned request_queues);
/* Another unit, read-only, on an image of 1 MiB that all of these share. */
struct device *scsi_add_disk(struct scsi_fixture *f, const char *id, const char *options);
/* Put the tap under the disk. Not after the driver has started. */
void scsi_tap(struct scsi_fixture *f);

/* Build a chain and offer it, without a kick. Returns where the response is. */
gpa_t scsi_add(struct scsi_fixture *f, const struct scsi_ask *ask);
void scsi_kick(struct scsi_fixture *f, unsigned queue);
/* The response at a place, which the device has written. */
struct scsi_answer scsi_answer_at(struct scsi_fixture *f, gpa_t at);
/* Whether there is one yet. */
bool scsi_answered(struct scsi_fixture *f, gpa_t at);
/* Add, kick, wait. */
struct scsi_answer scsi_do(struct scsi_fixture *f, const struct scsi_ask *ask);
/* The same with data in that is copied to buf, which is filled with 0xee before. */
struct scsi_answer scsi_get(struct scsi_fixture *f, struct scsi_ask ask, void *buf, uint32_t len);
/* The same with data out. */
struct scsi_answer scsi_put(struct scsi_fixture *f, struct scsi_ask ask, const void *buf,
			    uint32_t len);

/* Task management on queue 0: returns where the response is, 0xff until it is there. */
gpa_t scsi_manage(struct scsi_fixture *f, uint32_t function, unsigned target, unsigned lun,
		  uint64_t tag);
uint8_t scsi_managed(struct scsi_fixture *f, gpa_t at);

/* CDBs. */
struct scsi_ask scsi_rw10(uint8_t opcode, uint32_t lba, uint16_t count);
struct scsi_ask scsi_rw16(uint8_t opcode, uint64_t lba, uint32_t count);

/* Guest memory with a pattern in it, as blk_is_pattern knows it. */
gpa_t scsi_pattern(struct scsi_fixture *f, uint32_t len, uint8_t seed);
void scsi_expect_image(struct scsi_fixture *f, uint64_t offset, uint32_t len, uint8_t seed);
void scsi_expect_guest(struct scsi_fixture *f, gpa_t at, uint32_t len, uint8_t seed);

#define scsi_assert_good(answer)                                                                  \
	do {                                                                                      \
		const struct scsi_answer a_ = (answer);                                           \
		cr_assert_eq(a_.response, VIRTIO_SCSI_S_OK, "response %u", a_.response);          \
		cr_assert_eq(a_.status, 0, "status %#x: %x %02x/%02x", a_.status, a_.key, a_.asc, \
			     a_.ascq);                                                            \
	} while (0)

#define scsi_assert_sense(answer, sense)                                                       \
	do {                                                                                   \
		const struct scsi_answer a_ = (answer);                                        \
		const struct scsi_sense s_ = (sense);                                          \
		cr_assert_eq(a_.response, VIRTIO_SCSI_S_OK, "response %u", a_.response);       \
		cr_assert_eq(a_.status, SCSI_STATUS_CHECK_CONDITION, "status %#x", a_.status); \
		cr_assert(a_.key == s_.key && a_.asc == s_.asc && a_.ascq == s_.ascq,          \
			  "sense %x %02x/%02x", a_.key, a_.asc, a_.ascq);                      \
	} while (0)

#endif
