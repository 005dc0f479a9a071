/* SPDX-License-Identifier: MIT */
/*
 * A config file becomes the options that it stands for, as text, so that they are checked where
 * those of the command line are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#define FILE_MAX ((size_t)1 << 20)
#define KEYS_MAX 128

struct reading {
	const char *file; /* for messages */
	config_take_fn *take;
	void *opaque;
};

/* ---- messages: "vm.json: disk[1].path: must be a string" ---- */

static int wrong(const char *path, const char *what)
{
	return usage_error("%s: must be %s", path, what);
}

/* A member that does not belong there. */
static int unknown_key(const char *path, const char *key, const char *const *names)
{
	char hint[128];

	did_you_mean(hint, sizeof(hint), key, "", names);
	return usage_error("%s%s%s: there is no such key%s", path, *path ? "." : "", key, hint);
}

static int unknown_member(const struct config_option *option, const char *cls, const char *path,
			  const char *name)
{
	const char *names[KEYS_MAX + 1] = {NULL};
	struct vmm_option_info key;

	for (unsigned i = 0; i < KEYS_MAX && config_key(option, cls, i, &key); i++)
		names[i] = key.name;
	return unknown_key(path, name, names);
}

static int unknown_option(const char *path, const char *name)
{
	const char *names[KEYS_MAX + 1] = {NULL};

	for (unsigned i = 0; i < KEYS_MAX && config_options[i].name; i++)
		names[i] = config_options[i].name;
	return unknown_key(path, name, names);
}

/* ---- members of an object ---- */

/* NULL: it is of the wrong type, which has been reported. */
static const char *member_text(const struct vmm_option_info *key, const char *path, json_t *value)
{
	bool is_size = strcmp(key->type, "size") == 0;

	if (strcmp(key->type, "bool") == 0) {
		if (json_is_boolean(value))
			return json_is_true(value) ? "on" : "off";
		wrong(path, "true or false");
	} else if (is_size || strcmp(key->type, "number") == 0) {
		if (json_is_string(value))
			return json_string_value(value);
		if (json_is_integer(value))
			return format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
		wrong(path, is_size ? "a number of bytes or a string such as \"512M\""
				    : "a number, or a string such as \"0x1f\"");
	} else {
		if (json_is_string(value))
			return json_string_value(value);
		wrong(path, "a string");
	}
	return NULL;
}

/* Write ",key=value", or one of these for each value of a list; false: reported. */
static bool write_member(FILE *out, const struct vmm_option_info *key, const char *path,
			 json_t *value)
{
	bool is_list = strcmp(key->type, "list") == 0;
	size_t count = is_list ? json_array_size(value) : 1;

	if (is_list && !json_is_array(value)) {
		wrong(path, "an array of strings");
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		json_t *one = is_list ? json_array_get(value, i) : value;
		const char *at = is_list ? format("%s[%zu]", path, i) : path;
		const char *text = member_text(key, at, one);

		if (!text)
			return false;
		fprintf(out, ",%s=%s", key->name, quote_option(text));
	}
	return true;
}

static bool write_members(FILE *out, const struct config_option *option, const char *cls,
			  const char *path, json_t *object, bool is_port)
{
	struct vmm_option_info key;
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		/* These stand before the others, without their key. */
		if ((option->first && strcmp(name, option->first) == 0) ||
		    (is_port && strcmp(name, "name") == 0))
			continue;
		if (!config_key_named(option, cls, name, &key)) {
			unknown_member(option, cls, path, name);
			return false;
		}
		if (!write_member(out, &key, format("%s.%s", path, name), value))
			return false;
	}
	return true;
}

/* ",key=value,…" of the members. NULL: reported. */
static char *object_items(const struct config_option *option, const char *cls, const char *path,
			  json_t *object, bool is_port)
{
	char *text = NULL, *items = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool ok = out && write_members(out, option, cls, path, object, is_port);

	if (out && fclose(out) == 0 && ok)
		items = duplicate(text);
	else if (!out || ok)
		message("out of memory");
	free(text);
	return items;
}

