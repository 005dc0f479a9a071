/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/memory.h"

#define PAGE GUEST_PAGE_SIZE

static struct vmm_error err;

/* RAM at 64K..128K, 128K..192K (adjacent) and 1M..1M+16K (apart), added out of order. */
static struct guest_memory *three_regions(void)
{
	struct guest_memory *m;

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(MIB), 16 * KIB, 0, &err), 0, "%s", err.message);
	cr_assert_eq(guest_memory_add(m, gpa(128 * KIB), 64 * KIB, 0, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(64 * KIB), 64 * KIB, 0, &err), 0);
	return m;
}

Test(memory, regions_are_sorted_and_zero_filled)
{
	struct guest_memory *m = three_regions();
	uint8_t page[PAGE], zero[PAGE] = {0};

	cr_assert_eq(guest_memory_count(m), 3);
	cr_assert_eq(guest_memory_region(m, 0)->base.v, 64 * KIB);
	cr_assert_eq(guest_memory_region(m, 1)->base.v, 128 * KIB);
	cr_assert_eq(guest_memory_region(m, 2)->base.v, MIB);
	cr_assert_null(guest_memory_region(m, 3));
	cr_assert_eq(guest_memory_size(m), 144 * KIB);
	for (uint64_t a = 64 * KIB; a < 192 * KIB; a += PAGE) {
		cr_assert_eq(guest_read(m, gpa(a), page, PAGE), 0);
		cr_assert_eq(memcmp(page, zero, PAGE), 0);
	}
	guest_memory_destroy(m);
}

Test(memory, bad_regions_are_refused_with_a_sentence)
{
	struct guest_memory *m = three_regions();
	static const struct {
		uint64_t base, size;
		int want;
	} bad[] = {
		{2 * MIB, 0, -EINVAL},
		{2 * MIB, 100, -EINVAL},
		{2 * MIB + 1, PAGE, -EINVAL},
		{64 * KIB, PAGE, -EINVAL},                  /* the same start */
		{0, 64 * KIB + PAGE, -EINVAL},              /* into the first */
		{0, 16 * MIB, -EINVAL},                     /* around all */
		{192 * KIB - PAGE, PAGE, -EINVAL},          /* the last page of one */
		{MIB + PAGE, PAGE, -EINVAL},                /* inside */
		{UINT64_MAX - PAGE + 1, 2 * PAGE, -EINVAL}, /* wraps */
		{2 * MIB, UINT64_MAX - PAGE + 1, -EINVAL},  /* wraps */
		{2 * MIB, UINT64_C(1) << 63, -ENOMEM},
		{2 * MIB, UINT64_C(1) << 56, -ENOMEM},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		err.code = 0;
		cr_assert_eq(guest_memory_add(m, gpa(bad[i].base), bad[i].size, 0, &err),
			     bad[i].want, "case %u", i);
		cr_assert_eq(err.code, -bad[i].want);
		cr_assert_eq(strncmp(err.message, "guest memory", 12), 0);
	}
	cr_assert_eq(guest_memory_count(m), 3);
	guest_memory_destroy(m);
}

Test(memory, there_is_room_for_sixteen_regions)
{
	struct guest_memory *m;

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	for (uint64_t i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++)
		cr_assert_eq(guest_memory_add(m, gpa(2 * i * PAGE), PAGE, 0, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(GIB), PAGE, 0, &err), -ENOSPC);
	guest_memory_destroy(m);
}

Test(memory, huge_page_regions_need_huge_alignment)
{
	struct guest_memory *m;
	int r;

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(0), PAGE, GUEST_MEMORY_HUGEPAGES, &err), -EINVAL);
	cr_assert_eq(guest_memory_add(m, gpa(PAGE), 2 * MIB, GUEST_MEMORY_HUGEPAGES, &err),
		     -EINVAL);
	/* More than any host has reserved: refused now, not by a signal at the first touch. */
	r = guest_memory_add(m, gpa(0), 1024 * GIB, GUEST_MEMORY_HUGEPAGES, &err);
	cr_assert_lt(r, 0);
	cr_assert_eq(guest_memory_count(m), 0);
	guest_memory_destroy(m);
}

Test(memory, large_regions_are_aligned_for_huge_pages)
{
	struct guest_memory *m;
	const struct guest_region *r;

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(0), 6 * MIB, 0, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(4 * GIB + PAGE), 6 * MIB, 0, &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		r = guest_memory_region(m, i);
		cr_assert_eq(((uintptr_t)r->host ^ r->base.v) % (2 * MIB), 0);
		memset(r->host, 1, r->size);
	}
	guest_memory_destroy(m);
}

