/* SPDX-License-Identifier: MIT */
/*
 * The program that embeds the machine as the network. The guest's frames go straight to its
 * function. Its own come from any thread into a queue, and from there to the card on the loop:
 * nobody waits for anybody, and no lock of this file is held while the
 * program's functions run (the device's own may be).
 */
#include "net/net_api.h"

#include <errno.h>
#include <stdlib.h>

#include "core/device.h"
#include "core/versioned.h"
#include "net/net_backend.h"
#include "net/packet_fifo.h"

#define QUEUE_SIZE (256u * 1024)

struct vmm_netdev {
	struct provided provided;
	struct vmm_netdev_ops ops;
	void *opaque;
	struct loop *loop;
	struct loop_task pump;
	struct net *net; /* the loop's: the card's end, or NULL */
	bool busy;       /* the loop's: the guest waits to send */

	pthread_mutex_t lock; /* guards what follows */
	bool refused;         /* receive_ready is due once there is room */
	struct packet_fifo queue;
};

/* ---- the program's side ---- */

int net_api_receive(struct vmm_netdev *n, const void *frame, size_t len)
{
	bool taken;

	if (len < NET_ETH_HEADER || len > NET_MAX_PACKET)
		return -EMSGSIZE;
	pthread_mutex_lock(&n->lock);
	taken = packet_fifo_push(&n->queue, frame, len);
	n->refused |= !taken;
	pthread_mutex_unlock(&n->lock);
	loop_post(n->loop, &n->pump);
	return taken ? 0 : -EAGAIN;
}

void net_api_ready(struct vmm_netdev *n)
{
	loop_post(n->loop, &n->pump);
}

/* ---- the card's side ---- */

/* The oldest frame stays where it is until the loop, and nobody else, takes it away. */
static bool oldest(struct vmm_netdev *n, struct iovec *frame)
{
	bool found;

	pthread_mutex_lock(&n->lock);
	found = packet_fifo_peek(&n->queue, frame);
	pthread_mutex_unlock(&n->lock);
	return found;
}

/* Returns whether the program waits for the room. */
static bool take_away(struct vmm_netdev *n)
{
	bool tell;

	pthread_mutex_lock(&n->lock);
	packet_fifo_pop(&n->queue);
	tell = n->refused;
	n->refused = false;
	pthread_mutex_unlock(&n->lock);
	return tell;
}

static void deliver(struct vmm_netdev *n)
{
	struct iovec frame;
	bool tell = false;

	while (oldest(n, &frame) && net_deliver(n->net, 0, NULL, &frame, 1))
		tell |= take_away(n);
	if (tell && n->ops.receive_ready)
		n->ops.receive_ready(n->opaque);
}

static void pump(struct loop_task *task)
{
	struct vmm_netdev *n = container_of(task, struct vmm_netdev, pump);

	if (!n->net)
		return;
	if (n->busy) {
		n->busy = false;
		net_writable(n->net, 0);
	}
	deliver(n);
}

struct net_api {
	struct net net;
	char *name;
	struct vmm_netdev *program; /* NULL: not opened */
	uint8_t frame[NET_MAX_PACKET];
};

static const struct option_desc options[] = {
	{.name = "name",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct net_api, name),
	 .help = "of what the program has made with vmm_add_netdev",
	 .required = true},
	NET_OPTIONS(struct net_api),
	OPTION_END,
};

static int api_check(struct net *net, struct vmm_error *err)
{
	return device_check_id(net->what, container_of(net, struct net_api, net)->name, err);
}

static int api_open(struct net *net, struct vmm_error *err)
{
	struct net_api *a = container_of(net, struct net_api, net);
	struct provided *own;
	int rc = provided_take(net->provided, PROVIDED_NETDEV, a->name, net->what, NULL, &own, err);

	if (rc)
		return rc;
	a->program = container_of(own, struct vmm_netdev, provided);
	a->program->net = net;
	a->program->busy = false;
	loop_post(net->loop, &a->program->pump);
	return 0;
}

static void api_close(struct net *net)
{
	struct net_api *a = container_of(net, struct net_api, net);

	if (!a->program)
		return;
	a->program->net = NULL;
	provided_give_back(net->provided, &a->program->provided);
}

static enum net_result api_send(struct net *net, unsigned queue UNUSED,
				const struct virtio_net_hdr_v1 *hdr UNUSED, const struct iovec *iov,
				unsigned count, size_t len)
{
	struct net_api *a = container_of(net, struct net_api, net);
	struct vmm_netdev *n = a->program;

	/* Copied, as the guest could change its own while the program looks at it. */
	net_iov_copy(a->frame, iov, count);
	if (n->ops.send(n->opaque, a->frame, len))
		return NET_SENT;
	n->busy = true;
	return NET_BUSY;
}

static void api_receive(struct net *net, unsigned queue)
{
	if (queue == 0)
		deliver(container_of(net, struct net_api, net)->program);
}

const struct net_ops net_api_ops = {
	.name = "api",
	.usage = PROVIDED_PREFIX "NAME",
	.help = "the program that embeds the VM",
	.options = options,
	.implied = "name",
	.size = sizeof(struct net_api),
	.check = api_check,
	.open = api_open,
	.close = api_close,
	.send = api_send,
	.receive = api_receive,
};

/* ---- life ---- */

static void release(struct provided *own)
{
	struct vmm_netdev *n = container_of(own, struct vmm_netdev, provided);

	packet_fifo_fini(&n->queue);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

int net_api_create(struct vmm_netdev **out, struct provided_set *set, const char *name,
		   const struct vmm_netdev_ops *ops, void *opaque, struct loop *loop,
		   struct vmm_error *err)
{
	struct vmm_netdev_ops own;
	struct vmm_netdev *n;
	int rc;

	rc = versioned_copy(&own, sizeof(own), ops,
			    VERSIONED_SIZE(struct vmm_netdev_ops, receive_ready),
			    "struct vmm_netdev_ops", err);
	if (rc)
		return rc;
	if (!own.send)
		return error_set(err, EINVAL, "network %s: its functions are not complete", name);
	n = calloc(1, sizeof(*n));
	if (!n)
		return error_set(err, ENOMEM, "network %s: out of memory", name);
	n->provided.kind = PROVIDED_NETDEV;
	n->provided.release = release;
	n->ops = own;
	n->opaque = opaque;
	n->loop = loop;
	loop_task_init(&n->pump, pump);
	pthread_mutex_init(&n->lock, NULL);
	rc = packet_fifo_init(&n->queue, QUEUE_SIZE)
		     ? error_set(err, ENOMEM, "network %s: out of memory", name)
		     : provided_add(set, &n->provided, name, err);
	if (rc) {
		release(&n->provided);
		return rc;
	}
	*out = n;
	return 0;
}
