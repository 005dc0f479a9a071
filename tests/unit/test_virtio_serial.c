/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial: what is said about ports, and what their bytes do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/serial_fixture.h"
#include "virtio/virtio_classes.h"

#define SERIAL  (&serial_port_class)
#define CONSOLE (&console_port_class)

static struct serial_fixture f;
static char path[64];

static void setup(void)
{
	serial_init(&f, "max-ports=3");
	snprintf(path, sizeof(path), "/tmp/vmm-serial-%d", (int)getpid());
}

static void setup_packed(void)
{
	setup();
	f.driver.always = UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

static void teardown(void)
{
	serial_fini(&f);
	unlink(path);
}

TestSuite(virtio_serial, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(virtio_serial_packed, .init = setup_packed, .fini = teardown, .timeout = 30);

static struct virtio_serial_port *add_socket(const char *id)
{
	char options[128];

	snprintf(options, sizeof(options), "name=%s,chardev=unix:%s", id, path);
	return serial_add(&f, SERIAL, id, options);
}

static struct virtio_console_config config(void)
{
	struct virtio_console_config c;

	virtio_read_config(&f.serial->vd, 0, &c, sizeof(c));
	return c;
}

static void expect_output(const struct virtio_serial_port *port, const char *text)
{
	char got[256] = "";

	fake_env_settle(&f.fake);
	cr_assert_geq(chardev_ring_read(port->chardev, got, sizeof(got) - 1, NULL), 0);
	cr_assert_str_eq(got, text);
}

static void expect_input(unsigned nr, const char *text)
{
	char got[256] = "";

	cr_assert_eq(serial_received(&f, nr, got, sizeof(got) - 1), (int)strlen(text), "\"%s\"",
		     text);
	cr_assert_str_eq(got, text);
}

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

/* ---- configuration, options ---- */

TEST_BOTH(virtio_serial, configuration_has_ports_and_size)
{
	struct virtio_serial_port *port = serial_add(&f, CONSOLE, "c", NULL);
	struct vmm_error err;

	cr_assert_eq(config().max_nr_ports, 3u);
	cr_assert_eq(virtio_queue_size(&f.serial->vd, 7), VIRTIO_SERIAL_QUEUE_SIZE);
	cr_assert_eq(virtio_queue_size(&f.serial->vd, 8), 0u);
	cr_assert_eq(device_action(&port->dev, "resize", "columns=120,rows=40", NULL, &err), 0);
	cr_assert_eq(config().cols, 120u);
	cr_assert_eq(config().rows, 40u);
	cr_assert_eq(device_action(&port->dev, "resize", "columns=120", NULL, &err), -EINVAL);
}

static struct device *create_512(void)
{
	struct rlimit limit;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_geq(limit.rlim_max, 2048u, "this test needs more descriptors");
	return fake_env_device(&f.fake, &virtio_serial_class.device, "max-ports=512");
}

Test(virtio_serial, controller_has_512_ports)
{
	struct device *dev = create_512();

	cr_assert_eq(virtio_queue_size(virtio_device(dev), 1025), VIRTIO_SERIAL_QUEUE_SIZE);
	cr_assert_eq(virtio_queue_size(virtio_device(dev), 1026), 0u);
	fake_env_remove(dev);
}

Test(virtio_serial, last_doorbell_of_512_ports_rings_and_vectors_are_bounded)
{
	struct device *dev = create_512();
	struct virtio_device *vd = virtio_device(dev);
	struct virtio_driver *driver = calloc(1, sizeof(*driver));
	struct virtio_pci *pci;
	uint64_t count = 0;
	unsigned cap;

	cr_assert(driver);
	cr_assert_eq(virtio_pci_create(&pci, vd, -1, NULL), 0);
	virtio_driver_init_pci(driver, &f.fake, vd, virtio_pci_devfn(pci), gpa(MIB));
	fake_mmio_write(&f.fake, driver->notify + 1025u * driver->notify_multiplier, 2, 1025);
	cr_assert_eq(read(vd->queues[1025].kick_fd, &count, sizeof(count)), (ssize_t)sizeof(count));
	cr_assert_eq(count, 1u);
	cap = pci_config_read(f.fake.env.pci, virtio_pci_devfn(pci), PCI_CAPABILITY_LIST, 1);
	while (pci_config_read(f.fake.env.pci, virtio_pci_devfn(pci), cap, 1) != PCI_CAP_ID_MSIX)
		cap = pci_config_read(f.fake.env.pci, virtio_pci_devfn(pci), cap + 1, 1);
	cr_assert_eq(pci_config_read(f.fake.env.pci, virtio_pci_devfn(pci), cap + 2, 2) &
			     PCI_MSIX_FLAGS_QSIZE,
		     256u);
	device_quiesce_wait(dev);
	virtio_pci_destroy(pci);
	fake_env_remove(dev);
	free(driver);
}

TEST_BOTH(virtio_serial, ports_take_the_lowest_free_number)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", NULL);
	struct virtio_serial_port *c = serial_add(&f, CONSOLE, "c", NULL);
	struct virtio_serial_port *b = serial_add(&f, SERIAL, "b", NULL);

	cr_assert_eq(a->nr, 1u);
	cr_assert_eq(c->nr, 0u);
	cr_assert_eq(b->nr, 2u);
	serial_refused(&f, SERIAL, NULL, "max-ports=3");
	serial_remove(&f, a);
	cr_assert_eq(serial_add(&f, CONSOLE, "d", NULL)->nr, 1u);
}

TEST_BOTH(virtio_serial, bad_options_name_themselves)
{
	char name[300] = "name=";

	memset(name + 5, 'x', 256);
	serial_refused(&f, SERIAL, name, "255 bytes");
	serial_refused(&f, SERIAL, "name=a/b", "'/'");
	serial_refused(&f, SERIAL, "nr=x", "nr=x");
	serial_refused(&f, SERIAL, "nr=512", "nr=512");
	serial_refused(&f, SERIAL, "nr=3", "max-ports=3");
	serial_refused(&f, SERIAL, "bus=nothing", "bus=nothing");
	serial_refused(&f, SERIAL, "chardev=piano", "piano");
	cr_assert_eq(f.dev->children, 0u);
}

TEST_BOTH(virtio_serial, port_0_is_for_a_console)
{
	serial_refused(&f, SERIAL, "nr=0", "console-port");
	cr_assert_eq(serial_add(&f, CONSOLE, "c", "nr=0")->nr, 0u);
	serial_refused(&f, CONSOLE, "nr=0", "nr=0 is c");
}

TEST_BOTH(virtio_serial, name_is_there_once)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "name=org.example.0");

	serial_refused(&f, SERIAL, "name=org.example.0", "the name of a");
	serial_remove(&f, a);
	serial_add(&f, SERIAL, "b", "name=org.example.0");
}

