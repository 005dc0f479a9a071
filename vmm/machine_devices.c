/* SPDX-License-Identifier: MIT */
/*
 * The devices of a machine: they come and go, and are found by their ids.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"

void machine_init_devices(struct vmm *vm)
{
	pthread_mutex_init(&vm->devices_lock, NULL);
	machine_watchers_init(&vm->watchers);
	provided_init(&vm->provided);
	list_init(&vm->devices);
	for (size_t i = 0; i < ARRAY_SIZE(vm->ids); i++)
		list_init(&vm->ids[i]);
}

/* ---- ids ---- */

static struct list *bucket_of(struct vmm *vm, const char *id)
{
	uint32_t hash = 2166136261; /* FNV-1a */

	for (; *id; id++)
		hash = (hash ^ (uint8_t)*id) * 16777619;
	return &vm->ids[hash % ARRAY_SIZE(vm->ids)];
}

struct machine_device *machine_find_id(struct vmm *vm, const char *id)
{
	list_for_each (it, bucket_of(vm, id)) {
		struct machine_device *md = list_entry(it, struct machine_device, id_link);

		if (!strcmp(md->dev->id, id))
			return md;
	}
	return NULL;
}

struct device *machine_find_device(const struct device_env *env, const char *id,
				   const struct device_class *cls)
{
	struct vmm *vm = env->opaque;
	struct machine_device *md;

	if (id) {
		md = machine_find_id(vm, id);
		return md && md->dev->cls == cls ? md->dev : NULL;
	}
	list_for_each (it, &vm->devices) {
		md = list_entry(it, struct machine_device, link);
		if (md->dev->cls == cls)
			return md->dev;
	}
	return NULL;
}

/*
 * The number in the next id of the class's own. Counted, not searched from 0: a thousand disks come
 * quickly. That of a class that is not in the array (tests have some) begins at 0 each time.
 */
static unsigned *next_number(struct vmm *vm, const struct device_class *cls)
{
	unsigned index = 0;

	while (device_classes[index] && device_classes[index] != cls)
		index++;
	if (!device_classes[index])
		vm->numbers[index] = 0;
	return &vm->numbers[index];
}

/* The class's name and a number that no id has yet. */
static void default_id(struct vmm *vm, const struct device_class *cls, char *id, size_t size)
{
	unsigned *number = next_number(vm, cls);

	while (snprintf(id, size, "%s%u", cls->name, *number), machine_find_id(vm, id))
		(*number)++;
}

/* id: what the user gave, or NULL; else filled in. */
static int choose_id(struct vmm *vm, const struct device_class *cls, const char *given, char *id,
		     size_t size, struct vmm_error *err)
{
	int ret;

	if (!given) {
		default_id(vm, cls, id, size);
		return 0;
	}
	ret = device_check_id(cls->name, given, err);
	if (ret == 0 && machine_find_id(vm, given))
		ret = error_set(err, EEXIST, "%s: there is already a device with id=%s", cls->name,
				given);
	if (ret == 0)
		snprintf(id, size, "%s", given);
	return ret;
}

/* ---- coming ---- */

/* options: kept on success. */
static int attach_device(struct vmm *vm, struct device *dev, char *options, struct vmm_error *err)
{
	struct machine_device *md = calloc(1, sizeof(*md));
	int ret = 0;

	if (!md)
		return error_set(err, ENOMEM, "no memory for device %s", dev->id);
	md->dev = dev;
	md->options = options;
	if (dev->cls->kind == DEVICE_VIRTIO)
		ret = machine_attach_virtio(vm, md, err);
	if (ret < 0) {
		free(md);
		return ret;
	}
	list_add_tail(&vm->devices, &md->link);
	list_add_tail(bucket_of(vm, dev->id), &md->id_link);
	return 0;
}

int machine_add_device(struct vmm *vm, const struct device_class *cls, const char *options,
		       struct device **out, struct vmm_error *err)
{
	struct device *dev = NULL;
	char id[DEVICE_ID_MAX + 1];
	char *given, *rest;
	int ret = options_take(options, cls->name, "id", &given, &rest, err);

	if (ret < 0)
		return ret;
	ret = choose_id(vm, cls, given, id, sizeof(id), err);
	if (ret == 0)
		ret = device_create(&dev, cls, id, rest, &vm->env, err);
	if (ret == 0) {
		ret = attach_device(vm, dev, rest, err);
		if (ret < 0) {
			device_quiesce_wait(dev);
			device_destroy(dev);
		}
	}
	if (ret == 0 && !given)
		(*next_number(vm, cls))++;
	free(given);
	if (ret < 0)
		free(rest);
	else if (out)
		*out = dev;
	return ret;
}

/* ---- going ---- */

static void remove_device(struct vmm *vm, struct machine_device *md)
{
	device_quiesce_wait(md->dev);
	list_del(&md->link);
	list_del(&md->id_link);
	machine_detach_virtio(vm, md);
	device_destroy(md->dev);
	free(md->options);
	free(md);
}