Test(memory, a_large_guest_costs_nothing_until_it_is_touched)
{
	struct guest_memory *m;

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(0), 64 * GIB, 0, &err), 0, "%s", err.message);
	cr_assert_eq(guest_write(m, gpa(63 * GIB), "x", 1), 0);
	guest_memory_destroy(m);
}

Test(memory, prealloc_makes_every_page_resident)
{
	static const unsigned kinds[] = {0, GUEST_MEMORY_SHARED};

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct guest_memory *m;
		const struct guest_region *r;
		unsigned char resident[1024];

		cr_assert_eq(guest_memory_create(&m, &err), 0);
		cr_assert_eq(guest_memory_add(m, gpa(0), 4 * MIB, kinds[k] | GUEST_MEMORY_PREALLOC,
					      &err),
			     0);
		r = guest_memory_region(m, 0);
		cr_assert(r->promised);
		cr_assert_eq(mincore(r->host, r->size, resident), 0);
		for (unsigned i = 0; i < sizeof(resident); i++)
			cr_assert(resident[i] & 1, "page %u", i);
		guest_memory_destroy(m);
	}
}

Test(memory, shared_memory_is_a_file_that_cannot_be_resized)
{
	struct guest_memory *m;
	const struct guest_region *r;
	char text[6] = "";

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(0), 2 * PAGE, 0, &err), 0);
	cr_assert_eq(guest_memory_add(m, gpa(MIB), 2 * PAGE, GUEST_MEMORY_SHARED, &err), 0);
	cr_assert_eq(guest_memory_region(m, 0)->fd, -1);
	r = guest_memory_region(m, 1);
	cr_assert_eq(guest_write(m, gpa(MIB + 5), "hello", 5), 0);
	cr_assert_eq(pread(r->fd, text, 5, (off_t)r->fd_offset + 5), 5);
	cr_assert_str_eq(text, "hello");
	cr_assert_neq(ftruncate(r->fd, 0), 0);
	cr_assert_neq(ftruncate(r->fd, (off_t)GIB), 0);
	cr_assert(fcntl(r->fd, F_GETFD) & FD_CLOEXEC);
	guest_memory_destroy(m);
}

Test(memory, copies_cross_adjacent_regions)
{
	struct guest_memory *m = three_regions();
	uint8_t in[300], out[300];

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	cr_assert_eq(guest_write(m, gpa(128 * KIB - 100), in, sizeof(in)), 0);
	cr_assert_eq(guest_read(m, gpa(128 * KIB - 100), out, sizeof(out)), 0);
	cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
	cr_assert_eq(((uint8_t *)guest_memory_region(m, 1)->host)[0], 100);
	cr_assert_eq(guest_fill(m, gpa(128 * KIB - 10), 0xee, 20), 0);
	cr_assert_eq(guest_read(m, gpa(128 * KIB - 11), out, 22), 0);
	cr_assert_eq(out[0], 89);
	for (unsigned i = 1; i < 21; i++)
		cr_assert_eq(out[i], 0xee);
	cr_assert_eq(out[21], 110);
	guest_memory_destroy(m);
}

Test(memory, a_range_that_is_not_all_ram_is_not_touched_at_all)
{
	struct guest_memory *m = three_regions();
	static const struct {
		uint64_t addr, len;
	} bad[] = {
		{0, 1},
		{64 * KIB - 1, 1},
		{64 * KIB - 1, 2},
		{192 * KIB - 1, 2},
		{192 * KIB, 1},
		{MIB + 16 * KIB - 1, 2},
		{MIB - 8, 16},
		{64 * KIB, MIB}, /* over the hole */
		{UINT64_MAX, 1},
		{UINT64_MAX, 2},
		{UINT64_MAX - 4, 64},
		{MIB, UINT64_MAX},
		{MIB, UINT64_MAX - MIB + 1},
		{64 * KIB, UINT64_MAX - 64 * KIB + 2},
	};
	char *buf = malloc(2 * MIB);
	uint8_t probe;

	memset(buf, 0x55, 2 * MIB);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		gpa_t a = gpa(bad[i].addr);

		cr_assert_not(guest_memory_contains(m, a, bad[i].len), "case %u", i);
		cr_assert_eq(guest_read(m, a, buf, bad[i].len), -EFAULT);
		cr_assert_eq(guest_write(m, a, buf, bad[i].len), -EFAULT);
		cr_assert_eq(guest_fill(m, a, 0x55, bad[i].len), -EFAULT);
	}
	cr_assert_eq(buf[0], 0x55);
	for (uint64_t a = 64 * KIB; a < 192 * KIB; a++) {
		cr_assert_eq(guest_read(m, gpa(a), &probe, 1), 0);
		cr_assert_eq(probe, 0);
	}
	free(buf);
	guest_memory_destroy(m);
}

