/* SPDX-License-Identifier: MIT */
/*
 * Between JSON and the library: arguments of commands, options and reports of devices.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_machine.h"

const char *call_string(const struct qmp_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

int64_t call_int(const struct qmp_call *call, const char *name)
{
	return json_integer_value(json_object_get(call->args, name));
}

bool call_bool(const struct qmp_call *call, const char *name, bool fallback)
{
	json_t *value = json_object_get(call->args, name);

	return value ? json_is_true(value) : fallback;
}

/* text: freed. */
static json_t *parse_report(struct qmp_call *call, char *text)
{
	json_t *value = json_loads(text, 0, NULL);

	free(text);
	if (!value)
		error_set(&call->err, ENOMEM, "out of memory");
	return value;
}

json_t *call_devices(struct qmp_call *call)
{
	json_t *report, *list;
	char *text;

	if (vmm_device_list(call_vm(call), &text, &call->err))
		return NULL;
	report = parse_report(call, text);
	list = json_incref(json_object_get(report, "devices"));
	json_decref(report);
	return list;
}

json_t *call_backends(struct qmp_call *call, enum provided_kind kind)
{
	json_t *report, *list;
	char *text;

	if (machine_list_backends(call_vm(call), kind, &text, &call->err))
		return NULL;
	report = parse_report(call, text);
	list = json_incref(json_object_get(report, "backends"));
	json_decref(report);
	return list;
}

char *device_option(const json_t *device, const char *name)
{
	char *value, *rest;

	if (options_take(device_string(device, "options"), "", name, &value, &rest, NULL))
		return NULL;
	free(rest);
	return value;
}

const struct device_class *call_class(struct qmp_call *call, const char *id)
{
	struct vmm *vm = call_vm(call);
	const struct device_class *cls = NULL;
	struct machine_device *md;

	pthread_mutex_lock(&vm->devices_lock);
	md = id ? machine_find_id(vm, id) : NULL;
	if (md)
		cls = md->dev->cls;
	pthread_mutex_unlock(&vm->devices_lock);
	if (!id)
		error_set(&call->err, EINVAL, "Parameter 'id' is missing");
	else if (!cls) {
		call->failure = "DeviceNotFound";
		error_set(&call->err, ENOENT, "Device '%.64s' not found", id);
	}
	return cls;
}

int call_action(struct qmp_call *call, const char *id, const char *action, const char *options,
		json_t **result)
{
	char *text = NULL;
	int rc;

	if (!call_class(call, id))
		return -EINVAL;
	rc = vmm_device_action(call_vm(call), id, action, options, result ? &text : NULL,
			       &call->err);
	/* Which is missing, the action or, by now, the device? */
	if (rc == -ENOENT && !call_class(call, id))
		return rc;
	if (rc || !result)
		return rc;
	*result = parse_report(call, text);
	return *result ? 0 : -ENOMEM;
}

static bool named(const char *name, const char *const *names)
{
	for (; names && *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

/* Returns 0, or -EINVAL: no option of ours has such a value, or such a name. */
static int put_option(struct qmp_call *call, FILE *out, const char *name, const json_t *value)
{
	if (!*name || strpbrk(name, ",="))
		return error_set(&call->err, EINVAL, "Parameter '%.64s' is unexpected", name);
	fprintf(out, "%s=", name);
	if (json_is_boolean(value))
		fputs(json_is_true(value) ? "on" : "off", out);
	else if (json_is_integer(value))
		fprintf(out, "%lld", (long long)json_integer_value(value));
	else if (!json_is_string(value))
		return error_set(&call->err, EINVAL,
				 "Invalid parameter type for '%.64s', expected: string, integer or "
				 "boolean",
				 name);
	for (const char *c = json_string_value(value); c && *c; c++)
		fprintf(out, "%s%c", *c == ',' ? "," : "", *c);
	return 0;
}

char *options_of(struct qmp_call *call, const json_t *object, const char *const *without)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	const char *name, *between = "";
	json_t *value;
	int rc = 0;

	if (!out) {
		error_set(&call->err, ENOMEM, "out of memory");
		return NULL;
	}
	json_object_foreach((json_t *)object, name, value)
	{
		if (rc || named(name, without))
			continue;
		fputs(between, out);
		rc = put_option(call, out, name, value);
		between = ",";
	}
	if (fclose(out) && !rc)
		rc = error_set(&call->err, ENOMEM, "out of memory");
	if (!rc)
		return text;
	free(text);
	return NULL;
}
