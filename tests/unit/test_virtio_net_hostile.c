/* SPDX-License-Identifier: MIT */
/*
 * virtio-net: packets and buffers that no driver should make, backends that deliver what they must
 * not or call back when they should not, and resets in the middle of it.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/fake_net_define.h"
#include "tests/unit/support/virtio_net_fixture.h"

static struct vnet_fixture f;

static void setup(void)
{
	vnet_init(&f, "queues=3");
}

static void teardown(void)
{
	vnet_fini(&f);
}

TestSuite(virtio_net_hostile, .init = setup, .fini = teardown, .timeout = 30);

/* A frame of 1000 bytes with this header must vanish, and the next one must not. */
static void expect_dropped(struct virtio_net_hdr_v1 h)
{
	unsigned sent = fake_net->sent;
	uint64_t dropped = f.net->tx.dropped;

	vnet_transmit(&f, 0, &h, 1000);
	cr_assert_eq(fake_net->sent, sent, "flags %#x type %#x size %u start %u offset %u", h.flags,
		     h.gso_type, h.gso_size, h.csum_start, h.csum_offset);
	cr_assert_eq(f.net->tx.dropped, dropped + 1);
	cr_assert(strstr(f.fake.last_log, "offloads that cannot be"), "%s", f.fake.last_log);
	cr_assert_eq(vnet_used(&f, 1), 0u, "the driver gets its buffer back");
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(fake_net->sent, sent + 1);
	vnet_used(&f, 1);
	cr_assert_not(virtio_driver_broken(&f.driver));
}

static struct virtio_net_hdr_v1 tso(void)
{
	return (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					  .gso_size = 500,
					  .hdr_len = 54,
					  .csum_start = 34,
					  .csum_offset = 16};
}

/* ---- headers ---- */

Test(virtio_net_hostile, checksum_outside_of_the_frame_is_never_sent)
{
	static const uint16_t bad[][2] = {{999, 0},      {998, 1},    {34, 965}, {0xffff, 0xffff},
					  {0xffff, 0x2}, {0, 0xffff}, {13, 4},   {0, 0},
					  {1000, 0},     {34, 0xffff}};

	vnet_start_all(&f);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_dropped((struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
							  .csum_start = bad[i][0],
							  .csum_offset = bad[i][1]});
	vnet_transmit(&f, 0,
		      &(struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						  .csum_start = 34,
						  .csum_offset = 964},
		      1000);
	cr_assert_eq(f.net->tx.dropped, ARRAY_SIZE(bad), "the last two bytes are allowed");
}

Test(virtio_net_hostile, segmentation_that_makes_no_sense_is_never_sent)
{
	static const uint8_t types[] = {2,
					VIRTIO_NET_HDR_GSO_UDP,
					6,
					0x7f,
					0xff,
					VIRTIO_NET_HDR_GSO_ECN,
					VIRTIO_NET_HDR_GSO_UDP_L4 | VIRTIO_NET_HDR_GSO_ECN};
	struct virtio_net_hdr_v1 h;

	vnet_start_all(&f);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		h = tso();
		h.gso_type = types[i];
		expect_dropped(h);
	}
	h = tso();
	h.gso_size = 0;
	expect_dropped(h);
	h = tso();
	h.hdr_len = 1001;
	expect_dropped(h);
	h = tso();
	h.flags = 0;
	expect_dropped(h);
}

