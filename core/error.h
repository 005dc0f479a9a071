/* SPDX-License-Identifier: MIT */
/*
 * Errors are values. Every function that can fail returns 0 or -errno. Functions that set something
 * up for a person also take a `struct vmm_error *` (defined in the public header) and fill it with
 * one sentence that names the option, the file and what to do. The pointer may be NULL.
 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include "core/types.h"

#include <vmm.h>

/*
 * Fill *err (when not NULL) with `code` and a formatted sentence.
 *
 * code: a positive errno value. Returns -code, so that callers can write
 * `return error_set(err, EINVAL, "...")`. Any thread.
 */
int error_set(struct vmm_error *err, int code, const char *fmt, ...) PRINTF(3, 4);

/* As error_set, with ": " and the description of the errno value appended. */
int error_set_errno(struct vmm_error *err, int code, const char *fmt, ...) PRINTF(3, 4);

/*
 * Put "<prefix>: " in front of the sentence that is already in *err. Returns -err->code; -EINVAL if
 * err is NULL, so a caller that must keep the code keeps it itself.
 */
int error_prefix(struct vmm_error *err, const char *fmt, ...) PRINTF(2, 3);

/* 0, or -EINVAL with a sentence if a program passed NULL for a text. what: "kernel". */
int error_unless_given(const char *text, const char *what, struct vmm_error *err) MUST_CHECK;

#endif
