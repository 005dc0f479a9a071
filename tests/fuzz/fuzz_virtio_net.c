/* SPDX-License-Identifier: MIT */
/*
 * virtio-net behind PCI: the fuzzer plays a guest that writes registers and memory as it likes, and
 * the network at the other end, which delivers frames and stalls. The device lives on from input to
 * input and is reset in between, as at a reboot.
 */
#include <assert.h>
#include <stdlib.h>

#include "tests/fuzz/input.h"
#include "tests/unit/support/fake_net_define.h"
#include "mmio/bus.h"
#include "pci/pci.h"
#include "virtio/virtio_classes.h"
#include "virtio/virtio_net.h"

#define RAM        UINT64_C(0x40000)
#define MAX_OPS    256
#define QUEUE_SIZE 16u
#define PAIRS      2u
#define QUEUES     (2 * PAIRS + 1)

/* Where the macro operations put things; the fuzzer may write there as well. */
#define RING(q)  (UINT64_C(0x1000) * ((q) + 1))
#define AVAIL(q) (RING(q) + 16 * QUEUE_SIZE)
#define USED(q)  (RING(q) + 0x800)
#define BUFFERS  UINT64_C(0x10000)

#define NOTIFY        0x3000u
#define NOTIFY_STRIDE 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct clock_fake fake_clock;
static struct device_env env;
static struct device *dev;
static struct virtio_pci *vp;
static uint64_t bar;

static struct irq_line *no_line(void *opaque, unsigned slot, unsigned pin)
{
	(void)opaque, (void)slot, (void)pin;
	return NULL;
}

static unsigned no_gsi(void *opaque, unsigned slot, unsigned pin)
{
	(void)opaque, (void)slot, (void)pin;
	return 0;
}

static void must(int rc)
{
	assert(!rc);
	(void)rc;
}

static void create_env(void)
{
	struct pci_bus_config config = {
		.mem32 = {UINT64_C(0xc0000000), UINT64_C(0x10000000)},
		.mem64 = {UINT64_C(0x100000000), UINT64_C(0x10000000)},
		.ecam = {UINT64_C(0xe0000000), UINT64_C(0x100000)},
		.intx = no_line,
		.intx_gsi = no_gsi,
	};

	clock_fake_init(&fake_clock);
	env.clock = &fake_clock.clock;
	must(guest_memory_create(&env.memory, NULL));
	must(guest_memory_add(env.memory, gpa(0), RAM, 0, NULL));
	must(loop_create(&env.loop, "fuzz", env.clock, NULL));
	must(bus_create(&env.pio, "pio", 0x10000, NULL));
	must(bus_create(&env.mmio, "mmio", UINT64_C(1) << 46, NULL));
	config.pio = env.pio;
	config.mmio = env.mmio;
	must(pci_bus_create(&env.pci, &config, NULL));
}

static void create_device(void)
{
	const unsigned all = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN | NET_USO;

	fake_net_setup =
		(struct fake_net_setup){.pairs = PAIRS, .tx_offloads = all, .rx_offloads = all};
	must(device_create(&dev, &virtio_net_class.device, NULL,
			   "queues=2,queue-size=16,mtu=9000,mac=52:54:00:11:22:33", &env, NULL));
	must(virtio_pci_create(&vp, virtio_device(dev), -1, NULL));
}

static uint32_t config_read(unsigned offset)
{
	return pci_config_read(env.pci, virtio_pci_devfn(vp), offset, 4);
}

