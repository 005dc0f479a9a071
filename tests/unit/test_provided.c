/* SPDX-License-Identifier: MIT */
/*
 * Streams and networks that the program brings, without a VM around them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "console/chardev.h"
#include "console/chardev_api.h"
#include "net/net.h"
#include "net/net_api.h"
#include "tests/unit/support/fake_env.h"

static struct fake_env fake;
static struct provided_set set;
static struct device dev; /* whose stream or network it is */
static struct vmm_error err;

static void turn(void)
{
	fake_env_settle(&fake);
}

static void setup(void)
{
	fake_env_init(&fake, 0);
	provided_init(&set);
	fake.env.provided = &set;
	dev = (struct device){.env = &fake.env, .loop = fake.env.loop};
}

static void teardown(void)
{
	turn();
	provided_fini(&set);
	fake_env_fini(&fake);
}

TestSuite(provided, .init = setup, .fini = teardown);

/* ---- a stream ---- */

#define BIG (200u * 1024)

struct ends {
	/* The program's. */
	char out[64];
	size_t out_len, out_room;
	unsigned ready;
	/* The device's. */
	uint8_t in[BIG];
	size_t in_len, in_room;
	unsigned writable;
};
static struct ends ends;

static size_t program_output(void *opaque, const void *data, size_t len)
{
	struct ends *e = opaque;

	len = MIN(len, e->out_room);
	memcpy(e->out + e->out_len, data, len);
	e->out_len += len;
	e->out_room -= len;
	return len;
}

static void program_ready(void *opaque)
{
	((struct ends *)opaque)->ready++;
}

static size_t device_input(void *opaque, const uint8_t *data, size_t len)
{
	struct ends *e = opaque;

	len = MIN(len, e->in_room);
	memcpy(e->in + e->in_len, data, len);
	e->in_len += len;
	e->in_room -= len;
	return len;
}

static void device_writable(void *opaque)
{
	((struct ends *)opaque)->writable++;
}

static const struct vmm_chardev_ops chardev_ops = {
	.size = sizeof(chardev_ops), .output = program_output, .input_ready = program_ready};
static const struct chardev_frontend frontend = {.input = device_input,
						 .writable = device_writable};

static struct chardev *open_stream(const char *spec)
{
	struct chardev *cd;

	cr_assert_eq(chardev_create_for(&cd, spec, "chardev", &dev, &err), 0, "%s", err.message);
	chardev_attach(cd, &frontend, &ends);
	return cd;
}

static struct vmm_chardev *make_stream(const char *name)
{
	struct vmm_chardev *c;

	memset(&ends, 0, sizeof(ends));
	cr_assert_eq(chardev_api_create(&c, &set, name, &chardev_ops, &ends, fake.env.loop, &err),
		     0, "%s", err.message);
	return c;
}

Test(provided, output_that_the_program_does_not_take_is_offered_again_when_it_asks)
{
	struct vmm_chardev *c = make_stream("con");
	struct chardev *cd = open_stream("api:con");

	ends.out_room = 3;
	cr_assert_eq(chardev_write(cd, (const uint8_t *)"hello", 5), 3);
	cr_assert_eq(ends.writable, 0);
	ends.out_room = 10;
	chardev_api_ready(c);
	turn();
	cr_assert_eq(ends.writable, 1);
	cr_assert_eq(chardev_write(cd, (const uint8_t *)"lo", 2), 2);
	cr_assert_str_eq(ends.out, "hello");
	chardev_destroy(cd);
}

