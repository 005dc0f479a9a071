/* SPDX-License-Identifier: MIT */
#include "net/net_backend.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"

static const struct net_ops *const backends[] = {
	&net_user_ops, &net_tap_ops, &net_stream_ops, &net_dgram_ops, &net_none_ops,
};

/* ---- the front end's side ---- */

/* SIZE_MAX where they do not fit a size_t. */
static size_t iov_size(const struct iovec *iov, unsigned count)
{
	size_t len = 0;

	for (unsigned i = 0; i < count; i++)
		if (__builtin_add_overflow(len, iov[i].iov_len, &len))
			return SIZE_MAX;
	return len;
}

void net_iov_copy(void *to, const struct iovec *iov, unsigned count)
{
	uint8_t *p = to;

	for (unsigned i = 0; i < count; i++) {
		if (iov[i].iov_len)
			memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
}

enum net_result net_send(struct net *net, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			 const struct iovec *iov, unsigned count)
{
	const size_t len = iov_size(iov, count);
	const uint64_t dropped = net->tx.dropped;
	enum net_result result;

	assert(queue < NET_MAX_QUEUE_PAIRS && !net->sending);
	if (len < NET_ETH_HEADER || len > NET_MAX_PACKET || queue >= net->pairs) {
		net_drop_tx(net);
		return NET_SENT;
	}
	net->sending = true;
	result = net->ops->send(net, queue, hdr, iov, count, len);
	net->sending = false;
	if (result == NET_BUSY)
		return result;
	net_pcap_add(net->pcap, iov, count);
	if (net->tx.dropped == dropped) {
		net->tx.packets++;
		net->tx.bytes += len;
	}
	return result;
}

static void receive_again(struct net *net, uint32_t queues)
{
	net->receive_queues |= queues;
	loop_hook_schedule(net->loop, &net->receive_hook);
}

static void receive_hook(struct loop_hook *hook)
{
	struct net *net = container_of(hook, struct net, receive_hook);
	const uint32_t queues = net->receive_queues;

	net->receive_queues = 0;
	for (unsigned q = 0; q < net->max_pairs; q++)
		if (queues & 1u << q)
			net->ops->receive(net, q);
}

void net_receive_ready(struct net *net, unsigned queue)
{
	assert(queue < NET_MAX_QUEUE_PAIRS);
	receive_again(net, 1u << queue);
}

void net_attach(struct net *net, const struct net_frontend *frontend, void *opaque)
{
	/* Back to what a new front end expects; what fails here has no effect on a later try. */
	if (net->ops->set_rx_offloads)
		(void)!net->ops->set_rx_offloads(net, 0);
	if (net->pairs != 1)
		(void)!net_set_queue_pairs(net, 1);
	net->frontend = frontend;
	net->opaque = opaque;
	/* What was held for the last front end goes to this one, or away. */
	receive_again(net, UINT32_MAX);
}

unsigned net_max_queue_pairs(const struct net *net)
{
	return net->max_pairs;
}

int net_set_queue_pairs(struct net *net, unsigned pairs)
{
	int r = 0;

	if (!pairs || pairs > net->max_pairs)
		return -EINVAL;
	if (net->ops->set_queue_pairs)
		r = net->ops->set_queue_pairs(net, pairs);
	if (!r)
		net->pairs = pairs;
	return r;
}

unsigned net_tx_offloads(const struct net *net)
{
	return net->tx_offloads;
}

unsigned net_rx_offloads(const struct net *net)
{
	return net->rx_offloads;
}

int net_set_rx_offloads(struct net *net, unsigned offloads)
{
	if (offloads & ~net->rx_offloads)
		return -EINVAL;
	return net->ops->set_rx_offloads ? net->ops->set_rx_offloads(net, offloads) : 0;
}

bool net_vhost(const struct net *net)
{
	return net->vhost;
}

int net_lend(struct net *net, unsigned queue)
{
	assert(net->vhost && queue < net->pairs);
	return net->ops->lend(net, queue);
}

void net_take_back(struct net *net, unsigned queue)
{
	assert(net->vhost && queue < net->pairs);
	net->ops->take_back(net, queue);
}

bool net_link_up(const struct net *net)
{
	return net->link;
}

unsigned net_mtu(const struct net *net)
{
	return net->mtu;
}

static void report_counters(struct report *report, const char *name, const struct net_counters *c)
{
	report_begin(report, name);
	report_u64(report, "packets", c->packets);
	report_u64(report, "bytes", c->bytes);
	report_u64(report, "dropped", c->dropped);
	report_end(report);
}

void net_report(const struct net *net, struct report *report)
{
	report_string(report, "backend", net->ops->name);
	report_bool(report, "link", net->link);
	report_u64(report, "queue-pairs", net->pairs);
	report_counters(report, "tx", &net->tx);
	report_counters(report, "rx", &net->rx);
	if (net->pcap) {
		report_begin(report, "pcap");
		report_string(report, "path", net->pcap_path);
		report_u64(report, "packets", net_pcap_packets(net->pcap));
		report_end(report);
	}
	if (net->ops->report)
		net->ops->report(net, report);
}

/* ---- the backends' side ---- */

bool net_deliver(struct net *net, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		 const struct iovec *iov, unsigned count)
{
	static const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};

	if (net->sending) {
		receive_again(net, 1u << queue);
		return false;
	}
	if (!net->frontend) {
		net_drop_rx(net);
		return true;
	}
	if (!net->frontend->receive(net->opaque, queue, hdr ? hdr : &plain, iov, count))
		return false;
	net->rx.packets++;
	net->rx.bytes += iov_size(iov, count);
	net_pcap_add(net->pcap, iov, count);
	return true;
}

