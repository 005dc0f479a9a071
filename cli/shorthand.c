/* SPDX-License-Identifier: MIT */
/*
 * Lists of key=value as text, and the one rule by which `--net`, `--serial`, `--console` and
 * `--port` stand for a device:
 *
 * The first item says what the device is connected to (`user`, `unix:PATH`). Of the others, those
 * KEY=VALUE whose KEY is an option of the device go to the device, and all the rest belong to what
 * it is connected to, in their order: `--net user,hostfwd=tcp::2222-:22,mac=52:54:00:12:34:56` is
 * `--device virtio-net,backend=user,,hostfwd=tcp::2222-:22,mac=52:54:00:12:34:56`. Where both have
 * an option of that name, the device gets it.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* The length of the first item; a doubled comma is a part of it. */
static size_t item_length(const char *list)
{
	size_t n = 0;

	while (list[n]) {
		if (list[n] == ',' && list[++n] != ',')
			return n - 1;
		n++;
	}
	return n;
}

/* The item after the one of that length; NULL: it was the last. */
static const char *item_after(const char *item, size_t len)
{
	return item[len] ? item + len + 1 : NULL;
}

/* Where the value begins if this is the item KEY=VALUE, else NULL. */
static const char *item_value(const char *item, size_t len, const char *key)
{
	size_t key_len = strlen(key);

	if (len <= key_len || item[key_len] != '=' || strncmp(item, key, key_len) != 0)
		return NULL;
	return item + key_len + 1;
}

/* `len` characters with doubled commas made single. */
static char *unquote(const char *text, size_t len)
{
	char *plain = allocate(len + 1), *p = plain;

	for (size_t i = 0; i < len; i++) {
		*p++ = text[i];
		if (text[i] == ',' && i + 1 < len && text[i + 1] == ',')
			i++;
	}
	return plain;
}

char *take_list_item(const char **list)
{
	size_t len = item_length(*list);
	char *item = format("%.*s", (int)len, *list);

	*list = item_after(*list, len);
	return item;
}

char *unquote_item(const char *text)
{
	return unquote(text, strlen(text));
}

char *quote_option(const char *text)
{
	char *quoted = allocate(2 * strlen(text) + 1), *p = quoted;

	for (; *text; text++) {
		*p++ = *text;
		if (*text == ',')
			*p++ = ',';
	}
	return quoted;
}

char *option_value(const char *list, const char *key)
{
	const char *next;

	if (!list || !strstr(list, key))
		return NULL;
	for (const char *item = list; item && *item; item = next) {
		size_t len = item_length(item);
		const char *value = item_value(item, len, key);

		if (value)
			return unquote(value, len - (size_t)(value - item));
		next = item_after(item, len);
	}
	return NULL;
}

static void append_item(char *list, const char *item, size_t len)
{
	size_t at = strlen(list);

	if (at)
		list[at++] = ',';
	memcpy(list + at, item, len);
	list[at + len] = '\0';
}

char *without_option(const char *list, const char *key)
{
	char *rest = allocate(strlen(list) + 2);
	const char *next;

	for (const char *item = list; item; item = next) {
		size_t len = item_length(item);

		if (!item_value(item, len, key))
			append_item(rest, item, len);
		next = item_after(item, len);
	}
	return rest;
}

static bool class_takes(const char *cls, const char *item, size_t len)
{
	struct vmm_option_info info;

	for (unsigned i = 0; vmm_device_option(cls, i, &info); i++) {
		if (item_value(item, len, info.name))
			return true;
	}
	return false;
}

char *connected_options(const char *cls, const char *option, const char *text)
{
	char *own = allocate(strlen(text) + 2), *other = allocate(strlen(text) + 2);
	const char *next;

	for (const char *item = text; item; item = next) {
		size_t len = item_length(item);

		append_item(item != text && class_takes(cls, item, len) ? own : other, item, len);
		next = item_after(item, len);
	}
	return format("%s=%s%s%s", option, quote_option(other), *own ? "," : "", own);
}
