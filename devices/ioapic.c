/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC (Intel 82093AA; version 20h, which adds the EOI register of later chipsets): 24
 * lines in, interrupt messages out.
 *
 * The local APICs are the hypervisor's. A message goes to them through env->apic; of a
 * level-triggered one they report the end of interrupt (EOI), for which they are told the messages
 * beforehand.
 */
#include <errno.h>

#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "mmio/bus.h"

#define PINS    X86_IOAPIC_PINS
#define VERSION 0x20u

/* Registers: two to reach the others through, and one of their own. */
#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI    0x40
#define WINDOW_ID  0x00
#define WINDOW_VER 0x01
#define WINDOW_ARB 0x02
#define WINDOW_RTE 0x10

/* Redirection table entry. */
#define RTE_VECTOR     UINT64_C(0xff)
#define RTE_MODE_SHIFT 8
#define RTE_MODE       (UINT64_C(7) << RTE_MODE_SHIFT)
#define RTE_LOGICAL    (UINT64_C(1) << 11)
#define RTE_POLARITY   (UINT64_C(1) << 13)
#define RTE_REMOTE_IRR (UINT64_C(1) << 14) /* sent, and not yet at its end; read-only */
#define RTE_LEVEL      (UINT64_C(1) << 15)
#define RTE_MASKED     (UINT64_C(1) << 16)
#define RTE_DEST_SHIFT 56
#define RTE_DEST       (UINT64_C(0xff) << RTE_DEST_SHIFT)
#define RTE_WRITABLE \
	(RTE_VECTOR | RTE_MODE | RTE_LOGICAL | RTE_POLARITY | RTE_LEVEL | RTE_MASKED | RTE_DEST)
#define MODE_EXTINT   7u /* the vector comes from an 8259, which this machine has not */
#define LOWEST_VECTOR 16u

struct ioapic_pin {
	struct irq_line line;
	struct ioapic *chip;
	unsigned index;
	bool level; /* the line is asserted */
	uint64_t rte;
};

struct ioapic {
	struct device dev;
	struct bus_region registers;
	uint8_t id, select;
	struct ioapic_pin pins[PINS];
};

/* ---- messages (Intel SDM 3A, 11.11) ---- */

static struct apic_message message_of(uint64_t rte)
{
	return (struct apic_message){
		.address = X86_LAPIC | (rte & RTE_DEST) >> RTE_DEST_SHIFT << 12 |
			   (rte & RTE_LOGICAL ? 1u << 2 : 0),
		.data = (uint32_t)(rte & (RTE_VECTOR | RTE_MODE | RTE_LEVEL)) | 1u << 14,
	};
}

static void send(struct ioapic_pin *pin)
{
	struct apic_sink *apic = pin->chip->dev.env->apic;
	const struct apic_message message = message_of(pin->rte);

	if ((pin->rte & RTE_MODE) >> RTE_MODE_SHIFT != MODE_EXTINT)
		apic->send(apic, &message);
}

/* An asserted level-triggered line sends one message, and the next one after its EOI. */
static void send_level(struct ioapic_pin *pin)
{
	if (!pin->level || (pin->rte & (RTE_MASKED | RTE_REMOTE_IRR)) || !(pin->rte & RTE_LEVEL))
		return;
	pin->rte |= RTE_REMOTE_IRR;
	send(pin);
}

/* Tell the local APICs which EOI we want to hear of. Masked ones too: one may be in service. */
static void watch(struct ioapic_pin *pin)
{
	struct apic_sink *apic = pin->chip->dev.env->apic;
	const struct apic_message message = message_of(pin->rte);
	bool wanted = (pin->rte & RTE_LEVEL) && (pin->rte & RTE_VECTOR) >= LOWEST_VECTOR;

	apic->watch(apic, pin->index, wanted ? &message : NULL);
}

static void line_set(struct irq_line *line, bool level)
{
	struct ioapic_pin *pin = container_of(line, struct ioapic_pin, line);
	bool rises;

	device_lock(&pin->chip->dev);
	rises = level && !pin->level;
	pin->level = level;
	if (pin->rte & RTE_LEVEL)
		send_level(pin);
	else if (rises && !(pin->rte & RTE_MASKED))
		send(pin);
	device_unlock(&pin->chip->dev);
}

struct irq_line *ioapic_line(struct device *dev, unsigned pin)
{
	struct ioapic *chip = container_of(dev, struct ioapic, dev);

	return pin < PINS ? &chip->pins[pin].line : NULL;
}

/* Lock held. */
static void end_of_interrupt(struct ioapic *chip, uint8_t vector)
{
	for (unsigned i = 0; i < PINS; i++) {
		struct ioapic_pin *pin = &chip->pins[i];

		if (!(pin->rte & RTE_REMOTE_IRR) || (pin->rte & RTE_VECTOR) != vector)
			continue;
		pin->rte &= ~RTE_REMOTE_IRR;
		send_level(pin);
	}
}

void ioapic_eoi(struct device *dev, uint8_t vector)
{
	device_lock(dev);
	end_of_interrupt(container_of(dev, struct ioapic, dev), vector);
	device_unlock(dev);
}

/* ---- registers ---- */

static uint32_t window_read(const struct ioapic *chip)
{
	unsigned pin = (chip->select - WINDOW_RTE) / 2u;

	switch (chip->select) {
	case WINDOW_ID:
	case WINDOW_ARB:
		return (uint32_t)chip->id << 24;
	case WINDOW_VER:
		return VERSION | (PINS - 1) << 16;
	default:
		if (chip->select < WINDOW_RTE || pin >= PINS)
			return 0;
		return (uint32_t)(chip->pins[pin].rte >> (chip->select & 1 ? 32 : 0));
	}
}

