/* SPDX-License-Identifier: MIT */
/* virtio-rng with a limit: no chain of a guest hangs it or gets more than its length. */
#include "tests/fuzz/virtio_fuzz.h"
#include "virtio/virtio_classes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtio_fuzz f;
	struct input in = {data, size};

	if (!f.dev)
		fuzz_create(&f, &virtio_rng_class, "max-bytes=64K,period=100");
	fuzz_play(&f, &in, NULL);
	return 0;
}