Test(virtio_net_hostile, offload_that_was_not_negotiated_is_never_sent)
{
	static const struct {
		uint8_t type;
		uint64_t feature;
	} cases[] = {
		{VIRTIO_NET_HDR_GSO_NONE, VNET_F(CSUM)},
		{VIRTIO_NET_HDR_GSO_TCPV4, VNET_F(HOST_TSO4)},
		{VIRTIO_NET_HDR_GSO_TCPV6, VNET_F(HOST_TSO6)},
		{VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, VNET_F(HOST_ECN)},
		{VIRTIO_NET_HDR_GSO_UDP_L4, VNET_F(HOST_USO)},
		{VIRTIO_NET_HDR_GSO_TCPV4, VNET_F(CSUM)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_net_hdr_v1 h = tso();

		h.gso_type = cases[i].type;
		vnet_start(&f, virtio_offered(&f.net->vd) & ~cases[i].feature);
		expect_dropped(h);
	}
}

Test(virtio_net_hostile, fields_without_meaning_do_not_reach_the_backend)
{
	const struct virtio_net_hdr_v1 h = {.flags = 0xfe,
					    .hdr_len = 0xffff,
					    .gso_size = 77,
					    .csum_start = 0xffff,
					    .csum_offset = 0xffff,
					    .num_buffers = 9};
	const struct virtio_net_hdr_v1 none = {0};

	vnet_start_all(&f);
	vnet_transmit(&f, 0, &h, 60);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_arr_eq(&fake_net_frame(0)->hdr, &none, sizeof(none));
}

static gpa_t header;

static void spoil_header(void)
{
	const struct virtio_net_hdr_v1 bad = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					      .csum_start = 0xffff};

	driver_write(f.driver.memory, header, &bad, sizeof(bad));
}

Test(virtio_net_hostile, header_changed_by_the_guest_after_the_check_is_not_read_again)
{
	vnet_start_all(&f);
	header = gpa(align_up(f.driver.next.v, 16));
	fake_net->on_send = spoil_header;
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(vnet_header(&f, header).csum_start, 0xffffu);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(fake_net_frame(0)->hdr.flags, 0u);
}

Test(virtio_net_hostile, header_changed_while_the_backend_is_busy_is_checked_again)
{
	vnet_start_all(&f);
	header = gpa(align_up(f.driver.next.v, 16));
	fake_net->busy = true;
	vnet_transmit(&f, 0, NULL, 60);
	spoil_header();
	fake_net_writable(0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 0u);
	cr_assert_eq(f.net->tx.dropped, 1u);
}

/* ---- frames ---- */

Test(virtio_net_hostile, frame_without_bytes_or_with_too_many_is_never_sent)
{
	static const uint32_t bad[] = {0, 1, 13, NET_MAX_PACKET + 1, 1 * MIB};

	vnet_start_all(&f);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		vnet_transmit(&f, 0, NULL, bad[i]);
		cr_assert_eq(fake_net->sent, 0u, "%u bytes", bad[i]);
		cr_assert_eq(f.net->tx.dropped, i + 1);
		vnet_used(&f, 1);
	}
	vnet_transmit(&f, 0, NULL, 14);
	vnet_transmit(&f, 0, NULL, NET_MAX_PACKET);
	cr_assert_eq(fake_net->sent, 2u);
}

static void broken_by(unsigned queue, const struct driver_buffer *b, unsigned n)
{
	vnet_start(&f, VNET_F(MRG_RXBUF));
	driver_ring_add(&f.driver.rings[queue], b, n);
	virtio_driver_kick(&f.driver, queue);
	fake_env_settle(&f.fake);
}

Test(virtio_net_hostile, packet_with_half_a_header_breaks_the_device)
{
	const struct driver_buffer half = {gpa(32 * MIB), VNET_HDR - 1, false};
	const struct driver_buffer mute = {gpa(32 * MIB), 100, true};

	broken_by(1, &half, 1);
	cr_assert(virtio_driver_broken(&f.driver));
	broken_by(1, &mute, 1);
	cr_assert(virtio_driver_broken(&f.driver));
	cr_assert_eq(fake_net->sent, 0u);
	vnet_start_all(&f);
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(fake_net->sent, 1u);
}

Test(virtio_net_hostile, receive_buffer_without_room_for_a_header_breaks_the_device)
{
	const struct driver_buffer small = {gpa(32 * MIB), VNET_HDR - 1, true};
	const struct driver_buffer deaf = {gpa(32 * MIB), 100, false};
	uint8_t byte;

	broken_by(0, &small, 1);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert(virtio_driver_broken(&f.driver));
	broken_by(0, &deaf, 1);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert(virtio_driver_broken(&f.driver));
	driver_read(f.driver.memory, gpa(32 * MIB), &byte, 1);
	cr_assert_eq(byte, 0, "a buffer was written that is the driver's to read");
}

