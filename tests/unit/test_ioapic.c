/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "tests/unit/support/fake_env.h"

#define MASKED (UINT64_C(1) << 16)
#define LEVEL  (UINT64_C(1) << 15)
#define IRR    (UINT64_C(1) << 14)

static struct fake_env fake;
static struct device *chip;

static void setup(void)
{
	fake_env_init(&fake, 0);
	chip = fake_env_device(&fake, &ioapic_class, NULL);
}

static void teardown(void)
{
	fake_env_remove(chip);
	fake_env_fini(&fake);
}

TestSuite(ioapic, .init = setup, .fini = teardown);

static uint32_t get(unsigned index)
{
	fake_mmio_write(&fake, X86_IOAPIC, 4, index);
	return (uint32_t)fake_mmio_read(&fake, X86_IOAPIC + 0x10, 4);
}

static void set(unsigned index, uint32_t value)
{
	fake_mmio_write(&fake, X86_IOAPIC, 4, index);
	fake_mmio_write(&fake, X86_IOAPIC + 0x10, 4, value);
}

static uint64_t entry(unsigned pin)
{
	return get(0x10 + 2 * pin) | (uint64_t)get(0x11 + 2 * pin) << 32;
}

static void set_entry(unsigned pin, uint64_t rte)
{
	set(0x11 + 2 * pin, (uint32_t)(rte >> 32));
	set(0x10 + 2 * pin, (uint32_t)rte);
}

static void line(unsigned pin, bool level)
{
	irq_line_set(ioapic_line(chip, pin), level);
}

Test(ioapic, says_what_it_is)
{
	cr_expect_eq(get(1), 0x20u | 23u << 16);
	set(0, 0xff000000);
	cr_expect_eq(get(0), 0x0f000000u);
	for (unsigned pin = 0; pin < X86_IOAPIC_PINS; pin++)
		cr_expect_eq(entry(pin), MASKED);
	cr_expect_null(ioapic_line(chip, X86_IOAPIC_PINS));
}

Test(ioapic, registers_that_are_none_read_zero)
{
	for (unsigned index = 3; index < 0x10; index++)
		cr_expect_eq(get(index), 0u);
	for (unsigned index = 0x10 + 2 * X86_IOAPIC_PINS; index < 0x100; index++) {
		set(index, UINT32_MAX);
		cr_expect_eq(get(index), 0u);
	}
	cr_expect_eq(fake_mmio_read(&fake, X86_IOAPIC + 0x20, 4), 0u);
}

Test(ioapic, an_edge_is_one_message)
{
	set_entry(4, UINT64_C(5) << 56 | 0x31);
	line(4, true);
	line(4, true);
	cr_assert_eq(fake.apic.sent, 1u);
	cr_expect_eq(fake.apic.messages[0].address, 0xfee00000u | 5 << 12);
	cr_expect_eq(fake.apic.messages[0].data, 0x4031u);
	line(4, false);
	line(4, true);
	cr_expect_eq(fake.apic.sent, 2u);
	cr_expect_eq(entry(4) & IRR, 0u);
	cr_expect_eq(fake.apic.watched[4].address, 0u, "nobody waits for its end");
}

Test(ioapic, the_message_has_mode_and_destination_of_the_entry)
{
	set_entry(1, UINT64_C(0x81) << 56 | 1 << 11 | 1 << 8 | 0x55);
	line(1, true);
	cr_assert_eq(fake.apic.sent, 1u);
	cr_expect_eq(fake.apic.messages[0].address, 0xfee00000u | 0x81 << 12 | 1 << 2);
	cr_expect_eq(fake.apic.messages[0].data, 0x4155u);
}

Test(ioapic, a_masked_edge_is_lost)
{
	set_entry(4, MASKED | 0x31);
	line(4, true);
	set_entry(4, 0x31);
	cr_expect_eq(fake.apic.sent, 0u);
}

Test(ioapic, a_level_is_a_message_until_its_end_and_then_another)
{
	set_entry(9, LEVEL | 0x42);
	cr_expect_eq(fake.apic.watched[9].data, 0xc042u);
	line(9, true);
	cr_assert_eq(fake.apic.sent, 1u);
	cr_expect_eq(fake.apic.messages[0].data, 0xc042u);
	cr_expect(entry(9) & IRR);
	line(9, false);
	line(9, true);
	cr_expect_eq(fake.apic.sent, 1u, "it is still in service");
	ioapic_eoi(chip, 0x41);
	cr_expect_eq(fake.apic.sent, 1u, "the end of another");
	ioapic_eoi(chip, 0x42);
	cr_expect_eq(fake.apic.sent, 2u, "the line is still asserted");
	line(9, false);
	ioapic_eoi(chip, 0x42);
	cr_expect_eq(fake.apic.sent, 2u);
	cr_expect_eq(entry(9) & IRR, 0u);
}

