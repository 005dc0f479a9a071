/* SPDX-License-Identifier: MIT */
/*
 * What a client of the control socket sends: however it is cut into packets, the same requests are
 * found, none is larger or deeper than allowed, and jansson copes with each.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp.h"
#include "vmm/qmp_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* A digest of what is found in `data`, given in packets of at most `step` bytes. */
static uint64_t digest(const char *data, size_t size, size_t step)
{
	struct qmp_parser p = {0};
	enum qmp_found found;
	uint64_t sum = 14695981039346656037u;

	for (size_t at = 0; at < size;) {
		size_t n = MIN(step, size - at);
		size_t taken = qmp_parser_feed(&p, data + at, n, &found);

		check(taken >= 1 && taken <= n);
		check(taken == n || found != QMP_FOUND_NOTHING);
		check(p.len <= QMP_REQUEST_MAX);
		at += taken;
		if (found == QMP_FOUND_NOTHING)
			continue;
		sum = (sum ^ found) * 1099511628211u;
		if (found != QMP_FOUND_VALUE)
			continue;
		check(p.text[0] == '{' || p.text[0] == '[');
		for (size_t i = 0; i < p.len; i++)
			sum = (sum ^ (uint8_t)p.text[i]) * 1099511628211u;
		json_decref(json_loadb(p.text, p.len, JSON_REJECT_DUPLICATES, NULL));
	}
	qmp_parser_fini(&p);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole = digest((const char *)data, size, size);

	check(digest((const char *)data, size, 1) == whole);
	check(digest((const char *)data, size, 7) == whole);
	return 0;
}
