/* SPDX-License-Identifier: MIT */
/*
 * virtio-net: what it offers, and packets both ways.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/support/fake_net_define.h"
#include "tests/unit/support/virtio_net_fixture.h"
#include "virtio/virtio_classes.h"

static struct vnet_fixture f;

static void setup(void)
{
	vnet_init(&f, NULL);
}

static void teardown(void)
{
	vnet_fini(&f);
}

TestSuite(virtio_net, .init = setup, .fini = teardown, .timeout = 30);

static struct virtio_net_config config(void)
{
	struct virtio_net_config c = {0};

	virtio_read_config(&f.net->vd, 0, &c, sizeof(c));
	return c;
}

static uint64_t offered(void)
{
	return virtio_offered(&f.net->vd);
}

/* ---- configuration ---- */

Test(virtio_net, configuration_says_what_was_asked_for)
{
	struct virtio_net_config c;

	vnet_again(&f, "queues=3,mtu=9000,speed=25000,duplex=half,queue-size=64,backend=x");
	c = config();
	cr_assert_arr_eq(c.mac, vnet_mac, ETH_ALEN);
	cr_assert_eq(c.status, VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(c.max_virtqueue_pairs, 3u);
	cr_assert_eq(c.mtu, 9000u);
	cr_assert_eq(fake_net->wish.mtu, 9000u, "the backend is made for what the guest is told");
	cr_assert_eq(fake_net->wish.queue_pairs, 3u);
	cr_assert_eq(c.speed, 25000u);
	cr_assert_eq(c.duplex, 0u);
	cr_assert_str_eq(fake_net->spec, "x");
	cr_assert_eq(virtio_queue_size(&f.net->vd, 6), 64u);
	cr_assert_eq(virtio_queue_size(&f.net->vd, 7), 0u);
	cr_assert(offered() & VNET_F(MTU));
	cr_assert(offered() & VNET_F(MQ));
	cr_assert(offered() & VNET_F(SPEED_DUPLEX));
}

Test(virtio_net, default_is_one_pair_of_unknown_speed_without_an_mtu)
{
	struct virtio_net_config c = config();

	cr_assert_eq(c.max_virtqueue_pairs, 1u);
	cr_assert_eq(c.speed, UINT32_MAX);
	cr_assert_eq(c.duplex, UINT8_MAX);
	cr_assert_not(offered() & (VNET_F(MTU) | VNET_F(MQ) | VNET_F(SPEED_DUPLEX)));
	cr_assert_str_eq(fake_net->spec, "none");
}

Test(virtio_net, offloads_are_offered_where_the_backend_can)
{
	const uint64_t host = VNET_F(CSUM) | VNET_F(HOST_TSO4) | VNET_F(HOST_TSO6) |
			      VNET_F(HOST_ECN) | VNET_F(HOST_USO);
	const uint64_t guest = VIRTIO_NET_GUEST_OFFLOADS | VNET_F(CTRL_GUEST_OFFLOADS);

	cr_assert_eq(offered() & (host | guest), host | guest);
	fake_net_setup.tx_offloads = 0;
	vnet_again(&f, NULL);
	cr_assert_eq(offered() & (host | guest), guest);
	fake_net_setup.rx_offloads = NET_TSO4 | NET_TSO6 | NET_USO; /* worthless without CSUM */
	vnet_again(&f, NULL);
	cr_assert_eq(offered() & (host | guest), 0u);
	fake_net_setup.rx_offloads = NET_CSUM | NET_TSO6 | NET_TSO_ECN;
	fake_net_setup.tx_offloads = NET_CSUM | NET_TSO_ECN;
	vnet_again(&f, NULL);
	cr_assert_eq(offered() & (host | guest), VNET_F(CSUM) | VNET_F(GUEST_CSUM) |
							 VNET_F(GUEST_TSO6) | VNET_F(GUEST_ECN) |
							 VNET_F(CTRL_GUEST_OFFLOADS));
}

Test(virtio_net, switches_take_offers_back)
{
	static const struct {
		const char *option;
		uint64_t gone;
	} cases[] = {
		{"mrg=off", VNET_F(MRG_RXBUF)},
		{"tso=off", VNET_F(HOST_TSO4) | VNET_F(HOST_TSO6) | VNET_F(HOST_ECN)},
		{"uso=off", VNET_F(HOST_USO)},
		{"csum=off", VNET_F(CSUM) | VNET_F(HOST_TSO4) | VNET_F(HOST_TSO6) |
				     VNET_F(HOST_ECN) | VNET_F(HOST_USO)},
		{"guest-tso=off", VNET_F(GUEST_TSO4) | VNET_F(GUEST_TSO6) | VNET_F(GUEST_ECN)},
		{"guest-uso=off", VNET_F(GUEST_USO4) | VNET_F(GUEST_USO6)},
		{"guest-csum=off", VIRTIO_NET_GUEST_OFFLOADS | VNET_F(CTRL_GUEST_OFFLOADS)},
	};
	uint64_t all = offered();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		vnet_again(&f, cases[i].option);
		cr_assert_eq(offered(), all & ~cases[i].gone, "%s", cases[i].option);
	}
}

