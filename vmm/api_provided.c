/* SPDX-License-Identifier: MIT */
/*
 * What a program brings itself: registers, streams, networks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "console/chardev_api.h"
#include "core/versioned.h"
#include "net/net_api.h"
#include "vmm/machine.h"

/* ---- registers ---- */

struct vmm_region {
	struct provided provided;
	enum vmm_space space;
	uint64_t address, length;
	unsigned irq;
	struct vmm_region_ops ops;
	void *opaque;
	struct irq_line *line; /* NULL: none */
};

struct region_device {
	struct device dev;
	struct vmm_region *program;
	struct bus_region region;
};

static uint64_t region_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	const struct vmm_region *r = container_of(region, struct region_device, region)->program;

	return r->ops.read ? low_bytes(r->ops.read(r->opaque, offset, size), size)
			   : low_bytes(UINT64_MAX, size);
}

static void region_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	const struct vmm_region *r = container_of(region, struct region_device, region)->program;

	if (r->ops.write)
		r->ops.write(r->opaque, offset, low_bytes(value, size), size);
}

static int map_region(struct region_device *d, struct vmm_error *err)
{
	const struct vmm_region *r = d->program;
	struct bus *bus = r->space == VMM_SPACE_PORT ? d->dev.env->pio : d->dev.env->mmio;
	int rc;

	d->region = (struct bus_region){
		.name = d->dev.id,
		.size = r->length,
		.read = region_read,
		.write = region_write,
	};
	rc = bus_map(bus, &d->region, r->address);
	if (rc == -EBUSY)
		return error_set(err, EBUSY,
				 "something else is at or behind %#llx: give other addresses",
				 (unsigned long long)r->address);
	return rc ? error_set_errno(err, -rc, "%#llx", (unsigned long long)r->address) : 0;
}

/* Its id is the name of what the program brings. */
static int region_realize(struct device *dev, struct vmm_error *err)
{
	struct region_device *d = container_of(dev, struct region_device, dev);
	struct provided *own;
	int rc = provided_take(dev->env->provided, PROVIDED_REGION, dev->id, "region", dev->id,
			       &own, err);

	if (rc)
		return rc;
	d->program = container_of(own, struct vmm_region, provided);
	rc = map_region(d, err);
	if (!rc && d->program->irq)
		rc = machine_arch_take_irq(dev->env->opaque, d->program->irq, &d->program->line,
					   err);
	if (rc) {
		bus_unmap(&d->region);
		provided_give_back(dev->env->provided, own);
	}
	return rc;
}

static void region_reset(struct device *dev)
{
	const struct vmm_region *r = container_of(dev, struct region_device, dev)->program;

	irq_line_set(r->line, false);
	if (r->ops.reset)
		r->ops.reset(r->opaque);
}

static void region_free(struct provided *own)
{
	free(container_of(own, struct vmm_region, provided));
}

static void region_unrealize(struct device *dev)
{
	struct region_device *d = container_of(dev, struct region_device, dev);
	struct vmm_region *r = d->program;

	bus_unmap(&d->region);
	if (r->line)
		machine_arch_give_back_irq(dev->env->opaque, r->irq);
	provided_del(dev->env->provided, &r->provided);
	region_free(&r->provided);
}

/* Not in the array: only vmm_add_region makes one. */
static const struct device_class region_class = {
	.name = "region",
	.help = "registers of the program that embeds the VM",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct region_device),
	.realize = region_realize,
	.reset = region_reset,
	.unrealize = region_unrealize,
};

/* No device came of it. One that was realized and went again has taken it along. */
static void forget_region(struct vmm *vm, const struct vmm_region *r, const char *id)
{
	struct provided *own;

	if (provided_take(&vm->provided, PROVIDED_REGION, id, "region", NULL, &own, NULL))
		return;
	if (own != &r->provided) {
		provided_give_back(&vm->provided, own);
		return;
	}
	provided_del(&vm->provided, own);
	region_free(own);
}

static int plug_region(struct vmm *vm, struct vmm_region *r, const char *id, struct vmm_error *err)
{
	char options[DEVICE_ID_MAX + 4];
	int rc = provided_add(&vm->provided, &r->provided, id, err);

	if (rc) {
		region_free(&r->provided);
		return rc;
	}
	snprintf(options, sizeof(options), "id=%s", id);
	rc = machine_plug(vm, &region_class, options, err);
	if (rc)
		forget_region(vm, r, id);
	return rc;
}

int vmm_add_region(struct vmm *vm, const char *id, enum vmm_space space, uint64_t address,
		   uint64_t length, unsigned irq, const struct vmm_region_ops *ops, void *opaque,
		   struct vmm_region **region, struct vmm_error *err)
{
	struct vmm_region_ops own;
	struct vmm_region *r;
	int rc = error_unless_given(id, "id of a region", err);

	if (rc)
		return rc;
	rc = versioned_copy(&own, sizeof(own), ops, VERSIONED_SIZE(struct vmm_region_ops, reset),
			    "struct vmm_region_ops", err);
	if (rc)
		return rc;
	rc = machine_arch_check_region(id, space, address, length, err);
	if (rc)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return error_set(err, ENOMEM, "region %s: out of memory", id);
	*r = (struct vmm_region){
		.provided = {.kind = PROVIDED_REGION, .release = region_free},
		.space = space,
		.address = address,
		.length = length,
		.irq = irq,
		.ops = own,
		.opaque = opaque,
	};
	rc = plug_region(vm, r, id, err);
	if (rc == 0 && region)
		*region = r;
	return rc;
}

void vmm_region_irq(struct vmm_region *region, bool level)
{
	irq_line_set(region->line, level);
}

/* ---- streams ---- */

int vmm_add_chardev(struct vmm *vm, const char *name, const struct vmm_chardev_ops *ops,
		    void *opaque, struct vmm_chardev **chardev, struct vmm_error *err)
{
	int rc = error_unless_given(name, "name of a stream", err);

	return rc ? rc : chardev_api_create(chardev, &vm->provided, name, ops, opaque, vm->io, err);
}

size_t vmm_chardev_input(struct vmm_chardev *chardev, const void *data, size_t len)
{
	return chardev_api_input(chardev, data, len);
}

void vmm_chardev_ready(struct vmm_chardev *chardev)
{
	chardev_api_ready(chardev);
}

/* ---- networks ---- */

int vmm_add_netdev(struct vmm *vm, const char *name, const struct vmm_netdev_ops *ops, void *opaque,
		   struct vmm_netdev **netdev, struct vmm_error *err)
{
	int rc = error_unless_given(name, "name of a network", err);

	return rc ? rc : net_api_create(netdev, &vm->provided, name, ops, opaque, vm->io, err);
}

int vmm_netdev_receive(struct vmm_netdev *netdev, const void *frame, size_t len)
{
	return net_api_receive(netdev, frame, len);
}

void vmm_netdev_ready(struct vmm_netdev *netdev)
{
	net_api_ready(netdev);
}
