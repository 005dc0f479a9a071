/* SPDX-License-Identifier: MIT */
/*
 * What a config file may say. Devices and networks bring their keys with them.
 */
#include "config.h"

#include <string.h>

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* clang-format off */
static const struct vmm_option_info disk_keys[] = {
	{"bus", "choice", "virtio", WORDS("virtio", "scsi"), "what it is connected to", false},
	{"media", "choice", "disk", WORDS("disk", "cdrom"), "with bus scsi", false},
	{0},
};

static const struct vmm_option_info memory_keys[] = {
	{"size", "size", "512M", NULL, "memory of the guest", false},
	{"hugepages", "bool", "off", NULL, "use 2 MiB pages of hugetlbfs", false},
	{"prealloc", "bool", "off", NULL, "touch all of it at start", false},
	{"shared", "bool", "off", NULL, "memory that other processes can map", false},
	{0},
};

static const struct vmm_option_info log_keys[] = {
	{"level", "choice", "warn", WORDS("error", "warn", "info", "debug"), "what is reported",
	 false},
	{"file", "text", NULL, NULL, "append it there (default: standard error)", false},
	{"format", "choice", "text", WORDS("text", "json"), "what a line looks like", false},
	{0},
};

static const struct vmm_option_info metrics_keys[] = {
	{"file", "text", NULL, NULL, "where they are written", true},
	{"interval", "number", "10", NULL, "seconds between two times", false},
	{0},
};

static const struct vmm_option_info device_keys[] = {
	{"class", "text", NULL, NULL, "the class of the device", true},
	{0},
};

const struct config_option config_options[] = {
	{.name = "kernel", .kind = CONFIG_TEXT},
	{.name = "initrd", .kind = CONFIG_TEXTS},
	{.name = "append", .kind = CONFIG_TEXT},
	{.name = "disk", .kind = CONFIG_OBJECTS, .own = disk_keys,
	 .classes = WORDS("virtio-blk", "scsi-disk", "scsi-cd")},
	{.name = "net", .kind = CONFIG_OBJECTS, .first = "backend", .networks = true,
	 .classes = WORDS("virtio-net")},
	{.name = "cpus", .kind = CONFIG_CPUS},
	{.name = "memory", .kind = CONFIG_OBJECT, .own = memory_keys},
	{.name = "serial", .kind = CONFIG_OBJECT, .first = "chardev",
	 .classes = WORDS("isa-serial")},
	{.name = "console", .kind = CONFIG_OBJECTS, .first = "chardev",
	 .classes = WORDS("console-port")},
	{.name = "port", .kind = CONFIG_OBJECTS, .first = "chardev",
	 .classes = WORDS("serial-port")},
	{.name = "balloon", .kind = CONFIG_SWITCHED, .classes = WORDS("virtio-balloon")},
	{.name = "rng", .kind = CONFIG_SWITCHED, .classes = WORDS("virtio-rng")},
	{.name = "device", .kind = CONFIG_OBJECTS, .first = "class", .own = device_keys},
	{.name = "defaults", .kind = CONFIG_SWITCH},
	{.name = "on-reboot", .kind = CONFIG_CHOICE, .choices = WORDS("reset", "exit")},
	{.name = "timeout", .kind = CONFIG_SECONDS},
	{.name = "name", .kind = CONFIG_TEXT},
	{.name = "control", .kind = CONFIG_TEXT},
	{.name = "detach", .kind = CONFIG_FLAG},
	{.name = "metrics", .kind = CONFIG_OBJECT, .first = "file", .own = metrics_keys},
	{.name = "log", .kind = CONFIG_OBJECT, .own = log_keys},
	{0},
};
/* clang-format on */

const struct config_option *config_option_named(const char *name)
{
	for (const struct config_option *option = config_options; option->name; option++) {
		if (strcmp(option->name, name) == 0)
			return option;
	}
	return NULL;
}

/* A walk over all keys, of which the same name may come again. */
struct walk {
	const struct config_option *option;
	const char *cls;
	unsigned stage, group, index;
};

/* Of the group (own keys, a class, a network) that the walk has come to; false: that was all. */
static bool key_of_group(struct walk *w, struct vmm_option_info *key)
{
	const struct config_option *option = w->option;
	const char *cls = w->cls;
	struct vmm_network_info network;

	switch (w->stage) {
	case 0:
		if (!option->own || w->group || !option->own[w->index].name)
			return false;
		*key = option->own[w->index];
		return true;
	case 1:
		if (option->classes)
			cls = option->classes[w->group];
		else if (w->group)
			cls = NULL;
		return cls && vmm_device_option(cls, w->index, key);
	default:
		return option->networks && vmm_network_kind(w->group, &network) &&
		       vmm_network_option(w->group, w->index, key);
	}
}

/* Is there another group in this stage? */
static bool next_group(struct walk *w)
{
	struct vmm_network_info network;

	w->index = 0;
	w->group++;
	if (w->stage == 1)
		return w->option->classes && w->option->classes[w->group];
	return w->stage == 2 && w->option->networks && vmm_network_kind(w->group, &network);
}

static bool next_key(struct walk *w, struct vmm_option_info *key)
{
	while (!key_of_group(w, key)) {
		if (next_group(w))
			continue;
		if (++w->stage > 2)
			return false;
		w->group = 0;
	}
	w->index++;
	return true;
}

bool config_key_named(const struct config_option *option, const char *cls, const char *name,
		      struct vmm_option_info *key)
{
	struct walk w = {.option = option, .cls = cls};

	while (next_key(&w, key)) {
		if (strcmp(key->name, name) == 0)
			return true;
	}
	return false;
}

/* Has the walk met this name before? */
static bool seen_before(const struct walk *now, const struct vmm_option_info *key)
{
	struct walk w = {.option = now->option, .cls = now->cls};
	struct vmm_option_info other;

	while (next_key(&w, &other) && strcmp(other.name, key->name) != 0)
		;
	return w.stage != now->stage || w.group != now->group || w.index != now->index;
}

bool config_key(const struct config_option *option, const char *cls, unsigned index,
		struct vmm_option_info *key)
{
	struct walk w = {.option = option, .cls = cls};

	while (next_key(&w, key)) {
		if (!seen_before(&w, key) && index-- == 0)
			return true;
	}
	return false;
}
