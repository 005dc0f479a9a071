/* SPDX-License-Identifier: MIT */
/*
 * /dev/vhost-net of a kernel that only remembers, and works when it is told to. To be included by
 * one file of a test, which gets these functions in place of vhost_kernel.c.
 */
#ifndef SUPPORT_FAKE_VHOST_DEFINE_H
#define SUPPORT_FAKE_VHOST_DEFINE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/vhost.h>
#include <unistd.h>

#include "virtio/vhost.h"

#define FIRST_FD 500
#define DEVICES  3u

struct kernel_ring {
	unsigned num, base;
	int kick, call, error, backend;
	struct vhost_vring_addr addr;
};

static struct kernel {
	int open_error;
	unsigned long failing; /* the request that fails */
	int failing_ring;      /* of which ring, where it is VHOST_NET_SET_BACKEND; -1: of any */
	unsigned eager;        /* chains that ring 0 gives back as soon as it has its backend */
	uint64_t offered;
	struct kernel_device {
		bool open, owned;
		uint64_t features;
		struct vhost_memory_region region;
		unsigned regions;
		struct kernel_ring ring[2];
	} device[DEVICES];
} kernel;

int vhost_kernel_open(void)
{
	for (unsigned i = 0; !kernel.open_error && i < DEVICES; i++) {
		struct kernel_device *d = &kernel.device[i];

		if (d->open)
			continue;
		*d = (struct kernel_device){.open = true};
		for (unsigned r = 0; r < 2; r++)
			d->ring[r] = (struct kernel_ring){
				.kick = -1, .call = -1, .error = -1, .backend = -1};
		return FIRST_FD + (int)i;
	}
	return kernel.open_error ? kernel.open_error : -EMFILE;
}

void vhost_kernel_close(int fd)
{
	struct kernel_device *d = &kernel.device[fd - FIRST_FD];

	cr_assert(d->open && d->ring[0].backend < 0 && d->ring[1].backend < 0);
	d->open = false;
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	cr_assert_eq(write(fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

/* The kernel gives the next n chains back, and wants the driver to be told. */
static void ring_work(struct kernel_ring *r, unsigned n)
{
	const struct vring_avail *avail =
		(const struct vring_avail *)(uintptr_t)r->addr.avail_user_addr;
	struct vring_used *used = (struct vring_used *)(uintptr_t)r->addr.used_user_addr;

	if (!n)
		return;
	while (n--) {
		cr_assert_neq((uint16_t)r->base, avail->idx, "there is nothing to give back");
		used->ring[r->base % r->num].id = avail->ring[r->base % r->num];
		used->ring[r->base % r->num].len = 0;
		r->base = (uint16_t)(r->base + 1);
		used->idx = (uint16_t)r->base;
	}
	signal_fd(r->call);
}

static int take_memory(struct kernel_device *d, const struct vhost_memory *table)
{
	cr_assert_eq(table->padding, 0u);
	d->regions = table->nregions;
	d->region = table->regions[0];
	return 0;
}

static int set_file(struct kernel_device *d, unsigned long request,
		    const struct vhost_vring_file *file)
{
	struct kernel_ring *ring = &d->ring[file->index];

	if (request == VHOST_SET_VRING_KICK)
		ring->kick = file->fd;
	else if (request == VHOST_SET_VRING_CALL)
		ring->call = file->fd;
	else if (request == VHOST_SET_VRING_ERR)
		ring->error = file->fd;
	else
		ring->backend = file->fd;
	if (request == VHOST_NET_SET_BACKEND && file->fd >= 0 && !file->index)
		ring_work(ring, kernel.eager);
	return 0;
}

static int set_ring(struct kernel_device *d, unsigned long request, void *arg)
{
	struct vhost_vring_state *state = arg;
	struct kernel_ring *ring = &d->ring[state->index];

	if (request == VHOST_GET_VRING_BASE) {
		state->num = ring->base;
		return 0;
	}
	if (ring->backend >= 0)
		return -EBUSY;
	if (request == VHOST_SET_VRING_NUM)
		ring->num = state->num;
	else if (request == VHOST_SET_VRING_BASE)
		ring->base = state->num;
	else
		ring->addr = *(struct vhost_vring_addr *)arg;
	return 0;
}

static bool backend_fails(const struct vhost_vring_file *file)
{
	return file->fd >= 0 &&
	       (kernel.failing_ring < 0 || (int)file->index == kernel.failing_ring);
}

int vhost_kernel_control(int fd, unsigned long request, void *arg)
{
	struct kernel_device *d = &kernel.device[fd - FIRST_FD];

	cr_assert(d->open);
	if (request == kernel.failing && (request != VHOST_NET_SET_BACKEND || backend_fails(arg)))
		return -EIO;
	switch (request) {
	case VHOST_SET_OWNER:
		d->owned = true;
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = kernel.offered;
		return 0;
	case VHOST_SET_FEATURES:
		d->features = *(uint64_t *)arg;
		return d->features & ~kernel.offered ? -EOPNOTSUPP : 0;
	case VHOST_SET_MEM_TABLE:
		return take_memory(d, arg);
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
	case VHOST_NET_SET_BACKEND:
		return set_file(d, request, arg);
	default:
		return set_ring(d, request, arg);
	}
}

#endif
