/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/net_fixture.h"
#include "tests/unit/support/unix_peer.h"

#define GUEST UINT32_C(0x0a00020f) /* 10.0.2.15 */
#define HOST  UINT32_C(0x0a000202) /* 10.0.2.2 */
#define DNS   UINT32_C(0x0a000203)

static struct net_fixture f;

static void setup(void)
{
	net_fixture_init(&f);
}

static void teardown(void)
{
	net_fixture_fini(&f);
}

TestSuite(net_user, .init = setup, .fini = teardown, .timeout = 30);

static void send_frame(const struct frame *frame)
{
	cr_assert_eq(net_fixture_send(&f, frame->data, frame->len), NET_SENT);
}

/* A listening or bound socket on 127.0.0.1; *port: which. */
static int host_socket(int type, uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&in, len), 0);
	if (type == SOCK_STREAM)
		cr_assert_eq(listen(fd, 4), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

static int host_connect(int type, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr = {htonl(INADDR_LOOPBACK)},
				 .sin_port = htons(port)};
	const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0, "%s", strerror(errno));
	return fd;
}

/* The port in the report's first "127.0.0.1:PORT". */
static uint16_t reported_port(void)
{
	const char *text = strstr(net_fixture_report(&f), "127.0.0.1:");

	cr_assert_not_null(text);
	return (uint16_t)strtoul(text + 10, NULL, 10);
}

/* ---- what it answers itself ---- */

Test(net_user, arp_is_answered_and_never_from_within_send)
{
	struct frame frame;

	net_fixture_open(&f, "user");
	frame_arp(&frame, 1, GUEST, HOST, NULL);
	send_frame(&frame);
	cr_assert_not(f.inside_send);
	cr_assert_eq(f.count, 0);
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 1);
	cr_assert_eq(be16_at(f.packets[0].data + 12), 0x0806);
	cr_assert_eq(be16_at(f.packets[0].data + 20), 2);
	cr_assert_eq(be32_at(f.packets[0].data + 28), HOST);
	cr_assert_eq(memcmp(f.packets[0].data, guest_mac, 6), 0);
	cr_assert_eq(f.packets[0].hdr.num_buffers, 1);
}

/* The option's value, or NULL. */
static const uint8_t *dhcp_option(const struct net_packet *p, uint8_t code, uint8_t *len)
{
	for (size_t at = 14 + 20 + 8 + 240; at + 2 <= p->len && p->data[at] != 255;
	     at += p->data[at] ? 2u + p->data[at + 1] : 1u) {
		if (p->data[at] != code)
			continue;
		*len = p->data[at + 1];
		return p->data + at + 2;
	}
	return NULL;
}

static const struct net_packet *dhcp(uint8_t type)
{
	uint8_t bootp[300] = {1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef};
	struct frame frame;

	memcpy(bootp + 28, guest_mac, 6);
	memcpy(bootp + 236, "\x63\x82\x53\x63\x35\x01", 6);
	bootp[242] = type;
	bootp[243] = 255;
	frame_udp4(&frame, 0, 68, UINT32_MAX, 67, bootp, sizeof(bootp));
	send_frame(&frame);
	net_fixture_until(&f, f.next < f.count);
	return &f.packets[f.next++];
}

Test(net_user, dhcp_gives_the_configured_addresses)
{
	const struct net_packet *p;
	const uint8_t *value;
	uint8_t len;

	net_fixture_open(&f, "user,net=192.168.7.0/24,host=192.168.7.1,dhcpstart=192.168.7.50,"
			     "dns=192.168.7.9,hostname=toy,domainname=example.org,"
			     "dnssearch=a.example,dnssearch=b.example,bootfile=boot.efi");
	p = dhcp(1);
	cr_assert_gt(p->len, 282);
	cr_assert_eq(be32_at(p->data + 42 + 16), 0xc0a80732);
	value = dhcp_option(p, 53, &len);
	cr_assert(value && len == 1 && *value == 2);
	value = dhcp_option(p, 3, &len);
	cr_assert(value && len == 4 && be32_at(value) == 0xc0a80701);
	value = dhcp_option(p, 6, &len);
	cr_assert(value && len == 4 && be32_at(value) == 0xc0a80709);
	value = dhcp_option(p, 12, &len);
	cr_assert(value && len == 3 && !memcmp(value, "toy", 3));
	value = dhcp_option(p, 15, &len);
	cr_assert(value && len == 11 && !memcmp(value, "example.org", 11));
	cr_assert_str_eq((const char *)p->data + 42 + 108, "boot.efi");
}

