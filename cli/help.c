/* SPDX-License-Identifier: MIT */
/*
 * `vmm help`: the overview, the commands, and the exit statuses.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static void help_overview(void)
{
	printf("vmm %s: runs Linux virtual machines on KVM\n"
	       "\n"
	       "usage: vmm COMMAND [OPTION]...\n"
	       "\n"
	       "  run                run a virtual machine\n"
	       "  config             print a config file: the JSON of a command line, or its schema\n"
	       "  validate           let a kernel's drivers prove the devices\n"
	       "  check-host         show what this host allows, and what follows from it\n"
	       "  help [TOPIC]       explain a command, or: exit-status\n"
	       "  --version          print the version\n"
	       "\n",
	       vmm_version());
	control_overview();
	printf("\n"
	       "A first try:  vmm run --kernel bzImage --initrd initrd.img\n"
	       "The manual:   man vmm\n");
}

static void help_run(void)
{
	printf("usage: vmm run --kernel PATH [OPTION]...\n"
	       "\n"
	       "Runs a virtual machine until its guest powers off. Options may be written --name VALUE\n"
	       "or --name=VALUE; unless said otherwise, the last one counts.\n"
	       "\n");
	run_options_help();
	printf("\n"
	       "On the terminal: Ctrl-a x leaves, Ctrl-a h lists what else there is.\n"
	       "SIGTERM, SIGINT and SIGHUP press the power button; a second one ends the VM.\n"
	       "'vmm help exit-status' explains how vmm run ends.\n");
}

static void help_config(void)
{
	printf("usage: vmm config [OPTION]...\n"
	       "       vmm config --schema\n"
	       "\n"
	       "Prints options of 'vmm run' as a config file, for 'vmm run --config FILE'. Options have\n"
	       "their names as keys, and what they have as KEY=VALUE is an object of these:\n"
	       "\n"
	       "  vmm config --kernel bzImage --disk root.img,readonly=on >vm.json\n"
	       "  vmm run --config vm.json --cpus 4\n"
	       "\n"
	       "--schema prints the JSON schema of such a file. 'vmm run --help' lists the options.\n");
}

static void help_validate(void)
{
	printf("usage: vmm validate --kernel PATH [OPTION]...\n"
	       "\n"
	       "Boots a stock kernel and lets its drivers show, one by one and with real data, that the\n"
	       "devices work; prints driver, check, result and figure. Ends with status 0 if all passed,\n"
	       "1 if something failed: then the guest's console and the log follow.\n"
	       "\n"
	       "The guest's tools come from this host (busybox, fio, iperf3, ...); checks whose tools are\n"
	       "missing are skipped, and the end says what to install.\n"
	       "\n");
	validate_options_help();
}

static void help_check_host(void)
{
	printf("usage: vmm check-host\n"
	       "\n"
	       "Examines KVM, io_uring, networking devices and limits as this user finds them. Each\n"
	       "finding is marked ok, note (works, but something is slower or missing) or bad, and is\n"
	       "followed by what it means. Ends with status 0 if Linux guests can run here, else 1.\n");
}

static void help_exit_status(void)
{
	printf("vmm run ends with the status\n"
	       "\n"
	       "    0   the guest powered off, or the user left with Ctrl-a x\n"
	       "    1   the VM could not start, failed, or was ended by vmm kill; a message says why\n"
	       "    2   the command line is wrong; a message says where\n"
	       "    4   the guest's kernel panicked (seen by the device pvpanic)\n"
	       "    6   the guest rebooted, and --on-reboot is exit\n"
	       "  124   the time of --timeout was over\n"
	       "  129, 130, 143\n"
	       "        ended by a second SIGHUP, SIGINT, SIGTERM\n"
	       "  odd   the guest wrote the value V to the device debug-exit: (V << 1 | 1) & 255.\n"
	       "        V from 1 to 62 gives a status that means nothing else\n"
	       "\n"
	       "Other commands end with 0, 1 or 2; vmm stop with 124 if the guest goes on, vmm device\n"
	       "del if it keeps the device, and vmm attach with 129, 130 or 143 after a signal.\n");
}

static const struct {
	const char *name;
	void (*print)(void);
} topics[] = {
	{"run", help_run},
	{"config", help_config},
	{"validate", help_validate},
	{"check-host", help_check_host},
	{"exit-status", help_exit_status},
	{"help", help_overview},
};

int print_help(const char *topic)
{
	const char *names[CLI_COUNT(topics) + 1];
	char hint[64];

	if (!topic)
		topic = "help";
	if (control_help(topic))
		return finish_output();
	for (size_t i = 0; i < CLI_COUNT(topics); i++) {
		if (strcmp(topics[i].name, topic) == 0) {
			topics[i].print();
			return finish_output();
		}
		names[i] = topics[i].name;
	}
	names[CLI_COUNT(topics)] = NULL;
	did_you_mean(hint, sizeof(hint), topic, "", names);
	return usage_error("no help on '%s'%s ('vmm help' lists the commands)", topic, hint);
}

int command_help(int argc, char **argv)
{
	if (argc > 2)
		return usage_error("unexpected argument '%s'; 'vmm help' takes one topic", argv[2]);
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return print_help(NULL);
	return print_help(argc == 2 ? argv[1] : NULL);
}
