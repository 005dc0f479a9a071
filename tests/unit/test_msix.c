/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/fake_env.h"

#define VECTORS        3u
#define ENTRY(i, word) (FAKE_MEM32 + 16 * (i) + 4 * (word))
#define PBA            (FAKE_MEM32 + 2048)
#define CONTROL_WORD   3

static struct fake_env fake;
static struct pci_function fn;
static unsigned cap;

static void init_function(unsigned vectors)
{
	const struct pci_ids ids = {.vendor = 0x1af4, .device = 0x1042};

	pci_function_init(&fn, "card", &ids, 1);
	cr_assert_eq(pci_msix_init(&fn, vectors, 0, &fake.msi.sink), 0);
	cap = fn.next_cap;
	pci_bar_init(&fn, 0, PCI_BAR_MEM32, false, pci_msix_region(&fn));
	cr_assert_eq(pci_plug(fake.env.pci, &fn, PCI_DEVFN(1, 0), NULL), 0);
	pci_config_write(fake.env.pci, fn.devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

static void setup(void)
{
	fake_env_init(&fake, 0);
	init_function(VECTORS);
}

static void teardown(void)
{
	pci_unplug(&fn);
	pci_function_fini(&fn);
	fake_env_fini(&fake);
}

TestSuite(msix, .init = setup, .fini = teardown);

static void control(uint32_t flags)
{
	pci_config_write(fake.env.pci, fn.devfn, cap + PCI_MSIX_FLAGS, 2, flags);
}

static void mask(unsigned i, bool masked)
{
	fake_mmio_write(&fake, ENTRY(i, CONTROL_WORD), 4, masked);
}

static void program(unsigned i, uint32_t data)
{
	fake_mmio_write(&fake, ENTRY(i, 0), 4, 0xfee01000);
	fake_mmio_write(&fake, ENTRY(i, 1), 4, 0);
	fake_mmio_write(&fake, ENTRY(i, 2), 4, data);
	mask(i, false);
}

static uint64_t pending(void)
{
	return fake_mmio_read(&fake, PBA, 8);
}

Test(msix, the_capability_says_where_the_table_is)
{
	cr_expect_eq(fn.config[cap], PCI_CAP_ID_MSIX);
	cr_expect_eq(pci_config_read(fake.env.pci, fn.devfn, cap + PCI_MSIX_FLAGS, 2), VECTORS - 1);
	cr_expect_eq(pci_config_read(fake.env.pci, fn.devfn, cap + PCI_MSIX_TABLE, 4), 0u);
	cr_expect_eq(pci_config_read(fake.env.pci, fn.devfn, cap + PCI_MSIX_PBA, 4), 2048u);
	control(0xffff);
	cr_expect_eq(pci_config_read(fake.env.pci, fn.devfn, cap + PCI_MSIX_FLAGS, 2),
		     0xc000u | (VECTORS - 1));
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(1, CONTROL_WORD), 4), 1u, "masked at reset");
}

Test(msix, disabled_sends_nothing_and_says_so)
{
	program(0, 7);
	cr_expect_not(pci_msix_enabled(&fn));
	cr_expect_not(pci_msix_signal(&fn, 0));
	cr_expect_eq(fake.msi.created, 0u);
	cr_expect_eq(pending(), 0u);
}

Test(msix, a_signal_sends_the_message)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	program(1, 0x41);
	cr_expect(pci_msix_signal(&fn, 1));
	cr_expect_eq(fake.msi.signals, 1u);
	cr_expect_eq(fake.msi.messages[0].address, 0xfee01000u);
	cr_expect_eq(fake.msi.messages[0].data, 0x41u);
	cr_expect(pci_msix_signal(&fn, VECTORS), "no such vector: ignored");
	cr_expect(pci_msix_signal(&fn, UINT32_MAX));
	cr_expect_eq(fake.msi.signals, 1u);
}

