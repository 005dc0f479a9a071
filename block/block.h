/* SPDX-License-Identifier: MIT */
/*
 * Disk backends: asynchronous requests on an image, whatever is behind it.
 *
 * A `struct block` belongs to one loop: every function here but block_open and block_close (any
 * thread; they go to the loop themselves) is called on that loop, and completions run there. Layers
 * (raw file or device, temporary overlay) and engines (io_uring, thread pool) sit behind the same
 * few operations. Requests submitted in one turn of the loop go to the kernel together in its
 * end-of-batch hook.
 *
 * Durability: what a completed request promises is decided by `writeback` at its submission (see
 * block_set_writeback and docs/durability.md). Order between requests in flight is not promised.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/types.h>
#include <sys/uio.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/option.h"
#include "core/report.h"

#define BLOCK_SECTOR_SIZE 512u

enum block_cache {
	BLOCK_CACHE_WRITEBACK,    /* host page cache; FLUSH makes durable */
	BLOCK_CACHE_WRITETHROUGH, /* host page cache; each write is durable when it completes */
	BLOCK_CACHE_NONE,         /* O_DIRECT; FLUSH makes durable */
	BLOCK_CACHE_UNSAFE,       /* host page cache; FLUSH is ignored */
};

enum block_engine { BLOCK_ENGINE_AUTO, BLOCK_ENGINE_IO_URING, BLOCK_ENGINE_THREADS };

enum block_discard { BLOCK_DISCARD_UNMAP, BLOCK_DISCARD_IGNORE };

/* Embedded in the options of every disk device through BLOCK_OPTIONS. */
struct block_options {
	char *path;
	char *drive; /* in place of a path: block/drive.h */
	bool readonly;
	bool snapshot;               /* writes go to a temporary overlay that is dropped at close */
	int cache;                   /* enum block_cache */
	int engine;                  /* enum block_engine */
	int discard;                 /* enum block_discard */
	int format;                  /* only "raw": never probed */
	uint64_t logical_block_size; /* 0: what the image needs */
	uint64_t physical_block_size; /* 0: what the image says */
};

/* Rows for a device's option table; `owner` is the device's struct, `field` its block_options. */
extern const char *const block_cache_names[];
extern const char *const block_engine_names[];
extern const char *const block_discard_names[];
extern const char *const block_format_names[];
/* clang-format off */
#define BLOCK_OPTIONS(owner, field)                                                                \
	{.name = "path", .type = OPTION_STRING, .offset = offsetof(owner, field.path),             \
	 .required = true, .unless = "drive", .help = "image file or block device"},               \
	{.name = "drive", .type = OPTION_STRING, .offset = offsetof(owner, field.drive),           \
	 .help = "name of a drive that is open already, in place of a path"},                      \
	{.name = "readonly", .type = OPTION_BOOL, .offset = offsetof(owner, field.readonly),       \
	 .fallback = "off", .help = "the guest cannot write"},                                     \
	{.name = "snapshot", .type = OPTION_BOOL, .offset = offsetof(owner, field.snapshot),       \
	 .fallback = "off", .help = "writes go to a temporary overlay and are dropped at the end"},\
	{.name = "cache", .type = OPTION_ENUM, .offset = offsetof(owner, field.cache),             \
	 .fallback = "writeback", .values = block_cache_names, .help = "what the host caches"},    \
	{.name = "engine", .type = OPTION_ENUM, .offset = offsetof(owner, field.engine),           \
	 .fallback = "auto", .values = block_engine_names, .help = "how requests reach the kernel"},\
	{.name = "discard", .type = OPTION_ENUM, .offset = offsetof(owner, field.discard),         \
	 .fallback = "unmap", .values = block_discard_names,                                       \
	 .help = "what a discard by the guest does"},                                              \
	{.name = "format", .type = OPTION_ENUM, .offset = offsetof(owner, field.format),           \
	 .fallback = "raw", .values = block_format_names, .help = "image format, never probed"},   \
	{.name = "logical-block-size", .type = OPTION_SIZE,                                        \
	 .offset = offsetof(owner, field.logical_block_size), .max = 65536,                        \
	 .help = "sector size that the guest sees (512 to 64K, a power of two)"},                  \
	{.name = "physical-block-size", .type = OPTION_SIZE,                                       \
	 .offset = offsetof(owner, field.physical_block_size), .max = 65536,                       \
	 .help = "physical sector size that the guest sees"}
/* clang-format on */

struct block_info {
	uint64_t size;                /* bytes, a multiple of logical_block_size */
	uint32_t logical_block_size;  /* bytes, 512 to 64 KiB, a power of two */
	uint32_t physical_block_size; /* bytes */
	uint32_t optimal_io_size;     /* bytes; 0: not known */
	bool readonly;
	bool can_discard;
	uint32_t discard_alignment; /* bytes */
	const char *engine;         /* name of what is in use */
};

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_WRITE_ZEROES,
};