Test(virtio_net_hostile, small_buffer_after_others_breaks_the_device_with_nothing_written)
{
	gpa_t at;

	vnet_start(&f, VNET_F(MRG_RXBUF));
	at = vnet_post(&f, 0, 512);
	vnet_post(&f, 0, 4);
	cr_assert(vnet_deliver(&f, 0, NULL, 1000, 1));
	cr_assert(virtio_driver_broken(&f.driver));
	cr_assert_eq(vnet_header(&f, at).flags, 0xeeu);
	cr_assert_eq(virtq_in_flight(f.net->vd.queues[0].vq), 0u);
	vnet_start(&f, VNET_F(MRG_RXBUF));
	vnet_post(&f, 0, 512);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60);
}

Test(virtio_net_hostile, broken_receive_queue_stops_a_packet_halfway)
{
	gpa_t at;

	vnet_start(&f, VNET_F(MRG_RXBUF));
	at = vnet_post(&f, 0, 512);
	driver_ring_offer(&f.driver.rings[0], 0xffff);
	cr_assert(vnet_deliver(&f, 0, NULL, 1000, 1));
	cr_assert(virtio_driver_broken(&f.driver));
	cr_assert_eq(vnet_header(&f, at).flags, 0xeeu);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1), "it would hold the network up");
}

/* ---- receive buffers ---- */

Test(virtio_net_hostile, nothing_is_written_after_a_buffer_is_pushed)
{
	gpa_t at[3];
	uint8_t bytes[512];

	vnet_start(&f, VNET_F(MRG_RXBUF));
	for (unsigned i = 0; i < 3; i++)
		at[i] = vnet_post(&f, 0, sizeof(bytes));
	cr_assert(vnet_deliver(&f, 0, NULL, 1200, 1));
	for (unsigned i = 0; i < 3; i++) {
		vnet_used(&f, 0);
		cr_assert_eq(guest_fill(f.driver.memory, at[i], 0x77, sizeof(bytes)), 0);
	}
	vnet_deliver(&f, 0, NULL, 1200, 2);
	vnet_start(&f, VNET_F(MRG_RXBUF));
	for (unsigned i = 0; i < 3; i++) {
		driver_read(f.driver.memory, at[i], bytes, sizeof(bytes));
		for (unsigned k = 0; k < sizeof(bytes); k++)
			cr_assert_eq(bytes[k], 0x77);
	}
}

Test(virtio_net_hostile, used_length_is_never_above_what_was_written)
{
	gpa_t at;
	uint8_t byte;

	vnet_start_all(&f);
	at = vnet_post(&f, 0, 2048);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60);
	driver_read(f.driver.memory, gpa_add(at, VNET_HDR + 60), &byte, 1);
	cr_assert_eq(byte, 0xee);
}

Test(virtio_net_hostile, waiting_for_buffers_does_not_eat_them)
{
	vnet_start(&f, VNET_F(MRG_RXBUF));
	for (unsigned i = 0; i < 10; i++)
		vnet_post(&f, 0, 100);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_not(vnet_deliver(&f, 0, NULL, 1500, 1));
	cr_assert_eq(virtq_in_flight(f.net->vd.queues[0].vq), 0u);
	cr_assert(vnet_deliver(&f, 0, NULL, 988, 2));
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(vnet_used(&f, 0), 100u);
	cr_assert_eq(f.net->rx.packets, 1u);
}

/* ---- backends ---- */

