/* SPDX-License-Identifier: MIT */
/*
 * The commands that talk to running VMs: which there are, and their arguments. Unlike those of
 * `vmm run` they have positional ones: the VM's name and what is to be done.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "control.h"

enum { TAKES_JSON = 1, TAKES_FOLLOW = 2, TAKES_TIMEOUT = 4, TAKES_STATS = 8, TAKES_FORCE = 16 };
#define NAMES 8 /* of options, with --help and the end */

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
	 "--timeout; then ends with status 124, and the VM goes on. Status 1: the VM was killed meanwhile.\n",
	 1, 1, TAKES_TIMEOUT, RUNS(verb_stop)},
	{"kill", "NAME", "end a VM at once", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"pause", "NAME", "stop the CPUs of a VM", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"resume", "NAME", "let the CPUs of a VM go on", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"reset", "NAME", "press the reset button of a VM", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"powerdown", "NAME", "press the power button of a VM", NULL, 1, 1, 0, RUNS(verb_simple)},
	{"attach", "NAME [ID]", "talk to a console; Ctrl-a x detaches, and the VM goes on",
	 "Shows what the console printed last, then what it prints. Who attaches takes it over from who\n"
	 "was there before. ID: of the device, where a VM has several such consoles. There is one in a VM\n"
	 "that was started with --detach, --serial attach or, for example, --console attach:/PATH.\n"
	 "\n"
	 "On a terminal: Ctrl-a x detaches, Ctrl-a a sends Ctrl-a, Ctrl-a h helps. Other input is passed\n"
	 "on as it is, and at its end the console is still shown. Ends with status 0 when it was detached\n"
	 "or the VM has ended, 1 if the console was taken over or the VM was killed.\n",
	 1, 2, 0, RUNS(verb_attach)},
	{"stats", "[NAME] [--follow] [--interval SECONDS] [--json | --prometheus]",
	 "show what a VM does: CPU time, exits, disks, networks, memory",
	 "Totals since it was started; with --follow what there is per second, every second or every\n"
	 "--interval: on a terminal a view that is redrawn, else a line each time, until the VM has ended.\n"
	 "--json prints totals as an object. --prometheus prints metrics, of all VMs if no NAME is given.\n",
	 0, 1, TAKES_JSON | TAKES_FOLLOW | TAKES_STATS, RUNS(verb_stats)},
	{"balloon", "NAME [SIZE] [--json]", "show or set how much memory the guest has",
	 NULL, 1, 2, TAKES_JSON, RUNS(verb_balloon)},
	{"device", "ls|add|del|act NAME ... [--json]", "list, add, remove devices, or act on one",
	 "  vmm device ls NAME [--json]\n"
	 "  vmm device add NAME CLASS[,KEY=VALUE]...     a device on the PCI bus or on a controller\n"
	 "  vmm device del NAME ID [--timeout SECONDS] [--force]\n"
	 "      Has the guest let go of a PCI device, and waits for it: at most 60 seconds or those of\n"
	 "      --timeout, then ends with status 124. --force: pulls it out without asking the guest.\n"
	 "  vmm device act NAME ID ACTION [KEY=VALUE[,KEY=VALUE]...] [--json]\n"
	 "      'vmm run --device CLASS,help' lists the actions of a class.\n"
	 "\n"
	 "Relative paths of files are those of the folder where this command runs.\n",
	 2, 5, TAKES_JSON | TAKES_TIMEOUT | TAKES_FORCE, RUNS(verb_device)},
	{"disk", "resize NAME ID SIZE", "make a disk larger", NULL, 4, 4, 0, RUNS(verb_disk)},
	{"net", "link NAME ID up|down", "plug a network cable in or pull it out",
	 NULL, 4, 4, 0, RUNS(verb_net)},
	{"events", "NAME [--follow] [--json]", "print what happens to a VM, until it has ended",
	 NULL, 1, 1, TAKES_JSON | TAKES_FOLLOW, RUNS(verb_events)},
	{"qmp", "NAME [COMMAND [JSON]] [--json]", "run a QMP command, or those on standard input",
	 "JSON: the command's arguments, an object. Without a command, each line of standard input is\n"
	 "one, and answers and events are printed as they come. All is JSON, also without --json.\n",
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
		printf("usage: vmm %s %s\n\n%c%s.\n%s%s", verb->name, verb->usage,
		       toupper((unsigned char)verb->brief[0]), verb->brief + 1,
		       verb->help ? "\n" : "", verb->help ? verb->help : "");
	return verb != NULL;
}

#ifdef CONFIG_JANSSON

/* What is behind `--option`, in the same word or the next; NULL: it is another, or ends there. */
static const char *option_text(const char *option, int argc, char **argv, int *i)
{
	size_t len = strlen(option);

	if (strncmp(argv[*i], option, len) != 0)
		return NULL;
	if (argv[*i][len] == '=')
		return argv[*i] + len + 1;
	return argv[*i][len] == '\0' && *i + 1 < argc ? argv[++*i] : NULL;
}

/* Those that the verb takes, for a hint. */
static void option_names(const struct verb *verb, const char **names)
{
	static const struct {
		unsigned takes;
		const char *name;
	} options[] = {
		{TAKES_JSON, "json"},      {TAKES_FOLLOW, "follow"},    {TAKES_TIMEOUT, "timeout"},
		{TAKES_STATS, "interval"}, {TAKES_STATS, "prometheus"}, {TAKES_FORCE, "force"},
	};

	_Static_assert(CLI_COUNT(options) + 2 == NAMES, "room for help and the end");
	for (size_t i = 0; i < CLI_COUNT(options); i++)
		if (verb->takes & options[i].takes)
			*names++ = options[i].name;
	*names++ = "help";
	*names = NULL;
}

static int unknown_option(const struct verb *verb, const char *word)
{
	const char *names[NAMES];
	char hint[64];

	if (((verb->takes & TAKES_TIMEOUT) && strcmp(word, "--timeout") == 0) ||
	    ((verb->takes & TAKES_STATS) && strcmp(word, "--interval") == 0))
		return usage_error("%s needs a value: %s SECONDS", word, word);
	option_names(verb, names);
	did_you_mean(hint, sizeof(hint), word + strspn(word, "-"), "--", names);
	return usage_error("unknown option %s%s (usage: vmm %s %s)", word, hint, verb->name,
			   verb->usage);
}

/* A word that begins with '-'. GO_ON or the exit status. */
static int take_option(const struct verb *verb, struct control_args *args, int argc, char **argv,
		       int *i)
{
	const char *word = argv[*i], *text;

	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return print_help(verb->name);
	if (strcmp(word, "--json") == 0 && (verb->takes & TAKES_JSON))
		args->json = true;
	else if (strcmp(word, "--follow") == 0 && (verb->takes & TAKES_FOLLOW))
		args->follow = true;
	else if (strcmp(word, "--force") == 0 && (verb->takes & TAKES_FORCE))
		args->force = true;
	else if (strcmp(word, "--prometheus") == 0 && (verb->takes & TAKES_STATS))
		args->prometheus = true;
	else if ((verb->takes & TAKES_TIMEOUT) && (text = option_text("--timeout", argc, argv, i)))
		args->timeout = text;
	else if ((verb->takes & TAKES_STATS) && (text = option_text("--interval", argc, argv, i)))
		args->interval = text;
	else
		return unknown_option(verb, word);
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
