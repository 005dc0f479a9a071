/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_net.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "virtio/virtio_classes.h"

#define BIT VIRTIO_NET_BIT

/* 5.1.4.1: what a device may offer; IPv4 needs the lower bound. */
#define MIN_MTU 68u
#define MAX_MTU 65535u

/* Up to what RSS would add, which is not offered. */
#define CONFIG_SIZE offsetof(struct virtio_net_config, rss_max_key_size)

_Static_assert(CONFIG_SIZE == 17, "5.1.4");
_Static_assert(VIRTIO_NET_HDR_SIZE == 12, "5.1.6");

enum duplex { DUPLEX_HALF, DUPLEX_FULL }; /* as configuration space has it */

static const char *const duplex_names[] = {"half", "full", NULL};

/* ---- configuration space (5.1.4) ---- */

static void config_read(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	const struct virtio_net *n = virtio_net(vd);
	struct virtio_net_config c = {
		.status = (uint16_t)((virtio_net_link_up(n) ? VIRTIO_NET_S_LINK_UP : 0) |
				     (n->announce ? VIRTIO_NET_S_ANNOUNCE : 0)),
		.max_virtqueue_pairs = (uint16_t)n->max_pairs,
		.mtu = n->mtu,
		.speed = UINT32_MAX, /* unknown */
		.duplex = UINT8_MAX, /* likewise */
	};

	memcpy(c.mac, n->mac.byte, sizeof(c.mac));
	if (vd->features & BIT(SPEED_DUPLEX)) {
		c.speed = (uint32_t)n->options.speed;
		c.duplex = (uint8_t)n->options.duplex;
	}
	memcpy(buf, (const char *)&c + offset, len);
}

void virtio_net_set_link(struct virtio_net *n, bool wanted, bool backend)
{
	bool before = virtio_net_link_up(n);

	n->link_wanted = wanted;
	n->link_backend = backend;
	if (virtio_net_link_up(n) == before)
		return;
	virtio_config_changed(&n->vd);
	/* What waited for the other state is dropped or delivered now. */
	n->tx_again |= n->tx_busy;
	n->rx_again |= n->rx_refused;
	virtio_net_later(n);
}

/* ---- the backend ---- */

static unsigned rx_offloads_of(uint64_t f)
{
	unsigned o = 0;

	/* 5.1.3.1: without GUEST_CSUM none of the others means anything. */
	if (!(f & BIT(GUEST_CSUM)))
		return 0;
	o |= NET_CSUM;
	if (f & BIT(GUEST_TSO4))
		o |= NET_TSO4;
	if (f & BIT(GUEST_TSO6))
		o |= NET_TSO6;
	if ((f & BIT(GUEST_ECN)) && (o & (NET_TSO4 | NET_TSO6)))
		o |= NET_TSO_ECN;
	/* The backend does not tell the two apart. */
	if ((f & BIT(GUEST_USO4)) && (f & BIT(GUEST_USO6)))
		o |= NET_USO;
	return o;
}

int virtio_net_set_offloads(struct virtio_net *n, uint64_t guest_offloads)
{
	unsigned offloads = rx_offloads_of(guest_offloads);
	int rc;

	n->in_backend = true;
	rc = net_set_rx_offloads(n->net, offloads);
	n->in_backend = false;
	if (rc)
		return rc;
	n->guest_offloads = guest_offloads;
	n->rx_offloads = offloads;
	return 0;
}

int virtio_net_set_pairs(struct virtio_net *n, unsigned pairs)
{
	int rc;

	n->in_backend = true;
	rc = net_set_queue_pairs(n->net, pairs);
	n->in_backend = false;
	if (rc)
		return rc;
	/* The driver may have filled and rung those that are new. */
	for (unsigned pair = n->pairs; pair < pairs; pair++)
		n->tx_again |= UINT32_C(1) << pair;
	n->pairs = pairs;
	virtio_net_later(n);
	return 0;
}

static void run_later(struct loop_task *task)
{
	struct virtio_net *n = container_of(task, struct virtio_net, task);
	uint32_t rx, tx;

	device_lock(&n->vd.dev);
	virtio_net_set_link(n, n->link_wanted, net_link_up(n->net));
	rx = n->rx_again;
	tx = n->tx_again;
	n->rx_again = n->tx_again = 0;
	n->rx_refused &= ~rx;
	n->tx_busy &= ~tx;
	for (unsigned pair = 0; pair < n->max_pairs; pair++)
		if (tx >> pair & 1)
			virtio_net_tx_run(n, pair);
	device_unlock(&n->vd.dev);
	/* May deliver at once: not with the lock held. */
	for (unsigned pair = 0; pair < n->max_pairs; pair++)
		if (rx >> pair & 1)
			net_receive_ready(n->net, pair);
}