static void refused(const char *options, const char *name)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;

	cr_assert_lt(
		device_create(&dev, &virtio_net_class.device, NULL, options, &f.fake.env, &err), 0,
		"%s is accepted", options);
	cr_assert(strstr(err.message, name), "%s: %s", options, err.message);
}

Test(virtio_net, bad_options_name_themselves)
{
	fake_env_remove(f.dev);
	refused("mac=52:54:00:11:22", "mac=");
	refused("mac=52:54:00:11:22:33:44", "mac=");
	refused("mac=52:54:00:11:22:3g", "mac=");
	refused("mac=52-54-00-11-22-33", "mac=");
	refused("mac=01:00:5e:00:00:01", "mac=");
	refused("mac=00:00:00:00:00:00", "mac=");
	refused("queues=0", "queues");
	refused("queues=17", "queues");
	refused("queues=4", "queues=4: the backend serves at most 3");
	refused("queue-size=100", "queue-size");
	refused("queue-size=8", "queue-size");
	refused("mtu=67", "mtu=67");
	refused("mtu=65536", "mtu");
	refused("duplex=none", "duplex");
	refused("backend=bad", "backend=bad");
	fake_net_setup.mtu = 1500;
	refused("mtu=1501", "mtu=1501: the backend carries at most 1500");
	cr_assert_null(fake_net, "a backend was left behind");
	fake_net_setup.mtu = 0;
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device, NULL);
	f.net = virtio_net(virtio_device(f.dev));
}

Test(virtio_net, options_are_checked_without_a_device)
{
	static const char *const bad[] = {"backend=bad", "mac=1", "queue-size=17", "mtu=1"};
	struct vmm_error err = {0};

	fake_env_remove(f.dev);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_lt(device_check_options(&virtio_net_class.device, "--net", bad[i], &err),
			     0, "%s", bad[i]);
		cr_assert_eq(strncmp(err.message, "--net", 5), 0, "%s", err.message);
	}
	cr_assert_eq(device_check_options(&virtio_net_class.device, "--net",
					  "backend=x,mac=" VNET_MAC, &err),
		     0, "%s", err.message);
	cr_assert_null(fake_net);
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device, NULL);
}

Test(virtio_net, narrow_backend_makes_itself_known)
{
	fake_net_setup.mtu = 1400;
	vnet_again(&f, NULL);
	cr_assert_eq(config().mtu, 1400u);
	cr_assert(offered() & VNET_F(MTU));
	vnet_again(&f, "mtu=1000");
	cr_assert_eq(config().mtu, 1000u);
	fake_net_setup.mtu = 9000;
	vnet_again(&f, NULL);
	cr_assert_not(offered() & VNET_F(MTU));
}

Test(virtio_net, address_that_was_not_given_is_random_and_local)
{
	struct device *dev[2];
	struct virtio_net_mac mac[2];

	for (unsigned i = 0; i < 2; i++) {
		fake_env_remove(f.dev);
		f.dev = dev[i] = fake_env_device(&f.fake, &virtio_net_class.device, NULL);
		f.net = virtio_net(virtio_device(f.dev));
		memcpy(mac[i].byte, config().mac, ETH_ALEN);
		cr_assert_eq(mac[i].byte[0], 0x52);
		cr_assert_eq(mac[i].byte[1], 0x54);
	}
	cr_assert(memcmp(&mac[0], &mac[1], sizeof(mac[0])));
}

/* ---- sending ---- */

