/* SPDX-License-Identifier: MIT */
/* i8042, pvpanic, debug-exit and acpi-pm. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "tests/unit/support/fake_env.h"

static struct fake_env fake;

static void setup(void)
{
	fake_env_init(&fake, 0);
}

static void teardown(void)
{
	fake_env_fini(&fake);
}

TestSuite(platform, .init = setup, .fini = teardown);

static void expect_event(enum machine_event event, unsigned count, uint32_t value)
{
	cr_expect_eq(fake.event_count[event], count, "%u events", fake.event_count[event]);
	cr_expect_eq(fake.events, count, "no others");
	cr_expect_eq(fake.last_value, value);
}

/* Save, load into a fresh instance, save again: the same bytes. Returns the fresh one. */
static struct device *move(struct device *dev, const struct device_class *cls)
{
	void *first, *second;
	const size_t len = fake_env_save(dev, &first);

	fake_env_remove(dev);
	dev = fake_env_device(&fake, cls, NULL);
	cr_assert_eq(fake_env_load(dev, first, len), 0);
	cr_assert_eq(fake_env_save(dev, &second), len);
	cr_expect_eq(memcmp(first, second, len), 0);
	free(first);
	free(second);
	return dev;
}

Test(platform, i8042_resets_on_the_pulse_that_linux_sends)
{
	struct device *dev = fake_env_device(&fake, &i8042_class, NULL);

	cr_expect_eq(fake_in(&fake, X86_PORT_I8042_COMMAND, 1) & 2, 0u, "no waiting");
	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xfe);
	expect_event(MACHINE_EVENT_RESET, 1, 0);
	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xff);
	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xaa);
	expect_event(MACHINE_EVENT_RESET, 1, 0);
	fake_env_remove(dev);
}

Test(platform, i8042_looks_absent_to_a_driver)
{
	struct device *dev = fake_env_device(&fake, &i8042_class, NULL);

	for (unsigned i = 0; i < 17; i++) {
		cr_expect_eq(fake_in(&fake, X86_PORT_I8042_COMMAND, 1) & 1, 1u);
		cr_expect_eq(fake_in(&fake, X86_PORT_I8042_DATA, 1), 0xffu);
	}
	fake_env_remove(dev);
}

Test(platform, i8042_has_an_output_port)
{
	struct device *dev = fake_env_device(&fake, &i8042_class, NULL);

	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xd1);
	fake_out(&fake, X86_PORT_I8042_DATA, 1, 0xdd);
	cr_expect_eq(fake.events, 0u, "the A20 gate");
	dev = move(dev, &i8042_class);
	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xd0);
	cr_expect_eq(fake_in(&fake, X86_PORT_I8042_DATA, 1), 0xddu);
	fake_out(&fake, X86_PORT_I8042_DATA, 1, 0);
	cr_expect_eq(fake.events, 0u, "data without the command");
	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xd1);
	fake_out(&fake, X86_PORT_I8042_DATA, 1, 0xfe);
	expect_event(MACHINE_EVENT_RESET, 1, 0);
	device_reset(dev);
	fake_out(&fake, X86_PORT_I8042_COMMAND, 1, 0xd0);
	cr_expect_eq(fake_in(&fake, X86_PORT_I8042_DATA, 1), 3u);
	fake_env_remove(dev);
}

Test(platform, pvpanic_passes_the_events_on_that_it_names)
{
	struct device *dev = fake_env_device(&fake, &pvpanic_class, NULL);

	cr_expect_eq(fake_in(&fake, X86_PORT_PVPANIC, 1), 3u);
	fake_out(&fake, X86_PORT_PVPANIC, 1, 1);
	expect_event(MACHINE_EVENT_PANIC, 1, 1);
	fake_out(&fake, X86_PORT_PVPANIC, 1, 0xfe);
	expect_event(MACHINE_EVENT_PANIC, 2, 2);
	fake_out(&fake, X86_PORT_PVPANIC, 1, 0xfc);
	expect_event(MACHINE_EVENT_PANIC, 2, 2);
	fake_env_remove(move(dev, &pvpanic_class));
}

Test(platform, debug_exit_reports_what_was_written)
{
	struct device *dev = fake_env_device(&fake, &debug_exit_class, NULL);

	cr_expect_eq(fake_in(&fake, X86_PORT_DEBUG_EXIT, 4), 0u);
	fake_out(&fake, X86_PORT_DEBUG_EXIT, 4, 0x12345678);
	expect_event(MACHINE_EVENT_DEBUG_EXIT, 1, 0x12345678);
	fake_out(&fake, X86_PORT_DEBUG_EXIT, 1, 0x1ff);
	expect_event(MACHINE_EVENT_DEBUG_EXIT, 2, 0xff);
	fake_env_remove(move(dev, &debug_exit_class));
}

Test(platform, debug_exit_has_its_ports_where_the_options_say)
{
	struct device *dev = fake_env_device(&fake, &debug_exit_class, "iobase=0x501,iosize=2");
	struct device *other;
	struct vmm_error err = {0};

	fake_out(&fake, X86_PORT_DEBUG_EXIT, 4, 1);
	fake_out(&fake, 0x501, 4, 1);
	cr_expect_eq(fake.events, 0u);
	fake_out(&fake, 0x501, 2, 7);
	expect_event(MACHINE_EVENT_DEBUG_EXIT, 1, 7);
	cr_expect_eq(
		device_create(&other, &debug_exit_class, "second", "iobase=0x502", &fake.env, &err),
		-EBUSY);
	cr_expect(strstr(err.message, "second: iobase 0x502"), "%s", err.message);
	cr_expect_neq(device_create(&other, &debug_exit_class, "second", "iobase=0xffff", &fake.env,
				    &err),
		      0);
	fake_env_remove(dev);
}

