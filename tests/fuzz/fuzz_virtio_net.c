/* SPDX-License-Identifier: MIT */
/*
 * virtio-net behind PCI: the fuzzer plays a guest that writes registers and memory as it likes, and
 * the network at the other end, which delivers frames and stalls. The device lives on from input to
 * input and is reset in between, as at a reboot.
 */
#include <stdlib.h>

#include "tests/unit/support/fake_net_define.h"
#include "virtio/virtio_classes.h"
#include "virtio/virtio_net.h"

#include "tests/fuzz/pci_fuzz.h"

#define QUEUE_SIZE 16u
#define PAIRS      2u
#define QUEUES     (2 * PAIRS + 1)

/* Where the macro operations put things; the fuzzer may write there as well. */
#define RING(q)  (UINT64_C(0x1000) * ((q) + 1))
#define AVAIL(q) (RING(q) + 16 * QUEUE_SIZE)
#define USED(q)  (RING(q) + 0x800)
#define BUFFERS  UINT64_C(0x10000)

static void create(void)
{
	const unsigned all = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN | NET_USO;

	fake_net_setup =
		(struct fake_net_setup){.pairs = PAIRS, .tx_offloads = all, .rx_offloads = all};
	create_device(&virtio_net_class, "queues=2,queue-size=16,mtu=9000,mac=52:54:00:11:22:33");
}

static void settle(void)
{
	/* Bounded: an echo that is refused is dropped with the next one. */
	for (unsigned turns = 0; turns < 100 && loop_turn(env.loop, false); turns++)
		;
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
	virtio_resume(virtio_device(dev));
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
		create();
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
