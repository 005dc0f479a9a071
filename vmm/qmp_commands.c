/* SPDX-License-Identifier: MIT */
/*
 * The commands of the control socket: the table, and those about the machine as a whole.
 */
#include <stdio.h>
#include <unistd.h>

#include "vmm/control.h"
#include "vmm/qmp_machine.h"

/* ---- life ---- */

static int run_stop(struct qmp_call *call)
{
	return vmm_pause(call_vm(call), &call->err);
}

static int run_cont(struct qmp_call *call)
{
	return vmm_resume(call_vm(call), &call->err);
}

static int run_reset(struct qmp_call *call)
{
	return vmm_reset(call_vm(call), &call->err);
}

static int run_powerdown(struct qmp_call *call)
{
	return vmm_powerdown(call_vm(call), &call->err);
}

static int run_quit(struct qmp_call *call UNUSED)
{
	return 0;
}

static void after_quit(void *opaque)
{
	machine_quit(opaque);
}

/* ---- what there is to know ---- */

static enum machine_state state_of(struct vmm *vm, uint64_t *start_ns, enum vmm_exit_kind *kind)
{
	enum machine_state state;

	pthread_mutex_lock(&vm->lock);
	state = vm->state;
	*start_ns = vm->start_ns;
	*kind = vm->result.kind;
	pthread_mutex_unlock(&vm->lock);
	return state;
}

static const char *status_of(struct vmm *vm)
{
	uint64_t start;
	enum vmm_exit_kind kind;

	switch (state_of(vm, &start, &kind)) {
	case MACHINE_RUNNING:
		return "running";
	case MACHINE_PAUSED:
		return "paused";
	case MACHINE_STOPPED:
		return kind == VMM_EXIT_PANIC   ? "guest-panicked"
		       : kind == VMM_EXIT_ERROR ? "internal-error"
						: "shutdown";
	case MACHINE_CREATED:
		break;
	}
	return "prelaunch";
}

static int run_query_status(struct qmp_call *call)
{
	const char *status = status_of(call_vm(call));

	call->result = json_pack("{s:s,s:b}", "status", status, "running", status[0] == 'r');
	return 0;
}

static int run_query_version(struct qmp_call *call)
{
	int major = 0, minor = 0, micro = 0;

	(void)!sscanf(vmm_version(), "%d.%d.%d", &major, &minor, &micro);
	call->result = json_pack("{s:{s:i,s:i,s:i},s:s+}", "qemu", "major", major, "minor", minor,
				 "micro", micro, "package", "vmm-", vmm_version());
	return 0;
}

static int run_query_name(struct qmp_call *call)
{
	call->result = json_pack("{s:o}", "name", qmp_string(call_vm(call)->name));
	return 0;
}

static int run_query_uuid(struct qmp_call *call)
{
	call->result = json_pack("{s:s}", "UUID", "00000000-0000-0000-0000-000000000000");
	return 0;
}

static int run_query_kvm(struct qmp_call *call)
{
	call->result = json_pack("{s:b,s:b}", "enabled", 1, "present", 1);
	return 0;
}

static int run_query_iothreads(struct qmp_call *call)
{
	call->result = json_array();
	return 0;
}

static int run_query_memory(struct qmp_call *call)
{
	call->result = json_pack("{s:I,s:i}", "base-memory", (json_int_t)call_vm(call)->memory_size,
				 "plugged-memory", 0);
	return 0;
}

static int run_query_cpus(struct qmp_call *call)
{
	struct vmm *vm = call_vm(call);
	char path[32];

	call->result = json_array();
	pthread_mutex_lock(&vm->devices_lock); /* vmm_start holds it while it makes them */
	for (unsigned i = 0; vm->vcpus && i < vm->cpus; i++) {
		if (!vm->vcpus[i])
			continue;
		snprintf(path, sizeof(path), "/machine/cpu[%u]", i);
		/* One package, one thread in each core: see kvm_cpuid_x86.c. */
		json_array_append_new(call->result,
				      json_pack("{s:i,s:s,s:i,s:s,s:{s:i,s:i,s:i}}", "cpu-index",
						(int)i, "qom-path", path, "thread-id",
						(int)vcpu_thread_id(vm->vcpus[i]), "target",
						"x86_64", "props", "socket-id", 0, "core-id",
						(int)i, "thread-id", 0));
	}
	pthread_mutex_unlock(&vm->devices_lock);
	return 0;
}

