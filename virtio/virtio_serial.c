/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EMERG_WR offsetof(struct virtio_console_config, emerg_wr)

_Static_assert(sizeof(struct virtio_console_config) == 12, "5.3.4");
_Static_assert(2 * (VIRTIO_SERIAL_MAX_PORTS + 1) <= VIRTIO_MAX_QUEUES, "5.3.2");

#define BIT(n) (UINT64_C(1) << (n))

/* ---- configuration space (5.3.4) ---- */

static void config_read(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	const struct virtio_serial *s = virtio_serial(vd);
	const struct virtio_serial_port *console = s->slots[0].port;
	const struct virtio_console_config c = {
		.cols = console ? console->columns : 0,
		.rows = console ? console->rows : 0,
		.max_nr_ports = (uint32_t)s->max_ports,
	};

	memcpy(buf, (const char *)&c + offset, len);
}

/* 5.3.5.1: the low byte goes to the console, whatever state the device is in. */
static void config_write(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len)
{
	struct virtio_serial *s = virtio_serial(vd);

	if (offset > EMERG_WR || offset + len <= EMERG_WR)
		return;
	if (s->emergency_len == sizeof(s->emergency))
		return; /* the loop is late, and a vCPU does not wait */
	s->emergency[s->emergency_len++] = ((const uint8_t *)buf)[EMERG_WR - offset];
	loop_post(vd->dev.loop, &s->emergency_task);
}

static void write_emergency(struct virtio_serial *s)
{
	device_lock(&s->vd.dev);
	/* What a full chardev does not accept is lost: nothing else could hold it. */
	if (s->emergency_len && s->slots[0].port)
		chardev_write(s->slots[0].port->chardev, s->emergency, s->emergency_len);
	s->emergency_len = 0;
	device_unlock(&s->vd.dev);
}

static void emergency_task(struct loop_task *task)
{
	write_emergency(container_of(task, struct virtio_serial, emergency_task));
}

/* ---- queues ---- */

/* Of a queue that is none of the control queues. */
static unsigned port_of(unsigned queue)
{
	return queue < VIRTIO_SERIAL_CONTROL_RX ? 0 : queue / 2 - 1;
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	struct virtio_serial *s = virtio_serial(vd);
	const unsigned nr = port_of(queue);
	struct virtio_serial_port *port;

	if (queue >= VIRTIO_SERIAL_CONTROL_RX && !virtio_serial_multiport(s))
		return; /* not there for this driver (5.3.2) */
	if (queue == VIRTIO_SERIAL_CONTROL_RX) {
		virtio_serial_flush(s);
	} else if (queue == VIRTIO_SERIAL_CONTROL_TX) {
		virtio_process(vd, queue, virtio_serial_control);
	} else {
		port = s->slots[nr].port;
		if (queue % 2 == 0 && port)
			virtio_serial_receive_ready(port);
		else if (queue % 2 && port)
			virtio_serial_transmit(port);
		else if (queue % 2)
			virtio_serial_discard(s, nr);
	}
}

static void drain(struct virtio_device *vd)
{
	struct virtio_serial *s = virtio_serial(vd);

	write_emergency(s);
	device_lock(&vd->dev);
	for (unsigned nr = 0; nr < s->max_ports; nr++)
		if (s->slots[nr].port)
			virtio_serial_take_back(s->slots[nr].port);
	device_unlock(&vd->dev);
	virtio_drained(vd);
}

/* 2.6.1: the driver wants the queue back; what was sent of its chain is sent. */
static void drain_queue(struct virtio_device *vd, unsigned queue)
{
	struct virtio_serial *s = virtio_serial(vd);
	struct virtio_serial_port *port = NULL;

	if (queue % 2 && queue != VIRTIO_SERIAL_CONTROL_TX)
		port = s->slots[port_of(queue)].port;
	if (port)
		virtio_serial_give_up(port);
}

void virtio_serial_set_guest_open(struct virtio_serial_port *port, bool open)
{
	if (port->guest_open != open)
		device_tell(&port->dev, DEVICE_NOTICE_PORT, open, port->name);
	port->guest_open = open;
}

static void reset_port(struct virtio_serial_port *port)
{
	virtio_serial_set_guest_open(port, false);
	port->ready = false;
	port->tx_done = 0;
}

static void reset(struct virtio_device *vd)
{
	struct virtio_serial *s = virtio_serial(vd);

	s->driver_ready = false;
	memset(s->to_tell, 0, sizeof(s->to_tell));
	for (unsigned nr = 0; nr < s->max_ports; nr++) {
		s->slots[nr].say = 0;
		s->slots[nr].told = false;
		if (s->slots[nr].port)
			reset_port(s->slots[nr].port);
	}
}

