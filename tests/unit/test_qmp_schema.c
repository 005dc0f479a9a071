/* SPDX-License-Identifier: MIT */
/*
 * query-qmp-schema next to what commands really answer and events really say: each member is
 * declared, each that is not optional is there, and each has its type.
 */
#include "core/device.h"
#include "support/qmp_vm.h"

static json_t *schema;

/* ---- the comparison ---- */

static const json_t *entry_of(const char *name, const char *meta)
{
	json_t *it;
	size_t i;

	json_array_foreach(schema, i, it)
	{
		if (!strcmp(json_string_value(json_object_get(it, "name")), name) &&
		    (!meta || !strcmp(json_string_value(json_object_get(it, "meta-type")), meta)))
			return it;
	}
	cr_assert_fail("%s is not in the schema", name);
	return NULL;
}

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static void suits(const json_t *value, const char *type, const char *where);

static void suits_builtin(const json_t *value, const char *json, const char *where)
{
	bool right = !strcmp(json, "string")    ? json_is_string(value)
		     : !strcmp(json, "int")     ? json_is_integer(value)
		     : !strcmp(json, "boolean") ? json_is_boolean(value)
						: !strcmp(json, "value");

	cr_assert(right, "%s is no %s", where, json);
}

static const json_t *member_of(const json_t *type, const char *name)
{
	json_t *it;
	size_t i;

	json_array_foreach(json_object_get(type, "members"), i, it)
	{
		if (!strcmp(text_of(it, "name"), name))
			return it;
	}
	return NULL;
}

static void suits_object(const json_t *value, const json_t *type, const char *where)
{
	char inner[512];
	const char *name;
	json_t *it;
	size_t i;

	cr_assert(json_is_object(value), "%s is no object", where);
	json_object_foreach((json_t *)value, name, it)
		cr_assert(member_of(type, name), "%s.%s is not declared", where, name);
	json_array_foreach(json_object_get(type, "members"), i, it)
	{
		name = text_of(it, "name");
		snprintf(inner, sizeof(inner), "%s.%s", where, name);
		if (json_object_get(value, name))
			suits(json_object_get(value, name), text_of(it, "type"), inner);
		else
			cr_assert(json_object_get(it, "default"), "%s is missing", inner);
	}
}

static void suits(const json_t *value, const char *type, const char *where)
{
	const json_t *entry = entry_of(type, NULL), *element;
	const char *meta = text_of(entry, "meta-type");
	char inner[512];
	size_t i;

	if (!strcmp(meta, "builtin")) {
		suits_builtin(value, text_of(entry, "json-type"), where);
	} else if (!strcmp(meta, "object")) {
		suits_object(value, entry, where);
	} else {
		cr_assert_str_eq(meta, "array");
		cr_assert(json_is_array(value), "%s is no array", where);
		json_array_foreach((json_t *)value, i, element)
		{
			snprintf(inner, sizeof(inner), "%s[%zu]", where, i);
			suits(element, text_of(entry, "element-type"), inner);
		}
	}
}

/* ---- a VM ---- */

static json_t *answer_to_request(const char *request)
{
	json_t *answer = json_loads(ask(request), 0, NULL);
	json_t *result = json_incref(json_object_get(answer, "return"));

	cr_assert_not_null(result, "%s fails", request);
	json_decref(answer);
	return result;
}

static json_t *answer_to(const char *command)
{
	char request[128];

	snprintf(request, sizeof(request), "{\"execute\":\"%s\"}", command);
	return answer_to_request(request);
}

static void begin(void)
{
	setup();
	schema = answer_to("query-qmp-schema");
}

static void end(void)
{
	json_decref(schema);
	teardown();
}

TestSuite(qmp_schema, .init = begin, .fini = end, .timeout = 120);

static void its_answer_suits(const char *command, json_t *answer)
{
	suits(answer, text_of(entry_of(command, "command"), "ret-type"), command);
	json_decref(answer);
}

