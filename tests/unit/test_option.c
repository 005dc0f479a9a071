/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"

struct opts {
	char *path;
	bool readonly;
	uint64_t queues;
	uint64_t size;
	int cache;
	char *serial;
	char **forwards;
};

static const char *const caches[] = {"writeback", "none", "unsafe", NULL};
static const struct option_desc table[] = {
	{.name = "path",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct opts, path),
	 .required = true,
	 .help = "image file"},
	{.name = "readonly", .type = OPTION_BOOL, .offset = offsetof(struct opts, readonly)},
	{.name = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct opts, queues),
	 .fallback = "1",
	 .min = 1,
	 .max = 16},
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct opts, size),
	 .fallback = "64K"},
	{.name = "cache",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct opts, cache),
	 .fallback = "none",
	 .values = caches},
	{.name = "serial",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct opts, serial),
	 .fallback = "vmm"},
	{.name = "forward", .type = OPTION_LIST, .offset = offsetof(struct opts, forwards)},
	OPTION_END,
};

static struct vmm_error err;

static int parse(const char *text, struct opts *o)
{
	memset(o, 0xaa, sizeof(*o));
	memset(&err, 0, sizeof(err));
	return options_parse(table, "--disk", "path", text, o, &err);
}

static void expect_error(const char *text, const char *message)
{
	struct opts o;

	cr_assert_eq(parse(text, &o), -EINVAL, "%s was taken", text);
	cr_assert_not_null(strstr(err.message, message), "\"%s\" gave: %s", text, err.message);
	cr_assert_eq(strncmp(err.message, "--disk: ", 8), 0);
	cr_assert_null(o.path);
	cr_assert_null(o.serial);
	cr_assert_null(o.forwards);
}

Test(option, defaults_fill_what_is_not_given)
{
	struct opts o;

	cr_assert_eq(parse("path=a.img", &o), 0);
	cr_assert_str_eq(o.path, "a.img");
	cr_assert_not(o.readonly);
	cr_assert_eq(o.queues, 1);
	cr_assert_eq(o.size, 64 * KIB);
	cr_assert_eq(o.cache, 1);
	cr_assert_str_eq(o.serial, "vmm");
	options_free(table, &o);
	cr_assert_null(o.path);
	options_free(table, &o);
}

Test(option, every_type_is_parsed)
{
	struct opts o;

	cr_assert_eq(parse("queues=0x10,readonly=yes,size=4G,cache=unsafe,serial=,path=x=y", &o),
		     0);
	cr_assert_eq(o.queues, 16);
	cr_assert(o.readonly);
	cr_assert_eq(o.size, 4 * GIB);
	cr_assert_eq(o.cache, 2);
	cr_assert_str_eq(o.serial, "");
	cr_assert_str_eq(o.path, "x=y");
	options_free(table, &o);
}

Test(option, the_first_item_without_a_name_is_the_implied_option)
{
	struct opts o;

	cr_assert_eq(parse("root.img,readonly", &o), 0);
	cr_assert_str_eq(o.path, "root.img");
	cr_assert(o.readonly);
	options_free(table, &o);
}

Test(option, doubled_commas_are_commas_in_the_value)
{
	struct opts o;

	cr_assert_eq(parse("a,,b.img,serial=,,x,,,,y,,", &o), 0);
	cr_assert_str_eq(o.path, "a,b.img");
	cr_assert_str_eq(o.serial, ",x,,y,");
	options_free(table, &o);
}

Test(option, a_list_keeps_every_value_in_order)
{
	struct opts o;

	cr_assert_eq(parse("a.img,forward=1,,2,readonly,forward=,forward=x=y", &o), 0);
	cr_assert_str_eq(o.forwards[0], "1,2");
	cr_assert_str_eq(o.forwards[1], "");
	cr_assert_str_eq(o.forwards[2], "x=y");
	cr_assert_null(o.forwards[3]);
	options_free(table, &o);
	cr_assert_null(o.forwards);

	cr_assert_eq(parse("a.img", &o), 0);
	cr_assert_null(o.forwards);
	options_free(table, &o);
	expect_error("a.img,forward=1,forward=2,size=x", "size=x");
	expect_error("a.img,forward", "needs a value");
}

Test(option, a_list_has_a_bound)
{
	char text[OPTION_LIST_MAX * 16 + 64] = "a.img";
	struct opts o;
	unsigned n;

	for (n = 0; n < OPTION_LIST_MAX; n++)
		strncat(text, ",forward=x", sizeof(text) - strlen(text) - 1);
	cr_assert_eq(parse(text, &o), 0);
	for (n = 0; o.forwards[n]; n++)
		;
	cr_assert_eq(n, OPTION_LIST_MAX);
	options_free(table, &o);
	strncat(text, ",forward=x", sizeof(text) - strlen(text) - 1);
	expect_error(text, "more than 64 times");
}

