/* SPDX-License-Identifier: MIT */
/*
 * The commands that talk to running VMs: which there are, and their arguments. Unlike those of
 * `vmm run` they have positional ones: the VM's name and what is to be done.
 */
#include <stdio.h>
#include <string.h>

#include "control.h"

enum { TAKES_JSON = 1, TAKES_FOLLOW = 2, TAKES_TIMEOUT = 4, TAKES_FORCE = 8 };

#ifdef CONFIG_JANSSON
#define RUNS(fn) .run = fn
#else
#define RUNS(fn) .help_only = true
#endif

static const struct verb {
	const char *name, *usage;
	const char *brief;
	const char *help; /* more, or NULL */
	unsigned least, most, takes;
#ifdef CONFIG_JANSSON
	int (*run)(const struct control_args *args);
#else
	bool help_only;
#endif
} verbs[] = {
	/* clang-format off */
	{"ls", "[--json]", "list the VMs that run",
	 "Those with a --name, from $XDG_RUNTIME_DIR/vmm. What dead VMs left there is removed.\n",
	 0, 0, TAKES_JSON, RUNS(verb_ls)},
	{"status", "NAME [--json]", "show a VM", NULL, 1, 1, TAKES_JSON, RUNS(verb_status)},
	{"stop", "NAME [--timeout SECONDS]", "have the guest power off, and wait for it",
	 "Presses the power button and waits until the VM has ended, at most 60 seconds or those of\n"
	 "--timeout; then ends with status 124, and the VM goes on.\n",
	 1, 1, TAKES_TIMEOUT, RUNS(verb_stop)},
	{"kill", "NAME", "end a VM at once", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"pause", "NAME", "stop its CPUs", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"resume", "NAME", "let them go on", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"reset", "NAME", "press the reset button", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"powerdown", "NAME", "press the power button", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"balloon", "NAME [SIZE] [--json]", "show or set how much memory the guest has",
	 NULL, 1, 2, TAKES_JSON, RUNS(verb_balloon)},
	{"device", "ls|add|del|act NAME ...", "list, add, remove devices, or act on one",
	 "  vmm device ls NAME [--json]\n"
	 "  vmm device add NAME CLASS[,KEY=VALUE]...     a device on the PCI bus or on a controller\n"
	 "  vmm device del NAME ID [--timeout SECONDS] [--force]\n"
	 "      Has the guest let go of a PCI device, and waits for it: at most 60 seconds or those of\n"
	 "      --timeout, then ends with status 124. --force: pulls it out without asking the guest.\n"
	 "  vmm device act NAME ID ACTION [KEY=VALUE[,KEY=VALUE]...] [--json]\n"
	 "      'vmm run --device CLASS,help' lists the actions of a class.\n",
	 2, 5, TAKES_JSON | TAKES_TIMEOUT | TAKES_FORCE, RUNS(verb_device)},
	{"disk", "resize NAME ID SIZE", "make a disk larger", NULL, 4, 4, 0, RUNS(verb_disk)},
	{"net", "link NAME ID up|down", "plug a network cable in or pull it out",
	 NULL, 4, 4, 0, RUNS(verb_net)},
	{"events", "NAME [--follow] [--json]", "print what happens to a VM, until it has ended",
	 NULL, 1, 1, TAKES_JSON | TAKES_FOLLOW, RUNS(verb_events)},
	{"qmp", "NAME [COMMAND [JSON]]", "run a QMP command, or those on standard input",
	 "JSON: the command's arguments, an object. Without a command, each line of standard input is\n"
	 "one, and answers and events are printed as they come.\n",
	 1, 3, TAKES_JSON, RUNS(verb_qmp)},
	/* clang-format on */
};

const char *control_command(unsigned index)
{
	return index < CLI_COUNT(verbs) ? verbs[index].name : NULL;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < CLI_COUNT(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

void control_overview(void)
{
	printf("For VMs that run with a --name:\n\n");
	for (size_t i = 0; i < CLI_COUNT(verbs); i++)
		printf("  %-18s %s\n", verbs[i].name, verbs[i].brief);
}

bool control_help(const char *command)
{
	const struct verb *verb = find_verb(command);

	if (verb)
		printf("usage: vmm %s %s\n\n%s.\n%s%s", verb->name, verb->usage, verb->brief,
		       verb->help ? "\n" : "", verb->help ? verb->help : "");
	return verb != NULL;
}

#ifdef CONFIG_JANSSON

/* A word that begins with '-'. GO_ON or the exit status. */
static int take_option(const struct verb *verb, struct control_args *args, int argc, char **argv,
		       int *i)
{
	static const char *const names[] = {"json", "follow", "timeout", "force", "help", NULL};
	const char *word = argv[*i];
	char hint[64];

	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return print_help(verb->name);
	if (strcmp(word, "--json") == 0 && (verb->takes & TAKES_JSON))
		args->json = true;
	else if (strcmp(word, "--follow") == 0 && (verb->takes & TAKES_FOLLOW))
		args->follow = true;
	else if (strcmp(word, "--force") == 0 && (verb->takes & TAKES_FORCE))
		args->force = true;
	else if (strncmp(word, "--timeout=", 10) == 0 && (verb->takes & TAKES_TIMEOUT))
		args->timeout = word + 10;
	else if (strcmp(word, "--timeout") == 0 && (verb->takes & TAKES_TIMEOUT)) {
		if (*i + 1 >= argc)
			return usage_error("--timeout needs a value: --timeout SECONDS");
		args->timeout = argv[++*i];
	} else {
		did_you_mean(hint, sizeof(hint), word + strspn(word, "-"), "--", names);
		return usage_error("unknown option %s%s (usage: vmm %s %s)", word, hint, verb->name,
				   verb->usage);
	}
	return GO_ON;
}

static int parse(const struct verb *verb, struct control_args *args, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int status = GO_ON;

		if (argv[i][0] == '-' && argv[i][1])
			status = take_option(verb, args, argc, argv, &i);
		else if (args->count == verb->most)
			return usage_error("unexpected argument '%s' (usage: vmm %s %s)", argv[i],
					   verb->name, verb->usage);
		else
			args->words[args->count++] = argv[i];
		if (status != GO_ON)
			return status;
	}
	if (args->count < verb->least)
		return usage_error("too few arguments (usage: vmm %s %s)", verb->name, verb->usage);
	return GO_ON;
}

int command_control(int argc, char **argv)
{
	const struct verb *verb = find_verb(argv[0]);
	struct control_args args = {.verb = verb->name};
	int status = parse(verb, &args, argc, argv);

	return status == GO_ON ? verb->run(&args) : status;
}

#else

int command_control(int argc, char **argv)
{
	(void)argc;
	message("%s: this build cannot talk to VMs: it was made without libjansson", argv[0]);
	return STATUS_ERROR;
}

#endif
