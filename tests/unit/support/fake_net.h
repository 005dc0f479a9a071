/* SPDX-License-Identifier: MIT */
/*
 * A packet backend that only remembers: all of net/net.h, for tests of network devices.
 *
 * A test that includes fake_net_define.h gets these functions instead of the real ones. Whatever
 * the spec says, a new backend is as fake_net_setup describes it. One at a time.
 */
#ifndef SUPPORT_FAKE_NET_H
#define SUPPORT_FAKE_NET_H

#include "net/net.h"

#define FAKE_NET_FD     1000 /* what net_lend returns for queue pair 0; no descriptor at all */
#define FAKE_NET_FRAMES 16u  /* the last that were sent are kept */

/* What the next backend is like. */
struct fake_net_setup {
	unsigned pairs, mtu, tx_offloads, rx_offloads;
	bool link_down, vhost;
};
extern struct fake_net_setup fake_net_setup;

struct fake_frame {
	unsigned queue;
	struct virtio_net_hdr_v1 hdr;
	unsigned pieces;
	size_t len;
	uint8_t bytes[NET_MAX_PACKET];
};

/* What it does with what is sent, apart from keeping it. */
enum fake_echo {
	FAKE_NET_SILENT,
	FAKE_NET_ECHO,        /* back to the guest from inside of net_send */
	FAKE_NET_CONTRADICTS, /* link and writable from inside of net_send */
};

struct net {
	const struct net_frontend *frontend; /* NULL: detached */
	void *opaque;
	char *spec;
	struct net_wish wish;
	unsigned pairs, rx_offloads;
	struct fake_net_setup setup;
	bool link;

	/* For tests to set. */
	bool busy;                       /* net_send answers NET_BUSY */
	int offloads_error, pairs_error; /* what the setters return */
	enum fake_echo echo;
	void (*on_send)(void); /* inside of net_send, before the frame is looked at */

	/* For tests to read. */
	unsigned sent, refused_sends, refused_echos;
	unsigned ready[NET_MAX_QUEUE_PAIRS];       /* calls of net_receive_ready */
	unsigned depth, max_depth;                 /* of receive inside of receive or send */
	struct fake_frame frames[FAKE_NET_FRAMES]; /* frame number i is at i % FAKE_NET_FRAMES */
	uint32_t lent;                             /* set of queue pairs */
	unsigned lent_offloads;                    /* rx_offloads at the latest net_lend */
	struct fake_frame pending;                 /* refused by the front end; len 0: none */
};

/* The one that exists, or NULL. */
extern struct net *fake_net;

/* Deliver a frame; hdr may be NULL. What is refused waits for net_receive_ready. Returns whether it
 * was taken. */
bool fake_net_deliver(unsigned queue, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		      size_t len);
/* Room again after `busy`. */
void fake_net_writable(unsigned queue);
void fake_net_link(bool up);
/* Frame `index` of those sent. */
const struct fake_frame *fake_net_frame(unsigned index);

#endif
