/* SPDX-License-Identifier: MIT */
/*
 * The stream `attach`: consoles that people come to, leave, take over and forget about.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console/chardev.h"
#include "tests/unit/support/fake_env.h"

#define HISTORY 65536u

static struct fake_env fake;
static struct chardev *cd;
static char directory[] = "/tmp/test-attach-XXXXXX";
static char path[64];
static char input[256];
static size_t input_len;
static unsigned writable;

static size_t take_input(void *opaque UNUSED, const uint8_t *data, size_t len)
{
	cr_assert_lt(input_len + len, sizeof(input));
	memcpy(input + input_len, data, len);
	input_len += len;
	return len;
}

static void on_writable(void *opaque UNUSED)
{
	writable++;
}

static const struct chardev_frontend frontend = {.input = take_input, .writable = on_writable};

static void setup(void)
{
	struct vmm_error err = {0};
	char spec[128];

	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/console", directory);
	snprintf(spec, sizeof(spec), "attach:%s", path);
	fake_env_init(&fake, 0);
	cr_assert_eq(chardev_create(&cd, spec, "--serial", fake.env.loop, &fake.log, &err), 0, "%s",
		     err.message);
	chardev_attach(cd, &frontend, NULL);
	fake_env_settle(&fake);
}

static void teardown(void)
{
	chardev_destroy(cd);
	fake_env_fini(&fake);
	cr_assert_eq(rmdir(directory), 0, "the socket was left behind");
}

TestSuite(chardev_attach, .init = setup, .fini = teardown, .timeout = 60);

static void put(const char *text)
{
	cr_assert_eq(chardev_write(cd, (const uint8_t *)text, strlen(text)), strlen(text));
	fake_env_settle(&fake);
}

/* All that can be read now; its length. */
static size_t get_all(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = recv(fd, text + len, size - len, MSG_DONTWAIT)) > 0) {
		len += (size_t)n;
		fake_env_settle(&fake);
	}
	return len;
}

static void hears(int fd, const char *wanted)
{
	char text[1024];
	size_t len = get_all(fd, text, sizeof(text) - 1);

	text[len] = '\0';
	cr_expect_str_eq(text, wanted);
}

static bool was_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* Write until no more is accepted. */
static void fill(void)
{
	static uint8_t block[4096];
	unsigned rounds = 0;

	while (chardev_write(cd, block, sizeof(block)) == sizeof(block)) {
		fake_env_settle(&fake);
		cr_assert_lt(rounds++, 10000, "it is never full");
	}
}

static void expect_refused(const char *spec, int code, const char *sentence)
{
	struct vmm_error err = {0};

	cr_expect_eq(chardev_check(spec, "--serial", &err), -EINVAL);
	cr_expect_eq(chardev_create(&cd, spec, "--serial", fake.env.loop, &fake.log, &err), code);
	cr_expect(strstr(err.message, sentence), "%s", err.message);
}

Test(chardev_attach, who_comes_is_shown_what_was_printed_before)
{
	int client;

	put("one\n");
	client = fake_env_connect(&fake, path);
	hears(client, "one\n");
	put("two\n");
	hears(client, "two\n");
	close(client);
	fake_env_settle(&fake);
	put("three\n");

	client = fake_env_connect(&fake, path);
	hears(client, "one\ntwo\nthree\n");
	cr_assert_eq(write(client, "in", 2), 2);
	fake_env_settle(&fake);
	cr_expect_arr_eq(input, "in", 2);
	close(client);
}

Test(chardev_attach, no_more_than_the_latest_64_kib_are_shown)
{
	static char block[HISTORY + 5000], text[2 * HISTORY];
	int client;

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)('a' + i % 23);
	/* In one piece, and over the seam of the ring. */
	cr_assert_eq(chardev_write(cd, (const uint8_t *)block, sizeof(block)), sizeof(block));
	cr_assert_eq(chardev_write(cd, (const uint8_t *)block, 777), 777u);
	client = fake_env_connect(&fake, path);
	cr_assert_eq(get_all(client, text, sizeof(text)), HISTORY);
	cr_expect_arr_eq(text, block + 5000 + 777, HISTORY - 777);
	cr_expect_arr_eq(text + HISTORY - 777, block, 777);
	close(client);
}

Test(chardev_attach, the_next_one_takes_the_console_over)
{
	int first = fake_env_connect(&fake, path), second;

	put("hello");
	second = fake_env_connect(&fake, path);
	hears(first, "hello");
	cr_expect(was_closed(first));
	hears(second, "hello");
	put("more");
	hears(second, "more");
	close(first);
	close(second);
}

Test(chardev_attach, one_who_does_not_read_holds_the_guest_for_seconds_only)
{
	static char text[8 * HISTORY];
	int client = fake_env_connect(&fake, path);
	size_t len;

	fill();
	cr_expect_eq(chardev_write(cd, (const uint8_t *)"x", 1), 0u, "the guest waits");
	fake_env_advance(&fake, 4 * NS_PER_SEC);
	cr_expect_eq(chardev_write(cd, (const uint8_t *)"x", 1), 0u, "still");
	writable = 0;
	fake_env_advance(&fake, 2 * NS_PER_SEC);
	cr_expect_eq(writable, 1u, "it goes on");
	put("later");
	cr_expect(strstr(fake.last_log, "does not read"), "%s", fake.last_log);
	len = get_all(client, text, sizeof(text));
	cr_expect(len > 0 && was_closed(client), "it has what was sent, and the end");
	close(client);

	client = fake_env_connect(&fake, path);
	len = get_all(client, text, sizeof(text));
	cr_expect_eq(len, HISTORY);
	cr_expect_arr_eq(text + len - 5, "later", 5);
	close(client);
}

Test(chardev_attach, one_who_reads_slowly_is_served)
{
	static char text[HISTORY];
	int client = fake_env_connect(&fake, path);

	for (unsigned i = 0; i < 10; i++) {
		fill();
		fake_env_advance(&fake, 4 * NS_PER_SEC);
		cr_assert_gt(recv(client, text, sizeof(text), MSG_DONTWAIT), 0);
		fake_env_settle(&fake);
	}
	cr_expect_not(was_closed(client));
	close(client);
}

Test(chardev_attach, only_its_owner_can_connect)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600u);
}

Test(chardev_attach, a_path_that_others_could_not_find_is_refused)
{
	struct chardev *first = cd;

	expect_refused("attach", -EINVAL, "attach needs a path that begins with /");
	expect_refused("attach:", -EINVAL, "attach needs a path that begins with /");
	expect_refused("attach:here", -EINVAL, "attach needs a path that begins with /");
	cd = first;
}
