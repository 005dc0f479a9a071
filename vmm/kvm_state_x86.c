/* SPDX-License-Identifier: MIT */
/*
 * Registers of a vCPU: the state at power-on, remembered so that a reboot brings back all of it
 * whatever the guest has set since, and the state in which a kernel is entered.
 */
#include "vmm/kvm_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MSR_IA32_TSC            0x10
#define MSR_IA32_TSC_ADJUST     0x3b
#define MSR_IA32_MISC_ENABLE    0x1a0
#define MSR_IA32_MTRR_DEF_TYPE  0x2ff
#define MISC_ENABLE_FAST_STRING 1u
#define MTRR_ENABLE             (1u << 11)
#define MTRR_TYPE_WRITE_BACK    6u

#define CR0_PE   (UINT64_C(1) << 0)
#define CR0_ET   (UINT64_C(1) << 4)
#define CR0_PG   (UINT64_C(1) << 31)
#define CR4_PAE  (UINT64_C(1) << 5)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)

struct kvm_power_on {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_nested_state nested;
	struct kvm_xsave xsave;
	bool has_xcrs, has_xsave, has_nested;
	struct kvm_msrs *msrs;
};

/* A name for the step that failed, and its ioctl. */
#define STEP(fd, req, arg, err) \
	(ioctl(fd, req, arg) < 0 ? error_set_errno(err, errno, "%s", #req) : 0)

/* KVM reads or writes MSRs up to the first that it refuses: leave that one out and go on. */
static int get_msrs(int fd, const struct kvm_msr_list *list, struct kvm_msrs **out)
{
	struct kvm_msrs *msrs =
		calloc(1, sizeof(*msrs) + list->nmsrs * sizeof(struct kvm_msr_entry));
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one;

	if (!msrs)
		return -ENOMEM;
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		/* See keep_tsc_in_step. */
		if (list->indices[i] == MSR_IA32_TSC || list->indices[i] == MSR_IA32_TSC_ADJUST)
			continue;
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		one.entry.index = list->indices[i];
		if (ioctl(fd, KVM_GET_MSRS, &one) == 1)
			msrs->entries[msrs->nmsrs++] = one.entry;
	}
	*out = msrs;
	return 0;
}

static void set_msrs(int fd, const struct kvm_msrs *msrs)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1};

	/* Some can be read but not written back (features that the guest cannot have used). */
	for (uint32_t i = 0; i < msrs->nmsrs; i++) {
		one.entry = msrs->entries[i];
		(void)ioctl(fd, KVM_SET_MSRS, &one);
	}
}

static int set_msr(int fd, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry = {.index = index, .data = value}};

	return ioctl(fd, KVM_SET_MSRS, &one) == 1 ? 0 : -EIO;
}

/* What firmware would leave: LINT0 takes the PIC, LINT1 is NMI, memory is cacheable. */
static int firmware_state(int fd, struct vmm_error *err)
{
	struct kvm_lapic_state lapic;
	int ret = STEP(fd, KVM_GET_LAPIC, &lapic, err);

	if (ret < 0)
		return ret;

	uint32_t lint0 = 0x700, lint1 = 0x400;

	memcpy(lapic.regs + 0x350, &lint0, sizeof(lint0));
	memcpy(lapic.regs + 0x360, &lint1, sizeof(lint1));
	ret = STEP(fd, KVM_SET_LAPIC, &lapic, err);
	if (ret < 0)
		return ret;
	/* Not every KVM lets these be written; the guest can do without. */
	(void)set_msr(fd, MSR_IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING);
	(void)set_msr(fd, MSR_IA32_MTRR_DEF_TYPE, MTRR_ENABLE | MTRR_TYPE_WRITE_BACK);
	return 0;
}

static int remember(struct kvm_vm *vm, int fd, struct kvm_power_on *s, struct vmm_error *err)
{
	int ret;

	if ((ret = STEP(fd, KVM_GET_REGS, &s->regs, err)) < 0 ||
	    (ret = STEP(fd, KVM_GET_SREGS, &s->sregs, err)) < 0 ||
	    (ret = STEP(fd, KVM_GET_FPU, &s->fpu, err)) < 0 ||
	    (ret = STEP(fd, KVM_GET_DEBUGREGS, &s->debugregs, err)) < 0 ||
	    (ret = STEP(fd, KVM_GET_LAPIC, &s->lapic, err)) < 0 ||
	    (ret = STEP(fd, KVM_GET_VCPU_EVENTS, &s->events, err)) < 0 ||
	    (ret = STEP(fd, KVM_GET_MP_STATE, &s->mp, err)) < 0)
		return ret;
	/* A CPU without XSAVE has none; KVM then gives an empty list that it does not take back. */
	s->has_xcrs = ioctl(fd, KVM_GET_XCRS, &s->xcrs) == 0 && s->xcrs.nr_xcrs > 0;
	s->has_xsave = ioctl(fd, KVM_GET_XSAVE, &s->xsave) == 0;
	s->nested.size = sizeof(s->nested);
	s->has_nested = ioctl(fd, KVM_GET_NESTED_STATE, &s->nested) == 0;
	ret = get_msrs(fd, vm->msr_list, &s->msrs);
	return ret < 0 ? error_set(err, ENOMEM, "no memory for the MSRs of a vCPU") : 0;
}

