/* SPDX-License-Identifier: MIT */
/*
 * Reads the CMOS clock (MC146818) and compares it with `epoch=SECONDS` of the command line, which
 * may be up to `slack=SECONDS` (120) older.
 */
#include "lib/rt.h"
#include "vmm/layout_x86.h"

struct date {
	unsigned second, minute, hour, day, month, year;
};

static uint8_t cmos(uint8_t reg)
{
	outb(X86_PORT_CMOS, reg);
	return inb(X86_PORT_CMOS + 1);
}

static unsigned from_bcd(unsigned v)
{
	return (v >> 4) * 10 + (v & 15);
}

static struct date read_date(void)
{
	bool binary = cmos(0x0b) & 0x04;
	unsigned v[6] = {cmos(0), cmos(2), cmos(4), cmos(7), cmos(8), cmos(9)};

	for (unsigned i = 0; !binary && i < 6; i++)
		v[i] = from_bcd(v[i]);
	return (struct date){v[0], v[1], v[2], v[3], v[4], v[5] + 2000};
}

/* Days since 1970-01-01 of the civil calendar. */
static uint64_t days(unsigned year, unsigned month, unsigned day)
{
	static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	uint64_t n = (uint64_t)(year - 1970) * 365 + (year - 1969) / 4;

	n += before[month - 1] + day - 1u;
	return n + (month > 2 && year % 4 == 0); /* right until 2099 */
}

static uint64_t seconds(const struct date *d)
{
	return ((days(d->year, d->month, d->day) * 24 + d->hour) * 60 + d->minute) * 60 + d->second;
}

/* Two readings that agree: none of them was torn by an update. */
static struct date stable_date(void)
{
	struct date a, b;

	do {
		wait_until(!(cmos(0x0a) & 0x80));
		a = read_date();
		b = read_date();
	} while (memcmp(&a, &b, sizeof(a)));
	return a;
}

static void check_ticks(void)
{
	uint64_t then, first;
	struct date d = stable_date();

	then = first = seconds(&d);
	check(wait_until((d = stable_date(), then = seconds(&d)) != first), "rtc-ticks",
	      "still the same second");
	check(then == first + 1 || then == first + 2, "rtc-second", "from %lu to %lu", first, then);
}

void guest_main(void)
{
	uint64_t epoch = option_number("epoch", 0), slack = option_number("slack", 120), now;
	struct date d = stable_date();

	print("time: %04u-%02u-%02u %02u:%02u:%02u\n", d.year, d.month, d.day, d.hour, d.minute,
	      d.second);
	check(d.month >= 1 && d.month <= 12 && d.day >= 1 && d.day <= 31 && d.hour < 24 &&
		      d.minute < 60 && d.second < 60,
	      "rtc-range", "a field is out of range");
	check(cmos(0x0d) & 0x80, "rtc-valid", "register D says that the clock lost power");
	check(cmos(0x0b) & 0x02, "rtc-24h", "12-hour mode");
	now = d.month >= 1 && d.month <= 12 ? seconds(&d) : 0;
	check(!epoch || (now >= epoch && now <= epoch + slack), "rtc-time", "%lu, wanted %lu", now,
	      epoch);
	check_ticks();
}
