/* SPDX-License-Identifier: MIT */
#include "vmm/qmp_parser.h"

#include <stdlib.h>

#include "vmm/qmp.h"

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
	p->quote = 0;
	p->escaped = p->skipping = p->garbage = p->complete = false;
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

/*
 * QEMU also takes 'text', and \' in any text; people and scripts write that. JSON knows neither.
 * quote, escaped: as they were before c.
 */
static bool keep_as_json(struct qmp_parser *p, char c, char quote, bool escaped)
{
	if (c == '\'' && escaped) {
		p->text[p->len - 1] = c;
		return true;
	}
	if (c == '\'' && quote != '"')
		c = '"';
	else if (c == '"' && quote == '\'' && !escaped && !keep(p, '\\'))
		return false;
	return keep(p, c);
}

/* Follow brackets and strings. Returns true when the value that was begun is at its end. */
static bool follow(struct qmp_parser *p, char c)
{
	if (p->quote) {
		if (p->escaped)
			p->escaped = false;
		else if (c == '\\')
			p->escaped = true;
		else if (c == p->quote)
			p->quote = 0;
		return false;
	}
	if (c == '"' || c == '\'')
		p->quote = c;
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

/*
 * What JSON has nowhere, or not in a text: by this a client that has lost its place, or follows
 * one that did, has all forgotten that was begun. It counts on an answer.
 */
static bool breaks_off(const struct qmp_parser *p, char c)
{
	const uint8_t byte = (uint8_t)c;

	return byte >= 0xfe || (byte < 0x20 && (p->quote || !is_blank(c)));
}

static enum qmp_found take(struct qmp_parser *p, char c)
{
	const char quote = p->quote;
	const bool escaped = p->escaped, begins = !quote && (c == '{' || c == '[');

	if (p->skipping && c == '\n') {
		begin_anew(p);
		return QMP_FOUND_NOTHING;
	}
	if (breaks_off(p, c)) {
		begin_anew(p);
		return QMP_FOUND_CUT;
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
	/* One that becomes two: see keep_as_json. */
	if (p->len + (quote == '\'' && c == '"') >= QMP_REQUEST_MAX)
		return skip(p, QMP_FOUND_TOO_LONG);
	if (!keep_as_json(p, c, quote, escaped))
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
