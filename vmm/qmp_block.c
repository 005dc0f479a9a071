/* SPDX-License-Identifier: MIT */
/*
 * Commands of the control socket about disks. A disk has one name here, its device's id, which
 * stands for QEMU's `device`, `id` and `qdev` alike. It is the `node-name` as well, unless the disk
 * has a drive, which has a name of its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_machine.h"

/* The disk that a command is for, by whichever name; may be NULL. */
static const char *disk_id(const struct qmp_call *call)
{
	const char *id = call_string(call, "id");

	return id ? id : call_string(call, "device");
}

static bool is_cd(const json_t *device)
{
	return !strcmp(device_string(device, "class"), "scsi-cd");
}

static bool is_disk(const json_t *device)
{
	const char *cls = device_string(device, "class");

	return !strcmp(cls, "virtio-blk") || !strcmp(cls, "scsi-disk") || is_cd(device);
}

/* ---- what there is ---- */

/* The limit is a device's: a drive that nobody has is not limited. */
static json_t *limit(const json_t *status, const char *name)
{
	json_t *value = json_object_get(status, name);

	return value ? json_incref(value) : json_integer(0);
}

/* QEMU has six limits, and says what each is where there is a medium. */
static json_t *describe_limits(const json_t *status)
{
	return json_pack("{s:o,s:i,s:i,s:o,s:i,s:i}", "bps", limit(status, "bps"), "bps_rd", 0,
			 "bps_wr", 0, "iops", limit(status, "iops"), "iops_rd", 0, "iops_wr", 0);
}

static json_t *describe_cache(const json_t *status)
{
	const char *cache = json_string_value(json_object_get(status, "cache"));

	return json_pack("{s:O,s:b,s:b}", "writeback", json_object_get(status, "writeback"),
			 "direct", !strcmp(cache, "none"), "no-flush", !strcmp(cache, "unsafe"));
}

/* A disk's backend has the name of the drive, or of the device that it is a part of. */
static const char *node_name(const char *id, const json_t *status)
{
	const json_t *drive = json_object_get(status, "drive");

	return drive ? json_string_value(drive) : id;
}

/* What comes along with a device is raw. */
static const char *driver_of(const json_t *status)
{
	const json_t *driver = json_object_get(status, "drive-driver");

	return driver ? json_string_value(driver) : "raw";
}

static json_t *describe_node(const char *id, const json_t *status)
{
	json_t *size = json_object_get(status, "size"), *path = json_object_get(status, "path");
	json_t *node;

	node = json_pack("{s:O,s:s,s:O,s:s,s:i,s:b,s:s,s:i,s:o,s:{s:O,s:s,s:O}}", "file", path,
			 "node-name", node_name(id, status), "ro",
			 json_object_get(status, "readonly"), "drv", driver_of(status),
			 "backing_file_depth", 0, "encrypted", 0, "detect_zeroes", "off",
			 "write_threshold", 0, "cache", describe_cache(status), "image", "filename",
			 path, "format", driver_of(status), "virtual-size", size);
	json_object_update_new(node, describe_limits(status));
	return node;
}

static json_t *describe_disk(const json_t *device, const json_t *status)
{
	const char *id = device_string(device, "id");
	json_t *disk = json_pack("{s:s,s:s,s:s,s:b,s:b}", "device", id, "qdev", id, "type",
				 "unknown", "removable", is_cd(device), "locked",
				 json_is_true(json_object_get(status, "locked")));

	if (is_cd(device))
		json_object_set(disk, "tray_open", json_object_get(status, "tray-open"));
	if (json_object_get(status, "size"))
		json_object_set_new(disk, "inserted", describe_node(id, status));
	return disk;
}

static json_t *counter(const json_t *status, const char *op, const char *what)
{
	json_t *value = json_object_get(json_object_get(status, op), what);

	return value ? json_incref(value) : json_integer(0);
}

