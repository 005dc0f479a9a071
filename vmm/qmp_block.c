/* SPDX-License-Identifier: MIT */
/*
 * Commands of the control socket about disks. A disk has one name here, its device's id, which
 * stands for QEMU's `device`, `id`, `qdev` and `node-name` alike.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_machine.h"

/* The disk that a command is for, by whichever name; may be NULL. */
static const char *disk_id(const struct qmp_call *call)
{
	static const char *const names[] = {"id", "device", "node-name"};
	const char *id = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(names) && !id; i++)
		id = call_string(call, names[i]);
	return id;
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

/* QEMU has six limits, and says what each is where there is a medium. */
static json_t *describe_limits(const json_t *status)
{
	return json_pack("{s:O,s:i,s:i,s:O,s:i,s:i}", "bps", json_object_get(status, "bps"),
			 "bps_rd", 0, "bps_wr", 0, "iops", json_object_get(status, "iops"),
			 "iops_rd", 0, "iops_wr", 0);
}

static json_t *describe_cache(const json_t *status)
{
	const char *cache = json_string_value(json_object_get(status, "cache"));

	return json_pack("{s:O,s:b,s:b}", "writeback", json_object_get(status, "writeback"),
			 "direct", !strcmp(cache, "none"), "no-flush", !strcmp(cache, "unsafe"));
}

static json_t *describe_medium(const json_t *device, const json_t *status)
{
	const char *id = device_string(device, "id");
	json_t *size = json_object_get(status, "size");
	char *path = is_cd(device) ? NULL : device_option(device, "path");
	json_t *name = is_cd(device) ? json_incref(json_object_get(status, "medium"))
				     : qmp_string(path ? path : "");
	json_t *medium;

	medium = json_pack("{s:O,s:s,s:O,s:s,s:i,s:b,s:s,s:i,s:o,s:{s:O,s:s,s:O}}", "file", name,
			   "node-name", id, "ro", json_object_get(status, "readonly"), "drv", "raw",
			   "backing_file_depth", 0, "encrypted", 0, "detect_zeroes", "off",
			   "write_threshold", 0, "cache", describe_cache(status), "image",
			   "filename", name, "format", "raw", "virtual-size", size);
	json_object_update_new(medium, describe_limits(status));
	json_decref(name);
	free(path);
	return medium;
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
		json_object_set_new(disk, "inserted", describe_medium(device, status));
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
	return json_pack("{s:s,s:s,s:s,s:o}", "device", id, "qdev", id, "node-name", id, "stats",
			 stats);
}

static int for_each_disk(struct qmp_call *call,
			 json_t *(*describe)(const json_t *device, const json_t *status))
{
	json_t *devices = call_devices(call), *device, *status;
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
		json_array_append_new(call->result, describe(device, status));
		json_decref(status);
	}
	json_decref(devices);
	return rc;
}

int run_query_block(struct qmp_call *call)
{
	return for_each_disk(call, describe_disk);
}

int run_query_blockstats(struct qmp_call *call)
{
	return for_each_disk(call, describe_stats);
}

/* ---- what can be done ---- */

int run_block_resize(struct qmp_call *call)
{
	char options[32];

	if (call_int(call, "size") < 1)
		return error_set(&call->err, EINVAL, "Parameter 'size' expects a size above 0");
	snprintf(options, sizeof(options), "size=%lld", (long long)call_int(call, "size"));
	return call_action(call, disk_id(call), "resize", options, NULL);
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
