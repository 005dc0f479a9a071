/* SPDX-License-Identifier: MIT */
/*
 * acpi_x86.c writes the tables, acpi_dsdt_x86.c the devices of the DSDT.
 */
#ifndef VMM_ACPI_INTERNAL_H
#define VMM_ACPI_INTERNAL_H

#include "vmm/acpi.h"
#include "vmm/aml.h"

/* Write the DSDT's contents, without the table header. */
void acpi_dsdt(struct aml *aml, const struct acpi_config *config);

#endif
