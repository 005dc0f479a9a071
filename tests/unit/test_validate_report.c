/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: how results are shown. Most of the text comes from a guest.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>
#ifdef CONFIG_JANSSON
#include <jansson.h>
#endif

#include "cli/validate.h"
#include "tests/unit/support/scratch.h"

static const struct validate_driver blk = {.name = "blk"}, net = {.name = "net"};
static struct validate_result results[4];
static struct validate_report report;

static void prepare(void)
{
	scratch_make();
	scratch_text("net/console", "boot\n==== probe\nprobing\n==== ping\nping\033[31m\r\nlost\n"
				    "==== link\nup\n");
	scratch_text("net/log", "info: machine: reset\n");
	scratch_text("net/errors", "left out: no tap\n");
	results[0] = (struct validate_result){.driver = &blk,
					      .rings = "split",
					      .check = "probe",
					      .title = "the disk is there",
					      .outcome = VALIDATE_PASS,
					      .ms = 1250,
					      .figure = duplicate("4 disks"),
					      .folder = scratch_path("blk")};
	results[1] = (struct validate_result){.driver = &net,
					      .rings = "packed",
					      .check = "ping",
					      .title = "<ping> & \"wait\"",
					      .outcome = VALIDATE_FAIL,
					      .ms = 62007,
					      .figure = duplicate("no \"answer\" <\\&>\x01\xff"),
					      .folder = scratch_path("net")};
	results[2] = (struct validate_result){.driver = &net,
					      .rings = "packed",
					      .check = "tap",
					      .title = "a tap",
					      .outcome = VALIDATE_SKIP,
					      .ms = 9,
					      .figure = duplicate("no tap"),
					      .folder = scratch_path("net")};
	report = (struct validate_report){
		.kernel = "/boot/vmlinuz", .version = "6.1-x", .results = results, .count = 3};
}

TestSuite(validate_report, .init = prepare, .fini = scratch_remove);

Test(validate_report, the_table)
{
	const char *text;

	capture_begin(1);
	validate_print_head();
	validate_print_result(&results[0]);
	validate_print_result(&results[2]);
	text = capture_end();
	cr_assert_str_eq(text,
			 "driver   rings   check        result     time  figure\n"
			 "blk      split   probe        ok          1.2s  4 disks\n"
			 "net      packed  tap          skip        0.0s  no tap\n",
			 "%s", text);
}

static const char *the_end(void)
{
	capture_begin(1);
	validate_print_end(&report);
	return capture_end();
}

Test(validate_report, a_failure_is_shown_with_its_part_of_the_console)
{
	const char *text = the_end();

	cr_assert_not_null(
		strstr(text, "net, packed rings, ping (<ping> & \"wait\"): no \"answer\""), "%s",
		text);
	cr_assert_not_null(strstr(text, "  the guest's console:\n"
					"  | ==== ping\n  | ping?[31m\n  | lost\n"
					"  the log of vmm:\n  | info: machine: reset\n"
					"  its standard error:\n  | left out: no tap\n"),
			   "%s", text);
	cr_assert_null(strstr(text, "probing"));
	cr_assert_null(strstr(text, "| up"));
	cr_assert_not_null(strstr(text, "skipped: net, packed rings, tap: no tap\n"));
	cr_assert_not_null(strstr(text, "Linux 6.1-x: 1 passed, 1 failed, 1 skipped\n"));
}

Test(validate_report, two_failures_of_a_run_share_its_log)
{
	const char *text, *log;

	results[3] = results[1];
	results[3].check = "link";
	report.count = 4;
	text = the_end();
	log = strstr(text, "the log of vmm");
	cr_assert_not_null(log);
	cr_assert_null(strstr(log + 1, "the log of vmm"));
	cr_assert_not_null(strstr(log, "  | ==== link\n  | up\n"));
	cr_assert_not_null(strstr(text, "1 passed, 2 failed"));
}

Test(validate_report, of_a_long_console_the_end_is_shown)
{
	char *lines = duplicate("==== ping\n");
	const char *text;

	for (unsigned i = 0; i < 200; i++)
		lines = format("%sline %u\n", lines, i);
	scratch_text("net/console", lines);
	text = the_end();
	cr_assert_null(strstr(text, "| line 119\n"));
	cr_assert_not_null(strstr(text, "console:\n  | line 120\n"), "%s", text);
	cr_assert_not_null(strstr(text, "| line 199\n"));
}

Test(validate_report, a_run_without_console_and_log)
{
	results[1].folder = scratch_path("none");
	cr_assert_null(strstr(the_end(), "console:"));
}

#ifdef CONFIG_JANSSON
static void string_is(const json_t *object, const char *key, const char *wanted)
{
	const char *text = json_string_value(json_object_get(object, key));

	cr_assert_not_null(text, "%s", key);
	cr_assert_str_eq(text, wanted, "%s", key);
}

