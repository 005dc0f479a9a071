/* SPDX-License-Identifier: MIT */
/*
 * The public functions about devices: those of a VM, and what the classes can tell without one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/chardev.h"
#include "net/net.h"
#include "virtio/virtio.h"
#include "vmm/machine.h"

/* ---- the devices of a VM ---- */

int vmm_add_device(struct vmm *vm, const char *cls, const char *options, struct vmm_error *err)
{
	const struct device_class *found;

	if (error_unless_given(cls, "class of a device", err))
		return -EINVAL;
	found = device_class_get(cls, err);
	return found ? machine_plug(vm, found, options, err) : -EINVAL;
}

static int unplug(struct vmm *vm, const char *id, bool pull, struct vmm_error *err)
{
	int ret = error_unless_given(id, "id of a device", err);

	return ret < 0 ? ret : machine_unplug(vm, id, pull, err);
}

int vmm_remove_device(struct vmm *vm, const char *id, struct vmm_error *err)
{
	return unplug(vm, id, false, err);
}

int vmm_pull_device(struct vmm *vm, const char *id, struct vmm_error *err)
{
	return unplug(vm, id, true, err);
}

static int finish_report(struct report *report, char **json, struct vmm_error *err)
{
	int ret = report_finish(report, json);

	if (ret < 0)
		return error_set_errno(err, -ret, "the answer cannot be given");
	return 0;
}

static int locked_action(struct vmm *vm, const char *id, const char *action, const char *options,
			 struct report *report, struct vmm_error *err)
{
	struct machine_device *md;
	int ret = machine_lock_devices(vm, err);

	if (ret < 0)
		return ret;
	md = machine_find_id(vm, id);
	ret = md ? device_action(md->dev, action, options, report, err)
		 : machine_no_device(vm, id, err);
	machine_unlock_devices(vm);
	return ret;
}

int vmm_device_action(struct vmm *vm, const char *id, const char *action, const char *options,
		      char **json, struct vmm_error *err)
{
	struct report *report;
	int ret = error_unless_given(id, "id of a device", err);

	if (ret == 0)
		ret = error_unless_given(action, "action", err);
	if (ret < 0)
		return ret;
	report = json ? report_create() : NULL;
	ret = locked_action(vm, id, action, options, report, err);
	if (ret == 0 && json)
		return finish_report(report, json, err);
	report_destroy(report);
	return ret;
}

static void list_device(const struct machine_device *md, uint32_t leaving, struct report *report)
{
	const struct device *dev = md->dev;
	char address[16];

	report_begin(report, NULL);
	report_string(report, "id", dev->id);
	report_string(report, "class", dev->cls->name);
	if (md->options && *md->options)
		report_string(report, "options", md->options);
	if (dev->parent)
		report_string(report, "parent", dev->parent->id);
	if (md->pci) {
		unsigned devfn = virtio_pci_devfn(md->pci);

		snprintf(address, sizeof(address), "00:%02x.%x", devfn >> 3, devfn & 7);
		report_string(report, "pci", address);
		if (leaving >> (devfn >> 3) & 1)
			report_bool(report, "leaving", true);
	}
	report_end(report);
}

int vmm_device_list(struct vmm *vm, char **json, struct vmm_error *err)
{
	struct report *report = report_create();
	uint32_t leaving;

	report_begin_array(report, "devices");
	pthread_mutex_lock(&vm->devices_lock);
	leaving = vm->acpi_pm ? acpi_pm_leaving(vm->acpi_pm) : 0;
	list_for_each (it, &vm->devices)
		list_device(list_entry(it, struct machine_device, link), leaving, report);
	pthread_mutex_unlock(&vm->devices_lock);
	report_end_array(report);
	return finish_report(report, json, err);
}

/* ---- what there is ---- */

bool vmm_device_class(unsigned index, struct vmm_device_info *info)
{
	for (unsigned i = 0; device_classes[i]; i++) {
		if (device_classes[i]->builtin || index-- > 0)
			continue;
		*info = (struct vmm_device_info){device_classes[i]->name, device_classes[i]->help};
		return true;
	}
	return false;
}

