/* SPDX-License-Identifier: MIT */
/*
 * The log of `vmm run`: where it goes and what a line looks like. What is said in it may be a
 * guest's words, so everything is made harmless here, for terminals and for JSON parsers.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};
static const char *const format_names[] = {"text", "json", NULL};

/* Set once, before there are threads. */
static struct {
	int fd;
	bool json;
} sink = {.fd = STDERR_FILENO};

/* ---- the option ---- */

static int set_level(struct run_options *out, const char *value)
{
	int level = choose("--log level=", value, level_names);

	if (level < 0)
		return STATUS_USAGE;
	out->config.log_level = (enum vmm_log_level)level;
	return GO_ON;
}

static int set_format(struct run_options *out, const char *value)
{
	int format = choose("--log format=", value, format_names);

	if (format < 0)
		return STATUS_USAGE;
	out->log_json = format == 1;
	return GO_ON;
}

/* A word without a key: a level, or json, which is more often wanted than typed. */
static int set_word(struct run_options *out, const char *word)
{
	static const char *const words[] = {"error", "warn", "info", "debug", "text", "json", NULL};
	int which = choose("--log ", word, words);

	if (which < 0)
		return STATUS_USAGE;
	if (which < 4)
		out->config.log_level = (enum vmm_log_level)which;
	else
		out->log_json = which == 5;
	return GO_ON;
}

static int set_item(struct run_options *out, char *item)
{
	static const char *const keys[] = {"level", "file", "format", NULL};
	char *value = strchr(item, '=');
	int key;

	if (!value)
		return set_word(out, item);
	*value++ = '\0';
	key = choose("--log: key ", item, keys);
	if (key < 0)
		return STATUS_USAGE;
	if (key == 0)
		return set_level(out, value);
	if (key == 2)
		return set_format(out, value);
	if (!*value)
		return usage_error("--log: file needs a value: file=PATH");
	out->log_file = unquote_item(value);
	return GO_ON;
}

int set_log(struct run_options *out, const char *value)
{
	const char *rest = value;
	int status = GO_ON;

	while (status == GO_ON && rest)
		status = set_item(out, take_list_item(&rest));
	return status;
}

int open_log(const struct run_options *options)
{
	int fd;

	sink.json = options->log_json;
	if (!options->log_file)
		return GO_ON;
	/* Never waits: a pipe that nobody reads must not hold the VM. */
	fd = open(options->log_file,
		  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd < 0) {
		message("--log file=%s: %s", options->log_file,
			errno == ENXIO ? "nobody reads this pipe" : strerror(errno));
		return STATUS_ERROR;
	}
	sink.fd = fd;
	return GO_ON;
}

/* ---- a line ---- */

struct line {
	char *text;
	size_t len, room; /* room: where the text must end */
};

static void add(struct line *line, const char *bytes, size_t len)
{
	if (len > line->room - line->len) {
		line->room = line->len; /* nothing after a gap */
		return;
	}
	memcpy(line->text + line->len, bytes, len);
	line->len += len;
}

static void add_text(struct line *line, const char *text)
{
	add(line, text, strlen(text));
}

