/* SPDX-License-Identifier: MIT */
/* A virtio-net device over a fake backend, and a driver for it. */
#ifndef SUPPORT_VIRTIO_NET_FIXTURE_H
#define SUPPORT_VIRTIO_NET_FIXTURE_H

#include <criterion/criterion.h>

#include "tests/unit/support/fake_net.h"
#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtio_net.h"

#define VNET_HDR     12u /* in front of each packet */
#define VNET_MAC     "52:54:00:11:22:33"
#define VNET_ALL     (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN | NET_USO)
#define VNET_F(name) VIRTIO_NET_BIT(name)

struct vnet_fixture {
	struct fake_env fake;
	struct device *dev;
	struct virtio_net *net;
	struct virtio_driver driver;
};

extern const uint8_t vnet_mac[ETH_ALEN]; /* VNET_MAC */

/* A backend of 3 queue pairs that can do everything; options: more of them, or NULL. */
void vnet_init(struct vnet_fixture *f, const char *options);
void vnet_fini(struct vnet_fixture *f);
/* Another device in its place; the backend as fake_net_setup says. */
void vnet_again(struct vnet_fixture *f, const char *options);
/* Driver up with these features (offered ones) and all their queues. */
void vnet_start(struct vnet_fixture *f, uint64_t features);
/* With everything that is offered. */
void vnet_start_all(struct vnet_fixture *f);

/* Add a receive buffer of one descriptor; no doorbell. */
gpa_t vnet_post(struct vnet_fixture *f, unsigned pair, uint32_t len);
/* A frame to `dst`: 14 bytes of Ethernet, then a pattern that depends on seed. */
void vnet_frame(uint8_t *frame, size_t len, const uint8_t *dst, uint8_t seed);
/* As fake_net_deliver, with such a frame to the device's own address; settled. */
bool vnet_deliver(struct vnet_fixture *f, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
		  size_t len, uint8_t seed);
/* The next buffer that came back; fails the test if there is none. */
uint32_t vnet_used(struct vnet_fixture *f, unsigned queue);
bool vnet_any_used(struct vnet_fixture *f, unsigned queue);
/* Whether guest memory has what vnet_deliver delivered, from byte `from` of the frame on. */
bool vnet_is_frame(struct vnet_fixture *f, gpa_t at, size_t from, size_t len, uint8_t seed);
struct virtio_net_hdr_v1 vnet_header(struct vnet_fixture *f, gpa_t at);

/* Put a frame of `len` bytes behind a header into a transmit queue, ring and settle. */
void vnet_transmit(struct vnet_fixture *f, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
		   uint32_t len);
/* A command on the control queue; returns its ack. */
uint8_t vnet_ctrl(struct vnet_fixture *f, uint8_t class, uint8_t cmd, const void *data, size_t len);

/* Run an action. report may be NULL. */
int vnet_action(struct vnet_fixture *f, const char *name, const char *options,
		struct report *report);
uint16_t vnet_status(struct vnet_fixture *f);

#endif
