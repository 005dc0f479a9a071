/* SPDX-License-Identifier: MIT */
/*
 * The control socket of a VM. Without jansson the library has none, and says so.
 */
#include "vmm/control.h"

#include <errno.h>
#include <stdatomic.h>

#ifdef CONFIG_JANSSON

int vmm_control_listen(struct vmm *vm, const char *path, struct vmm_error *err)
{
	struct control *control, *none = NULL;
	int rc = error_unless_given(path, "path of a control socket", err);

	if (rc)
		return rc;
	if (vm->control_socket)
		return error_set(err, EBUSY, "VM %s has a control socket already", vm->name);
	rc = control_open(&control, vm, path, err);
	if (rc)
		return rc;
	if (!atomic_compare_exchange_strong(&vm->control_socket, &none, control)) {
		control_destroy(control);
		return error_set(err, EBUSY, "VM %s has a control socket already", vm->name);
	}
	return 0;
}

void control_close(struct vmm *vm)
{
	control_destroy(atomic_exchange(&vm->control_socket, NULL));
}

#else

int vmm_control_listen(struct vmm *vm, const char *path UNUSED, struct vmm_error *err)
{
	return error_set(err, ENOTSUP,
			 "VM %s: this build has no control socket (it was made without libjansson)",
			 vm->name);
}

void control_close(struct vmm *vm UNUSED)
{
}

#endif
