/* SPDX-License-Identifier: MIT */
/*
 * User-mode network: libslirp ends the guest's connections and opens ones of its own as an ordinary
 * program, so it needs no privileges. It also answers DHCP, DNS, TFTP and router solicitations.
 */
#include "net/net_user.h"

#ifdef CONFIG_LIBSLIRP

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>

#include "net/slirp_library.h"

/* ---- packets ---- */

#define IP4_FLAGS    6 /* with the fragment's offset; the highest bits are flags */
#define IP4_FRAGMENT 0x3fffu
#define IP4_PROTOCOL 9
#define IP6_SIZE     40u
#define IP6_NEXT     6
#define TCP_FLAGS    13
#define TCP_SYN      0x02u

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Anything but ARP and segments of connections that exist can make libslirp open a socket. */
static bool may_open_socket(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + NET_ETH_HEADER;
	const size_t left = len - NET_ETH_HEADER;
	size_t header;

	switch (be16(frame + 12)) {
	case ETHERTYPE_IP:
		header = left ? (ip[0] & 0xfu) * 4u : 0;
		if (header < sizeof(uint32_t) * 5 || header + TCP_FLAGS >= left ||
		    ip[IP4_PROTOCOL] != IPPROTO_TCP || be16(ip + IP4_FLAGS) & IP4_FRAGMENT)
			return true;
		break;
	case ETHERTYPE_IPV6:
		header = IP6_SIZE;
		if (header + TCP_FLAGS >= left || ip[IP6_NEXT] != IPPROTO_TCP)
			return true;
		break;
	default:
		return false;
	}
	return ip[header + TCP_FLAGS] & TCP_SYN;
}

static enum net_result user_send(struct net *net, unsigned queue UNUSED,
				 const struct virtio_net_hdr_v1 *hdr UNUSED,
				 const struct iovec *iov, unsigned count, size_t len)
{
	struct user *user = container_of(net, struct user, net);

	if (len > user->mtu + NET_ETH_HEADER) {
		net_drop_tx(net);
		return NET_SENT;
	}
	/* libslirp looks more than once at some headers; the guest must not change them between. */
	net_iov_copy(user->frame, iov, count);
	if (may_open_socket(user->frame, len) && !user_poll_room(user)) {
		log_guest(net->log, &user->bound_log, net->what,
			  "the guest has %u connections open; more are refused", USER_SOCKETS);
		net_drop_tx(net);
		return NET_SENT;
	}
	user->lib->slirp_input(user->slirp, user->frame, (int)len);
	user_poll_soon(user);
	return NET_SENT;
}

static void user_receive(struct net *net, unsigned queue)
{
	struct user *user = container_of(net, struct user, net);
	struct iovec packet;

	if (packet_fifo_empty(&user->fifo))
		return;
	while (packet_fifo_peek(&user->fifo, &packet)) {
		if (!net_deliver(net, queue, NULL, &packet, 1))
			return;
		packet_fifo_pop(&user->fifo);
	}
	/* Reading goes on. */
	user_poll_soon(user);
}

/* ---- what libslirp asks of us ---- */

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *user = opaque;
	const struct iovec iov = {(void *)(uintptr_t)buf, len};

	if (packet_fifo_empty(&user->fifo) && net_deliver(&user->net, 0, NULL, &iov, 1))
		return (ssize_t)len;
	if (!packet_fifo_push(&user->fifo, buf, len))
		net_drop_rx(&user->net);
	return (ssize_t)len;
}

static void guest_error(const char *text, void *opaque)
{
	struct user *user = opaque;

	net_log_peer(&user->net, "%s", text);
}

static int64_t clock_get_ns(void *opaque)
{
	struct user *user = opaque;

	return (int64_t)clock_now(loop_clock(user->net.loop));
}

struct user_timer {
	struct loop_timer timer;
	SlirpTimerCb fn;
	void *fn_opaque;
	struct user *user;
};

static void timer_due(struct loop_timer *timer)
{
	struct user_timer *t = container_of(timer, struct user_timer, timer);

	user_poll_soon(t->user);
	t->fn(t->fn_opaque);
}

static void *timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct user *user = opaque;
	struct user_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct user_timer){.fn = fn, .fn_opaque = fn_opaque, .user = user};
	loop_timer_init(user->net.loop, &t->timer, timer_due);
	return t;
}

static void timer_free(void *timer, void *opaque UNUSED)
{
	struct user_timer *t = timer;

	if (!t)
		return;
	loop_timer_disarm(&t->timer);
	free(t);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque UNUSED)
{
	struct user_timer *t = timer;

	/* Its one timer sends router advertisements; the guest asks if none comes. */
	if (t)
		(void)!loop_timer_arm(&t->timer, (uint64_t)MAX(expire_ms, 0) * NS_PER_MS);
}

static void register_fd(int fd UNUSED, void *opaque)
{
	user_relay_accept(opaque);
}

