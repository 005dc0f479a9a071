/* SPDX-License-Identifier: MIT */
/*
 * The devices of `vmm run`: what its options stand for, and what comes unasked. Options are checked
 * here, so that a slip is found before the host is touched.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define SCSI_TARGETS 256u
/* More than any machine takes, and few enough to compare each with each. */
#define MAX_DEVICES 2048u

/* ---- the list ---- */

static bool has_device(const struct run_options *out, const char *cls)
{
	for (size_t i = 0; i < out->device_count; i++) {
		if (strcmp(out->devices[i].cls, cls) == 0)
			return true;
	}
	return false;
}

/* Devices without an id get one of their own. */
static int check_id(const struct run_options *out, const char *what, const char *options)
{
	const char *id = option_value(options, "id"), *other;

	for (size_t i = 0; id && i < out->device_count; i++) {
		other = option_value(out->devices[i].options, "id");
		if (other && strcmp(id, other) == 0)
			return usage_error("%s: there is already a device with id=%s", what, id);
	}
	return GO_ON;
}

static void add_device(struct run_options *out, struct run_device device)
{
	out->devices = with_room(out->devices, out->device_count, sizeof(device));
	out->devices[out->device_count++] = device;
}

/* options: may be NULL. */
static int append(struct run_options *out, const char *what, const char *cls, const char *options)
{
	int status = check_device(what, cls, options);

	if (out->device_count >= MAX_DEVICES)
		return usage_error("%s: there are %u devices already", what, MAX_DEVICES);
	if (status == GO_ON)
		status = check_id(out, what, options);
	if (status == GO_ON)
		add_device(out, (struct run_device){cls, options, false});
	return status;
}

/* A device that sits on a controller; one is made if there is none yet. */
static int append_child(struct run_options *out, const char *what, const char *controller,
			const char *cls, const char *options)
{
	int status = GO_ON;

	if (!has_device(out, controller))
		status = append(out, what, controller, NULL);
	return status == GO_ON ? append(out, what, cls, options) : status;
}

static bool asks_for_help(const char *options)
{
	return options && (strcmp(options, "help") == 0 || strcmp(options, "?") == 0);
}

static int show_options(const char *what, const char *cls)
{
	if (!device_class_exists(what, cls))
		return STATUS_USAGE;
	print_device_options(cls);
	return finish_output();
}

static int needs_value(const char *what, const char *form)
{
	return usage_error("%s needs a value: %s %s", what, what, form);
}

/* ---- one option each ---- */

int add_any_device(struct wishes *wishes, const char *value)
{
	static const char option[] = "--device ";
	const size_t len = strlen(value);
	char *what, *cls, *options;

	if (asks_for_help(value)) {
		print_device_classes();
		return finish_output();
	}
	what = allocate(strlen(option) + len + 1);
	cls = mempcpy(what, option, strlen(option));
	memcpy(cls, value, len + 1);
	options = memchr(cls, ',', len);
	if (options)
		*options++ = '\0';
	if (asks_for_help(options))
		return show_options("--device", cls);
	return append(wishes->out, what, cls, options);
}

/* The first item may be just the path. */
static char *with_path_key(char *options)
{
	size_t key = strcspn(options, "=,");

	/* No key has a slash: this is a path that has an equals sign. */
	if (*options && (options[key] != '=' || memchr(options, '/', key)))
		return format("path=%s", options);
	return options;
}

char *disk_options(const char *value)
{
	return with_path_key(without_option(without_option(value, "bus"), "media"));
}

/* The keys of --disk that choose the device. */
struct disk {
	bool scsi, cdrom;
	char *options; /* the others */
};

static int choose_disk(struct disk *disk, const char *value)
{
	static const char *const buses[] = {"virtio", "scsi", NULL};
	static const char *const media[] = {"disk", "cdrom", NULL};
	const char *bus = option_value(value, "bus"), *medium = option_value(value, "media");
	int b = bus ? choose("--disk bus=", bus, buses) : 0;
	int m = b >= 0 && medium ? choose("--disk media=", medium, media) : 0;

	if (b < 0 || m < 0)
		return STATUS_USAGE;
	if (m && !b)
		return usage_error("--disk media=cdrom: a CD-ROM is a SCSI device, add bus=scsi");
	disk->scsi = b;
	disk->cdrom = m;
	disk->options = disk_options(value);
	return GO_ON;
}

static bool is_scsi(const char *cls)
{
	return strcmp(cls, "scsi-disk") == 0 || strcmp(cls, "scsi-cd") == 0;
}

