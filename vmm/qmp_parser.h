/* SPDX-License-Identifier: MIT */
/*
 * Finds the requests in what a client sends: one value in several packets, several in one, garbage
 * in between. Only brackets and strings are looked at; whether a value is right JSON is for jansson
 * to say. What is too long or too deep is skipped and not kept.
 */
#ifndef VMM_QMP_PARSER_H
#define VMM_QMP_PARSER_H

#include "core/types.h"

enum qmp_found {
	QMP_FOUND_NOTHING, /* all was taken, more is needed */
	QMP_FOUND_VALUE,   /* in text, of `len` bytes, until the next call */
	QMP_FOUND_GARBAGE, /* something that begins no object; reported once for each run of it */
	QMP_FOUND_TOO_LONG,
	QMP_FOUND_TOO_DEEP,
	QMP_FOUND_CUT, /* a byte that no JSON has there; what was begun is forgotten */
	QMP_FOUND_NO_MEMORY,
};

/* All zero is the initial state. */
struct qmp_parser {
	char *text;
	size_t len, room;
	unsigned depth; /* open brackets */
	char quote;     /* of the text that is open; 0: none is */
	bool escaped;
	/*
	 * Something is left out: until its end, if it has one, and at most until the end of the
	 * line. Garbage: also until a bracket opens.
	 */
	bool skipping, garbage;
	bool complete; /* text is what was found last */
};

void qmp_parser_fini(struct qmp_parser *p);

/* Take bytes until something is found. Returns how many were taken. */
size_t qmp_parser_feed(struct qmp_parser *p, const char *data, size_t len, enum qmp_found *found);

#endif
