/* SPDX-License-Identifier: MIT */
/*
 * virtio-net with vhost=on: how queue pairs are lent to the host's kernel and come back. The kernel
 * is a fake one.
 */
#include <errno.h>
#include <linux/vhost.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/fake_net_define.h"
#include "tests/unit/support/fake_vhost_define.h"
#include "tests/unit/support/virtio_net_fixture.h"
#include "virtio/vhost.h"
#include "virtio/virtio_classes.h"

static struct kernel_ring *kernel_ring(unsigned queue)
{
	return &kernel.device[queue / 2].ring[queue % 2];
}

static bool lent(unsigned pair)
{
	const bool is = kernel_ring(2 * pair)->backend >= 0;

	cr_assert_eq(is, kernel_ring(2 * pair + 1)->backend >= 0);
	cr_assert_eq(is, fake_net->lent >> pair & 1);
	return is;
}

static void kernel_work(unsigned queue, unsigned n)
{
	ring_work(kernel_ring(queue), n);
}

/* ---- the suite ---- */

static struct vnet_fixture f;

static void setup(void)
{
	kernel = (struct kernel){
		.failing_ring = -1,
		.offered =
			UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
			UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC | VNET_F(MRG_RXBUF) |
			UINT64_C(1) << VHOST_F_LOG_ALL | UINT64_C(1) << VHOST_NET_F_VIRTIO_NET_HDR |
			UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM,
	};
	vnet_init(&f, NULL);
	fake_net_setup.vhost = true;
	vnet_again(&f, NULL);
}

static void teardown(void)
{
	vnet_fini(&f);
	for (unsigned i = 0; i < DEVICES; i++)
		cr_expect_not(kernel.device[i].open, "a descriptor is left open");
}

TestSuite(virtio_net_vhost, .init = setup, .fini = teardown, .timeout = 30);

static unsigned take_used(unsigned queue)
{
	unsigned n;

	for (n = 0; vnet_any_used(&f, queue); n++)
		vnet_used(&f, queue);
	return n;
}

static void send_frames(unsigned pair, unsigned n)
{
	while (n--)
		vnet_transmit(&f, pair, NULL, 100);
}

/* ---- what is handed over ---- */

static uint64_t host_address(gpa_t addr)
{
	uint64_t len;

	return (uintptr_t)guest_resolve(f.driver.memory, addr, 1, &len);
}

Test(virtio_net_vhost, rings_and_memory_are_handed_over_when_the_driver_is_ready)
{
	const struct guest_region *ram = guest_memory_region(f.driver.memory, 0);

	cr_assert_not(lent(0));
	vnet_start_all(&f);
	cr_assert(lent(0));
	cr_assert(kernel.device[0].owned);
	cr_assert_eq(kernel.device[0].regions, guest_memory_count(f.driver.memory));
	cr_assert_eq(kernel.device[0].region.guest_phys_addr, ram->base.v);
	cr_assert_eq(kernel.device[0].region.memory_size, ram->size);
	cr_assert_eq(kernel.device[0].region.userspace_addr, (uintptr_t)ram->host);
	for (unsigned queue = 0; queue < 2; queue++) {
		const struct virtq_layout *layout = &f.net->vd.queues[queue].layout;
		const struct kernel_ring *r = kernel_ring(queue);

		cr_assert_eq(r->num, layout->size);
		cr_assert_eq(r->base, 0u);
		cr_assert_eq(r->addr.flags, 0u);
		cr_assert_eq(r->addr.desc_user_addr, host_address(layout->desc));
		cr_assert_eq(r->addr.avail_user_addr, host_address(layout->driver));
		cr_assert_eq(r->addr.used_user_addr, host_address(layout->device));
		cr_assert_eq(r->kick, f.net->vd.queues[queue].kick_fd);
		cr_assert_eq(r->backend, FAKE_NET_FD);
	}
}

Test(virtio_net_vhost, kernel_gets_what_was_negotiated_of_its_own_features)
{
	const uint64_t rings = UINT64_C(1) << VIRTIO_F_VERSION_1 | VNET_F(MRG_RXBUF);

	vnet_start(&f, VNET_F(MRG_RXBUF) | VNET_F(CTRL_VQ) | VNET_F(CSUM));
	cr_assert_eq(kernel.device[0].features, rings);
}

