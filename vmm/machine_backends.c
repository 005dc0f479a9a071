/* SPDX-License-Identifier: MIT */
/*
 * Backends with a name: streams and disk images that are opened before the device that uses them,
 * and stay when it goes. They stand in the set of what devices find by a name (core/provided.h).
 *
 * Whoever adds or removes one holds devices_lock, as for devices: so none comes or goes while the
 * machine stops, or while somebody lists them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "console/chardev.h"
#include "vmm/machine.h"

/* ---- coming ---- */

/* As machine_lock_devices, if there is room for one more. */
static int lock_for_one_more(struct vmm *vm, const char *name, struct vmm_error *err)
{
	int ret = machine_lock_devices(vm, err);

	if (ret < 0 || vm->backends < MACHINE_BACKENDS_MAX)
		return ret;
	machine_unlock_devices(vm);
	return error_set(err, ENOSPC, "%s: a VM has at most %d backends with a name", name,
			 MACHINE_BACKENDS_MAX);
}

/* The end of that. Returns ret: 0, or why none was added. */
static int unlock_with(struct vmm *vm, int ret)
{
	vm->backends += ret == 0;
	machine_unlock_devices(vm);
	return ret;
}

struct add_call {
	struct vmm *vm;
	const char *name, *spec;
	char **place;
	struct vmm_error *err;
	int rc;
};

static void add_chardev(void *arg)
{
	struct add_call *call = arg;
	struct vmm *vm = call->vm;
	struct chardev *cd;

	call->rc = chardev_add(&cd, &vm->provided, call->name, call->spec, vm->io, &vm->log,
			       call->err);
	if (call->rc)
		return;
	*call->place = strdup(chardev_describe(cd));
	if (*call->place)
		return;
	call->rc = provided_remove(&vm->provided, BACKEND_CHARDEV, call->name, call->err);
	if (call->rc == 0)
		call->rc = error_set(call->err, ENOMEM, "chardev %s: out of memory", call->name);
}

int machine_add_chardev(struct vmm *vm, const char *name, const char *spec, char **place,
			struct vmm_error *err)
{
	struct add_call call = {vm, name, spec, place, err, 0};
	int ret = lock_for_one_more(vm, name, err);

	if (ret < 0)
		return ret;
	loop_call(vm->io, add_chardev, &call);
	return unlock_with(vm, call.rc);
}

int machine_add_drive(struct vmm *vm, const char *name, const struct drive_options *options,
		      struct vmm_error *err)
{
	int ret = lock_for_one_more(vm, name, err);

	if (ret < 0)
		return ret;
	ret = drive_add(&vm->provided, name, options, &vm->drive_engines, &vm->log, err);
	return unlock_with(vm, ret);
}

/* ---- going ---- */

int machine_remove_backend(struct vmm *vm, enum provided_kind kind, const char *name,
			   struct vmm_error *err)
{
	int ret = machine_lock_devices(vm, err);

	if (ret < 0)
		return ret;
	ret = provided_remove(&vm->provided, kind, name, err);
	vm->backends -= ret == 0;
	machine_unlock_devices(vm);
	return ret;
}

void machine_remove_backends(struct vmm *vm)
{
	provided_clear(&vm->provided, BACKEND_CHARDEV);
	provided_clear(&vm->provided, BACKEND_DRIVE);
}

/* ---- while they are there ---- */

int machine_resize_drive(struct vmm *vm, const char *name, uint64_t size, struct vmm_error *err)
{
	int ret = machine_lock_devices(vm, err);

	if (ret < 0)
		return ret;
	ret = drive_resize(&vm->provided, name, size, err);
	machine_unlock_devices(vm);
	return ret;
}

struct list_call {
	struct provided_set *set;
	enum provided_kind kind;
	struct report *report;
};

static void list_on_loop(void *arg)
{
	struct list_call *call = arg;

	report_begin_array(call->report, "backends");
	if (call->kind == BACKEND_CHARDEV)
		chardev_report_added(call->set, call->report);
	else
		drive_report_all(call->set, call->report);
	report_end_array(call->report);
}

int machine_list_backends(struct vmm *vm, enum provided_kind kind, char **json,
			  struct vmm_error *err)
{
	struct list_call call = {&vm->provided, kind, report_create()};
	int ret;

	pthread_mutex_lock(&vm->devices_lock);
	loop_call(vm->io, list_on_loop, &call);
	pthread_mutex_unlock(&vm->devices_lock);
	ret = report_finish(call.report, json);
	return ret < 0 ? error_set_errno(err, -ret, "the answer cannot be given") : 0;
}
