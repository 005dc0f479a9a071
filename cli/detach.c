/* SPDX-License-Identifier: MIT */
/*
 * `vmm run --detach`: the VM runs in a process of its own, in a session of its own; the one that
 * was started waits until the guest runs, or tells that it does not.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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

/*
 * What the caller has open shall not stay open for as long as the VM runs: somebody may wait for
 * the end of a pipe or for a lock. All that is ours closes at an exec, which what was inherited did
 * not.
 */
static void find_inherited(struct detach *detach)
{
	DIR *folder = opendir("/proc/self/fd");

	for (struct dirent *e; folder && (e = readdir(folder));) {
		const int fd = (int)strtol(e->d_name, NULL, 10), flags = fcntl(fd, F_GETFD);

		if (fd <= 2 || flags < 0 || flags & FD_CLOEXEC)
			continue;
		detach->inherited = with_room(detach->inherited, detach->count, sizeof(int));
		detach->inherited[detach->count++] = fd;
	}
	if (folder)
		closedir(folder);
}

int detach_begin(struct detach *detach)
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
	find_inherited(detach);
	detach->fd = ends[1];
	return GO_ON;
}

void detach_done(struct detach *detach)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3 && null >= 0; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
	/* Only now: one may have been a network's, which has a copy, or a file by a path such as
	 * /dev/fd/5. */
	for (size_t i = 0; i < detach->count; i++)
		close(detach->inherited[i]);
	(void)!write(detach->fd, "r", 1);
	close(detach->fd);
}
