/* SPDX-License-Identifier: MIT */
/*
 * Virtqueues: everything that a hostile driver can do to them, and what happens after.
 */
#include <errno.h>
#include <string.h>

#include "tests/unit/support/virtq_fixture.h"

TestSuite(virtq_hostile, .init = virtq_setup, .fini = virtq_teardown);

/* ---- a hostile driver: chains ---- */

Test(virtq_hostile, chain_that_loops_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, DATA, 1, NEXT, 1);
	driver_ring_desc(&ring, 1, DATA, 1, NEXT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("loops");
}

Test(virtq_hostile, descriptor_that_follows_itself_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 3, DATA, 1, NEXT, 3);
	driver_ring_offer(&ring, 3);
	expect_broken("loops");
}

Test(virtq_hostile, loop_in_an_indirect_table_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_table_desc(memory, gpa(TABLE), 0, DATA, 1, NEXT, 0);
	driver_ring_desc(&ring, 0, TABLE, 16, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("loops");
}

Test(virtq_hostile, next_beyond_the_table_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, DATA, 1, NEXT, SIZE);
	driver_ring_offer(&ring, 0);
	expect_broken("descriptor index 16");
}

Test(virtq_hostile, next_beyond_the_indirect_table_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_table_desc(memory, gpa(TABLE), 0, DATA, 1, NEXT, 1);
	driver_ring_desc(&ring, 0, TABLE, 16, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("descriptor index 1 of 1");
}

Test(virtq_hostile, head_beyond_the_table_breaks_the_device)
{
	enable(0);
	driver_ring_offer(&ring, SIZE);
	expect_broken("head 16");
}

Test(virtq_hostile, indirect_without_the_feature_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, TABLE, 16, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("without the feature");
}

Test(virtq_hostile, nested_indirect_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_table_desc(memory, gpa(TABLE), 0, TABLE, 16, INDIRECT, 0);
	driver_ring_desc(&ring, 0, TABLE, 16, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("in an indirect table");
}

Test(virtq_hostile, indirect_with_next_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_ring_desc(&ring, 0, TABLE, 16, INDIRECT | NEXT, 1);
	driver_ring_offer(&ring, 0);
	expect_broken("with NEXT");
}

Test(virtq_hostile, indirect_table_of_odd_length_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_ring_desc(&ring, 0, TABLE, 24, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("table of 24 bytes");
}

Test(virtq_hostile, indirect_table_of_no_length_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_ring_desc(&ring, 0, TABLE, 0, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("table of 0 bytes");
}

Test(virtq_hostile, indirect_table_longer_than_the_queue_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_ring_desc(&ring, 0, TABLE, 16 * (SIZE + 1), INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("longer than the queue");
}

Test(virtq_hostile, indirect_table_outside_ram_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_ring_desc(&ring, 0, HOLE - 16, 32, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("is not RAM");
}

Test(virtq_hostile, readable_after_writable_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, DATA, 1, WRITE | NEXT, 1);
	driver_ring_desc(&ring, 1, DATA, 1, 0, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("readable after writable");
}

Test(virtq_hostile, chain_of_4_gib_breaks_the_device)
{
	enable(0);
	for (uint16_t i = 0; i < 4; i++)
		driver_ring_desc(&ring, i, HIGH, (uint32_t)GIB, NEXT, (uint16_t)(i + 1));
	driver_ring_offer(&ring, 0);
	expect_broken("4 GiB");
}

Test(virtq_hostile, empty_descriptor_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, DATA, 0, NEXT, 1);
	driver_ring_desc(&ring, 1, DATA, 1, 0, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("empty descriptor");
}

Test(virtq_hostile, buffer_outside_ram_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, HOLE, 1, 0, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("is not RAM");
}

Test(virtq_hostile, buffer_that_leaves_ram_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, HOLE - 16, 17, WRITE, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("is not RAM");
}

Test(virtq_hostile, address_that_wraps_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 0, UINT64_MAX - 15, 32, WRITE, 0);
	driver_ring_offer(&ring, 0);
	expect_broken("is not RAM");
}

Test(virtq_hostile, buffers_that_all_cross_regions_are_bounded)
{
	struct virtq *big;

	/* Indirect, so that more descriptors than free segments can be named. */
	cr_assert_eq(virtq_create(&big, memory, 256), 0);
	driver_ring_init(&ring, memory, gpa(RING_AT), 256);
	cr_assert_eq(virtq_enable(big, &ring.layout, VIRTQ_INDIRECT), 0);
	for (uint16_t i = 0; i < 256; i++)
		driver_table_desc(memory, gpa(TABLE), i, BORDER - 1, 2, i < 255 ? NEXT : 0,
				  (uint16_t)(i + 1));
	driver_ring_desc(&ring, 0, TABLE, 16 * 256, INDIRECT, 0);
	driver_ring_offer(&ring, 0);
	cr_assert_eq(virtq_pop(big, &chain), -EINVAL);
	cr_assert(strstr(virtq_error(big), "segments"), "%s", virtq_error(big));
	virtq_destroy(big);
}

/* ---- a hostile driver: indices ---- */

Test(virtq_hostile, available_index_that_jumps_beyond_the_queue_breaks_the_device)
{
	enable(0);
	driver_ring_set_avail(&ring, SIZE + 1);
	expect_broken("jumped");
}

Test(virtq_hostile, available_index_that_goes_back_breaks_the_device)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};

	enable(0);
	driver_ring_add(&ring, &b, 1);
	virtq_push(vq, pop(), 0);
	driver_ring_set_avail(&ring, 0);
	expect_broken("jumped");
}

Test(virtq_hostile, head_twice_in_flight_breaks_the_device)
{
	enable(0);
	driver_ring_desc(&ring, 5, DATA, 1, 0, 0);
	driver_ring_offer(&ring, 5);
	driver_ring_offer(&ring, 5);
	expect_pop();
	expect_broken("in flight already");
}

Test(virtq_hostile, more_chains_than_the_queue_has_entries_are_never_in_flight)
{
	enable(0);
	for (uint16_t i = 0; i < SIZE; i++) {
		driver_ring_desc(&ring, i, DATA, 1, 0, 0);
		driver_ring_offer(&ring, i);
	}
	for (unsigned i = 0; i < SIZE; i++)
		expect_pop();
	cr_assert_eq(virtq_in_flight(vq), SIZE);
	driver_ring_offer(&ring, 0);
	expect_broken("in flight already");
	cr_assert_eq(virtq_in_flight(vq), SIZE);
}

/* ---- a hostile driver: rings ---- */

static void expect_refused(const struct virtq_layout *layout, int code, const char *why)
{
	cr_assert_eq(virtq_enable(vq, layout, 0), code, "%s", virtq_error(vq));
	cr_assert(strstr(virtq_error(vq), why), "\"%s\" does not say \"%s\"", virtq_error(vq), why);
	cr_assert_not(virtq_enabled(vq));
	cr_assert_eq(virtq_pop(vq, &chain), 0);
	cr_assert_not(virtq_publish(vq));
}

Test(virtq_hostile, queue_size_that_is_none_is_refused)
{
	const uint16_t sizes[] = {0, 3, 12, 2 * SIZE, 0x8000, 0xffff};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct virtq_layout l = ring.layout;

		l.size = sizes[i];
		expect_refused(&l, -EINVAL, "queue size");
	}
}

Test(virtq_hostile, misaligned_rings_are_refused)
{
	struct virtq_layout l = ring.layout;

	l.desc.v += 8;
	expect_refused(&l, -EINVAL, "descriptor table");
	l = ring.layout;
	l.driver.v += 1;
	expect_refused(&l, -EINVAL, "available ring");
	l = ring.layout;
	l.device.v += 2;
	expect_refused(&l, -EINVAL, "used ring");
}

Test(virtq_hostile, rings_outside_ram_are_refused)
{
	struct virtq_layout l = ring.layout;

	l.desc.v = HOLE - 16;
	expect_refused(&l, -EFAULT, "descriptor table");
	l = ring.layout;
	l.driver.v = HOLE;
	expect_refused(&l, -EFAULT, "available ring");
	l = ring.layout;
	l.device.v = UINT64_MAX - 3;
	expect_refused(&l, -EFAULT, "used ring");
}

Test(virtq_hostile, ring_that_crosses_regions_is_refused)
{
	struct virtq_layout l = ring.layout;

	l.desc.v = BORDER - 16;
	expect_refused(&l, -EFAULT, "descriptor table");
}

Test(virtq_hostile, ring_of_the_last_bytes_of_ram_is_used)
{
	struct virtq_layout l = ring.layout;

	l.device.v = HOLE - (6 + 8 * SIZE + 2);
	cr_assert_eq(virtq_enable(vq, &l, VIRTQ_EVENT_IDX), 0, "%s", virtq_error(vq));
}

/* ---- what happens after ---- */

Test(virtq_hostile, broken_queue_works_again_after_it_is_dropped)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};
	uint32_t generation = virtq_generation(vq);

	enable(0);
	driver_ring_set_avail(&ring, 100);
	expect_broken("jumped");
	virtq_drop_all(vq);
	cr_assert_neq(virtq_generation(vq), generation);
	cr_assert_str_eq(virtq_error(vq), "");
	driver_ring_init(&ring, memory, gpa(RING_AT), SIZE);
	enable(0);
	driver_ring_add(&ring, &b, 1);
	expect_pop();
	cr_assert_eq(chain->generation, virtq_generation(vq));
}

Test(virtq_hostile, chain_pushed_to_a_broken_queue_does_not_reach_the_ring)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};
	struct virtq_chain *first;

	enable(0);
	driver_ring_add(&ring, &b, 1);
	first = pop();
	driver_ring_set_avail(&ring, 100);
	expect_broken("jumped");
	virtq_push(vq, first, 64);
	cr_assert_not(virtq_publish(vq));
	cr_assert_eq(driver_ring_used_idx(&ring), 0u);
	cr_assert_eq(virtq_in_flight(vq), 0u);
}

Test(virtq_hostile, chains_in_flight_are_dropped_with_the_queue)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};

	enable(0);
	driver_ring_add(&ring, &b, 1);
	expect_pop();
	virtq_drop_all(vq);
	cr_assert_eq(virtq_in_flight(vq), 0u);
	cr_assert_not(virtq_enabled(vq));
	cr_assert_eq(virtq_pop(vq, &chain), 0);
	cr_assert_eq(driver_ring_used_idx(&ring), 0u);
}
