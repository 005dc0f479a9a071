/* SPDX-License-Identifier: MIT */
/*
 * Packet backends between a network device and the host: user-mode network (libslirp), tap, unix
 * sockets, each with an optional capture file.
 *
 * Everything runs on one loop. A packet travels with a struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6)
 * that says what is left to do to it: with NET_CSUM the checksum, with NET_TSO4 and so on the
 * segmentation. A backend that offers an offload takes such packets from the guest and may deliver
 * such packets once net_set_offloads allows it; otherwise the header's flags and gso_type are 0.
 *
 * Flow control goes both ways and never blocks: a front end without buffers refuses a packet and
 * the backend stops reading for that queue pair until net_receive_ready; a backend that is full
 * answers NET_BUSY and calls `writable` later. A backend whose peer has stalled or gone drops
 * packets rather than hold the guest up for ever, as a network does.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/report.h"

/* 64 KiB segments with an Ethernet header; without the vnet header */
#define NET_MAX_PACKET      65550u
#define NET_MAX_QUEUE_PAIRS 16u

enum net_offload {
	NET_CSUM = 1 << 0, /* a partial checksum (VIRTIO_NET_HDR_F_NEEDS_CSUM) */
	NET_TSO4 = 1 << 1,
	NET_TSO6 = 1 << 2,
	NET_TSO_ECN = 1 << 3,
	NET_USO = 1 << 4, /* VIRTIO_NET_HDR_GSO_UDP_L4 */
};

struct net;
struct device;
struct option_desc;

/* What the front end gives. All on the loop; none may destroy the net. */
struct net_frontend {
	/*
	 * A packet for queue pair `queue`; iov is valid during the call and must not be kept.
	 * Returns true if it was taken (or dropped by the front end's own decision), false if there
	 * is no buffer: it will be offered again after net_receive_ready.
	 */
	bool (*receive)(void *opaque, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			const struct iovec *iov, unsigned count);
	/* After NET_BUSY: there is room again. */
	void (*writable)(void *opaque, unsigned queue);
	/* Optional: the backend's link went up or down (a socket's peer came or left). */
	void (*link)(void *opaque, bool up);
};

/* What the front end is made for; a backend whose own options do not say it follows. 0: no matter.
 */
struct net_wish {
	unsigned queue_pairs, mtu;
};

/*
 * spec: `user[,option…]`, `tap[,ifname=…|fd=…]`, `stream:…`, `dgram:…`, `none`; each takes
 * `pcap=FILE`. what: how messages name the option ("--net"). wish: may be NULL. Errors with a
 * sentence. On the loop or when it does not run; loop's thread must have SIGPIPE blocked or ignored
 * (loop_start's has it), since libslirp writes to sockets without MSG_NOSIGNAL.
 */
int net_create(struct net **net, const char *spec, const char *what, const struct net_wish *wish,
	       struct loop *loop, const struct log *log, struct vmm_error *err) MUST_CHECK;

/* The same for a device: its program may also have made the network itself (`api:NAME`). */
int net_create_for(struct net **net, const char *spec, const char *what,
		   const struct net_wish *wish, const struct device *dev,
		   struct vmm_error *err) MUST_CHECK;

/* The backends there are, for help: index 0, 1, … until it returns false. Texts are static. */
struct net_kind {
	const char *name;
	const char *usage;                 /* "stream:unix:PATH" */
	const char *help;                  /* one line */
	const struct option_desc *options; /* core/option.h; ended by a NULL name */
};
bool net_kind(unsigned index, struct net_kind *kind);

/* Check a spec without opening anything. */
int net_check(const char *spec, const char *what, struct vmm_error *err) MUST_CHECK;

/* On the loop or when it does not run. NULL is allowed. */
void net_destroy(struct net *net);

/* Attach or (NULL) detach the front end; packets are delivered while one is attached. */
void net_attach(struct net *net, const struct net_frontend *frontend, void *opaque);

/* Queue pairs that the backend can serve at once, 1 to NET_MAX_QUEUE_PAIRS. */
unsigned net_max_queue_pairs(const struct net *net);
/* Use `pairs` of them from now on (a new attach starts with 1). Returns 0 or -errno. */
int net_set_queue_pairs(struct net *net, unsigned pairs) MUST_CHECK;

/* enum net_offload: what the backend takes from the guest / could deliver to it. */
unsigned net_tx_offloads(const struct net *net);
unsigned net_rx_offloads(const struct net *net);
/* What the front end accepts from now on, a subset of net_rx_offloads. 0 after attach. */
int net_set_rx_offloads(struct net *net, unsigned offloads) MUST_CHECK;

enum net_result { NET_SENT, NET_BUSY };
/*
 * Send one Ethernet frame (without FCS) of at most NET_MAX_PACKET bytes. It is copied or sent
 * before this returns. hdr has been checked by the front end against what was negotiated.
 * NET_BUSY: nothing was taken; `writable` will follow. Frames that the backend cannot carry are
 * dropped and counted: NET_SENT.
 */
enum net_result net_send(struct net *net, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			 const struct iovec *iov, unsigned count);

/* The front end has buffers again for queue pair `queue`. Delivers from the loop. */
void net_receive_ready(struct net *net, unsigned queue);

/*
 * Whether the host's kernel is to move packets between rings and the backend (vhost=on). Where it
 * does for a queue pair, that one is lent: net_lend returns the descriptor that the kernel needs,
 * and until net_take_back the backend neither reads it nor may net_send be called for it. A packet
 * that was refused before is lost. The pair is in use.
 */
bool net_vhost(const struct net *net);
int net_lend(struct net *net, unsigned queue);
void net_take_back(struct net *net, unsigned queue);

bool net_link_up(const struct net *net);

/* The largest MTU that the backend can carry, 0: any. */
unsigned net_mtu(const struct net *net);

/* Counters and whatever the backend has to say (addresses, forwards). */
void net_report(const struct net *net, struct report *report);

#endif