/* A member that must be there, as a string. NULL: reported. */
static const char *required_text(json_t *object, const char *path, const char *name)
{
	json_t *value = json_object_get(object, name);
	const char *text = json_string_value(value);

	if (!value)
		usage_error("%s.%s: is missing", path, name);
	else if (!text || !*text)
		wrong(format("%s.%s", path, name), "a string, and not empty");
	else if (strcmp(text, "help") == 0 || strcmp(text, "?") == 0)
		usage_error("%s.%s: '%s' is for the command line", path, name, text);
	else
		return text;
	return NULL;
}

/* "NAME=" of a port; NULL: reported. */
static char *port_name(json_t *object, const char *path)
{
	const char *name = required_text(object, path, "name");

	if (name && strchr(name, '=')) {
		usage_error("%s.name: must have no '='", path);
		return NULL;
	}
	return name ? format("%s=", name) : NULL;
}

/* The value of the option that the object stands for. NULL: reported. */
static const char *object_text(const struct config_option *option, const char *path, json_t *object)
{
	bool is_port = strcmp(option->name, "port") == 0;
	const char *first = "", *cls = NULL, *name = "";
	char *items;

	if (!json_is_object(object)) {
		wrong(path, "an object");
		return NULL;
	}
	if (is_port)
		name = port_name(object, path);
	if (name && option->first)
		first = required_text(object, path, option->first);
	if (!name || !first)
		return NULL;
	if (strcmp(option->name, "device") == 0) {
		/* What follows a comma would be options that nobody has compared with the keys. */
		if (strchr(first, ',')) {
			wrong(format("%s.class", path), "the name of a class alone");
			return NULL;
		}
		cls = first;
		/* Whoever takes it knows what to say. */
		if (!device_class_known(cls))
			return cls;
	}
	items = object_items(option, cls, path, object, is_port);
	if (!items)
		return NULL;
	return option->first ? format("%s%s%s", name, first, items) : items + (*items == ',');
}

/* ---- options ---- */

static int take(const struct reading *r, const struct config_option *option, const char *path,
		const char *text)
{
	int status;

	if (!text)
		return STATUS_USAGE;
	usage_context(format("%s: %s", r->file, path));
	/* It outlives the JSON. */
	status = r->take(r->opaque, option->name, duplicate(text));
	usage_context(r->file);
	return status;
}

static int take_array(const struct reading *r, const struct config_option *option, const char *path,
		      json_t *array)
{
	int status = GO_ON;
	json_t *one;
	size_t i;

	if (!json_is_array(array))
		return wrong(path, option->kind == CONFIG_TEXTS ? "an array of strings"
								: "an array of objects");
	/* The card that would come unasked does not. */
	if (json_array_size(array) == 0 && option->networks)
		return take(r, option, path, "none");
	json_array_foreach(array, i, one)
	{
		char *at = format("%s[%zu]", path, i);

		if (option->kind == CONFIG_OBJECTS)
			status = take(r, option, at, object_text(option, at, one));
		else if (json_is_string(one))
			status = take(r, option, at, json_string_value(one));
		else
			status = wrong(at, "a string");
		if (status != GO_ON)
			break;
	}
	return status;
}

static int take_object(const struct reading *r, const struct config_option *option,
		       const char *path, json_t *value)
{
	const char *text = object_text(option, path, value);

	if (text && !*text && option->kind == CONFIG_SWITCHED)
		text = "on";
	/* Nothing but defaults. */
	if (text && !*text)
		return GO_ON;
	return take(r, option, path, text);
}

