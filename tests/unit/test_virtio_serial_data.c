/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial: the bytes of ports, who waits for whom, and what a reset, a pause and another
 * instance make of bytes on their way.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/serial_fixture.h"

static struct serial_fixture f;

static void setup(void)
{
	serial_init(&f, "max-ports=3");
}

static void setup_packed(void)
{
	setup();
	f.driver.always = UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

static void teardown(void)
{
	serial_fini(&f);
}

TestSuite(virtio_serial_data, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(virtio_serial_data_packed, .init = setup_packed, .fini = teardown, .timeout = 30);

/* ---- bytes ---- */

TEST_BOTH(virtio_serial_data, bytes_go_both_ways)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	serial_send(&f, 1, "hello, ", 7);
	serial_send(&f, 1, "host", 4);
	cr_assert(serial_sent(&f, 1));
	cr_assert(serial_sent(&f, 1));
	serial_expect_output(&f, a, "hello, host");
	serial_offer(&f, 1, 2, 64);
	cr_assert_eq(chardev_ring_write(a->chardev, "hello, guest", 12), 12);
	serial_expect_input(&f, 1, "hello, guest");
	cr_assert_eq(chardev_ring_write(a->chardev, "again", 5), 5);
	serial_expect_input(&f, 1, "again");
}

TEST_BOTH(virtio_serial_data, input_waits_for_buffers)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	cr_assert_eq(chardev_ring_write(a->chardev, "0123456789", 10), 10);
	fake_env_settle(&f.fake);
	serial_offer(&f, 1, 2, 4);
	serial_expect_input(&f, 1, "0123");
	serial_expect_input(&f, 1, "4567");
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_offer(&f, 1, 1, 4);
	serial_expect_input(&f, 1, "89");
}

TEST_BOTH(virtio_serial_data, input_waits_until_a_program_has_the_port_open)
{
	struct virtio_serial_port *a =
		serial_add(&f, SERIAL, "a", "name=org.example.0,chardev=ring");

	serial_start_ready(&f, 8);
	serial_skip(&f);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_offer(&f, 1, 4, 16);
	cr_assert_eq(chardev_ring_write(a->chardev, "early", 5), 5);
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	cr_assert_eq(f.fake.last_notice, DEVICE_NOTICE_PORT);
	cr_assert_eq(f.fake.last_notice_value, 1u);
	cr_assert_str_eq(f.fake.last_port_name, "org.example.0");
	serial_expect_input(&f, 1, "early");
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	cr_assert_eq(f.fake.last_notice_value, 0u);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	cr_assert_eq(f.fake.notices, 2u, "nothing has changed");
	cr_assert_eq(chardev_ring_write(a->chardev, "late", 4), 4);
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_expect_input(&f, 1, "late");
}

/* Send blocks to a client that does not read, until one stays; returns how many were taken. */
static unsigned fill(unsigned nr)
{
	static uint8_t block[65536];
	unsigned n = 0;

	do {
		memset(block, (int)n, sizeof(block));
		serial_send(&f, nr, block, sizeof(block));
		cr_assert_lt(n, 200u, "it is never full");
	} while (serial_sent(&f, nr) && ++n);
	return n;
}

/* A client of port 1 that does not read, so that output waits. *blocks, or NULL: what went before.
 */
static int stalled_client(unsigned *blocks)
{
	unsigned n;
	int client;

	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, f.socket);
	serial_open(&f, 1);
	n = fill(1);
	if (blocks)
		*blocks = n;
	return client;
}

/* Read everything; each block has its number in every byte. */
static void read_blocks(int client, unsigned count)
{
	uint64_t total = 0;
	uint8_t data[4096];
	ssize_t n;

	while (total < count * UINT64_C(65536)) {
		fake_env_settle(&f.fake);
		n = recv(client, data, sizeof(data), MSG_DONTWAIT);
		cr_assert_gt(n, 0, "%llu bytes came", (unsigned long long)total);
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(data[i], (uint8_t)((total + (uint64_t)i) / 65536));
		total += (uint64_t)n;
	}
	cr_assert_lt(recv(client, data, sizeof(data), MSG_DONTWAIT), 0);
}

TEST_BOTH(virtio_serial_data, output_waits_in_guest_memory_until_the_host_reads)
{
	struct virtio_serial_port *a = serial_add_socket(&f, "a");
	unsigned n;
	int client;

	client = stalled_client(&n);
	cr_assert_not_null(a->tx);
	read_blocks(client, n + 1);
	cr_assert(serial_sent(&f, 1));
	cr_assert_null(a->tx);
	close(client);
}