Test(memory, zero_length_is_always_fine_but_cannot_be_pinned)
{
	struct guest_memory *m = three_regions();
	struct guest_pin pin;

	cr_assert(guest_memory_contains(m, gpa(0), 0));
	cr_assert(guest_memory_contains(m, gpa(UINT64_MAX), 0));
	cr_assert_eq(guest_read(m, gpa(0), NULL, 0), 0);
	cr_assert_eq(guest_write(m, gpa(0), NULL, 0), 0);
	cr_assert_eq(guest_fill(m, gpa(0), 1, 0), 0);
	cr_assert_eq(guest_pin(m, gpa(MIB), 0, &pin), -EFAULT);
	guest_memory_destroy(m);
}

Test(memory, ram_can_be_near_the_end_of_the_address_space)
{
	struct guest_memory *m;
	uint8_t byte = 7;
	struct guest_pin pin;

	cr_assert_eq(guest_memory_create(&m, &err), 0);
	/* One page below the end: base + size may not wrap to zero. */
	cr_assert_eq(guest_memory_add(m, gpa(UINT64_MAX - 2 * PAGE + 1), PAGE, 0, &err), 0);
	cr_assert_eq(guest_write(m, gpa(UINT64_MAX - PAGE), &byte, 1), 0);
	cr_assert_eq(guest_write(m, gpa(UINT64_MAX - PAGE), &byte, 2), -EFAULT);
	cr_assert_eq(guest_pin(m, gpa(UINT64_MAX - PAGE), UINT64_MAX, &pin), -EFAULT);
	guest_memory_destroy(m);
}

Test(memory, a_pin_gives_a_pointer_into_one_region)
{
	struct guest_memory *m = three_regions();
	struct guest_pin pin, other;

	cr_assert_eq(guest_pin(m, gpa(MIB + 16), 64, &pin), 0);
	cr_assert_eq(pin.host, (char *)guest_memory_region(m, 2)->host + 16);
	cr_assert_eq(pin.len, 64);
	cr_assert_eq(guest_pin(m, gpa(128 * KIB - 1), 2, &other), -EFAULT);
	cr_assert_null(other.memory);
	cr_assert_eq(guest_pin(m, gpa(0), 1, &other), -EFAULT);
	cr_assert_eq(guest_pin(m, gpa(MIB + 1), UINT64_MAX, &other), -EFAULT);
	guest_unpin(&pin, GUEST_READ, 0);
	cr_assert_null(pin.memory);
	guest_unpin(&pin, GUEST_READ, 0);
	guest_memory_destroy(m);
}

Test(memory, destroying_pinned_memory_is_our_own_bug, .signal = SIGABRT)
{
	struct guest_memory *m = three_regions();
	struct guest_pin pin;

	cr_assert_eq(guest_pin(m, gpa(MIB), 1, &pin), 0);
	guest_memory_destroy(m);
}

Test(memory, resolve_tells_how_much_follows_in_the_region)
{
	struct guest_memory *m = three_regions();
	uint64_t n = 99;

	cr_assert_not_null(guest_resolve(m, gpa(128 * KIB - 10), 100, &n));
	cr_assert_eq(n, 10);
	cr_assert_not_null(guest_resolve(m, gpa(128 * KIB), 100, &n));
	cr_assert_eq(n, 100);
	cr_assert_not_null(guest_resolve(m, gpa(MIB), UINT64_MAX, &n));
	cr_assert_eq(n, 16 * KIB);
	cr_assert_null(guest_resolve(m, gpa(0), 1, &n));
	cr_assert_eq(n, 0);
	guest_memory_destroy(m);
}

Test(memory, nothing_is_dirty_without_logging)
{
	struct guest_memory *m = three_regions();

	cr_assert_eq(guest_write(m, gpa(MIB), "x", 1), 0);
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB)));
	guest_memory_destroy(m);
}

