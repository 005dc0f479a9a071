/* SPDX-License-Identifier: MIT */
/*
 * A unix stream socket that one client at a time may use.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/unix_socket.h"

#define RETRY_NS (UINT64_C(1000) * NS_PER_MS)

struct unix_server {
	struct chardev cd;
	int fd; /* listens */
	struct loop_fd lfd;
	struct loop_timer retry; /* accepts again after the process had no descriptor left */
	struct unix_socket_file file;
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
	/* One that has left, and of which the guest has not read everything, makes room. */
	if (cd->peer && cd->hung)
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

static int unix_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);
	struct sockaddr_un address;
	int rc;

	s->fd = s->lfd.fd = -1;
	loop_timer_init(cd->loop, &s->retry, accept_again);
	cd->both = true;
	rc = unix_socket_address(&address, args, cd->what, err);
	if (!rc)
		rc = chardev_set_describe(cd, err, "unix:%s", args);
	if (rc)
		return rc;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = s->fd < 0 ? -errno : unix_socket_bind(&s->file, s->fd, SOCK_STREAM, &address);
	if (rc == 0 && listen(s->fd, 4))
		rc = -errno;
	if (rc == -EADDRINUSE)
		return error_set(err, EADDRINUSE, "%s: %s is in use by another program", cd->what,
				 args);
	if (rc == 0)
		rc = loop_fd_add(cd->loop, &s->lfd, s->fd, LOOP_IN, accept_client);
	if (rc)
		return error_set_errno(err, -rc, "%s: cannot listen on %s", cd->what, args);
	log_info(cd->log, cd->what, "listening on %s", cd->describe);
	return 0;
}

static void unix_close(struct chardev *cd)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);

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
