/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_net.h"

#include <errno.h>

#include "core/trace.h"

/* Checksums are two bytes wide. */
#define CSUM_SIZE 2u

/* ---- the header (5.1.6.2) ---- */

/* Whether the driver may ask for this kind of segmentation. */
static bool gso_negotiated(const struct virtio_net *n, uint8_t gso_type)
{
	const struct virtio_device *vd = &n->vd;
	bool tcp = true;

	switch (gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		if (!virtio_has(vd, VIRTIO_NET_F_HOST_TSO4))
			return false;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		if (!virtio_has(vd, VIRTIO_NET_F_HOST_TSO6))
			return false;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		if (!virtio_has(vd, VIRTIO_NET_F_HOST_USO))
			return false;
		tcp = false;
		break;
	default:
		return false;
	}
	return !(gso_type & VIRTIO_NET_HDR_GSO_ECN) ||
	       (tcp && virtio_has(vd, VIRTIO_NET_F_HOST_ECN));
}

/*
 * Make of the driver's header one that the backend can trust: only what was negotiated, all offsets
 * within the frame. False: the frame is not to be sent. *h is a copy; len: of the frame.
 */
static bool check_header(const struct virtio_net *n, struct virtio_net_hdr_v1 *h, size_t len)
{
	/* 5.1.6.2.2: unknown flags are ignored; the others are not the driver's to set. */
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (h->flags) {
		if (!virtio_has(&n->vd, VIRTIO_NET_F_CSUM) || h->csum_start < ETH_HLEN ||
		    (size_t)h->csum_start + h->csum_offset + CSUM_SIZE > len)
			return false;
	} else {
		h->csum_start = h->csum_offset = 0;
	}
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		h->hdr_len = h->gso_size = 0;
		return true;
	}
	/* 5.1.6.2.1: segments have checksums of their own, so that one has to be asked for. */
	return gso_negotiated(n, h->gso_type) && h->flags && h->gso_size && h->hdr_len <= len;
}

/* Whether a frame behind this header, `len` bytes of it, may go to the backend. */
static bool sendable(struct virtio_net *n, struct virtio_net_hdr_v1 *h, uint64_t len)
{
	if (len < ETH_HLEN || len > NET_MAX_PACKET) {
		device_guest_error(&n->vd.dev, "a frame of %llu bytes is not sent",
				   (unsigned long long)len);
		return false;
	}
	if (!check_header(n, h, (size_t)len)) {
		device_guest_error(&n->vd.dev,
				   "a frame of %llu bytes with offloads that cannot be: flags %#x, "
				   "type %#x, size %u, checksum at %u + %u",
				   (unsigned long long)len, h->flags, h->gso_type, h->gso_size,
				   h->csum_start, h->csum_offset);
		return false;
	}
	return true;
}

/* ---- sending ---- */

/* A frame in so many pieces as no driver cuts it, and no system call takes: in one. */
static struct iovec linearize(struct virtio_net *n, const struct virtq_chain *chain)
{
	size_t len = virtq_read_out(chain, 0, n->tx_frame, sizeof(n->tx_frame));

	return (struct iovec){n->tx_frame, len};
}

/* The chain is the frame without its header. False: the backend is busy. */
static bool send(struct virtio_net *n, unsigned pair, const struct virtio_net_hdr_v1 *h,
		 const struct virtq_chain *chain)
{
	const struct iovec *iov = virtq_chain_out(chain);
	unsigned count = chain->out_count;
	enum net_result result;
	struct iovec whole;

	if (count > VIRTIO_NET_MAX_SEGMENTS) {
		whole = linearize(n, chain);
		iov = &whole;
		count = 1;
	}
	n->in_backend = true;
	result = net_send(n->net, pair, h, iov, count);
	n->in_backend = false;
	trace_net_tx(n->vd.dev.id, pair, chain->out_len, result);
	if (result == NET_BUSY)
		return false;
	n->tx.packets++;
	n->tx.bytes += chain->out_len;
	return true;
}

/* Send or drop what is in a chain. False: the backend is busy. */
static bool transmit(struct virtio_net *n, unsigned pair, struct virtq_chain *chain)
{
	struct virtio_net_hdr_v1 h;

	if (chain->out_len < sizeof(h)) {
		virtio_broken(&n->vd, "queue %u: a packet of %llu bytes", virtio_net_tx_queue(pair),
			      (unsigned long long)chain->out_len);
		return true; /* the reset drops the chain */
	}
	virtq_read_out(chain, 0, &h, sizeof(h));
	virtq_skip_out(chain, sizeof(h));
	if (!sendable(n, &h, chain->out_len) || !virtio_net_link_up(n))
		n->tx.dropped++;
	else if (!send(n, pair, &h, chain))
		return false;
	virtio_throttle_charge(&n->tx_throttle, chain->out_len);
	virtio_push(&n->vd, virtio_net_tx_queue(pair), chain, 0);
	return true;
}

/*
 * Chains until there are none: 0; until the budget is spent or the backend is full: 1; until the
 * limit is reached, or the driver breaks a rule: < 0, there is nothing more to do for now.
 */
static int run_ring(struct virtio_net *n, unsigned pair, unsigned *budget)
{
	const unsigned queue = virtio_net_tx_queue(pair);
	struct virtq *vq = n->vd.queues[queue].vq;
	struct virtq_chain *chain;
	int rc;

	virtq_notify_disable(vq);
	for (;;) {
		if (!virtio_throttle_may_pop(&n->tx_throttle, queue))
			return -EAGAIN;
		rc = virtio_pop(&n->vd, queue, &chain);
		if (rc <= 0)
			return rc;
		if (!transmit(n, pair, chain)) {
			/* The doorbell stays off: `writable` is what we wait for. */
			virtq_unpop(vq, chain);
			n->tx_busy |= UINT32_C(1) << pair;
			return 1;
		}
		if (!--*budget)
			return 1;
	}
}

void virtio_net_tx_run(struct virtio_net *n, unsigned pair)
{
	const unsigned queue = virtio_net_tx_queue(pair);
	struct virtq *vq;
	unsigned budget;
	int rc;

	/* 5.1.6.5.5.2: queues beyond those in use are not read. */
	if (pair >= n->pairs || !n->vd.active || !n->vd.queues[queue].enabled ||
	    n->vd.queues[queue].resetting || n->vd.queues[queue].lent || (n->tx_busy >> pair & 1))
		return;
	/* As virtio_process, which cannot stop in the middle: a ring full, then others' turn. */
	vq = n->vd.queues[queue].vq;
	budget = 2u * virtq_size(vq);
	do {
		rc = run_ring(n, pair, &budget);
		if (rc < 0 || (n->tx_busy >> pair & 1))
			return;
		/* A driver that moves its index to and fro would keep us here without a chain. */
		if (rc || !--budget) {
			virtio_queue_ring(&n->vd, queue);
			return;
		}
	} while (virtq_notify_enable(vq));
}
