/* SPDX-License-Identifier: MIT */
#include "console/chardev_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define PAUSE_NS (UINT64_C(500) * NS_PER_MS) /* between two looks at may_read */

static struct chardev_port *out_port(struct chardev *cd)
{
	return cd->both ? &cd->in : &cd->out;
}

/* What the loop shall wait for. */

static unsigned wanted(struct chardev *cd, const struct chardev_port *port)
{
	unsigned events = 0;

	/* Half a buffer at least: a front end that takes little does not cost a read each time. */
	if (port == &cd->in && cd->frontend && !cd->ended && !cd->in_paused &&
	    cd->in_len <= CHARDEV_IN_SIZE / 2)
		events |= LOOP_IN;
	if (port == out_port(cd) && cd->out_blocked)
		events |= LOOP_OUT;
	return events;
}

static void update_port(struct chardev *cd, struct chardev_port *port)
{
	if (port->lfd.fd >= 0 && port->lfd.events != wanted(cd, port))
		loop_fd_set(&port->lfd, wanted(cd, port));
}

static void update_events(struct chardev *cd)
{
	update_port(cd, &cd->in);
	update_port(cd, &cd->out);
}

/* Output. */

static void drop_output(struct chardev *cd)
{
	cd->out_start = cd->out_len = 0;
	cd->out_blocked = false;
}

static void break_output(struct chardev *cd, int code)
{
	if (!cd->out_broken)
		log_warn(cd->log, cd->what, "%s: output is dropped from now on: %s", cd->describe,
			 strerror(code));
	cd->out_broken = true;
	drop_output(cd);
}

/* Write as much as goes without waiting. */
static void write_out(struct chardev *cd)
{
	struct chardev_port *port = out_port(cd);

	cd->out_blocked = false;
	while (cd->out_len) {
		const size_t chunk = MIN(cd->out_len, CHARDEV_OUT_SIZE - cd->out_start);
		const ssize_t n = chardev_port_write(port, cd->out_ring + cd->out_start, chunk);

		if (n > 0) {
			cd->out_start = (cd->out_start + (size_t)n) % CHARDEV_OUT_SIZE;
			cd->out_len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			cd->out_blocked = true;
			return;
		} else {
			/* A peer that is gone is told by its hang-up; anything else is for good. */
			if (cd->ops->has_peers)
				drop_output(cd);
			else
				break_output(cd, n < 0 ? errno : EIO);
		}
	}
	cd->out_start = 0;
}

static void tell_writable(struct chardev *cd)
{
	if (!cd->out_short || cd->out_len == CHARDEV_OUT_SIZE)
		return;
	cd->out_short = false;
	if (cd->frontend && cd->frontend->writable)
		cd->frontend->writable(cd->opaque);
}

static void flush(struct loop_hook *hook)
{
	struct chardev *cd = container_of(hook, struct chardev, flush);

	if (!cd->out_blocked)
		write_out(cd);
	tell_writable(cd);
	update_events(cd);
}

size_t chardev_write(struct chardev *cd, const uint8_t *data, size_t len)
{
	const size_t room = CHARDEV_OUT_SIZE - cd->out_len;
	size_t accepted = len;

	if (cd->ops->write) {
		accepted = cd->ops->write(cd, data, len);
		cd->out_short |= accepted < len;
	} else if (cd->peer && !(cd->both && cd->hung) && !cd->out_broken &&
		   out_port(cd)->fd >= 0) {
		const size_t end = (cd->out_start + cd->out_len) % CHARDEV_OUT_SIZE;
		size_t first;

		accepted = MIN(len, room);
		first = MIN(accepted, CHARDEV_OUT_SIZE - end);
		memcpy(cd->out_ring + end, data, first);
		memcpy(cd->out_ring, data + first, accepted - first);
		cd->out_len += accepted;
		if (accepted < len)
			cd->out_short = true;
		/* Written once for the whole batch. */
		loop_hook_schedule(cd->loop, &cd->flush);
	}
	if (cd->ops->watch && accepted)
		cd->ops->watch(cd, data, accepted);
	return accepted;
}

/* Input. */

