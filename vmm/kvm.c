/* SPDX-License-Identifier: MIT */
/*
 * Creating the virtual machine: /dev/kvm, memory slots, interrupt controllers.
 */
#include "vmm/kvm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct needed_cap {
	int cap;
	const char *name;
};

static const struct needed_cap needed_caps[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

bool kvm_host_has_hardware_virtualization(void)
{
	char line[8192];
	bool found = false;
	FILE *f = fopen("/proc/cpuinfo", "re");

	if (!f)
		return true; /* cannot tell; do not claim that it is missing */
	while (!found && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		found = strstr(line, " vmx") || strstr(line, " svm");
		break; /* every CPU has the same flags */
	}
	fclose(f);
	return found;
}

static int open_kvm(struct kvm_vm *vm, struct vmm_error *err)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return error_set(
			err, errno,
			"/dev/kvm is not there: load the module kvm_intel or kvm_amd, or "
			"switch on virtualization in the firmware (vmm check-host says more)");
	case EACCES:
	case EPERM:
		return error_set(err, errno,
				 "no permission to open /dev/kvm: that is for its owner and group "
				 "(vmm check-host says what to do)");
	default:
		return error_set_errno(err, errno, "cannot open /dev/kvm");
	}
}

static int check_kvm(struct kvm_vm *vm, struct vmm_error *err)
{
	int version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION)
		return error_set(err, ENOTSUP, "/dev/kvm speaks API version %d, not %d", version,
				 KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed_caps); i++)
		if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needed_caps[i].cap) <= 0)
			return error_set(err, ENOTSUP, "this host's KVM lacks %s",
					 needed_caps[i].name);

	int max = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	if (max > 0 && vm->cpus > (unsigned)max)
		return error_set(err, EINVAL, "%u vCPUs are more than this host's KVM allows (%d)",
				 vm->cpus, max);
	int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size <= 0)
		return error_set_errno(err, errno, "KVM_GET_VCPU_MMAP_SIZE");
	vm->run_size = (size_t)size;
	vm->tsc_deadline = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return 0;
}

static int create_vm(struct kvm_vm *vm, struct vmm_error *err)
{
	/* EINTR: KVM_CREATE_VM registers an MMU notifier, which a signal may interrupt. */
	do
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->vm_fd < 0 && errno == EINTR);
	if (vm->vm_fd < 0)
		return error_set_errno(err, errno, "KVM_CREATE_VM");

	uint64_t identity = X86_KVM_IDENTITY;

	/* Only old Intel CPUs need these; where they are not needed they are harmless. */
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 && errno != ENOTTY)
		return error_set_errno(err, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, X86_KVM_TSS) < 0 && errno != ENOTTY)
		return error_set_errno(err, errno, "KVM_SET_TSS_ADDR");
	return 0;
}

int kvm_add_memory(struct kvm_vm *vm, struct vmm_error *err)
{
	for (unsigned i = 0; i < guest_memory_count(vm->memory); i++) {
		const struct guest_region *r = guest_memory_region(vm->memory, i);
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->base.v,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return error_set_errno(err, errno, "KVM does not take %llu bytes of memory",
					       (unsigned long long)r->size);
	}
	return 0;
}

/* Local APICs only; messages and their EOIs go by the first X86_IOAPIC_PINS routes. */
static bool create_split_irqchip(struct kvm_vm *vm)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {X86_IOAPIC_PINS}};

	return ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

static int create_full_irqchip(struct kvm_vm *vm, bool pit, struct vmm_error *err)
{
	struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};

	vm->full_irqchip = true;
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_set_errno(err, errno, "KVM_CREATE_IRQCHIP");
	if (pit && ioctl(vm->vm_fd, KVM_CREATE_PIT2, &config) < 0)
		return error_set_errno(err, errno, "KVM_CREATE_PIT2");
	if (pit && ioctl(vm->vm_fd, KVM_GET_PIT2, &vm->pit_power_on) < 0)
		return error_set_errno(err, errno, "KVM_GET_PIT2");
	vm->has_pit = pit;
	for (unsigned i = 0; i < ARRAY_SIZE(vm->power_on); i++) {
		vm->power_on[i].chip_id = i;
		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &vm->power_on[i]) < 0)
			return error_set_errno(err, errno, "KVM_GET_IRQCHIP");
	}
	return 0;
}

static int create_irqchip(struct kvm_vm *vm, bool pit, struct vmm_error *err)
{
	if (!pit && create_split_irqchip(vm))
		return 0;
	return create_full_irqchip(vm, pit, err);
}

int kvm_irqchip_reset(struct kvm_vm *vm)
{
	if (!vm->full_irqchip)
		return 0;
	/* First: the interrupts of a timer that still runs go away with the controllers' state. */
	if (vm->has_pit && ioctl(vm->vm_fd, KVM_SET_PIT2, &vm->pit_power_on) < 0)
		return -errno;
	for (unsigned i = 0; i < ARRAY_SIZE(vm->power_on); i++)
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &vm->power_on[i]) < 0)
			return -errno;
	return 0;
}

/* What every vCPU asks KVM for: fetched once. */
static int fetch_templates(struct kvm_vm *vm, struct vmm_error *err)
{
	struct kvm_msr_list probe = {0};

	vm->cpuid =
		calloc(1, sizeof(*vm->cpuid) + KVM_MAX_CPUIDS * sizeof(struct kvm_cpuid_entry2));
	if (!vm->cpuid)
		return error_set(err, ENOMEM, "no memory for the CPUID table");
	vm->cpuid->nent = KVM_MAX_CPUIDS;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, vm->cpuid) < 0)
		return error_set_errno(err, errno, "KVM_GET_SUPPORTED_CPUID");

	/* The first call fails with E2BIG and tells the number. */
	(void)ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);
	vm->msr_list = calloc(1, sizeof(*vm->msr_list) + probe.nmsrs * sizeof(uint32_t));
	if (!vm->msr_list)
		return error_set(err, ENOMEM, "no memory for the MSR list");
	vm->msr_list->nmsrs = probe.nmsrs;
	if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, vm->msr_list) < 0)
		return error_set_errno(err, errno, "KVM_GET_MSR_INDEX_LIST");
	return 0;
}

int kvm_vm_create(struct kvm_vm **out, const struct kvm_config *config, struct vmm_error *err)
{
	struct kvm_vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return error_set(err, ENOMEM, "no memory for the virtual machine");
	vm->kvm_fd = vm->vm_fd = -1;
	vm->log = config->log;
	vm->cpus = config->cpus;
	vm->memory = config->memory;
	pthread_mutex_init(&vm->routes_lock, NULL);

	if ((ret = open_kvm(vm, err)) < 0 || (ret = check_kvm(vm, err)) < 0 ||
	    (ret = create_vm(vm, err)) < 0 ||
	    (ret = create_irqchip(vm, config->pit || !vm->tsc_deadline, err)) < 0 ||
	    (ret = fetch_templates(vm, err)) < 0 || (ret = kvm_irq_init(vm, err)) < 0) {
		kvm_vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
	if (!vm)
		return;
	kvm_irq_fini(vm);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	pthread_mutex_destroy(&vm->routes_lock);
	free(vm->cpuid);
	free(vm->msr_list);
	free(vm);
}
