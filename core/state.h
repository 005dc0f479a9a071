/* SPDX-License-Identifier: MIT */
/*
 * Saved state: named, versioned sections of named fields. A device saves fields one by one; it
 * loads by parse, validate, commit, and treats the input as untrusted.
 *
 * On the wire, little-endian, without padding:
 *
 *     section  'S', name, u32 version, u64 byte length, then that many bytes of fields and sections
 *     number   'U', name, u64
 *     bytes    'B', name, u64 length, bytes
 *     name     u8 length (1 to 63), characters
 *
 * Order is fixed. Unknown fields in a section of a known version are an error; so is a field that
 * is absent (a reader that has a default for it asks state_next_is first). Byte layout is
 * canonical: save, load, save gives equal bytes.
 *
 * A reader function that fails has changed neither the reader nor what it points to.
 */
#ifndef CORE_STATE_H
#define CORE_STATE_H

#include "core/error.h"

struct state_writer; /* grows in memory */
struct state_reader; /* reads from a buffer that it does not own */

/*
 * Never fails outright: an allocation error, here too, is remembered and reported by
 * state_writer_finish. So every writer function takes NULL.
 */
struct state_writer *state_writer_create(void);
/* Hand over the bytes (malloc'ed, the caller frees) and destroy the writer. 0 or -ENOMEM. */
int state_writer_finish(struct state_writer *w, void **data, size_t *len) MUST_CHECK;
void state_writer_destroy(struct state_writer *w);

/* Sections may nest, 16 deep. name: 1 to 63 bytes, copied. version: 1 and up. */
void state_begin(struct state_writer *w, const char *name, uint32_t version);
void state_end(struct state_writer *w);
void state_put_u64(struct state_writer *w, const char *name, uint64_t v);
void state_put_bytes(struct state_writer *w, const char *name, const void *data, size_t len);

int state_reader_create(struct state_reader **r, const void *data, size_t len) MUST_CHECK;
void state_reader_destroy(struct state_reader *r);

/*
 * Enter the next section, which must be `name`; its version is returned and must be in 1..max.
 * Returns 0, -EPROTO (malformed or another name), -ENOTSUP (version).
 */
int state_enter(struct state_reader *r, const char *name, uint32_t max,
		uint32_t *version) MUST_CHECK;
/* Whether the next field or section has this name / nothing is left in the section (or input). */
bool state_next_is(const struct state_reader *r, const char *name);
bool state_at_end(const struct state_reader *r);
/* Leave the section; -EPROTO if fields or sections in it were not read. */
int state_leave(struct state_reader *r) MUST_CHECK;

/* Read the next field, which must be `name`; value within min..max. 0, -EPROTO or -ERANGE. */
int state_get_u64(struct state_reader *r, const char *name, uint64_t *v, uint64_t min,
		  uint64_t max) MUST_CHECK;
/* Bytes of exactly `len` / of at most `max` (length returned). 0, -EPROTO or -ERANGE (length). */
int state_get_bytes(struct state_reader *r, const char *name, void *data, size_t len) MUST_CHECK;
int state_get_blob(struct state_reader *r, const char *name, void *data, size_t max,
		   size_t *len) MUST_CHECK;

#endif
