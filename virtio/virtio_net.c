/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_net.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "virtio/virtio_classes.h"

#define BIT VIRTIO_NET_BIT

/* Up to what RSS would add, which is not offered. */
#define CONFIG_SIZE offsetof(struct virtio_net_config, rss_max_key_size)

_Static_assert(CONFIG_SIZE == 17, "5.1.4");
_Static_assert(VIRTIO_NET_HDR_SIZE == 12, "5.1.6");

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
	virtio_net_vhost_update(n);
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

	virtio_net_vhost_take_back(n, pairs);
	n->in_backend = true;
	rc = net_set_queue_pairs(n->net, pairs);
	n->in_backend = false;
	if (rc)
		goto out;
	/* The driver may have filled and rung those that are new. */
	for (unsigned pair = n->pairs; pair < pairs; pair++)
		n->tx_again |= UINT32_C(1) << pair;
	n->pairs = pairs;
	virtio_net_later(n);
out:
	virtio_net_vhost_update(n);
	return rc;
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

	n->pairs = 1;
	virtio_net_vhost_try_again(n);
	/*
	 * The driver has no way to be told. With fewer pairs or offloads the backend is slower, and
	 * what it delivers nevertheless is dropped. Offloads first: the host's kernel, to which a
	 * pair is lent as soon as it is in use, drops nothing. A saved state may have claimed more
	 * than the driver negotiated.
	 */
	if (virtio_net_set_offloads(n, n->guest_offloads & vd->driver_features)) {
		log_warn(vd->dev.env->log, vd->dev.id, "the backend refuses the offloads");
		n->guest_offloads = n->rx_offloads = 0;
	}
	if (virtio_net_set_pairs(n, pairs))
		log_warn(vd->dev.env->log, vd->dev.id, "the backend refuses %u queue pairs", pairs);
	n->rx_again |= n->rx_refused;
	virtio_net_later(n);
	virtio_net_vhost_update(n);
}

static void drain(struct virtio_device *vd)
{
	device_lock(&vd->dev);
	virtio_net_vhost_take_back(virtio_net(vd), 0);
	device_unlock(&vd->dev);
	virtio_drained(vd);
}

static void drain_queue(struct virtio_device *vd, unsigned queue UNUSED)
{
	/* The other queue of the pair goes on without the kernel. */
	virtio_net_vhost_update(virtio_net(vd));
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	struct virtio_net *n = virtio_net(vd);

	/* One that was enabled late may be what its pair has waited for. */
	virtio_net_vhost_update(n);
	if (vd->queues[queue].lent)
		return;
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
	const struct net_wish wish = {(unsigned)n->options.queues, (unsigned)n->options.mtu};

	r->rc = net_create_for(&n->net, n->options.backend, "backend", &wish, dev, r->err);
	if (!r->rc)
		r->rc = virtio_net_match_backend(n, r->err);
	if (!r->rc)
		r->rc = virtio_init(&n->vd, 2 * n->max_pairs + 1, (uint16_t)n->options.queue_size,
				    virtio_net_offered(n), r->err);
	if (!r->rc)
		r->rc = virtio_net_vhost_init(n, r->err);
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
	virtio_net_vhost_fini(n);
	net_destroy(n->net);
	n->net = NULL;
	loop_task_cancel(n->vd.dev.loop, &n->task);
}

static void unrealize(struct device *dev)
{
	struct virtio_net *n = virtio_net(virtio_device(dev));

	loop_call(dev->loop, leave_loop, n);
	virtio_throttle_fini(&n->tx_throttle);
	virtio_throttle_fini(&n->rx_throttle);
	virtio_fini(&n->vd);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_net *n = virtio_net(virtio_device(dev));
	struct realizing r = {n, err, 0};
	/* Locally administered, and what tools know as a virtual machine's. */
	struct virtio_net_mac mac = {{0x52, 0x54, 0x00}};
	int rc = virtio_net_check_options(&n->options, &mac, err);

	if (rc)
		return rc;
	if (!n->options.mac && getrandom(&mac.byte[3], 3, 0) != 3)
		return error_set_errno(err, errno, "cannot make up a MAC address");
	n->permanent_mac = n->mac = mac;
	loop_task_init(&n->task, run_later);
	virtio_net_filter_reset(&n->filter);
	n->link_wanted = true;
	n->pairs = 1;
	r.rc = virtio_throttle_init(&n->tx_throttle, &n->vd, &n->options.limits.tx, err);
	if (!r.rc)
		r.rc = virtio_throttle_init(&n->rx_throttle, &n->vd, &n->options.limits.rx, err);
	if (!r.rc)
		loop_call(dev->loop, enter_loop, &r);
	if (r.rc)
		unrealize(dev);
	return r.rc;
}

/* ---- the class ---- */

const struct virtio_class virtio_net_class = {
	.device =
		{
			.name = "virtio-net",
			.help = "network card",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = virtio_net_option_table,
			.size = sizeof(struct virtio_net),
			.state_version = 1,
			.actions = virtio_net_actions,
			.check = virtio_net_check,
			.realize = realize,
			.unrealize = unrealize,
			.stats = virtio_net_stats,
		},
	.device_id = VIRTIO_ID_NET,
	.pci_class = 0x020000, /* network, Ethernet */
	.config_size = CONFIG_SIZE,
	.config_read = config_read,
	.features_set = features_set,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.drain_queue = drain_queue,
	.reset = reset,
	.save = virtio_net_save,
	.load = virtio_net_load,
};
