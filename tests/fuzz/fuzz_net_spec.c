/* SPDX-License-Identifier: MIT */
/* Specs of packet backends: whatever is typed, it is taken or gives a sentence. */
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct vmm_error err = {0};
	int r;

	if (!text)
		abort();
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	r = net_check(text, "--net", &err);
	if (r && (r != -err.code || strncmp(err.message, "--net", 5) != 0))
		abort();
	free(text);
	return 0;
}
