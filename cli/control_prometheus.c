/* SPDX-License-Identifier: MIT */
/*
 * Statistics of VMs in the text format of Prometheus (exposition format 0.0.4): all samples of a
 * metric together, behind its HELP and TYPE.
 */
#include <stdio.h>
#include <string.h>

#include "control.h"

/* One metric, while its samples are printed. */
struct metric {
	FILE *out;
	const char *name;
	const json_t *vm; /* what vmm_stats says about it */
};

static const json_t *at(const json_t *object, const char *name)
{
	return json_object_get(object, name);
}

/* ---- samples ---- */

/* Label values are any UTF-8; three characters are escaped. */
static void put_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

/* vmm_NAME{vm="…",label="…"}; labels: pairs, ended by NULL. */
static void put_name(const struct metric *m, const char *const *labels)
{
	const char *vm = json_string_value(at(m->vm, "name"));

	fprintf(m->out, "vmm_%s{", m->name);
	put_label(m->out, "vm", vm ? vm : "");
	for (; labels && labels[0]; labels += 2) {
		fputc(',', m->out);
		put_label(m->out, labels[0], labels[1]);
	}
	fputs("} ", m->out);
}

/* Nothing where there is no such number. */
static void put_count(const struct metric *m, const json_t *value, const char *const *labels)
{
	if (!json_is_integer(value))
		return;
	put_name(m, labels);
	fprintf(m->out, "%lld\n", (long long)json_integer_value(value));
}

static void put_seconds(const struct metric *m, const json_t *ns, const char *const *labels)
{
	long long value = (long long)json_integer_value(ns);

	if (!json_is_integer(ns))
		return;
	put_name(m, labels);
	fprintf(m->out, "%lld.%09lld\n", value / 1000000000, value % 1000000000);
}

/* ---- metrics ---- */

static void put_running(const struct metric *m)
{
	const char *state = json_string_value(at(m->vm, "state"));

	put_name(m, NULL);
	fprintf(m->out, "%d\n", state && strcmp(state, "running") == 0);
}

static void put_uptime(const struct metric *m)
{
	put_seconds(m, at(m->vm, "uptime-ns"), NULL);
}

static void put_io_time(const struct metric *m)
{
	put_seconds(m, at(m->vm, "io-time-ns"), NULL);
}

static void for_each_vcpu(const struct metric *m,
			  void (*fn)(const struct metric *m, const json_t *vcpu, const char *index))
{
	const json_t *vcpu;
	char index[24];
	size_t i;

	json_array_foreach(at(m->vm, "vcpus"), i, vcpu)
	{
		snprintf(index, sizeof(index), "%lld",
			 (long long)json_integer_value(at(vcpu, "index")));
		fn(m, vcpu, index);
	}
}

static void put_vcpu_time(const struct metric *m, const json_t *vcpu, const char *index)
{
	put_seconds(m, at(vcpu, "time-ns"), (const char *const[]){"vcpu", index, NULL});
}

static void put_vcpu_exits(const struct metric *m, const json_t *vcpu, const char *index)
{
	const char *reason;
	json_t *count;

	json_object_foreach((json_t *)at(vcpu, "exits"), reason, count)
		put_count(m, count, (const char *const[]){"vcpu", index, "reason", reason, NULL});
}

static void put_vcpu_times(const struct metric *m)
{
	for_each_vcpu(m, put_vcpu_time);
}

static void put_exits(const struct metric *m)
{
	for_each_vcpu(m, put_vcpu_exits);
}

static void put_memory(const struct metric *m)
{
	put_count(m, at(at(m->vm, "memory"), "size"), NULL);
}

static void put_resident(const struct metric *m)
{
	put_count(m, at(at(m->vm, "memory"), "resident"), NULL);
}

static void put_ballooned(const struct metric *m)
{
	put_count(m, at(at(m->vm, "memory"), "ballooned"), NULL);
}

typedef void put_fn(const struct metric *m, const json_t *value, const char *const *labels);

