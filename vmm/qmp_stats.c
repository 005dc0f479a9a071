/* SPDX-License-Identifier: MIT */
/*
 * The VM's statistics on the control socket, as vmm_stats tells them. QEMU's query-stats is another
 * thing: its providers are the kernel's own counters.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/qmp_machine.h"

int run_vmm_stats(struct qmp_call *call)
{
	char *text;
	int rc = vmm_stats(call_vm(call), &text, &call->err);

	if (rc)
		return rc;
	call->result = json_loads(text, 0, NULL);
	free(text);
	return call->result ? 0 : error_set(&call->err, ENOMEM, "out of memory");
}
