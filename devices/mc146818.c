/* SPDX-License-Identifier: MIT */
#include "devices/mc146818.h"

#include <time.h>

#include "core/clock.h"

enum {
	REG_SECONDS = 0x00,
	REG_SECONDS_ALARM = 0x01,
	REG_MINUTES = 0x02,
	REG_MINUTES_ALARM = 0x03,
	REG_HOURS = 0x04,
	REG_HOURS_ALARM = 0x05,
	REG_WEEKDAY = 0x06, /* 1: Sunday */
	REG_DAY = 0x07,
	REG_MONTH = 0x08,
	REG_YEAR = 0x09,
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_C = 0x0c,
	REG_D = 0x0d,
	REG_CENTURY = 0x32,
};

#define A_UIP     0x80u /* update in progress */
#define A_STOPPED 0x60u /* these divider bits: reset */
#define A_RATE    0x0fu
#define B_SET     0x80u
#define B_SQWE    0x08u
#define B_BINARY  0x04u
#define B_24H     0x02u
#define C_IRQF    0x80u
#define D_VRT     0x80u /* the battery is good */

/* Enable bits in B, flags in C. */
#define PERIODIC   0x40u
#define ALARM      0x20u
#define UPDATE     0x10u
#define INTERRUPTS (PERIODIC | ALARM | UPDATE)

#define DIVIDER_32KHZ 0x20u
#define OSCILLATOR    32768 /* Hz */

#define SECOND      ((int64_t)NS_PER_SEC)
#define HALF_SECOND (SECOND / 2)
#define UPDATE_NS   244141 /* UIP is set so long before the seconds change */
#define DAY         86400

/* Guest times that can be set, so that no sum overflows: 1900 to 2100. */
#define SECONDS_MIN INT64_C(-2208988800)
#define SECONDS_MAX INT64_C(4102444800)

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Whole seconds and the rest of guest time at a real time. */
static int64_t guest_seconds(const struct mc146818 *m, int64_t real)
{
	return floor_div(real + m->offset, SECOND);
}

static int64_t guest_fraction(const struct mc146818 *m, int64_t real)
{
	return real + m->offset - guest_seconds(m, real) * SECOND;
}

static bool divider_in_reset(uint8_t a)
{
	return (a & A_STOPPED) == A_STOPPED;
}

static bool halted(const struct mc146818 *m)
{
	return (m->cmos[REG_B] & B_SET) || divider_in_reset(m->cmos[REG_A]);
}

/* Register formats. */

static uint8_t encode(const struct mc146818 *m, int v)
{
	if (m->cmos[REG_B] & B_BINARY)
		return (uint8_t)v;
	return (uint8_t)(v / 10 << 4 | v % 10);
}

static int decode(const struct mc146818 *m, uint8_t v)
{
	return m->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 0x0f);
}

