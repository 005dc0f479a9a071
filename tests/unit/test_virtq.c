/* SPDX-License-Identifier: MIT */
/*
 * Virtqueues: what a chain becomes, completions, notifications.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/virtq_fixture.h"

TestSuite(virtq, .init = virtq_setup, .fini = virtq_teardown);
TestSuite(virtq_packed, .init = virtq_setup_packed, .fini = virtq_teardown);

/* ---- chains ---- */

TEST_BOTH(virtq, chain_becomes_readable_then_writable_segments)
{
	const struct driver_buffer b[] = {{gpa(DATA), 16, false},
					  {gpa(DATA + 0x100), 32, false},
					  {gpa(DATA + 0x200), 64, true}};
	uint16_t head;

	enable(0);
	head = driver_ring_add(&ring, b, 3);
	expect_pop();
	cr_assert_eq(chain->head, head);
	cr_assert_eq(chain->out_count, 2u);
	cr_assert_eq(chain->in_count, 1u);
	cr_assert_eq(chain->out_len, 48u);
	cr_assert_eq(chain->in_len, 64u);
	cr_assert_eq(virtq_chain_out(chain)[1].iov_len, 32u);
	cr_assert_eq(virtq_chain_in(chain)[0].iov_len, 64u);
	cr_assert_eq(virtq_in_flight(vq), 1u);
	cr_assert_eq(virtq_pop(vq, &chain), 0);
}

TEST_BOTH(virtq, indirect_chain_is_followed)
{
	const struct driver_buffer b[] = {{gpa(DATA), 16, false}, {gpa(DATA + 0x200), 64, true}};

	enable(VIRTQ_INDIRECT);
	driver_ring_add_indirect(&ring, gpa(TABLE), b, 2);
	expect_pop();
	cr_assert_eq(chain->out_len, 16u);
	cr_assert_eq(chain->in_len, 64u);
}

Test(virtq, indirect_table_may_follow_direct_descriptors)
{
	enable(VIRTQ_INDIRECT);
	driver_ring_desc(&ring, 0, DATA, 8, NEXT, 1);
	/* 2.7.5.3.2: the WRITE flag of a descriptor that points to a table is ignored. */
	driver_ring_desc(&ring, 1, TABLE, 16, INDIRECT | WRITE, 0);
	driver_table_desc(memory, gpa(TABLE), 0, DATA, 24, 0, 0);
	driver_ring_offer(&ring, 0);
	expect_pop();
	cr_assert_eq(chain->out_len, 32u);
	cr_assert_eq(chain->in_count, 0u);
}

TEST_BOTH(virtq, range_that_crosses_regions_is_split)
{
	const struct driver_buffer b = {gpa(BORDER - 100), 300, true};

	enable(0);
	driver_ring_add(&ring, &b, 1);
	expect_pop();
	cr_assert_eq(chain->in_count, 2u);
	cr_assert_eq(chain->in_len, 300u);
	cr_assert_eq(virtq_chain_in(chain)[0].iov_len, 100u);
	cr_assert_eq(virtq_chain_in(chain)[1].iov_len, 200u);
}

TEST_BOTH(virtq, chain_of_as_many_descriptors_as_the_queue_is_taken)
{
	const unsigned size = ring.layout.size;
	struct driver_buffer b[SIZE];

	enable(0);
	for (unsigned i = 0; i < size; i++)
		b[i] = (struct driver_buffer){gpa(DATA + 64 * i), 64, i >= size / 2};
	for (unsigned round = 0; round < 3; round++) {
		driver_ring_add(&ring, b, size);
		expect_pop();
		cr_assert_eq(chain->out_count, size / 2);
		cr_assert_eq(chain->in_count, size - size / 2);
		cr_assert_eq((char *)virtq_chain_in(chain)[1].iov_base -
				     (char *)virtq_chain_in(chain)[0].iov_base,
			     64);
		cr_assert_eq(virtq_pop(vq, &chain), 0);
		virtq_push(vq, chain, 0);
		cr_assert(virtq_publish(vq));
		cr_assert(driver_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}));
	}
}