/* Without a place of its own, a SCSI disk is the next target. NULL: there is none (reported). */
static char *with_target(const struct run_options *out, char *options)
{
	bool taken[SCSI_TARGETS] = {false};
	unsigned target = 0;

	if (option_value(options, "target") || option_value(options, "lun"))
		return options;
	for (size_t i = 0; i < out->device_count; i++) {
		const char *text = option_value(out->devices[i].options, "target");
		uint64_t t;

		if (is_scsi(out->devices[i].cls) && vmm_parse_size(text ? text : "0", &t) == 0 &&
		    t < SCSI_TARGETS)
			taken[t] = true;
	}
	while (target < SCSI_TARGETS && taken[target])
		target++;
	if (target < SCSI_TARGETS)
		return format("%s%starget=%u", options, *options ? "," : "", target);
	usage_error("--disk %s: all %u targets are taken; more disks are units of one, with "
		    "target=…,lun=…",
		    options, SCSI_TARGETS);
	return NULL;
}

static int show_disk_options(void)
{
	print_device_options("virtio-blk");
	printf("Of --disk alone:\n"
	       "  bus=virtio|scsi                    what it is connected to (default: virtio)\n"
	       "  media=disk|cdrom                   with bus=scsi; --device scsi-disk,help and\n"
	       "                                     --device scsi-cd,help list the keys\n");
	return finish_output();
}

int add_disk(struct wishes *wishes, const char *value)
{
	struct disk disk = {.options = NULL};
	int status;

	if (asks_for_help(value))
		return show_disk_options();
	if (!*value)
		return needs_value("--disk", "[path=]PATH[,KEY=VALUE]...");
	status = choose_disk(&disk, value);
	if (status != GO_ON)
		return status;
	if (!wishes->root && !disk.cdrom)
		wishes->root = disk.scsi ? "/dev/sda" : "/dev/vda";
	if (!disk.scsi)
		return append(wishes->out, "--disk", "virtio-blk", disk.options);
	disk.options = with_target(wishes->out, disk.options);
	if (!disk.options)
		return STATUS_USAGE;
	return append_child(wishes->out, "--disk", "virtio-scsi",
			    disk.cdrom ? "scsi-cd" : "scsi-disk", disk.options);
}

int add_net(struct wishes *wishes, const char *value)
{
	if (asks_for_help(value)) {
		if (device_class_known("virtio-net"))
			print_networks();
		return show_options("--net", "virtio-net");
	}
	if (!*value)
		return needs_value("--net", "BACKEND[,KEY=VALUE]...");
	wishes->net = true;
	if (strcmp(value, "none") == 0)
		return GO_ON;
	return append(wishes->out, "--net", "virtio-net",
		      connected_options("virtio-net", "backend", value));
}

static int show_streams(const char *what, const char *cls)
{
	if (!device_class_exists(what, cls))
		return STATUS_USAGE;
	print_streams();
	print_device_options(cls);
	return finish_output();
}

int set_serial(struct wishes *wishes, const char *value)
{
	if (asks_for_help(value))
		return show_streams("--serial", "isa-serial");
	if (!*value)
		return needs_value("--serial", "STREAM");
	wishes->attach = strcmp(value, "attach") == 0;
	if (wishes->attach) /* where, the name decides, which may not have been read */
		return GO_ON;
	wishes->serial = connected_options("isa-serial", "chardev", value);
	return check_device("--serial", "isa-serial", wishes->serial);
}

int add_console(struct wishes *wishes, const char *value)
{
	if (asks_for_help(value))
		return show_streams("--console", "console-port");
	if (!*value)
		return needs_value("--console", "STREAM");
	wishes->console = true;
	return append_child(wishes->out, "--console", "virtio-serial", "console-port",
			    connected_options("console-port", "chardev", value));
}

static int check_port_name(const struct run_options *out, const char *name)
{
	for (size_t i = 0; i < out->device_count; i++) {
		const struct run_device *device = &out->devices[i];
		const char *other = option_value(device->options, "name");

		if (strcmp(device->cls, "serial-port") == 0 && other && strcmp(name, other) == 0)
			return usage_error("--port %s: there is already a port of that name", name);
	}
	return GO_ON;
}

int add_port(struct wishes *wishes, const char *value)
{
	const char *equals = strchr(value, '=');
	char *name = duplicate(value);
	int status;

	if (asks_for_help(value))
		return show_streams("--port", "serial-port");
	if (!equals || equals == value || !equals[1])
		return usage_error("--port %s: must be NAME=STREAM, such as agent=unix:/tmp/agent",
				   value);
	name[equals - value] = '\0';
	status = check_port_name(wishes->out, name);
	if (status != GO_ON)
		return status;
	return append_child(wishes->out, format("--port %s", name), "virtio-serial", "serial-port",
			    format("name=%s,%s", quote_option(name),
				   connected_options("serial-port", "chardev", equals + 1)));
}

/* A lone word that is neither a switch nor a key which is one. */
static bool is_wrong_switch(const char *cls, const char *value)
{
	return device_class_known(cls) && !strpbrk(value, "=,") && strcmp(value, "on") != 0 &&
	       strcmp(value, "off") != 0 && !device_class_takes(cls, value);
}

