/* SPDX-License-Identifier: MIT */
/*
 * Does what a guest cannot do, to see what the VMM says. kind=
 *   opcode     ud2 with a handler: the guest reports it itself
 *   triple     ud2 without an interrupt table: the processor shuts down, the machine resets
 *   mmio-code  runs code in a hole of the address space: KVM cannot fetch it
 */
#include "lib/rt.h"

#define HOLE 0xd0000000ull /* in the PCI window, where no BAR is */

static void triple_fault(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

void guest_main(void)
{
	irq_init();
	if (option_is("kind", "opcode"))
		__asm__ volatile("ud2");
	else if (option_is("kind", "triple"))
		triple_fault();
	else if (option_is("kind", "mmio-code"))
		((void (*)(void))HOLE)();
	check(false, "fault", "the guest still runs");
}
