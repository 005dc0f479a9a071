/* SPDX-License-Identifier: MIT */
/* Giving guest memory back to the host: what is gone, what stays, and what the host sees of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/memory.h"

#define PAGE GUEST_PAGE_SIZE

static const unsigned kinds[] = {0, GUEST_MEMORY_SHARED};

/* Two adjacent regions of 4 MiB, all written to. */
static struct guest_memory *filled(unsigned flags)
{
	struct guest_memory *m;

	cr_assert_eq(guest_memory_create(&m, NULL), 0);
	cr_assert_eq(guest_memory_add(m, gpa(0), 4 * MIB, flags, NULL), 0);
	cr_assert_eq(guest_memory_add(m, gpa(4 * MIB), 4 * MIB, flags, NULL), 0);
	cr_assert_eq(guest_fill(m, gpa(0), 0xaa, 8 * MIB), 0);
	return m;
}

/* Pages of the range that the host holds memory for. */
static uint64_t resident(struct guest_memory *m, gpa_t addr, uint64_t len)
{
	unsigned char *pages = malloc(len / PAGE);
	uint64_t n, count = 0;
	void *host = guest_resolve(m, addr, len, &n);

	cr_assert(host && n == len);
	cr_assert_eq(mincore(host, len, pages), 0);
	for (uint64_t i = 0; i < len / PAGE; i++)
		count += pages[i] & 1;
	free(pages);
	return count;
}

static bool all_are(struct guest_memory *m, gpa_t addr, uint64_t len, uint8_t byte)
{
	uint8_t *bytes = malloc(len);
	bool all = true;

	cr_assert_eq(guest_read(m, addr, bytes, len), 0);
	for (uint64_t i = 0; i < len; i++)
		all = all && bytes[i] == byte;
	free(bytes);
	return all;
}

Test(memory_discard, memory_goes_back_to_the_host_and_reads_as_zero)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct guest_memory *m = filled(kinds[k]);
		uint64_t given;

		cr_assert_eq(resident(m, gpa(MIB), MIB), MIB / PAGE);
		cr_assert_eq(guest_memory_discard(m, gpa(MIB), MIB, &given), 0);
		cr_assert_eq(given, MIB);
		cr_assert_eq(resident(m, gpa(MIB), MIB), 0u, "kind %zu", k);
		cr_assert(all_are(m, gpa(MIB), MIB, 0));
		cr_assert(all_are(m, gpa(0), MIB, 0xaa));
		cr_assert(all_are(m, gpa(2 * MIB), MIB, 0xaa));
		/* It is RAM as before. */
		cr_assert_eq(guest_fill(m, gpa(MIB), 0x55, MIB), 0);
		cr_assert(all_are(m, gpa(MIB), MIB, 0x55));
		guest_memory_destroy(m);
	}
}

Test(memory_discard, file_of_shared_memory_gives_its_blocks_back)
{
	struct guest_memory *m = filled(GUEST_MEMORY_SHARED);
	struct stat before, after;

	cr_assert_eq(fstat(guest_memory_region(m, 0)->fd, &before), 0);
	cr_assert_eq(guest_memory_discard(m, gpa(0), 4 * MIB, NULL), 0);
	cr_assert_eq(fstat(guest_memory_region(m, 0)->fd, &after), 0);
	cr_assert_eq(after.st_size, before.st_size);
	cr_assert_eq(before.st_blocks * 512, 4 * (int64_t)MIB);
	cr_assert_eq(after.st_blocks, 0);
	guest_memory_destroy(m);
}

Test(memory_discard, ends_that_are_no_whole_page_stay)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct guest_memory *m = filled(kinds[k]);
		uint64_t given;

		cr_assert_eq(guest_memory_discard(m, gpa(PAGE - 1), 2 * PAGE + 2, &given), 0);
		cr_assert_eq(given, 2 * PAGE);
		cr_assert(all_are(m, gpa(0), PAGE, 0xaa));
		cr_assert(all_are(m, gpa(PAGE), 2 * PAGE, 0));
		cr_assert(all_are(m, gpa(3 * PAGE), PAGE, 0xaa));
		cr_assert_eq(guest_memory_discard(m, gpa(4 * PAGE + 1), PAGE, &given), 0);
		cr_assert_eq(given, 0u);
		cr_assert(all_are(m, gpa(4 * PAGE), 2 * PAGE, 0xaa));
		guest_memory_destroy(m);
	}
}

