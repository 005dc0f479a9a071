/* SPDX-License-Identifier: MIT */
/*
 * A stream socket that one peer at a time uses: passt, QEMU, another vmm. Each frame follows its
 * length as four bytes, big-endian.
 *
 * What the guest sends in a turn is collected and written at its end. A peer that has not emptied
 * half of a full buffer after STALL_NS has stalled: until it does packets are dropped.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "net/net_socket.h"

#define LENGTH_SIZE sizeof(uint32_t)
#define BUFFER_SIZE (256 * KIB)
#define STALL_NS    NS_PER_SEC
#define ACCEPT_NS   NS_PER_SEC

_Static_assert(BUFFER_SIZE / 2 >= (LENGTH_SIZE + NET_MAX_PACKET), "room for whole packets");

struct stream {
	struct net net;
	char *address_text;
	bool server;
	uint64_t reconnect; /* seconds; 0: never */
	struct net_address address;

	struct net_bound bound; /* of a server */
	struct loop_fd accept_lfd;
	int fd; /* the peer's; -1: none */
	struct loop_fd lfd;
	bool connecting;
	struct loop_timer retry; /* a client connects again, a server accepts again */

	bool refused; /* the guest has no buffer for the first packet in `in` */
	bool busy;    /* the guest was told so and waits for `writable` */
	bool stalled; /* the peer does not read */
	struct loop_timer stall;
	struct loop_hook flush;
	uint64_t peers; /* that have connected so far */

	size_t in_start, in_len, out_start, out_len;
	uint8_t in[BUFFER_SIZE], out[BUFFER_SIZE];
};

static const struct option_desc options[] = {
	{.name = "address",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct stream, address_text),
	 .help = "unix:PATH or tcp:ADDRESS:PORT",
	 .required = true},
	{.name = "server",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct stream, server),
	 .fallback = "off",
	 .help = "listen for the peer instead of connecting to it"},
	{.name = "reconnect",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct stream, reconnect),
	 .fallback = "0",
	 .max = 3600,
	 .help = "seconds after which a client tries again; 0: it does not"},
	NET_OPTIONS(struct stream),
	OPTION_END,
};

static void peer_event(struct loop_fd *lfd, unsigned events);

/* ---- the peer comes and goes ---- */

static void watch(struct stream *s)
{
	const unsigned events = (!s->connecting && !s->refused ? (unsigned)LOOP_IN : 0) |
				(s->connecting || s->out_len ? (unsigned)LOOP_OUT : 0);

	if (s->fd < 0)
		return;
	/* Not with no events: a hang-up would be reported again and again. */
	if (!events)
		loop_fd_del(&s->lfd);
	else if (s->lfd.loop && s->lfd.fd >= 0)
		loop_fd_set(&s->lfd, events);
	else if (loop_fd_add(s->net.loop, &s->lfd, s->fd, events, peer_event))
		log_error(s->net.log, s->net.what, "out of memory: %s is not watched any more",
			  s->address_text);
}

static void tell_writable(struct stream *s)
{
	if (!s->busy)
		return;
	s->busy = false;
	net_writable(&s->net, 0);
}

static void retry_later(struct stream *s)
{
	const uint64_t now = clock_now(loop_clock(s->net.loop));

	if (s->reconnect && loop_timer_arm(&s->retry, now + s->reconnect * NS_PER_SEC))
		log_error(s->net.log, s->net.what, "out of memory: no new connection is tried");
}

/* For the next peer; a server may have stopped for want of descriptors. */
static void listen_again(struct stream *s)
{
	loop_timer_disarm(&s->retry);
	loop_fd_set(&s->accept_lfd, LOOP_IN);
}

static void disconnect(struct stream *s, const char *why)
{
	const bool was_up = net_link_up(&s->net);

	loop_fd_del(&s->lfd);
	close(s->fd);
	s->fd = -1;
	s->connecting = s->refused = s->stalled = false;
	s->in_start = s->in_len = s->out_start = s->out_len = 0;
	loop_timer_disarm(&s->stall);
	loop_hook_cancel(s->net.loop, &s->flush);
	if (was_up)
		net_log_peer(&s->net, "%s: the peer is gone: %s", s->address_text, why);
	net_set_link(&s->net, false);
	tell_writable(s);
	if (s->server)
		listen_again(s);
	else
		retry_later(s);
}

static void connected(struct stream *s)
{
	s->connecting = false;
	s->peers++;
	log_info(s->net.log, s->net.what, "%s: connected", s->address_text);
	watch(s);
	net_set_link(&s->net, true);
}

/* Returns 0 or -errno; with 0 the connection may still be under way. */
static int try_connect(struct stream *s)
{
	s->fd = net_connect(&s->address, &s->connecting);
	if (s->fd < 0)
		return s->fd;
	if (s->connecting)
		watch(s);
	else
		connected(s);
	return 0;
}

