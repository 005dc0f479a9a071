/* SPDX-License-Identifier: MIT */
/*
 * The options of `vmm run`, checked as far as that goes without touching the host. Strings that
 * are made here live until the process ends, as argv does.
 */
#include <string.h>

#include "log.h"

enum run_option {
	OPT_KERNEL = 1,
	OPT_INITRD,
	OPT_APPEND,
	OPT_DISK,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_SERIAL,
	OPT_CONSOLE,
	OPT_PORT,
	OPT_NET,
	OPT_BALLOON,
	OPT_RNG,
	OPT_DEVICE,
	OPT_DEFAULTS,
	OPT_ON_REBOOT,
	OPT_TIMEOUT,
	OPT_NAME,
	OPT_CONTROL,
	OPT_DETACH,
	OPT_METRICS,
	OPT_CONFIG,
	OPT_LOG,
	OPT_VERBOSE,
	OPT_QUIET,
	OPT_HELP,
};

/* clang-format off */
static const struct cli_option table[] = {
	{"kernel", 'k', "PATH", "The kernel to boot: a bzImage or an ELF vmlinux. Required.",
	 OPT_KERNEL},
	{"initrd", 'i', "PATH", "Initial RAM disk. Given several times, they are concatenated.",
	 OPT_INITRD},
	{"append", 'a', "TEXT",
	 "The kernel's command line. Given several times, joined by spaces.\n"
	 "Default: console=ttyS0 (console=hvc0 after it with --console), and root=/dev/vda rw if\n"
	 "there is a disk but no initrd.", OPT_APPEND},
	{"disk", 'd', "[path=]PATH[,KEY=VALUE]...",
	 "A disk, short for --device virtio-blk,path=PATH. The first is /dev/vda. With bus=scsi it\n"
	 "is a SCSI disk, /dev/sda, and with media=cdrom too a CD-ROM. --disk help lists the keys.",
	 OPT_DISK},
	{"net", 'N', "BACKEND[,KEY=VALUE]...|none",
	 "A network card: short for --device virtio-net,backend=BACKEND. Keys that are not the\n"
	 "card's are the backend's. Default: user. --net help lists both.", OPT_NET},
	{"cpus", 'c', "N", "Number of virtual CPUs, 1 to 255. Default: 1.", OPT_CPUS},
	{"memory", 'm', "SIZE[,hugepages=on|off][,prealloc=on|off][,shared=on|off]",
	 "Memory of the guest, with a suffix K, M, G or T. Default: 512M.\n"
	 "hugepages: use 2 MiB pages of hugetlbfs. prealloc: touch all of it at start.\n"
	 "shared: memory that other processes can map.",
	 OPT_MEMORY},
	{"serial", 's', "STREAM",
	 "Where the first serial port goes: stdio (default; leave with Ctrl-a x), pty (-v tells its\n"
	 "name), attach (for 'vmm attach NAME'; with --detach the default), unix:PATH, file:PATH or\n"
	 "none. --serial help lists them.", OPT_SERIAL},
	{"console", 0, "STREAM",
	 "A virtio console, /dev/hvc0 in the guest; several are hvc0, hvc1 and so on.", OPT_CONSOLE},
	{"port", 'p', "NAME=STREAM",
	 "A virtio serial port, /dev/virtio-ports/NAME in the guest.", OPT_PORT},
	{"balloon", 0, "on|off|KEY=VALUE[,KEY=VALUE]...",
	 "A memory balloon. Default: on. --balloon help lists the keys.", OPT_BALLOON},
	{"rng", 0, "on|off|KEY=VALUE[,KEY=VALUE]...",
	 "A source of entropy. Default: on. --rng help lists the keys.", OPT_RNG},
	{"device", 'D', "CLASS[,KEY=VALUE]...",
	 "Add a device. --device help lists the classes, --device CLASS,help the keys of one.",
	 OPT_DEVICE},
	{"defaults", 0, "on|off",
	 "off: no network, balloon or entropy that is not asked for. Default: on.", OPT_DEFAULTS},
	{"on-reboot", 0, "reset|exit",
	 "When the guest reboots: really reboot, or end with status 6. Default: reset.",
	 OPT_ON_REBOOT},
	{"timeout", 0, "SECONDS", "End with status 124 if the guest still runs after that time.",
	 OPT_TIMEOUT},
	{"name", 'n', "NAME",
	 "Name of the VM, for messages and to control it by: 'vmm status NAME'. Two VMs that run\n"
	 "cannot have the same. Default: vm, which cannot be controlled.", OPT_NAME},
	{"control", 0, "unix:PATH|none",
	 "A socket through which the VM is controlled (QMP). Default, with --name:\n"
	 "$XDG_RUNTIME_DIR/vmm/NAME/control.sock.", OPT_CONTROL},
	{"detach", 0, NULL,
	 "Return when the guest runs; it goes on without the terminal. Needs --name or --control.",
	 OPT_DETACH},
	{"metrics", 0, "FILE[,interval=SECONDS]",
	 "Write the VM's metrics to this file in Prometheus' text format, every 10 seconds; for\n"
	 "node_exporter's textfile collector. The file goes with the VM.", OPT_METRICS},
	{"config", 0, "FILE",
	 "Options from a file of JSON, as 'vmm config' prints it, as if they stood here; '-' reads\n"
	 "standard input. What stands after it adds to them, or overrides them.", OPT_CONFIG},
	{"log", 0, "error|warn|info|debug[,file=PATH][,format=text|json]",
	 "What is reported, and where. Default: warn, on standard error. file: append it there.\n"
	 "format=json, or json alone: a JSON object in each line.", OPT_LOG},
	{"verbose", 'v', NULL, "More of that: info; twice: debug.", OPT_VERBOSE},
	{"quiet", 'q', NULL, "Only errors.", OPT_QUIET},
	{"help", 'h', NULL, "Show this.", OPT_HELP},
	{NULL, 0, NULL, NULL, 0},
};
/* clang-format on */

