/* SPDX-License-Identifier: MIT */
/*
 * What a card is asked to be, whether that can be, and what it therefore offers.
 */
#include "virtio/virtio_net.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define BIT VIRTIO_NET_BIT

/* 5.1.4.1: what a device may offer; IPv4 needs the lower bound. */
#define MIN_MTU 68u
#define MAX_MTU 65535u

enum duplex { DUPLEX_HALF, DUPLEX_FULL }; /* as configuration space has it */

static const char *const duplex_names[] = {"half", "full", NULL};

/* ---- features (5.1.3) ---- */

uint64_t virtio_net_offered(const struct virtio_net *n)
{
	const struct virtio_net_options *o = &n->options;
	unsigned tx = net_tx_offloads(n->net), rx = net_rx_offloads(n->net);
	uint64_t f = BIT(MAC) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_RX_EXTRA) |
		     BIT(CTRL_MAC_ADDR) | BIT(CTRL_VLAN) | BIT(GUEST_ANNOUNCE);

	f |= o->mrg ? BIT(MRG_RXBUF) : 0;
	f |= n->mtu ? BIT(MTU) : 0;
	f |= n->max_pairs > 1 ? BIT(MQ) : 0;
	f |= o->speed ? BIT(SPEED_DUPLEX) : 0;
	/* 5.1.3.1: each of the others needs the checksum. */
	if (o->csum && (tx & NET_CSUM)) {
		f |= BIT(CSUM);
		f |= o->tso && (tx & NET_TSO4) ? BIT(HOST_TSO4) : 0;
		f |= o->tso && (tx & NET_TSO6) ? BIT(HOST_TSO6) : 0;
		f |= o->uso && (tx & NET_USO) ? BIT(HOST_USO) : 0;
	}
	if ((f & (BIT(HOST_TSO4) | BIT(HOST_TSO6))) && (tx & NET_TSO_ECN))
		f |= BIT(HOST_ECN);
	if (o->guest_csum && (rx & NET_CSUM)) {
		f |= BIT(GUEST_CSUM) | BIT(CTRL_GUEST_OFFLOADS);
		f |= o->guest_tso && (rx & NET_TSO4) ? BIT(GUEST_TSO4) : 0;
		f |= o->guest_tso && (rx & NET_TSO6) ? BIT(GUEST_TSO6) : 0;
		f |= o->guest_uso && (rx & NET_USO) ? BIT(GUEST_USO4) | BIT(GUEST_USO6) : 0;
	}
	if ((f & (BIT(GUEST_TSO4) | BIT(GUEST_TSO6))) && (rx & NET_TSO_ECN))
		f |= BIT(GUEST_ECN);
	return f;
}

/* ---- what can be wrong ---- */

/* "52:54:00:12:34:56", of one station. */
static bool parse_mac(const char *text, struct virtio_net_mac *mac)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < 2 * ETH_ALEN; i++) {
		const char *digit = *text ? strchr(digits, tolower((unsigned char)*text)) : NULL;

		if (!digit)
			return false;
		mac->byte[i / 2] = (uint8_t)(mac->byte[i / 2] << 4 | (digit - digits));
		text++;
		if (i % 2 && *text++ != (i == 2 * ETH_ALEN - 1 ? '\0' : ':'))
			return false;
	}
	return !(mac->byte[0] & 1) && memcmp(mac, &(struct virtio_net_mac){0}, sizeof(*mac));
}

int virtio_net_check_limits(const struct virtio_net_limits *limits, struct vmm_error *err)
{
	int rc = rate_limit_check(&limits->tx, "tx-", "pps", err);

	return rc ? rc : rate_limit_check(&limits->rx, "rx-", "pps", err);
}

int virtio_net_check_options(const struct virtio_net_options *o, struct virtio_net_mac *mac,
			     struct vmm_error *err)
{
	if (!is_power_of_two(o->queue_size))
		return error_set(err, EINVAL, "queue-size=%llu is not a power of two",
				 (unsigned long long)o->queue_size);
	if (o->mtu && o->mtu < MIN_MTU)
		return error_set(err, EINVAL, "mtu=%llu is less than %u",
				 (unsigned long long)o->mtu, MIN_MTU);
	if (virtio_net_check_limits(&o->limits, err))
		return -EINVAL;
	if (o->mac && !parse_mac(o->mac, mac))
		return error_set(
			err, EINVAL,
			"mac=%s is not the address of a station, such as 52:54:00:12:34:56",
			o->mac);
	return 0;
}