void virtio_net_later(struct virtio_net *n)
{
	loop_post(n->vd.dev.loop, &n->task);
}

static void on_writable(void *opaque, unsigned pair)
{
	struct virtio_net *n = opaque;

	if (pair >= n->max_pairs)
		return;
	if (n->in_backend) {
		n->tx_again |= UINT32_C(1) << pair;
		virtio_net_later(n);
		return;
	}
	device_lock(&n->vd.dev);
	n->tx_busy &= ~(UINT32_C(1) << pair);
	virtio_net_tx_run(n, pair);
	device_unlock(&n->vd.dev);
}

static void on_link(void *opaque, bool up)
{
	struct virtio_net *n = opaque;

	if (n->in_backend) {
		virtio_net_later(n);
		return;
	}
	device_lock(&n->vd.dev);
	virtio_net_set_link(n, n->link_wanted, up);
	device_unlock(&n->vd.dev);
}

static const struct net_frontend frontend = {
	.receive = virtio_net_receive,
	.writable = on_writable,
	.link = on_link,
};

/* ---- working ---- */

static void features_set(struct virtio_device *vd)
{
	virtio_net(vd)->guest_offloads = vd->driver_features & VIRTIO_NET_GUEST_OFFLOADS;
}

static void activate(struct virtio_device *vd)
{
	struct virtio_net *n = virtio_net(vd);
	unsigned pairs = virtio_has(vd, VIRTIO_NET_F_MQ) ? n->pairs : 1;

	/*
	 * The driver has no way to be told. With fewer pairs or offloads the backend is slower, and
	 * what it delivers nevertheless is dropped.
	 */
	if (virtio_net_set_pairs(n, pairs)) {
		log_warn(vd->dev.env->log, vd->dev.id, "the backend refuses %u queue pairs", pairs);
		n->pairs = 1;
	}
	/* A saved state may have claimed more than the driver negotiated. */
	if (virtio_net_set_offloads(n, n->guest_offloads & vd->driver_features)) {
		log_warn(vd->dev.env->log, vd->dev.id, "the backend refuses the offloads");
		n->guest_offloads = n->rx_offloads = 0;
	}
	n->rx_again |= n->rx_refused;
	virtio_net_later(n);
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	struct virtio_net *n = virtio_net(vd);

	if (queue == virtio_net_ctrl_queue(n) && virtio_has(vd, VIRTIO_NET_F_CTRL_VQ))
		virtio_process(vd, queue, virtio_net_ctrl);
	else if (queue % 2)
		virtio_net_tx_run(n, queue / 2);
	else if (queue / 2 < n->max_pairs)
		virtio_net_rx_kick(n, queue / 2);
}

static void reset(struct virtio_device *vd)
{
	struct virtio_net *n = virtio_net(vd);

	n->mac = n->permanent_mac;
	virtio_net_filter_reset(&n->filter);
	n->announce = false;
	n->pairs = 1;
	n->guest_offloads = 0;
	n->rx_offloads = 0;
	n->tx_busy = 0;
	/* What the backend still holds for this driver is not for the next one. */
	n->rx_again |= n->rx_refused;
	virtio_net_later(n);
}

/* ---- life ---- */

static uint64_t offered(const struct virtio_net *n)
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

/* What can be wrong with the options by themselves. *mac: the one that was given, if any. */
static int check_options(const struct virtio_net_options *o, struct virtio_net_mac *mac,
			 struct vmm_error *err)
{
	if (!is_power_of_two(o->queue_size))
		return error_set(err, EINVAL, "queue-size=%llu is not a power of two",
				 (unsigned long long)o->queue_size);
	if (o->mtu && o->mtu < MIN_MTU)
		return error_set(err, EINVAL, "mtu=%llu is less than %u",
				 (unsigned long long)o->mtu, MIN_MTU);
	if (o->mac && !parse_mac(o->mac, mac))
		return error_set(
			err, EINVAL,
			"mac=%s is not the address of a station, such as 52:54:00:12:34:56",
			o->mac);
	return 0;
}

