/* SPDX-License-Identifier: MIT */
/*
 * Virtio over memory-mapped registers (virtio 1.2, section 4.2), version 2 only.
 *
 * One window of registers and one interrupt line. All queues share a doorbell register: the
 * hypervisor tells them apart by the value that is written.
 */
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>

#include "mmio/bus.h"
#include "virtio/virtio.h"

#define MAGIC     0x74726976u /* "virt" */
#define VERSION   2u
#define VENDOR_ID 0x1af4u

/* Newer than the headers of some systems. */
#define QUEUE_RESET 0x0c0u

#define CONFIG_SIZE (VIRTIO_MMIO_SIZE - VIRTIO_MMIO_CONFIG)

struct virtio_mmio {
	struct virtio_transport transport;
	struct virtio_device *vd;
	struct bus_region region;
	struct irq_line *line;
	/* The registers; the device's lock. */
	uint32_t device_feature_select, driver_feature_select, queue_select;
	uint8_t interrupts; /* VIRTIO_MMIO_INT_*: the line is high while there are any */
	bool attached[];    /* for each queue: its doorbell is in the sink; the bus's map lock */
};

static struct virtio_mmio *from_transport(struct virtio_transport *t)
{
	return container_of(t, struct virtio_mmio, transport);
}

/* ---- interrupts (4.2.3.4); device's lock held ---- */

static void set_interrupts(struct virtio_mmio *vm, unsigned interrupts)
{
	vm->interrupts = (uint8_t)interrupts;
	irq_line_set(vm->line, interrupts != 0);
}

static void notify_queue(struct virtio_transport *t, unsigned queue UNUSED)
{
	struct virtio_mmio *vm = from_transport(t);

	set_interrupts(vm, vm->interrupts | VIRTIO_MMIO_INT_VRING);
}

static void notify_config(struct virtio_transport *t)
{
	struct virtio_mmio *vm = from_transport(t);

	set_interrupts(vm, vm->interrupts | VIRTIO_MMIO_INT_CONFIG);
}

static void transport_reset(struct virtio_transport *t)
{
	struct virtio_mmio *vm = from_transport(t);

	vm->device_feature_select = vm->driver_feature_select = vm->queue_select = 0;
	set_interrupts(vm, 0);
}

static const struct virtio_transport_ops transport_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = transport_reset,
};

/* ---- registers of the transport's own ---- */

static uint32_t own_register(struct virtio_mmio *vm, uint64_t offset)
{
	uint32_t v = 0;

	device_lock(&vm->vd->dev);
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		v = vm->device_feature_select;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		v = vm->driver_feature_select;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		v = vm->queue_select;
		break;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		v = vm->interrupts;
		break;
	default:
		break;
	}
	device_unlock(&vm->vd->dev);
	return v;
}

static void set_own_register(struct virtio_mmio *vm, uint64_t offset, uint32_t value)
{
	device_lock(&vm->vd->dev);
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		vm->device_feature_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		vm->driver_feature_select = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		vm->queue_select = value;
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		set_interrupts(vm, vm->interrupts & ~value);
		break;
	default:
		break;
	}
	device_unlock(&vm->vd->dev);
}

static unsigned selected(struct virtio_mmio *vm)
{
	return own_register(vm, VIRTIO_MMIO_QUEUE_SEL);
}

/* ---- all registers (4.2.2) ---- */

static uint32_t register_read(struct virtio_mmio *vm, uint64_t offset)
{
	struct virtio_device *vd = vm->vd;
	uint32_t select;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return virtio_class(vd)->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		select = own_register(vm, VIRTIO_MMIO_DEVICE_FEATURES_SEL);
		return select < 2 ? (uint32_t)(virtio_offered(vd) >> (32 * select)) : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return virtio_queue_max_size(vd, selected(vm));
	case VIRTIO_MMIO_QUEUE_READY:
		return virtio_queue_enabled(vd, selected(vm));
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return own_register(vm, offset);
	case VIRTIO_MMIO_STATUS:
		return virtio_read_status(vd);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* 4.2.2.1: there is no such region */
	case QUEUE_RESET:
		return virtio_queue_resetting(vd, selected(vm));
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return virtio_read_generation(vd);
	default:
		return 0;
	}
}

