/* SPDX-License-Identifier: MIT */
/*
 * What kvm*.c and vcpu.c share.
 */
#ifndef VMM_KVM_INTERNAL_H
#define VMM_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>

#include "vmm/boot.h"
#include "vmm/kvm.h"
#include "vmm/layout_x86.h"

#define KVM_MAX_GSI    1024 /* IOAPIC pins, then MSI routes */
#define KVM_MAX_CPUIDS 256

struct kvm_line {
	struct irq_line line;
	struct kvm_vm *vm;
	uint32_t gsi;
	_Atomic bool level;
};

struct kvm_vm {
	int kvm_fd, vm_fd;
	const struct log *log;
	struct log_limit guest_log; /* of what the guest provokes */
	unsigned cpus;
	bool tsc_deadline;
	size_t run_size; /* bytes of the mapping that a vCPU shares with the kernel */
	struct guest_memory *memory;
	struct kvm_line lines[X86_IOAPIC_PINS];
	struct msi_sink msi;
	struct apic_sink apic;
	struct doorbell_sink doorbells;

	pthread_mutex_t routes_lock; /* guards what follows */
	struct kvm_irq_routing *routes;
	uint64_t gsi_used[KVM_MAX_GSI / 64];

	bool full_irqchip;              /* PIC and IOAPIC are in the kernel, too */
	struct kvm_irqchip power_on[3]; /* PIC master, PIC slave, IOAPIC */
	struct kvm_pit_state2 pit_power_on;
	bool has_pit;
	struct kvm_cpuid2 *cpuid; /* what KVM supports; template for each vCPU */
	struct kvm_msr_list *msr_list;
};

/* kvm_irq.c */
int kvm_irq_init(struct kvm_vm *vm, struct vmm_error *err) MUST_CHECK;
void kvm_irq_fini(struct kvm_vm *vm);

/* kvm_cpuid_x86.c: the CPUID of vCPU `index`, from what KVM supports. Freed by the caller. */
struct kvm_cpuid2 *kvm_cpuid_for(const struct kvm_vm *vm, unsigned index);

/* kvm_state_x86.c: registers of a vCPU. */
struct kvm_power_on; /* everything as it was right after creation */

/* CPUID and fixed MSRs of a new vCPU, then remember its state for resets. */
int kvm_state_init(struct kvm_vm *vm, int vcpu_fd, unsigned index, struct kvm_power_on **state,
		   struct vmm_error *err) MUST_CHECK;
/* Back to the state of power-on. vCPU not running. */
int kvm_state_reset(int vcpu_fd, const struct kvm_power_on *state) MUST_CHECK;
/* Point the boot vCPU at the kernel's entry. */
int kvm_state_boot(int vcpu_fd, const struct boot_entry *entry) MUST_CHECK;
void kvm_state_free(struct kvm_power_on *state);

#endif