Test(virtio_net, packet_reaches_the_backend_without_its_header)
{
	uint8_t want[1514];

	vnet_start(&f, 0);
	vnet_transmit(&f, 0, NULL, 1514);
	cr_assert_eq(fake_net->sent, 1u);
	vnet_frame(want, 1514, vnet_mac, 1);
	cr_assert_eq(fake_net_frame(0)->len, 1514u);
	cr_assert_arr_eq(fake_net_frame(0)->bytes, want, 1514);
	cr_assert_eq(vnet_used(&f, 1), 0u, "nothing was written");
	cr_assert_eq(f.driver.queue_interrupts[1], 1u);
	cr_assert_eq(f.net->tx.packets, 1u);
	cr_assert_eq(f.net->tx.bytes, 1514u);
}

Test(virtio_net, header_and_frame_may_share_a_descriptor)
{
	struct driver_buffer b = {gpa(32 * MIB), VNET_HDR + 60, false};

	vnet_start(&f, 0);
	driver_ring_add(&f.driver.rings[1], &b, 1);
	virtio_driver_kick(&f.driver, 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net_frame(0)->len, 60u);
}

Test(virtio_net, offloads_that_were_negotiated_are_passed_on)
{
	static const uint8_t types[] = {VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6,
					VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
					VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_HDR_GSO_NONE};

	vnet_start_all(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		const struct virtio_net_hdr_v1 h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						    .gso_type = types[i],
						    .hdr_len = types[i] ? 54 : 0,
						    .gso_size = types[i] ? 1448 : 0,
						    .csum_start = 34,
						    .csum_offset = 16};

		vnet_transmit(&f, 0, &h, 20000);
		cr_assert_eq(fake_net->sent, i + 1, "type %#x", types[i]);
		cr_assert_arr_eq(&fake_net_frame(i)->hdr, &h, sizeof(h));
	}
}

Test(virtio_net, busy_backend_stops_the_queue_until_it_is_writable)
{
	vnet_start(&f, 0);
	vnet_transmit(&f, 0, NULL, 100);
	fake_net->busy = true;
	for (uint32_t i = 0; i < 3; i++)
		vnet_transmit(&f, 0, NULL, 200 + i);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(fake_net->refused_sends, 1u, "a kick while the backend is busy");
	cr_assert_eq(virtq_in_flight(f.net->vd.queues[1].vq), 0u);
	fake_net_writable(0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 4u);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(fake_net_frame(1 + i)->len, 200u + i, "out of order");
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(vnet_used(&f, 1), 0u);
}

Test(virtio_net, frame_in_many_pieces_is_sent_in_one)
{
	struct driver_buffer b[101] = {{gpa(32 * MIB), VNET_HDR, false}};
	uint8_t want[1000];

	vnet_frame(want, sizeof(want), vnet_mac, 9);
	driver_write(f.driver.memory, gpa(33 * MIB), want, sizeof(want));
	for (unsigned i = 0; i < 100; i++)
		b[i + 1] = (struct driver_buffer){gpa(33 * MIB + 10 * i), 10, false};
	vnet_start(&f, 0);
	driver_ring_add(&f.driver.rings[1], b, ARRAY_SIZE(b));
	virtio_driver_kick(&f.driver, 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_leq(fake_net_frame(0)->pieces, VIRTIO_NET_MAX_SEGMENTS);
	cr_assert_eq(fake_net_frame(0)->len, sizeof(want));
	cr_assert_arr_eq(fake_net_frame(0)->bytes, want, sizeof(want));
}

/* ---- receiving ---- */

Test(virtio_net, packet_arrives_behind_a_header)
{
	gpa_t at;

	vnet_start(&f, 0);
	at = vnet_post(&f, 0, 2048);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 5));
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60);
	cr_assert(vnet_is_frame(&f, gpa_add(at, VNET_HDR), 0, 60, 5));
	cr_assert_eq(vnet_header(&f, at).num_buffers, 1u);
	cr_assert_eq(vnet_header(&f, at).flags, 0u);
	cr_assert_eq(f.driver.queue_interrupts[0], 1u);
	cr_assert_eq(f.net->rx.packets, 1u);
	cr_assert_eq(f.net->rx.bytes, 60u);
}

