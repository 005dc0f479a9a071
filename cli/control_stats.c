/* SPDX-License-Identifier: MIT */
/*
 * `vmm stats`: what a VM does, once, as it goes on, or as metrics.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control.h"

#define INTERVAL_MAX_S 3600
#define NS_PER_S       1e9

/* Two looks at a VM, or one: then numbers are totals, else what there was per second between them.
 */
struct view {
	const json_t *now, *before; /* before: may be NULL */
	double seconds;
};

static double number(const json_t *object, const char *part, const char *name)
{
	if (part)
		object = json_object_get(object, part);
	return json_number_value(json_object_get(object, name));
}

/* Of an object as it is and as it was (NULL: it was not there, so its counts were 0). */
static double amount(const struct view *v, const json_t *now, const json_t *before,
		     const char *part, const char *name)
{
	double value = number(now, part, name);

	if (!v->before)
		return value;
	value -= number(before, part, name);
	/* Another of the same name, which began at 0. */
	return value > 0 && v->seconds > 0 ? value / v->seconds : 0;
}

/* The element of the array `list` of the earlier look whose member `key` is the same. */
static const json_t *same_before(const struct view *v, const char *list, const char *key,
				 const json_t *now)
{
	const json_t *element;
	size_t i;

	json_array_foreach(json_object_get(v->before, list), i, element)
	{
		if (json_equal(json_object_get(element, key), json_object_get(now, key)))
			return element;
	}
	return NULL;
}

