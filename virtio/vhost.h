/* SPDX-License-Identifier: MIT */
/*
 * Rings that the host's kernel serves (linux/vhost.h): one descriptor of /dev/vhost-net and the
 * pair of split rings that goes with it.
 *
 * The rings are lent, not given: vhost_start says where they are and how far they have got,
 * vhost_stop says how far the kernel has got, and in between nobody here touches them. Everything
 * that decides what a device is (features, control queue, configuration space, interrupts) stays
 * here.
 *
 * On the home loop of the device whose rings they are.
 */
#ifndef VIRTIO_VHOST_H
#define VIRTIO_VHOST_H

#include "core/error.h"
#include "core/memory.h"
#include "virtio/virtq.h"

#define VHOST_RINGS 2u

struct vhost;

struct vhost_ring {
	struct virtq_layout layout; /* split; checked by virtq_enable, which holds the memory */
	uint16_t position;          /* of the next chain; nothing is in flight */
	int kick_fd;                /* eventfd: the driver has put something in */
	int call_fd;                /* eventfd: the driver wants to be interrupted */
	int error_fd;               /* eventfd: what the driver has put in cannot be */
};

/* Errors with a sentence that says what to do. memory: outlives it. */
int vhost_open(struct vhost **v, struct guest_memory *memory, struct vmm_error *err) MUST_CHECK;
/* Stopped. NULL is allowed. */
void vhost_close(struct vhost *v);

/* Feature bits of the rings, and of what lies in them, that the kernel can serve. */
uint64_t vhost_features(const struct vhost *v);

/*
 * Let the kernel serve the rings. features: a subset of vhost_features; backend_fd: the socket or
 * tap behind them, a queue that is attached. Returns 0 or -errno; then they are taken back as by
 * vhost_stop: it may have served one before it refused the other.
 */
int vhost_start(struct vhost *v, uint64_t features, struct vhost_ring rings[VHOST_RINGS],
		int backend_fd) MUST_CHECK;

/*
 * Take the rings back. Nothing is in flight when this returns, and everything is published. Sets
 * their positions, nothing else of them. Waits for at most what the kernel does with one packet.
 */
void vhost_stop(struct vhost *v, struct vhost_ring rings[VHOST_RINGS]);

/* ---- vhost_kernel.c: the system calls, so that tests can put a kernel of their own here ---- */

/* A descriptor or -errno. */
int vhost_kernel_open(void);
void vhost_kernel_close(int fd);
/* 0 or -errno. */
int vhost_kernel_control(int fd, unsigned long request, void *arg);

#endif
