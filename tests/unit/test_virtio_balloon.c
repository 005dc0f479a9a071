/* SPDX-License-Identifier: MIT */
/*
 * virtio-balloon: what goes back to the host and what must not, and what the driver is told.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_classes.h"

#define RAM        (64 * MIB)
#define PAGES      gpa(32 * MIB) /* from here on it is for the balloon */
#define FEATURE(f) (UINT64_C(1) << VIRTIO_BALLOON_F_##f)
#define ALL \
	(FEATURE(STATS_VQ) | FEATURE(DEFLATE_ON_OOM) | FEATURE(FREE_PAGE_HINT) | FEATURE(REPORTING))

static struct fake_env fake;
static struct device *dev;
static struct virtio_balloon *balloon;
static struct virtio_driver driver;

static void create(const char *options)
{
	if (dev)
		fake_env_remove(dev);
	dev = fake_env_device(&fake, &virtio_balloon_class.device, options);
	balloon = virtio_balloon(virtio_device(dev));
	virtio_driver_init(&driver, &fake, virtio_device(dev), gpa(MIB));
}

static void setup(void)
{
	fake_env_init(&fake, RAM);
	create("free-page-hint=on");
	cr_assert_eq(guest_fill(fake.env.memory, PAGES, 0xaa, RAM - PAGES.v), 0);
}

static void teardown(void)
{
	fake_env_remove(dev);
	fake_env_fini(&fake);
}

TestSuite(virtio_balloon, .init = setup, .fini = teardown, .timeout = 60);

static gpa_t page(unsigned n)
{
	return gpa_add(PAGES, n * BALLOON_PAGE_SIZE);
}

static uint32_t pfn(unsigned n)
{
	return (uint32_t)(page(n).v >> BALLOON_PAGE_SHIFT);
}

static bool resident(gpa_t at)
{
	unsigned char byte;
	uint64_t n;

	cr_assert_eq(mincore(guest_resolve(fake.env.memory, at, 1, &n), 1, &byte), 0);
	return byte & 1;
}

static unsigned residents(unsigned first, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = first; i < first + count; i++)
		n += resident(page(i));
	return n;
}

static uint8_t byte_at(gpa_t at)
{
	uint8_t v;

	driver_read(fake.env.memory, at, &v, 1);
	return v;
}

static uint32_t finish(unsigned queue)
{
	virtio_driver_kick(&driver, queue);
	return virtio_driver_wait(&driver, queue, NULL);
}

/* Send bytes to a queue and wait for the chain to come back. */
static void send(unsigned queue, const void *data, uint32_t len)
{
	gpa_t at = virtio_driver_alloc(&driver, len);
	const struct driver_buffer b = {at, len, false};

	driver_write(driver.memory, at, data, len);
	driver_ring_add(&driver.rings[queue], &b, 1);
	cr_assert_eq(finish(queue), 0u);
}

/* Put pages first to first + count - 1 into the balloon, or take them out. */
static void move(unsigned queue, unsigned first, unsigned count)
{
	uint32_t *pfns = calloc(count, sizeof(*pfns));

	for (unsigned i = 0; i < count; i++)
		pfns[i] = pfn(first + i);
	send(queue, pfns, count * (uint32_t)sizeof(*pfns));
	free(pfns);
}

/* Offer pages as a writable buffer. */
static void offer(unsigned queue, gpa_t at, uint32_t len)
{
	const struct driver_buffer b = {at, len, true};

	driver_ring_add(&driver.rings[queue], &b, 1);
	cr_assert_eq(finish(queue), 0u);
}

static int act(const char *action, const char *options, struct vmm_error *err)
{
	return device_action(dev, action, options, NULL, err);
}

static char *report_of(const char *action)
{
	struct report *r = report_create();
	char *json;

	cr_assert_eq(device_action(dev, action, NULL, r, NULL), 0);
	cr_assert_eq(report_finish(r, &json), 0);
	return json;
}

