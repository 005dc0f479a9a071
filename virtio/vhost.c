/* SPDX-License-Identifier: MIT */
#include "virtio/vhost.h"

#include <assert.h>
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

#define BIT(n) (UINT64_C(1) << (n))

/*
 * What the kernel has to know of. Its own bits (VHOST_F_LOG_ALL, VHOST_NET_F_VIRTIO_NET_HDR) and
 * what it would translate addresses for (ACCESS_PLATFORM) are not among them.
 */
#define FEATURES                                                  \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_NET_F_MRG_RXBUF))

struct vhost {
	int fd;
	struct guest_memory *memory;
	uint64_t features;
	bool started;
};

/* ---- life ---- */

static int cannot_open(int code, struct vmm_error *err)
{
	switch (code) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return error_set(err, code,
				 "vhost=on: /dev/vhost-net is not there; load the module with: "
				 "modprobe vhost_net");
	case EACCES:
	case EPERM:
		return error_set(
			err, code,
			"vhost=on: no permission to open /dev/vhost-net; the group that it "
			"belongs to has it (usually kvm)");
	default:
		return error_set_errno(err, code, "vhost=on: /dev/vhost-net");
	}
}

int vhost_open(struct vhost **out, struct guest_memory *memory, struct vmm_error *err)
{
	struct vhost *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return error_set(err, ENOMEM, "vhost=on: out of memory");
	v->memory = memory;
	v->fd = vhost_kernel_open();
	if (v->fd < 0) {
		rc = cannot_open(-v->fd, err);
		free(v);
		return rc;
	}
	rc = vhost_kernel_control(v->fd, VHOST_SET_OWNER, NULL);
	if (!rc)
		rc = vhost_kernel_control(v->fd, VHOST_GET_FEATURES, &v->features);
	v->features &= FEATURES;
	if (!rc && !(v->features & BIT(VIRTIO_F_VERSION_1)))
		rc = -EOPNOTSUPP;
	if (rc) {
		vhost_close(v);
		return error_set_errno(err, -rc, "vhost=on: /dev/vhost-net");
	}
	*out = v;
	return 0;
}

void vhost_close(struct vhost *v)
{
	if (!v)
		return;
	assert(!v->started);
	vhost_kernel_close(v->fd);
	free(v);
}

uint64_t vhost_features(const struct vhost *v)
{
	return v->features;
}

/* ---- starting ---- */

static int set_memory(const struct vhost *v)
{
	struct {
		struct vhost_memory head;
		struct vhost_memory_region regions[GUEST_MEMORY_MAX_REGIONS];
	} table = {.head.nregions = guest_memory_count(v->memory)};

	for (unsigned i = 0; i < table.head.nregions; i++) {
		const struct guest_region *r = guest_memory_region(v->memory, i);

		table.regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = r->base.v,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};
	}
	return vhost_kernel_control(v->fd, VHOST_SET_MEM_TABLE, &table);
}

static int set_file(const struct vhost *v, unsigned long request, unsigned ring, int fd)
{
	struct vhost_vring_file file = {.index = ring, .fd = fd};

	return vhost_kernel_control(v->fd, request, &file);
}

/* The parts of a ring lie in one region each: virtq_check has seen to it. */
static uint64_t host_address(const struct vhost *v, gpa_t addr)
{
	uint64_t contiguous;

	return (uintptr_t)guest_resolve(v->memory, addr, 1, &contiguous);
}

static int set_ring(const struct vhost *v, unsigned index, const struct vhost_ring *ring)
{
	struct vhost_vring_state state = {.index = index, .num = ring->layout.size};
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = host_address(v, ring->layout.desc),
		.avail_user_addr = host_address(v, ring->layout.driver),
		.used_user_addr = host_address(v, ring->layout.device),
	};
	int rc = vhost_kernel_control(v->fd, VHOST_SET_VRING_NUM, &state);

	state.num = ring->position;
	if (!rc)
		rc = vhost_kernel_control(v->fd, VHOST_SET_VRING_BASE, &state);
	if (!rc)
		rc = vhost_kernel_control(v->fd, VHOST_SET_VRING_ADDR, &addr);
	if (!rc)
		rc = set_file(v, VHOST_SET_VRING_ERR, index, ring->error_fd);
	if (!rc)
		rc = set_file(v, VHOST_SET_VRING_CALL, index, ring->call_fd);
	if (!rc)
		rc = set_file(v, VHOST_SET_VRING_KICK, index, ring->kick_fd);
	return rc;
}

/* Until the kernel has let go of all rings. */
static void unset(const struct vhost *v)
{
	static const unsigned long files[] = {VHOST_NET_SET_BACKEND, VHOST_SET_VRING_KICK,
					      VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		for (unsigned ring = 0; ring < VHOST_RINGS; ring++)
			(void)!set_file(v, files[i], ring, VHOST_FILE_UNBIND);
}

int vhost_start(struct vhost *v, uint64_t features, struct vhost_ring rings[VHOST_RINGS],
		int backend_fd)
{
	int rc;

	assert(!v->started && !(features & ~v->features));
	rc = vhost_kernel_control(v->fd, VHOST_SET_FEATURES, &features);
	if (!rc)
		rc = set_memory(v);
	for (unsigned i = 0; !rc && i < VHOST_RINGS; i++)
		rc = set_ring(v, i, &rings[i]);
	if (rc) {
		unset(v);
		return rc;
	}
	/* From the first backend on the kernel works, also where it refuses the next one. */
	v->started = true;
	for (unsigned i = 0; !rc && i < VHOST_RINGS; i++)
		rc = set_file(v, VHOST_NET_SET_BACKEND, i, backend_fd);
	if (rc)
		vhost_stop(v, rings);
	return rc;
}

/* ---- stopping ---- */

void vhost_stop(struct vhost *v, struct vhost_ring rings[VHOST_RINGS])
{
	assert(v->started);
	unset(v);
	v->started = false;
	for (unsigned i = 0; i < VHOST_RINGS; i++) {
		struct vhost_vring_state state = {.index = i};

		/* It fails for rings that do not exist. */
		(void)!vhost_kernel_control(v->fd, VHOST_GET_VRING_BASE, &state);
		rings[i].position = (uint16_t)state.num;
	}
	/* Which pages it wrote to is not known. */
	for (unsigned i = 0; i < guest_memory_count(v->memory); i++) {
		const struct guest_region *r = guest_memory_region(v->memory, i);

		guest_mark_dirty(v->memory, r->base, r->size);
	}
}
