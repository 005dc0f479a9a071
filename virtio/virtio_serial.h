/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial (virtio 1.2, section 5.3: the console device). For virtio_serial*.c and tests only.
 *
 * virtio_serial.c is the controller: options, configuration space, queues, life, saved state.
 * virtio_serial_control.c is its conversation with the driver about ports. virtio_serial_port.c is
 * a port as a device that comes and goes; virtio_serial_data.c moves its bytes.
 *
 * Everything is guarded by the controller's lock, the ports' state too: the queues are its own.
 */
#ifndef VIRTIO_VIRTIO_SERIAL_H
#define VIRTIO_VIRTIO_SERIAL_H

#include <linux/virtio_console.h>

#include "console/chardev.h"
#include "virtio/virtio_classes.h"

#define VIRTIO_SERIAL_MAX_PORTS  512u
#define VIRTIO_SERIAL_NAME_MAX   255u
#define VIRTIO_SERIAL_QUEUE_SIZE 64u
#define VIRTIO_SERIAL_EMERGENCY  256u /* bytes that wait for the loop */

/* 5.3.2 */
#define VIRTIO_SERIAL_CONTROL_RX 2u
#define VIRTIO_SERIAL_CONTROL_TX 3u

/*
 * What is still to be said to the driver about a port number, in this order. A set in place of a
 * list of messages: however often ports come, go and open while the driver has no buffers for
 * messages, this is all there is to remember.
 */
enum virtio_serial_say {
	VIRTIO_SERIAL_SAY_REMOVE = 1 << 0, /* of an earlier port with this number */
	VIRTIO_SERIAL_SAY_ADD = 1 << 1,
	VIRTIO_SERIAL_SAY_CONSOLE = 1 << 2,
	VIRTIO_SERIAL_SAY_NAME = 1 << 3,
	VIRTIO_SERIAL_SAY_SIZE = 1 << 4,
	VIRTIO_SERIAL_SAY_CLOSED = 1 << 5, /* before OPEN: one left, the next one came */
	VIRTIO_SERIAL_SAY_OPEN = 1 << 6,
	VIRTIO_SERIAL_SAY_ALL = (1 << 7) - 1,
};

struct virtio_serial_slot {
	struct virtio_serial_port *port; /* NULL: there is none with this number */
	uint8_t say;
	bool told; /* the driver knows of a port with this number */
};

struct virtio_serial {
	struct virtio_device vd; /* first */
	uint64_t max_ports;
	int resize_order;
	bool driver_ready;                              /* DEVICE_READY came */
	struct virtio_serial_slot *slots;               /* max_ports */
	uint64_t to_tell[VIRTIO_SERIAL_MAX_PORTS / 64]; /* slots where `say` is not 0 */
	/* 5.3.5.1: written by vCPUs, for the loop. */
	struct loop_task emergency_task;
	unsigned emergency_len;
	uint8_t emergency[VIRTIO_SERIAL_EMERGENCY];
};

struct virtio_serial_port {
	struct device dev; /* first */
	char *bus, *nr_option, *name, *spec;
	unsigned nr;
	struct virtio_serial *serial;
	struct chardev *chardev;
	bool ready;      /* the driver has set the port up */
	bool guest_open; /* a program in the guest has it open */
	bool host_open;  /* somebody is at the host's end; always so for a console */
	bool starved;    /* the chardev waits until the guest can take input */
	/*
	 * The chain that is being transmitted, at most one; NULL: none. What the chardev has not
	 * accepted of it stays where it is, in guest memory.
	 */
	struct virtq_chain *tx;
	uint64_t tx_done; /* bytes of it that were accepted; survives its return to the ring */
	uint16_t columns, rows; /* 0: not known */
};

static inline struct virtio_serial *virtio_serial(struct virtio_device *vd)
{
	return container_of(vd, struct virtio_serial, vd);
}

static inline struct virtio_serial_port *virtio_serial_port(struct device *dev)
{
	return container_of(dev, struct virtio_serial_port, dev);
}

static inline bool virtio_serial_multiport(const struct virtio_serial *s)
{
	return virtio_has(&s->vd, VIRTIO_CONSOLE_F_MULTIPORT);
}

static inline unsigned virtio_serial_rx(unsigned nr)
{
	return nr ? 2 * nr + 2 : 0;
}

static inline unsigned virtio_serial_tx(unsigned nr)
{
	return virtio_serial_rx(nr) + 1;
}

/* All that follows: home loop, controller's lock held, unless it says otherwise. */

/* virtio_serial_control.c */

/* The driver shall hear this about the port number, as soon as it can. */
void virtio_serial_tell(struct virtio_serial *s, unsigned nr, unsigned say);
/* A port has come to its slot / has gone from it. */
void virtio_serial_tell_added(struct virtio_serial *s, unsigned nr);
void virtio_serial_tell_removed(struct virtio_serial *s, unsigned nr);
/* What the guest did to a port, which whoever watches the machine hears. Lock held. */
void virtio_serial_set_guest_open(struct virtio_serial_port *port, bool open);
void virtio_serial_tell_open(struct virtio_serial *s, unsigned nr, bool open);
/* Say what there is to say, as far as the driver has buffers. */
void virtio_serial_flush(struct virtio_serial *s);
/* A message from the driver. */
void virtio_serial_control(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain);

/* virtio_serial_data.c */

extern const struct chardev_frontend virtio_serial_frontend; /* opaque: the port */

/* Guest to host, until the ring is empty or the chardev full. */
void virtio_serial_transmit(struct virtio_serial_port *port);
/* The guest may be able to take input again. */
void virtio_serial_receive_ready(struct virtio_serial_port *port);
/* Give the chain that is being transmitted back to the ring; it is popped again later. */
void virtio_serial_take_back(struct virtio_serial_port *port);
/* Return that chain, of which the rest is not transmitted. */
void virtio_serial_give_up(struct virtio_serial_port *port);
/* Return everything that the driver has queued for a port that is not there. */
void virtio_serial_discard(struct virtio_serial *s, unsigned nr);
/* The terminal's size, or its new one. */
void virtio_serial_set_size(struct virtio_serial_port *port, uint16_t columns, uint16_t rows);

#endif
