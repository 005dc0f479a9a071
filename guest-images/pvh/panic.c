/* SPDX-License-Identifier: MIT */
/* Tells the host that the guest panicked, as the kernel's pvpanic driver does. */
#include "lib/rt.h"
#include "vmm/layout_x86.h"

#define PVPANIC_PANICKED 1

void guest_main(void)
{
	uint8_t events = inb(X86_PORT_PVPANIC);

	check(events & PVPANIC_PANICKED, "pvpanic-events", "the port reads 0x%x", events);
	outb(X86_PORT_PVPANIC, PVPANIC_PANICKED);
	/* The VMM ends here; going on means that it did not. */
	wait_until(false);
	check(false, "pvpanic", "the guest still runs");
}
