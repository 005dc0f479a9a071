/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial: its options, what is said about ports, and the console of a driver that knows
 * none.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

TestSuite(virtio_serial, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(virtio_serial_packed, .init = setup_packed, .fini = teardown, .timeout = 30);

static struct virtio_console_config config(void)
{
	struct virtio_console_config c;

	virtio_read_config(&f.serial->vd, 0, &c, sizeof(c));
	return c;
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
	serial_expect_output(&f, a, "y");
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

	serial_add_socket(&f, "a");
	serial_start_ready(&f, 8);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
	client = fake_env_connect(&f.fake, f.socket);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	close(client);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	close(fake_env_connect(&f.fake, f.socket));
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	serial_expect(&f, 1, SERIAL_QUIET, 0);
}

TEST_BOTH(virtio_serial, port_set_up_anew_is_not_taken_for_open)
{
	serial_add_socket(&f, "a");
	serial_start_ready(&f, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	serial_say(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_expect(&f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	/* One buffer: that the client has gone must wait. */
	close(fake_env_connect(&f.fake, f.socket));
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

/* ---- the plain console ---- */

TEST_BOTH(virtio_serial, driver_without_multiport_has_the_console)
{
	struct virtio_serial_port *c = serial_add(&f, CONSOLE, "c", "chardev=ring");

	virtio_driver_start(&f.driver, SERIAL_FEATURE(SIZE), 2);
	serial_send(&f, 0, "login: ", 7);
	cr_assert(serial_sent(&f, 0));
	serial_expect_output(&f, c, "login: ");
	serial_offer(&f, 0, 1, 16);
	cr_assert_eq(chardev_ring_write(c->chardev, "root\n", 5), 5);
	serial_expect_input(&f, 0, "root\n");
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
	serial_expect_output(&f, c, "up");
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
	serial_expect_output(&f, c, "ok");
	cr_assert_eq(config().max_nr_ports, 3u);
}
