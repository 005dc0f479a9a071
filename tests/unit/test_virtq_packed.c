/* SPDX-License-Identifier: MIT */
/*
 * Packed virtqueues: what they alone have, and everything that a hostile driver can do to them.
 * What they share with split ones is tested in test_virtq.c, over both.
 */
#include <errno.h>
#include <string.h>

#include "tests/unit/support/virtq_fixture.h"

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)
#define RING  ((uint16_t)(SIZE - 3)) /* as the fixture makes it */

TestSuite(virtq_only_packed, .init = virtq_setup_packed, .fini = virtq_teardown);

static struct vring_packed_desc desc_at(uint16_t index)
{
	struct vring_packed_desc d;

	driver_read(memory, gpa_add(ring.layout.desc, 16u * index), &d, sizeof(d));
	return d;
}

static void add(unsigned descs)
{
	struct driver_buffer b[SIZE];

	for (unsigned i = 0; i < descs; i++)
		b[i] = (struct driver_buffer){gpa(DATA + 64 * i), 64, true};
	driver_ring_add(&ring, b, descs);
}

/* Take n descriptors round, so that the ring goes on from there. */
static void go_round(unsigned n)
{
	uint32_t id, len;

	while (n--) {
		add(1);
		virtq_push(vq, pop(), 0);
		(void)!virtq_publish(vq);
		cr_assert(driver_ring_used(&ring, &id, &len));
	}
}

/* ---- the ring ---- */

Test(virtq_only_packed, used_descriptor_has_the_flags_of_the_lap)
{
	enable(0);
	for (unsigned lap = 0; lap < 3; lap++) {
		const unsigned turn = lap % 2 ? 0 : AVAIL | USED;

		for (uint16_t i = 0; i < RING; i++) {
			add(1);
			virtq_push(vq, pop(), i % 2);
			cr_assert(virtq_publish(vq));
			cr_assert_eq(desc_at(i).flags, turn | (i % 2 ? WRITE : 0u));
			cr_assert_eq(desc_at(i).len, i % 2u);
			cr_assert(driver_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}));
		}
	}
}

Test(virtq_only_packed, batch_becomes_visible_with_its_first_descriptor)
{
	struct virtq_chain *first, *second;

	enable(0);
	add(3);
	first = pop();
	add(2);
	second = pop();
	virtq_push(vq, second, 7);
	virtq_push(vq, first, 9);
	cr_assert_eq(desc_at(0).flags & USED, 0u, "the first, before publish");
	/* The one that came second took two descriptors: the other's place is 2. */
	cr_assert_eq(desc_at(2).flags & (AVAIL | USED), AVAIL | USED);
	cr_assert_eq(desc_at(2).id, first->head);
	cr_assert_eq(desc_at(2).len, 9u);
	cr_assert(virtq_publish(vq));
	cr_assert_eq(desc_at(0).flags & (AVAIL | USED), AVAIL | USED);
	cr_assert_eq(desc_at(0).id, second->head);
	cr_assert_eq(desc_at(0).len, 7u);
}

Test(virtq_only_packed, ring_of_one_descriptor_works)
{
	driver_ring_init_packed(&ring, memory, gpa(RING_AT), 1);
	enable(VIRTQ_EVENT_IDX);
	driver_packed_set_event(&ring, 0, true, VRING_PACKED_EVENT_FLAG_ENABLE);
	go_round(5);
	cr_assert_eq(virtq_pop(vq, &chain), 0);
}

Test(virtq_only_packed, flags_in_an_indirect_table_other_than_write_mean_nothing)
{
	const struct vring_packed_desc table[2] = {
		{.addr = DATA, .len = 8, .flags = NEXT | AVAIL},
		{.addr = DATA, .len = 16, .flags = WRITE | NEXT | USED, .id = 99},
	};

	enable(VIRTQ_INDIRECT);
	driver_write(memory, gpa(TABLE), table, sizeof(table));
	driver_packed_desc(&ring, TABLE, sizeof(table), INDIRECT | WRITE, 5);
	expect_pop();
	cr_assert_eq(chain->head, 5u);
	cr_assert_eq(chain->out_len, 8u);
	cr_assert_eq(chain->in_len, 16u);
}

/* ---- events ---- */

/* Each place of two laps, each length of a batch, from each place of the ring. */
Test(virtq_only_packed, interrupt_is_raised_by_a_batch_that_passes_the_event)
{
	enable(VIRTQ_EVENT_IDX);
	for (unsigned from = 0; from < 2u * RING; from++) {
		unsigned descs = from * 5 % RING + 1;

		for (unsigned event = 0; event < RING; event++) {
			/* `event` places on from the first descriptor of the batch. */
			driver_ring_interrupt_after(&ring, (uint16_t)event);
			add(descs);
			virtq_push(vq, pop(), 0);
			cr_assert_eq(virtq_publish(vq), event < descs,
				     "batch of %u from %u, event %u on", descs, from, event);
			cr_assert(driver_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}));
		}
		go_round(1);
	}
}

