/* SPDX-License-Identifier: MIT */
/*
 * The functions of the fake backend. To be included by one file of a test, and by no file of the
 * support library: there they would take the place of the real ones in every test of net/.
 */
#ifndef SUPPORT_FAKE_NET_DEFINE_H
#define SUPPORT_FAKE_NET_DEFINE_H

#include "core/device.h"
#include "tests/unit/support/fake_net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fake_net_setup fake_net_setup = {.pairs = 1};
struct net *fake_net;

int net_create(struct net **out, const char *spec, const char *what, const struct net_wish *wish,
	       struct loop *loop UNUSED, const struct log *log UNUSED, struct vmm_error *err)
{
	struct net *net;

	if (net_check(spec, what, err))
		return -EINVAL;
	net = calloc(1, sizeof(*net));
	if (!net)
		return error_set(err, ENOMEM, "out of memory");
	assert(!fake_net);
	net->spec = strdup(spec);
	net->wish = *wish;
	net->setup = fake_net_setup;
	net->pairs = 1;
	net->link = !net->setup.link_down;
	fake_net = *out = net;
	return 0;
}

int net_create_for(struct net **net, const char *spec, const char *what,
		   const struct net_wish *wish, const struct device *dev, struct vmm_error *err)
{
	return net_create(net, spec, what, wish, dev->loop, dev->env->log, err);
}

int net_check(const char *spec, const char *what, struct vmm_error *err)
{
	if (!strncmp(spec, "bad", 3))
		return error_set(err, EINVAL, "%s=%s: no such backend", what, spec);
	return 0;
}

void net_destroy(struct net *net)
{
	if (!net)
		return;
	assert(!net->frontend);
	free(net->spec);
	free(net);
	fake_net = NULL;
}

void net_attach(struct net *net, const struct net_frontend *frontend, void *opaque)
{
	net->frontend = frontend;
	net->opaque = opaque;
	net->pairs = 1;
	net->rx_offloads = 0;
}

unsigned net_max_queue_pairs(const struct net *net)
{
	return net->setup.pairs;
}

int net_set_queue_pairs(struct net *net, unsigned pairs)
{
	assert(pairs >= 1 && pairs <= net->setup.pairs && !(net->lent >> pairs));
	if (!net->pairs_error)
		net->pairs = pairs;
	return net->pairs_error;
}

unsigned net_tx_offloads(const struct net *net)
{
	return net->setup.tx_offloads;
}

unsigned net_rx_offloads(const struct net *net)
{
	return net->setup.rx_offloads;
}

int net_set_rx_offloads(struct net *net, unsigned offloads)
{
	assert(!(offloads & ~net->setup.rx_offloads));
	if (!net->offloads_error)
		net->rx_offloads = offloads;
	return net->offloads_error;
}

static bool receive(struct net *net, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		    const struct iovec *iov, unsigned count)
{
	bool taken;

	net->depth++;
	if (net->depth > net->max_depth)
		net->max_depth = net->depth;
	taken = net->frontend && net->frontend->receive(net->opaque, queue, hdr, iov, count);
	net->depth--;
	return taken;
}

static size_t keep(struct fake_frame *f, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		   const struct iovec *iov, unsigned count)
{
	f->queue = queue;
	f->hdr = *hdr;
	f->pieces = count;
	f->len = 0;
	for (unsigned i = 0; i < count; i++) {
		assert(iov[i].iov_len <= sizeof(f->bytes) - f->len);
		memcpy(f->bytes + f->len, iov[i].iov_base, iov[i].iov_len);
		f->len += iov[i].iov_len;
	}
	return f->len;
}

enum net_result net_send(struct net *net, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			 const struct iovec *iov, unsigned count)
{
	struct fake_frame *f = &net->frames[net->sent % FAKE_NET_FRAMES];

	assert(net->frontend && queue < net->pairs && !(net->lent >> queue & 1));
	if (net->on_send)
		net->on_send();
	if (net->echo == FAKE_NET_CONTRADICTS) {
		net->frontend->link(net->opaque, net->link);
		net->frontend->writable(net->opaque, queue);
	}
	if (net->busy) {
		net->refused_sends++;
		return NET_BUSY;
	}
	keep(f, queue, hdr, iov, count);
	net->sent++;
	if (net->echo == FAKE_NET_ECHO &&
	    !receive(net, queue, &(struct virtio_net_hdr_v1){0}, iov, count)) {
		net->refused_echos++;
		keep(&net->pending, queue, &(struct virtio_net_hdr_v1){0}, iov, count);
	}
	return NET_SENT;
}

static bool deliver_pending(struct net *net)
{
	struct iovec iov = {net->pending.bytes, net->pending.len};

	if (net->pending.len && !receive(net, net->pending.queue, &net->pending.hdr, &iov, 1))
		return false;
	net->pending.len = 0;
	return true;
}

void net_receive_ready(struct net *net, unsigned queue)
{
	net->ready[queue]++;
	if (net->pending.queue == queue)
		deliver_pending(net);
}

bool net_vhost(const struct net *net)
{
	return net->setup.vhost;
}

int net_lend(struct net *net, unsigned queue)
{
	assert(net->setup.vhost && queue < net->pairs && !(net->lent >> queue & 1));
	net->lent |= 1u << queue;
	net->lent_offloads = net->rx_offloads;
	return FAKE_NET_FD + (int)queue;
}

void net_take_back(struct net *net, unsigned queue)
{
	assert(queue < net->pairs && (net->lent >> queue & 1));
	net->lent &= ~(1u << queue);
}

bool net_link_up(const struct net *net)
{
	return net->link;
}

unsigned net_mtu(const struct net *net)
{
	return net->setup.mtu;
}

void net_report(const struct net *net, struct report *report)
{
	report_string(report, "spec", net->spec);
}

/* ---- for tests ---- */

bool fake_net_deliver(unsigned queue, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		      size_t len)
{
	const struct iovec iov = {(void *)(uintptr_t)frame, len};

	keep(&fake_net->pending, queue, hdr ? hdr : &(struct virtio_net_hdr_v1){0}, &iov, 1);
	return deliver_pending(fake_net);
}

void fake_net_writable(unsigned queue)
{
	fake_net->busy = false;
	fake_net->frontend->writable(fake_net->opaque, queue);
}

void fake_net_link(bool up)
{
	fake_net->link = up;
	fake_net->frontend->link(fake_net->opaque, up);
}

const struct fake_frame *fake_net_frame(unsigned index)
{
	return &fake_net->frames[index % FAKE_NET_FRAMES];
}

#endif