static int check(const struct device *dev, const char *what, struct vmm_error *err)
{
	const struct virtio_net_options *o = &container_of(dev, struct virtio_net, vd.dev)->options;
	struct virtio_net_mac mac = {{0}};
	int rc = check_options(o, &mac, err);

	if (rc) {
		error_prefix(err, "%s", what);
		return rc;
	}
	return net_check(o->backend, what, err);
}

/* Whether the options and the backend go together. */
static int match_backend(struct virtio_net *n, struct vmm_error *err)
{
	unsigned most = net_max_queue_pairs(n->net), mtu = net_mtu(n->net);

	if (n->options.queues > most)
		return error_set(err, EINVAL, "queues=%llu: the backend serves at most %u",
				 (unsigned long long)n->options.queues, most);
	if (mtu && n->options.mtu > mtu)
		return error_set(err, EINVAL, "mtu=%llu: the backend carries at most %u",
				 (unsigned long long)n->options.mtu, mtu);
	n->max_pairs = (unsigned)n->options.queues;
	n->mtu = (uint16_t)n->options.mtu;
	/* Less than any driver takes for granted: it has to be told. */
	if (!n->mtu && mtu >= MIN_MTU && mtu < ETH_DATA_LEN)
		n->mtu = (uint16_t)mtu;
	return 0;
}

struct realizing {
	struct virtio_net *n;
	struct vmm_error *err;
	int rc;
};

static void enter_loop(void *arg)
{
	struct realizing *r = arg;
	struct virtio_net *n = r->n;
	struct device *dev = &n->vd.dev;

	r->rc = net_create_for(&n->net, n->options.backend, "backend", dev, r->err);
	if (!r->rc)
		r->rc = match_backend(n, r->err);
	if (!r->rc)
		r->rc = virtio_init(&n->vd, 2 * n->max_pairs + 1, (uint16_t)n->options.queue_size,
				    offered(n), r->err);
	if (r->rc)
		return;
	n->link_backend = net_link_up(n->net);
	net_attach(n->net, &frontend, n);
}

static void leave_loop(void *arg)
{
	struct virtio_net *n = arg;

	if (n->net)
		net_attach(n->net, NULL, NULL);
	net_destroy(n->net);
	n->net = NULL;
	loop_task_cancel(n->vd.dev.loop, &n->task);
}

static void unrealize(struct device *dev)
{
	struct virtio_net *n = virtio_net(virtio_device(dev));

	loop_call(dev->loop, leave_loop, n);
	virtio_fini(&n->vd);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_net *n = virtio_net(virtio_device(dev));
	struct realizing r = {n, err, 0};
	/* Locally administered, and what tools know as a virtual machine's. */
	struct virtio_net_mac mac = {{0x52, 0x54, 0x00}};
	int rc = check_options(&n->options, &mac, err);

	if (rc)
		return rc;
	if (!n->options.mac && getrandom(&mac.byte[3], 3, 0) != 3)
		return error_set_errno(err, errno, "cannot make up a MAC address");
	n->permanent_mac = n->mac = mac;
	loop_task_init(&n->task, run_later);
	virtio_net_filter_reset(&n->filter);
	n->link_wanted = true;
	n->pairs = 1;
	loop_call(dev->loop, enter_loop, &r);
	if (r.rc)
		unrealize(dev);
	return r.rc;
}

/* ---- the class ---- */

#define SWITCH(option, field, text)                                                     \
	{                                                                               \
		.name = option, .type = OPTION_BOOL,                                    \
		.offset = offsetof(struct virtio_net, options.field), .fallback = "on", \
		.help = text                                                            \
	}

static const struct option_desc options[] = {
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
	VIRTIO_OPTIONS(struct virtio_net, vd),
	OPTION_END,
};

const struct virtio_class virtio_net_class = {
	.device =
		{
			.name = "virtio-net",
			.help = "network card",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.size = sizeof(struct virtio_net),
			.state_version = 1,
			.actions = virtio_net_actions,
			.check = check,
			.realize = realize,
			.unrealize = unrealize,
		},
	.device_id = VIRTIO_ID_NET,
	.pci_class = 0x020000, /* network, Ethernet */
	.config_size = CONFIG_SIZE,
	.config_read = config_read,
	.features_set = features_set,
	.activate = activate,
	.kick = kick,
	.reset = reset,
	.save = virtio_net_save,
	.load = virtio_net_load,
};
