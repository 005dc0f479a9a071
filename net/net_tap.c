/* SPDX-License-Identifier: MIT */
/*
 * A tap interface of the host: each queue pair is a descriptor from which frames are read and to
 * which they are written, with the virtio-net header in front, so that checksums and segmentation
 * are left to whoever does them last. The kernel takes or drops what is written; it never waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_backend.h"

/* Since Linux 6.2. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define PER_EVENT  64   /* packets, so that others have their turn */
#define TAP_PIECES 1024 /* of a packet; as many as the kernel takes */

struct tap_queue {
	struct loop_fd lfd;
	struct tap *tap;
	unsigned index;
	int fd; /* -1: none */
	bool attached;
	bool lent;   /* the kernel reads and writes it */
	size_t held; /* bytes of a packet that the guest had no buffer for; 0: none */
	struct {
		struct virtio_net_hdr_v1 hdr;
		uint8_t frame[NET_MAX_PACKET];
	} in;
};

struct tap {
	struct net net;
	char *ifname, *fds_text;
	uint64_t queues;

	int given[NET_MAX_QUEUE_PAIRS]; /* parsed from fds_text */
	unsigned given_count;
	char name[IFNAMSIZ]; /* of the interface */
	bool header;         /* frames have the virtio-net header in front */
	struct tap_queue *queue[NET_MAX_QUEUE_PAIRS];
	struct iovec pieces[TAP_PIECES];
};

static const struct option_desc options[] = {
	{.name = "ifname",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct tap, ifname),
	 .help = "interface to use, or to create (default: a new tapN)"},
	{.name = "fd",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct tap, fds_text),
	 .help = "open descriptors to use instead, one for each queue pair: 7 or 7:8:9"},
	{.name = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct tap, queues),
	 .min = 1,
	 .max = NET_MAX_QUEUE_PAIRS,
	 .help = "queue pairs (default: as many as the card has)"},
	{.name = "vhost",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct tap, net.vhost),
	 .fallback = "off",
	 .help = "let the host's kernel move the packets (/dev/vhost-net)"},
	NET_OPTIONS(struct tap),
	OPTION_END,
};

/* ---- packets ---- */

static enum net_result tap_send(struct net *net, unsigned queue,
				const struct virtio_net_hdr_v1 *hdr, const struct iovec *iov,
				unsigned count, size_t len UNUSED)
{
	struct tap *tap = container_of(net, struct tap, net);
	const unsigned first = tap->header ? 1 : 0;
	ssize_t n;

	if (count + first > TAP_PIECES) {
		net_drop_tx(net);
		return NET_SENT;
	}
	tap->pieces[0] = (struct iovec){(void *)(uintptr_t)hdr, sizeof(*hdr)};
	memcpy(tap->pieces + first, iov, count * sizeof(*iov));
	do
		n = writev(tap->queue[queue]->fd, tap->pieces, (int)(count + first));
	while (n < 0 && errno == EINTR);
	/* The interface is down, or the header asks for something that cannot be. */
	if (n < 0)
		net_drop_tx(net);
	return NET_SENT;
}

/* Returns false if the guest has no buffer. */
static bool deliver(struct tap_queue *q, size_t len)
{
	const size_t front = q->tap->header ? sizeof(q->in.hdr) : 0;
	const struct iovec frame = {q->in.frame, len - front};

	if (len < front + NET_ETH_HEADER) {
		net_drop_rx(&q->tap->net);
		return true;
	}
	return net_deliver(&q->tap->net, q->index, q->tap->header ? &q->in.hdr : NULL, &frame, 1);
}

static void gone(struct tap_queue *q)
{
	loop_fd_del(&q->lfd);
	if (q->tap->net.link)
		log_warn(q->tap->net.log, q->tap->net.what, "%s: the interface is gone",
			 q->tap->name);
	net_set_link(&q->tap->net, false);
}

