/* SPDX-License-Identifier: MIT */
/*
 * Options as a config file. They come one by one, checked already, as text. Where the file could
 * not say in which order devices come (--disk a --net user --disk b), another section begins.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

static int not_utf8(const char *name, const char *value)
{
	return usage_error("--%s %s: is no UTF-8, which JSON must be", name, value);
}

/* 0, 42, but neither 0x10 nor 4K nor what is too large for JSON: those stay as they are written. */
static json_t *number(const char *text)
{
	char *end;
	long long n;

	if (text[0] < '0' || text[0] > '9')
		return NULL;
	errno = 0;
	n = strtoll(text, &end, 10);
	return *end || errno ? NULL : json_integer(n);
}

json_t *config_value(const struct vmm_option_info *key, const char *text)
{
	static const char *const yes[] = {"on", "yes", "true"};
	json_t *json = NULL;

	if (strcmp(key->type, "bool") == 0) {
		for (size_t i = 0; i < CLI_COUNT(yes); i++)
			if (strcmp(text, yes[i]) == 0)
				return json_true();
		return json_false();
	}
	if (strcmp(key->type, "number") == 0 || strcmp(key->type, "size") == 0)
		json = number(text);
	return json ? json : json_string(text);
}

/* ---- objects ---- */

/* Both consume the value; false: it is none, for want of UTF-8. */
static bool put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0;
}

static bool put_more(json_t *object, const char *key, json_t *value)
{
	json_t *array = json_object_get(object, key);

	if (!array) {
		array = json_array();
		put(object, key, array);
	}
	return json_array_append_new(array, value) == 0;
}

/* The item belongs to what stands first, which is a language of its own: a stream. */
static bool put_with_first(json_t *object, const char *first, const char *item)
{
	const char *text = json_string_value(json_object_get(object, first));

	return text && put(object, first, json_string(format("%s,%s", text, item)));
}

static bool put_item(json_t *object, const struct config_option *option, const char *cls,
		     const char *item)
{
	char *name = duplicate(item), *value = strchr(name, '=');
	struct vmm_option_info key;

	if (value)
		*value++ = '\0';
	if (!config_key_named(option, cls, name, &key))
		return put_with_first(object, option->first ? option->first : "", item);
	value = unquote_item(value ? value : "on");
	if (strcmp(key.type, "list") == 0)
		return put_more(object, key.name, json_string(value));
	return put(object, key.name, config_value(&key, value));
}

static bool put_items(json_t *object, const struct config_option *option, const char *text)
{
	const char *cls = NULL;
	bool ok = true;

	if (option->first) {
		const char *first = take_list_item(&text);

		ok = put(object, option->first, json_string(first));
		cls = first;
	}
	while (ok && text && *text)
		ok = put_item(object, option, cls, take_list_item(&text));
	return ok;
}

static bool put_disk(json_t *object, const struct config_option *option, const char *text)
{
	const char *bus = option_value(text, "bus"), *media = option_value(text, "media");

	return put_items(object, option, disk_options(text)) &&
	       (!bus || put(object, "bus", json_string(bus))) &&
	       (!media || put(object, "media", json_string(media)));
}

static bool put_port(json_t *object, const struct config_option *option, const char *text)
{
	char *name = duplicate(text), *stream = strchr(name, '=');

	*stream++ = '\0';
	return put(object, "name", json_string(name)) && put_items(object, option, stream);
}

/* The first item may be the size alone. */
static bool put_memory(json_t *object, const struct config_option *option, const char *text)
{
	bool alone = strcspn(text, "=") >= strcspn(text, ",");

	return put_items(object, option, alone ? format("size=%s", text) : text);
}

static bool put_object(json_t *object, const struct config_option *option, const char *text)
{
	if (strcmp(option->name, "disk") == 0)
		return put_disk(object, option, text);
	if (strcmp(option->name, "port") == 0)
		return put_port(object, option, text);
	if (strcmp(option->name, "memory") == 0)
		return put_memory(object, option, text);
	return put_items(object, option, text);
}

