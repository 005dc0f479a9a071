/* SPDX-License-Identifier: MIT */
/*
 * Messages: log.c writes them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

/* Room for a path of the maximum length twice, as messages may name one in a sentence. */
#define MESSAGE_SIZE 9000

/* What the options were read from, for messages about them; NULL: the command line. */
static const char *context;

void usage_context(const char *what)
{
	context = what;
}

static void write_message(enum vmm_log_level level, const char *fmt, va_list ap)
{
	char buf[MESSAGE_SIZE];

	if (vsnprintf(buf, sizeof(buf), fmt, ap) >= 0)
		log_line(level, NULL, buf);
}

void message(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_message(VMM_LOG_ERROR, fmt, ap);
	va_end(ap);
}

void message_at(enum vmm_log_level level, enum vmm_log_level of, const char *fmt, ...)
{
	va_list ap;

	if (level < of)
		return;
	va_start(ap, fmt);
	write_message(of, fmt, ap);
	va_end(ap);
}

int usage_error(const char *fmt, ...)
{
	char buf[MESSAGE_SIZE];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (n >= 0)
		message("%s%s%s", context ? context : "", context ? ": " : "", buf);
	return STATUS_USAGE;
}

void message_log(void *opaque, enum vmm_log_level level, const char *source, const char *line)
{
	(void)opaque;
	log_line(level, source ? source : "", line);
}

int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return STATUS_OK;
	message("cannot write to standard output: %s", strerror(errno));
	return STATUS_ERROR;
}
