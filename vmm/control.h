/* SPDX-License-Identifier: MIT */
/*
 * The control socket of a VM: QMP (vmm/qmp.h) over the public functions and the machine's notices.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "vmm/machine.h"

/*
 * Close the VM's control socket, if it has one. Waits for the command at work: the VM has stopped
 * or was never started, and everything else of it is still there.
 */
void control_close(struct vmm *vm);

#ifdef CONFIG_JANSSON
#include "vmm/qmp.h"

/* qmp_commands.c, qmp_returns.c, qmp_events.c */
extern const struct qmp_command control_commands[];
extern const struct qmp_return control_returns[];
extern const struct qmp_event control_events[];

/* Start a server for this VM; with path NULL it has no socket (tests give it clients). */
int control_open(struct control **control, struct vmm *vm, const char *path,
		 struct vmm_error *err) MUST_CHECK;
void control_destroy(struct control *control);
#endif

#endif
