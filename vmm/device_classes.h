/* SPDX-License-Identifier: MIT */
/*
 * All device classes, in one explicit array. Help texts, conformance tests and fuzzers iterate it.
 */
#ifndef VMM_DEVICE_CLASSES_H
#define VMM_DEVICE_CLASSES_H

#include "core/device.h"

/* NULL-terminated. */
extern const struct device_class *const device_classes[];

/* The class of this name, or NULL. */
const struct device_class *device_class_find(const char *name);

/* The class name that is nearest to a mistyped one, or NULL. */
const char *device_class_nearest(const char *name);

#endif
