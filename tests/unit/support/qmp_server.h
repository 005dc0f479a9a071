/* SPDX-License-Identifier: MIT */
/*
 * A server of the control socket's protocol with commands of its own, and a client of it.
 */
#ifndef TESTS_QMP_SERVER_H
#define TESTS_QMP_SERVER_H

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/qmp.h"

/* ---- a server ---- */

static sem_t entered, go_on, left;

static inline int run_echo(struct qmp_call *call)
{
	call->result = json_incref(call->args);
	return 0;
}

static inline int run_fail(struct qmp_call *call)
{
	call->failure = "DeviceNotFound";
	return error_set(&call->err, ENOENT, "no such \xff thing");
}

static inline int run_lose(struct qmp_call *call UNUSED)
{
	return 0; /* there was no memory for the result */
}

static inline int run_wait(struct qmp_call *call UNUSED)
{
	sem_post(&entered);
	while (sem_wait(&go_on) && errno == EINTR)
		;
	return 0;
}

static inline void after_wait(void *opaque UNUSED)
{
	sem_post(&left);
}

static const struct qmp_member echo_args[] = {
	{"text", QMP_STRING, false},
	{"number", QMP_INT, true},
	{"flag", QMP_BOOL, true},
	{.name = NULL},
};

static const struct qmp_command commands[] = {
	{"echo", .args = echo_args, .answers = true, .run = run_echo},
	{"fail", .run = run_fail},
	{"lose", .answers = true, .run = run_lose},
	{"open", .args = echo_args, .open = true, .answers = true, .run = run_echo},
	{"wait", .run = run_wait, .after = after_wait},
	{.name = NULL},
};

static const struct qmp_event events[] = {{"HAPPENED", echo_args}, {.name = NULL}};

static struct qmp *qmp;
static struct vmm_error err;

static inline void start_with(struct clock *clock)
{
	static const struct log log;
	const struct qmp_config config = {
		.name = "test",
		.clock = clock,
		.log = &log,
		.commands = commands,
		.events = events,
	};

	sem_init(&entered, 0, 0);
	sem_init(&go_on, 0, 0);
	sem_init(&left, 0, 0);
	cr_assert_eq(qmp_create(&qmp, &config, &err), 0, "%s", err.message);
}

static inline void start(void)
{
	start_with(clock_system());
}

static inline void stop(void)
{
	qmp_destroy(qmp);
}

/* ---- a client ---- */

struct client {
	int fd;
	char *text; /* read and not yet looked at */
	size_t len;
};

static inline void sends(struct client *c, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

		cr_assert_gt(n, 0, "%s", strerror(errno));
		data += n;
		len -= (size_t)n;
	}
}

static inline void says(struct client *c, const char *text)
{
	sends(c, text, strlen(text));
}

/* The next line, parsed; NULL: the server has closed the connection. */
static inline json_t *hears(struct client *c)
{
	char *end;
	json_t *value;

	while (!(end = c->len ? memchr(c->text, '\n', c->len) : NULL)) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ssize_t n;

		cr_assert_eq(poll(&p, 1, 60000), 1, "the server is silent");
		c->text = realloc(c->text, c->len + 65536);
		n = recv(c->fd, c->text + c->len, 65536, 0);
		if (n <= 0)
			return NULL;
		c->len += (size_t)n;
	}
	/* As the specification wants it: ASCII, and CR LF at the end. */
	cr_assert(end > c->text && end[-1] == '\r');
	for (const char *byte = c->text; byte < end - 1; byte++)
		cr_assert(*byte >= 0x20 && *byte <= 0x7f, "%#x", *byte);
	value = json_loadb(c->text, (size_t)(end - c->text), 0, NULL);
	cr_assert_not_null(value, "not JSON");
	c->len -= (size_t)(end + 1 - c->text);
	memmove(c->text, end + 1, c->len);
	return value;
}

/* The next line has this text in it, written as json_dumps does. */
static inline void hears_text(struct client *c, const char *part)
{
	json_t *value = hears(c);
	char *text = value ? json_dumps(value, 0) : NULL;

	cr_assert(text && strstr(text, part), "wanted %s, got %s", part, text ? text : "the end");
	free(text);
	json_decref(value);
}

static inline struct client greeted(void)
{
	struct client c = {0};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(qmp_add_client(qmp, fds[0]), 0);
	c.fd = fds[1];
	hears_text(&c, "{\"QMP\": {\"version\": {\"qemu\": {\"major\": ");
	return c;
}

static inline struct client negotiated(void)
{
	struct client c = greeted();

	says(&c, "{\"execute\":\"qmp_capabilities\"}");
	hears_text(&c, "{\"return\": {}}");
	return c;
}

static inline void leaves(struct client *c)
{
	close(c->fd);
	free(c->text);
}

/* It is still served. */
static inline void is_served(struct client *c)
{
	says(c, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"still here\"}}\n");
	hears_text(c, "{\"return\": {\"text\": \"still here\"}}");
}

#endif
