/* SPDX-License-Identifier: MIT */
#include "core/thread.h"

#include <signal.h>

static void fill_mask(sigset_t *mask)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

	sigfillset(mask);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(mask, faults[i]);
}

int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg)
{
	sigset_t mask, before;
	int ret;

	/* A thread inherits the mask of the one that creates it. */
	fill_mask(&mask);
	pthread_sigmask(SIG_SETMASK, &mask, &before);
	ret = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret == 0)
		pthread_setname_np(*thread, name);
	return -ret;
}
