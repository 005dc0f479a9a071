/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/virtq_fixture.h"

#include <string.h>

struct guest_memory *memory;
struct virtq *vq;
struct driver_ring ring;
struct virtq_chain *chain;

static void add_ram(uint64_t base, uint64_t size)
{
	cr_assert_eq(guest_memory_add(memory, gpa(base), size, 0, NULL), 0);
}

void virtq_setup(void)
{
	cr_assert_eq(guest_memory_create(&memory, NULL), 0);
	add_ram(0, BORDER);
	add_ram(BORDER, HOLE - BORDER);
	add_ram(HIGH, GIB);
	cr_assert_eq(virtq_create(&vq, memory, SIZE), 0);
	driver_ring_init(&ring, memory, gpa(RING_AT), SIZE);
}

void virtq_setup_packed(void)
{
	virtq_setup();
	/* Any size will do for these. */
	driver_ring_init_packed(&ring, memory, gpa(RING_AT), SIZE - 3);
}

void virtq_new_ring(void)
{
	if (ring.packed)
		driver_ring_init_packed(&ring, memory, gpa(RING_AT), ring.layout.size);
	else
		driver_ring_init(&ring, memory, gpa(RING_AT), ring.layout.size);
}

void virtq_teardown(void)
{
	virtq_destroy(vq);
	guest_memory_destroy(memory);
}

void enable(unsigned features)
{
	ring.event_idx = features & VIRTQ_EVENT_IDX;
	if (ring.packed)
		features |= VIRTQ_PACKED;
	cr_assert_eq(virtq_enable(vq, &ring.layout, features), 0, "%s", virtq_error(vq));
}

void expect_broken(const char *why)
{
	cr_assert_lt(virtq_pop(vq, &chain), 0);
	cr_assert(strstr(virtq_error(vq), why), "\"%s\" does not say \"%s\"", virtq_error(vq), why);
	cr_assert_lt(virtq_pop(vq, &chain), 0, "the queue came back to life");
	cr_assert_not(virtq_notify_enable(vq));
}

void expect_pop(void)
{
	cr_assert_eq(virtq_pop(vq, &chain), 1, "%s", virtq_error(vq));
}

struct virtq_chain *pop(void)
{
	expect_pop();
	return chain;
}
