/* SPDX-License-Identifier: MIT */
/*
 * Virtual CPUs: one thread each, which runs the guest and carries its port and memory accesses to
 * the buses.
 *
 * A vCPU is parked (its thread waits) or runs. The owner parks all vCPUs before it changes what
 * they see. Kicks use a thread-directed SIGUSR1 that is blocked in the thread and only unblocked
 * inside KVM_RUN, so no signal handler is needed and none can be raced.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "core/report.h"
#include "mmio/bus.h"
#include "vmm/boot.h"
#include "vmm/kvm.h"

struct vcpu;

/* How vCPUs of one VM talk to their owner. Called on vCPU threads. */
struct vcpu_owner {
	struct bus *pio, *mmio;
	/* The end of a level-triggered interrupt that the machine watches (struct apic_sink). */
	void (*eoi)(struct vcpu_owner *owner, uint8_t vector);
	/* The guest asked for it through KVM itself (a system event). */
	void (*reset)(struct vcpu_owner *owner);
	void (*poweroff)(struct vcpu_owner *owner);
	/* The guest has triple-faulted, which resets a machine; err says where. */
	void (*triple_fault)(struct vcpu_owner *owner, const struct vmm_error *err);
	/* This vCPU cannot go on; err says why. */
	void (*fail)(struct vcpu_owner *owner, const struct vmm_error *err);
};

/* Create vCPU `index` with its thread parked. */
int vcpu_create(struct vcpu **vcpu, struct kvm_vm *vm, unsigned index, struct vcpu_owner *owner,
		struct vmm_error *err) MUST_CHECK;
/* Ends the thread. NULL is allowed. */
void vcpu_destroy(struct vcpu *vcpu);

/* The kernel's number of its thread; 0: it has yet to begin. Any thread. */
pid_t vcpu_thread_id(const struct vcpu *vcpu);

/*
 * Its thread's CPU time (in the guest and out of it) and how often the guest was left, by reason:
 * into an object that is open. Any thread; the counts of a vCPU that runs are a moment old.
 */
void vcpu_report(const struct vcpu *vcpu, struct report *report);

/* Registers back to power-on / at the kernel's entry. Parked. */
int vcpu_reset(struct vcpu *vcpu) MUST_CHECK;
int vcpu_boot(struct vcpu *vcpu, const struct boot_entry *entry) MUST_CHECK;

/* Ask it to park, without waiting. Any thread, also the vCPU's own. */
void vcpu_park(struct vcpu *vcpu);
/* Wait until it is parked. Not on a vCPU's thread. */
void vcpu_wait_parked(struct vcpu *vcpu);
/* Let a parked one go on. Not one that runs: KVM would make the caller wait until it exits. */
void vcpu_run(struct vcpu *vcpu);

#endif