static void set_address(struct virtio_mmio *vm, uint64_t offset, enum virtio_queue_part part,
			uint32_t value)
{
	unsigned shift = offset % 8 ? 32 : 0;

	virtio_queue_set_address(vm->vd, selected(vm), part, UINT64_C(0xffffffff) << shift,
				 (uint64_t)value << shift);
}

static void ring(struct virtio_mmio *vm, uint32_t value)
{
	bool data;

	/* 4.2.3.3: the index alone, or in the low half of what else there is to say. */
	device_lock(&vm->vd->dev);
	data = virtio_has(vm->vd, VIRTIO_F_NOTIFICATION_DATA);
	device_unlock(&vm->vd->dev);
	virtio_queue_ring(vm->vd, data ? value & 0xffff : value);
}

static void write_queue_register(struct virtio_mmio *vm, uint64_t offset, uint32_t value)
{
	struct virtio_device *vd = vm->vd;

	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* What the field cannot hold is no size either. */
		virtio_queue_set_size(vd, selected(vm), value <= UINT16_MAX ? (uint16_t)value : 0);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1)
			virtio_queue_enable(vd, selected(vm));
		else if (value == 0)
			virtio_queue_disable(vd, selected(vm));
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_address(vm, offset, VIRTIO_QUEUE_DESC, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_address(vm, offset, VIRTIO_QUEUE_DRIVER, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_address(vm, offset, VIRTIO_QUEUE_DEVICE, value);
		break;
	case QUEUE_RESET:
		if (value == 1)
			virtio_queue_reset(vd, selected(vm));
		break;
	default:
		break;
	}
}

static void register_write(struct virtio_mmio *vm, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_write_driver_features(
			vm->vd, own_register(vm, VIRTIO_MMIO_DRIVER_FEATURES_SEL), value);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		ring(vm, value);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_write_status(vm->vd, (uint8_t)value);
		/* Linux goes on without a look at it, and takes back the rings. */
		if (!(uint8_t)value)
			virtio_reset_wait(vm->vd);
		break;
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
	case VIRTIO_MMIO_QUEUE_SEL:
	case VIRTIO_MMIO_INTERRUPT_ACK:
		set_own_register(vm, offset, value);
		break;
	default:
		write_queue_register(vm, offset, value);
	}
}

/* 4.2.2.2: registers are accessed as aligned words; configuration space as its fields are. */
static bool register_access_ok(uint64_t offset, unsigned size)
{
	return size == 4 && offset % 4 == 0;
}

static uint64_t region_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct virtio_mmio *vm = container_of(region, struct virtio_mmio, region);
	uint64_t v = 0;

	if (offset >= VIRTIO_MMIO_CONFIG)
		virtio_read_config(vm->vd, (unsigned)(offset - VIRTIO_MMIO_CONFIG), &v, size);
	else if (register_access_ok(offset, size))
		v = register_read(vm, offset);
	return v;
}

static void region_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_mmio *vm = container_of(region, struct virtio_mmio, region);

	if (offset >= VIRTIO_MMIO_CONFIG)
		virtio_write_config(vm->vd, (unsigned)(offset - VIRTIO_MMIO_CONFIG), &value, size);
	else if (register_access_ok(offset, size))
		register_write(vm, offset, (uint32_t)value);
}

/* ---- doorbells ---- */

static struct doorbell doorbell_of(const struct virtio_mmio *vm, uint64_t address, unsigned queue)
{
	return (struct doorbell){
		.addr = address + VIRTIO_MMIO_QUEUE_NOTIFY,
		.size = 4,
		.match = true,
		.value = queue,
		.fd = vm->vd->queues[queue].kick_fd,
	};
}

