/* SPDX-License-Identifier: MIT */
/*
 * Virtio over PCI: what a driver finds, and accesses that no driver should make.
 */
#include <criterion/criterion.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/virtio_driver.h"
#include "tests/unit/support/virtio_toy.h"

#define MSI_ADDRESS UINT64_C(0xfee00000)
#define VECTORS     (TOY_QUEUES + 1)

static struct fake_env fake;
static struct device *dev;
static struct virtio_device *vd;
static struct toy *toy;
static struct virtio_pci *vp;
static struct virtio_driver driver;

static void create(void)
{
	struct vmm_error err = {0};

	dev = fake_env_device(&fake, &toy_class.device, NULL);
	vd = virtio_device(dev);
	toy = toy_of(dev);
	cr_assert_eq(virtio_pci_create(&vp, vd, -1, &err), 0, "%s", err.message);
	virtio_driver_init_pci(&driver, &fake, vd, virtio_pci_devfn(vp), gpa(MIB));
}

static void destroy(void)
{
	device_quiesce_wait(dev);
	virtio_pci_destroy(vp);
	device_destroy(dev);
}

static void setup(void)
{
	fake_env_init(&fake, 16 * MIB);
	create();
}

static void teardown(void)
{
	destroy();
	fake_env_fini(&fake);
}

TestSuite(virtio_pci, .init = setup, .fini = teardown, .timeout = 30);

static uint32_t config(unsigned offset, unsigned size)
{
	return pci_config_read(fake.env.pci, driver.devfn, offset, size);
}

static void set_config(unsigned offset, unsigned size, uint32_t value)
{
	pci_config_write(fake.env.pci, driver.devfn, offset, size, value);
}

static uint64_t reg(unsigned offset, unsigned size)
{
	return fake_mmio_read(&fake, driver.common + offset, size);
}

static void set_reg(unsigned offset, unsigned size, uint64_t value)
{
	fake_mmio_write(&fake, driver.common + offset, size, value);
}

static unsigned find_cap(unsigned id, unsigned type)
{
	for (unsigned cap = config(PCI_CAPABILITY_LIST, 1); cap; cap = config(cap + 1, 1))
		if (config(cap, 1) == id &&
		    (id != PCI_CAP_ID_VNDR || config(cap + VIRTIO_PCI_CAP_CFG_TYPE, 1) == type))
			return cap;
	cr_assert_fail("no capability %u of type %u", id, type);
	return 0;
}

static uint8_t isr(void)
{
	return (uint8_t)fake_mmio_read(&fake, driver.isr, 1);
}

static struct fake_irq *intx(void)
{
	return &fake.intx[(driver.devfn >> 3) % FAKE_INTX_LINES];
}