static void deliver(struct chardev *cd)
{
	size_t taken;

	if (!cd->in_len || !cd->frontend || cd->in_blocked || cd->in_held)
		return;
	taken = cd->frontend->input(cd->opaque, cd->in_buffer + cd->in_start, cd->in_len);
	cd->in_blocked = taken < cd->in_len;
	cd->in_start += taken;
	cd->in_len -= taken;
	if (cd->in_len == 0)
		cd->in_start = 0;
	if (taken && cd->ops->room)
		cd->ops->room(cd);
}

/* The port has no more to give for now, or for ever. */
static void read_failed(struct chardev *cd, bool again)
{
	const bool hung = cd->hung;

	if (again && !hung)
		return;
	/* The front end hears that the peer has gone once it has what the peer sent. */
	if (hung && cd->in_len)
		return;
	cd->ended = true;
	cd->hung = false;
	cd->ops->ended(cd, hung);
}

/* Where new input goes; *room: how much of it. */
static uint8_t *in_end(struct chardev *cd, size_t *room)
{
	if (cd->in_start) {
		memmove(cd->in_buffer, cd->in_buffer + cd->in_start, cd->in_len);
		cd->in_start = 0;
	}
	*room = CHARDEV_IN_SIZE - cd->in_len;
	return cd->in_buffer + cd->in_len;
}

size_t chardev_feed(struct chardev *cd, const uint8_t *data, size_t len)
{
	uint8_t *end;
	size_t room;

	if (cd->in_len == CHARDEV_IN_SIZE)
		return 0;
	end = in_end(cd, &room);
	len = MIN(len, room);
	memcpy(end, data, len);
	cd->in_len += len;
	chardev_kick(cd);
	return len;
}

static void resume(struct loop_timer *timer)
{
	struct chardev *cd = container_of(timer, struct chardev, resume);

	cd->in_paused = false;
	update_events(cd);
}

/* Whether input may be read now. There is no event for the time when it may again. */
static bool may_read(struct chardev *cd)
{
	const uint64_t later = clock_now(loop_clock(cd->loop)) + PAUSE_NS;

	if (!cd->ops->may_read || cd->ops->may_read(cd))
		return true;
	/* Without memory for a timer it is asked each time. */
	cd->in_paused = loop_timer_arm(&cd->resume, later) == 0;
	return false;
}

/* Read once. Returns false if nothing came. */
static bool read_in(struct chardev *cd)
{
	uint8_t *end;
	size_t len, room;
	ssize_t n;

	if (cd->ended || cd->in.fd < 0 || !cd->frontend || cd->in_len == CHARDEV_IN_SIZE ||
	    !may_read(cd))
		return false;
	end = in_end(cd, &room);
	n = chardev_port_read(&cd->in, end, room);
	if (n <= 0) {
		read_failed(cd, n < 0 && errno == EAGAIN);
		return false;
	}
	len = (size_t)n;
	if (cd->ops->filter)
		len = cd->ops->filter(cd, end, len);
	cd->in_len += len;
	return true;
}

static void tell_peer(struct chardev *cd)
{
	if (!cd->ops->has_peers || !cd->frontend || cd->peer_told == cd->peer)
		return;
	cd->peer_told = cd->peer;
	if (cd->frontend->connected)
		cd->frontend->connected(cd->opaque, cd->peer);
}

