/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of virtio over plain memory, for tests: rings, negotiation, doorbells.
 *
 * It does what a driver does and, where a test asks for it, what a driver must not do. It reaches
 * the device through the functions that transports call, or through the BAR of its PCI function.
 */
#ifndef SUPPORT_VIRTIO_DRIVER_H
#define SUPPORT_VIRTIO_DRIVER_H

#include "tests/unit/support/fake_env.h"
#include "virtio/virtio.h"

#define DRIVER_QUEUES 8

/*
 * A test of the suite `suite`, and the same over packed rings in a suite of that name and _packed.
 */
#define TEST_BOTH(suite, name)         \
	static void both_##name(void); \
	Test(suite, name)              \
	{                              \
		both_##name();         \
	}                              \
	Test(suite##_packed, name)     \
	{                              \
		both_##name();         \
	}                              \
	static void both_##name(void)

/* ---- a ring ---- */

struct driver_ring {
	struct guest_memory *memory;
	struct virtq_layout layout;
	bool packed;
	bool event_idx;     /* was negotiated; for driver_ring_wants_doorbell */
	uint16_t avail_idx; /* split: as last written; packed: offset of the next descriptor */
	uint16_t used_seen; /* split: free-running; packed: an offset */
	bool avail_wrap, used_wrap;    /* packed */
	uint16_t free_count;           /* descriptors */
	uint16_t free_head;            /* split: of descriptors; packed: of buffer ids */
	uint16_t next[VIRTQ_MAX_SIZE]; /* free list, and links of chains in flight */
	uint16_t count[VIRTQ_MAX_SIZE];
};

struct driver_buffer {
	gpa_t addr;
	uint32_t len;
	bool writable;
};

/* Bytes that the three parts of a ring of either format need, at a multiple of 16. */
uint64_t driver_ring_bytes(uint16_t size);
/* Lay the parts out one after the other from `at` on, zeroed. */
void driver_ring_init(struct driver_ring *ring, struct guest_memory *memory, gpa_t at,
		      uint16_t size);
void driver_ring_init_packed(struct driver_ring *ring, struct guest_memory *memory, gpa_t at,
			     uint16_t size);

/* Make a chain out of free descriptors and offer it. Returns its head or buffer id. */
uint16_t driver_ring_add(struct driver_ring *ring, const struct driver_buffer *buffers, unsigned n);
/* The same through an indirect table at `table`. */
uint16_t driver_ring_add_indirect(struct driver_ring *ring, gpa_t table,
				  const struct driver_buffer *buffers, unsigned n);
/* Take the next chain that has come back. False: none. */
bool driver_ring_used(struct driver_ring *ring, uint32_t *id, uint32_t *len);
/* Whether there is one. */
bool driver_ring_has_used(const struct driver_ring *ring);
/* Offer what no device can take. */
void driver_ring_break(struct driver_ring *ring);

/* Wishes of the driver: interrupts or none; with EVENT_IDX: n descriptors from now. */
void driver_ring_interrupts(struct driver_ring *ring, bool on);
void driver_ring_interrupt_after(struct driver_ring *ring, uint16_t n);
/* Whether the device wants a doorbell for the chain of one descriptor that was added last. */
bool driver_ring_wants_doorbell(const struct driver_ring *ring);

/* Split only, and as it is, whatever it says: a descriptor of the ring, or of a table. */
void driver_ring_desc(struct driver_ring *ring, uint16_t index, uint64_t addr, uint32_t len,
		      unsigned flags, uint16_t next);
void driver_table_desc(struct guest_memory *memory, gpa_t table, uint16_t index, uint64_t addr,
		       uint32_t len, unsigned flags, uint16_t next);
/* Put a head into the available ring and publish it. */
void driver_ring_offer(struct driver_ring *ring, uint16_t head);
/* Set the available index without putting anything there. */
void driver_ring_set_avail(struct driver_ring *ring, uint16_t idx);
uint16_t driver_ring_used_idx(const struct driver_ring *ring);
void driver_ring_set_avail_flags(struct driver_ring *ring, uint16_t flags);
void driver_ring_set_used_event(struct driver_ring *ring, uint16_t idx);
uint16_t driver_ring_used_flags(const struct driver_ring *ring);
uint16_t driver_ring_avail_event(const struct driver_ring *ring);

/* Packed only: the next descriptor, with the flags of the turn, as it is. */
void driver_packed_desc(struct driver_ring *ring, uint64_t addr, uint32_t len, unsigned flags,
			uint16_t id);
/* The driver's event suppression structure. */
void driver_packed_set_event(struct driver_ring *ring, uint16_t offset, bool wrap, unsigned flags);
/* The device's: offset and wrap counter, then flags. */
uint32_t driver_packed_event(const struct driver_ring *ring);

/* For driver_ring.c: the packed halves of the functions above. */
uint16_t driver_packed_add(struct driver_ring *ring, const struct driver_buffer *buffers,
			   unsigned n);
uint16_t driver_packed_add_indirect(struct driver_ring *ring, gpa_t table,
				    const struct driver_buffer *buffers, unsigned n);
bool driver_packed_used(struct driver_ring *ring, uint32_t *id, uint32_t *len);
bool driver_packed_has_used(const struct driver_ring *ring);
bool driver_packed_wants_doorbell(const struct driver_ring *ring);
void driver_packed_interrupt_after(struct driver_ring *ring, uint16_t n);

/* ---- a driver ---- */

struct virtio_driver;

struct virtio_driver_ops {
	uint8_t (*get_status)(struct virtio_driver *d);
	void (*set_status)(struct virtio_driver *d, uint8_t status);
	uint64_t (*get_features)(struct virtio_driver *d);
	void (*set_features)(struct virtio_driver *d, uint64_t features);
	uint16_t (*queue_size)(struct virtio_driver *d, unsigned queue);
	void (*setup_queue)(struct virtio_driver *d, unsigned queue,
			    const struct virtq_layout *layout);
	/* Ask for the reset of a queue / whether that goes on. */
	void (*reset_queue)(struct virtio_driver *d, unsigned queue);
	bool (*queue_resetting)(struct virtio_driver *d, unsigned queue);
	bool (*queue_enabled)(struct virtio_driver *d, unsigned queue);
	void (*ring)(struct virtio_driver *d, unsigned queue);
	void (*read_config)(struct virtio_driver *d, unsigned offset, void *buf, unsigned len);
	void (*write_config)(struct virtio_driver *d, unsigned offset, const void *buf,
			     unsigned len);
};

struct virtio_driver {
	const struct virtio_driver_ops *ops;
	struct fake_env *fake;
	struct guest_memory *memory;
	struct virtio_device *vd;
	gpa_t next;        /* bump allocator for rings and buffers */
	uint64_t always;   /* features that every negotiation adds, such as RING_PACKED */
	uint64_t features; /* of the last negotiation */
	struct driver_ring rings[DRIVER_QUEUES];
	/* Direct only: what the device told its transport. */
	struct virtio_transport transport;
	unsigned queue_interrupts[DRIVER_QUEUES], config_interrupts, resets, queue_resets;
	/* PCI only. */
	unsigned devfn;
	uint64_t bar, common, notify, isr, device;
	uint32_t notify_multiplier;
	/* MMIO only. */
	uint64_t window;
	bool register_doorbells; /* ring by register write even where a doorbell is attached */
};

/* Guest memory from `heap` on is the driver's. */
void virtio_driver_init(struct virtio_driver *d, struct fake_env *fake, struct virtio_device *vd,
			gpa_t heap);
/* Finds the structures by the function's capabilities and enables memory and bus master. */
void virtio_driver_init_pci(struct virtio_driver *d, struct fake_env *fake,
			    struct virtio_device *vd, unsigned devfn, gpa_t heap);

/* The device's registers are at `window`. */
void virtio_driver_init_mmio(struct virtio_driver *d, struct fake_env *fake,
			     struct virtio_device *vd, uint64_t window, gpa_t heap);

gpa_t virtio_driver_alloc(struct virtio_driver *d, uint64_t bytes);

/* Status 0, and wait until it reads 0. */
void virtio_driver_reset(struct virtio_driver *d);
/* ACKNOWLEDGE, DRIVER, features (VERSION_1 is added), FEATURES_OK. False: refused. */
bool virtio_driver_negotiate(struct virtio_driver *d, uint64_t features);
/* Lay out a ring and enable it. size 0: the device's. */
void virtio_driver_queue(struct virtio_driver *d, unsigned queue, uint16_t size);
void virtio_driver_ok(struct virtio_driver *d);
/* All of it: reset, negotiate, `queues` queues of the device's size, DRIVER_OK, settled. */
void virtio_driver_start(struct virtio_driver *d, uint64_t features, unsigned queues);

void virtio_driver_kick(struct virtio_driver *d, unsigned queue);
/* Turn the loop until a chain comes back; returns its used length. *head may be NULL. */
uint32_t virtio_driver_wait(struct virtio_driver *d, unsigned queue, uint32_t *head);
/* Whether DEVICE_NEEDS_RESET is set, after the loop has settled. */
bool virtio_driver_broken(struct virtio_driver *d);

void driver_write(struct guest_memory *memory, gpa_t at, const void *data, size_t len);
void driver_read(const struct guest_memory *memory, gpa_t at, void *data, size_t len);

#endif
