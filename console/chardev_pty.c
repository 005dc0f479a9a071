/* SPDX-License-Identifier: MIT */
/*
 * A pseudo terminal that people attach to and leave (screen, picocom, a test's script).
 *
 * While nobody has the slave open the master only reports hang-up, again and again: then the loop
 * does not watch it, and an inotify watch on the slave's node says when somebody opens it.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

struct pty_options {
	char *link;
};

static const struct option_desc pty_table[] = {
	{
		.name = "link",
		.type = OPTION_STRING,
		.offset = offsetof(struct pty_options, link),
		.help = "make a symbolic link to the pty here",
	},
	OPTION_END,
};

struct pty {
	struct chardev cd;
	struct pty_options options;
	char name[64]; /* of the slave */
	bool linked;
	int inotify;
	struct loop_fd inotify_lfd;
};

/* Whether somebody has the slave open now, or had it and left something to read. */
static bool attached(const struct pty *p)
{
	struct pollfd fd = {.fd = p->cd.in.fd, .events = POLLIN};

	return poll(&fd, 1, 0) == 0 || (fd.revents & POLLIN) || !(fd.revents & POLLHUP);
}

static void check(struct pty *p)
{
	if (p->cd.peer || !attached(p) || chardev_watch_ports(&p->cd))
		return;
	log_debug(p->cd.log, p->cd.what, "%s: attached", p->name);
	chardev_set_peer(&p->cd, true);
}

static void slave_opened(struct loop_fd *lfd, unsigned events)
{
	struct pty *p = container_of(lfd, struct pty, inotify_lfd);
	char buffer[1024];

	(void)events;
	while (read(p->inotify, buffer, sizeof(buffer)) > 0)
		; /* what exactly has happened does not matter */
	check(p);
}

static void pty_ended(struct chardev *cd, bool hangup)
{
	struct pty *p = container_of(cd, struct pty, cd);

	(void)hangup;
	loop_fd_del(&cd->in.lfd);
	log_debug(cd->log, cd->what, "%s: detached", p->name);
	chardev_set_peer(cd, false);
	/* The next one may have come while the last was leaving. */
	check(p);
}

/* Set up. */

/* Raw, and hung up as long as nobody comes. */
static int prepare_slave(const struct pty *p)
{
	struct termios raw;
	int fd, rc = 0;

	fd = open(p->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (tcgetattr(fd, &raw))
		rc = -errno;
	cfmakeraw(&raw);
	if (rc == 0 && tcsetattr(fd, TCSANOW, &raw))
		rc = -errno;
	close(fd);
	return rc;
}

static int open_master(struct pty *p)
{
	const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	chardev_port_set(&p->cd.in, fd);
	if (grantpt(fd) || unlockpt(fd))
		return -errno;
	if (ptsname_r(fd, p->name, sizeof(p->name)))
		return -errno;
	return prepare_slave(p);
}

static int watch_slave(struct pty *p)
{
	p->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (p->inotify < 0 || inotify_add_watch(p->inotify, p->name, IN_OPEN) < 0)
		return -errno;
	return loop_fd_add(p->cd.loop, &p->inotify_lfd, p->inotify, LOOP_IN, slave_opened);
}

/* True if path is a link to some pty: one that an earlier run left behind. */
static bool is_pty_link(const char *path, char *target, size_t size)
{
	const ssize_t n = readlink(path, target, size - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return strncmp(target, "/dev/pts/", 9) == 0;
}

static int make_link(struct pty *p, struct vmm_error *err)
{
	const char *path = p->options.link;
	char target[64];

	if (!path)
		return 0;
	if (is_pty_link(path, target, sizeof(target)))
		unlink(path);
	if (symlink(p->name, path))
		return error_set_errno(err, errno, "%s: cannot make the link %s", p->cd.what, path);
	p->linked = true;
	return 0;
}

static int pty_check(const char *args, const char *what, struct vmm_error *err)
{
	struct pty_options options;
	const int rc = options_parse(pty_table, what, NULL, args, &options, err);

	if (rc == 0)
		options_free(pty_table, &options);
	return rc;
}

static int pty_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	struct pty *p = container_of(cd, struct pty, cd);
	int rc;

	p->inotify = p->inotify_lfd.fd = -1;
	cd->both = true;
	rc = options_parse(pty_table, cd->what, NULL, args, &p->options, err);
	if (rc)
		return rc;
	rc = open_master(p);
	if (rc)
		return error_set_errno(err, -rc, "%s: cannot open a pty", cd->what);
	rc = watch_slave(p);
	if (rc)
		return error_set_errno(err, -rc, "%s: cannot watch %s", cd->what, p->name);
	rc = make_link(p, err);
	if (rc == 0)
		rc = chardev_set_describe(cd, err, "%s", p->name);
	if (rc)
		return rc;
	log_info(cd->log, cd->what, "on %s%s%s", p->name, p->linked ? ", linked as " : "",
		 p->linked ? p->options.link : "");
	check(p);
	return 0;
}

static void pty_close(struct chardev *cd)
{
	struct pty *p = container_of(cd, struct pty, cd);
	char target[64];

	/* Only if it is still ours. */
	if (p->linked && is_pty_link(p->options.link, target, sizeof(target)) &&
	    strcmp(target, p->name) == 0)
		unlink(p->options.link);
	loop_fd_del(&p->inotify_lfd);
	if (p->inotify >= 0)
		close(p->inotify);
	options_free(pty_table, &p->options);
}

const struct chardev_ops chardev_pty_ops = {
	.size = sizeof(struct pty),
	.has_peers = true,
	.check = pty_check,
	.open = pty_open,
	.close = pty_close,
	.ended = pty_ended,
};
