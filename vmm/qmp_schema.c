/* SPDX-License-Identifier: MIT */
/*
 * What the server offers, told by itself: query-commands and query-qmp-schema, from the tables.
 */
#include <stdio.h>

#include "vmm/qmp_internal.h"

static const struct qmp_member capabilities_args[] = {
	{"enable", QMP_ANY, true},
	{.name = NULL},
};
const struct qmp_command qmp_capabilities = {.name = "qmp_capabilities", .args = capabilities_args};

json_t *qmp_list_commands(const struct qmp_command *commands)
{
	json_t *list = json_array();

	json_array_append_new(list, json_pack("{s:s}", "name", qmp_capabilities.name));
	for (; commands->name; commands++)
		json_array_append_new(list, json_pack("{s:s}", "name", commands->name));
	return list;
}

/* The name of a type in the schema, and what it is in JSON. Objects are not described further. */
static const struct {
	const char *name, *json;
} types[] = {
	[QMP_STRING] = {"str", "string"}, [QMP_BOOL] = {"bool", "boolean"},
	[QMP_INT] = {"int", "int"},       [QMP_OBJECT] = {"any", "value"},
	[QMP_ANY] = {"any", "value"},
};

/* default: null says that the member may be left out. */
static json_t *describe_member(const struct qmp_member *m)
{
	json_t *member = json_pack("{s:s,s:s}", "name", m->name, "type", types[m->type].name);

	if (m->optional)
		json_object_set_new(member, "default", json_null());
	return member;
}

static void add_object(json_t *schema, const char *name, const struct qmp_member *members)
{
	json_t *list = json_array();

	for (; members && members->name; members++)
		json_array_append_new(list, describe_member(members));
	json_array_append_new(schema, json_pack("{s:s,s:s,s:o}", "name", name, "meta-type",
						"object", "members", list));
}

static json_t *describe_features(const char *const *features)
{
	json_t *list = features ? json_array() : NULL;

	for (; features && *features; features++)
		json_array_append_new(list, json_string(*features));
	return list;
}

static void add_command(json_t *schema, const struct qmp_command *c)
{
	char type[64] = "q_empty";

	if (c->args) {
		snprintf(type, sizeof(type), "%s-arg", c->name);
		add_object(schema, type, c->args);
	}
	json_array_append_new(schema,
			      json_pack("{s:s,s:s,s:s,s:s,s:o*}", "name", c->name, "meta-type",
					"command", "arg-type", c->open && !c->args ? "any" : type,
					"ret-type", c->answers ? "any" : "q_empty", "features",
					describe_features(c->features)));
}

static void add_event(json_t *schema, const struct qmp_event *e)
{
	char type[64] = "q_empty";

	if (e->data) {
		snprintf(type, sizeof(type), "%s-arg", e->name);
		add_object(schema, type, e->data);
	}
	json_array_append_new(schema, json_pack("{s:s,s:s,s:s}", "name", e->name, "meta-type",
						"event", "arg-type", type));
}

json_t *qmp_schema(const struct qmp_command *commands, const struct qmp_event *events)
{
	json_t *schema = json_array();

	add_object(schema, "q_empty", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (i != QMP_OBJECT) /* the same as QMP_ANY */
			json_array_append_new(schema,
					      json_pack("{s:s,s:s,s:s}", "name", types[i].name,
							"meta-type", "builtin", "json-type",
							types[i].json));
	add_command(schema, &qmp_capabilities);
	for (; commands->name; commands++)
		add_command(schema, commands);
	for (; events->name; events++)
		add_event(schema, events);
	return schema;
}