Test(virtio_net_hostile, offload_that_was_not_negotiated_is_never_delivered)
{
	static const struct {
		uint8_t flags, type;
		uint64_t feature;
	} cases[] = {
		{VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE, VNET_F(GUEST_CSUM)},
		{0, VIRTIO_NET_HDR_GSO_TCPV4, VNET_F(GUEST_TSO4)},
		{0, VIRTIO_NET_HDR_GSO_TCPV6, VNET_F(GUEST_TSO6)},
		{0, VIRTIO_NET_HDR_GSO_TCPV6, VNET_F(GUEST_CSUM)},
		{0, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, VNET_F(GUEST_ECN)},
		{0, VIRTIO_NET_HDR_GSO_UDP_L4, VNET_F(GUEST_USO4)},
		{0, VIRTIO_NET_HDR_GSO_UDP_L4, VNET_F(GUEST_USO6)},
		{0, VIRTIO_NET_HDR_GSO_UDP, 0},
		{0, 0x7f, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct virtio_net_hdr_v1 h = {
			.flags = cases[i].flags, .gso_type = cases[i].type, .gso_size = 1};

		vnet_start(&f, virtio_offered(&f.net->vd) & ~cases[i].feature);
		vnet_post(&f, 0, 4096);
		cr_assert(vnet_deliver(&f, 0, &h, 1000, 1));
		cr_assert_not(vnet_any_used(&f, 0), "case %zu", i);
	}
	cr_assert_eq(f.net->rx.dropped, ARRAY_SIZE(cases));
}

Test(virtio_net_hostile, flags_that_were_not_negotiated_are_taken_off)
{
	const struct virtio_net_hdr_v1 h = {.flags = VIRTIO_NET_HDR_F_DATA_VALID |
						     VIRTIO_NET_HDR_F_RSC_INFO,
					    .csum_start = 5,
					    .gso_size = 6,
					    .num_buffers = 7};
	gpa_t at;

	vnet_start(&f, 0);
	at = vnet_post(&f, 0, 2048);
	cr_assert(vnet_deliver(&f, 0, &h, 60, 1));
	cr_assert_eq(vnet_header(&f, at).flags, 0u);
	cr_assert_eq(vnet_header(&f, at).csum_start, 0u);
	cr_assert_eq(vnet_header(&f, at).gso_size, 0u);
	cr_assert_eq(vnet_header(&f, at).num_buffers, 1u);
	vnet_start_all(&f);
	at = vnet_post(&f, 0, 2048);
	cr_assert(vnet_deliver(&f, 0, &h, 60, 1));
	cr_assert_eq(vnet_header(&f, at).flags, VIRTIO_NET_HDR_F_DATA_VALID);
}

Test(virtio_net_hostile, frame_above_the_mtu_is_never_delivered)
{
	uint8_t tagged[1518];

	vnet_again(&f, "mtu=1500");
	vnet_start_all(&f);
	vnet_post(&f, 0, 4096);
	cr_assert(vnet_deliver(&f, 0, NULL, 1515, 1));
	cr_assert_not(vnet_any_used(&f, 0));
	cr_assert(vnet_deliver(&f, 0, NULL, 1514, 1));
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 1514);
	vnet_post(&f, 0, 4096);
	vnet_frame(tagged, sizeof(tagged), vnet_mac, 1);
	memcpy(tagged + 12, "\x81\x00\x00\x05", 4);
	cr_assert(fake_net_deliver(0, NULL, tagged, sizeof(tagged)));
	fake_env_settle(&f.fake);
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 1518, "a tag does not count");
	vnet_start(&f, 0);
	vnet_post(&f, 0, 4096);
	cr_assert(vnet_deliver(&f, 0, NULL, 2000, 1));
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 2000, "a driver that knows of no MTU");
}

