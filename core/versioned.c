/* SPDX-License-Identifier: MIT */
#include "core/versioned.h"

#include <errno.h>
#include <string.h>

int versioned_copy(void *own, size_t known, const void *given, size_t least, const char *type,
		   struct vmm_error *err)
{
	const uint8_t *bytes = given;
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size < least)
		return error_set(err, EINVAL, "%s has a size of %zu: set it to sizeof(%s)", type,
				 size, type);
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return error_set(err, EINVAL,
					 "%s has members that this library (%s) does not know",
					 type, VMM_VERSION);
	memset(own, 0, known);
	memcpy(own, given, MIN(size, known));
	return 0;
}
