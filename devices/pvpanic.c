/* SPDX-License-Identifier: MIT */
/*
 * pvpanic: a port to which a guest's kernel writes when it panics (QEMU, docs/specs/pvpanic).
 */
#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "mmio/bus.h"

#define PANICKED    0x01u
#define CRASHLOADED 0x02u
#define SUPPORTED   (PANICKED | CRASHLOADED)

struct pvpanic {
	struct device dev;
	struct bus_region port;
};

static uint64_t port_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	(void)region;
	(void)offset;
	(void)size;
	return SUPPORTED;
}

static void port_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic *p = container_of(region, struct pvpanic, port);
	const uint32_t events = (uint32_t)value & SUPPORTED;

	(void)offset;
	(void)size;
	if (events)
		p->dev.env->event(p->dev.env, MACHINE_EVENT_PANIC, events);
}

static int pvpanic_realize(struct device *dev, struct vmm_error *err)
{
	struct pvpanic *p = container_of(dev, struct pvpanic, dev);
	int rc;

	p->port = (struct bus_region){
		.name = dev->id, .size = 1, .read = port_read, .write = port_write};
	rc = bus_map(dev->env->pio, &p->port, X86_PORT_PVPANIC);
	return rc ? error_set_errno(err, -rc, "port %#x", X86_PORT_PVPANIC) : 0;
}

static void pvpanic_unrealize(struct device *dev)
{
	bus_unmap(&container_of(dev, struct pvpanic, dev)->port);
}

const struct device_class pvpanic_class = {
	.name = "pvpanic",
	.help = "tells when the guest's kernel panics",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct pvpanic),
	.state_version = 1,
	.builtin = true,
	.realize = pvpanic_realize,
	.unrealize = pvpanic_unrealize,
};
