/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "mmio/bus.h"

#define LIMIT UINT64_C(0x10000)

/* A region that remembers its last access and answers with a pattern. */
struct probe {
	struct bus_region region;
	uint64_t answer;
	uint64_t offset, value;
	unsigned size, reads, writes;
	unsigned mapped, unmapped;
	uint64_t address;
};

static uint64_t probe_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct probe *p = container_of(region, struct probe, region);

	p->offset = offset;
	p->size = size;
	p->reads++;
	return p->answer;
}

static void probe_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct probe *p = container_of(region, struct probe, region);

	p->offset = offset;
	p->value = value;
	p->size = size;
	p->writes++;
}

static void probe_mapped(struct bus_region *region, uint64_t address)
{
	struct probe *p = container_of(region, struct probe, region);

	p->mapped++;
	p->address = address;
}

static void probe_unmapped(struct bus_region *region, uint64_t address)
{
	struct probe *p = container_of(region, struct probe, region);

	p->unmapped++;
	p->address = address;
}

static void probe_init(struct probe *p, uint64_t size)
{
	*p = (struct probe){
		.region = {.name = "probe",
			   .size = size,
			   .read = probe_read,
			   .write = probe_write,
			   .mapped = probe_mapped,
			   .unmapped = probe_unmapped},
		.answer = 0x1122334455667788,
	};
}

static struct bus *bus;

static void setup(void)
{
	struct vmm_error err;

	cr_assert_eq(bus_create(&bus, "test", LIMIT, &err), 0);
}

static void teardown(void)
{
	bus_destroy(bus);
}

TestSuite(bus, .init = setup, .fini = teardown);

Test(bus, accesses_reach_the_region_that_claims_the_address)
{
	struct probe a, b;
	uint64_t v;

	probe_init(&a, 8);
	probe_init(&b, 16);
	cr_assert_eq(bus_map(bus, &b.region, 0x108), 0);
	cr_assert_eq(bus_map(bus, &a.region, 0x100), 0);
	cr_assert(bus_read(bus, 0x104, 4, &v));
	cr_assert_eq(v, 0x55667788);
	cr_assert_eq(a.offset, 4);
	cr_assert_eq(a.size, 4);
	cr_assert(bus_write(bus, 0x117, 0xabcd, 1));
	cr_assert_eq(b.offset, 15);
	cr_assert_eq(b.value, 0xcd);
	cr_assert_eq(a.writes, 0);
	cr_assert_eq(b.reads, 0);
	bus_unmap(&a.region);
	bus_unmap(&b.region);
}

