/* SPDX-License-Identifier: MIT */
/* Taking numbers and bytes off a fuzzer's input. Past its end everything is 0. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <string.h>

#include "core/types.h"

struct input {
	const uint8_t *data;
	size_t left;
};

static inline size_t input_bytes(struct input *in, void *to, size_t len)
{
	size_t n = MIN(len, in->left);

	memset(to, 0, len);
	if (n)
		memcpy(to, in->data, n);
	in->data += n;
	in->left -= n;
	return n;
}

static inline uint64_t input_number(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	input_bytes(in, &v, bytes);
	return v;
}

static inline uint8_t input_u8(struct input *in)
{
	return (uint8_t)input_number(in, 1);
}

static inline uint16_t input_u16(struct input *in)
{
	return (uint16_t)input_number(in, 2);
}

#endif
