/* SPDX-License-Identifier: MIT */
/*
 * Where messages and the log of a VM go once the options are known (`vmm run --log`).
 */
#ifndef CLI_LOG_H
#define CLI_LOG_H

#include "cli.h"

/* A line in the log has at most this size. */
#define LOG_LINE_SIZE 10240

/*
 * The value of --log: LEVEL, json or text, and KEY=VALUE of level, file and format, with commas
 * between. What is not named stays as it is. GO_ON or STATUS_USAGE.
 */
int set_log(struct run_options *out, const char *value);

/* From now on messages go where the options say. GO_ON or STATUS_ERROR (reported). */
int open_log(const struct run_options *options);

/*
 * Write a line to the log: to its file, or to standard error. source: NULL for messages of the
 * command itself; its errors are always on standard error, too. text may come from a guest: it
 * ends up in one line, and no control character does. Any thread; one write for each line, so that
 * lines of several threads do not mix.
 */
void log_line(enum vmm_log_level level, const char *source, const char *text);

/*
 * One JSON object of what a line consists of, with a newline, in `buf` of LOG_LINE_SIZE bytes; of a
 * text that is too long the end is missing. now: since 1970-01-01 UTC. Returns its length.
 */
size_t log_json(char *buf, struct timespec now, enum vmm_log_level level, const char *source,
		const char *text);

#endif