enum block_request_flags {
	BLOCK_FUA = 1 << 0,   /* WRITE, WRITE_ZEROES: durable when it completes */
	BLOCK_UNMAP = 1 << 1, /* WRITE_ZEROES: may deallocate */
};

struct block;

/*
 * One request. Owned by the caller, immutable from submission to completion. Exactly one call of
 * `done` for each submission, on the loop, never from within block_submit.
 */
struct block_request {
	enum block_op op;
	unsigned flags;
	uint64_t offset;         /* bytes, a multiple of 512 */
	uint64_t length;         /* bytes; for READ and WRITE the sum of iov */
	const struct iovec *iov; /* READ, WRITE: host memory that stays valid until done */
	int iovcnt;
	/*
	 * result: 0; -EIO; -ENOSPC (also a quota or file size limit); -EINVAL: out of range or not
	 * in sectors; -EROFS. The request may be freed or submitted again in done.
	 */
	void (*done)(struct block_request *req, int result);

	/* Private to the backend while in flight. */
	struct {
		struct list link;
		uint64_t start_ns; /* the front's; the rest is the layers' */
		uint64_t u[6];
		void *p[4];
	} priv;
};

/*
 * Open an image, lock it (OFD locks: shared for readers, exclusive for a writer; snapshot counts as
 * a reader) and attach to the loop. what: the source of log lines, copied. options: not kept. Any
 * thread, with no lock that a handler of the loop takes. Errors with a sentence (which does not
 * begin with `what`): missing, a directory, no permission, locked by another (-EAGAIN), empty, not
 * a multiple of the sector size, …
 */
int block_open(struct block **block, const struct block_options *options, const char *what,
	       struct loop *loop, const struct log *log, struct vmm_error *err) MUST_CHECK;

/*
 * What the file system of the image that was last opened can do, so that a thousand images on it
 * do not ask a thousand times. Hints: where one is wrong, requests find out.
 */
struct block_file_system {
	bool known;
	dev_t dev;
	bool writes_wait; /* a buffered write is never taken without waiting */
	bool can_punch;   /* PUNCH_HOLE worked in one image; false: try in the next one */
};

/*
 * What disks of one loop share: a controller with a thousand of them has one ring, not a thousand,
 * and enters the kernel once for all that a turn has submitted. Engines come with the first disk
 * that uses them and go with the last. Set `loop`, the rest is 0; outlives its disks. Loop's
 * thread.
 */
struct engine;
struct block_engines {
	struct loop *loop;
	struct engine *engines[BLOCK_ENGINE_THREADS + 1]; /* by enum block_engine */
	unsigned users[BLOCK_ENGINE_THREADS + 1];
	struct block_file_system file_system;
};

/* As block_open on engines->loop, with an engine of these. */
int block_open_shared(struct block **block, const struct block_options *options, const char *what,
		      struct block_engines *engines, const struct log *log,
		      struct vmm_error *err) MUST_CHECK;

/*
 * Nothing may be in flight, and not from within `done`. Waits until what was written is durable
 * (except with cache=unsafe and snapshot=on); a failure of that is logged. NULL is allowed.
 */
void block_close(struct block *block);

const struct block_info *block_info(const struct block *block);
/* As it was opened. */
const char *block_path(const struct block *block);

/* Start a request. Errors come through done as well. */
void block_submit(struct block *block, struct block_request *req);

/*
 * true: a completed WRITE may be in a volatile cache until a FLUSH; false: each WRITE and
 * WRITE_ZEROES is durable when it completes. Applies to requests submitted from now on. At first
 * false with cache=writethrough, else true. With cache=writethrough writes stay durable whatever is
 * set here; with cache=unsafe nothing is durable.
 */
void block_set_writeback(struct block *block, bool writeback);
bool block_writeback(const struct block *block);

/*
 * Make the image longer: `size` bytes, a multiple of the logical block size, not less than it is.
 * 0: take over what the host has made of it (a device that was extended). Then block_info says the
 * new size. -EOPNOTSUPP: snapshot=on, or a device, which only the host can extend.
 */
int block_resize(struct block *block, uint64_t size, struct vmm_error *err) MUST_CHECK;

/* Arguments and option table of the `resize` action that every disk device has. */
struct block_resize_args {
	uint64_t size;
};
extern const struct option_desc block_resize_options[];

/*
 * What there is to say about a disk: path, size, sectors, engine, how long it has been idle,
 * requests and bytes so far. For the `status` action that every disk device has.
 */
void block_report(const struct block *block, struct report *report);
/* The same without what is decided by who uses it: the drive's name, read-only. */
void block_report_image(const struct block *block, struct report *report);

/*
 * Of these, what counts: requests in flight, and of each kind how many there were so far, how many
 * bytes they were for, how many failed, and the time from their submission to their completion
 * taken together. For the class's `stats`.
 */
void block_stats(const struct block *block, struct report *report);

/* Requests in flight. */
unsigned block_in_flight(const struct block *block);

#endif
