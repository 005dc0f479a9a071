/* SPDX-License-Identifier: MIT */
/*
 * virtio-net (virtio 1.2, section 5.1). For virtio_net*.c only.
 *
 * virtio_net.c is the device: configuration space and life; virtio_net_options.c is what it is
 * asked to be and offers. virtio_net_rx.c and virtio_net_tx.c are the two ways of a packet,
 * virtio_net_ctrl.c is the control queue, and virtio_net_filter.c decides which packets the guest
 * wants. virtio_net_vhost.c lets the host's kernel move packets. virtio_net_state.c saves and
 * reports.
 *
 * Everything but the vCPUs' accesses to configuration space and status runs on the home loop. A
 * packet is copied from or to the backend while it is handed over: between two calls no chain is in
 * flight, so there is nothing to drain.
 *
 * The backend is called with the device's lock held (net_send from a kick), and it calls the front
 * end, which takes that lock. Should it do both at once, `in_backend` says so and what it wants is
 * put off to a task: a packet that is received is never delivered from inside of one that is sent.
 */
#ifndef VIRTIO_VIRTIO_NET_H
#define VIRTIO_VIRTIO_NET_H

#include <linux/virtio_net.h>

#include "net/net.h"
#include "virtio/virtio_throttle.h"

/* 5.1.3; older headers of the kernel lack them. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define VIRTIO_NET_BIT(feature) (UINT64_C(1) << VIRTIO_NET_F_##feature)

/* In front of each packet, both ways: with VERSION_1 always with num_buffers (5.1.6). */
#define VIRTIO_NET_HDR_SIZE sizeof(struct virtio_net_hdr_v1)

#define VIRTIO_NET_VLANS    4096u
#define VIRTIO_NET_MAX_MACS 64u /* of each kind; more and the filter lets all of the kind pass */

#define VIRTIO_NET_VLAN_HLEN 4u

/* Segments of a frame that a backend is given; frames in more pieces are copied into one. */
#define VIRTIO_NET_MAX_SEGMENTS 64u

/* The features that CTRL_GUEST_OFFLOADS_SET switches (5.1.6.5.6.1). */
#define VIRTIO_NET_GUEST_OFFLOADS                                                               \
	(VIRTIO_NET_BIT(GUEST_CSUM) | VIRTIO_NET_BIT(GUEST_TSO4) | VIRTIO_NET_BIT(GUEST_TSO6) | \
	 VIRTIO_NET_BIT(GUEST_ECN) | VIRTIO_NET_BIT(GUEST_USO4) | VIRTIO_NET_BIT(GUEST_USO6))

struct virtio_net_mac {
	uint8_t byte[ETH_ALEN];
};

/* Addresses of one kind, unicast or group. */
struct virtio_net_mac_table {
	bool overflow; /* there were more than fit: all of this kind pass */
	unsigned count;
	struct virtio_net_mac mac[VIRTIO_NET_MAX_MACS];
};

/* What the driver wants to receive (5.1.6.5.1 to 5.1.6.5.3); plain data. */
struct virtio_net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	struct virtio_net_mac_table unicast, multicast;
	uint64_t vlans[VIRTIO_NET_VLANS / 64]; /* one bit for each VLAN */
};

struct virtio_net_counters {
	uint64_t packets, bytes;
	uint64_t dropped;  /* without a buffer, with the link down, or wrong */
	uint64_t filtered; /* not for this guest; received only */
};

struct virtio_net_options {
	char *backend, *mac;
	uint64_t queues, queue_size, mtu, speed;
	int duplex;
	bool csum, tso, uso, guest_csum, guest_tso, guest_uso, mrg;
	struct virtio_net_limits {
		struct rate_limit_options tx, rx;
	} limits;
};

/* Rows for an option table; `field` is a virtio_net_limits. */
#define VIRTIO_NET_LIMIT_ROWS(owner, field)                        \
	RATE_LIMIT_ROWS("tx-", "pps", "packets", owner, field.tx), \
		RATE_LIMIT_ROWS("rx-", "pps", "packets", owner, field.rx)

struct virtio_net {
	struct virtio_device vd; /* first */
	struct virtio_net_options options;
	struct net *net;
	unsigned max_pairs;
	uint16_t mtu; /* 0: not offered */
	/* Over the limit packets stay where they are: in the ring, and with the backend. */
	struct virtio_throttle tx_throttle, rx_throttle;
	struct virtio_net_vhost_pair *vhost; /* of max_pairs; NULL: not asked for */

	/* Guarded by the device's lock. */
	struct virtio_net_mac permanent_mac;
	bool link_wanted, link_backend; /* the link is up where both are */

	/* What a reset forgets. */
	struct virtio_net_mac mac; /* as configuration space has it */
	struct virtio_net_filter filter;
	bool announce;           /* VIRTIO_NET_S_ANNOUNCE */
	unsigned pairs;          /* queue pairs in use */
	uint64_t guest_offloads; /* bits of VIRTIO_NET_GUEST_OFFLOADS that are on */
	unsigned rx_offloads;    /* the same as enum net_offload: what may be delivered */

	/* Sets of queue pairs; home loop. */
	uint32_t rx_refused;         /* the backend waits for net_receive_ready */
	uint32_t tx_busy;            /* the device waits for `writable` */
	uint32_t rx_again, tx_again; /* for the task */
	bool in_backend;             /* the backend was called with the lock held */
	struct loop_task task;