static void retry_due(struct loop_timer *timer)
{
	struct stream *s = container_of(timer, struct stream, retry);

	if (s->server)
		listen_again(s);
	else if (try_connect(s))
		retry_later(s);
}

static void connect_done(struct stream *s)
{
	int code = 0;
	socklen_t len = sizeof(code);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &code, &len) || code)
		disconnect(s, strerror(code));
	else
		connected(s);
}

/*
 * A peer waits that cannot be accepted, and the loop would report it again and again. Without a
 * timer it stays until the next one leaves.
 */
static void pause_accepting(struct stream *s, int code)
{
	const uint64_t now = clock_now(loop_clock(s->net.loop));

	net_log_peer(&s->net, "%s: cannot accept a peer: %s", s->address_text, strerror(code));
	loop_fd_set(&s->accept_lfd, 0);
	if (loop_timer_arm(&s->retry, now + ACCEPT_NS))
		log_error(s->net.log, s->net.what, "out of memory: no new peer is accepted");
}

/* It is not watched while the guest has no buffer for what it sent. */
static bool has_left(const struct stream *s)
{
	struct pollfd poll_fd = {.fd = s->fd, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0;
}

static void accept_peer(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct stream *s = container_of(lfd, struct stream, accept_lfd);
	const int fd = accept4(s->bound.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Anything else is a peer that went away again. */
		if (unix_socket_client_waits(errno))
			pause_accepting(s, errno);
		return;
	}
	if (s->fd >= 0 && has_left(s))
		disconnect(s, "another one has come");
	if (s->fd >= 0) {
		net_log_peer(&s->net, "%s: a second peer was refused", s->address_text);
		close(fd);
		return;
	}
	s->fd = fd;
	connected(s);
}

/* ---- from the peer ---- */

/* Deliver whole packets. Returns false if what it sends cannot be frames. */
static bool deliver(struct stream *s)
{
	uint32_t len;

	while (!s->refused && s->in_len >= LENGTH_SIZE) {
		struct iovec frame = {s->in + s->in_start + LENGTH_SIZE, 0};

		memcpy(&len, s->in + s->in_start, LENGTH_SIZE);
		len = be32toh(len);
		if (len > NET_MAX_PACKET)
			return false;
		if (s->in_len < LENGTH_SIZE + len)
			break;
		frame.iov_len = len;
		if (len < NET_ETH_HEADER)
			net_drop_rx(&s->net);
		else if (!net_deliver(&s->net, 0, NULL, &frame, 1))
			s->refused = true;
		if (s->refused)
			break;
		s->in_start += LENGTH_SIZE + len;
		s->in_len -= LENGTH_SIZE + len;
	}
	return true;
}

static void read_peer(struct stream *s)
{
	ssize_t n;

	memmove(s->in, s->in + s->in_start, s->in_len);
	s->in_start = 0;
	/* Never full here: it is larger than a packet, and whole packets are gone. */
	n = recv(s->fd, s->in + s->in_len, BUFFER_SIZE - s->in_len, MSG_DONTWAIT);
	if (n > 0) {
		s->in_len += (size_t)n;
		if (!deliver(s))
			disconnect(s, "it sent a length that no frame has");
	} else if (n == 0) {
		disconnect(s, "it closed the connection");
	} else if (errno != EAGAIN && errno != EINTR) {
		disconnect(s, strerror(errno));
	}
}

static void stream_receive(struct net *net, unsigned queue UNUSED)
{
	struct stream *s = container_of(net, struct stream, net);

	s->refused = false;
	if (s->fd < 0)
		return;
	if (deliver(s))
		watch(s);
	else
		disconnect(s, "it sent a length that no frame has");
}

/* ---- to the peer ---- */

static void write_peer(struct stream *s)
{
	ssize_t n;

	if (!s->out_len)
		return;
	n = send(s->fd, s->out + s->out_start, s->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			disconnect(s, strerror(errno));
		return;
	}
	s->out_start += (size_t)n;
	s->out_len -= (size_t)n;
	if (!s->out_len)
		s->out_start = 0;
	if (s->out_len > BUFFER_SIZE / 2)
		return;
	s->stalled = false;
	loop_timer_disarm(&s->stall);
	tell_writable(s);
}

static void flush(struct loop_hook *hook)
{
	struct stream *s = container_of(hook, struct stream, flush);

	write_peer(s);
	watch(s);
}

static void stall_due(struct loop_timer *timer)
{
	struct stream *s = container_of(timer, struct stream, stall);

	s->stalled = true;
	net_log_peer(&s->net, "%s: the peer does not read; packets are dropped until it does",
		     s->address_text);
	tell_writable(s);
}

static bool make_room(struct stream *s, size_t need)
{
	if (need > BUFFER_SIZE - s->out_len)
		return false;
	if (need > BUFFER_SIZE - s->out_start - s->out_len) {
		memmove(s->out, s->out + s->out_start, s->out_len);
		s->out_start = 0;
	}
	return true;
}

static enum net_result stream_send(struct net *net, unsigned queue UNUSED,
				   const struct virtio_net_hdr_v1 *hdr UNUSED,
				   const struct iovec *iov, unsigned count, size_t len)
{
	struct stream *s = container_of(net, struct stream, net);
	const uint32_t length = htobe32((uint32_t)len);
	const uint64_t now = clock_now(loop_clock(net->loop));
	uint8_t *end;

	if (!net->link) {
		net_drop_tx(net);
		return NET_SENT;
	}
	if (!make_room(s, LENGTH_SIZE + len)) {
		/* Without a timer it would be for ever. */
		if (s->stalled ||
		    (s->stall.heap_index < 0 && loop_timer_arm(&s->stall, now + STALL_NS))) {
			net_drop_tx(net);
			return NET_SENT;
		}
		s->busy = true;
		return NET_BUSY;
	}
	end = s->out + s->out_start + s->out_len;
	memcpy(end, &length, LENGTH_SIZE);
	net_iov_copy(end + LENGTH_SIZE, iov, count);
	s->out_len += LENGTH_SIZE + len;
	loop_hook_schedule(net->loop, &s->flush);
	return NET_SENT;
}

static void peer_event(struct loop_fd *lfd, unsigned events)
{
	struct stream *s = container_of(lfd, struct stream, lfd);

	if (s->connecting) {
		connect_done(s);
		return;
	}
	if (events & (LOOP_OUT | LOOP_HUP))
		write_peer(s);
	if (s->fd >= 0 && !s->refused && events & (LOOP_IN | LOOP_HUP))
		read_peer(s);
	watch(s);
}

/* ---- life ---- */

static int stream_check(struct net *net, struct vmm_error *err)
{
	struct stream *s = container_of(net, struct stream, net);

	if (s->server && s->reconnect)
		return error_set(err, EINVAL, "%s: reconnect is for clients; a server waits",
				 net->what);
	return net_address_parse(&s->address, s->address_text, true, net->what, err);
}

static int listen_for_peer(struct stream *s, struct vmm_error *err)
{
	int r = net_bound_open(&s->bound, &s->address, SOCK_STREAM);

	if (r == -EADDRINUSE)
		return error_set(err, EADDRINUSE, "%s: %s is in use by another program",
				 s->net.what, s->address_text);
	if (r == -EEXIST)
		return error_set(err, EEXIST, "%s: %s is there already, and is not a socket",
				 s->net.what, s->address_text);
	if (!r)
		r = loop_fd_add(s->net.loop, &s->accept_lfd, s->bound.fd, LOOP_IN, accept_peer);
	if (r)
		return error_set_errno(err, -r, "%s: cannot listen on %s", s->net.what,
				       s->address_text);
	log_info(s->net.log, s->net.what, "listening on %s", s->address_text);
	return 0;
}

static int stream_open(struct net *net, struct vmm_error *err)
{
	struct stream *s = container_of(net, struct stream, net);
	int r;

	s->fd = s->bound.fd = -1;
	net->link = false;
	loop_timer_init(net->loop, &s->retry, retry_due);
	loop_timer_init(net->loop, &s->stall, stall_due);
	loop_hook_init(&s->flush, flush);
	if (s->server)
		return listen_for_peer(s, err);
	r = try_connect(s);
	if (r && s->reconnect) {
		log_info(net->log, net->what, "%s: %s; trying again", s->address_text,
			 strerror(-r));
		retry_later(s);
		return 0;
	}
	if (r)
		return error_set_errno(err, -r, "%s: cannot connect to %s", net->what,
				       s->address_text);
	return 0;
}

static void stream_close(struct net *net)
{
	struct stream *s = container_of(net, struct stream, net);

	loop_hook_cancel(net->loop, &s->flush);
	loop_timer_disarm(&s->retry);
	loop_timer_disarm(&s->stall);
	loop_fd_del(&s->accept_lfd);
	loop_fd_del(&s->lfd);
	net_bound_close(&s->bound);
	if (s->fd >= 0)
		close(s->fd);
}

static void stream_report(const struct net *net, struct report *report)
{
	const struct stream *s = container_of(net, struct stream, net);

	report_string(report, "address", s->address_text);
	report_bool(report, "server", s->server);
	report_u64(report, "connections", s->peers);
	report_bool(report, "stalled", s->stalled);
}

const struct net_ops net_stream_ops = {
	.name = "stream",
	.usage = "stream:unix:PATH",
	.help = "a stream socket to passt, QEMU or another vmm",
	.options = options,
	.implied = "address",
	.size = sizeof(struct stream),
	.check = stream_check,
	.open = stream_open,
	.close = stream_close,
	.send = stream_send,
	.receive = stream_receive,
	.report = stream_report,
};
