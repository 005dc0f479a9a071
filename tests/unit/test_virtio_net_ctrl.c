/* SPDX-License-Identifier: MIT */
/*
 * virtio-net: the control queue, what it changes, and how that is saved and told.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/fake_net_define.h"
#include "tests/unit/support/virtio_net_fixture.h"
#include "virtio/virtio_classes.h"

#define OK  VIRTIO_NET_OK
#define ERR VIRTIO_NET_ERR

static struct vnet_fixture f;

static const uint8_t broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t group[ETH_ALEN] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
static const uint8_t other[ETH_ALEN] = {0x52, 0x54, 0x00, 0x99, 0x99, 0x99};

static void setup(void)
{
	vnet_init(&f, "queues=3");
	vnet_start_all(&f);
}

static void teardown(void)
{
	vnet_fini(&f);
}

TestSuite(virtio_net_ctrl, .init = setup, .fini = teardown, .timeout = 30);

static uint8_t rx_mode(uint8_t cmd, uint8_t on)
{
	return vnet_ctrl(&f, VIRTIO_NET_CTRL_RX, cmd, &on, 1);
}

static uint8_t vlan(uint8_t cmd, uint16_t id)
{
	return vnet_ctrl(&f, VIRTIO_NET_CTRL_VLAN, cmd, &id, sizeof(id));
}

/* `unicast` entries of a counting address, then `multicast` ones. */
static size_t mac_table(uint8_t *to, uint32_t unicast, uint32_t multicast)
{
	uint8_t *p = to;

	for (unsigned kind = 0; kind < 2; kind++) {
		uint32_t n = kind ? multicast : unicast;

		memcpy(p, &n, sizeof(n));
		p += sizeof(n);
		for (uint32_t i = 0; i < n; i++, p += ETH_ALEN) {
			memcpy(p, kind ? group : other, ETH_ALEN);
			p[4] = (uint8_t)(i >> 8);
			p[5] = (uint8_t)i;
		}
	}
	return (size_t)(p - to);
}

static uint8_t set_mac_table(uint32_t unicast, uint32_t multicast)
{
	uint8_t data[8192];

	return vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
			 mac_table(data, unicast, multicast));
}

/* Whether a frame to `dst` reaches the guest; tag: a VLAN, or -1. */
static bool arrives_tagged(const uint8_t *dst, int tag)
{
	uint8_t frame[64];

	vnet_post(&f, 0, 2048);
	vnet_frame(frame, sizeof(frame), dst, 1);
	if (tag >= 0) {
		uint16_t tci[] = {htons(ETH_P_8021Q), htons((uint16_t)tag)};

		memcpy(frame + 2 * ETH_ALEN, tci, sizeof(tci));
	}
	cr_assert(fake_net_deliver(0, NULL, frame, sizeof(frame)));
	fake_env_settle(&f.fake);
	if (!vnet_any_used(&f, 0))
		return false;
	vnet_used(&f, 0);
	return true;
}

static bool arrives(const uint8_t *dst)
{
	return arrives_tagged(dst, -1);
}

/* ---- filters ---- */

Test(virtio_net_ctrl, everything_arrives_until_the_driver_chooses)
{
	cr_assert(arrives(vnet_mac));
	cr_assert(arrives(other));
	cr_assert(arrives(group));
	cr_assert(arrives(broadcast));
	cr_assert(arrives_tagged(vnet_mac, 7));
}

Test(virtio_net_ctrl, card_that_is_not_promiscuous_gets_its_own_and_broadcasts)
{
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	cr_assert(arrives(vnet_mac));
	cr_assert(arrives(broadcast));
	cr_assert_not(arrives(other));
	cr_assert_not(arrives(group));
	cr_assert_eq(f.net->rx.filtered, 2u);
	cr_assert_eq(f.net->rx.dropped, 0u);
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 1), OK);
	cr_assert(arrives(other));
}

Test(virtio_net_ctrl, each_receive_mode_does_what_it_says)
{
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), OK);
	cr_assert(arrives(group));
	cr_assert_not(arrives(other));
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_NOMULTI, 1), OK);
	cr_assert_not(arrives(group));
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1), OK);
	cr_assert(arrives(other));
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_NOUNI, 1), OK);
	cr_assert_not(arrives(other));
	cr_assert_not(arrives(vnet_mac));
	cr_assert(arrives(broadcast));
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1), OK);
	cr_assert_not(arrives(broadcast));
}

