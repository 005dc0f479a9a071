/* SPDX-License-Identifier: MIT */
/*
 * What the library knows about device classes, for --device help and for messages.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define MAX_CLASSES 64

static void class_names(const char **names)
{
	struct vmm_device_info info;
	unsigned n = 0;

	while (n < MAX_CLASSES && vmm_device_class(n, &info))
		names[n++] = info.name;
	names[n] = NULL;
}

bool device_class_known(const char *cls)
{
	struct vmm_device_info info;

	for (unsigned i = 0; vmm_device_class(i, &info); i++) {
		if (strcmp(info.name, cls) == 0)
			return true;
	}
	return false;
}

bool device_class_exists(const char *what, const char *cls)
{
	const char *names[MAX_CLASSES + 1];
	char hint[128];

	if (device_class_known(cls))
		return true;
	class_names(names);
	if (strncmp(what, "--device", strlen("--device")) != 0)
		usage_error("%s: this build has no device %s", what, cls);
	else
		usage_error("--device %s: there is no such device%s ('vmm run --device help' lists "
			    "them)",
			    cls, did_you_mean(hint, sizeof(hint), cls, "", names));
	return false;
}

int check_device(const char *what, const char *cls, const char *options)
{
	struct vmm_error err;

	if (vmm_check_device(cls, options, what, &err) == 0)
		return GO_ON;
	if (device_class_exists(what, cls))
		usage_error("%s", err.message);
	return STATUS_USAGE;
}

bool device_class_takes(const char *cls, const char *key)
{
	struct vmm_option_info info;

	for (unsigned i = 0; vmm_device_option(cls, i, &info); i++)
		if (strcmp(info.name, key) == 0)
			return true;
	return false;
}

bool belongs_to_backend(const char *cls, const char *key)
{
	struct vmm_network_info network;
	struct vmm_option_info info;

	if (!device_class_takes(cls, "backend") || device_class_takes(cls, key))
		return false;
	for (unsigned i = 0; vmm_network_kind(i, &network); i++)
		for (unsigned k = 0; vmm_network_option(i, k, &info); k++)
			if (strcmp(info.name, key) == 0)
				return true;
	return false;
}

void print_streams(void)
{
	struct vmm_stream_info info;

	printf("Streams:\n");
	for (unsigned i = 0; vmm_stream_kind(i, &info); i++)
		printf("  %-34s %s\n", info.usage, info.help);
}

void print_device_classes(void)
{
	struct vmm_device_info info;

	printf("Devices (--device CLASS[,KEY=VALUE]...; --device CLASS,help lists the keys):\n");
	for (unsigned i = 0; vmm_device_class(i, &info); i++)
		printf("  %-20s %s\n", info.name, info.help);
}

/* "readonly=on|off", "path=TEXT": returns the length. */
static int option_syntax(char *buf, size_t size, const struct vmm_option_info *info)
{
	size_t len = (size_t)snprintf(buf, size, "%s=", info->name);

	if (strcmp(info->type, "bool") == 0)
		return (int)len + snprintf(buf + len, size - len, "on|off");
	if (!info->choices || !info->choices[0]) {
		const char *type = strcmp(info->type, "list") == 0 ? "text" : info->type;

		for (const char *p = type; *p && len < size - 1; p++)
			buf[len++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
		buf[len] = '\0';
		return (int)len;
	}
	for (unsigned i = 0; info->choices[i] && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? "|" : "",
					info->choices[i]);
	return (int)len;
}

static void print_option(const char *indent, const struct vmm_option_info *info)
{
	char syntax[256];

	if (option_syntax(syntax, sizeof(syntax), info) > 34)
		printf("%s%s\n%s%-34s", indent, syntax, indent, "");
	else
		printf("%s%-34s", indent, syntax);
	printf(" %s", info->help ? info->help : "");
	if (strcmp(info->type, "list") == 0)
		printf(" (may be repeated)");
	if (info->required)
		printf(" (required)");
	else if (info->fallback)
		printf(" (default: %s)", info->fallback);
	printf("\n");
}

void print_networks(void)
{
	struct vmm_network_info network;
	struct vmm_option_info option;

	printf("Networks:\n");
	for (unsigned i = 0; vmm_network_kind(i, &network); i++) {
		printf("  %-34s %s\n", network.usage, network.help);
		for (unsigned k = 0; vmm_network_option(i, k, &option); k++)
			print_option("      ", &option);
	}
}

static void print_actions(const char *cls)
{
	struct vmm_action_info action;
	struct vmm_option_info option;

	for (unsigned i = 0; vmm_device_action_info(cls, i, &action); i++) {
		if (i == 0)
			printf("What can be done to it while it runs:\n");
		printf("  %-34s %s\n", action.name, action.help);
		for (unsigned k = 0; vmm_device_action_option(cls, i, k, &option); k++)
			print_option("      ", &option);
	}
}

void print_device_options(const char *cls)
{
	struct vmm_option_info info;

	printf("Options of %s:\n", cls);
	for (unsigned i = 0; vmm_device_option(cls, i, &info); i++)
		print_option("  ", &info);
	printf("A comma inside a value is written twice.\n");
	print_actions(cls);
}
