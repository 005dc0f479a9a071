/* SPDX-License-Identifier: MIT */
/*
 * Threads of the library.
 */
#ifndef CORE_THREAD_H
#define CORE_THREAD_H

#include <pthread.h>

#include "core/types.h"

/*
 * Start a thread. name: at most 15 characters, for the process list and debuggers.
 *
 * Signals of the process belong to the program: the thread blocks them all, except those that a
 * fault of its own raises, so that the program's handlers for crashes still run. Returns 0 or
 * -errno. Any thread.
 */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg) MUST_CHECK;

#endif