static void tap_event(struct loop_fd *lfd, unsigned events)
{
	struct tap_queue *q = container_of(lfd, struct tap_queue, lfd);
	uint8_t *const to = q->tap->header ? (uint8_t *)&q->in : q->in.frame;
	const size_t room = q->tap->header ? sizeof(q->in) : sizeof(q->in.frame);

	for (unsigned i = 0; i < PER_EVENT; i++) {
		const ssize_t n = read(q->fd, to, room);

		if (n <= 0) {
			if (events & LOOP_HUP && (n == 0 || errno != EAGAIN))
				gone(q);
			return;
		}
		if (!deliver(q, (size_t)n)) {
			q->held = (size_t)n;
			loop_fd_del(&q->lfd);
			return;
		}
	}
}

static int watch(struct tap_queue *q)
{
	if (!q->attached || q->held || q->lent)
		loop_fd_del(&q->lfd);
	else if (!q->lfd.loop || q->lfd.fd < 0)
		return loop_fd_add(q->tap->net.loop, &q->lfd, q->fd, LOOP_IN, tap_event);
	return 0;
}

static void tap_receive(struct net *net, unsigned queue)
{
	struct tap_queue *q = container_of(net, struct tap, net)->queue[queue];

	if (q->held && deliver(q, q->held))
		q->held = 0;
	if (net->link && watch(q))
		log_error(net->log, net->what, "out of memory: queue %u is not read any more",
			  queue);
}

/* ---- queues and offloads ---- */

static int tap_lend(struct net *net, unsigned queue)
{
	struct tap_queue *q = container_of(net, struct tap, net)->queue[queue];

	if (q->held)
		net_drop_rx(net);
	q->held = 0;
	q->lent = true;
	loop_fd_del(&q->lfd);
	return q->fd;
}

static void tap_take_back(struct net *net, unsigned queue)
{
	container_of(net, struct tap, net)->queue[queue]->lent = false;
	tap_receive(net, queue);
}

static int attach_queue(struct tap_queue *q, bool attach)
{
	struct ifreq ifr = {
		.ifr_flags = (short)(attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE),
	};

	if (q->attached == attach)
		return 0;
	/* Before: a queue that is detached reports an error for ever. */
	if (!attach)
		loop_fd_del(&q->lfd);
	if (ioctl(q->fd, TUNSETQUEUE, &ifr))
		return -errno;
	q->attached = attach;
	q->held = 0;
	return watch(q);
}

static int tap_set_queue_pairs(struct net *net, unsigned pairs)
{
	struct tap *tap = container_of(net, struct tap, net);
	int r = 0;

	for (unsigned i = 0; i < net->max_pairs && !r; i++)
		r = attach_queue(tap->queue[i], i < pairs);
	/* As it was. */
	for (unsigned i = 0; i < net->max_pairs && r; i++)
		(void)!attach_queue(tap->queue[i], i < net->pairs);
	return r;
}

static unsigned long tun_flags(unsigned offloads)
{
	return (offloads & NET_CSUM ? TUN_F_CSUM : 0ul) | (offloads & NET_TSO4 ? TUN_F_TSO4 : 0ul) |
	       (offloads & NET_TSO6 ? TUN_F_TSO6 : 0ul) |
	       (offloads & NET_TSO_ECN ? TUN_F_TSO_ECN : 0ul) |
	       (offloads & NET_USO ? TUN_F_USO4 | TUN_F_USO6 : 0ul);
}

static int tap_set_rx_offloads(struct net *net, unsigned offloads)
{
	struct tap *tap = container_of(net, struct tap, net);

	if (!tap->header)
		return 0;
	return ioctl(tap->queue[0]->fd, TUNSETOFFLOAD, tun_flags(offloads)) ? -errno : 0;
}

/* What the kernel hands over it also takes. */
static void probe_offloads(struct tap *tap)
{
	const unsigned tso = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN;

	if (!tap_set_rx_offloads(&tap->net, tso | NET_USO))
		tap->net.rx_offloads = tso | NET_USO;
	else if (!tap_set_rx_offloads(&tap->net, tso))
		tap->net.rx_offloads = tso;
	tap->net.tx_offloads = tap->net.rx_offloads;
	(void)!tap_set_rx_offloads(&tap->net, 0);
}

/* ---- open ---- */