Test(virtio_net_ctrl, addresses_of_the_table_arrive)
{
	uint8_t mac[ETH_ALEN];

	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	cr_assert_eq(set_mac_table(3, 64), OK);
	memcpy(mac, other, ETH_ALEN);
	mac[4] = 0;
	mac[5] = 2;
	cr_assert(arrives(mac));
	mac[5] = 3;
	cr_assert_not(arrives(mac));
	memcpy(mac, group, ETH_ALEN);
	mac[5] = 63;
	cr_assert(arrives(mac));
	mac[5] = 64;
	cr_assert_not(arrives(mac));
	cr_assert_eq(set_mac_table(0, 0), OK);
	cr_assert_not(arrives(other));
}

Test(virtio_net_ctrl, table_that_is_too_long_lets_its_kind_pass)
{
	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	cr_assert_eq(set_mac_table(65, 0), OK);
	cr_assert(arrives(other));
	cr_assert_not(arrives(group));
	cr_assert_eq(set_mac_table(0, 1000), OK);
	cr_assert_not(arrives(other));
	cr_assert(arrives(group));
	cr_assert_eq(f.net->filter.multicast.count, 0u);
}

Test(virtio_net_ctrl, vlans_are_filtered)
{
	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	cr_assert(arrives(vnet_mac), "no tag, no filter");
	cr_assert_not(arrives_tagged(vnet_mac, 7));
	cr_assert_eq(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 7), OK);
	cr_assert_eq(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 4095), OK);
	cr_assert(arrives_tagged(vnet_mac, 7));
	cr_assert(arrives_tagged(vnet_mac, 0xe000 | 7), "the priority is not the VLAN");
	cr_assert(arrives_tagged(vnet_mac, 4095));
	cr_assert_not(arrives_tagged(vnet_mac, 8));
	cr_assert_eq(vlan(VIRTIO_NET_CTRL_VLAN_DEL, 7), OK);
	cr_assert_not(arrives_tagged(vnet_mac, 7));
	cr_assert_eq(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 4096), ERR);
	cr_assert_eq(vlan(2, 7), ERR);
}

Test(virtio_net_ctrl, vlans_are_not_filtered_unless_negotiated)
{
	vnet_start(&f, VNET_F(CTRL_VQ) | VNET_F(CTRL_RX));
	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	cr_assert(arrives_tagged(vnet_mac, 7));
}

Test(virtio_net_ctrl, driver_changes_its_address)
{
	uint8_t mac[ETH_ALEN], generation = virtio_read_generation(&f.net->vd);

	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6),
		     OK);
	cr_assert(arrives(other));
	cr_assert_not(arrives(vnet_mac));
	virtio_read_config(&f.net->vd, 0, mac, sizeof(mac));
	cr_assert_arr_eq(mac, other, ETH_ALEN);
	cr_assert_neq(virtio_read_generation(&f.net->vd), generation);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, group, 6),
		     ERR);
	vnet_start_all(&f);
	virtio_read_config(&f.net->vd, 0, mac, sizeof(mac));
	cr_assert_arr_eq(mac, vnet_mac, ETH_ALEN, "the reset brings the first one back");
}

/* ---- queue pairs ---- */

static uint8_t set_pairs(uint16_t pairs)
{
	return vnet_ctrl(&f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs,
			 sizeof(pairs));
}

Test(virtio_net_ctrl, more_pairs_work_once_the_driver_asks_for_them)
{
	vnet_transmit(&f, 2, NULL, 60);
	cr_assert_eq(fake_net->sent, 0u, "a queue that is not in use was read");
	vnet_post(&f, 2, 2048);
	cr_assert(vnet_deliver(&f, 2, NULL, 60, 1));
	cr_assert_not(vnet_any_used(&f, virtio_net_rx_queue(2)));
	cr_assert_eq(set_pairs(3), OK);
	cr_assert_eq(fake_net->pairs, 3u);
	cr_assert_eq(fake_net->sent, 1u, "what waited there is sent");
	cr_assert_eq(fake_net_frame(0)->queue, 2u);
	cr_assert(vnet_deliver(&f, 2, NULL, 60, 1));
	cr_assert_eq(vnet_used(&f, virtio_net_rx_queue(2)), VNET_HDR + 60);
	cr_assert_eq(set_pairs(1), OK);
	cr_assert(vnet_deliver(&f, 2, NULL, 60, 1));
	vnet_transmit(&f, 1, NULL, 60);
	cr_assert_eq(fake_net->sent, 1u);
}

