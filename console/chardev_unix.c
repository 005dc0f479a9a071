/* SPDX-License-Identifier: MIT */
/*
 * A unix stream socket that one client at a time may use: `unix`, for programs, which hear nothing
 * older than themselves and are not disturbed by others, and `attach`, for people, who come from
 * another terminal, want to see what was printed last, and never hold the guest.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/unix_socket.h"

#define RETRY_NS     (UINT64_C(1000) * NS_PER_MS)
#define STALL_NS     (5 * NS_PER_SEC) /* how long a reader may hold up the guest */
#define HISTORY_SIZE CHARDEV_OUT_SIZE /* what a new client is sent at once */

/* Of `attach`: the latest output, whoever has read it. */
struct history {
	struct unix_server *owner;
	uint64_t seen; /* bytes of output so far */
	struct loop_timer stalled;
	bool armed;
	uint64_t seen_then; /* when the timer was armed */
	int unread_then;
	uint8_t bytes[HISTORY_SIZE];
};

struct unix_server {
	struct chardev cd;
	int fd; /* listens */
	struct loop_fd lfd;
	struct loop_timer retry; /* accepts again after the process had no descriptor left */
	struct unix_socket_file file;
	struct history *history; /* NULL: `unix` */
};

static void accept_again(struct loop_timer *retry)
{
	struct unix_server *s = container_of(retry, struct unix_server, retry);

	loop_timer_disarm(retry);
	loop_fd_set(&s->lfd, LOOP_IN);
}

/*
 * A client waits that cannot be accepted, and the loop would report it again and again. Without a
 * timer it stays until the next one leaves.
 */
static void pause_accepting(struct unix_server *s, int code)
{
	log_warn(s->cd.log, s->cd.what, "%s: cannot accept a client: %s", s->cd.describe,
		 strerror(code));
	loop_fd_set(&s->lfd, 0);
	if (loop_timer_arm(&s->retry, clock_now(loop_clock(s->cd.loop)) + RETRY_NS))
		log_warn(s->cd.log, s->cd.what, "%s: no memory for a timer", s->cd.describe);
}

static void drop_client(struct unix_server *s)
{
	chardev_port_close(&s->cd.in);
	accept_again(&s->retry);
	log_debug(s->cd.log, s->cd.what, "%s: client gone", s->cd.describe);
	chardev_set_peer(&s->cd, false);
}

/* ---- attach ---- */

/*
 * How much of what was sent the client has not read. The socket takes more only once most of that
 * is gone, which for a slow line can be a while.
 */
static int unread(const struct unix_server *s)
{
	int bytes = 0;

	(void)ioctl(s->cd.in.fd, SIOCOUTQ, &bytes);
	return bytes;
}

/*
 * A client that does not read (a stopped process, a terminal that is scrolled back) fills the
 * output. The guest waits for it for a while, then the client goes: what it misses stays in the
 * history.
 */
static void watch_for_stall(struct unix_server *s)
{
	struct history *h = s->history;

	if (s->cd.out_len < CHARDEV_OUT_SIZE || h->armed)
		return;
	h->seen_then = h->seen;
	h->unread_then = unread(s);
	h->armed = loop_timer_arm(&h->stalled, clock_now(loop_clock(s->cd.loop)) + STALL_NS) == 0;
	if (!h->armed)
		log_warn(s->cd.log, s->cd.what, "%s: no memory for a timer", s->cd.describe);
}

static void on_stall(struct loop_timer *timer)
{
	struct history *h = container_of(timer, struct history, stalled);
	struct unix_server *s = h->owner;

	h->armed = false;
	if (s->cd.peer && s->cd.out_len == CHARDEV_OUT_SIZE && h->seen == h->seen_then &&
	    unread(s) == h->unread_then) {
		drop_client(s);
		log_warn(s->cd.log, s->cd.what, "%s: a client that does not read was disconnected",
			 s->cd.describe);
	} else {
		watch_for_stall(s);
	}
}

static void attach_watch(struct chardev *cd, const uint8_t *data, size_t len)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);
	struct history *h = s->history;
	size_t kept = MIN(len, HISTORY_SIZE), at, first;

	h->seen += len - kept;
	at = h->seen % HISTORY_SIZE;
	first = MIN(kept, HISTORY_SIZE - at);
	data += len - kept;
	memcpy(h->bytes + at, data, first);
	memcpy(h->bytes, data + first, kept - first);
	h->seen += kept;
	watch_for_stall(s);
}

/* To a client that has just come: there is no other output yet. */
static void show_history(struct unix_server *s)
{
	const struct history *h = s->history;
	const size_t len = (size_t)MIN(h->seen, (uint64_t)HISTORY_SIZE);
	const size_t at = (h->seen - len) % HISTORY_SIZE, first = MIN(len, HISTORY_SIZE - at);

	memcpy(s->cd.out_ring, h->bytes + at, first);
	memcpy(s->cd.out_ring + first, h->bytes, len - first);
	s->cd.out_len = len;
	loop_hook_schedule(s->cd.loop, &s->cd.flush);
	watch_for_stall(s);
}

