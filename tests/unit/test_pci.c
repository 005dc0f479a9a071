/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/fake_env.h"

/* A function with a 4 KiB MEM32 BAR 0, a 16 KiB MEM64 BAR 2 and a 32 byte I/O BAR 4. */
struct card {
	struct pci_function fn;
	struct bus_region mem32, mem64, io;
	uint64_t written;
	unsigned mapped, unmapped;
	unsigned cap, reads, writes;
};

static struct fake_env fake;

static uint64_t card_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	(void)size;
	return region->size + offset;
}

static void card_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	(void)region;
	(void)offset;
	(void)value;
	(void)size;
}

static void card_mapped(struct bus_region *region, uint64_t address)
{
	struct card *card = container_of(region, struct card, mem32);

	(void)address;
	card->mapped++;
}

static void card_unmapped(struct bus_region *region, uint64_t address)
{
	struct card *card = container_of(region, struct card, mem32);

	(void)address;
	card->unmapped++;
}

static void init_card(struct card *card, const char *name)
{
	const struct pci_ids ids = {
		.vendor = 0x1af4,
		.device = 0x1042,
		.subvendor = 0x1af4,
		.subdevice = 0x40,
		.revision = 1,
		.class_code = 0x018000,
	};

	memset(card, 0, sizeof(*card));
	pci_function_init(&card->fn, name, &ids, 1);
	card->mem32 = (struct bus_region){"mem32",     4096,          card_read, card_write,
					  card_mapped, card_unmapped, NULL,      0};
	card->mem64 = (struct bus_region){
		.name = "mem64", .size = 16384, .read = card_read, .write = card_write};
	card->io = (struct bus_region){
		.name = "io", .size = 32, .read = card_read, .write = card_write};
	pci_bar_init(&card->fn, 0, PCI_BAR_MEM32, false, &card->mem32);
	pci_bar_init(&card->fn, 2, PCI_BAR_MEM64, true, &card->mem64);
	pci_bar_init(&card->fn, 4, PCI_BAR_IO, false, &card->io);
}

static void plug(struct card *card, int devfn)
{
	struct vmm_error err = {0};

	cr_assert_eq(pci_plug(fake.env.pci, &card->fn, devfn, &err), 0, "%s", err.message);
}

static void drop_card(struct card *card)
{
	pci_unplug(&card->fn);
	pci_function_fini(&card->fn);
}

static uint32_t get(const struct card *card, unsigned offset, unsigned size)
{
	return pci_config_read(fake.env.pci, card->fn.devfn, offset, size);
}

static void set(const struct card *card, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_write(fake.env.pci, card->fn.devfn, offset, size, value);
}

static void setup(void)
{
	fake_env_init(&fake, 0);
}

static void teardown(void)
{
	fake_env_fini(&fake);
}

TestSuite(pci, .init = setup, .fini = teardown);

static void select_config(unsigned devfn, unsigned offset)
{
	fake_out(&fake, 0xcf8, 4, 0x80000000u | devfn << 8 | (offset & 0xfc));
}

Test(pci, host_bridge_is_found_through_cf8_as_linux_probes)
{
	fake_out(&fake, 0xcfb, 1, 1);
	cr_expect_eq(fake_in(&fake, 0xcf8, 4), 0u, "a byte write is no address write");
	fake_out(&fake, 0xcf8, 4, 0x80000000u);
	cr_expect_eq(fake_in(&fake, 0xcf8, 4), 0x80000000u);
	cr_expect_eq(fake_in(&fake, 0xcfc, 4), 0x00081b36u);
	cr_expect_eq(fake_in(&fake, 0xcfe, 2), 0x0008u);
	cr_expect_eq(fake_in(&fake, 0xcff, 1), 0x00u);
	select_config(0, PCI_CLASS_DEVICE);
	cr_expect_eq(fake_in(&fake, 0xcfe, 2), 0x0600u);
}