/* "on", "off" or options. *decided: from now on it does not come unasked. */
static int add_switched(struct wishes *wishes, const char *what, const char *cls, const char *value,
			bool *decided)
{
	if (asks_for_help(value))
		return show_options(what, cls);
	if (!*value)
		return needs_value(what, "on|off|KEY=VALUE[,KEY=VALUE]...");
	if (is_wrong_switch(cls, value))
		return usage_error("%s %s: must be on, off or KEY=VALUE[,KEY=VALUE]... ('%s help' "
				   "lists the keys)",
				   what, value, what);
	*decided = true;
	if (strcmp(value, "off") == 0)
		return GO_ON;
	return append(wishes->out, what, cls, strcmp(value, "on") == 0 ? NULL : value);
}

int add_balloon(struct wishes *wishes, const char *value)
{
	return add_switched(wishes, "--balloon", "virtio-balloon", value, &wishes->balloon);
}

int add_rng(struct wishes *wishes, const char *value)
{
	return add_switched(wishes, "--rng", "virtio-rng", value, &wishes->rng);
}

/* ---- what comes unasked ---- */

/* The user did not ask for it: where this build or this host cannot, the VM does without. */
static void append_default(struct run_options *out, const char *cls, const char *options,
			   bool decided)
{
	struct vmm_error err;

	if (decided || has_device(out, cls) || !device_class_known(cls))
		return;
	if (vmm_check_device(cls, options, cls, &err) != 0)
		message_at(out->config.log_level, VMM_LOG_INFO, "%s", err.message);
	else
		add_device(out, (struct run_device){cls, options, true});
}

static bool uses_stdin(const struct run_device *device)
{
	const char *stream = option_value(device->options, "chardev");

	return stream && strncmp(stream, "stdio", 5) == 0 && (!stream[5] || stream[5] == ',');
}

/* Standard input can be read by one only; the terminal guard wants to know whether it is. */
static int check_stdin(struct run_options *out)
{
	const char *reader = NULL;

	for (size_t i = 0; i < out->device_count; i++) {
		const struct run_device *device = &out->devices[i];

		if (!uses_stdin(device))
			continue;
		if (reader)
			return usage_error("standard input cannot be shared: %s and %s both use "
					   "stdio",
					   reader, device->cls);
		reader = device->cls;
	}
	out->uses_stdin = reader != NULL;
	return GO_ON;
}

/* The options of a serial port for `vmm attach`; NULL: nothing could find it. */
static char *attachable(const struct run_options *out)
{
	const char *path = console_path(out);

	return path && *path == '/' ? format("chardev=%s", quote_option(format("attach:%s", path)))
				    : NULL;
}

/* In the background, where nobody has taken thought for another console. */
static const char *default_serial(const struct wishes *wishes)
{
	const struct run_options *out = wishes->out;
	struct vmm_error err;
	char *serial;

	for (size_t i = 0; i < out->device_count; i++)
		if (uses_stdin(&out->devices[i]))
			return "chardev=none";
	if (!out->detach)
		return "chardev=stdio";
	serial = wishes->console ? NULL : attachable(out);
	/* Its path may be too long. */
	return serial && !vmm_check_device("isa-serial", serial, "", &err) ? serial
									   : "chardev=none";
}

static int append_serial(struct wishes *wishes)
{
	struct run_options *out = wishes->out;

	if (wishes->attach) {
		wishes->serial = attachable(out);
		if (!wishes->serial)
			return usage_error("--serial attach: nothing could find it; give the VM a "
					   "--name (and set XDG_RUNTIME_DIR), or say "
					   "attach:/PATH");
	}
	if (!wishes->serial && has_device(out, "isa-serial"))
		return GO_ON;
	if (!wishes->serial)
		wishes->serial = default_serial(wishes);
	return append(out, "--serial", "isa-serial", wishes->serial);
}

int complete_devices(struct wishes *wishes)
{
	struct run_options *out = wishes->out;
	int status;

	if (wishes->defaults) {
		append_default(out, "virtio-net", "backend=user", wishes->net);
		append_default(out, "virtio-balloon", NULL, wishes->balloon);
		append_default(out, "virtio-rng", NULL, wishes->rng);
	}
	status = append_serial(wishes);
	return status == GO_ON ? check_stdin(out) : status;
}

char *default_cmdline(const struct wishes *wishes)
{
	const struct run_options *out = wishes->out;
	bool serial = false;

	for (size_t i = 0; i < out->device_count; i++) {
		const struct run_device *device = &out->devices[i];
		const char *stream = option_value(device->options, "chardev");

		serial |= strcmp(device->cls, "isa-serial") == 0 && stream &&
			  strcmp(stream, "none") != 0;
	}
	/* The last one is /dev/console; a serial port that nobody sees is only slow. */
	return format("%s%s%s%s%s", serial || !wishes->console ? "console=ttyS0" : "",
		      serial && wishes->console ? " " : "", wishes->console ? "console=hvc0" : "",
		      wishes->root && !out->initrd_count ? " root=" : "",
		      wishes->root && !out->initrd_count ? format("%s rw", wishes->root) : "");
}
