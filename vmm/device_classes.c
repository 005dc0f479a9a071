/* SPDX-License-Identifier: MIT */
#include "vmm/device_classes.h"

#include <errno.h>
#include <string.h>

#include "devices/devices.h"
#include "virtio/virtio_classes.h"

/* One a line: each new device touches one. */
/* clang-format off */
const struct device_class *const device_classes[] = {
	&acpi_pm_class,
	&console_port_class,
	&debug_exit_class,
	&i8042_class,
	&ioapic_class,
	&isa_serial_class,
	&pvpanic_class,
	&rtc_cmos_class,
	&scsi_cd_class.device,
	&scsi_disk_class.device,
	&serial_port_class,
	&virtio_balloon_class.device,
	&virtio_blk_class.device,
	&virtio_net_class.device,
	&virtio_rng_class.device,
	&virtio_scsi_class.device,
	&virtio_serial_class.device,
	NULL,
};
/* clang-format on */

_Static_assert(ARRAY_SIZE(device_classes) <= DEVICE_CLASSES_MAX, "DEVICE_CLASSES_MAX");

const struct device_class *device_class_find(const char *name)
{
	for (unsigned i = 0; device_classes[i]; i++)
		if (same_name(device_classes[i]->name, name))
			return device_classes[i];
	return NULL;
}

static const char *nearest_class(const char *name)
{
	const char *names[ARRAY_SIZE(device_classes)] = {0};
	unsigned n = 0;

	for (unsigned i = 0; device_classes[i]; i++)
		if (!device_classes[i]->builtin)
			names[n++] = device_classes[i]->name;
	return nearest_name(name, names);
}

const struct device_class *device_class_get(const char *name, struct vmm_error *err)
{
	const struct device_class *cls = device_class_find(name);
	const char *near = cls ? NULL : nearest_class(name);

	if (!cls)
		error_set(err, EINVAL, "there is no device \"%s\"%s%s%s", name,
			  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return cls;
}
