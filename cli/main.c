/* SPDX-License-Identifier: MIT */
/*
 * The command `vmm`: finds the subcommand.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", command_run},           {"config", command_config},
	{"validate", command_validate}, {"check-host", command_check_host},
	{"help", command_help},
};

/*
 * With descriptors 0 to 2 closed, the next files to be opened would get these numbers, and an error
 * message would be written into a disk image.
 */
static void open_standard_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", fd ? O_WRONLY : O_RDONLY);
	}
}

/* What other tools call it: too far from our word for a slip of the finger. */
static const char *elsewhere_called(const char *name)
{
	static const char *const words[][2] = {
		{"list", "ls"},      {"ps", "ls"},          {"start", "run"},
		{"create", "run"},   {"boot", "run"},       {"info", "status"},
		{"show", "status"},  {"console", "attach"}, {"shutdown", "stop"},
		{"destroy", "kill"}, {"suspend", "pause"},  {"reboot", "reset"},
		{"top", "stats"},    {"monitor", "qmp"},
	};

	for (size_t i = 0; i < CLI_COUNT(words); i++)
		if (strcmp(name, words[i][0]) == 0)
			return words[i][1];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[32] = {"run",  "config", "validate", "check-host",
				 "help", "--help", "--version"};
	const char *ours = elsewhere_called(name);
	char hint[64];

	for (unsigned i = 0; i < CLI_COUNT(names) - 8 && control_command(i); i++)
		names[7 + i] = control_command(i);
	if (ours)
		snprintf(hint, sizeof(hint), "; did you mean %s?", ours);
	else
		did_you_mean(hint, sizeof(hint), name, "", names);
	return usage_error("unknown %s '%s'%s ('vmm help' lists the commands)",
			   name[0] == '-' ? "option" : "command", name, hint);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	open_standard_descriptors();
	if (!name)
		return usage_error("which command? 'vmm help' lists them");
	for (size_t i = 0; i < CLI_COUNT(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	for (unsigned i = 0; control_command(i); i++) {
		if (strcmp(name, control_command(i)) == 0)
			return command_control(argc - 1, argv + 1);
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		printf("vmm %s\n", vmm_version());
		return finish_output();
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return print_help(NULL);
	return unknown_command(name);
}
