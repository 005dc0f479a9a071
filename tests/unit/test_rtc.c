/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "tests/unit/support/fake_env.h"

/* The clock of fake_env starts at 2024-01-02 (a Tuesday) 03:04:05 UTC. */

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	A,
	B,
	C,
	D,
	CENTURY = 0x32,
};

#define UIP  0x80
#define SET  0x80
#define PIE  0x40
#define AIE  0x20
#define UIE  0x10
#define BIN  0x04
#define H24  0x02
#define IRQF 0x80
#define PF   0x40
#define AF   0x20
#define UF   0x10

static struct fake_env fake;
static struct fake_irq *irq;
static struct device *rtc;

static uint8_t get(unsigned reg)
{
	fake_out(&fake, X86_PORT_CMOS, 1, reg);
	return (uint8_t)fake_in(&fake, X86_PORT_CMOS + 1, 1);
}

static void set(unsigned reg, unsigned value)
{
	fake_out(&fake, X86_PORT_CMOS, 1, reg);
	fake_out(&fake, X86_PORT_CMOS + 1, 1, value);
	fake_env_settle(&fake);
}

static void expect_time(unsigned hour, unsigned minute, unsigned second)
{
	cr_expect_eq(get(HOURS), hour, "hour %#x, not %#x", get(HOURS), hour);
	cr_expect_eq(get(MINUTES), minute, "minute %#x, not %#x", get(MINUTES), minute);
	cr_expect_eq(get(SECONDS), second, "second %#x, not %#x", get(SECONDS), second);
}

static void expect_date(unsigned century, unsigned year, unsigned month, unsigned day)
{
	cr_expect_eq(get(CENTURY), century);
	cr_expect_eq(get(YEAR), year);
	cr_expect_eq(get(MONTH), month);
	cr_expect_eq(get(DAY), day);
}

static void setup(void)
{
	fake_env_init(&fake, 64 * MIB);
	irq = &fake.irq[X86_IRQ_RTC];
	rtc = fake_env_device(&fake, &rtc_cmos_class, NULL);
}

static void teardown(void)
{
	fake_env_remove(rtc);
	fake_env_fini(&fake);
}

TestSuite(rtc, .init = setup, .fini = teardown);

Test(rtc, shows_the_time_in_bcd_and_24_hours)
{
	expect_date(0x20, 0x24, 0x01, 0x02);
	cr_expect_eq(get(WEEKDAY), 3u);
	expect_time(0x03, 0x04, 0x05);
	fake_env_advance(&fake, 20 * 3600 * NS_PER_SEC + 57 * NS_PER_SEC);
	expect_time(0x23, 0x05, 0x02);
	cr_expect_eq(get(D), 0x80u);
	cr_expect_eq(fake_in(&fake, X86_PORT_CMOS, 1), 0xffu);
}

Test(rtc, shows_it_in_binary_and_12_hours)
{
	set(B, BIN | H24);
	expect_date(20, 24, 1, 2);
	fake_env_advance(&fake, 20 * 3600 * NS_PER_SEC);
	expect_time(23, 4, 5);
	set(B, 0);
	expect_time(0x91, 0x04, 0x05);
	fake_env_advance(&fake, 3600 * NS_PER_SEC);
	expect_time(0x12, 0x04, 0x05);
	fake_env_advance(&fake, 12 * 3600 * NS_PER_SEC);
	expect_time(0x92, 0x04, 0x05);
}

/* What Linux's mc146818_set_time does. */
static void set_like_linux(unsigned hour, unsigned minute, unsigned second)
{
	const uint8_t b = get(B), a = get(A);

	set(B, b | SET);
	set(A, a | 0x70);
	set(CENTURY, 0x19);
	set(YEAR, 0x99);
	set(MONTH, 0x12);
	set(DAY, 0x31);
	set(HOURS, hour);
	set(MINUTES, minute);
	set(SECONDS, second);
	set(B, b);
	set(A, a);
}

Test(rtc, linux_sets_the_time_half_a_second_ahead)
{
	fake_env_advance(&fake, 123 * NS_PER_MS);
	set_like_linux(0x23, 0x59, 0x58);
	expect_time(0x23, 0x59, 0x58);
	fake_env_advance(&fake, 499 * NS_PER_MS);
	expect_time(0x23, 0x59, 0x58);
	fake_env_advance(&fake, NS_PER_MS);
	expect_time(0x23, 0x59, 0x59);
	fake_env_advance(&fake, NS_PER_SEC);
	expect_date(0x20, 0x00, 0x01, 0x01);
	cr_expect_eq(get(WEEKDAY), 7u);
}

