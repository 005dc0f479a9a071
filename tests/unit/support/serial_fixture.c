/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/serial_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void serial_init(struct serial_fixture *f, const char *options)
{
	char all[128];

	memset(f, 0, sizeof(*f));
	snprintf(f->socket, sizeof(f->socket), "/tmp/vmm-serial-%d", (int)getpid());
	fake_env_init(&f->fake, 64 * MIB);
	snprintf(all, sizeof(all), "packed=on%s%s", options ? "," : "", options ? options : "");
	f->dev = fake_env_device(&f->fake, &virtio_serial_class.device, all);
	f->serial = virtio_serial(virtio_device(f->dev));
	virtio_driver_init(&f->driver, &f->fake, &f->serial->vd, gpa(MIB));
}

void serial_fini(struct serial_fixture *f)
{
	device_quiesce_wait(f->dev);
	for (unsigned nr = 0; nr < f->serial->max_ports; nr++)
		if (f->serial->slots[nr].port)
			device_destroy(&f->serial->slots[nr].port->dev);
	fake_env_remove(f->dev);
	fake_env_fini(&f->fake);
	unlink(f->socket);
}

struct virtio_serial_port *serial_add(struct serial_fixture *f, const struct device_class *cls,
				      const char *id, const char *options)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;

	cr_assert_eq(device_create(&dev, cls, id, options, &f->fake.env, &err), 0, "%s",
		     err.message);
	fake_env_settle(&f->fake);
	return virtio_serial_port(dev);
}

struct virtio_serial_port *serial_add_socket(struct serial_fixture *f, const char *id)
{
	char options[128];

	snprintf(options, sizeof(options), "name=%s,chardev=unix:%s", id, f->socket);
	return serial_add(f, SERIAL, id, options);
}

void serial_remove(struct serial_fixture *f, struct virtio_serial_port *port)
{
	device_quiesce_wait(&port->dev);
	device_destroy(&port->dev);
	fake_env_settle(&f->fake);
}

void serial_refused(struct serial_fixture *f, const struct device_class *cls, const char *options,
		    const char *sentence)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;

	cr_assert_lt(device_create(&dev, cls, "port", options, &f->fake.env, &err), 0, "%s",
		     options);
	cr_assert(strstr(err.message, sentence), "%s: %s", options, err.message);
}

void serial_start(struct serial_fixture *f)
{
	virtio_driver_start(&f->driver, SERIAL_LINUX, DRIVER_QUEUES);
}