Test(msix, a_masked_vector_pends_and_is_sent_when_unmasked)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 1);
	mask(0, true);
	pci_msix_signal(&fn, 0);
	pci_msix_signal(&fn, 0);
	cr_expect_eq(fake.msi.signals, 0u);
	cr_expect_eq(pending(), 1u);
	cr_expect_eq(fake_mmio_read(&fake, PBA, 4), 1u);
	cr_expect_eq(fake_mmio_read(&fake, PBA + 4, 4), 0u);
	mask(0, false);
	cr_expect_eq(fake.msi.signals, 1u, "several pending signals are one message");
	cr_expect_eq(pending(), 0u);
}

Test(msix, the_function_mask_holds_all_vectors_back)
{
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	for (unsigned i = 0; i < VECTORS; i++) {
		program(i, 10 + i);
		pci_msix_signal(&fn, i);
	}
	mask(1, true);
	cr_expect_eq(pending(), 7u);
	control(PCI_MSIX_FLAGS_ENABLE);
	cr_expect_eq(fake.msi.signals, 2u);
	cr_expect_eq(pending(), 2u);
	cr_expect_eq(fake_msi_count(&fake, 10), 1u);
	cr_expect_eq(fake_msi_count(&fake, 12), 1u);
}

Test(msix, pending_bits_are_read_only)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	fake_mmio_write(&fake, PBA, 8, UINT64_MAX);
	cr_expect_eq(pending(), 0u);
	cr_expect_eq(fake_mmio_read(&fake, PBA + 8, 8), 0u);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(VECTORS, 0), 4), 0u);
	fake_mmio_write(&fake, ENTRY(VECTORS, 0), 4, 1);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(VECTORS, 0), 4), 0u);
}

Test(msix, routes_change_only_with_the_message)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 1);
	cr_expect_eq(fake.msi.sets, 1u);
	for (unsigned i = 0; i < 10; i++) {
		mask(0, true);
		mask(0, false);
	}
	cr_expect_eq(fake.msi.sets, 1u);
	mask(0, true);
	fake_mmio_write(&fake, ENTRY(0, 2), 4, 2);
	cr_expect_eq(fake.msi.sets, 1u, "not while it is masked");
	mask(0, false);
	cr_expect_eq(fake.msi.sets, 2u);
	fake_mmio_write(&fake, ENTRY(0, 2), 4, 3);
	cr_expect_eq(fake.msi.sets, 3u, "at once where the guest forgets to mask");
	pci_msix_signal(&fn, 0);
	cr_expect_eq(fake_msi_count(&fake, 3), 1u);
	cr_expect_eq(fake.msi.created, 1u);
}

Test(msix, eight_byte_accesses_reach_two_words)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	fake_mmio_write(&fake, ENTRY(2, 0), 8, UINT64_C(0x1fee02003));
	fake_mmio_write(&fake, ENTRY(2, 2), 8, 0x55);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(2, 0), 8), UINT64_C(0x1fee02000));
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(2, 2), 8), 0x55u);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(2, 0) + 1, 1), 0x20u);
	fake_mmio_write(&fake, ENTRY(2, 2), 2, 0x66);
	fake_mmio_write(&fake, ENTRY(2, 2) + 2, 4, 0x66);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(2, 2), 4), 0x55u, "undefined widths vanish");
	pci_msix_signal(&fn, 2);
	cr_expect_eq(fake.msi.messages[0].address, UINT64_C(0x1fee02000));
}

Test(msix, vectors_go_back_when_disabled)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 1);
	program(1, 2);
	cr_expect_eq(fake.msi.live, 2u);
	control(0);
	cr_expect_eq(fake.msi.live, 0u);
	control(PCI_MSIX_FLAGS_ENABLE);
	cr_expect_eq(fake.msi.live, 2u);
	pci_msix_signal(&fn, 1);
	cr_expect_eq(fake_msi_count(&fake, 2), 1u);
}

