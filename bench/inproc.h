/* SPDX-License-Identifier: MIT */
/*
 * Devices measured inside one process, without KVM: a driver over plain memory on one side, the
 * real device, loop and backend on the other. One thread does both, in turns.
 */
#ifndef BENCH_INPROC_H
#define BENCH_INPROC_H

#include "virtio/virtio.h"

/* ---- surroundings ---- */

/* Memory, the system's clock and a loop that nobody runs but the caller; ends the program if not.
 */
const struct device_env *bench_env(void);
struct device *bench_device(const struct device_class *cls, const char *id, const char *options);
/* Print a sentence and end the program. */
_Noreturn void bench_fail(const char *fmt, ...) PRINTF(1, 2);
double bench_seconds(void);

/* ---- a driver's ring ---- */

struct bench_ring {
	struct virtio_device *vd;
	unsigned queue;
	unsigned per_chain; /* descriptors */
	uint16_t size, avail_idx, rung_idx, used_idx;
	uint32_t free; /* chains that are not in flight, a bit for each */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
};

struct bench_buffer {
	uint64_t addr;
	uint32_t len;
	bool writable;
};

/* Guest memory: its address, and in *host where it is here. */
uint64_t bench_alloc(size_t bytes, void **host);

/*
 * Negotiate what is offered, and enable rings of 128 entries on all queues up to `count`.
 * Chains are of at most per_chain descriptors.
 */
void bench_start(struct virtio_device *vd, struct bench_ring *rings, unsigned count,
		 unsigned per_chain);
/* depth: chains that may be in flight, 1 to 32. */
void bench_ring_depth(struct bench_ring *r, unsigned depth);
/* The number of a chain that is not in flight; -1: all are. */
int bench_ring_next(const struct bench_ring *r);
void bench_ring_add(struct bench_ring *r, unsigned chain, const struct bench_buffer *b, unsigned n);
/* Ring the doorbell if the device wants that (EVENT_IDX). */
void bench_ring_kick(struct bench_ring *r);
/* The next chain that came back; -1: none. *len: bytes that the device wrote. */
int bench_ring_used(struct bench_ring *r, uint32_t *len);

/* ---- system calls ---- */

/*
 * Run a workload in a process of its own and count the system calls it makes between
 * bench_count_begin and bench_count_end; *doorbells: how many of these were the driver's.
 * False: this system does not let processes be traced.
 */
bool bench_count(void (*workload)(void), uint64_t *calls, uint64_t *doorbells);
void bench_count_begin(void);
void bench_count_end(void);
extern uint64_t bench_doorbells;

#endif