/* ---- options ---- */

static json_t *first_section(struct config_record *record)
{
	if (!record->sections) {
		record->sections = json_array();
		json_array_append_new(record->sections, json_object());
	}
	return json_array_get(record->sections, 0);
}

/* Where a device of this option goes. */
static json_t *device_section(struct config_record *record, const struct config_option *option)
{
	json_t *section = first_section(record);
	bool repeats;

	section = json_array_get(record->sections, json_array_size(record->sections) - 1);
	repeats = option->kind == CONFIG_OBJECTS && record->last &&
		  strcmp(record->last, option->name) == 0;
	if (json_object_get(section, option->name) && !repeats) {
		section = json_object();
		json_array_append_new(record->sections, section);
	}
	record->last = option->name;
	return section;
}

static bool note_device(struct config_record *record, const struct config_option *option,
			const char *value)
{
	json_t *section = device_section(record, option), *object;

	if (option->kind == CONFIG_SWITCHED &&
	    (strcmp(value, "on") == 0 || strcmp(value, "off") == 0))
		return put(section, option->name, json_boolean(value[1] == 'n'));
	if (option->networks && strcmp(value, "none") == 0) {
		if (!json_object_get(section, option->name))
			put(section, option->name, json_array());
		return true;
	}
	object = json_object();
	if (option->kind == CONFIG_SWITCHED)
		put(section, option->name, object);
	else
		put_more(section, option->name, object);
	return put_object(object, option, value);
}

static bool note_object(json_t *section, const struct config_option *option, const char *value)
{
	json_t *object = json_object_get(section, option->name);

	/* Of memory, what is not said again stays. */
	if (!object || option->first) {
		object = json_object();
		put(section, option->name, object);
	}
	return put_object(object, option, value);
}

static bool note_log(json_t *section, const struct run_options *out)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	json_t *object = json_object();

	put(section, "log", object);
	put(object, "level", json_string(levels[out->config.log_level]));
	if (out->log_json)
		put(object, "format", json_string("json"));
	return !out->log_file || put(object, "file", json_string(out->log_file));
}

static bool note_text(json_t *section, const struct config_option *option, const char *value)
{
	const char *before = json_string_value(json_object_get(section, option->name));

	if (before && strcmp(option->name, "append") == 0)
		value = format("%s %s", before, value);
	return put(section, option->name, json_string(value));
}

static bool note(struct config_record *record, const struct config_option *option,
		 const char *value)
{
	json_t *section = first_section(record);
	static const struct vmm_option_info truth = {.type = "bool"};

	switch (option->kind) {
	case CONFIG_TEXT:
	case CONFIG_CHOICE:
		return note_text(section, option, value);
	case CONFIG_TEXTS:
		return put_more(section, option->name, json_string(value));
	case CONFIG_SECONDS:
	case CONFIG_CPUS:
		return put(section, option->name,
			   strchr(value, '.') ? json_real(strtod(value, NULL)) : number(value));
	case CONFIG_SWITCH:
		return put(section, option->name, config_value(&truth, value));
	case CONFIG_FLAG:
		return put(section, option->name, json_true());
	case CONFIG_OBJECT:
		return note_object(section, option, value);
	case CONFIG_OBJECTS:
	case CONFIG_SWITCHED:
		break;
	}
	return note_device(record, option, value);
}

int config_note(struct config_record *record, const struct run_options *out, const char *name,
		const char *value)
{
	const struct config_option *option = config_option_named(name);
	bool ok = true;

	if (strcmp(name, "log") == 0 || strcmp(name, "verbose") == 0 || strcmp(name, "quiet") == 0)
		ok = note_log(first_section(record), out);
	else if (option)
		ok = note(record, option, value);
	return ok ? GO_ON : not_utf8(name, value);
}

json_t *config_record_result(struct config_record *record)
{
	json_t *first = first_section(record), *all = record->sections;

	if (json_array_size(all) > 1)
		return all;
	json_incref(first);
	json_decref(all);
	return first;
}
