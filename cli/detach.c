/* SPDX-License-Identifier: MIT */
/*
 * `vmm run --detach`: the VM runs in a process of its own, in a session of its own; the one that
 * was started waits until the guest runs, or tells that it does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

static int wait_for_child(pid_t child, int fd)
{
	char running;
	int status;

	if (read(fd, &running, 1) == 1)
		return STATUS_OK;
	/* It has said why. */
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return STATUS_ERROR;
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : STATUS_ERROR;
}

int detach_begin(int *fd)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC)) {
		message("--detach: %s", strerror(errno));
		return STATUS_ERROR;
	}
	child = fork();
	if (child < 0) {
		message("--detach: %s", strerror(errno));
		return STATUS_ERROR;
	}
	if (child > 0) {
		close(ends[1]);
		return wait_for_child(child, ends[0]);
	}
	close(ends[0]);
	setsid();
	*fd = ends[1];
	return GO_ON;
}

void detach_done(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3 && null >= 0; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
	(void)!write(fd, "r", 1);
	close(fd);
}
