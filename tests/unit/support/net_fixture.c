/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/net_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the front end ---- */

static bool front_receive(void *opaque, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			  const struct iovec *iov, unsigned count)
{
	struct net_fixture *f = opaque;
	struct net_packet *p = &f->packets[f->count % NET_FIXTURE_PACKETS];

	f->inside_send |= f->sending;
	if (!f->room) {
		f->refused++;
		return false;
	}
	f->room--;
	f->count++;
	free(p->data);
	*p = (struct net_packet){.queue = queue, .hdr = *hdr};
	for (unsigned i = 0; i < count; i++)
		p->len += iov[i].iov_len;
	p->data = malloc(p->len + 1);
	for (size_t at = 0, i = 0; i < count; at += iov[i++].iov_len)
		memcpy(p->data + at, iov[i].iov_base, iov[i].iov_len);
	return true;
}

static void front_writable(void *opaque, unsigned queue)
{
	struct net_fixture *f = opaque;

	(void)queue;
	f->writable++;
}

static void front_link(void *opaque, bool up)
{
	struct net_fixture *f = opaque;

	up ? f->ups++ : f->downs++;
}

static const struct net_frontend front = {front_receive, front_writable, front_link};

static void fixture_log(void *opaque, enum vmm_log_level level, const char *source,
			const char *line)
{
	struct net_fixture *f = opaque;

	(void)level;
	snprintf(f->last_log, sizeof(f->last_log), "%s: %s", source, line);
	f->log_lines++;
}

/* ---- life ---- */

void net_fixture_init(struct net_fixture *f)
{
	*f = (struct net_fixture){.room = UINT32_MAX};
	clock_fake_init(&f->clock);
	f->clock.monotonic_ns = 1000 * NS_PER_SEC;
	f->clock.realtime_ns = INT64_C(1704164645) * (int64_t)NS_PER_SEC + 123456789;
	f->log = (struct log){fixture_log, f, VMM_LOG_DEBUG, &f->clock.clock};
	cr_assert_eq(loop_create(&f->loop, "test", &f->clock.clock, &f->err), 0);
}

void net_fixture_open(struct net_fixture *f, const char *spec)
{
#ifndef CONFIG_LIBSLIRP
	if (!strncmp(spec, "user", 4))
		cr_skip_test("built without the user network");
#endif
	cr_assert_eq(net_check(spec, "--net", &f->err), 0, "%s", f->err.message);
	cr_assert_eq(net_create(&f->net, spec, "--net", &f->wish, f->loop, &f->log, &f->err), 0,
		     "%s", f->err.message);
	net_attach(f->net, &front, f);
}

void net_fixture_close(struct net_fixture *f)
{
	net_destroy(f->net);
	f->net = NULL;
}

void net_fixture_fini(struct net_fixture *f)
{
	net_fixture_close(f);
	loop_destroy(f->loop);
	for (unsigned i = 0; i < NET_FIXTURE_PACKETS; i++)
		free(f->packets[i].data);
}

const char *net_fixture_refused(struct net_fixture *f, const char *spec)
{
	struct net *net = NULL;

	f->err = (struct vmm_error){0};
	cr_assert_lt(net_create(&net, spec, "--net", &f->wish, f->loop, &f->log, &f->err), 0,
		     "%s was taken", spec);
	cr_assert_null(net);
	cr_assert_eq(strncmp(f->err.message, "--net", 5), 0, "%s", f->err.message);
	return f->err.message;
}

void net_fixture_settle(struct net_fixture *f)
{
	for (unsigned turns = 0; loop_turn(f->loop, false); turns++)
		cr_assert(turns < 10000, "the loop never comes to rest");
}

enum net_result net_fixture_send(struct net_fixture *f, const void *data, size_t len)
{
	/* In two pieces, as guests may do it. */
	const size_t first = MIN(len, (size_t)14);
	uint8_t *bytes = (uint8_t *)(uintptr_t)data;
	const struct iovec iov[2] = {{bytes, first}, {bytes + first, len - first}};
	const struct virtio_net_hdr_v1 hdr = {0};
	enum net_result result;

	f->sending = true;
	result = net_send(f->net, 0, &hdr, iov, 2);
	f->sending = false;
	return result;
}

void net_fixture_room(struct net_fixture *f, unsigned room)
{
	f->room += room;
	net_receive_ready(f->net, 0);
}

const char *net_fixture_report(struct net_fixture *f)
{
	static char text[8192];
	struct report *report = report_create();
	char *json = NULL;

	net_report(f->net, report);
	cr_assert_eq(report_finish(report, &json), 0);
	snprintf(text, sizeof(text), "%s", json);
	free(json);
	return text;
}

/* ---- frames ---- */

const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

uint16_t be16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)be16_at(p) << 16 | be16_at(p + 2);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

uint16_t frame_checksum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (; len > 1; len -= 2, p += 2)
		sum += be16_at(p);
	if (len)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void frame_add(struct frame *f, const void *data, size_t len)
{
	cr_assert_leq(f->len + len, sizeof(f->data));
	if (len)
		memcpy(f->data + f->len, data, len);
	f->len += len;
}