Test(net_user, ping_of_the_host_is_answered)
{
	uint8_t icmp[16] = {8, 0, 0, 0, 0x12, 0x34, 0, 1, 'p', 'i', 'n', 'g'};
	const uint16_t sum = frame_checksum(icmp, sizeof(icmp), 0);
	struct frame frame;
	const struct net_packet *p;

	net_fixture_open(&f, "user");
	/* So that it knows where the guest is. */
	frame_arp(&frame, 1, GUEST, HOST, NULL);
	send_frame(&frame);
	icmp[2] = (uint8_t)(sum >> 8);
	icmp[3] = (uint8_t)sum;
	frame_ip4(&frame, 1, GUEST, HOST, sizeof(icmp));
	frame_add(&frame, icmp, sizeof(icmp));
	send_frame(&frame);
	net_fixture_until(&f, f.count == 2);
	p = &f.packets[1];
	cr_assert_eq(p->data[14 + 20], 0);
	cr_assert_eq(memcmp(p->data + 14 + 28, "ping", 4), 0);
}

Test(net_user, ipv6_routers_are_found)
{
	static const uint8_t all_routers[16] = {0xff, 2, [15] = 2};
	static const uint8_t from[16] = {0xfe, 0x80, [8] = 0x50, 0x54, 0,
					 0xff, 0xfe, 0x12,       0x34, 0x56};
	uint8_t ip[40] = {0x60, [5] = 8, 58, 255}, rs[8] = {133};
	struct frame frame;
	uint16_t sum;
	bool advertised = false;

	net_fixture_open(&f, "user,ipv6-net=fd00:1::/64");
	memcpy(ip + 8, from, 16);
	memcpy(ip + 24, all_routers, 16);
	sum = frame_checksum(ip + 8, 32, 58 + 8 + (133u << 8));
	rs[2] = (uint8_t)(sum >> 8);
	rs[3] = (uint8_t)sum;
	frame_eth(&frame, 0x86dd);
	frame_add(&frame, ip, sizeof(ip));
	frame_add(&frame, rs, sizeof(rs));
	send_frame(&frame);
	while (!advertised) {
		const struct net_packet *p;

		net_fixture_until(&f, f.next < f.count);
		p = &f.packets[f.next++];
		advertised = be16_at(p->data + 12) == 0x86dd && p->data[54] == 134 &&
			     memmem(p->data, p->len, "\xfd\x00\x00\x01\0\0\0\0", 8);
	}
}

/* ---- connections ---- */

static void expect_data(struct guest_tcp *t, const char *data)
{
	do
		guest_tcp_receive(t);
	while (!t->len);
	cr_assert_eq(t->len, strlen(data));
	cr_assert_eq(memcmp(t->data, data, t->len), 0);
}

static void host_expects(int fd, const char *data)
{
	char got[64] = "";

	fcntl(fd, F_SETFL, O_NONBLOCK);
	net_fixture_until(&f, recv(fd, got, sizeof(got), MSG_PEEK) >= (ssize_t)strlen(data));
	cr_assert_eq(recv(fd, got, sizeof(got), 0), (ssize_t)strlen(data));
	cr_assert_eq(memcmp(got, data, strlen(data)), 0);
}

/* The three-way handshake towards the guest, then data both ways, then both ends. */
static void serve_from_guest(int client)
{
	struct guest_tcp t = {.f = &f, .from = GUEST, .seq = 1000};

	guest_tcp_receive(&t);
	cr_assert_eq(t.flags, TCP_SYN);
	cr_assert_eq(t.sport, 22);
	guest_tcp_send(&t, TCP_SYN | TCP_ACK, NULL, 0);
	guest_tcp_receive(&t);
	cr_assert_eq(t.flags & (TCP_SYN | TCP_ACK), TCP_ACK);

	cr_assert_eq(send(client, "hello", 5, 0), 5);
	expect_data(&t, "hello");
	guest_tcp_send(&t, TCP_ACK | TCP_PSH, "world!", 6);
	host_expects(client, "world!");

	close(client);
	while (!(t.flags & (TCP_FIN | TCP_RST)))
		guest_tcp_receive(&t);
}

