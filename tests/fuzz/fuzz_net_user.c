/* SPDX-License-Identifier: MIT */
/*
 * A guest on a user network sends frames as it likes. Restricted, so that nothing leaves the host;
 * DHCP, ARP, neighbour discovery, DNS, ping and TCP are answered all the same.
 */
#include <assert.h>

#include "tests/fuzz/input.h"
#include "tests/fuzz/net_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct clock_fake fake_clock;
static struct loop *loop;

static void turns(void)
{
	for (unsigned i = 0; loop_turn(loop, false); i++)
		if (i > 100000)
			abort();
}

/* Headers that most frames need, so that not every one must be found. */
static size_t template(struct input *in, uint8_t kind, uint8_t *frame)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
	static const uint8_t protocols[] = {1, 6, 17, 58};

	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	frame[12] = kind & 1 ? 0x86 : 8;
	frame[13] = kind & 1 ? 0xdd : 0;
	if (kind & 1) {
		static const uint8_t to[16] = {0xfe, 0xc0, [15] = 2};

		memset(frame + 14, 0, 40);
		frame[14] = 0x60;
		frame[18] = input_u8(in);
		frame[19] = input_u8(in);
		frame[20] = protocols[kind >> 1 & 3];
		frame[21] = 255;
		frame[22] = 0xfe;
		frame[23] = 0xc0;
		frame[37] = 0x15;
		memcpy(frame + 38, to, 16);
		return 54;
	}
	memset(frame + 14, 0, 20);
	frame[14] = 0x45;
	frame[16] = input_u8(in);
	frame[17] = input_u8(in);
	frame[22] = 64;
	frame[23] = protocols[kind >> 1 & 3];
	memcpy(frame + 26, "\x0a\0\x02\x0f\x0a\0\x02", 7);
	frame[33] = kind >> 3;
	return 34;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t frame[4096];
	const struct virtio_net_hdr_v1 hdr = {0};
	struct input in = {data, size};
	struct net *net = NULL;
	int r = 0;

	if (!loop) {
		clock_fake_init(&fake_clock);
		r = loop_create(&loop, "fuzz", &fake_clock.clock, NULL);
		assert(!r);
	}
	r = net_create(&net, "user,restrict=on,mtu=4000", "--net", NULL, loop, NULL, NULL);
	assert(!r);
	(void)r;
	net_attach(net, &net_front, NULL);
	while (in.left) {
		const uint8_t op = input_u8(&in);
		size_t len = 0;
		struct iovec iov;

		net_front_room = op & 0x80 ? UINT32_MAX : op & 7;
		if (op & 0x40)
			net_receive_ready(net, 0);
		if (op & 0x20)
			clock_fake_advance(&fake_clock, (uint64_t)input_u8(&in) * 10 * NS_PER_MS);
		if (op & 0x10)
			len = template(&in, input_u8(&in), frame);
		len += input_bytes(&in, frame + len, input_u16(&in) % 2048);
		iov = (struct iovec){frame, len};
		if (net_send(net, 0, &hdr, &iov, 1) != NET_SENT)
			abort();
		if (op & 8)
			turns();
	}
	turns();
	net_destroy(net);
	turns();
	return 0;
}
