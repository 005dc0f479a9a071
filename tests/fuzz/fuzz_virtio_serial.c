/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial behind PCI: the fuzzer plays a guest that writes registers, rings, messages and
 * memory as it likes, and a host that comes and goes with ports, writes to them and reads from
 * them. The controller lives on from input to input and is reset in between, as at a reboot.
 */
#include <stdio.h>

#include "virtio/virtio_classes.h"
#include "virtio/virtio_serial.h"

#include "tests/fuzz/pci_fuzz.h"

#define MAX_PORTS  4u
#define QUEUES     (2 * (MAX_PORTS + 1))
#define QUEUE_SIZE 16u

/* Where the macro operations put things; the fuzzer may write there as well. */
#define RING(queue)   (UINT64_C(0x1000) * (1 + (queue)))
#define AVAIL(queue)  (RING(queue) + 16 * QUEUE_SIZE)
#define USED(queue)   (RING(queue) + 0x800)
#define BUFFER(queue) (RING(queue) + 0xa00)

static struct device *ports[MAX_PORTS];

static void create_controller(void)
{
	char options[32];

	snprintf(options, sizeof(options), "max-ports=%u", MAX_PORTS);
	create_device(&virtio_serial_class, options);
}

static void add_port(unsigned nr)
{
	char options[64], id[16];

	snprintf(id, sizeof(id), "port%u", nr);
	snprintf(options, sizeof(options), "nr=%u,name=%s,chardev=ring:size=64", nr, id);
	must(device_create(&ports[nr], nr ? &serial_port_class : &console_port_class, id, options,
			   &env, NULL));
}

static void remove_port(unsigned nr)
{
	if (!ports[nr])
		return;
	device_quiesce_wait(ports[nr]);
	device_destroy(ports[nr]);
	ports[nr] = NULL;
}

/* Bounded: nobody rings while we turn, but a ring that makes no sense may ring itself. */
static void settle(void)
{
	for (unsigned i = 0; i < 64 && loop_turn(env.loop, false); i++)
		;
}

/* What a good driver does, so that the fuzzer need not find it out. */
static void start(struct input *in)
{
	const uint64_t features = input_u8(in) | UINT64_C(1) << VIRTIO_F_VERSION_1 |
				  (uint64_t)(input_u8(in) & 3) << VIRTIO_RING_F_INDIRECT_DESC;

	reg(20, 1, 0);
	settle();
	reg(20, 1, 3);
	reg(8, 4, 0);
	reg(12, 4, (uint32_t)features);
	reg(8, 4, 1);
	reg(12, 4, features >> 32);
	reg(20, 1, 11);
	for (unsigned q = 0; q < QUEUES; q++) {
		reg(22, 2, q);
		reg(24, 2, QUEUE_SIZE);
		reg(32, 8, RING(q));
		reg(40, 8, AVAIL(q));
		reg(48, 8, USED(q));
		reg(28, 2, 1);
	}
	reg(20, 1, 15);
}

/* A chain of one buffer on a queue, in the direction that the queue has. */
static void offer(unsigned queue, uint64_t at, uint32_t len, unsigned flags)
{
	uint16_t idx = 0, head;
	struct vring_desc d = {at, len, (uint16_t)flags, 0};

	if (guest_read(env.memory, gpa(AVAIL(queue) + 2), &idx, sizeof(idx)))
		return;
	head = idx % QUEUE_SIZE;
	poke(RING(queue) + 16u * head, &d, sizeof(d));
	poke(AVAIL(queue) + 4 + 2u * head, &head, sizeof(head));
	idx++;
	poke(AVAIL(queue) + 2, &idx, sizeof(idx));
	bus_write(env.mmio, bar + NOTIFY + 4 * queue, 0, 2);
}

static void any_chain(struct input *in)
{
	const unsigned queue = input_u8(in) % QUEUES;
	unsigned flags = queue % 2 ? 0 : VRING_DESC_F_WRITE;
	uint32_t len = input_u8(in);

	if (len == 255)
		len = (uint32_t)input_number(in, 3);
	if (input_u8(in) == 255)
		flags ^= VRING_DESC_F_WRITE;
	offer(queue, BUFFER(queue), len, flags);
}

static void message(struct input *in)
{
	struct virtio_console_control m = {
		.id = input_u8(in) % (MAX_PORTS + 1),
		.event = input_u8(in) % 9,
		.value = input_u8(in) % 3,
	};

	poke(BUFFER(VIRTIO_SERIAL_CONTROL_TX), &m, sizeof(m));
	offer(VIRTIO_SERIAL_CONTROL_TX, BUFFER(VIRTIO_SERIAL_CONTROL_TX), sizeof(m), 0);
}

static void host(struct input *in)
{
	const unsigned nr = input_u8(in) % MAX_PORTS;
	uint8_t bytes[200];

	switch (input_u8(in) % 4) {
	case 0:
		if (!ports[nr])
			add_port(nr);
		break;
	case 1:
		remove_port(nr);
		break;
	case 2:
		if (ports[nr])
			chardev_ring_read(virtio_serial_port(ports[nr])->chardev, bytes,
					  sizeof(bytes), NULL);
		break;
	default:
		if (ports[nr])
			chardev_ring_write(virtio_serial_port(ports[nr])->chardev, bytes,
					   input_bytes(in, bytes, sizeof(bytes)));
		break;
	}
}

static void pause_and_go_on(void)
{
	device_quiesce_wait(dev);
	virtio_resume(virtio_device(dev));
}

static void step(struct input *in)
{
	switch (input_u8(in) % 10) {
	case 0:
		start(in);
		break;
	case 1:
		any_register(in);
		break;
	case 2:
		any_memory(in);
		break;
	case 3:
		settle();
		break;
	case 4:
		pause_and_go_on();
		break;
	case 5:
	case 6:
		host(in);
		break;
	case 7:
		message(in);
		break;
	default:
		any_chain(in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!dev) {
		create_env();
		create_controller();
	}
	reset();
	must(guest_fill(env.memory, gpa(0), 0, RAM));
	for (unsigned i = 0; i < MAX_OPS && in.left; i++)
		step(&in);
	settle();
	device_quiesce_wait(dev);
	for (unsigned nr = 0; nr < MAX_PORTS; nr++)
		remove_port(nr);
	return 0;
}
