/* SPDX-License-Identifier: MIT */
/*
 * Clients of a VM that runs: many that come and go, and some that die with a command on its way.
 */
#include "support/qmp_vm.h"

#include <dirent.h>
#include <errno.h>

#define CLIENTS 10000

TestSuite(qmp_clients, .init = setup, .fini = teardown, .timeout = 300);

static unsigned count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Comes, perhaps says something, and goes without a look at what it is told. */
static void visit(unsigned number)
{
	static const char *const words[] = {
		"",
		"{\"execute\":\"qmp_cap",
		"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-block\"}",
		"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"vmm-status\"}{\"execute\":\"que",
		"\x01\xff[[[[",
	};
	const char *said = words[number % ARRAY_SIZE(words)];
	int fd = unix_connect(path);

	/* The server may have ended already what is no JSON; it must not be the other way round. */
	(void)!send(fd, said, strlen(said), MSG_NOSIGNAL);
	close(fd);
}

Test(qmp_clients, ten_thousand_come_and_go_and_the_vm_runs_on)
{
	unsigned before;

	start();
	before = count_descriptors();
	for (unsigned i = 0; i < CLIENTS; i++)
		visit(i);
	/* The latest may still be on their way out: each answer is time for them to go. */
	for (int i = 0; i < 1000 && count_descriptors() > before; i++)
		answers("{\"execute\":\"query-status\"}", "\"running\":true");
	cr_assert_leq(count_descriptors(), before);
	answers("{\"execute\":\"query-status\"}", "\"running\":true");
	cr_assert_eq(vmm_get_state(vm), VMM_STATE_RUNNING);
}

/* A client dies while its command waits for the machine; others do not notice. */
Test(qmp_clients, who_dies_with_a_command_on_its_way_harms_nobody)
{
	static const char words[] = "{\"execute\":\"qmp_capabilities\"}"
				    "{\"execute\":\"system_reset\"}{\"execute\":\"stop\"}";

	start();
	for (int i = 0; i < 50; i++) {
		int fd = unix_connect(path);

		cr_assert_eq(send(fd, words, sizeof(words) - 1, MSG_NOSIGNAL),
			     (ssize_t)sizeof(words) - 1);
		close(fd);
		cr_assert_null(strstr(ask("{\"execute\":\"query-block\"}"), "error"));
	}
	does("{\"execute\":\"cont\"}");
}
