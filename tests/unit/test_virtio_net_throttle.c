/* SPDX-License-Identifier: MIT */
/*
 * virtio-net under rate limits: packets wait in the ring and with the backend, and each way has a
 * limit of its own.
 */
#include <string.h>

#include "tests/unit/support/fake_net_define.h"
#include "tests/unit/support/virtio_net_fixture.h"
#include "virtio/virtio_classes.h"

#define FRAME 1000u

static struct vnet_fixture f;

static void setup(void)
{
	vnet_init(&f, NULL);
}

static void teardown(void)
{
	vnet_fini(&f);
}

TestSuite(virtio_net_throttle, .init = setup, .fini = teardown, .timeout = 30);

static void start(const char *options)
{
	vnet_again(&f, options);
	vnet_start_all(&f);
}

static void send_frames(unsigned pair, unsigned n)
{
	const struct virtio_net_hdr_v1 plain = {0};

	while (n--)
		vnet_transmit(&f, pair, &plain, FRAME);
}

static unsigned take_used(unsigned queue)
{
	unsigned n;

	for (n = 0; vnet_any_used(&f, queue); n++)
		vnet_used(&f, queue);
	return n;
}

static void advance(uint64_t ms)
{
	fake_env_advance(&f.fake, ms * NS_PER_MS);
	fake_env_settle(&f.fake);
}

/* ---- from the guest ---- */

Test(virtio_net_throttle, sent_packets_wait_for_the_limit)
{
	start("tx-pps=10,tx-pps-burst=4");
	send_frames(0, 8);
	cr_assert_eq(fake_net->sent, 4u);
	for (unsigned sent = 4; sent < 8; sent++) {
		advance(50);
		cr_assert_eq(fake_net->sent, sent);
		advance(51);
		cr_assert_eq(fake_net->sent, sent + 1);
	}
	cr_assert_eq(take_used(1), 8u);
}

Test(virtio_net_throttle, sent_bytes_wait_for_the_limit)
{
	start("tx-bps=10000,tx-bps-burst=1");
	send_frames(0, 3);
	/* One that is larger than the bucket is sent, and paid for. */
	cr_assert_eq(fake_net->sent, 1u);
	advance(95);
	cr_assert_eq(fake_net->sent, 1u);
	advance(10);
	cr_assert_eq(fake_net->sent, 2u);
}

Test(virtio_net_throttle, packet_that_the_backend_refused_is_paid_once)
{
	start("tx-pps=10,tx-pps-burst=1");
	fake_net->busy = true;
	send_frames(0, 1);
	for (int i = 0; i < 5; i++)
		virtio_driver_kick(&f.driver, 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 0u);
	fake_net_writable(0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 1u);
	send_frames(0, 1);
	cr_assert_eq(fake_net->sent, 1u);
	advance(101);
	cr_assert_eq(fake_net->sent, 2u);
}

Test(virtio_net_throttle, frames_that_are_dropped_are_paid_too)
{
	start("tx-pps=10,tx-pps-burst=1");
	cr_assert_eq(vnet_action(&f, "link", "down", NULL), 0);
	send_frames(0, 3);
	cr_assert_eq(take_used(1), 1u, "a guest spins without a limit");
	advance(101);
	cr_assert_eq(take_used(1), 1u);
}

Test(virtio_net_throttle, driver_that_waits_rings_no_doorbells)
{
	vnet_again(&f, "tx-pps=10,tx-pps-burst=1");
	vnet_start(&f, virtio_offered(&f.net->vd) & ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX));
	send_frames(0, 2);
	cr_assert(driver_ring_used_flags(&f.driver.rings[1]) & VRING_USED_F_NO_NOTIFY);
	advance(101);
	cr_assert_eq(fake_net->sent, 2u);
	advance(101);
	cr_assert_not(driver_ring_used_flags(&f.driver.rings[1]) & VRING_USED_F_NO_NOTIFY);
}

Test(virtio_net_throttle, no_queue_pair_starves_another)
{
	unsigned done[2] = {0};

	start("queues=2,tx-pps=100,tx-pps-burst=1");
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
			       &(uint16_t){2}, sizeof(uint16_t)),
		     VIRTIO_NET_OK);
	send_frames(0, 40);
	send_frames(1, 40);
	for (unsigned i = 0; i < 40; i++) {
		virtio_driver_kick(&f.driver, virtio_net_tx_queue(0));
		fake_env_advance(&f.fake, 10 * NS_PER_MS + 1);
		done[0] += take_used(virtio_net_tx_queue(0));
		done[1] += take_used(virtio_net_tx_queue(1));
	}
	cr_assert(done[0] >= 15 && done[1] >= 15, "%u and %u", done[0], done[1]);
}

/* ---- to the guest ---- */

static unsigned offer_and_count(unsigned n)
{
	unsigned taken = 0;

	while (n-- && vnet_deliver(&f, 0, NULL, FRAME, (uint8_t)n))
		taken++;
	return taken;
}

static void post_buffers(unsigned n)
{
	while (n--)
		vnet_post(&f, 0, 2048);
	virtio_driver_kick(&f.driver, 0);
	fake_env_settle(&f.fake);
}