int kvm_state_init(struct kvm_vm *vm, int fd, unsigned index, struct kvm_power_on **out,
		   struct vmm_error *err)
{
	struct kvm_cpuid2 *cpuid = kvm_cpuid_for(vm, index);
	struct kvm_power_on *s = calloc(1, sizeof(*s));
	int ret;

	if (!cpuid || !s) {
		ret = error_set(err, ENOMEM, "no memory for vCPU %u", index);
		goto fail;
	}
	if ((ret = STEP(fd, KVM_SET_CPUID2, cpuid, err)) < 0 ||
	    (ret = firmware_state(fd, err)) < 0 || (ret = remember(vm, fd, s, err)) < 0)
		goto fail;
	free(cpuid);
	*out = s;
	return 0;
fail:
	free(cpuid);
	kvm_state_free(s);
	return ret;
}

/*
 * The time stamp counter goes on across resets. KVM takes a written 0 for "in step with the other
 * vCPUs", and that is needed: on AMD it forgets the counter's offset when a vCPU shuts down.
 */
static void keep_tsc_in_step(int fd)
{
	(void)set_msr(fd, MSR_IA32_TSC_ADJUST, 0);
	(void)set_msr(fd, MSR_IA32_TSC, 0);
}

int kvm_state_reset(int fd, const struct kvm_power_on *s)
{
	/* First out of VMX or SVM: while VMX is on, KVM accepts no CR4 that lacks VMXE. */
	if (s->has_nested && ioctl(fd, KVM_SET_NESTED_STATE, &s->nested) < 0)
		return -errno;
	/* Vector registers and whatever else FPU does not cover, which comes later. */
	if (s->has_xsave && ioctl(fd, KVM_SET_XSAVE, &s->xsave) < 0)
		return -errno;
	/* MP state next: it takes an AP out of whatever it waits for. LAPIC after the base MSR. */
	if (ioctl(fd, KVM_SET_MP_STATE, &s->mp) < 0 || ioctl(fd, KVM_SET_SREGS, &s->sregs) < 0 ||
	    ioctl(fd, KVM_SET_REGS, &s->regs) < 0 || ioctl(fd, KVM_SET_FPU, &s->fpu) < 0 ||
	    ioctl(fd, KVM_SET_DEBUGREGS, &s->debugregs) < 0)
		return -errno;
	if (s->has_xcrs && ioctl(fd, KVM_SET_XCRS, &s->xcrs) < 0)
		return -errno;
	set_msrs(fd, s->msrs);
	keep_tsc_in_step(fd);
	if (ioctl(fd, KVM_SET_LAPIC, &s->lapic) < 0 ||
	    ioctl(fd, KVM_SET_VCPU_EVENTS, &s->events) < 0)
		return -errno;
	return 0;
}

void kvm_state_free(struct kvm_power_on *s)
{
	if (!s)
		return;
	free(s->msrs);
	free(s);
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool code64, bool db)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.l = code64,
		.db = db,
		.g = 1,
	};
}

static void boot_segments(struct kvm_sregs *sregs, bool long_mode)
{
	sregs->cs = flat_segment(BOOT_CS, 0xb, long_mode, !long_mode);
	sregs->ds = flat_segment(BOOT_DS, 0x3, false, true);
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
	sregs->tr = (struct kvm_segment){
		.limit = 0x67, .selector = BOOT_TSS, .type = 0xb, .present = 1};
	sregs->gdt.base = X86_BOOT_GDT;
	sregs->gdt.limit = BOOT_GDT_SIZE - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
}

int kvm_state_boot(int fd, const struct boot_entry *entry)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsi = entry->rsi,
		.rbx = entry->rbx,
		.rsp = entry->rsp,
		.rflags = 2,
	};

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	boot_segments(&sregs, entry->mode == BOOT_LONG_MODE);
	sregs.cr0 = CR0_PE | CR0_ET;
	if (entry->mode == BOOT_LONG_MODE) {
		sregs.cr0 |= CR0_PG;
		sregs.cr3 = entry->cr3;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME | EFER_LMA;
	}
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}
