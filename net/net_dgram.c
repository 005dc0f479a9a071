/* SPDX-License-Identifier: MIT */
/*
 * A unix datagram socket: one frame in each datagram, as QEMU's -netdev dgram has it.
 *
 * The socket is never connected, so a peer that is started again is reached again, and reaches us.
 * The kernel then does not say when a full peer, which is one with some ten datagrams, has room. A
 * second socket, over which nothing is sent, is connected to it for that. Where that says nothing
 * new, sending is tried again after RETRY_NS. A peer that takes nothing for STALL_NS has stalled:
 * until it reads again packets are dropped.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "net/net_socket.h"

#define RETRY_NS  (NS_PER_MS / 4)
#define STALL_NS  NS_PER_SEC
#define PER_EVENT 64 /* packets, so that others have their turn */

struct dgram {
	struct net net;
	char *peer_text, *local_text;
	struct net_address peer, local;

	struct net_bound bound;
	struct loop_fd lfd;
	bool busy;           /* the guest waits for `writable` */
	uint64_t full_since; /* of the peer; 0: it is not */
	struct loop_timer retry;
	int room_fd; /* connected to the peer while that is full */
	struct loop_fd room;
	bool had_room; /* and nothing was sent since */
	size_t held;   /* bytes of a packet that the guest had no buffer for; 0: none */
	uint8_t in[NET_MAX_PACKET];
};

static const struct option_desc options[] = {
	{.name = "peer",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct dgram, peer_text),
	 .help = "where frames go: unix:PATH",
	 .required = true},
	{.name = "local",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct dgram, local_text),
	 .help = "path of the socket where frames come in",
	 .required = true},
	NET_OPTIONS(struct dgram),
	OPTION_END,
};

/* ---- to the peer ---- */

static void try_again(struct dgram *d)
{
	loop_fd_set(&d->room, 0);
	if (!d->busy)
		return;
	d->busy = false;
	net_writable(&d->net, 0);
}

static void retry_due(struct loop_timer *timer)
{
	try_again(container_of(timer, struct dgram, retry));
}

static void room_event(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct dgram *d = container_of(lfd, struct dgram, room);

	d->had_room = true;
	try_again(d);
}

/* Each time anew: it may be another peer by now. False: it would not say when to try again. */
static bool await_room(struct dgram *d)
{
	/* What is full is not the peer's queue, but the memory for all that we have sent. */
	if (d->had_room || connect(d->room_fd, &d->peer.sa, d->peer.size))
		return false;
	loop_fd_set(&d->room, LOOP_OUT);
	return true;
}

/* The peer's queue is full. */
static enum net_result hold_back(struct dgram *d)
{
	const uint64_t now = clock_now(loop_clock(d->net.loop));
	uint64_t due;

	if (!d->full_since)
		d->full_since = now;
	if (now - d->full_since >= STALL_NS)
		goto drop;
	due = await_room(d) ? d->full_since + STALL_NS : now + RETRY_NS;
	if (loop_timer_arm(&d->retry, due))
		goto drop;
	d->busy = true;
	return NET_BUSY;
drop:
	net_drop_tx(&d->net);
	return NET_SENT;
}

static enum net_result dgram_send(struct net *net, unsigned queue UNUSED,
				  const struct virtio_net_hdr_v1 *hdr UNUSED,
				  const struct iovec *iov, unsigned count, size_t len UNUSED)
{
	struct dgram *d = container_of(net, struct dgram, net);
	const struct msghdr msg = {
		.msg_name = &d->peer.sa,
		.msg_namelen = d->peer.size,
		.msg_iov = (struct iovec *)(uintptr_t)iov,
		.msg_iovlen = count,
	};

	if (sendmsg(d->bound.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EAGAIN)
			return hold_back(d);
		/* Nobody there, or more pieces than the kernel takes. */
		net_drop_tx(net);
	}
	d->full_since = 0;
	d->had_room = false;
	return NET_SENT;
}

/* ---- from the peer ---- */

static void dgram_event(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct dgram *d = container_of(lfd, struct dgram, lfd);

	for (unsigned i = 0; i < PER_EVENT && !d->held; i++) {
		const ssize_t n = recv(d->bound.fd, d->in, sizeof(d->in), MSG_DONTWAIT | MSG_TRUNC);
		const struct iovec frame = {d->in, (size_t)n};

		if (n < 0)
			break;
		if ((size_t)n < NET_ETH_HEADER || (size_t)n > sizeof(d->in))
			net_drop_rx(&d->net);
		else if (!net_deliver(&d->net, 0, NULL, &frame, 1))
			d->held = (size_t)n;
	}
	loop_fd_set(&d->lfd, d->held ? 0 : LOOP_IN);
}

static void dgram_receive(struct net *net, unsigned queue UNUSED)
{
	struct dgram *d = container_of(net, struct dgram, net);
	const struct iovec frame = {d->in, d->held};

	if (d->held && net_deliver(net, 0, NULL, &frame, 1))
		d->held = 0;
	loop_fd_set(&d->lfd, d->held ? 0 : LOOP_IN);
}

/* ---- life ---- */

static int dgram_check(struct net *net, struct vmm_error *err)
{
	struct dgram *d = container_of(net, struct dgram, net);
	int r = net_address_parse(&d->peer, d->peer_text, false, net->what, err);

	return r ? r : net_address_unix(&d->local, d->local_text, net->what, err);
}

static int dgram_open(struct net *net, struct vmm_error *err)
{
	struct dgram *d = container_of(net, struct dgram, net);
	const int size = 4 << 20;
	int r;

	d->bound.fd = -1;
	loop_timer_init(net->loop, &d->retry, retry_due);
	d->room_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->room_fd < 0)
		return error_set_errno(err, errno, "%s", net->what);
	r = net_bound_open(&d->bound, &d->local, SOCK_DGRAM);
	if (r == -EADDRINUSE)
		return error_set(err, EADDRINUSE, "%s: local=%s is in use by another program",
				 net->what, d->local_text);
	if (r == -EEXIST)
		return error_set(err, EEXIST, "%s: local=%s is there already, and is not a socket",
				 net->what, d->local_text);
	if (r)
		return error_set_errno(err, -r, "%s: cannot create local=%s", net->what,
				       d->local_text);
	/* As much as the system's limit allows. */
	setsockopt(d->bound.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = loop_fd_add(net->loop, &d->lfd, d->bound.fd, LOOP_IN, dgram_event);
	if (!r)
		r = loop_fd_add(net->loop, &d->room, d->room_fd, 0, room_event);
	return r ? error_set_errno(err, -r, "%s", net->what) : 0;
}

static void dgram_close(struct net *net)
{
	struct dgram *d = container_of(net, struct dgram, net);

	loop_timer_disarm(&d->retry);
	loop_fd_del(&d->lfd);
	loop_fd_del(&d->room);
	if (d->room_fd >= 0)
		close(d->room_fd);
	net_bound_close(&d->bound);
}

static void dgram_report(const struct net *net, struct report *report)
{
	const struct dgram *d = container_of(net, struct dgram, net);

	report_string(report, "peer", d->peer_text);
	report_string(report, "local", d->local_text);
}

const struct net_ops net_dgram_ops = {
	.name = "dgram",
	.usage = "dgram:unix:PATH,local=PATH",
	.help = "a unix datagram socket to QEMU or another vmm",
	.options = options,
	.implied = "peer",
	.size = sizeof(struct dgram),
	.check = dgram_check,
	.open = dgram_open,
	.close = dgram_close,
	.send = dgram_send,
	.receive = dgram_receive,
	.report = dgram_report,
};
