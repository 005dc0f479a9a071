/* SPDX-License-Identifier: MIT */
/*
 * Commands of the control socket that open and close backends under a name: their arguments, as
 * QEMU's documentation has them, become what chardev_create and block_open want. What we have not
 * is refused, unless it is said only to be off.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_machine.h"

/* clang-format off */
#define END {.name = NULL}
/* clang-format on */

static const char *string_in(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int unknown_choice(struct qmp_call *call, const char *what, const char *given,
			  const char *choices)
{
	return error_set(&call->err, EINVAL, "Parameter '%s' does not accept '%.64s', only: %s",
			 what, given, choices);
}

/* Those of the names that are given have this value. */
static int check_only(struct qmp_call *call, const json_t *object, const char *const *names,
		      bool only)
{
	for (; *names; names++) {
		json_t *value = json_object_get(object, *names);

		if (value && json_is_true(value) != only)
			return error_set(&call->err, ENOTSUP, "Parameter '%s' can only be %s",
					 *names, only ? "true" : "false");
	}
	return 0;
}

/* ---- streams ---- */

/*
 * A kind of stream. spec: data, which suits the members, as chardev_create wants it: allocated, or
 * NULL with call->err set.
 */
struct stream_type {
	const char *name;
	const struct qmp_member *members;
	char *(*spec)(struct qmp_call *call, const json_t *data);
};

PRINTF(2, 3) static char *make_spec(struct qmp_call *call, const char *fmt, ...)
{
	va_list ap;
	char *spec;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&spec, fmt, ap);
	va_end(ap);
	if (n >= 0)
		return spec;
	error_set(&call->err, ENOMEM, "out of memory");
	return NULL;
}

static const struct qmp_member socket_members[] = {
	{"addr", QMP_OBJECT, false},   {"server", QMP_BOOL, true},
	{"wait", QMP_BOOL, true},      {"nodelay", QMP_BOOL, true},
	{"telnet", QMP_BOOL, true},    {"tn3270", QMP_BOOL, true},
	{"websocket", QMP_BOOL, true}, END,
};
static const struct qmp_member address_members[] = {
	{"type", QMP_STRING, false},
	{"data", QMP_OBJECT, false},
	END,
};
static const struct qmp_member unix_members[] = {
	{"path", QMP_STRING, false},
	{"abstract", QMP_BOOL, true},
	{"tight", QMP_BOOL, true},
	END,
};

static char *socket_spec(struct qmp_call *call, const json_t *data)
{
	static const char *const on[] = {"server", NULL};
	static const char *const off[] = {"wait", "telnet", "tn3270", "websocket", NULL};
	static const char *const unix_off[] = {"abstract", NULL};
	const json_t *addr = json_object_get(data, "addr"), *place = json_object_get(addr, "data");

	if (check_only(call, data, on, true) || check_only(call, data, off, false) ||
	    qmp_check_members(address_members, false, addr, "backend.data.addr.", &call->err))
		return NULL;
	if (strcmp(string_in(addr, "type"), "unix") != 0) {
		unknown_choice(call, "backend.data.addr.type", string_in(addr, "type"), "unix");
		return NULL;
	}
	if (qmp_check_members(unix_members, false, place, "backend.data.addr.data.", &call->err) ||
	    check_only(call, place, unix_off, false))
		return NULL;
	return make_spec(call, "unix:%s", string_in(place, "path"));
}

static const struct qmp_member file_members[] = {
	{"out", QMP_STRING, false},
	{"append", QMP_BOOL, true},
	END,
};

static char *file_spec(struct qmp_call *call, const json_t *data)
{
	static const char *const off[] = {"append", NULL};

	return check_only(call, data, off, false)
		       ? NULL
		       : make_spec(call, "file:%s", string_in(data, "out"));
}

static const struct qmp_member pty_members[] = {{"path", QMP_STRING, true}, END};

static char *pty_spec(struct qmp_call *call, const json_t *data)
{
	json_t *options = json_object();
	char *text = NULL, *spec = NULL;

	if (string_in(data, "path"))
		json_object_set(options, "link", json_object_get(data, "path"));
	text = options_of(call, options, NULL);
	if (text)
		spec = make_spec(call, "pty%s%s", *text ? "," : "", text);
	json_decref(options);
	free(text);
	return spec;
}

static char *null_spec(struct qmp_call *call, const json_t *data UNUSED)
{
	return make_spec(call, "none");
}

static const struct qmp_member ring_members[] = {{"size", QMP_INT, true}, END};

static char *ring_spec(struct qmp_call *call, const json_t *data)
{
	const json_t *size = json_object_get(data, "size");

	return size ? make_spec(call, "ring:size=%lld", (long long)json_integer_value(size))
		    : make_spec(call, "ring");
}

static const struct stream_type stream_types[] = {
	{"socket", socket_members, socket_spec}, {"file", file_members, file_spec},
	{"pty", pty_members, pty_spec},          {"null", NULL, null_spec},
	{"ringbuf", ring_members, ring_spec},
};