Test(platform, acpi_sleep_type_5_switches_off)
{
	struct device *dev = fake_env_device(&fake, &acpi_pm_class, NULL);

	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_SLEEP_STATUS, 1, 0x80);
	cr_expect_eq(fake_in(&fake, X86_PORT_ACPI + X86_ACPI_SLEEP_STATUS, 1), 0u);
	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_SLEEP_CONTROL, 1, X86_ACPI_S5 << 2);
	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_SLEEP_CONTROL, 1, 3 << 2 | 0x20);
	cr_expect_eq(fake.events, 0u);
	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_SLEEP_CONTROL, 1, X86_ACPI_S5 << 2 | 0x20);
	expect_event(MACHINE_EVENT_POWEROFF, 1, 0);
	fake_env_remove(dev);
}

Test(platform, acpi_reset_register_takes_its_value_only)
{
	struct device *dev = fake_env_device(&fake, &acpi_pm_class, NULL);

	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_RESET, 1, 0);
	fake_out(&fake, X86_PORT_ACPI, 4, X86_ACPI_RESET_VALUE << 16);
	cr_expect_eq(fake.events, 0u);
	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_RESET, 1, X86_ACPI_RESET_VALUE);
	expect_event(MACHINE_EVENT_RESET, 1, 0);
	fake_env_remove(dev);
}

Test(platform, acpi_events_hold_the_line_until_they_are_read)
{
	struct device *dev = fake_env_device(&fake, &acpi_pm_class, NULL);
	const unsigned port = X86_PORT_ACPI + X86_ACPI_GED_EVENTS;
	struct fake_irq *irq = &fake.irq[X86_IRQ_GED];

	acpi_pm_raise(dev, X86_GED_POWER_BUTTON);
	acpi_pm_raise(dev, X86_GED_PCI_HOTPLUG);
	cr_expect(irq->level);
	cr_expect_eq(fake_in(&fake, port, 1), 0u, "only a dword reads it");
	cr_expect(irq->level);
	dev = move(dev, &acpi_pm_class);
	cr_expect(irq->level);
	cr_expect_eq(fake_in(&fake, port, 4), X86_GED_POWER_BUTTON | X86_GED_PCI_HOTPLUG);
	cr_expect_not(irq->level);
	cr_expect_eq(fake_in(&fake, port, 4), 0u);
	acpi_pm_raise(dev, X86_GED_POWER_BUTTON);
	device_reset(dev);
	cr_expect_not(irq->level);
	cr_expect_eq(fake_in(&fake, port, 4), 0u);
	fake_env_remove(dev);
}

Test(platform, acpi_tells_of_pci_slots)
{
	struct device *dev = fake_env_device(&fake, &acpi_pm_class, NULL);
	const unsigned up = X86_PORT_ACPI + X86_ACPI_PCI_UP,
		       down = X86_PORT_ACPI + X86_ACPI_PCI_DOWN,
		       eject = X86_PORT_ACPI + X86_ACPI_PCI_EJECT;

	acpi_pm_slot(dev, 1, ACPI_SLOT_FILLED);
	acpi_pm_slot(dev, 31, ACPI_SLOT_SHALL_LEAVE);
	acpi_pm_slot(dev, 2, ACPI_SLOT_SHALL_LEAVE);
	cr_expect(fake.irq[X86_IRQ_GED].level);
	dev = move(dev, &acpi_pm_class);
	cr_expect_eq(fake_in(&fake, down, 1), 0u, "only a dword reads it");
	cr_expect_eq(fake_in(&fake, down, 4), UINT32_C(1) << 31 | 1u << 2);
	cr_expect_eq(fake_in(&fake, down, 4), 0u);
	cr_expect_eq(fake_in(&fake, up, 4), 1u << 1);
	cr_expect_eq(fake_in(&fake, up, 4), 0u);
	dev = move(dev, &acpi_pm_class);
	fake_out(&fake, eject, 1, 4);
	fake_out(&fake, eject, 4, 1u << 1);
	cr_expect_eq(fake.events, 0u, "neither this way nor unasked");
	fake_out(&fake, eject, 4, 1u << 1 | 1u << 2);
	expect_event(MACHINE_EVENT_EJECT, 1, 1u << 2);
	acpi_pm_slot(dev, 2, ACPI_SLOT_EMPTY);
	fake_out(&fake, eject, 4, 1u << 2);
	expect_event(MACHINE_EVENT_EJECT, 1, 1u << 2);
	cr_expect_eq(acpi_pm_leaving(dev), UINT32_C(1) << 31);
	acpi_pm_slot(dev, 3, ACPI_SLOT_FILLED);
	device_reset(dev);
	cr_expect_eq(fake_in(&fake, up, 4), 0u);
	cr_expect_eq(acpi_pm_leaving(dev), 0u);
	fake_env_remove(dev);
}