Test(virtio_net_vhost, rings_that_the_kernel_does_not_know_are_not_offered)
{
	cr_assert(virtio_offered(&f.net->vd) & VNET_F(MRG_RXBUF));
	kernel.offered = UINT64_C(1) << VIRTIO_F_VERSION_1;
	fake_env_remove(f.dev);
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device, "packed=on");
	f.net = virtio_net(virtio_device(f.dev));
	cr_assert_not(virtio_offered(&f.net->vd) &
		      (UINT64_C(1) << VIRTIO_F_RING_PACKED |
		       UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
		       UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC | VNET_F(MRG_RXBUF)));
}

Test(virtio_net_vhost, nothing_is_lent_where_it_was_not_asked_for)
{
	fake_net_setup.vhost = false;
	vnet_again(&f, NULL);
	cr_assert_not(kernel.device[0].open);
	vnet_start_all(&f);
	cr_assert_not(fake_net->lent);
}

/* ---- while it is lent ---- */

Test(virtio_net_vhost, doorbells_are_the_kernels)
{
	uint64_t count = 0;

	vnet_start_all(&f);
	cr_assert_eq(read(kernel_ring(1)->kick, &count, sizeof(count)), (ssize_t)sizeof(count),
		     "the kernel is not told of what was there before");
	send_frames(0, 3);
	cr_assert_eq(fake_net->sent, 0u);
	cr_assert_eq(read(kernel_ring(1)->kick, &count, sizeof(count)), (ssize_t)sizeof(count));
	kernel_work(1, 3);
	fake_env_settle(&f.fake);
	cr_assert_eq(take_used(1), 3u);
}

Test(virtio_net_vhost, kernel_interrupts_the_driver)
{
	unsigned before[2];

	vnet_start_all(&f);
	memcpy(before, f.driver.queue_interrupts, sizeof(before));
	send_frames(0, 1);
	kernel_work(1, 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(f.driver.queue_interrupts[0], before[0]);
	cr_assert_eq(f.driver.queue_interrupts[1], before[1] + 1);
}

Test(virtio_net_vhost, control_queue_stays_here)
{
	vnet_start_all(&f);
	cr_assert_eq(
		vnet_ctrl(&f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &(uint8_t){1}, 1),
		VIRTIO_NET_OK);
	cr_assert(lent(0));
}

Test(virtio_net_vhost, queue_pairs_are_lent_while_they_are_in_use)
{
	vnet_again(&f, "queues=2");
	vnet_start_all(&f);
	cr_assert(lent(0) && !lent(1));
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
			       &(uint16_t){2}, sizeof(uint16_t)),
		     VIRTIO_NET_OK);
	cr_assert(lent(0) && lent(1));
	cr_assert_eq(kernel_ring(3)->backend, FAKE_NET_FD + 1);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
			       &(uint16_t){1}, sizeof(uint16_t)),
		     VIRTIO_NET_OK);
	cr_assert(lent(0) && !lent(1));
	fake_net->pairs_error = -EIO;
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
			       &(uint16_t){2}, sizeof(uint16_t)),
		     VIRTIO_NET_ERR);
	cr_assert(lent(0) && !lent(1));
}

/* What the driver before took, this one need not know what to do with. */
Test(virtio_net_vhost, offloads_are_the_drivers_before_the_kernel_receives)
{
	vnet_start(&f, VNET_F(GUEST_CSUM) | VNET_F(GUEST_TSO4));
	cr_assert(lent(0));
	cr_assert_eq(fake_net->lent_offloads, (unsigned)(NET_CSUM | NET_TSO4));
	vnet_start(&f, 0);
	cr_assert(lent(0));
	cr_assert_eq(fake_net->lent_offloads, 0u);
}

/* ---- taking it back ---- */

