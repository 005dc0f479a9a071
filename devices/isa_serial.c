/* SPDX-License-Identifier: MIT */
/*
 * COM1 to COM4: a 16550A between ports and a character stream.
 *
 * The vCPU only appends to the UART's ring and wakes the home loop for the first byte of a burst;
 * the loop hands over whatever is there by the time it runs.
 */
#include "devices/devices.h"

#include <errno.h>

#include "console/chardev.h"
#include "core/report.h"
#include "devices/ports_x86.h"
#include "devices/uart16550.h"
#include "mmio/bus.h"

static const struct {
	uint16_t port;
	uint8_t irq;
} com[COM_PORTS] = {
	{X86_PORT_COM1, X86_IRQ_COM1},
	{X86_PORT_COM2, X86_IRQ_COM2},
	{X86_PORT_COM3, X86_IRQ_COM3},
	{X86_PORT_COM4, X86_IRQ_COM4},
};

struct isa_serial {
	struct device dev;
	char *spec;
	uint64_t index;
	struct bus_region ports;
	struct uart uart; /* guarded by the device's lock */
	struct chardev *chardev;
	struct loop_task transmit, receive;
	bool blocked; /* the stream takes no more for now */
};

static const struct option_desc options[] = {
	{
		.name = "chardev",
		.type = OPTION_STRING,
		.offset = offsetof(struct isa_serial, spec),
		.fallback = "none",
		.help = "the other end: stdio, pty, unix:PATH, attach:/PATH, file:PATH, ring, none, or "
			"the id of a chardev",
	},
	{
		.name = "index",
		.type = OPTION_UINT,
		.offset = offsetof(struct isa_serial, index),
		.fallback = "1",
		.min = 1,
		.max = COM_PORTS,
		.help = "which port: 1 is COM1, the guest's ttyS0",
	},
	OPTION_END,
};

/* From the UART, with the lock held: work for the home loop. */

static void post_transmit(struct uart *uart)
{
	struct isa_serial *s = container_of(uart, struct isa_serial, uart);

	if (!s->blocked)
		loop_post(s->dev.loop, &s->transmit);
}

static void post_receive(struct uart *uart)
{
	struct isa_serial *s = container_of(uart, struct isa_serial, uart);

	loop_post(s->dev.loop, &s->receive);
}

static void receive(struct loop_task *task)
{
	chardev_input_ready(container_of(task, struct isa_serial, receive)->chardev);
}

static void transmit(struct isa_serial *s)
{
	const uint8_t *data;
	size_t len, taken;

	device_lock(&s->dev);
	while (!s->blocked && (data = uart_to_send(&s->uart, &len), len)) {
		/* vCPUs only append, so these bytes stay as they are without the lock. */
		device_unlock(&s->dev);
		taken = chardev_write(s->chardev, data, len);
		device_lock(&s->dev);
		uart_sent(&s->uart, taken);
		s->blocked = taken < len;
	}
	uart_update_irq(&s->uart);
	device_unlock(&s->dev);
}

static void transmit_task(struct loop_task *task)
{
	transmit(container_of(task, struct isa_serial, transmit));
}

/* From the stream, on the home loop. */

static size_t input(void *opaque, const uint8_t *data, size_t len)
{
	struct isa_serial *s = opaque;
	size_t taken;

	device_lock(&s->dev);
	taken = uart_input(&s->uart, data, len);
	uart_update_irq(&s->uart);
	device_unlock(&s->dev);
	return taken;
}

static void writable(void *opaque)
{
	struct isa_serial *s = opaque;

	device_lock(&s->dev);
	s->blocked = false;
	device_unlock(&s->dev);
	transmit(s);
}

static void send_break(void *opaque)
{
	struct isa_serial *s = opaque;

	device_lock(&s->dev);
	uart_break(&s->uart);
	uart_update_irq(&s->uart);
	device_unlock(&s->dev);
}

static void quit(void *opaque)
{
	struct isa_serial *s = opaque;

	s->dev.env->event(s->dev.env, MACHINE_EVENT_QUIT, 0);
}

static const struct chardev_frontend frontend = {
	.input = input,
	.writable = writable,
	.quit = quit,
	.send_break = send_break,
};

static int status(struct device *dev, const void *args UNUSED, struct report *report,
		  struct vmm_error *err UNUSED)
{
	chardev_report(container_of(dev, struct isa_serial, dev)->chardev, report);
	return 0;
}

static const struct device_action actions[] = {
	{.name = "status", .help = "where it is connected", .run = status},
	{.name = NULL},
};