Test(net_user, hostfwd_leads_a_connection_to_the_guest)
{
	net_fixture_open(&f, "user,hostfwd=tcp::0-:22");
	cr_assert_neq(reported_port(), 0);
	serve_from_guest(host_connect(SOCK_STREAM, reported_port()));
}

Test(net_user, hostfwd_may_be_given_several_times)
{
	uint16_t port;

	net_fixture_open(&f, "user,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22,hostfwd=udp::0-:53,"
			     "hostfwd=:[::1]:0-[fec0::1234]:80");
	port = reported_port();
	cr_assert_not_null(strstr(net_fixture_report(&f), "[fec0::1234]:80"));
	cr_assert_null(strstr(net_fixture_report(&f), "[::1]:0\""));
	serve_from_guest(host_connect(SOCK_STREAM, port));
}

Test(net_user, hostfwd_carries_datagrams_both_ways)
{
	const struct net_packet *p;
	struct frame frame;
	int fd;

	net_fixture_open(&f, "user,hostfwd=udp::0-:53");
	frame_arp(&frame, 1, GUEST, HOST, NULL);
	send_frame(&frame);
	net_fixture_until(&f, f.count == 1);
	fd = host_connect(SOCK_DGRAM, reported_port());
	cr_assert_eq(send(fd, "question", 8, 0), 8);
	net_fixture_until(&f, f.count == 2);
	p = &f.packets[1];
	cr_assert_eq(p->data[23], 17);
	cr_assert_eq(be16_at(p->data + 36), 53);
	cr_assert_eq(memcmp(p->data + 42, "question", 8), 0);
	frame_udp4(&frame, GUEST, 53, be32_at(p->data + 26), be16_at(p->data + 34), "answer", 6);
	send_frame(&frame);
	host_expects(fd, "answer");
	close(fd);
}

Test(net_user, the_guest_reaches_a_server_of_the_host)
{
	struct guest_tcp t = {.f = &f, .from = GUEST, .to = HOST, .sport = 40000, .seq = 7};
	uint16_t port;
	const int server = host_socket(SOCK_STREAM, &port);
	int fd;

	t.dport = port;
	net_fixture_open(&f, "user");
	guest_tcp_send(&t, TCP_SYN, NULL, 0);
	guest_tcp_receive(&t);
	cr_assert_eq(t.flags, TCP_SYN | TCP_ACK);
	guest_tcp_send(&t, TCP_ACK, NULL, 0);
	fd = accept(server, NULL, NULL);
	guest_tcp_send(&t, TCP_ACK | TCP_PSH, "GET", 3);
	host_expects(fd, "GET");
	cr_assert_eq(send(fd, "200", 3, 0), 3);
	expect_data(&t, "200");
	guest_tcp_send(&t, TCP_ACK | TCP_FIN, NULL, 0);
	net_fixture_until(&f, recv(fd, &port, 1, 0) == 0);
	close(fd);
	close(server);
}

/* The next segment for a guest that gives four buffers at a time. */
static void receive_slowly(struct guest_tcp *t)
{
	while (f.next == f.count) {
		net_fixture_settle(&f);
		if (f.next == f.count && !f.room)
			net_fixture_room(&f, 4);
		else if (f.next == f.count)
			loop_turn(f.loop, true);
	}
	guest_tcp_receive(t);
}