void serial_start_ready(struct serial_fixture *f, unsigned count)
{
	serial_start(f);
	serial_listen(f, count);
	serial_say(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
}

static void add_message_buffer(struct serial_fixture *f, gpa_t at)
{
	const struct driver_buffer b = {at, SERIAL_MESSAGE_SIZE, true};
	uint16_t head = driver_ring_add(&f->driver.rings[VIRTIO_SERIAL_CONTROL_RX], &b, 1);

	f->messages[head] = at;
}

void serial_listen(struct serial_fixture *f, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		add_message_buffer(f, virtio_driver_alloc(&f->driver, SERIAL_MESSAGE_SIZE));
	virtio_driver_kick(&f->driver, VIRTIO_SERIAL_CONTROL_RX);
	fake_env_settle(&f->fake);
}

void serial_say(struct serial_fixture *f, uint32_t id, unsigned event, unsigned value)
{
	const struct virtio_console_control m = {id, (uint16_t)event, (uint16_t)value};
	gpa_t at = virtio_driver_alloc(&f->driver, sizeof(m));
	const struct driver_buffer b = {at, sizeof(m), false};

	driver_write(f->driver.memory, at, &m, sizeof(m));
	driver_ring_add(&f->driver.rings[VIRTIO_SERIAL_CONTROL_TX], &b, 1);
	virtio_driver_kick(&f->driver, VIRTIO_SERIAL_CONTROL_TX);
	cr_assert_eq(virtio_driver_wait(&f->driver, VIRTIO_SERIAL_CONTROL_TX, NULL), 0u);
	fake_env_settle(&f->fake);
}

static bool take_message(struct serial_fixture *f)
{
	uint32_t head;

	fake_env_settle(&f->fake);
	if (!driver_ring_used(&f->driver.rings[VIRTIO_SERIAL_CONTROL_RX], &head, &f->last_len))
		return false;
	memset(f->last, 0, sizeof(f->last));
	cr_assert_leq(f->last_len, sizeof(f->last));
	driver_read(f->driver.memory, f->messages[head], f->last, f->last_len);
	add_message_buffer(f, f->messages[head]);
	virtio_driver_kick(&f->driver, VIRTIO_SERIAL_CONTROL_RX);
	return true;
}

void serial_expect(struct serial_fixture *f, uint32_t id, unsigned event, unsigned value)
{
	struct virtio_console_control m;

	if (!take_message(f)) {
		cr_assert_eq(event, SERIAL_QUIET, "no message; event %u for port %u is wanted",
			     event, id);
		return;
	}
	memcpy(&m, f->last, sizeof(m));
	cr_assert_eq(m.event, event, "event %u for port %u, value %u; %u is wanted", m.event, m.id,
		     m.value, event);
	cr_assert_eq(m.id, id, "event %u is for port %u", m.event, m.id);
	cr_assert_eq(m.value, value, "event %u has value %u", m.event, m.value);
}

unsigned serial_skip(struct serial_fixture *f)
{
	unsigned n = 0;

	while (take_message(f))
		n++;
	return n;
}

void serial_open(struct serial_fixture *f, unsigned nr)
{
	serial_skip(f);
	serial_say(f, nr, VIRTIO_CONSOLE_PORT_READY, 1);
	serial_say(f, nr, VIRTIO_CONSOLE_PORT_OPEN, 1);
	serial_skip(f);
}

uint16_t serial_send(struct serial_fixture *f, unsigned nr, const void *data, uint32_t len)
{
	const unsigned queue = virtio_serial_tx(nr);
	gpa_t at = virtio_driver_alloc(&f->driver, len);
	const struct driver_buffer b = {at, len, false};
	uint16_t head;

	driver_write(f->driver.memory, at, data, len);
	head = driver_ring_add(&f->driver.rings[queue], &b, 1);
	virtio_driver_kick(&f->driver, queue);
	return head;
}

bool serial_sent(struct serial_fixture *f, unsigned nr)
{
	uint32_t id, len;

	fake_env_settle(&f->fake);
	if (!driver_ring_used(&f->driver.rings[virtio_serial_tx(nr)], &id, &len))
		return false;
	cr_assert_eq(len, 0u);
	return true;
}

void serial_offer(struct serial_fixture *f, unsigned nr, unsigned count, uint32_t len)
{
	const unsigned queue = virtio_serial_rx(nr);

	for (unsigned i = 0; i < count; i++) {
		gpa_t at = virtio_driver_alloc(&f->driver, len);
		const struct driver_buffer b = {at, len, true};

		f->buffers[queue][driver_ring_add(&f->driver.rings[queue], &b, 1)] = at;
	}
	virtio_driver_kick(&f->driver, queue);
	fake_env_settle(&f->fake);
}

int serial_received(struct serial_fixture *f, unsigned nr, void *data, uint32_t size)
{
	const unsigned queue = virtio_serial_rx(nr);
	uint32_t head, len;

	fake_env_settle(&f->fake);
	if (!driver_ring_used(&f->driver.rings[queue], &head, &len))
		return -1;
	cr_assert_leq(len, size);
	driver_read(f->driver.memory, f->buffers[queue][head], data, len);
	return (int)len;
}

void serial_expect_input(struct serial_fixture *f, unsigned nr, const char *text)
{
	char got[256] = "";

	cr_assert_eq(serial_received(f, nr, got, sizeof(got) - 1), (int)strlen(text), "\"%s\"",
		     text);
	cr_assert_str_eq(got, text);
}

void serial_expect_output(struct serial_fixture *f, const struct virtio_serial_port *port,
			  const char *text)
{
	char got[256] = "";

	fake_env_settle(&f->fake);
	cr_assert_geq(chardev_ring_read(port->chardev, got, sizeof(got) - 1, NULL), 0);
	cr_assert_str_eq(got, text);
}