Test(pci, what_is_not_there_reads_as_ones)
{
	select_config(PCI_DEVFN(5, 0), 0);
	cr_expect_eq(fake_in(&fake, 0xcfc, 4), UINT32_MAX);
	cr_expect_eq(fake_in(&fake, 0xcfc, 2), 0xffffu);
	fake_out(&fake, 0xcf8, 4, 0x80010000u); /* bus 1 */
	cr_expect_eq(fake_in(&fake, 0xcfc, 4), UINT32_MAX);
	fake_out(&fake, 0xcf8, 4, 0); /* not enabled */
	cr_expect_eq(fake_in(&fake, 0xcfc, 4), UINT32_MAX);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_ECAM + (8 << 15), 4), UINT32_MAX);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_ECAM, 8) & UINT32_MAX, 0x00081b36u);
	cr_expect_eq(pci_config_read(fake.env.pci, 0, 2, 4), UINT32_MAX, "crosses a dword");
	cr_expect_eq(pci_config_read(fake.env.pci, 0, 4096, 4), UINT32_MAX);
}

Test(pci, both_ways_into_config_space_see_the_same)
{
	struct card card;

	init_card(&card, "card");
	plug(&card, -1);
	cr_assert_eq(card.fn.devfn, PCI_DEVFN(1, 0), "the first free slot");
	select_config(card.fn.devfn, 0);
	cr_expect_eq(fake_in(&fake, 0xcfc, 4), 0x10421af4u);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_ECAM + (1 << 15), 4), 0x10421af4u);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_ECAM + (1 << 15) + PCI_SUBSYSTEM_ID, 2), 0x40u);
	fake_mmio_write(&fake, FAKE_ECAM + (1 << 15) + PCI_INTERRUPT_LINE, 1, 0x5a);
	cr_expect_eq(get(&card, PCI_INTERRUPT_LINE, 1), 0x5au);
	fake_mmio_write(&fake, FAKE_ECAM + (1 << 15), 4, 0);
	cr_expect_eq(get(&card, PCI_VENDOR_ID, 2), 0x1af4u, "ids are read-only");
	drop_card(&card);
	cr_expect_eq(fake_in(&fake, 0xcfc, 4), UINT32_MAX);
}

Test(pci, bars_are_assigned_out_of_the_windows_and_aligned)
{
	struct card a, b;

	init_card(&a, "a");
	init_card(&b, "b");
	plug(&a, -1);
	plug(&b, -1);
	cr_expect_eq(get(&a, PCI_BASE_ADDRESS_0, 4), FAKE_MEM32);
	cr_expect_eq(get(&b, PCI_BASE_ADDRESS_0, 4), FAKE_MEM32 + 4096);
	cr_expect_eq(get(&a, PCI_BASE_ADDRESS_2, 4), 0xcu);
	cr_expect_eq(get(&a, PCI_BASE_ADDRESS_3, 4), 1u);
	cr_expect_eq(get(&b, PCI_BASE_ADDRESS_2, 4), 0xcu + 16384);
	cr_expect_eq(get(&b, PCI_BASE_ADDRESS_4, 4), FAKE_IO + 32 + 1);
	cr_expect_eq(get(&a, PCI_INTERRUPT_PIN, 1), 1u);
	cr_expect_eq(get(&a, PCI_INTERRUPT_LINE, 1), FAKE_INTX_GSI + 1u);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_MEM32, 4), UINT32_MAX, "not decoded yet");
	drop_card(&a);
	drop_card(&b);
}

Test(pci, a_full_window_is_an_error_with_a_sentence)
{
	struct bus_region huge = {.name = "huge", .size = UINT64_C(0x80000000)};
	const struct pci_ids ids = {.vendor = 1, .device = 2};
	struct pci_function fn;
	struct vmm_error err = {0};

	pci_function_init(&fn, "huge", &ids, 0);
	pci_bar_init(&fn, 0, PCI_BAR_MEM32, false, &huge);
	cr_expect_eq(pci_plug(fake.env.pci, &fn, -1, &err), -ENOSPC);
	cr_expect(strstr(err.message, "huge: no room"), "%s", err.message);
	cr_expect_null(fn.bus);
	pci_function_fini(&fn);
}

Test(pci, an_address_can_be_taken_once)
{
	struct card a, b;
	struct vmm_error err = {0};

	init_card(&a, "a");
	init_card(&b, "b");
	plug(&a, PCI_DEVFN(3, 0));
	cr_expect_eq(pci_plug(fake.env.pci, &b.fn, PCI_DEVFN(3, 0), &err), -EBUSY);
	cr_expect_eq(pci_plug(fake.env.pci, &b.fn, 256, &err), -EBUSY);
	plug(&b, PCI_DEVFN(3, 1));
	drop_card(&b);
	drop_card(&a);
}

