/* SPDX-License-Identifier: MIT */
/*
 * The registers of an MC146818 clock (Motorola MC146818A data sheet), without ports, a lock or
 * timers: devices/rtc_cmos.c gives it those.
 *
 * Guest time is real time plus an offset. Nothing ticks: the time registers are worked out when
 * they are read, and the flags of register C for the span since they were last looked at. While the
 * guest holds the clock (SET, or the divider in reset) the registers are plain bytes.
 *
 * All times are nanoseconds. All functions: with the owner's lock held.
 */
#ifndef DEVICES_MC146818_H
#define DEVICES_MC146818_H

#include "core/types.h"

#define MC146818_SIZE  128u
#define MC146818_NEVER INT64_MAX

struct mc146818 {
	uint8_t cmos[MC146818_SIZE];
	uint8_t flags;   /* of register C, but for IRQF */
	int64_t offset;  /* guest time less real time */
	int64_t checked; /* real time up to which flags are accounted for */
};

/* BCD, 24 hours, running. offset: what guest time is ahead of real time. */
void mc146818_init(struct mc146818 *rtc, int64_t real, int64_t offset);
/* What the reset pin does: interrupts off; time and memory stay. */
void mc146818_reset(struct mc146818 *rtc);

/* reg: 0 to 127. real: the time now, since 1970-01-01 UTC. */
uint8_t mc146818_read(struct mc146818 *rtc, unsigned reg, int64_t real);
void mc146818_write(struct mc146818 *rtc, unsigned reg, uint8_t value, int64_t real);

/* Account for what has happened until now. */
void mc146818_sync(struct mc146818 *rtc, int64_t real);
/* Whether the interrupt line is active. */
bool mc146818_interrupt(const struct mc146818 *rtc);
/* Real time of the next event that will raise the interrupt, or MC146818_NEVER. */
int64_t mc146818_next(const struct mc146818 *rtc);

/* Whether fields that come from outside can be worked with. */
bool mc146818_valid(const struct mc146818 *rtc);

#endif
