/* SPDX-License-Identifier: MIT */
/*
 * System calls, counted by the kernel itself: the workload runs in a traced child, and each stop at
 * an entry is one, in whichever thread. Two calls that nothing else makes mark where the counting
 * begins and ends.
 */
#include "bench/inproc.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK     SYS_getpriority
#define MARK_WHO (-4711)

static uint64_t *shared; /* doorbells, from the child */

static void mark(void)
{
	syscall(MARK, MARK_WHO, 0);
}

void bench_count_begin(void)
{
	bench_doorbells = 0;
	if (shared)
		mark();
}

void bench_count_end(void)
{
	if (!shared)
		return;
	mark();
	*shared = bench_doorbells;
}

/* Let this thread go on and wait for the next stop of any; -1: there is none any more. */
static pid_t next_stop(pid_t thread, int *status)
{
	/* It may be gone by now, with the process. */
	(void)ptrace(PTRACE_SYSCALL, thread, NULL, NULL);
	return waitpid(-1, status, __WALL);
}

/* Follow the child and its threads to the end; returns false if it could not be traced or failed.
 */
static bool follow(pid_t child, uint64_t *calls)
{
	bool counting = false;
	pid_t thread = child;
	int status;

	*calls = 0;
	waitpid(child, &status, 0);
	if (!WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, child, NULL,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL))
		return false;
	while ((thread = next_stop(thread, &status)) >= 0) {
		struct __ptrace_syscall_info info;

		if (thread == child && !WIFSTOPPED(status))
			return WIFEXITED(status) && WEXITSTATUS(status) == 0;
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80) ||
		    ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) < 0 ||
		    info.op != PTRACE_SYSCALL_INFO_ENTRY)
			continue;
		if (info.entry.nr == MARK && (int)info.entry.args[0] == MARK_WHO)
			counting = !counting;
		else if (counting)
			++*calls;
	}
	return false;
}

bool bench_count(void (*workload)(void), uint64_t *calls, uint64_t *doorbells)
{
	pid_t child;
	bool ok;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		bench_fail("no memory");
	child = fork();
	if (child < 0)
		bench_fail("cannot fork");
	if (!child) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(1);
		raise(SIGSTOP);
		workload();
		_exit(0);
	}
	ok = follow(child, calls);
	*doorbells = *shared;
	munmap(shared, sizeof(*shared));
	shared = NULL;
	return ok;
}
