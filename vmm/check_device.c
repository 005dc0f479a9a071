/* SPDX-License-Identifier: MIT */
/*
 * Checking the options of a device without a VM.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/device_classes.h"

int vmm_check_device(const char *name, const char *options, const char *what, struct vmm_error *err)
{
	static const struct option_desc none[] = {OPTION_END};
	const struct device_class *cls = device_class_find(name);
	const struct option_desc *table = cls && cls->options ? cls->options : none;
	void *scratch;
	int r;

	if (!cls)
		return error_set(err, EINVAL, "%s: there is no device \"%s\"", what, name);
	scratch = calloc(1, cls->size);
	if (!scratch)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	r = options_parse(table, what, NULL, options, scratch, err);
	if (!r)
		options_free(table, scratch);
	free(scratch);
	return r;
}
