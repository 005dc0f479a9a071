/* SPDX-License-Identifier: MIT */
/*
 * The commands about a VM and its devices.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control.h"

#define WAIT_SECONDS 60   /* for a guest to do what it is asked */
#define ANSWER_MS    2000 /* for a VM whose guest has not done it */

int print_json(json_t *value)
{
	int status = json_dumpf(value, stdout, JSON_INDENT(2)) ? STATUS_ERROR : STATUS_OK;

	json_decref(value);
	printf("\n");
	return status ? status : finish_output();
}

json_t *call_once(const char *name, const char *command, json_t *args, int *status)
{
	struct client client;
	json_t *result = NULL;

	*status = STATUS_ERROR;
	if (client_open(&client, name, false) != CONNECTED) {
		json_decref(args);
		return NULL;
	}
	result = client_call(&client, command, args);
	client_close(&client);
	if (result)
		*status = STATUS_OK;
	return result;
}

/* A command that returns nothing of interest. */
static int run_once(const char *name, const char *command, json_t *args)
{
	int status;

	json_decref(call_once(name, command, args, &status));
	return status;
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *name)
{
	return (long long)json_integer_value(json_object_get(object, name));
}

/* ---- the VM ---- */

/* vmm-status, and the console that can be attached to as "console". NULL: reported. */
static json_t *examine_vm(const char *name)
{
	struct client client;
	json_t *status, *chardevs;
	const char *console;

	if (client_open(&client, name, false) != CONNECTED)
		return NULL;
	status = client_call(&client, "vmm-status", NULL);
	chardevs = status ? client_call(&client, "query-chardev", NULL) : NULL;
	console = console_in(chardevs, NULL, NULL);
	if (console)
		json_object_set_new(status, "console", json_string(console));
	json_decref(chardevs);
	client_close(&client);
	return status;
}

int verb_status(const struct control_args *args)
{
	json_t *s = examine_vm(args->words[0]);
	const char *console;
	long long up;

	if (!s || args->json)
		return s ? print_json(s) : STATUS_ERROR;
	up = number_of(s, "uptime");
	printf("name    %s\n", text_of(s, "name"));
	printf("status  %s\n", text_of(s, "status"));
	printf("memory  %lld MiB\n", number_of(s, "memory") >> 20);
	printf("cpus    %lld\n", number_of(s, "cpus"));
	printf("uptime  %lld:%02lld:%02lld\n", up / 3600, up / 60 % 60, up % 60);
	printf("pid     %lld\n", number_of(s, "pid"));
	printf("version %s\n", text_of(s, "version"));
	console = text_of(s, "console");
	if (*console)
		printf("console %s\n", console);
	json_decref(s);
	return finish_output();
}

