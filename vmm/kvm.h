/* SPDX-License-Identifier: MIT */
/*
 * The hypervisor: one KVM virtual machine. Only the files kvm*.c and vcpu.c know <linux/kvm.h>.
 *
 * The local APICs, which are on the hot path, are in the kernel, and messages go to them by irqfd.
 * The IOAPIC, which almost no interrupt of this machine passes, is ours (devices/ioapic.c): a VM
 * without the kernel's PIC and IOAPIC is set up and torn down several milliseconds faster. Guests
 * that need the 8259 and 8254 get all of the kernel's.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include "core/irq.h"
#include "core/log.h"
#include "core/memory.h"

struct kvm_vm;

struct kvm_config {
	struct guest_memory *memory; /* for kvm_add_memory; outlives the VM */
	const struct log *log;
	unsigned cpus;
	/*
	 * The guest wants the 8259 and 8254. It gets them anyway where KVM has no TSC deadline
	 * timer, because then it calibrates the APIC timer with the latter.
	 */
	bool pit;
};

/*
 * Open /dev/kvm and create a VM. Errors with a sentence that says what to do: no /dev/kvm, no
 * permission, a capability that is missing, too many vCPUs.
 */
int kvm_vm_create(struct kvm_vm **vm, const struct kvm_config *config,
		  struct vmm_error *err) MUST_CHECK;
/*
 * Give the VM its memory: each region becomes a slot. Once, before a vCPU runs, but as late as can
 * be: after the kernel's PIC and IOAPIC were made KVM takes some milliseconds (an SRCU grace
 * period) before it accepts a slot, in which the caller may as well do something else.
 */
int kvm_add_memory(struct kvm_vm *vm, struct vmm_error *err) MUST_CHECK;

/* Every vCPU and every MSI vector must be gone. NULL is allowed. */
void kvm_vm_destroy(struct kvm_vm *vm);

/* The local APICs, where the IOAPIC is to be emulated over them; else NULL. */
struct apic_sink *kvm_apic_sink(struct kvm_vm *vm);
/* Else: the line of a GSI (0 to 23) into the kernel's PIC and IOAPIC. Lives as long as the VM. */
struct irq_line *kvm_irq_line(struct kvm_vm *vm, unsigned gsi);
struct msi_sink *kvm_msi_sink(struct kvm_vm *vm);
struct doorbell_sink *kvm_doorbell_sink(struct kvm_vm *vm);

/*
 * The first guest physical address that vCPUs cannot reach (a power of two): RAM and BARs must lie
 * below.
 */
uint64_t kvm_address_limit(const struct kvm_vm *vm);

/* The kernel's PIC and IOAPIC, if there, back to their state at power-on. vCPUs stopped. Returns 0
 * or -errno. */
int kvm_irqchip_reset(struct kvm_vm *vm) MUST_CHECK;

/* The CPU has vmx or svm: guest kernels run natively rather than under an emulator. */
bool kvm_host_has_hardware_virtualization(void);

#endif