/* The length of the character in UTF-8 at `p`, 0: it is none (RFC 3629). Stops at the end. */
static size_t utf8_length(const unsigned char *p)
{
	size_t n = p[0] < 0x80   ? 1
		   : p[0] < 0xc2 ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;

	/* Overlong forms, surrogates, and what is beyond Unicode. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/*
 * Is the character of n bytes (1, where it is no UTF-8) one that terminals may obey? Beyond ASCII
 * there are U+0080 to U+009F, which are bytes of their own to those that know no UTF-8.
 */
static bool is_control(const unsigned char *p, size_t n)
{
	if (n == 1)
		return *p < 0x20 || (*p >= 0x7f && *p < 0xa0);
	return p[0] == 0xc2 && p[1] < 0xa0;
}

static void add_json_string(struct line *line, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	char escape[8];

	add_text(line, "\"");
	while (*p) {
		size_t n = utf8_length(p);

		if (n == 0)
			add_text(line, "\\ufffd");
		else if (*p == '"' || *p == '\\')
			add(line, (char[]){'\\', (char)*p}, 2);
		else if (is_control(p, n))
			add(line, escape,
			    (size_t)snprintf(escape, sizeof(escape), "\\u%04x", p[n - 1]));
		else
			add(line, (const char *)p, n);
		p += n ? n : 1;
	}
}

/* "2026-01-15T12:00:31.250Z" */
static void add_time(struct line *line, struct timespec now)
{
	char text[64], ms[8];
	struct tm tm;

	gmtime_r(&now.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ms, sizeof(ms), ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000);
	add_text(line, text);
	add_text(line, ms);
}

static const char *level_name(enum vmm_log_level level)
{
	return (unsigned)level < CLI_COUNT(level_names) - 1 ? level_names[level] : "log";
}

size_t log_json(char *buf, struct timespec now, enum vmm_log_level level, const char *source,
		const char *text)
{
	static const char end[] = "\"}\n";
	struct line line = {.text = buf, .room = LOG_LINE_SIZE - sizeof(end)};

	add_text(&line, "{\"time\":\"");
	add_time(&line, now);
	add_text(&line, "\",\"level\":\"");
	add_text(&line, level_name(level));
	add_text(&line, "\",\"source\":");
	add_json_string(&line, source && *source ? source : "vmm");
	add_text(&line, "\",\"message\":");
	add_json_string(&line, text);
	line.room = LOG_LINE_SIZE;
	add(&line, end, sizeof(end) - 1);
	return line.len;
}

/* While the console has made the terminal raw, a newline alone does not return the carriage. */
static bool terminal_is_raw(int fd)
{
	struct termios modes;

	return tcgetattr(fd, &modes) == 0 && !(modes.c_oflag & OPOST);
}

/* Put '?' in place of control characters in what follows `start`. There is room for a NUL. */
static void make_plain(struct line *line, size_t start)
{
	unsigned char *p = (unsigned char *)line->text + start;
	const unsigned char *end = (unsigned char *)line->text + line->len;
	size_t n;

	line->text[line->len] = '\0';
	for (; p < end; p += n) {
		n = utf8_length(p);
		n = n ? n : 1;
		if (is_control(p, n))
			memset(p, '?', n);
	}
}

/* "vmm: warning: disk0: text"; messages of the command itself have no source. */
static void add_plain(struct line *line, enum vmm_log_level level, const char *source,
		      const char *text)
{
	size_t start = line->len;

	add_text(line, "vmm: ");
	if (source) {
		add_text(line, level == VMM_LOG_WARN ? "warning" : level_name(level));
		add_text(line, ": ");
		add_text(line, source);
		add_text(line, *source ? ": " : "");
	}
	add(line, text, strnlen(text, line->room - line->len));
	make_plain(line, start);
}

/*
 * To the log. A pipe or a disk that is nearly full takes a part of a line, which is then the line
 * that is spoilt; the next one begins on its own.
 */
static void write_log(const char *buf, size_t len)
{
	static atomic_bool torn;
	const size_t before = atomic_load(&torn);
	const struct iovec parts[] = {{(char *)"\n", before}, {(char *)buf, len}};
	ssize_t n;

	do {
		n = writev(sink.fd, parts, CLI_COUNT(parts));
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		atomic_store(&torn, (size_t)n != before && (size_t)n < before + len);
}

static void write_to_stderr(enum vmm_log_level level, const char *source, const char *text)
{
	char buf[LOG_LINE_SIZE];
	struct line line = {.text = buf, .room = sizeof(buf) - 2};
	ssize_t n;

	add_plain(&line, level, source, text);
	line.room = sizeof(buf);
	add_text(&line, terminal_is_raw(STDERR_FILENO) ? "\r\n" : "\n");
	do {
		n = write(STDERR_FILENO, buf, line.len);
	} while (n < 0 && errno == EINTR);
}

static void write_to_log(enum vmm_log_level level, const char *source, const char *text)
{
	char buf[LOG_LINE_SIZE];
	struct line line = {.text = buf, .room = sizeof(buf) - 1};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (sink.json) {
		write_log(buf, log_json(buf, now, level, source, text));
		return;
	}
	add_time(&line, now);
	add_text(&line, " ");
	add_plain(&line, level, source, text);
	line.room = sizeof(buf);
	add_text(&line, "\n");
	write_log(buf, line.len);
}

void log_line(enum vmm_log_level level, const char *source, const char *text)
{
	bool own = sink.fd != STDERR_FILENO || sink.json;

	if (own)
		write_to_log(level, source, text);
	/* Why it ends is for whoever has started it, too. */
	if (!own || (sink.fd != STDERR_FILENO && !source && level == VMM_LOG_ERROR))
		write_to_stderr(level, source, text);
}
