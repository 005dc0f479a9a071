/* SPDX-License-Identifier: MIT */
/*
 * A virtio-blk device on a scratch image, with a driver, and an engine in between that notes what
 * reaches the file, holds it back or lets it fail.
 */
#ifndef SUPPORT_BLK_FIXTURE_H
#define SUPPORT_BLK_FIXTURE_H

#include "block/engine.h"
#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtio_blk.h"

#define BLK_DISK_SIZE  (4 * MIB)
#define BLK_SECTORS    (BLK_DISK_SIZE / 512)
#define BLK_FEATURE(f) (UINT64_C(1) << VIRTIO_BLK_F_##f)
/* What a Linux driver takes of what is offered. */
#define BLK_LINUX                                                               \
	(BLK_FEATURE(SEG_MAX) | BLK_FEATURE(BLK_SIZE) | BLK_FEATURE(TOPOLOGY) | \
	 BLK_FEATURE(FLUSH) | BLK_FEATURE(CONFIG_WCE) | BLK_FEATURE(WRITE_ZEROES))

#define BLK_TAP_LOG 256

struct blk_tap {
	struct engine engine;
	struct engine *inner;
	struct loop *loop;
	char log[BLK_TAP_LOG]; /* R, W, S (sync), F (fallocate) in the order they were submitted */
	unsigned count;
	bool hold;        /* operations wait until blk_release */
	struct list held; /* of struct engine_op */
	int fail;         /* errno of the operations submitted from now on; 0: none */
	struct list failed;
	struct loop_task fail_task;
	int fail_with;
};

struct blk_fixture {
	struct fake_env fake;
	struct device *dev;
	struct virtio_blk *blk;
	struct virtio_driver driver;
	uint64_t always;     /* of the driver, also of the next one */
	struct blk_tap *tap; /* NULL until blk_tap */
	char path[64];
	int fd; /* of the image */
};

/* An image of BLK_DISK_SIZE zero bytes and a device on it. options: after the path, or NULL. */
void blk_init(struct blk_fixture *f, const char *options);
void blk_fini(struct blk_fixture *f);
/* The driver takes packed rings from now on. */
void blk_packed(struct blk_fixture *f);
/* A device on the image that is there already, where f->dev is gone. */
void blk_create(struct blk_fixture *f, const char *options);
/* Destroy the device and make another. */
void blk_again(struct blk_fixture *f, const char *options);
/* Put the tap under the device. Not after the driver has started. */
void blk_tap(struct blk_fixture *f);
/* Let what was held go on, and hold no more. */
void blk_release(struct blk_fixture *f);
void blk_tap_release(struct blk_tap *tap);
/* Open a disk again with a tap under it. */
void blk_tap_open(struct blk_tap **tap, struct block **block, const struct block_options *options,
		  struct fake_env *fake);
/* Expect this sequence in the tap's log since the last call. */
void blk_expect_log(struct blk_fixture *f, const char *log);

/* Build a chain for a request: header, data, status. Returns where the status is. */
gpa_t blk_add(struct blk_fixture *f, unsigned queue, uint32_t type, uint64_t sector, gpa_t data,
	      uint32_t len);
/* Add, kick, wait. Returns the status; *written (may be NULL): the used length. */
uint8_t blk_do(struct blk_fixture *f, uint32_t type, uint64_t sector, gpa_t data, uint32_t len,
	       uint32_t *written);
uint8_t blk_status(struct blk_fixture *f, gpa_t status);
/* Guest memory with a pattern in it. */
gpa_t blk_pattern(struct blk_fixture *f, uint32_t len, uint8_t seed);
bool blk_is_pattern(const uint8_t *data, uint32_t len, uint8_t seed);

#endif
