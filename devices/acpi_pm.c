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
	/* PCI slots, a bit each. */
	uint32_t up, down; /* what the guest has yet to read */
	uint32_t leaving;  /* may be ejected */
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

void acpi_pm_slot(struct device *dev, unsigned slot, enum acpi_slot_event event)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
	const uint32_t bit = UINT32_C(1) << slot;

	device_lock(dev);
	/* What was said of the slot before is no longer true. */
	pm->up &= ~bit;
	pm->down &= ~bit;
	pm->leaving &= ~bit;
	if (event == ACPI_SLOT_FILLED)
		pm->up |= bit;
	if (event == ACPI_SLOT_SHALL_LEAVE) {
		pm->down |= bit;
		pm->leaving |= bit;
	}
	if (event != ACPI_SLOT_EMPTY)
		set_events(pm, pm->events | X86_GED_PCI_HOTPLUG);
	device_unlock(dev);
}

uint32_t acpi_pm_leaving(struct device *dev)
{
	uint32_t leaving;

	device_lock(dev);
	leaving = container_of(dev, struct acpi_pm, dev)->leaving;
	device_unlock(dev);
	return leaving;
}

static void eject(struct acpi_pm *pm, uint32_t slots)
{
	const struct device_env *env = pm->dev.env;

	slots &= acpi_pm_leaving(&pm->dev);
	if (slots)
		env->event(env, MACHINE_EVENT_EJECT, slots);
}

static uint32_t take(uint32_t *slots)
{
	const uint32_t taken = *slots;

	*slots = 0;
	return taken;
}

static uint64_t ports_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = container_of(region, struct acpi_pm, ports);
	uint64_t v = 0;

	if (size != 4)
		return 0; /* WAK_STS is never set: this machine does not sleep */
	device_lock(&pm->dev);
	if (offset == X86_ACPI_GED_EVENTS) {
		v = pm->events;
		set_events(pm, 0);
	}
	if (offset == X86_ACPI_PCI_UP)
		v = take(&pm->up);
	if (offset == X86_ACPI_PCI_DOWN)
		v = take(&pm->down);
	device_unlock(&pm->dev);
	return v;
}

static void ports_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = container_of(region, struct acpi_pm, ports);
	const struct device_env *env = pm->dev.env;

	if (offset == X86_ACPI_PCI_EJECT && size == 4)
		eject(pm, (uint32_t)value);
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
	pm->up = pm->down = pm->leaving = 0;
	device_unlock(dev);
}

static void acpi_pm_save(struct device *dev, struct state_writer *w)
{
	const struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);

	state_put_u64(w, "events", pm->events);
	state_put_u64(w, "up", pm->up);
	state_put_u64(w, "down", pm->down);
	state_put_u64(w, "leaving", pm->leaving);
}

static int acpi_pm_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
	uint64_t events, up = 0, down = 0, leaving = 0;
	int rc = state_get_u64(r, "events", &events, 0, GED_EVENTS_ALL);

	/* The first version knew no slots. */
	if (!rc && version > 1)
		rc = state_get_u64(r, "up", &up, 0, UINT32_MAX);
	if (!rc && version > 1)
		rc = state_get_u64(r, "down", &down, 0, UINT32_MAX);
	if (!rc && version > 1)
		rc = state_get_u64(r, "leaving", &leaving, 0, UINT32_MAX);
	if (rc)
		return rc;
	device_lock(dev);
	set_events(pm, (uint32_t)events);
	pm->up = (uint32_t)up;
	pm->down = (uint32_t)down;
	pm->leaving = (uint32_t)leaving;
	device_unlock(dev);
	return 0;
}

const struct device_class acpi_pm_class = {
	.name = "acpi-pm",
	.help = "ACPI sleep, reset and event registers",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct acpi_pm),
	.state_version = 2,
	.builtin = true,
	.realize = acpi_pm_realize,
	.reset = acpi_pm_reset,
	.save = acpi_pm_save,
	.load = acpi_pm_load,
	.unrealize = acpi_pm_unrealize,
};