static void expect_report(const char *action, const char *text)
{
	char *json = report_of(action);

	cr_assert(strstr(json, text), "%s: no %s in %s", action, text, json);
	free(json);
}

static struct virtio_balloon_config config(void)
{
	struct virtio_balloon_config c;

	virtio_read_config(&balloon->vd, 0, &c, sizeof(c));
	return c;
}

static void set_actual(uint32_t actual)
{
	virtio_write_config(&balloon->vd, offsetof(struct virtio_balloon_config, actual), &actual,
			    sizeof(actual));
}

static void set_poison(uint32_t value)
{
	virtio_write_config(&balloon->vd, offsetof(struct virtio_balloon_config, poison_val),
			    &value, sizeof(value));
}

/* As virtio_driver_start, with poison_val written where a driver does that. */
static void start_poisoned(uint64_t features, uint32_t poison)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, features | FEATURE(PAGE_POISON)));
	set_poison(poison);
	for (unsigned q = 0; q < BALLOON_ROLES; q++)
		virtio_driver_queue(&driver, q, 0);
	virtio_driver_ok(&driver);
	fake_env_settle(&fake);
}

/* ---- features and configuration ---- */

Test(virtio_balloon, options_decide_what_is_offered)
{
	create(NULL);
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(STATS_VQ));
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(DEFLATE_ON_OOM));
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(REPORTING));
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(PAGE_POISON));
	cr_assert_not(virtio_offered(&balloon->vd) & FEATURE(FREE_PAGE_HINT));
	cr_assert_not(virtio_offered(&balloon->vd) & FEATURE(MUST_TELL_HOST));
	create("deflate-on-oom=off,free-page-reporting=off,free-page-hint=on");
	cr_assert_not(virtio_offered(&balloon->vd) & FEATURE(DEFLATE_ON_OOM));
	cr_assert_not(virtio_offered(&balloon->vd) & FEATURE(REPORTING));
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(FREE_PAGE_HINT));
}

Test(virtio_balloon, target_is_what_the_guest_is_to_have_left)
{
	uint8_t generation;

	virtio_driver_start(&driver, ALL, 5);
	generation = virtio_read_generation(&balloon->vd);
	cr_assert_eq(act("target", "48M", NULL), 0);
	cr_assert_eq(config().num_pages, 16 * MIB / 4096);
	cr_assert_eq(driver.config_interrupts, 1u);
	cr_assert_neq(virtio_read_generation(&balloon->vd), generation);
	expect_report("status", "\"target\":50331648");
	cr_assert_eq(act("target", "size=64M", NULL), 0);
	cr_assert_eq(config().num_pages, 0u);
}

Test(virtio_balloon, target_beyond_memory_is_refused)
{
	struct vmm_error err = {0};

	cr_assert_eq(act("target", "65M", &err), -EINVAL);
	cr_assert(strstr(err.message, "size="), "%s", err.message);
	cr_assert_lt(act("target", "1K", &err), 0);
	cr_assert_lt(act("target", NULL, &err), 0);
	cr_assert_eq(config().num_pages, 0u);
}

Test(virtio_balloon, actual_is_the_drivers_word_and_may_be_a_lie)
{
	virtio_driver_start(&driver, ALL, 5);
	set_actual(4096);
	cr_assert_eq(config().actual, 4096u);
	cr_assert_eq(fake.last_notice, DEVICE_NOTICE_BALLOON);
	cr_assert_eq(fake.last_notice_value, 4096 * BALLOON_PAGE_SIZE);
	expect_report("status", "\"actual\":50331648");
	set_actual(UINT32_MAX);
	cr_assert_eq(fake.last_notice_value, UINT32_MAX * BALLOON_PAGE_SIZE);
	cr_assert_eq(fake.notices, 2u);
	set_actual(UINT32_MAX);
	cr_assert_eq(fake.notices, 2u, "nothing has changed");
	expect_report("status", "\"actual\":0");
}

