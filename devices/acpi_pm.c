/* SPDX-License-Identifier: MIT */
#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "mmio/bus.h"

#define SLEEP_ENABLE   0x20u
#define SLEEP_TYPE(v)  (((v) >> 2) & 7)
#define GED_EVENTS_ALL (X86_GED_POWER_BUTTON | X86_GED_PCI_HOTPLUG)

struct acpi_pm {
	struct device dev;
	struct bus_region ports;
	struct irq_line *irq;
	uint32_t events; /* the line is high while there are any */
};

static void set_events(struct acpi_pm *pm, uint32_t events)
{
	pm->events = events;
	irq_line_set(pm->irq, events != 0);
}

void acpi_pm_raise(struct device *dev, uint32_t events)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);

	device_lock(dev);
	set_events(pm, pm->events | (events & GED_EVENTS_ALL));
	device_unlock(dev);
}

static uint64_t ports_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = container_of(region, struct acpi_pm, ports);
	uint64_t v = 0;

	if (offset != X86_ACPI_GED_EVENTS || size != 4)
		return 0; /* WAK_STS is never set: this machine does not sleep */
	device_lock(&pm->dev);
	v = pm->events;
	set_events(pm, 0);
	device_unlock(&pm->dev);
	return v;
}

static void ports_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = container_of(region, struct acpi_pm, ports);
	const struct device_env *env = pm->dev.env;

	if (size != 1)
		return;
	if (offset == X86_ACPI_SLEEP_CONTROL && (value & SLEEP_ENABLE) &&
	    SLEEP_TYPE(value) == X86_ACPI_S5)
		env->event(env, MACHINE_EVENT_POWEROFF, 0);
	if (offset == X86_ACPI_RESET && value == X86_ACPI_RESET_VALUE)
		env->event(env, MACHINE_EVENT_RESET, 0);
}

static int acpi_pm_realize(struct device *dev, struct vmm_error *err)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
	int rc;

	pm->irq = dev->env->isa_irq(dev->env, X86_IRQ_GED);
	pm->ports = (struct bus_region){
		.name = dev->id,
		.size = X86_ACPI_PORTS,
		.read = ports_read,
		.write = ports_write,
	};
	rc = bus_map(dev->env->pio, &pm->ports, X86_PORT_ACPI);
	return rc ? error_set_errno(err, -rc, "ports at %#x", X86_PORT_ACPI) : 0;
}

static void acpi_pm_unrealize(struct device *dev)
{
	bus_unmap(&container_of(dev, struct acpi_pm, dev)->ports);
}

static void acpi_pm_reset(struct device *dev)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);

	device_lock(dev);
	set_events(pm, 0);
	device_unlock(dev);
}

static void acpi_pm_save(struct device *dev, struct state_writer *w)
{
	state_put_u64(w, "events", container_of(dev, struct acpi_pm, dev)->events);
}

static int acpi_pm_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
	uint64_t events;
	int rc;

	(void)version;
	rc = state_get_u64(r, "events", &events, 0, GED_EVENTS_ALL);
	if (rc)
		return rc;
	device_lock(dev);
	set_events(pm, (uint32_t)events);
	device_unlock(dev);
	return 0;
}

const struct device_class acpi_pm_class = {
	.name = "acpi-pm",
	.help = "ACPI sleep, reset and event registers",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct acpi_pm),
	.state_version = 1,
	.builtin = true,
	.realize = acpi_pm_realize,
	.reset = acpi_pm_reset,
	.save = acpi_pm_save,
	.load = acpi_pm_load,
	.unrealize = acpi_pm_unrealize,
};
