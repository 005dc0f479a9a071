/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/support/net_fixture.h"

static struct net_fixture f;
static char folder[] = "/tmp/test-net-dgram-XXXXXX", spec[160];
static uint8_t pattern[70000];

static void setup(void)
{
	net_fixture_init(&f);
	cr_assert_not_null(mkdtemp(folder));
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	snprintf(spec, sizeof(spec), "dgram:unix:%s/peer,local=%s/local", folder, folder);
}

static void teardown(void)
{
	char path[64];

	net_fixture_fini(&f);
	snprintf(path, sizeof(path), "%s/peer", folder);
	unlink(path);
	cr_expect_eq(rmdir(folder), 0, "something was left behind in %s", folder);
}

TestSuite(net_dgram, .init = setup, .fini = teardown, .timeout = 30);

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", folder, name);
	return un;
}

static int peer_open(void)
{
	const struct sockaddr_un un = address("peer");
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	unlink(un.sun_path);
	cr_assert_eq(bind(fd, (const struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static ssize_t peer_send(int fd, const void *data, size_t len)
{
	const struct sockaddr_un un = address("local");

	return sendto(fd, data, len, MSG_DONTWAIT, (const struct sockaddr *)&un, sizeof(un));
}

Test(net_dgram, a_datagram_is_a_frame_both_ways)
{
	static const size_t sizes[] = {14, 60, 1514, NET_MAX_PACKET};
	static uint8_t got[70000];
	const int fd = peer_open();

	net_fixture_open(&f, spec);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		cr_assert_eq(net_fixture_send(&f, pattern, sizes[i]), NET_SENT);
		cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), (ssize_t)sizes[i]);
		cr_assert_eq(memcmp(got, pattern, sizes[i]), 0);
		cr_assert_eq(peer_send(fd, pattern, sizes[i]), (ssize_t)sizes[i]);
		net_fixture_until(&f, f.count == i + 1);
		cr_assert_eq(f.packets[i].len, sizes[i]);
		cr_assert_eq(memcmp(f.packets[i].data, pattern, sizes[i]), 0);
	}
	close(fd);
}

Test(net_dgram, frames_of_a_wrong_size_are_dropped)
{
	const int fd = peer_open();

	net_fixture_open(&f, spec);
	cr_assert_eq(peer_send(fd, pattern, 0), 0);
	cr_assert_eq(peer_send(fd, pattern, 13), 13);
	cr_assert_eq(peer_send(fd, pattern, NET_MAX_PACKET + 1), NET_MAX_PACKET + 1);
	cr_assert_eq(peer_send(fd, pattern, 14), 14);
	net_fixture_until(&f, f.count == 1);
	cr_assert_eq(f.packets[0].len, 14);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":3"));
	close(fd);
}

Test(net_dgram, a_peer_that_is_not_there_loses_packets_and_may_come_back)
{
	uint8_t got[100];
	int fd;

	net_fixture_open(&f, spec);
	cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
	for (unsigned i = 0; i < 3; i++) {
		fd = peer_open();
		cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
		cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), 60);
		close(fd);
		cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
	}
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":4"));
}

Test(net_dgram, a_peer_that_stalls_delays_the_guest_and_then_loses_packets)
{
	const int fd = peer_open();
	uint8_t got[2000];
	unsigned queued = 0;

	net_fixture_open(&f, spec);
	while (net_fixture_send(&f, pattern, 1514) == NET_SENT)
		cr_assert_lt(queued++, 100000);
	net_fixture_settle(&f);
	cr_assert_eq(f.writable, 0);
	clock_fake_advance(&f.clock, NS_PER_SEC);
	net_fixture_settle(&f);
	cr_assert_eq(f.writable, 1);
	cr_assert_eq(net_fixture_send(&f, pattern, 1514), NET_SENT);
	cr_assert_eq(net_fixture_send(&f, pattern, 1514), NET_SENT);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":2"));
	for (unsigned i = 0; i < queued; i++)
		cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), 1514);
	cr_assert_eq(net_fixture_send(&f, pattern, 99), NET_SENT);
	cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), 99);
	close(fd);
}

