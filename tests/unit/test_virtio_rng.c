/* SPDX-License-Identifier: MIT */
/*
 * virtio-rng: where its bytes come from, what it does while there are none, and its limit.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtio_classes.h"

static struct fake_env fake;
static struct device *dev;
static struct virtio_driver driver;
static char path[64];

static void create(const char *options)
{
	dev = fake_env_device(&fake, &virtio_rng_class.device, options);
	virtio_driver_init(&driver, &fake, virtio_device(dev), gpa(MIB));
}

static void setup(void)
{
	fake_env_init(&fake, 64 * MIB);
	snprintf(path, sizeof(path), "/var/tmp/vmm-rng-%d", (int)getpid());
	unlink(path);
}

static void teardown(void)
{
	if (dev)
		fake_env_remove(dev);
	unlink(path);
	fake_env_fini(&fake);
}

TestSuite(virtio_rng, .init = setup, .fini = teardown, .timeout = 30);

static gpa_t add(uint32_t len)
{
	gpa_t at = virtio_driver_alloc(&driver, len);
	const struct driver_buffer b = {at, len, true};

	cr_assert_eq(guest_fill(driver.memory, at, 0, len), 0);
	driver_ring_add(&driver.rings[0], &b, 1);
	return at;
}

/* Number of bytes of the next used chain; -1: there is none. */
static int64_t used(void)
{
	uint32_t id, len;

	fake_env_settle(&fake);
	return driver_ring_used(&driver.rings[0], &id, &len) ? (int64_t)len : -1;
}

static bool is_zero(gpa_t at, uint32_t len)
{
	uint8_t *bytes = malloc(len);
	bool zero = true;

	driver_read(driver.memory, at, bytes, len);
	for (uint32_t i = 0; i < len; i++)
		zero = zero && !bytes[i];
	free(bytes);
	return zero;
}

static void write_file(const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* A device on the file or FIFO at `path`, started. */
static void start_on_path(const char *more)
{
	char options[128];

	snprintf(options, sizeof(options), "filename=%s%s", path, more);
	create(options);
	virtio_driver_start(&driver, 0, 1);
}

static void expect_text(gpa_t at, const char *characters, uint32_t len)
{
	char text[64] = {0};

	driver_read(driver.memory, at, text, len);
	cr_assert_eq(strspn(text, characters), len, "%s", text);
}

/* ---- the kernel's entropy ---- */

Test(virtio_rng, buffers_are_filled_with_bytes_that_differ)
{
	uint8_t a[64], b[64];
	gpa_t first, second;

	create(NULL);
	virtio_driver_start(&driver, 0, 1);
	first = add(64);
	second = add(64);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 64);
	cr_assert_eq(used(), 64);
	driver_read(driver.memory, first, a, 64);
	driver_read(driver.memory, second, b, 64);
	cr_assert_neq(memcmp(a, b, 64), 0);
	cr_assert_not(is_zero(first, 64));
}

Test(virtio_rng, as_many_requests_as_the_ring_holds_are_answered)
{
	create(NULL);
	virtio_driver_start(&driver, 0, 1);
	for (int i = 0; i < 64; i++)
		add(1 + (uint32_t)i);
	virtio_driver_kick(&driver, 0);
	for (int i = 0; i < 64; i++) {
		int64_t n = used();

		cr_assert(n > 0 && n <= i + 1, "request %d: %ld", i, n);
	}
	cr_assert_eq(used(), -1);
}

Test(virtio_rng, huge_request_gets_a_small_part_and_no_more)
{
	gpa_t at;
	int64_t n;

	create(NULL);
	virtio_driver_start(&driver, 0, 1);
	at = add(16 * MIB);
	virtio_driver_kick(&driver, 0);
	n = used();
	cr_assert(n > 0 && n <= 4096, "%ld", n);
	/* Rule 11: what is behind the bytes that are reported was not touched. */
	cr_assert(is_zero(gpa_add(at, (uint64_t)n), (uint32_t)(16 * MIB - (uint64_t)n)));
}

Test(virtio_rng, scattered_buffer_is_filled_from_the_start)
{
	struct driver_buffer b[3];

	create(NULL);
	virtio_driver_start(&driver, 0, 1);
	for (int i = 0; i < 3; i++)
		b[i] = (struct driver_buffer){virtio_driver_alloc(&driver, 16), 16, true};
	driver_ring_add(&driver.rings[0], b, 3);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 48);
	for (int i = 0; i < 3; i++)
		cr_assert_not(is_zero(b[i].addr, 16));
}

/* ---- what a driver must not do (5.4.6.1) ---- */

static void expect_broken(const struct driver_buffer *b, unsigned n)
{
	virtio_driver_start(&driver, 0, 1);
	driver_ring_add(&driver.rings[0], b, n);
	virtio_driver_kick(&driver, 0);
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_eq(used(), -1);
	virtio_driver_start(&driver, 0, 1);
	add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 8);
}

Test(virtio_rng, readable_buffer_breaks_the_device_until_reset)
{
	struct driver_buffer b[2];

	create(NULL);
	b[0] = (struct driver_buffer){virtio_driver_alloc(&driver, 16), 16, false};
	b[1] = (struct driver_buffer){virtio_driver_alloc(&driver, 16), 16, true};
	expect_broken(b, 1);
	expect_broken(b, 2);
}

/* ---- files ---- */

Test(virtio_rng, bytes_of_a_file_are_given_out_once)
{
	gpa_t a, b;

	write_file("abcdefgh");
	start_on_path("");
	a = add(5);
	b = add(5);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 5);
	cr_assert_eq(used(), 3);
	expect_text(a, "defgh", 5);
	expect_text(b, "abc", 3);
}

