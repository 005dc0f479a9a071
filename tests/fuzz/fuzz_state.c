/* SPDX-License-Identifier: MIT */
/*
 * Saved state from a hostile file. The first byte says how many calls of the reader follow, each
 * driven by one byte; the rest is the file.
 */
#include <stdlib.h>
#include <string.h>

#include "core/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"a", "bc", "disk0", "section-with-a-rather-long-name"};

static void step(struct state_reader *r, uint8_t byte)
{
	const char *name = names[byte & 3];
	unsigned char buf[64];
	uint32_t version;
	uint64_t v;
	size_t n;
	int code;

	switch (byte >> 2 & 7) {
	case 0:
	case 1:
		code = state_enter(r, name, byte >> 5, &version);
		if (!code && (version == 0 || version > byte >> 5))
			abort();
		break;
	case 2:
		(void)!state_leave(r);
		break;
	case 3:
		code = state_get_u64(r, name, &v, byte, 1000);
		if (!code && (v < byte || v > 1000))
			abort();
		break;
	case 4:
		(void)!state_get_bytes(r, name, buf, byte & 63);
		break;
	case 5:
		code = state_get_blob(r, name, buf, sizeof(buf), &n);
		if (!code && n > sizeof(buf))
			abort();
		break;
	default:
		(void)state_next_is(r, name);
		(void)state_at_end(r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_reader *r;
	size_t steps;
	void *file;

	if (size == 0 || size - 1 < data[0])
		return 0;
	steps = data[0];
	/* A copy of its exact size, so that the sanitizer sees the first byte too many. */
	size -= 1 + steps;
	file = malloc(size ? size : 1);
	if (!file || state_reader_create(&r, file, size))
		abort();
	memcpy(file, data + 1 + steps, size);
	for (size_t i = 0; i < steps; i++)
		step(r, data[1 + i]);
	state_reader_destroy(r);
	free(file);
	return 0;
}
