/* SPDX-License-Identifier: MIT */
/*
 * The conversation with a client: greeting, negotiation, requests, answers and errors. Their forms,
 * and the classes of errors, are those of QEMU's protocol specification.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_internal.h"

#define GENERIC   "GenericError"
#define NOT_FOUND "CommandNotFound"

json_t *qmp_string(const char *text)
{
	json_t *value = json_string(text);
	char *copy;

	if (value || !text)
		return value;
	copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		if (*c & 0x80)
			*c = '?';
	value = copy ? json_string(copy) : NULL;
	free(copy);
	return value;
}

char *qmp_text(const json_t *value)
{
	return value ? json_dumps(value, JSON_ENSURE_ASCII) : NULL;
}

/* id: given away, may be NULL. */
static json_t *make_error(json_t *id, const char *class, const char *desc)
{
	return json_pack("{s:{s:s,s:o},s:o*}", "error", "class", class, "desc", qmp_string(desc),
			 "id", id);
}

static void refuse(struct qmp_client *client, json_t *id, const char *class, const char *fmt, ...)
	PRINTF(4, 5);
static void refuse(struct qmp_client *client, json_t *id, const char *class, const char *fmt, ...)
{
	char desc[VMM_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(desc, sizeof(desc), fmt, ap);
	va_end(ap);
	qmp_client_send_json(client, make_error(json_incref(id), class, desc));
}

void qmp_greet(struct qmp_client *client)
{
	int major = 0, minor = 0, micro = 0;

	(void)!sscanf(vmm_version(), "%d.%d.%d", &major, &minor, &micro);
	qmp_client_send_json(client,
			     json_pack("{s:{s:{s:{s:i,s:i,s:i},s:s+},s:[]}}", "QMP", "version",
				       "qemu", "major", major, "minor", minor, "micro", micro,
				       "package", "vmm-", vmm_version(), "capabilities"));
}

/* ---- arguments ---- */

static bool has_type(const json_t *value, enum qmp_type type)
{
	switch (type) {
	case QMP_STRING:
		return json_is_string(value);
	case QMP_BOOL:
		return json_is_boolean(value);
	case QMP_INT:
		return json_is_integer(value);
	case QMP_OBJECT:
		return json_is_object(value);
	case QMP_ANY:
		return true;
	case QMP_STRINGS:
	case QMP_INTS:
	case QMP_OBJECTS:
		break;
	}
	return false;
}

static const char *type_name(enum qmp_type type)
{
	static const char *const names[] = {[QMP_STRING] = "string",
					    [QMP_BOOL] = "boolean",
					    [QMP_INT] = "integer",
					    [QMP_OBJECT] = "object",
					    [QMP_ANY] = "any"};

	return names[type];
}

static bool is_member(const struct qmp_member *members, const char *name)
{
	for (; members && members->name; members++)
		if (!strcmp(members->name, name))
			return true;
	return false;
}

int qmp_check_members(const struct qmp_member *members, bool open, const json_t *args,
		      const char *where, struct vmm_error *err)
{
	const char *name;
	json_t *value;

	for (const struct qmp_member *m = members; m && m->name; m++) {
		value = json_object_get(args, m->name);
		if (!value && !m->optional)
			return error_set(err, EINVAL, "Parameter '%s%s' is missing", where,
					 m->name);
		if (value && !has_type(value, m->type))
			return error_set(err, EINVAL,
					 "Invalid parameter type for '%s%s', expected: %s", where,
					 m->name, type_name(m->type));
	}
	json_object_foreach((json_t *)args, name, value)
	{
		if (!open && !is_member(members, name))
			return error_set(err, EINVAL, "Parameter '%s%.64s' is unexpected", where,
					 name);
	}
	return 0;
}

static int check_arguments(const struct qmp_command *command, const json_t *args,
			   struct vmm_error *err)
{
	return qmp_check_members(command->args, command->open, args, "", err);
}

/* ---- requests ---- */

/* args: may be NULL. */
static void negotiate(struct qmp_client *client, json_t *args, json_t *id)
{
	json_t *enable = json_object_get(args, "enable");
	json_t *first = json_array_get(enable, 0);
	struct vmm_error err;

	if (check_arguments(&qmp_capabilities, args, &err)) {
		refuse(client, id, GENERIC, "%s", err.message);
		return;
	}
	if (enable && !json_is_array(enable)) {
		refuse(client, id, GENERIC, "Parameter 'enable' must be an array");
		return;
	}
	if (first) {
		refuse(client, id, GENERIC, "QMP capability '%.64s' is not available",
		       json_is_string(first) ? json_string_value(first) : "?");
		return;
	}
	client->negotiated = true;
	qmp_client_send_json(client, json_pack("{s:{},s:O*}", "return", "id", id));
}

static const struct qmp_command *find_command(const struct qmp_client *client, const char *name)
{
	for (const struct qmp_command *c = client->qmp->config.commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

/* Answer, or note in the client what is to be run. args: may be NULL. */
static void execute(struct qmp_client *client, const char *name, json_t *args, json_t *id)
{
	const struct qmp_command *command = find_command(client, name);
	struct vmm_error err;

	if (!client->negotiated && !strcmp(name, "qmp_capabilities")) {
		negotiate(client, args, id);
	} else if (!client->negotiated) {
		refuse(client, id, NOT_FOUND,
		       "Expecting capabilities negotiation with 'qmp_capabilities'");
	} else if (!strcmp(name, "qmp_capabilities")) {
		refuse(client, id, NOT_FOUND,
		       "Capabilities negotiation is already complete, command ignored");
	} else if (!command) {
		refuse(client, id, NOT_FOUND, "The command %.64s has not been found", name);
	} else {
		args = args ? json_incref(args) : json_object();
		if (args && check_arguments(command, args, &err) == 0) {
			client->command = command;
			client->args = args;
			client->id = json_incref(id);
			return;
		}
		refuse(client, id, GENERIC, "%s", args ? err.message : "out of memory");
		json_decref(args);
	}
}

static void handle_request(struct qmp_client *client, json_t *request)
{
	json_t *id = json_object_get(request, "id");
	json_t *name = json_object_get(request, "execute");
	json_t *args = json_object_get(request, "arguments");
	const char *key;
	json_t *value;

	if (!json_is_object(request)) {
		refuse(client, NULL, GENERIC, "QMP input must be a JSON object");
		return;
	}
	json_object_foreach(request, key, value)
	{
		if (value == id || value == name || value == args)
			continue;
		refuse(client, id, GENERIC, "QMP input member '%.64s' is unexpected", key);
		return;
	}
	if (!name)
		refuse(client, id, GENERIC, "QMP input lacks member 'execute'");
	else if (!json_is_string(name))
		refuse(client, id, GENERIC, "QMP input member 'execute' must be a string");
	else if (args && !json_is_object(args))
		refuse(client, id, GENERIC, "QMP input member 'arguments' must be an object");
	else
		execute(client, json_string_value(name), args, id);
}

static void parse_request(struct qmp_client *client)
{
	const struct qmp_parser *p = &client->parser;
	json_error_t error;
	json_t *request = json_loadb(p->text, p->len, JSON_REJECT_DUPLICATES, &error);

	if (request)
		handle_request(client, request);
	else
		refuse(client, NULL, GENERIC, "JSON parse error, %s (at byte %d)", error.text,
		       error.position);
	json_decref(request);
	/* Now that nothing here refers to a part of it any more. */
	if (client->command)
		qmp_client_submit(client);
}

void qmp_handle(struct qmp_client *client, enum qmp_found found)
{
	switch (found) {
	case QMP_FOUND_VALUE:
		parse_request(client);
		break;
	case QMP_FOUND_GARBAGE:
		refuse(client, NULL, GENERIC, "JSON parse error, a request begins with '{'");
		break;
	case QMP_FOUND_TOO_LONG:
		refuse(client, NULL, GENERIC, "JSON parse error, a request has at most %llu bytes",
		       (unsigned long long)QMP_REQUEST_MAX);
		break;
	case QMP_FOUND_TOO_DEEP:
		refuse(client, NULL, GENERIC, "JSON parse error, nested more than %d levels deep",
		       QMP_DEPTH_MAX);
		break;
	case QMP_FOUND_CUT:
		refuse(client, NULL, GENERIC,
		       "JSON parse error, invalid byte; what was begun is forgotten");
		break;
	case QMP_FOUND_NO_MEMORY:
		refuse(client, NULL, GENERIC, "out of memory");
		break;
	case QMP_FOUND_NOTHING:
		break;
	}
}

/* ---- answers ---- */

char *qmp_run(struct qmp_client *client, bool *success)
{
	struct qmp_call call = {.opaque = client->qmp->config.opaque, .args = client->args};
	json_t *answer;
	char *text;

	*success = client->command->run(&call) == 0;
	/* What was to be packed into it is gone as well. */
	if (*success && client->command->answers && !call.result) {
		*success = false;
		error_set(&call.err, ENOMEM, "out of memory");
	}
	if (*success) {
		answer = json_pack("{s:o,s:o*}", "return",
				   call.result ? call.result : json_object(), "id", client->id);
	} else {
		json_decref(call.result);
		answer = make_error(client->id, call.failure ? call.failure : GENERIC,
				    call.err.message);
	}
	json_decref(client->args);
	client->args = client->id = NULL;
	text = qmp_text(answer);
	json_decref(answer);
	return text;
}
