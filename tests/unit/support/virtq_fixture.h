/* SPDX-License-Identifier: MIT */
/* A virtqueue over memory with borders and a hole, for the tests of virtq. */
#ifndef SUPPORT_VIRTQ_FIXTURE_H
#define SUPPORT_VIRTQ_FIXTURE_H

#include <criterion/criterion.h>

#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtq.h"

#define SIZE     16u
#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

/* RAM: 2 MiB at 0, and right behind it a second region of 2 MiB; a hole; 1 GiB at 4 GiB. */
#define BORDER (2 * MIB)
#define HOLE   (4 * MIB)
#define HIGH   (4 * GIB)

#define RING_AT UINT64_C(0x1000)
#define DATA    UINT64_C(0x10000)
#define TABLE   UINT64_C(0x20000)

extern struct guest_memory *memory;
extern struct virtq *vq;
extern struct driver_ring ring;
extern struct virtq_chain *chain; /* the last that was popped */

/* .init and .fini of a suite. */
void virtq_setup(void);
void virtq_setup_packed(void);
void virtq_teardown(void);

/* The driver forgets its ring and starts anew; of the same format and size. */
void virtq_new_ring(void);
/* Enable the ring; features: enum virtq_features, the format apart. */
void enable(unsigned features);
void expect_pop(void);
struct virtq_chain *pop(void);
/* The next pop must fail with a message that contains `why`, and so must every later one. */
void expect_broken(const char *why);

#endif