static void describe_option(const struct option_desc *o, struct vmm_option_info *info)
{
	static const char *const types[] = {
		[OPTION_BOOL] = "bool",   [OPTION_UINT] = "number", [OPTION_SIZE] = "size",
		[OPTION_STRING] = "text", [OPTION_ENUM] = "choice", [OPTION_LIST] = "list",
	};

	*info = (struct vmm_option_info){
		.name = o->name,
		.type = types[o->type],
		.fallback = o->fallback,
		.choices = o->type == OPTION_ENUM ? o->values : NULL,
		.help = o->help,
		.required = o->required,
	};
}

bool vmm_device_option(const char *name, unsigned index, struct vmm_option_info *info)
{
	static const struct option_desc id = {
		.name = "id",
		.type = OPTION_STRING,
		.help = "name of this device, unique in the VM; default: CLASS and a number",
	};
	const struct device_class *cls = name ? device_class_find(name) : NULL;
	unsigned n = 0;

	if (!cls)
		return false;
	while (cls->options && cls->options[n].name && n < index)
		n++;
	if (cls->options && cls->options[n].name)
		describe_option(&cls->options[n], info);
	else if (n == index)
		describe_option(&id, info); /* every device takes it */
	else
		return false;
	return true;
}

/* The class's action number `index`, or NULL. cls: may be NULL. */
static const struct device_action *action_of(const char *cls, unsigned index)
{
	const struct device_class *found = cls ? device_class_find(cls) : NULL;
	const struct device_action *a = found ? found->actions : NULL;

	while (a && a->name && index-- > 0)
		a++;
	return a && a->name ? a : NULL;
}

bool vmm_device_action_info(const char *cls, unsigned index, struct vmm_action_info *info)
{
	const struct device_action *a = action_of(cls, index);

	if (a)
		*info = (struct vmm_action_info){a->name, a->help, a->implied};
	return a != NULL;
}

/* table: may be NULL. */
static bool describe_option_at(const struct option_desc *table, unsigned index,
			       struct vmm_option_info *info)
{
	while (table && table->name && index-- > 0)
		table++;
	if (!table || !table->name)
		return false;
	describe_option(table, info);
	return true;
}

bool vmm_device_action_option(const char *cls, unsigned action, unsigned index,
			      struct vmm_option_info *info)
{
	const struct device_action *a = action_of(cls, action);

	return describe_option_at(a ? a->options : NULL, index, info);
}

bool vmm_stream_kind(unsigned index, struct vmm_stream_info *info)
{
	const struct chardev_kind *kind = chardev_kinds();

	while (kind->name && index-- > 0)
		kind++;
	if (kind->name)
		*info = (struct vmm_stream_info){kind->usage, kind->help};
	return kind->name != NULL;
}

bool vmm_network_kind(unsigned index, struct vmm_network_info *info)
{
	struct net_kind kind;

	if (!net_kind(index, &kind))
		return false;
	*info = (struct vmm_network_info){kind.usage, kind.help};
	return true;
}

bool vmm_network_option(unsigned network, unsigned index, struct vmm_option_info *info)
{
	struct net_kind kind;

	return net_kind(network, &kind) && describe_option_at(kind.options, index, info);
}

int vmm_check_device(const char *name, const char *options, const char *what, struct vmm_error *err)
{
	const struct device_class *cls;
	char *id, *rest;
	int ret = error_unless_given(name, "class of a device", err);

	if (ret == 0)
		ret = error_unless_given(what, "name for messages", err);
	if (ret < 0)
		return ret;
	cls = device_class_find(name);
	if (!cls)
		return error_set(err, EINVAL, "%s: there is no device \"%s\"", what, name);
	ret = options_take(options, what, "id", &id, &rest, err);
	if (ret < 0)
		return ret;
	ret = id ? device_check_id(what, id, err) : 0;
	if (ret == 0)
		ret = device_check_options(cls, what, rest, err);
	free(id);
	free(rest);
	return ret;
}
