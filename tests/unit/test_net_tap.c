/* SPDX-License-Identifier: MIT */
/* In a network namespace of its own; where that or /dev/net/tun is refused, tests are skipped. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/net_fixture.h"

#define TEST_TYPE 0x88b5 /* for experiments: nobody else sends it */

static struct net_fixture f;
static bool usable;
static uint8_t pattern[9000];

static void setup(void)
{
	net_fixture_init(&f);
	usable = unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK | W_OK) == 0;
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	memset(pattern, 0xff, 6);
	memcpy(pattern + 6, guest_mac, 6);
	pattern[12] = TEST_TYPE >> 8;
	pattern[13] = TEST_TYPE & 0xff;
}

static void teardown(void)
{
	net_fixture_fini(&f);
}

TestSuite(net_tap, .init = setup, .fini = teardown, .timeout = 30);

#define NEED_TAP()                                                                             \
	do {                                                                                   \
		if (!usable)                                                                   \
			cr_skip_test("needs /dev/net/tun and a network namespace of its own"); \
	} while (0)

/* The host's side of the interface. */
static int host_side(const char *name, uint16_t type, bool header)
{
	const struct sockaddr_ll ll = {.sll_family = AF_PACKET,
				       .sll_protocol = htons(type),
				       .sll_ifindex = (int)if_nametoindex(name)};
	const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(type)), one = 1;

	cr_assert_geq(fd, 0);
	if (header)
		cr_assert_eq(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	cr_assert_eq(bind(fd, (const struct sockaddr *)&ll, sizeof(ll)), 0, "%s", strerror(errno));
	return fd;
}

/* The next packet of the test's type; the kernel sends some of its own. */
static const struct net_packet *next_packet(void)
{
	for (;;) {
		const struct net_packet *p;

		net_fixture_until(&f, f.next < f.count);
		p = &f.packets[f.next++ % NET_FIXTURE_PACKETS];
		if (be16_at(p->data + 12) == TEST_TYPE)
			return p;
	}
}

Test(net_tap, frames_go_both_ways)
{
	static const size_t sizes[] = {14, 60, 1514};
	uint8_t got[9000];
	int fd;

	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0");
	fd = host_side("toy0", TEST_TYPE, false);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		const struct net_packet *p;

		cr_assert_eq(send(fd, pattern, sizes[i], 0), (ssize_t)sizes[i]);
		p = next_packet();
		cr_assert_eq(p->len, sizes[i]);
		cr_assert_eq(p->queue, 0);
		cr_assert_eq(p->hdr.flags | p->hdr.gso_type, 0);
		cr_assert_eq(memcmp(p->data, pattern, sizes[i]), 0);
		cr_assert_eq(net_fixture_send(&f, pattern, sizes[i]), NET_SENT);
		cr_assert_eq(recv(fd, got, sizeof(got), 0), (ssize_t)sizes[i]);
		cr_assert_eq(memcmp(got, pattern, sizes[i]), 0);
	}
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"interface\":\"toy0\""));
	close(fd);
}

Test(net_tap, an_interface_without_a_name_gets_one)
{
	NEED_TAP();
	net_fixture_open(&f, "tap");
	cr_assert_neq(if_nametoindex("tap0"), 0);
	net_fixture_close(&f);
	cr_assert_eq(if_nametoindex("tap0"), 0);
}

Test(net_tap, a_guest_without_buffers_stops_the_reading)
{
	const struct net_packet *p;
	int fd;

	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0");
	fd = host_side("toy0", TEST_TYPE, false);
	f.room = 0;
	for (unsigned i = 0; i < 10; i++) {
		pattern[14] = (uint8_t)i;
		cr_assert_eq(send(fd, pattern, 60, 0), 60);
	}
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 0);
	cr_assert_geq(f.refused, 1);
	net_fixture_room(&f, UINT32_MAX);
	for (unsigned i = 0; i < 10; i++) {
		p = next_packet();
		cr_assert_eq(p->data[14], i);
	}
	close(fd);
}

