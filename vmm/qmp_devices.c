/* SPDX-License-Identifier: MIT */
/*
 * Commands of the control socket about devices other than disks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtio.h"
#include "vmm/qmp_machine.h"

/* ---- coming and going ---- */

int run_device_add(struct qmp_call *call)
{
	static const char *const without[] = {"driver", NULL};
	char *options;
	int rc;

	rc = translate_device(call);
	if (rc)
		return rc;
	options = options_of(call, call->args, without);
	if (!options)
		return -call->err.code;
	rc = vmm_add_device(call_vm(call), call_string(call, "driver"), options, &call->err);
	free(options);
	return rc;
}

int run_device_del(struct qmp_call *call)
{
	const char *id = call_string(call, "id");
	int rc;

	/* Others write a path where they have one: "/machine/peripheral/ID". */
	if (strrchr(id, '/'))
		id = strrchr(id, '/') + 1;
	if (!call_class(call, id))
		return -ENOENT;
	rc = call_bool(call, "force", false) ? vmm_pull_device(call_vm(call), id, &call->err)
					     : vmm_remove_device(call_vm(call), id, &call->err);
	return MIN(rc, 0); /* DEVICE_DELETED tells when a guest that was asked has let go */
}

/* ---- any device ---- */

int run_vmm_devices(struct qmp_call *call)
{
	call->result = call_devices(call);
	return call->result ? 0 : -ENOMEM;
}

int run_vmm_action(struct qmp_call *call)
{
	json_t *given = json_object_get(call->args, "options");
	char *options = NULL;
	int rc;

	if (json_is_object(given)) {
		options = options_of(call, given, NULL);
		if (!options)
			return -call->err.code;
	} else if (given && !json_is_string(given)) {
		return error_set(&call->err, EINVAL,
				 "Parameter 'options' must be an object or a string");
	}
	rc = call_action(call, call_string(call, "id"), call_string(call, "action"),
			 options ? options : json_string_value(given), &call->result);
	free(options);
	return rc;
}

/* ---- network ---- */

int run_set_link(struct qmp_call *call)
{
	const char *id = call_string(call, "name");
	const struct device_class *cls = call_class(call, id);

	if (!cls)
		return -ENOENT;
	if (strcmp(cls->name, "virtio-net") != 0)
		return error_set(&call->err, EINVAL, "%s: a %s is no network card", id, cls->name);
	return call_action(call, id, "link",
			   call_bool(call, "up", true) ? "state=up" : "state=down", NULL);
}

static json_t *describe_filter(const char *id, const json_t *status)
{
	json_t *filter = json_deep_copy(json_object_get(status, "filter"));

	json_object_set_new(filter, "name", json_string(id));
	json_object_set(filter, "main-mac", json_object_get(status, "mac"));
	return filter;
}

int run_query_rx_filter(struct qmp_call *call)
{
	const char *only = call_string(call, "name");
	json_t *devices, *device, *status;
	size_t i;
	int rc = 0;

	if (only && !call_class(call, only))
		return -ENOENT;
	devices = call_devices(call);
	if (!devices)
		return -ENOMEM;
	call->result = json_array();
	json_array_foreach(devices, i, device)
	{
		const char *id = device_string(device, "id");

		if (strcmp(device_string(device, "class"), "virtio-net") != 0 ||
		    (only && strcmp(only, id) != 0))
			continue;
		rc = call_action(call, id, "status", NULL, &status);
		if (rc)
			break;
		json_array_append_new(call->result, describe_filter(id, status));
		json_decref(status);
	}
	if (rc == 0 && only && json_array_size(call->result) == 0)
		rc = error_set(&call->err, EINVAL, "%s has no receive filter", only);
	json_decref(devices);
	return rc;
}

/* ---- the balloon ---- */

static int balloon_action(struct qmp_call *call, const char *action, const char *options,
			  json_t **result)
{
	json_t *devices = call_devices(call), *device;
	int rc = -ENODEV;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		if (strcmp(device_string(device, "class"), "virtio-balloon") != 0)
			continue;
		rc = call_action(call, device_string(device, "id"), action, options, result);
		break;
	}
	json_decref(devices);
	if (rc == -ENODEV) {
		call->failure = "DeviceNotActive";
		error_set(&call->err, ENODEV, "No balloon device has been activated");
	}
	return rc;
}

int run_balloon(struct qmp_call *call)
{
	char options[32];

	snprintf(options, sizeof(options), "size=%lld", (long long)call_int(call, "value"));
	return balloon_action(call, "target", options, NULL);
}

int run_query_balloon(struct qmp_call *call)
{
	json_t *status;
	int rc = balloon_action(call, "status", NULL, &status);

	if (rc)
		return rc;
	call->result = json_pack("{s:O}", "actual", json_object_get(status, "actual"));
	json_decref(status);
	return 0;
}

/* ---- character devices ---- */

/* A terminal is told by its path, as QEMU does. */
static json_t *describe_chardev(const char *label, const json_t *status, bool open)
{
	const char *place = json_string_value(json_object_get(status, "chardev"));

	return json_pack("{s:s,s:s+,s:b}", "label", label, "filename",
			 place && *place == '/' ? "pty:" : "", place ? place : "none",
			 "frontend-open", open);
}

static bool has_chardev(const json_t *device)
{
	const char *cls = device_string(device, "class");

	return !strcmp(cls, "serial-port") || !strcmp(cls, "console-port") ||
	       !strcmp(cls, "isa-serial");
}