Test(pci, bars_are_sized_as_the_specification_says)
{
	struct card card;

	init_card(&card, "card");
	plug(&card, -1);
	set(&card, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
	cr_expect_eq(get(&card, PCI_BASE_ADDRESS_0, 4), 0xfffff000u);
	set(&card, PCI_BASE_ADDRESS_2, 4, UINT32_MAX);
	set(&card, PCI_BASE_ADDRESS_3, 4, UINT32_MAX);
	cr_expect_eq(get(&card, PCI_BASE_ADDRESS_2, 4), 0xffffc00cu);
	cr_expect_eq(get(&card, PCI_BASE_ADDRESS_3, 4), 0xffffffffu);
	set(&card, PCI_BASE_ADDRESS_4, 4, UINT32_MAX);
	cr_expect_eq(get(&card, PCI_BASE_ADDRESS_4, 4), 0xffffffe1u);
	set(&card, PCI_BASE_ADDRESS_1, 4, UINT32_MAX);
	cr_expect_eq(get(&card, PCI_BASE_ADDRESS_1, 4), 0u);
	set(&card, PCI_ROM_ADDRESS, 4, UINT32_MAX);
	cr_expect_eq(get(&card, PCI_ROM_ADDRESS, 4), 0u);
	drop_card(&card);
}

Test(pci, decoding_follows_the_command_register_and_the_address)
{
	struct card card;

	init_card(&card, "card");
	plug(&card, -1);
	set(&card, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_MEM32 + 8, 4), 4096u + 8);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_MEM64 + 4, 4), 16384u + 4);
	cr_expect_eq(fake_in(&fake, FAKE_IO, 4), UINT32_MAX);
	set(&card, PCI_COMMAND, 2, PCI_COMMAND_IO);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_MEM32 + 8, 4), UINT32_MAX);
	cr_expect_eq(fake_in(&fake, FAKE_IO, 4), 32u);
	set(&card, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);

	set(&card, PCI_BASE_ADDRESS_0, 4, 0xd0000000u);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_MEM32 + 8, 4), UINT32_MAX);
	cr_expect_eq(fake_mmio_read(&fake, 0xd0000008, 4), 4096u + 8);
	set(&card, PCI_BASE_ADDRESS_3, 4, 3);
	cr_expect_eq(fake_mmio_read(&fake, FAKE_MEM64, 4), UINT32_MAX);
	cr_expect_eq(fake_mmio_read(&fake, UINT64_C(0x300000000), 4), 16384u);
	cr_expect_eq(card.mapped, 3u);
	cr_expect_eq(card.unmapped, 2u);
	drop_card(&card);
	cr_expect_eq(card.unmapped, 3u);
}

Test(pci, a_bar_outside_the_windows_is_not_decoded)
{
	static const uint32_t nowhere[] = {0, 0x1000, 0xfee00000, 0xe0000000, 0xfffff000};
	struct card card;

	init_card(&card, "card");
	plug(&card, -1);
	set(&card, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
		set(&card, PCI_BASE_ADDRESS_0, 4, nowhere[i]);
		cr_expect_eq(get(&card, PCI_BASE_ADDRESS_0, 4), nowhere[i]);
		cr_expect_null(card.mem32.bus, "decoded at %#x", nowhere[i]);
	}
	set(&card, PCI_BASE_ADDRESS_3, 4, 0xffffffff);
	cr_expect_null(card.mem64.bus);
	set(&card, PCI_BASE_ADDRESS_4, 4, 0x3f8);
	cr_expect_null(card.io.bus);
	set(&card, PCI_BASE_ADDRESS_4, 4, 0xffff0000u | FAKE_IO);
	cr_expect_null(card.io.bus);
	drop_card(&card);
}