/* Enable MSI-X; vector i sends the data 100 + i. */
static void enable_msix(void)
{
	unsigned cap = find_cap(PCI_CAP_ID_MSIX, 0);
	uint32_t table = config(cap + PCI_MSIX_TABLE, 4);
	uint64_t at = (config(PCI_BASE_ADDRESS_0 + 4 * (table & 7), 4) & ~0xfu) + (table & ~7u);

	set_config(cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	for (unsigned i = 0; i < VECTORS; i++, at += PCI_MSIX_ENTRY_SIZE) {
		fake_mmio_write(&fake, at + PCI_MSIX_ENTRY_LOWER_ADDR, 4, MSI_ADDRESS);
		fake_mmio_write(&fake, at + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
		fake_mmio_write(&fake, at + PCI_MSIX_ENTRY_DATA, 4, 100 + i);
		fake_mmio_write(&fake, at + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
	}
}

static void set_queue_vector(unsigned queue, uint16_t vector)
{
	set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	set_reg(VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
}

static void echo(unsigned queue)
{
	struct driver_buffer b[2] = {{virtio_driver_alloc(&driver, 16), 16, false},
				     {virtio_driver_alloc(&driver, 16), 16, true}};

	driver_ring_add(&driver.rings[queue], b, 2);
	virtio_driver_kick(&driver, queue);
	cr_assert_eq(virtio_driver_wait(&driver, queue, NULL), 16u);
}

/* ---- what a driver finds ---- */

Test(virtio_pci, function_has_the_ids_of_a_modern_device)
{
	cr_assert_eq(config(PCI_VENDOR_ID, 2), 0x1af4u);
	cr_assert_eq(config(PCI_DEVICE_ID, 2), 0x1040u + 42);
	cr_assert_eq(config(PCI_REVISION_ID, 1), 1u);
	cr_assert_eq(config(PCI_CLASS_REVISION, 4) >> 8, toy_class.pci_class);
	cr_assert_geq(config(PCI_SUBSYSTEM_ID, 2), 0x40u);
}

Test(virtio_pci, each_structure_has_a_capability_and_fits_the_bar)
{
	const unsigned types[] = {VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
				  VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_DEVICE_CFG};
	const uint32_t lengths[] = {60, 4 * TOY_QUEUES, 1, TOY_CONFIG_SIZE};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		unsigned cap = find_cap(PCI_CAP_ID_VNDR, types[i]);

		cr_assert_geq(config(cap + VIRTIO_PCI_CAP_LENGTH, 4), lengths[i]);
		cr_assert_leq(config(cap + VIRTIO_PCI_CAP_OFFSET, 4) + lengths[i], 0x4000u);
		cr_assert_eq(config(cap + VIRTIO_PCI_CAP_OFFSET, 4) % 4, 0u);
	}
	find_cap(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
	find_cap(PCI_CAP_ID_MSIX, 0);
}

Test(virtio_pci, driver_works_through_the_registers)
{
	virtio_driver_start(&driver, UINT64_C(1) << TOY_FEATURE, TOY_QUEUES);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_NUMQ, 2), TOY_QUEUES);
	for (unsigned q = 0; q < TOY_QUEUES; q++) {
		set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1u);
		echo(q);
	}
}

Test(virtio_pci, queue_addresses_are_written_in_halves_or_whole)
{
	set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	set_reg(VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0x11223344);
	set_reg(VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x55667788);
	cr_assert_eq(virtio_queue_address(vd, 1, VIRTIO_QUEUE_DESC), UINT64_C(0x1122334455667788));
	set_reg(VIRTIO_PCI_COMMON_Q_USEDLO, 8, UINT64_C(0xaabbccdd00112233));
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_USEDLO, 4), 0x00112233u);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0xaabbccddu);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_USEDLO, 8), UINT64_C(0xaabbccdd00112233));
	cr_assert_eq(virtio_queue_address(vd, 0, VIRTIO_QUEUE_DESC), 0u);
}

Test(virtio_pci, configuration_space_is_reachable_by_every_width)
{
	cr_assert(virtio_driver_negotiate(&driver, 0));
	fake_mmio_write(&fake, driver.device, 4, 0x44332211);
	fake_mmio_write(&fake, driver.device + 4, 2, 0x6655);
	cr_assert_eq(fake_mmio_read(&fake, driver.device, 8), UINT64_C(0x665544332211));
	cr_assert_eq(fake_mmio_read(&fake, driver.device + 1, 2), 0x3322u);
	cr_assert_eq(fake_mmio_read(&fake, driver.device + TOY_CONFIG_SIZE, 8), 0u);
}

Test(virtio_pci, queue_is_reset_through_its_register)
{
	virtio_driver_start(&driver, UINT64_C(1) << VIRTIO_F_RING_RESET, 2);
	set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	set_reg(VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	cr_assert_eq(reg(56, 2), 0u, "queue_notify_data");
	cr_assert_eq(reg(56, 4), 0u, "two fields at once");
	set_reg(58, 2, 0);
	set_reg(58, 1, 1);
	set_reg(56, 8, UINT64_MAX);
	cr_assert_eq(reg(58, 2), 0u);
	set_reg(58, 2, 1);
	cr_assert_eq(reg(58, 2), 1u);
	fake_env_settle(&fake);
	cr_assert_eq(reg(58, 2), 0u);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0u);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1u, "the other queue");
	virtio_driver_queue(&driver, 1, 4);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1u);
}

