/* SPDX-License-Identifier: MIT */
/*
 * The memory-mapped transport: accesses of any width anywhere in the window, a driver that mostly
 * does what it should, and saved states. The line always says what the interrupt status says.
 */
#include <linux/virtio_mmio.h>

#include "mmio/bus.h"
#include "tests/fuzz/virtio_fuzz.h"
#include "virtio/virtio_classes.h"

#define WINDOW UINT64_C(0xfeb00000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct virtio_fuzz f;
static struct virtio_mmio *vm;
static bool high;

static void line_set(struct irq_line *line UNUSED, bool level)
{
	high = level;
}

static struct irq_line line = {.set = line_set};

static void create(void)
{
	fuzz_must(bus_create(&f.env.mmio, "memory", UINT64_C(1) << 40, NULL));
	fuzz_create(&f, &virtio_balloon_class, "packed=on,notification-data=on,free-page-hint=on");
	fuzz_must(virtio_mmio_create(&vm, virtio_device(f.dev), WINDOW, &line, NULL));
}

static uint32_t get(unsigned offset)
{
	uint64_t v;

	bus_read(f.env.mmio, WINDOW + offset, 4, &v);
	return (uint32_t)v;
}

static void set(unsigned offset, uint32_t value)
{
	bus_write(f.env.mmio, WINDOW + offset, value, 4);
	/* No chain is ever in flight here, so a reset is over when the write is. */
	assert(offset != VIRTIO_MMIO_STATUS || value || !get(VIRTIO_MMIO_STATUS));
}

static void any_access(struct input *in)
{
	const uint64_t at = WINDOW + input_u16(in) % VIRTIO_MMIO_SIZE;
	const unsigned how = input_u8(in), width = 1u << how % 4;
	uint64_t v;

	if (how & 0x80)
		bus_write(f.env.mmio, at, input_number(in, width), width);
	else
		bus_read(f.env.mmio, at, width, &v);
}

static void set_up_queue(struct input *in, unsigned queue)
{
	const uint32_t at = (uint32_t)fuzz_ring_at(queue);

	set(VIRTIO_MMIO_QUEUE_SEL, queue);
	set(VIRTIO_MMIO_QUEUE_NUM, input_u8(in) % 4 ? FUZZ_SIZE : input_u16(in));
	set(VIRTIO_MMIO_QUEUE_DESC_LOW, at);
	set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, at + 0x400);
	set(VIRTIO_MMIO_QUEUE_USED_LOW, at + 0x800);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
}

static void start(struct input *in)
{
	set(VIRTIO_MMIO_STATUS, 0);
	set(VIRTIO_MMIO_STATUS, 3);
	for (unsigned word = 0; word < 2; word++) {
		set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
		set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		set(VIRTIO_MMIO_DRIVER_FEATURES,
		    get(VIRTIO_MMIO_DEVICE_FEATURES) & ((uint32_t)input_number(in, 4) | word));
	}
	set(VIRTIO_MMIO_STATUS, 11);
	for (unsigned queue = 0; queue < FUZZ_QUEUES; queue++)
		set_up_queue(in, queue);
	set(VIRTIO_MMIO_STATUS, 15);
}

static void save_load(void)
{
	struct state_writer *w = state_writer_create();
	struct state_reader *r = NULL;
	void *data;
	size_t len;

	device_quiesce_wait(f.dev);
	device_save(f.dev, w);
	virtio_mmio_save(vm, w);
	fuzz_must(state_writer_finish(w, &data, &len));
	fuzz_must(state_reader_create(&r, data, len));
	fuzz_must(device_load(f.dev, r, NULL));
	fuzz_must(virtio_mmio_load(vm, r));
	virtio_resume(virtio_device(f.dev));
	state_reader_destroy(r);
	free(data);
}

static void play(struct input *in)
{
	switch (input_u8(in) % 8) {
	case 0:
		start(in);
		break;
	case 1:
		fuzz_any_memory(&f, in);
		break;
	case 2:
		save_load();
		break;
	case 3:
		fuzz_settle(&f);
		break;
	case 4:
		fuzz_chain(&f, in);
		break;
	case 5:
		any_access(in);
		break;
	default:
		set(4u * (input_u8(in) % (VIRTIO_MMIO_CONFIG / 4)), (uint32_t)input_number(in, 4));
		break;
	}
	assert(high == !!get(VIRTIO_MMIO_INTERRUPT_STATUS));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!f.dev)
		create();
	device_quiesce_wait(f.dev);
	device_reset(f.dev);
	for (unsigned i = 0; i < FUZZ_OPS && in.left; i++)
		play(&in);
	fuzz_settle(&f);
	return 0;
}
