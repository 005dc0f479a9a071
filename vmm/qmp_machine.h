/* SPDX-License-Identifier: MIT */
/*
 * What the commands of the control socket share. All run on vmm-qmp-run; call->opaque is the
 * struct vmm.
 */
#ifndef VMM_QMP_MACHINE_H
#define VMM_QMP_MACHINE_H

#include "vmm/machine.h"
#include "vmm/qmp.h"

static inline struct vmm *call_vm(const struct qmp_call *call)
{
	return call->opaque;
}

/* Arguments, already checked: NULL, 0 or `fallback` where they are left out. */
const char *call_string(const struct qmp_call *call, const char *name);
int64_t call_int(const struct qmp_call *call, const char *name);
bool call_bool(const struct qmp_call *call, const char *name, bool fallback);

/* The VM's devices as vmm_device_list tells them: an array, or NULL with call->err set. */
json_t *call_devices(struct qmp_call *call);
static inline const char *device_string(const json_t *device, const char *name)
{
	return json_string_value(json_object_get(device, name));
}
/* Backends of this kind with a name as machine_list_backends tells them, likewise. */
json_t *call_backends(struct qmp_call *call, enum provided_kind kind);
/* An option that a device of that list was added with: allocated, or NULL. */
char *device_option(const json_t *device, const char *name);

/* The class of the device, or NULL with an error of class DeviceNotFound. */
const struct device_class *call_class(struct qmp_call *call, const char *id);

/*
 * vmm_device_action, with the answer as JSON. options: NULL, or "key=value,…". result: may be NULL.
 */
int call_action(struct qmp_call *call, const char *id, const char *action, const char *options,
		json_t **result);
/*
 * An object as "key=value,…", without those named in `without`. NULL, with call->err set: it has
 * something else in it than strings, integers and booleans, or there is no memory.
 */
char *options_of(struct qmp_call *call, const json_t *object, const char *const *without);

/*
 * qmp_names.c: in the arguments of device_add, QEMU's names become ours, and what has no meaning
 * here is left out. Returns 0, or -EINVAL with call->err set.
 */
int translate_device(struct qmp_call *call);

/* qmp_backends.c */
int run_chardev_add(struct qmp_call *call);
int run_chardev_remove(struct qmp_call *call);
int run_blockdev_add(struct qmp_call *call);
int run_blockdev_del(struct qmp_call *call);

/* qmp_devices.c */
int run_device_add(struct qmp_call *call);
int run_device_del(struct qmp_call *call);
int run_set_link(struct qmp_call *call);
int run_balloon(struct qmp_call *call);
int run_query_balloon(struct qmp_call *call);
int run_query_chardev(struct qmp_call *call);
int run_query_rx_filter(struct qmp_call *call);
int run_query_pci(struct qmp_call *call);
int run_vmm_devices(struct qmp_call *call);
int run_vmm_action(struct qmp_call *call);

/* qmp_stats.c */
int run_vmm_stats(struct qmp_call *call);

/* qmp_block.c */
int run_query_block(struct qmp_call *call);
int run_query_nodes(struct qmp_call *call);
int run_query_blockstats(struct qmp_call *call);
int run_block_resize(struct qmp_call *call);
int run_throttle(struct qmp_call *call);
int run_eject(struct qmp_call *call);
int run_open_tray(struct qmp_call *call);
int run_close_tray(struct qmp_call *call);
int run_change_medium(struct qmp_call *call);

#endif