/* ---- clients ---- */

static void accept_client(struct loop_fd *lfd, unsigned events)
{
	struct unix_server *s = container_of(lfd, struct unix_server, lfd);
	struct chardev *cd = &s->cd;
	const int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) {
		/* Anything else is a client that went away again. */
		if (unix_socket_client_waits(errno))
			pause_accepting(s, errno);
		return;
	}
	/*
	 * One that has left, and of which the guest has not read everything, makes room; and a
	 * person who attaches here has perhaps forgotten to detach there.
	 */
	if (cd->peer && (cd->hung || s->history))
		drop_client(s);
	if (cd->peer) {
		log_warn(cd->log, cd->what, "%s: a second client was refused", cd->describe);
		close(fd);
		return;
	}
	chardev_port_set(&cd->in, fd);
	if (chardev_watch_ports(cd)) {
		chardev_port_close(&cd->in);
		return;
	}
	log_debug(cd->log, cd->what, "%s: client connected", cd->describe);
	chardev_set_peer(cd, true);
	if (s->history)
		show_history(s);
}

static void unix_ended(struct chardev *cd, bool hangup)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);

	/* A client that only closed its sending half (printf … | nc -U) still wants output. */
	if (hangup)
		drop_client(s);
}

/* Set up. */

static int unix_check(const char *path, const char *what, struct vmm_error *err)
{
	struct sockaddr_un address;

	return unix_socket_address(&address, path, what, err);
}

/* mode: of the file; 0: what the umask leaves. */
static int open_server(struct unix_server *s, const char *args, const char *kind, mode_t mode,
		       struct vmm_error *err)
{
	struct chardev *cd = &s->cd;
	struct sockaddr_un address;
	int rc;

	rc = unix_socket_address(&address, args, cd->what, err);
	if (!rc)
		rc = chardev_set_describe(cd, err, "%s:%s", kind, args);
	if (rc)
		return rc;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = s->fd < 0 ? -errno : 0;
	/* The mode of the descriptor becomes that of the file: at no time can others connect. */
	if (rc == 0 && mode && fchmod(s->fd, mode))
		rc = -errno;
	if (rc == 0)
		rc = unix_socket_bind(&s->file, s->fd, SOCK_STREAM, &address);
	if (rc == 0 && listen(s->fd, 4))
		rc = -errno;
	if (rc == -EADDRINUSE)
		return error_set(err, EADDRINUSE, "%s: %s is in use by another program", cd->what,
				 args);
	if (rc == -EEXIST)
		return error_set(err, EEXIST, "%s: %s is there already, and is not a socket",
				 cd->what, args);
	if (rc == 0)
		rc = loop_fd_add(cd->loop, &s->lfd, s->fd, LOOP_IN, accept_client);
	if (rc)
		return error_set_errno(err, -rc, "%s: cannot listen on %s", cd->what, args);
	log_info(cd->log, cd->what, "listening on %s", cd->describe);
	return 0;
}

static struct unix_server *init_server(struct chardev *cd)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);

	s->fd = s->lfd.fd = -1;
	loop_timer_init(cd->loop, &s->retry, accept_again);
	cd->both = true;
	return s;
}

static int unix_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	return open_server(init_server(cd), args, "unix", 0, err);
}

static int attach_check(const char *path, const char *what, struct vmm_error *err)
{
	/* Who attaches is in another folder. */
	if (*path != '/')
		return error_set(err, EINVAL,
				 "%s: attach needs a path that begins with /: attach:/PATH", what);
	return unix_check(path, what, err);
}

static int attach_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct unix_server *s = init_server(cd);
	int rc = attach_check(args, cd->what, err);

	if (rc)
		return rc;
	s->history = calloc(1, sizeof(*s->history));
	if (!s->history)
		return error_set(err, ENOMEM, "%s: no memory for what was printed last", cd->what);
	s->history->owner = s;
	loop_timer_init(cd->loop, &s->history->stalled, on_stall);
	return open_server(s, args, "attach", 0600, err);
}

static void unix_close(struct chardev *cd)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);

	if (s->history)
		loop_timer_disarm(&s->history->stalled);
	free(s->history);
	loop_timer_disarm(&s->retry);
	loop_fd_del(&s->lfd);
	if (s->fd >= 0)
		close(s->fd);
	unix_socket_remove(&s->file);
}

const struct chardev_ops chardev_unix_ops = {
	.size = sizeof(struct unix_server),
	.has_peers = true,
	.check = unix_check,
	.open = unix_open,
	.close = unix_close,
	.ended = unix_ended,
};

const struct chardev_ops chardev_attach_ops = {
	.size = sizeof(struct unix_server),
	.has_peers = true,
	.check = attach_check,
	.open = attach_open,
	.close = unix_close,
	.ended = unix_ended,
	.watch = attach_watch,
	.drain_ms = 1000,
};