/* What is collected while the options are read. */
struct parse {
	struct run_options *out;
	struct wishes wishes;
	char *append;                 /* allocated; NULL: not given */
	struct config_record *record; /* for `vmm config`; else NULL */
};

static int take_from_file(void *opaque, const char *name, const char *value);

static int set_option(struct parse *parse, int id, const char *value)
{
	struct run_options *out = parse->out;
	struct vmm_config *config = &out->config;

	switch (id) {
	case OPT_KERNEL:
		config->kernel = value;
		return GO_ON;
	case OPT_INITRD:
		out->initrds = with_room(out->initrds, out->initrd_count, sizeof(*out->initrds));
		out->initrds[out->initrd_count++] = value;
		return GO_ON;
	case OPT_APPEND:
		parse->append =
			parse->append ? format("%s %s", parse->append, value) : duplicate(value);
		return GO_ON;
	case OPT_DISK:
		return add_disk(&parse->wishes, value);
	case OPT_NET:
		return add_net(&parse->wishes, value);
	case OPT_CPUS:
		return set_cpus(config, value);
	case OPT_MEMORY:
		return set_memory(config, value);
	case OPT_SERIAL:
		return set_serial(&parse->wishes, value);
	case OPT_CONSOLE:
		return add_console(&parse->wishes, value);
	case OPT_PORT:
		return add_port(&parse->wishes, value);
	case OPT_BALLOON:
		return add_balloon(&parse->wishes, value);
	case OPT_RNG:
		return add_rng(&parse->wishes, value);
	case OPT_DEVICE:
		return add_any_device(&parse->wishes, value);
	case OPT_DEFAULTS:
		return set_switch(&parse->wishes.defaults, "--defaults ", value);
	case OPT_ON_REBOOT:
		return set_on_reboot(config, value);
	case OPT_TIMEOUT:
		out->timeout_text = value;
		return set_timeout(&out->timeout, value);
	case OPT_NAME:
		config->name = value;
		return GO_ON;
	case OPT_CONTROL:
		return set_control(out, value);
	case OPT_DETACH:
		out->detach = true;
		return GO_ON;
	case OPT_METRICS:
		return set_metrics(out, value);
	case OPT_LOG:
		return set_log(out, value);
	case OPT_VERBOSE:
		if (config->log_level < VMM_LOG_INFO)
			config->log_level = VMM_LOG_INFO;
		else
			config->log_level = VMM_LOG_DEBUG;
		return GO_ON;
	case OPT_QUIET:
		config->log_level = VMM_LOG_ERROR;
		return GO_ON;
	case OPT_CONFIG:
		return config_read(value, take_from_file, parse);
	default:
		return print_help(parse->record ? "config" : "run");
	}
}

static int take_option(struct parse *parse, const struct cli_option *option, const char *value)
{
	int status = set_option(parse, option->id, value);

	if (status == GO_ON && parse->record)
		status = config_note(parse->record, parse->out, option->name, value);
	return status;
}

static int take_from_file(void *opaque, const char *name, const char *value)
{
	return take_option(opaque, find_option(table, name, strlen(name)), value);
}

static int complete(struct parse *parse)
{
	struct run_options *out = parse->out;
	int status;

	if (!out->config.kernel)
		return usage_error("which kernel? Give one with --kernel PATH ('vmm run --help' "
				   "lists the options)");
	status = complete_devices(&parse->wishes);
	if (status == GO_ON)
		status = complete_control(out);
	out->config.cmdline = parse->append ? parse->append : default_cmdline(&parse->wishes);
	if (out->initrd_count)
		out->config.initrds = out->initrds;
	out->config.log = message_log;
	return status;
}

static const struct cli_option *option_of(int id)
{
	const struct cli_option *option = table;

	while (option->id != id)
		option++;
	return option;
}

static int take_all(struct parse *parse, const char *command, int argc, char **argv)
{
	struct arguments args = {
		.table = table, .command = command, .argc = argc, .argv = argv, .next = 1};
	const char *value;
	int id, status = GO_ON;

	*parse->out = (struct run_options){.config = VMM_CONFIG_INIT};
	while (status == GO_ON && (id = next_option(&args, &value)) != 0)
		status = id < 0 ? STATUS_USAGE : take_option(parse, option_of(id), value);
	return status;
}

int run_options_parse(struct run_options *options, int argc, char **argv)
{
	struct parse parse = {.out = options, .wishes = {.out = options, .defaults = true}};
	int status = take_all(&parse, "run", argc, argv);

	return status == GO_ON ? complete(&parse) : status;
}

int run_options_record(struct config_record *record, int argc, char **argv)
{
	struct run_options options;
	struct parse parse = {.out = &options, .wishes = {.out = &options}, .record = record};

	return take_all(&parse, "config", argc, argv);
}

const char *run_option_help(const char *name)
{
	const struct cli_option *option = find_option(table, name, strlen(name));

	return option ? option->help : NULL;
}

void run_options_help(void)
{
	print_options(table);
}
