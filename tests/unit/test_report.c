/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/report.h"

/* Finish the report; it must be this text. */
static void ends_as(struct report *r, const char *wanted)
{
	char *json = NULL;

	cr_assert_eq(report_finish(r, &json), 0);
	cr_assert_str_eq(json, wanted);
	free(json);
}

static struct report *create(void)
{
	struct report *r = report_create();

	cr_assert_not_null(r);
	return r;
}

Test(report, an_empty_report_is_an_empty_object)
{
	ends_as(create(), "{}");
}

Test(report, every_kind_of_value_has_its_form)
{
	struct report *r = create();

	report_u64(r, "most", UINT64_MAX);
	report_bool(r, "yes", true);
	report_bool(r, "no", false);
	report_string(r, "text", "a, b");
	report_string(r, "nothing", NULL);
	ends_as(r, "{\"most\":18446744073709551615,\"yes\":true,"
		   "\"no\":false,\"text\":\"a, b\",\"nothing\":null}");
}

Test(report, objects_and_arrays_nest)
{
	struct report *r = create();

	report_begin_array(r, "a");
	report_begin(r, NULL);
	report_u64(r, "n", 1);
	report_end(r);
	report_begin(r, NULL);
	report_end(r);
	report_begin_array(r, NULL);
	report_end_array(r);
	report_string(r, NULL, "{[");
	report_u64(r, NULL, 2);
	report_end_array(r);
	report_begin(r, "o");
	report_end(r);
	report_bool(r, "last", true);
	ends_as(r, "{\"a\":[{\"n\":1},{},[],\"{[\",2],\"o\":{},\"last\":true}");
}

Test(report, what_a_string_holds_cannot_leave_it)
{
	struct report *r = create();

	report_string(r, "s", "\"},\\ \n\t\x01\x1f\x7f");
	ends_as(r, "{\"s\":\"\\\"},\\\\ \\u000a\\u0009\\u0001\\u001f\\u007f\"}");
}

Test(report, utf8_stays_as_it_is)
{
	struct report *r = create();

	report_string(r, "s", "é€𝄞\xed\x9f\xbf\xf4\x8f\xbf\xbf");
	ends_as(r, "{\"s\":\"é€𝄞\xed\x9f\xbf\xf4\x8f\xbf\xbf\"}");
}

Test(report, bytes_that_are_no_utf8_are_replaced)
{
	static const struct {
		const char *bytes, *wanted;
	} cases[] = {
		{"\x80", "�"},                /* begins in the middle */
		{"\xc0\xaf", "��"},           /* overlong */
		{"\xe0\x9f\xbf", "���"},      /* overlong */
		{"\xf0\x8f\xbf\xbf", "����"}, /* overlong */
		{"\xed\xa0\x80", "���"},      /* surrogate */
		{"\xf4\x90\x80\x80", "����"}, /* above U+10FFFF */
		{"\xff", "�"},                /* never */
		{"a\xe2\x82", "a��"},         /* cut off by the end */
		{"\xe2\x82\"", "��\\\""},     /* cut off by a quote, which still counts */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct report *r = create();
		char wanted[64];

		report_string(r, "s", cases[i].bytes);
		snprintf(wanted, sizeof(wanted), "{\"s\":\"%s\"}", cases[i].wanted);
		ends_as(r, wanted);
	}
}

Test(report, a_report_has_a_bound)
{
	struct report *r = create();
	char *json = NULL;

	for (unsigned i = 0; i < REPORT_MAX / 32 + 1; i++)
		report_string(r, "0123456789", "0123456789abcdef");
	cr_assert_eq(report_finish(r, &json), -E2BIG);
	cr_assert_null(json);
}

Test(report, no_report_is_a_no_op)
{
	char *json = NULL;

	report_u64(NULL, "a", 1);
	report_bool(NULL, "a", true);
	report_string(NULL, "a", "b");
	report_begin(NULL, "a");
	report_begin_array(NULL, "a");
	report_end_array(NULL);
	report_end(NULL);
	report_destroy(NULL);
	cr_assert_eq(report_finish(NULL, &json), -ENOMEM);
	cr_assert_null(json);
}

Test(report, an_unfinished_report_can_be_dropped)
{
	struct report *r = create();

	report_begin(r, "a");
	report_destroy(r);
}