/* ---- doorbells ---- */

Test(virtio_pci, each_queue_has_a_doorbell_while_the_bar_is_mapped)
{
	cr_assert_eq(fake.doorbells.count, TOY_QUEUES);
	cr_assert_neq(fake.doorbells.attached[0].addr, fake.doorbells.attached[1].addr);
	set_config(PCI_COMMAND, 2, 0);
	cr_assert_eq(fake.doorbells.count, 0u);
	set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_assert_eq(fake.doorbells.count, TOY_QUEUES);
}

Test(virtio_pci, doorbells_move_with_the_bar)
{
	uint64_t before = fake.doorbells.attached[0].addr, to = driver.bar + 0x100000;

	set_config(PCI_BASE_ADDRESS_0, 4, (uint32_t)to);
	cr_assert_eq(fake.doorbells.count, TOY_QUEUES);
	cr_assert_not(fake_doorbell_ring(&fake, before));
	virtio_driver_init_pci(&driver, &fake, vd, driver.devfn, gpa(MIB));
	cr_assert_eq(driver.bar, to);
	virtio_driver_start(&driver, 0, 1);
	echo(0);
}

Test(virtio_pci, doorbells_that_cannot_be_attached_are_register_writes)
{
	destroy();
	fake.doorbells.attach_error = -28;
	create();
	cr_assert_eq(fake.doorbells.count, 0u);
	virtio_driver_start(&driver, 0, 2);
	echo(1);
	fake.doorbells.attach_error = 0;
}

Test(virtio_pci, doorbell_address_between_two_queues_rings_none)
{
	virtio_driver_start(&driver, 0, 1);
	toy->kicks = 0;
	fake_mmio_write(&fake, driver.notify + 2, 2, 0);
	fake_mmio_write(&fake, driver.notify + 4 * TOY_QUEUES, 4, 0);
	fake_env_settle(&fake);
	cr_assert_eq(toy->kicks, 0u);
}

/* ---- interrupts ---- */

Test(virtio_pci, without_msix_the_line_is_raised_until_isr_is_read)
{
	virtio_driver_start(&driver, 0, 1);
	cr_assert_not(intx()->level);
	echo(0);
	cr_assert(intx()->level);
	cr_assert_eq(isr(), 1);
	cr_assert_not(intx()->level);
	cr_assert_eq(isr(), 0);
}

Test(virtio_pci, isr_tells_queue_from_configuration)
{
	virtio_driver_start(&driver, 0, 1);
	device_lock(dev);
	virtio_config_changed(vd);
	device_unlock(dev);
	cr_assert(intx()->level);
	cr_assert_eq(isr(), VIRTIO_PCI_ISR_CONFIG);
}

Test(virtio_pci, each_queue_signals_its_own_vector)
{
	enable_msix();
	virtio_driver_reset(&driver);
	set_reg(VIRTIO_PCI_COMMON_MSIX, 2, 0);
	set_queue_vector(0, 1);
	set_queue_vector(1, 2);
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 0);
	virtio_driver_queue(&driver, 1, 0);
	virtio_driver_ok(&driver);
	echo(0);
	cr_assert_eq(fake_msi_count(&fake, 101), 1u);
	echo(1);
	cr_assert_eq(fake_msi_count(&fake, 102), 1u);
	device_lock(dev);
	virtio_config_changed(vd);
	device_unlock(dev);
	cr_assert_eq(fake_msi_count(&fake, 100), 1u);
	cr_assert_eq(intx()->rises, 0u);
}

Test(virtio_pci, queue_without_a_vector_is_silent)
{
	enable_msix();
	virtio_driver_start(&driver, 0, 1);
	echo(0);
	cr_assert_eq(fake.msi.signals, 0u);
	cr_assert_eq(intx()->rises, 0u);
}

Test(virtio_pci, vector_that_does_not_exist_reads_back_as_none)
{
	set_queue_vector(0, VECTORS - 1);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_MSIX, 2), VECTORS - 1);
	set_queue_vector(0, VECTORS);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	set_reg(VIRTIO_PCI_COMMON_MSIX, 2, 0x8000);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	set_queue_vector(TOY_QUEUES, 0);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
}