Test(option, bool_takes_the_six_words)
{
	static const char *const words[] = {"on", "yes", "true", "off", "no", "false"};
	char text[64];
	struct opts o;

	for (unsigned i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "x,readonly=%s", words[i]);
		cr_assert_eq(parse(text, &o), 0);
		cr_assert_eq(o.readonly, i < 3);
		options_free(table, &o);
	}
}

Test(option, unknown_names_get_a_suggestion_and_the_list)
{
	expect_error("pth=x", "unknown option \"pth\"; did you mean \"path\"?");
	expect_error("pth=x", "path, readonly, queues");
	expect_error("x,zzzzzzzz=1", "unknown option \"zzzzzzzz\"; possible: path");
}

Test(option, bad_values_name_option_value_and_what_is_possible)
{
	expect_error("x,cache=unsave", "cache=unsave: no such value; did you mean \"unsafe\"?");
	expect_error("x,readonly=maybe", "readonly=maybe");
	expect_error("x,queues=17", "queues=17: must be a number from 1 to 16");
	expect_error("x,queues=0", "from 1 to 16");
	expect_error("x,queues=-1", "queues=-1");
	expect_error("x,queues=", "queues=");
	expect_error("x,queues=99999999999999999999999", "must be a number");
	expect_error("x,size=4X", "size=4X: must be a size");
}

Test(option, what_is_required_is_not_where_another_option_stands_for_it)
{
	static const struct option_desc either[] = {
		{.name = "path",
		 .type = OPTION_STRING,
		 .offset = offsetof(struct opts, path),
		 .required = true,
		 .unless = "serial",
		 .help = "image file"},
		{.name = "serial", .type = OPTION_STRING, .offset = offsetof(struct opts, serial)},
		{.name = "readonly",
		 .type = OPTION_BOOL,
		 .offset = offsetof(struct opts, readonly)},
		OPTION_END,
	};
	struct vmm_error e;
	struct opts o;

	cr_assert_eq(options_parse(either, "t", NULL, "readonly", &o, &e), -EINVAL);
	cr_assert_not_null(strstr(e.message, "path=… is required"), "%s", e.message);
	cr_assert_eq(options_parse(either, "t", NULL, "serial=1", &o, &e), 0, "%s", e.message);
	cr_assert_null(o.path);
	options_free(either, &o);
	cr_assert_eq(options_parse(either, "t", NULL, "path=1,serial=2", &o, &e), 0);
	options_free(either, &o);
}

Test(option, malformed_texts_are_errors_that_leak_nothing)
{
	expect_error("", "path=… is required: image file");
	expect_error("readonly=on", "path=… is required");
	expect_error("x,path=y", "path is given twice");
	expect_error("x,readonly,readonly", "readonly is given twice");
	expect_error("x,", "missing beside a comma");
	expect_error(",path=x", "missing beside a comma");
	expect_error("x,serial", "serial needs a value");
	expect_error("=x", "unknown option \"\"");
	expect_error("x,=", "unknown option \"\"");
}

Test(option, null_text_means_defaults)
{
	struct opts o;

	cr_assert_eq(parse(NULL, &o), -EINVAL);
	cr_assert_eq(
		options_parse((const struct option_desc[]){OPTION_END}, "x", NULL, NULL, &o, NULL),
		0);
	cr_assert_eq(
		options_parse((const struct option_desc[]){OPTION_END}, "x", NULL, "a=b", &o, &err),
		-EINVAL);
	cr_assert_str_eq(err.message, "x: unknown option \"a\": it takes none");
}

Test(option, very_long_input_gives_a_cut_message)
{
	static char text[1 << 16];
	struct opts o;

	memset(text, 'q', sizeof(text) - 1);
	text[20000] = '=';
	cr_assert_eq(parse(text, &o), -EINVAL);
	cr_assert_eq(strlen(err.message), VMM_ERROR_MAX - 1);
}

Test(option, parse_size_takes_binary_suffixes)
{
	uint64_t v;

	cr_assert_eq(parse_size("65536", &v), 0);
	cr_assert_eq(v, 65536);
	cr_assert_eq(parse_size("0", &v), 0);
	cr_assert_eq(v, 0);
	cr_assert_eq(parse_size("512M", &v), 0);
	cr_assert_eq(v, 512 * MIB);
	cr_assert_eq(parse_size("3t", &v), 0);
	cr_assert_eq(v, 3 * 1024 * GIB);
	cr_assert_eq(parse_size("0x10k", &v), 0);
	cr_assert_eq(v, 16 * KIB);
	cr_assert_eq(parse_size("18446744073709551615", &v), 0);
	cr_assert_eq(v, UINT64_MAX);
}

