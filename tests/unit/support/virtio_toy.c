/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/virtio_toy.h"

#include <string.h>

static struct toy *toy(struct virtio_device *vd)
{
	return container_of(vd, struct toy, vd);
}

static void config_read(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	memcpy(buf, toy(vd)->config + offset, len);
}

static void config_write(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len)
{
	memcpy(toy(vd)->config + offset, buf, len);
}

static void features_set(struct virtio_device *vd)
{
	toy(vd)->features_set++;
}

static void activate(struct virtio_device *vd)
{
	toy(vd)->activations++;
}

static void finish(struct toy *t, unsigned queue, struct virtq_chain *chain)
{
	char buf[256];
	size_t n = virtq_read_out(chain, 0, buf, sizeof(buf));

	n = virtq_write_in(chain, 0, buf, n);
	virtio_push(&t->vd, queue, chain, (uint32_t)n);
}

static void handle(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct toy *t = toy(vd);

	t->chains++;
	if (t->hook)
		t->hook(t);
	if (t->hold && !t->held) {
		t->held = chain;
		t->held_queue = queue;
		return;
	}
	finish(t, queue, chain);
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	toy(vd)->kicks++;
	virtio_process(vd, queue, handle);
}

void toy_release(struct toy *t)
{
	bool drained;

	device_lock(&t->vd.dev);
	finish(t, t->held_queue, t->held);
	t->held = NULL;
	drained = t->draining;
	t->draining = false;
	device_unlock(&t->vd.dev);
	if (drained)
		virtio_drained(&t->vd);
}

static void drain(struct virtio_device *vd)
{
	struct toy *t = toy(vd);

	t->drains++;
	t->draining = t->held != NULL;
	if (!t->draining)
		virtio_drained(vd);
}

static void drain_queue(struct virtio_device *vd, unsigned queue)
{
	struct toy *t = toy(vd);

	t->queue_drains++;
	if (!t->give_back || !t->held || t->held_queue != queue)
		return;
	virtio_push(vd, queue, t->held, 0);
	t->held = NULL;
}

static void reset(struct virtio_device *vd)
{
	toy(vd)->resets++;
	memset(toy(vd)->config, 0, TOY_CONFIG_SIZE);
}

static void save(struct virtio_device *vd, struct state_writer *w)
{
	state_put_bytes(w, "config", toy(vd)->config, TOY_CONFIG_SIZE);
}

static int load(struct virtio_device *vd, struct state_reader *r, uint32_t version UNUSED)
{
	return state_get_bytes(r, "config", toy(vd)->config, TOY_CONFIG_SIZE);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	return virtio_init(virtio_device(dev), TOY_QUEUES, TOY_QUEUE_SIZE,
			   UINT64_C(1) << TOY_FEATURE, err);
}

static void unrealize(struct device *dev)
{
	virtio_fini(virtio_device(dev));
}

static const struct option_desc options[] = {
	VIRTIO_OPTIONS(struct toy, vd),
	OPTION_END,
};

const struct virtio_class toy_class = {
	.device =
		{
			.name = "toy",
			.help = "copies what it reads",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.size = sizeof(struct toy),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
		},
	.device_id = 42,
	.pci_class = 0x00ff00,
	.config_size = TOY_CONFIG_SIZE,
	.config_read = config_read,
	.config_write = config_write,
	.features_set = features_set,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.drain_queue = drain_queue,
	.reset = reset,
	.save = save,
	.load = load,
};
