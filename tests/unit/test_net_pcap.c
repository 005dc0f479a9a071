/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/net_fixture.h"

static struct net_fixture f;
static char path[64];

static void setup(void)
{
	net_fixture_init(&f);
	snprintf(path, sizeof(path), "/tmp/test-net-pcap-%d", getpid());
}

static void teardown(void)
{
	net_fixture_fini(&f);
	unlink(path);
}

TestSuite(net_pcap, .init = setup, .fini = teardown, .timeout = 30);

static uint32_t le32_at(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void open_with(const char *file)
{
	char spec[96];

	snprintf(spec, sizeof(spec), "user,pcap=%s", file);
	net_fixture_open(&f, spec);
}

static void ask(void)
{
	struct frame frame;

	frame_arp(&frame, 1, 0x0a00020f, 0x0a000202, NULL);
	net_fixture_send(&f, frame.data, frame.len);
	net_fixture_settle(&f);
}

Test(net_pcap, has_both_directions_with_the_clocks_time)
{
	uint8_t data[1024];
	ssize_t len;
	int fd;

	open_with(path);
	ask();
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, data, sizeof(data));
	close(fd);
	cr_assert_gt(len, 24 + 2 * (16 + 42) - 1);
	cr_assert_eq(le32_at(data), 0xa1b2c3d4);
	cr_assert_eq(le32_at(data + 4), 0x00040002);
	cr_assert_eq(le32_at(data + 16), 65550);
	cr_assert_eq(le32_at(data + 20), 1);
	cr_assert_eq(le32_at(data + 24), 1704164645);
	cr_assert_eq(le32_at(data + 28), 123456);
	cr_assert_eq(le32_at(data + 32), 42);
	cr_assert_eq(le32_at(data + 36), 42);
	cr_assert_eq(memcmp(data + 40 + 6, guest_mac, 6), 0);
	cr_assert_eq(data[40 + 21], 1);
	/* The answer is to the guest. */
	cr_assert_eq(memcmp(data + 40 + 42 + 16, guest_mac, 6), 0);
	cr_assert_eq(len, 24 + 16 + 42 + 16 + (ssize_t)le32_at(data + 40 + 42 + 8));
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"pcap\":{"));
}

Test(net_pcap, a_full_disk_ends_it_once_and_packets_go_on)
{
	/* It refuses every write. */
	open_with("/dev/full");
	cr_assert_eq(f.log_lines, 1);
	cr_assert_not_null(strstr(f.last_log, "the capture ends here"), "%s", f.last_log);
	ask();
	ask();
	cr_assert_eq(f.count, 2);
	cr_assert_eq(f.log_lines, 1);
}

Test(net_pcap, a_reader_that_stalls_does_not_stall_the_guest)
{
	unsigned sent = 0;
	int fd;

	cr_assert_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	open_with(path);
	for (; f.log_lines == 0 && sent < 100000; sent++)
		ask();
	cr_assert_eq(f.log_lines, 1);
	ask();
	cr_assert_eq(f.count, sent + 1);
	close(fd);
}

Test(net_pcap, a_file_that_cannot_be_created_is_named)
{
	const char *message = net_fixture_refused(&f, "none,pcap=/no/such/folder/x");

	cr_assert_not_null(strstr(message, "/no/such/folder/x: No such file"), "%s", message);
}

Test(net_pcap, is_an_option_of_every_backend)
{
	cr_assert_eq(net_check("none,pcap=x", "--net", NULL), 0);
	cr_assert_eq(net_check("user,pcap=x", "--net", NULL), 0);
}
