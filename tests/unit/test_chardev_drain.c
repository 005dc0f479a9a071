/* SPDX-License-Identifier: MIT */
/*
 * What a stream does for a reader that does not read when it is destroyed.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console/chardev.h"
#include "core/error.h"

static unsigned waits; /* calls of poll that may wait */

/* In place of the system's: who waits for a reader does it here. */
int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	const struct timespec none = {0};

	waits += timeout_ms != 0;
	return ppoll(fds, count, &none, NULL);
}

static char folder[] = "/tmp/vmm-drain-XXXXXX", path[64];
static int reader;
static struct loop *loop;
static struct chardev *cd;

/* A FIFO that is full, and more behind it. */
static void setup(void)
{
	static const uint8_t data[4096];
	struct vmm_error err = {0};
	char spec[80];

	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/fifo", folder);
	cr_assert_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_geq(reader, 0);
	snprintf(spec, sizeof(spec), "file:%s", path);
	cr_assert_eq(loop_create(&loop, "drain", clock_system(), &err), 0, "%s", err.message);
	cr_assert_eq(chardev_create(&cd, spec, "test", loop, NULL, &err), 0, "%s", err.message);
	while (chardev_write(cd, data, sizeof(data)))
		loop_turn(loop, false);
	waits = 0;
}

static void teardown(void)
{
	loop_destroy(loop);
	close(reader);
	unlink(path);
	rmdir(folder);
}

TestSuite(chardev_drain, .init = setup, .fini = teardown, .timeout = 30);

static void destroy(void *arg UNUSED)
{
	chardev_destroy(cd);
}

Test(chardev_drain, stream_that_goes_while_the_loop_runs_waits_for_nobody)
{
	struct vmm_error err = {0};

	cr_assert_eq(loop_start(loop, &err), 0, "%s", err.message);
	loop_call(loop, destroy, NULL);
	loop_join(loop);
	cr_assert_eq(waits, 0u);
}

Test(chardev_drain, last_words_are_waited_for_when_it_does_not)
{
	destroy(NULL);
	cr_assert_gt(waits, 0u);
}