static void every_answer_suits(void)
{
	for (const struct qmp_command *c = control_commands; c->name; c++)
		if (c->answers && (!c->args || c->args->optional))
			its_answer_suits(c->name, answer_to(c->name));
}

/* Backends with a name, so that they are listed as well. */
static void adding_backends_suits(void)
{
	char request[256];

	its_answer_suits("chardev-add",
			 answer_to_request("{\"execute\":\"chardev-add\",\"arguments\":{\"id\":"
					   "\"c0\",\"backend\":{\"type\":\"pty\",\"data\":{}}}}"));
	snprintf(request, sizeof(request),
		 "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":"
		 "\"n0\",\"filename\":\"%s\",\"read-only\":true}}",
		 kernel);
	does(request);
}

Test(qmp_schema, answers_are_as_it_says)
{
	char request[256];

	every_answer_suits(); /* before the start */
	add("isa-serial", "chardev=pty,id=com1");
	start();
	adding_backends_suits();
	snprintf(request, sizeof(request),
		 "{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		 "\"filename\":\"%s\"}}",
		 kernel);
	does(request);
	does("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng\",\"id\":\"r\"}}");
	does("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"r\"}}");
	every_answer_suits(); /* with all that is optional */
	does("{\"execute\":\"quit\"}");
	wait_event("SHUTDOWN");
}

Test(qmp_schema, each_command_that_answers_has_a_type)
{
	const struct qmp_return *r;

	for (const struct qmp_command *c = control_commands; c->name; c++) {
		for (r = control_returns; r->command && strcmp(r->command, c->name) != 0; r++)
			;
		cr_expect_eq(c->answers, r->command != NULL, "%s", c->name);
	}
	for (r = control_returns; r->command; r++)
		entry_of(r->command, "command");
}

Test(qmp_schema, a_name_stands_for_one_thing)
{
	json_t *a, *b;
	size_t i, k;

	json_array_foreach(schema, i, a) for (k = i + 1; k < json_array_size(schema); k++)
	{
		b = json_array_get(schema, k);
		cr_assert_str_neq(text_of(a, "name"), text_of(b, "name"));
	}
}

/* ---- events ---- */

static json_t *heard; /* of each that came, its data */

/* Until this one has come, which none follows. */
static void hear_until(const char *last)
{
	const char *name;
	json_t *message, *data;

	do {
		message = next();
		cr_assert_not_null(message, "no %s", last);
		name = text_of(message, "event");
		if (!name) {
			json_decref(message);
			continue;
		}
		data = json_object_get(message, "data");
		json_object_set_new(heard, name, data ? json_incref(data) : json_object());
		if (!strcmp(name, last))
			last = NULL;
		json_decref(message);
	} while (last);
}

static void send_command(const char *request)
{
	cr_assert_eq(send(client, request, strlen(request), MSG_NOSIGNAL), strlen(request));
}

Test(qmp_schema, events_are_as_it_says)
{
	const struct device port = {.env = &vm->env, .id = (char[]){"p0"}};

	heard = json_object();
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	device_tell(&port, DEVICE_NOTICE_PORT, 1, NULL);
	device_tell(&port, DEVICE_NOTICE_BALLOON, 4096, NULL);
	send_command("{\"execute\":\"stop\"}{\"execute\":\"system_reset\"}{\"execute\":\"cont\"}"
		     "{\"execute\":\"system_powerdown\"}"
		     "{\"execute\":\"eject\",\"arguments\":{\"id\":\"cd0\"}}"
		     "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"cd0\"}}");
	hear_until("DEVICE_DELETED");
	vm->env.event(&vm->env, MACHINE_EVENT_PANIC, 1);
	hear_until("SHUTDOWN");
	for (const struct qmp_event *e = control_events; e->name; e++) {
		json_t *data = json_object_get(heard, e->name);

		cr_assert_not_null(data, "%s has not come", e->name);
		suits(data, text_of(entry_of(e->name, "event"), "arg-type"), e->name);
	}
	json_decref(heard);
}
