/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/support/net_fixture.h"
#include "tests/unit/support/unix_peer.h"

static struct net_fixture f;
static char folder[] = "/tmp/test-net-stream-XXXXXX", path[64], spec[128];
static uint8_t pattern[70000];

static void setup(void)
{
	net_fixture_init(&f);
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
}

static void teardown(void)
{
	net_fixture_fini(&f);
	unlink(path);
	cr_expect_eq(rmdir(folder), 0, "something was left behind in %s", folder);
}

TestSuite(net_stream, .init = setup, .fini = teardown, .timeout = 30);

static const char *with(const char *options)
{
	snprintf(spec, sizeof(spec), "stream:unix:%s%s", path, options);
	return spec;
}

static int serve_one(void)
{
	int fd;

	net_fixture_open(&f, with(",server=on"));
	cr_assert_not(net_link_up(f.net));
	fd = unix_connect(path);
	net_fixture_until(&f, net_link_up(f.net));
	cr_assert_eq(f.ups, 1);
	return fd;
}

static void peer_send(int fd, uint32_t length, const void *data, size_t len)
{
	const uint8_t be[4] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16),
			       (uint8_t)(length >> 8), (uint8_t)length};

	cr_assert_eq(send(fd, be, 4, MSG_NOSIGNAL), 4);
	cr_assert_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void peer_expects(int fd, const void *data, size_t len)
{
	static uint8_t got[NET_MAX_PACKET + 4];

	cr_assert_eq(recv(fd, got, 4, MSG_WAITALL), 4);
	cr_assert_eq(be32_at(got), len);
	cr_assert_eq(recv(fd, got, len, MSG_WAITALL), (ssize_t)len);
	cr_assert_eq(memcmp(got, data, len), 0);
}

static bool peer_sees_end(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* ---- frames ---- */

Test(net_stream, frames_follow_their_length_both_ways)
{
	static const size_t sizes[] = {14, 60, 1514, 9014, NET_MAX_PACKET};
	const int fd = serve_one();

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		cr_assert_eq(net_fixture_send(&f, pattern, sizes[i]), NET_SENT);
		net_fixture_settle(&f);
		peer_expects(fd, pattern, sizes[i]);
		peer_send(fd, (uint32_t)sizes[i], pattern, sizes[i]);
		net_fixture_until(&f, f.count == i + 1);
		cr_assert_eq(f.packets[i].len, sizes[i]);
		cr_assert_eq(memcmp(f.packets[i].data, pattern, sizes[i]), 0);
		cr_assert_eq(f.packets[i].hdr.gso_type, 0);
	}
	close(fd);
}

Test(net_stream, frames_in_pieces_are_put_together)
{
	const int fd = serve_one();
	uint8_t bytes[2 * 24];

	for (unsigned i = 0; i < 2; i++) {
		memcpy(bytes + (size_t)i * 24, "\0\0\0\x14", 4);
		memcpy(bytes + (size_t)i * 24 + 4, pattern + i, 20);
	}
	for (size_t i = 0; i < sizeof(bytes); i++) {
		cr_assert_eq(send(fd, bytes + i, 1, 0), 1);
		net_fixture_settle(&f);
		cr_assert_eq(f.count, (i + 1) / 24);
	}
	cr_assert_eq(memcmp(f.packets[1].data, pattern + 1, 20), 0);
	close(fd);
}

Test(net_stream, a_batch_is_written_at_once)
{
	const int fd = serve_one();
	uint8_t bytes[10 * 64];

	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
	cr_assert_eq(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	net_fixture_settle(&f);
	cr_assert_eq(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), (ssize_t)sizeof(bytes));
	close(fd);
}

Test(net_stream, a_length_that_no_frame_has_ends_the_connection)
{
	static const uint32_t lengths[] = {NET_MAX_PACKET + 1, 0x7fffffff, 0x80000000, UINT32_MAX};
	unsigned downs = 0;

	net_fixture_open(&f, with(",server=on"));
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		const int fd = unix_connect(path);

		peer_send(fd, lengths[i], pattern, 100);
		net_fixture_until(&f, f.downs == downs + 1);
		downs = f.downs;
		cr_assert_not_null(strstr(f.last_log, "a length that no frame has"), "%s",
				   f.last_log);
		close(fd);
	}
	cr_assert_eq(f.count, 0);
	cr_assert_eq(f.ups, 4);
}

