/* SPDX-License-Identifier: MIT */
/*
 * The options of `vmm validate`.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "validate.h"

enum validate_option {
	OPT_KERNEL = 1,
	OPT_MODULES,
	OPT_ONLY,
	OPT_RING,
	OPT_JOBS,
	OPT_JSON,
	OPT_JUNIT,
	OPT_SLOW,
	OPT_KEEP,
	OPT_LIST,
	OPT_VERBOSE,
	OPT_HELP,
};

/* clang-format off */
static const struct cli_option table[] = {
	{"kernel", 'k', "PATH", "The kernel to boot: a bzImage or an ELF vmlinux. Required.",
	 OPT_KERNEL},
	{"modules", 0, "DIR", "Where its modules are. Default: /lib/modules/VERSION.", OPT_MODULES},
	{"only", 0, "DRIVER[,DRIVER]...", "Only these; --list shows them. Given several times,\n"
	 "they add up.", OPT_ONLY},
	{"ring", 0, "split|packed|both", "The layout of the virtqueues. Default: both.", OPT_RING},
	{"jobs", 'j', "N", "VMs that run at the same time. Default: 1.", OPT_JOBS},
	{"json", 0, "FILE", "Write the results as JSON.", OPT_JSON},
	{"junit", 0, "FILE", "Write the results as JUnit XML.", OPT_JUNIT},
	{"slow", 0, "N", "For hosts that emulate: divide the amounts of data by N, and allow up to\n"
	 "four times as long. Default: 1.", OPT_SLOW},
	{"keep", 0, "DIR", "Keep consoles, logs and images there: a new folder, or an empty one.",
	 OPT_KEEP},
	{"list", 'l', NULL, "Show the drivers and their checks.", OPT_LIST},
	{"verbose", 'v', NULL, "Debug messages in the VMM's log.", OPT_VERBOSE},
	{"help", 'h', NULL, "Show this.", OPT_HELP},
	{NULL, 0, NULL, NULL, 0},
};
/* clang-format on */

static int set_number(const char *option, const char *value, unsigned max, unsigned *number)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (!*value || *end || n < 1 || n > max || value[0] < '0' || value[0] > '9')
		return usage_error("--%s %s: must be a number from 1 to %u", option, value, max);
	*number = (unsigned)n;
	return GO_ON;
}

static int set_ring(struct validate_options *o, const char *value)
{
	o->split = strcmp(value, "packed") != 0;
	o->packed = strcmp(value, "split") != 0;
	if (strcmp(value, "both") != 0 && o->split && o->packed)
		return usage_error("--ring %s: must be split, packed or both", value);
	return GO_ON;
}

static int set_only(struct validate_options *o, const char *value)
{
	char *copy = duplicate(value), *rest;
	const char *names[VALIDATE_DRIVERS + 1] = {NULL};
	char hint[64];

	for (size_t i = 0; i < o->driver_count; i++)
		names[i] = o->drivers[i].name;
	for (char *w = strtok_r(copy, ",", &rest); w; w = strtok_r(NULL, ",", &rest)) {
		size_t i = 0;

		while (i < o->driver_count && strcmp(names[i], w) != 0)
			i++;
		if (i == o->driver_count)
			return usage_error("--only %s: there is no driver '%s'%s ('vmm validate "
					   "--list' shows them)",
					   value, w,
					   did_you_mean(hint, sizeof(hint), w, "", names));
		o->chosen[i] = o->any_chosen = true;
	}
	return o->any_chosen ? GO_ON : usage_error("--only needs a value: --only net,scsi");
}

static int set_option(struct validate_options *o, int id, const char *value)
{
	switch (id) {
	case OPT_KERNEL:
		o->kernel = value;
		return GO_ON;
	case OPT_MODULES:
		o->modules = value;
		return GO_ON;
	case OPT_ONLY:
		return set_only(o, value);
	case OPT_RING:
		return set_ring(o, value);
	case OPT_JOBS:
		return set_number("jobs", value, VALIDATE_JOBS, &o->jobs_at_once);
	case OPT_JSON:
		o->json = value;
		return GO_ON;
	case OPT_JUNIT:
		o->junit = value;
		return GO_ON;
	case OPT_SLOW:
		return set_number("slow", value, 1000, &o->slow);
	case OPT_KEEP:
		o->keep = value;
		return GO_ON;
	case OPT_LIST:
		o->list = true;
		return GO_ON;
	case OPT_VERBOSE:
		o->verbose = true;
		return GO_ON;
	default:
		return print_help("validate");
	}
}

int validate_options_parse(struct validate_options *o, const struct validate_driver *drivers,
			   size_t driver_count, int argc, char **argv)
{
	struct arguments args = {
		.table = table, .command = "validate", .argc = argc, .argv = argv, .next = 1};
	const char *value;
	int id, status;

	*o = (struct validate_options){.split = true,
				       .packed = true,
				       .jobs_at_once = 1,
				       .slow = 1,
				       .drivers = drivers,
				       .driver_count = driver_count};
	while ((id = next_option(&args, &value)) > 0) {
		status = set_option(o, id, value);
		if (status != GO_ON)
			return status;
	}
	if (id < 0)
		return STATUS_USAGE;
	if (!o->kernel && !o->list)
		return usage_error("which kernel? Give one with --kernel PATH ('vmm validate "
				   "--help' lists the options)");
	return GO_ON;
}

void validate_options_help(void)
{
	print_options(table);
}

/* 1: it is empty, 0: it is not, -1: errno tells why that is unknown. */
static int is_empty(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)) &&
	       (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0))
		;
	closedir(dir);
	return !entry;
}

static char *keep_folder(const char *folder)
{
	int empty;

	if (mkdir(folder, 0700) == 0)
		return duplicate(folder);
	empty = errno == EEXIST ? is_empty(folder) : -1;
	if (empty > 0)
		return duplicate(folder);
	message("--keep %s: %s", folder,
		empty < 0 ? strerror(errno)
			  : "there is something in it; name a new folder or an "
			    "empty one");
	return NULL;
}

char *validate_folder(const char *keep)
{
	const char *tmp = getenv("TMPDIR");
	char *folder;

	if (keep)
		return keep_folder(keep);
	folder = format("%s/vmm-validate.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (mkdtemp(folder))
		return folder;
	message("cannot create %s: %s", folder, strerror(errno));
	return NULL;
}