Test(memory, writes_mark_exactly_their_pages_dirty)
{
	struct guest_memory *m = three_regions();
	struct guest_pin pin;

	cr_assert_eq(guest_dirty_log(m, true), 0);
	/* The last byte of a page and the first of the next, in two regions. */
	cr_assert_eq(guest_write(m, gpa(128 * KIB - 1), "xy", 2), 0);
	cr_assert_not(guest_dirty_test_clear(m, gpa(128 * KIB - 2 * PAGE)));
	cr_assert(guest_dirty_test_clear(m, gpa(128 * KIB - PAGE)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(128 * KIB - PAGE)));
	cr_assert(guest_dirty_test_clear(m, gpa(128 * KIB + 17)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(128 * KIB + PAGE)));

	cr_assert_eq(guest_fill(m, gpa(MIB), 1, PAGE), 0);
	cr_assert(guest_dirty_test_clear(m, gpa(MIB)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB + PAGE)));

	cr_assert_eq(guest_pin(m, gpa(MIB), 4 * PAGE, &pin), 0);
	guest_unpin(&pin, GUEST_WRITE, PAGE + 1);
	cr_assert(guest_dirty_test_clear(m, gpa(MIB)));
	cr_assert(guest_dirty_test_clear(m, gpa(MIB + PAGE)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB + 2 * PAGE)));

	cr_assert_eq(guest_pin(m, gpa(MIB), PAGE, &pin), 0);
	guest_unpin(&pin, GUEST_WRITE, UINT64_MAX); /* more than was pinned */
	cr_assert(guest_dirty_test_clear(m, gpa(MIB)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB + PAGE)));

	cr_assert_eq(guest_pin(m, gpa(MIB), PAGE, &pin), 0);
	guest_unpin(&pin, GUEST_READ, PAGE);
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(0)));
	guest_memory_destroy(m);
}

Test(memory, all_pages_are_clean_when_logging_starts_again)
{
	struct guest_memory *m = three_regions();

	cr_assert_eq(guest_dirty_log(m, true), 0);
	guest_mark_dirty(m, gpa(64 * KIB), 128 * KIB);
	cr_assert_eq(guest_dirty_log(m, false), 0);
	guest_mark_dirty(m, gpa(MIB), 1);
	cr_assert_eq(guest_dirty_log(m, true), 0);
	for (uint64_t a = 64 * KIB; a < 192 * KIB; a += PAGE)
		cr_assert_not(guest_dirty_test_clear(m, gpa(a)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB)));
	guest_memory_destroy(m);
}

Test(memory, marking_outside_of_ram_is_harmless)
{
	struct guest_memory *m = three_regions();

	cr_assert_eq(guest_dirty_log(m, true), 0);
	guest_mark_dirty(m, gpa(0), UINT64_MAX);
	guest_mark_dirty(m, gpa(UINT64_MAX), UINT64_MAX);
	guest_mark_dirty(m, gpa(MIB + 12 * KIB), UINT64_MAX);
	cr_assert(guest_dirty_test_clear(m, gpa(MIB + 12 * KIB)));
	cr_assert_not(guest_dirty_test_clear(m, gpa(MIB + 8 * KIB)));
	guest_memory_destroy(m);
}

static void *writer(void *arg)
{
	struct guest_memory *m = arg;
	static _Atomic unsigned next;
	unsigned me = next++;
	struct guest_pin pin;

	/* Each thread its own bytes, all threads the same words of the bitmap and the same count.
	 */
	for (unsigned i = 0; i < 2000; i++) {
		gpa_t a = gpa(64 * KIB + (i % 32) * PAGE + me * 8);

		if (guest_write(m, a, "12345678", 8) || guest_pin(m, a, 8, &pin))
			return (void *)1;
		guest_unpin(&pin, GUEST_WRITE, 8);
	}
	return NULL;
}

Test(memory, any_thread_may_write_pin_and_mark)
{
	struct guest_memory *m = three_regions();
	pthread_t threads[4];
	void *failed;

	cr_assert_eq(guest_dirty_log(m, true), 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, writer, m);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	for (uint64_t a = 64 * KIB; a < 192 * KIB; a += PAGE)
		cr_assert(guest_dirty_test_clear(m, gpa(a)));
	guest_memory_destroy(m);
}

Test(memory, destroying_nothing_is_allowed)
{
	guest_memory_destroy(NULL);
}
