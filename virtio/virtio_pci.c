/* SPDX-License-Identifier: MIT */
/*
 * Virtio over PCI (virtio 1.2, section 4.1), without the transitional interface.
 *
 * One 64-bit BAR holds the four structures, each on a page of its own; the MSI-X table has another.
 * Each queue has its own doorbell address, so that the hypervisor can turn a write into an eventfd
 * signal by the address alone.
 */
#include "virtio/virtio_pci_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_ID       0x1af4
#define DEVICE_ID_FIRST 0x1040 /* plus the virtio device id (4.1.2) */
#define REVISION        1

#define BAR_STRUCTURES 0 /* and 1: it has 64 bits */
#define BAR_MSIX       2

/* Offsets in BAR_STRUCTURES. */
#define COMMON_START  0x0000u
#define ISR_START     0x1000u
#define DEVICE_START  0x2000u
#define NOTIFY_START  0x3000u
#define BAR_SIZE      0x8000u
#define NOTIFY_STRIDE 4u /* notify_off_multiplier */

/*
 * A bound on what one device takes of the 1,000 message routes that all share. A driver that finds
 * fewer vectors than queues lets queues share them.
 */
#define MAX_VECTORS 257u

#define ISR_QUEUE 1u
#define CFG_DATA  offsetof(struct virtio_pci_cfg_cap, pci_cfg_data)

_Static_assert(sizeof(struct virtio_pci_cap) == 16, "4.1.4");
_Static_assert(sizeof(struct virtio_pci_notify_cap) == 20, "4.1.4.4");
_Static_assert(sizeof(struct virtio_pci_cfg_cap) == 20, "4.1.4.9");
_Static_assert(NOTIFY_STRIDE *VIRTIO_MAX_QUEUES <= BAR_SIZE - NOTIFY_START, "doorbells fit");

static struct virtio_pci *from_transport(struct virtio_transport *t)
{
	return container_of(t, struct virtio_pci, transport);
}

/* ---- interrupts (4.1.5.3, 4.1.5.4) ---- */

/* Device's lock held. */
static void interrupt(struct virtio_pci *vp, uint16_t vector, uint8_t isr_bit)
{
	if (pci_msix_enabled(&vp->fn)) {
		if (vector != VIRTIO_MSI_NO_VECTOR)
			pci_msix_signal(&vp->fn, vector);
		return;
	}
	vp->isr |= isr_bit;
	pci_intx_set(&vp->fn, true);
}

static void notify_queue(struct virtio_transport *t, unsigned queue)
{
	struct virtio_pci *vp = from_transport(t);

	interrupt(vp, vp->queue_vector[queue], ISR_QUEUE);
}

static void notify_config(struct virtio_transport *t)
{
	struct virtio_pci *vp = from_transport(t);

	/* 4.1.4.5.1: this bit is set before the notification, also with MSI-X. */
	vp->isr |= VIRTIO_PCI_ISR_CONFIG;
	interrupt(vp, vp->config_vector, VIRTIO_PCI_ISR_CONFIG);
}

static void transport_reset(struct virtio_transport *t)
{
	struct virtio_pci *vp = from_transport(t);

	vp->device_feature_select = vp->driver_feature_select = 0;
	vp->queue_select = 0;
	vp->config_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned i = 0; i < vp->vd->queue_count; i++)
		vp->queue_vector[i] = VIRTIO_MSI_NO_VECTOR;
	vp->isr = 0;
	pci_intx_set(&vp->fn, false);
}

static void transport_reset_queue(struct virtio_transport *t, unsigned queue)
{
	from_transport(t)->queue_vector[queue] = VIRTIO_MSI_NO_VECTOR;
}

static const struct virtio_transport_ops transport_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = transport_reset,
	.reset_queue = transport_reset_queue,
};

static uint8_t read_isr(struct virtio_pci *vp)
{
	uint8_t isr;

	device_lock(&vp->vd->dev);
	isr = vp->isr;
	vp->isr = 0;
	pci_intx_set(&vp->fn, false);
	device_unlock(&vp->vd->dev);
	return isr;
}

/* ---- the BAR ---- */

static uint64_t bar_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct virtio_pci *vp = container_of(region, struct virtio_pci, bar);
	uint64_t v = 0;

	if (offset < VIRTIO_PCI_COMMON_SIZE)
		return virtio_pci_common_read(vp, offset, size);
	if (offset == ISR_START && size == 1)
		return read_isr(vp);
	/* An access at the end of the page may reach past it; the device knows its size. */
	if (offset >= DEVICE_START && offset < NOTIFY_START)
		virtio_read_config(vp->vd, (unsigned)(offset - DEVICE_START), &v, size);
	return v;
}