static uint8_t encode_hour(const struct mc146818 *m, int hour)
{
	if (m->cmos[REG_B] & B_24H)
		return encode(m, hour);
	return encode(m, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static int decode_hour(const struct mc146818 *m, uint8_t v)
{
	if (m->cmos[REG_B] & B_24H)
		return decode(m, v);
	return decode(m, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* The time, into and out of the registers. */

static void latch(struct mc146818 *m, int64_t real)
{
	const time_t seconds = guest_seconds(m, real);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	m->cmos[REG_SECONDS] = encode(m, tm.tm_sec);
	m->cmos[REG_MINUTES] = encode(m, tm.tm_min);
	m->cmos[REG_HOURS] = encode_hour(m, tm.tm_hour);
	m->cmos[REG_WEEKDAY] = encode(m, tm.tm_wday + 1);
	m->cmos[REG_DAY] = encode(m, tm.tm_mday);
	m->cmos[REG_MONTH] = encode(m, tm.tm_mon + 1);
	m->cmos[REG_YEAR] = encode(m, tm.tm_year % 100);
	m->cmos[REG_CENTURY] = encode(m, tm.tm_year / 100 + 19);
}

/* Go on from the time in the registers, with this fraction of a second. */
static void set_time(struct mc146818 *m, int64_t real, int64_t fraction)
{
	struct tm tm = {
		.tm_sec = decode(m, m->cmos[REG_SECONDS]),
		.tm_min = decode(m, m->cmos[REG_MINUTES]),
		.tm_hour = decode_hour(m, m->cmos[REG_HOURS]),
		.tm_mday = decode(m, m->cmos[REG_DAY]),
		.tm_mon = decode(m, m->cmos[REG_MONTH]) - 1,
		.tm_year =
			decode(m, m->cmos[REG_YEAR]) + (decode(m, m->cmos[REG_CENTURY]) - 19) * 100,
	};
	int64_t seconds = timegm(&tm);

	seconds = MAX(MIN(seconds, SECONDS_MAX), SECONDS_MIN);
	m->offset = seconds * SECOND + fraction - real;
	m->checked = real;
}

/* Events. */

static bool alarm_part(const struct mc146818 *m, unsigned reg, int now)
{
	const uint8_t v = m->cmos[reg];

	if (v >= 0xc0)
		return true; /* any */
	return (reg == REG_HOURS_ALARM ? decode_hour(m, v) : decode(m, v)) == now;
}

/* Whether a part can match at all; the guest may have written anything there. */
static bool alarm_possible(const struct mc146818 *m, unsigned reg, int count)
{
	for (int i = 0; i < count; i++)
		if (alarm_part(m, reg, i))
			return true;
	return false;
}

/* The first alarm after the guest's second `after`, or MC146818_NEVER. */
static int64_t next_alarm(const struct mc146818 *m, int64_t after)
{
	int64_t t = after + 1;

	/* Else the search below would go through every second of the day. */
	if (!alarm_possible(m, REG_HOURS_ALARM, 24) || !alarm_possible(m, REG_MINUTES_ALARM, 60) ||
	    !alarm_possible(m, REG_SECONDS_ALARM, 60))
		return MC146818_NEVER;
	/* Skips hours and minutes that do not match. */
	while (t <= after + DAY) {
		const int in_day = (int)(t - floor_div(t, DAY) * DAY);

		if (!alarm_part(m, REG_HOURS_ALARM, in_day / 3600))
			t += 3600 - in_day % 3600;
		else if (!alarm_part(m, REG_MINUTES_ALARM, in_day / 60 % 60))
			t += 60 - in_day % 60;
		else if (!alarm_part(m, REG_SECONDS_ALARM, in_day % 60))
			t++;
		else
			return t;
	}
	return MC146818_NEVER;
}

/* Oscillator ticks since the epoch, and back (rounded up). */
static int64_t to_ticks(int64_t real)
{
	const int64_t seconds = floor_div(real, SECOND);

	return seconds * OSCILLATOR + (real - seconds * SECOND) * OSCILLATOR / SECOND;
}

static int64_t from_ticks(int64_t ticks)
{
	const int64_t seconds = floor_div(ticks, OSCILLATOR);
	const int64_t rest = ticks - seconds * OSCILLATOR;

	return seconds * SECOND + (rest * SECOND + OSCILLATOR - 1) / OSCILLATOR;
}

/* Log2 of the ticks between periodic interrupts; -1: none. */
static int period_shift(const struct mc146818 *m)
{
	const int rate = m->cmos[REG_A] & A_RATE;

	if (rate == 0 || divider_in_reset(m->cmos[REG_A]))
		return -1;
	return rate <= 2 ? rate + 6 : rate - 1; /* rates 1 and 2 are 8 and 9 again */
}

void mc146818_sync(struct mc146818 *m, int64_t real)
{
	const int shift = period_shift(m);

	/* The real time may be set back; then nothing has happened. */
	if (real > m->checked) {
		const int64_t from = guest_seconds(m, m->checked), to = guest_seconds(m, real);

		if (!halted(m) && to > from)
			m->flags |= UPDATE;
		if (!halted(m) && !(m->flags & ALARM) && next_alarm(m, from) <= to)
			m->flags |= ALARM;
		if (shift >= 0 && to_ticks(real) >> shift > to_ticks(m->checked) >> shift)
			m->flags |= PERIODIC;
	}
	m->checked = real;
}

bool mc146818_interrupt(const struct mc146818 *m)
{
	return (m->flags & m->cmos[REG_B] & INTERRUPTS) != 0;
}

int64_t mc146818_next(const struct mc146818 *m)
{
	/* Where a flag is set already, the next event makes no difference to the line. */
	const uint8_t wanted = m->cmos[REG_B] & INTERRUPTS & (uint8_t)~m->flags;
	const int64_t seconds = guest_seconds(m, m->checked);
	const int shift = period_shift(m);
	int64_t when = MC146818_NEVER, alarm;

	if (!halted(m) && (wanted & UPDATE))
		when = (seconds + 1) * SECOND - m->offset;
	if (!halted(m) && (wanted & ALARM)) {
		alarm = next_alarm(m, seconds);
		if (alarm != MC146818_NEVER)
			when = MIN(when, alarm * SECOND - m->offset);
	}
	if (shift >= 0 && (wanted & PERIODIC))
		when = MIN(when, from_ticks(((to_ticks(m->checked) >> shift) + 1) << shift));
	return when;
}

/* Registers. */

static bool is_time(unsigned reg)
{
	return reg == REG_SECONDS || reg == REG_MINUTES || reg == REG_HOURS ||
	       (reg >= REG_WEEKDAY && reg <= REG_YEAR) || reg == REG_CENTURY;
}

static void write_freq_select(struct mc146818 *m, int64_t real, uint8_t v)
{
	const bool was_halted = halted(m);
	const bool started = divider_in_reset(m->cmos[REG_A]) && !divider_in_reset(v);

	if (!was_halted)
		latch(m, real);
	m->cmos[REG_A] = v & (uint8_t)~A_UIP;
	if (!started)
		return;
	/* The first update comes half a second after the divider starts; Linux counts on that. */
	m->offset += HALF_SECOND - guest_fraction(m, real);
	if (!halted(m))
		set_time(m, real, HALF_SECOND);
}

static void write_control(struct mc146818 *m, int64_t real, uint8_t v)
{
	const bool was_halted = halted(m);

	/* In the old format: registers keep their bytes when the format changes. */
	if (!was_halted)
		latch(m, real);
	/* Setting the time takes the update interrupt away (MC146818A, register B). */
	if (v & B_SET)
		v &= (uint8_t)~UPDATE;
	m->cmos[REG_B] = v;
	if (was_halted && !halted(m))
		set_time(m, real, guest_fraction(m, real));
}

static void write_time(struct mc146818 *m, int64_t real, unsigned reg, uint8_t v)
{
	if (!halted(m))
		latch(m, real);
	m->cmos[reg] = v;
	if (!halted(m))
		set_time(m, real, guest_fraction(m, real));
}

void mc146818_write(struct mc146818 *m, unsigned reg, uint8_t v, int64_t real)
{
	mc146818_sync(m, real);
	if (reg == REG_A)
		write_freq_select(m, real, v);
	else if (reg == REG_B)
		write_control(m, real, v);
	else if (is_time(reg))
		write_time(m, real, reg, v);
	else if (reg != REG_C && reg != REG_D)
		m->cmos[reg] = v;
}

static uint8_t read_flags(struct mc146818 *m, int64_t real)
{
	uint8_t v;

	mc146818_sync(m, real);
	v = m->flags | (mc146818_interrupt(m) ? C_IRQF : 0);
	m->flags = 0;
	return v;
}

uint8_t mc146818_read(struct mc146818 *m, unsigned reg, int64_t real)
{
	if (reg == REG_C)
		return read_flags(m, real);
	if (reg == REG_D)
		return D_VRT;
	if (!halted(m) && is_time(reg))
		latch(m, real);
	if (reg == REG_A && !halted(m) && guest_fraction(m, real) >= SECOND - UPDATE_NS)
		return m->cmos[reg] | A_UIP;
	return m->cmos[reg];
}

/* Life. */

void mc146818_init(struct mc146818 *m, int64_t real, int64_t offset)
{
	*m = (struct mc146818){.offset = offset, .checked = real};
	m->cmos[REG_A] = DIVIDER_32KHZ | 6; /* 1024 Hz */
	m->cmos[REG_B] = B_24H;
}

void mc146818_reset(struct mc146818 *m)
{
	m->cmos[REG_B] &= (uint8_t) ~(INTERRUPTS | B_SQWE);
	m->flags = 0;
}

bool mc146818_valid(const struct mc146818 *m)
{
	return m->checked >= 0 && m->checked <= SECONDS_MAX * SECOND &&
	       m->offset <= SECONDS_MAX * SECOND &&
	       m->offset >= (SECONDS_MIN - SECONDS_MAX) * SECOND && (m->flags & ~INTERRUPTS) == 0 &&
	       (m->cmos[REG_A] & A_UIP) == 0;
}