/* ---- accesses that no driver should make ---- */

Test(virtio_pci, odd_widths_and_offsets_change_nothing)
{
	uint8_t before[0x40], after[0x40];

	virtio_driver_start(&driver, 0, 1);
	set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	for (unsigned round = 0; round < 2; round++) {
		uint8_t *to = round ? after : before;

		for (unsigned i = 0; i < 56; i += 4) {
			uint32_t v = (uint32_t)(reg(i, 4) | reg(i, 2) | reg(i, 1));

			memcpy(to + i, &v, 4);
		}
		/* A byte of a word, a word of two bytes, across fields. */
		for (unsigned i = 0; !round && i < 56; i++) {
			if (i % 4)
				set_reg(i, 4, UINT64_MAX);
			if (i % 2 || i == VIRTIO_PCI_COMMON_STATUS)
				set_reg(i, 2, UINT64_MAX);
			if (i % 8)
				set_reg(i, 8, UINT64_MAX);
			if (i != VIRTIO_PCI_COMMON_STATUS)
				set_reg(i, 1, 0xff);
		}
	}
	cr_assert_arr_eq(before, after, 56);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_STATUS, 2), 0u);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_DF, 2), 0u);
}

Test(virtio_pci, read_only_registers_stay)
{
	set_reg(VIRTIO_PCI_COMMON_DF, 4, 0);
	set_reg(VIRTIO_PCI_COMMON_NUMQ, 2, 99);
	set_reg(VIRTIO_PCI_COMMON_CFGGENERATION, 1, 99);
	set_reg(VIRTIO_PCI_COMMON_Q_NOFF, 2, 99);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_NUMQ, 2), TOY_QUEUES);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 0u);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_NOFF, 2), 0u);
	cr_assert_eq(driver.ops->get_features(&driver), virtio_offered(vd));
}

Test(virtio_pci, whole_bar_may_be_read_and_written)
{
	for (unsigned size = 1; size <= 8; size *= 2)
		for (uint64_t at = 0; at + size <= 0x4000; at++) {
			fake_mmio_read(&fake, driver.bar + at, size);
			fake_mmio_write(&fake, driver.bar + at, size, at * 0x9e3779b97f4a7c15);
		}
	fake_env_settle(&fake);
	virtio_driver_start(&driver, 0, 1);
	echo(0);
}

Test(virtio_pci, dma_to_registers_breaks_the_device)
{
	const struct driver_buffer b[] = {{gpa(MIB), 16, false}, {gpa(driver.common), 16, true}};

	virtio_driver_start(&driver, 0, 1);
	driver_ring_add(&driver.rings[0], b, 2);
	virtio_driver_kick(&driver, 0);
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_eq(toy->chains, 0u);
}

/* ---- the configuration access capability ---- */

static unsigned window(unsigned bar, uint32_t offset, uint32_t length)
{
	unsigned cap = find_cap(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);

	set_config(cap + VIRTIO_PCI_CAP_BAR, 1, bar);
	set_config(cap + VIRTIO_PCI_CAP_OFFSET, 4, offset);
	set_config(cap + VIRTIO_PCI_CAP_LENGTH, 4, length);
	return cap + sizeof(struct virtio_pci_cap);
}