/* ---- saved state; the ports have theirs ---- */

static void save(struct virtio_device *vd, struct state_writer *w)
{
	const struct virtio_serial *s = virtio_serial(vd);
	uint8_t say[VIRTIO_SERIAL_MAX_PORTS], told[VIRTIO_SERIAL_MAX_PORTS];

	for (unsigned nr = 0; nr < s->max_ports; nr++) {
		say[nr] = s->slots[nr].say;
		told[nr] = s->slots[nr].told;
	}
	state_put_u64(w, "driver_ready", s->driver_ready);
	state_put_bytes(w, "say", say, s->max_ports);
	state_put_bytes(w, "told", told, s->max_ports);
}

static int load(struct virtio_device *vd, struct state_reader *r, uint32_t version UNUSED)
{
	struct virtio_serial *s = virtio_serial(vd);
	uint8_t say[VIRTIO_SERIAL_MAX_PORTS], told[VIRTIO_SERIAL_MAX_PORTS];
	uint64_t driver_ready;
	int rc = state_get_u64(r, "driver_ready", &driver_ready, 0, 1);

	if (!rc)
		rc = state_get_bytes(r, "say", say, s->max_ports);
	if (!rc)
		rc = state_get_bytes(r, "told", told, s->max_ports);
	for (unsigned nr = 0; !rc && nr < s->max_ports; nr++)
		if ((say[nr] & ~VIRTIO_SERIAL_SAY_ALL) || told[nr] > 1)
			rc = -ERANGE;
	if (rc)
		return rc;
	s->driver_ready = driver_ready;
	memset(s->to_tell, 0, sizeof(s->to_tell));
	for (unsigned nr = 0; nr < s->max_ports; nr++) {
		s->slots[nr].say = say[nr];
		s->slots[nr].told = told[nr];
		if (say[nr])
			s->to_tell[nr / 64] |= BIT(nr % 64);
	}
	return 0;
}

/* ---- life ---- */

static void cancel_emergency(void *arg)
{
	struct virtio_serial *s = arg;

	loop_task_cancel(s->vd.dev.loop, &s->emergency_task);
}

static void unrealize(struct device *dev)
{
	struct virtio_serial *s = virtio_serial(virtio_device(dev));

	loop_call(dev->loop, cancel_emergency, s);
	virtio_fini(&s->vd);
	free(s->slots);
	s->slots = NULL;
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_serial *s = virtio_serial(virtio_device(dev));
	uint64_t features = BIT(VIRTIO_CONSOLE_F_SIZE) | BIT(VIRTIO_CONSOLE_F_EMERG_WRITE);
	unsigned queues = 2;
	int rc;

	loop_task_init(&s->emergency_task, emergency_task);
	s->slots = calloc(s->max_ports, sizeof(*s->slots));
	if (!s->slots)
		return error_set(err, ENOMEM, "no memory for %llu ports",
				 (unsigned long long)s->max_ports);
	if (s->max_ports > 1) {
		features |= BIT(VIRTIO_CONSOLE_F_MULTIPORT);
		queues = 2 * ((unsigned)s->max_ports + 1);
	}
	rc = virtio_init(&s->vd, queues, VIRTIO_SERIAL_QUEUE_SIZE, features, err);
	if (rc)
		unrealize(dev);
	return rc;
}

static const char *const resize_orders[] = {"columns-first", "rows-first", NULL};

static const struct option_desc options[] = {
	{.name = "max-ports",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_serial, max_ports),
	 .fallback = "64",
	 .min = 1,
	 .max = VIRTIO_SERIAL_MAX_PORTS,
	 .help = "how many ports there can be, port 0 included; 1: only a console on port 0"},
	{.name = "resize-order",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct virtio_serial, resize_order),
	 .fallback = "columns-first",
	 .values = resize_orders,
	 .help = "a console's size as the specification has it, or as older Linux kernels read it"},
	VIRTIO_OPTIONS(struct virtio_serial, vd),
	OPTION_END,
};

const struct virtio_class virtio_serial_class = {
	.device =
		{
			.name = "virtio-serial",
			.help = "controller of serial ports and consoles",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.size = sizeof(struct virtio_serial),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
		},
	.device_id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x078000, /* communication, other */
	.config_size = sizeof(struct virtio_console_config),
	.config_read = config_read,
	.config_write = config_write,
	.config_write_early = true,
	.kick = kick,
	.drain = drain,
	.drain_queue = drain_queue,
	.reset = reset,
	.save = save,
	.load = load,
};
