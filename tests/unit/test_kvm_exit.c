/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "vmm/kvm_internal.h"

static void reports(const struct kvm_exits *exits, const char *wanted)
{
	struct report *report = report_create();
	char *json;

	kvm_exits_report(exits, report);
	cr_assert_eq(report_finish(report, &json), 0);
	cr_expect_str_eq(json, wanted);
	free(json);
}

Test(kvm_exit, reasons_have_the_names_that_kvm_gives_them)
{
	cr_expect_str_eq(kvm_exit_name(KVM_EXIT_IO), "IO");
	cr_expect_str_eq(kvm_exit_name(KVM_EXIT_X86_RDMSR), "X86_RDMSR");
	cr_expect_null(kvm_exit_name(13), "one of another architecture");
	cr_expect_null(kvm_exit_name(UINT32_MAX));
}

Test(kvm_exit, each_reason_is_counted_and_none_is_lost)
{
	struct kvm_exits exits = {0};

	reports(&exits, "{\"exits\":{}}");
	kvm_exits_count(&exits, KVM_EXIT_IO);
	kvm_exits_count(&exits, KVM_EXIT_IO);
	kvm_exits_count(&exits, KVM_EXIT_IOAPIC_EOI);
	kvm_exits_count(&exits, 13);
	kvm_exits_count(&exits, KVM_EXITS);
	kvm_exits_count(&exits, UINT32_MAX);
	reports(&exits, "{\"exits\":{\"io\":2,\"reason-13\":1,\"ioapic-eoi\":1,\"other\":2}}");
}
