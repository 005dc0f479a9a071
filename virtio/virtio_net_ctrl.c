/* SPDX-License-Identifier: MIT */
/*
 * The control queue (5.1.6.5). A command is a header, its data and one byte for the answer; what is
 * wrong with it is answered with ERR, and nothing has changed then.
 */
#include "virtio/virtio_net.h"

#include <string.h>

_Static_assert(sizeof(struct virtio_net_ctrl_hdr) == 2, "5.1.6.5");

/* The command's data: from byte `at` of the readable part on. */
struct command {
	const struct virtq_chain *chain;
	uint8_t cmd;
	uint64_t at, left;
};

/* Take the next `len` bytes of the data; false if there are fewer. */
static bool take(struct command *c, void *to, size_t len)
{
	if (c->left < len)
		return false;
	virtq_read_out(c->chain, c->at, to, len);
	c->at += len;
	c->left -= len;
	return true;
}

/* The same where these are all that is left. */
static bool take_all(struct command *c, void *to, size_t len)
{
	return c->left == len && take(c, to, len);
}

/* ---- receive mode (5.1.6.5.1) ---- */

static bool set_rx_mode(struct virtio_net *n, struct command *c)
{
	struct virtio_net_filter *f = &n->filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};
	const unsigned feature = c->cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
								       : VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (c->cmd >= ARRAY_SIZE(modes) || !virtio_has(&n->vd, feature) ||
	    !take_all(c, &on, sizeof(on)))
		return false;
	*modes[c->cmd] = on != 0;
	return true;
}

/* ---- addresses (5.1.6.5.2) ---- */

static bool take_table(struct command *c, struct virtio_net_mac_table *t)
{
	struct virtio_net_mac skipped;
	uint32_t entries;

	if (!take(c, &entries, sizeof(entries)) || c->left / ETH_ALEN < entries)
		return false;
	*t = (struct virtio_net_mac_table){.overflow = entries > VIRTIO_NET_MAX_MACS};
	if (t->overflow) {
		/* The driver takes the table for endless; which of them fit says nothing. */
		c->at += (uint64_t)entries * sizeof(skipped);
		c->left -= (uint64_t)entries * sizeof(skipped);
		return true;
	}
	t->count = entries;
	return take(c, t->mac, entries * sizeof(t->mac[0]));
}

static bool set_mac_table(struct virtio_net *n, struct command *c)
{
	struct virtio_net_mac_table unicast, multicast;

	if (!virtio_has(&n->vd, VIRTIO_NET_F_CTRL_RX) || !take_table(c, &unicast) ||
	    !take_table(c, &multicast) || c->left)
		return false;
	n->filter.unicast = unicast;
	n->filter.multicast = multicast;
	return true;
}

static bool set_mac(struct virtio_net *n, struct command *c)
{
	struct virtio_net_mac mac;

	if (!virtio_has(&n->vd, VIRTIO_NET_F_CTRL_MAC_ADDR) || !take_all(c, &mac, sizeof(mac)) ||
	    (mac.byte[0] & 1))
		return false;
	if (memcmp(&n->mac, &mac, sizeof(mac)))
		n->vd.config_generation++; /* the driver did it: no interrupt */
	n->mac = mac;
	return true;
}

static bool change_addresses(struct virtio_net *n, struct command *c)
{
	switch (c->cmd) {
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		return set_mac_table(n, c);
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		return set_mac(n, c);
	default:
		return false;
	}
}

/* ---- VLANs (5.1.6.5.3) ---- */

static bool change_vlans(struct virtio_net *n, struct command *c)
{
	uint64_t *vlans = n->filter.vlans;
	uint16_t id;

	if (!virtio_has(&n->vd, VIRTIO_NET_F_CTRL_VLAN) || !take_all(c, &id, sizeof(id)) ||
	    id >= VIRTIO_NET_VLANS)
		return false;
	if (c->cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		vlans[id / 64] |= UINT64_C(1) << id % 64;
	else if (c->cmd == VIRTIO_NET_CTRL_VLAN_DEL)
		vlans[id / 64] &= ~(UINT64_C(1) << id % 64);
	else
		return false;
	return true;
}

/* ---- announcement, queue pairs, offloads (5.1.6.5.4 to 5.1.6.5.6) ---- */

static bool acknowledge_announce(struct virtio_net *n, struct command *c)
{
	if (c->cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || c->left ||
	    !virtio_has(&n->vd, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	if (n->announce)
		n->vd.config_generation++;
	n->announce = false;
	return true;
}

static bool set_pairs(struct virtio_net *n, struct command *c)
{
	struct virtio_net_ctrl_mq mq;

	return c->cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && virtio_has(&n->vd, VIRTIO_NET_F_MQ) &&
	       take_all(c, &mq, sizeof(mq)) &&
	       mq.virtqueue_pairs >= VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN &&
	       mq.virtqueue_pairs <= n->max_pairs && !virtio_net_set_pairs(n, mq.virtqueue_pairs);
}

static bool set_guest_offloads(struct virtio_net *n, struct command *c)
{
	uint64_t offloads;

	return c->cmd == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET &&
	       virtio_has(&n->vd, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) &&
	       take_all(c, &offloads, sizeof(offloads)) &&
	       !(offloads & ~(n->vd.driver_features & VIRTIO_NET_GUEST_OFFLOADS)) &&
	       !virtio_net_set_offloads(n, offloads);
}

/* ---- commands ---- */

static bool execute(struct virtio_net *n, uint8_t class, struct command *c)
{
	switch (class) {
	case VIRTIO_NET_CTRL_RX:
		return set_rx_mode(n, c);
	case VIRTIO_NET_CTRL_MAC:
		return change_addresses(n, c);
	case VIRTIO_NET_CTRL_VLAN:
		return change_vlans(n, c);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return acknowledge_announce(n, c);
	case VIRTIO_NET_CTRL_MQ:
		return set_pairs(n, c);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return set_guest_offloads(n, c);
	default:
		return false;
	}
}

void virtio_net_ctrl(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_net *n = virtio_net(vd);
	struct virtio_net_ctrl_hdr header;
	struct command c = {.chain = chain};
	virtio_net_ctrl_ack ack;

	/* No question, or no place for an answer. The reset drops the chain. */
	if (chain->out_len < sizeof(header) || !chain->in_len) {
		virtio_broken(vd, "queue %u: a command of %llu and %llu bytes", queue,
			      (unsigned long long)chain->out_len,
			      (unsigned long long)chain->in_len);
		return;
	}
	virtq_read_out(chain, 0, &header, sizeof(header));
	c.cmd = header.cmd;
	c.at = sizeof(header);
	c.left = chain->out_len - sizeof(header);
	ack = execute(n, header.class, &c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	virtq_write_in(chain, 0, &ack, sizeof(ack));
	virtio_push(vd, queue, chain, sizeof(ack));
}