/* From the guest. As on the ISA bus, a wide access is a row of narrow ones. */

static uint64_t ports_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct isa_serial *s = container_of(region, struct isa_serial, ports);
	uint64_t v = 0;

	device_lock(&s->dev);
	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)uart_read(&s->uart, (unsigned)offset + i) << (8 * i);
	uart_update_irq(&s->uart);
	device_unlock(&s->dev);
	return v;
}

static void ports_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct isa_serial *s = container_of(region, struct isa_serial, ports);

	device_lock(&s->dev);
	for (unsigned i = 0; i < size; i++)
		uart_write(&s->uart, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
	uart_update_irq(&s->uart);
	device_unlock(&s->dev);
}

/* Life. */

struct opening {
	struct isa_serial *s;
	struct vmm_error *err;
	int rc;
};

static void open_chardev(void *arg)
{
	struct opening *o = arg;
	struct isa_serial *s = o->s;

	o->rc = chardev_acquire(&s->chardev, s->spec, "chardev", &s->dev, o->err);
	if (o->rc == 0)
		chardev_attach(s->chardev, &frontend, s);
}

static void close_chardev(void *arg)
{
	struct isa_serial *s = arg;

	loop_task_cancel(s->dev.loop, &s->transmit);
	loop_task_cancel(s->dev.loop, &s->receive);
	chardev_release(s->chardev);
}

static int serial_check(const struct device *dev, const char *what, struct vmm_error *err)
{
	return chardev_check(container_of(dev, struct isa_serial, dev)->spec, what, err);
}

static int serial_realize(struct device *dev, struct vmm_error *err)
{
	struct isa_serial *s = container_of(dev, struct isa_serial, dev);
	struct opening opening = {.s = s, .err = err};
	int rc;

	loop_task_init(&s->transmit, transmit_task);
	loop_task_init(&s->receive, receive);
	s->uart.irq = dev->env->isa_irq(dev->env, com[s->index - 1].irq);
	s->uart.transmit = post_transmit;
	s->uart.receive = post_receive;
	uart_reset(&s->uart);
	s->ports = (struct bus_region){
		.name = dev->id,
		.size = UART_PORTS,
		.read = ports_read,
		.write = ports_write,
	};
	loop_call(dev->loop, open_chardev, &opening);
	if (opening.rc)
		return opening.rc;
	rc = bus_map(dev->env->pio, &s->ports, com[s->index - 1].port);
	if (rc == 0)
		return 0;
	loop_call(dev->loop, close_chardev, s);
	if (rc == -EBUSY)
		return error_set(err, EBUSY, "there is a COM%u already; give another index",
				 (unsigned)s->index);
	return error_set_errno(err, -rc, "ports of COM%u", (unsigned)s->index);
}

static void serial_unrealize(struct device *dev)
{
	struct isa_serial *s = container_of(dev, struct isa_serial, dev);

	bus_unmap(&s->ports);
	loop_call(dev->loop, close_chardev, s);
}

static void serial_reset(struct device *dev)
{
	struct isa_serial *s = container_of(dev, struct isa_serial, dev);

	device_lock(dev);
	uart_reset(&s->uart);
	uart_update_irq(&s->uart);
	device_unlock(dev);
}

static void serial_quiesce(struct device *dev)
{
	transmit(container_of(dev, struct isa_serial, dev));
	device_quiesced(dev);
}

static void serial_save(struct device *dev, struct state_writer *w)
{
	uart_save(&container_of(dev, struct isa_serial, dev)->uart, w);
}

static int serial_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	struct isa_serial *s = container_of(dev, struct isa_serial, dev);
	int rc;

	(void)version;
	device_lock(dev);
	rc = uart_load(&s->uart, r);
	uart_update_irq(&s->uart);
	device_unlock(dev);
	return rc;
}

unsigned isa_serial_com(const struct device *dev)
{
	return (unsigned)container_of(dev, struct isa_serial, dev)->index;
}

const struct device_class isa_serial_class = {
	.name = "isa-serial",
	.help = "serial port COM1 to COM4 (16550A)",
	.kind = DEVICE_PLATFORM,
	.options = options,
	.actions = actions,
	.size = sizeof(struct isa_serial),
	.state_version = 1,
	.check = serial_check,
	.realize = serial_realize,
	.reset = serial_reset,
	.quiesce = serial_quiesce,
	.save = serial_save,
	.load = serial_load,
	.unrealize = serial_unrealize,
};