Test(virtio_balloon, other_fields_of_the_configuration_are_read_only)
{
	struct virtio_balloon_config c = {
		.num_pages = 77, .actual = 1, .free_page_hint_cmd_id = 77, .poison_val = 77};

	virtio_driver_start(&driver, ALL, 5);
	virtio_write_config(&balloon->vd, 0, &c, sizeof(c));
	cr_assert_eq(config().num_pages, 0u);
	cr_assert_eq(config().actual, 1u);
	cr_assert_eq(config().free_page_hint_cmd_id, 0u);
	cr_assert_eq(config().poison_val, 0u);
}

/* ---- the balloon ---- */

Test(virtio_balloon, inflated_pages_go_back_to_the_host)
{
	virtio_driver_start(&driver, ALL, 5);
	cr_assert_eq(residents(0, 512), 512u);
	move(0, 16, 256);
	cr_assert_eq(residents(16, 256), 0u);
	cr_assert_eq(residents(0, 16), 16u);
	cr_assert_eq(residents(272, 240), 240u);
	cr_assert_eq(byte_at(page(15)), 0xaa);
	cr_assert_eq(byte_at(page(272)), 0xaa);
	expect_report("status", "\"returned-inflated\":1048576");
}

Test(virtio_balloon, pages_may_come_in_any_order)
{
	const uint32_t pfns[] = {pfn(9),  pfn(8),  pfn(7), pfn(20), pfn(21),
				 pfn(40), pfn(21), pfn(5), pfn(6)};

	virtio_driver_start(&driver, ALL, 5);
	send(0, pfns, sizeof(pfns));
	cr_assert_eq(residents(5, 5), 0u);
	cr_assert_eq(residents(20, 2), 0u);
	cr_assert_eq(residents(0, 64), 64u - 8u);
	cr_assert(resident(page(4)) && resident(page(10)) && resident(page(39)));
}

Test(virtio_balloon, deflated_pages_are_ordinary_memory)
{
	virtio_driver_start(&driver, ALL, 5);
	move(0, 0, 16);
	move(1, 0, 16);
	cr_assert_eq(byte_at(page(3)), 0u);
	cr_assert_eq(guest_fill(fake.env.memory, page(0), 0x11, 16 * 4096), 0);
	cr_assert_eq(byte_at(page(3)), 0x11u);
	cr_assert_eq(residents(0, 16), 16u);
}

Test(virtio_balloon, unmapped_page_numbers_are_ignored) /* rule 10 */
{
	const uint32_t pfns[] = {RAM / 4096, pfn(1), UINT32_MAX, 0x80000000, pfn(2)};

	virtio_driver_start(&driver, ALL, 5);
	send(0, pfns, sizeof(pfns));
	cr_assert(strstr(fake.last_log, "not RAM"), "%s", fake.last_log);
	cr_assert_eq(residents(1, 2), 0u);
	send(1, pfns, sizeof(pfns));
	cr_assert_not(virtio_driver_broken(&driver));
}

Test(virtio_balloon, request_without_page_numbers_does_nothing)
{
	virtio_driver_start(&driver, ALL, 5);
	offer(0, page(0), 4096);
	offer(1, page(0), 4096);
	send(0, "abc", 3);
	cr_assert_eq(residents(0, 1), 1u);
	cr_assert_eq(byte_at(page(0)), 0xaa);
}

Test(virtio_balloon, endless_request_costs_a_bounded_amount_of_work) /* rules 22, 26 */
{
	const uint32_t len = 16 * MIB;
	const struct driver_buffer b = {virtio_driver_alloc(&driver, len), len, false};

	virtio_driver_start(&driver, ALL, 5);
	driver_ring_add(&driver.rings[0], &b, 1);
	cr_assert_eq(finish(0), 0u);
	cr_assert(strstr(fake.last_log, "more than"), "%s", fake.last_log);
	cr_assert_leq(balloon->work, 4096u);
}

