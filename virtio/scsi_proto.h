/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the SCSI command sets that we speak: SPC-4, SBC-3, MMC-6.
 */
#ifndef VIRTIO_SCSI_PROTO_H
#define VIRTIO_SCSI_PROTO_H

#include "core/types.h"

enum scsi_operation {
	SCSI_TEST_UNIT_READY = 0x00,
	SCSI_REQUEST_SENSE = 0x03,
	SCSI_READ_6 = 0x08,
	SCSI_WRITE_6 = 0x0a,
	SCSI_INQUIRY = 0x12,
	SCSI_MODE_SELECT_6 = 0x15,
	SCSI_MODE_SENSE_6 = 0x1a,
	SCSI_START_STOP_UNIT = 0x1b,
	SCSI_PREVENT_ALLOW = 0x1e,
	SCSI_READ_CAPACITY_10 = 0x25,
	SCSI_READ_10 = 0x28,
	SCSI_WRITE_10 = 0x2a,
	SCSI_VERIFY_10 = 0x2f,
	SCSI_SYNCHRONIZE_CACHE_10 = 0x35,
	SCSI_WRITE_SAME_10 = 0x41,
	SCSI_UNMAP = 0x42,
	SCSI_READ_TOC = 0x43,
	SCSI_GET_CONFIGURATION = 0x46,
	SCSI_GET_EVENT_STATUS = 0x4a,
	SCSI_READ_DISC_INFORMATION = 0x51,
	SCSI_MODE_SELECT_10 = 0x55,
	SCSI_MODE_SENSE_10 = 0x5a,
	SCSI_PERSISTENT_RESERVE_IN = 0x5e,
	SCSI_PERSISTENT_RESERVE_OUT = 0x5f,
	SCSI_READ_16 = 0x88,
	SCSI_COMPARE_AND_WRITE = 0x89,
	SCSI_WRITE_16 = 0x8a,
	SCSI_VERIFY_16 = 0x8f,
	SCSI_SYNCHRONIZE_CACHE_16 = 0x91,
	SCSI_WRITE_SAME_16 = 0x93,
	SCSI_SERVICE_ACTION_IN_16 = 0x9e,
	SCSI_REPORT_LUNS = 0xa0,
	SCSI_MAINTENANCE_IN = 0xa3,
	SCSI_READ_12 = 0xa8,
	SCSI_WRITE_12 = 0xaa,
	SCSI_READ_DVD_STRUCTURE = 0xad,
	SCSI_MECHANISM_STATUS = 0xbd,
};

/* Service actions. */
#define SCSI_READ_CAPACITY_16         0x10 /* of SERVICE ACTION IN (16) */
#define SCSI_REPORT_SUPPORTED_OPCODES 0x0c /* of MAINTENANCE IN */

enum scsi_status {
	SCSI_STATUS_GOOD = 0x00,
	SCSI_STATUS_CHECK_CONDITION = 0x02,
	SCSI_STATUS_BUSY = 0x08,
	SCSI_STATUS_RESERVATION_CONFLICT = 0x18,
};

enum scsi_peripheral_type {
	SCSI_TYPE_DISK = 0x00,
	SCSI_TYPE_CD = 0x05,
	SCSI_TYPE_WELL_KNOWN_LUN = 0x1e,
};

/* Sense key, additional sense code and its qualifier (SPC-4, 4.5). */
struct scsi_sense {
	uint8_t key, asc, ascq;
};

#define SCSI_SENSE(key, asc, ascq) ((struct scsi_sense){key, asc, ascq})

#define SENSE_NONE                    SCSI_SENSE(0x0, 0x00, 0x00)
#define SENSE_NO_MEDIUM               SCSI_SENSE(0x2, 0x3a, 0x01) /* tray closed */
#define SENSE_NO_MEDIUM_TRAY_OPEN     SCSI_SENSE(0x2, 0x3a, 0x02)
#define SENSE_READ_ERROR              SCSI_SENSE(0x3, 0x11, 0x00)
#define SENSE_WRITE_ERROR             SCSI_SENSE(0x3, 0x0c, 0x00)
#define SENSE_LIST_LENGTH             SCSI_SENSE(0x5, 0x1a, 0x00)
#define SENSE_INVALID_OPCODE          SCSI_SENSE(0x5, 0x20, 0x00)
#define SENSE_LBA_OUT_OF_RANGE        SCSI_SENSE(0x5, 0x21, 0x00)
#define SENSE_INVALID_FIELD           SCSI_SENSE(0x5, 0x24, 0x00)
#define SENSE_LUN_NOT_SUPPORTED       SCSI_SENSE(0x5, 0x25, 0x00)
#define SENSE_INVALID_PARAMETER       SCSI_SENSE(0x5, 0x26, 0x00)
#define SENSE_INVALID_RELEASE         SCSI_SENSE(0x5, 0x26, 0x04)
#define SENSE_SAVING_NOT_SUPPORTED    SCSI_SENSE(0x5, 0x39, 0x00)
#define SENSE_REMOVAL_PREVENTED       SCSI_SENSE(0x5, 0x53, 0x02)
#define SENSE_INCOMPATIBLE_MEDIUM     SCSI_SENSE(0x5, 0x30, 0x00)
#define SENSE_MEDIUM_CHANGED          SCSI_SENSE(0x6, 0x28, 0x00)
#define SENSE_POWER_ON                SCSI_SENSE(0x6, 0x29, 0x00)
#define SENSE_DEVICE_RESET            SCSI_SENSE(0x6, 0x29, 0x03)
#define SENSE_CAPACITY_CHANGED        SCSI_SENSE(0x6, 0x2a, 0x09)
#define SENSE_RESERVATIONS_PREEMPTED  SCSI_SENSE(0x6, 0x2a, 0x03)
#define SENSE_REGISTRATIONS_PREEMPTED SCSI_SENSE(0x6, 0x2a, 0x05)
#define SENSE_RESERVATIONS_RELEASED   SCSI_SENSE(0x6, 0x2a, 0x04)
#define SENSE_LUNS_CHANGED            SCSI_SENSE(0x6, 0x3f, 0x0e)
#define SENSE_WRITE_PROTECTED         SCSI_SENSE(0x7, 0x27, 0x00)
#define SENSE_SPACE_ALLOCATION_FAILED SCSI_SENSE(0x7, 0x27, 0x07)
#define SENSE_INTERNAL_FAILURE        SCSI_SENSE(0x4, 0x44, 0x00)
#define SENSE_MISCOMPARE              SCSI_SENSE(0xe, 0x1d, 0x00)

/* SCSI numbers are big-endian. */
static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint64_t get_be64(const uint8_t *p)
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

#endif
