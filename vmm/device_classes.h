/* SPDX-License-Identifier: MIT */
/*
 * All device classes, in one explicit array. Help texts, conformance tests and fuzzers iterate it.
 */
#ifndef VMM_DEVICE_CLASSES_H
#define VMM_DEVICE_CLASSES_H

#include "core/device.h"

/* NULL-terminated. */
extern const struct device_class *const device_classes[];
#define DEVICE_CLASSES_MAX 64

/* The class of this name, or NULL. */
const struct device_class *device_class_find(const char *name);

/* As device_class_find; if there is none, a sentence with a suggestion. */
const struct device_class *device_class_get(const char *name, struct vmm_error *err);

#endif