static void rte_write(struct ioapic_pin *pin, bool high, uint32_t value)
{
	uint64_t old = pin->rte, half = UINT64_C(0xffffffff) << (high ? 32 : 0);

	pin->rte = (old & ~(half & RTE_WRITABLE)) |
		   ((uint64_t)value << (high ? 32 : 0) & RTE_WRITABLE);
	/* So software ends an interrupt of which it saw no EOI: to edge-triggered and back. */
	if (!(pin->rte & RTE_LEVEL))
		pin->rte &= ~RTE_REMOTE_IRR;
	if ((old ^ pin->rte) & ~(RTE_MASKED | RTE_REMOTE_IRR | RTE_POLARITY))
		watch(pin);
	send_level(pin);
}

static void window_write(struct ioapic *chip, uint32_t value)
{
	unsigned pin = (chip->select - WINDOW_RTE) / 2u;

	if (chip->select == WINDOW_ID)
		chip->id = (value >> 24) & 0xf;
	else if (chip->select >= WINDOW_RTE && pin < PINS)
		rte_write(&chip->pins[pin], chip->select & 1, value);
}

static uint64_t registers_read(struct bus_region *region, uint64_t offset, unsigned size UNUSED)
{
	struct ioapic *chip = container_of(region, struct ioapic, registers);
	uint64_t value = 0;

	device_lock(&chip->dev);
	if (offset == REG_SELECT)
		value = chip->select;
	else if (offset == REG_WINDOW)
		value = window_read(chip);
	device_unlock(&chip->dev);
	return value;
}

static void registers_write(struct bus_region *region, uint64_t offset, uint64_t value,
			    unsigned size UNUSED)
{
	struct ioapic *chip = container_of(region, struct ioapic, registers);

	device_lock(&chip->dev);
	if (offset == REG_SELECT)
		chip->select = (uint8_t)value;
	else if (offset == REG_WINDOW)
		window_write(chip, (uint32_t)value);
	else if (offset == REG_EOI)
		end_of_interrupt(chip, (uint8_t)value);
	device_unlock(&chip->dev);
}

/* ---- life ---- */

static void power_on(struct ioapic *chip)
{
	chip->id = chip->select = 0;
	for (unsigned i = 0; i < PINS; i++)
		chip->pins[i].rte = RTE_MASKED;
}

static int ioapic_realize(struct device *dev, struct vmm_error *err)
{
	struct ioapic *chip = container_of(dev, struct ioapic, dev);
	int rc;

	for (unsigned i = 0; i < PINS; i++)
		chip->pins[i] = (struct ioapic_pin){.line.set = line_set, .chip = chip, .index = i};
	power_on(chip);
	chip->registers = (struct bus_region){
		.name = dev->id,
		.size = X86_IOAPIC_SIZE,
		.read = registers_read,
		.write = registers_write,
	};
	rc = bus_map(dev->env->mmio, &chip->registers, X86_IOAPIC);
	return rc ? error_set_errno(err, -rc, "registers at %#lx", X86_IOAPIC) : 0;
}

static void ioapic_unrealize(struct device *dev)
{
	bus_unmap(&container_of(dev, struct ioapic, dev)->registers);
}

/* The lines are what the devices at their other ends make them. */
static void ioapic_reset(struct device *dev)
{
	struct ioapic *chip = container_of(dev, struct ioapic, dev);

	device_lock(dev);
	power_on(chip);
	for (unsigned i = 0; i < PINS; i++)
		watch(&chip->pins[i]);
	device_unlock(dev);
}

static void ioapic_save(struct device *dev, struct state_writer *w)
{
	const struct ioapic *chip = container_of(dev, struct ioapic, dev);

	state_put_u64(w, "id", chip->id);
	state_put_u64(w, "select", chip->select);
	for (unsigned i = 0; i < PINS; i++)
		state_put_u64(w, "entry", chip->pins[i].rte);
}

static bool valid(uint64_t rte)
{
	if (rte & ~(RTE_WRITABLE | RTE_REMOTE_IRR))
		return false;
	return (rte & RTE_LEVEL) || !(rte & RTE_REMOTE_IRR);
}

static int ioapic_load(struct device *dev, struct state_reader *r, uint32_t version UNUSED)
{
	struct ioapic *chip = container_of(dev, struct ioapic, dev);
	uint64_t id, select, rte[PINS];
	int rc = state_get_u64(r, "id", &id, 0, 0xf);

	if (!rc)
		rc = state_get_u64(r, "select", &select, 0, UINT8_MAX);
	for (unsigned i = 0; !rc && i < PINS; i++) {
		rc = state_get_u64(r, "entry", &rte[i], 0, UINT64_MAX);
		if (!rc && !valid(rte[i]))
			rc = -ERANGE;
	}
	if (rc)
		return rc;
	device_lock(dev);
	chip->id = (uint8_t)id;
	chip->select = (uint8_t)select;
	for (unsigned i = 0; i < PINS; i++) {
		chip->pins[i].rte = rte[i];
		watch(&chip->pins[i]);
		send_level(&chip->pins[i]);
	}
	device_unlock(dev);
	return 0;
}

const struct device_class ioapic_class = {
	.name = "ioapic",
	.help = "interrupt controller for lines",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct ioapic),
	.state_version = 1,
	.builtin = true,
	.realize = ioapic_realize,
	.reset = ioapic_reset,
	.save = ioapic_save,
	.load = ioapic_load,
	.unrealize = ioapic_unrealize,
};
