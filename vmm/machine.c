/* SPDX-License-Identifier: MIT */
/*
 * The life of a machine: devices come, the guest runs, is paused, reset, stopped.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <stdlib.h>

#include "core/thread.h"
#include "devices/devices.h"

/* A guest that triple-faults this often in a row, each time this soon, will never boot. */
#define EARLY_FAULT_NS  (2 * NS_PER_SEC)
#define EARLY_FAULT_MAX 3

/* ---- requests ---- */

static void park_all(struct vmm *vm)
{
	for (unsigned i = 0; vm->vcpus && i < vm->cpus; i++)
		vcpu_park(vm->vcpus[i]);
}

/* Lock held. */
static uint64_t leave_request(struct vmm *vm, enum machine_request request)
{
	if (request & (MACHINE_REQUEST_RUN | MACHINE_REQUEST_PAUSE))
		vm->requests &= ~(unsigned)(MACHINE_REQUEST_RUN | MACHINE_REQUEST_PAUSE);
	vm->requests |= request;
	pthread_cond_broadcast(&vm->changed);
	return ++vm->asked;
}

uint64_t machine_request(struct vmm *vm, enum machine_request request)
{
	uint64_t ticket;

	pthread_mutex_lock(&vm->lock);
	ticket = leave_request(vm, request);
	pthread_mutex_unlock(&vm->lock);
	return ticket;
}

bool machine_answered(struct vmm *vm, uint64_t ticket)
{
	bool answered;

	pthread_mutex_lock(&vm->lock);
	while (vm->answered < ticket && vm->state != MACHINE_STOPPED)
		pthread_cond_wait(&vm->changed, &vm->lock);
	answered = vm->answered >= ticket;
	pthread_mutex_unlock(&vm->lock);
	return answered;
}

static void finish(struct vmm *vm, const struct vmm_result *result, bool client_quit)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->result.kind == VMM_EXIT_NONE) {
		vm->result = *result;
		vm->client_quit = client_quit;
	}
	leave_request(vm, MACHINE_REQUEST_STOP);
	pthread_mutex_unlock(&vm->lock);
}

void machine_finish(struct vmm *vm, enum vmm_exit_kind kind, uint32_t value,
		    const struct vmm_error *err)
{
	struct vmm_result result = {.kind = kind, .value = value};

	if (err)
		result.error = *err;
	finish(vm, &result, false);
}

void machine_quit(struct vmm *vm)
{
	finish(vm, &(struct vmm_result){.kind = VMM_EXIT_STOPPED}, true);
}

static void notify(struct vmm *vm, enum machine_notice_kind kind, uint64_t value)
{
	machine_notify(&vm->watchers, &(struct machine_notice){.kind = kind, .value = value});
}

/* The guest has let go of the devices in these PCI slots. */
static void request_eject(struct vmm *vm, uint32_t slots)
{
	pthread_mutex_lock(&vm->lock);
	vm->ejected |= slots;
	leave_request(vm, MACHINE_REQUEST_EJECT);
	pthread_mutex_unlock(&vm->lock);
}

/* The guest wants it. */
static void request_reset(struct vmm *vm)
{
	if (vm->on_reboot == VMM_ON_REBOOT_EXIT)
		machine_finish(vm, VMM_EXIT_REBOOT, 0, NULL);
	else {
		pthread_mutex_lock(&vm->lock);
		vm->guest_reset = true;
		leave_request(vm, MACHINE_REQUEST_RESET);
		pthread_mutex_unlock(&vm->lock);
	}
}

/*
 * A device speaks. The guest must not run on past a terminal event, nor past one that is to have
 * happened when its write is complete: park the vCPUs at once. Before the request: the control
 * thread may have dealt with that, and run them again, by the time a thread that is no vCPU's gets
 * to the next line.
 */
