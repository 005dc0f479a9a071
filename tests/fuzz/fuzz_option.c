/* SPDX-License-Identifier: MIT */
/* Option texts: whatever is typed, it parses or gives a sentence, and nothing is left allocated. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct opts {
	char *path, *serial, **forwards;
	bool readonly;
	uint64_t queues, size;
	int cache;
};

static const char *const caches[] = {"writeback", "none", NULL};

/* clang-format off */
static const struct option_desc table[] = {
	{.name = "path", .type = OPTION_STRING, .offset = offsetof(struct opts, path)},
	{.name = "serial", .type = OPTION_STRING, .offset = offsetof(struct opts, serial),
	 .fallback = "vmm"},
	{.name = "readonly", .type = OPTION_BOOL, .offset = offsetof(struct opts, readonly)},
	{.name = "queues", .type = OPTION_UINT, .offset = offsetof(struct opts, queues),
	 .fallback = "1", .min = 1, .max = 16},
	{.name = "size", .type = OPTION_SIZE, .offset = offsetof(struct opts, size)},
	{.name = "cache", .type = OPTION_ENUM, .offset = offsetof(struct opts, cache),
	 .values = caches},
	{.name = "forward", .type = OPTION_LIST, .offset = offsetof(struct opts, forwards)},
	OPTION_END,
};
/* clang-format on */

/* What is taken out is gone, and what is left can be read as before. */
static void take(const char *text)
{
	struct vmm_error err = {0};
	char *value, *rest, *again, *same;

	if (options_take(text, "--disk", "path", &value, &rest, &err)) {
		if (err.code != EINVAL || !err.message[0] || value || rest)
			abort();
		return;
	}
	if (strlen(rest) > strlen(text) ||
	    options_take(rest, "--disk", "path", &again, &same, &err) || again ||
	    strcmp(same, rest))
		abort();
	free(same);
	free(value);
	free(rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct vmm_error err = {0};
	struct opts o;

	if (!text)
		abort();
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	take(text);
	if (options_parse(table, "--disk", size & 1 ? "path" : NULL, text, &o, &err)) {
		if (err.code != EINVAL || !err.message[0] || o.path || o.serial || o.forwards)
			abort();
	} else {
		if (o.queues < 1 || o.queues > 16 || (unsigned)o.cache > 1)
			abort();
		for (unsigned n = 0; o.forwards && o.forwards[n]; n++)
			if (n == OPTION_LIST_MAX)
				abort();
		options_free(table, &o);
	}
	free(text);
	return 0;
}