Test(memory_discard, range_may_span_regions)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct guest_memory *m = filled(kinds[k]);
		uint64_t given;

		cr_assert_eq(guest_memory_discard(m, gpa(3 * MIB), 2 * MIB, &given), 0);
		cr_assert_eq(given, 2 * MIB);
		cr_assert(all_are(m, gpa(3 * MIB), 2 * MIB, 0));
		cr_assert(all_are(m, gpa(5 * MIB), MIB, 0xaa));
		guest_memory_destroy(m);
	}
}

Test(memory_discard, what_is_not_all_ram_stays_as_it_is)
{
	static const struct {
		uint64_t at, len;
	} bad[] = {{7 * MIB, 2 * MIB}, {8 * MIB, PAGE}, {PAGE, UINT64_MAX}, {UINT64_MAX, 2}};
	struct guest_memory *m = filled(0);
	uint64_t given = 1;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_eq(guest_memory_discard(m, gpa(bad[i].at), bad[i].len, &given), -EFAULT);
		cr_assert_eq(given, 0u);
	}
	cr_assert_eq(guest_memory_discard(m, gpa(0), 0, &given), 0);
	cr_assert(all_are(m, gpa(0), 8 * MIB, 0xaa));
	guest_memory_destroy(m);
}

Test(memory_discard, only_whole_large_pages_go_back)
{
	struct guest_memory *m = filled(0);
	/* As if they were large: the host of this test need not have any. */
	struct guest_region *r = (struct guest_region *)(uintptr_t)guest_memory_region(m, 0);
	uint64_t given;

	r->page_size = 2 * MIB;
	cr_assert_eq(guest_memory_discard(m, gpa(PAGE), 3 * MIB, &given), 0);
	cr_assert_eq(given, 0u);
	cr_assert_eq(guest_memory_discard(m, gpa(MIB), 3 * MIB, &given), 0);
	cr_assert_eq(given, 2 * MIB);
	cr_assert(all_are(m, gpa(0), 2 * MIB, 0xaa));
	cr_assert(all_are(m, gpa(2 * MIB), 2 * MIB, 0));
	guest_memory_destroy(m);
}

Test(memory_discard, discarded_pages_are_dirty)
{
	struct guest_memory *m = filled(0);

	cr_assert_eq(guest_dirty_log(m, true), 0);
	cr_assert_eq(guest_memory_discard(m, gpa(PAGE), 2 * PAGE, NULL), 0);
	cr_assert_not(guest_dirty_test_clear(m, gpa(0)));
	cr_assert(guest_dirty_test_clear(m, gpa(PAGE)));
	cr_assert(guest_dirty_test_clear(m, gpa(2 * PAGE)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(3 * PAGE)));
	guest_memory_destroy(m);
}

Test(memory_discard, pin_stays_a_pointer_to_the_same_memory)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct guest_memory *m = filled(kinds[k]);
		struct guest_pin pin;

		cr_assert_eq(guest_pin(m, gpa(PAGE), PAGE, &pin), 0);
		cr_assert_eq(guest_memory_discard(m, gpa(PAGE), PAGE, NULL), 0);
		memset(pin.host, 0x77, PAGE);
		guest_unpin(&pin, GUEST_WRITE, PAGE);
		cr_assert(all_are(m, gpa(PAGE), PAGE, 0x77));
		guest_memory_destroy(m);
	}
}

Test(memory_discard, pointers_lead_back_to_addresses)
{
	struct guest_memory *m = filled(0);
	uint64_t n;
	char *host = guest_resolve(m, gpa(5 * MIB + 7), 1, &n);
	gpa_t addr;
	int outside;

	cr_assert(guest_address(m, host, &addr));
	cr_assert_eq(addr.v, 5 * MIB + 7);
	cr_assert_not(guest_address(m, &outside, &addr));
	cr_assert_not(guest_address(m, NULL, &addr));
	guest_memory_destroy(m);
}