void chardev_check_size(struct chardev *cd)
{
	struct winsize size;

	if (!cd->in.terminal || !cd->frontend || !cd->frontend->resized ||
	    ioctl(cd->in.fd, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row ||
	    (size.ws_col == cd->columns && size.ws_row == cd->rows))
		return;
	cd->columns = size.ws_col;
	cd->rows = size.ws_row;
	cd->frontend->resized(cd->opaque, cd->columns, cd->rows);
}

static void pump(struct loop_task *task)
{
	struct chardev *cd = container_of(task, struct chardev, pump);

	tell_peer(cd);
	chardev_check_size(cd);
	deliver(cd);
	/* Files are always ready; each turn takes a buffer full, so that others have theirs. */
	if (!cd->in.pollable && read_in(cd)) {
		deliver(cd);
		chardev_kick(cd);
	}
	tell_peer(cd);
	tell_writable(cd);
	update_events(cd);
}

void chardev_kick(struct chardev *cd)
{
	loop_post(cd->loop, &cd->pump);
}

void chardev_input_ready(struct chardev *cd)
{
	cd->in_blocked = false;
	chardev_kick(cd);
}

/* Ports. */

static void hang_up(struct chardev *cd, struct chardev_port *port)
{
	/* The loop would report it again and again. What is left to read needs no waiting for. */
	loop_fd_del(&port->lfd);
	port->pollable = false;
	if (port == &cd->out) {
		break_output(cd, EPIPE);
	} else {
		cd->hung = true;
		cd->ended = false; /* reads the end once more, now as a hang-up */
		/* Nobody reads it, and the front end shall not wait for that. */
		if (cd->both)
			drop_output(cd);
	}
	chardev_kick(cd);
}

static void port_event(struct loop_fd *lfd, unsigned events)
{
	struct chardev_port *port = container_of(lfd, struct chardev_port, lfd);
	struct chardev *cd = port->owner;

	if (events & LOOP_OUT) {
		write_out(cd);
		tell_writable(cd);
	}
	if ((events & LOOP_IN) && read_in(cd)) {
		/* Whoever typed may have resized the window before. */
		chardev_check_size(cd);
		deliver(cd);
	}
	if ((events & LOOP_HUP) && port->lfd.fd >= 0)
		hang_up(cd, port);
	update_events(cd);
}

static int watch_port(struct chardev *cd, struct chardev_port *port)
{
	int rc;

	if (port->fd < 0)
		return 0;
	port->owner = cd;
	rc = loop_fd_add(cd->loop, &port->lfd, port->fd, wanted(cd, port), port_event);
	port->pollable = rc == 0;
	if (rc == -EPERM)
		chardev_kick(cd); /* a file: always ready */
	return rc == -EPERM ? 0 : rc;
}

int chardev_watch_ports(struct chardev *cd)
{
	const int rc = watch_port(cd, &cd->in);

	return rc ? rc : watch_port(cd, &cd->out);
}

void chardev_set_peer(struct chardev *cd, bool peer)
{
	cd->peer = peer;
	cd->ended = !peer;
	cd->hung = false;
	drop_output(cd);
	tell_peer(cd);
	chardev_kick(cd);
}

/* Life. */

static const struct chardev_kind kinds[] = {
	{"stdio", "stdio", "standard input and output"},
	{"pty", "pty[,link=PATH]", "a pseudo terminal"},
	{"unix", "unix:PATH", "a socket that one client at a time may use"},
	{"attach", "attach:/PATH", "a socket for `vmm attach`, which shows the latest output"},
	{"file", "file:PATH", "output to a file"},
	{"ring", "ring[:size=BYTES]", "memory that keeps the latest output"},
	{"none", "none", "nothing"},
	{NULL, NULL, NULL},
};

static const struct {
	char separator; /* between the name and its arguments; 0: it has none */
	const struct chardev_ops *ops;
} backends[] = {
	{',', &chardev_stdio_ops},  {',', &chardev_pty_ops},  {':', &chardev_unix_ops},
	{':', &chardev_attach_ops}, {':', &chardev_file_ops}, {':', &chardev_ring_ops},
	{0, &chardev_none_ops},
};

_Static_assert(ARRAY_SIZE(kinds) == ARRAY_SIZE(backends) + 1, "one for each");

const struct chardev_kind *chardev_kinds(void)
{
	return kinds;
}

static const struct chardev_ops *find_backend(const char *spec, const char **args)
{
	/* Not one of those that a user could be offered. */
	if (!strncmp(spec, PROVIDED_PREFIX, strlen(PROVIDED_PREFIX))) {
		*args = spec + strlen(PROVIDED_PREFIX);
		return &chardev_api_ops;
	}
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		const size_t len = strlen(kinds[i].name);

		if (strncmp(spec, kinds[i].name, len) != 0)
			continue;
		*args = spec + len;
		if (**args == '\0')
			return backends[i].ops;
		if (backends[i].separator && **args == backends[i].separator) {
			(*args)++;
			return backends[i].ops;
		}
	}
	return NULL;
}

bool chardev_is_spec(const char *spec)
{
	const char *args;

	return find_backend(spec, &args);
}