Test(virtio_net_vhost, pause_takes_it_back_and_resume_goes_on_there)
{
	vnet_start_all(&f);
	send_frames(0, 5);
	kernel_work(1, 3);
	device_quiesce_wait(f.dev);
	cr_assert_not(lent(0));
	cr_assert_eq(kernel_ring(1)->call, -1);
	cr_assert_eq(kernel_ring(1)->kick, -1);
	cr_assert_eq(fake_net->sent, 0u);
	virtio_resume(&f.net->vd);
	fake_env_settle(&f.fake);
	cr_assert(lent(0));
	cr_assert_eq(kernel_ring(1)->base, 3u);
	kernel_work(1, 2);
	fake_env_settle(&f.fake);
	cr_assert_eq(take_used(1), 5u);
}

Test(virtio_net_vhost, interrupt_on_the_way_is_not_lost)
{
	unsigned before;

	vnet_start_all(&f);
	send_frames(0, 1);
	before = f.driver.queue_interrupts[1];
	kernel_work(1, 1);
	device_lock(f.dev);
	virtio_net_vhost_take_back(f.net, 0);
	device_unlock(f.dev);
	cr_assert_eq(f.driver.queue_interrupts[1], before + 1);
}

Test(virtio_net_vhost, link_that_is_down_is_served_here)
{
	vnet_start_all(&f);
	send_frames(0, 2);
	kernel_work(1, 1);
	fake_env_settle(&f.fake);
	cr_assert_eq(take_used(1), 1u);
	cr_assert_eq(vnet_action(&f, "link", "down", NULL), 0);
	cr_assert_not(lent(0));
	/* What the kernel has left goes where packets without a cable go. */
	cr_assert_eq(take_used(1), 1u);
	send_frames(0, 4);
	cr_assert_eq(take_used(1), 4u);
	cr_assert_eq(fake_net->sent, 0u);
	cr_assert_not(vnet_status(&f) & VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(vnet_action(&f, "link", "up", NULL), 0);
	cr_assert(lent(0));
	cr_assert_eq(kernel_ring(1)->base, 6u);
}

Test(virtio_net_vhost, reset_takes_it_back_and_the_next_driver_begins_anew)
{
	vnet_start_all(&f);
	send_frames(0, 2);
	kernel_work(1, 2);
	virtio_write_status(&f.net->vd, 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(virtio_read_status(&f.net->vd), 0);
	cr_assert_not(lent(0));
	vnet_start_all(&f);
	cr_assert(lent(0));
	cr_assert_eq(kernel_ring(1)->base, 0u);
}

Test(virtio_net_vhost, reset_of_a_queue_takes_its_pair_back)
{
	vnet_start_all(&f);
	send_frames(0, 2);
	kernel_work(1, 1);
	virtio_queue_reset(&f.net->vd, 0);
	fake_env_settle(&f.fake);
	cr_assert_not(virtio_queue_resetting(&f.net->vd, 0));
	cr_assert_not(lent(0));
	/* The other one goes on where the kernel was. */
	cr_assert_eq(fake_net->sent, 1u);
	cr_assert_eq(take_used(1), 2u);
	virtio_driver_queue(&f.driver, 0, 0);
	fake_env_settle(&f.fake);
	cr_assert(lent(0));
	cr_assert_eq(kernel_ring(0)->base, 0u);
	cr_assert_eq(kernel_ring(1)->base, 2u);
}

Test(virtio_net_vhost, broken_ring_needs_a_reset)
{
	vnet_start_all(&f);
	signal_fd(kernel_ring(0)->error);
	cr_assert(virtio_driver_broken(&f.driver));
	cr_assert_not(lent(0));
	vnet_start_all(&f);
	cr_assert(lent(0));
	cr_assert_not(virtio_driver_broken(&f.driver));
}

Test(virtio_net_vhost, error_on_the_way_is_not_lost)
{
	vnet_start_all(&f);
	signal_fd(kernel_ring(1)->error);
	device_quiesce_wait(f.dev);
	cr_assert_not(lent(0));
	cr_assert(virtio_read_status(&f.net->vd) & VIRTIO_CONFIG_S_NEEDS_RESET);
	virtio_resume(&f.net->vd);
	fake_env_settle(&f.fake);
	cr_assert_not(lent(0));
}

Test(virtio_net_vhost, position_of_a_hostile_driver_harms_nobody)
{
	vnet_start_all(&f);
	kernel_ring(0)->base = kernel_ring(1)->base = 0xabcd;
	cr_assert_eq(vnet_action(&f, "link", "down", NULL), 0);
	send_frames(0, 1);
	cr_assert(virtio_driver_broken(&f.driver));
	vnet_start_all(&f);
	cr_assert_not(virtio_driver_broken(&f.driver));
}

/* ---- what can go wrong ---- */

Test(virtio_net_vhost, packets_pass_through_here_where_the_kernel_refuses)
{
	static const unsigned long requests[] = {
		VHOST_SET_FEATURES,   VHOST_SET_MEM_TABLE,  VHOST_SET_VRING_NUM,
		VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR, VHOST_NET_SET_BACKEND,
	};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		kernel.failing = requests[i];
		vnet_again(&f, NULL);
		vnet_start_all(&f);
		cr_assert_not(lent(0), "request %zu", i);
		cr_assert(strstr(f.fake.last_log, "queue pair 0"), "%s", f.fake.last_log);
		send_frames(0, 2);
		cr_assert_eq(fake_net->sent, 2u, "request %zu", i);
		vnet_post(&f, 0, 2048);
		virtio_driver_kick(&f.driver, 0);
		cr_assert(vnet_deliver(&f, 0, NULL, 100, 1));
		cr_assert_eq(take_used(0), 1u);
	}
	/* The next start is a new try. */
	kernel.failing = 0;
	vnet_start_all(&f);
	cr_assert(lent(0));
}

/* The kernel receives as soon as that ring is complete, before it refuses the other one. */
Test(virtio_net_vhost, what_the_kernel_did_before_it_refused_is_not_forgotten)
{
	unsigned before;

	vnet_start_all(&f);
	for (unsigned i = 0; i < 3; i++)
		vnet_post(&f, 0, 2048);
	cr_assert_eq(vnet_action(&f, "link", "down", NULL), 0);
	before = f.driver.queue_interrupts[0];
	kernel.failing = VHOST_NET_SET_BACKEND;
	kernel.failing_ring = 1;
	kernel.eager = 2;
	cr_assert_eq(vnet_action(&f, "link", "up", NULL), 0);
	cr_assert_not(lent(0));
	cr_assert_eq(take_used(0), 2u);
	cr_assert_eq(f.driver.queue_interrupts[0], before + 1);
	cr_assert(vnet_deliver(&f, 0, NULL, 100, 1));
	cr_assert_eq(take_used(0), 1u);
}

static void refused(const char *options, const char *text)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;

	cr_assert_lt(
		device_create(&dev, &virtio_net_class.device, NULL, options, &f.fake.env, &err), 0);
	cr_assert(strstr(err.message, text), "%s", err.message);
	cr_assert_null(fake_net, "the backend is left open");
}

Test(virtio_net_vhost, kernel_without_vhost_is_told_in_a_sentence)
{
	fake_env_remove(f.dev);
	kernel.open_error = -ENOENT;
	refused(NULL, "modprobe vhost_net");
	kernel.open_error = -EACCES;
	refused(NULL, "no permission to open /dev/vhost-net");
	kernel.open_error = 0;
	kernel.failing = VHOST_SET_OWNER;
	refused("queues=2", "/dev/vhost-net");
	kernel.failing = 0;
	kernel.offered = 0;
	refused(NULL, "/dev/vhost-net");
	kernel.offered = UINT64_C(1) << VIRTIO_F_VERSION_1;
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device, NULL);
}

Test(virtio_net_vhost, rate_limits_are_refused)
{
	fake_env_remove(f.dev);
	refused("tx-bps=1M", "vhost=on");
	refused("rx-pps=10", "vhost=on");
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device, NULL);
	cr_assert_lt(vnet_action(&f, "throttle", "tx-pps=10", NULL), 0);
	cr_assert_eq(vnet_action(&f, "throttle", NULL, NULL), 0);
}