Test(rtc, a_held_clock_stands_still)
{
	set(B, H24 | SET);
	fake_env_advance(&fake, 5 * NS_PER_SEC);
	expect_time(0x03, 0x04, 0x05);
	set(MINUTES, 0x30);
	set(B, H24);
	expect_time(0x03, 0x30, 0x05);
	fake_env_advance(&fake, NS_PER_SEC);
	expect_time(0x03, 0x30, 0x06);
}

Test(rtc, registers_may_be_written_while_it_runs)
{
	set(HOURS, 0x12);
	expect_time(0x12, 0x04, 0x05);
	fake_env_advance(&fake, NS_PER_SEC);
	expect_time(0x12, 0x04, 0x06);
}

Test(rtc, nonsense_in_the_registers_does_no_harm)
{
	for (unsigned reg = 0; reg < 128; reg++)
		set(reg, 0xff);
	for (unsigned reg = 0; reg < 128; reg++)
		get(reg);
	set(B, 0);
	set(A, 0x26);
	fake_env_advance(&fake, 3 * NS_PER_SEC);
	for (unsigned reg = 0; reg < 128; reg++)
		get(reg);
}

Test(rtc, update_in_progress_announces_the_change)
{
	cr_expect_eq(get(A) & UIP, 0);
	fake_env_advance(&fake, NS_PER_SEC - 200000);
	cr_expect_eq(get(A) & UIP, UIP);
	expect_time(0x03, 0x04, 0x05);
	fake_env_advance(&fake, 200000);
	cr_expect_eq(get(A) & UIP, 0);
	expect_time(0x03, 0x04, 0x06);
	set(A, 0xff);
	cr_expect_eq(get(A), 0x7fu, "read-only");
}

Test(rtc, update_interrupt_comes_each_second_that_is_acknowledged)
{
	get(C);
	set(B, H24 | UIE);
	cr_expect_not(irq->level);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect(irq->level);
	cr_expect_eq(get(C) & (IRQF | UF), IRQF | UF);
	cr_expect_not(irq->level);
	cr_expect_eq(get(C), 0u);
	fake_env_settle(&fake);
	fake_env_advance(&fake, NS_PER_SEC);
	fake_env_advance(&fake, 5 * NS_PER_SEC);
	cr_expect_eq(irq->rises, 2u);
	get(C);
	fake_env_settle(&fake);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect_eq(irq->rises, 3u);
}

Test(rtc, flags_are_set_without_an_interrupt)
{
	get(C);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect_eq(get(C), UF | PF);
	cr_expect_eq(irq->rises, 0u);
	cr_expect_eq(get(C), 0u);
}

Test(rtc, enabling_an_interrupt_whose_flag_waits_raises_it)
{
	get(C);
	fake_env_advance(&fake, NS_PER_SEC);
	set(B, H24 | UIE);
	cr_expect(irq->level);
}

Test(rtc, alarm_matches_hours_minutes_and_seconds)
{
	set(HOURS_ALARM, 0x03);
	set(MINUTES_ALARM, 0x05);
	set(SECONDS_ALARM, 0x01);
	get(C);
	set(B, H24 | AIE);
	fake_env_advance(&fake, 55 * NS_PER_SEC);
	cr_expect_not(irq->level);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect(irq->level);
	cr_expect_eq(get(C) & (IRQF | AF), IRQF | AF);
	fake_env_settle(&fake);
	fake_env_advance(&fake, 86399 * NS_PER_SEC);
	cr_expect_not(irq->level);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect(irq->level, "again a day later");
}

Test(rtc, alarm_parts_may_match_anything)
{
	set(HOURS_ALARM, 0xff);
	set(MINUTES_ALARM, 0xc0);
	set(SECONDS_ALARM, 0x07);
	get(C);
	set(B, H24 | AIE);
	fake_env_advance(&fake, 2 * NS_PER_SEC);
	cr_expect(irq->level);
	get(C);
	fake_env_settle(&fake);
	fake_env_advance(&fake, 60 * NS_PER_SEC);
	cr_expect_eq(irq->rises, 2u);
}

Test(rtc, an_alarm_that_never_matches_never_comes)
{
	set(HOURS_ALARM, 0x30);
	get(C);
	set(B, H24 | AIE);
	for (unsigned i = 0; i < 50; i++)
		fake_env_advance(&fake, 3599 * NS_PER_SEC);
	cr_expect_eq(irq->rises, 0u);
}

