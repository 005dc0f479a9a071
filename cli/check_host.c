/* SPDX-License-Identifier: MIT */
/*
 * `vmm check-host`: a table of what the library finds out about this host.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define TOPIC_WIDTH 18

static void print_finding(void *opaque, enum vmm_check_status status, const char *topic,
			  const char *finding, const char *consequence)
{
	static const char *const marks[] = {"ok", "note", "bad"};

	(void)opaque;
	printf("%-5s %-*s %s\n", marks[status], TOPIC_WIDTH, topic, finding);
	if (consequence)
		printf("%-5s %-*s -> %s\n", "", TOPIC_WIDTH, "", consequence);
}

int command_check_host(int argc, char **argv)
{
	bool good;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return print_help("check-host");
	if (argc > 1)
		return usage_error("unexpected argument '%s'; 'vmm check-host' takes none",
				   argv[1]);
	good = vmm_check_host(print_finding, NULL) == 0;
	printf("\n%s\n",
	       good ? "Linux guests can run on this host."
		    : "Linux guests cannot run on this host; what is marked 'bad' says why.");
	if (finish_output() != STATUS_OK)
		return STATUS_ERROR;
	return good ? STATUS_OK : STATUS_ERROR;
}