Test(msix, an_exhausted_sink_is_reported_and_tried_again)
{
	fake.msi.limit = 1;
	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 1);
	program(1, 2);
	cr_expect(strstr(fake.last_log, "vector 1"), "%s", fake.last_log);
	pci_msix_signal(&fn, 1);
	cr_expect_eq(pending(), 2u);
	fake.msi.limit = 2;
	mask(1, true);
	mask(1, false);
	cr_expect_eq(fake_msi_count(&fake, 2), 1u);
	fake.msi.set_error = -ENOSPC;
	program(2, 3);
	pci_msix_signal(&fn, 2);
	cr_expect_eq(fake_msi_count(&fake, 3), 0u);
}

Test(msix, reset_masks_and_clears)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 1);
	mask(0, true);
	pci_msix_signal(&fn, 0);
	pci_function_reset(&fn);
	cr_expect_not(pci_msix_enabled(&fn));
	cr_expect_eq(fake.msi.live, 0u);
	pci_config_write(fake.env.pci, fn.devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_expect_eq(pending(), 0u);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(0, CONTROL_WORD), 4), 1u);
	cr_expect_eq(fake_mmio_read(&fake, ENTRY(0, 2), 4), 0u);
}

Test(msix, saved_state_comes_back)
{
	struct state_writer *w = state_writer_create();
	struct state_reader *r;
	void *data;
	size_t len;

	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 1);
	program(1, 2);
	mask(1, true);
	pci_msix_signal(&fn, 1);
	pci_function_save(&fn, w);
	cr_assert_eq(state_writer_finish(w, &data, &len), 0);
	pci_function_reset(&fn);

	cr_assert_eq(state_reader_create(&r, data, len), 0);
	cr_assert_eq(pci_function_load(&fn, r), 0);
	cr_expect_eq(pending(), 2u);
	pci_msix_signal(&fn, 0);
	cr_expect_eq(fake_msi_count(&fake, 1), 1u);
	mask(1, false);
	cr_expect_eq(fake_msi_count(&fake, 2), 1u);
	state_reader_destroy(r);
	free(data);
}

Test(msix, initialisation_checks_its_arguments)
{
	struct pci_function other;
	const struct pci_ids ids = {.vendor = 1, .device = 2};

	pci_function_init(&other, "other", &ids, 0);
	cr_expect_eq(pci_msix_init(&other, 0, 0, &fake.msi.sink), -EINVAL);
	cr_expect_eq(pci_msix_init(&other, 2049, 0, &fake.msi.sink), -EINVAL);
	cr_expect_eq(pci_msix_init(&other, 1, 6, &fake.msi.sink), -EINVAL);
	pci_cap_add(&other, PCI_CAP_ID_VNDR, 190);
	cr_expect_eq(pci_msix_init(&other, 1, 0, &fake.msi.sink), -ENOSPC);
	cr_expect_null(pci_msix_region(&other));
	pci_function_fini(&other);

	pci_function_init(&other, "other", &ids, 0);
	cr_expect_eq(pci_msix_init(&other, 2048, 0, &fake.msi.sink), 0);
	cr_expect_eq(pci_msix_region(&other)->size, 65536u);
	pci_function_fini(&other);
}

/* A device's loop signals while a vCPU masks and unmasks: nothing may get lost. */

#define RACE_SIGNALS 20000u

static _Atomic bool racing;

static void *mask_for_a_while(void *arg)
{
	(void)arg;
	while (racing) {
		mask(0, true);
		mask(0, false);
	}
	return NULL;
}

Test(msix, no_signal_is_lost_against_masking)
{
	pthread_t vcpu;

	control(PCI_MSIX_FLAGS_ENABLE);
	program(0, 9);
	racing = true;
	cr_assert_eq(pthread_create(&vcpu, NULL, mask_for_a_while, NULL), 0);
	for (unsigned i = 0; i < RACE_SIGNALS; i++) {
		const unsigned before = fake.msi.signals;

		pci_msix_signal(&fn, 0);
		/* Sent, or pending until the other thread unmasks. */
		while (fake.msi.signals == before)
			;
	}
	racing = false;
	pthread_join(vcpu, NULL);
	cr_expect_eq(fake.msi.signals, RACE_SIGNALS);
	cr_expect_eq(pending(), 0u);
}
