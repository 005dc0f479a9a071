/* SPDX-License-Identifier: MIT */
/*
 * A virtio-serial controller with a driver that speaks the control protocol: it has buffers for
 * messages, reads them one after the other and says what a test has it say.
 */
#ifndef SUPPORT_SERIAL_FIXTURE_H
#define SUPPORT_SERIAL_FIXTURE_H

#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtio_classes.h"
#include "virtio/virtio_serial.h"

#define SERIAL  (&serial_port_class)
#define CONSOLE (&console_port_class)

#define SERIAL_FEATURE(f) (UINT64_C(1) << VIRTIO_CONSOLE_F_##f)
/* What a Linux driver takes of what is offered. */
#define SERIAL_LINUX (SERIAL_FEATURE(MULTIPORT) | SERIAL_FEATURE(SIZE))

#define SERIAL_MESSAGE_SIZE 264u
#define SERIAL_QUIET        0xffffu /* serial_expect: no message */

struct serial_fixture {
	struct fake_env fake;
	struct device *dev;
	struct virtio_serial *serial;
	struct virtio_driver driver;
	gpa_t messages[VIRTIO_SERIAL_QUEUE_SIZE]; /* where each head's buffer is */
	gpa_t buffers[DRIVER_QUEUES][VIRTIO_SERIAL_QUEUE_SIZE];
	uint8_t last[SERIAL_MESSAGE_SIZE]; /* the latest message */
	uint32_t last_len;
	char socket[32]; /* a path for serial_add_socket */
};

/* options: of the controller, or NULL. No driver yet. */
void serial_init(struct serial_fixture *f, const char *options);
void serial_fini(struct serial_fixture *f);
struct virtio_serial_port *serial_add(struct serial_fixture *f, const struct device_class *cls,
				      const char *id, const char *options);
/* A serial port of this id and name whose stream is a server at f->socket. */
struct virtio_serial_port *serial_add_socket(struct serial_fixture *f, const char *id);
void serial_remove(struct serial_fixture *f, struct virtio_serial_port *port);
/* Creating a port fails with this sentence. */
void serial_refused(struct serial_fixture *f, const struct device_class *cls, const char *options,
		    const char *sentence);

/* Negotiate, set 8 queues up (control, and ports 0 to 2), no buffers anywhere. */
void serial_start(struct serial_fixture *f);
/* serial_start, `count` message buffers, DEVICE_READY. */
void serial_start_ready(struct serial_fixture *f, unsigned count);
/* Give the device buffers for messages. */
void serial_listen(struct serial_fixture *f, unsigned count);
/* A message to the device, waited for. */
void serial_say(struct serial_fixture *f, uint32_t id, unsigned event, unsigned value);
/* The next message is this one; its buffer is given back. event SERIAL_QUIET: there is none. */
void serial_expect(struct serial_fixture *f, uint32_t id, unsigned event, unsigned value);
/* Read messages until there are no more, without a look at them; returns how many. */
unsigned serial_skip(struct serial_fixture *f);
/* PORT_READY and PORT_OPEN as Linux says them, and what comes back skipped. */
void serial_open(struct serial_fixture *f, unsigned nr);

/* Queue a chain for a port and kick. Returns its head. */
uint16_t serial_send(struct serial_fixture *f, unsigned nr, const void *data, uint32_t len);
/* Whether the device has returned a chain that was sent, after the loop has settled. */
bool serial_sent(struct serial_fixture *f, unsigned nr);
/* `count` buffers of `len` bytes for a port to receive into. */
void serial_offer(struct serial_fixture *f, unsigned nr, unsigned count, uint32_t len);
/* What the next returned buffer of a port has; -1: there is none. */
int serial_received(struct serial_fixture *f, unsigned nr, void *data, uint32_t size);
/* The next returned buffer of a port has just this text. */
void serial_expect_input(struct serial_fixture *f, unsigned nr, const char *text);
/* What the guest has sent to a port of chardev=ring, and nobody has read, is just this text. */
void serial_expect_output(struct serial_fixture *f, const struct virtio_serial_port *port,
			  const char *text);

#endif