TEST_BOTH(virtio_serial_data, stalled_port_does_not_stall_others)
{
	struct virtio_serial_port *b;
	int client;

	serial_add_socket(&f, "a");
	b = serial_add(&f, SERIAL, "b", "chardev=ring");
	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, f.socket);
	serial_open(&f, 1);
	serial_open(&f, 2);
	fill(1);
	for (unsigned i = 0; i < 100; i++) {
		serial_send(&f, 2, "on", 2);
		cr_assert(serial_sent(&f, 2));
		serial_expect_output(&f, b, "on");
		serial_say(&f, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	}
	close(client);
}

TEST_BOTH(virtio_serial_data, client_that_leaves_frees_the_guest)
{
	int client;

	serial_add_socket(&f, "a");
	client = stalled_client(NULL);
	close(client);
	cr_assert(serial_sent(&f, 1));
	serial_send(&f, 1, "to nobody", 9);
	cr_assert(serial_sent(&f, 1));
}

TEST_BOTH(virtio_serial_data, removal_returns_what_the_guest_has_queued)
{
	struct virtio_serial_port *a = serial_add_socket(&f, "a");
	int client;

	client = stalled_client(NULL);
	serial_send(&f, 1, "x", 1);
	serial_send(&f, 1, "y", 1);
	cr_assert_not(serial_sent(&f, 1));
	serial_remove(&f, a);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(serial_sent(&f, 1), "%u", i);
	cr_assert_not(serial_sent(&f, 1));
	cr_assert_eq(virtq_in_flight(f.serial->vd.queues[virtio_serial_tx(1)].vq), 0u);
	/* What comes for a port that is gone comes back. */
	serial_send(&f, 1, "z", 1);
	cr_assert(serial_sent(&f, 1));
	close(client);
}

Test(virtio_serial_data, buffers_that_the_driver_took_back_with_a_port_are_not_filled)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");
	struct driver_ring *ring = &f.driver.rings[virtio_serial_rx(1)];

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	serial_offer(&f, 1, 4, 16);
	cr_assert_eq(chardev_ring_write(a->chardev, "first", 5), 5);
	serial_expect_input(&f, 1, "first");
	serial_remove(&f, a);
	/* As Linux does it: the index goes back over what was not used. */
	driver_ring_set_avail(ring, 1);
	a = serial_add(&f, SERIAL, "a", "chardev=ring");
	serial_open(&f, 1);
	cr_assert_eq(chardev_ring_write(a->chardev, "second", 6), 6);
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_offer(&f, 1, 1, 16);
	serial_expect_input(&f, 1, "second");
}

/* ---- life ---- */

/* Quiesce, save both, and load them into new instances. */
static void move_to_another(struct virtio_serial_port **port, const char *options)
{
	void *controller, *child;
	size_t len, child_len;

	device_quiesce_wait(f.dev);
	len = fake_env_save(f.dev, &controller);
	child_len = fake_env_save(&(*port)->dev, &child);
	device_destroy(&(*port)->dev);
	fake_env_remove(f.dev);
	f.dev = fake_env_device(&f.fake, &virtio_serial_class.device, "packed=on,max-ports=3");
	f.serial = virtio_serial(virtio_device(f.dev));
	f.serial->vd.transport = &f.driver.transport;
	f.driver.vd = &f.serial->vd;
	*port = serial_add(&f, SERIAL, "a", options);
	cr_assert_eq(fake_env_load(f.dev, controller, len), 0);
	cr_assert_eq(fake_env_load(&(*port)->dev, child, child_len), 0);
	free(controller);
	free(child);
	fake_env_settle(&f.fake);
}