Test(virtio_balloon, full_ring_is_worked_off_in_several_turns)
{
	enum { COUNT = 4096 };
	uint32_t *pfns = calloc(COUNT, sizeof(*pfns)), id, len;
	unsigned done = 0, turns = 0, in_turn;
	struct driver_buffer b = {.len = COUNT * sizeof(*pfns)};

	virtio_driver_start(&driver, ALL, 5);
	b.addr = virtio_driver_alloc(&driver, b.len);
	for (unsigned i = 0; i < COUNT; i++)
		pfns[i] = pfn(i);
	driver_write(driver.memory, b.addr, pfns, b.len);
	for (unsigned i = 0; i < 128; i++)
		driver_ring_add(&driver.rings[0], &b, 1);
	virtio_driver_kick(&driver, 0);
	while (loop_turn(fake.env.loop, false)) {
		for (in_turn = 0; driver_ring_used(&driver.rings[0], &id, &len); in_turn++)
			done++;
		cr_assert_leq(in_turn, 2u);
		turns++;
	}
	cr_assert_eq(done, 128u);
	cr_assert_geq(turns, 64u);
	free(pfns);
}

/* ---- statistics ---- */

/* Put a buffer of statistics into the queue; it stays there. */
static void add_stats(const struct virtio_balloon_stat *stats, unsigned n)
{
	uint32_t len = n * (uint32_t)sizeof(*stats);
	gpa_t at = virtio_driver_alloc(&driver, len);
	const struct driver_buffer b = {at, len, false};

	driver_write(driver.memory, at, stats, len);
	driver_ring_add(&driver.rings[2], &b, 1);
	virtio_driver_kick(&driver, 2);
	fake_env_settle(&fake);
}

static bool asked(void)
{
	uint32_t id, len;

	fake_env_settle(&fake);
	return driver_ring_used(&driver.rings[2], &id, &len);
}

static const struct virtio_balloon_stat some[] = {{VIRTIO_BALLOON_S_AVAIL, 777},
						  {0x1234, 1},
						  {VIRTIO_BALLOON_S_MEMFREE, 555},
						  {UINT16_MAX, 2}};

Test(virtio_balloon, statistics_come_in_any_order_and_unknown_ones_are_ignored)
{
	virtio_driver_start(&driver, ALL, 5);
	add_stats(some, 4);
	fake_env_advance(&fake, 2500 * NS_PER_MS);
	expect_report("status", "\"age-ms\":2500,\"free-memory\":555,\"available-memory\":777}");
	cr_assert_not(asked());
}

Test(virtio_balloon, a_statistic_that_json_cannot_have_does_not_spoil_the_others)
{
	virtio_driver_start(&driver, ALL, 5);
	add_stats(&(struct virtio_balloon_stat){VIRTIO_BALLOON_S_MEMFREE, UINT64_MAX}, 1);
	expect_report("status", "\"free-memory\":9223372036854775807}");
}

Test(virtio_balloon, statistics_are_asked_for_by_hand)
{
	virtio_driver_start(&driver, ALL, 5);
	add_stats(some, 4);
	expect_report("stats", "\"free-memory\":555");
	cr_assert(asked());
	/* The driver is slow: there is nothing to return. */
	expect_report("stats", "\"free-memory\":555");
	cr_assert_not(asked());
	add_stats(&(struct virtio_balloon_stat){VIRTIO_BALLOON_S_MEMFREE, 556}, 1);
	expect_report("stats", "\"free-memory\":556}");
}