Test(net_stream, frames_shorter_than_a_header_are_dropped)
{
	const int fd = serve_one();

	peer_send(fd, 0, pattern, 0);
	peer_send(fd, 13, pattern, 13);
	peer_send(fd, 14, pattern, 14);
	net_fixture_until(&f, f.count == 1);
	cr_assert_eq(f.packets[0].len, 14);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":2"));
	close(fd);
}

/* ---- back-pressure ---- */

Test(net_stream, a_guest_without_buffers_stops_the_reading)
{
	const int fd = serve_one();
	unsigned sent = 0;

	f.room = 2;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	/* Until both socket buffers and ours are full. */
	for (;; sent++) {
		uint8_t frame[1028] = "\0\0\x04";

		frame[4] = (uint8_t)sent;
		if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) != sizeof(frame)) {
			net_fixture_settle(&f);
			if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) != sizeof(frame))
				break;
		}
		cr_assert_lt(sent, 100000);
	}
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 2);
	cr_assert_gt(f.refused, 0);
	net_fixture_room(&f, UINT32_MAX - 2);
	net_fixture_until(&f, f.count == sent);
	for (unsigned i = sent > 400 ? sent - 400 : 0; i < sent; i++)
		cr_assert_eq(f.packets[i % NET_FIXTURE_PACKETS].data[0], (uint8_t)i);
	close(fd);
}

Test(net_stream, a_peer_that_stalls_delays_the_guest_and_then_loses_packets)
{
	const int fd = serve_one();
	unsigned sent = 0;

	while (net_fixture_send(&f, pattern, 1514) == NET_SENT) {
		net_fixture_settle(&f);
		cr_assert_lt(sent++, 100000);
	}
	net_fixture_settle(&f);
	cr_assert_eq(f.writable, 0);
	clock_fake_advance(&f.clock, NS_PER_SEC);
	net_fixture_settle(&f);
	cr_assert_eq(f.writable, 1);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(net_fixture_send(&f, pattern, 1514), NET_SENT);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"stalled\":true"));
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":1000"));

	/* It reads again: what was accepted arrives whole, and new packets do. */
	for (unsigned i = 0; i < sent; i++) {
		peer_expects(fd, pattern, 1514);
		net_fixture_settle(&f);
	}
	cr_assert_eq(net_fixture_send(&f, pattern + 1, 100), NET_SENT);
	net_fixture_settle(&f);
	peer_expects(fd, pattern + 1, 100);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"stalled\":false"));
	close(fd);
}

Test(net_stream, a_guest_that_waits_goes_on_when_the_peer_reads)
{
	const int fd = serve_one();
	unsigned sent = 0;

	while (net_fixture_send(&f, pattern, 1514) == NET_SENT) {
		net_fixture_settle(&f);
		sent++;
	}
	for (unsigned i = 0; i < sent && !f.writable; i++) {
		peer_expects(fd, pattern, 1514);
		net_fixture_settle(&f);
	}
	cr_assert_eq(f.writable, 1);
	cr_assert_eq(net_fixture_send(&f, pattern, NET_MAX_PACKET), NET_SENT);
	close(fd);
}

Test(net_stream, a_guest_that_waits_goes_on_when_the_peer_goes)
{
	const int fd = serve_one();

	while (net_fixture_send(&f, pattern, 1514) == NET_SENT)
		net_fixture_settle(&f);
	close(fd);
	net_fixture_until(&f, f.downs == 1);
	cr_assert_eq(f.writable, 1);
	cr_assert_eq(net_fixture_send(&f, pattern, 1514), NET_SENT);
}

/* ---- coming and going ---- */

Test(net_stream, the_peer_may_come_and_go)
{
	net_fixture_open(&f, with(",server=on"));
	for (unsigned i = 1; i <= 3; i++) {
		const int fd = unix_connect(path);

		net_fixture_until(&f, f.ups == i);
		/* Half a frame is forgotten with the peer. */
		cr_assert_eq(send(fd, "\0\0\0\x14half", 8, 0), 8);
		net_fixture_settle(&f);
		close(fd);
		net_fixture_until(&f, f.downs == i);
		cr_assert_not(net_link_up(f.net));
		cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
	}
	cr_assert_eq(f.count, 0);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"connections\":3"));
}