static void region_mapped(struct bus_region *region, uint64_t address)
{
	struct virtio_mmio *vm = container_of(region, struct virtio_mmio, region);
	struct doorbell_sink *sink = vm->vd->dev.env->doorbells;

	/* One that cannot be attached arrives as a register write; so does one with data. */
	for (unsigned i = 0; sink && i < MIN(vm->vd->queue_count, VIRTIO_MAX_DOORBELLS); i++) {
		struct doorbell doorbell = doorbell_of(vm, address, i);

		vm->attached[i] = sink->attach(sink, &doorbell) == 0;
	}
}

static void region_unmapped(struct bus_region *region, uint64_t address)
{
	struct virtio_mmio *vm = container_of(region, struct virtio_mmio, region);
	struct doorbell_sink *sink = vm->vd->dev.env->doorbells;

	for (unsigned i = 0; sink && i < vm->vd->queue_count; i++) {
		struct doorbell doorbell = doorbell_of(vm, address, i);

		if (vm->attached[i])
			sink->detach(sink, &doorbell);
		vm->attached[i] = false;
	}
}

/* ---- life ---- */

int virtio_mmio_create(struct virtio_mmio **out, struct virtio_device *vd, uint64_t address,
		       struct irq_line *line, struct vmm_error *err)
{
	struct virtio_mmio *vm;
	int rc;

	if (virtio_class(vd)->config_size > CONFIG_SIZE)
		return error_set(err, EINVAL, "%s has too many registers for transport=mmio",
				 vd->dev.id);
	vm = calloc(1, sizeof(*vm) + vd->queue_count * sizeof(vm->attached[0]));
	if (!vm)
		return error_set(err, ENOMEM, "%s: out of memory", vd->dev.id);
	vm->transport.ops = &transport_ops;
	vm->vd = vd;
	vm->line = line;
	vm->region = (struct bus_region){
		.name = vd->dev.id,
		.size = VIRTIO_MMIO_SIZE,
		.read = region_read,
		.write = region_write,
		.mapped = region_mapped,
		.unmapped = region_unmapped,
	};
	vd->transport = &vm->transport;
	rc = bus_map(vd->dev.env->mmio, &vm->region, address);
	if (rc) {
		vd->transport = NULL;
		free(vm);
		return error_set_errno(err, -rc, "%s: no place for its registers", vd->dev.id);
	}
	*out = vm;
	return 0;
}

void virtio_mmio_destroy(struct virtio_mmio *vm)
{
	if (!vm)
		return;
	bus_unmap(&vm->region);
	device_lock(&vm->vd->dev);
	vm->vd->transport = NULL;
	set_interrupts(vm, 0);
	device_unlock(&vm->vd->dev);
	free(vm);
}

/* ---- saved state ---- */

void virtio_mmio_save(struct virtio_mmio *vm, struct state_writer *w)
{
	device_lock(&vm->vd->dev);
	state_begin(w, "virtio-mmio", 1);
	state_put_u64(w, "device_feature_select", vm->device_feature_select);
	state_put_u64(w, "driver_feature_select", vm->driver_feature_select);
	state_put_u64(w, "queue_select", vm->queue_select);
	state_put_u64(w, "interrupts", vm->interrupts);
	state_end(w);
	device_unlock(&vm->vd->dev);
}

int virtio_mmio_load(struct virtio_mmio *vm, struct state_reader *r)
{
	uint64_t device_select, driver_select, queue_select, interrupts;
	uint32_t version;
	int rc = state_enter(r, "virtio-mmio", 1, &version);

	if (!rc)
		rc = state_get_u64(r, "device_feature_select", &device_select, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "driver_feature_select", &driver_select, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "queue_select", &queue_select, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "interrupts", &interrupts, 0,
				   VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	if (!rc)
		rc = state_leave(r);
	if (rc)
		return rc;
	device_lock(&vm->vd->dev);
	vm->device_feature_select = (uint32_t)device_select;
	vm->driver_feature_select = (uint32_t)driver_select;
	vm->queue_select = (uint32_t)queue_select;
	set_interrupts(vm, (unsigned)interrupts);
	device_unlock(&vm->vd->dev);
	return 0;
}
