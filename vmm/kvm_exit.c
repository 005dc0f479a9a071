/* SPDX-License-Identifier: MIT */
/*
 * Why KVM_RUN returns, by name, and how often it has.
 */
#include <ctype.h>
#include <linux/kvm.h>
#include <stdio.h>

#include "vmm/kvm_internal.h"

static const char *const names[] = {
	[KVM_EXIT_UNKNOWN] = "UNKNOWN",
	[KVM_EXIT_EXCEPTION] = "EXCEPTION",
	[KVM_EXIT_IO] = "IO",
	[KVM_EXIT_HYPERCALL] = "HYPERCALL",
	[KVM_EXIT_DEBUG] = "DEBUG",
	[KVM_EXIT_HLT] = "HLT",
	[KVM_EXIT_MMIO] = "MMIO",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "IRQ_WINDOW_OPEN",
	[KVM_EXIT_SHUTDOWN] = "SHUTDOWN",
	[KVM_EXIT_FAIL_ENTRY] = "FAIL_ENTRY",
	[KVM_EXIT_INTR] = "INTR",
	[KVM_EXIT_SET_TPR] = "SET_TPR",
	[KVM_EXIT_TPR_ACCESS] = "TPR_ACCESS",
	[KVM_EXIT_NMI] = "NMI",
	[KVM_EXIT_INTERNAL_ERROR] = "INTERNAL_ERROR",
	[KVM_EXIT_OSI] = "OSI",
	[KVM_EXIT_EPR] = "EPR",
	[KVM_EXIT_SYSTEM_EVENT] = "SYSTEM_EVENT",
	[KVM_EXIT_IOAPIC_EOI] = "IOAPIC_EOI",
	[KVM_EXIT_HYPERV] = "HYPERV",
	[KVM_EXIT_X86_RDMSR] = "X86_RDMSR",
	[KVM_EXIT_X86_WRMSR] = "X86_WRMSR",
	[KVM_EXIT_DIRTY_RING_FULL] = "DIRTY_RING_FULL",
	[KVM_EXIT_AP_RESET_HOLD] = "AP_RESET_HOLD",
	[KVM_EXIT_X86_BUS_LOCK] = "X86_BUS_LOCK",
	[KVM_EXIT_XEN] = "XEN",
	[KVM_EXIT_NOTIFY] = "NOTIFY",
};

const char *kvm_exit_name(unsigned reason)
{
	return reason < ARRAY_SIZE(names) ? names[reason] : NULL;
}

/* As KVM calls it, in the letters of our reports: "x86-rdmsr". */
static void make_label(unsigned reason, char *buf, size_t size)
{
	const char *name = kvm_exit_name(reason);
	size_t len = 0;

	if (!name) {
		snprintf(buf, size, reason < KVM_EXITS - 1 ? "reason-%u" : "other", reason);
		return;
	}
	for (; name[len] && len + 1 < size; len++)
		buf[len] = name[len] == '_' ? '-' : (char)tolower((unsigned char)name[len]);
	buf[len] = '\0';
}

void kvm_exits_report(const struct kvm_exits *exits, struct report *report)
{
	char label[32];

	report_begin(report, "exits");
	for (unsigned i = 0; i < KVM_EXITS; i++) {
		uint64_t count = atomic_load_explicit(&exits->count[i], memory_order_relaxed);

		if (!count)
			continue;
		make_label(i, label, sizeof(label));
		report_u64(report, label, count);
	}
	report_end(report);
}