Test(validate_report, json_that_others_can_read)
{
	char *path = scratch_path("report.json");
	json_error_t error;
	json_t *root, *list, *one;

	cr_assert_eq(validate_write_json(&report, path), 0);
	root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(root, "%s", error.text);
	string_is(root, "vmm", vmm_version());
	string_is(root, "kernel", "/boot/vmlinuz");
	string_is(root, "version", "6.1-x");
	cr_assert_eq(json_integer_value(json_object_get(root, "passed")), 1);
	cr_assert_eq(json_integer_value(json_object_get(root, "failed")), 1);
	cr_assert_eq(json_integer_value(json_object_get(root, "skipped")), 1);
	list = json_object_get(root, "results");
	cr_assert_eq(json_array_size(list), 3);
	one = json_array_get(list, 1);
	string_is(one, "driver", "net");
	string_is(one, "rings", "packed");
	string_is(one, "check", "ping");
	string_is(one, "title", "<ping> & \"wait\"");
	string_is(one, "result", "fail");
	/* A byte that is no UTF-8 by itself is taken for a character of that number. */
	string_is(one, "figure", "no \"answer\" <\\&>\x01\xc3\xbf");
	cr_assert_float_eq(json_real_value(json_object_get(one, "seconds")), 62.007, 1e-6);
	string_is(json_array_get(list, 0), "result", "pass");
	string_is(json_array_get(list, 2), "result", "skip");
	json_decref(root);
}

Test(validate_report, json_without_results)
{
	char *path = scratch_path("report.json");
	json_t *root;

	report.count = 0;
	cr_assert_eq(validate_write_json(&report, path), 0);
	root = json_load_file(path, 0, NULL);
	cr_assert_eq(json_array_size(json_object_get(root, "results")), 0);
	cr_assert(json_is_array(json_object_get(root, "results")));
	json_decref(root);
}
#endif

/* Tags are balanced, quotes are closed, and text is what XML may have. */
static void well_formed(const char *xml)
{
	const char *stack[8];
	size_t depth = 0;

	for (const char *p = xml; *p; p++)
		cr_assert(*p == '\n' || (*p >= 0x20 && *p < 0x7f));
	for (const char *p = strchr(xml, '<'); p; p = strchr(p, '<')) {
		const char *name = p + 1 + (p[1] == '/');
		size_t len = strcspn(name, " />");
		bool quoted = false;

		if (p[1] == '/') {
			cr_assert_gt(depth, 0);
			cr_assert_eq(strncmp(stack[--depth], name, len), 0, "%s", p);
		}
		for (p = name; quoted || *p != '>'; p++) {
			cr_assert(*p && *p != '<' && (*p != '&' || p[1] == '#'), "%s", name);
			quoted ^= *p == '"';
		}
		if (name[-1] == '<' && p[-1] != '/' && p[-1] != '?') {
			cr_assert_lt(depth, CLI_COUNT(stack));
			stack[depth++] = name;
		}
	}
	cr_assert_eq(depth, 0);
}

Test(validate_report, junit_that_others_can_read)
{
	char *path = scratch_path("report.xml");
	const char *xml;
	size_t size;

	cr_assert_eq(validate_write_junit(&report, path), 0);
	xml = scratch_read(path, &size);
	well_formed(xml);
	cr_assert_eq(strncmp(xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", 39), 0);
	cr_assert_not_null(strstr(xml, "<testsuite name=\"vmm validate, Linux 6.1-x\" tests=\"3\" "
				       "failures=\"1\" skipped=\"1\">"),
			   "%s", xml);
	cr_assert_not_null(strstr(xml, "<testcase classname=\"blk.split\" name=\"probe\" "
				       "time=\"1.250\"></testcase>"),
			   "%s", xml);
	cr_assert_not_null(strstr(xml, "name=\"ping\" time=\"62.007\"><failure message=\"no "
				       "&#34;answer&#34; &#60;\\&#38;&#62;??\"/></testcase>"),
			   "%s", xml);
	cr_assert_not_null(strstr(xml, "time=\"0.009\"><skipped message=\"no tap\"/></testcase>"),
			   "%s", xml);
}

Test(validate_report, a_report_that_cannot_be_written_is_an_error)
{
	const char *text;

	capture_begin(2);
	cr_assert_eq(validate_write_json(&report, scratch_path("none/x")), -1);
	cr_assert_eq(validate_write_junit(&report, scratch_path("none/x")), -1);
	cr_assert_eq(validate_write_json(&report, "/dev/full"), -1);
	cr_assert_eq(validate_write_junit(&report, "/dev/full"), -1);
	text = capture_end();
	cr_assert_not_null(strstr(text, format("--json %s: No such", scratch_path("none/x"))));
	cr_assert_not_null(strstr(text, format("--junit %s: No such", scratch_path("none/x"))));
	cr_assert_not_null(strstr(text, "--json /dev/full: cannot write: No space left"), "%s",
			   text);
	cr_assert_not_null(strstr(text, "--junit /dev/full: cannot write: No space left"));
}
