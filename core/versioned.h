/* SPDX-License-Identifier: MIT */
/*
 * Structs of include/vmm.h that carry their size, a size_t that is their first member: they may
 * grow, and programs that were compiled against an older or a newer header work with this library.
 */
#ifndef CORE_VERSIONED_H
#define CORE_VERSIONED_H

#include "core/error.h"

/* The size that a struct had when `last` was its last member. */
#define VERSIONED_SIZE(type, last) (offsetof(type, last) + sizeof(((type *)0)->last))

/*
 * Copy what a program has given into the struct of `known` bytes that this library has; members
 * that the program does not know are zero. least: what the first version had. type: "struct …".
 * -EINVAL: it is smaller than that, or sets a member that this library does not know.
 */
int versioned_copy(void *own, size_t known, const void *given, size_t least, const char *type,
		   struct vmm_error *err) MUST_CHECK;

#endif
