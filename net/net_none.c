/* SPDX-License-Identifier: MIT */
/* A cable that leads nowhere: what the guest sends is dropped, nothing comes. */
#include "net/net_backend.h"

struct net_none {
	struct net net;
};

static const struct option_desc options[] = {
	NET_OPTIONS(struct net_none),
	OPTION_END,
};

static int none_open(struct net *net, struct vmm_error *err UNUSED)
{
	net->link = false;
	return 0;
}

static void none_close(struct net *net UNUSED)
{
}

static enum net_result none_send(struct net *net, unsigned queue UNUSED,
				 const struct virtio_net_hdr_v1 *hdr UNUSED,
				 const struct iovec *iov UNUSED, unsigned count UNUSED,
				 size_t len UNUSED)
{
	net_drop_tx(net);
	return NET_SENT;
}

static void none_receive(struct net *net UNUSED, unsigned queue UNUSED)
{
}

const struct net_ops net_none_ops = {
	.name = "none",
	.usage = "none",
	.help = "no network: the link is down",
	.options = options,
	.size = sizeof(struct net_none),
	.open = none_open,
	.close = none_close,
	.send = none_send,
	.receive = none_receive,
};