static void bar_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_pci *vp = container_of(region, struct virtio_pci, bar);

	if (offset < VIRTIO_PCI_COMMON_SIZE)
		virtio_pci_common_write(vp, offset, value, size);
	else if (offset >= NOTIFY_START && offset % NOTIFY_STRIDE == 0)
		virtio_queue_ring(vp->vd, (unsigned)(offset - NOTIFY_START) / NOTIFY_STRIDE);
	else if (offset >= DEVICE_START && offset < NOTIFY_START)
		virtio_write_config(vp->vd, (unsigned)(offset - DEVICE_START), &value, size);
}

static struct doorbell doorbell_of(const struct virtio_pci *vp, uint64_t bar, unsigned queue)
{
	return (struct doorbell){
		.addr = bar + NOTIFY_START + (uint64_t)NOTIFY_STRIDE * queue,
		.fd = vp->vd->queues[queue].kick_fd,
	};
}

static void bar_mapped(struct bus_region *region, uint64_t address)
{
	struct virtio_pci *vp = container_of(region, struct virtio_pci, bar);
	struct doorbell_sink *sink = vp->vd->dev.env->doorbells;

	/* One that cannot be attached arrives as a register write. */
	for (unsigned i = 0; sink && i < MIN(vp->vd->queue_count, VIRTIO_MAX_DOORBELLS); i++) {
		struct doorbell doorbell = doorbell_of(vp, address, i);

		vp->attached[i] = sink->attach(sink, &doorbell) == 0;
	}
}

static void bar_unmapped(struct bus_region *region, uint64_t address)
{
	struct virtio_pci *vp = container_of(region, struct virtio_pci, bar);
	struct doorbell_sink *sink = vp->vd->dev.env->doorbells;

	for (unsigned i = 0; sink && i < vp->vd->queue_count; i++) {
		struct doorbell doorbell = doorbell_of(vp, address, i);

		if (vp->attached[i])
			sink->detach(sink, &doorbell);
		vp->attached[i] = false;
	}
}

/* ---- the PCI configuration access capability (4.1.4.9) ---- */

struct cfg_access {
	uint32_t offset, length;
};

/* What the capability asks for now; false: nothing that may be done. fn->lock held. */
static bool cfg_access_get(const struct virtio_pci *vp, struct cfg_access *a)
{
	struct virtio_pci_cap cap;

	memcpy(&cap, vp->fn.config + vp->cfg_cap, sizeof(cap));
	*a = (struct cfg_access){cap.offset, cap.length};
	return cap.bar == BAR_STRUCTURES && (a->length == 1 || a->length == 2 || a->length == 4) &&
	       a->offset % a->length == 0 && a->offset <= BAR_SIZE - a->length;
}

static bool touches_cfg_data(const struct virtio_pci *vp, unsigned offset, unsigned size)
{
	unsigned data = vp->cfg_cap + (unsigned)CFG_DATA;

	return offset < data + 4 && data < offset + size;
}

static void config_reading(struct pci_function *fn, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);
	struct cfg_access a;
	uint32_t v;

	if (!touches_cfg_data(vp, offset, size) || !cfg_access_get(vp, &a))
		return;
	/* The device's lock is taken below fn->lock here; nothing takes them the other way round.
	 */
	v = (uint32_t)bar_read(&vp->bar, a.offset, a.length);
	memcpy(fn->config + vp->cfg_cap + CFG_DATA, &v, a.length);
}

static void config_written(struct pci_function *fn, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);
	struct cfg_access a;
	uint32_t v = 0;

	if (!touches_cfg_data(vp, offset, size) || !cfg_access_get(vp, &a))
		return;
	memcpy(&v, fn->config + vp->cfg_cap + CFG_DATA, a.length);
	bar_write(&vp->bar, a.offset, v, a.length);
}

/* ---- life ---- */

/* Describe a structure of the BAR. Returns the capability's offset, 0 if there is no room. */
static unsigned add_cap(struct virtio_pci *vp, uint8_t type, unsigned cap_len, uint32_t offset,
			uint32_t length)
{
	unsigned at = pci_cap_add(&vp->fn, PCI_CAP_ID_VNDR, cap_len);
	struct virtio_pci_cap cap;

	if (!at)
		return 0;
	memcpy(&cap, vp->fn.config + at, sizeof(cap));
	cap.cap_len = (uint8_t)cap_len;
	cap.cfg_type = type;
	cap.bar = BAR_STRUCTURES;
	cap.offset = offset;
	cap.length = length;
	memcpy(vp->fn.config + at, &cap, sizeof(cap));
	return at;
}