TEST_BOTH(virtq, descriptor_is_read_only_once)
{
	const struct driver_buffer b = {gpa(DATA), 64, false};
	static const uint8_t garbage[16 * SIZE] = {[0 ... 16 * SIZE - 1] = 0x55};

	enable(0);
	driver_ring_add(&ring, &b, 1);
	expect_pop();
	driver_write(memory, ring.layout.desc, garbage, UINT64_C(16) * ring.layout.size);
	cr_assert_eq(chain->out_len, 64u);
	cr_assert_eq(virtq_chain_out(chain)[0].iov_len, 64u);
	virtq_push(vq, chain, 0);
	cr_assert(virtq_publish(vq));
}

TEST_BOTH(virtq, ring_indices_wrap_after_65536_chains)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};
	uint32_t id, len;

	enable(VIRTQ_EVENT_IDX);
	for (unsigned i = 0; i < 70000; i++) {
		driver_ring_interrupt_after(&ring, 0);
		driver_ring_add(&ring, &b, 1);
		virtq_push(vq, pop(), i % 65);
		cr_assert(virtq_publish(vq), "no interrupt for chain %u", i);
		cr_assert(driver_ring_used(&ring, &id, &len));
		cr_assert_eq(len, i % 65);
	}
}

/* A chain in flight, with what it is to come back with. */
struct flight {
	struct virtq_chain *chain;
	uint32_t written;
};

/* Chains of all lengths, several in flight, finished in any order: each comes back once. */
TEST_BOTH(virtq, chains_come_back_in_the_order_of_completion)
{
	struct driver_buffer b[4] = {{gpa(DATA), 64, true},
				     {gpa(DATA + 64), 64, true},
				     {gpa(DATA + 128), 64, true},
				     {gpa(DATA + 192), 64, true}};
	struct flight flight[SIZE], back[SIZE];
	unsigned in_flight = 0, random = 1;
	uint32_t id, len;

	enable(VIRTQ_INDIRECT);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned n = (random = random * 1103515245 + 12345) >> 16, count = 0;

		while (ring.free_count >= n % 4 + 1 && in_flight < SIZE) {
			if (n % 5 == 0)
				driver_ring_add_indirect(&ring, gpa(TABLE + in_flight * 64ul), b,
							 4);
			else
				driver_ring_add(&ring, b, n % 4 + 1);
			cr_assert_eq(pop()->in_len, n % 5 ? 64 * (n % 4 + 1) : 256);
			flight[in_flight++] = (struct flight){chain, round % 64};
			n /= 3;
		}
		for (unsigned k = n % (in_flight + 1); k; k--) {
			unsigned which = (n + k) % in_flight;

			back[count++] = flight[which];
			virtq_push(vq, flight[which].chain, flight[which].written);
			flight[which] = flight[--in_flight];
		}
		cr_assert_eq(virtq_publish(vq), count > 0);
		cr_assert_eq(virtq_in_flight(vq), in_flight);
		for (unsigned k = 0; k < count; k++) {
			cr_assert(driver_ring_used(&ring, &id, &len));
			cr_assert_eq(id, back[k].chain->head);
			cr_assert_eq(len, back[k].written);
		}
		cr_assert_not(driver_ring_used(&ring, &id, &len));
	}
}

/* ---- used ring and notifications ---- */

TEST_BOTH(virtq, pushed_chains_appear_at_publish_with_one_interrupt)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};
	struct virtq_chain *popped[3];
	uint16_t heads[3];
	uint32_t id, len;

	enable(0);
	for (unsigned i = 0; i < 3; i++)
		heads[i] = driver_ring_add(&ring, &b, 1);
	for (unsigned i = 0; i < 3; i++)
		popped[i] = pop();
	for (unsigned i = 3; i-- > 0;)
		virtq_push(vq, popped[i], 10 * i);
	cr_assert_not(driver_ring_has_used(&ring), "visible before publish");
	cr_assert(virtq_publish(vq));
	cr_assert_not(virtq_publish(vq), "an interrupt for nothing");
	for (unsigned i = 3; i-- > 0;) {
		cr_assert(driver_ring_used(&ring, &id, &len));
		cr_assert_eq(id, heads[i]);
		cr_assert_eq(len, 10 * i);
	}
	cr_assert_not(driver_ring_used(&ring, &id, &len));
}