Test(provided, input_is_bounded_and_arrives_in_order_whatever_the_device_takes_at_a_time)
{
	static uint8_t data[BIG];
	struct vmm_chardev *c = make_stream("con");
	struct chardev *cd;
	size_t sent;

	for (size_t i = 0; i < BIG; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	/* Before there is a device: as much as waits. */
	sent = chardev_api_input(c, data, BIG);
	cr_assert_eq(sent, 64 * 1024);
	cr_assert_eq(chardev_api_input(c, data + sent, 1), 0);
	cd = open_stream("api:con");
	for (unsigned i = 0; ends.in_len < BIG && i < 10000; i++) {
		ends.in_room = 1000;
		chardev_input_ready(cd);
		turn();
		if (ends.ready) {
			ends.ready = 0;
			sent += chardev_api_input(c, data + sent, BIG - sent);
		}
	}
	cr_assert_eq(ends.in_len, BIG);
	cr_assert_eq(memcmp(ends.in, data, BIG), 0);
	chardev_destroy(cd);
}

Test(provided, a_name_is_there_once_and_one_device_has_it)
{
	struct vmm_chardev *c = make_stream("con"), *again;
	struct chardev *cd = open_stream("api:con"), *second;

	(void)c;
	cr_assert_eq(
		chardev_api_create(&again, &set, "con", &chardev_ops, NULL, fake.env.loop, &err),
		-EEXIST);
	cr_assert_eq(chardev_api_create(&again, &set, "1", &chardev_ops, NULL, fake.env.loop, &err),
		     -EINVAL);
	cr_assert_eq(chardev_create_for(&second, "api:con", "chardev", &dev, &err), -EBUSY);
	cr_assert_eq(chardev_create_for(&second, "api:other", "chardev", &dev, &err), -ENOENT);
	cr_assert_not_null(strstr(err.message, "no stream other"), "%s", err.message);
	chardev_destroy(cd);
	cd = open_stream("api:con");
	chardev_destroy(cd);
	/* Without a program there is none. */
	cr_assert_eq(chardev_create(&second, "api:con", "chardev", fake.env.loop, NULL, &err),
		     -ENOENT);
	cr_assert_eq(chardev_check("api:con", "chardev", &err), 0);
	cr_assert_eq(chardev_check("api:", "chardev", &err), -EINVAL);
}

Test(provided, what_a_newer_program_sets_and_this_library_does_not_know_is_refused)
{
	struct {
		struct vmm_chardev_ops ops;
		void (*later)(void *opaque);
	} newer = {.ops = chardev_ops};
	struct vmm_chardev *c;

	newer.ops.size = sizeof(newer);
	cr_assert_eq(chardev_api_create(&c, &set, "a", &newer.ops, NULL, fake.env.loop, &err), 0,
		     "%s", err.message);
	newer.later = program_ready;
	cr_assert_eq(chardev_api_create(&c, &set, "b", &newer.ops, NULL, fake.env.loop, &err),
		     -EINVAL);
	cr_assert_not_null(strstr(err.message, "does not know"), "%s", err.message);
	newer.ops.size = sizeof(size_t);
	cr_assert_eq(chardev_api_create(&c, &set, "c", &newer.ops, NULL, fake.env.loop, &err),
		     -EINVAL);
}

/* ---- a network ---- */

struct card {
	/* The program's. */
	unsigned sent, ready;
	bool closed;
	uint8_t first;
	/* The guest's. */
	unsigned received, room, writable;
	size_t len;
};
static struct card card;

static bool program_send(void *opaque, const void *frame, size_t len)
{
	struct card *c = opaque;

	if (c->closed)
		return false;
	c->first = *(const uint8_t *)frame;
	c->len = len;
	c->sent++;
	return true;
}

static void program_receive_ready(void *opaque)
{
	((struct card *)opaque)->ready++;
}

static bool guest_receive(void *opaque, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
			  const struct iovec *iov, unsigned count)
{
	struct card *c = opaque;

	cr_assert(queue == 0 && hdr->gso_type == 0 && count == 1);
	if (!c->room)
		return false;
	c->room--;
	c->received++;
	c->len = iov->iov_len;
	return true;
}

static void guest_writable(void *opaque, unsigned queue)
{
	cr_assert_eq(queue, 0);
	((struct card *)opaque)->writable++;
}

static const struct vmm_netdev_ops netdev_ops = {
	.size = sizeof(netdev_ops), .send = program_send, .receive_ready = program_receive_ready};
static const struct net_frontend guest = {.receive = guest_receive, .writable = guest_writable};

Test(provided, frames_go_both_ways_and_neither_side_is_flooded)
{
	static uint8_t frame[NET_MAX_PACKET + 1] = {0x42};
	const struct virtio_net_hdr_v1 hdr = {0};
	const struct iovec parts[] = {{frame, 10}, {frame, 50}};
	struct vmm_netdev *n;
	struct net *net;
	unsigned taken = 0;

	card = (struct card){0};
	cr_assert_eq(net_api_create(&n, &set, "lan", &netdev_ops, &card, fake.env.loop, &err), 0);
	cr_assert_eq(net_create_for(&net, "api:lan", "backend", NULL, &dev, &err), 0, "%s",
		     err.message);
	net_attach(net, &guest, &card);
	turn();
	cr_assert_eq(net_send(net, 0, &hdr, parts, 2), NET_SENT);
	cr_assert(card.sent == 1 && card.first == 0x42 && card.len == 60);
	card.closed = true;
	cr_assert_eq(net_send(net, 0, &hdr, parts, 2), NET_BUSY);
	turn();
	cr_assert_eq(card.writable, 0);
	card.closed = false;
	net_api_ready(n);
	turn();
	cr_assert_eq(card.writable, 1);

	cr_assert_eq(net_api_receive(n, frame, 13), -EMSGSIZE);
	cr_assert_eq(net_api_receive(n, frame, sizeof(frame)), -EMSGSIZE);
	while (net_api_receive(n, frame, 1000) == 0)
		taken++;
	cr_assert(taken > 200 && taken < 300, "%u", taken);
	turn();
	cr_assert_eq(card.received, 0);
	cr_assert_eq(card.ready, 0);
	card.room = 1000;
	net_receive_ready(net, 0);
	turn();
	cr_assert_eq(card.received, taken);
	cr_assert_eq(card.ready, 1);
	cr_assert_eq(card.len, 1000);
	net_destroy(net);
	cr_assert_eq(net_api_receive(n, frame, 1000), 0);
	cr_assert_eq(net_create_for(&net, "api:wan", "backend", NULL, &dev, &err), -ENOENT);
	cr_assert_eq(net_check("api:wan", "--net", &err), 0);
}
