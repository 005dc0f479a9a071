/* SPDX-License-Identifier: MIT */
/*
 * virtio-net over real backends: packets, back-pressure and the link, end to end.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/virtio_driver.h"
#include "virtio/virtio_classes.h"
#include "virtio/virtio_net.h"

#define HDR     12u
#define BUFFER  2048u
#define FEATURE VIRTIO_NET_BIT(STATUS)

static const uint8_t macs[2][ETH_ALEN] = {{0x52, 0x54, 0, 0, 0, 1}, {0x52, 0x54, 0, 0, 0, 2}};

/* Two cards of one machine, each with a driver of its own. */
static struct fake_env fake;
static struct device *dev[2];
static struct virtio_driver driver[2];
static gpa_t buffer_at[2][VIRTQ_MAX_SIZE]; /* receive buffers, by head */
static gpa_t tx_at[2];
static char path[64];

static void setup(void)
{
	snprintf(path, sizeof(path), "/tmp/vmm-test-net-%d", (int)getpid());
	fake_env_init(&fake, 64 * MIB);
}

static void remove_card(unsigned card)
{
	if (dev[card])
		fake_env_remove(dev[card]);
	dev[card] = NULL;
}

static void teardown(void)
{
	remove_card(0);
	remove_card(1);
	unlink(path);
	fake_env_fini(&fake);
}

TestSuite(virtio_net_backend, .init = setup, .fini = teardown, .timeout = 30);

static void add_card(unsigned card, const char *backend)
{
	const uint8_t *m = macs[card];
	struct vmm_error err = {0};
	char options[256];

	snprintf(options, sizeof(options), "backend=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x", backend,
		 m[0], m[1], m[2], m[3], m[4], m[5]);
	cr_assert_eq(device_create(&dev[card], &virtio_net_class.device, card ? "b" : "a", options,
				   &fake.env, &err),
		     0, "%s", err.message);
	virtio_driver_init(&driver[card], &fake, virtio_device(dev[card]),
			   gpa((1 + 31 * (uint64_t)card) * MIB));
	virtio_driver_start(&driver[card], FEATURE, 3);
	tx_at[card] = virtio_driver_alloc(&driver[card], 4096);
}

static void post(unsigned card, unsigned count)
{
	struct driver_ring *ring = &driver[card].rings[0];

	while (count--) {
		const struct driver_buffer b = {virtio_driver_alloc(&driver[card], BUFFER), BUFFER,
						true};

		buffer_at[card][driver_ring_add(ring, &b, 1)] = b.addr;
	}
	virtio_driver_kick(&driver[card], 0);
}

static void transmit(unsigned card, const void *frame, uint32_t len)
{
	struct virtio_driver *d = &driver[card];
	const struct virtio_net_hdr_v1 none = {0};
	const struct driver_buffer b = {tx_at[card], HDR + len, false};

	driver_write(d->memory, b.addr, &none, HDR);
	driver_write(d->memory, gpa_add(b.addr, HDR), frame, len);
	driver_ring_add(&d->rings[1], &b, 1);
	virtio_driver_kick(d, 1);
	virtio_driver_wait(d, 1, NULL);
}

/* The next frame that comes, without its header. */
static size_t receive(unsigned card, uint8_t *frame)
{
	uint32_t head, len = virtio_driver_wait(&driver[card], 0, &head);

	cr_assert(len > HDR && len <= BUFFER);
	driver_read(driver[card].memory, gpa_add(buffer_at[card][head], HDR), frame, len - HDR);
	return len - HDR;
}

static uint32_t numbered_frame(uint8_t *frame, unsigned from, unsigned number)
{
	const uint32_t len = 60 + number * 37 % 1400;

	memset(frame, (int)number, len);
	memcpy(frame, macs[!from], ETH_ALEN);
	memcpy(frame + ETH_ALEN, macs[from], ETH_ALEN);
	memcpy(frame + 2 * ETH_ALEN, "\x88\xb5", 2);
	memcpy(frame + ETH_HLEN, &number, sizeof(number));
	return len;
}

static void expect_frame(unsigned card, unsigned number)
{
	uint8_t want[BUFFER], have[BUFFER];
	uint32_t len = numbered_frame(want, !card, number);

	cr_assert_eq(receive(card, have), len, "frame %u", number);
	cr_assert_arr_eq(have, want, len, "frame %u", number);
}

static uint16_t status(unsigned card)
{
	uint16_t v;

	virtio_read_config(driver[card].vd, offsetof(struct virtio_net_config, status), &v,
			   sizeof(v));
	return v;
}

static void wait_for_link(unsigned card, bool up)
{
	while ((status(card) & VIRTIO_NET_S_LINK_UP) != (up ? VIRTIO_NET_S_LINK_UP : 0))
		loop_turn(fake.env.loop, true);
}

static void connect_cards(const char *kind)
{
	char spec[128];

	snprintf(spec, sizeof(spec), "%s:unix:%s,,server=on", kind, path);
	add_card(0, spec);
	snprintf(spec, sizeof(spec), "%s:unix:%s", kind, path);
	add_card(1, spec);
	wait_for_link(0, true);
	wait_for_link(1, true);
}

Test(virtio_net_backend, two_cards_exchange_packets_over_a_stream)
{
	uint8_t frame[BUFFER];

	connect_cards("stream");
	post(0, 16);
	post(1, 16);
	for (unsigned i = 0; i < 16; i++) {
		transmit(i % 2, frame, numbered_frame(frame, i % 2, i));
		expect_frame(!(i % 2), i);
	}
}

Test(virtio_net_backend, slow_receiver_loses_nothing_and_mixes_nothing_up)
{
	uint8_t frame[BUFFER];

	connect_cards("stream");
	for (unsigned i = 0; i < 200; i++)
		transmit(0, frame, numbered_frame(frame, 0, i));
	fake_env_settle(&fake);
	for (unsigned i = 0; i < 200; i += 4) {
		post(1, 4);
		for (unsigned k = 0; k < 4; k++)
			expect_frame(1, i + k);
	}
}

Test(virtio_net_backend, link_follows_the_peer)
{
	unsigned before;

	connect_cards("stream");
	before = driver[0].config_interrupts;
	remove_card(1);
	wait_for_link(0, false);
	cr_assert_gt(driver[0].config_interrupts, before);
}

Test(virtio_net_backend, card_without_a_network_has_no_link_and_sends_nowhere)
{
	uint8_t frame[BUFFER];

	add_card(0, "none");
	cr_assert_eq(status(0), 0u);
	transmit(0, frame, numbered_frame(frame, 0, 1));
}

Test(virtio_net_backend, gateway_of_the_user_network_answers)
{
	/* Who has 10.0.2.2? Tell 10.0.2.15. */
	uint8_t ask[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0,    0,  1, 8, 6,
			   0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54, 0,  0, 0, 1,
			   10,   0,    2,    15,   0,    0,    0,    0,    0,    0,    10, 0, 2, 2};
	uint8_t answer[BUFFER];
	struct vmm_error err = {0};

	if (net_check("user", "backend", &err)) {
		fprintf(stderr, "skipped: %s\n", err.message);
		return;
	}
	add_card(0, "user");
	post(0, 8);
	transmit(0, ask, sizeof(ask));
	/* libslirp may have something to say of its own first. */
	do
		cr_assert_geq(receive(0, answer), 42u);
	while (memcmp(answer + 12, "\x08\x06", 2) || answer[21] != 2);
	cr_assert_arr_eq(answer, macs[0], ETH_ALEN);
	cr_assert_arr_eq(answer + 28, "\x0a\0\2\2", 4);
}