/* A number `what` of the objects `parts` that a device has: {"read":{"bytes":…}}. */
static void put_parts(const struct metric *m, const char *label, const char *const *parts,
		      const char *what, put_fn *put)
{
	const json_t *device;
	size_t i;

	json_array_foreach(at(m->vm, "devices"), i, device)
	{
		const char *id = json_string_value(at(device, "id"));

		for (const char *const *part = parts; *part; part++)
			put(m, at(at(device, *part), what),
			    (const char *const[]){"device", id ? id : "", label, *part, NULL});
	}
}

static const char *const disk_parts[] = {"read", "write", "flush", "discard", "write-zeroes", NULL};
static const char *const net_parts[] = {"rx", "tx", NULL};

static void put_disk_operations(const struct metric *m)
{
	put_parts(m, "operation", disk_parts, "operations", put_count);
}

static void put_disk_bytes(const struct metric *m)
{
	put_parts(m, "operation", disk_parts, "bytes", put_count);
}

static void put_disk_errors(const struct metric *m)
{
	put_parts(m, "operation", disk_parts, "errors", put_count);
}

static void put_disk_time(const struct metric *m)
{
	put_parts(m, "operation", disk_parts, "time-ns", put_seconds);
}

static void put_net_packets(const struct metric *m)
{
	put_parts(m, "direction", net_parts, "packets", put_count);
}

static void put_net_bytes(const struct metric *m)
{
	put_parts(m, "direction", net_parts, "bytes", put_count);
}

static void put_net_dropped(const struct metric *m)
{
	put_parts(m, "direction", net_parts, "dropped", put_count);
}

/* What the guest's driver says, where it is asked (stats-interval). */
static void put_guest_memory(const struct metric *m)
{
	static const char *const kinds[] = {"free-memory", "available-memory", "total-memory",
					    "disk-caches"};
	const json_t *device;
	size_t i;

	json_array_foreach(at(m->vm, "devices"), i, device)
	{
		for (size_t k = 0; k < CLI_COUNT(kinds); k++)
			put_count(m, at(at(device, "stats"), kinds[k]),
				  (const char *const[]){"kind", kinds[k], NULL});
	}
}

static const struct {
	const char *name, *type, *help;
	void (*put)(const struct metric *m);
} metrics[] = {
	{"running", "gauge", "1 while the vCPUs run.", put_running},
	{"uptime_seconds", "gauge", "Time since the VM was started.", put_uptime},
	{"vcpu_seconds_total", "counter", "CPU time of the vCPU's thread.", put_vcpu_times},
	{"vcpu_exits_total", "counter", "How often the vCPU came out of KVM to the VMM.",
	 put_exits},
	{"io_seconds_total", "counter", "CPU time of the devices' event loop.", put_io_time},
	{"memory_bytes", "gauge", "Memory that the VM was made with.", put_memory},
	{"memory_resident_bytes", "gauge", "Of it, in the host's memory.", put_resident},
	{"memory_ballooned_bytes", "gauge", "Of it, in the guest's balloon.", put_ballooned},
	{"guest_memory_bytes", "gauge", "What the guest says about its memory.", put_guest_memory},
	{"disk_operations_total", "counter", "Requests of the guest.", put_disk_operations},
	{"disk_bytes_total", "counter", "Bytes of these requests.", put_disk_bytes},
	{"disk_errors_total", "counter", "Requests that failed.", put_disk_errors},
	{"disk_seconds_total", "counter", "Time that these requests took, added up.",
	 put_disk_time},
	{"net_packets_total", "counter", "Packets to the guest (rx) and from it.", put_net_packets},
	{"net_bytes_total", "counter", "Bytes of these packets.", put_net_bytes},
	{"net_dropped_total", "counter", "Packets that were dropped.", put_net_dropped},
};

void prometheus_print(FILE *out, const json_t *vms)
{
	const json_t *vm;
	size_t v;

	for (size_t i = 0; i < CLI_COUNT(metrics); i++) {
		fprintf(out, "# HELP vmm_%s %s\n# TYPE vmm_%s %s\n", metrics[i].name,
			metrics[i].help, metrics[i].name, metrics[i].type);
		json_array_foreach(vms, v, vm) metrics[i].put(
			&(struct metric){out, metrics[i].name, vm});
	}
}