Test(virtio_net_ctrl, pairs_that_do_not_exist_are_refused)
{
	cr_assert_eq(set_pairs(0), ERR);
	cr_assert_eq(set_pairs(4), ERR);
	cr_assert_eq(set_pairs(0x8000), ERR);
	cr_assert_eq(set_pairs(2), OK);
	fake_net->pairs_error = -ENOMEM;
	cr_assert_eq(set_pairs(3), ERR);
	cr_assert_eq(f.net->pairs, 2u);
}

Test(virtio_net_ctrl, control_queue_is_the_third_without_mq)
{
	vnet_start(&f, VNET_F(CTRL_VQ) | VNET_F(CTRL_RX));
	cr_assert_eq(virtio_net_ctrl_queue(f.net), 2u);
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	cr_assert_eq(set_pairs(1), ERR);
}

Test(virtio_net_ctrl, pairs_are_back_to_one_after_a_reset)
{
	cr_assert_eq(set_pairs(3), OK);
	vnet_start_all(&f);
	cr_assert_eq(fake_net->pairs, 1u);
	cr_assert_eq(f.net->pairs, 1u);
}

/* ---- offloads ---- */

static uint8_t set_offloads(uint64_t offloads)
{
	return vnet_ctrl(&f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
			 &offloads, sizeof(offloads));
}

Test(virtio_net_ctrl, offloads_are_switched_off_and_on)
{
	const struct virtio_net_hdr_v1 tso = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					      .gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
					      .gso_size = 1440,
					      .csum_start = 54,
					      .csum_offset = 16};

	cr_assert_eq(set_offloads(VNET_F(GUEST_CSUM)), OK);
	cr_assert_eq(fake_net->rx_offloads, (unsigned)NET_CSUM);
	vnet_post(&f, 0, 65562);
	cr_assert(vnet_deliver(&f, 0, &tso, 9000, 1));
	cr_assert_not(vnet_any_used(&f, 0), "delivered what was switched off");
	cr_assert_eq(set_offloads(VNET_F(GUEST_CSUM) | VNET_F(GUEST_TSO6)), OK);
	cr_assert(vnet_deliver(&f, 0, &tso, 9000, 1));
	cr_assert_eq(vnet_used(&f, 0), 9012u);
	cr_assert_eq(set_offloads(0), OK);
	cr_assert_eq(fake_net->rx_offloads, 0u);
	cr_assert_eq(set_offloads(VNET_F(GUEST_TSO4)), OK);
	cr_assert_eq(fake_net->rx_offloads, 0u, "without the checksum it means nothing");
}

Test(virtio_net_ctrl, offloads_that_were_not_negotiated_are_refused)
{
	const uint64_t some = VNET_F(CTRL_VQ) | VNET_F(CTRL_GUEST_OFFLOADS) | VNET_F(GUEST_CSUM);

	vnet_start(&f, some);
	cr_assert_eq(set_offloads(VNET_F(GUEST_CSUM) | VNET_F(GUEST_TSO4)), ERR);
	cr_assert_eq(set_offloads(VNET_F(CSUM)), ERR);
	cr_assert_eq(set_offloads(UINT64_MAX), ERR);
	cr_assert_eq(fake_net->rx_offloads, (unsigned)NET_CSUM);
	fake_net->offloads_error = -EIO;
	cr_assert_eq(set_offloads(0), ERR);
	cr_assert_eq(f.net->rx_offloads, (unsigned)NET_CSUM, "it still delivers them");
}

/* ---- announcement ---- */

Test(virtio_net_ctrl, guest_is_asked_to_announce_itself_until_it_has)
{
	unsigned before = f.driver.config_interrupts;

	cr_assert_eq(vnet_action(&f, "announce", NULL, NULL), 0);
	cr_assert_eq(vnet_status(&f), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	cr_assert_eq(f.driver.config_interrupts, before + 1);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
		     OK);
	cr_assert_eq(vnet_status(&f), VIRTIO_NET_S_LINK_UP);
}

