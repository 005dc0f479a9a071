/* SPDX-License-Identifier: MIT */
/*
 * Log lines go to a callback with a level and the name of the device that speaks. The library never
 * prints. Messages that a guest can provoke go through a `struct log_limit`: a burst of 5, then one
 * a second, with a count of what was left out.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "core/clock.h"
#include "core/error.h"

typedef void log_fn(void *opaque, enum vmm_log_level level, const char *source, const char *line);

/* Immutable once shared between threads. `fn` may be called from any thread, also concurrently. */
struct log {
	log_fn *fn; /* NULL: discard */
	void *opaque;
	enum vmm_log_level level; /* the most verbose level that is passed on */
	struct clock *clock;      /* for log_guest; NULL: the system's */
};

/*
 * Write one line (no newline at its end; longer than 1 KiB is cut; control characters are replaced,
 * since strings in it may be the guest's). source: a device id or module name, at most a few words.
 * log may be NULL. Any thread.
 */
void log_write(const struct log *log, enum vmm_log_level level, const char *source, const char *fmt,
	       ...) PRINTF(4, 5);

#define log_error(log, source, ...) log_write(log, VMM_LOG_ERROR, source, __VA_ARGS__)
#define log_warn(log, source, ...)  log_write(log, VMM_LOG_WARN, source, __VA_ARGS__)
#define log_info(log, source, ...)  log_write(log, VMM_LOG_INFO, source, __VA_ARGS__)
#define log_debug(log, source, ...) log_write(log, VMM_LOG_DEBUG, source, __VA_ARGS__)

/* All zero is the initial state. Any thread. */
struct log_limit {
	_Atomic uint64_t next_ns; /* when the next line would be due at one a second */
	_Atomic uint32_t suppressed;
};

/* As log_write at level VMM_LOG_WARN, for what a guest or a client can provoke. */
void log_guest(const struct log *log, struct log_limit *limit, const char *source, const char *fmt,
	       ...) PRINTF(4, 5);

#endif