/* vhost=on: another one reads and writes the descriptor meanwhile. */
Test(net_tap, queue_that_is_lent_is_not_read)
{
	uint8_t got[9000];
	int fd, lent;

	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0,vhost=on");
	cr_assert(net_vhost(f.net));
	fd = host_side("toy0", TEST_TYPE, false);
	/* One that the guest had no buffer for is lost; it was not the kernel's. */
	f.room = 0;
	cr_assert_eq(send(fd, pattern, 60, 0), 60);
	net_fixture_settle(&f);
	f.room = UINT32_MAX;
	lent = net_lend(f.net, 0);
	while (read(lent, got, sizeof(got)) > 0)
		;
	pattern[14] = 1;
	cr_assert_eq(send(fd, pattern, 60, 0), 60);
	net_receive_ready(f.net, 0);
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 0);
	cr_assert_eq(read(lent, got, sizeof(got)),
		     (ssize_t)(60 + sizeof(struct virtio_net_hdr_v1)));
	cr_assert_eq(got[sizeof(struct virtio_net_hdr_v1) + 14], 1);
	net_take_back(f.net, 0);
	pattern[14] = 2;
	cr_assert_eq(send(fd, pattern, 60, 0), 60);
	cr_assert_eq(next_packet()->data[14], 2);
	close(fd);
}

Test(net_tap, vhost_leaves_nothing_to_capture)
{
	cr_assert(strstr(net_fixture_refused(&f, "tap,vhost=on,pcap=/nowhere"), "pcap="));
}

/* A TCP segment over IPv4, `payload` bytes long, that the kernel may leave whole. */
static size_t big_segment(uint8_t *buf, size_t payload)
{
	struct virtio_net_hdr hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1000,
		.csum_start = 34,
		.csum_offset = 16,
	};
	uint8_t tcp[20] = {0x12, 0x34, 0, 80, [12] = 5 << 4, [13] = TCP_ACK | TCP_PSH};
	struct frame frame;

	frame_ip4(&frame, 6, 0x0a000001, 0x0a000002, sizeof(tcp) + payload);
	frame_add(&frame, tcp, sizeof(tcp));
	memcpy(buf, &hdr, sizeof(hdr));
	memcpy(buf + sizeof(hdr), frame.data, frame.len);
	memset(buf + sizeof(hdr) + frame.len, 0x5a, payload);
	return sizeof(hdr) + frame.len + payload;
}

/* The next TCP packet of the guest's. */
static const struct net_packet *next_tcp(void)
{
	for (;;) {
		const struct net_packet *p;

		net_fixture_until(&f, f.next < f.count);
		p = &f.packets[f.next++ % NET_FIXTURE_PACKETS];
		if (be16_at(p->data + 12) == ETHERTYPE_IP && p->data[23] == 6)
			return p;
	}
}

Test(net_tap, segments_stay_whole_only_where_the_guest_takes_them)
{
	const struct net_packet *p;
	uint8_t buf[8192];
	size_t len;
	int fd;

	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0");
	cr_assert_eq(net_rx_offloads(f.net) & (NET_CSUM | NET_TSO4 | NET_TSO6),
		     NET_CSUM | NET_TSO4 | NET_TSO6);
	fd = host_side("toy0", ETHERTYPE_IP, true);
	len = big_segment(buf, 3000);

	cr_assert_eq(send(fd, buf, len, 0), (ssize_t)len, "%s", strerror(errno));
	for (unsigned i = 0; i < 3; i++) {
		p = next_tcp();
		cr_assert_eq(p->len, 54 + 1000);
		cr_assert_eq(p->hdr.gso_type | p->hdr.flags, 0);
	}

	cr_assert_eq(net_set_rx_offloads(f.net, NET_CSUM | NET_TSO4), 0);
	cr_assert_eq(send(fd, buf, len, 0), (ssize_t)len);
	p = next_tcp();
	cr_assert_eq(p->len, 54 + 3000);
	cr_assert_eq(p->hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	cr_assert_eq(p->hdr.gso_size, 1000);
	cr_assert_eq(p->hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_assert_eq(p->hdr.csum_start, 34);

	/* A new front end starts without. */
	cr_assert_eq(net_set_rx_offloads(f.net, 0), 0);
	cr_assert_eq(send(fd, buf, len, 0), (ssize_t)len);
	cr_assert_eq(next_tcp()->len, 54 + 1000);
	cr_assert_eq(net_set_rx_offloads(f.net, 1 << 30), -EINVAL);
	close(fd);
}

Test(net_tap, segments_of_the_guest_are_taken_whole)
{
	uint8_t buf[8192], got[8192];
	struct virtio_net_hdr_v1 hdr = {0};
	struct iovec iov;
	size_t len;
	int fd;

	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0");
	cr_assert_eq(net_tx_offloads(f.net) & (NET_CSUM | NET_TSO4), NET_CSUM | NET_TSO4);
	fd = host_side("toy0", ETHERTYPE_IP, true);
	len = big_segment(buf, 3000);
	memcpy(&hdr, buf, sizeof(struct virtio_net_hdr));
	iov = (struct iovec){buf + sizeof(struct virtio_net_hdr),
			     len - sizeof(struct virtio_net_hdr)};
	cr_assert_eq(net_send(f.net, 0, &hdr, &iov, 1), NET_SENT);
	cr_assert_eq(recv(fd, got, sizeof(got), 0), (ssize_t)len);
	cr_assert_eq(memcmp(got + sizeof(struct virtio_net_hdr), iov.iov_base, iov.iov_len), 0);

	/* A header that lies is refused by the kernel: a drop. */
	hdr.csum_start = 60000;
	cr_assert_eq(net_send(f.net, 0, &hdr, &iov, 1), NET_SENT);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":1"));
	close(fd);
}

