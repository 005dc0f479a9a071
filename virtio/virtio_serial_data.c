/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a port. Nothing is stored here: output waits in guest memory until the chardev takes
 * it, input waits in the chardev until the guest has buffers and a program that reads.
 */
#include "virtio/virtio_serial.h"

/* ---- guest to host ---- */

/* The next chain, or the one that is under way. False: there is none. */
static bool next_chain(struct virtio_serial_port *port)
{
	struct virtio_device *vd = &port->serial->vd;
	struct virtq_chain *chain;

	if (port->tx)
		return true;
	if (virtio_pop_or_wait(vd, virtio_serial_tx(port->nr), &chain) <= 0)
		return false;
	if (chain->in_len) { /* 5.3.6.1 */
		virtio_broken(vd, "port %u: a writable buffer to transmit", port->nr);
		return false;
	}
	/* Not the first time: it was taken back in the middle. */
	virtq_skip_out(chain, MIN(port->tx_done, chain->out_len));
	port->tx = chain;
	return true;
}

/* Returns false if the chardev takes no more for now. */
static bool write_chain(struct virtio_serial_port *port)
{
	struct virtq_chain *chain = port->tx;

	while (chain->out_len) {
		const struct iovec v = *virtq_chain_out(chain);
		const size_t n = chardev_write(port->chardev, v.iov_base, v.iov_len);

		virtq_skip_out(chain, n);
		port->tx_done += n;
		if (n < v.iov_len)
			return false;
	}
	return true;
}

static void finish_chain(struct virtio_serial_port *port)
{
	struct virtq_chain *chain = port->tx;

	port->tx = NULL;
	port->tx_done = 0;
	virtio_push(&port->serial->vd, virtio_serial_tx(port->nr), chain, 0);
}

void virtio_serial_transmit(struct virtio_serial_port *port)
{
	struct virtio_device *vd = &port->serial->vd;
	const unsigned queue = virtio_serial_tx(port->nr);
	unsigned budget = VIRTIO_SERIAL_QUEUE_SIZE;

	if (!vd->active || !vd->queues[queue].enabled)
		return;
	virtq_notify_disable(vd->queues[queue].vq);
	while (next_chain(port)) {
		if (!write_chain(port))
			return; /* `writable` goes on */
		finish_chain(port);
		/* A ring full for each turn: the other ports have theirs. */
		if (!--budget) {
			virtio_queue_ring(vd, queue);
			return;
		}
	}
}

void virtio_serial_take_back(struct virtio_serial_port *port)
{
	struct virtq *vq = port->serial->vd.queues[virtio_serial_tx(port->nr)].vq;

	if (port->tx)
		virtq_unpop(vq, port->tx);
	port->tx = NULL;
}

void virtio_serial_give_up(struct virtio_serial_port *port)
{
	if (port->tx)
		finish_chain(port);
}

static void return_chain(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	virtio_push(vd, queue, chain, 0);
}

void virtio_serial_discard(struct virtio_serial *s, unsigned nr)
{
	virtio_process(&s->vd, virtio_serial_tx(nr), return_chain);
}

static void writable(void *opaque)
{
	struct virtio_serial_port *port = opaque;

	device_lock(&port->serial->vd.dev);
	virtio_serial_transmit(port);
	device_unlock(&port->serial->vd.dev);
}

/* ---- host to guest ---- */

/* Input for a port that no program reads stays on the host. */
static bool can_receive(const struct virtio_serial_port *port)
{
	const struct virtio_serial *s = port->serial;

	return s->vd.active && (virtio_serial_multiport(s) ? port->guest_open : port->nr == 0);
}

/* Fill the guest's buffers; returns how many bytes had room. */
static size_t fill(struct virtio_serial_port *port, const uint8_t *data, size_t len)
{
	struct virtio_device *vd = &port->serial->vd;
	const unsigned queue = virtio_serial_rx(port->nr);
	struct virtq_chain *chain;
	size_t done = 0;

	while (done < len && virtio_pop_or_wait(vd, queue, &chain) > 0) {
		size_t n;

		if (chain->out_len) { /* 5.3.6.1 */
			virtio_broken(vd, "port %u: a readable buffer to receive into", port->nr);
			break;
		}
		n = virtq_write_in(chain, 0, data + done, len - done);
		virtio_push(vd, queue, chain, (uint32_t)n);
		done += n;
	}
	return done;
}

static size_t input(void *opaque, const uint8_t *data, size_t len)
{
	struct virtio_serial_port *port = opaque;
	size_t taken = 0;

	device_lock(&port->serial->vd.dev);
	if (can_receive(port))
		taken = fill(port, data, len);
	port->starved = taken < len;
	device_unlock(&port->serial->vd.dev);
	return taken;
}

void virtio_serial_receive_ready(struct virtio_serial_port *port)
{
	if (port->starved) {
		port->starved = false;
		chardev_input_ready(port->chardev);
	}
}

/* ---- the other end ---- */

static void connected(void *opaque, bool there)
{
	struct virtio_serial_port *port = opaque;

	device_lock(&port->serial->vd.dev);
	/* A console prints whether somebody looks or not. */
	if (port->dev.cls != &console_port_class && port->host_open != there) {
		port->host_open = there;
		if (port->ready)
			virtio_serial_tell_open(port->serial, port->nr, there);
	}
	device_unlock(&port->serial->vd.dev);
}

void virtio_serial_set_size(struct virtio_serial_port *port, uint16_t columns, uint16_t rows)
{
	if (port->columns == columns && port->rows == rows)
		return;
	port->columns = columns;
	port->rows = rows;
	if (port->nr == 0)
		virtio_config_changed(&port->serial->vd);
	if (port->ready)
		virtio_serial_tell(port->serial, port->nr, VIRTIO_SERIAL_SAY_SIZE);
}

static void resized(void *opaque, unsigned columns, unsigned rows)
{
	struct virtio_serial_port *port = opaque;

	if (port->dev.cls != &console_port_class)
		return;
	device_lock(&port->serial->vd.dev);
	virtio_serial_set_size(port, (uint16_t)MIN(columns, (unsigned)UINT16_MAX),
			       (uint16_t)MIN(rows, (unsigned)UINT16_MAX));
	device_unlock(&port->serial->vd.dev);
}

static void quit(void *opaque)
{
	const struct virtio_serial_port *port = opaque;

	port->dev.env->event(port->dev.env, MACHINE_EVENT_QUIT, 0);
}

const struct chardev_frontend virtio_serial_frontend = {
	.input = input,
	.writable = writable,
	.connected = connected,
	.quit = quit,
	.resized = resized,
};