TEST_BOTH(virtio_serial_data, reset_forgets_ports_and_drops_what_waits)
{
	struct virtio_serial_port *a = serial_add_socket(&f, "a");
	int client;

	client = stalled_client(NULL);
	f.driver.next = gpa(MIB);
	serial_start(&f);
	cr_assert_not(a->guest_open);
	cr_assert_null(a->tx);
	cr_assert_eq(a->tx_done, 0u);
	serial_listen(&f, 8);
	serial_say(&f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_open(&f, 1);
	serial_offer(&f, 1, 1, 16);
	cr_assert_eq(write(client, "still here", 10), 10);
	serial_expect_input(&f, 1, "still here");
	close(client);
}

TEST_BOTH(virtio_serial_data, half_a_chain_goes_on_after_a_pause)
{
	unsigned n;
	int client;

	serial_add_socket(&f, "a");
	client = stalled_client(&n);
	device_quiesce_wait(f.dev);
	cr_assert_eq(virtq_in_flight(f.serial->vd.queues[virtio_serial_tx(1)].vq), 0u);
	virtio_resume(&f.serial->vd);
	read_blocks(client, n + 1);
	cr_assert(serial_sent(&f, 1));
	close(client);
}

TEST_BOTH(virtio_serial_data, reset_of_a_queue_gives_back_what_is_being_sent)
{
	struct virtio_serial_port *a = serial_add_socket(&f, "a");
	int client;

	f.driver.always |= UINT64_C(1) << VIRTIO_F_RING_RESET;
	client = stalled_client(NULL);
	virtio_queue_reset(&f.serial->vd, virtio_serial_tx(1));
	fake_env_settle(&f.fake);
	cr_assert_not(virtio_queue_resetting(&f.serial->vd, virtio_serial_tx(1)));
	cr_assert_null(a->tx);
	close(client);
	fake_env_settle(&f.fake);
	virtio_driver_queue(&f.driver, virtio_serial_tx(1), 0);
	serial_send(&f, 1, "anew", 4);
	cr_assert(serial_sent(&f, 1));
}

TEST_BOTH(virtio_serial_data, half_a_chain_goes_on_in_another_instance)
{
	struct virtio_serial_port *a = serial_add_socket(&f, "a");
	static uint8_t data[65536];
	uint64_t done;
	ssize_t n;
	int client;

	client = stalled_client(NULL);
	done = a->tx_done;
	cr_assert_gt(done, 0u);
	cr_assert_lt(done, 65536u);
	close(client);
	/* Not even told that the client has left: the guest is stopped by then. */
	move_to_another(&a, "name=a,chardev=ring:size=1M");
	cr_assert(serial_sent(&f, 1));
	n = chardev_ring_read(a->chardev, data, sizeof(data), NULL);
	cr_assert_eq((uint64_t)n, 65536 - done);
	cr_assert(a->guest_open);
	serial_offer(&f, 1, 1, 16);
	cr_assert_eq(chardev_ring_write(a->chardev, "moved", 5), 5);
	serial_expect_input(&f, 1, "moved");
}

TEST_BOTH(virtio_serial_data, what_was_not_said_yet_is_said_by_another_instance)
{
	struct virtio_serial_port *a;

	serial_start_ready(&f, 0);
	a = serial_add(&f, SERIAL, "a", "name=a");
	move_to_another(&a, "name=a");
	serial_listen(&f, 4);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial_data, guest_hears_that_the_other_instance_has_no_client)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");
	char options[128];

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	snprintf(options, sizeof(options), "chardev=unix:%s", f.socket);
	move_to_another(&a, options);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
}

/* ---- actions ---- */

static char *act(struct virtio_serial_port *port, const char *action, const char *options)
{
	struct report *report = report_create();
	struct vmm_error err = {0};
	char *json;

	cr_assert_eq(device_action(&port->dev, action, options, report, &err), 0, "%s",
		     err.message);
	cr_assert_eq(report_finish(report, &json), 0);
	return json;
}

static void expect_report(struct virtio_serial_port *port, const char *action, const char *options,
			  const char *part)
{
	char *json = act(port, action, options);

	cr_assert(strstr(json, part), "%s is not in %s", part, json);
	free(json);
}

TEST_BOTH(virtio_serial_data, ring_is_read_and_written_by_actions)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring:size=8");
	struct vmm_error err;

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	serial_send(&f, 1, "0123456789", 10);
	cr_assert(serial_sent(&f, 1));
	expect_report(a, "read", "2", "23");
	expect_report(a, "read", "as=base64", "NDU2Nzg5"); /* 456789 */
	serial_send(&f, 1, "a\0\xff", 3);
	cr_assert(serial_sent(&f, 1));
	expect_report(a, "read", "as=base64", "YQD/");
	serial_send(&f, 1, "abcd", 4);
	cr_assert(serial_sent(&f, 1));
	expect_report(a, "read", "as=base64", "YWJjZA==");
	expect_report(a, "write", "text=yes", "3");
	serial_offer(&f, 1, 1, 16);
	serial_expect_input(&f, 1, "yes");
	a = serial_add(&f, SERIAL, "b", NULL);
	cr_assert_eq(device_action(&a->dev, "read", NULL, NULL, &err), -ENOTSUP);
	cr_assert(strstr(err.message, "chardev=ring"), "%s", err.message);
}