static void notify(void *opaque)
{
	user_poll_soon(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = register_fd,
	.unregister_poll_fd = user_poll_gone,
	.notify = notify,
};

/* ---- life ---- */

static struct in_addr in4(uint32_t address)
{
	return (struct in_addr){htonl(address)};
}

static int start(struct user *user, struct vmm_error *err)
{
	const SlirpConfig config = {
		.version = 1,
		.restricted = user->restricted,
		.in_enabled = user->ipv4,
		.vnetwork = in4(user->network),
		.vnetmask = in4(user->netmask),
		.vhost = in4(user->host),
		.in6_enabled = user->ipv6,
		.vprefix_addr6 = user->prefix6,
		.vprefix_len = user->prefix6_len,
		.vhost6 = user->host6,
		.vhostname = user->hostname,
		.tftp_server_name = user->tftp_server,
		.tftp_path = user->tftp,
		.bootfile = user->bootfile,
		.vdhcp_start = in4(user->dhcp),
		.vnameserver = in4(user->dns),
		.vnameserver6 = user->dns6,
		.vdnssearch = (const char **)user->search,
		.vdomainname = user->domain,
		.if_mtu = user->mtu,
		.if_mru = user->mtu,
		.disable_host_loopback = user->restricted,
	};

	user->slirp = user->lib->slirp_new(&config, &callbacks, user);
	if (!user->slirp)
		return error_set(err, EINVAL, "%s: libslirp %s refuses this configuration",
				 user->net.what, user->lib->slirp_version_string());
	return 0;
}

/* Which port the host has chosen: the listener is the one that has just come. */
static void learn_port(struct user *user, struct user_hostfwd *fwd)
{
	union user_address bound;
	socklen_t len = sizeof(bound);

	user_poll_fill(user);
	if (!getsockname(user_poll_newest(user), &bound.sa, &len)) {
		fwd->port = ntohs(bound.in.sin_port);
		user_address_set_port(&fwd->host, fwd->port);
	}
}

static int forward_host(struct user *user, struct user_hostfwd *fwd, struct vmm_error *err)
{
	char host[USER_ADDRESS_TEXT], guest[USER_ADDRESS_TEXT];
	int flags = fwd->udp ? SLIRP_HOSTFWD_UDP : 0;

	if (fwd->host.sa.sa_family == AF_INET6)
		flags |= SLIRP_HOSTFWD_V6ONLY;
	errno = 0;
	if (user->lib->slirp_add_hostxfwd(user->slirp, &fwd->host.sa, user_address_size(&fwd->host),
					  &fwd->guest.sa, user_address_size(&fwd->guest), flags))
		return error_set_errno(err, errno ? errno : EADDRINUSE,
				       "%s: hostfwd: cannot listen on %s %s", user->net.what,
				       fwd->udp ? "udp" : "tcp",
				       user_address_text(&fwd->host, host));
	learn_port(user, fwd);
	log_info(user->net.log, user->net.what, "%s %s leads to the guest's %s",
		 fwd->udp ? "udp" : "tcp", user_address_text(&fwd->host, host),
		 user_address_text(&fwd->guest, guest));
	return 0;
}

static int user_open(struct net *net, struct vmm_error *err)
{
	struct user *user = container_of(net, struct user, net);
	int r;

	user_poll_init(user);
	if (!user->mtu && net->wish.mtu)
		user->mtu = MIN(MAX(net->wish.mtu, USER_MIN_MTU), USER_MAX_MTU);
	else if (!user->mtu)
		user->mtu = ETHERMTU;
	net->mtu = (unsigned)user->mtu;
	r = user_library_load(&user->lib, net->what, err);
	if (r)
		return r;
	if (packet_fifo_init(&user->fifo, USER_FIFO))
		return error_set(err, ENOMEM, "%s: out of memory", net->what);
	r = start(user, err);
	for (unsigned i = 0; !r && i < user->hostfwd_count; i++)
		r = forward_host(user, &user->hostfwds[i], err);
	if (!r && user->guestfwd_count)
		r = user_relay_open(user, err);
	if (!r)
		user_poll_soon(user);
	return r;
}

static void user_close(struct net *net)
{
	struct user *user = container_of(net, struct user, net);

	/* It says goodbye to its connections: descriptors are taken off, resets go nowhere. */
	if (user->slirp)
		user->lib->slirp_cleanup(user->slirp);
	user_relay_close(user);
	user_poll_fini(user);
	packet_fifo_fini(&user->fifo);
	free(user->lib);
}

static void user_report(const struct net *net, struct report *report)
{
	const struct user *user = container_of(net, struct user, net);
	char text[USER_ADDRESS_TEXT];

	report_string(report, "library", user->lib->slirp_version_string());
	report_u64(report, "sockets", user->fd_count);
	report_begin_array(report, "hostfwd");
	for (unsigned i = 0; i < user->hostfwd_count; i++) {
		const struct user_hostfwd *fwd = &user->hostfwds[i];

		report_begin(report, NULL);
		report_string(report, "protocol", fwd->udp ? "udp" : "tcp");
		report_string(report, "host", user_address_text(&fwd->host, text));
		report_string(report, "guest", user_address_text(&fwd->guest, text));
		report_end(report);
	}
	report_end_array(report);
}

#else /* CONFIG_LIBSLIRP */

#include <errno.h>

static int user_open(struct net *net, struct vmm_error *err)
{
	return error_set(err, EOPNOTSUPP,
			 "%s: vmm was built without the user network; install libslirp's header "
			 "(Debian's package libslirp-dev) and build it again",
			 net->what);
}

static void user_close(struct net *net UNUSED)
{
}

#define user_send    NULL
#define user_receive NULL
#define user_report  NULL

#endif

const struct net_ops net_user_ops = {
	.name = "user",
	.usage = "user",
	.help = "network without privileges: DHCP, DNS, connections out, forwards",
	.options = net_user_options,
	.size = sizeof(struct user),
	.check = net_user_check,
	.open = user_open,
	.close = user_close,
	.send = user_send,
	.receive = user_receive,
	.report = user_report,
};
