/* SPDX-License-Identifier: MIT */
/*
 * Opening, locking and measuring an image file or block device. Internal to block/.
 */
#ifndef BLOCK_RAW_FILE_H
#define BLOCK_RAW_FILE_H

#include "block/block.h"

struct raw_file {
	int fd;
	bool writable;
	bool direct; /* open with O_DIRECT */
	bool block_device;
	bool writes_wait;             /* a buffered write is never taken without waiting */
	bool can_punch;               /* PUNCH_HOLE is worth a try */
	dev_t dev;                    /* the file system; of files only */
	bool empty;                   /* a file in which nothing was ever written: all zeroes */
	uint64_t size;                /* bytes */
	uint32_t sector_size;         /* the smallest unit that a guest should use */
	uint32_t physical_size;       /* bytes */
	uint32_t optimal_io_size;     /* bytes; 0: not known */
	uint32_t discard_alignment;   /* bytes */
	uint32_t memory_alignment;    /* of O_DIRECT buffers */
	uint32_t offset_alignment;    /* of O_DIRECT offsets, and of the length of each buffer */
	uint32_t fallocate_alignment; /* 1 for files, the sector for devices */
};

/* 0 or -errno with a sentence. On success close file->fd; that also drops the lock. */
int raw_file_open(struct raw_file *file, const char *what, const char *path, bool writable,
		  bool direct, const struct log *log, struct vmm_error *err) MUST_CHECK;

/*
 * Find out writes_wait and can_punch of a file that may be written, as far as *fs does not know
 * them. This may count as a change of it (its mtime): only when nothing can refuse the image any
 * more.
 */
void raw_file_probe(struct raw_file *file, struct block_file_system *fs);

/* Set (0: only look at) the size; file->size is what there is, in whole units for O_DIRECT. */
int raw_file_resize(struct raw_file *file, uint64_t size, struct vmm_error *err) MUST_CHECK;

int raw_file_open_temporary(struct raw_file *file, uint64_t size, struct vmm_error *err) MUST_CHECK;

#endif