void machine_device_event(const struct device_env *env, enum machine_event event, uint32_t value)
{
	struct vmm *vm = env->opaque;

	park_all(vm);
	switch (event) {
	case MACHINE_EVENT_POWEROFF:
		machine_finish(vm, VMM_EXIT_POWEROFF, 0, NULL);
		break;
	case MACHINE_EVENT_RESET:
		request_reset(vm);
		break;
	case MACHINE_EVENT_PANIC:
		notify(vm, MACHINE_NOTICE_PANIC, value);
		machine_finish(vm, VMM_EXIT_PANIC, value, NULL);
		break;
	case MACHINE_EVENT_DEBUG_EXIT:
		machine_finish(vm, VMM_EXIT_DEBUG, value, NULL);
		break;
	case MACHINE_EVENT_QUIT:
		machine_finish(vm, VMM_EXIT_QUIT, 0, NULL);
		break;
	case MACHINE_EVENT_EJECT:
		request_eject(vm, value);
		break;
	}
}

void machine_device_notice(const struct device *dev, enum device_notice notice, uint64_t value,
			   const char *text)
{
	static const enum machine_notice_kind kinds[] = {
		[DEVICE_NOTICE_ERROR] = MACHINE_NOTICE_ERROR,
		[DEVICE_NOTICE_PORT] = MACHINE_NOTICE_PORT,
		[DEVICE_NOTICE_BALLOON] = MACHINE_NOTICE_BALLOON,
		[DEVICE_NOTICE_TRAY] = MACHINE_NOTICE_TRAY,
	};
	struct vmm *vm = dev->env->opaque;
	struct machine_notice told = {
		.kind = kinds[notice], .value = value, .id = dev->id, .text = text};

	if (notice == DEVICE_NOTICE_BALLOON)
		told.value = vm->memory_size - MIN(value, vm->memory_size);
	machine_notify(&vm->watchers, &told);
}

/* ---- what vCPUs ask for ---- */

static void on_vcpu_poweroff(struct vcpu_owner *owner)
{
	struct vmm *vm = container_of(owner, struct vmm, owner);

	park_all(vm);
	machine_finish(vm, VMM_EXIT_POWEROFF, 0, NULL);
}

static void on_vcpu_fail(struct vcpu_owner *owner, const struct vmm_error *err)
{
	struct vmm *vm = container_of(owner, struct vmm, owner);

	park_all(vm);
	machine_finish(vm, VMM_EXIT_ERROR, 0, err);
}

/* True if the guest faults again and again right after its start. */
static bool faults_forever(struct vmm *vm)
{
	bool forever;

	pthread_mutex_lock(&vm->lock);
	if (clock_now(vm->env.clock) - vm->boot_time_ns < EARLY_FAULT_NS)
		vm->early_faults++;
	else
		vm->early_faults = 0;
	forever = vm->early_faults >= EARLY_FAULT_MAX;
	pthread_mutex_unlock(&vm->lock);
	return forever;
}

static void on_vcpu_triple_fault(struct vcpu_owner *owner, const struct vmm_error *err)
{
	struct vmm *vm = container_of(owner, struct vmm, owner);

	park_all(vm);
	if (faults_forever(vm)) {
		machine_finish(vm, VMM_EXIT_ERROR, 0, err);
	} else {
		log_warn(&vm->log, "machine", "%s", err->message);
		request_reset(vm);
	}
}

static void on_vcpu_eoi(struct vcpu_owner *owner, uint8_t vector)
{
	ioapic_eoi(container_of(owner, struct vmm, owner)->ioapic, vector);
}

static void on_vcpu_reset(struct vcpu_owner *owner)
{
	struct vmm *vm = container_of(owner, struct vmm, owner);

	park_all(vm);
	request_reset(vm);
}

/* ---- devices ---- */

static void quiesce_devices(struct vmm *vm)
{
	struct device_rest rest;

	/* Side by side: one after the other, a thousand disks would take a thousand turns. */
	device_rest_begin(&rest, vm->io);
	list_for_each (it, &vm->devices)
		device_rest_add(&rest, list_entry(it, struct machine_device, link)->dev);
	device_rest_wait(&rest);
}

