/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_net.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/trace.h"

/* A packet of the backend, and how much of it has been copied. */
struct packet {
	const struct iovec *iov;
	unsigned count;
	size_t at; /* in the first of iov */
	size_t len;
};

/* The first `len` bytes; less if there are fewer. */
static size_t peek(const struct packet *p, uint8_t *to, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < p->count && done < len; i++) {
		size_t piece = MIN(len - done, p->iov[i].iov_len);

		memcpy(to + done, p->iov[i].iov_base, piece);
		done += piece;
	}
	return done;
}

/* Move `len` bytes, which are there, to a chain. */
static void copy_to_chain(struct packet *p, struct virtq_chain *chain, uint64_t offset, size_t len)
{
	while (len) {
		size_t piece = MIN(len, p->iov->iov_len - p->at);

		virtq_write_in(chain, offset, (const char *)p->iov->iov_base + p->at, piece);
		offset += piece;
		len -= piece;
		p->at += piece;
		if (p->at == p->iov->iov_len) {
			p->iov++;
			p->count--;
			p->at = 0;
		}
	}
}

/* ---- what may be delivered ---- */

/*
 * Whether the driver can take the packet as it is (5.1.6.4.1). Where it negotiated an offload off,
 * no such packet reaches it, whatever the backend does.
 */
static bool header_allowed(const struct virtio_net *n, const struct virtio_net_hdr_v1 *hdr)
{
	unsigned need = hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_CSUM : 0;

	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		need |= NET_TSO_ECN;
	switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		need |= NET_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		need |= NET_TSO6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		need |= NET_USO;
		break;
	default:
		return false;
	}
	return !(need & ~n->rx_offloads);
}

/* 5.1.4.1: no frame above the MTU that the driver was told, tags not counted. */
static bool within_mtu(const struct virtio_net *n, const struct virtio_net_hdr_v1 *hdr,
		       const uint8_t *frame, size_t len)
{
	size_t most = (size_t)n->mtu + ETH_HLEN;
	uint16_t type;

	if (!virtio_has(&n->vd, VIRTIO_NET_F_MTU) || hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return true;
	memcpy(&type, frame + 2 * ETH_ALEN, sizeof(type));
	if (type == htons(ETH_P_8021Q))
		most += VIRTIO_NET_VLAN_HLEN;
	return len <= most;
}

/* The header as the driver gets it: nothing in it that was not negotiated. */
static struct virtio_net_hdr_v1 driver_header(const struct virtio_net *n,
					      const struct virtio_net_hdr_v1 *hdr, unsigned buffers)
{
	struct virtio_net_hdr_v1 h = {.num_buffers = (uint16_t)buffers};

	if (n->rx_offloads & NET_CSUM)
		h.flags = hdr->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		h.csum_start = hdr->csum_start;
		h.csum_offset = hdr->csum_offset;
	}
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		h.gso_type = hdr->gso_type;
		h.gso_size = hdr->gso_size;
		h.hdr_len = hdr->hdr_len;
	}
	return h;
}

/* ---- delivering ---- */

enum verdict { TAKEN, DROPPED, FILTERED, NO_BUFFER };

/* As virtio_pop; where there is nothing, the driver rings when there is. */
static int pop(struct virtio_net *n, unsigned queue, struct virtq_chain **chain)
{
	struct virtq *vq = n->vd.queues[queue].vq;
	int rc = virtio_pop(&n->vd, queue, chain);

	/* Once: a driver that moves its index to and fro does not keep us here. */
	if (!rc && virtq_notify_enable(vq))
		rc = virtio_pop(&n->vd, queue, chain);
	return rc;
}

/* The driver gets the buffers back as if they had not been looked at. */
static void give_back(struct virtio_net *n, unsigned queue, unsigned count)
{
	while (count--)
		virtq_unpop(n->vd.queues[queue].vq, n->rx_chains[count]);
}

/*
 * Take buffers for `len` bytes into rx_chains: TAKEN and their number, or none and why not. Before
 * anything is written to them: a packet never stops in the middle.
 */
static enum verdict gather(struct virtio_net *n, unsigned queue, size_t len, unsigned *count)
{
	const unsigned most =
		virtio_has(&n->vd, VIRTIO_NET_F_MRG_RXBUF) ? virtq_size(n->vd.queues[queue].vq) : 1;
	enum verdict verdict = DROPPED;
	uint64_t room = 0;

	for (*count = 0; *count < most && room < len; ++*count) {
		struct virtq_chain *chain;
		int rc = pop(n, queue, &chain);

		if (rc <= 0) {
			verdict = rc ? DROPPED : NO_BUFFER;
			break;
		}
		n->rx_chains[*count] = chain;
		room += chain->in_len;
		if (chain->in_len < VIRTIO_NET_HDR_SIZE) { /* 5.1.6.3.1 */
			virtio_broken(&n->vd, "queue %u: a receive buffer of %llu bytes", queue,
				      (unsigned long long)chain->in_len);
			++*count;
			break;
		}
	}
	if (room >= len && !(n->vd.status & VIRTIO_CONFIG_S_NEEDS_RESET))
		return TAKEN;
	/* More buffers than the ring has never come: waiting for them would be for ever. */
	give_back(n, queue, *count);
	return verdict;
}