Test(net_stream, a_second_peer_is_refused)
{
	const int fd = serve_one(), second = unix_connect(path);

	net_fixture_until(&f, peer_sees_end(second));
	cr_assert(net_link_up(f.net));
	cr_assert_not_null(strstr(f.last_log, "a second peer was refused"));
	close(second);
	peer_send(fd, 60, pattern, 60);
	net_fixture_until(&f, f.count == 1);
	close(fd);
}

Test(net_stream, a_peer_that_left_while_the_guest_had_no_buffers_makes_room)
{
	int fd = serve_one();

	f.room = 0;
	peer_send(fd, 60, pattern, 60);
	net_fixture_until(&f, f.refused);
	close(fd);
	net_fixture_settle(&f);
	cr_assert(net_link_up(f.net));
	fd = unix_connect(path);
	net_fixture_until(&f, f.ups == 2);
	cr_assert_eq(f.downs, 1);
	net_fixture_room(&f, 1);
	peer_send(fd, 61, pattern, 61);
	net_fixture_until(&f, f.count);
	cr_assert_eq(f.packets[0].len, 61);
	close(fd);
}

Test(net_stream, no_spinning_while_there_is_no_descriptor_for_a_peer)
{
	struct rlimit limit, none;
	int fd, last;

	net_fixture_open(&f, with(",server=on"));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	last = dup(fd);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)last;
	close(last);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	unix_connect_fd(fd, path);
	net_fixture_settle(&f); /* for ever, if the loop is told again and again */
	cr_assert_not(net_link_up(f.net));
	cr_assert_not_null(strstr(f.last_log, "cannot accept a peer"), "%s", f.last_log);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	clock_fake_advance(&f.clock, NS_PER_SEC);
	net_fixture_until(&f, net_link_up(f.net));
	close(fd);
	net_fixture_until(&f, f.downs);
	fd = unix_connect(path);
	net_fixture_until(&f, f.ups == 2);
	close(fd);
}

Test(net_stream, a_client_comes_back_after_the_time_given)
{
	int server, fd;

	/* Nobody is there yet. */
	net_fixture_open(&f, with(",reconnect=3"));
	cr_assert_not(net_link_up(f.net));
	server = unix_listen(path, 1);
	clock_fake_advance(&f.clock, 2 * NS_PER_SEC);
	net_fixture_settle(&f);
	cr_assert_eq(f.ups, 0);
	clock_fake_advance(&f.clock, NS_PER_SEC);
	net_fixture_settle(&f);
	cr_assert_eq(f.ups, 1);
	fd = accept(server, NULL, NULL);
	peer_send(fd, 60, pattern, 60);
	net_fixture_until(&f, f.count == 1);

	close(fd);
	net_fixture_until(&f, f.downs == 1);
	clock_fake_advance(&f.clock, 3 * NS_PER_SEC);
	net_fixture_settle(&f);
	cr_assert_eq(f.ups, 2);
	close(server);
}

Test(net_stream, a_client_without_reconnect_stays_down)
{
	const int server = unix_listen(path, 1);

	net_fixture_open(&f, with(""));
	cr_assert(net_link_up(f.net));
	close(accept(server, NULL, NULL));
	net_fixture_until(&f, f.downs == 1);
	clock_fake_advance(&f.clock, 100 * NS_PER_SEC);
	net_fixture_settle(&f);
	cr_assert_not(net_link_up(f.net));
	close(server);
}

Test(net_stream, two_nets_talk_to_each_other)
{
	static struct net_fixture g;

	net_fixture_open(&f, with(",server=on"));
	net_fixture_init(&g);
	net_fixture_open(&g, with(""));
	net_fixture_until(&f, f.ups == 1);
	cr_assert_eq(net_fixture_send(&g, pattern, 1000), NET_SENT);
	net_fixture_settle(&g);
	net_fixture_until(&f, f.count == 1);
	cr_assert_eq(memcmp(f.packets[0].data, pattern, 1000), 0);
	cr_assert_eq(net_fixture_send(&f, pattern, 1001), NET_SENT);
	net_fixture_settle(&f);
	net_fixture_until(&g, g.count == 1);
	cr_assert_eq(g.packets[0].len, 1001);
	net_fixture_fini(&g);
	net_fixture_until(&f, f.downs == 1);
}

