/* SPDX-License-Identifier: MIT */
/*
 * A second way for packets: the host's kernel moves them between the rings and the tap interface by
 * itself (vhost=on), and this program sees none of them.
 *
 * A queue pair is lent while its packets would pass: the device works, the link is up, the pair is
 * in use and both of its queues are enabled. Whatever ends that takes the pair back, and from then
 * on virtio_net_rx.c and virtio_net_tx.c go on where the kernel has stopped; so pause, saved
 * state, a link that is down and the reset of a queue need nothing of their own. Where the kernel
 * refuses a pair, its packets simply pass through here.
 *
 * Interrupts of a lent queue come back through an eventfd of the home loop and the transport, which
 * knows about masks and interrupt lines. That costs a wake-up of the loop for each interrupt, not
 * for each packet.
 */
#include "virtio/virtio_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio/vhost.h"

/* The rings as vhost counts them: that of received packets comes first. */
#define RX 0u
#define TX 1u

struct lent_queue {
	struct virtio_net *net;
	unsigned queue;
	int call_fd, error_fd; /* -1: not open */
	struct loop_fd call, error;
};

struct virtio_net_vhost_pair {
	struct vhost *vhost;
	bool lent;
	bool refused; /* until the device starts anew */
	struct lent_queue rings[VHOST_RINGS];
};

static struct virtio_net_vhost_pair *pair_at(const struct virtio_net *n, unsigned pair)
{
	return &n->vhost[pair];
}

/* ---- what the kernel has to say ---- */

/* Whether it was signalled; not any more. */
static bool take_signal(int fd)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(fd, &count, sizeof(count));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static void on_call(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct lent_queue *r = container_of(lfd, struct lent_queue, call);
	struct virtio_device *vd = &r->net->vd;

	device_lock(&vd->dev);
	if (take_signal(r->call_fd))
		virtio_interrupt(vd, r->queue);
	device_unlock(&vd->dev);
}

static void take_error(struct lent_queue *r)
{
	if (take_signal(r->error_fd))
		virtio_broken(&r->net->vd,
			      "queue %u: the host's kernel finds no packets in its ring", r->queue);
}

static void on_error(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct lent_queue *r = container_of(lfd, struct lent_queue, error);
	struct virtio_device *vd = &r->net->vd;

	device_lock(&vd->dev);
	take_error(r);
	virtio_net_vhost_update(r->net);
	device_unlock(&vd->dev);
}

static int watch(struct lent_queue *r)
{
	struct loop *loop = r->net->vd.dev.loop;
	int rc = loop_fd_add(loop, &r->call, r->call_fd, LOOP_IN, on_call);

	return rc ? rc : loop_fd_add(loop, &r->error, r->error_fd, LOOP_IN, on_error);
}

static void ignore(struct lent_queue *r)
{
	loop_fd_del(&r->call);
	loop_fd_del(&r->error);
}

/* ---- lending and taking back ---- */

/* The kernel has let go of the rings, or never had them. */
static void end_loan(struct virtio_net *n, unsigned pair, const struct vhost_ring *rings)
{
	for (unsigned i = 0; i < VHOST_RINGS; i++) {
		struct lent_queue *r = &pair_at(n, pair)->rings[i];

		ignore(r);
		virtio_take_back(&n->vd, r->queue, rings[i].position);
		/* The kernel may have passed over what it could not read. */
		take_error(r);
		if (take_signal(r->call_fd))
			virtio_interrupt(&n->vd, r->queue);
	}
	net_take_back(n->net, pair);
}

static void take_back(struct virtio_net *n, unsigned pair)
{
	struct virtio_net_vhost_pair *p = pair_at(n, pair);
	struct vhost_ring rings[VHOST_RINGS] = {0};

	if (!p->lent)
		return;
	p->lent = false;
	vhost_stop(p->vhost, rings);
	end_loan(n, pair, rings);
}

static int start(struct virtio_net *n, unsigned pair)
{
	struct virtio_net_vhost_pair *p = pair_at(n, pair);
	const int backend_fd = net_lend(n->net, pair);
	struct vhost_ring rings[VHOST_RINGS];
	int rc = 0;

	for (unsigned i = 0; i < VHOST_RINGS; i++) {
		struct lent_queue *r = &p->rings[i];

		virtio_lend(&n->vd, r->queue, &rings[i].layout, &rings[i].position);
		rings[i].kick_fd = n->vd.queues[r->queue].kick_fd;
		rings[i].call_fd = r->call_fd;
		rings[i].error_fd = r->error_fd;
		if (!rc)
			rc = watch(r);
	}
	if (!rc)
		rc = vhost_start(p->vhost, n->vd.driver_features & vhost_features(p->vhost), rings,
				 backend_fd);
	if (rc) {
		end_loan(n, pair, rings);
		return rc;
	}
	p->lent = true;
	/* For what came while nobody asked for a doorbell. */
	for (unsigned i = 0; i < VHOST_RINGS; i++)
		virtio_queue_ring(&n->vd, p->rings[i].queue);
	return 0;
}