static int cannot_use(const struct tap *tap, int code, struct vmm_error *err)
{
	const char *what = tap->net.what, *name = tap->name;
	const bool exists = if_nametoindex(name) != 0;

	if (code == EPERM && !exists)
		return error_set(err, EPERM,
				 "%s: no permission to create the interface %s; have it created "
				 "once with: ip tuntap add %s mode tap user USER%s",
				 what, name, name, tap->queues > 1 ? " multi_queue" : "");
	if (code == EPERM)
		return error_set(err, EPERM, "%s: the interface %s belongs to another user", what,
				 name);
	if (code == EBUSY)
		return error_set(err, EBUSY, "%s: the interface %s is in use by another program",
				 what, name);
	if (code == EINVAL && exists)
		return error_set(err, EINVAL, "%s: %s is not a tap interface%s", what, name,
				 tap->queues > 1 ? " with several queues (multi_queue)" : "");
	return error_set_errno(err, code, "%s: interface %s", what, name);
}

/* One more descriptor of the interface. Returns it or -errno. */
static int open_interface(struct tap *tap, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, tap->name, sizeof(ifr.ifr_name));
	if (ioctl(fd, TUNSETIFF, &ifr)) {
		r = -errno;
		close(fd);
		return r;
	}
	memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	return fd;
}

static int open_queue(struct tap *tap, unsigned index, struct vmm_error *err)
{
	const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	int fd = open_interface(tap, (short)(flags | (tap->queues > 1 ? IFF_MULTI_QUEUE : 0)));

	/* One that was made for several queues serves with one, too. */
	if (fd == -EINVAL && tap->queues == 1)
		fd = open_interface(tap, (short)(flags | IFF_MULTI_QUEUE));
	if (fd == -ENOENT || fd == -ENODEV || fd == -ENXIO || fd == -EACCES)
		return error_set_errno(err, -fd, "%s: cannot open /dev/net/tun%s", tap->net.what,
				       fd == -EACCES ? "" : " (is the module tun loaded?)");
	if (fd < 0)
		return cannot_use(tap, -fd, err);
	tap->queue[index]->fd = fd;
	return 0;
}

/* A descriptor that was handed over stays its owner's: this uses a copy. */
static int take_given(struct tap *tap, unsigned index, struct vmm_error *err)
{
	const int given = tap->given[index], fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
	struct ifreq ifr = {0};
	bool header;

	if (fd < 0)
		return error_set_errno(err, errno, "%s: fd=%d", tap->net.what, given);
	tap->queue[index]->fd = fd;
	if (ioctl(fd, TUNGETIFF, &ifr) || !(ifr.ifr_flags & IFF_TAP))
		return error_set(err, EINVAL, "%s: fd=%d is not a tap interface", tap->net.what,
				 given);
	header = ifr.ifr_flags & IFF_VNET_HDR;
	if (!(ifr.ifr_flags & IFF_NO_PI) || (index && header != tap->header))
		return error_set(err, EINVAL,
				 "%s: fd=%d: must have IFF_NO_PI, and IFF_VNET_HDR as "
				 "the others have it",
				 tap->net.what, given);
	tap->header = header;
	memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) ? -errno : 0;
}

/* One that we have made is of no use to anybody while it is down. */
static void bring_up(const struct tap *tap)
{
	struct ifreq ifr = {0};
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(ifr.ifr_name, tap->name, sizeof(ifr.ifr_name));
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &ifr))
			log_warn(tap->net.log, tap->net.what,
				 "cannot bring %s up; do it with: ip link set %s up", tap->name,
				 tap->name);
	}
	close(fd);
}

static int set_up_queue(struct tap *tap, unsigned index, struct vmm_error *err)
{
	struct tap_queue *q = calloc(1, sizeof(*q));
	int size = sizeof(struct virtio_net_hdr_v1), r;

	if (!q)
		return error_set(err, ENOMEM, "%s: out of memory", tap->net.what);
	tap->queue[index] = q;
	q->tap = tap;
	q->index = index;
	q->fd = -1;
	q->attached = true;
	r = tap->given_count ? take_given(tap, index, err) : open_queue(tap, index, err);
	if (!r && tap->header && ioctl(q->fd, TUNSETVNETHDRSZ, &size))
		r = error_set_errno(err, errno, "%s: %s: virtio-net header", tap->net.what,
				    tap->name);
	/* One queue pair is used until the guest asks for more. */
	if (!r && (r = index ? attach_queue(q, false) : watch(q)))
		error_set_errno(err, -r, "%s: %s: queue %u", tap->net.what, tap->name, index);
	return r;
}