Test(virtio_pci, configuration_access_capability_reaches_the_registers)
{
	unsigned data;

	/* That is what it is for: memory decoding may still be off. */
	set_config(PCI_COMMAND, 2, 0);
	data = window(0, VIRTIO_PCI_COMMON_NUMQ, 2);
	cr_assert_eq(config(data, 2), TOY_QUEUES);
	data = window(0, VIRTIO_PCI_COMMON_STATUS, 1);
	set_config(data, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	cr_assert_eq(virtio_read_status(vd), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	data = window(0, VIRTIO_PCI_COMMON_Q_DESCLO, 4);
	set_config(data, 4, 0xcafe0000);
	cr_assert_eq(virtio_queue_address(vd, 0, VIRTIO_QUEUE_DESC), 0xcafe0000u);
	cr_assert_eq(config(data, 4), 0xcafe0000u);
}

Test(virtio_pci, configuration_access_outside_the_bar_does_nothing)
{
	static const struct {
		unsigned bar;
		uint32_t offset, length;
	} bad[] = {{1, 0, 4},      {2, 0, 4},          {5, 0, 4},          {255, 0, 4},
		   {0, 0x8000, 4}, {0, 0xfffffffc, 4}, {0, 0x3fff, 2},     {0, 2, 4},
		   {0, 0, 0},      {0, 0, 3},          {0, 0, 0xffffffff}, {0, 0, 8}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		unsigned data = window(bad[i].bar, bad[i].offset, bad[i].length);

		set_config(data, 4, 0xffffffff);
		config(data, 4);
	}
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_DFSELECT, 4), 0u);
}

/* ---- reset, state ---- */

Test(virtio_pci, system_reset_brings_everything_back)
{
	enable_msix();
	virtio_driver_start(&driver, 0, 1);
	set_queue_vector(0, 1);
	device_quiesce_wait(dev);
	pci_bus_reset(fake.env.pci);
	device_reset(dev);
	cr_assert_eq(virtio_read_status(vd), 0);
	virtio_driver_init_pci(&driver, &fake, vd, driver.devfn, gpa(MIB));
	set_reg(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	virtio_driver_start(&driver, 0, 1);
	echo(0);
	cr_assert(intx()->level);
}

Test(virtio_pci, driver_reset_lets_go_of_the_line)
{
	virtio_driver_start(&driver, 0, 1);
	echo(0);
	cr_assert(intx()->level);
	virtio_driver_reset(&driver);
	cr_assert_not(intx()->level);
	cr_assert_eq(isr(), 0);
}

static size_t save(void **data)
{
	struct state_writer *w = state_writer_create();
	size_t len;

	virtio_pci_save(vp, w);
	cr_assert_eq(state_writer_finish(w, data, &len), 0);
	return len;
}

Test(virtio_pci, saved_state_loads_into_another_instance)
{
	void *state, *transport, *again;
	size_t state_len, len;
	struct state_reader *r;

	enable_msix();
	virtio_driver_start(&driver, 0, 1);
	set_reg(VIRTIO_PCI_COMMON_MSIX, 2, 2);
	set_queue_vector(0, 1);
	state_len = fake_env_save(dev, &state);
	len = save(&transport);
	destroy();
	create();
	cr_assert_eq(fake_env_load(dev, state, state_len), 0);
	cr_assert_eq(state_reader_create(&r, transport, len), 0);
	cr_assert_eq(virtio_pci_load(vp, r), 0);
	state_reader_destroy(r);
	cr_assert_eq(save(&again), len);
	cr_assert_arr_eq(transport, again, len);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_MSIX, 2), 2u);
	free(state);
	free(transport);
	free(again);
}

Test(virtio_pci, saved_vector_that_does_not_exist_is_refused)
{
	struct state_reader *r;
	uint64_t vector = VECTORS;
	uint8_t *data, *at;
	size_t len = save((void **)&data);

	at = memmem(data, len, "config_vector", 13);
	memcpy(at + 13, &vector, sizeof(vector));
	cr_assert_eq(state_reader_create(&r, data, len), 0);
	cr_assert_neq(virtio_pci_load(vp, r), 0);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	state_reader_destroy(r);
	free(data);
}

Test(virtio_pci, without_msi_there_is_no_capability)
{
	struct msi_sink *sink = fake.env.msi;

	destroy();
	fake.env.msi = NULL;
	create();
	for (unsigned cap = config(PCI_CAPABILITY_LIST, 1); cap; cap = config(cap + 1, 1))
		cr_assert_neq(config(cap, 1), PCI_CAP_ID_MSIX);
	set_queue_vector(0, 0);
	cr_assert_eq(reg(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	virtio_driver_start(&driver, 0, 1);
	echo(0);
	cr_assert(intx()->level);
	fake.env.msi = sink;
}