Test(virtio_net, packet_in_pieces_arrives_whole)
{
	const struct virtio_net_hdr_v1 h = {0};
	uint8_t frame[300];
	struct iovec iov[4] = {{frame, 1}, {frame + 1, 0}, {frame + 1, 99}, {frame + 100, 200}};
	struct driver_buffer b[3];
	gpa_t at;

	vnet_start(&f, 0);
	/* 4 + 9 + 299 bytes: header and frame are cut elsewhere than they were. */
	at = virtio_driver_alloc(&f.driver, 312);
	b[0] = (struct driver_buffer){at, 4, true};
	b[1] = (struct driver_buffer){gpa_add(at, 4), 9, true};
	b[2] = (struct driver_buffer){gpa_add(at, 13), 299, true};
	driver_ring_add(&f.driver.rings[0], b, 3);
	vnet_frame(frame, sizeof(frame), vnet_mac, 8);
	cr_assert(fake_net->frontend->receive(fake_net->opaque, 0, &h, iov, 4));
	fake_env_settle(&f.fake);
	cr_assert_eq(vnet_used(&f, 0), 312u);
	cr_assert(vnet_is_frame(&f, gpa_add(at, VNET_HDR), 0, 300, 8));
}

Test(virtio_net, large_packet_is_spread_over_merged_buffers)
{
	static const uint32_t sizes[] = {12, 2048, 13, 1000, 4096, 4096};
	gpa_t at[ARRAY_SIZE(sizes)];
	size_t from = 0;

	vnet_start(&f, VNET_F(MRG_RXBUF));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		at[i] = vnet_post(&f, 0, sizes[i]);
	cr_assert(vnet_deliver(&f, 0, NULL, 5000, 3));
	cr_assert_eq(vnet_header(&f, at[0]).num_buffers, 5u);
	cr_assert_eq(vnet_used(&f, 0), 12u);
	for (unsigned i = 1; i < 5; i++) {
		uint32_t want = (uint32_t)MIN((size_t)sizes[i], 5000 - from);

		cr_assert_eq(vnet_used(&f, 0), want);
		cr_assert(vnet_is_frame(&f, at[i], from, want, 3), "buffer %u", i);
		from += want;
	}
	cr_assert_not(vnet_any_used(&f, 0));
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 4), "the last buffer is free");
	cr_assert(vnet_is_frame(&f, gpa_add(at[5], VNET_HDR), 0, 60, 4));
}

Test(virtio_net, packet_waits_for_a_buffer)
{
	gpa_t at;

	vnet_start(&f, 0);
	cr_assert_not(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert_eq(fake_net->ready[0], 0u);
	at = vnet_post(&f, 0, 2048);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->ready[0], 1u);
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60);
	cr_assert(vnet_is_frame(&f, gpa_add(at, VNET_HDR), 0, 60, 1));
	vnet_post(&f, 0, 2048);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->ready[0], 1u, "nobody waited");
}

static void wait_for_merged_buffers(uint64_t features)
{
	gpa_t at[3];

	vnet_start(&f, VNET_F(MRG_RXBUF) | features);
	at[0] = vnet_post(&f, 0, 512);
	at[1] = vnet_post(&f, 0, 512);
	cr_assert_not(vnet_deliver(&f, 0, NULL, 1500, 1));
	cr_assert_not(vnet_any_used(&f, 0), "half a packet was delivered");
	cr_assert_eq(virtq_in_flight(f.net->vd.queues[0].vq), 0u);
	cr_assert_eq(vnet_header(&f, at[0]).flags, 0xeeu, "the buffer was written");
	/* With the event index the doorbell must ring for the buffer after those two. */
	if (features)
		cr_assert_eq(driver_ring_avail_event(&f.driver.rings[0]), 2u);
	else
		cr_assert_eq(driver_ring_used_flags(&f.driver.rings[0]), 0u);
	at[2] = vnet_post(&f, 0, 512);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(vnet_used(&f, 0), i < 2 ? 512u : 1512u - 1024);
	cr_assert(vnet_is_frame(&f, at[2], 1012, 488, 1));
	cr_assert_eq(vnet_header(&f, at[0]).num_buffers, 3u);
}

Test(virtio_net, packet_waits_for_enough_merged_buffers)
{
	wait_for_merged_buffers(0);
}