int verb_simple(const struct control_args *args)
{
	static const struct {
		const char *verb, *command;
	} map[] = {{"kill", "quit"},
		   {"pause", "stop"},
		   {"resume", "cont"},
		   {"reset", "system_reset"},
		   {"powerdown", "system_powerdown"}};

	for (size_t i = 0; i < CLI_COUNT(map); i++)
		if (strcmp(map[i].verb, args->verb) == 0)
			return run_once(args->words[0], map[i].command, NULL);
	return STATUS_USAGE;
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Until the VM has closed the connection; STATUS_ERROR: not in order. */
static int wait_for_end(struct client *client, long long deadline)
{
	bool gone = false;

	while (!gone) {
		long long left = deadline - now_ms();

		client->patience_ms = left > 0 ? (int)left : 0;
		json_t *event = client_next(client, &gone);

		if (!event && !gone)
			return STATUS_TIMEOUT;
		json_decref(event);
	}
	return client_finish(client);
}

/* When the guest must have done it, in milliseconds. GO_ON or the exit status. */
static int deadline_of(const struct control_args *args, long long *deadline)
{
	struct timespec timeout = {.tv_sec = WAIT_SECONDS};
	int status = args->timeout ? set_timeout(&timeout, args->timeout) : GO_ON;

	if (timeout.tv_sec > 1000000)
		timeout.tv_sec = 1000000;
	*deadline = now_ms() + timeout.tv_sec * 1000LL + timeout.tv_nsec / 1000000;
	return status;
}

/* After a timeout: why the guest cannot even have noticed, to be added to a message. */
static const char *why_idle(struct client *client)
{
	json_t *answer;
	bool paused;

	client->patience_ms = ANSWER_MS;
	client->quiet = true;
	answer = client_call(client, "query-status", NULL);
	paused = strcmp(text_of(answer, "status"), "paused") == 0;
	json_decref(answer);
	return paused ? format("; the VM is paused, 'vmm resume %s' lets it go on", client->name)
		      : "";
}

int verb_stop(const struct control_args *args)
{
	struct client client;
	json_t *answer;
	long long deadline;
	int status = deadline_of(args, &deadline);

	if (status != GO_ON)
		return status;
	if (client_open(&client, args->words[0], false) != CONNECTED)
		return STATUS_ERROR;
	answer = client_call(&client, "system_powerdown", NULL);
	status = answer ? wait_for_end(&client, deadline) : STATUS_ERROR;
	json_decref(answer);
	if (status == STATUS_TIMEOUT)
		message("%s: the guest has not powered off in time ('vmm kill %s' ends it)%s",
			args->words[0], args->words[0], why_idle(&client));
	client_close(&client);
	return status;
}

/* What the guest was asked to have, in bytes; `actual` if that is not known. */
static long long balloon_target(const char *name, long long actual)
{
	int status;
	json_t *stats = call_once(name, "vmm-stats", NULL, &status), *d;
	size_t i;

	json_array_foreach(json_object_get(stats, "devices"), i, d)
	{
		if (strcmp(text_of(d, "class"), "virtio-balloon") == 0)
			actual = number_of(d, "target");
	}
	json_decref(stats);
	return actual;
}

int verb_balloon(const struct control_args *args)
{
	long long actual, target;
	uint64_t size;
	json_t *answer;
	int status;

	if (args->count == 2) {
		if (vmm_parse_size(args->words[1], &size) || size > INT64_MAX)
			return usage_error("balloon: '%s' is not a size", args->words[1]);
		return run_once(args->words[0], "balloon",
				json_pack("{s:I}", "value", (json_int_t)size));
	}
	answer = call_once(args->words[0], "query-balloon", NULL, &status);
	if (!answer)
		return status;
	actual = number_of(answer, "actual");
	target = balloon_target(args->words[0], actual);
	if (args->json) {
		json_object_set_new(answer, "target", json_integer(target));
		return print_json(answer);
	}
	json_decref(answer);
	printf("%lld MiB", actual >> 20);
	if (target != actual)
		printf(", asked to have %lld MiB", target >> 20);
	printf("\n");
	return finish_output();
}

/* ---- devices ---- */

static int list_devices(const struct control_args *args)
{
	int status;
	json_t *devices = call_once(args->words[1], "vmm-devices", NULL, &status), *d;
	size_t i;

	if (!devices || args->json)
		return devices ? print_json(devices) : status;
	printf("%-20s %-16s %-8s %-16s %s\n", "ID", "CLASS", "PCI", "ON", "OPTIONS");
	json_array_foreach(devices, i, d)
		printf("%-20s %-16s %-8s %-16s %s%s\n", text_of(d, "id"), text_of(d, "class"),
		       text_of(d, "pci"), text_of(d, "parent"), text_of(d, "options"),
		       json_is_true(json_object_get(d, "leaving")) ? " (leaving)" : "");
	json_decref(devices);
	return finish_output();
}

/* One option as device_add wants it, with an absolute path. GO_ON or the exit status. */
static int add_option(json_t *args, const char *key, const char *value)
{
	char *absolute = absolute_option(key, value);

	if (!absolute)
		return STATUS_ERROR;
	if (belongs_to_backend(text_of(args, "driver"), key))
		return usage_error("device add: %s is an option of the backend, and stands in its "
				   "value, with two commas: backend=NETWORK,,%s=%s",
				   key, key, quote_option(quote_option(value)));
	if (json_object_set_new(args, key, json_string(absolute)))
		return usage_error("device add: %s=%s cannot be sent: it is not UTF-8", key,
				   absolute);
	return GO_ON;
}

/* "CLASS,key=value,…" as device_add wants it: all values are texts. NULL: *status is reported. */
static json_t *device_arguments(const char *text, int *status)
{
	size_t len = strcspn(text, ",");
	json_t *args = json_pack("{s:s%}", "driver", text, len);
	const char *rest = text[len] ? text + len + 1 : "";

	*status = args ? GO_ON : usage_error("device add: '%s' is not UTF-8", text);
	while (*status == GO_ON && *rest) {
		const char *equals = strchr(rest, '='), *end;
		char *key = duplicate(rest);

		/* To the next comma that is not doubled. */
		for (end = rest; *end && !(end[0] == ',' && end[1] != ','); end++)
			end += end[0] == ',';
		if (!equals || equals > end)
			equals = end;
		key[equals - rest] = '\0';
		if (!*key || (equals == end && strcmp(key, "help") == 0))
			*status = usage_error("device add: '%s' is not key=value ('vmm run "
					      "--device %.*s,help' lists the keys)",
					      rest, (int)len, text);
		else /* As for --device: a key that is on or off may stand alone. */
			*status = add_option(args, key,
					     equals == end ? "on" : option_value(rest, key));
		rest = *end ? end + 1 : end;
	}
	if (*status == GO_ON)
		return args;
	json_decref(args);
	return NULL;
}

static int add_device(const struct control_args *args)
{
	int status;
	json_t *device = device_arguments(args->words[2], &status);

	return device ? run_once(args->words[1], "device_add", device) : status;
}

/* The option that a lone first value of an action of that name sets; "": none. */
static const char *implied_option(const char *action)
{
	struct vmm_device_info cls;
	struct vmm_action_info info;

	for (unsigned i = 0; vmm_device_class(i, &cls); i++)
		for (unsigned k = 0; vmm_device_action_info(cls.name, k, &info); k++)
			if (info.implied && strcmp(info.name, action) == 0)
				return info.implied;
	return "";
}

static int act(const struct control_args *args)
{
	char *options = NULL;
	json_t *call, *answer;
	int status;

	if (args->count > 4) {
		options = absolute_options(args->words[4], implied_option(args->words[3]));
		if (!options)
			return STATUS_ERROR;
	}
	call = json_pack("{s:s,s:s,s:s*}", "id", args->words[2], "action", args->words[3],
			 "options", options);
	if (!call)
		return usage_error("device act: what is not UTF-8 cannot be sent");
	answer = call_once(args->words[1], "vmm-action", call, &status);
	if (answer && (args->json || json_object_size(answer) > 0))
		return print_json(answer);
	json_decref(answer);
	return status;
}

/*
 * Whether the guest has yet to let go of the device: another that has the same id by now is not
 * leaving. An answer that is missing has been reported: -1.
 */
static int is_leaving(struct client *client, const char *id)
{
	json_t *devices = client_call(client, "vmm-devices", NULL), *d;
	int leaving = devices ? 0 : -1;
	size_t i;

	json_array_foreach(devices, i, d)
	{
		if (strcmp(text_of(d, "id"), id) == 0)
			leaving = json_is_true(json_object_get(d, "leaving"));
	}
	json_decref(devices);
	return leaving;
}

/* Until the VM says that the device is gone. */
static int wait_for_removal(struct client *client, const char *id, long long deadline)
{
	bool gone = false, deleted = false;

	while (!deleted) {
		long long left = deadline - now_ms();

		client->patience_ms = left > 0 ? (int)left : 0;
		json_t *event = client_next(client, &gone);

		if (!event && !gone)
			return STATUS_TIMEOUT;
		deleted = !event ||
			  (strcmp(text_of(event, "event"), "DEVICE_DELETED") == 0 &&
			   strcmp(text_of(json_object_get(event, "data"), "device"), id) == 0);
		json_decref(event);
	}
	if (gone)
		message("%s: the VM has ended", client->name);
	return gone ? STATUS_ERROR : STATUS_OK;
}

static int delete_device(const struct control_args *args)
{
	const char *name = args->words[1], *id = args->words[2];
	struct client client;
	json_t *answer;
	long long deadline;
	int status = deadline_of(args, &deadline), leaving = -1;

	if (status != GO_ON)
		return status;
	if (client_open(&client, name, false) != CONNECTED)
		return STATUS_ERROR;
	answer = client_call(&client, "device_del",
			     json_pack("{s:s,s:b}", "id", id, "force", args->force));
	if (answer)
		leaving = is_leaving(&client, id);
	json_decref(answer);
	status = leaving < 0 ? STATUS_ERROR : STATUS_OK;
	if (leaving > 0)
		status = wait_for_removal(&client, id, deadline);
	if (status == STATUS_TIMEOUT)
		message("%s: the guest has not let go of %s in time ('vmm device del %s %s' asks "
			"again, with --force it is pulled out)%s",
			name, id, name, id, why_idle(&client));
	client_close(&client);
	return status;
}

/* What is wrong with `vmm device ...` is its first word, or the number of the others. */
static int refuse_device(const char *what)
{
	static const char *const names[] = {"ls", "add", "del", "act", NULL};
	static const char *const usage[] = {"NAME [--json]", "NAME CLASS[,KEY=VALUE]...",
					    "NAME ID [--timeout SECONDS] [--force]",
					    "NAME ID ACTION [KEY=VALUE,...] [--json]"};
	char hint[64];

	for (size_t i = 0; names[i]; i++)
		if (strcmp(what, names[i]) == 0)
			return usage_error("usage: vmm device %s %s", what, usage[i]);
	did_you_mean(hint, sizeof(hint), what, "", names);
	return usage_error("device: '%s' is not ls, add, del or act%s ('vmm help device' explains "
			   "them)",
			   what, hint);
}

int verb_device(const struct control_args *args)
{
	const char *what = args->words[0];

	if ((args->force || args->timeout) && strcmp(what, "del") != 0)
		return usage_error("device %s: --force and --timeout are for 'device del'", what);
	if (strcmp(what, "ls") == 0 && args->count == 2)
		return list_devices(args);
	if (strcmp(what, "act") == 0 && args->count >= 4)
		return act(args);
	if (strcmp(what, "add") == 0 && args->count == 3)
		return add_device(args);
	if (strcmp(what, "del") == 0 && args->count == 3)
		return delete_device(args);
	return refuse_device(what);
}

int verb_disk(const struct control_args *args)
{
	uint64_t size;

	if (strcmp(args->words[0], "resize") != 0)
		return usage_error("usage: vmm disk resize NAME ID SIZE");
	if (vmm_parse_size(args->words[3], &size) || size > INT64_MAX)
		return usage_error("disk resize: '%s' is not a size", args->words[3]);
	return run_once(args->words[1], "block_resize",
			json_pack("{s:s,s:I}", "device", args->words[2], "size", (json_int_t)size));
}

int verb_net(const struct control_args *args)
{
	bool up = strcmp(args->words[3], "up") == 0;

	if (strcmp(args->words[0], "link") != 0 || (!up && strcmp(args->words[3], "down") != 0))
		return usage_error("usage: vmm net link NAME ID up|down");
	return run_once(args->words[1], "set_link",
			json_pack("{s:s,s:b}", "name", args->words[2], "up", up));
}
