/* SPDX-License-Identifier: MIT */
/*
 * Starts every other processor with INIT and SIPI. Each reports what CPUID says about it; the
 * first one compares that with the MADT: every APIC id once, and leaves 1 and 0xB that agree on it.
 */
#include "lib/rt.h"
#include "lib/start.h"

struct report {
	uint32_t lapic, leaf1, leaf11; /* APIC id by register, leaf 1, leaf 0xB */
	uint32_t threads, logical;     /* leaf 0xB level 0 and the last level */
	uint32_t done;
};

static volatile struct report reports[AP_MAX + 1];

static void fill(volatile struct report *r)
{
	r->lapic = lapic_read(LAPIC_ID) >> 24;
	r->leaf1 = cpuid(1, 0).ebx >> 24;
	if (cpuid(0, 0).eax >= 0xb) {
		r->leaf11 = cpuid(0xb, 0).edx;
		r->threads = cpuid(0xb, 0).ebx & 0xffff;
		r->logical = cpuid(0xb, 1).ebx & 0xffff;
	} else {
		r->leaf11 = r->leaf1;
	}
	barrier();
	r->done = 1;
}

void ap_main(unsigned index)
{
	fill(&reports[index + 1]);
	halt();
}

static bool all_done(unsigned cpus)
{
	for (unsigned i = 0; i < cpus; i++)
		if (!reports[i].done)
			return false;
	return true;
}

static bool in_madt(uint32_t id)
{
	for (unsigned i = 0; i < acpi()->cpus; i++)
		if (acpi()->apic_ids[i] == id)
			return true;
	return false;
}

static bool is_unique(unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (reports[i].lapic == reports[index].lapic)
			return false;
	return true;
}

static void check_report(unsigned i, unsigned cpus)
{
	const volatile struct report *r = &reports[i];

	print("cpu %u: apic id %u, leaf 1 %u, leaf 0xb %u (%u per core, %u per package)\n", i,
	      r->lapic, r->leaf1, r->leaf11, r->threads, r->logical);
	check(in_madt(r->lapic), "apic-id-in-madt", "%u is not there", r->lapic);
	check(is_unique(i), "apic-id-unique", "%u is there twice", r->lapic);
	check(r->leaf1 == r->lapic, "cpuid-1-apic-id", "%u, the APIC says %u", r->leaf1, r->lapic);
	check(r->leaf11 == r->lapic, "cpuid-b-apic-id", "%u, the APIC says %u", r->leaf11,
	      r->lapic);
	/* Honest topology: the last level has as many processors as the machine. */
	check(!r->logical || r->logical == cpus, "cpuid-b-count", "%u, the machine has %u",
	      r->logical, cpus);
}

void guest_main(void)
{
	unsigned cpus = (unsigned)option_number("cpus", 1);

	irq_init();
	check_equal(acpi()->cpus, cpus, "madt-cpus");
	fill(&reports[0]);
	start_aps();
	if (!wait_until(all_done(cpus)))
		give_up("aps-started", "%u of %u", ap_started, cpus - 1);
	check_equal(ap_started, cpus - 1, "aps-started");
	for (unsigned i = 0; i < cpus; i++)
		check_report(i, cpus);
}