Test(virtio_balloon, statistics_are_polled_at_the_interval)
{
	create("stats-interval=5,free-page-hint=on");
	virtio_driver_start(&driver, ALL, 5);
	add_stats(some, 4);
	for (unsigned i = 0; i < 3; i++) {
		fake_env_advance(&fake, 4900 * NS_PER_MS);
		cr_assert_not(asked());
		fake_env_advance(&fake, 100 * NS_PER_MS);
		cr_assert(asked());
		add_stats(some, 4);
	}
	cr_assert_eq(act("stats-interval", "1", NULL), 0);
	fake_env_advance(&fake, NS_PER_SEC);
	cr_assert(asked());
	add_stats(some, 4);
	cr_assert_eq(act("stats-interval", "0", NULL), 0);
	fake_env_advance(&fake, 100 * NS_PER_SEC);
	cr_assert_not(asked());
}

Test(virtio_balloon, second_buffer_of_statistics_returns_the_first)
{
	virtio_driver_start(&driver, ALL, 5);
	add_stats(some, 4);
	add_stats(some, 4);
	cr_assert(asked());
	cr_assert_not(asked());
	cr_assert_eq(virtq_in_flight(balloon->vd.queues[2].vq), 1u);
}

Test(virtio_balloon, oversized_statistics_are_read_in_part)
{
	struct virtio_balloon_stat *many = calloc(5000, sizeof(*many));

	many[0] = (struct virtio_balloon_stat){VIRTIO_BALLOON_S_SWAP_IN, 3};
	for (unsigned i = 1; i < 5000; i++)
		many[i] = (struct virtio_balloon_stat){VIRTIO_BALLOON_S_SWAP_OUT, i};
	virtio_driver_start(&driver, ALL, 5);
	add_stats(many, 5000);
	expect_report("status", "\"swap-in\":3,\"swap-out\":63}");
	free(many);
}

Test(virtio_balloon, statistics_without_the_feature_are_an_error)
{
	struct vmm_error err = {0};

	virtio_driver_start(&driver, FEATURE(REPORTING), 5);
	cr_assert_eq(act("stats", NULL, &err), -ENOTSUP, "%s", err.message);
}

Test(virtio_balloon, quiesce_returns_the_buffer_of_statistics)
{
	void *state;

	virtio_driver_start(&driver, ALL, 5);
	add_stats(some, 4);
	fake_env_save(dev, &state);
	free(state);
	cr_assert_eq(virtq_in_flight(balloon->vd.queues[2].vq), 0u);
	cr_assert(asked());
	virtio_resume(&balloon->vd);
	add_stats(some, 4);
	expect_report("stats", "\"free-memory\":555");
	cr_assert(asked());
}

Test(virtio_balloon, reset_with_a_buffer_of_statistics_held_touches_it_no_more) /* rules 5, 17 */
{
	char *json;

	create("stats-interval=1,free-page-hint=on");
	virtio_driver_start(&driver, ALL, 5);
	add_stats(some, 4);
	virtio_driver_start(&driver, ALL, 5);
	fake_env_advance(&fake, 10 * NS_PER_SEC);
	cr_assert_not(asked());
	cr_assert_null(balloon->stats.held);
	json = report_of("status");
	cr_assert_null(strstr(json, "free-memory"));
	free(json);
}

/* ---- free page reporting ---- */

Test(virtio_balloon, memory_that_was_promised_is_not_reported_unless_asked_for)
{
	struct guest_region *r =
		(struct guest_region *)(uintptr_t)guest_memory_region(fake.env.memory, 0);

	cr_assert_not(r->promised);
	r->promised = true;
	create(NULL);
	cr_assert_not(virtio_offered(&balloon->vd) & FEATURE(REPORTING));
	create("free-page-reporting=off");
	cr_assert_not(virtio_offered(&balloon->vd) & FEATURE(REPORTING));
	create("free-page-reporting=on");
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(REPORTING));
}

Test(virtio_balloon, reported_pages_go_back_to_the_host)
{
	virtio_driver_start(&driver, ALL, 5);
	offer(4, page(0), MIB);
	cr_assert_eq(residents(0, 256), 0u);
	cr_assert_eq(residents(256, 16), 16u);
	expect_report("status", "\"returned-reported\":1048576");
	/* A part of a page says nothing about the rest. */
	offer(4, gpa_add(page(256), 1), 4096);
	cr_assert_eq(byte_at(page(256)), 0xaa);
	cr_assert_eq(byte_at(page(257)), 0xaa);
}

