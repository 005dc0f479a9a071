/* SPDX-License-Identifier: MIT */
/*
 * Messages on standard error: one write each, so that lines of several threads do not mix.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

/* Room for a path of the maximum length twice, as messages may name one in a sentence. */
#define LINE_MAX_SIZE 9000

/* While the console has made the terminal raw, a newline alone does not return the carriage. */
static bool terminal_is_raw(void)
{
	struct termios modes;

	return tcgetattr(STDERR_FILENO, &modes) == 0 && !(modes.c_oflag & OPOST);
}

/*
 * Ends the line in buf (of `size` bytes, `len` used or wanted) and writes it. What stands in it may
 * come from a guest or a file name: no control character reaches the terminal.
 */
static void write_line(char *buf, size_t size, size_t len)
{
	ssize_t n;

	if (len > size - 3)
		len = size - 3;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f)
			buf[i] = '?';
	}
	if (terminal_is_raw())
		buf[len++] = '\r';
	buf[len++] = '\n';
	do {
		n = write(STDERR_FILENO, buf, len);
	} while (n < 0 && errno == EINTR);
}

static void write_message(const char *fmt, va_list ap)
{
	char buf[LINE_MAX_SIZE];
	int prefix = snprintf(buf, sizeof(buf), "vmm: ");
	int n = vsnprintf(buf + prefix, sizeof(buf) - (size_t)prefix, fmt, ap);

	if (n >= 0)
		write_line(buf, sizeof(buf), (size_t)(prefix + n));
}

void message(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_message(fmt, ap);
	va_end(ap);
}

void message_at(enum vmm_log_level level, enum vmm_log_level of, const char *fmt, ...)
{
	va_list ap;

	if (level < of)
		return;
	va_start(ap, fmt);
	write_message(fmt, ap);
	va_end(ap);
}

int usage_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_message(fmt, ap);
	va_end(ap);
	return STATUS_USAGE;
}

void message_log(void *opaque, enum vmm_log_level level, const char *source, const char *line)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	char buf[2048];
	int n = snprintf(buf, sizeof(buf), "vmm: %s: %s%s%s",
			 (unsigned)level < CLI_COUNT(names) ? names[level] : "log",
			 source ? source : "", source && *source ? ": " : "", line);

	(void)opaque;
	if (n >= 0)
		write_line(buf, sizeof(buf), (size_t)n);
}

int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return STATUS_OK;
	message("cannot write to standard output: %s", strerror(errno));
	return STATUS_ERROR;
}