static json_t *describe_stats(const json_t *device, const json_t *status)
{
	static const struct {
		const char *name, *op, *what;
	} counters[] = {
		{"rd_bytes", "read", "bytes"},
		{"rd_operations", "read", "operations"},
		{"failed_rd_operations", "read", "errors"},
		{"wr_bytes", "write", "bytes"},
		{"wr_operations", "write", "operations"},
		{"failed_wr_operations", "write", "errors"},
		{"flush_operations", "flush", "operations"},
		{"failed_flush_operations", "flush", "errors"},
		{"unmap_bytes", "discard", "bytes"},
		{"unmap_operations", "discard", "operations"},
		{"failed_unmap_operations", "discard", "errors"},
		{"rd_total_time_ns", "read", "time-ns"},
		{"wr_total_time_ns", "write", "time-ns"},
		{"flush_total_time_ns", "flush", "time-ns"},
		{"unmap_total_time_ns", "discard", "time-ns"},
	};
	/* What QEMU's clients count on and is not counted here ("vmm-no-merges"). */
	static const char *const zeroes[] = {
		"rd_merged",
		"wr_merged",
		"unmap_merged",
		"wr_highest_offset",
		"invalid_rd_operations",
		"invalid_wr_operations",
		"invalid_flush_operations",
		"invalid_unmap_operations",
	};
	const char *id = device_string(device, "id");
	json_t *stats =
		json_pack("{s:b,s:b,s:[],s:O*}", "account_failed", 1, "account_invalid", 0,
			  "timed_stats", "idle_time_ns", json_object_get(status, "idle-ns"));

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		json_object_set_new(stats, counters[i].name,
				    counter(status, counters[i].op, counters[i].what));
	for (size_t i = 0; i < ARRAY_SIZE(zeroes); i++)
		json_object_set_new(stats, zeroes[i], json_integer(0));
	return json_pack("{s:s,s:s,s:s,s:o}", "device", id, "qdev", id, "node-name",
			 node_name(id, status), "stats", stats);
}

static int for_each_disk(struct qmp_call *call,
			 json_t *(*describe)(const json_t *device, const json_t *status))
{
	json_t *devices = call_devices(call), *device, *status, *described;
	int rc = devices ? 0 : -ENOMEM;
	size_t i;

	call->result = json_array();
	json_array_foreach(devices, i, device)
	{
		if (!is_disk(device))
			continue;
		rc = call_action(call, device_string(device, "id"), "status", NULL, &status);
		/* A disk that has gone meanwhile is not there. */
		if (rc && call->failure) {
			call->failure = NULL;
			rc = 0;
			continue;
		}
		if (rc)
			break;
		described = describe(device, status);
		if (described)
			json_array_append_new(call->result, described);
		json_decref(status);
	}
	json_decref(devices);
	return rc;
}

int run_query_block(struct qmp_call *call)
{
	return for_each_disk(call, describe_disk);
}

/* Those that drives have are told as such, also while no device has them. */
static json_t *describe_own_node(const json_t *device, const json_t *status)
{
	if (!json_object_get(status, "size") || json_object_get(status, "drive"))
		return NULL;
	return describe_node(device_string(device, "id"), status);
}

int run_query_nodes(struct qmp_call *call)
{
	int rc = for_each_disk(call, describe_own_node);
	json_t *drives = rc ? NULL : call_backends(call, BACKEND_DRIVE), *drive;
	size_t i;

	json_array_foreach(drives, i, drive)
		json_array_append_new(call->result, describe_node(NULL, drive));
	json_decref(drives);
	return rc || drives ? rc : -ENOMEM;
}

int run_query_blockstats(struct qmp_call *call)
{
	return for_each_disk(call, describe_stats);
}

/* ---- what can be done ---- */

static json_t *describe_use(const json_t *device, const json_t *status)
{
	json_t *drive = json_object_get(status, "drive");

	return drive ? json_pack("{s:s,s:O}", "id", device_string(device, "id"), "drive", drive)
		     : NULL;
}

