/* SPDX-License-Identifier: MIT */
/*
 * Streams with a name: what they carry when the device at one end changes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "console/chardev.h"
#include "core/provided.h"
#include "tests/unit/support/fake_env.h"

static struct fake_env fake;
static struct provided_set set;
static struct device dev;
static struct vmm_error err;
static char directory[] = "/tmp/test-named-XXXXXX";
static char path[64];
static char input[256];
static size_t input_len, room;
static unsigned connects;

static size_t take_input(void *opaque UNUSED, const uint8_t *data, size_t len)
{
	len = MIN(len, room);
	memcpy(input + input_len, data, len);
	input_len += len;
	room -= len;
	return len;
}

static void on_connected(void *opaque UNUSED, bool connected)
{
	connects += connected;
}

static const struct chardev_frontend frontend = {.input = take_input, .connected = on_connected};

static void add_stream(void)
{
	struct chardev *cd;
	char spec[128];

	snprintf(spec, sizeof(spec), "unix:%s", path);
	cr_assert_eq(chardev_add(&cd, &set, "c0", spec, fake.env.loop, &fake.log, &err), 0, "%s",
		     err.message);
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	fake_env_init(&fake, 0);
	provided_init(&set);
	fake.env.provided = &set;
	dev.env = &fake.env;
	dev.loop = fake.env.loop;
	add_stream();
}

static void teardown(void)
{
	provided_clear(&set, BACKEND_CHARDEV);
	provided_fini(&set);
	fake_env_fini(&fake);
	cr_assert_eq(rmdir(directory), 0, "the socket was left behind");
}

TestSuite(chardev_named, .init = setup, .fini = teardown, .timeout = 60);

static struct chardev *attach(size_t bytes)
{
	struct chardev *cd;

	cr_assert_eq(chardev_acquire(&cd, "c0", "chardev", &dev, &err), 0, "%s", err.message);
	room = bytes;
	chardev_attach(cd, &frontend, NULL);
	fake_env_settle(&fake);
	return cd;
}

Test(chardev_named, what_one_device_did_not_take_the_next_one_gets)
{
	struct chardev *cd = attach(3);
	const int fd = fake_env_connect(&fake, path);

	cr_assert_eq(send(fd, "abcdef", 6, 0), 6);
	fake_env_settle(&fake);
	chardev_release(cd);
	fake_env_settle(&fake);
	cr_assert_eq(send(fd, "ghi", 3, 0), 3); /* while nobody is there */
	fake_env_settle(&fake);
	cr_assert_eq(input_len, 3);
	cd = attach(sizeof(input));
	cr_assert_eq(input_len, 9);
	cr_assert_eq(memcmp(input, "abcdefghi", 9), 0);
	cr_assert_eq(connects, 2, "the second one is told as well that somebody is there");
	chardev_release(cd);
	close(fd);
}

Test(chardev_named, what_a_device_wrote_last_is_sent_when_it_has_gone)
{
	const int fd = fake_env_connect(&fake, path);
	struct chardev *cd = attach(0);
	char got[16];

	cr_assert_eq(chardev_write(cd, (const uint8_t *)"bye", 3), 3);
	chardev_release(cd);
	fake_env_settle(&fake);
	cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), 3);
	close(fd);
}

Test(chardev_named, a_client_that_comes_and_leaves_while_nobody_is_there_makes_room)
{
	int fd = fake_env_connect(&fake, path);
	struct chardev *cd;

	close(fd);
	fake_env_settle(&fake);
	fd = fake_env_connect(&fake, path);
	cd = attach(sizeof(input));
	cr_assert_eq(send(fd, "x", 1, 0), 1);
	fake_env_settle(&fake);
	cr_assert_eq(input_len, 1);
	chardev_release(cd);
	close(fd);
}

Test(chardev_named, one_device_at_a_time_has_it_and_it_goes_when_none_has)
{
	struct chardev *cd = attach(0), *second;

	cr_assert_eq(chardev_acquire(&second, "c0", "chardev", &dev, &err), -EBUSY);
	cr_assert_eq(provided_remove(&set, BACKEND_CHARDEV, "c0", &err), -EBUSY);
	chardev_release(cd);
	cr_assert_eq(provided_remove(&set, BACKEND_CHARDEV, "c0", &err), 0);
	cr_assert_neq(access(path, F_OK), 0, "the socket was left behind");
	cr_assert_eq(provided_remove(&set, BACKEND_CHARDEV, "c0", &err), -ENOENT);
	cr_assert_eq(chardev_acquire(&second, "c0", "chardev", &dev, &err), -EINVAL);
	cr_assert_not_null(strstr(err.message, "no chardev of that name"), "%s", err.message);
	add_stream();
}

Test(chardev_named, a_kind_is_a_kind_and_no_name)
{
	const struct chardev_kind *k = chardev_kinds();
	struct chardev *cd;

	for (; k->name; k++)
		cr_assert_eq(
			chardev_add(&cd, &set, k->name, "none", fake.env.loop, &fake.log, &err),
			-EINVAL, "%s", k->name);
	/* What begins like one is a name. */
	cr_assert_eq(chardev_add(&cd, &set, "ring0", "ring", fake.env.loop, &fake.log, &err), 0);
	cr_assert_eq(chardev_acquire(&cd, "ring0", "chardev", &dev, &err), 0);
	cr_assert_eq(chardev_ring_pending(cd), 0);
	chardev_release(cd);
	/* Before there is a VM there are no names. */
	cr_assert_eq(chardev_check("c0", "chardev", &err), -EINVAL);
}