static const struct qmp_member backend_members[] = {
	{"type", QMP_STRING, false},
	{"data", QMP_OBJECT, false},
	END,
};

/* The backend as chardev_create wants it: allocated, or NULL with call->err set. */
static char *stream_spec(struct qmp_call *call, const json_t *backend)
{
	const json_t *data = json_object_get(backend, "data");
	const char *name = string_in(backend, "type");

	if (qmp_check_members(backend_members, false, backend, "backend.", &call->err))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(stream_types); i++) {
		const struct stream_type *type = &stream_types[i];

		if (strcmp(type->name, name) != 0)
			continue;
		if (qmp_check_members(type->members, false, data, "backend.data.", &call->err))
			return NULL;
		return type->spec(call, data);
	}
	unknown_choice(call, "backend.type", name, "socket, file, pty, null, ringbuf");
	return NULL;
}

int run_chardev_add(struct qmp_call *call)
{
	char *spec = stream_spec(call, json_object_get(call->args, "backend"));
	char *place;
	int rc;

	if (!spec)
		return -call->err.code;
	rc = machine_add_chardev(call_vm(call), call_string(call, "id"), spec, &place, &call->err);
	if (rc == 0) {
		/* Only of a pty is the place something that the caller does not know. */
		call->result = !strncmp(spec, "pty", 3)
				       ? json_pack("{s:o}", "pty", qmp_string(place))
				       : json_object();
		free(place);
	}
	free(spec);
	return rc;
}

int run_chardev_remove(struct qmp_call *call)
{
	return machine_remove_backend(call_vm(call), BACKEND_CHARDEV, call_string(call, "id"),
				      &call->err);
}

/* ---- disks ---- */

/* Of the protocol node below a raw one; those that are not here are as in the raw one's. */
static const struct qmp_member file_node_members[] = {
	{"driver", QMP_STRING, false},
	{"filename", QMP_STRING, false},
	{"read-only", QMP_BOOL, true},
	{"auto-read-only", QMP_BOOL, true},
	{"force-share", QMP_BOOL, true},
	{"cache", QMP_OBJECT, true},
	{"discard", QMP_STRING, true},
	{"detect-zeroes", QMP_STRING, true},
	{"aio", QMP_STRING, true},
	{"locking", QMP_STRING, true},
	END,
};
static const struct qmp_member cache_members[] = {
	{"direct", QMP_BOOL, true},
	{"no-flush", QMP_BOOL, true},
	END,
};

/* What a node, or a node and the one below it, say together. */
struct drive_wishes {
	struct drive_options drive;
	bool auto_readonly;
	bool direct, no_flush;
};

/* The driver of a protocol node, in words that outlive the call, or NULL. */
static const char *file_driver(const char *driver)
{
	static const char *const drivers[] = {"file", "host_device"};

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strcmp(driver, drivers[i]))
			return drivers[i];
	return NULL;
}

static int take_cache(struct qmp_call *call, const json_t *node, struct drive_wishes *wishes)
{
	const json_t *cache = json_object_get(node, "cache"), *value;
	int rc = qmp_check_members(cache_members, false, cache, "cache.", &call->err);

	if (rc)
		return rc;
	value = json_object_get(cache, "direct");
	if (value)
		wishes->direct = json_is_true(value);
	value = json_object_get(cache, "no-flush");
	if (value)
		wishes->no_flush = json_is_true(value);
	if (wishes->direct && wishes->no_flush)
		return error_set(&call->err, ENOTSUP,
				 "'cache': direct and no-flush together are not offered");
	wishes->drive.image.cache = wishes->direct     ? BLOCK_CACHE_NONE
				    : wishes->no_flush ? BLOCK_CACHE_UNSAFE
						       : BLOCK_CACHE_WRITEBACK;
	return 0;
}

/* The index of what is given among the choices, `fallback` where nothing is, or -EINVAL. */
static int choice(struct qmp_call *call, const json_t *node, const char *name,
		  const char *const *choices, int fallback)
{
	const char *given = string_in(node, name);
	char list[64] = "";

	if (!given)
		return fallback;
	for (int i = 0; choices[i]; i++) {
		if (!strcmp(choices[i], given))
			return i;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "",
			 choices[i]);
	}
	return unknown_choice(call, name, given, list);
}

/*
 * Take over what the node says; what it does not say stays. Both of two nodes must agree to writes
 * and to discards.
 */