Test(virtio_balloon, reported_pages_with_poison_in_them_are_kept)
{
	start_poisoned(ALL, 0xaaaaaaaa);
	cr_assert_eq(config().poison_val, 0xaaaaaaaau);
	offer(4, page(0), MIB);
	cr_assert_eq(residents(0, 256), 256u);
	cr_assert_eq(byte_at(page(9)), 0xaa);
	/* What is in the balloon is filled again by the driver. */
	move(0, 0, 16);
	cr_assert_eq(residents(0, 16), 0u);
}

Test(virtio_balloon, poison_of_zero_is_what_comes_back)
{
	start_poisoned(ALL, 0);
	offer(4, page(0), MIB);
	cr_assert_eq(residents(0, 256), 0u);
	/* Too late: the pages have been handed over under the other rule. */
	set_poison(5);
	cr_assert_eq(config().poison_val, 0u);
	cr_assert(strstr(fake.last_log, "poison_val"), "%s", fake.last_log);
}

Test(virtio_balloon, huge_report_goes_back_in_part)
{
	struct driver_buffer b[64];

	virtio_driver_start(&driver, ALL, 5);
	for (unsigned i = 0; i < ARRAY_SIZE(b); i++)
		b[i] = (struct driver_buffer){PAGES, (uint32_t)(RAM - PAGES.v), true};
	driver_ring_add(&driver.rings[4], b, ARRAY_SIZE(b));
	cr_assert_eq(finish(4), 0u);
	cr_assert_eq(balloon->reported_bytes, 512 * MIB);
}

/* ---- free page hinting ---- */

static void command(uint32_t id)
{
	send(3, &id, sizeof(id));
}

Test(virtio_balloon, hints_of_the_current_round_go_back)
{
	uint32_t id;

	virtio_driver_start(&driver, ALL, 5);
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	cr_assert_eq(driver.config_interrupts, 1u);
	id = config().free_page_hint_cmd_id;
	cr_assert_geq(id, 2u);
	command(id);
	offer(3, page(0), MIB);
	cr_assert_eq(residents(0, 256), 0u);
	expect_report("status",
		      "\"returned-hinted\":1048576,\"hinting\":true,\"hints-complete\":false");
	command(VIRTIO_BALLOON_CMD_ID_STOP);
	expect_report("status", "\"hints-complete\":true");
	cr_assert_eq(act("hint-stop", NULL, NULL), 0);
	cr_assert_eq(config().free_page_hint_cmd_id, (uint32_t)VIRTIO_BALLOON_CMD_ID_DONE);
	/* No command is used twice. */
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	cr_assert_gt(config().free_page_hint_cmd_id, id);
}

Test(virtio_balloon, stale_hints_are_ignored)
{
	uint32_t id;

	virtio_driver_start(&driver, ALL, 5);
	offer(3, page(0), 4096); /* no round at all */
	command(VIRTIO_BALLOON_CMD_ID_STOP);
	command(VIRTIO_BALLOON_CMD_ID_DONE);
	offer(3, page(0), 4096);
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	id = config().free_page_hint_cmd_id;
	offer(3, page(0), 4096); /* before it was announced */
	command(id + 1);
	offer(3, page(0), 4096); /* of another round */
	command(id);
	command(VIRTIO_BALLOON_CMD_ID_STOP);
	offer(3, page(0), 4096); /* behind the end */
	command(id);
	cr_assert_eq(act("hint-stop", NULL, NULL), 0);
	offer(3, page(0), 4096); /* the guest uses it again (5.5.6.5.2) */
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	offer(3, page(0), 4096);
	command(id);
	offer(3, page(0), 4096);
	cr_assert_eq(residents(0, 1), 1u);
	cr_assert_eq(balloon->hinted_bytes, 0u);
}