Test(pci, a_bar_on_top_of_another_is_decoded_when_the_other_moves_away)
{
	struct card a, b;

	init_card(&a, "a");
	init_card(&b, "b");
	plug(&a, -1);
	plug(&b, -1);
	set(&a, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	set(&b, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	set(&a, PCI_BASE_ADDRESS_0, 4, FAKE_MEM32 + 4096); /* where b is */
	cr_expect_null(a.mem32.bus);
	cr_expect_not_null(b.mem32.bus);
	set(&b, PCI_BASE_ADDRESS_0, 4, FAKE_MEM32);
	cr_expect_eq(a.mem32.address, FAKE_MEM32 + 4096);
	cr_expect_eq(b.mem32.address, FAKE_MEM32);
	cr_expect_not_null(a.mem32.bus);

	set(&a, PCI_BASE_ADDRESS_0, 4, FAKE_MEM32);
	cr_expect_null(a.mem32.bus);
	drop_card(&b);
	cr_expect_not_null(a.mem32.bus, "unplugging makes room as well");
	drop_card(&a);
}

Test(pci, command_and_status_have_their_masks)
{
	struct card card;

	init_card(&card, "card");
	plug(&card, -1);
	set(&card, PCI_COMMAND, 4, UINT32_MAX);
	cr_expect_eq(get(&card, PCI_COMMAND, 2), 0x547u);
	cr_expect_eq(get(&card, PCI_STATUS, 2), 0u);
	drop_card(&card);
}

Test(pci, interrupt_line_status_and_disable_bit)
{
	struct card card;
	struct fake_irq *line = &fake.intx[1];

	init_card(&card, "card");
	plug(&card, -1);
	pci_intx_set(&card.fn, true);
	pci_intx_set(&card.fn, true);
	cr_expect(line->level);
	cr_expect_eq(line->sets, 1u);
	cr_expect_eq(get(&card, PCI_STATUS, 2), PCI_STATUS_INTERRUPT);
	cr_expect_eq(get(&card, PCI_COMMAND, 4), (uint32_t)PCI_STATUS_INTERRUPT << 16);
	set(&card, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	cr_expect_not(line->level);
	cr_expect_eq(get(&card, PCI_STATUS, 1), PCI_STATUS_INTERRUPT, "the status stays");
	set(&card, PCI_COMMAND, 2, 0);
	cr_expect(line->level);
	pci_intx_set(&card.fn, false);
	cr_expect_not(line->level);
	cr_expect_eq(get(&card, PCI_STATUS, 2), 0u);
	drop_card(&card);
}

Test(pci, a_shared_line_stays_up_until_the_last_lets_go)
{
	struct card a, b;
	struct fake_irq *line = &fake.intx[1];

	init_card(&a, "a");
	init_card(&b, "b");
	plug(&a, PCI_DEVFN(1, 0));
	plug(&b, PCI_DEVFN(1 + FAKE_INTX_LINES, 0));
	pci_intx_set(&a.fn, true);
	pci_intx_set(&b.fn, true);
	pci_intx_set(&a.fn, false);
	cr_expect(line->level);
	cr_expect_eq(get(&a, PCI_STATUS, 2), 0u);
	drop_card(&b);
	cr_expect_not(line->level, "unplugging lets go");
	cr_expect_eq(line->rises, 1u);
	drop_card(&a);
}

Test(pci, capabilities_form_a_list_and_end_at_256)
{
	const struct pci_ids ids = {.vendor = 1, .device = 2};
	struct pci_function fn;
	unsigned a, b;

	pci_function_init(&fn, "caps", &ids, 0);
	a = pci_cap_add(&fn, PCI_CAP_ID_VNDR, 15);
	b = pci_cap_add(&fn, PCI_CAP_ID_PM, 8);
	cr_expect_eq(a, 0x40u);
	cr_expect_eq(b, 0x50u, "dword aligned");
	cr_expect_eq(fn.config[PCI_CAPABILITY_LIST], a);
	cr_expect_eq(fn.config[a + 1], b);
	cr_expect_eq(fn.config[b + 1], 0u);
	cr_expect(fn.config[PCI_STATUS] & PCI_STATUS_CAP_LIST);
	cr_expect_eq(pci_cap_add(&fn, PCI_CAP_ID_VNDR, 200), 0u);
	cr_expect_eq(fn.config[b + 1], 0u);
	pci_function_fini(&fn);
}

static void count_read(struct pci_function *fn, unsigned offset, unsigned size)
{
	struct card *card = container_of(fn, struct card, fn);

	card->reads++;
	fn->config[card->cap + 4] = (uint8_t)(offset + size);
}

static void count_write(struct pci_function *fn, unsigned offset, unsigned size)
{
	struct card *card = container_of(fn, struct card, fn);

	(void)size;
	card->writes++;
	card->written = fn->config[offset];
}

Test(pci, hooks_see_accesses_behind_the_header_only)
{
	struct card card;

	init_card(&card, "card");
	card.cap = pci_cap_add(&card.fn, PCI_CAP_ID_VNDR, 16);
	card.fn.writable[card.cap + 8] = 0xf0;
	card.fn.config_reading = count_read;
	card.fn.config_written = count_write;
	plug(&card, -1);
	get(&card, PCI_VENDOR_ID, 4);
	set(&card, PCI_COMMAND, 2, 0);
	cr_expect_eq(card.reads + card.writes, 0u);
	cr_expect_eq(get(&card, card.cap + 4, 1), card.cap + 5);
	set(&card, card.cap + 8, 1, 0xff);
	cr_expect_eq(card.written, 0xf0u);
	cr_expect_eq(card.reads, 1u);
	cr_expect_eq(card.writes, 1u);
	drop_card(&card);
}

Test(pci, reset_brings_the_boot_addresses_back)
{
	struct card card;

	init_card(&card, "card");
	plug(&card, -1);
	set(&card, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	set(&card, PCI_BASE_ADDRESS_0, 4, 0xd0000000u);
	pci_intx_set(&card.fn, true);
	select_config(card.fn.devfn, 0);
	pci_bus_reset(fake.env.pci);
	cr_expect_eq(get(&card, PCI_COMMAND, 4), 0u);
	cr_expect_eq(get(&card, PCI_BASE_ADDRESS_0, 4), FAKE_MEM32);
	cr_expect_null(card.mem32.bus);
	cr_expect_eq(fake_in(&fake, 0xcf8, 4), 0u);
	pci_intx_set(&card.fn, true);
	cr_expect(fake.intx[1].level, "no longer disabled");
	pci_intx_set(&card.fn, false);
	drop_card(&card);
}

static size_t save(struct card *card, void **data)
{
	struct state_writer *w = state_writer_create();
	size_t len;

	pci_function_save(&card->fn, w);
	cr_assert_eq(state_writer_finish(w, data, &len), 0);
	return len;
}

static int load(struct card *card, const void *data, size_t len)
{
	struct state_reader *r;
	int rc;

	cr_assert_eq(state_reader_create(&r, data, len), 0);
	rc = pci_function_load(&card->fn, r);
	state_reader_destroy(r);
	return rc;
}

Test(pci, saved_state_comes_back_and_maps)
{
	struct card a, b;
	void *first, *second;
	size_t first_len, second_len;

	init_card(&a, "a");
	plug(&a, PCI_DEVFN(1, 0));
	set(&a, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	set(&a, PCI_BASE_ADDRESS_0, 4, 0xd0000000u);
	pci_intx_set(&a.fn, true);
	first_len = save(&a, &first);
	drop_card(&a);
	cr_assert_not(fake.intx[1].level);

	init_card(&b, "b");
	plug(&b, PCI_DEVFN(1, 0));
	cr_assert_eq(load(&b, first, first_len), 0);
	cr_expect_eq(b.mem32.address, 0xd0000000u);
	cr_expect_not_null(b.mem32.bus);
	cr_expect(fake.intx[1].level);
	second_len = save(&b, &second);
	cr_assert_eq(first_len, second_len);
	cr_expect_eq(memcmp(first, second, first_len), 0);
	drop_card(&b);
	free(first);
	free(second);
}

Test(pci, state_of_another_function_is_refused)
{
	struct card a, b;
	void *data;
	size_t len;

	init_card(&a, "a");
	plug(&a, -1);
	len = save(&a, &data);
	init_card(&b, "b");
	b.fn.config[PCI_DEVICE_ID] ^= 1;
	plug(&b, -1);
	cr_expect_eq(load(&b, data, len), -EPROTO);
	cr_expect_neq(load(&a, data, len / 2), 0);
	cr_expect_eq(load(&a, data, len), 0);
	drop_card(&a);
	drop_card(&b);
	free(data);
}

Test(pci, the_bus_saves_its_address_register)
{
	struct state_writer *w = state_writer_create();
	struct state_reader *r;
	void *data;
	size_t len;

	fake_out(&fake, 0xcf8, 4, 0x80001234u);
	pci_bus_save(fake.env.pci, w);
	cr_assert_eq(state_writer_finish(w, &data, &len), 0);
	fake_out(&fake, 0xcf8, 4, 0);
	cr_assert_eq(state_reader_create(&r, data, len), 0);
	cr_expect_eq(pci_bus_load(fake.env.pci, r), 0);
	cr_expect_eq(fake_in(&fake, 0xcf8, 4), 0x80001234u);
	state_reader_destroy(r);
	free(data);
}
