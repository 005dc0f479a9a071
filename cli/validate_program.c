/* SPDX-License-Identifier: MIT */
/*
 * Programs of the host that run beside a VM: what a network card is connected to, for example.
 *
 * Between each of them and us is a keeper, a process that ends it when we are gone. The kernel's
 * own signal for that (PR_SET_PDEATHSIG) would be lost to a program that changes its user, as passt
 * does when root has started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "validate.h"

#define MAX_ARGUMENTS 40

struct validate_program {
	struct validate_program *next;
	const char *name;
	pid_t keeper;    /* 0: it does not run, see `why` */
	const char *why; /* NULL: it was started */
};

/* Until the program ends, or nobody has the other end of the pipe any more. */
static _Noreturn void keep(const char *file, char **argv, int gone)
{
	struct pollfd fds[2] = {{.fd = gone, .events = POLLIN}, {.events = POLLIN}};
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		/* Our own output is the table. */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execv(file, argv);
		_exit(errno);
	}
	if (pid < 0)
		_exit(errno);
	/* -1, from an old kernel, is not waited for. */
	fds[1].fd = (int)syscall(SYS_pidfd_open, pid, 0);
	while (poll(fds, CLI_COUNT(fds), -1) < 0 && errno == EINTR)
		;
	if (fds[0].revents)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static const char *start(struct validate_vm *vm, struct validate_program *p, char **argv)
{
	const char *file = validate_find_tool(argv[0]);
	int fds[2];

	if (!file)
		return "it is not installed";
	/* Our end is never closed: it goes when we do. */
	if (pipe2(fds, O_CLOEXEC) != 0)
		return strerror(errno);
	p->keeper = fork();
	if (p->keeper == 0) {
		close(fds[1]);
		close(vm->out);
		keep(file, argv, fds[0]);
	}
	close(fds[0]);
	return p->keeper < 0 ? strerror(errno) : NULL;
}

void validate_program_start(struct validate_vm *vm, const char *value)
{
	struct validate_program *p = allocate(sizeof(*p));
	char *argv[MAX_ARGUMENTS + 1] = {NULL}, *rest;
	int argc = 0;

	for (char *w = strtok_r(validate_expand(vm->run, value), " \t", &rest);
	     w && argc < MAX_ARGUMENTS; w = strtok_r(NULL, " \t", &rest))
		argv[argc++] = w;
	p->name = argv[0];
	p->why = start(vm, p, argv);
	p->next = vm->programs;
	vm->programs = p;
}

const char *validate_program_state(struct validate_vm *vm, const char *name)
{
	struct validate_program *p = vm->programs;
	int status;

	while (p && strcmp(p->name, name) != 0)
		p = p->next;
	if (!p)
		return "error no such program";
	if (!p->why && waitpid(p->keeper, &status, WNOHANG) == p->keeper)
		p->why = format("it ended with status %d", WEXITSTATUS(status));
	return p->why ? format("error %s: %s", name, p->why) : "ok";
}