Test(virtio_balloon, command_of_another_size_is_ignored)
{
	uint64_t id;

	virtio_driver_start(&driver, ALL, 5);
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	id = config().free_page_hint_cmd_id;
	send(3, &id, 8);
	send(3, &id, 3);
	offer(3, page(0), 4096);
	cr_assert_eq(residents(0, 1), 1u);
}

Test(virtio_balloon, hints_need_a_driver_that_gives_them)
{
	struct vmm_error err = {0};

	cr_assert_eq(act("hint-start", NULL, &err), -ENOTSUP);
	virtio_driver_start(&driver, FEATURE(STATS_VQ), 5);
	cr_assert_eq(act("hint-start", NULL, &err), -ENOTSUP, "%s", err.message);
	cr_assert_eq(config().free_page_hint_cmd_id, 0u);
}

Test(virtio_balloon, hinted_pages_with_poison_in_them_are_kept)
{
	start_poisoned(ALL, 1);
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	command(config().free_page_hint_cmd_id);
	offer(3, page(0), 4096);
	cr_assert_eq(residents(0, 1), 1u);
}

/* ---- numbers of queues ---- */

Test(virtio_balloon, queues_may_be_numbered_without_a_gap_as_linux_does)
{
	virtio_driver_start(&driver, FEATURE(REPORTING), 3);
	offer(2, page(0), 4096);
	cr_assert_eq(residents(0, 1), 0u);
}

Test(virtio_balloon, queues_may_be_numbered_as_the_specification_does)
{
	virtio_driver_reset(&driver);
	cr_assert(virtio_driver_negotiate(&driver, FEATURE(REPORTING)));
	virtio_driver_queue(&driver, 0, 0);
	virtio_driver_queue(&driver, 1, 0);
	virtio_driver_queue(&driver, 4, 0);
	virtio_driver_ok(&driver);
	fake_env_settle(&fake);
	offer(4, page(0), 4096);
	cr_assert_eq(residents(0, 1), 0u);
}

Test(virtio_balloon, queue_that_has_no_purpose_is_left_alone)
{
	const struct driver_buffer b = {page(0), 4096, true};

	virtio_driver_start(&driver, 0, 5);
	for (unsigned q = 2; q < 5; q++) {
		driver_ring_add(&driver.rings[q], &b, 1);
		virtio_driver_kick(&driver, q);
	}
	fake_env_settle(&fake);
	cr_assert_eq(residents(0, 1), 1u);
	cr_assert_not(virtio_driver_broken(&driver));
}

/* ---- host pages that are larger ---- */

/* As if they were 2 MiB: the host of this test need not have any. */
static void large_pages(const char *options)
{
	struct guest_region *r =
		(struct guest_region *)(uintptr_t)guest_memory_region(fake.env.memory, 0);

	r->page_size = 2 * MIB;
	create(options);
}

Test(virtio_balloon, large_page_goes_back_when_all_of_it_is_inside)
{
	large_pages(NULL);
	cr_assert(virtio_offered(&balloon->vd) & FEATURE(MUST_TELL_HOST));
	virtio_driver_start(&driver, FEATURE(MUST_TELL_HOST), 2);
	move(0, 256, 256);
	move(0, 256, 256);
	move(0, 0, 255);
	cr_assert_eq(residents(0, 512), 512u);
	cr_assert_eq(byte_at(page(256)), 0xaa);
	move(0, 255, 1);
	cr_assert_eq(residents(0, 512), 0u);
	cr_assert_eq(residents(512, 512), 512u);
	cr_assert_eq(balloon->inflated_bytes, 2 * MIB);
}