static json_t *find_label(const json_t *chardevs, const char *label)
{
	json_t *chardev;
	size_t i;

	json_array_foreach(chardevs, i, chardev)
	{
		if (!strcmp(device_string(chardev, "label"), label))
			return chardev;
	}
	return NULL;
}

/* A device's own is known by the device's id; of one with a name we learn who has it open. */
static void add_device_chardev(json_t *chardevs, const char *id, const json_t *status)
{
	const char *name = json_string_value(json_object_get(status, "chardev-id"));
	const json_t *guest = json_object_get(status, "guest-open");
	bool open = !guest || json_is_true(guest); /* what has no notion of being open is */
	json_t *named = name ? find_label(chardevs, name) : NULL;

	if (named)
		json_object_set_new(named, "frontend-open", json_boolean(open));
	else if (!name)
		json_array_append_new(chardevs, describe_chardev(id, status, open));
}

static int list_named(struct qmp_call *call, json_t *chardevs)
{
	json_t *list = call_backends(call, BACKEND_CHARDEV), *named;
	size_t i;

	if (!list)
		return -ENOMEM;
	json_array_foreach(list, i, named)
	{
		json_array_append_new(chardevs, describe_chardev(device_string(named, "chardev-id"),
								 named, false));
	}
	json_decref(list);
	return 0;
}

int run_query_chardev(struct qmp_call *call)
{
	json_t *devices = call_devices(call), *device, *status;
	size_t i;
	int rc;

	if (!devices)
		return -ENOMEM;
	call->result = json_array();
	rc = list_named(call, call->result);
	json_array_foreach(devices, i, device)
	{
		const char *id = device_string(device, "id");

		/* One that has gone meanwhile is not there. */
		if (rc || !has_chardev(device) || call_action(call, id, "status", NULL, &status))
			continue;
		add_device_chardev(call->result, id, status);
		json_decref(status);
	}
	json_decref(devices);
	return rc;
}

/* ---- PCI ---- */

static const char *id_at(struct vmm *vm, unsigned devfn)
{
	list_for_each (it, &vm->devices) {
		struct machine_device *md = list_entry(it, struct machine_device, link);

		if (md->pci && virtio_pci_devfn(md->pci) == devfn)
			return md->dev->id;
	}
	return "";
}

/* address: -1 while the guest has not enabled it. */
static json_t *describe_bar(unsigned index, const struct pci_bar_state *bar)
{
	bool io = bar->type == PCI_BAR_IO;
	json_t *region =
		json_pack("{s:i,s:s,s:I,s:I}", "bar", (int)index, "type", io ? "io" : "memory",
			  "address", bar->mapped ? (json_int_t)bar->address : (json_int_t)-1,
			  "size", (json_int_t)bar->size);

	if (!io)
		json_object_update_new(region,
				       json_pack("{s:b,s:b}", "prefetch", bar->prefetchable,
						 "mem_type_64", bar->type == PCI_BAR_MEM64));
	return region;
}

static json_t *describe_bars(struct vmm *vm, unsigned devfn)
{
	json_t *regions = json_array();
	struct pci_bar_state bar;

	for (unsigned i = 0; i < PCI_BARS; i++)
		if (pci_bar_query(vm->pci, devfn, i, &bar))
			json_array_append_new(regions, describe_bar(i, &bar));
	return regions;
}

static json_t *describe_function(struct vmm *vm, unsigned devfn)
{
	uint32_t ids = pci_config_read(vm->pci, devfn, PCI_VENDOR_ID, 4);
	uint32_t class = pci_config_read(vm->pci, devfn, PCI_CLASS_DEVICE, 2);
	uint32_t subsystem = pci_config_read(vm->pci, devfn, PCI_SUBSYSTEM_VENDOR_ID, 4);
	uint32_t irq = pci_config_read(vm->pci, devfn, PCI_INTERRUPT_LINE, 1);
	uint32_t pin = pci_config_read(vm->pci, devfn, PCI_INTERRUPT_PIN, 1);
	json_t *function;

	function = json_pack("{s:i,s:i,s:i,s:{s:i},s:{s:i,s:i,s:i,s:i},s:i,s:s,s:o}", "bus", 0,
			     "slot", (int)(devfn >> 3), "function", (int)(devfn & 7), "class_info",
			     "class", (int)class, "id", "device", (int)(ids >> 16), "vendor",
			     (int)(ids & 0xffff), "subsystem", (int)(subsystem >> 16),
			     "subsystem-vendor", (int)(subsystem & 0xffff), "irq_pin", (int)pin,
			     "qdev_id", id_at(vm, devfn), "regions", describe_bars(vm, devfn));
	if (pin)
		json_object_set_new(function, "irq", json_integer(irq));
	return function;
}

int run_query_pci(struct qmp_call *call)
{
	struct vmm *vm = call_vm(call);
	json_t *functions = json_array();

	pthread_mutex_lock(&vm->devices_lock);
	for (unsigned devfn = 0; devfn < PCI_MAX_SLOTS * PCI_MAX_FUNCTIONS; devfn++)
		if ((pci_config_read(vm->pci, devfn, 0x00, 2) & 0xffff) != 0xffff)
			json_array_append_new(functions, describe_function(vm, devfn));
	pthread_mutex_unlock(&vm->devices_lock);
	call->result = json_pack("[{s:i,s:o}]", "bus", 0, "devices", functions);
	return 0;
}