static bool works(const struct virtio_queue *q)
{
	return q->enabled && !q->resetting;
}

static bool wanted(const struct virtio_net *n, unsigned pair)
{
	const struct virtio_device *vd = &n->vd;

	return vd->active && !(vd->status & VIRTIO_CONFIG_S_NEEDS_RESET) && virtio_net_link_up(n) &&
	       pair < n->pairs && works(&vd->queues[virtio_net_rx_queue(pair)]) &&
	       works(&vd->queues[virtio_net_tx_queue(pair)]);
}

void virtio_net_vhost_update(struct virtio_net *n)
{
	for (unsigned pair = 0; n->vhost && pair < n->max_pairs; pair++) {
		struct virtio_net_vhost_pair *p = pair_at(n, pair);
		int rc;

		if (!wanted(n, pair)) {
			take_back(n, pair);
			continue;
		}
		if (p->lent || p->refused)
			continue;
		rc = start(n, pair);
		p->refused = rc != 0;
		if (rc)
			log_warn(n->vd.dev.env->log, n->vd.dev.id,
				 "the host's kernel does not take queue pair %u (%s): its packets "
				 "pass through this program",
				 pair, strerror(-rc));
	}
}

void virtio_net_vhost_take_back(struct virtio_net *n, unsigned first)
{
	for (unsigned pair = first; n->vhost && pair < n->max_pairs; pair++)
		take_back(n, pair);
}

void virtio_net_vhost_try_again(struct virtio_net *n)
{
	for (unsigned pair = 0; n->vhost && pair < n->max_pairs; pair++)
		pair_at(n, pair)->refused = false;
}

unsigned virtio_net_vhost_pairs(const struct virtio_net *n)
{
	unsigned lent = 0;

	for (unsigned pair = 0; n->vhost && pair < n->max_pairs; pair++)
		lent += pair_at(n, pair)->lent;
	return lent;
}

/* ---- life ---- */

static int open_pair(struct virtio_net *n, unsigned pair, struct vmm_error *err)
{
	struct virtio_net_vhost_pair *p = pair_at(n, pair);

	for (unsigned i = 0; i < VHOST_RINGS; i++) {
		struct lent_queue *r = &p->rings[i];

		r->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r->error_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (r->call_fd < 0 || r->error_fd < 0)
			return error_set_errno(err, errno, "cannot create an eventfd");
	}
	return vhost_open(&p->vhost, n->vd.dev.env->memory, err);
}

int virtio_net_vhost_init(struct virtio_net *n, struct vmm_error *err)
{
	const uint64_t rings =
		(UINT64_C(1) << VIRTIO_F_RING_PACKED) | (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX) |
		(UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_NET_BIT(MRG_RXBUF);
	int rc = 0;

	if (!net_vhost(n->net))
		return 0;
	n->vhost = calloc(n->max_pairs, sizeof(*n->vhost));
	if (!n->vhost)
		return error_set(err, ENOMEM, "vhost=on: out of memory");
	for (unsigned pair = 0; pair < n->max_pairs; pair++)
		for (unsigned i = 0; i < VHOST_RINGS; i++)
			pair_at(n, pair)->rings[i] = (struct lent_queue){
				.net = n,
				.queue = i == RX ? virtio_net_rx_queue(pair)
						 : virtio_net_tx_queue(pair),
				.call_fd = -1,
				.error_fd = -1,
			};
	for (unsigned pair = 0; !rc && pair < n->max_pairs; pair++)
		rc = open_pair(n, pair, err);
	/* What the kernel does not know of, such as packed rings, is not to be offered. */
	if (!rc)
		n->vd.features &= ~(rings & ~vhost_features(pair_at(n, 0)->vhost));
	return rc;
}

void virtio_net_vhost_fini(struct virtio_net *n)
{
	for (unsigned pair = 0; n->vhost && pair < n->max_pairs; pair++) {
		struct virtio_net_vhost_pair *p = pair_at(n, pair);

		vhost_close(p->vhost);
		for (unsigned i = 0; i < VHOST_RINGS; i++) {
			if (p->rings[i].call_fd >= 0)
				close(p->rings[i].call_fd);
			if (p->rings[i].error_fd >= 0)
				close(p->rings[i].error_fd);
		}
	}
	free(n->vhost);
	n->vhost = NULL;
}
