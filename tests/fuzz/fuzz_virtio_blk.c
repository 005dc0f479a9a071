/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk behind PCI: the fuzzer plays a guest that writes registers, configuration space and
 * memory as it likes, over a small image in memory, with split and with packed rings. The device
 * lives on from input to input and is reset in between, as at a reboot.
 */
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtio/virtio_blk.h"
#include "virtio/virtio_classes.h"

#include "tests/fuzz/pci_fuzz.h"

#define IMAGE      UINT64_C(0x20000)
#define QUEUE_SIZE 16u

/* Where the macro operations put things; the fuzzer may write there as well. */
#define RING    UINT64_C(0x1000)
#define AVAIL   (RING + 16 * QUEUE_SIZE)
#define USED    (RING + 0x800)
#define HEADERS UINT64_C(0x2000)

static int image;

/* The driver's place in a packed ring. */
static bool packed, wrap;
static uint16_t next_desc;

static void create(void)
{
	char options[112];

	image = memfd_create("fuzz", MFD_CLOEXEC);
	assert(image >= 0);
	must(ftruncate(image, (off_t)IMAGE));
	snprintf(options, sizeof(options),
		 "packed=on,path=/proc/self/fd/%d,engine=threads,queues=2,queue-size=%u", image,
		 QUEUE_SIZE);
	create_device(&virtio_blk_class, options);
}

static void settle(void)
{
	struct virtio_blk *blk = virtio_blk(virtio_device(dev));

	/* Bounded by what is in flight: nobody rings while we turn. */
	do {
		while (loop_turn(env.loop, false))
			;
	} while (blk->in_flight && loop_turn(env.loop, true));
}

/* What a good driver does, so that the fuzzer need not find it out. */
static void start(struct input *in)
{
	uint64_t features = input_number(in, 4) | UINT64_C(1) << VIRTIO_F_VERSION_1;

	/* The last bits of the low half mean nothing: here they stand for two of the high half. */
	packed = features >> 31 & 1;
	features |= (uint64_t)packed << VIRTIO_F_RING_PACKED | (features >> 30 & 1)
								       << VIRTIO_F_RING_RESET;
	features &= ~(UINT64_C(3) << 30);
	wrap = true;
	next_desc = 0;
	reg(20, 1, 0);
	settle();
	reg(20, 1, 3);
	reg(8, 4, 0);
	reg(12, 4, (uint32_t)features);
	reg(8, 4, 1);
	reg(12, 4, features >> 32);
	reg(20, 1, 11);
	reg(22, 2, 0);
	reg(32, 8, RING);
	reg(40, 8, AVAIL);
	reg(48, 8, USED);
	reg(28, 2, 1);
	reg(20, 1, 15);
}

/* The same chain in the next descriptors of a packed ring. */
static void packed_request(uint16_t id, const struct vring_desc *d, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct vring_packed_desc p = {
			.addr = d[i].addr,
			.len = d[i].len,
			.id = id,
			.flags = (uint16_t)(d[i].flags | (wrap ? 1u << VRING_PACKED_DESC_F_AVAIL
							       : 1u << VRING_PACKED_DESC_F_USED)),
		};

		poke(RING + 16u * next_desc, &p, sizeof(p));
		if (++next_desc == QUEUE_SIZE) {
			next_desc = 0;
			wrap = !wrap;
		}
	}
	bus_write(env.mmio, bar + NOTIFY, 0, 2);
}

/* A chain of header, data and status in the descriptors from `index` on. */
static void request(struct input *in)
{
	const uint16_t index = input_u8(in) % QUEUE_SIZE, second = (index + 1) % QUEUE_SIZE,
		       third = (index + 2) % QUEUE_SIZE;
	const uint64_t at = HEADERS + 32u * index;
	struct virtio_blk_outhdr header = {0};
	struct vring_desc d[3] = {{at, sizeof(header), VRING_DESC_F_NEXT, second},
				  {0, 0, VRING_DESC_F_NEXT, third},
				  {at + sizeof(header), 1, VRING_DESC_F_WRITE, 0}};
	uint16_t idx = 0;

	header.type = input_u8(in);
	header.sector = input_u16(in);
	d[1].addr = input_number(in, 3);
	d[1].len = input_u16(in);
	d[1].flags |= input_u8(in) & VRING_DESC_F_WRITE;
	poke(at, &header, sizeof(header));
	if (packed) {
		packed_request(index, d, ARRAY_SIZE(d));
		return;
	}
	poke(RING + 16u * index, &d[0], sizeof(d[0]));
	poke(RING + 16u * second, &d[1], sizeof(d[1]));
	poke(RING + 16u * third, &d[2], sizeof(d[2]));
	if (guest_read(env.memory, gpa(AVAIL + 2), &idx, sizeof(idx)))
		return;
	poke(AVAIL + 4 + 2u * (idx % QUEUE_SIZE), &index, sizeof(index));
	idx++;
	poke(AVAIL + 2, &idx, sizeof(idx));
	bus_write(env.mmio, bar + NOTIFY, 0, 2);
}

static void step(struct input *in)
{
	switch (input_u8(in) % 8) {
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
		any_config(in);
		break;
	case 4:
		settle();
		break;
	case 5:
		reset();
		break;
	default:
		request(in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!dev) {
		create_env();
		create();
	}
	reset();
	must(guest_fill(env.memory, gpa(0), 0, RAM));
	must(ftruncate(image, 0));
	must(ftruncate(image, (off_t)IMAGE));
	for (unsigned i = 0; i < MAX_OPS && in.left; i++)
		step(&in);
	settle();
	return 0;
}