/* The device that has the drive: allocated, or NULL. */
static char *user_of(struct qmp_call *call, const char *drive)
{
	int rc = for_each_disk(call, describe_use);
	char *id = NULL;
	json_t *use;
	size_t i;

	json_array_foreach(call->result, i, use)
	{
		if (!rc && !id && !strcmp(device_string(use, "drive"), drive))
			id = strdup(device_string(use, "id"));
	}
	json_decref(call->result);
	call->result = NULL;
	return id;
}

static int resize_disk(struct qmp_call *call, const char *id, uint64_t size)
{
	char options[32];

	snprintf(options, sizeof(options), "size=%llu", (unsigned long long)size);
	return call_action(call, id, "resize", options, NULL);
}

/* The guest is to hear of it, so a drive that a device has is for the device to resize. */
static int resize_node(struct qmp_call *call, const char *node, uint64_t size)
{
	int rc = machine_resize_drive(call_vm(call), node, size, &call->err);
	char *id;

	if (rc == -ENOENT) /* the node of a device that brought it along */
		return resize_disk(call, node, size);
	if (rc != -EBUSY)
		return rc;
	id = user_of(call, node);
	if (id)
		rc = resize_disk(call, id, size);
	free(id);
	return rc;
}

int run_block_resize(struct qmp_call *call)
{
	const char *device = call_string(call, "device"), *node = call_string(call, "node-name");
	int64_t size = call_int(call, "size");

	if (!device == !node)
		return error_set(&call->err, EINVAL,
				 device ? "Parameters 'device' and 'node-name' exclude each other"
					: "Parameter 'device' or 'node-name' is missing");
	if (size < 1)
		return error_set(&call->err, EINVAL, "Parameter 'size' expects a size above 0");
	return node ? resize_node(call, node, (uint64_t)size)
		    : resize_disk(call, device, (uint64_t)size);
}

int run_throttle(struct qmp_call *call)
{
	static const char *const none[] = {"bps_rd", "bps_wr", "iops_rd", "iops_wr"};
	static const char *const taken[] = {"bps", "iops", "bps_max", "iops_max"};
	char options[128];

	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		if (call_int(call, none[i]) != 0)
			return error_set(&call->err, ENOTSUP,
					 "'%s': only totals can be limited, by bps and iops",
					 none[i]);
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		if (call_int(call, taken[i]) < 0)
			return error_set(&call->err, EINVAL, "'%s' must not be negative", taken[i]);
	snprintf(options, sizeof(options), "bps=%lld,iops=%lld,bps-burst=%lld,iops-burst=%lld",
		 (long long)call_int(call, "bps"), (long long)call_int(call, "iops"),
		 (long long)call_int(call, "bps_max"), (long long)call_int(call, "iops_max"));
	return call_action(call, disk_id(call), "throttle", options, NULL);
}

static const char *force_option(const struct qmp_call *call)
{
	return call_bool(call, "force", false) ? "force=on" : "force=off";
}

int run_eject(struct qmp_call *call)
{
	return call_action(call, disk_id(call), "eject", force_option(call), NULL);
}

int run_open_tray(struct qmp_call *call)
{
	return call_action(call, disk_id(call), "open", force_option(call), NULL);
}

int run_close_tray(struct qmp_call *call)
{
	return call_action(call, disk_id(call), "close", NULL, NULL);
}

int run_change_medium(struct qmp_call *call)
{
	const char *format = call_string(call, "format");
	const char *mode = call_string(call, "read-only-mode");
	static const char *const taken[] = {"id",     "device",         "filename",
					    "format", "read-only-mode", NULL};
	char *options;
	int rc;

	if (format && strcmp(format, "raw") != 0)
		return error_set(&call->err, EINVAL, "the format \"%.32s\": there is only raw",
				 format);
	if (mode && strcmp(mode, "retain") != 0 && strcmp(mode, "read-only") != 0)
		return error_set(&call->err, EINVAL,
				 "the mode \"%.32s\": a CD-ROM is read-only (retain, read-only)",
				 mode);
	json_object_set(call->args, "path", json_object_get(call->args, "filename"));
	options = options_of(call, call->args, taken);
	if (!options)
		return -call->err.code;
	rc = call_action(call, disk_id(call), "change", options, NULL);
	free(options);
	return rc;
}
