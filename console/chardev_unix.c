/* SPDX-License-Identifier: MIT */
/*
 * A unix stream socket that one client at a time may use.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_NS (UINT64_C(1000) * NS_PER_MS)

struct unix_server {
	struct chardev cd;
	int fd; /* listens */
	struct loop_fd lfd;
	struct loop_timer retry; /* accepts again after the process had no descriptor left */
	struct sockaddr_un address;
	bool bound; /* the file at the address is ours: */
	dev_t device;
	ino_t inode;
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
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
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

/* Whether the socket file was left behind by somebody who no longer listens. */
static bool stale(const struct sockaddr_un *address)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int bind_address(struct unix_server *s)
{
	const struct sockaddr *address = (const struct sockaddr *)&s->address;
	struct stat st;

	if (bind(s->fd, address, sizeof(s->address))) {
		if (errno != EADDRINUSE || !stale(&s->address))
			return -errno;
		unlink(s->address.sun_path);
		if (bind(s->fd, address, sizeof(s->address)))
			return -errno;
	}
	if (stat(s->address.sun_path, &st) == 0) {
		s->bound = true;
		s->device = st.st_dev;
		s->inode = st.st_ino;
	}
	return listen(s->fd, 4) ? -errno : 0;
}

static int unix_check(const char *path, const char *what, struct vmm_error *err)
{
	const size_t len = strlen(path), most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (len == 0)
		return error_set(err, EINVAL, "%s: unix needs a path: unix:PATH", what);
	if (len > most)
		return error_set(err, ENAMETOOLONG,
				 "%s: the socket's path has %zu characters, the system allows %zu: "
				 "%s",
				 what, len, most, path);
	return 0;
}

static int set_address(struct unix_server *s, const char *path, struct vmm_error *err)
{
	const int rc = unix_check(path, s->cd.what, err);

	if (rc)
		return rc;
	s->address.sun_family = AF_UNIX;
	memcpy(s->address.sun_path, path, strlen(path) + 1);
	return chardev_set_describe(&s->cd, err, "unix:%s", path);
}

static int unix_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct unix_server *s = container_of(cd, struct unix_server, cd);
	int rc;

	s->fd = s->lfd.fd = -1;
	loop_timer_init(cd->loop, &s->retry, accept_again);
	cd->both = true;
	rc = set_address(s, args, err);
	if (rc)
		return rc;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = s->fd < 0 ? -errno : bind_address(s);
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
	struct stat st;

	loop_timer_disarm(&s->retry);
	loop_fd_del(&s->lfd);
	if (s->fd >= 0)
		close(s->fd);
	/* Somebody may have taken the name over. */
	if (s->bound && stat(s->address.sun_path, &st) == 0 && st.st_dev == s->device &&
	    st.st_ino == s->inode)
		unlink(s->address.sun_path);
}

const struct chardev_ops chardev_unix_ops = {
	.size = sizeof(struct unix_server),
	.has_peers = true,
	.check = unix_check,
	.open = unix_open,
	.close = unix_close,
	.ended = unix_ended,
};