/* named: it could also have been the name of one that was added. */
static int unknown_backend(const char *spec, const char *what, bool named, struct vmm_error *err)
{
	const char *names[ARRAY_SIZE(kinds)], *near;
	char word[32];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		names[i] = kinds[i].name;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(spec, ",:="), spec);
	near = nearest_name(word, names);
	return error_set(
		err, EINVAL,
		"%s: \"%s\" is not stdio, pty, unix:PATH, attach:/PATH, file:PATH, ring or "
		"none%s%s%s%s",
		what, spec, named ? ", and there is no chardev of that name" : "",
		near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

int chardev_check(const char *spec, const char *what, struct vmm_error *err)
{
	const char *args;
	const struct chardev_ops *ops = find_backend(spec, &args);

	if (!ops)
		return unknown_backend(spec, what, false, err);
	return ops->check ? ops->check(args, what, err) : 0;
}

int chardev_set_describe(struct chardev *cd, struct vmm_error *err, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&cd->describe, fmt, ap);
	va_end(ap);
	if (n >= 0)
		return 0;
	cd->describe = NULL;
	return error_set(err, ENOMEM, "%s: out of memory", cd->what);
}

static int create(struct chardev **out, const char *spec, const char *what, struct loop *loop,
		  const struct log *log, struct provided_set *provided, struct vmm_error *err)
{
	const char *args;
	const struct chardev_ops *ops = find_backend(spec, &args);
	struct chardev *cd;
	int rc;

	if (!ops)
		return unknown_backend(spec, what, provided != NULL, err);
	cd = calloc(1, ops->size);
	if (!cd)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	cd->ops = ops;
	cd->loop = loop;
	cd->log = log;
	cd->provided = provided;
	cd->peer = !ops->has_peers;
	snprintf(cd->what, sizeof(cd->what), "%s", what);
	chardev_port_init(&cd->in);
	chardev_port_init(&cd->out);
	loop_hook_init(&cd->flush, flush);
	loop_task_init(&cd->pump, pump);
	loop_timer_init(loop, &cd->resume, resume);
	rc = ops->open(cd, args, err);
	if (rc) {
		chardev_destroy(cd);
		return rc;
	}
	*out = cd;
	return 0;
}

int chardev_create(struct chardev **out, const char *spec, const char *what, struct loop *loop,
		   const struct log *log, struct vmm_error *err)
{
	return create(out, spec, what, loop, log, NULL, err);
}

int chardev_create_for(struct chardev **out, const char *spec, const char *what,
		       const struct device *dev, struct vmm_error *err)
{
	return create(out, spec, what, dev->loop, dev->env->log, dev->env->provided, err);
}

/*
 * The last words of a guest matter most: give a slow reader a moment, but not for ever. The time is
 * the system's: it is the reader's, not the guest's. While the loop runs, a stream goes for itself
 * (a port is removed), and nobody else is to wait for its reader.
 */
static void drain(struct chardev *cd)
{
	struct pollfd p = {.fd = out_port(cd)->fd, .events = POLLOUT};
	const uint64_t limit = (uint64_t)cd->ops->drain_ms * NS_PER_MS;
	uint64_t start, spent = 0;

	if (p.fd < 0)
		return;
	start = clock_now(clock_system());
	write_out(cd);
	while (cd->out_len && !loop_runs(cd->loop) && spent < limit &&
	       poll(&p, 1, (int)((limit - spent) / NS_PER_MS) + 1) == 1) {
		write_out(cd);
		spent = clock_now(clock_system()) - start;
	}
}

void chardev_destroy(struct chardev *cd)
{
	if (!cd)
		return;
	drain(cd);
	loop_hook_cancel(cd->loop, &cd->flush);
	loop_task_cancel(cd->loop, &cd->pump);
	loop_timer_disarm(&cd->resume);
	chardev_port_close(&cd->in);
	chardev_port_close(&cd->out);
	cd->ops->close(cd);
	free(cd->describe);
	free(cd);
}

void chardev_attach(struct chardev *cd, const struct chardev_frontend *frontend, void *opaque)
{
	cd->frontend = frontend;
	cd->opaque = opaque;
	cd->in_blocked = false;
	cd->out_short = false;
	cd->peer_told = false;
	cd->columns = cd->rows = 0;
	if (frontend)
		chardev_kick(cd);
	update_events(cd);
}

bool chardev_connected(const struct chardev *cd)
{
	return cd->peer;
}

const char *chardev_describe(const struct chardev *cd)
{
	return cd->describe;
}