static int run_vmm_status(struct qmp_call *call)
{
	struct vmm *vm = call_vm(call);
	enum vmm_exit_kind kind;
	uint64_t start, now = clock_now(vm->env.clock);

	state_of(vm, &start, &kind);
	call->result = json_pack("{s:o,s:s,s:I,s:i,s:i,s:I,s:s}", "name", qmp_string(vm->name),
				 "status", status_of(vm), "memory", (json_int_t)vm->memory_size,
				 "cpus", (int)vm->cpus, "pid", (int)getpid(), "uptime",
				 (json_int_t)(start ? (now - start) / NS_PER_SEC : 0), "version",
				 vmm_version());
	return 0;
}

static int run_query_commands(struct qmp_call *call)
{
	call->result = qmp_list_commands(control_commands);
	return 0;
}

static int run_query_schema(struct qmp_call *call)
{
	call->result = qmp_schema(control_commands, control_returns, control_events);
	return 0;
}

/* ---- the table ---- */

/* clang-format off */
#define END {.name = NULL}
static const struct qmp_member balloon_args[] = {{"value", QMP_INT, false}, END};
static const struct qmp_member link_args[] = {
	{"name", QMP_STRING, false}, {"up", QMP_BOOL, false}, END};
static const struct qmp_member filter_args[] = {{"name", QMP_STRING, true}, END};
static const struct qmp_member add_args[] = {
	{"driver", QMP_STRING, false}, {"id", QMP_STRING, true}, {"bus", QMP_STRING, true}, END};
static const struct qmp_member del_args[] = {
	{"id", QMP_STRING, false}, {"force", QMP_BOOL, true}, END};
static const struct qmp_member resize_args[] = {
	{"device", QMP_STRING, true}, {"node-name", QMP_STRING, true}, {"size", QMP_INT, false}, END};
static const struct qmp_member throttle_args[] = {
	{"device", QMP_STRING, true}, {"id", QMP_STRING, true},
	{"bps", QMP_INT, false}, {"bps_rd", QMP_INT, false}, {"bps_wr", QMP_INT, false},
	{"iops", QMP_INT, false}, {"iops_rd", QMP_INT, false}, {"iops_wr", QMP_INT, false},
	{"bps_max", QMP_INT, true}, {"iops_max", QMP_INT, true}, END};
static const struct qmp_member tray_args[] = {
	{"device", QMP_STRING, true}, {"id", QMP_STRING, true}, {"force", QMP_BOOL, true}, END};
static const struct qmp_member close_args[] = {
	{"device", QMP_STRING, true}, {"id", QMP_STRING, true}, END};
static const struct qmp_member change_args[] = {
	{"device", QMP_STRING, true}, {"id", QMP_STRING, true}, {"filename", QMP_STRING, false},
	{"format", QMP_STRING, true}, {"force", QMP_BOOL, true},
	{"read-only-mode", QMP_STRING, true}, END};
static const struct qmp_member action_args[] = {
	{"id", QMP_STRING, false}, {"action", QMP_STRING, false}, {"options", QMP_ANY, true}, END};
static const struct qmp_member chardev_add_args[] = {
	{"id", QMP_STRING, false}, {"backend", QMP_OBJECT, false}, END};
static const struct qmp_member chardev_remove_args[] = {{"id", QMP_STRING, false}, END};
static const struct qmp_member blockdev_add_args[] = {
	{"driver", QMP_STRING, false}, {"node-name", QMP_STRING, false},
	{"filename", QMP_STRING, true}, {"file", QMP_ANY, true}, {"read-only", QMP_BOOL, true},
	{"auto-read-only", QMP_BOOL, true}, {"force-share", QMP_BOOL, true},
	{"cache", QMP_OBJECT, true}, {"discard", QMP_STRING, true},
	{"detect-zeroes", QMP_STRING, true}, {"aio", QMP_STRING, true},
	{"locking", QMP_STRING, true}, END};