Test(virtio_balloon, large_page_stays_once_a_part_has_left)
{
	large_pages(NULL);
	virtio_driver_start(&driver, FEATURE(MUST_TELL_HOST), 2);
	move(0, 0, 500);
	move(1, 17, 1);
	move(0, 500, 12);
	cr_assert_eq(byte_at(page(17)), 0xaa);
	cr_assert_eq(residents(0, 512), 512u);
	move(0, 17, 1);
	cr_assert_eq(residents(0, 512), 0u);
}

Test(virtio_balloon, deflate_that_is_too_long_forgets_what_is_inside)
{
	const uint32_t len = 4 * 4097;
	struct driver_buffer b = {.len = len};

	large_pages(NULL);
	virtio_driver_start(&driver, FEATURE(MUST_TELL_HOST), 2);
	move(0, 0, 511);
	b.addr = virtio_driver_alloc(&driver, len);
	driver_ring_add(&driver.rings[1], &b, 1);
	finish(1);
	move(0, 511, 1);
	cr_assert_eq(residents(0, 512), 512u, "a page that may be in use went back");
}

Test(virtio_balloon, driver_that_does_not_tell_gives_only_whole_large_pages)
{
	large_pages(NULL);
	virtio_driver_start(&driver, 0, 2);
	move(0, 0, 256);
	move(0, 256, 256);
	cr_assert_eq(residents(0, 512), 512u);
	move(0, 0, 600);
	cr_assert_eq(residents(0, 512), 0u);
	cr_assert_eq(residents(512, 88), 88u);
}

Test(virtio_balloon, reset_empties_large_pages_too)
{
	large_pages(NULL);
	virtio_driver_start(&driver, FEATURE(MUST_TELL_HOST), 2);
	move(0, 0, 511);
	virtio_driver_start(&driver, FEATURE(MUST_TELL_HOST), 2);
	move(0, 511, 1);
	cr_assert_eq(residents(0, 512), 512u);
}

/* ---- life ---- */

Test(virtio_balloon, reset_gives_the_balloon_back_and_keeps_the_target)
{
	virtio_driver_start(&driver, ALL, 5);
	cr_assert_eq(act("target", "48M", NULL), 0);
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	set_actual(100);
	virtio_driver_reset(&driver);
	cr_assert_eq(config().actual, 0u);
	cr_assert_eq(config().free_page_hint_cmd_id, 0u);
	cr_assert_eq(config().num_pages, 4096u);
	expect_report("status", "\"driver\":false");
}

Test(virtio_balloon, saved_balloon_goes_on_elsewhere)
{
	struct virtio_balloon_config before;
	void *state;
	size_t len;

	start_poisoned(ALL, 0xdeadbeef);
	cr_assert_eq(act("target", "48M", NULL), 0);
	cr_assert_eq(act("hint-start", NULL, NULL), 0);
	command(config().free_page_hint_cmd_id);
	set_actual(100);
	before = config();
	len = fake_env_save(dev, &state);
	{
		struct virtio_driver old = driver;

		create("free-page-hint=on");
		cr_assert_eq(fake_env_load(dev, state, len), 0);
		driver = old;
		driver.vd = &balloon->vd;
		balloon->vd.transport = &driver.transport;
	}
	free(state);
	fake_env_settle(&fake);
	cr_assert_eq(config().num_pages, before.num_pages);
	cr_assert_eq(config().actual, before.actual);
	cr_assert_eq(config().poison_val, before.poison_val);
	cr_assert_eq(config().free_page_hint_cmd_id, before.free_page_hint_cmd_id);
	cr_assert(balloon->hinting);
	move(0, 0, 16);
	cr_assert_eq(residents(0, 16), 0u);
}

Test(virtio_balloon, state_with_more_pages_than_memory_is_refused)
{
	void *state;
	size_t len;

	balloon->num_pages = RAM / 4096 + 1;
	len = fake_env_save(dev, &state);
	balloon->num_pages = 0;
	cr_assert_lt(fake_env_load(dev, state, len), 0);
	cr_assert_eq(config().num_pages, 0u);
	free(state);
}