Test(option, parse_size_refuses_everything_else)
{
	static const char *const bad[] = {"",   "K",    "1KB", "1 K", " 1", "-1",
					  "+1", "1.5G", "0x",  "x1",  "1e3"};
	uint64_t v = 42;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(parse_size(bad[i], &v), -EINVAL, "%s", bad[i]);
	cr_assert_eq(parse_size("18446744073709551616", &v), -ERANGE);
	cr_assert_eq(parse_size("16777216T", &v), -ERANGE);
	cr_assert_eq(v, 42);
}

Test(option, parse_uint_takes_whole_numbers_only)
{
	uint64_t v = 42;

	cr_assert_eq(parse_uint("010", &v), 0);
	cr_assert_eq(v, 10);
	cr_assert_eq(parse_uint("0XfF", &v), 0);
	cr_assert_eq(v, 255);
	cr_assert_eq(parse_uint("12a", &v), -EINVAL);
	cr_assert_eq(parse_uint("1K", &v), -EINVAL);
	cr_assert_eq(parse_uint("0x10000000000000000", &v), -ERANGE);
	cr_assert_eq(v, 255);
}

Test(option, nearest_name_finds_slips_and_not_strangers)
{
	static const char *const names[] = {"kernel", "initrd", "memory", "cpus", "disk", NULL};

	cr_assert_str_eq(nearest_name("kernal", names), "kernel");
	cr_assert_str_eq(nearest_name("kenrel", names), "kernel");
	cr_assert_str_eq(nearest_name("KERNEL", names), "kernel");
	cr_assert_str_eq(nearest_name("disks", names), "disk");
	cr_assert_str_eq(nearest_name("cpu", names), "cpus");
	cr_assert_str_eq(nearest_name("cash", (const char *const[]){"path", "cache", NULL}),
			 "cache");
	cr_assert_str_eq(nearest_name("cash", (const char *const[]){"cache", "path", NULL}),
			 "cache");
	cr_assert_null(nearest_name("zebra", names));
	cr_assert_null(nearest_name("", names));
	cr_assert_null(nearest_name("xy", (const char *const[]){"ab", NULL}));
	cr_assert_null(nearest_name("x", (const char *const[]){NULL}));
}

Test(option, nearest_name_stands_very_long_words)
{
	char word[1000];

	memset(word, 'a', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	cr_assert_null(nearest_name(word, (const char *const[]){"a", word, NULL}));
}

/* ---- one item by itself ---- */

static void takes(const char *text, const char *wanted_value, const char *wanted_rest)
{
	struct vmm_error e = {0};
	char *value, *rest;

	cr_assert_eq(options_take(text, "--device", "id", &value, &rest, &e), 0, "%s", e.message);
	if (wanted_value)
		cr_assert_str_eq(value, wanted_value);
	else
		cr_assert_null(value);
	cr_assert_str_eq(rest, wanted_rest);
	free(value);
	free(rest);
}

Test(option, an_item_is_taken_out_and_the_rest_stays_as_it_is)
{
	takes(NULL, NULL, "");
	takes("", NULL, "");
	takes("a=1,b", NULL, "a=1,b");
	takes("id=x", "x", "");
	takes("id=x,a=1", "x", "a=1");
	takes("a=1,id=x,b=2", "x", "a=1,b=2");
	takes("a=1,id=", "", "a=1");
	/* A comma inside a value is no end of it. */
	takes("path=a,,id=x,b=2", NULL, "path=a,,id=x,b=2");
	takes("id=a,,b,path=,,", "a,b", "path=,,");
	takes("a=,,,id=x", "x", "a=,,");
	/* Names that only begin so, values that look so. */
	takes("idx=1,i=2,a=id=3", NULL, "idx=1,i=2,a=id=3");
}

Test(option, an_item_that_cannot_be_taken_leaves_nothing_allocated)
{
	static const char *const bad[] = {"id=a,id=b", "a=1,id", "id=a,", ",id=a",
					  "id=a,,,,,,,b,,,"};
	struct vmm_error e = {0};
	char *value, *rest;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_eq(options_take(bad[i], "--device", "id", &value, &rest, &e), -EINVAL,
			     "%s", bad[i]);
		cr_assert_eq(strncmp(e.message, "--device: ", 10), 0, "%s", e.message);
		cr_assert_null(value);
		cr_assert_null(rest);
	}
}
