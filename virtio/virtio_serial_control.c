/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_serial.h"

#include <string.h>

_Static_assert(sizeof(struct virtio_console_control) == 8, "5.3.6.2");

struct message {
	struct virtio_console_control header;
	char rest[VIRTIO_SERIAL_NAME_MAX];
};

_Static_assert(offsetof(struct message, rest) == sizeof(struct virtio_console_control), "5.3.6.2");

/* ---- to the driver ---- */

static uint16_t event_of(unsigned say)
{
	switch (say) {
	case VIRTIO_SERIAL_SAY_REMOVE:
		return VIRTIO_CONSOLE_PORT_REMOVE;
	case VIRTIO_SERIAL_SAY_ADD:
		return VIRTIO_CONSOLE_PORT_ADD;
	case VIRTIO_SERIAL_SAY_CONSOLE:
		return VIRTIO_CONSOLE_CONSOLE_PORT;
	case VIRTIO_SERIAL_SAY_NAME:
		return VIRTIO_CONSOLE_PORT_NAME;
	case VIRTIO_SERIAL_SAY_SIZE:
		return VIRTIO_CONSOLE_RESIZE;
	default:
		return VIRTIO_CONSOLE_PORT_OPEN;
	}
}

/*
 * 5.3.6.2 has the columns first. Linux read the rows first for fifteen years, and a device cannot
 * tell which one it talks to: the user can.
 */
static size_t compose_size(const struct virtio_serial *s, const struct virtio_serial_port *port,
			   struct message *m)
{
	const uint16_t columns_first[2] = {port->columns, port->rows};
	const uint16_t rows_first[2] = {port->rows, port->columns};

	memcpy(m->rest, s->resize_order ? rows_first : columns_first, sizeof(columns_first));
	return sizeof(columns_first);
}

/* Returns its length. */
static size_t compose(const struct virtio_serial *s, unsigned nr, unsigned say, struct message *m)
{
	const struct virtio_serial_port *port = s->slots[nr].port;
	size_t rest = 0;

	m->header = (struct virtio_console_control){
		.id = nr,
		.event = event_of(say),
		.value = say != VIRTIO_SERIAL_SAY_CLOSED,
	};
	if (say == VIRTIO_SERIAL_SAY_NAME) {
		rest = strlen(port->name); /* without a NUL */
		memcpy(m->rest, port->name, rest);
	} else if (say == VIRTIO_SERIAL_SAY_SIZE) {
		rest = compose_size(s, port, m);
	}
	return sizeof(m->header) + rest;
}

/* False: not now. */
static bool send(struct virtio_serial *s, unsigned nr, unsigned say)
{
	struct virtq_chain *chain;
	struct message m;
	size_t len, sent;

	if (virtio_pop_or_wait(&s->vd, VIRTIO_SERIAL_CONTROL_RX, &chain) <= 0)
		return false;
	if (chain->out_len || chain->in_len < sizeof(m.header)) {
		virtio_broken(&s->vd, "a control buffer with %llu bytes to write",
			      (unsigned long long)chain->in_len);
		return false;
	}
	len = compose(s, nr, say, &m);
	sent = virtq_write_in(chain, 0, &m, len);
	if (sent < len)
		device_guest_error(&s->vd.dev,
				   "port %u: a control buffer of %zu bytes cuts off a message", nr,
				   sent);
	virtio_push(&s->vd, VIRTIO_SERIAL_CONTROL_RX, chain, (uint32_t)sent);
	if (say == VIRTIO_SERIAL_SAY_REMOVE)
		s->slots[nr].told = false;
	else if (say == VIRTIO_SERIAL_SAY_ADD)
		s->slots[nr].told = true;
	return true;
}

/* False: not everything yet. */
static bool flush_slot(struct virtio_serial *s, unsigned nr)
{
	struct virtio_serial_slot *slot = &s->slots[nr];

	/* Of a port that is gone there is only that to say. */
	if (!slot->port)
		slot->say &= VIRTIO_SERIAL_SAY_REMOVE;
	while (slot->say) {
		const unsigned say = slot->say & -(unsigned)slot->say;

		if (!send(s, nr, say))
			return false;
		slot->say &= (uint8_t)~say;
	}
	s->to_tell[nr / 64] &= ~(UINT64_C(1) << (nr % 64));
	return true;
}

void virtio_serial_flush(struct virtio_serial *s)
{
	if (!s->vd.active || !virtio_serial_multiport(s))
		return;
	for (unsigned w = 0; w < ARRAY_SIZE(s->to_tell); w++)
		while (s->to_tell[w])
			if (!flush_slot(s, w * 64 + (unsigned)__builtin_ctzll(s->to_tell[w])))
				return;
}

