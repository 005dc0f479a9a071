/* SPDX-License-Identifier: MIT */
/*
 * What kvm*.c and vcpu.c share.
 */
#ifndef VMM_KVM_INTERNAL_H
#define VMM_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/report.h"
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

/* kvm_exit.c: KVM_EXIT_… by name ("IO"), or NULL. */
const char *kvm_exit_name(unsigned reason);

/* How often a vCPU has left the guest, by reason; the last one counts what is beyond. */
#define KVM_EXITS 48u
struct kvm_exits {
	_Atomic uint64_t count[KVM_EXITS];
};

/* The vCPU's thread alone counts, so that only the store must be whole. */
static inline void kvm_exits_count(struct kvm_exits *exits, uint32_t reason)
{
	_Atomic uint64_t *count = &exits->count[MIN(reason, KVM_EXITS - 1)];

	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* Those that there were, as an object "exits". Any thread. */
void kvm_exits_report(const struct kvm_exits *exits, struct report *report);

#endif