Test(virtio_rng, end_of_a_file_is_told_once_and_costs_one_try_a_second)
{
	unsigned lines;

	write_file("abc");
	start_on_path("");
	add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 3);
	lines = fake.log_lines;
	cr_assert_eq(lines, 1u, "%s", fake.last_log);
	cr_assert(strstr(fake.last_log, path) && strstr(fake.last_log, "ended"));
	/* Rule 22: fake_env_settle fails if the loop is never at rest. */
	add(8);
	virtio_driver_kick(&driver, 0);
	for (int i = 0; i < 10; i++)
		fake_env_advance(&fake, NS_PER_SEC);
	cr_assert_eq(used(), -1);
	cr_assert_eq(fake.log_lines, lines);
	/* More has come: it goes on. */
	write_file("xyz");
	fake_env_advance(&fake, NS_PER_SEC);
	cr_assert_eq(used(), 3);
}

Test(virtio_rng, fifo_without_a_writer_waits_without_spinning)
{
	gpa_t at;
	int fd;

	cr_assert_eq(mkfifo(path, 0600), 0);
	start_on_path("");
	at = add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), -1);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	/* Now it has a writer, who has nothing yet. */
	fake_env_advance(&fake, NS_PER_SEC);
	cr_assert_eq(used(), -1);
	cr_assert_eq(write(fd, "zzzz", 4), 4);
	cr_assert_eq(used(), 4);
	expect_text(at, "z", 4);
	/* The writer is gone: hang-up all the time, and nobody listens. */
	add(8);
	virtio_driver_kick(&driver, 0);
	close(fd);
	cr_assert_eq(used(), -1);
	fake_env_advance(&fake, 10 * NS_PER_SEC);
	cr_assert_eq(used(), -1);
}

Test(virtio_rng, character_device_is_a_source)
{
	gpa_t at;

	create("filename=/dev/urandom");
	virtio_driver_start(&driver, 0, 1);
	at = add(64);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 64);
	cr_assert_not(is_zero(at, 64));
}

Test(virtio_rng, source_that_fails_is_told_and_tried_again)
{
	/* Reading the first page of our own memory: EIO. */
	create("filename=/proc/self/mem");
	virtio_driver_start(&driver, 0, 1);
	add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), -1);
	cr_assert_eq(fake.log_lines, 1u);
	fake_env_advance(&fake, 10 * NS_PER_SEC);
	cr_assert_eq(used(), -1);
	cr_assert_eq(fake.log_lines, 1u);
}

Test(virtio_rng, what_is_no_source_is_refused_by_name)
{
	static const char *const bad[] = {"filename=/var/tmp", "filename=/no/such/file",
					  "max-bytes=1,period=0"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vmm_error err = {0};

		cr_assert_lt(device_create(&dev, &virtio_rng_class.device, NULL, bad[i], &fake.env,
					   &err),
			     0, "%s", bad[i]);
		cr_assert(strstr(err.message, i < 2 ? "filename" : "period"), "%s", err.message);
		dev = NULL;
	}
}

/* ---- the limit ---- */

Test(virtio_rng, limit_is_kept_over_many_periods)
{
	int64_t total = 0, n;

	create("max-bytes=100,period=1000");
	virtio_driver_start(&driver, 0, 1);
	for (int i = 0; i < 60; i++)
		add(64);
	virtio_driver_kick(&driver, 0);
	for (int second = 0; second < 20; second++) {
		while ((n = used()) > 0) {
			cr_assert_leq(n, 64);
			total += n;
		}
		cr_assert_leq(total, 100 * (second + 1) + 64);
		for (int ms = 0; ms < 1000; ms += 10)
			fake_env_advance(&fake, 10 * NS_PER_MS);
	}
	cr_assert_geq(total, 1900);
}

Test(virtio_rng, one_request_takes_no_more_than_a_period_has)
{
	create("max-bytes=16,period=100");
	virtio_driver_start(&driver, 0, 1);
	add(4096);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 16);
}

/* ---- life ---- */

Test(virtio_rng, reset_while_the_source_has_nothing_forgets_the_requests)
{
	gpa_t old, at;
	int fd;

	cr_assert_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	start_on_path("");
	old = add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), -1);
	virtio_driver_start(&driver, 0, 1);
	cr_assert_eq(write(fd, "q", 1), 1);
	fake_env_settle(&fake);
	cr_assert(is_zero(old, 8), "written after the reset");
	at = add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), 1);
	expect_text(at, "q", 1);
	close(fd);
}

Test(virtio_rng, quiesce_waits_for_no_source_and_resume_goes_on)
{
	void *state;
	int fd;

	cr_assert_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	start_on_path("");
	add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), -1);
	cr_assert_gt(fake_env_save(dev, &state), 0u);
	free(state);
	cr_assert_eq(write(fd, "q", 1), 1);
	cr_assert_eq(used(), -1, "works while it is stopped");
	virtio_resume(virtio_device(dev));
	cr_assert_eq(used(), 1);
	close(fd);
}

Test(virtio_rng, removal_while_waiting_leaves_nothing_behind)
{
	cr_assert_eq(mkfifo(path, 0600), 0);
	start_on_path(",max-bytes=1,period=1000");
	add(8);
	virtio_driver_kick(&driver, 0);
	cr_assert_eq(used(), -1);
	fake_env_remove(dev);
	dev = NULL;
	fake_env_advance(&fake, 10 * NS_PER_SEC);
}