/* As a reboot does it. */
static void reset(void)
{
	device_quiesce_wait(dev);
	pci_bus_reset(env.pci);
	device_reset(dev);
	pci_config_write(env.pci, virtio_pci_devfn(vp), PCI_COMMAND, 2,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	bar = (config_read(PCI_BASE_ADDRESS_0) & ~0xfu) | (uint64_t)config_read(PCI_BASE_ADDRESS_1)
								  << 32;
}

static void settle(void)
{
	/* Bounded: an echo that is refused is dropped with the next one. */
	for (unsigned turns = 0; turns < 100 && loop_turn(env.loop, false); turns++)
		;
}

static void reg(unsigned offset, unsigned size, uint64_t value)
{
	bus_write(env.mmio, bar + offset, value, size);
}

static void poke(uint64_t at, const void *data, size_t len)
{
	if (guest_write(env.memory, gpa(at), data, len))
		return;
}

/* What a good driver does, so that the fuzzer need not find it out. */
static void start(struct input *in)
{
	const uint64_t features = input_number(in, 8) | UINT64_C(1) << VIRTIO_F_VERSION_1;

	reg(20, 1, 0);
	settle();
	reg(20, 1, 3);
	reg(8, 4, 0);
	reg(12, 4, (uint32_t)(features & virtio_offered(virtio_device(dev))));
	reg(8, 4, 1);
	reg(12, 4, (features & virtio_offered(virtio_device(dev))) >> 32);
	reg(20, 1, 11);
	for (unsigned q = 0; q < QUEUES; q++) {
		reg(22, 2, q);
		reg(32, 8, RING(q));
		reg(40, 8, AVAIL(q));
		reg(48, 8, USED(q));
		reg(28, 2, 1);
	}
	reg(20, 1, 15);
	settle();
}

/* Publish a head in a queue's available ring, and ring. */
static void offer(unsigned q, uint16_t head)
{
	uint16_t idx = 0;

	if (guest_read(env.memory, gpa(AVAIL(q) + 2), &idx, sizeof(idx)))
		return;
	poke(AVAIL(q) + 4 + 2u * (idx % QUEUE_SIZE), &head, sizeof(head));
	idx++;
	poke(AVAIL(q) + 2, &idx, sizeof(idx));
	reg(NOTIFY + NOTIFY_STRIDE * q, 2, q);
}

static void receive_buffer(struct input *in)
{
	const unsigned q = virtio_net_rx_queue(input_u8(in) % PAIRS);
	const uint16_t head = input_u8(in) % QUEUE_SIZE;
	const struct vring_desc d = {BUFFERS + 0x1000u * head, input_u16(in) % 0x3000,
				     VRING_DESC_F_WRITE, 0};

	poke(RING(q) + 16u * head, &d, sizeof(d));
	offer(q, head);
}

/* A header from the input, then a frame of whatever lies there; perhaps in two descriptors. */
static void packet(struct input *in)
{
	const unsigned q = virtio_net_tx_queue(input_u8(in) % PAIRS);
	const uint16_t head = input_u8(in) % QUEUE_SIZE, second = (head + 1) % QUEUE_SIZE;
	const uint64_t at = BUFFERS + 0x1000u * head;
	struct virtio_net_hdr_v1 h;
	struct vring_desc d[2] = {{at, sizeof(h), VRING_DESC_F_NEXT, second},
				  {at + sizeof(h), 0, 0, 0}};

	input_bytes(in, &h, sizeof(h));
	d[1].len = (uint32_t)input_number(in, 2) * (1 + input_u8(in) % 3);
	poke(at, &h, sizeof(h));
	poke(RING(q) + 16u * head, &d[0], sizeof(d[0]));
	poke(RING(q) + 16u * second, &d[1], sizeof(d[1]));
	offer(q, head);
}

static void command(struct input *in)
{
	const unsigned q = virtio_net_ctrl_queue(virtio_net(virtio_device(dev)));
	const uint16_t head = input_u8(in) % QUEUE_SIZE, second = (head + 1) % QUEUE_SIZE;
	const uint64_t at = BUFFERS + 0x1000u * head;
	uint8_t data[64], len = input_u8(in) % sizeof(data);
	const struct vring_desc d[2] = {{at, MAX(len, 1u), VRING_DESC_F_NEXT, second},
					{at + sizeof(data), 1, VRING_DESC_F_WRITE, 0}};

	input_bytes(in, data, sizeof(data));
	poke(at, data, sizeof(data));
	poke(RING(q) + 16u * head, &d[0], sizeof(d[0]));
	poke(RING(q) + 16u * second, &d[1], sizeof(d[1]));
	offer(q, head);
}

/* The network's side: a frame with any header at all. */
static void deliver(struct input *in)
{
	static uint8_t frame[0x8000];
	const unsigned pair = input_u8(in) % PAIRS;
	struct virtio_net_hdr_v1 h;
	size_t len = input_u16(in) % sizeof(frame);

	input_bytes(in, &h, input_u8(in) & 1 ? sizeof(h) : 0);
	if (len < sizeof(h))
		len = sizeof(h);
	input_bytes(in, frame, 18);
	fake_net_deliver(pair, &h, frame, len);
}

static void network(struct input *in)
{
	uint8_t what = input_u8(in);

	switch (what % 5) {
	case 0:
		fake_net->busy = true;
		break;
	case 1:
		fake_net_writable(what / 5 % PAIRS);
		break;
	case 2:
		fake_net_link(what / 5 & 1);
		break;
	case 3:
		fake_net->echo = what / 5 % 3;
		break;
	default:
		fake_net->offloads_error = fake_net->pairs_error = what / 5 & 1 ? -1 : 0;
		break;
	}
}

static void any_register(struct input *in)
{
	uint8_t how = input_u8(in);
	uint64_t value, at = input_u16(in) & 0x3fff;
	unsigned size = 1u << (how & 3);

	if (how & 4)
		bus_read(env.mmio, bar + at, size, &value);
	else
		bus_write(env.mmio, bar + at, input_number(in, size), size);
}

static void any_memory(struct input *in)
{
	uint64_t at = input_number(in, 3) & (RAM - 1);
	uint8_t bytes[64], len = input_u8(in) % sizeof(bytes);

	input_bytes(in, bytes, len);
	poke(at, bytes, len);
}

/* Pause, save, and load into the same device. */
static void migrate(void)
{
	struct state_writer *w = state_writer_create();
	struct state_reader *r = NULL;
	void *data;
	size_t len;

	device_quiesce_wait(dev);
	device_save(dev, w);
	must(state_writer_finish(w, &data, &len));
	must(state_reader_create(&r, data, len));
	must(device_load(dev, r, NULL));
	state_reader_destroy(r);
	free(data);
}

static void step(struct input *in)
{
	static void (*const macros[])(struct input * in) = {
		start,  any_register, any_memory, receive_buffer, packet,
		packet, command,      deliver,    deliver,        network,
	};
	unsigned what = input_u8(in) % (ARRAY_SIZE(macros) + 3);

	if (what < ARRAY_SIZE(macros))
		macros[what](in);
	else if (what == ARRAY_SIZE(macros))
		reset();
	else if (what == ARRAY_SIZE(macros) + 1)
		migrate();
	else
		settle();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!dev) {
		create_env();
		create_device();
	}
	reset();
	fake_net->busy = false;
	fake_net->echo = FAKE_NET_SILENT;
	fake_net->pending.len = 0;
	fake_net->pairs_error = fake_net->offloads_error = 0;
	fake_net_link(true);
	must(guest_fill(env.memory, gpa(0), 0, RAM));
	for (unsigned i = 0; i < MAX_OPS && in.left; i++)
		step(&in);
	settle();
	return 0;
}