Test(bus, values_are_cut_to_the_width_of_the_access)
{
	static const struct {
		unsigned size;
		uint64_t want;
	} widths[] = {{1, 0x88}, {2, 0x7788}, {4, 0x55667788}, {8, 0x1122334455667788}};
	struct probe p;
	uint64_t v;

	probe_init(&p, 8);
	cr_assert_eq(bus_map(bus, &p.region, 0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(widths); i++) {
		cr_assert(bus_read(bus, 0, widths[i].size, &v));
		cr_assert_eq(v, widths[i].want);
		cr_assert(bus_write(bus, 0, 0x1122334455667788, widths[i].size));
		cr_assert_eq(p.value, widths[i].want);
	}
	bus_unmap(&p.region);
}

Test(bus, parts_of_an_access_across_pages_are_unclaimed)
{
	static const unsigned sizes[] = {3, 5, 6, 7};
	struct probe p;
	uint64_t v;

	probe_init(&p, 16);
	cr_assert_eq(bus_map(bus, &p.region, 0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		cr_assert_not(bus_read(bus, 0, sizes[i], &v));
		cr_assert_eq(v, (UINT64_C(1) << (8 * sizes[i])) - 1);
		cr_assert_not(bus_write(bus, 0, 1, sizes[i]));
	}
	cr_assert_eq(p.reads + p.writes, 0);
	bus_unmap(&p.region);
}

Test(bus, unclaimed_reads_give_all_ones_and_writes_vanish)
{
	uint64_t v;

	cr_assert_not(bus_read(bus, 0, 1, &v));
	cr_assert_eq(v, 0xff);
	cr_assert_not(bus_read(bus, 0, 2, &v));
	cr_assert_eq(v, 0xffff);
	cr_assert_not(bus_read(bus, UINT64_MAX, 8, &v));
	cr_assert_eq(v, UINT64_MAX);
	cr_assert_not(bus_write(bus, 0, 1, 4));
}

Test(bus, an_access_over_an_end_of_a_region_is_unclaimed)
{
	struct probe a, b;
	uint64_t v;

	probe_init(&a, 8);
	probe_init(&b, 8);
	cr_assert_eq(bus_map(bus, &a.region, 0x100), 0);
	cr_assert_eq(bus_map(bus, &b.region, 0x108), 0);
	cr_assert_not(bus_read(bus, 0x105, 4, &v));
	cr_assert_eq(v, 0xffffffff);
	cr_assert_not(bus_write(bus, 0x107, 0, 2));
	cr_assert_not(bus_read(bus, 0xff, 2, &v));
	cr_assert_not(bus_read(bus, 0x10d, 4, &v));
	cr_assert_not(bus_read(bus, UINT64_MAX - 1, 4, &v));
	cr_assert_eq(a.reads + b.reads + a.writes + b.writes, 0);
	cr_assert(bus_read(bus, 0x104, 4, &v));
	bus_unmap(&a.region);
	bus_unmap(&b.region);
}

Test(bus, a_region_smaller_than_the_access_is_never_read_past)
{
	struct probe p;
	uint64_t v;

	probe_init(&p, 1);
	cr_assert_eq(bus_map(bus, &p.region, 0x70), 0);
	cr_assert_not(bus_read(bus, 0x70, 8, &v));
	cr_assert(bus_read(bus, 0x70, 1, &v));
	bus_unmap(&p.region);
}

Test(bus, regions_without_handlers_claim_their_range)
{
	struct bus_region hole = {.name = "hole", .size = 4};
	uint64_t v;

	cr_assert_eq(bus_map(bus, &hole, 0x80), 0);
	cr_assert(bus_read(bus, 0x80, 2, &v));
	cr_assert_eq(v, 0xffff);
	cr_assert(bus_write(bus, 0x80, 1, 1));
	bus_unmap(&hole);
}

Test(bus, overlaps_are_refused_and_neighbours_are_not)
{
	struct probe a, b;

	probe_init(&a, 0x10);
	cr_assert_eq(bus_map(bus, &a.region, 0x100), 0);
	for (uint64_t at = 0xf9; at < 0x110; at++) {
		probe_init(&b, 8);
		cr_assert_eq(bus_map(bus, &b.region, at), -EBUSY, "%#lx", at);
		cr_assert_null(b.region.bus);
		cr_assert_eq(b.mapped, 0);
	}
	probe_init(&b, 0x1000);
	cr_assert_eq(bus_map(bus, &b.region, 0), -EBUSY);
	probe_init(&b, 8);
	cr_assert_eq(bus_map(bus, &b.region, 0xf8), 0);
	bus_unmap(&b.region);
	cr_assert_eq(bus_map(bus, &b.region, 0x110), 0);
	bus_unmap(&b.region);
	bus_unmap(&a.region);
}

Test(bus, ranges_must_be_on_the_bus)
{
	static const struct {
		uint64_t address, size;
	} bad[] = {
		{0, 0},          {LIMIT, 1},      {LIMIT - 1, 2},           {0, LIMIT + 1},
		{1, UINT64_MAX}, {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX},
	};
	struct probe p;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		probe_init(&p, bad[i].size);
		cr_assert_eq(bus_map(bus, &p.region, bad[i].address), -EINVAL, "case %u", i);
	}
	probe_init(&p, LIMIT);
	cr_assert_eq(bus_map(bus, &p.region, 0), 0);
	cr_assert_eq(bus_map(bus, &p.region, 0), -EINVAL);
	bus_unmap(&p.region);
	bus_unmap(&p.region);
	cr_assert_eq(p.mapped, 1);
	cr_assert_eq(p.unmapped, 1);
}

Test(bus, the_region_learns_where_it_is_mapped_and_unmapped)
{
	struct probe p;

	probe_init(&p, 4);
	cr_assert_eq(bus_map(bus, &p.region, 0x40), 0);
	cr_assert_eq(p.mapped, 1);
	cr_assert_eq(p.address, 0x40);
	cr_assert_eq(p.region.bus, bus);
	cr_assert_eq(p.region.address, 0x40);
	bus_unmap(&p.region);
	cr_assert_eq(p.unmapped, 1);
	cr_assert_null(p.region.bus);
	cr_assert_eq(bus_map(bus, &p.region, 0x80), 0);
	cr_assert_eq(p.address, 0x80);
	bus_unmap(&p.region);
}

Test(bus, the_number_of_regions_is_bounded)
{
	struct probe *p = calloc(BUS_MAX_REGIONS + 1, sizeof(*p));
	uint64_t v;

	/* Odd ones first, so that the rest goes in between. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 1 - pass; i < BUS_MAX_REGIONS; i += 2) {
			probe_init(&p[i], 4);
			p[i].answer = i;
			cr_assert_eq(bus_map(bus, &p[i].region, i * 8), 0);
		}
	}
	probe_init(&p[BUS_MAX_REGIONS], 4);
	cr_assert_eq(bus_map(bus, &p[BUS_MAX_REGIONS].region, 0xf000), -ENOSPC);
	for (unsigned i = 0; i < BUS_MAX_REGIONS; i++) {
		cr_assert(bus_read(bus, i * 8, 4, &v));
		cr_assert_eq(v, i);
		cr_assert_not(bus_read(bus, i * 8 + 4, 4, &v));
	}
	for (unsigned i = 0; i < BUS_MAX_REGIONS; i += 3)
		bus_unmap(&p[i].region);
	for (unsigned i = 0; i < BUS_MAX_REGIONS; i++)
		cr_assert_eq(bus_read(bus, i * 8, 4, &v), i % 3 != 0);
	for (unsigned i = 0; i < BUS_MAX_REGIONS; i++)
		bus_unmap(&p[i].region);
	free(p);
}

Test(bus, destroy_unmaps_what_is_left)
{
	struct probe a, b;
	struct bus *other;

	probe_init(&a, 4);
	probe_init(&b, 4);
	cr_assert_eq(bus_create(&other, "other", 1 << 20, NULL), 0);
	cr_assert_eq(bus_map(other, &a.region, 0x18000), 0);
	cr_assert_eq(bus_map(other, &b.region, 0x10000), 0);
	bus_destroy(other);
	cr_assert_eq(a.unmapped + b.unmapped, 2);
	cr_assert_null(a.region.bus);
	bus_unmap(&a.region);
	bus_destroy(NULL);
}

/* ---- readers while the map changes ---- */

static _Atomic bool finished;

static uint64_t answer_address(struct bus_region *region UNUSED, uint64_t offset,
			       unsigned size UNUSED)
{
	return offset;
}

/* This region stays: it must be found every time, at its own offset. */
static void *read_fixed(void *arg UNUSED)
{
	uintptr_t wrong = 0;
	uint64_t v;

	while (!finished)
		wrong += !bus_read(bus, 0x8004, 4, &v) || v != 4;
	return (void *)wrong;
}

/* This one moves between two places: found or not, but never with a foreign offset. */
static void *read_moving(void *arg UNUSED)
{
	uintptr_t wrong = 0;
	uint64_t v;

	while (!finished) {
		if (bus_read(bus, 0x4008, 4, &v))
			wrong += v != 8;
		if (bus_read(bus, 0xc00c, 4, &v))
			wrong += v != 12;
	}
	return (void *)wrong;
}

Test(bus, readers_never_see_half_of_a_change)
{
	/* Many below the ones that are read, so that moving them takes long enough to be seen. */
	enum { N = 512 };
	struct bus_region fixed = {.name = "fixed", .size = 16, .read = answer_address};
	struct bus_region moving = {.name = "moving", .size = 16, .read = answer_address};
	struct bus_region low[N];
	pthread_t a, b;
	void *wrong;

	memset(low, 0, sizeof(low));
	for (unsigned i = 0; i < N; i++) {
		low[i] = (struct bus_region){.name = "low", .size = 8};
		cr_assert_eq(bus_map(bus, &low[i], i * 16), 0);
	}
	cr_assert_eq(bus_map(bus, &fixed, 0x8000), 0);
	pthread_create(&a, NULL, read_fixed, NULL);
	pthread_create(&b, NULL, read_moving, NULL);
	for (unsigned i = 0; i < 20000; i++) {
		cr_assert_eq(bus_map(bus, &moving, i % 2 ? 0x4000 : 0xc000), 0);
		bus_unmap(&low[i % N]);
		cr_assert_eq(bus_map(bus, &low[i % N], (i % N) * 16), 0);
		bus_unmap(&moving);
	}
	finished = true;
	pthread_join(a, &wrong);
	cr_assert_null(wrong);
	pthread_join(b, &wrong);
	cr_assert_null(wrong);
	bus_unmap(&fixed);
	for (unsigned i = 0; i < N; i++)
		bus_unmap(&low[i]);
}

static void *map_and_unmap(void *arg)
{
	struct bus_region *region = arg;
	uintptr_t failed = 0;

	for (unsigned i = 0; i < 2000; i++) {
		failed += bus_map(bus, region, (uintptr_t)region->name) != 0;
		bus_unmap(region);
	}
	return (void *)failed;
}

Test(bus, any_thread_may_change_the_map)
{
	/* The name carries the address, to need no other argument. */
	struct bus_region regions[4] = {
		{.name = (char *)0x100, .size = 8},
		{.name = (char *)0x108, .size = 8},
		{.name = (char *)0x200, .size = 8},
		{.name = (char *)0x050, .size = 8},
	};
	pthread_t threads[4];
	void *failed;
	uint64_t v;

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, map_and_unmap, &regions[i]);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	cr_assert_not(bus_read(bus, 0x100, 1, &v));
}
