/* SPDX-License-Identifier: MIT */
/*
 * What the server offers, told by itself: query-commands and query-qmp-schema, from the tables.
 */
#include <stdio.h>
#include <string.h>

#include "vmm/qmp_internal.h"

#define EMPTY "q_empty" /* the type of no arguments, and of an empty answer */

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

/* The name of a type in the schema, and what it is in JSON. Objects have names of their own. */
static const struct {
	const char *name, *json;
} types[] = {
	[QMP_STRING] = {"str", "string"},
	[QMP_BOOL] = {"bool", "boolean"},
	[QMP_INT] = {"int", "int"},
	[QMP_ANY] = {"any", "value"},
};

/* ---- types that are made of others ---- */

/* A schema that is being written; its entries are put in once each. */
struct schema {
	json_t *list;
	json_t *names; /* of the entries so far */
};

/* False: it is there already. */
static bool is_new(struct schema *schema, const char *name)
{
	if (json_object_get(schema->names, name))
		return false;
	json_object_set_new(schema->names, name, json_true());
	return true;
}

/* default: null says that the member may be left out. type: given away. */
static json_t *describe_member(const char *name, json_t *type, bool optional)
{
	json_t *member = json_pack("{s:s,s:o}", "name", name, "type", type);

	if (optional)
		json_object_set_new(member, "default", json_null());
	return member;
}

/* members: given away. */
static void add_object(struct schema *schema, const char *name, json_t *members)
{
	json_array_append_new(schema->list, json_pack("{s:s,s:s,s:o}", "name", name, "meta-type",
						      "object", "members", members));
}

static json_t *array_of(struct schema *schema, const char *element)
{
	char name[80];

	snprintf(name, sizeof(name), "[%s]", element);
	if (is_new(schema, name))
		json_array_append_new(schema->list,
				      json_pack("{s:s,s:s,s:s}", "name", name, "meta-type", "array",
						"element-type", element));
	return json_string(name);
}

static json_t *type_of(struct schema *schema, enum qmp_type type, const struct qmp_object *of);

/* No object of the tables has itself in it. */
static const char *object_of(struct schema *schema, const struct qmp_object *object)
{
	json_t *members;

	if (!object)
		return types[QMP_ANY].name;
	if (!is_new(schema, object->name))
		return object->name;
	members = json_array();
	for (const struct qmp_field *f = object->fields; f->name; f++)
		json_array_append_new(
			members,
			describe_member(f->name, type_of(schema, f->type, f->of), f->optional));
	add_object(schema, object->name, members);
	return object->name;
}

/* The name of a type, which is in the schema then. */
static json_t *type_of(struct schema *schema, enum qmp_type type, const struct qmp_object *of)
{
	switch (type) {
	case QMP_OBJECT:
		return json_string(object_of(schema, of));
	case QMP_OBJECTS:
		return array_of(schema, object_of(schema, of));
	case QMP_STRINGS:
		return array_of(schema, types[QMP_STRING].name);
	case QMP_INTS:
		return array_of(schema, types[QMP_INT].name);
	case QMP_STRING:
	case QMP_BOOL:
	case QMP_INT:
	case QMP_ANY:
		break;
	}
	return json_string(types[type].name);
}

/* The type NAME-arg of a command or event, or that of none. */
static json_t *arguments_of(struct schema *schema, const char *name,
			    const struct qmp_member *members)
{
	json_t *list;
	char type[80];

	if (!members)
		return json_string(EMPTY);
	list = json_array();
	snprintf(type, sizeof(type), "%s-arg", name);
	for (; members->name; members++)
		json_array_append_new(list, describe_member(members->name,
							    type_of(schema, members->type, NULL),
							    members->optional));
	add_object(schema, type, list);
	return json_string(type);
}

/* ---- commands and events ---- */

static json_t *describe_features(const char *const *features)
{
	json_t *list = features ? json_array() : NULL;

	for (; features && *features; features++)
		json_array_append_new(list, json_string(*features));
	return list;
}

static json_t *return_of(struct schema *schema, const struct qmp_command *c,
			 const struct qmp_return *returns)
{
	if (!c->answers)
		return json_string(EMPTY);
	for (; returns && returns->command; returns++)
		if (!strcmp(returns->command, c->name))
			return type_of(schema, returns->type, returns->of);
	return json_string(types[QMP_ANY].name);
}

static void add_command(struct schema *schema, const struct qmp_command *c,
			const struct qmp_return *returns)
{
	json_t *args = c->open && !c->args ? json_string(types[QMP_ANY].name)
					   : arguments_of(schema, c->name, c->args);

	json_array_append_new(schema->list, json_pack("{s:s,s:s,s:o,s:o,s:o*}", "name", c->name,
						      "meta-type", "command", "arg-type", args,
						      "ret-type", return_of(schema, c, returns),
						      "features", describe_features(c->features)));
}

static void add_event(struct schema *schema, const struct qmp_event *e)
{
	json_t *data = arguments_of(schema, e->name, e->data);

	json_array_append_new(schema->list, json_pack("{s:s,s:s,s:o}", "name", e->name, "meta-type",
						      "event", "arg-type", data));
}

json_t *qmp_schema(const struct qmp_command *commands, const struct qmp_return *returns,
		   const struct qmp_event *events)
{
	struct schema schema = {json_array(), json_object()};

	add_object(&schema, EMPTY, json_array());
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].name)
			json_array_append_new(schema.list,
					      json_pack("{s:s,s:s,s:s}", "name", types[i].name,
							"meta-type", "builtin", "json-type",
							types[i].json));
	add_command(&schema, &qmp_capabilities, NULL);
	for (; commands->name; commands++)
		add_command(&schema, commands, returns);
	for (; events->name; events++)
		add_event(&schema, events);
	json_decref(schema.names);
	return schema.list;
}