void net_writable(struct net *net, unsigned queue)
{
	assert(!net->sending);
	if (net->frontend)
		net->frontend->writable(net->opaque, queue);
}

void net_set_link(struct net *net, bool up)
{
	if (net->link == up)
		return;
	net->link = up;
	/* While it opens nobody listens yet. */
	if (net->opened && net->frontend && net->frontend->link)
		net->frontend->link(net->opaque, up);
}

/* ---- life ---- */

bool net_kind(unsigned index, struct net_kind *kind)
{
	if (index >= ARRAY_SIZE(backends))
		return false;
	*kind = (struct net_kind){
		.name = backends[index]->name,
		.usage = backends[index]->usage,
		.help = backends[index]->help,
		.options = backends[index]->options,
	};
	return true;
}

static int unknown_backend(const char *spec, size_t len, const char *what, struct vmm_error *err)
{
	const char *names[ARRAY_SIZE(backends) + 1] = {NULL};
	const char *near;
	char word[32], usages[128] = "";

	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		const size_t used = strlen(usages);

		names[i] = backends[i]->name;
		snprintf(usages + used, sizeof(usages) - used, "%s%s", i ? ", " : "",
			 backends[i]->usage);
	}
	snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word) - 1), spec);
	near = nearest_name(word, names);
	return error_set(err, EINVAL, "%s: there is no network backend \"%s\"%s%s%s Possible: %s",
			 what, word, near ? "; did you mean \"" : ".", near ? near : "",
			 near ? "\"?" : "", usages);
}

/* The backend that a spec names; *args: its options. */
static const struct net_ops *find_backend(const char *spec, const char **args)
{
	const size_t len = strcspn(spec, ":,");

	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		if (strlen(backends[i]->name) != len || strncmp(spec, backends[i]->name, len) != 0)
			continue;
		*args = spec[len] ? spec + len + 1 : NULL;
		return backends[i];
	}
	return NULL;
}

static const struct net_ops *backend_of(const char *spec, const char **args)
{
	/* Not one of those that a user could be offered. */
	if (!strncmp(spec, PROVIDED_PREFIX, strlen(PROVIDED_PREFIX))) {
		*args = spec + strlen(PROVIDED_PREFIX);
		return &net_api_ops;
	}
	return find_backend(spec, args);
}

static void net_free(struct net *net)
{
	options_free(net->ops->options, net);
	free(net);
}

/* Parse and check; opens nothing. */
static int prepare(struct net **out, const char *spec, const char *what, struct vmm_error *err)
{
	const char *args;
	const struct net_ops *ops = backend_of(spec, &args);
	struct net *net;
	int r;

	if (!ops)
		return unknown_backend(spec, strcspn(spec, ":,"), what, err);
	net = calloc(1, ops->size);
	if (!net)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	net->ops = ops;
	net->pairs = net->max_pairs = 1;
	net->link = true;
	snprintf(net->what, sizeof(net->what), "%s %s", what, ops->name);
	r = options_parse(ops->options, net->what, ops->implied, args, net, err);
	if (!r && ops->check)
		r = ops->check(net, err);
	if (r) {
		net_free(net);
		return r;
	}
	*out = net;
	return 0;
}

int net_check(const char *spec, const char *what, struct vmm_error *err)
{
	struct net *net;
	int r = prepare(&net, spec, what, err);

	if (!r)
		net_free(net);
	return r;
}

static int create(struct net **out, const char *spec, const char *what, const struct net_wish *wish,
		  struct loop *loop, const struct log *log, struct provided_set *provided,
		  struct vmm_error *err)
{
	struct net *net;
	int r = prepare(&net, spec, what, err);

	if (r)
		return r;
	net->loop = loop;
	net->log = log;
	net->provided = provided;
	if (wish)
		net->wish = *wish;
	loop_hook_init(&net->receive_hook, receive_hook);
	r = net->ops->open(net, err);
	if (!r && net->pcap_path)
		r = net_pcap_open(&net->pcap, net->pcap_path, net->what, loop, log, err);
	if (r) {
		net_destroy(net);
		return r;
	}
	assert(net->max_pairs && net->max_pairs <= NET_MAX_QUEUE_PAIRS);
	net->opened = true;
	*out = net;
	return 0;
}

int net_create(struct net **out, const char *spec, const char *what, const struct net_wish *wish,
	       struct loop *loop, const struct log *log, struct vmm_error *err)
{
	return create(out, spec, what, wish, loop, log, NULL, err);
}

int net_create_for(struct net **out, const char *spec, const char *what,
		   const struct net_wish *wish, const struct device *dev, struct vmm_error *err)
{
	return create(out, spec, what, wish, dev->loop, dev->env->log, dev->env->provided, err);
}

void net_destroy(struct net *net)
{
	if (!net)
		return;
	net->frontend = NULL;
	net->ops->close(net);
	loop_hook_cancel(net->loop, &net->receive_hook);
	net_pcap_close(net->pcap);
	net_free(net);
}