/* "1234", "12.3M": at most 6 characters. Returns buf. */
static const char *scaled(char *buf, size_t size, double value)
{
	static const char units[] = " kMGTPE";
	unsigned unit = 0;

	for (; value >= 9999.5 && units[unit + 1]; unit++)
		value /= 1000;
	if (unit)
		snprintf(buf, size, value < 99.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
	else
		snprintf(buf, size, "%.0f", value);
	return buf;
}

/* ---- the table ---- */

static void print_head(const struct view *v)
{
	const char *name = json_string_value(json_object_get(v->now, "name"));
	const char *state = json_string_value(json_object_get(v->now, "state"));
	long long up = (long long)(number(v->now, NULL, "uptime-ns") / NS_PER_S);

	printf("%s: %s, up %lld:%02lld:%02lld%s\n", name ? name : "", state ? state : "", up / 3600,
	       up / 60 % 60, up % 60, v->before ? "; per second:" : "");
}

static void print_exits(const struct view *v, const json_t *vcpu, const json_t *before)
{
	const char *reason, *between = "  ";
	char text[16];
	json_t *count;

	json_object_foreach(json_object_get(vcpu, "exits"), reason, count)
	{
		double n = amount(v, vcpu, before, "exits", reason);

		if (v->before && n < 0.5)
			continue;
		printf("%s%s %s", between, scaled(text, sizeof(text), n), reason);
		between = ", ";
	}
	printf("\n");
}

static void print_time(const struct view *v, const char *what, double ns)
{
	if (v->before)
		printf("%-12s %9.1f%%", what, ns / NS_PER_S * 100);
	else
		printf("%-12s %9.2fs", what, ns / NS_PER_S);
}

static void print_cpus(const struct view *v)
{
	const json_t *vcpu;
	char what[32];
	size_t i;

	printf("%-12s %10s  %s\n", "THREAD", "CPU", "EXITS");
	json_array_foreach(json_object_get(v->now, "vcpus"), i, vcpu)
	{
		const json_t *before = same_before(v, "vcpus", "index", vcpu);

		snprintf(what, sizeof(what), "vcpu%.0f", number(vcpu, NULL, "index"));
		print_time(v, what, amount(v, vcpu, before, NULL, "time-ns"));
		print_exits(v, vcpu, before);
	}
	print_time(v, "devices", amount(v, v->now, v->before, NULL, "io-time-ns"));
	printf("\n");
}

static void print_memory(const struct view *v)
{
	printf("memory %.0f MiB, of it in the host's memory %.0f MiB, in the balloon %.0f MiB\n",
	       number(v->now, "memory", "size") / 1048576,
	       number(v->now, "memory", "resident") / 1048576,
	       number(v->now, "memory", "ballooned") / 1048576);
}

struct column {
	const char *head, *part, *name;
	const char *of; /* not NULL: nanoseconds, shown as milliseconds for each of these */
};

/* "0.052": milliseconds of each, or "-" where there was none. Returns buf. */
static const char *mean_ms(char *buf, size_t size, double ns, double count)
{
	if (count > 0)
		snprintf(buf, size, "%.3f", ns / count / 1e6);
	else
		snprintf(buf, size, "-");
	return buf;
}

static void print_cell(const struct view *v, const json_t *device, const json_t *before,
		       const struct column *c)
{
	double value = amount(v, device, before, c->part, c->name);
	char text[32];

	if (c->of)
		mean_ms(text, sizeof(text), value, amount(v, device, before, c->part, c->of));
	else
		scaled(text, sizeof(text), value);
	printf(" %10s", text);
}

/* Of the devices that have the part of the first column. */
static void print_devices(const struct view *v, const char *title, const struct column *columns,
			  size_t count)
{
	const json_t *device;
	bool headed = false;
	size_t i;

	json_array_foreach(json_object_get(v->now, "devices"), i, device)
	{
		const char *id = json_string_value(json_object_get(device, "id"));
		const json_t *before = same_before(v, "devices", "id", device);

		if (!json_object_get(device, columns[0].part))
			continue;
		if (!headed)
			printf("%-16s", title);
		for (size_t c = 0; !headed && c < count; c++)
			printf(" %10s", columns[c].head);
		printf("%s%-16s", headed ? "" : "\n", id ? id : "");
		headed = true;
		for (size_t c = 0; c < count; c++)
			print_cell(v, device, before, &columns[c]);
		printf("\n");
	}
}

static const struct column disk_columns[] = {
	{"READS", "read", "operations", NULL},
	{"BYTES", "read", "bytes", NULL},
	{"MS EACH", "read", "time-ns", "operations"},
	{"WRITES", "write", "operations", NULL},
	{"BYTES", "write", "bytes", NULL},
	{"MS EACH", "write", "time-ns", "operations"},
	{"FLUSHES", "flush", "operations", NULL},
	{"MS EACH", "flush", "time-ns", "operations"},
};
static const struct column net_columns[] = {
	{"RX PACKETS", "rx", "packets", NULL}, {"BYTES", "rx", "bytes", NULL},
	{"DROPPED", "rx", "dropped", NULL},    {"TX PACKETS", "tx", "packets", NULL},
	{"BYTES", "tx", "bytes", NULL},        {"DROPPED", "tx", "dropped", NULL},
};

static void print_table(const struct view *v)
{
	print_head(v);
	print_cpus(v);
	print_memory(v);
	print_devices(v, "DISK", disk_columns, CLI_COUNT(disk_columns));
	print_devices(v, "NET", net_columns, CLI_COUNT(net_columns));
}

/* ---- one line ---- */

static double sum(const struct view *v, const char *list, const char *key, const char *part,
		  const char *name)
{
	const json_t *element;
	double total = 0;
	size_t i;

	json_array_foreach(json_object_get(v->now, list), i, element) total +=
		amount(v, element, same_before(v, list, key, element), part, name);
	return total;
}

static double all_exits(const struct view *v)
{
	const json_t *vcpu;
	const char *reason;
	double total = 0;
	json_t *count;
	size_t i;

	json_array_foreach(json_object_get(v->now, "vcpus"), i, vcpu)
	{
		const json_t *before = same_before(v, "vcpus", "index", vcpu);

		json_object_foreach(json_object_get(vcpu, "exits"), reason, count) total +=
			amount(v, vcpu, before, "exits", reason);
	}
	return total;
}

static void print_line(const struct view *v)
{
	time_t now = time(NULL);
	char text[5][16], clock[16] = "";
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	scaled(text[0], sizeof(text[0]), all_exits(v));
	scaled(text[1], sizeof(text[1]), sum(v, "devices", "id", "read", "bytes"));
	scaled(text[2], sizeof(text[2]), sum(v, "devices", "id", "write", "bytes"));
	scaled(text[3], sizeof(text[3]), sum(v, "devices", "id", "rx", "bytes"));
	scaled(text[4], sizeof(text[4]), sum(v, "devices", "id", "tx", "bytes"));
	printf("%s cpu %.1f%% exits %s read %s write %s rx %s tx %s resident %.0fM\n", clock,
	       sum(v, "vcpus", "index", NULL, "time-ns") / NS_PER_S * 100, text[0], text[1],
	       text[2], text[3], text[4], number(v->now, "memory", "resident") / 1048576);
}

/* ---- as it goes on ---- */

/* Totals as JSON; else a view, which needs an earlier look. */
static int show(const struct control_args *args, const json_t *now, const json_t *before)
{
	struct view v = {.now = now, .before = before};

	if (args->json) {
		json_dumpf(now, stdout, JSON_COMPACT);
		printf("\n");
		return finish_output();
	}
	v.seconds = (number(now, NULL, "uptime-ns") - number(before, NULL, "uptime-ns")) / NS_PER_S;
	if (!isatty(STDOUT_FILENO)) {
		if (before)
			print_line(&v);
	} else {
		printf("\033[H\033[J"); /* from the top left corner, on an empty screen */
		print_table(&v);
	}
	return finish_output();
}

/* The time between two looks. False: the VM has ended meanwhile. */
static bool rest(const struct client *client, int interval_ms)
{
	struct pollfd p = {.fd = client->fd, .events = POLLRDHUP};
	int r;

	do {
		r = poll(&p, 1, interval_ms);
	} while (r < 0 && errno == EINTR);
	return r == 0;
}

static int follow(const struct control_args *args, int interval_ms)
{
	struct client client;
	json_t *before = NULL, *now;
	int status = STATUS_OK;
	bool goes_on = true;

	if (client_open(&client, args->words[0], false) != CONNECTED)
		return STATUS_ERROR;
	client.quiet = true; /* an orderly end is the end of this, and no mistake */
	while (status == STATUS_OK && goes_on && (now = client_call(&client, "vmm-stats", NULL))) {
		status = show(args, now, before);
		json_decref(before);
		before = now;
		goes_on = status == STATUS_OK && rest(&client, interval_ms);
	}
	json_decref(before);
	if (status == STATUS_OK)
		status = client_finish(&client);
	client_close(&client);
	return status;
}

/* ---- metrics ---- */

static void add_stats(json_t *vms, const char *name)
{
	struct client client;
	json_t *stats = NULL;

	if (client_open(&client, name, true) == CONNECTED) {
		stats = client_call(&client, "vmm-stats", NULL);
		client_close(&client);
	}
	if (stats)
		json_array_append_new(vms, stats);
}

static int print_metrics(const struct control_args *args)
{
	json_t *vms = json_array(), *one;
	const char **names;
	int status = STATUS_OK;
	size_t count;

	if (args->count) {
		one = call_once(args->words[0], "vmm-stats", NULL, &status);
		if (one)
			json_array_append_new(vms, one);
	} else if (control_names(&names, &count)) {
		for (size_t i = 0; i < count; i++)
			add_stats(vms, names[i]);
	} else {
		status = STATUS_ERROR;
	}
	if (status == STATUS_OK) {
		prometheus_print(stdout, vms);
		status = finish_output();
	}
	json_decref(vms);
	return status;
}

/* ---- the command ---- */

static int check(const struct control_args *args, struct timespec *interval)
{
	int status = args->interval ? set_seconds(interval, "--interval", args->interval) : GO_ON;

	if (status != GO_ON)
		return status;
	if (interval->tv_sec > INTERVAL_MAX_S ||
	    (interval->tv_sec == 0 && interval->tv_nsec < 1000000))
		return usage_error("--interval %s: must be from 0.001 to %d seconds",
				   args->interval, INTERVAL_MAX_S);
	if (args->interval && !args->follow)
		return usage_error("--interval: of what? It goes with --follow");
	if (args->prometheus && (args->json || args->follow))
		return usage_error("--prometheus prints metrics once: neither --json nor --follow "
				   "goes with it");
	if (!args->prometheus && !args->count)
		return usage_error("stats: of which VM? ('vmm ls' lists them; --prometheus prints "
				   "all)");
	return GO_ON;
}

int verb_stats(const struct control_args *args)
{
	struct timespec interval = {.tv_sec = 1};
	int status = check(args, &interval);
	json_t *stats;

	if (status != GO_ON)
		return status;
	if (args->prometheus)
		return print_metrics(args);
	if (args->follow)
		return follow(args, (int)(interval.tv_sec * 1000 + interval.tv_nsec / 1000000));
	stats = call_once(args->words[0], "vmm-stats", NULL, &status);
	if (!stats || args->json)
		return stats ? print_json(stats) : status;
	print_table(&(struct view){.now = stats});
	json_decref(stats);
	return finish_output();
}