Test(net_tap, queues_come_and_go_as_the_guest_asks)
{
	int fd;

	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0,queues=4");
	cr_assert_eq(net_max_queue_pairs(f.net), 4);
	fd = host_side("toy0", TEST_TYPE, false);
	for (unsigned round = 0; round < 3; round++) {
		const struct virtio_net_hdr_v1 hdr = {0};
		const struct iovec iov = {pattern, 60};
		uint8_t got[100];

		cr_assert_eq(net_set_queue_pairs(f.net, 4), 0);
		for (unsigned q = 0; q < 4; q++) {
			cr_assert_eq(net_send(f.net, q, &hdr, &iov, 1), NET_SENT);
			cr_assert_eq(recv(fd, got, sizeof(got), 0), 60);
		}
		cr_assert_eq(net_set_queue_pairs(f.net, 1 + round), 0);
		for (unsigned i = 0; i < 20; i++) {
			cr_assert_eq(send(fd, pattern, 60, 0), 60);
			cr_assert_leq(next_packet()->queue, round);
		}
		/* One that is not in use sends nothing. */
		cr_assert_eq(net_send(f.net, 3, &hdr, &iov, 1), NET_SENT);
		cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	}
	cr_assert_eq(net_set_queue_pairs(f.net, 5), -EINVAL);
	close(fd);
}