Test(virtio_net_throttle, received_packets_wait_with_the_backend)
{
	start("rx-pps=10,rx-pps-burst=3");
	post_buffers(8);
	cr_assert_eq(offer_and_count(8), 3u);
	cr_assert(fake_net->pending.len, "the packet was dropped");
	advance(50);
	cr_assert_eq(take_used(0), 3u);
	advance(51);
	cr_assert_eq(take_used(0), 1u);
	cr_assert_not(fake_net->pending.len);
	/* Nothing was due meanwhile. */
	cr_assert_eq(offer_and_count(1), 0u);
	advance(101);
	cr_assert_eq(take_used(0), 1u);
}

Test(virtio_net_throttle, received_bytes_wait_for_the_limit)
{
	start("rx-bps=10000,rx-bps-burst=1");
	post_buffers(8);
	cr_assert_eq(offer_and_count(2), 1u);
	advance(95);
	cr_assert_eq(take_used(0), 1u);
	advance(10);
	cr_assert_eq(take_used(0), 1u);
}

Test(virtio_net_throttle, doorbell_is_no_way_around_the_limit)
{
	start("rx-pps=10,rx-pps-burst=1");
	post_buffers(4);
	cr_assert_eq(offer_and_count(2), 1u);
	for (int i = 0; i < 10; i++) {
		virtio_driver_kick(&f.driver, 0);
		fake_env_settle(&f.fake);
	}
	cr_assert_eq(take_used(0), 1u);
}

Test(virtio_net_throttle, packets_for_others_cost_nothing)
{
	static const uint8_t other[ETH_ALEN] = {0x52, 0x54, 0, 9, 9, 9};
	uint8_t frame[FRAME];

	start("rx-pps=10,rx-pps-burst=1");
	post_buffers(2);
	cr_assert_eq(
		vnet_ctrl(&f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &(uint8_t){0}, 1),
		VIRTIO_NET_OK);
	vnet_frame(frame, sizeof(frame), other, 1);
	for (int i = 0; i < 50; i++)
		cr_assert(fake_net_deliver(0, NULL, frame, sizeof(frame)));
	cr_assert_eq(offer_and_count(2), 1u);
}

/* ---- both ---- */

Test(virtio_net_throttle, each_way_has_a_limit_of_its_own)
{
	start("tx-pps=1,tx-pps-burst=1");
	post_buffers(8);
	send_frames(0, 2);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(offer_and_count(8), 8u);
}

Test(virtio_net_throttle, action_changes_the_limits_at_once)
{
	start("tx-pps=1,tx-pps-burst=1,rx-pps=1,rx-pps-burst=1");
	post_buffers(4);
	send_frames(0, 8);
	cr_assert_eq(offer_and_count(2), 1u);
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(vnet_action(&f, "throttle", "tx-pps=10,tx-pps-burst=3", NULL), 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 4u);
	cr_assert_eq(take_used(0), 2u);
	cr_assert_lt(vnet_action(&f, "throttle", "rx-bps=5,tx-bps-burst=4", NULL), 0);
	advance(1);
	cr_assert_eq(fake_net->sent, 4u, "half of a wrong request was done");
	cr_assert_eq(vnet_action(&f, "throttle", NULL, NULL), 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 8u);
}

Test(virtio_net_throttle, reset_with_waiting_packets_keeps_the_debt)
{
	start("tx-pps=10,tx-pps-burst=1,rx-pps=10,rx-pps-burst=1");
	post_buffers(4);
	send_frames(0, 3);
	cr_assert_eq(offer_and_count(2), 1u);
	virtio_write_status(&f.net->vd, 0);
	fake_env_settle(&f.fake);
	cr_assert_not(fake_net->pending.len, "a packet for the last driver reaches the next one");
	vnet_start_all(&f);
	post_buffers(4);
	send_frames(0, 1);
	cr_assert_eq(fake_net->sent, 1u, "a reset is a way around the limit");
	cr_assert_eq(offer_and_count(1), 0u);
	advance(101);
	cr_assert_eq(fake_net->sent, 2u);
	cr_assert_eq(take_used(0), 1u);
}

Test(virtio_net_throttle, quiesce_does_not_wait_for_the_limit_and_resume_goes_on)
{
	start("tx-pps=1,tx-pps-burst=1,rx-pps=1,rx-pps-burst=1");
	post_buffers(4);
	send_frames(0, 2);
	cr_assert_eq(offer_and_count(2), 1u);
	device_quiesce_wait(f.dev);
	advance(10000);
	cr_assert_eq(fake_net->sent, 1u, "works while it is stopped");
	virtio_resume(&f.net->vd);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->sent, 2u);
	cr_assert_eq(take_used(0), 2u);
}

Test(virtio_net_throttle, burst_without_a_rate_is_refused)
{
	static const char *const options[] = {"tx-bps-burst=3", "tx-pps-burst=3", "rx-bps-burst=3",
					      "rx-pps-burst=3"};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct vmm_error err = {0};
		struct device *dev = NULL;

		cr_assert_lt(
			device_check_options(&virtio_net_class.device, "card", options[i], &err),
			0);
		cr_assert(strstr(err.message, "needs a limit"), "%s", err.message);
		cr_assert(strstr(err.message, strndupa(options[i], strlen(options[i]) - 2)));
		cr_assert_lt(device_create(&dev, &virtio_net_class.device, NULL, options[i],
					   &f.fake.env, &err),
			     0);
	}
}