Test(virtio_net_ctrl, announcement_needs_a_driver_that_can)
{
	vnet_start(&f, VNET_F(CTRL_VQ));
	cr_assert_eq(vnet_action(&f, "announce", NULL, NULL), -EOPNOTSUPP);
	cr_assert_eq(vnet_status(&f), VIRTIO_NET_S_LINK_UP);
	virtio_driver_reset(&f.driver);
	cr_assert_eq(vnet_action(&f, "announce", NULL, NULL), -EOPNOTSUPP);
}

/* ---- commands that are wrong ---- */

Test(virtio_net_ctrl, command_that_was_not_negotiated_is_refused)
{
	uint8_t data[64];
	size_t len = mac_table(data, 1, 1);

	vnet_start(&f, VNET_F(CTRL_VQ));
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), ERR);
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1), ERR);
	cr_assert_eq(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 1), ERR);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data, len),
		     ERR);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6),
		     ERR);
	cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
		     ERR);
	cr_assert_eq(set_pairs(1), ERR);
	cr_assert_eq(set_offloads(0), ERR);
	vnet_start(&f, VNET_F(CTRL_VQ) | VNET_F(CTRL_RX));
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1), ERR, "that is CTRL_RX_EXTRA");
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), OK);
}

Test(virtio_net_ctrl, command_of_the_wrong_length_changes_nothing)
{
	static const struct {
		uint8_t class, cmd, right;
	} commands[] = {
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 6},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 2},
		{VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, 0},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 8},
		{9, 0, 255},
		{VIRTIO_NET_CTRL_RX, 6, 255},
		{VIRTIO_NET_CTRL_MAC, 2, 255},
		{VIRTIO_NET_CTRL_ANNOUNCE, 1, 255},
		{VIRTIO_NET_CTRL_MQ, 1, 255},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, 1, 255},
	};
	static const uint8_t data[16] = {0};
	void *before, *after;
	size_t len;

	len = fake_env_save(f.dev, &before);
	virtio_resume(&f.net->vd);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		for (uint8_t n = 0; n <= sizeof(data); n++)
			if (n != commands[i].right)
				cr_assert_eq(
					vnet_ctrl(&f, commands[i].class, commands[i].cmd, data, n),
					ERR, "class %u, command %u: %u bytes", commands[i].class,
					commands[i].cmd, n);
	cr_assert_eq(f.net->mac.byte[0], vnet_mac[0]);
	cr_assert(f.net->filter.promisc);
	cr_assert_eq(f.net->pairs, 1u);
	cr_assert_eq(fake_net->rx_offloads, VNET_ALL);
	cr_assert_eq(fake_env_save(f.dev, &after), len);
	free(before);
	free(after);
}

Test(virtio_net_ctrl, mac_table_with_false_counts_changes_nothing)
{
	static const uint32_t counts[] = {
		1, 3, 65, 1000, UINT32_MAX, UINT32_MAX / 6, UINT32_MAX / 6 + 1, 0x2aaaaaab};
	uint8_t data[8192];

	cr_assert_eq(set_mac_table(2, 2), OK);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		size_t len = mac_table(data, 2, 2);

		memcpy(data, &counts[i], 4);
		cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
				       len),
			     ERR, "unicast %u", counts[i]);
		mac_table(data, 2, 2);
		memcpy(data + 16, &counts[i], 4);
		cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
				       len),
			     ERR, "multicast %u", counts[i]);
	}
	for (size_t len = 0; len < mac_table(data, 2, 2); len++)
		cr_assert_eq(vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
				       len),
			     ERR, "%zu bytes", len);
	cr_assert_eq(f.net->filter.unicast.count, 2u);
	cr_assert_eq(f.net->filter.multicast.count, 2u);
}

static void broken_by(const struct driver_buffer *b, unsigned n)
{
	vnet_start_all(&f);
	driver_ring_add(&f.driver.rings[6], b, n);
	virtio_driver_kick(&f.driver, 6);
	cr_assert(virtio_driver_broken(&f.driver));
	cr_assert_eq(driver_ring_used_idx(&f.driver.rings[6]), 0u);
}

