/* SPDX-License-Identifier: MIT */
/*
 * The program's own network behind vmm_add_netdev: `api:NAME`.
 */
#ifndef NET_NET_API_H
#define NET_NET_API_H

#include "core/loop.h"
#include "core/provided.h"

#include <vmm.h>

/*
 * Make one and put it into the set, which has it from then on; it must live as long as the loop.
 * Any thread.
 */
int net_api_create(struct vmm_netdev **netdev, struct provided_set *set, const char *name,
		   const struct vmm_netdev_ops *ops, void *opaque, struct loop *loop,
		   struct vmm_error *err) MUST_CHECK;

/* As vmm_netdev_receive and vmm_netdev_ready. */
int net_api_receive(struct vmm_netdev *netdev, const void *frame, size_t len);
void net_api_ready(struct vmm_netdev *netdev);

#endif
