/* SPDX-License-Identifier: MIT */
/*
 * Interrupt and doorbell sinks: what a device needs from the hypervisor, without knowing it. KVM
 * implements them with irqfd and ioeventfd; unit tests with counters.
 */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include <stdatomic.h>

#include "core/error.h"

/* A level-triggered line into the interrupt controller. */
struct irq_line {
	/* Idempotent. Any thread. */
	void (*set)(struct irq_line *line, bool level);
};

static inline void irq_line_set(struct irq_line *line, bool level)
{
	if (line)
		line->set(line, level);
}

struct msi_sink;

/*
 * One MSI vector. Reference-counted: a vector that a device signals from its loop stays valid until
 * that device has let go of it, whatever a vCPU does to the MSI-X table meanwhile.
 */
struct msi_vector {
	const struct msi_vector_ops *ops;
	_Atomic unsigned refs;
};

struct msi_vector_ops {
	/*
	 * Set the message that a signal sends (PCI Local Bus 3.0, 6.8: address and data).
	 * Returns 0 or -errno (the hypervisor has no route left). Serialised by the caller.
	 */
	int (*set)(struct msi_vector *vector, uint64_t address, uint32_t data);
	/* Send the message. Any thread. A vector that was never set sends nothing. */
	void (*signal)(struct msi_vector *vector);
	/* Called when the last reference is gone. */
	void (*release)(struct msi_vector *vector);
};

struct msi_sink {
	/* New vector with one reference, or NULL when none is left. */
	struct msi_vector *(*create)(struct msi_sink *sink);
};

static inline struct msi_vector *msi_vector_get(struct msi_vector *vector)
{
	if (vector)
		atomic_fetch_add_explicit(&vector->refs, 1, memory_order_relaxed);
	return vector;
}

static inline void msi_vector_put(struct msi_vector *vector)
{
	if (vector && atomic_fetch_sub_explicit(&vector->refs, 1, memory_order_acq_rel) == 1)
		vector->ops->release(vector);
}

/* An interrupt message on its way to the local APICs: what an MSI write carries. */
struct apic_message {
	uint64_t address;
	uint32_t data;
};

/* The local APICs, for an interrupt controller that we emulate and that has lines. Any thread. */
struct apic_sink {
	void (*send)(struct apic_sink *apic, const struct apic_message *message);
	/*
	 * Report the end of the interrupt that this level-triggered message of input `pin` (0 to
	 * 23) makes; NULL: of none. One message for each pin.
	 */
	void (*watch)(struct apic_sink *apic, unsigned pin, const struct apic_message *message);
};

/*
 * Doorbells: ask that a guest write to an address signals an eventfd instead of leaving the vCPU
 * thread's run loop.
 */
struct doorbell {
	uint64_t addr;  /* guest physical */
	unsigned size;  /* of the write in bytes: 1, 2, 4, 8; 0: any */
	bool match;     /* only writes of `value`; size is not 0 */
	uint64_t value; /* others reach the device's register handler */
	int fd;         /* eventfd, not owned */
};

struct doorbell_sink {
	/*
	 * Returns 0 or -errno; on error the write reaches the device's register handler, which must
	 * do the same work.
	 */
	int (*attach)(struct doorbell_sink *sink, const struct doorbell *doorbell);
	/* The same doorbell again. */
	void (*detach)(struct doorbell_sink *sink, const struct doorbell *doorbell);
};

#endif
