/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial: what no guest can do to it. Named after the rules that past holes paid for.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/serial_fixture.h"

static struct serial_fixture f;
static struct virtio_serial_port *port;

static void setup(void)
{
	serial_init(&f, "max-ports=3");
	port = serial_add(&f, SERIAL, "a", "name=a,chardev=ring");
	serial_start_ready(&f, 8);
	serial_open(&f, 1);
}

static void teardown(void)
{
	serial_fini(&f);
}

TestSuite(virtio_serial_hostile, .init = setup, .fini = teardown, .timeout = 30);

static void expect_alive(void)
{
	cr_assert_not(virtio_driver_broken(&f.driver), "%s", f.fake.last_log);
	serial_send(&f, 1, "alive", 5);
	cr_assert(serial_sent(&f, 1));
	serial_expect_output(&f, port, "alive");
}

static void expect_broken_then_well(void)
{
	cr_assert(virtio_driver_broken(&f.driver));
	f.driver.next = gpa(MIB);
	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	expect_alive();
}

/* One chain of one buffer, as it is. */
static void offer(unsigned queue, uint32_t len, bool writable)
{
	const struct driver_buffer b = {virtio_driver_alloc(&f.driver, len), len, writable};

	driver_ring_add(&f.driver.rings[queue], &b, 1);
	virtio_driver_kick(&f.driver, queue);
	fake_env_settle(&f.fake);
}

/* ---- unbounded requests ---- */

