/* SPDX-License-Identifier: MIT */
#include "vmm/qmp_parser.h"

#include <stdlib.h>

#include "vmm/qmp.h"

#define FLUSH ((char)0xff) /* never a part of JSON: "forget what I have begun" */

void qmp_parser_fini(struct qmp_parser *p)
{
	free(p->text);
	*p = (struct qmp_parser){0};
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void begin_anew(struct qmp_parser *p)
{
	p->len = p->depth = 0;
	p->in_string = p->escaped = p->skipping = p->garbage = p->complete = false;
	/* One large request is no reason to keep as much for ever. */
	if (p->room > 64 * KIB)
		qmp_parser_fini(p);
}

static bool keep(struct qmp_parser *p, char c)
{
	if (p->len == p->room) {
		size_t room = p->room ? 2 * p->room : 1024;
		char *text = realloc(p->text, room);

		if (!text)
			return false;
		p->text = text;
		p->room = room;
	}
	p->text[p->len++] = c;
	return true;
}

/* Follow brackets and strings. Returns true when the value that was begun is at its end. */
static bool follow(struct qmp_parser *p, char c)
{
	if (p->in_string) {
		if (p->escaped)
			p->escaped = false;
		else if (c == '\\')
			p->escaped = true;
		else if (c == '"')
			p->in_string = false;
		return false;
	}
	if (c == '"')
		p->in_string = true;
	else if (c == '{' || c == '[')
		p->depth++;
	else if (c == '}' || c == ']')
		return --p->depth == 0;
	return false;
}

/* From here to the end of the value, or of the line, nothing is kept. That may be here. */
static enum qmp_found skip(struct qmp_parser *p, enum qmp_found why)
{
	p->len = 0;
	p->skipping = p->depth > 0 || p->garbage;
	return why;
}

static enum qmp_found take(struct qmp_parser *p, char c)
{
	bool begins = !p->in_string && (c == '{' || c == '[');

	if (c == FLUSH) {
		bool begun = p->len > 0;

		begin_anew(p);
		return begun ? QMP_FOUND_CUT : QMP_FOUND_NOTHING;
	}
	if (p->skipping && c == '\n') {
		begin_anew(p);
		return QMP_FOUND_NOTHING;
	}
	if (p->depth == 0 && !begins) {
		bool known = p->garbage;

		if (is_blank(c) || known)
			return QMP_FOUND_NOTHING;
		p->garbage = true;
		return skip(p, QMP_FOUND_GARBAGE);
	}
	if (p->garbage)
		begin_anew(p);

	bool end = follow(p, c);

	if (p->skipping) {
		if (end)
			begin_anew(p);
		return QMP_FOUND_NOTHING;
	}
	if (p->depth > QMP_DEPTH_MAX)
		return skip(p, QMP_FOUND_TOO_DEEP);
	if (p->len == QMP_REQUEST_MAX)
		return skip(p, QMP_FOUND_TOO_LONG);
	if (!keep(p, c))
		return skip(p, QMP_FOUND_NO_MEMORY);
	p->complete = end;
	return end ? QMP_FOUND_VALUE : QMP_FOUND_NOTHING;
}

size_t qmp_parser_feed(struct qmp_parser *p, const char *data, size_t len, enum qmp_found *found)
{
	size_t n = 0;

	if (p->complete)
		begin_anew(p);
	*found = QMP_FOUND_NOTHING;
	while (n < len && *found == QMP_FOUND_NOTHING)
		*found = take(p, data[n++]);
	return n;
}