Test(ioapic, a_masked_level_waits)
{
	set_entry(9, MASKED | LEVEL | 0x42);
	line(9, true);
	cr_expect_eq(fake.apic.sent, 0u);
	set_entry(9, LEVEL | 0x42);
	cr_expect_eq(fake.apic.sent, 1u);
	set_entry(9, MASKED | LEVEL | 0x42);
	ioapic_eoi(chip, 0x42);
	cr_expect_eq(entry(9) & IRR, 0u, "the end counts although it is masked");
	cr_expect_eq(fake.apic.sent, 1u);
	set_entry(9, LEVEL | 0x42);
	cr_expect_eq(fake.apic.sent, 2u);
}

Test(ioapic, the_eoi_register_ends_an_interrupt)
{
	set_entry(9, LEVEL | 0x42);
	line(9, true);
	fake_mmio_write(&fake, X86_IOAPIC + 0x40, 4, 0x42);
	cr_expect_eq(fake.apic.sent, 2u);
}

Test(ioapic, a_change_to_edge_ends_an_interrupt)
{
	set_entry(9, LEVEL | 0x42);
	line(9, true);
	line(9, false);
	set_entry(9, MASKED | 0x42);
	cr_expect_eq(entry(9) & IRR, 0u);
	cr_expect_eq(fake.apic.watched[9].address, 0u);
}

Test(ioapic, lines_that_share_a_vector_end_together)
{
	set_entry(16, LEVEL | 0x50);
	set_entry(17, LEVEL | 0x50);
	line(16, true);
	line(17, true);
	cr_assert_eq(fake.apic.sent, 2u);
	line(16, false);
	ioapic_eoi(chip, 0x50);
	cr_expect_eq(fake.apic.sent, 3u);
	cr_expect_eq(entry(16) & IRR, 0u);
	cr_expect(entry(17) & IRR);
}

Test(ioapic, read_only_bits_stay_and_an_external_vector_is_nobodys)
{
	set_entry(2, UINT64_MAX & ~MASKED & ~LEVEL);
	cr_expect_eq(entry(2) & (IRR | 1 << 12), 0u);
	set_entry(2, 7 << 8 | 0x30);
	line(2, true);
	cr_expect_eq(fake.apic.sent, 0u);
}

Test(ioapic, a_reset_masks_and_forgets)
{
	set_entry(9, LEVEL | 0x42);
	line(9, true);
	device_reset(chip);
	cr_expect_eq(entry(9), MASKED);
	cr_expect_eq(fake.apic.watched[9].address, 0u);
	set_entry(9, LEVEL | 0x42);
	cr_expect_eq(fake.apic.sent, 2u, "the line has stayed what its device makes it");
}

Test(ioapic, state_moves_with_an_interrupt_in_service)
{
	void *first, *second;
	size_t len;

	set_entry(9, LEVEL | 0x42);
	line(9, true);
	len = fake_env_save(chip, &first);
	fake_env_remove(chip);
	chip = fake_env_device(&fake, &ioapic_class, NULL);
	memset(fake.apic.watched, 0, sizeof(fake.apic.watched));
	cr_assert_eq(fake_env_load(chip, first, len), 0);
	cr_assert_eq(fake_env_save(chip, &second), len);
	cr_expect_eq(memcmp(first, second, len), 0);
	cr_expect_eq(fake.apic.watched[9].data, 0xc042u);
	line(9, true);
	cr_expect_eq(fake.apic.sent, 1u);
	ioapic_eoi(chip, 0x42);
	cr_expect_eq(fake.apic.sent, 2u);
	free(first);
	free(second);
}

Test(ioapic, bad_state_changes_nothing)
{
	static const uint64_t bad[] = {UINT64_C(1) << 12, UINT64_C(1) << 17, IRR | 0x42};

	set_entry(9, LEVEL | 0x42);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct state_writer *w = state_writer_create();
		void *data;
		size_t len;

		state_begin(w, "ioapic", 1);
		state_begin(w, "ioapic", 1);
		state_put_u64(w, "id", 0);
		state_put_u64(w, "select", 0);
		for (unsigned pin = 0; pin < X86_IOAPIC_PINS; pin++)
			state_put_u64(w, "entry", pin == 9 ? bad[i] : 0);
		state_end(w);
		state_end(w);
		cr_assert_eq(state_writer_finish(w, &data, &len), 0);
		cr_expect_eq(fake_env_load(chip, data, len), -ERANGE);
		cr_expect_eq(entry(9), LEVEL | 0x42);
		free(data);
	}
}
