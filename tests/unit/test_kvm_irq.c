/* SPDX-License-Identifier: MIT */
/* Interrupt messages on the machine's own KVM. Where it cannot be opened the tests are skipped. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "vmm/kvm.h"

static void count_line(void *opaque, enum vmm_log_level level UNUSED, const char *source UNUSED,
		       const char *line UNUSED)
{
	++*(unsigned *)opaque;
}

/* A guest that has no local APIC switched on: none of its messages has a recipient. */
Test(kvm_irq, messages_to_nobody_do_not_fill_the_log)
{
	const struct apic_message message = {.address = 0xfee00000u | 0xff << 12, .data = 0x40};
	unsigned lines = 0;
	const struct log log = {
		.fn = count_line,
		.opaque = &lines,
		.level = VMM_LOG_DEBUG,
		.clock = clock_system(),
	};
	const struct kvm_config config = {.log = &log, .cpus = 1};
	struct vmm_error err = {0};
	struct apic_sink *apic;
	struct kvm_vm *vm;

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	cr_assert_eq(kvm_vm_create(&vm, &config, &err), 0, "%s", err.message);
	apic = kvm_apic_sink(vm);
	if (!apic)
		cr_skip_test("this KVM has no local APICs without an IOAPIC");
	for (unsigned i = 0; i < 1000; i++)
		apic->send(apic, &message);
	cr_assert_leq(lines, 10u);
	kvm_vm_destroy(vm);
}
