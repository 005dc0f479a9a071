/* SPDX-License-Identifier: MIT */
/*
 * Typed option tables. One table drives parsing, defaults, --help, the documentation and the
 * conformance tests: `key=value,key=value,…` as QEMU writes it ("a,b" inside a value is written
 * "a,,b"; a lone `key` is `key=on` for a boolean).
 */
#ifndef CORE_OPTION_H
#define CORE_OPTION_H

#include "core/error.h"

enum option_type {
	OPTION_BOOL,   /* bool: on|off|yes|no|true|false */
	OPTION_UINT,   /* uint64_t: decimal or 0x hexadecimal, within min..max */
	OPTION_SIZE,   /* uint64_t bytes: a number with an optional K, M, G or T (binary) suffix */
	OPTION_STRING, /* char *, not to be written to: allocated, or the default where it stands;
			  NULL when not given and without default */
	OPTION_ENUM,   /* int: index into `values` */
	OPTION_LIST,   /* char **, allocated, NULL-terminated: text that may be given several times;
			  NULL when not given */
};

struct option_desc {
	const char *name; /* NULL ends the table */
	enum option_type type;
	size_t offset;             /* of the field in the options struct */
	const char *fallback;      /* default, as text; NULL: zero / not given */
	uint64_t min, max;         /* for UINT and SIZE; max 0: no limit */
	const char *const *values; /* for ENUM: names, NULL-terminated */
	const char *help;          /* one line */
	bool required;
	const char *unless; /* of what is required: not where this option is given; or NULL */
};

#define OPTION_LIST_MAX 64 /* values of one OPTION_LIST */

#define OPTION_END           \
	{                    \
		.name = NULL \
	}

/*
 * Set every field to its default, then parse `text` (may be NULL or empty) into `out`.
 *
 * what: how messages name the thing ("--disk", "device virtio-blk"). implied: the name of the
 * option that a first item without `=` sets (`--disk root.img` = `--disk path=root.img`), or NULL.
 * Unknown names, bad values, duplicates (but of an OPTION_LIST) and missing required options give
 * -EINVAL and a sentence that names the option, the value and the possible ones, with "did you
 * mean" where one is near. On error nothing is left allocated.
 */
int options_parse(const struct option_desc *table, const char *what, const char *implied,
		  const char *text, void *out, struct vmm_error *err) MUST_CHECK;

/* Free the strings and lists that options_parse allocated and set them to NULL. */
void options_free(const struct option_desc *table, void *out);

/*
 * Take the item "name=value" out of `text` ("key=value,…"; may be NULL): *value is its value, NULL
 * if it is not there, *rest what is left for options_parse. Both are the caller's to free. Errors:
 * -EINVAL with a sentence (given twice, without a value, nothing beside a comma), -ENOMEM; then
 * both are NULL.
 */
int options_take(const char *text, const char *what, const char *name, char **value, char **rest,
		 struct vmm_error *err) MUST_CHECK;

/* Parse one size ("512M", "4G", "65536"). Returns 0 or -EINVAL (-ERANGE on overflow). */
int parse_size(const char *text, uint64_t *bytes) MUST_CHECK;

/* Parse a whole decimal or 0x number. Returns 0, -EINVAL or -ERANGE. */
int parse_uint(const char *text, uint64_t *value) MUST_CHECK;

/*
 * The nearest of `names` to `word` by edit distance, or NULL if none is near enough to suggest.
 * names: NULL-terminated.
 */
const char *nearest_name(const char *word, const char *const *names);

/*
 * The end of a sentence about a word that is none of `names` (at least one): `; did you mean "x"?
 * Possible: x, y`.
 */
void describe_choices(char *buf, size_t size, const char *word, const char *const *names);

#endif
