/* SPDX-License-Identifier: MIT */
/*
 * The public functions of include/vmm.h over struct vmm (machine.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "core/versioned.h"
#include "devices/devices.h"
#include "vmm/control.h"
#include "vmm/layout_x86.h"
#include "vmm/machine.h"

#define DEFAULT_MEMORY (512 * MIB)
#define MIN_MEMORY     (16 * MIB)
#define MAX_CPUS       255u

/* ---- creation ---- */

static int check_memory(const struct vmm_config *config, uint64_t memory, struct vmm_error *err)
{
	uint64_t page = config->hugepages ? 2 * MIB : 4 * KIB;
	struct sysinfo info;

	if (memory < MIN_MEMORY)
		return error_set(err, EINVAL, "%llu bytes of memory are too little: at least 16M",
				 (unsigned long long)memory);
	if (memory % page)
		return error_set(err, EINVAL, "%llu bytes of memory are not a multiple of %s",
				 (unsigned long long)memory,
				 config->hugepages ? "2M, the size of a huge page" : "4K");
	if (sysinfo(&info) < 0)
		return 0; /* cannot tell */

	uint64_t host = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;

	if (memory > host)
		return error_set(
			err, ENOMEM,
			"%llu MiB of memory are more than this host has (%llu MiB with swap)",
			(unsigned long long)(memory / MIB), (unsigned long long)(host / MIB));
	return 0;
}

static int check_config(const struct vmm_config *config, struct vmm_error *err)
{
	int rc = error_unless_given(config->kernel, "kernel", err);

	if (rc)
		return rc;
	if (config->cpus > MAX_CPUS)
		return error_set(err, EINVAL, "%u vCPUs: the number must be 1 to %u", config->cpus,
				 MAX_CPUS);
	return check_memory(config, config->memory ? config->memory : DEFAULT_MEMORY, err);
}

/* A kernel without ACPI or IOAPIC needs the 8254 for its first timer. */
static bool wants_pit(const char *cmdline)
{
	return cmdline && (strstr(cmdline, "acpi=off") || strstr(cmdline, "noapic"));
}

static void fill_env(struct vmm *vm)
{
	vm->env = (struct device_env){
		.log = &vm->log,
		.clock = clock_system(),
		.memory = vm->memory,
		.loop = vm->io,
		.pio = vm->pio,
		.mmio = vm->mmio,
		.pci = vm->pci,
		.msi = kvm_msi_sink(vm->kvm),
		.apic = kvm_apic_sink(vm->kvm),
		.doorbells = kvm_doorbell_sink(vm->kvm),
		.isa_irq = vm->env.isa_irq,
		.event = machine_device_event,
		.notice = machine_device_notice,
		.find = machine_find_device,
		.provided = &vm->provided,
		.opaque = vm,
	};
}

static int build(struct vmm *vm, const struct vmm_config *config, struct vmm_error *err)
{
	unsigned flags = (config->hugepages ? GUEST_MEMORY_HUGEPAGES : 0u) |
			 (config->prealloc ? GUEST_MEMORY_PREALLOC : 0u) |
			 (config->shared ? GUEST_MEMORY_SHARED : 0u);
	struct boot_config boot = {
		.kernel = config->kernel,
		.initrds = config->initrds,
		.cmdline = config->cmdline,
		.log = &vm->log,
	};
	int ret;

	if ((ret = guest_memory_create(&vm->memory, err)) < 0)
		return ret;
	boot.memory = vm->memory;

	struct kvm_config kvm = {
		.memory = vm->memory,
		.log = &vm->log,
		.cpus = vm->cpus,
		.pit = wants_pit(config->cmdline),
	};

	/* The hypervisor first: see kvm_add_memory. */
	if ((ret = kvm_vm_create(&vm->kvm, &kvm, err)) < 0 ||
	    (ret = machine_arch_memory(vm, flags, err)) < 0 ||
	    (ret = boot_open(&vm->boot, &boot, err)) < 0 ||
	    (ret = machine_arch_buses(vm, err)) < 0 ||
	    (ret = loop_create(&vm->io, "vmm-io", clock_system(), err)) < 0)
		return ret;
	fill_env(vm);
	vm->drive_engines.loop = vm->io;
	return machine_arch_devices(vm, err);
}

static int init(struct vmm *vm, const struct vmm_config *config, struct vmm_error *err)
{
	int ret;

	vm->name = strdup(config->name ? config->name : "vm");
	vm->cpus = config->cpus ? config->cpus : 1;
	vm->memory_size = config->memory ? config->memory : DEFAULT_MEMORY;
	vm->on_reboot = config->on_reboot;
	vm->log = (struct log){
		.fn = config->log,
		.opaque = config->log_opaque,
		.level = config->log_level,
		.clock = clock_system(),
	};
	machine_init_devices(vm);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	ret = event_queue_init(&vm->events, clock_system());
	if (ret < 0)
		return error_set_errno(err, -ret, "no descriptor for a VM");
	machine_watch(&vm->watchers, &vm->events.watcher);
	return vm->name ? 0 : error_set(err, ENOMEM, "no memory for a VM");
}