static void fill(struct virtio_net *n, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		 struct packet *p, unsigned count)
{
	const struct virtio_net_hdr_v1 h = driver_header(n, hdr, count);
	size_t left = p->len, used = VIRTIO_NET_HDR_SIZE;

	virtq_write_in(n->rx_chains[0], 0, &h, sizeof(h));
	for (unsigned i = 0; i < count; i++, used = 0) {
		struct virtq_chain *chain = n->rx_chains[i];
		size_t piece = MIN(left, (size_t)chain->in_len - used);

		copy_to_chain(p, chain, used, piece);
		left -= piece;
		/* From here on it is the driver's. */
		virtio_push(&n->vd, queue, chain, (uint32_t)(used + piece));
	}
}

static enum verdict deliver(struct virtio_net *n, unsigned pair,
			    const struct virtio_net_hdr_v1 *hdr, struct packet *p)
{
	const unsigned queue = virtio_net_rx_queue(pair);
	uint8_t start[ETH_HLEN + VIRTIO_NET_VLAN_HLEN] = {0};
	size_t head = peek(p, start, sizeof(start));
	enum verdict verdict;
	unsigned count;

	if (p->len < ETH_HLEN || p->len > NET_MAX_PACKET || !header_allowed(n, hdr) ||
	    !within_mtu(n, hdr, start, p->len))
		return DROPPED;
	if (!virtio_net_filter_match(&n->filter, &n->mac,
				     virtio_has(&n->vd, VIRTIO_NET_F_CTRL_VLAN), start, head))
		return FILTERED;
	/* Then the timer kicks the queue, as the driver does. */
	if (!virtio_throttle_may_pop(&n->rx_throttle, queue))
		return NO_BUFFER;
	verdict = gather(n, queue, VIRTIO_NET_HDR_SIZE + p->len, &count);
	if (verdict == TAKEN) {
		virtio_throttle_charge(&n->rx_throttle, p->len);
		fill(n, queue, hdr, p, count);
	}
	return verdict;
}

/* Before anything else: whether there is a driver who could take it. */
static enum verdict receive(struct virtio_net *n, unsigned pair,
			    const struct virtio_net_hdr_v1 *hdr, struct packet *p)
{
	const struct virtio_device *vd = &n->vd;
	bool running = (vd->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		       !(vd->status & VIRTIO_CONFIG_S_NEEDS_RESET) && !vd->resetting;

	if (!running || pair >= n->pairs || !virtio_net_link_up(n) ||
	    !vd->queues[virtio_net_rx_queue(pair)].enabled)
		return DROPPED;
	if (vd->queues[virtio_net_rx_queue(pair)].lent)
		return DROPPED;
	/* The machine is paused, or the device about to start: the packet can wait. */
	if (!vd->active)
		return NO_BUFFER;
	return deliver(n, pair, hdr, p);
}

bool virtio_net_receive(void *opaque, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
			const struct iovec *iov, unsigned count)
{
	struct virtio_net *n = opaque;
	struct packet p = {.iov = iov, .count = count};
	enum verdict verdict;

	if (pair >= n->max_pairs)
		return true;
	if (n->in_backend) {
		/* From inside of a call that holds the lock: later. */
		n->rx_again |= UINT32_C(1) << pair;
		virtio_net_later(n);
		return false;
	}
	for (unsigned i = 0; i < count; i++)
		p.len += iov[i].iov_len;
	device_lock(&n->vd.dev);
	verdict = receive(n, pair, hdr, &p);
	trace_net_rx(n->vd.dev.id, pair, p.len, verdict);
	if (verdict == NO_BUFFER) {
		n->rx_refused |= UINT32_C(1) << pair;
	} else if (verdict == TAKEN) {
		n->rx.packets++;
		n->rx.bytes += p.len;
	} else if (verdict == FILTERED) {
		n->rx.filtered++;
	} else {
		n->rx.dropped++;
	}
	device_unlock(&n->vd.dev);
	return verdict != NO_BUFFER;
}

void virtio_net_rx_kick(struct virtio_net *n, unsigned pair)
{
	const uint32_t bit = UINT32_C(1) << pair;

	/* Nobody waits for buffers: new ones need no doorbell. */
	virtq_notify_disable(n->vd.queues[virtio_net_rx_queue(pair)].vq);
	if (!(n->rx_refused & bit))
		return;
	n->rx_again |= bit;
	virtio_net_later(n);
}
