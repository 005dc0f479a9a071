/* SPDX-License-Identifier: MIT */
/*
 * Inside of the packet backends; only net/ includes this.
 *
 * A backend is a const `struct net_ops` plus an instance that begins with a struct net. Its option
 * table has offsets into the instance, so that what was parsed lies beside what was opened. The
 * core parses, counts, captures and keeps the front end's rules; a backend moves packets.
 */
#ifndef NET_NET_BACKEND_H
#define NET_NET_BACKEND_H

#include "core/option.h"
#include "core/provided.h"
#include "net/net.h"
#include "net/net_pcap.h"

#define NET_ETH_HEADER 14u

struct net_ops {
	const char *name;
	const char *usage; /* name and what must follow */
	const char *help;  /* one line */
	const struct option_desc *options;
	const char *implied; /* the option that a lone first item sets, or NULL */
	size_t size;         /* of the instance, struct net first */

	/* Optional: what the table cannot check. Opens nothing; may store what it parsed. */
	int (*check)(struct net *net, struct vmm_error *err);
	/* Open. max_pairs (1), offloads (0), link (up) and mtu (0) are there to be changed. */
	int (*open)(struct net *net, struct vmm_error *err);
	/* Undo open, also one that failed half way. */
	void (*close)(struct net *net);
	/* As net_send; the packet's size is checked. Drops are counted with net_drop_tx. */
	enum net_result (*send)(struct net *net, unsigned queue,
				const struct virtio_net_hdr_v1 *hdr, const struct iovec *iov,
				unsigned count, size_t len);
	/* Offer again what net_deliver refused and read on. From the loop, never inside send. */
	void (*receive)(struct net *net, unsigned queue);
	/* Optional. */
	int (*set_queue_pairs)(struct net *net, unsigned pairs);
	int (*set_rx_offloads)(struct net *net, unsigned offloads);
	void (*report)(const struct net *net, struct report *report);
	/* Both, or none for backends that never set net.vhost. As net_lend, net_take_back. */
	int (*lend)(struct net *net, unsigned queue);
	void (*take_back)(struct net *net, unsigned queue);
};

struct net_counters {
	uint64_t packets, bytes, dropped;
};

struct net {
	const struct net_ops *ops;
	struct loop *loop;
	const struct log *log;
	struct log_limit peer_log;     /* for what a peer or the guest provokes */
	struct provided_set *provided; /* may be NULL */
	char what[48];                 /* "--net tap" */
	struct net_wish wish;          /* for open */
	char *pcap_path;               /* NULL: no capture */
	struct net_pcap *pcap;
	bool opened;

	const struct net_frontend *frontend; /* NULL: none attached */
	void *opaque;
	struct loop_hook receive_hook;
	uint32_t receive_queues; /* that the hook shall offer again */
	bool sending;            /* inside ops->send */

	unsigned pairs, max_pairs;
	unsigned tx_offloads, rx_offloads;
	unsigned mtu;
	bool link;
	bool vhost;                 /* asked for */
	struct net_counters tx, rx; /* as the guest sees it */
};

/* The options that every backend has, for the end of its table. `instance` begins with struct net.
 */
#define NET_OPTIONS(instance)                                 \
	{                                                     \
		.name = "pcap", .type = OPTION_STRING,        \
		.offset = offsetof(instance, net.pcap_path),  \
		.help = "capture all packets into this file", \
	}

extern const struct net_ops net_none_ops;
extern const struct net_ops net_user_ops;
extern const struct net_ops net_tap_ops;
extern const struct net_ops net_stream_ops;
extern const struct net_ops net_dgram_ops;
extern const struct net_ops net_api_ops;

/*
 * Give a packet to the front end. hdr: NULL for one that has nothing left to do. False: not now;
 * offer it again when ops->receive is called. True: taken, or dropped because nobody is attached.
 * Inside of ops->send it always refuses: a packet never answers from within the one that caused it.
 */
bool net_deliver(struct net *net, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		 const struct iovec *iov, unsigned count);

/* Room again after NET_BUSY. From the loop, never inside send. */
void net_writable(struct net *net, unsigned queue);

/* Never inside send. */
void net_set_link(struct net *net, bool up);

static inline void net_drop_tx(struct net *net)
{
	net->tx.dropped++;
}

static inline void net_drop_rx(struct net *net)
{
	net->rx.dropped++;
}

/* Copy all of it; `to` has room. */
void net_iov_copy(void *to, const struct iovec *iov, unsigned count);

/* As log_guest. */
#define net_log_peer(net, ...) log_guest((net)->log, &(net)->peer_log, (net)->what, __VA_ARGS__)

#endif