Test(virtio_net_hostile, runt_or_giant_of_the_backend_is_never_delivered)
{
	struct virtio_net_hdr_v1 h = {0};
	static uint8_t giant[NET_MAX_PACKET + 1];
	const struct iovec iov = {giant, sizeof(giant)};

	vnet_start(&f, VNET_F(MRG_RXBUF));
	for (unsigned i = 0; i < 100; i++)
		vnet_post(&f, 0, 1024);
	cr_assert(vnet_deliver(&f, 0, NULL, 13, 1));
	cr_assert(fake_net->frontend->receive(fake_net->opaque, 0, &h, &iov, 1));
	cr_assert(fake_net->frontend->receive(fake_net->opaque, 0, &h, &iov, 0));
	cr_assert(fake_net->frontend->receive(fake_net->opaque, 99, &h, &iov, 1));
	fake_env_settle(&f.fake);
	cr_assert_not(vnet_any_used(&f, 0));
}

Test(virtio_net_hostile, received_packet_is_never_delivered_from_inside_of_transmit)
{
	vnet_start_all(&f);
	fake_net->echo = FAKE_NET_ECHO;
	for (unsigned i = 0; i < 2; i++)
		vnet_post(&f, 0, 2048);
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(fake_net->refused_echos, 1u, "it was taken at once");
	cr_assert_eq(fake_net->max_depth, 1u);
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60, "it comes after the transmit");
	vnet_transmit(&f, 0, NULL, 70);
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 70);
}

Test(virtio_net_hostile, backend_that_calls_back_from_inside_of_a_call_does_not_hang)
{
	vnet_start_all(&f);
	fake_net->echo = FAKE_NET_CONTRADICTS;
	fake_net->link = false;
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(vnet_status(&f), 0u, "the link was forgotten");
	fake_net_link(true);
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(fake_net->sent, 2u);
}

/* ---- resets ---- */

Test(virtio_net_hostile, packet_for_one_driver_is_not_given_to_the_next)
{
	vnet_start_all(&f);
	cr_assert_not(vnet_deliver(&f, 0, NULL, 60, 1));
	virtio_driver_reset(&f.driver);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->pending.len, 0u, "the backend still holds it");
	vnet_start_all(&f);
	vnet_post(&f, 0, 2048);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	cr_assert_not(vnet_any_used(&f, 0));
}

Test(virtio_net_hostile, backend_is_not_held_up_where_no_driver_listens)
{
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert(virtio_driver_negotiate(&f.driver, 0));
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	/* A driver without a receive queue. */
	virtio_driver_ok(&f.driver);
	fake_env_settle(&f.fake);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert_eq(f.net->rx.dropped, 3u);
}

Test(virtio_net_hostile, writable_after_a_reset_sends_nothing_of_the_old_driver)
{
	vnet_start_all(&f);
	fake_net->busy = true;
	vnet_transmit(&f, 0, NULL, 60);
	virtio_driver_reset(&f.driver);
	fake_net_writable(0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 0u);
	vnet_start_all(&f);
	vnet_transmit(&f, 0, NULL, 70);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(fake_net_frame(0)->len, 70u);
}

Test(virtio_net_hostile, machine_pauses_while_the_backend_is_busy)
{
	vnet_start_all(&f);
	fake_net->busy = true;
	vnet_transmit(&f, 0, NULL, 60);
	device_quiesce_wait(f.dev);
	cr_assert_eq(virtq_in_flight(f.net->vd.queues[1].vq), 0u);
	fake_net_writable(0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 0u, "a paused device sends");
	virtio_resume(&f.net->vd);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 1u);
}

static void offer_again(void)
{
	driver_ring_offer(&f.driver.rings[1], 0);
}

Test(virtio_net_hostile, driver_that_never_stops_sending_leaves_the_loop_to_others)
{
	const struct driver_buffer b = {gpa(32 * MIB), VNET_HDR + 60, false};

	vnet_start_all(&f);
	fake_net->on_send = offer_again;
	driver_ring_add(&f.driver.rings[1], &b, 1);
	virtio_driver_kick(&f.driver, 1);
	loop_turn(f.fake.env.loop, false);
	cr_assert_eq(fake_net->sent, 512u, "two rings full");
	loop_turn(f.fake.env.loop, false);
	cr_assert_eq(fake_net->sent, 1024u, "it goes on");
	fake_net->on_send = NULL;
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 1025u);
}