static int open_tap(const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
	const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	cr_assert_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void bring_up(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

Test(net_tap, descriptors_may_be_handed_over)
{
	char spec[64];
	int tap[2], fd;

	NEED_TAP();
	tap[0] = open_tap("toy0", IFF_VNET_HDR | IFF_MULTI_QUEUE);
	tap[1] = open_tap("toy0", IFF_VNET_HDR | IFF_MULTI_QUEUE);
	bring_up("toy0");
	snprintf(spec, sizeof(spec), "tap,fd=%d:%d", tap[0], tap[1]);
	net_fixture_open(&f, spec);
	cr_assert_eq(net_max_queue_pairs(f.net), 2);
	fd = host_side("toy0", TEST_TYPE, false);
	cr_assert_eq(send(fd, pattern, 60, 0), 60);
	cr_assert_eq(next_packet()->len, 60);
	close(fd);
	/* They stay their owner's. */
	net_fixture_close(&f);
	cr_assert_neq(fcntl(tap[0], F_GETFD), -1);
	close(tap[0]);
	close(tap[1]);
}

Test(net_tap, a_descriptor_without_the_header_works_without_offloads)
{
	uint8_t got[100];
	char spec[64];
	int tap, fd;

	NEED_TAP();
	tap = open_tap("toy0", 0);
	bring_up("toy0");
	snprintf(spec, sizeof(spec), "tap,fd=%d", tap);
	net_fixture_open(&f, spec);
	cr_assert_eq(net_rx_offloads(f.net) | net_tx_offloads(f.net), 0);
	fd = host_side("toy0", TEST_TYPE, false);
	cr_assert_eq(send(fd, pattern, 60, 0), 60);
	cr_assert_eq(memcmp(next_packet()->data, pattern, 60), 0);
	cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
	cr_assert_eq(recv(fd, got, sizeof(got), 0), 60);
	close(fd);
	close(tap);
}

Test(net_tap, there_are_as_many_queues_as_the_card_has_unless_it_says_so)
{
	NEED_TAP();
	f.wish.queue_pairs = 3;
	net_fixture_open(&f, "tap,ifname=toy0");
	cr_assert_eq(net_max_queue_pairs(f.net), 3);
	net_fixture_close(&f);
	net_fixture_open(&f, "tap,ifname=toy0,queues=2");
	cr_assert_eq(net_max_queue_pairs(f.net), 2);
}

Test(net_tap, an_interface_made_for_several_queues_serves_with_one)
{
	int tap;

	NEED_TAP();
	tap = open_tap("toy0", IFF_MULTI_QUEUE);
	cr_assert_eq(ioctl(tap, TUNSETPERSIST, 1), 0);
	close(tap);
	net_fixture_open(&f, "tap,ifname=toy0");
	net_fixture_close(&f);
	cr_assert_neq(if_nametoindex("toy0"), 0);
}

/* As `ip link del`. */
static void delete_link(const char *name)
{
	const struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = RTM_DELLINK,
			 .nlmsg_flags = NLM_F_REQUEST},
		.info = {.ifi_index = (int)if_nametoindex(name)},
	};
	const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	cr_assert_eq(send(fd, &request, sizeof(request), 0), (ssize_t)sizeof(request));
	close(fd);
}

Test(net_tap, an_interface_that_goes_takes_the_link_down)
{
	NEED_TAP();
	net_fixture_open(&f, "tap,ifname=toy0");
	delete_link("toy0");
	net_fixture_until(&f, f.downs == 1);
	cr_assert_not(net_link_up(f.net));
	cr_assert_eq(net_fixture_send(&f, pattern, 60), NET_SENT);
	net_receive_ready(f.net, 0);
	net_fixture_settle(&f);
}

#define REFUSED(spec, text)                                                                  \
	cr_assert_not_null(strstr(net_fixture_refused(&f, spec), text), "%s gave: %s", spec, \
			   f.err.message)

Test(net_tap, bad_specs_get_a_sentence)
{
	REFUSED("tap,ifname=", "must be the name of an interface");
	REFUSED("tap,ifname=a-name-that-is-too-long", "1 to 15 characters");
	REFUSED("tap,ifname=a/b", "must be the name of an interface");
	REFUSED("tap,queues=17", "from 1 to 16");
	REFUSED("tap,fd=3,ifname=x", "leave ifname out");
	REFUSED("tap,fd=3:4,queues=2", "leave queues out");
	REFUSED("tap,fd=x", "must be up to 16 open descriptors");
	REFUSED("tap,fd=3::4", "must be up to 16 open descriptors");
	REFUSED("tap,fd=1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17", "up to 16");
	REFUSED("tap,fd=1000000", "Bad file descriptor");
	REFUSED("tap,fd=0", "fd=0 is not a tap interface");
}

Test(net_tap, interfaces_that_cannot_be_used_get_a_sentence)
{
	int tap;

	NEED_TAP();
	REFUSED("tap,ifname=lo", "lo is not a tap interface");
	tap = open_tap("toy0", IFF_VNET_HDR);
	REFUSED("tap,ifname=toy0", "in use by another program");
	cr_assert_eq(ioctl(tap, TUNSETPERSIST, 1), 0);
	cr_assert_eq(ioctl(tap, TUNSETOWNER, 12345), 0);
	close(tap);
	REFUSED("tap,ifname=toy0,queues=2", "several queues (multi_queue)");
	if (setresuid(12346, 12346, 12346) || access("/dev/net/tun", R_OK | W_OK)) {
		REFUSED("tap,ifname=toy1", "cannot open /dev/net/tun: Permission denied");
		return;
	}
	REFUSED("tap,ifname=toy1", "no permission to create the interface toy1; have it created");
	REFUSED("tap,ifname=toy0", "belongs to another user");
}
