/* SPDX-License-Identifier: MIT */
/*
 * What QEMU's clients call our devices and their options, in device_add. Our own names are always
 * taken as they are.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_machine.h"

struct name {
	const char *theirs, *ours;
};

static const struct name drivers[] = {
	{"scsi-hd", "scsi-disk"},
	{"virtconsole", "console-port"},
	{"virtio-balloon-pci", "virtio-balloon"},
	{"virtio-blk-pci", "virtio-blk"},
	{"virtio-net-pci", "virtio-net"},
	{"virtio-rng-pci", "virtio-rng"},
	{"virtio-scsi-pci", "virtio-scsi"},
	{"virtio-serial-pci", "virtio-serial"},
	{"virtserialport", "serial-port"},
};

static const struct name options[] = {
	{"logical_block_size", "logical-block-size"},
	{"physical_block_size", "physical-block-size"},
	{"scsi-id", "target"},
};

static void translate_options(json_t *args)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		json_t *value = json_object_get(args, options[i].theirs);

		/* Given twice, each under a name of its own: left for the options to refuse. */
		if (!value || json_object_get(args, options[i].ours))
			continue;
		json_object_set(args, options[i].ours, value);
		json_object_del(args, options[i].theirs);
	}
}

static bool is_device(struct vmm *vm, const char *id)
{
	bool found;

	pthread_mutex_lock(&vm->devices_lock);
	found = machine_find_id(vm, id);
	pthread_mutex_unlock(&vm->devices_lock);
	return found;
}

/* A bus is the device that it belongs to: "scsi0.0" is that of scsi0. The only PCI bus goes unsaid.
 */
static void translate_bus(struct qmp_call *call)
{
	const char *bus = call_string(call, "bus");
	size_t len = bus ? strlen(bus) : 0;

	if (len < 3 || strcmp(bus + len - 2, ".0") != 0 || is_device(call_vm(call), bus))
		return;
	if (!strcmp(bus, "pcie.0") || !strcmp(bus, "pci.0"))
		json_object_del(call->args, "bus");
	else
		json_object_set_new(call->args, "bus", json_stringn(bus, len - 2));
}

void translate_device(struct qmp_call *call)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strcmp(call_string(call, "driver"), drivers[i].theirs))
			json_object_set_new(call->args, "driver", json_string(drivers[i].ours));
	translate_options(call->args);
	translate_bus(call);
}
