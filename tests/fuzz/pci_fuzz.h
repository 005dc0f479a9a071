/* SPDX-License-Identifier: MIT */
/*
 * A guest that plays with one virtio device behind PCI: it writes registers, configuration space
 * and memory as the fuzzer likes. The device lives on from input to input and is reset in between,
 * as at a reboot. (virtio_fuzz.h is for devices whose transport does not matter.)
 */
#ifndef FUZZ_PCI_FUZZ_H
#define FUZZ_PCI_FUZZ_H

#include <assert.h>

#include "mmio/bus.h"
#include "pci/pci.h"
#include "tests/fuzz/input.h"
#include "virtio/virtio.h"

#define RAM     UINT64_C(0x40000) /* a power of two */
#define MAX_OPS 256

/* The BAR: the common configuration is at its start. */
#define NOTIFY        0x3000u
#define NOTIFY_STRIDE 4u
#define BAR_SIZE      0x8000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct clock_fake fake_clock;
static struct device_env env;
static struct device *dev; /* the virtio device */
static struct virtio_pci *vp;
static uint64_t bar;

static void must(int rc)
{
	assert(!rc);
	(void)rc;
}

static struct irq_line *no_line(void *opaque UNUSED, unsigned slot UNUSED, unsigned pin UNUSED)
{
	return NULL;
}

static unsigned no_gsi(void *opaque UNUSED, unsigned slot UNUSED, unsigned pin UNUSED)
{
	return 0;
}

/* The parent of children. */
static struct device *find(const struct device_env *e UNUSED, const char *id UNUSED,
			   const struct device_class *cls)
{
	return dev && dev->cls == cls ? dev : NULL;
}

static void create_env(void)
{
	struct pci_bus_config config = {
		.mem32 = {UINT64_C(0xc0000000), UINT64_C(0x10000000)},
		.mem64 = {UINT64_C(0x100000000), UINT64_C(0x10000000)},
		.ecam = {UINT64_C(0xe0000000), UINT64_C(0x100000)},
		.intx = no_line,
		.intx_gsi = no_gsi,
	};

	clock_fake_init(&fake_clock);
	env.clock = &fake_clock.clock;
	env.find = find;
	must(guest_memory_create(&env.memory, NULL));
	must(guest_memory_add(env.memory, gpa(0), RAM, 0, NULL));
	must(loop_create(&env.loop, "fuzz", env.clock, NULL));
	must(bus_create(&env.pio, "pio", 0x10000, NULL));
	must(bus_create(&env.mmio, "mmio", UINT64_C(1) << 46, NULL));
	config.pio = env.pio;
	config.mmio = env.mmio;
	must(pci_bus_create(&env.pci, &config, NULL));
}

static void create_device(const struct virtio_class *cls, const char *options)
{
	must(device_create(&dev, &cls->device, NULL, options, &env, NULL));
	must(virtio_pci_create(&vp, virtio_device(dev), -1, NULL));
}

static uint32_t config_read(unsigned offset)
{
	return pci_config_read(env.pci, virtio_pci_devfn(vp), offset, 4);
}

/* As a reboot does it, and what firmware does then. */
static void reset(void)
{
	device_quiesce_wait(dev);
	pci_bus_reset(env.pci);
	device_reset(dev);
	pci_config_write(env.pci, virtio_pci_devfn(vp), PCI_COMMAND, 2,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	bar = (config_read(PCI_BASE_ADDRESS_0) & ~0xfu) | (uint64_t)config_read(PCI_BASE_ADDRESS_1)
								  << 32;
}

static void reg(unsigned offset, unsigned size, uint64_t value)
{
	bus_write(env.mmio, bar + offset, value, size);
}

/* A write of the guest; one to where there is no RAM vanishes. */
static void poke(uint64_t at, const void *data, size_t len)
{
	if (guest_write(env.memory, gpa(at), data, len))
		return;
}

static void any_register(struct input *in)
{
	uint8_t how = input_u8(in);
	uint64_t value, at = input_u16(in) & (BAR_SIZE - 1);
	unsigned size = 1u << (how & 3);

	if (how & 4)
		bus_read(env.mmio, bar + at, size, &value);
	else
		bus_write(env.mmio, bar + at, input_number(in, size), size);
}

static inline void any_config(struct input *in)
{
	unsigned size = 1u << (input_u8(in) % 3), at = input_u8(in) & ~(size - 1);

	pci_config_write(env.pci, virtio_pci_devfn(vp), at, size, (uint32_t)input_number(in, size));
	pci_config_read(env.pci, virtio_pci_devfn(vp), at, size);
}

static void any_memory(struct input *in)
{
	uint64_t at = input_number(in, 3) & (RAM - 1);
	uint8_t bytes[64], len = input_u8(in) % sizeof(bytes);

	input_bytes(in, bytes, len);
	poke(at, bytes, len);
}

#endif
