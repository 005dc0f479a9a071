/* SPDX-License-Identifier: MIT */
/*
 * A packet backend with a front end that remembers, and frames as a guest builds them.
 */
#ifndef SUPPORT_NET_FIXTURE_H
#define SUPPORT_NET_FIXTURE_H

#include <netinet/in.h>

#include "net/net.h"

#define NET_FIXTURE_PACKETS 512u

struct net_packet {
	size_t len;
	unsigned queue;
	struct virtio_net_hdr_v1 hdr;
	uint8_t *data;
};

struct net_fixture {
	struct clock_fake clock;
	struct loop *loop;
	struct log log;
	char last_log[512];
	unsigned log_lines;
	struct vmm_error err;

	struct net_wish wish; /* of the next net_fixture_open */
	struct net *net;
	struct net_packet packets[NET_FIXTURE_PACKETS]; /* received; the last ones fall off */
	unsigned count;
	unsigned next;    /* of net_fixture_next */
	unsigned room;    /* packets that the front end takes */
	unsigned refused; /* that it did not */
	unsigned writable, ups, downs;
	bool inside_send; /* a packet came while the test was inside net_send */
	bool sending;
};

void net_fixture_init(struct net_fixture *f);
/*
 * Create a backend and attach, or fail the test with the sentence. A user network that this build
 * does not have skips the test.
 */
void net_fixture_open(struct net_fixture *f, const char *spec);
void net_fixture_close(struct net_fixture *f);
void net_fixture_fini(struct net_fixture *f);

/* The sentence that a bad spec gives; fails the test if it is taken. */
const char *net_fixture_refused(struct net_fixture *f, const char *spec);

/* Turn the loop as long as there is something to do at once. */
void net_fixture_settle(struct net_fixture *f);
/* Turn the loop, waiting for events, until the condition holds. Criterion's timeout ends it. */
#define net_fixture_until(f, condition)             \
	do {                                        \
		while (!(condition))                \
			loop_turn((f)->loop, true); \
	} while (0)

enum net_result net_fixture_send(struct net_fixture *f, const void *data, size_t len);

/* The front end gives `room` more buffers. */
void net_fixture_room(struct net_fixture *f, unsigned room);

/* The report as text; valid until the next call. */
const char *net_fixture_report(struct net_fixture *f);

/* ---- frames ---- */

struct frame {
	uint8_t data[2048];
	size_t len;
};

extern const uint8_t guest_mac[6];

uint16_t frame_checksum(const void *data, size_t len, uint32_t sum);
void frame_eth(struct frame *f, uint16_t type);
void frame_add(struct frame *f, const void *data, size_t len);
/* Ethernet and IPv4 headers; addresses in host byte order; `payload` bytes will follow. */
void frame_ip4(struct frame *f, uint8_t protocol, uint32_t from, uint32_t to, size_t payload);
void frame_udp4(struct frame *f, uint32_t from, uint16_t sport, uint32_t to, uint16_t dport,
		const void *data, size_t len);
void frame_arp(struct frame *f, uint16_t operation, uint32_t from, uint32_t to,
	       const uint8_t *to_mac);

uint16_t be16_at(const uint8_t *p);
uint32_t be32_at(const uint8_t *p);

/* ---- one TCP connection of the guest ---- */

struct guest_tcp {
	struct net_fixture *f;
	uint32_t from, to; /* addresses, host byte order */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags; /* of the last segment */
	uint8_t data[1500];
	size_t len;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

void guest_tcp_send(struct guest_tcp *t, uint8_t flags, const void *data, size_t len);
/*
 * Wait for the next segment of the connection, which sets flags, data, ack (and with sport 0: the
 * ports). ARP requests for the guest's address are answered on the way.
 */
void guest_tcp_receive(struct guest_tcp *t);

#endif
