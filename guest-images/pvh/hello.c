/* SPDX-License-Identifier: MIT */
/* Prints, looks at the ACPI tables, switches off. */
#include "lib/rt.h"

void guest_main(void)
{
	char text[64];

	print("hello from a PVH guest\n");
	if (option("text", text, sizeof(text)))
		print("text: %s\n", text);
	check(acpi()->hardware_reduced, "acpi-hardware-reduced", "the FADT says that it is not");
	check(acpi()->cpus >= 1, "acpi-cpus", "none in the MADT");
	check(acpi()->ioapic, "acpi-ioapic", "none in the MADT");
	check(acpi()->sleep_control.address, "acpi-sleep-control", "none in the FADT");
}