Test(virtq_only_packed, interrupt_is_not_raised_for_an_event_that_lies_behind)
{
	enable(VIRTQ_EVENT_IDX);
	go_round(3);
	driver_packed_set_event(&ring, 2, true, VRING_PACKED_EVENT_FLAG_DESC);
	add(1);
	virtq_push(vq, pop(), 0);
	cr_assert_not(virtq_publish(vq));
}

Test(virtq_only_packed, event_without_the_feature_does_not_lose_interrupts)
{
	enable(0);
	driver_packed_set_event(&ring, 9, true, VRING_PACKED_EVENT_FLAG_DESC);
	add(1);
	virtq_push(vq, pop(), 0);
	cr_assert(virtq_publish(vq));
}

Test(virtq_only_packed, interrupts_can_be_off_and_on_with_the_feature)
{
	enable(VIRTQ_EVENT_IDX);
	driver_ring_interrupts(&ring, false);
	add(1);
	virtq_push(vq, pop(), 0);
	cr_assert_not(virtq_publish(vq));
	driver_ring_interrupts(&ring, true);
	add(1);
	virtq_push(vq, pop(), 0);
	cr_assert(virtq_publish(vq));
}

Test(virtq_only_packed, event_of_the_device_has_the_wrap_counter)
{
	enable(VIRTQ_EVENT_IDX);
	cr_assert_not(virtq_notify_enable(vq));
	cr_assert_eq(driver_packed_event(&ring), VRING_PACKED_EVENT_FLAG_DESC << 16 | 0x8000u);
	go_round(RING + 2u);
	cr_assert_not(virtq_notify_enable(vq));
	cr_assert_eq(driver_packed_event(&ring), VRING_PACKED_EVENT_FLAG_DESC << 16 | 2u);
}

/* ---- saved positions ---- */

Test(virtq_only_packed, position_beyond_the_ring_is_refused)
{
	const struct {
		struct virtq_position position;
		bool ok;
	} cases[] = {
		{{0x8000, 0x8000}, true},         {{0, 0}, true},
		{{RING - 1, RING - 1}, true},     {{RING, 0}, false},
		{{0, 0x8000 | RING}, false},      {{0xffff, 0}, false},
		{{0x8000 | (RING - 1), 0}, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cr_assert_eq(virtq_position_ok(&cases[i].position, &ring.layout, VIRTQ_PACKED),
			     cases[i].ok, "case %zu", i);
}

/* ---- a hostile driver ---- */

Test(virtq_only_packed, buffer_id_beyond_the_ring_breaks_the_device)
{
	enable(0);
	driver_packed_desc(&ring, DATA, 64, 0, RING);
	expect_broken("buffer id 13");
}

Test(virtq_only_packed, buffer_id_twice_in_flight_breaks_the_device)
{
	enable(0);
	driver_packed_desc(&ring, DATA, 64, 0, 5);
	driver_packed_desc(&ring, DATA, 64, 0, 5);
	expect_pop();
	expect_broken("in flight already");
	cr_assert_eq(virtq_in_flight(vq), 1u);
}

Test(virtq_only_packed, chain_longer_than_the_ring_breaks_the_device)
{
	enable(0);
	for (uint16_t i = 0; i < RING; i++)
		driver_packed_desc(&ring, DATA, 64, NEXT, i);
	expect_broken("longer than the ring has room");
}

Test(virtq_only_packed, chain_longer_than_what_is_free_breaks_the_device)
{
	enable(0);
	add(RING - 2u);
	expect_pop();
	for (uint16_t i = 0; i < 3; i++)
		driver_packed_desc(&ring, DATA, 64, i < 2 ? NEXT : 0, 12);
	expect_broken("longer than the ring has room");
	cr_assert_eq(virtq_in_flight(vq), 1u);
}

Test(virtq_only_packed, more_descriptors_than_the_ring_has_are_never_in_flight)
{
	enable(0);
	for (uint16_t i = 0; i < RING; i++) {
		driver_packed_desc(&ring, DATA, 64, 0, i);
		expect_pop();
	}
	cr_assert_eq(virtq_pop(vq, &chain), 0);
	/* The device owns them all, and the driver takes one back. */
	driver_packed_desc(&ring, DATA, 64, 0, 0);
	expect_broken("in flight");
	cr_assert_eq(virtq_in_flight(vq), RING);
}

Test(virtq_only_packed, descriptor_taken_before_it_is_published_breaks_the_device)
{
	enable(0);
	for (uint16_t i = 0; i < RING; i++) {
		driver_packed_desc(&ring, DATA, 64, 0, i);
		virtq_push(vq, pop(), 0);
	}
	driver_packed_desc(&ring, DATA, 64, 0, 0);
	expect_broken("in flight");
}

Test(virtq_only_packed, indirect_in_a_chain_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_packed_desc(&ring, DATA, 64, NEXT, 0);
	driver_packed_desc(&ring, TABLE, 16, INDIRECT, 0);
	expect_broken("indirect descriptor in a chain");
}

Test(virtq_only_packed, indirect_with_next_breaks_the_device)
{
	enable(VIRTQ_INDIRECT);
	driver_packed_desc(&ring, TABLE, 16, INDIRECT | NEXT, 0);
	expect_broken("indirect descriptor in a chain");
}

Test(virtq_only_packed, nested_indirect_breaks_the_device)
{
	const struct vring_packed_desc d = {.addr = TABLE, .len = 16, .flags = INDIRECT};

	enable(VIRTQ_INDIRECT);
	driver_write(memory, gpa(TABLE), &d, sizeof(d));
	driver_packed_desc(&ring, TABLE, 16, INDIRECT, 0);
	expect_broken("in an indirect table");
}

Test(virtq_only_packed, bad_indirect_tables_break_the_device)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		unsigned features;
		const char *why;
	} bad[] = {
		{TABLE, 16, 0, "without the feature"},
		{TABLE, 0, VIRTQ_INDIRECT, "table of 0 bytes"},
		{TABLE, 24, VIRTQ_INDIRECT, "table of 24 bytes"},
		{TABLE, 16 * (SIZE + 1), VIRTQ_INDIRECT, "longer than the queue"},
		{HOLE - 16, 32, VIRTQ_INDIRECT, "is not RAM"},
		{BORDER - 16, 32, VIRTQ_INDIRECT, "is not RAM"},
		{UINT64_MAX - 15, 32, VIRTQ_INDIRECT, "is not RAM"},
		/* A table of zeroes. */
		{TABLE, 16, VIRTQ_INDIRECT, "empty descriptor"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		virtq_new_ring();
		enable(bad[i].features);
		driver_packed_desc(&ring, bad[i].addr, bad[i].len, INDIRECT, 0);
		expect_broken(bad[i].why);
		virtq_drop_all(vq);
	}
}

Test(virtq_only_packed, bad_buffers_break_the_device)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		const char *why;
	} bad[] = {
		{DATA, 0, "empty descriptor"},
		{HOLE, 1, "is not RAM"},
		{HOLE - 16, 17, "is not RAM"},
		{UINT64_MAX - 15, 32, "is not RAM"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		virtq_new_ring();
		enable(0);
		driver_packed_desc(&ring, bad[i].addr, bad[i].len, WRITE, 0);
		expect_broken(bad[i].why);
		virtq_drop_all(vq);
	}
}