int vmm_create(struct vmm **out, const struct vmm_config *given, struct vmm_error *err)
{
	struct vmm_config own, *config = &own;
	struct vmm *vm;
	int ret = versioned_copy(config, sizeof(*config), given,
				 VERSIONED_SIZE(struct vmm_config, log_level), "struct vmm_config",
				 err);

	if (ret == 0)
		ret = check_config(config, err);
	if (ret < 0)
		return ret;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return error_set(err, ENOMEM, "no memory for a VM");
	ret = init(vm, config, err);
	if (ret == 0)
		ret = build(vm, config, err);
	if (ret < 0) {
		vmm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

static enum machine_state state_of(struct vmm *vm)
{
	enum machine_state state;

	pthread_mutex_lock(&vm->lock);
	state = vm->state;
	pthread_mutex_unlock(&vm->lock);
	return state;
}

/* ---- life ---- */

int vmm_start(struct vmm *vm, struct vmm_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->devices_lock);
	/* Also after a start that failed: what it made is there until vmm_destroy. */
	if (vm->vcpus)
		ret = error_set(err, EBUSY, "VM %s has been started already", vm->name);
	else
		ret = machine_start(vm, err);
	pthread_mutex_unlock(&vm->devices_lock);
	return ret;
}

static int request_and_wait(struct vmm *vm, enum machine_request request, struct vmm_error *err)
{
	if (!vm->control_started)
		return error_set(err, EINVAL, "VM %s has not been started", vm->name);
	if (!machine_answered(vm, machine_request(vm, request)))
		return error_set(err, ESHUTDOWN, "VM %s has stopped", vm->name);
	return 0;
}

int vmm_pause(struct vmm *vm, struct vmm_error *err)
{
	return request_and_wait(vm, MACHINE_REQUEST_PAUSE, err);
}

int vmm_resume(struct vmm *vm, struct vmm_error *err)
{
	return request_and_wait(vm, MACHINE_REQUEST_RUN, err);
}

int vmm_reset(struct vmm *vm, struct vmm_error *err)
{
	return request_and_wait(vm, MACHINE_REQUEST_RESET, err);
}

int vmm_powerdown(struct vmm *vm, struct vmm_error *err)
{
	enum machine_state state = state_of(vm);

	if (state == MACHINE_STOPPED)
		return error_set(err, ESHUTDOWN, "VM %s has stopped", vm->name);
	acpi_pm_raise(vm->acpi_pm, X86_GED_POWER_BUTTON);
	machine_notify(&vm->watchers, &(struct machine_notice){.kind = MACHINE_NOTICE_POWERDOWN});
	return 0;
}

void vmm_stop(struct vmm *vm)
{
	machine_finish(vm, VMM_EXIT_STOPPED, 0, NULL);
}

int vmm_wait(struct vmm *vm, struct vmm_result *result)
{
	if (!vm->control_started)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	while (!vm->end_told)
		pthread_cond_wait(&vm->changed, &vm->lock);
	*result = vm->result;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

enum vmm_state vmm_get_state(struct vmm *vm)
{
	switch (state_of(vm)) {
	case MACHINE_RUNNING:
		return VMM_STATE_RUNNING;
	case MACHINE_PAUSED:
		return VMM_STATE_PAUSED;
	case MACHINE_STOPPED:
		return VMM_STATE_STOPPED;
	case MACHINE_CREATED:
		break;
	}
	return VMM_STATE_CREATED;
}

/* ---- what happens ---- */

int vmm_event_fd(const struct vmm *vm)
{
	return vm->events.fd;
}

int vmm_next_event(struct vmm *vm, struct vmm_event *event)
{
	return event_queue_take(&vm->events, event);
}

/* ---- the end ---- */

void vmm_destroy(struct vmm *vm)
{
	if (!vm)
		return;
	if (vm->control_started) {
		vmm_stop(vm);
		pthread_join(vm->control, NULL);
	}
	/* While everything is there that its commands may be at. */
	control_close(vm);
	/* The vCPUs are parked. The loop ends first: its devices may still ask to park them. */
	if (vm->io_running)
		loop_join(vm->io);
	for (unsigned i = 0; vm->vcpus && i < vm->cpus; i++)
		vcpu_destroy(vm->vcpus[i]);
	free(vm->vcpus);
	vm->vcpus = NULL; /* a device that speaks up on its way out finds none to park */
	machine_remove_devices(vm);
	machine_remove_backends(vm);
	loop_destroy(vm->io);
	provided_fini(&vm->provided); /* the loop has let go of them */
	pci_bus_destroy(vm->pci);
	bus_destroy(vm->pio);
	bus_destroy(vm->mmio);
	kvm_vm_destroy(vm->kvm);
	boot_close(vm->boot);
	guest_memory_destroy(vm->memory);
	event_queue_fini(&vm->events);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->devices_lock);
	machine_watchers_fini(&vm->watchers);
	free(vm->name);
	free(vm);
}

/* ---- helpers ---- */

int vmm_parse_size(const char *text, uint64_t *bytes)
{
	return text ? parse_size(text, bytes) : -EINVAL;
}

const char *vmm_nearest(const char *word, const char *const *names)
{
	return word ? nearest_name(word, names) : NULL;
}

const char *vmm_version(void)
{
	return VMM_VERSION;
}
