/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of all kinds, read and written without waiting.
 *
 * O_NONBLOCK belongs to the open file description, which standard input and output share with the
 * shell and with other programs: setting it there breaks them, also after this process has ended.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What fits into a pipe that poll calls writable, and is little for a terminal. */
#define CAREFUL_CHUNK 512u

void chardev_port_init(struct chardev_port *port)
{
	*port = (struct chardev_port){.fd = -1, .lfd = {.fd = -1}};
}

void chardev_port_set(struct chardev_port *port, int fd)
{
	struct stat st;

	chardev_port_init(port);
	port->fd = fd;
	if (fstat(fd, &st))
		return;
	port->socket = S_ISSOCK(st.st_mode);
	port->sigpipe = S_ISFIFO(st.st_mode);
	port->terminal = isatty(fd);
}

int chardev_port_open_shared(struct chardev_port *port, int fd, int access)
{
	bool blocking = false;
	char path[32];
	struct stat st;
	int own = -1;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISFIFO(st.st_mode) || isatty(fd)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		blocking = own < 0;
	}
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return -errno;
	chardev_port_set(port, own);
	port->blocking = blocking;
	return 0;
}

void chardev_port_close(struct chardev_port *port)
{
	loop_fd_del(&port->lfd);
	if (port->fd >= 0)
		close(port->fd);
	chardev_port_init(port);
}

static bool ready(const struct chardev_port *port, short events)
{
	struct pollfd p = {.fd = port->fd, .events = events};

	return poll(&p, 1, 0) == 1;
}

ssize_t chardev_port_read(struct chardev_port *port, void *data, size_t len)
{
	ssize_t n;

	if (port->blocking && !ready(port, POLLIN)) {
		errno = EAGAIN;
		return -1;
	}
	do {
		n = port->socket ? recv(port->fd, data, len, MSG_DONTWAIT)
				 : read(port->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* A library installs no signal handler: keep SIGPIPE from the process another way. */
static ssize_t write_without_sigpipe(int fd, const void *data, size_t len)
{
	const struct timespec no_time = {0};
	sigset_t pipe, old, pending;
	int code;
	ssize_t n;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe, &old);
	n = write(fd, data, len);
	code = errno;
	if (n < 0 && code == EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe, NULL, &no_time);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = code;
	return n;
}

ssize_t chardev_port_write(struct chardev_port *port, const void *data, size_t len)
{
	ssize_t n;

	if (port->blocking) {
		if (!ready(port, POLLOUT)) {
			errno = EAGAIN;
			return -1;
		}
		len = MIN(len, (size_t)CAREFUL_CHUNK);
	}
	do {
		if (port->socket)
			n = send(port->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else if (port->sigpipe)
			n = write_without_sigpipe(port->fd, data, len);
		else
			n = write(port->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n;
}
