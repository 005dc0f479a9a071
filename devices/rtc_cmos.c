/* SPDX-License-Identifier: MIT */
/*
 * The clock of a PC: an MC146818 at ports 70h and 71h.
 *
 * Its interrupts need a timer, which belongs to the home loop: register accesses on vCPU threads
 * only ask the loop to set it.
 */
#include <errno.h>
#include <time.h>

#include "devices/devices.h"
#include "devices/mc146818.h"
#include "devices/ports_x86.h"
#include "mmio/bus.h"

struct rtc {
	struct device dev;
	int base;
	struct bus_region ports;
	struct irq_line *irq;
	struct loop_task rearm;
	struct loop_timer timer;
	int64_t armed; /* real time that the timer waits for */
	bool level;    /* what the line was set to */
	uint8_t index;
	struct mc146818 chip;
};

enum { BASE_UTC, BASE_LOCALTIME };

static const char *const bases[] = {"utc", "localtime", NULL};

static const struct option_desc options[] = {
	{
		.name = "base",
		.type = OPTION_ENUM,
		.offset = offsetof(struct rtc, base),
		.fallback = "utc",
		.values = bases,
		.help = "what the clock shows at first",
	},
	OPTION_END,
};

static int64_t real_time(const struct rtc *s)
{
	return s->dev.env->clock->realtime_ns(s->dev.env->clock);
}

static void update_irq(struct rtc *s)
{
	const bool level = mc146818_interrupt(&s->chip);

	if (level == s->level)
		return;
	s->level = level;
	irq_line_set(s->irq, level);
}

static void arm(struct rtc *s)
{
	const int64_t real = real_time(s);
	uint64_t wait;

	s->armed = mc146818_next(&s->chip);
	if (s->armed == MC146818_NEVER) {
		loop_timer_disarm(&s->timer);
		return;
	}
	wait = s->armed > real ? (uint64_t)(s->armed - real) : 0;
	/* Out of memory: the guest misses an interrupt, until it touches the clock again. */
	if (loop_timer_arm(&s->timer, clock_now(s->dev.env->clock) + wait))
		s->armed = MC146818_NEVER;
}

static void rearm(struct loop_task *task)
{
	struct rtc *s = container_of(task, struct rtc, rearm);

	device_lock(&s->dev);
	arm(s);
	device_unlock(&s->dev);
}

static void expired(struct loop_timer *timer)
{
	struct rtc *s = container_of(timer, struct rtc, timer);

	device_lock(&s->dev);
	mc146818_sync(&s->chip, real_time(s));
	update_irq(s);
	arm(s);
	device_unlock(&s->dev);
}

/* After any change, with the lock held. */
static void reconsider(struct rtc *s)
{
	update_irq(s);
	if (mc146818_next(&s->chip) != s->armed)
		loop_post(s->dev.loop, &s->rearm);
}

static uint64_t ports_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct rtc *s = container_of(region, struct rtc, ports);
	uint64_t v = UINT64_MAX;

	if (offset != 1 || size != 1)
		return v; /* the index cannot be read */
	device_lock(&s->dev);
	v = mc146818_read(&s->chip, s->index, real_time(s));
	reconsider(s);
	device_unlock(&s->dev);
	return v;
}

static void ports_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct rtc *s = container_of(region, struct rtc, ports);

	device_lock(&s->dev);
	/* A word write is the index, then its data; bit 7 of the index masks NMI, here nothing. */
	if (offset == 0)
		s->index = value & (MC146818_SIZE - 1);
	if (offset == 1 || size == 2)
		mc146818_write(&s->chip, s->index, (uint8_t)(offset == 1 ? value : value >> 8),
			       real_time(s));
	reconsider(s);
	device_unlock(&s->dev);
}

/* Life. */

static void put_word(struct rtc *s, unsigned reg, uint64_t v)
{
	s->chip.cmos[reg] = (uint8_t)v;
	s->chip.cmos[reg + 1] = (uint8_t)(v >> 8);
}

/* The size of RAM as PC firmware leaves it: in KiB to 64 MiB, then in units of 64 KiB. */
static void put_memory_size(struct rtc *s)
{
	const struct guest_memory *memory = s->dev.env->memory;
	uint64_t low = 0, high = 0;

	for (unsigned i = 0; i < guest_memory_count(memory); i++) {
		const struct guest_region *region = guest_memory_region(memory, i);

		if (region->base.v < 4 * GIB)
			low += region->size;
		else
			high += region->size;
	}
	put_word(s, 0x15, 640);
	put_word(s, 0x17, low > MIB ? MIN((low - MIB) / KIB, UINT64_C(65535)) : 0);
	put_word(s, 0x30, low > MIB ? MIN((low - MIB) / KIB, UINT64_C(65535)) : 0);
	put_word(s, 0x34, low > 16 * MIB ? MIN((low - 16 * MIB) / (64 * KIB), UINT64_C(65535)) : 0);
	put_word(s, 0x5b, high / (64 * KIB));
	s->chip.cmos[0x5d] = (uint8_t)(high / (64 * KIB) >> 16);
}