int virtio_net_check(const struct device *dev, const char *what, struct vmm_error *err)
{
	const struct virtio_net_options *o = &container_of(dev, struct virtio_net, vd.dev)->options;
	struct virtio_net_mac mac = {{0}};
	int rc = virtio_net_check_options(o, &mac, err);

	if (rc) {
		error_prefix(err, "%s", what);
		return rc;
	}
	return net_check(o->backend, what, err);
}

int virtio_net_match_limits(const struct net *net, const struct virtio_net_limits *limits,
			    struct vmm_error *err)
{
	const struct rate_limit_options *tx = &limits->tx, *rx = &limits->rx;

	if (net_vhost(net) && (tx->bps || tx->iops || rx->bps || rx->iops))
		return error_set(err, EINVAL,
				 "with vhost=on packets do not pass where they could be limited; "
				 "leave either out");
	return 0;
}

int virtio_net_match_backend(struct virtio_net *n, struct vmm_error *err)
{
	unsigned most = net_max_queue_pairs(n->net), mtu = net_mtu(n->net);

	if (n->options.queues > most)
		return error_set(err, EINVAL, "queues=%llu: the backend serves at most %u",
				 (unsigned long long)n->options.queues, most);
	if (mtu && n->options.mtu > mtu)
		return error_set(err, EINVAL, "mtu=%llu: the backend carries at most %u",
				 (unsigned long long)n->options.mtu, mtu);
	if (virtio_net_match_limits(n->net, &n->options.limits, err))
		return -EINVAL;
	n->max_pairs = (unsigned)n->options.queues;
	n->mtu = (uint16_t)n->options.mtu;
	/* Less than any driver takes for granted: it has to be told. */
	if (!n->mtu && mtu >= MIN_MTU && mtu < ETH_DATA_LEN)
		n->mtu = (uint16_t)mtu;
	return 0;
}

/* ---- the table ---- */

#define SWITCH(option, field, text)                                                     \
	{                                                                               \
		.name = option, .type = OPTION_BOOL,                                    \
		.offset = offsetof(struct virtio_net, options.field), .fallback = "on", \
		.help = text                                                            \
	}

const struct option_desc virtio_net_option_table[] = {
	{.name = "backend",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_net, options.backend),
	 .fallback = "none",
	 .help = "where packets go: user, tap, stream:…, dgram:… or none, with their options"},
	{.name = "mac",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_net, options.mac),
	 .help = "the guest's address (default: a random one, 52:54:00:…)"},
	{.name = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_net, options.queues),
	 .fallback = "1",
	 .min = 1,
	 .max = NET_MAX_QUEUE_PAIRS,
	 .help = "queue pairs; no more than the backend can serve"},
	{.name = "queue-size",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_net, options.queue_size),
	 .fallback = "256",
	 .min = 16,
	 .max = VIRTQ_MAX_SIZE,
	 .help = "entries of each queue, a power of two"},
	{.name = "mtu",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_net, options.mtu),
	 .max = MAX_MTU,
	 .help = "what the guest is told to use as its MTU (default: nothing)"},
	{.name = "speed",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_net, options.speed),
	 .max = INT32_MAX,
	 .help = "Mbit/s that the guest sees (default: unknown)"},
	{.name = "duplex",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct virtio_net, options.duplex),
	 .values = duplex_names,
	 .fallback = "full",
	 .help = "what the guest sees where a speed is given"},
	SWITCH("mrg", mrg, "offer receive buffers that are merged"),
	SWITCH("csum", csum, "offer to complete checksums of the guest's packets"),
	SWITCH("tso", tso, "offer to segment TCP for the guest"),
	SWITCH("uso", uso, "offer to segment UDP for the guest"),
	SWITCH("guest-csum", guest_csum, "offer packets with partial checksums to the guest"),
	SWITCH("guest-tso", guest_tso, "offer large TCP packets to the guest"),
	SWITCH("guest-uso", guest_uso, "offer large UDP packets to the guest"),
	VIRTIO_NET_LIMIT_ROWS(struct virtio_net, options.limits),
	VIRTIO_OPTIONS(struct virtio_net, vd),
	OPTION_END,
};