Test(net_user, a_slow_guest_loses_nothing)
{
	enum { TOTAL = 1 << 20 };
	struct guest_tcp t = {.f = &f, .from = GUEST, .to = HOST, .sport = 40000, .seq = 7};
	const int size = TOTAL * 4;
	uint8_t *data = malloc(TOTAL);
	const int server = host_socket(SOCK_STREAM, &t.dport);
	size_t sent = 0, got = 0;
	int fd;

	for (size_t i = 0; i < TOTAL; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	net_fixture_open(&f, "user");
	guest_tcp_send(&t, TCP_SYN, NULL, 0);
	guest_tcp_receive(&t);
	guest_tcp_send(&t, TCP_ACK, NULL, 0);
	fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	f.room = 4;
	while (got < TOTAL) {
		const ssize_t n = send(fd, data + sent, TOTAL - sent, 0);

		sent += n > 0 ? (size_t)n : 0;
		receive_slowly(&t);
		cr_assert_eq(memcmp(t.data, data + got, t.len), 0, "after %zu bytes", got);
		got += t.len;
		guest_tcp_send(&t, TCP_ACK, NULL, 0);
	}
	cr_assert_not_null(strstr(strstr(net_fixture_report(&f), "\"rx\""), "\"dropped\":0"));
	free(data);
	close(fd);
	close(server);
}

Test(net_user, the_mtu_is_its_own_or_follows_the_card)
{
	net_fixture_open(&f, "user");
	cr_assert_eq(net_mtu(f.net), 1500);
	net_fixture_close(&f);
	f.wish.mtu = 9000;
	net_fixture_open(&f, "user");
	cr_assert_eq(net_mtu(f.net), 9000);
	net_fixture_close(&f);
	net_fixture_open(&f, "user,mtu=2000");
	cr_assert_eq(net_mtu(f.net), 2000);
	net_fixture_close(&f);
	f.wish.mtu = 68;
	net_fixture_open(&f, "user");
	cr_assert_eq(net_mtu(f.net), 1280, "IPv6 needs as much");
	net_fixture_close(&f);
	f.wish.mtu = 65535;
	net_fixture_open(&f, "user");
	cr_assert_eq(net_mtu(f.net), 65520);
}

Test(net_user, restrict_lets_nothing_out)
{
	struct guest_tcp t = {.f = &f, .from = GUEST, .to = HOST, .sport = 40000, .seq = 7};
	uint16_t port;
	const int server = host_socket(SOCK_STREAM, &port);

	fcntl(server, F_SETFL, O_NONBLOCK);
	t.dport = port;
	net_fixture_open(&f, "user,restrict=on,hostfwd=tcp::0-:22");
	guest_tcp_send(&t, TCP_SYN, NULL, 0);
	guest_tcp_receive(&t);
	cr_assert(t.flags & TCP_RST);
	cr_assert_eq(accept(server, NULL, NULL), -1);
	cr_assert_eq(errno, EAGAIN);
	/* What was asked for still works. */
	serve_from_guest(host_connect(SOCK_STREAM, reported_port()));
	close(server);
}

Test(net_user, restrict_also_holds_for_names)
{
	static const char *const specs[] = {"user", "user,restrict=on"};
	struct frame frame;

	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
		net_fixture_open(&f, specs[i]);
		frame_udp4(&frame, GUEST, 40000, DNS, 53, "question", 8);
		cr_assert_eq(net_fixture_send(&f, frame.data, frame.len), NET_SENT);
		net_fixture_settle(&f);
		cr_assert_not_null(
			strstr(net_fixture_report(&f), i ? "\"sockets\":0" : "\"sockets\":1"),
			"%s: %s", specs[i], net_fixture_report(&f));
		net_fixture_close(&f);
	}
}

/* ---- guestfwd ---- */

static char socket_path[64];

static int unix_server(int backlog)
{
	snprintf(socket_path, sizeof(socket_path), "/tmp/test-net-user-%d", getpid());
	unlink(socket_path);
	return unix_listen(socket_path, backlog);
}

static struct guest_tcp connect_guestfwd(uint16_t sport)
{
	struct guest_tcp t = {
		.f = &f, .from = GUEST, .to = 0x0a000264, .sport = sport, .dport = 7000, .seq = 1};

	guest_tcp_send(&t, TCP_SYN, NULL, 0);
	guest_tcp_receive(&t);
	cr_assert_eq(t.flags, TCP_SYN | TCP_ACK);
	guest_tcp_send(&t, TCP_ACK, NULL, 0);
	return t;
}

static void use_guestfwd(int server)
{
	struct guest_tcp t = connect_guestfwd(40000);
	int fd;

	guest_tcp_send(&t, TCP_ACK | TCP_PSH, "to host", 7);
	net_fixture_settle(&f);
	fd = accept(server, NULL, NULL);
	host_expects(fd, "to host");
	cr_assert_eq(send(fd, "to guest", 8, 0), 8);
	expect_data(&t, "to guest");
	/* The service ends it. */
	close(fd);
	while (!(t.flags & (TCP_FIN | TCP_RST)))
		guest_tcp_receive(&t);
	close(server);
}

Test(net_user, guestfwd_leads_to_a_unix_socket_also_when_restricted)
{
	const int server = unix_server(4);
	char spec[128];

	snprintf(spec, sizeof(spec), "user,restrict=on,guestfwd=tcp:10.0.2.100:7000-unix:%s",
		 socket_path);
	net_fixture_open(&f, spec);
	use_guestfwd(server);
	unlink(socket_path);
}

