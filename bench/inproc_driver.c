/* SPDX-License-Identifier: MIT */
#include "bench/inproc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM       (UINT64_C(64) * MIB)
#define RING_SIZE 128

static struct device_env env;
static struct device *devices[4];
static unsigned device_count;
static uint64_t heap;

uint64_t bench_doorbells;

void bench_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("bench: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

double bench_seconds(void)
{
	return (double)clock_now(clock_system()) / (double)NS_PER_SEC;
}

static struct device *find(const struct device_env *e UNUSED, const char *id UNUSED,
			   const struct device_class *cls)
{
	for (unsigned i = 0; i < device_count; i++)
		if (devices[i]->cls == cls)
			return devices[i];
	return NULL;
}

const struct device_env *bench_env(void)
{
	struct vmm_error err = {0};

	if (env.memory)
		return &env;
	env.clock = clock_system();
	env.find = find;
	if (guest_memory_create(&env.memory, &err) ||
	    guest_memory_add(env.memory, gpa(0), RAM, 0, &err) ||
	    loop_create(&env.loop, "bench", env.clock, &err))
		bench_fail("%s", err.message);
	return &env;
}

struct device *bench_device(const struct device_class *cls, const char *id, const char *options)
{
	struct vmm_error err = {0};
	struct device *dev;

	if (device_count == ARRAY_SIZE(devices) ||
	    device_create(&dev, cls, id, options, bench_env(), &err))
		bench_fail("%s", err.message);
	devices[device_count++] = dev;
	return dev;
}

uint64_t bench_alloc(size_t bytes, void **host)
{
	const uint64_t at = align_up(heap, 4096);
	uint64_t there;

	heap = at + bytes;
	*host = guest_resolve(bench_env()->memory, gpa(at), bytes, &there);
	if (!*host || there < bytes)
		bench_fail("guest memory is used up");
	memset(*host, 0, bytes);
	return at;
}

static void nothing(struct virtio_transport *t UNUSED)
{
}

static void nothing_of_queue(struct virtio_transport *t UNUSED, unsigned queue UNUSED)
{
}

static const struct virtio_transport_ops transport_ops = {nothing_of_queue, nothing, nothing,
							  nothing_of_queue};
static struct virtio_transport transport = {&transport_ops};

static void start_ring(struct bench_ring *r, struct virtio_device *vd, unsigned queue,
		       unsigned per_chain)
{
	const uint16_t most = virtio_queue_size(vd, queue);
	const uint16_t size = most < RING_SIZE ? most : RING_SIZE;
	void *desc, *avail, *used;

	*r = (struct bench_ring){.vd = vd, .queue = queue, .per_chain = per_chain, .size = size};
	virtio_queue_set_size(vd, queue, size);
	virtio_queue_set_address(vd, queue, VIRTIO_QUEUE_DESC, UINT64_MAX,
				 bench_alloc(4096, &desc));
	virtio_queue_set_address(vd, queue, VIRTIO_QUEUE_DRIVER, UINT64_MAX,
				 bench_alloc(4096, &avail));
	virtio_queue_set_address(vd, queue, VIRTIO_QUEUE_DEVICE, UINT64_MAX,
				 bench_alloc(4096, &used));
	r->desc = desc;
	r->avail = avail;
	r->used = used;
	virtio_queue_enable(vd, queue);
	bench_ring_depth(r, 32);
}

void bench_start(struct virtio_device *vd, struct bench_ring *rings, unsigned count,
		 unsigned per_chain)
{
	const uint64_t features = virtio_offered(vd);

	vd->transport = &transport;
	virtio_write_status(vd, 3);
	virtio_write_driver_features(vd, 0, (uint32_t)features);
	virtio_write_driver_features(vd, 1, (uint32_t)(features >> 32));
	virtio_write_status(vd, 11);
	for (unsigned i = 0; i < count; i++)
		start_ring(&rings[i], vd, i, per_chain);
	virtio_write_status(vd, 15);
	while (loop_turn(env.loop, false))
		;
	if (virtio_read_status(vd) != 15)
		bench_fail("%s does not start", vd->dev.id);
}

void bench_ring_depth(struct bench_ring *r, unsigned depth)
{
	depth = MIN(depth, r->size / r->per_chain);
	r->free = (uint32_t)((UINT64_C(1) << depth) - 1);
}

int bench_ring_next(const struct bench_ring *r)
{
	return r->free ? __builtin_ctz(r->free) : -1;
}

void bench_ring_add(struct bench_ring *r, unsigned chain, const struct bench_buffer *b, unsigned n)
{
	const uint16_t head = (uint16_t)(chain * r->per_chain);

	for (unsigned i = 0; i < n; i++) {
		const bool last = i + 1 == n;

		r->desc[head + i] = (struct vring_desc){
			.addr = b[i].addr,
			.len = b[i].len,
			.flags = (uint16_t)((b[i].writable ? VRING_DESC_F_WRITE : 0) |
					    (last ? 0 : VRING_DESC_F_NEXT)),
			.next = (uint16_t)(last ? 0 : head + i + 1),
		};
	}
	r->free &= ~(UINT32_C(1) << chain);
	r->avail->ring[r->avail_idx & (r->size - 1)] = head;
	r->avail_idx++;
}

void bench_ring_kick(struct bench_ring *r)
{
	const uint16_t *event = (const uint16_t *)(const void *)&r->used->ring[r->size];
	const uint16_t old = r->rung_idx;

	if (old == r->avail_idx)
		return;
	__atomic_store_n(&r->avail->idx, r->avail_idx, __ATOMIC_SEQ_CST);
	r->rung_idx = r->avail_idx;
	if (!vring_need_event(__atomic_load_n(event, __ATOMIC_SEQ_CST), r->avail_idx, old))
		return;
	bench_doorbells++;
	virtio_queue_ring(r->vd, r->queue);
}

int bench_ring_used(struct bench_ring *r, uint32_t *len)
{
	const struct vring_used_elem *e = &r->used->ring[r->used_idx & (r->size - 1)];
	unsigned chain;

	if (__atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) == r->used_idx)
		return -1;
	r->used_idx++;
	*len = e->len;
	chain = e->id / r->per_chain;
	r->free |= UINT32_C(1) << chain;
	return (int)chain;
}
