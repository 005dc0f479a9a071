/* SPDX-License-Identifier: MIT */
/*
 * A guest that plays with one virtio device through the functions that transports call: status,
 * features, configuration space, doorbells, and rings that mostly make sense. The device lives on
 * from input to input and is reset in between, as at a reboot. For the transport itself see
 * fuzz_virtio_blk.c.
 */
#ifndef FUZZ_VIRTIO_FUZZ_H
#define FUZZ_VIRTIO_FUZZ_H

#include <assert.h>
#include <stdlib.h>

#include "tests/fuzz/input.h"
#include "virtio/virtio.h"

#define FUZZ_RAM    (8 * MIB)
#define FUZZ_QUEUES 5u
#define FUZZ_SIZE   8u
#define FUZZ_OPS    128

struct virtio_fuzz {
	struct clock_fake clock;
	struct device_env env;
	struct device *dev;
};

static inline void fuzz_must(int rc)
{
	assert(!rc);
	(void)rc;
}

static inline void fuzz_no_event(const struct device_env *env UNUSED,
				 enum machine_event event UNUSED, uint32_t value UNUSED)
{
}

static inline uint64_t fuzz_ring_at(unsigned queue)
{
	return 0x1000u * (queue + 1);
}

static inline void fuzz_create(struct virtio_fuzz *f, const struct virtio_class *cls,
			       const char *options)
{
	clock_fake_init(&f->clock);
	f->env.clock = &f->clock.clock;
	f->env.event = fuzz_no_event;
	fuzz_must(guest_memory_create(&f->env.memory, NULL));
	fuzz_must(guest_memory_add(f->env.memory, gpa(0), FUZZ_RAM, 0, NULL));
	fuzz_must(loop_create(&f->env.loop, "fuzz", f->env.clock, NULL));
	fuzz_must(device_create(&f->dev, &cls->device, NULL, options, &f->env, NULL));
}

static inline void fuzz_settle(struct virtio_fuzz *f)
{
	/* A device that is never at rest hangs here; the fuzzer reports that as a timeout. */
	while (loop_turn(f->env.loop, false))
		;
}

static inline void fuzz_poke(struct virtio_fuzz *f, uint64_t at, const void *data, size_t len)
{
	if (guest_write(f->env.memory, gpa(at), data, len))
		return;
}

/* What a good driver does: features of the fuzzer's choice, all queues at known places. */
static inline void fuzz_start(struct virtio_fuzz *f, struct input *in)
{
	struct virtio_device *vd = virtio_device(f->dev);
	uint32_t features = (uint32_t)input_number(in, 4);

	virtio_write_status(vd, 0);
	fuzz_settle(f);
	virtio_write_status(vd, 3);
	virtio_write_driver_features(vd, 0, features & (uint32_t)virtio_offered(vd));
	virtio_write_driver_features(vd, 1, 1);
	virtio_write_status(vd, 11);
	for (unsigned q = 0; q < FUZZ_QUEUES; q++) {
		uint64_t at = fuzz_ring_at(q);

		fuzz_must(guest_fill(f->env.memory, gpa(at), 0, 0x1000));
		virtio_queue_set_size(vd, q, FUZZ_SIZE);
		virtio_queue_set_address(vd, q, VIRTIO_QUEUE_DESC, UINT64_MAX, at);
		virtio_queue_set_address(vd, q, VIRTIO_QUEUE_DRIVER, UINT64_MAX, at + 0x400);
		virtio_queue_set_address(vd, q, VIRTIO_QUEUE_DEVICE, UINT64_MAX, at + 0x800);
		if (input_u8(in) % 8)
			virtio_queue_enable(vd, q);
	}
	virtio_write_status(vd, 15);
	fuzz_settle(f);
}