Test(net_user, guestfwd_leads_to_a_port_of_the_host)
{
	uint16_t port;
	const int server = host_socket(SOCK_STREAM, &port);
	char spec[128];

	snprintf(spec, sizeof(spec), "user,guestfwd=tcp:10.0.2.100:7000-tcp:127.0.0.1:%u", port);
	net_fixture_open(&f, spec);
	use_guestfwd(server);
}

Test(net_user, a_service_that_does_not_accept_stalls_nobody)
{
	const int server = unix_server(0);
	char spec[128];
	struct frame frame;

	snprintf(spec, sizeof(spec), "user,guestfwd=tcp:10.0.2.100:7000-unix:%s", socket_path);
	net_fixture_open(&f, spec);
	for (uint16_t i = 0; i < 20; i++)
		connect_guestfwd((uint16_t)(41000 + i));
	net_fixture_settle(&f);
	f.next = f.count;
	frame_arp(&frame, 1, GUEST, DNS, NULL);
	send_frame(&frame);
	net_fixture_until(&f, f.count > f.next);
	close(server);
	unlink(socket_path);
}

static void expect_end(struct guest_tcp *t)
{
	do
		guest_tcp_receive(t);
	while (!(t->flags & (TCP_FIN | TCP_RST)));
}

Test(net_user, a_service_that_is_not_there_ends_the_guests_connection)
{
	struct guest_tcp t;
	char spec[160];
	uint16_t port;

	close(host_socket(SOCK_STREAM, &port));
	snprintf(spec, sizeof(spec),
		 "user,guestfwd=tcp:10.0.2.100:7000-unix:/no/such/socket,"
		 "guestfwd=tcp:10.0.2.101:7000-tcp:127.0.0.1:%u",
		 port);
	net_fixture_open(&f, spec);
	t = connect_guestfwd(40000);
	expect_end(&t);
	cr_assert_not_null(strstr(f.last_log, "refused: No such file"), "%s", f.last_log);
	t = (struct guest_tcp){
		.f = &f, .from = GUEST, .to = 0x0a000265, .sport = 40001, .dport = 7000, .seq = 1};
	guest_tcp_send(&t, TCP_SYN, NULL, 0);
	guest_tcp_receive(&t);
	guest_tcp_send(&t, TCP_ACK, NULL, 0);
	expect_end(&t);
}

Test(net_user, a_service_that_does_not_read_gets_everything_later)
{
	const int server = unix_server(4);
	uint8_t segment[1000], got[sizeof(segment)];
	uint32_t first, acknowledged;
	struct guest_tcp t;
	char spec[128];
	int fd;

	snprintf(spec, sizeof(spec), "user,guestfwd=tcp:10.0.2.100:7000-unix:%s", socket_path);
	net_fixture_open(&f, spec);
	t = connect_guestfwd(40000);
	first = t.seq;
	/* More than libslirp, the relay and the sockets hold: it comes to rest all the same. */
	for (unsigned i = 0; i < 1500; i++) {
		memset(segment, (int)i, sizeof(segment));
		guest_tcp_send(&t, TCP_ACK, segment, sizeof(segment));
		net_fixture_settle(&f);
	}
	acknowledged = first;
	for (; f.next < f.count; f.next++) {
		const struct net_packet *p = &f.packets[f.next % NET_FIXTURE_PACKETS];

		if (f.count - f.next <= NET_FIXTURE_PACKETS && p->len >= 54 && p->data[23] == 6)
			acknowledged = be32_at(p->data + 42);
	}
	cr_assert_gt(acknowledged - first, 100000);
	cr_assert_lt(acknowledged - first, 1500000);
	fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	for (uint32_t at = 0; at + sizeof(segment) <= acknowledged - first; at += sizeof(segment)) {
		memset(segment, (int)(at / sizeof(segment)), sizeof(segment));
		net_fixture_until(&f, recv(fd, got, sizeof(got), MSG_PEEK) == sizeof(got));
		cr_assert_eq(recv(fd, got, sizeof(got), 0), (ssize_t)sizeof(got));
		cr_assert_eq(memcmp(got, segment, sizeof(got)), 0, "at %u", at);
	}
	close(fd);
	close(server);
	unlink(socket_path);
}

