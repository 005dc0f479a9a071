/* SPDX-License-Identifier: MIT */
/* virtio-balloon: whatever a guest puts into it, only the guest's own memory goes away. */
#include "tests/fuzz/virtio_fuzz.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_classes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The host has its wishes as well. */
static void act(struct virtio_fuzz *f, struct input *in)
{
	static const char *const actions[][2] = {
		{"target", "4M"},        {"target", "8M"},        {"status", NULL},
		{"stats", NULL},         {"hint-stop", NULL},     {"hint-start", NULL},
		{"stats-interval", "1"}, {"stats-interval", "0"},
	};
	const char *const *a = actions[input_u8(in) % ARRAY_SIZE(actions)];

	/* Some need a driver that there is not: an error, and no more than that. */
	if (device_action(f->dev, a[0], a[1], NULL, NULL))
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtio_fuzz f;
	struct input in = {data, size};
	struct guest_region *r;

	if (!size)
		return 0;
	if (!f.dev)
		fuzz_create(&f, &virtio_balloon_class, "free-page-hint=on");
	/* Each input with small or with large host pages. */
	r = (struct guest_region *)(uintptr_t)guest_memory_region(f.env.memory, 0);
	device_quiesce_wait(f.dev);
	device_destroy(f.dev);
	r->page_size = input_u8(&in) & 1 ? 2 * MIB : 4096;
	fuzz_must(device_create(&f.dev, &virtio_balloon_class.device, NULL, "free-page-hint=on",
				&f.env, NULL));
	fuzz_play(&f, &in, act);
	return 0;
}
