/* SPDX-License-Identifier: MIT */
/*
 * The options of `vmm run`, checked as far as that goes without touching the host. Strings that
 * are made here live until the process ends, as argv does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum run_option {
	OPT_KERNEL = 1,
	OPT_INITRD,
	OPT_APPEND,
	OPT_DISK,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_SERIAL,
	OPT_DEVICE,
	OPT_ON_REBOOT,
	OPT_TIMEOUT,
	OPT_NAME,
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
	 "Default: console=ttyS0, and root=/dev/vda rw if there is a disk but no initrd.",
	 OPT_APPEND},
	{"disk", 'd', "[path=]PATH[,KEY=VALUE]...",
	 "A disk, short for --device virtio-blk,path=PATH. The first is /dev/vda.\n"
	 "--disk help lists the keys.", OPT_DISK},
	{"cpus", 'c', "N", "Number of virtual CPUs, 1 to 255. Default: 1.", OPT_CPUS},
	{"memory", 'm', "SIZE[,hugepages=on|off][,prealloc=on|off][,shared=on|off]",
	 "Memory of the guest, with a suffix K, M, G or T. Default: 512M.\n"
	 "hugepages: use 2 MiB pages of hugetlbfs. prealloc: touch all of it at start.\n"
	 "shared: memory that other processes can map.",
	 OPT_MEMORY},
	{"serial", 's', "stdio|pty|unix:PATH|file:PATH|none",
	 "Where the first serial port goes. Default: stdio (leave with Ctrl-a x). pty: -v tells\n"
	 "its name.", OPT_SERIAL},
	{"device", 'D', "CLASS[,KEY=VALUE]...",
	 "Add a device. --device help lists the classes, --device CLASS,help the keys of one.",
	 OPT_DEVICE},
	{"on-reboot", 0, "reset|exit",
	 "When the guest reboots: really reboot, or end with status 6. Default: reset.",
	 OPT_ON_REBOOT},
	{"timeout", 0, "SECONDS", "End with status 124 if the guest still runs after that time.",
	 OPT_TIMEOUT},
	{"name", 'n', "NAME", "Name of the VM, for messages and threads. Default: vm.", OPT_NAME},
	{"log", 0, "error|warn|info|debug", "What is reported on standard error. Default: warn.",
	 OPT_LOG},
	{"verbose", 'v', NULL, "More of that: info; twice: debug.", OPT_VERBOSE},
	{"quiet", 'q', NULL, "Only errors.", OPT_QUIET},
	{"help", 'h', NULL, "Show this.", OPT_HELP},
	{NULL, 0, NULL, NULL, 0},
};
/* clang-format on */

/* What is collected while the options are read. */
struct parse {
	struct run_options *out;
	char *append;       /* allocated; NULL: not given */
	const char *serial; /* NULL: not given */
	bool disk;
};

/* Device options are checked here, so that a slip is found before the host is touched. */
static int add_device(struct run_options *out, const char *what, const char *cls,
		      const char *options)
{
	int status = check_device(what, cls, options);

	if (status == GO_ON)
		out->devices[out->device_count++] = (struct run_device){cls, options};
	return status;
}

static bool asks_for_help(const char *options)
{
	return options && (strcmp(options, "help") == 0 || strcmp(options, "?") == 0);
}

static int show_device_options(const char *cls)
{
	if (!device_class_exists(cls))
		return STATUS_USAGE;
	print_device_options(cls);
	return finish_output();
}

static int set_device(struct run_options *out, const char *value)
{
	char *cls = duplicate(value);
	char *options = strchr(cls, ',');

	if (asks_for_help(value)) {
		print_device_classes();
		return finish_output();
	}
	if (options)
		*options++ = '\0';
	if (asks_for_help(options))
		return show_device_options(cls);
	return add_device(out, format("--device %s", cls), cls, options);
}

static int set_disk(struct run_options *out, const char *value)
{
	size_t key = strcspn(value, "=,");

	if (asks_for_help(value))
		return show_device_options("virtio-blk");
	if (!*value)
		return usage_error("--disk needs a value: --disk [path=]PATH[,KEY=VALUE]...");
	/* No key has a slash: this is a path that has an equals sign. */
	if (value[key] != '=' || memchr(value, '/', key))
		value = format("path=%s", value);
	return add_device(out, "--disk", "virtio-blk", value);
}