/* ---- hostile and slow guests ---- */

Test(net_user, frames_that_are_too_short_or_too_long_are_dropped)
{
	static uint8_t data[NET_MAX_PACKET + 1];

	net_fixture_open(&f, "user");
	memset(data, 0xff, 12);
	data[12] = 8;
	cr_assert_eq(net_fixture_send(&f, data, 0), NET_SENT);
	cr_assert_eq(net_fixture_send(&f, data, 13), NET_SENT);
	cr_assert_eq(net_fixture_send(&f, data, 1515), NET_SENT);
	cr_assert_eq(net_fixture_send(&f, data, NET_MAX_PACKET), NET_SENT);
	cr_assert_eq(net_fixture_send(&f, data, NET_MAX_PACKET + 1), NET_SENT);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":5"));
	/* Cut at every length: each is looked at, none does harm. */
	for (size_t len = 14; len < 80; len++)
		for (unsigned type = 0; type < 3; type++) {
			data[12] = type == 2 ? 0x86 : 8;
			data[13] = type == 2 ? 0xdd : type ? 6 : 0;
			data[14] = type == 2 ? 0x60 : 0x45;
			cr_assert_eq(net_fixture_send(&f, data, len), NET_SENT);
		}
	net_fixture_settle(&f);
}

Test(net_user, a_guest_cannot_open_sockets_without_bound)
{
	uint16_t port;
	const int sink = host_socket(SOCK_DGRAM, &port);
	struct frame frame;
	const char *sockets;

	net_fixture_open(&f, "user");
	for (uint16_t i = 0; i < 1500; i++) {
		frame_udp4(&frame, GUEST, (uint16_t)(10000 + i), HOST, port, "x", 1);
		send_frame(&frame);
		if (i % 100 == 0)
			net_fixture_settle(&f);
	}
	net_fixture_settle(&f);
	sockets = strstr(net_fixture_report(&f), "\"sockets\":");
	cr_assert_not_null(sockets);
	cr_assert_eq(strtoul(sockets + 10, NULL, 10), 512, "%s", sockets);
	cr_assert_not_null(strstr(f.last_log, "512 connections"), "%s", f.last_log);
	close(sink);
}

Test(net_user, packets_wait_for_a_guest_without_buffers)
{
	struct frame frame;

	net_fixture_open(&f, "user");
	f.room = 0;
	for (unsigned i = 0; i < 10; i++) {
		frame_arp(&frame, 1, GUEST, i ? HOST : DNS, NULL);
		send_frame(&frame);
	}
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 0);
	net_fixture_room(&f, 3);
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 3);
	cr_assert_eq(be32_at(f.packets[0].data + 28), DNS);
	cr_assert_eq(be32_at(f.packets[1].data + 28), HOST);
	net_fixture_room(&f, 100);
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 10);
}

Test(net_user, what_never_finds_a_buffer_is_dropped_at_a_bound)
{
	struct frame frame;

	net_fixture_open(&f, "user");
	f.room = 0;
	frame_arp(&frame, 1, GUEST, HOST, NULL);
	for (unsigned i = 0; i < 40000; i++)
		send_frame(&frame);
	net_fixture_settle(&f);
	f.room = UINT32_MAX;
	net_receive_ready(f.net, 0);
	net_fixture_settle(&f);
	cr_assert_gt(f.count, 1000);
	cr_assert_lt(f.count, 40000);
	cr_assert_null(strstr(strstr(net_fixture_report(&f), "\"rx\""), "\"dropped\":0"));
}

/* ---- time ---- */

Test(net_user, router_advertisements_come_by_the_clock)
{
	unsigned advertised = 0;

	net_fixture_open(&f, "user");
	for (unsigned i = 0; i < 100; i++) {
		clock_fake_advance(&f.clock, 30 * NS_PER_SEC);
		net_fixture_settle(&f);
	}
	for (unsigned i = 0; i < f.count; i++)
		advertised +=
			be16_at(f.packets[i].data + 12) == 0x86dd && f.packets[i].data[54] == 134;
	/* One each 200 to 600 s. */
	cr_assert_geq(advertised, 4);
	cr_assert_leq(advertised, 16);
}

