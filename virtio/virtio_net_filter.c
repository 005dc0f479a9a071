/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_net.h"

#include <arpa/inet.h>
#include <string.h>

void virtio_net_filter_reset(struct virtio_net_filter *f)
{
	*f = (struct virtio_net_filter){.promisc = true};
}

static bool table_has(const struct virtio_net_mac_table *t, const uint8_t *mac)
{
	if (t->overflow)
		return true;
	for (unsigned i = 0; i < t->count; i++)
		if (!memcmp(t->mac[i].byte, mac, ETH_ALEN))
			return true;
	return false;
}

static bool vlan_wanted(const struct virtio_net_filter *f, const uint8_t *frame, size_t len)
{
	uint16_t type, tci;

	memcpy(&type, frame + 2 * ETH_ALEN, sizeof(type));
	if (type != htons(ETH_P_8021Q) || len < ETH_HLEN + VIRTIO_NET_VLAN_HLEN)
		return true;
	memcpy(&tci, frame + ETH_HLEN, sizeof(tci));
	tci = ntohs(tci) % VIRTIO_NET_VLANS;
	return f->vlans[tci / 64] >> tci % 64 & 1;
}

bool virtio_net_filter_match(const struct virtio_net_filter *f, const struct virtio_net_mac *own,
			     bool vlans, const uint8_t *frame, size_t len)
{
	static const uint8_t broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	/* Promiscuous cards show every VLAN, too. */
	if (f->promisc)
		return true;
	if (vlans && !vlan_wanted(f, frame, len))
		return false;
	if (!memcmp(frame, broadcast, ETH_ALEN))
		return !f->nobcast;
	if (frame[0] & 1)
		return !f->nomulti && (f->allmulti || table_has(&f->multicast, frame));
	return !f->nouni &&
	       (f->alluni || !memcmp(frame, own->byte, ETH_ALEN) || table_has(&f->unicast, frame));
}
