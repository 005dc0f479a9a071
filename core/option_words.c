/* SPDX-License-Identifier: MIT */
/*
 * Single words of options: numbers, sizes, and the name that was probably meant.
 */
#include "core/option.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* ---- numbers ---- */

/* Not of ctype.h: what a digit is must not depend on the locale. 16: it is none. */
static unsigned digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10;
	return 16;
}

/* Digits from *text on; *text is left at the first character that is none. */
static int parse_digits(const char **text, uint64_t *value)
{
	const char *p = *text, *first;
	unsigned base = 10;
	uint64_t v = 0;

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	for (first = p; digit(*p) < base; p++)
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit(*p), &v))
			return -ERANGE;
	if (p == first)
		return -EINVAL;
	*text = p;
	*value = v;
	return 0;
}

int parse_uint(const char *text, uint64_t *value)
{
	uint64_t v;
	int r = parse_digits(&text, &v);

	if (r)
		return r;
	if (*text)
		return -EINVAL;
	*value = v;
	return 0;
}

int parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t v;
	int r = parse_digits(&text, &v);

	if (r)
		return r;
	if (*text) {
		unit = strchr(units, toupper((unsigned char)*text));
		if (!unit || text[1])
			return -EINVAL;
		if (__builtin_mul_overflow(v, UINT64_C(1) << (10 * (unit - units + 1)), &v))
			return -ERANGE;
	}
	*bytes = v;
	return 0;
}

/* ---- suggestions ---- */

#define WORD_MAX 63

/*
 * Edit distance without regard to case: insert, delete, replace, swap of neighbours (optimal string
 * alignment). Three rows suffice: this one, the last, and for swaps the one before.
 */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1], *row = rows[0], *last = rows[1], *before = rows[2];
	size_t n = strlen(a), m = strlen(b);

	if (n > WORD_MAX || m > WORD_MAX)
		return UINT32_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *t = before;

		before = last;
		last = row;
		row = t;
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			int x = tolower((unsigned char)a[i - 1]);
			int y = tolower((unsigned char)b[j - 1]);

			row[j] = MIN(last[j] + 1, row[j - 1] + 1);
			row[j] = MIN(row[j], last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
			    y == tolower((unsigned char)a[i - 2]))
				row[j] = MIN(row[j], before[j - 2] + 1);
		}
	}
	return row[m];
}

static bool begins_as(const char *word, const char *name)
{
	return tolower((unsigned char)*word) == tolower((unsigned char)*name);
}

const char *nearest_name(const char *word, const char *const *names)
{
	/* One slip in three characters; more and the suggestion is a guess. */
	unsigned limit = (unsigned)((strlen(word) + 2) / 3), best = limit + 1;
	const char *nearest = NULL;

	for (; *names; names++) {
		unsigned d = edit_distance(word, *names);

		/* Of two that are as near: few slips are in the first letter. */
		if ((d < best || (d == best && nearest && !begins_as(word, nearest) &&
				  begins_as(word, *names))) &&
		    d < strlen(*names)) {
			best = d;
			nearest = *names;
		}
	}
	return nearest;
}