static int64_t zone_offset(int64_t real)
{
	const time_t now = real / (int64_t)NS_PER_SEC;
	struct tm tm;

	return localtime_r(&now, &tm) ? tm.tm_gmtoff * (int64_t)NS_PER_SEC : 0;
}

static int rtc_realize(struct device *dev, struct vmm_error *err)
{
	struct rtc *s = container_of(dev, struct rtc, dev);
	const int64_t real = real_time(s);
	int rc;

	s->irq = dev->env->isa_irq(dev->env, X86_IRQ_RTC);
	s->armed = MC146818_NEVER;
	mc146818_init(&s->chip, real, s->base == BASE_LOCALTIME ? zone_offset(real) : 0);
	put_memory_size(s);
	loop_task_init(&s->rearm, rearm);
	loop_timer_init(dev->loop, &s->timer, expired);
	s->ports = (struct bus_region){
		.name = dev->id, .size = 2, .read = ports_read, .write = ports_write};
	rc = bus_map(dev->env->pio, &s->ports, X86_PORT_CMOS);
	return rc ? error_set_errno(err, -rc, "ports at %#x", X86_PORT_CMOS) : 0;
}

static void stop_timer(void *arg)
{
	struct rtc *s = arg;

	loop_task_cancel(s->dev.loop, &s->rearm);
	loop_timer_disarm(&s->timer);
}

static void rtc_unrealize(struct device *dev)
{
	struct rtc *s = container_of(dev, struct rtc, dev);

	bus_unmap(&s->ports);
	loop_call(dev->loop, stop_timer, s);
}

static void rtc_reset(struct device *dev)
{
	struct rtc *s = container_of(dev, struct rtc, dev);

	device_lock(dev);
	s->index = 0;
	mc146818_reset(&s->chip);
	reconsider(s);
	device_unlock(dev);
}

/* Saved state. */

static void rtc_save(struct device *dev, struct state_writer *w)
{
	struct rtc *s = container_of(dev, struct rtc, dev);

	state_put_u64(w, "index", s->index);
	state_put_u64(w, "flags", s->chip.flags);
	state_put_u64(w, "offset", (uint64_t)s->chip.offset);
	state_put_u64(w, "checked", (uint64_t)s->chip.checked);
	state_put_bytes(w, "cmos", s->chip.cmos, MC146818_SIZE);
}

static int parse(struct state_reader *r, uint64_t *index, struct mc146818 *chip)
{
	uint64_t flags, offset, checked;
	int rc;

	rc = state_get_u64(r, "index", index, 0, MC146818_SIZE - 1);
	if (rc == 0)
		rc = state_get_u64(r, "flags", &flags, 0, UINT8_MAX);
	if (rc == 0)
		rc = state_get_u64(r, "offset", &offset, 0, UINT64_MAX);
	if (rc == 0)
		rc = state_get_u64(r, "checked", &checked, 0, INT64_MAX);
	if (rc == 0)
		rc = state_get_bytes(r, "cmos", chip->cmos, MC146818_SIZE);
	if (rc)
		return rc;
	chip->flags = (uint8_t)flags;
	chip->offset = (int64_t)offset;
	chip->checked = (int64_t)checked;
	return mc146818_valid(chip) ? 0 : -EPROTO;
}

static int rtc_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	struct rtc *s = container_of(dev, struct rtc, dev);
	struct mc146818 chip;
	uint64_t index;
	const int rc = parse(r, &index, &chip);

	(void)version;
	if (rc)
		return rc;
	device_lock(dev);
	s->index = (uint8_t)index;
	s->chip = chip;
	reconsider(s);
	device_unlock(dev);
	return 0;
}

const struct device_class rtc_cmos_class = {
	.name = "rtc-cmos",
	.help = "clock and CMOS memory (MC146818)",
	.kind = DEVICE_PLATFORM,
	.options = options,
	.size = sizeof(struct rtc),
	.state_version = 1,
	.builtin = true,
	.realize = rtc_realize,
	.reset = rtc_reset,
	.save = rtc_save,
	.load = rtc_load,
	.unrealize = rtc_unrealize,
};
