/* SPDX-License-Identifier: MIT */
/*
 * A report: what a device or the machine says about itself, as one JSON object. Written field by
 * field; the writer keeps the commas and the escapes right. Names are plain ASCII literals; strings
 * may hold any bytes (what is not UTF-8 becomes U+FFFD).
 *
 * Running out of memory and exceeding REPORT_MAX bytes are remembered, not reported field by field:
 * report_finish tells.
 */
#ifndef CORE_REPORT_H
#define CORE_REPORT_H

#include "core/error.h"

#define REPORT_MAX (4 * MIB)

struct report;

/* Begin an object. NULL: out of memory; every function here takes a NULL report as a no-op. */
struct report *report_create(void);
/* End it: *json is the text, to be freed by the caller. Returns 0, -ENOMEM or -E2BIG. Frees r. */
int report_finish(struct report *r, char **json) MUST_CHECK;
void report_destroy(struct report *r);

/* name: NULL inside an array. */
void report_u64(struct report *r, const char *name, uint64_t value);
void report_bool(struct report *r, const char *name, bool value);
void report_string(struct report *r, const char *name, const char *value); /* NULL: null */
void report_begin(struct report *r, const char *name);                     /* object */
void report_end(struct report *r);
void report_begin_array(struct report *r, const char *name);
void report_end_array(struct report *r);

#endif