void frame_eth(struct frame *f, uint16_t type)
{
	memset(f->data, 0xff, 6);
	memcpy(f->data + 6, guest_mac, 6);
	put16(f->data + 12, type);
	f->len = 14;
}

void frame_ip4(struct frame *f, uint8_t protocol, uint32_t from, uint32_t to, size_t payload)
{
	uint8_t ip[20] = {0x45, [8] = 64, [9] = protocol};

	frame_eth(f, 0x0800);
	put16(ip + 2, (uint16_t)(20 + payload));
	put32(ip + 12, from);
	put32(ip + 16, to);
	put16(ip + 10, frame_checksum(ip, sizeof(ip), 0));
	frame_add(f, ip, sizeof(ip));
}

void frame_udp4(struct frame *f, uint32_t from, uint16_t sport, uint32_t to, uint16_t dport,
		const void *data, size_t len)
{
	uint8_t udp[8] = {0};

	frame_ip4(f, 17, from, to, len + sizeof(udp));
	put16(udp, sport);
	put16(udp + 2, dport);
	put16(udp + 4, (uint16_t)(len + sizeof(udp)));
	frame_add(f, udp, sizeof(udp));
	frame_add(f, data, len);
}

void frame_arp(struct frame *f, uint16_t operation, uint32_t from, uint32_t to,
	       const uint8_t *to_mac)
{
	uint8_t arp[28] = {0, 1, 8, 0, 6, 4};

	frame_eth(f, 0x0806);
	put16(arp + 6, operation);
	memcpy(arp + 8, guest_mac, 6);
	put32(arp + 14, from);
	if (to_mac)
		memcpy(arp + 18, to_mac, 6);
	put32(arp + 24, to);
	frame_add(f, arp, sizeof(arp));
}

/* ---- TCP ---- */

void guest_tcp_send(struct guest_tcp *t, uint8_t flags, const void *data, size_t len)
{
	uint8_t tcp[20] = {[12] = 5 << 4, [13] = flags, [14] = 0x80};
	struct frame f;
	uint32_t sum;

	put16(tcp, t->sport);
	put16(tcp + 2, t->dport);
	put32(tcp + 4, t->seq);
	put32(tcp + 8, t->ack);
	frame_ip4(&f, 6, t->from, t->to, sizeof(tcp) + len);
	frame_add(&f, tcp, sizeof(tcp));
	frame_add(&f, data, len);
	sum = 6 + (uint32_t)(sizeof(tcp) + len) + (t->from >> 16) + (t->from & 0xffff) +
	      (t->to >> 16) + (t->to & 0xffff);
	put16(f.data + 50, frame_checksum(f.data + 34, f.len - 34, sum));
	t->seq += (uint32_t)len + !!(flags & (TCP_SYN | TCP_FIN));
	cr_assert_eq(net_fixture_send(t->f, f.data, f.len), NET_SENT);
}

static void answer_arp(struct guest_tcp *t, const uint8_t *arp)
{
	struct frame f;

	if (be16_at(arp + 6) != 1 || be32_at(arp + 24) != t->from)
		return;
	frame_arp(&f, 2, t->from, be32_at(arp + 14), arp + 8);
	net_fixture_send(t->f, f.data, f.len);
}

/* Whether the packet belongs to the connection. */
static bool take_segment(struct guest_tcp *t, const struct net_packet *p)
{
	const uint8_t *ip = p->data + 14, *tcp;
	size_t header;

	if (p->len < 54 || be16_at(p->data + 12) != 0x0800 || ip[9] != 6 ||
	    be32_at(ip + 16) != t->from)
		return false;
	tcp = ip + (ip[0] & 0xf) * 4;
	header = (size_t)(tcp[12] >> 4) * 4;
	if (!t->sport) {
		t->to = be32_at(ip + 12);
		t->sport = be16_at(tcp + 2);
		t->dport = be16_at(tcp);
	}
	if (be16_at(tcp) != t->dport || be16_at(tcp + 2) != t->sport)
		return false;
	t->flags = tcp[13];
	t->len = be16_at(ip + 2) - (size_t)(tcp - ip) - header;
	cr_assert_leq(t->len, sizeof(t->data));
	memcpy(t->data, tcp + header, t->len);
	t->ack = be32_at(tcp + 4) + (uint32_t)t->len + !!(t->flags & (TCP_SYN | TCP_FIN));
	return true;
}

void guest_tcp_receive(struct guest_tcp *t)
{
	for (;;) {
		const struct net_packet *p;

		net_fixture_until(t->f, t->f->next < t->f->count);
		p = &t->f->packets[t->f->next++ % NET_FIXTURE_PACKETS];
		if (p->len >= 42 && be16_at(p->data + 12) == 0x0806)
			answer_arp(t, p->data + 14);
		else if (take_segment(t, p))
			return;
	}
}
