/* SPDX-License-Identifier: MIT */
/*
 * What a VM has done so far: the counters of vCPUs and devices, and the memory.
 */
#include <errno.h>
#include <time.h>

#include "virtio/virtio_balloon.h"
#include "virtio/virtio_classes.h"
#include "vmm/machine.h"

int vmm_memory_stats(struct vmm *vm, struct vmm_memory_stats *stats, struct vmm_error *err)
{
	struct device *balloon;
	uint64_t resident, held = 0;
	int ret = guest_memory_resident(vm->memory, &resident);

	if (ret < 0)
		return error_set_errno(err, -ret, "cannot count the memory of VM %s", vm->name);
	pthread_mutex_lock(&vm->devices_lock);
	balloon = machine_find_device(&vm->env, NULL, &virtio_balloon_class.device);
	if (balloon)
		held = virtio_balloon_size(balloon);
	pthread_mutex_unlock(&vm->devices_lock);
	*stats = (struct vmm_memory_stats){
		.size = vm->memory_size,
		.resident = resident,
		.ballooned = MIN(held, vm->memory_size),
	};
	return 0;
}

static void report_life(struct vmm *vm, struct report *report)
{
	static const char *const states[] = {
		[MACHINE_CREATED] = "created",
		[MACHINE_RUNNING] = "running",
		[MACHINE_PAUSED] = "paused",
		[MACHINE_STOPPED] = "stopped",
	};
	enum machine_state state;
	uint64_t start;

	pthread_mutex_lock(&vm->lock);
	state = vm->state;
	start = vm->start_ns;
	pthread_mutex_unlock(&vm->lock);
	report_string(report, "name", vm->name);
	report_string(report, "state", states[state]);
	report_u64(report, "uptime-ns", start ? clock_now(vm->env.clock) - start : 0);
}

static void report_memory(const struct vmm_memory_stats *memory, struct report *report)
{
	report_begin(report, "memory");
	report_u64(report, "size", memory->size);
	report_u64(report, "resident", memory->resident);
	report_u64(report, "ballooned", memory->ballooned);
	report_end(report);
}

static void report_vcpus(struct vmm *vm, struct report *report)
{
	report_begin_array(report, "vcpus");
	for (unsigned i = 0; vm->vcpus && i < vm->cpus; i++) {
		if (!vm->vcpus[i])
			continue;
		report_begin(report, NULL);
		report_u64(report, "index", i);
		vcpu_report(vm->vcpus[i], report);
		report_end(report);
	}
	report_end_array(report);
}

struct loop_report {
	struct vmm *vm;
	struct report *report;
};

/* All devices in one turn: a controller may have a thousand disks. */
static void report_loop(void *arg)
{
	const struct loop_report *call = arg;
	struct timespec time = {0};

	if (call->vm->io_running)
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	report_u64(call->report, "io-time-ns",
		   (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec);
	report_begin_array(call->report, "devices");
	list_for_each (it, &call->vm->devices) {
		struct device *dev = list_entry(it, struct machine_device, link)->dev;

		if (!dev->cls->stats)
			continue;
		report_begin(call->report, NULL);
		report_string(call->report, "id", dev->id);
		report_string(call->report, "class", dev->cls->name);
		dev->cls->stats(dev, call->report);
		report_end(call->report);
	}
	report_end_array(call->report);
}

int vmm_stats(struct vmm *vm, char **json, struct vmm_error *err)
{
	struct vmm_memory_stats memory;
	struct loop_report call = {.vm = vm};
	int ret = vmm_memory_stats(vm, &memory, err);

	if (ret < 0)
		return ret;
	call.report = report_create();
	report_life(vm, call.report);
	report_memory(&memory, call.report);
	pthread_mutex_lock(&vm->devices_lock);
	report_vcpus(vm, call.report);
	loop_call(vm->io, report_loop, &call);
	pthread_mutex_unlock(&vm->devices_lock);
	ret = report_finish(call.report, json);
	return ret < 0 ? error_set_errno(err, -ret, "the answer cannot be given") : 0;
}