Test(virtio_net_ctrl, command_without_header_or_room_for_an_answer_breaks_the_device)
{
	const struct driver_buffer half[] = {{gpa(32 * MIB), 1, false}, {gpa(33 * MIB), 1, true}};
	const struct driver_buffer deaf[] = {{gpa(32 * MIB), 3, false}};
	const struct driver_buffer mute[] = {{gpa(33 * MIB), 1, true}};

	broken_by(half, 2);
	broken_by(deaf, 1);
	broken_by(mute, 1);
	vnet_start_all(&f);
	cr_assert_eq(rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
}

/* ---- saved state ---- */

Test(virtio_net_ctrl, state_goes_to_another_device)
{
	void *first, *second;
	size_t len;

	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	rx_mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	set_mac_table(2, 65);
	vlan(VIRTIO_NET_CTRL_VLAN_ADD, 4095);
	vnet_ctrl(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6);
	set_pairs(2);
	set_offloads(VNET_F(GUEST_CSUM) | VNET_F(GUEST_TSO4));
	vnet_action(&f, "announce", NULL, NULL);
	len = fake_env_save(f.dev, &first);
	fake_env_remove(f.dev);
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device,
				"queues=3,mac=52:54:00:00:00:01");
	f.net = virtio_net(virtio_device(f.dev));
	f.net->vd.transport = &f.driver.transport;
	f.driver.vd = &f.net->vd;
	cr_assert_eq(fake_env_load(f.dev, first, len), 0);
	cr_assert_eq(fake_env_save(f.dev, &second), len);
	cr_assert_arr_eq(first, second, len);
	virtio_resume(&f.net->vd);
	fake_env_settle(&f.fake);
	cr_assert_eq(fake_net->pairs, 2u);
	cr_assert_eq(fake_net->rx_offloads, (unsigned)(NET_CSUM | NET_TSO4));
	cr_assert_eq(vnet_status(&f), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	cr_assert(arrives(other));
	cr_assert(arrives(group), "the table was too long");
	cr_assert_not(arrives(broadcast));
	cr_assert_not(arrives_tagged(other, 7));
	cr_assert(arrives_tagged(other, 4095));
	free(first);
	free(second);
}

Test(virtio_net_ctrl, guest_learns_of_a_link_that_changed_while_it_was_saved)
{
	void *data;
	size_t len;
	unsigned before;

	len = fake_env_save(f.dev, &data);
	fake_env_remove(f.dev);
	fake_net_setup.link_down = true;
	f.dev = fake_env_device(&f.fake, &virtio_net_class.device, "queues=3");
	f.net = virtio_net(virtio_device(f.dev));
	f.net->vd.transport = &f.driver.transport;
	f.driver.vd = &f.net->vd;
	before = f.driver.config_interrupts;
	cr_assert_eq(fake_env_load(f.dev, data, len), 0);
	fake_env_settle(&f.fake);
	cr_assert_eq(vnet_status(&f), 0u);
	cr_assert_eq(f.driver.config_interrupts, before + 1);
	free(data);
}

Test(virtio_net_ctrl, paused_device_keeps_packets_for_later)
{
	gpa_t at = vnet_post(&f, 0, 2048);

	device_quiesce_wait(f.dev);
	cr_assert_not(vnet_deliver(&f, 0, NULL, 60, 1));
	cr_assert_not(vnet_any_used(&f, 0));
	virtio_resume(&f.net->vd);
	fake_env_settle(&f.fake);
	cr_assert_eq(vnet_used(&f, 0), VNET_HDR + 60);
	cr_assert(vnet_is_frame(&f, gpa_add(at, VNET_HDR), 0, 60, 1));
}

/* ---- the report ---- */

static void expect_in(const char *json, const char *what)
{
	cr_assert(strstr(json, what), "no %s in %s", what, json);
}

Test(virtio_net_ctrl, status_tells_filters_and_counters)
{
	struct report *r = report_create();
	char *json;

	rx_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	rx_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
	set_mac_table(1, 2);
	vlan(VIRTIO_NET_CTRL_VLAN_ADD, 77);
	vnet_transmit(&f, 0, NULL, 60);
	cr_assert(arrives(vnet_mac));
	cr_assert_eq(vnet_action(&f, "status", NULL, r), 0);
	cr_assert_eq(report_finish(r, &json), 0);
	expect_in(json, "\"" VNET_MAC "\"");
	expect_in(json, "\"52:54:00:99:00:00\"");
	expect_in(json, "\"01:00:5e:00:00:01\"");
	expect_in(json, "77");
	expect_in(json, "\"packets\"");
	expect_in(json, "\"spec\"");
	expect_in(json, "\"normal\"");
	expect_in(json, "\"all\"");
	expect_in(json, "\"permanent-mac\"");
	expect_in(json, "\"multicast-overflow\"");
	free(json);
}