/* ---- what is said ---- */

TEST_BOTH(virtio_serial, driver_hears_of_ports_once_it_is_ready)
{
	serial_add(&f, CONSOLE, "c", NULL);
	serial_add(&f, SERIAL, "a", "name=org.example.0");
	serial_start(&f);
	serial_listen(&f, 8);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
	serial_say(&f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	serial_expect(&f, 0, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
	serial_say(&f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	serial_expect(&f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	cr_assert_eq(f.last_len, 8 + strlen("org.example.0"));
	cr_assert_str_eq((const char *)f.last + 8, "org.example.0");
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, ports_come_and_go_while_the_guest_runs)
{
	struct virtio_serial_port *a;

	serial_start_ready(&f, 8);
	a = serial_add(&f, SERIAL, "a", "chardev=ring");
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_open(&f, 1);
	serial_send(&f, 1, "x", 1);
	cr_assert(serial_sent(&f, 1));
	serial_remove(&f, a);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_REMOVE, 1);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
	/* Somebody else comes to the same place; what the last one was does not stick. */
	a = serial_add(&f, SERIAL, "b", "chardev=ring");
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	cr_assert_not(a->guest_open);
	serial_open(&f, 1);
	serial_send(&f, 1, "y", 1);
	cr_assert(serial_sent(&f, 1));
	expect_output(a, "y");
}

TEST_BOTH(virtio_serial, port_that_came_and_went_unheard_is_not_mentioned)
{
	serial_start_ready(&f, 0);
	serial_remove(&f, serial_add(&f, SERIAL, "a", NULL));
	serial_listen(&f, 4);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, clients_of_the_host_open_and_close_the_port)
{
	int client;

	add_socket("a");
	serial_start_ready(&f, 8);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
	client = fake_env_connect(&f.fake, path);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	close(client);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	close(fake_env_connect(&f.fake, path));
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, port_set_up_anew_is_not_taken_for_open)
{
	add_socket("a");
	serial_start_ready(&f, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	/* One buffer: that the client has gone must wait. */
	close(fake_env_connect(&f.fake, path));
	fake_env_settle(&f.fake);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, console_hears_of_its_size)
{
	struct virtio_serial_port *c = serial_add(&f, CONSOLE, "c", NULL);
	uint16_t size[2];

	cr_assert_eq(device_action(&c->dev, "resize", "columns=80,rows=25", NULL, NULL), 0);
	serial_start_ready(&f, 8);
	serial_expect(&f, 0, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_say(&f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	serial_expect(&f, 0, VIRTIO_CONSOLE_RESIZE, 1);
	serial_expect(&f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	cr_assert_eq(device_action(&c->dev, "resize", "columns=100,rows=30", NULL, NULL), 0);
	serial_expect(&f, 0, VIRTIO_CONSOLE_RESIZE, 1);
	memcpy(size, f.last + 8, sizeof(size));
	cr_assert_eq(size[0], 100u);
	cr_assert_eq(size[1], 30u);
	cr_assert_eq(device_action(&c->dev, "resize", "columns=100,rows=30", NULL, NULL), 0);
	serial_expect(&f, 0, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, size_is_told_in_the_order_that_an_old_driver_reads)
{
	struct virtio_serial_port *c;
	uint16_t size[2];

	serial_fini(&f);
	serial_init(&f, "max-ports=3,resize-order=rows-first");
	c = serial_add(&f, CONSOLE, "c", NULL);
	serial_start_ready(&f, 8);
	serial_open(&f, 0);
	cr_assert_eq(device_action(&c->dev, "resize", "columns=100,rows=30", NULL, NULL), 0);
	serial_expect(&f, 0, VIRTIO_CONSOLE_RESIZE, 1);
	memcpy(size, f.last + 8, sizeof(size));
	cr_assert_eq(size[0], 30u);
	cr_assert_eq(size[1], 100u);
}

/* ---- bytes ---- */

TEST_BOTH(virtio_serial, bytes_go_both_ways)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	serial_send(&f, 1, "hello, ", 7);
	serial_send(&f, 1, "host", 4);
	cr_assert(serial_sent(&f, 1));
	cr_assert(serial_sent(&f, 1));
	expect_output(a, "hello, host");
	serial_offer(&f, 1, 2, 64);
	cr_assert_eq(chardev_ring_write(a->chardev, "hello, guest", 12), 12);
	expect_input(1, "hello, guest");
	cr_assert_eq(chardev_ring_write(a->chardev, "again", 5), 5);
	expect_input(1, "again");
}

TEST_BOTH(virtio_serial, input_waits_for_buffers)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	cr_assert_eq(chardev_ring_write(a->chardev, "0123456789", 10), 10);
	fake_env_settle(&f.fake);
	serial_offer(&f, 1, 2, 4);
	expect_input(1, "0123");
	expect_input(1, "4567");
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_offer(&f, 1, 1, 4);
	expect_input(1, "89");
}

TEST_BOTH(virtio_serial, input_waits_until_a_program_has_the_port_open)
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
	expect_input(1, "early");
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	cr_assert_eq(f.fake.last_notice_value, 0u);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	cr_assert_eq(f.fake.notices, 2u, "nothing has changed");
	cr_assert_eq(chardev_ring_write(a->chardev, "late", 4), 4);
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(1, "late");
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

TEST_BOTH(virtio_serial, output_waits_in_guest_memory_until_the_host_reads)
{
	struct virtio_serial_port *a = add_socket("a");
	unsigned n;
	int client;

	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	n = fill(1);
	cr_assert_not_null(a->tx);
	read_blocks(client, n + 1);
	cr_assert(serial_sent(&f, 1));
	cr_assert_null(a->tx);
	close(client);
}

TEST_BOTH(virtio_serial, stalled_port_does_not_stall_others)
{
	struct virtio_serial_port *b;
	int client;

	add_socket("a");
	b = serial_add(&f, SERIAL, "b", "chardev=ring");
	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	serial_open(&f, 2);
	fill(1);
	for (unsigned i = 0; i < 100; i++) {
		serial_send(&f, 2, "on", 2);
		cr_assert(serial_sent(&f, 2));
		expect_output(b, "on");
		serial_say(&f, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	}
	close(client);
}

TEST_BOTH(virtio_serial, client_that_leaves_frees_the_guest)
{
	int client;

	add_socket("a");
	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	fill(1);
	close(client);
	cr_assert(serial_sent(&f, 1));
	serial_send(&f, 1, "to nobody", 9);
	cr_assert(serial_sent(&f, 1));
}

TEST_BOTH(virtio_serial, removal_returns_what_the_guest_has_queued)
{
	struct virtio_serial_port *a = add_socket("a");
	int client;

	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	fill(1);
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

Test(virtio_serial, buffers_that_the_driver_took_back_with_a_port_are_not_filled)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");
	struct driver_ring *ring = &f.driver.rings[virtio_serial_rx(1)];

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	serial_offer(&f, 1, 4, 16);
	cr_assert_eq(chardev_ring_write(a->chardev, "first", 5), 5);
	expect_input(1, "first");
	serial_remove(&f, a);
	/* As Linux does it: the index goes back over what was not used. */
	driver_ring_set_avail(ring, 1);
	a = serial_add(&f, SERIAL, "a", "chardev=ring");
	serial_open(&f, 1);
	cr_assert_eq(chardev_ring_write(a->chardev, "second", 6), 6);
	cr_assert_eq(serial_received(&f, 1, NULL, 0), -1);
	serial_offer(&f, 1, 1, 16);
	expect_input(1, "second");
}

/* ---- the plain console ---- */

TEST_BOTH(virtio_serial, driver_without_multiport_has_the_console)
{
	struct virtio_serial_port *c = serial_add(&f, CONSOLE, "c", "chardev=ring");

	virtio_driver_start(&f.driver, SERIAL_FEATURE(SIZE), 2);
	serial_send(&f, 0, "login: ", 7);
	cr_assert(serial_sent(&f, 0));
	expect_output(c, "login: ");
	serial_offer(&f, 0, 1, 16);
	cr_assert_eq(chardev_ring_write(c->chardev, "root\n", 5), 5);
	expect_input(0, "root\n");
	cr_assert_eq(f.driver.config_interrupts, 0u);
	cr_assert_eq(device_action(&c->dev, "resize", "columns=100,rows=30", NULL, NULL), 0);
	cr_assert_eq(f.driver.config_interrupts, 1u);
	cr_assert_eq(config().cols, 100u);
}

TEST_BOTH(virtio_serial, controller_of_one_port_is_the_plain_console)
{
	struct virtio_serial_port *c;

	serial_fini(&f);
	serial_init(&f, "max-ports=1");
	cr_assert_not(virtio_offered(&f.serial->vd) & SERIAL_FEATURE(MULTIPORT));
	cr_assert_eq(virtio_queue_size(&f.serial->vd, 2), 0u);
	serial_refused(&f, SERIAL, NULL, "port 0 is for a console");
	c = serial_add(&f, CONSOLE, "c", "chardev=ring");
	virtio_driver_start(&f.driver, 0, 2);
	serial_send(&f, 0, "up", 2);
	cr_assert(serial_sent(&f, 0));
	expect_output(c, "up");
}

TEST_BOTH(virtio_serial, emergency_write_needs_no_driver)
{
	struct virtio_serial_port *c = serial_add(&f, CONSOLE, "c", "chardev=ring");
	const uint32_t word = 0xffffff00 | 'o';
	const uint8_t byte = 'k';

	virtio_write_config(&f.serial->vd, 8, &word, 4);
	virtio_write_config(&f.serial->vd, 8, &byte, 1);
	virtio_write_config(&f.serial->vd, 9, &byte, 1);
	virtio_write_config(&f.serial->vd, 0, &word, 4);
	expect_output(c, "ok");
	cr_assert_eq(config().max_nr_ports, 3u);
}

/* ---- life ---- */

TEST_BOTH(virtio_serial, reset_forgets_ports_and_drops_what_waits)
{
	struct virtio_serial_port *a = add_socket("a");
	int client;

	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	fill(1);
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
	expect_input(1, "still here");
	close(client);
}

TEST_BOTH(virtio_serial, half_a_chain_goes_on_after_a_pause)
{
	unsigned n;
	int client;

	add_socket("a");
	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	n = fill(1);
	device_quiesce_wait(f.dev);
	cr_assert_eq(virtq_in_flight(f.serial->vd.queues[virtio_serial_tx(1)].vq), 0u);
	virtio_resume(&f.serial->vd);
	read_blocks(client, n + 1);
	cr_assert(serial_sent(&f, 1));
	close(client);
}

TEST_BOTH(virtio_serial, reset_of_a_queue_gives_back_what_is_being_sent)
{
	struct virtio_serial_port *a = add_socket("a");
	int client;

	f.driver.always |= UINT64_C(1) << VIRTIO_F_RING_RESET;
	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	fill(1);
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

TEST_BOTH(virtio_serial, half_a_chain_goes_on_in_another_instance)
{
	struct virtio_serial_port *a = add_socket("a");
	static uint8_t data[65536];
	uint64_t done;
	ssize_t n;
	int client;

	serial_start_ready(&f, 8);
	client = fake_env_connect(&f.fake, path);
	serial_open(&f, 1);
	fill(1);
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
	expect_input(1, "moved");
}

TEST_BOTH(virtio_serial, what_was_not_said_yet_is_said_by_another_instance)
{
	struct virtio_serial_port *a;

	serial_start_ready(&f, 0);
	a = serial_add(&f, SERIAL, "a", "name=a");
	move_to_another(&a, "name=a");
	serial_listen(&f, 4);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, guest_hears_that_the_other_instance_has_no_client)
{
	struct virtio_serial_port *a = serial_add(&f, SERIAL, "a", "chardev=ring");
	char options[128];

	serial_start_ready(&f, 8);
	serial_open(&f, 1);
	snprintf(options, sizeof(options), "chardev=unix:%s", path);
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

TEST_BOTH(virtio_serial, ring_is_read_and_written_by_actions)
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
	expect_input(1, "yes");
	a = serial_add(&f, SERIAL, "b", NULL);
	cr_assert_eq(device_action(&a->dev, "read", NULL, NULL, &err), -ENOTSUP);
	cr_assert(strstr(err.message, "chardev=ring"), "%s", err.message);
}