static int take_number(const struct reading *r, const struct config_option *option,
		       const char *path, json_t *value)
{
	if (json_is_integer(value))
		return take(r, option, path,
			    format("%" JSON_INTEGER_FORMAT, json_integer_value(value)));
	if (option->kind == CONFIG_SECONDS && json_is_real(value))
		return take(r, option, path, format("%.9f", json_real_value(value)));
	return wrong(path, option->kind == CONFIG_SECONDS ? "a number" : "a whole number");
}

static int take_option(const struct reading *r, const struct config_option *option,
		       const char *path, json_t *value)
{
	switch (option->kind) {
	case CONFIG_TEXT:
	case CONFIG_CHOICE:
		if (!json_is_string(value))
			return wrong(path, "a string");
		return take(r, option, path, json_string_value(value));
	case CONFIG_CPUS:
	case CONFIG_SECONDS:
		return take_number(r, option, path, value);
	case CONFIG_TEXTS:
	case CONFIG_OBJECTS:
		return take_array(r, option, path, value);
	case CONFIG_OBJECT:
		return take_object(r, option, path, value);
	case CONFIG_SWITCHED:
		if (json_is_object(value))
			return take_object(r, option, path, value);
		if (!json_is_boolean(value))
			return wrong(path, "true, false or an object");
		return take(r, option, path, json_is_true(value) ? "on" : "off");
	case CONFIG_SWITCH:
	case CONFIG_FLAG:
		break;
	}
	if (!json_is_boolean(value))
		return wrong(path, "true or false");
	if (option->kind == CONFIG_FLAG && json_is_false(value))
		return GO_ON;
	return take(r, option, path, json_is_true(value) ? "on" : "off");
}

static int take_section(const struct reading *r, const char *path, json_t *section)
{
	int status = GO_ON;
	const char *name;
	json_t *value;

	json_object_foreach(section, name, value)
	{
		const struct config_option *option = config_option_named(name);

		/* Editors want to know it; we do. */
		if (strcmp(name, "$schema") == 0)
			continue;
		if (!option)
			return unknown_option(path, name);
		status = take_option(r, option, format("%s%s%s", path, *path ? "." : "", name),
				     value);
		if (status != GO_ON)
			break;
	}
	return status;
}

static int take_all(const struct reading *r, json_t *root)
{
	int status = GO_ON;
	json_t *section;
	size_t i;

	if (json_is_object(root))
		return take_section(r, "", root);
	json_array_foreach(root, i, section)
	{
		char *path = format("[%zu]", i);

		status = json_is_object(section) ? take_section(r, path, section)
						 : wrong(path, "an object");
		if (status != GO_ON)
			break;
	}
	return status;
}

/* ---- the file ---- */

/* NULL: reported. */
static char *read_file(const char *file, int fd, size_t *len)
{
	char *text = allocate(FILE_MAX + 1);
	ssize_t n;

	*len = 0;
	while (*len <= FILE_MAX) {
		n = read(fd, text + *len, FILE_MAX + 1 - *len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			message("--config %s: %s", file, strerror(errno));
		if (n < 0)
			return NULL;
		if (n == 0)
			return text;
		*len += (size_t)n;
	}
	message("--config %s: is larger than 1 MiB", file);
	return NULL;
}

static int read_options(const struct reading *r, int fd)
{
	json_error_t error;
	json_t *root;
	size_t len;
	char *text = read_file(r->file, fd, &len);
	int status;

	if (!text)
		return STATUS_ERROR;
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return usage_error("%s:%d:%d: %s", r->file, error.line, error.column, error.text);
	usage_context(r->file);
	status = take_all(r, root);
	usage_context(NULL);
	json_decref(root);
	return status;
}

int config_read(const char *path, config_take_fn *fn, void *opaque)
{
	bool is_stdin = strcmp(path, "-") == 0;
	struct reading r = {is_stdin ? "standard input" : path, fn, opaque};
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	int status;

	if (fd < 0) {
		message("--config %s: %s", path, strerror(errno));
		return STATUS_ERROR;
	}
	status = read_options(&r, fd);
	if (!is_stdin)
		close(fd);
	return status;
}