Test(net_dgram, a_full_peer_that_reads_is_noticed_at_once)
{
	uint8_t got[2000];
	int fd;

	net_fixture_open(&f, spec);
	/* Each time another one; and time stands still. */
	for (unsigned i = 0; i < 3; i++) {
		fd = peer_open();
		while (net_fixture_send(&f, pattern, 1514) == NET_SENT)
			;
		net_fixture_settle(&f);
		cr_assert_eq(f.writable, 2 * i);
		cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), 1514);
		net_fixture_until(&f, f.writable == 2 * i + 1);
		cr_assert_eq(net_fixture_send(&f, pattern, 1514), NET_SENT);
		while (net_fixture_send(&f, pattern, 1514) == NET_SENT)
			;
		close(fd);
		net_fixture_until(&f, f.writable == 2 * i + 2);
	}
}

/* What is full then is the memory for all that was sent, which only time tells of. */
Test(net_dgram, large_frames_that_fill_the_memory_do_not_keep_the_loop_busy)
{
	static uint8_t got[70000];
	const int fd = peer_open();
	unsigned queued = 0;

	net_fixture_open(&f, spec);
	while (net_fixture_send(&f, pattern, NET_MAX_PACKET) == NET_SENT)
		cr_assert_lt(queued++, 100000);
	for (unsigned i = 0; i < 4; i++) {
		net_fixture_settle(&f);
		cr_assert_leq(f.writable, i + 1);
		cr_assert_eq(net_fixture_send(&f, pattern, NET_MAX_PACKET), NET_BUSY);
		clock_fake_advance(&f.clock, NS_PER_MS);
	}
	for (unsigned i = 0; i < queued; i++)
		cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), NET_MAX_PACKET);
	net_fixture_settle(&f);
	cr_assert_eq(net_fixture_send(&f, pattern, 99), NET_SENT);
	close(fd);
}

Test(net_dgram, a_guest_without_buffers_stops_the_reading)
{
	const int fd = peer_open();
	unsigned sent = 0;

	net_fixture_open(&f, spec);
	f.room = 2;
	while (peer_send(fd, pattern + sent, 60) == 60) {
		cr_assert_lt(sent++, 10000);
		net_fixture_settle(&f);
	}
	cr_assert_eq(f.count, 2);
	net_fixture_room(&f, 100000);
	net_fixture_until(&f, f.count == sent);
	for (unsigned i = 0; i < MIN(sent, NET_FIXTURE_PACKETS); i++)
		cr_assert_eq(memcmp(f.packets[i].data, pattern + i, 60), 0);
	close(fd);
}

Test(net_dgram, two_nets_talk_to_each_other)
{
	static struct net_fixture g;

	net_fixture_open(&f, spec);
	net_fixture_init(&g);
	snprintf(spec, sizeof(spec), "dgram:unix:%s/local,local=%s/peer", folder, folder);
	net_fixture_open(&g, spec);
	cr_assert_eq(net_fixture_send(&g, pattern, 1000), NET_SENT);
	net_fixture_until(&f, f.count == 1);
	cr_assert_eq(net_fixture_send(&f, pattern, 1001), NET_SENT);
	net_fixture_until(&g, g.count == 1);
	cr_assert_eq(g.packets[0].len, 1001);
	net_fixture_fini(&g);
}

#define REFUSED(s, text)                                                               \
	cr_assert_not_null(strstr(net_fixture_refused(&f, s), text), "%s gave: %s", s, \
			   f.err.message)

Test(net_dgram, bad_specs_get_a_sentence)
{
	char longer[200] = "dgram:unix:/tmp/x,local=/tmp/";

	memset(longer + 29, 'x', 120);
	REFUSED("dgram:unix:/tmp/x", "local=… is required");
	REFUSED("dgram:/tmp/x,local=/tmp/y", "it must be unix:PATH");
	REFUSED("dgram:unix:,local=/tmp/y", "unix needs a path");
	REFUSED(longer, "the socket's path has 125 characters");
	REFUSED("dgram:unix:/tmp/x,local=/no/such/folder/x", "cannot create local=/no/such");
	REFUSED("dgram:unix:/tmp/x,local=/tmp", "local=/tmp is there already, and is not a socket");
	net_fixture_open(&f, spec);
	REFUSED(spec, "in use by another program");
}
