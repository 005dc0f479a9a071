/* SPDX-License-Identifier: MIT */
#include "core/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct report {
	char *text; /* `len` bytes; no NUL until the end */
	size_t len, room;
	unsigned depth; /* objects and arrays that are open */
	int error;      /* the first one; from then on nothing is written */
};

static bool reserve(struct report *r, size_t more)
{
	size_t room = r->room;
	char *text;

	if (r->error)
		return false;
	if (r->len + more > REPORT_MAX) {
		r->error = -E2BIG;
		return false;
	}
	while (room < r->len + more)
		room = room ? 2 * room : 256;
	if (room == r->room)
		return true;
	text = realloc(r->text, room);
	if (!text) {
		r->error = -ENOMEM;
		return false;
	}
	r->text = text;
	r->room = room;
	return true;
}

static void put(struct report *r, const char *bytes, size_t len)
{
	if (!reserve(r, len))
		return;
	memcpy(r->text + r->len, bytes, len);
	r->len += len;
}

static void put_text(struct report *r, const char *text)
{
	put(r, text, strlen(text));
}

/*
 * Bytes of the UTF-8 character that s begins with; 0: it begins with none (Unicode 15, table 3-7:
 * no overlong forms, no surrogates, nothing above U+10FFFF). The NUL at the end ends any character.
 */
static size_t utf8_length(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return len;
}

static void put_quoted(struct report *r, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	put_text(r, "\"");
	while (*s && !r->error) {
		size_t len = utf8_length(s);
		char escape[8];

		if (!len) {
			put_text(r, "\xef\xbf\xbd"); /* U+FFFD */
			s++;
		} else if (*s < 0x20 || *s == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", *s++);
			put_text(r, escape);
		} else {
			if (*s == '"' || *s == '\\')
				put_text(r, "\\");
			put(r, (const char *)s, len);
			s += len;
		}
	}
	put_text(r, "\"");
}

/* What stands before a value: a comma unless it is the first, and its name. */
static void put_name(struct report *r, const char *name)
{
	if (r->len && r->text[r->len - 1] != '{' && r->text[r->len - 1] != '[')
		put_text(r, ",");
	if (name) {
		put_quoted(r, name);
		put_text(r, ":");
	}
}

static void put_value(struct report *r, const char *name, const char *value)
{
	if (!r)
		return;
	put_name(r, name);
	put_text(r, value);
}

static void begin(struct report *r, const char *name, const char *bracket)
{
	if (!r)
		return;
	put_value(r, name, bracket);
	r->depth++;
}

static void end(struct report *r, const char *bracket)
{
	if (!r)
		return;
	assert(r->depth);
	put_text(r, bracket);
	r->depth--;
}

struct report *report_create(void)
{
	struct report *r = calloc(1, sizeof(*r));

	begin(r, NULL, "{");
	return r;
}

int report_finish(struct report *r, char **json)
{
	int error;

	if (!r)
		return -ENOMEM;
	end(r, "}");
	assert(!r->depth);
	put(r, "", 1);
	error = r->error;
	if (!error) {
		*json = r->text;
		r->text = NULL;
	}
	report_destroy(r);
	return error;
}

void report_destroy(struct report *r)
{
	if (!r)
		return;
	free(r->text);
	free(r);
}

void report_u64(struct report *r, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	put_value(r, name, text);
}

void report_bool(struct report *r, const char *name, bool value)
{
	put_value(r, name, value ? "true" : "false");
}

void report_string(struct report *r, const char *name, const char *value)
{
	if (!r)
		return;
	put_name(r, name);
	if (value)
		put_quoted(r, value);
	else
		put_text(r, "null");
}

void report_begin(struct report *r, const char *name)
{
	begin(r, name, "{");
}

void report_end(struct report *r)
{
	end(r, "}");
}

void report_begin_array(struct report *r, const char *name)
{
	begin(r, name, "[");
}

void report_end_array(struct report *r)
{
	end(r, "]");
}