static int add_caps(struct virtio_pci *vp)
{
	const uint32_t stride = NOTIFY_STRIDE, queues = vp->vd->queue_count;
	const uint32_t config_size = virtio_class(vp->vd)->config_size;
	uint8_t *writable;
	unsigned notify;

	notify = add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap),
			 NOTIFY_START, NOTIFY_STRIDE * MAX(queues, 1u));
	vp->cfg_cap = add_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), 0, 0);
	if (!notify || !vp->cfg_cap ||
	    !add_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, sizeof(struct virtio_pci_cap), COMMON_START,
		     VIRTIO_PCI_COMMON_SIZE) ||
	    !add_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, sizeof(struct virtio_pci_cap), ISR_START, 1))
		return -ENOSPC;
	/* 4.1.4.6: only for a device that has configuration space. */
	if (config_size && !add_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, sizeof(struct virtio_pci_cap),
				    DEVICE_START, config_size))
		return -ENOSPC;
	memcpy(vp->fn.config + notify + VIRTIO_PCI_NOTIFY_CAP_MULT, &stride, sizeof(stride));
	/* 4.1.4.9: the driver says in the capability itself what it wants to access. */
	writable = vp->fn.writable + vp->cfg_cap;
	writable[VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(writable + VIRTIO_PCI_CAP_OFFSET, 0xff, 4);
	memset(writable + VIRTIO_PCI_CAP_LENGTH, 0xff, 4);
	memset(writable + CFG_DATA, 0xff, 4);
	return 0;
}

static int add_msix(struct virtio_pci *vp)
{
	struct msi_sink *sink = vp->vd->dev.env->msi;
	unsigned vectors = MIN(vp->vd->queue_count + 1, MAX_VECTORS);
	int rc;

	if (!sink)
		return 0;
	rc = pci_msix_init(&vp->fn, vectors, BAR_MSIX, sink);
	if (rc)
		return rc;
	vp->vectors = vectors;
	pci_bar_init(&vp->fn, BAR_MSIX, PCI_BAR_MEM32, false, pci_msix_region(&vp->fn));
	return 0;
}

static void init_function(struct virtio_pci *vp)
{
	const struct virtio_class *cls = virtio_class(vp->vd);
	const struct pci_ids ids = {
		.vendor = VENDOR_ID,
		.device = (uint16_t)(DEVICE_ID_FIRST + cls->device_id),
		.subvendor = VENDOR_ID,
		/* 4.1.2.1: 0x40 or higher keeps legacy drivers away. */
		.subdevice = (uint16_t)(DEVICE_ID_FIRST + cls->device_id),
		.revision = REVISION,
		.class_code = cls->pci_class,
	};

	pci_function_init(&vp->fn, vp->vd->dev.id, &ids, 1);
	vp->fn.config_reading = config_reading;
	vp->fn.config_written = config_written;
	vp->bar = (struct bus_region){
		.name = vp->vd->dev.id,
		.size = BAR_SIZE,
		.read = bar_read,
		.write = bar_write,
		.mapped = bar_mapped,
		.unmapped = bar_unmapped,
	};
	pci_bar_init(&vp->fn, BAR_STRUCTURES, PCI_BAR_MEM64, false, &vp->bar);
}

static void virtio_pci_free(struct virtio_pci *vp)
{
	if (!vp)
		return;
	free(vp->attached);
	free(vp);
}

static struct virtio_pci *virtio_pci_alloc(struct virtio_device *vd)
{
	struct virtio_pci *vp =
		calloc(1, sizeof(*vp) + vd->queue_count * sizeof(vp->queue_vector[0]));

	if (!vp)
		return NULL;
	vp->transport.ops = &transport_ops;
	vp->vd = vd;
	vp->attached = calloc(MAX(vd->queue_count, 1u), sizeof(*vp->attached));
	if (!vp->attached) {
		virtio_pci_free(vp);
		return NULL;
	}
	return vp;
}

int virtio_pci_create(struct virtio_pci **out, struct virtio_device *vd, int devfn,
		      struct vmm_error *err)
{
	struct virtio_pci *vp = virtio_pci_alloc(vd);
	int rc;