/* Minutes, if each look at the flags went through the seconds of a day. */
Test(rtc, an_impossible_second_costs_no_search_of_the_whole_day, .timeout = 30)
{
	set(HOURS_ALARM, 0xff);
	set(MINUTES_ALARM, 0xff);
	set(SECONDS_ALARM, 0x7f);
	set(B, H24 | AIE);
	for (unsigned i = 0; i < 100000; i++)
		get(C);
	cr_expect_eq(irq->rises, 0u);
}

Test(rtc, periodic_interrupt_has_the_rate_that_was_set)
{
	unsigned before;

	set(A, 0x26); /* 1024 Hz */
	get(C);
	set(B, H24 | PIE);
	before = irq->rises;
	for (unsigned i = 0; i < 1024; i++) {
		fake_env_advance(&fake, 976563);
		cr_assert(irq->level, "interrupt %u", i);
		cr_assert_eq(get(C) & (IRQF | PF), IRQF | PF);
		fake_env_settle(&fake);
	}
	cr_expect_eq(irq->rises - before, 1024u);
	set(A, 0x20);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect_not(irq->level, "rate 0 is off");
	set(A, 0x2f); /* 2 Hz */
	fake_env_advance(&fake, 500 * NS_PER_MS);
	cr_expect(irq->level);
}

Test(rtc, a_host_clock_that_is_set_back_does_no_harm)
{
	get(C);
	set(B, H24 | UIE);
	fake.clock.realtime_ns -= (int64_t)(3600 * NS_PER_SEC);
	fake_env_advance(&fake, NS_PER_SEC);
	expect_time(0x02, 0x04, 0x06);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect(irq->level);
}

Test(rtc, cmos_tells_the_memory_size)
{
	cr_expect_eq(get(0x15) | get(0x16) << 8, 640);
	cr_expect_eq(get(0x17) | get(0x18) << 8, 63 * 1024);
	cr_expect_eq(get(0x30) | get(0x31) << 8, 63 * 1024);
	cr_expect_eq(get(0x34) | get(0x35) << 8, 48 * 16);
	cr_expect_eq(get(0x5b) | get(0x5c) | get(0x5d), 0);
	set(0x40, 0x5a);
	cr_expect_eq(get(0x40), 0x5au);
	cr_expect_eq(get(0x40 | 0x80), 0x5au, "bit 7 is no part of the index");
}

Test(rtc, a_word_write_is_index_and_data)
{
	fake_out(&fake, X86_PORT_CMOS, 2, 0x40 | 0x99 << 8);
	cr_expect_eq(get(0x40), 0x99u);
}

Test(rtc, reset_stops_interrupts_but_neither_time_nor_memory)
{
	set(0x40, 0x5a);
	set(HOURS, 0x20);
	get(C);
	set(B, H24 | UIE);
	fake_env_advance(&fake, NS_PER_SEC);
	device_reset(rtc);
	cr_expect_not(irq->level);
	fake_env_advance(&fake, 5 * NS_PER_SEC);
	cr_expect_eq(irq->rises, 1u);
	cr_expect_eq(get(0x40), 0x5au);
	expect_time(0x20, 0x04, 0x11);
}

Test(rtc, saved_state_comes_back)
{
	void *first, *second;
	size_t len;

	set_like_linux(0x10, 0x20, 0x30);
	set(0x41, 0x14);
	get(C);
	set(B, H24 | UIE);
	len = fake_env_save(rtc, &first);
	fake_env_remove(rtc);
	rtc = fake_env_device(&fake, &rtc_cmos_class, NULL);
	cr_assert_eq(fake_env_load(rtc, first, len), 0);
	cr_assert_eq(fake_env_save(rtc, &second), len);
	cr_expect_eq(memcmp(first, second, len), 0);
	fake_env_settle(&fake);
	expect_time(0x10, 0x20, 0x30);
	cr_expect_eq(get(0x41), 0x14u);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_expect(irq->level);
	cr_expect_neq(fake_env_load(rtc, first, len - 1), 0);
	free(first);
	free(second);
}

Test(rtc, base_can_be_the_local_time)
{
	setenv("TZ", "XYZ-05:30", 1);
	fake_env_remove(rtc);
	rtc = fake_env_device(&fake, &rtc_cmos_class, "base=localtime");
	expect_time(0x08, 0x34, 0x05);
}