Test(virtio_serial_hostile, flood_of_control_messages_is_remembered_as_a_set)
{
	/* No buffers for answers: whatever is asked, and however often, is one set of bits. */
	f.driver.next = gpa(MIB);
	serial_start_ready(&f, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	for (unsigned i = 0; i < 2000; i++) {
		f.driver.next = gpa(8 * MIB);
		serial_say(&f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
		serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, i & 1);
	}
	cr_assert_leq(serial_skip(&f), 8u);
	cr_assert_eq(f.serial->slots[1].say, 0u);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_alive();
}

Test(virtio_serial_hostile, full_control_ring_takes_turns_with_the_loop)
{
	struct driver_ring *ring = &f.driver.rings[VIRTIO_SERIAL_CONTROL_TX];
	const struct virtio_console_control m = {1, VIRTIO_CONSOLE_PORT_READY, 1};
	gpa_t at = virtio_driver_alloc(&f.driver, sizeof(m));
	const struct driver_buffer b = {at, sizeof(m), false};
	uint32_t id, len;
	unsigned n = 0;

	driver_write(f.driver.memory, at, &m, sizeof(m));
	while (ring->free_count)
		driver_ring_add(ring, &b, 1);
	virtio_driver_kick(&f.driver, VIRTIO_SERIAL_CONTROL_TX);
	fake_env_settle(&f.fake);
	while (driver_ring_used(ring, &id, &len))
		n++;
	cr_assert_eq(n, VIRTIO_SERIAL_QUEUE_SIZE);
	expect_alive();
}

Test(virtio_serial_hostile, ports_that_flap_unheard_leave_nothing_behind)
{
	f.driver.next = gpa(MIB);
	serial_start_ready(&f, 0);
	for (unsigned i = 0; i < 500; i++)
		serial_remove(&f, serial_add(&f, SERIAL, "b", "nr=2"));
	serial_listen(&f, 8);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
}

Test(virtio_serial_hostile, emergency_writes_without_end_are_bounded)
{
	const uint32_t word = 'x';

	for (unsigned i = 0; i < 100000; i++)
		virtio_write_config(&f.serial->vd, 8, &word, 4);
	cr_assert_leq(f.serial->emergency_len, VIRTIO_SERIAL_EMERGENCY);
	fake_env_settle(&f.fake);
	cr_assert_eq(f.serial->emergency_len, 0u);
	expect_alive();
}

Test(virtio_serial_hostile, output_that_nobody_reads_is_bounded)
{
	static uint8_t block[65536];

	for (unsigned i = 0; i < 64; i++) {
		serial_send(&f, 1, block, sizeof(block));
		cr_assert(serial_sent(&f, 1));
	}
	cr_assert_leq(chardev_ring_pending(port->chardev), 65536u);
}

/* ---- indices from the guest ---- */

Test(virtio_serial_hostile, port_ids_out_of_range_are_ignored)
{
	static const uint32_t ids[] = {0, 2, 3, 4, 511, 512, 1 << 16, 1u << 31, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		const unsigned lines = f.fake.log_lines;

		serial_say(&f, ids[i], VIRTIO_CONSOLE_PORT_READY, 1);
		serial_say(&f, ids[i], VIRTIO_CONSOLE_PORT_OPEN, 1);
		serial_expect(&f, 0, SERIAL_QUIET, 0);
		if (!i)
			cr_assert_gt(f.fake.log_lines, lines);
	}
	expect_alive();
}

Test(virtio_serial_hostile, events_and_values_that_are_none_are_ignored)
{
	for (unsigned event = 0; event < 16; event++) {
		serial_say(&f, 1, event, 2);
		serial_say(&f, 1, event, 0xffff);
	}
	cr_assert(port->guest_open);
	/* The device's own messages, said by the driver. */
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_REMOVE, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_RESIZE, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	serial_say(&f, 1, 0xffff, 1);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 0);
	serial_say(&f, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	expect_alive();
}

Test(virtio_serial_hostile, message_for_a_port_that_has_gone_does_not_reach_the_next)
{
	f.driver.next = gpa(MIB);
	serial_start_ready(&f, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	/* The one buffer is used up, so that the driver hears nothing of what follows. */
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_remove(&f, port);
	port = serial_add(&f, SERIAL, "b", "chardev=ring");
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	cr_assert_not(port->guest_open);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	cr_assert_not(port->ready);
}

Test(virtio_serial_hostile, queues_of_no_port_return_chains_and_keep_buffers)
{
	serial_offer(&f, 2, 4, 16);
	serial_send(&f, 2, "nobody", 6);
	cr_assert(serial_sent(&f, 2));
	cr_assert_eq(serial_received(&f, 2, NULL, 0), -1);
	expect_alive();
}

/* ---- no room, wrong direction ---- */

Test(virtio_serial_hostile, message_shorter_than_its_header)
{
	offer(VIRTIO_SERIAL_CONTROL_TX, 7, false);
	expect_broken_then_well();
}

Test(virtio_serial_hostile, message_in_a_writable_buffer)
{
	offer(VIRTIO_SERIAL_CONTROL_TX, 8, true);
	expect_broken_then_well();
}

Test(virtio_serial_hostile, no_room_for_a_message)
{
	f.driver.next = gpa(MIB);
	serial_start(&f);
	offer(VIRTIO_SERIAL_CONTROL_RX, 7, true);
	cr_assert_not(virtio_driver_broken(&f.driver));
	serial_say(&f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_broken_then_well();
}

Test(virtio_serial_hostile, no_room_for_a_name_cuts_it_off)
{
	const uint8_t guard[16] = "################";
	uint8_t after[16];
	uint32_t id, len;
	gpa_t at;

	serial_remove(&f, port);
	port = serial_add(&f, SERIAL, "a", "name=a-long-name,chardev=ring");
	f.driver.next = gpa(MIB);
	serial_start(&f);
	at = virtio_driver_alloc(&f.driver, 32);
	for (unsigned i = 0; i < 2; i++) {
		const struct driver_buffer b = {at, 10, true};

		driver_ring_add(&f.driver.rings[VIRTIO_SERIAL_CONTROL_RX], &b, 1);
	}
	driver_write(f.driver.memory, gpa_add(at, 10), guard, sizeof(guard));
	virtio_driver_kick(&f.driver, VIRTIO_SERIAL_CONTROL_RX);
	serial_say(&f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	cr_assert(driver_ring_used(&f.driver.rings[VIRTIO_SERIAL_CONTROL_RX], &id, &len));
	cr_assert_eq(len, 8u);
	cr_assert(driver_ring_used(&f.driver.rings[VIRTIO_SERIAL_CONTROL_RX], &id, &len));
	cr_assert_eq(len, 10u);
	driver_read(f.driver.memory, gpa_add(at, 10), after, sizeof(after));
	cr_assert_arr_eq(after, guard, sizeof(guard));
	cr_assert_not(virtio_driver_broken(&f.driver));
}

Test(virtio_serial_hostile, writable_buffer_to_transmit)
{
	offer(virtio_serial_tx(1), 16, true);
	expect_broken_then_well();
}

Test(virtio_serial_hostile, readable_buffer_to_receive_into)
{
	offer(virtio_serial_rx(1), 16, false);
	cr_assert_eq(chardev_ring_write(port->chardev, "x", 1), 1);
	expect_broken_then_well();
}

/* ---- saved state is not trusted ---- */

Test(virtio_serial_hostile, offset_beyond_the_chain_is_its_end)
{
	device_quiesce_wait(f.dev);
	port->tx_done = UINT32_MAX;
	virtio_resume(&f.serial->vd);
	serial_send(&f, 1, "short", 5);
	cr_assert(serial_sent(&f, 1));
	expect_alive();
}
