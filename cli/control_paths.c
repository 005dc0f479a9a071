/* SPDX-License-Identifier: MIT */
/*
 * Paths in the options of devices that a running VM is given. The VM has a folder of its own, so a
 * relative path would be another file there: each is made absolute here, from this process's
 * folder. Of what the values are, only their form is known, whichever classes this build has:
 *
 *     path=PATH
 *     chardev=unix:PATH                    up to the end, whatever stands in it
 *     chardev=pty,link=PATH
 *     backend=stream:unix:PATH,pcap=PATH   a list again, of which the first item is an address
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"

static bool is_one_of(const char *key, const char *const *keys)
{
	while (*keys && strcmp(*keys, key) != 0)
		keys++;
	return *keys != NULL;
}

static char *absolute_path(const char *path)
{
	char *folder, *absolute;

	/* What is empty is refused by the VM. */
	if (!*path || *path == '/')
		return duplicate(path);
	folder = getcwd(NULL, 0);
	if (!folder) {
		message("%s: the current folder is not known: %s", path, strerror(errno));
		return NULL;
	}
	absolute = format("%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path);
	free(folder);
	return absolute;
}

/* "unix:PATH", "file:PATH", also after "stream:" or "dgram:"; anything else stays as it is. */
static char *absolute_address(const char *text)
{
	const char *type = text;
	char *path;

	if (strncmp(type, "stream:", 7) == 0)
		type += 7;
	else if (strncmp(type, "dgram:", 6) == 0)
		type += 6;
	if (strncmp(type, "unix:", 5) != 0 && strncmp(type, "file:", 5) != 0)
		return duplicate(text);
	path = absolute_path(type + 5);
	return path ? format("%.*s%s", (int)(type + 5 - text), text, path) : NULL;
}

/* "tcp:ADDRESS:PORT-unix:PATH" */
static char *absolute_forward(const char *text)
{
	const char *target = strstr(text, "-unix:");
	char *absolute = target ? absolute_address(target + 1) : NULL;

	if (!target)
		return duplicate(text);
	return absolute ? format("%.*s-%s", (int)(target - text), text, absolute) : NULL;
}

/* One item of a list, commas single. implied: the key of one that has none; NULL: an address. */
static char *absolute_item(const char *item, const char *implied)
{
	size_t len = strcspn(item, "=:/");
	const char *value = item;
	char *key = NULL, *absolute;

	if (item[len] == '=') {
		key = format("%.*s", (int)len, item);
		value = item + len + 1;
	} else if (!implied) {
		return absolute_address(item);
	}
	absolute = absolute_option(key ? key : implied, value);
	return absolute && key ? format("%s=%s", key, absolute) : absolute;
}

char *absolute_options(const char *list, const char *implied)
{
	const char *rest = list;
	char *absolute = NULL, *item;

	while (rest) {
		item = absolute_item(unquote_item(take_list_item(&rest)), implied);
		if (!item)
			return NULL;
		item = quote_option(item);
		absolute = absolute ? format("%s,%s", absolute, item) : item;
		implied = "";
	}
	return absolute;
}

char *absolute_option(const char *key, const char *value)
{
	static const char *const files[] = {"path", "filename", "pcap", "tftp",
					    "link", "local",    NULL};
	static const char *const addresses[] = {"address", "peer", "chardev", NULL};

	if (is_one_of(key, files))
		return absolute_path(value);
	if (strcmp(key, "guestfwd") == 0)
		return absolute_forward(value);
	if (strcmp(key, "backend") == 0 ||
	    (strcmp(key, "chardev") == 0 && strncmp(value, "pty,", 4) == 0))
		return absolute_options(value, NULL);
	if (is_one_of(key, addresses))
		return absolute_address(value);
	return duplicate(value);
}