TEST_BOTH(virtq, no_interrupt_flag_is_honoured)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};

	enable(0);
	driver_ring_interrupts(&ring, false);
	driver_ring_add(&ring, &b, 1);
	virtq_push(vq, pop(), 0);
	cr_assert_not(virtq_publish(vq));
	cr_assert(driver_ring_has_used(&ring));
	driver_ring_interrupts(&ring, true);
	driver_ring_add(&ring, &b, 1);
	virtq_push(vq, pop(), 0);
	cr_assert(virtq_publish(vq));
}

TEST_BOTH(virtq, used_event_decides_about_the_interrupt)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};

	enable(VIRTQ_EVENT_IDX);
	/* With EVENT_IDX the flags of split rings mean nothing (2.7.7.1). */
	driver_ring_interrupts(&ring, false);
	driver_ring_interrupt_after(&ring, 2);
	for (unsigned i = 0; i < 4; i++) {
		driver_ring_add(&ring, &b, 1);
		virtq_push(vq, pop(), 0);
		cr_assert_eq(virtq_publish(vq), i == 2, "chain %u", i);
	}
	/* A batch that jumps over the event raises it. */
	driver_ring_interrupt_after(&ring, 5);
	for (unsigned i = 0; i < 4; i++) {
		driver_ring_add(&ring, &b, 1);
		virtq_push(vq, pop(), 0);
	}
	cr_assert(virtq_publish(vq));
}

TEST_BOTH(virtq, doorbells_are_suppressed_by_the_flag)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};

	enable(0);
	virtq_notify_disable(vq);
	driver_ring_add(&ring, &b, 1);
	cr_assert_not(driver_ring_wants_doorbell(&ring));
	expect_pop();
	cr_assert_not(virtq_notify_enable(vq));
	driver_ring_add(&ring, &b, 1);
	cr_assert(driver_ring_wants_doorbell(&ring));
}

TEST_BOTH(virtq, doorbells_are_asked_for_by_the_available_event)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};
	uint32_t id, len;

	enable(VIRTQ_EVENT_IDX);
	for (unsigned i = 0; i < 100; i++) {
		cr_assert_not(virtq_notify_enable(vq));
		driver_ring_add(&ring, &b, 1);
		cr_assert(driver_ring_wants_doorbell(&ring), "chain %u", 2 * i);
		virtq_push(vq, pop(), 0);
		virtq_notify_disable(vq);
		driver_ring_add(&ring, &b, 1);
		cr_assert_not(driver_ring_wants_doorbell(&ring), "chain %u", 2 * i + 1);
		virtq_push(vq, pop(), 0);
		cr_assert_eq(virtq_publish(vq), ring.packed || i == 0);
		while (driver_ring_used(&ring, &id, &len))
			;
	}
}

TEST_BOTH(virtq, chain_that_comes_while_doorbells_are_off_is_not_lost)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};

	for (unsigned features = 0; features <= VIRTQ_EVENT_IDX; features++) {
		virtq_new_ring();
		enable(features);
		virtq_notify_disable(vq);
		cr_assert_eq(virtq_pop(vq, &chain), 0);
		driver_ring_add(&ring, &b, 1);
		cr_assert(virtq_notify_enable(vq));
		expect_pop();
		virtq_drop_all(vq);
	}
}

/* ---- bytes ---- */

TEST_BOTH(virtq, chain_that_is_taken_back_is_popped_again)
{
	const struct driver_buffer first[] = {{gpa(DATA), 4, false}, {gpa(DATA), 4, false}},
				   second = {gpa(DATA), 8, false};
	uint32_t id, len;

	enable(0);
	/* At each place of the ring, its end included. */
	for (unsigned round = 0; round < 3u * ring.layout.size; round++) {
		uint16_t head = driver_ring_add(&ring, first, 2);

		driver_ring_add(&ring, &second, 1);
		cr_assert_eq(pop()->head, head);
		virtq_unpop(vq, chain);
		cr_assert_eq(virtq_in_flight(vq), 0u);
		cr_assert_eq(pop()->head, head);
		virtq_push(vq, chain, 0);
		cr_assert_eq(pop()->out_len, 8u);
		virtq_push(vq, chain, 0);
		(void)!virtq_publish(vq);
		while (driver_ring_used(&ring, &id, &len))
			;
	}
}