/* The serial port is a device like any other; a comma inside one of its values is doubled. */
static int add_serial(struct run_options *out, const char *spec)
{
	char *options = allocate(2 * strlen(spec) + sizeof("chardev="));
	char *p = stpcpy(options, "chardev=");

	for (const char *s = spec; *s; s++) {
		*p++ = *s;
		if (*s == ',')
			*p++ = ',';
	}
	*p = '\0';
	return add_device(out, "--serial", "isa-serial", options);
}

static int set_serial(struct parse *parse, const char *value)
{
	if (asks_for_help(value))
		return show_device_options("isa-serial");
	parse->serial = value;
	return check_serial(value);
}

static int set_option(struct parse *parse, int id, const char *value)
{
	struct run_options *out = parse->out;
	struct vmm_config *config = &out->config;

	switch (id) {
	case OPT_KERNEL:
		config->kernel = value;
		return GO_ON;
	case OPT_INITRD:
		out->initrds[out->initrd_count++] = value;
		return GO_ON;
	case OPT_APPEND:
		parse->append =
			parse->append ? format("%s %s", parse->append, value) : duplicate(value);
		return GO_ON;
	case OPT_DISK:
		parse->disk = true;
		return set_disk(out, value);
	case OPT_CPUS:
		return set_cpus(config, value);
	case OPT_MEMORY:
		return set_memory(config, value);
	case OPT_SERIAL:
		return set_serial(parse, value);
	case OPT_DEVICE:
		return set_device(out, value);
	case OPT_ON_REBOOT:
		return set_on_reboot(config, value);
	case OPT_TIMEOUT:
		out->timeout_text = value;
		return set_timeout(&out->timeout, value);
	case OPT_NAME:
		config->name = value;
		return GO_ON;
	case OPT_LOG:
		return set_log(config, value);
	case OPT_VERBOSE:
		if (config->log_level < VMM_LOG_INFO)
			config->log_level = VMM_LOG_INFO;
		else
			config->log_level = VMM_LOG_DEBUG;
		return GO_ON;
	case OPT_QUIET:
		config->log_level = VMM_LOG_ERROR;
		return GO_ON;
	default:
		return print_help("run");
	}
}

/* Standard input can be read by one only; the terminal guard wants to know whether it is. */
static bool reads_stdin(const struct run_device *device)
{
	return device->options && strstr(device->options, "=stdio");
}

static int complete(struct parse *parse)
{
	struct run_options *out = parse->out;
	bool has_serial = false;
	int status = GO_ON;

	if (!out->config.kernel)
		return usage_error("which kernel? Give one with --kernel PATH ('vmm run --help' "
				   "lists the options)");
	for (size_t i = 0; i < out->device_count; i++)
		has_serial |= strcmp(out->devices[i].cls, "isa-serial") == 0;
	if (parse->serial || !has_serial)
		status = add_serial(out, parse->serial ? parse->serial : "stdio");
	for (size_t i = 0; i < out->device_count; i++)
		out->uses_stdin |= reads_stdin(&out->devices[i]);
	if (parse->append)
		out->config.cmdline = parse->append;
	else if (parse->disk && !out->initrd_count)
		out->config.cmdline = "console=ttyS0 root=/dev/vda rw";
	else
		out->config.cmdline = "console=ttyS0";
	if (out->initrd_count)
		out->config.initrds = out->initrds;
	out->config.log = message_log;
	return status;
}

int run_options_parse(struct run_options *options, int argc, char **argv)
{
	struct arguments args = {
		.table = table, .command = "run", .argc = argc, .argv = argv, .next = 1};
	struct parse parse = {.out = options};
	/* Each argument makes one thing at most; the serial port and the end mark come on top. */
	size_t most = (size_t)argc + 2;
	const char *value;
	int id;

	*options = (struct run_options){.config = VMM_CONFIG_INIT};
	options->devices = allocate(most * sizeof(*options->devices));
	options->initrds = allocate(most * sizeof(*options->initrds));
	while ((id = next_option(&args, &value)) > 0) {
		int status = set_option(&parse, id, value);

		if (status != GO_ON)
			return status;
	}
	if (id < 0)
		return STATUS_USAGE;
	return complete(&parse);
}

void run_options_help(void)
{
	print_options(table);
}
