/* SPDX-License-Identifier: MIT */
/*
 * The JSON schema (draft 2020-12) of config files. What it lists comes from the tables of options;
 * what may stand together is for the command to say.
 */
#include <string.h>

#include "config.h"

/* As the tables have it: decimal or hexadecimal, and a size with its suffix. */
#define NUMBER_PATTERN "^(0[xX][0-9a-fA-F]+|[0-9]+)$"
#define SIZE_PATTERN   "^(0[xX][0-9a-fA-F]+|[0-9]+)[kKmMgGtT]?$"

static json_t *described(json_t *schema, const char *help)
{
	if (help)
		json_object_set_new(schema, "description", json_string(help));
	return schema;
}

static json_t *of_type(const char *type)
{
	return json_pack("{s:s}", "type", type);
}

static json_t *array_of(json_t *items)
{
	return json_pack("{s:s, s:o}", "type", "array", "items", items);
}

static json_t *one_of_words(const char *const *words)
{
	json_t *list = json_array();

	for (; words && *words; words++)
		json_array_append_new(list, json_string(*words));
	return json_pack("{s:s, s:o}", "type", "string", "enum", list);
}

/* A number, or the same as text. */
static json_t *number_or_text(const char *pattern)
{
	return json_pack("{s:[{s:s, s:i}, {s:s, s:s}]}", "anyOf", "type", "integer", "minimum", 0,
			 "type", "string", "pattern", pattern);
}

static json_t *key_schema(const struct vmm_option_info *key)
{
	json_t *schema;

	if (strcmp(key->type, "bool") == 0)
		schema = of_type("boolean");
	else if (strcmp(key->type, "number") == 0)
		schema = number_or_text(NUMBER_PATTERN);
	else if (strcmp(key->type, "size") == 0)
		schema = number_or_text(SIZE_PATTERN);
	else if (strcmp(key->type, "list") == 0)
		schema = array_of(of_type("string"));
	else if (strcmp(key->type, "choice") == 0)
		schema = one_of_words(key->choices);
	else
		schema = of_type("string");
	if (key->fallback && strcmp(key->type, "list") != 0)
		json_object_set_new(schema, "default", config_value(key, key->fallback));
	return described(schema, key->help);
}

/* An object that the option's keys describe. cls: of `device`. */
static json_t *object_schema(const struct config_option *option, const char *cls)
{
	json_t *keys = json_object(), *required = json_array();
	struct vmm_option_info key;

	for (unsigned i = 0; config_key(option, cls, i, &key); i++) {
		bool needed = cls && key.required;

		json_object_set_new(keys, key.name, key_schema(&key));
		if (needed || (option->first && strcmp(key.name, option->first) == 0) ||
		    (strcmp(option->name, "port") == 0 && strcmp(key.name, "name") == 0))
			json_array_append_new(required, json_string(key.name));
	}
	if (cls)
		json_object_set_new(keys, "class", json_pack("{s:s}", "const", cls));
	return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", keys, "required",
			 required, "additionalProperties", 0);
}

static json_t *device_schema(const struct config_option *option)
{
	struct vmm_device_info info;
	json_t *each = json_array();

	for (unsigned i = 0; vmm_device_class(i, &info); i++)
		json_array_append_new(each, described(object_schema(option, info.name), info.help));
	return json_pack("{s:o}", "oneOf", each);
}

static json_t *option_schema(const struct config_option *option)
{
	switch (option->kind) {
	case CONFIG_TEXTS:
		return array_of(of_type("string"));
	case CONFIG_CPUS:
		return json_pack("{s:s, s:i, s:i}", "type", "integer", "minimum", 1, "maximum",
				 255);
	case CONFIG_SECONDS:
		return json_pack("{s:s, s:i}", "type", "number", "exclusiveMinimum", 0);
	case CONFIG_SWITCH:
	case CONFIG_FLAG:
		return of_type("boolean");
	case CONFIG_CHOICE:
		return one_of_words(option->choices);
	case CONFIG_OBJECT:
		return object_schema(option, NULL);
	case CONFIG_OBJECTS:
		return array_of(strcmp(option->name, "device") == 0 ? device_schema(option)
								    : object_schema(option, NULL));
	case CONFIG_SWITCHED:
		return json_pack("{s:[o, o]}", "anyOf", of_type("boolean"),
				 object_schema(option, NULL));
	case CONFIG_TEXT:
		break;
	}
	return of_type("string");
}

json_t *config_schema(void)
{
	json_t *keys = json_pack("{s:o}", "$schema", of_type("string"));

	for (const struct config_option *option = config_options; option->name; option++)
		json_object_set_new(
			keys, option->name,
			described(option_schema(option), run_option_help(option->name)));
	return json_pack("{s:s, s:s, s:[{s:s}, {s:s, s:{s:s}}], s:{s:{s:s, s:o, s:b}}}", "$schema",
			 "https://json-schema.org/draft/2020-12/schema", "title",
			 "Options of vmm run", "anyOf", "$ref", "#/$defs/section", "type", "array",
			 "items", "$ref", "#/$defs/section", "$defs", "section", "type", "object",
			 "properties", keys, "additionalProperties", 0);
}
