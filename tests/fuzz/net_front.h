/* SPDX-License-Identifier: MIT */
/* A front end for fuzzing packet backends: it looks at every byte and refuses as it is told. */
#ifndef FUZZ_NET_FRONT_H
#define FUZZ_NET_FRONT_H

#include <stdlib.h>

#include "net/net.h"

static unsigned net_front_room;
static volatile uint8_t net_front_sum;

static bool net_front_receive(void *opaque, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			      const struct iovec *iov, unsigned count)
{
	size_t len = 0;

	(void)opaque;
	if (queue || !hdr)
		abort();
	if (!net_front_room)
		return false;
	net_front_room--;
	for (unsigned i = 0; i < count; i++) {
		len += iov[i].iov_len;
		for (size_t k = 0; k < iov[i].iov_len; k++)
			net_front_sum = net_front_sum ^ ((const uint8_t *)iov[i].iov_base)[k];
	}
	if (len < 14 || len > NET_MAX_PACKET)
		abort();
	return true;
}

static void net_front_writable(void *opaque, unsigned queue)
{
	(void)opaque, (void)queue;
}

static const struct net_frontend net_front = {net_front_receive, net_front_writable, NULL};

#endif