static void reset_devices(struct vmm *vm)
{
	list_for_each (it, &vm->devices)
		device_reset(list_entry(it, struct machine_device, link)->dev);
}

/* ---- vCPUs ---- */

static void park_and_wait(struct vmm *vm)
{
	park_all(vm);
	for (unsigned i = 0; i < vm->cpus; i++)
		vcpu_wait_parked(vm->vcpus[i]);
}

static void run_all(struct vmm *vm)
{
	for (unsigned i = 0; i < vm->cpus; i++)
		vcpu_run(vm->vcpus[i]);
}

static int create_vcpus(struct vmm *vm, struct vmm_error *err)
{
	vm->owner = (struct vcpu_owner){
		.pio = vm->pio,
		.mmio = vm->mmio,
		.eoi = on_vcpu_eoi,
		.reset = on_vcpu_reset,
		.triple_fault = on_vcpu_triple_fault,
		.poweroff = on_vcpu_poweroff,
		.fail = on_vcpu_fail,
	};
	vm->vcpus = calloc(vm->cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return error_set(err, ENOMEM, "no memory for %u vCPUs", vm->cpus);
	for (unsigned i = 0; i < vm->cpus; i++) {
		int ret = vcpu_create(&vm->vcpus[i], vm->kvm, i, &vm->owner, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- the control thread ---- */

/*
 * All that asked for a reset before the vCPUs were parked get this one. Returns whether the guest
 * was among them.
 */
static bool forget_resets(struct vmm *vm)
{
	bool guest;

	pthread_mutex_lock(&vm->lock);
	vm->requests &= ~(unsigned)MACHINE_REQUEST_RESET;
	guest = vm->guest_reset;
	vm->guest_reset = false;
	pthread_mutex_unlock(&vm->lock);
	return guest;
}

/* vCPUs parked, devices_lock held. */
static int reset_parked(struct vmm *vm, struct vmm_error *err)
{
	int ret;

	machine_eject_at_reset(vm);
	quiesce_devices(vm);
	reset_devices(vm);
	pci_bus_reset(vm->pci);
	ret = kvm_irqchip_reset(vm->kvm);
	for (unsigned i = 0; ret == 0 && i < vm->cpus; i++)
		ret = vcpu_reset(vm->vcpus[i]);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot reset the vCPUs");
	return machine_arch_load(vm, err);
}

static int reset_machine(struct vmm *vm, struct vmm_error *err)
{
	struct machine_notice notice = {.kind = MACHINE_NOTICE_RESET};
	int ret;

	log_info(&vm->log, "machine", "reset");
	park_and_wait(vm);
	notice.guest = forget_resets(vm);
	pthread_mutex_lock(&vm->devices_lock);
	ret = reset_parked(vm, err);
	pthread_mutex_unlock(&vm->devices_lock);
	if (ret == 0)
		machine_notify(&vm->watchers, &notice);
	return ret;
}

/* False: it failed, and a stop has been requested. */
static bool control_reset(struct vmm *vm)
{
	struct vmm_error err = {0};
	bool run;

	if (reset_machine(vm, &err) < 0) {
		machine_finish(vm, VMM_EXIT_ERROR, 0, &err);
		return false;
	}
	pthread_mutex_lock(&vm->lock);
	vm->boot_time_ns = clock_now(vm->env.clock);
	run = vm->state == MACHINE_RUNNING;
	pthread_mutex_unlock(&vm->lock);
	if (run)
		run_all(vm);
	return true;
}

/*
 * Who has written to the eject register waits for this, with all other vCPUs. requests: those that
 * are dealt with now.
 */
static void control_eject(struct vmm *vm, unsigned requests)
{
	bool run;

	park_and_wait(vm);
	/* Only now: another vCPU may just have written something terminal. */
	pthread_mutex_lock(&vm->lock);
	requests |= vm->requests;
	run = vm->state == MACHINE_RUNNING &&
	      !(requests & (MACHINE_REQUEST_RESET | MACHINE_REQUEST_STOP));
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_lock(&vm->devices_lock);
	machine_eject(vm);
	pthread_mutex_unlock(&vm->devices_lock);
	if (run)
		run_all(vm);
}

static void set_state(struct vmm *vm, enum machine_state state)
{
	pthread_mutex_lock(&vm->lock);
	vm->state = state;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

/* Stop for good: no vCPU runs again, every request of a disk is complete. */
static void control_stop(struct vmm *vm)
{
	park_and_wait(vm);
	/* Together: who has the lock and sees another state may count on devices that work. */
	pthread_mutex_lock(&vm->devices_lock);
	quiesce_devices(vm);
	set_state(vm, MACHINE_STOPPED);
	pthread_mutex_unlock(&vm->devices_lock);
	/* The result is settled. */
	machine_notify(&vm->watchers, &(struct machine_notice){.kind = MACHINE_NOTICE_STOPPED,
							       .value = vm->result.kind,
							       .client = vm->client_quit});
	/* Who has waited for the end finds the last event. */
	pthread_mutex_lock(&vm->lock);
	vm->end_told = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

/* Wait for requests; *ticket: the last of them. */
static unsigned take_requests(struct vmm *vm, uint64_t *ticket)
{
	unsigned requests;

	pthread_mutex_lock(&vm->lock);
	while (!vm->requests)
		pthread_cond_wait(&vm->changed, &vm->lock);
	requests = vm->requests;
	vm->requests = 0;
	*ticket = vm->asked;
	pthread_mutex_unlock(&vm->lock);
	return requests;
}

static void answer(struct vmm *vm, uint64_t ticket)
{
	pthread_mutex_lock(&vm->lock);
	/* With nothing left, also those have been dealt with that came in the meantime. */
	vm->answered = vm->requests ? ticket : vm->asked;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static void *machine_control(void *arg)
{
	struct vmm *vm = arg;
	unsigned requests;
	uint64_t ticket;

	while (!((requests = take_requests(vm, &ticket)) & MACHINE_REQUEST_STOP)) {
		if ((requests & MACHINE_REQUEST_PAUSE) && vm->state != MACHINE_PAUSED) {
			park_and_wait(vm);
			set_state(vm, MACHINE_PAUSED);
			notify(vm, MACHINE_NOTICE_PAUSED, 0);
		}
		if (requests & MACHINE_REQUEST_EJECT)
			control_eject(vm, requests);
		if ((requests & MACHINE_REQUEST_RESET) && !control_reset(vm))
			continue;
		/* Only this thread changes the state before the end. vCPUs that run are let be. */
		if ((requests & MACHINE_REQUEST_RUN) && vm->state != MACHINE_RUNNING) {
			set_state(vm, MACHINE_RUNNING);
			notify(vm, MACHINE_NOTICE_RUNNING, 0); /* before what the guest does */
			run_all(vm);
		}
		answer(vm, ticket);
	}
	control_stop(vm);
	return NULL;
}

int machine_start(struct vmm *vm, struct vmm_error *err)
{
	int ret;

	if ((ret = create_vcpus(vm, err)) < 0 || (ret = kvm_add_memory(vm->kvm, err)) < 0 ||
	    (ret = machine_arch_load(vm, err)) < 0 || (ret = loop_start(vm->io, err)) < 0)
		return ret;
	vm->io_running = true;
	pthread_mutex_lock(&vm->lock);
	vm->start_ns = vm->boot_time_ns = clock_now(vm->env.clock);
	pthread_mutex_unlock(&vm->lock);
	ret = thread_start(&vm->control, "vmm-control", machine_control, vm);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot start the control thread");
	/* Only the control thread runs vCPUs: a stop that comes meanwhile is not overtaken. */
	machine_request(vm, MACHINE_REQUEST_RUN);
	/* From now on others may ask it for something, which must not be overtaken by that. */
	vm->control_started = true;
	return 0;
}