void machine_remove_devices(struct vmm *vm)
{
	/* Backwards: children before their parents. */
	while (!list_empty(&vm->devices))
		remove_device(vm, list_entry(vm->devices.prev, struct machine_device, link));
}

/* Children first. */
static void remove_family(struct vmm *vm, struct machine_device *md)
{
	struct list *it = vm->devices.prev;

	while (md->dev->children) {
		struct machine_device *child = list_entry(it, struct machine_device, link);

		it = it->prev;
		if (child->dev->parent == md->dev)
			machine_take_out(vm, child);
	}
	remove_device(vm, md);
}

void machine_take_out(struct vmm *vm, struct machine_device *md)
{
	char id[DEVICE_ID_MAX + 1];

	snprintf(id, sizeof(id), "%s", md->dev->id);
	remove_family(vm, md);
	machine_notify(&vm->watchers,
		       &(struct machine_notice){.kind = MACHINE_NOTICE_DELETED, .id = id});
}

/* ---- at the wish of a user ---- */

int machine_lock_devices(struct vmm *vm, struct vmm_error *err)
{
	bool stopped;

	pthread_mutex_lock(&vm->devices_lock);
	pthread_mutex_lock(&vm->lock);
	stopped = vm->state == MACHINE_STOPPED;
	pthread_mutex_unlock(&vm->lock);
	if (!stopped)
		return 0;
	pthread_mutex_unlock(&vm->devices_lock);
	return error_set(err, ESHUTDOWN, "VM %s has stopped", vm->name);
}

void machine_unlock_devices(struct vmm *vm)
{
	pthread_mutex_unlock(&vm->devices_lock);
}

/* The guest knows the others from its start on. */
static bool may_change(const struct vmm *vm, const struct device_class *cls)
{
	return cls->kind != DEVICE_PLATFORM || !vm->vcpus;
}

static int plug(struct vmm *vm, const struct device_class *cls, const char *options,
		struct vmm_error *err)
{
	struct machine_device *md;
	struct device *dev;
	int ret = machine_add_device(vm, cls, options, &dev, err);

	/* What is there at the start is no news. */
	if (ret < 0 || !vm->vcpus)
		return ret;
	md = machine_find_id(vm, dev->id);
	if (md->pci)
		machine_tell_slot(vm, md, ACPI_SLOT_FILLED);
	machine_notify(&vm->watchers,
		       &(struct machine_notice){.kind = MACHINE_NOTICE_ADDED, .id = dev->id});
	return 0;
}

int machine_plug(struct vmm *vm, const struct device_class *cls, const char *options,
		 struct vmm_error *err)
{
	int ret = machine_lock_devices(vm, err);

	if (ret < 0)
		return ret;
	if (cls->builtin)
		ret = error_set(err, EBUSY, "%s is a part of the machine", cls->name);
	else if (may_change(vm, cls))
		ret = plug(vm, cls, options, err);
	else
		ret = error_set(err, EBUSY, "%s devices can only be added before the VM starts",
				cls->name);
	machine_unlock_devices(vm);
	return ret;
}

int machine_no_device(const struct vmm *vm, const char *id, struct vmm_error *err)
{
	return error_set(err, ENOENT, "VM %s has no device with id=%s", vm->name, id);
}

/* devices_lock held. Returns as machine_unplug does; *ticket: of the request to pull it out. */
static int unplug(struct vmm *vm, const char *id, bool pull, uint64_t *ticket,
		  struct vmm_error *err)
{
	struct machine_device *md = machine_find_id(vm, id);
	const struct device *dev = md ? md->dev : NULL;
	bool at_once;

	if (!dev)
		return machine_no_device(vm, id, err);
	if (dev->cls->builtin)
		return error_set(err, EBUSY, "%s is a part of the machine", id);
	at_once = !vm->vcpus || dev->cls->kind == DEVICE_CHILD;
	/* After a start that failed nobody is there to pull it out. */
	if (!at_once && (!md->pci || (pull && !vm->control_started)))
		return error_set(err, EBUSY, "%s: %s devices%s cannot be removed while the VM runs",
				 id, dev->cls->name, md->mmio ? " with transport=mmio" : "");
	if (dev->children)
		return error_set(err, EBUSY, "%s: remove the %u %s on it first", id, dev->children,
				 dev->children == 1 ? "device" : "devices");
	if (at_once) {
		machine_take_out(vm, md);
		return 0;
	}
	if (pull) {
		md->pulled = true;
		*ticket = machine_request(vm, MACHINE_REQUEST_EJECT);
		return 0;
	}
	machine_tell_slot(vm, md, ACPI_SLOT_SHALL_LEAVE);
	return 1;
}

int machine_unplug(struct vmm *vm, const char *id, bool pull, struct vmm_error *err)
{
	uint64_t ticket = 0;
	int ret = machine_lock_devices(vm, err);

	if (ret < 0)
		return ret;
	ret = unplug(vm, id, pull, &ticket, err);
	machine_unlock_devices(vm);
	/* The control thread takes the lock in its turn. */
	if (ticket && !machine_answered(vm, ticket))
		return error_set(err, ESHUTDOWN, "VM %s has stopped", vm->name);
	return ret;
}
