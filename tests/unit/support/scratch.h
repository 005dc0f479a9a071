/* SPDX-License-Identifier: MIT */
/*
 * For tests of code that reads and writes files and that prints: a folder of the test's own, and
 * what was printed.
 */
#ifndef SUPPORT_SCRATCH_H
#define SUPPORT_SCRATCH_H

#include <stddef.h>

/* .init and .fini of a test suite. */
void scratch_make(void);
void scratch_remove(void);

/* The path of `name` in the folder. Allocated as all of the command's memory. */
char *scratch_path(const char *name);
/* The same, with a file there that has this content; folders above it are made. */
char *scratch_file(const char *name, const void *data, size_t size);
char *scratch_text(const char *name, const char *text);
/* The content of a file, with a zero behind it. */
char *scratch_read(const char *path, size_t *size);

/* From here on, what goes to the descriptor fd (1 or 2) is kept; one at a time. */
void capture_begin(int fd);
/* No longer; returns what came. */
const char *capture_end(void);

#endif