Test(virtio_net, packet_waits_for_enough_merged_buffers_with_event_idx)
{
	wait_for_merged_buffers(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
}

Test(virtio_net, packet_larger_than_the_buffer_is_dropped_without_merging)
{
	vnet_start(&f, 0);
	vnet_post(&f, 0, 512);
	cr_assert(vnet_deliver(&f, 0, NULL, 501, 1), "it would wait for ever");
	cr_assert_not(vnet_any_used(&f, 0));
	cr_assert_eq(f.net->rx.dropped, 1u);
	cr_assert(vnet_deliver(&f, 0, NULL, 500, 2));
	cr_assert_eq(vnet_used(&f, 0), 512u);
}

Test(virtio_net, packet_larger_than_all_the_ring_is_dropped)
{
	vnet_again(&f, "queue-size=16");
	vnet_start(&f, VNET_F(MRG_RXBUF));
	for (unsigned i = 0; i < 16; i++)
		vnet_post(&f, 0, 64);
	cr_assert(vnet_deliver(&f, 0, NULL, 16 * 64 - VNET_HDR + 1, 1), "it would wait for ever");
	cr_assert_eq(f.net->rx.dropped, 1u);
	cr_assert(vnet_deliver(&f, 0, NULL, 16 * 64 - VNET_HDR, 1));
	for (unsigned i = 0; i < 16; i++)
		cr_assert_eq(vnet_used(&f, 0), 64u);
}

Test(virtio_net, offloads_that_were_negotiated_are_delivered)
{
	const struct virtio_net_hdr_v1 h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					    .hdr_len = 54,
					    .gso_size = 1448,
					    .csum_start = 34,
					    .csum_offset = 16};
	struct virtio_net_hdr_v1 want = h, have;
	gpa_t at;

	vnet_start_all(&f);
	cr_assert_eq(fake_net->rx_offloads, VNET_ALL);
	at = vnet_post(&f, 0, 65562);
	cr_assert(vnet_deliver(&f, 0, &h, 65550, 1));
	cr_assert_eq(vnet_used(&f, 0), 65562u);
	want.num_buffers = 1;
	have = vnet_header(&f, at);
	cr_assert_arr_eq(&have, &want, sizeof(want));
	cr_assert(vnet_is_frame(&f, gpa_add(at, VNET_HDR), 0, 65550, 1));
}

/* ---- the link ---- */

Test(virtio_net, link_is_up_where_the_user_and_the_backend_say_so)
{
	vnet_start_all(&f);
	cr_assert_eq(vnet_action(&f, "link", "down", NULL), 0);
	cr_assert_eq(vnet_status(&f), 0u);
	cr_assert_eq(f.driver.config_interrupts, 1u);
	cr_assert_eq(vnet_action(&f, "link", "state=down", NULL), 0);
	cr_assert_eq(f.driver.config_interrupts, 1u, "nothing has changed");
	fake_net_link(false);
	cr_assert_eq(vnet_action(&f, "link", "up", NULL), 0);
	cr_assert_eq(vnet_status(&f), 0u);
	fake_net_link(true);
	cr_assert_eq(vnet_status(&f), VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(f.driver.config_interrupts, 2u);
}

Test(virtio_net, nothing_passes_a_link_that_is_down)
{
	vnet_start_all(&f);
	vnet_post(&f, 0, 2048);
	vnet_action(&f, "link", "down", NULL);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1), "it would hold the network up");
	cr_assert_not(vnet_any_used(&f, 0));
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_eq(fake_net->sent, 0u);
	cr_assert_eq(vnet_used(&f, 1), 0u, "the driver gets its buffer back");
	cr_assert_eq(f.net->rx.dropped, 1u);
	cr_assert_eq(f.net->tx.dropped, 1u);
	vnet_action(&f, "link", "up", NULL);
	cr_assert(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60);
}

Test(virtio_net, link_that_goes_down_frees_what_waits)
{
	vnet_start_all(&f);
	fake_net->busy = true;
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert_not(vnet_deliver(&f, 0, NULL, 60, 1));
	vnet_action(&f, "link", "down", NULL);
	cr_assert_eq(vnet_used(&f, 1), 0u);
	cr_assert_eq(fake_net->pending.len, 0u);
	cr_assert_eq(fake_net->sent, 0u);
}

Test(virtio_net, link_of_the_user_survives_a_reset)
{
	vnet_start_all(&f);
	vnet_action(&f, "link", "down", NULL);
	vnet_start_all(&f);
	cr_assert_eq(vnet_status(&f), 0u);
}