void virtio_serial_tell(struct virtio_serial *s, unsigned nr, unsigned say)
{
	/* Before that the driver listens to nothing; then it hears of every port. */
	if (!s->driver_ready)
		return;
	s->slots[nr].say |= (uint8_t)say;
	s->to_tell[nr / 64] |= UINT64_C(1) << (nr % 64);
	virtio_serial_flush(s);
}

void virtio_serial_tell_added(struct virtio_serial *s, unsigned nr)
{
	virtio_serial_tell(s, nr, VIRTIO_SERIAL_SAY_ADD);
}

void virtio_serial_tell_removed(struct virtio_serial *s, unsigned nr)
{
	/* A driver that never heard of it need not hear that it is gone. */
	s->slots[nr].say = 0;
	virtio_serial_tell(s, nr, s->slots[nr].told ? VIRTIO_SERIAL_SAY_REMOVE : 0);
}

void virtio_serial_tell_open(struct virtio_serial *s, unsigned nr, bool open)
{
	if (!open)
		s->slots[nr].say &= (uint8_t)~VIRTIO_SERIAL_SAY_OPEN;
	virtio_serial_tell(s, nr, open ? VIRTIO_SERIAL_SAY_OPEN : VIRTIO_SERIAL_SAY_CLOSED);
}

/* ---- from the driver ---- */

static void device_ready(struct virtio_serial *s)
{
	s->driver_ready = true;
	for (unsigned nr = 0; nr < s->max_ports; nr++)
		if (s->slots[nr].port)
			virtio_serial_tell_added(s, nr);
}

static void port_ready(struct virtio_serial_port *port)
{
	struct virtio_serial *s = port->serial;
	unsigned say = 0;

	port->ready = true;
	/* What was to be said of its state is said anew, but it may have heard that it is open. */
	s->slots[port->nr].say &=
		VIRTIO_SERIAL_SAY_REMOVE | VIRTIO_SERIAL_SAY_ADD | VIRTIO_SERIAL_SAY_CLOSED;
	if (port->dev.cls == &console_port_class)
		say |= VIRTIO_SERIAL_SAY_CONSOLE;
	if (port->name)
		say |= VIRTIO_SERIAL_SAY_NAME;
	if (port->columns)
		say |= VIRTIO_SERIAL_SAY_SIZE;
	if (port->host_open)
		say |= VIRTIO_SERIAL_SAY_OPEN;
	virtio_serial_tell(s, port->nr, say);
}

static void port_message(struct virtio_serial *s, const struct virtio_console_control *m)
{
	struct virtio_serial_port *port;

	if (m->id >= s->max_ports || !s->slots[m->id].told) {
		device_guest_error(&s->vd.dev, "control event %u for port %u, which is not there",
				   m->event, m->id);
		return;
	}
	port = s->slots[m->id].port;
	/* The driver means one that has just gone, and of which it has yet to hear that. */
	if (!port || (s->slots[m->id].say & (VIRTIO_SERIAL_SAY_REMOVE | VIRTIO_SERIAL_SAY_ADD)))
		return;
	if (m->event == VIRTIO_CONSOLE_PORT_OPEN) {
		virtio_serial_set_guest_open(port, m->value);
		if (port->guest_open)
			virtio_serial_receive_ready(port);
	} else if (m->value) {
		port_ready(port);
	} else {
		device_guest_error(&s->vd.dev, "the driver cannot set up port %u", m->id);
	}
}

static void message(struct virtio_serial *s, const struct virtio_console_control *m)
{
	if (m->value > 1) {
		device_guest_error(&s->vd.dev, "control event %u with the value %u", m->event,
				   m->value);
		return;
	}
	switch (m->event) {
	case VIRTIO_CONSOLE_DEVICE_READY:
		if (m->value)
			device_ready(s);
		else
			device_guest_error(&s->vd.dev, "the driver cannot set up the device");
		return;
	case VIRTIO_CONSOLE_PORT_READY:
	case VIRTIO_CONSOLE_PORT_OPEN:
		port_message(s, m);
		return;
	default:
		device_guest_error(&s->vd.dev, "control event %u is none of the driver's",
				   m->event);
	}
}

void virtio_serial_control(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_console_control m;

	if (chain->in_len || virtq_read_out(chain, 0, &m, sizeof(m)) < sizeof(m)) {
		virtio_broken(vd, "a control message of %llu bytes, with %llu to write",
			      (unsigned long long)chain->out_len,
			      (unsigned long long)chain->in_len);
		return;
	}
	virtio_push(vd, queue, chain, 0);
	message(virtio_serial(vd), &m);
}