static int take_node(struct qmp_call *call, const json_t *node, struct drive_wishes *wishes)
{
	static const char *const off[] = {"force-share", NULL};
	static const char *const discards[] = {"ignore", "unmap", NULL};
	static const char *const zeroes[] = {"off", NULL};
	static const char *const locking[] = {"auto", "on", NULL};
	static const char *const aio[] = {"threads", "io_uring", "native", NULL};
	static const int engines[] = {BLOCK_ENGINE_THREADS, BLOCK_ENGINE_IO_URING,
				      BLOCK_ENGINE_AUTO};
	int unmap = choice(call, node, "discard", discards, 1);
	int engine = choice(call, node, "aio", aio, ARRAY_SIZE(engines));

	if (unmap < 0 || engine < 0 || choice(call, node, "detect-zeroes", zeroes, 0) < 0 ||
	    choice(call, node, "locking", locking, 0) < 0 || check_only(call, node, off, false) ||
	    take_cache(call, node, wishes))
		return -call->err.code;
	if (!unmap)
		wishes->drive.image.discard = BLOCK_DISCARD_IGNORE;
	if (engine < (int)ARRAY_SIZE(engines))
		wishes->drive.image.engine = engines[engine];
	wishes->drive.image.readonly |= json_is_true(json_object_get(node, "read-only"));
	wishes->auto_readonly |= json_is_true(json_object_get(node, "auto-read-only"));
	return 0;
}

/* What is to be written needs a file that can be; whether a named one can, drive_add knows. */
static int check_writable(struct qmp_call *call, const json_t *file,
			  const struct drive_wishes *wishes)
{
	if (wishes->drive.writable && !wishes->auto_readonly &&
	    json_is_true(json_object_get(file, "read-only")))
		return error_set(&call->err, EROFS,
				 "Parameter 'read-only' cannot be false: 'file' is read-only");
	return 0;
}

static int unexpected(struct qmp_call *call, const char *name)
{
	return error_set(&call->err, EINVAL, "Parameter '%s' is unexpected", name);
}

static int missing(struct qmp_call *call, const char *name)
{
	return error_set(&call->err, EINVAL, "Parameter '%s' is missing", name);
}

/* The node is a file. */
static int check_protocol(struct qmp_call *call)
{
	if (json_object_get(call->args, "file"))
		return unexpected(call, "file");
	return call_string(call, "filename") ? 0 : missing(call, "filename");
}

/* The node stands on another one, which is named, or told as an object. */
static int check_format(struct qmp_call *call)
{
	static const char *const of_files[] = {"filename", "aio", "locking", NULL};
	const json_t *file = json_object_get(call->args, "file");

	for (const char *const *name = of_files; *name; name++)
		if (json_object_get(call->args, *name))
			return unexpected(call, *name);
	if (!file)
		return missing(call, "file");
	if (json_is_string(file))
		return 0;
	if (!json_is_object(file))
		return error_set(&call->err, EINVAL,
				 "Invalid parameter type for 'file', expected: object or string");
	if (qmp_check_members(file_node_members, false, file, "file.", &call->err))
		return -call->err.code;
	return file_driver(string_in(file, "driver"))
		       ? 0
		       : unknown_choice(call, "file.driver", string_in(file, "driver"),
					"file, host_device");
}

static int take_wishes(struct qmp_call *call, struct drive_wishes *wishes)
{
	const char *driver = call_string(call, "driver");
	const json_t *file = json_object_get(call->args, "file");
	int rc;

	wishes->drive.driver = file_driver(driver);
	if (wishes->drive.driver)
		rc = check_protocol(call);
	else if (!strcmp(driver, "raw"))
		rc = check_format(call);
	else
		rc = unknown_choice(call, "driver", driver, "raw, file, host_device");
	if (!wishes->drive.driver)
		wishes->drive.driver = "raw";
	if (rc == 0)
		rc = take_node(call, call->args, wishes);
	if (rc)
		return rc;
	wishes->drive.writable = json_is_false(json_object_get(call->args, "read-only"));
	if (!call_string(call, "discard"))
		wishes->drive.image.discard = BLOCK_DISCARD_IGNORE; /* as in QEMU */
	if (json_is_string(file)) {
		wishes->drive.image.drive = (char *)(uintptr_t)json_string_value(file);
		return 0;
	}
	if (file)
		rc = take_node(call, file, wishes);
	if (rc == 0)
		rc = check_writable(call, file, wishes);
	wishes->drive.image.path =
		(char *)(uintptr_t)string_in(file ? file : call->args, "filename");
	return rc;
}

int run_blockdev_add(struct qmp_call *call)
{
	const char *name = call_string(call, "node-name");
	struct drive_wishes wishes = {0};
	int rc = take_wishes(call, &wishes);

	if (rc)
		return rc;
	rc = machine_add_drive(call_vm(call), name, &wishes.drive, &call->err);
	if (wishes.auto_readonly &&
	    (rc == -EACCES || rc == -EPERM || rc == -EROFS || rc == -EAGAIN)) {
		wishes.drive.image.readonly = true;
		wishes.drive.writable = false;
		rc = machine_add_drive(call_vm(call), name, &wishes.drive, &call->err);
	}
	return rc;
}

int run_blockdev_del(struct qmp_call *call)
{
	return machine_remove_backend(call_vm(call), BACKEND_DRIVE, call_string(call, "node-name"),
				      &call->err);
}