TEST_BOTH(virtq, chains_are_taken_back_anywhere_in_the_ring)
{
	const struct driver_buffer buffers[3] = {
		{gpa(DATA), 4, false}, {gpa(DATA + 16), 4, false}, {gpa(DATA + 32), 4, false}};
	uint32_t id, len;

	enable(0);
	/* Three of 16 places each time: some chains lie across the end. */
	for (unsigned i = 0; i < 100; i++) {
		const uint16_t head = driver_ring_add(&ring, buffers, 1 + i % 3);

		for (unsigned k = 0; k < 3; k++) {
			cr_assert_eq(pop()->out_count, 1 + i % 3);
			virtq_unpop(vq, chain);
		}
		virtq_push(vq, pop(), 0);
		virtq_publish(vq);
		cr_assert_eq(virtq_pop(vq, &chain), 0);
		cr_assert(driver_ring_used(&ring, &id, &len));
		cr_assert_eq(id, head);
	}
}

Test(virtq, chains_that_the_driver_took_back_are_not_popped)
{
	const struct driver_buffer buffer = {gpa(DATA), 4, false};

	enable(0);
	for (unsigned i = 0; i < 3; i++)
		driver_ring_add(&ring, &buffer, 1);
	virtq_push(vq, pop(), 0);
	driver_ring_set_avail(&ring, 1);
	virtq_unpop(vq, NULL);
	cr_assert_eq(virtq_pop(vq, &chain), 0);
}

Test(virtq, chains_that_were_given_back_are_popped_again_in_order)
{
	struct virtq_chain *first, *second;
	uint16_t head[3];

	enable(0);
	for (unsigned i = 0; i < 3; i++) {
		const struct driver_buffer b = {gpa(DATA + 0x100 * i), 16 + i, false};

		head[i] = driver_ring_add(&ring, &b, 1);
	}
	virtq_push(vq, pop(), 0);
	first = pop();
	second = pop();
	cr_assert_eq(virtq_pop(vq, &chain), 0);
	virtq_skip_out(second, 5); /* leaves no trace */
	virtq_unpop(vq, second);
	virtq_unpop(vq, first);
	cr_assert_eq(virtq_in_flight(vq), 0u);
	for (unsigned i = 1; i < 3; i++) {
		expect_pop();
		cr_assert_eq(chain->head, head[i]);
		cr_assert_eq(chain->out_len, 16u + i);
	}
	cr_assert_eq(virtq_pop(vq, &chain), 0);
}

Test(virtq, chain_that_was_given_back_is_walked_anew)
{
	const struct driver_buffer b = {gpa(DATA), 16, false};

	enable(0);
	driver_ring_add(&ring, &b, 1);
	virtq_unpop(vq, pop());
	driver_ring_desc(&ring, 0, HOLE, 16, 0, 0);
	expect_broken("is not RAM");
}

TEST_BOTH(virtq, bytes_are_copied_across_segments)
{
	const struct driver_buffer b[] = {{gpa(DATA), 3, false},
					  {gpa(DATA + 0x100), 5, false},
					  {gpa(DATA + 0x200), 2, true},
					  {gpa(DATA + 0x300), 4, true}};
	char buf[16] = {0};

	enable(0);
	driver_write(memory, gpa(DATA), "abc", 3);
	driver_write(memory, gpa(DATA + 0x100), "defgh", 5);
	driver_ring_add(&ring, b, 4);
	expect_pop();
	cr_assert_eq(virtq_read_out(chain, 0, buf, sizeof(buf)), 8u);
	cr_assert_str_eq(buf, "abcdefgh");
	memset(buf, 0, sizeof(buf));
	cr_assert_eq(virtq_read_out(chain, 2, buf, 3), 3u);
	cr_assert_str_eq(buf, "cde");
	cr_assert_eq(virtq_read_out(chain, 8, buf, 1), 0u);
	cr_assert_eq(virtq_write_in(chain, 1, "0123456789", 10), 5u, "wrote beyond the chain");
	memset(buf, 0, sizeof(buf));
	driver_read(memory, gpa(DATA + 0x200), buf, 2);
	driver_read(memory, gpa(DATA + 0x300), buf + 2, 5);
	cr_assert_eq(memcmp(buf,
			    "\0"
			    "01234\0",
			    7),
		     0);
}

