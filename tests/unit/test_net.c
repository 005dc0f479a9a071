/* SPDX-License-Identifier: MIT */
/* What all backends share. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core/option.h"
#include "net/packet_fifo.h"
#include "tests/unit/support/net_fixture.h"

static struct net_fixture f;

static void setup(void)
{
	net_fixture_init(&f);
}

static void teardown(void)
{
	net_fixture_fini(&f);
}

TestSuite(net, .init = setup, .fini = teardown, .timeout = 30);

#define REFUSED(spec, text)                                                                  \
	cr_assert_not_null(strstr(net_fixture_refused(&f, spec), text), "%s gave: %s", spec, \
			   f.err.message)

Test(net, unknown_backends_get_a_suggestion_and_the_list)
{
	REFUSED("usr", "did you mean \"user\"");
	REFUSED("usr", "Possible: user, tap");
	REFUSED("zebra,x=y", "there is no network backend \"zebra\". Possible");
	REFUSED("", "there is no network backend \"\"");
	REFUSED("a-name-that-is-so-long-that-it-does-not-fit-into-the-message",
		"no network backend");
	REFUSED("none,x=1", "--net none: unknown option \"x\"");
}

Test(net, every_backend_describes_itself)
{
	struct net_kind kind;
	unsigned n;

	for (n = 0; net_kind(n, &kind); n++) {
		cr_assert_eq(strncmp(kind.usage, kind.name, strlen(kind.name)), 0);
		cr_assert(*kind.help && !strchr(kind.help, '\n'));
		for (const struct option_desc *o = kind.options; o->name; o++)
			cr_assert(o->help && *o->help, "%s: %s has no help", kind.name, o->name);
	}
	cr_assert_eq(n, 5);
}

Test(net, none_drops_and_counts)
{
	uint8_t frame[60] = {0};

	net_fixture_open(&f, "none");
	cr_assert_not(net_link_up(f.net));
	cr_assert_eq(net_fixture_send(&f, frame, sizeof(frame)), NET_SENT);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":1"));
	cr_assert_eq(net_max_queue_pairs(f.net), 1);
	cr_assert_eq(net_set_queue_pairs(f.net, 2), -EINVAL);
	cr_assert_eq(net_set_queue_pairs(f.net, 0), -EINVAL);
	cr_assert_eq(net_set_rx_offloads(f.net, NET_CSUM), -EINVAL);
	cr_assert_eq(net_set_rx_offloads(f.net, 0), 0);
}

Test(net, nothing_comes_while_nobody_is_attached)
{
	struct frame frame;

	net_fixture_open(&f, "user");
	frame_arp(&frame, 1, 0x0a00020f, 0x0a000202, NULL);
	net_fixture_send(&f, frame.data, frame.len);
	net_attach(f.net, NULL, NULL);
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 0);
	cr_assert_not_null(strstr(net_fixture_report(&f), "\"dropped\":1"));
}

Test(net, destroying_with_work_to_do_is_fine)
{
	struct frame frame;

	net_fixture_open(&f, "user");
	frame_arp(&frame, 1, 0x0a00020f, 0x0a000202, NULL);
	net_fixture_send(&f, frame.data, frame.len);
	net_receive_ready(f.net, 0);
	net_fixture_close(&f);
	net_fixture_settle(&f);
	cr_assert_eq(f.count, 0);
	net_destroy(NULL);
}

/* ---- the queue of packets ---- */

Test(packet_fifo, keeps_order_and_contents_around_the_wrap)
{
	struct packet_fifo fifo;
	struct iovec packet;
	uint8_t data[200];
	unsigned in = 0, out = 0;

	cr_assert_eq(packet_fifo_init(&fifo, 1003), 0);
	for (unsigned round = 0; round < 5000; round++) {
		/* Sizes and turns that hit every alignment and both ends. */
		const size_t len = in * 37 % sizeof(data);

		memset(data, (int)in, sizeof(data));
		if (round % 7 < 4 && packet_fifo_push(&fifo, data, len))
			in++;
		else if (packet_fifo_peek(&fifo, &packet)) {
			cr_assert_eq(packet.iov_len, out * 37 % sizeof(data));
			for (size_t i = 0; i < packet.iov_len; i++)
				cr_assert_eq(((uint8_t *)packet.iov_base)[i], out & 0xff);
			packet_fifo_pop(&fifo);
			out++;
		}
		cr_assert_eq(fifo.count, in - out);
	}
	cr_assert_gt(out, 1000);
	packet_fifo_fini(&fifo);
}

Test(packet_fifo, is_full_at_its_bound_and_usable_again)
{
	struct packet_fifo fifo;
	uint8_t data[100] = {0};

	cr_assert_eq(packet_fifo_init(&fifo, 512), 0);
	for (unsigned round = 0; round < 10; round++) {
		cr_assert(packet_fifo_push(&fifo, data, 100));
		cr_assert(packet_fifo_push(&fifo, data, 100));
		cr_assert(packet_fifo_push(&fifo, data, 100));
		cr_assert(packet_fifo_push(&fifo, data, 100));
		cr_assert_not(packet_fifo_push(&fifo, data, 100));
		for (unsigned i = 0; i < 4; i++)
			packet_fifo_pop(&fifo);
		cr_assert(packet_fifo_empty(&fifo));
	}
	cr_assert_not(packet_fifo_push(&fifo, data, 513));
	cr_assert_not(packet_fifo_push(&fifo, data, SIZE_MAX));
	packet_fifo_fini(&fifo);
}
