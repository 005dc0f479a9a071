/* SPDX-License-Identifier: MIT */
/*
 * The metrics that `vmm stats --prometheus` prints, read as a collector does: line by line, by the
 * rules of the text format 0.0.4.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/control.h"

static char *text;

/* What is printed for an array of VMs. */
static const char *print(const char *vms)
{
	json_error_t error;
	json_t *list = json_loads(vms, 0, &error);
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert_not_null(list, "%s", error.text);
	prometheus_print(out, list);
	cr_assert_eq(fclose(out), 0);
	json_decref(list);
	return text;
}

static void teardown(void)
{
	free(text);
}

TestSuite(prometheus, .fini = teardown);

static const char two_vms[] =
	"[{\"name\":\"a\",\"state\":\"running\",\"uptime-ns\":1500000000,\"io-time-ns\":5,"
	"\"vcpus\":[{\"index\":0,\"time-ns\":12000000034,\"exits\":{\"io\":7,\"x86-rdmsr\":1}},"
	"{\"index\":1,\"time-ns\":0,\"exits\":{}}],"
	"\"memory\":{\"size\":67108864,\"resident\":4096,\"ballooned\":0},"
	"\"devices\":[{\"id\":\"d\",\"class\":\"virtio-blk\","
	"\"read\":{\"operations\":3,\"bytes\":4096,\"errors\":1,\"time-ns\":2000000007}},"
	"{\"id\":\"n\",\"class\":\"virtio-net\",\"rx\":{\"packets\":2,\"bytes\":9,\"dropped\":0},"
	"\"tx\":{\"packets\":4,\"bytes\":8,\"dropped\":6}},"
	"{\"id\":\"b\",\"class\":\"virtio-balloon\",\"actual\":1,\"stats\":{\"free-memory\":77}}]},"
	"{\"name\":\"b\",\"state\":\"paused\",\"uptime-ns\":0,\"io-time-ns\":0,\"vcpus\":[],"
	"\"memory\":{\"size\":1,\"resident\":0,\"ballooned\":0},\"devices\":[]}]";

static void has_line(const char *line)
{
	const char *at = strstr(text, line);

	cr_expect(at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n',
		  "%s is not in\n%s", line, text);
}

Test(prometheus, what_a_vm_does_is_in_it)
{
	print(two_vms);
	has_line("vmm_running{vm=\"a\"} 1");
	has_line("vmm_running{vm=\"b\"} 0");
	has_line("vmm_uptime_seconds{vm=\"a\"} 1.500000000");
	has_line("vmm_vcpu_seconds_total{vm=\"a\",vcpu=\"0\"} 12.000000034");
	has_line("vmm_vcpu_exits_total{vm=\"a\",vcpu=\"0\",reason=\"x86-rdmsr\"} 1");
	has_line("vmm_io_seconds_total{vm=\"a\"} 0.000000005");
	has_line("vmm_memory_bytes{vm=\"a\"} 67108864");
	has_line("vmm_memory_resident_bytes{vm=\"a\"} 4096");
	has_line("vmm_guest_memory_bytes{vm=\"a\",kind=\"free-memory\"} 77");
	has_line("vmm_disk_operations_total{vm=\"a\",device=\"d\",operation=\"read\"} 3");
	has_line("vmm_disk_errors_total{vm=\"a\",device=\"d\",operation=\"read\"} 1");
	has_line("vmm_disk_seconds_total{vm=\"a\",device=\"d\",operation=\"read\"} 2.000000007");
	has_line("vmm_net_packets_total{vm=\"a\",device=\"n\",direction=\"rx\"} 2");
	has_line("vmm_net_dropped_total{vm=\"a\",device=\"n\",direction=\"tx\"} 6");
}

/* ---- the format ---- */

static const char *skip_name(const char *p)
{
	cr_assert(isalpha((unsigned char)*p) || *p == '_', "%s", p);
	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	return p;
}

