/* SPDX-License-Identifier: MIT */
/*
 * What happens to a VM, as events of its control socket.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "vmm/control.h"

/* How often clients hear of a balloon that a guest may change a million times a second. */
#define BALLOON_NS NS_PER_SEC

struct control {
	struct vmm *vm;
	struct qmp *qmp;
	struct machine_watcher watcher;
	_Atomic uint64_t balloon; /* bytes that the guest has left */
	struct loop_task balloon_changed;
	struct loop_timer balloon_timer; /* armed: it was told lately. The loop's thread */
	uint64_t balloon_told;
};

/* clang-format off */
static const struct qmp_member reset_data[] = {
	{"guest", QMP_BOOL, false}, {"reason", QMP_STRING, false}, {.name = NULL}};
static const struct qmp_member panic_data[] = {{"action", QMP_STRING, false}, {.name = NULL}};
static const struct qmp_member deleted_data[] = {
	{"device", QMP_STRING, true}, {"path", QMP_STRING, false}, {.name = NULL}};
static const struct qmp_member balloon_data[] = {{"actual", QMP_INT, false}, {.name = NULL}};

const struct qmp_event control_events[] = {
	{"SHUTDOWN", reset_data},
	{"RESET", reset_data},
	{"STOP", NULL},
	{"RESUME", NULL},
	{"POWERDOWN", NULL},
	{"GUEST_PANICKED", panic_data},
	{"DEVICE_DELETED", deleted_data},
	{"BALLOON_CHANGE", balloon_data},
	{.name = NULL},
};
/* clang-format on */

/* ---- the balloon: at most once a second, and always the last word ---- */

static void tell_balloon(struct control *c)
{
	uint64_t now = clock_now(c->vm->env.clock), actual = c->balloon;

	if (c->balloon_timer.heap_index >= 0 || actual == c->balloon_told)
		return;
	c->balloon_told = actual;
	qmp_tell(c->qmp, "BALLOON_CHANGE", json_pack("{s:I}", "actual", (json_int_t)actual));
	if (loop_timer_arm(&c->balloon_timer, now + BALLOON_NS))
		log_warn(&c->vm->log, "control", "no memory for a timer");
}

static void on_balloon_changed(struct loop_task *task)
{
	tell_balloon(container_of(task, struct control, balloon_changed));
}

static void on_balloon_timer(struct loop_timer *timer)
{
	tell_balloon(container_of(timer, struct control, balloon_timer));
}

/* ---- the rest ---- */

static json_t *shutdown_data(enum vmm_exit_kind kind)
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
		reason = "host-qmp-quit";
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
		qmp_tell(c->qmp, "SHUTDOWN", shutdown_data((enum vmm_exit_kind)n->value));
		break;
	case MACHINE_NOTICE_DELETED:
		qmp_tell(c->qmp, "DEVICE_DELETED", deleted(n->id));
		break;
	case MACHINE_NOTICE_PORT:  /* not told: a guest could flood a client with them */
	case MACHINE_NOTICE_ADDED: /* QMP has no events for these */
	case MACHINE_NOTICE_ERROR:
		break;
	case MACHINE_NOTICE_BALLOON:
		c->balloon = n->value;
		loop_post(qmp_loop(c->qmp), &c->balloon_changed);
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
	c->balloon = c->balloon_told = vm->memory_size;
	c->watcher.notify = on_notice;
	loop_task_init(&c->balloon_changed, on_balloon_changed);
	rc = qmp_create(&c->qmp, &config, err);
	if (rc) {
		free(c);
		return rc;
	}
	loop_timer_init(qmp_loop(c->qmp), &c->balloon_timer, on_balloon_timer);
	machine_watch(&vm->watchers, &c->watcher);
	rc = path ? qmp_listen(c->qmp, path, err) : 0;
	if (rc)
		control_destroy(c);
	else
		*out = c;
	return rc;
}

static void take_back(void *arg)
{
	struct control *c = arg;

	loop_task_cancel(qmp_loop(c->qmp), &c->balloon_changed);
	loop_timer_disarm(&c->balloon_timer);
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	machine_unwatch(&c->vm->watchers, &c->watcher);
	loop_call(qmp_loop(c->qmp), take_back, c);
	qmp_destroy(c->qmp);
	free(c);
}
