/* SPDX-License-Identifier: MIT */
#include "core/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define LIMIT_BURST    5
#define LIMIT_INTERVAL NS_PER_SEC

static bool wanted(const struct log *log, enum vmm_log_level level)
{
	return log && log->fn && level <= log->level;
}

/* Names and strings in a line may be the guest's: none of it may steer a terminal. */
static void make_printable(char *line)
{
	for (char *p = line; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 0x20 || c == 0x7f)
			*p = c == '\n' || c == '\t' ? ' ' : '?';
	}
}

static void emit(const struct log *log, enum vmm_log_level level, const char *source, char *line)
{
	make_printable(line);
	log->fn(log->opaque, level, source, line);
}

void log_write(const struct log *log, enum vmm_log_level level, const char *source, const char *fmt,
	       ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	if (!wanted(log, level))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	emit(log, level, source, line);
}

/*
 * `next_ns` is the time at which the last permitted line would be due if lines were spaced evenly;
 * it may run ahead of the clock by the burst. One compare-and-swap decides for all threads.
 */
static bool limit_permits(struct log_limit *limit, uint64_t now)
{
	const uint64_t burst = (LIMIT_BURST - 1) * LIMIT_INTERVAL;
	uint64_t next = atomic_load_explicit(&limit->next_ns, memory_order_relaxed);
	uint64_t then;

	do {
		if (next > now && next - now > burst)
			return false;
		then = MAX(next, now) + LIMIT_INTERVAL;
	} while (!atomic_compare_exchange_weak_explicit(
		&limit->next_ns, &next, then, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void log_guest(const struct log *log, struct log_limit *limit, const char *source, const char *fmt,
	       ...)
{
	char line[LINE_MAX_BYTES];
	uint32_t missed;
	va_list ap;
	size_t len;

	if (!wanted(log, VMM_LOG_WARN))
		return;
	if (!limit_permits(limit, clock_now(log->clock ? log->clock : clock_system()))) {
		atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	missed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
	if (missed) {
		/* The count must survive a line that is too long. */
		len = MIN(strlen(line), sizeof(line) - 48);
		snprintf(line + len, sizeof(line) - len, " (%u like it left out)", missed);
	}
	emit(log, VMM_LOG_WARN, source, line);
}