static int tap_open(struct net *net, struct vmm_error *err)
{
	struct tap *tap = container_of(net, struct tap, net);
	const bool ours = !tap->given_count && !if_nametoindex(tap->name);
	int r = 0;

	tap->header = true;
	if (!tap->queues)
		tap->queues = MAX(MIN(net->wish.queue_pairs, NET_MAX_QUEUE_PAIRS), 1u);
	net->max_pairs = tap->given_count ? tap->given_count : (unsigned)tap->queues;
	for (unsigned i = 0; i < net->max_pairs && !r; i++)
		r = set_up_queue(tap, i, err);
	if (r)
		return r;
	if (!tap->header && net->vhost)
		return error_set(err, EINVAL,
				 "%s: vhost=on needs descriptors that were opened with "
				 "IFF_VNET_HDR",
				 net->what);
	if (tap->header)
		probe_offloads(tap);
	if (ours)
		bring_up(tap);
	log_info(net->log, net->what, "interface %s", tap->name);
	return 0;
}

static void tap_close(struct net *net)
{
	struct tap *tap = container_of(net, struct tap, net);

	for (unsigned i = 0; i < NET_MAX_QUEUE_PAIRS; i++) {
		struct tap_queue *q = tap->queue[i];

		if (!q)
			continue;
		loop_fd_del(&q->lfd);
		if (q->fd >= 0)
			close(q->fd);
		free(q);
	}
}

/* ---- options ---- */

static int parse_fds(struct tap *tap, struct vmm_error *err)
{
	const char *p = tap->fds_text;

	for (;;) {
		const size_t len = strcspn(p, ":");
		char number[12] = "";
		uint64_t fd;

		memcpy(number, p, MIN(len, sizeof(number) - 1));
		if (tap->given_count == NET_MAX_QUEUE_PAIRS || len >= sizeof(number) ||
		    parse_uint(number, &fd) || fd > INT32_MAX)
			return error_set(err, EINVAL,
					 "%s: fd=%s must be up to %u open descriptors such as "
					 "7:8:9",
					 tap->net.what, tap->fds_text, NET_MAX_QUEUE_PAIRS);
		tap->given[tap->given_count++] = (int)fd;
		if (!p[len])
			return 0;
		p += len + 1;
	}
}

static int tap_check(struct net *net, struct vmm_error *err)
{
	struct tap *tap = container_of(net, struct tap, net);
	const char *name = tap->ifname ? tap->ifname : "tap%d";

	if (net->vhost && net->pcap_path)
		return error_set(err, EINVAL,
				 "%s: with vhost=on there are no packets here for pcap=; leave "
				 "either out",
				 net->what);
	if (tap->fds_text && (tap->ifname || tap->queues))
		return error_set(err, EINVAL,
				 "%s: fd= says which interface and how many queues; leave %s out",
				 net->what, tap->ifname ? "ifname" : "queues");
	if (tap->fds_text)
		return parse_fds(tap, err);
	if (!*name || strlen(name) >= IFNAMSIZ || strchr(name, '/'))
		return error_set(
			err, EINVAL,
			"%s: ifname=%s must be the name of an interface, 1 to %d characters",
			net->what, name, IFNAMSIZ - 1);
	memcpy(tap->name, name, strlen(name));
	return 0;
}

static void tap_report(const struct net *net, struct report *report)
{
	const struct tap *tap = container_of(net, struct tap, net);

	report_string(report, "interface", tap->name);
	report_bool(report, "vnet-header", tap->header);
	report_bool(report, "vhost", net->vhost);
}

const struct net_ops net_tap_ops = {
	.name = "tap",
	.usage = "tap",
	.help = "a tap interface of the host",
	.options = options,
	.size = sizeof(struct tap),
	.check = tap_check,
	.open = tap_open,
	.close = tap_close,
	.send = tap_send,
	.receive = tap_receive,
	.set_queue_pairs = tap_set_queue_pairs,
	.set_rx_offloads = tap_set_rx_offloads,
	.report = tap_report,
	.lend = tap_lend,
	.take_back = tap_take_back,
};
