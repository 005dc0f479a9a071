/* SPDX-License-Identifier: MIT */
/*
 * Output to a file, and to nowhere.
 */
#include "console/chardev_internal.h"

#include <errno.h>
#include <fcntl.h>

static int file_check(const char *args, const char *what, struct vmm_error *err)
{
	return *args ? 0 : error_set(err, EINVAL, "%s: file needs a path: file:PATH", what);
}

static int file_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	int fd, rc = file_check(args, cd->what, err);

	if (rc)
		return rc;
	rc = chardev_set_describe(cd, err, "file:%s", args);
	if (rc)
		return rc;
	/* O_NONBLOCK is for FIFOs and terminals; this description is our own. */
	fd = open(args, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (fd < 0)
		return error_set_errno(err, errno, "%s: cannot write %s", cd->what, args);
	chardev_port_set(&cd->out, fd);
	rc = chardev_watch_ports(cd);
	return rc ? error_set_errno(err, -rc, "%s: %s", cd->what, args) : 0;
}

static int none_open(struct chardev *cd, const char *args, struct vmm_error *err)
{
	(void)args;
	return chardev_set_describe(cd, err, "none");
}

static void nothing_to_close(struct chardev *cd)
{
	(void)cd;
}

static void input_ended(struct chardev *cd, bool hangup)
{
	(void)cd;
	(void)hangup;
}

const struct chardev_ops chardev_file_ops = {
	.size = sizeof(struct chardev),
	.check = file_check,
	.open = file_open,
	.close = nothing_to_close,
	.ended = input_ended,
	.drain_ms = 1000,
};

const struct chardev_ops chardev_none_ops = {
	.size = sizeof(struct chardev),
	.open = none_open,
	.close = nothing_to_close,
	.ended = input_ended,
};
