/* SPDX-License-Identifier: MIT */
/*
 * A port whose write ends the VM with a value: how test programs report (QEMU: isa-debug-exit).
 */
#include "devices/devices.h"
#include "mmio/bus.h"

struct debug_exit {
	struct device dev;
	uint64_t iobase, iosize;
	struct bus_region ports;
};

static const struct option_desc options[] = {
	{
		.name = "iobase",
		.type = OPTION_UINT,
		.offset = offsetof(struct debug_exit, iobase),
		.fallback = "0xf4", /* X86_PORT_DEBUG_EXIT */
		.min = 1,
		.max = 0xffff,
		.help = "first port",
	},
	{
		.name = "iosize",
		.type = OPTION_UINT,
		.offset = offsetof(struct debug_exit, iosize),
		.fallback = "4",
		.min = 1,
		.max = 4,
		.help = "number of ports",
	},
	OPTION_END,
};

static uint64_t ports_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	(void)region;
	(void)offset;
	(void)size;
	return 0;
}

static void ports_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct debug_exit *d = container_of(region, struct debug_exit, ports);

	(void)offset;
	d->dev.env->event(d->dev.env, MACHINE_EVENT_DEBUG_EXIT, (uint32_t)low_bytes(value, size));
}

static int debug_exit_realize(struct device *dev, struct vmm_error *err)
{
	struct debug_exit *d = container_of(dev, struct debug_exit, dev);
	int rc;

	d->ports = (struct bus_region){
		.name = dev->id, .size = d->iosize, .read = ports_read, .write = ports_write};
	rc = bus_map(dev->env->pio, &d->ports, d->iobase);
	return rc ? error_set_errno(err, -rc, "iobase %#llx", (unsigned long long)d->iobase) : 0;
}

static void debug_exit_unrealize(struct device *dev)
{
	bus_unmap(&container_of(dev, struct debug_exit, dev)->ports);
}

const struct device_class debug_exit_class = {
	.name = "debug-exit",
	.help = "a port whose write ends the VM with a value",
	.kind = DEVICE_PLATFORM,
	.options = options,
	.size = sizeof(struct debug_exit),
	.state_version = 1,
	.realize = debug_exit_realize,
	.unrealize = debug_exit_unrealize,
};
