/* SPDX-License-Identifier: MIT */
/*
 * Standard input and output: a person at a terminal, or a pipeline.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE       0x01u /* Ctrl-a */
#define WAIT_FOR_MAX 255u

struct stdio_options {
	char *wait_for;
	bool signal;
};

static const struct option_desc stdio_table[] = {
	{
		.name = "wait-for",
		.type = OPTION_STRING,
		.offset = offsetof(struct stdio_options, wait_for),
		.help = "hold input until the guest has printed this text",
	},
	{
		.name = "signal",
		.type = OPTION_BOOL,
		.offset = offsetof(struct stdio_options, signal),
		.fallback = "off",
		.help = "let Ctrl-c and the like raise signals here",
	},
	OPTION_END,
};

struct stdio {
	struct chardev cd;
	struct stdio_options options;
	bool terminal;           /* input is one, now in raw mode */
	struct termios original; /* its settings before; close restores them */
	bool escaped;            /* the last byte was Ctrl-a */
	/* Search for wait_for in the output (Knuth, Morris, Pratt). */
	unsigned matched, text_len;
	uint8_t fallback[WAIT_FOR_MAX + 1];
};

/* Raw mode. */

static int enter_raw_mode(struct stdio *s, struct vmm_error *err)
{
	struct termios raw;

	if (!isatty(s->cd.in.fd))
		return 0;
	if (tcgetattr(s->cd.in.fd, &s->original))
		return error_set_errno(err, errno, "%s: the terminal", s->cd.what);
	raw = s->original;
	/* Output processing stays on: log lines of this process go to the same terminal. */
	raw.c_iflag &=
		~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!s->options.signal)
		raw.c_lflag &= ~(tcflag_t)ISIG;
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(s->cd.in.fd, TCSANOW, &raw))
		return error_set_errno(err, errno, "%s: the terminal's raw mode", s->cd.what);
	s->terminal = true;
	return 0;
}

/* Reading the terminal from its background (vmm &, Ctrl-z and bg) would stop the process. */
static bool stdio_may_read(struct chardev *cd)
{
	const struct stdio *s = container_of(cd, struct stdio, cd);
	pid_t foreground;

	if (!s->terminal)
		return true;
	foreground = tcgetpgrp(cd->in.fd);
	return foreground < 0 || foreground == getpgrp();
}

/* Escapes. */

static void help(struct stdio *s)
{
	static const char text[] = "\r\n"
				   "Ctrl-a h  this help\r\n"
				   "Ctrl-a x  leave: stop the VM\r\n"
				   "Ctrl-a b  send a break\r\n"
				   "Ctrl-a a  send Ctrl-a\r\n";

	chardev_write(&s->cd, (const uint8_t *)text, sizeof(text) - 1);
}

/* Returns true if the byte is input after all. */
static bool escape(struct stdio *s, uint8_t byte)
{
	const struct chardev_frontend *f = s->cd.frontend;

	switch (byte) {
	case 'x':
		if (f->quit)
			f->quit(s->cd.opaque);
		return false;
	case 'b':
		if (f->send_break)
			f->send_break(s->cd.opaque);
		return false;
	case 'h':
	case '?':
		help(s);
		return false;
	default:
		return byte == 'a' || byte == ESCAPE;
	}
}

static size_t stdio_filter(struct chardev *cd, uint8_t *data, size_t len)
{
	struct stdio *s = container_of(cd, struct stdio, cd);
	size_t kept = 0;

	if (!s->terminal)
		return len;
	for (size_t i = 0; i < len; i++) {
		if (s->escaped) {
			s->escaped = false;
			if (escape(s, data[i]))
				data[kept++] = ESCAPE;
		} else if (data[i] == ESCAPE) {
			s->escaped = true;
		} else {
			data[kept++] = data[i];
		}
	}
	return kept;
}

/* wait-for. */

static void prepare_search(struct stdio *s)
{
	const char *text = s->options.wait_for;
	unsigned k = 0;

	s->text_len = (unsigned)strlen(text);
	for (unsigned i = 1; i < s->text_len; i++) {
		while (k && text[i] != text[k])
			k = s->fallback[k - 1];
		if (text[i] == text[k])
			k++;
		s->fallback[i] = (uint8_t)k;
	}
	s->cd.in_held = s->text_len > 0;
}

static void stdio_watch(struct chardev *cd, const uint8_t *data, size_t len)
{
	struct stdio *s = container_of(cd, struct stdio, cd);
	const char *text = s->options.wait_for;

	for (size_t i = 0; i < len && cd->in_held; i++) {
		while (s->matched && data[i] != (uint8_t)text[s->matched])
			s->matched = s->fallback[s->matched - 1];
		if (data[i] == (uint8_t)text[s->matched])
			s->matched++;
		if (s->matched == s->text_len) {
			cd->in_held = false;
			chardev_kick(cd);
		}
	}
}

/* Life. */

static int open_ports(struct stdio *s, struct vmm_error *err)
{
	struct chardev *cd = &s->cd;
	int rc;

	/* A closed standard input is an empty one. */
	rc = chardev_port_open_shared(&cd->in, STDIN_FILENO, O_RDONLY);
	if (rc && rc != -EBADF)
		return error_set_errno(err, -rc, "%s: standard input", cd->what);
	rc = chardev_port_open_shared(&cd->out, STDOUT_FILENO, O_WRONLY);
	if (rc && rc != -EBADF)
		return error_set_errno(err, -rc, "%s: standard output", cd->what);
	return enter_raw_mode(s, err);
}

/* On error nothing is left allocated. */
static int parse_options(struct stdio_options *options, const char *what, const char *args,
			 struct vmm_error *err)
{
	const int rc = options_parse(stdio_table, what, NULL, args, options, err);

	if (rc)
		return rc;
	if (!options->wait_for || strlen(options->wait_for) <= WAIT_FOR_MAX)
		return 0;
	options_free(stdio_table, options);
	return error_set(err, EINVAL, "%s: wait-for takes at most %u characters", what,
			 WAIT_FOR_MAX);
}

static int stdio_check(const char *args, const char *what, struct vmm_error *err)
{
	struct stdio_options options;
	const int rc = parse_options(&options, what, args, err);

	if (rc == 0)
		options_free(stdio_table, &options);
	return rc;
}

static int stdio_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct stdio *s = container_of(cd, struct stdio, cd);
	int rc = parse_options(&s->options, cd->what, args, err);

	if (rc)
		return rc;
	if (s->options.wait_for)
		prepare_search(s);
	rc = chardev_set_describe(cd, err, "stdio");
	if (rc == 0)
		rc = open_ports(s, err);
	if (rc)
		return rc;
	rc = chardev_watch_ports(cd);
	return rc ? error_set_errno(err, -rc, "%s: standard input and output", cd->what) : 0;
}

/* Ports are closed by now, so the terminal is reached through the standard descriptor. */
static void stdio_close(struct chardev *cd)
{
	struct stdio *s = container_of(cd, struct stdio, cd);

	if (s->terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->original);
	options_free(stdio_table, &s->options);
}

static void stdio_ended(struct chardev *cd, bool hangup)
{
	(void)hangup;
	loop_fd_del(&cd->in.lfd);
	log_debug(cd->log, cd->what, "standard input has ended");
}

const struct chardev_ops chardev_stdio_ops = {
	.size = sizeof(struct stdio),
	.check = stdio_check,
	.open = stdio_open,
	.close = stdio_close,
	.ended = stdio_ended,
	.may_read = stdio_may_read,
	.filter = stdio_filter,
	.watch = stdio_watch,
	.drain_ms = 1000,
};