	struct virtio_net_counters rx, tx;
	struct virtq_chain *rx_chains[VIRTQ_MAX_SIZE]; /* of the packet that is being delivered */
	uint8_t tx_frame[NET_MAX_PACKET];              /* a frame in too many pieces */
};

_Static_assert(NET_MAX_QUEUE_PAIRS <= 32, "sets of queue pairs are 32 bits");

static inline struct virtio_net *virtio_net(struct virtio_device *vd)
{
	return container_of(vd, struct virtio_net, vd);
}

/* Queues (5.1.2). Where the control queue is depends on what was negotiated. */
static inline unsigned virtio_net_rx_queue(unsigned pair)
{
	return 2 * pair;
}

static inline unsigned virtio_net_tx_queue(unsigned pair)
{
	return 2 * pair + 1;
}

static inline unsigned virtio_net_ctrl_queue(const struct virtio_net *n)
{
	return virtio_has(&n->vd, VIRTIO_NET_F_MQ) ? 2 * n->max_pairs : 2;
}

static inline bool virtio_net_link_up(const struct virtio_net *n)
{
	return n->link_wanted && n->link_backend;
}

/* ---- virtio_net_rx.c ---- */

/* net_frontend.receive. Home loop, lock not held. */
bool virtio_net_receive(void *opaque, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
			const struct iovec *iov, unsigned count);
/* The driver rang a receive queue. Home loop, lock held. */
void virtio_net_rx_kick(struct virtio_net *n, unsigned pair);

/* ---- virtio_net_tx.c ---- */

/* Send what there is, unless the backend is busy. Home loop, lock held. */
void virtio_net_tx_run(struct virtio_net *n, unsigned pair);

/* ---- virtio_net_ctrl.c ---- */

/* One command. Home loop, lock held. */
void virtio_net_ctrl(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain);

/* ---- virtio_net_filter.c ---- */

/* As after a reset: everything passes, until the driver says what it wants. */
void virtio_net_filter_reset(struct virtio_net_filter *f);
/*
 * Whether the guest wants the frame that begins with these bytes (at least ETH_HLEN of it).
 * own: the device's address; vlans: whether VLANs are filtered at all.
 */
bool virtio_net_filter_match(const struct virtio_net_filter *f, const struct virtio_net_mac *own,
			     bool vlans, const uint8_t *frame, size_t len);

/* ---- virtio_net_vhost.c; home loop ---- */

/* The device has its queues, the backend is open. On an error call fini. */
int virtio_net_vhost_init(struct virtio_net *n, struct vmm_error *err) MUST_CHECK;
/* Drained. */
void virtio_net_vhost_fini(struct virtio_net *n);
/* Something that decides about it may have changed: lend the pairs, or take them back. Locked. */
void virtio_net_vhost_update(struct virtio_net *n);
/* Take back that pair and those behind it. Lock held. */
void virtio_net_vhost_take_back(struct virtio_net *n, unsigned first);
/* What the kernel has refused it may take now. Lock held. */
void virtio_net_vhost_try_again(struct virtio_net *n);
/* How many are lent. */
unsigned virtio_net_vhost_pairs(const struct virtio_net *n);

/* ---- virtio_net_options.c ---- */

extern const struct option_desc virtio_net_option_table[];
/* device_class.check */
int virtio_net_check(const struct device *dev, const char *what, struct vmm_error *err);
/* What can be wrong with the options by themselves. *mac: the one that was given, if any. */
int virtio_net_check_options(const struct virtio_net_options *o, struct virtio_net_mac *mac,
			     struct vmm_error *err) MUST_CHECK;
int virtio_net_check_limits(const struct virtio_net_limits *limits,
			    struct vmm_error *err) MUST_CHECK;
/* Whether the backend leaves packets to limit. */
int virtio_net_match_limits(const struct net *net, const struct virtio_net_limits *limits,
			    struct vmm_error *err) MUST_CHECK;
/* Whether the options and the backend, which is open, go together. */
int virtio_net_match_backend(struct virtio_net *n, struct vmm_error *err) MUST_CHECK;
/* The feature bits to offer. */
uint64_t virtio_net_offered(const struct virtio_net *n);

/* ---- virtio_net_state.c ---- */

void virtio_net_save(struct virtio_device *vd, struct state_writer *w);
int virtio_net_load(struct virtio_device *vd, struct state_reader *r, uint32_t version);
/* device_class.stats */
void virtio_net_stats(struct device *dev, struct report *r);
/* The actions `link`, `announce`, `throttle` and `status`. */
extern const struct device_action virtio_net_actions[];

/* ---- virtio_net.c ---- */

/* Tell the backend which offloads the driver takes from now on. 0 or -errno. Home loop, locked. */
int virtio_net_set_offloads(struct virtio_net *n, uint64_t guest_offloads) MUST_CHECK;
/* Use that many queue pairs. 0 or -errno. Home loop, lock held. */
int virtio_net_set_pairs(struct virtio_net *n, unsigned pairs) MUST_CHECK;
/* The link, wanted and actual, may have changed. Lock held. */
void virtio_net_set_link(struct virtio_net *n, bool wanted, bool backend);
/* Do what rx_again and tx_again say, without the lock. Any thread. */
void virtio_net_later(struct virtio_net *n);

#endif