/* A chain of one or two descriptors, with data for the device from the input. */
static inline void fuzz_chain(struct virtio_fuzz *f, struct input *in)
{
	const unsigned queue = input_u8(in) % FUZZ_QUEUES;
	const uint64_t ring = fuzz_ring_at(queue);
	const uint16_t index = input_u8(in) % FUZZ_SIZE, next = (index + 1) % FUZZ_SIZE;
	const uint8_t how = input_u8(in);
	struct vring_desc d[2] = {{0}};
	uint8_t data[64];
	uint16_t idx = 0;

	for (unsigned i = 0; i < 2; i++) {
		d[i].addr = input_number(in, 3);
		d[i].len = (uint32_t)input_number(in, how & 0x40 ? 3 : 1);
		d[i].flags = how >> (2 * i) & VRING_DESC_F_WRITE;
		if (!d[i].flags)
			fuzz_poke(f, d[i].addr, data, input_bytes(in, data, d[i].len % 64));
	}
	if (how & 0x80) {
		d[0].flags |= VRING_DESC_F_NEXT;
		d[0].next = next;
	}
	fuzz_poke(f, ring + 16u * index, &d[0], sizeof(d[0]));
	fuzz_poke(f, ring + 16u * next, &d[1], sizeof(d[1]));
	if (guest_read(f->env.memory, gpa(ring + 0x402), &idx, sizeof(idx)))
		return;
	fuzz_poke(f, ring + 0x404 + 2u * (idx % FUZZ_SIZE), &index, sizeof(index));
	idx++;
	fuzz_poke(f, ring + 0x402, &idx, sizeof(idx));
	virtio_queue_ring(virtio_device(f->dev), queue);
}

static inline void fuzz_config(struct virtio_fuzz *f, struct input *in)
{
	unsigned offset = input_u8(in) % 64, len = 1u << input_u8(in) % 4;
	uint8_t buf[8];

	virtio_read_config(virtio_device(f->dev), offset, buf, len);
	input_bytes(in, buf, len);
	virtio_write_config(virtio_device(f->dev), offset, buf, len);
}

/* Whatever is saved can be loaded; then it goes on. */
static inline void fuzz_save_load(struct virtio_fuzz *f)
{
	struct state_writer *w = state_writer_create();
	struct state_reader *r = NULL;
	void *data;
	size_t len;

	device_quiesce_wait(f->dev);
	device_save(f->dev, w);
	fuzz_must(state_writer_finish(w, &data, &len));
	fuzz_must(state_reader_create(&r, data, len));
	fuzz_must(device_load(f->dev, r, NULL));
	virtio_resume(virtio_device(f->dev));
	state_reader_destroy(r);
	free(data);
	fuzz_settle(f);
}

static inline void fuzz_any_memory(struct virtio_fuzz *f, struct input *in)
{
	uint64_t at = input_number(in, 2) & 0x7fff;
	uint8_t bytes[32];

	fuzz_poke(f, at, bytes, input_bytes(in, bytes, input_u8(in) % sizeof(bytes)));
}

/* Play one input. `act`: an action of the device, chosen by the input; NULL: it has none. */
static inline void fuzz_play(struct virtio_fuzz *f, struct input *in,
			     void (*act)(struct virtio_fuzz *f, struct input *in))
{
	device_quiesce_wait(f->dev);
	device_reset(f->dev);
	for (unsigned i = 0; i < FUZZ_OPS && in->left; i++) {
		switch (input_u8(in) % 10) {
		case 0:
			fuzz_start(f, in);
			break;
		case 1:
			fuzz_config(f, in);
			break;
		case 2:
			fuzz_any_memory(f, in);
			break;
		case 3:
			clock_fake_advance(&f->clock, input_number(in, 4));
			fuzz_settle(f);
			break;
		case 4:
			fuzz_save_load(f);
			break;
		case 5:
			virtio_write_status(virtio_device(f->dev), input_u8(in));
			break;
		case 6:
			if (act)
				act(f, in);
			break;
		case 7:
			fuzz_settle(f);
			break;
		default:
			fuzz_chain(f, in);
			break;
		}
	}
	fuzz_settle(f);
}

#endif