Test(virtq_only_packed, readable_after_writable_breaks_the_device)
{
	enable(0);
	driver_packed_desc(&ring, DATA, 1, WRITE | NEXT, 0);
	driver_packed_desc(&ring, DATA, 1, 0, 0);
	expect_broken("readable after writable");
}

Test(virtq_only_packed, chain_of_4_gib_breaks_the_device)
{
	enable(0);
	for (uint16_t i = 0; i < 4; i++)
		driver_packed_desc(&ring, HIGH, (uint32_t)GIB, i < 3 ? NEXT : 0, 0);
	expect_broken("4 GiB");
}

/* ---- rings ---- */

static void expect_refused(const struct virtq_layout *layout, int code, const char *why)
{
	cr_assert_eq(virtq_enable(vq, layout, VIRTQ_PACKED), code, "%s", virtq_error(vq));
	cr_assert(strstr(virtq_error(vq), why), "\"%s\" does not say \"%s\"", virtq_error(vq), why);
	cr_assert_not(virtq_enabled(vq));
	cr_assert_eq(virtq_pop(vq, &chain), 0);
	cr_assert_not(virtq_publish(vq));
}

Test(virtq_only_packed, rings_that_cannot_be_used_are_refused)
{
	const struct virtq_layout good = ring.layout;
	struct virtq_layout l = good;

	l.size = 0;
	expect_refused(&l, -EINVAL, "queue size 0");
	l.size = SIZE + 1;
	expect_refused(&l, -EINVAL, "queue size 17");
	l = good;
	l.desc.v += 8;
	expect_refused(&l, -EINVAL, "descriptor ring");
	l = good;
	l.desc.v = BORDER - 16;
	expect_refused(&l, -EFAULT, "descriptor ring");
	l = good;
	l.driver.v += 2;
	expect_refused(&l, -EINVAL, "driver event");
	l = good;
	l.device.v += 2;
	expect_refused(&l, -EINVAL, "device event");
	l = good;
	l.driver.v = HOLE;
	expect_refused(&l, -EFAULT, "driver event");
	l = good;
	l.device.v = UINT64_MAX - 3;
	expect_refused(&l, -EFAULT, "device event");
}

Test(virtq_only_packed, broken_queue_works_again_after_it_is_dropped)
{
	enable(0);
	driver_packed_desc(&ring, DATA, 64, 0, 5);
	expect_pop();
	driver_packed_desc(&ring, DATA, 64, 0, 5);
	expect_broken("in flight already");
	virtq_push(vq, chain, 0);
	cr_assert_not(virtq_publish(vq));
	cr_assert_not(driver_ring_has_used(&ring), "a broken queue gives back");
	virtq_drop_all(vq);
	virtq_new_ring();
	enable(0);
	go_round(2u * RING);
	/* And as the other format. */
	virtq_drop_all(vq);
	driver_ring_init(&ring, memory, gpa(RING_AT), SIZE);
	enable(0);
	go_round(2 * SIZE);
}
