/* SPDX-License-Identifier: MIT */
/*
 * The peer of a stream net: it sends what it likes in pieces as it likes, leaves and comes back,
 * while the guest has buffers or none.
 */
#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/fuzz/input.h"
#include "tests/fuzz/net_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct clock_fake fake_clock;
static struct loop *loop;
static struct net *net;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void remove_socket(void)
{
	unlink(address.sun_path);
}

static void create(void)
{
	char spec[160];
	int r;

	clock_fake_init(&fake_clock);
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz-net-stream-%d", getpid());
	snprintf(spec, sizeof(spec), "stream:unix:%s,server=on", address.sun_path);
	r = loop_create(&loop, "fuzz", &fake_clock.clock, NULL);
	assert(!r);
	r = net_create(&net, spec, "--net", NULL, loop, NULL, NULL);
	assert(!r);
	(void)r;
	net_attach(net, &net_front, NULL);
	atexit(remove_socket);
}

static int come(void)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		abort();
	return fd;
}

static void turns(void)
{
	for (unsigned i = 0; loop_turn(loop, false); i++)
		if (i > 100000)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[4096], frame[256];
	struct input in = {data, size};
	int fd;

	if (!net)
		create();
	fd = come();
	turns();
	while (in.left) {
		const uint8_t op = input_u8(&in);

		switch (op & 3) {
		case 0: /* bytes, few or many */
		case 1: {
			const size_t len = op & 1 ? input_u8(&in) : input_u16(&in) % sizeof(bytes);
			const size_t real = input_bytes(&in, bytes, len);
			const ssize_t n =
				send(fd, bytes, op & 4 ? len : real, MSG_NOSIGNAL | MSG_DONTWAIT);

			(void)n;
			break;
		}
		case 2: /* the guest */
			net_front_room = op >> 2;
			net_receive_ready(net, 0);
			if (op & 4) {
				const struct virtio_net_hdr_v1 hdr = {0};
				const struct iovec iov = {frame, op};

				net_send(net, 0, &hdr, &iov, 1);
			}
			break;
		case 3:
			if (op & 4) {
				close(fd);
				turns();
				fd = come();
			}
			break;
		}
		turns();
	}
	close(fd);
	net_front_room = UINT32_MAX;
	net_receive_ready(net, 0);
	turns();
	if (net_link_up(net))
		abort();
	return 0;
}