	if (!vp)
		return error_set(err, ENOMEM, "%s: out of memory", vd->dev.id);
	init_function(vp);
	transport_reset(&vp->transport);
	rc = add_caps(vp);
	if (!rc)
		rc = add_msix(vp);
	if (rc) {
		error_set_errno(err, -rc, "%s: cannot make its PCI function", vd->dev.id);
		goto fail;
	}
	vd->transport = &vp->transport;
	rc = pci_plug(vd->dev.env->pci, &vp->fn, devfn, err);
	if (rc) {
		vd->transport = NULL;
		error_prefix(err, "%s", vd->dev.id);
		goto fail;
	}
	*out = vp;
	return 0;
fail:
	pci_function_fini(&vp->fn);
	virtio_pci_free(vp);
	return rc;
}

void virtio_pci_destroy(struct virtio_pci *vp)
{
	if (!vp)
		return;
	/* First: the home loop, which may have news for the driver, goes on. */
	device_lock(&vp->vd->dev);
	vp->vd->transport = NULL;
	device_unlock(&vp->vd->dev);
	pci_unplug(&vp->fn);
	pci_function_fini(&vp->fn);
	virtio_pci_free(vp);
}

unsigned virtio_pci_devfn(const struct virtio_pci *vp)
{
	return vp->fn.devfn;
}

/* ---- saved state ---- */

void virtio_pci_save(struct virtio_pci *vp, struct state_writer *w)
{
	device_lock(&vp->vd->dev);
	state_begin(w, "virtio-pci", 1);
	state_put_u64(w, "device_feature_select", vp->device_feature_select);
	state_put_u64(w, "driver_feature_select", vp->driver_feature_select);
	state_put_u64(w, "queue_select", vp->queue_select);
	state_put_u64(w, "isr", vp->isr);
	state_put_u64(w, "config_vector", vp->config_vector);
	for (unsigned i = 0; i < vp->vd->queue_count; i++)
		state_put_u64(w, "queue_vector", vp->queue_vector[i]);
	device_unlock(&vp->vd->dev);
	pci_function_save(&vp->fn, w);
	state_end(w);
}

static int get_vector(struct virtio_pci *vp, struct state_reader *r, const char *name,
		      uint16_t *vector)
{
	uint64_t v;
	int rc = state_get_u64(r, name, &v, 0, UINT16_MAX);

	if (rc)
		return rc;
	*vector = (uint16_t)v;
	return virtio_pci_usable_vector(vp, v) == v ? 0 : -ERANGE;
}

/* Into a copy of the registers. */
static int parse(struct virtio_pci *vp, struct virtio_pci *to, struct state_reader *r)
{
	uint64_t device_select = 0, driver_select = 0, queue_select = 0, isr = 0;
	int rc = state_get_u64(r, "device_feature_select", &device_select, 0, UINT32_MAX);

	if (!rc)
		rc = state_get_u64(r, "driver_feature_select", &driver_select, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "queue_select", &queue_select, 0, UINT16_MAX);
	if (!rc)
		rc = state_get_u64(r, "isr", &isr, 0, ISR_QUEUE | VIRTIO_PCI_ISR_CONFIG);
	if (!rc)
		rc = get_vector(vp, r, "config_vector", &to->config_vector);
	for (unsigned i = 0; !rc && i < vp->vd->queue_count; i++)
		rc = get_vector(vp, r, "queue_vector", &to->queue_vector[i]);
	to->device_feature_select = (uint32_t)device_select;
	to->driver_feature_select = (uint32_t)driver_select;
	to->queue_select = (uint16_t)queue_select;
	to->isr = (uint8_t)isr;
	return rc;
}

static void commit(struct virtio_pci *vp, const struct virtio_pci *from)
{
	device_lock(&vp->vd->dev);
	vp->device_feature_select = from->device_feature_select;
	vp->driver_feature_select = from->driver_feature_select;
	vp->queue_select = from->queue_select;
	vp->isr = from->isr;
	vp->config_vector = from->config_vector;
	memcpy(vp->queue_vector, from->queue_vector,
	       vp->vd->queue_count * sizeof(vp->queue_vector[0]));
	device_unlock(&vp->vd->dev);
}

int virtio_pci_load(struct virtio_pci *vp, struct state_reader *r)
{
	struct virtio_pci *copy = virtio_pci_alloc(vp->vd);
	uint32_t version;
	int rc = copy ? state_enter(r, "virtio-pci", 1, &version) : -ENOMEM;

	if (!rc)
		rc = parse(vp, copy, r);
	/* The last that can refuse: it commits its part itself. */
	if (!rc)
		rc = pci_function_load(&vp->fn, r);
	if (!rc) {
		commit(vp, copy);
		rc = state_leave(r);
	}
	virtio_pci_free(copy);
	return rc;
}
