/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/virtio_net_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtio_classes.h"

#define RAM (64 * MIB)

const uint8_t vnet_mac[ETH_ALEN] = {0x52, 0x54, 0x00, 0x11, 0x22, 0x33};

static void create(struct vnet_fixture *f, const char *options)
{
	char all[256];

	/* Some of its functions look into the rings. */
	snprintf(all, sizeof(all), "packed=off,mac=" VNET_MAC "%s%s", options ? "," : "",
		 options ? options : "");
	f->dev = fake_env_device(&f->fake, &virtio_net_class.device, all);
	f->net = virtio_net(virtio_device(f->dev));
	virtio_driver_init(&f->driver, &f->fake, &f->net->vd, gpa(MIB));
}

void vnet_init(struct vnet_fixture *f, const char *options)
{
	fake_net_setup = (struct fake_net_setup){
		.pairs = 3, .tx_offloads = VNET_ALL, .rx_offloads = VNET_ALL};
	fake_env_init(&f->fake, RAM);
	create(f, options);
}

void vnet_fini(struct vnet_fixture *f)
{
	fake_env_remove(f->dev);
	cr_expect_null(fake_net, "the backend outlives the device");
	fake_env_fini(&f->fake);
}

void vnet_again(struct vnet_fixture *f, const char *options)
{
	fake_env_remove(f->dev);
	create(f, options);
}

void vnet_start(struct vnet_fixture *f, uint64_t features)
{
	bool mq = features & VNET_F(MQ);

	f->driver.next = gpa(MIB);
	virtio_driver_start(&f->driver, features, mq ? 2 * f->net->max_pairs + 1 : 3);
}

void vnet_start_all(struct vnet_fixture *f)
{
	vnet_start(f, virtio_offered(&f->net->vd));
}

/* ---- receiving ---- */

gpa_t vnet_post(struct vnet_fixture *f, unsigned pair, uint32_t len)
{
	const struct driver_buffer b = {virtio_driver_alloc(&f->driver, len), len, true};

	cr_assert_eq(guest_fill(f->driver.memory, b.addr, 0xee, len), 0);
	driver_ring_add(&f->driver.rings[virtio_net_rx_queue(pair)], &b, 1);
	return b.addr;
}

void vnet_frame(uint8_t *frame, size_t len, const uint8_t *dst, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(seed + i * 7 + i / 256);
	memcpy(frame, dst, MIN(len, (size_t)ETH_ALEN));
	if (len >= ETH_HLEN)
		memcpy(frame + 2 * ETH_ALEN, "\x08", 2);
}

bool vnet_deliver(struct vnet_fixture *f, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
		  size_t len, uint8_t seed)
{
	uint8_t *frame = malloc(len + 1);
	bool taken;

	vnet_frame(frame, len, vnet_mac, seed);
	taken = fake_net_deliver(pair, hdr, frame, len);
	free(frame);
	fake_env_settle(&f->fake);
	return taken;
}

bool vnet_any_used(struct vnet_fixture *f, unsigned queue)
{
	const struct driver_ring *ring = &f->driver.rings[queue];

	return driver_ring_used_idx(ring) != ring->used_seen;
}

uint32_t vnet_used(struct vnet_fixture *f, unsigned queue)
{
	uint32_t id, len;

	cr_assert(driver_ring_used(&f->driver.rings[queue], &id, &len), "nothing came back: %s",
		  f->fake.last_log);
	return len;
}

bool vnet_is_frame(struct vnet_fixture *f, gpa_t at, size_t from, size_t len, uint8_t seed)
{
	uint8_t *want = malloc(from + len + 1), *have = malloc(len + 1);
	bool same;

	vnet_frame(want, from + len, vnet_mac, seed);
	driver_read(f->driver.memory, at, have, len);
	same = !memcmp(want + from, have, len);
	free(want);
	free(have);
	return same;
}

struct virtio_net_hdr_v1 vnet_header(struct vnet_fixture *f, gpa_t at)
{
	struct virtio_net_hdr_v1 h;

	driver_read(f->driver.memory, at, &h, sizeof(h));
	return h;
}

/* ---- sending ---- */

void vnet_transmit(struct vnet_fixture *f, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
		   uint32_t len)
{
	const struct virtio_net_hdr_v1 none = {0};
	const unsigned queue = virtio_net_tx_queue(pair);
	struct driver_buffer b[2] = {{virtio_driver_alloc(&f->driver, VNET_HDR), VNET_HDR, false},
				     {virtio_driver_alloc(&f->driver, len), len, false}};
	uint8_t *frame = malloc(len + 1);

	vnet_frame(frame, len, vnet_mac, 1);
	driver_write(f->driver.memory, b[0].addr, hdr ? hdr : &none, VNET_HDR);
	if (len)
		driver_write(f->driver.memory, b[1].addr, frame, len);
	free(frame);
	driver_ring_add(&f->driver.rings[queue], b, len ? 2 : 1);
	virtio_driver_kick(&f->driver, queue);
	fake_env_settle(&f->fake);
}

/* ---- control ---- */

uint8_t vnet_ctrl(struct vnet_fixture *f, uint8_t class, uint8_t cmd, const void *data, size_t len)
{
	const unsigned queue = virtio_net_ctrl_queue(f->net);
	const struct virtio_net_ctrl_hdr header = {class, cmd};
	struct driver_buffer b[3] = {{virtio_driver_alloc(&f->driver, 2), 2, false}};
	unsigned n = 1;
	uint8_t ack = 0xff;

	driver_write(f->driver.memory, b[0].addr, &header, sizeof(header));
	if (len) {
		b[n] = (struct driver_buffer){virtio_driver_alloc(&f->driver, len), (uint32_t)len,
					      false};
		driver_write(f->driver.memory, b[n++].addr, data, len);
	}
	b[n] = (struct driver_buffer){virtio_driver_alloc(&f->driver, 1), 1, true};
	driver_write(f->driver.memory, b[n].addr, &ack, 1);
	driver_ring_add(&f->driver.rings[queue], b, n + 1);
	virtio_driver_kick(&f->driver, queue);
	cr_assert_eq(virtio_driver_wait(&f->driver, queue, NULL), 1u);
	driver_read(f->driver.memory, b[n].addr, &ack, 1);
	fake_env_settle(&f->fake);
	return ack;
}

int vnet_action(struct vnet_fixture *f, const char *name, const char *options,
		struct report *report)
{
	struct vmm_error err = {0};
	int rc = device_action(f->dev, name, options, report, &err);

	cr_assert(!rc || err.message[0], "%s fails without a sentence", name);
	fake_env_settle(&f->fake);
	return rc;
}

uint16_t vnet_status(struct vnet_fixture *f)
{
	uint16_t v;

	virtio_read_config(&f->net->vd, offsetof(struct virtio_net_config, status), &v, sizeof(v));
	return v;
}