static const struct qmp_member blockdev_del_args[] = {{"node-name", QMP_STRING, false}, END};

/* What differs from QEMU, in words that a program can look for. */
#define DIFFERS(...) .features = (const char *const[]){__VA_ARGS__, NULL}
#define ANSWERS .answers = true

const struct qmp_command control_commands[] = {
	{"query-version", .run = run_query_version, ANSWERS},
	{"query-commands", .run = run_query_commands, ANSWERS},
	{"query-qmp-schema", .run = run_query_schema, ANSWERS},
	{"query-status", .run = run_query_status, ANSWERS},
	{"query-name", .run = run_query_name, ANSWERS},
	{"query-uuid", .run = run_query_uuid, ANSWERS, DIFFERS("vmm-always-zero")},
	{"query-kvm", .run = run_query_kvm, ANSWERS},
	{"query-cpus-fast", .run = run_query_cpus, ANSWERS, DIFFERS("vmm-empty-before-start")},
	{"query-memory-size-summary", .run = run_query_memory, ANSWERS},
	{"query-iothreads", .run = run_query_iothreads, ANSWERS, DIFFERS("vmm-always-empty")},
	{"query-pci", .run = run_query_pci, ANSWERS},
	{"query-block", .run = run_query_block, ANSWERS, DIFFERS("vmm-device-is-qdev")},
	{"query-named-block-nodes", .run = run_query_nodes, ANSWERS,
	 DIFFERS("vmm-node-name-may-be-device-id")},
	{"query-blockstats", .run = run_query_blockstats, ANSWERS, DIFFERS("vmm-no-merges")},
	{"query-chardev", .run = run_query_chardev, ANSWERS, DIFFERS("vmm-label-may-be-device-id")},
	{"query-balloon", .run = run_query_balloon, ANSWERS},
	{"query-rx-filter", .args = filter_args, .run = run_query_rx_filter, ANSWERS},
	{"stop", .run = run_stop},
	{"cont", .run = run_cont},
	{"system_reset", .run = run_reset, DIFFERS("vmm-returns-when-done")},
	{"system_powerdown", .run = run_powerdown},
	{"quit", .run = run_quit, .after = after_quit},
	{"balloon", .args = balloon_args, .run = run_balloon},
	{"set_link", .args = link_args, .run = run_set_link},
	{"device_add", .args = add_args, .open = true, .run = run_device_add,
	 DIFFERS("vmm-backend-in-options", "vmm-addr-is-ignored", "vmm-bootindex-is-ignored",
		 "vmm-device-id-is-ignored")},
	{"device_del", .args = del_args, .run = run_device_del, DIFFERS("vmm-force")},
	{"chardev-add", .args = chardev_add_args, .run = run_chardev_add, ANSWERS,
	 DIFFERS("vmm-only-unix-server-file-pty-null-ringbuf")},
	{"chardev-remove", .args = chardev_remove_args, .run = run_chardev_remove},
	{"blockdev-add", .args = blockdev_add_args, .run = run_blockdev_add,
	 DIFFERS("vmm-only-raw-on-file", "vmm-aio-native-is-auto", "vmm-auto-read-only-at-once")},
	{"blockdev-del", .args = blockdev_del_args, .run = run_blockdev_del},
	{"block_resize", .args = resize_args, .run = run_block_resize, DIFFERS("vmm-only-larger")},
	{"block_set_io_throttle", .args = throttle_args, .run = run_throttle,
	 DIFFERS("vmm-only-totals")},
	{"eject", .args = tray_args, .run = run_eject},
	{"blockdev-open-tray", .args = tray_args, .run = run_open_tray},
	{"blockdev-close-tray", .args = close_args, .run = run_close_tray},
	{"blockdev-change-medium", .args = change_args, .run = run_change_medium,
	 DIFFERS("vmm-only-raw-read-only")},
	{"vmm-status", .run = run_vmm_status, ANSWERS},
	{"vmm-stats", .run = run_vmm_stats, ANSWERS},
	{"vmm-devices", .run = run_vmm_devices, ANSWERS},
	{"vmm-action", .args = action_args, .run = run_vmm_action, ANSWERS},
	END,
};
/* clang-format on */
