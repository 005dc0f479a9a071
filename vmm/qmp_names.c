/* SPDX-License-Identifier: MIT */
/*
 * What QEMU's clients call our devices and their options, in device_add. Our own names are always
 * taken as they are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/device_classes.h"
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

/* ---- what goes unsaid here ---- */

static bool is_number(const char *text)
{
	char *end;

	errno = 0;
	(void)strtoll(text, &end, 10);
	return end != text && !*end && !errno;
}

static bool is_zero(const char *text)
{
	return is_number(text) && strtoll(text, NULL, 10) == 0;
}

static bool is_text(const char *text UNUSED)
{
	return true;
}

static bool is_on(const char *text)
{
	return !strcmp(text, "on") || !strcmp(text, "auto");
}

/* A slot and perhaps a function, in hexadecimal: "0x3", "03.0". */
static bool is_pci_address(const char *text)
{
	unsigned slot, function = 0;
	int slot_end = 0, end = 0;

	if (sscanf(text, "%4x%n.%1u%n", &slot, &slot_end, &function, &end) < 1)
		return false;
	return !text[end ? end : slot_end] && slot < PCI_MAX_SLOTS && function < PCI_MAX_FUNCTIONS;
}

static bool is_pci(const struct device_class *cls)
{
	return cls->kind == DEVICE_VIRTIO;
}

static bool is_scsi(const struct device_class *cls)
{
	return !strcmp(cls->name, "scsi-disk") || !strcmp(cls->name, "scsi-cd");
}

static bool is_disk(const struct device_class *cls)
{
	return is_scsi(cls) || !strcmp(cls->name, "virtio-blk");
}

static bool boots(const struct device_class *cls)
{
	return is_disk(cls) || !strcmp(cls->name, "virtio-net");
}

/*
 * Properties that clients give though they have no meaning here, or one value alone. Those that
 * lose something by it are among the `features` of device_add.
 */
static const struct unsaid {
	const char *name;
	bool (*of)(const struct device_class *cls);
	bool (*accepts)(const char *text);
	const char *only; /* what it accepts, in words */
} unsaid[] = {
	{"addr", is_pci, is_pci_address, "a PCI slot such as 0x3 or 03.0"},
	{"bootindex", boots, is_number, "a number"},
	{"channel", is_scsi, is_zero, "0: there is one channel"},
	{"device_id", is_scsi, is_text, "a text"},
	{"write-cache", is_disk, is_on, "on, auto"},
};

static int leave_out(struct qmp_call *call, const struct unsaid *u)
{
	const json_t *value = json_object_get(call->args, u->name);
	const long long integer = json_integer_value(value);
	const char *text = json_string_value(value);
	char number[40];

	if (!value)
		return 0;
	if (json_is_integer(value) && u->accepts == is_pci_address) {
		/* As a number it is slot and function in a byte. */
		snprintf(number, sizeof(number), "%llx.%lld", integer >> 3, integer & 7);
		text = number;
	} else if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", integer);
		text = number;
	}
	if (!text || !u->accepts(text))
		return error_set(&call->err, EINVAL, "Parameter '%s' accepts only %s", u->name,
				 u->only);
	json_object_del(call->args, u->name);
	return 0;
}

static int leave_out_unsaid(struct qmp_call *call)
{
	const struct device_class *cls = device_class_find(call_string(call, "driver"));
	int rc = 0;

	for (size_t i = 0; cls && !rc && i < ARRAY_SIZE(unsaid); i++)
		if (unsaid[i].of(cls))
			rc = leave_out(call, &unsaid[i]);
	return rc;
}

int translate_device(struct qmp_call *call)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strcmp(call_string(call, "driver"), drivers[i].theirs))
			json_object_set_new(call->args, "driver", json_string(drivers[i].ours));
	translate_options(call->args);
	translate_bus(call);
	return leave_out_unsaid(call);
}