Test(net_stream, works_over_tcp)
{
	static struct net_fixture g;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* A port that was free a moment ago. */
	cr_assert_eq(bind(fd, (struct sockaddr *)&in, len), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	snprintf(spec, sizeof(spec), "stream:tcp:127.0.0.1:%u,server=on", ntohs(in.sin_port));
	net_fixture_open(&f, spec);
	net_fixture_init(&g);
	*strchr(spec, ',') = '\0';
	net_fixture_open(&g, spec);
	net_fixture_until(&f, f.ups == 1);
	net_fixture_until(&g, net_link_up(g.net));
	cr_assert_eq(net_fixture_send(&g, pattern, 1000), NET_SENT);
	net_fixture_settle(&g);
	net_fixture_until(&f, f.count == 1);
	net_fixture_fini(&g);
}

/* Start passt; it goes to the background when its socket is there. False: it does not run here. */
static bool start_passt(void)
{
	int status = -1;
	pid_t pid;

	/* Where root starts it, it becomes nobody. */
	cr_assert_eq(chmod(folder, 0777), 0);
	pid = fork();

	if (pid == 0) {
		const int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		/* --one-off: it ends with its only connection. */
		execlp("passt", "passt", "--one-off", "--socket", path, (char *)NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Test(net_stream, passt_answers)
{
	struct frame frame;

	if (!start_passt())
		cr_skip_test("passt is not installed, or does not run on this host");
	net_fixture_open(&f, with(""));
	frame_arp(&frame, 1, 0x0a0b0c0d, 0x0a0b0c01, NULL);
	cr_assert_eq(net_fixture_send(&f, frame.data, frame.len), NET_SENT);
	net_fixture_until(&f, f.count > 0);
	cr_assert_eq(be16_at(f.packets[0].data + 12), 0x0806);
	cr_assert_eq(be16_at(f.packets[0].data + 20), 2);
	cr_assert_eq(be32_at(f.packets[0].data + 28), 0x0a0b0c01);
}

/* ---- set up ---- */

Test(net_stream, a_socket_file_left_behind_is_replaced_and_removed)
{
	close(unix_listen(path, 1));
	cr_assert_eq(access(path, F_OK), 0);
	net_fixture_open(&f, with(",server=on"));
	net_fixture_close(&f);
	cr_assert_neq(access(path, F_OK), 0);
}

#define REFUSED(s, text)                                                               \
	cr_assert_not_null(strstr(net_fixture_refused(&f, s), text), "%s gave: %s", s, \
			   f.err.message)

Test(net_stream, bad_specs_get_a_sentence)
{
	char longer[160] = "stream:unix:/tmp/";

	memset(longer + 17, 'x', 120);
	REFUSED("stream", "address=… is required");
	REFUSED("stream:", "address=… is required");
	REFUSED("stream:unix:", "unix needs a path");
	REFUSED(longer, "the socket's path has 125 characters, the system allows 107");
	REFUSED("stream:/tmp/x", "must be unix:PATH or tcp:ADDRESS:PORT");
	REFUSED("stream:tcp:localhost:1", "numeric address");
	REFUSED("stream:tcp:127.0.0.1:0", "numeric address");
	REFUSED("stream:unix:x,sever=on", "did you mean \"server\"");
	REFUSED("stream:unix:x,server=on,reconnect=1", "reconnect is for clients");
	REFUSED(with(""), "cannot connect to unix:/tmp/test-net-stream");
	REFUSED("stream:unix:/no/such/folder/x,server=on", "cannot listen on unix:/no/such");
	REFUSED("stream:unix:/tmp,server=on", "unix:/tmp is there already, and is not a socket");
	net_fixture_open(&f, with(",server=on"));
	REFUSED(with(",server=on"), "in use by another program");
}
