/* SPDX-License-Identifier: MIT */
/*
 * Disk backends that are open before the device that uses them, under a name ("drive=NAME"), and
 * stay open, and locked, when it goes. How the image is used (read-only, cache, discard...) is
 * decided when the drive is added; sector sizes are the device's.
 *
 * A drive may also stand on another one, which it has while it is there as a device would: that is
 * a second name of the image, under which it may be read-only, or discards ignored.
 */
#ifndef BLOCK_DRIVE_H
#define BLOCK_DRIVE_H

#include "block/block.h"
#include "core/provided.h"

struct device;
struct drive;

struct drive_options {
	/*
	 * With a path, or with `drive`, the name of the one to stand on; then only readonly and
	 * discard count, and neither can allow what that one does not.
	 */
	struct block_options image;
	bool writable;      /* not to be read-only because the one that it stands on is */
	const char *driver; /* what reports call its kind; outlives the drive */
};

/*
 * Open one that belongs to the set until provided_remove(BACKEND_DRIVE) or the end of the set. All
 * drives of a set have the same engines and so one loop. name: as device_check_id wants it.
 * -EINVAL, -EEXIST, -ENOENT, -EBUSY, -EROFS (`writable` cannot be), and as block_open. Any thread
 * that block_open may run on, one at a time.
 */
int drive_add(struct provided_set *set, const char *name, const struct drive_options *options,
	      struct block_engines *engines, const struct log *log,
	      struct vmm_error *err) MUST_CHECK;

/* Its name and driver, inside an object. */
void drive_report_name(const struct drive *drive, struct report *report);

/*
 * Name, driver, whether it is read-only, and block_report_image for each, inside an array. Loop;
 * that no drive is added or removed meanwhile is for the caller to see to.
 */
void drive_report_all(struct provided_set *set, struct report *report);

/* Make a drive's image longer that no device has: as block_resize. -ENOENT, -EBUSY. Any thread. */
int drive_resize(struct provided_set *set, const char *name, uint64_t size,
		 struct vmm_error *err) MUST_CHECK;

/*
 * What a disk does with its options: take the drive that they name, or open the path. engines: as
 * for block_open_shared, or NULL: as block_open. -ENOENT, -EBUSY, and as block_open. Any thread
 * that block_open may run on.
 */
int block_acquire(struct block **block, const struct block_options *options,
		  const struct device *dev, struct block_engines *engines,
		  struct vmm_error *err) MUST_CHECK;
/* Nothing is in flight. What has a name stays for the next device, else it is closed. NULL is
 * allowed. */
void block_release(struct block *block);

#endif