/* name="value": a quote, a backslash and a newline stand in it only behind a backslash. */
static const char *skip_label(const char *p)
{
	p = skip_name(p);
	cr_assert(p[0] == '=' && p[1] == '"', "%s", p);
	for (p += 2; *p != '"'; p++) {
		cr_assert(*p && *p != '\n', "a label that does not end");
		if (*p == '\\') {
			p++;
			cr_assert(*p == '\\' || *p == '"' || *p == 'n', "\\%c", *p);
		}
	}
	return p + 1;
}

/* A sample of the metric `name`. */
static void check_sample(const char *line, const char *name)
{
	const char *p = skip_name(line);
	char *end;

	cr_assert(name && strlen(name) == (size_t)(p - line) &&
			  strncmp(name, line, strlen(name)) == 0,
		  "not below the TYPE of its metric: %s", line);
	cr_assert_eq(*p, '{');
	do
		p = skip_label(p + 1);
	while (*p == ',');
	cr_assert(p[0] == '}' && p[1] == ' ', "%s", line);
	(void)strtod(p + 2, &end);
	cr_assert(end != p + 2 && !*end, "%s", line);
}

/* Every line is a HELP, the TYPE behind it, or a sample of that; no metric comes twice. */
static unsigned check_format(void)
{
	char help[64], name[64] = "", type[16], *copy = strdup(text), *rest = copy, *line;
	char seen[4096] = " ", mark[80];
	unsigned samples = 0;

	cr_assert_eq(text[strlen(text) - 1], '\n');
	while ((line = strsep(&rest, "\n")) && *line) {
		if (sscanf(line, "# HELP %63s", help) == 1) {
			snprintf(mark, sizeof(mark), " %s ", help);
			cr_assert_null(strstr(seen, mark), "%s twice", help);
			strncat(seen, mark + 1, sizeof(seen) - strlen(seen) - 1);
			name[0] = '\0';
		} else if (sscanf(line, "# TYPE %63s %15s", name, type) == 2) {
			cr_assert_str_eq(name, help);
			cr_assert(!strcmp(type, "counter") || !strcmp(type, "gauge"), "%s", type);
			/* By convention. */
			cr_assert_eq(!strcmp(type, "counter"), strstr(name, "_total") != NULL);
		} else {
			check_sample(line, *name ? name : NULL);
			samples++;
		}
	}
	free(copy);
	return samples;
}

Test(prometheus, every_line_is_of_the_format)
{
	print(two_vms);
	cr_expect_gt(check_format(), 20);
}

Test(prometheus, names_of_any_kind_are_escaped)
{
	print("[{\"name\":\"a\\\"b\\\\c\\nd{}= \\u00e9\",\"state\":\"running\"}]");
	has_line("vmm_running{vm=\"a\\\"b\\\\c\\nd{}= \xc3\xa9\"} 1");
	cr_expect_eq(check_format(), 1);
}

Test(prometheus, without_vms_there_are_no_samples)
{
	print("[]");
	cr_expect_eq(check_format(), 0);
}

/* ---- consoles ---- */

Test(console_in, the_first_that_can_be_attached_to_or_that_of_the_id)
{
	json_t *list =
		json_loads("[{\"label\":\"isa-serial0\",\"filename\":\"none\"},"
			   "{\"label\":\"c0\",\"filename\":\"attach:/run/a\"},"
			   "{\"label\":\"c1\",\"filename\":\"attach:/run/b\"},{\"label\":\"x\"}]",
			   0, NULL);
	const char *label = NULL;

	cr_expect_str_eq(console_in(list, NULL, &label), "/run/a");
	cr_expect_str_eq(label, "c0");
	cr_expect_str_eq(console_in(list, "c1", NULL), "/run/b");
	cr_expect_null(console_in(list, "isa-serial0", NULL));
	cr_expect_null(console_in(NULL, NULL, NULL));
	json_decref(list);
}