Test(net_user, what_the_guest_does_not_acknowledge_is_sent_again)
{
	struct guest_tcp t = {.f = &f, .from = GUEST, .seq = 1000};
	int client;

	net_fixture_open(&f, "user,hostfwd=tcp::0-:22");
	client = host_connect(SOCK_STREAM, reported_port());
	for (unsigned i = 0; i < 3; i++) {
		guest_tcp_receive(&t);
		cr_assert_eq(t.flags, TCP_SYN);
		net_fixture_settle(&f);
		cr_assert_eq(f.next, f.count);
		for (unsigned step = 0; f.next == f.count; step++) {
			cr_assert_lt(step, 1000);
			clock_fake_advance(&f.clock, NS_PER_SEC / 10);
			net_fixture_settle(&f);
		}
	}
	close(client);
}

/* ---- bad input ---- */

#define REFUSED(spec, text)                                                                  \
	cr_assert_not_null(strstr(net_fixture_refused(&f, spec), text), "%s gave: %s", spec, \
			   f.err.message)

Test(net_user, bad_options_get_a_sentence)
{
	REFUSED("user,nett=10.0.0.0/8", "did you mean \"net\"");
	REFUSED("user,net=10.0.0.0/33", "must be an IPv4 network");
	REFUSED("user,net=10.0.0/24", "must be an IPv4 network");
	REFUSED("user,host=10.9.0.2", "not an address in net=10.0.2.0/24");
	REFUSED("user,host=10.0.2.255", "not an address in net");
	REFUSED("user,dns=10.0.2.2", "must be different");
	REFUSED("user,dhcpstart=x", "not an IPv4 address");
	REFUSED("user,ipv6-net=fec0::/x", "must be an IPv6 network");
	REFUSED("user,ipv6-dns=fd00::1", "not in ipv6-net");
	REFUSED("user,ipv4=off,ipv6=off", "both off");
	REFUSED("user,mtu=100", "from 1280 to 65520");
	REFUSED("user,restrict=maybe", "no such value");
}

Test(net_user, bad_forwards_get_a_sentence)
{
	REFUSED("user,hostfwd=2222-22", "must be [tcp|udp]:[HOST]:PORT-[GUEST]:PORT");
	REFUSED("user,hostfwd=tcp::2222", "must be [tcp|udp]:[HOST]:PORT-[GUEST]:PORT");
	REFUSED("user,hostfwd=sctp::2222-:22", "protocol must be tcp or udp");
	REFUSED("user,hostfwd=tcp::70000-:22", "host's side");
	REFUSED("user,hostfwd=tcp:nowhere:2222-:22", "host's side");
	REFUSED("user,hostfwd=tcp::2222-:x", "guest's side");
	REFUSED("user,hostfwd=tcp::2222-:0", "guest's port is missing");
	REFUSED("user,hostfwd=tcp:[::1]:2222-10.0.2.15:22", "both sides must be");
	REFUSED("user,hostfwd=tcp:[::1]:2222-:22", "guest's address is missing");
	REFUSED("user,ipv4=off,hostfwd=tcp::2222-:22", "ipv4 is off");
	REFUSED("user,guestfwd=tcp:10.0.2.100:1-cmd:sh", "must lead to unix:PATH");
	REFUSED("user,guestfwd=tcp:10.9.0.1:1-unix:/x", "must be in the guest's network");
	REFUSED("user,guestfwd=tcp:10.0.2.2:1-unix:/x", "must be another");
}

Test(net_user, a_port_that_is_taken_gets_a_sentence)
{
	uint16_t port;
	const int fd = host_socket(SOCK_STREAM, &port);
	char spec[64];

	net_fixture_open(&f, "user");
	snprintf(spec, sizeof(spec), "user,hostfwd=tcp::%u-:22", port);
	REFUSED(spec, "cannot listen on tcp 127.0.0.1:");
	cr_assert_not_null(strstr(f.err.message, "in use"), "%s", f.err.message);
	close(fd);
}

static bool loaded(const char *library)
{
	char line[512];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "re");

	while (fgets(line, sizeof(line), maps))
		found |= strstr(line, library) != NULL;
	fclose(maps);
	return found;
}

Test(net_user, the_library_is_loaded_when_it_is_asked_for)
{
	net_fixture_open(&f, "none");
	cr_assert_eq(net_check("user", "--net", &f.err), 0);
	cr_assert_not(loaded("libslirp"));
	net_fixture_close(&f);
	net_fixture_open(&f, "user");
	cr_assert(loaded("libslirp"));
}
