/* SPDX-License-Identifier: MIT */
/*
 * What happens to a VM, as events of its control socket.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/control.h"
#include "vmm/qmp_limit.h"

struct control {
	struct vmm *vm;
	struct qmp *qmp;
	struct machine_watcher watcher;
	struct qmp_limiter limiter;
};

/* clang-format off */
static const struct qmp_member reset_data[] = {
	{"guest", QMP_BOOL, false}, {"reason", QMP_STRING, false}, {.name = NULL}};
static const struct qmp_member panic_data[] = {{"action", QMP_STRING, false}, {.name = NULL}};
static const struct qmp_member deleted_data[] = {
	{"device", QMP_STRING, true}, {"path", QMP_STRING, false}, {.name = NULL}};
static const struct qmp_member balloon_data[] = {{"actual", QMP_INT, false}, {.name = NULL}};
static const struct qmp_member port_data[] = {
	{"id", QMP_STRING, false}, {"open", QMP_BOOL, false}, {.name = NULL}};
static const struct qmp_member tray_data[] = {
	{"device", QMP_STRING, false}, {"id", QMP_STRING, false}, {"tray-open", QMP_BOOL, false},
	{.name = NULL}};

const struct qmp_event control_events[] = {
	{"SHUTDOWN", reset_data},
	{"RESET", reset_data},
	{"STOP", NULL},
	{"RESUME", NULL},
	{"POWERDOWN", NULL},
	{"GUEST_PANICKED", panic_data},
	{"DEVICE_DELETED", deleted_data},
	{"BALLOON_CHANGE", balloon_data},
	{"VSERPORT_CHANGE", port_data},
	{"DEVICE_TRAY_MOVED", tray_data},
	{.name = NULL},
};
/* clang-format on */

/* ---- what a guest can do a million times a second ---- */

static json_t *balloon_changed(const char *id UNUSED, uint64_t value)
{
	return json_pack("{s:I}", "actual", (json_int_t)value);
}

static json_t *port_changed(const char *id, uint64_t value)
{
	return json_pack("{s:s,s:b}", "id", id, "open", value != 0);
}

/* QEMU's `device` is the name of a drive's backend, which here is the drive's. */
static json_t *tray_moved(const char *id, uint64_t value)
{
	return json_pack("{s:s,s:s,s:b}", "device", id, "id", id, "tray-open", value != 0);
}

static const struct qmp_limited balloon_change = {"BALLOON_CHANGE", 1, balloon_changed};
static const struct qmp_limited port_change = {"VSERPORT_CHANGE", 1, port_changed};
/* A medium that is changed opens and closes the tray: clients wait for both. */
static const struct qmp_limited tray_move = {"DEVICE_TRAY_MOVED", 8, tray_moved};

/* ---- the rest ---- */

/* QEMU's words (ShutdownCause); a program that stops its VM does so as it is told to end itself. */
static json_t *shutdown_data(enum vmm_exit_kind kind, bool client)
{
	bool guest = false;
	const char *reason = "host-error";

	switch (kind) {
	case VMM_EXIT_POWEROFF:
	case VMM_EXIT_DEBUG:
		guest = true;
		reason = "guest-shutdown";
		break;
	case VMM_EXIT_REBOOT:
		guest = true;
		reason = "guest-reset";
		break;
	case VMM_EXIT_PANIC:
		guest = true;
		reason = "guest-panic";
		break;
	case VMM_EXIT_STOPPED:
		reason = client ? "host-qmp-quit" : "host-signal";
		break;
	case VMM_EXIT_QUIT:
		reason = "host-ui";
		break;
	case VMM_EXIT_ERROR:
	case VMM_EXIT_NONE:
		break;
	}
	return json_pack("{s:b,s:s}", "guest", guest, "reason", reason);
}

static json_t *deleted(const char *id)
{
	return json_pack("{s:s,s:s+}", "device", id, "path", "/machine/peripheral/", id);
}

static void on_notice(struct machine_watcher *watcher, const struct machine_notice *n)
{
	struct control *c = container_of(watcher, struct control, watcher);

	switch (n->kind) {
	case MACHINE_NOTICE_RUNNING:
		qmp_tell(c->qmp, "RESUME", NULL);
		break;
	case MACHINE_NOTICE_PAUSED:
		qmp_tell(c->qmp, "STOP", NULL);
		break;
	case MACHINE_NOTICE_RESET:
		qmp_tell(c->qmp, "RESET",
			 json_pack("{s:b,s:s}", "guest", n->guest, "reason",
				   n->guest ? "guest-reset" : "host-qmp-system-reset"));
		break;
	case MACHINE_NOTICE_POWERDOWN:
		qmp_tell(c->qmp, "POWERDOWN", NULL);
		break;
	case MACHINE_NOTICE_PANIC:
		qmp_tell(c->qmp, "GUEST_PANICKED", json_pack("{s:s}", "action", "poweroff"));
		break;
	case MACHINE_NOTICE_STOPPED:
		qmp_limiter_end(&c->limiter, NULL);
		qmp_tell(c->qmp, "SHUTDOWN",
			 shutdown_data((enum vmm_exit_kind)n->value, n->client));
		break;
	case MACHINE_NOTICE_DELETED:
		qmp_limiter_end(&c->limiter, n->id);
		qmp_tell(c->qmp, "DEVICE_DELETED", deleted(n->id));
		break;
	case MACHINE_NOTICE_ADDED: /* QMP has no events for these */
	case MACHINE_NOTICE_ERROR:
		break;
	case MACHINE_NOTICE_BALLOON:
		qmp_limiter_tell(&c->limiter, &balloon_change, n->id, n->value);
		break;
	case MACHINE_NOTICE_PORT:
		qmp_limiter_tell(&c->limiter, &port_change, n->id, n->value);
		break;
	case MACHINE_NOTICE_TRAY:
		qmp_limiter_tell(&c->limiter, &tray_move, n->id, n->value);
		break;
	}
}

/* ---- life ---- */

int control_open(struct control **out, struct vmm *vm, const char *path, struct vmm_error *err)
{
	struct control *c = calloc(1, sizeof(*c));
	struct qmp_config config = {
		.name = vm->name,
		.clock = vm->env.clock,
		.log = &vm->log,
		.commands = control_commands,
		.events = control_events,
		.opaque = vm,
	};
	int rc;

	if (!c)
		return error_set(err, ENOMEM, "no memory for the control socket");
	c->vm = vm;
	c->watcher.notify = on_notice;
	rc = qmp_create(&c->qmp, &config, err);
	if (rc) {
		free(c);
		return rc;
	}
	qmp_limiter_init(&c->limiter, c->qmp, vm->env.clock, &vm->log);
	machine_watch(&vm->watchers, &c->watcher);
	rc = path ? qmp_listen(c->qmp, path, err) : 0;
	if (rc)
		control_destroy(c);
	else
		*out = c;
	return rc;
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	machine_unwatch(&c->vm->watchers, &c->watcher);
	qmp_limiter_fini(&c->limiter);
	qmp_destroy(c->qmp);
	free(c);
}
