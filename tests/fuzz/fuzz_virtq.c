/* SPDX-License-Identifier: MIT */
/*
 * The chain walkers over rings that the fuzzer writes, split and packed. What comes out of it must
 * lie in RAM, be as long as it says, and never be more than the queue holds.
 */
#include <assert.h>
#include <linux/virtio_ring.h>

#include "tests/fuzz/input.h"
#include "virtio/virtq.h"

#define REGION        UINT64_C(0x8000)
#define RAM           (2 * REGION)
#define SIZE_MAX_LOG2 6
#define MAX_OPS       512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guest_memory *memory;

static void *host(uint64_t addr)
{
	uint64_t n;

	return guest_resolve(memory, gpa(addr), 1, &n);
}

static void create_memory(void)
{
	bool ok = !guest_memory_create(&memory, NULL) &&
		  !guest_memory_add(memory, gpa(0), REGION, 0, NULL) &&
		  !guest_memory_add(memory, gpa(REGION), REGION, 0, NULL);

	assert(ok);
	(void)ok;
}

static bool in_ram(const struct iovec *iov)
{
	for (unsigned i = 0; i < 2; i++) {
		const char *start = host(i * REGION), *base = iov->iov_base;

		if (base >= start && iov->iov_len <= REGION &&
		    base + iov->iov_len <= start + REGION)
			return true;
	}
	return false;
}

static void check_chain(const struct virtq_chain *c)
{
	uint64_t out = 0, in = 0;

	assert(c->busy);
	for (unsigned i = 0; i < c->out_count + c->in_count; i++) {
		assert(in_ram(&c->iov[i]) && c->iov[i].iov_len > 0);
		*(i < c->out_count ? &out : &in) += c->iov[i].iov_len;
	}
	assert(out == c->out_len && in == c->in_len && out + in <= UINT32_MAX);
}

struct state {
	struct virtq *vq;
	struct virtq_layout layout;
	struct virtq_chain *flight[1u << SIZE_MAX_LOG2];
	unsigned count;
	bool packed;
	uint16_t at; /* where the driver of a packed ring is */
	bool wrap;
};

static void enable(struct state *s, struct input *in)
{
	unsigned size = input_u8(in), features;

	virtq_drop_all(s->vq);
	s->count = 0;
	/* Mostly powers of two; packed rings take any size. */
	s->layout.size = (uint16_t)(size & 0x80 ? size & 0x7f : 1u << (size % (SIZE_MAX_LOG2 + 2)));
	s->at = 0;
	s->wrap = true;
	s->layout.desc = gpa(input_u16(in));
	s->layout.driver = gpa(input_u16(in));
	s->layout.device = gpa(input_u16(in));
	features = input_u8(in);
	s->packed = features & VIRTQ_PACKED;
	if (virtq_enable(s->vq, &s->layout, features))
		assert(virtq_error(s->vq)[0]);
}

static void pop(struct state *s)
{
	struct virtq_chain *c;
	char buf[64];
	int rc = virtq_pop(s->vq, &c);

	if (rc <= 0)
		return;
	check_chain(c);
	for (unsigned i = 0; i < s->count; i++)
		assert(s->flight[i]->slot != c->slot);
	assert(s->count < s->layout.size);
	s->flight[s->count++] = c;
	assert(virtq_in_flight(s->vq) == s->count);
	(void)!virtq_read_out(c, 1, buf, sizeof(buf));
	(void)!virtq_write_in(c, 2, "fuzz", 4);
}

static void push(struct state *s, struct input *in)
{
	unsigned which = input_u8(in), written = input_u16(in);
	struct virtq_chain *c;

	if (!s->count)
		return;
	which %= s->count;
	c = s->flight[which];
	s->flight[which] = s->flight[--s->count];
	written = (unsigned)MIN((uint64_t)written, c->in_len);
	virtq_skip_out(c, written % (c->out_len + 1));
	virtq_trim_in(c, written % (c->in_len + 1));
	virtq_push(s->vq, c, written);
}

static void write_memory(struct input *in)
{
	uint16_t at = input_u16(in);
	uint8_t bytes[64], len = input_u8(in) % sizeof(bytes);

	input_bytes(in, bytes, len);
	if (guest_write(memory, gpa(at), bytes, len))
		return;
}

/* A descriptor that may make sense: whole fields instead of bytes. */
static void write_descriptor(struct state *s, struct input *in)
{
	struct vring_desc d = {.addr = input_u16(in)};
	uint16_t index, idx;

	if (!s->layout.size)
		return;
	d.len = input_u16(in);
	d.flags = input_u8(in) & 7;
	d.next = input_u8(in);
	index = input_u8(in);
	if (guest_write(memory, gpa_add(s->layout.desc, 16u * index), &d, sizeof(d)))
		return;
	/* Offer it. */
	if (guest_read(memory, gpa_add(s->layout.driver, 2), &idx, 2) ||
	    guest_write(memory, gpa_add(s->layout.driver, 4u + 2u * (idx % s->layout.size)), &index,
			2))
		return;
	idx++;
	if (guest_write(memory, gpa_add(s->layout.driver, 2), &idx, 2))
		return;
}

/* The same for a packed ring: the next descriptor, available. */
static void write_packed(struct state *s, struct input *in)
{
	struct vring_packed_desc d = {.addr = input_u16(in)};

	d.len = input_u16(in);
	d.id = input_u8(in);
	d.flags = (uint16_t)((input_u8(in) & 7) | (s->wrap ? 1u << VRING_PACKED_DESC_F_AVAIL
							   : 1u << VRING_PACKED_DESC_F_USED));
	if (!s->layout.size ||
	    guest_write(memory, gpa_add(s->layout.desc, 16u * s->at), &d, sizeof(d)))
		return;
	if (++s->at >= s->layout.size) {
		s->at = 0;
		s->wrap = !s->wrap;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state s = {.layout.size = 1};

	if (!memory)
		create_memory();
	if (guest_fill(memory, gpa(0), 0, RAM) || virtq_create(&s.vq, memory, 1u << SIZE_MAX_LOG2))
		return 0;
	enable(&s, &in);
	for (unsigned i = 0; i < MAX_OPS && in.left; i++) {
		switch (input_u8(&in) % 8) {
		case 0:
			enable(&s, &in);
			break;
		case 1:
			write_memory(&in);
			break;
		case 2:
			push(&s, &in);
			break;
		case 3:
			(void)virtq_publish(s.vq);
			break;
		case 4:
			virtq_notify_disable(s.vq);
			if (virtq_notify_enable(s.vq))
				pop(&s);
			break;
		case 5:
			pop(&s);
			break;
		default:
			if (s.packed)
				write_packed(&s, &in);
			else
				write_descriptor(&s, &in);
			break;
		}
	}
	virtq_destroy(s.vq);
	return 0;
}