TEST_BOTH(virtq, header_and_trailer_come_off_whatever_the_segments)
{
	const struct driver_buffer b[] = {{gpa(DATA), 3, false},
					  {gpa(DATA + 0x100), 5, false},
					  {gpa(DATA + 0x200), 2, true},
					  {gpa(DATA + 0x300), 1, true}};

	enable(0);
	driver_ring_add(&ring, b, 4);
	expect_pop();
	virtq_skip_out(chain, 3);
	cr_assert_eq(chain->out_count, 1u);
	virtq_skip_out(chain, 1);
	cr_assert_eq(chain->out_len, 4u);
	cr_assert_eq(virtq_chain_out(chain)[0].iov_len, 4u);
	cr_assert_eq(virtq_chain_in(chain)[0].iov_len, 2u);
	virtq_trim_in(chain, 2);
	cr_assert_eq(chain->in_count, 1u);
	cr_assert_eq(chain->in_len, 1u);
	cr_assert_eq(virtq_chain_in(chain)[0].iov_len, 1u);
	virtq_skip_out(chain, 4);
	virtq_trim_in(chain, 1);
	cr_assert_eq(chain->out_count + chain->in_count, 0u);
	/* What was written is counted from the chain as it came. */
	virtq_push(vq, chain, 3);
}

TEST_BOTH(virtq, written_bytes_and_the_used_ring_are_marked_dirty)
{
	const struct driver_buffer b[] = {{gpa(DATA), 4096, false},
					  {gpa(DATA + 0x1000), 4096, true},
					  {gpa(DATA + 0x2000), 4096, true}};

	enable(0);
	driver_ring_add(&ring, b, 3);
	expect_pop();
	cr_assert_eq(guest_dirty_log(memory, true), 0);
	virtq_push(vq, chain, 100);
	cr_assert(virtq_publish(vq));
	cr_assert_not(guest_dirty_test_clear(memory, gpa(DATA)), "a readable page");
	cr_assert(guest_dirty_test_clear(memory, gpa(DATA + 0x1000)));
	cr_assert_not(guest_dirty_test_clear(memory, gpa(DATA + 0x2000)), "a page not written");
	cr_assert(guest_dirty_test_clear(memory,
					 ring.packed ? ring.layout.desc : ring.layout.device));
}

/* ---- saved state ---- */

TEST_BOTH(virtq, ring_goes_on_in_another_instance)
{
	const struct driver_buffer b = {gpa(DATA), 64, true};
	struct virtq_position position;
	struct state_writer *w = state_writer_create();
	struct state_reader *r;
	uint32_t id, len;
	size_t size;
	void *data;

	enable(0);
	for (unsigned i = 0; i < 3u * ring.layout.size / 2; i++) {
		driver_ring_add(&ring, &b, 1);
		virtq_push(vq, pop(), 1);
		cr_assert(virtq_publish(vq));
		cr_assert(driver_ring_used(&ring, &id, &len));
	}
	virtq_save(vq, w);
	cr_assert_eq(state_writer_finish(w, &data, &size), 0);
	cr_assert_eq(state_reader_create(&r, data, size), 0);
	cr_assert_eq(virtq_load(&position, r), 0);
	cr_assert(virtq_position_ok(&position, &ring.layout, ring.packed ? VIRTQ_PACKED : 0));
	virtq_drop_all(vq);
	enable(0);
	virtq_set_position(vq, &position);
	cr_assert_eq(virtq_pop(vq, &chain), 0, "chains come twice");
	driver_ring_add(&ring, &b, 1);
	virtq_push(vq, pop(), 2);
	cr_assert(virtq_publish(vq));
	cr_assert(driver_ring_used(&ring, &id, &len));
	cr_assert_eq(len, 2u);
	state_reader_destroy(r);
	free(data);
}
