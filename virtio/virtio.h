/* SPDX-License-Identifier: MIT */
/*
 * The virtio device: what is the same for every device class and every transport (virtio 1.2,
 * sections 2 and 3): status, feature negotiation, queues, configuration space, reset.
 *
 * A class supplies what differs. A device sees three calls in its working life: activate (the
 * driver said DRIVER_OK: the features are final and the queues enabled), kick (a queue has
 * something), and drain (stop, for a reset or a saved state). kick, completions and timers run on
 * the home loop with the device's lock held.
 *
 * Reset is a state: the driver's write of 0 stops the doorbells and drains; until that is done the
 * status keeps its bits and further writes are ignored; then chains are dropped and it reads 0.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "core/device.h"
#include "virtio/virtq.h"

/* What the largest device needs: a serial controller of 512 ports has two for each and two more. */
#define VIRTIO_MAX_QUEUES 1026
/*
 * For transports: the hypervisor has room for 1,000 doorbells, which all devices share. Those
 * beyond arrive as register writes.
 */
#define VIRTIO_MAX_DOORBELLS 256u

#ifndef VIRTIO_F_NOTIFICATION_DATA /* newer than the headers of some systems */
#define VIRTIO_F_NOTIFICATION_DATA 38
#endif

struct virtio_device;
struct virtio_transport;

struct virtio_class {
	struct device_class device; /* first: a virtio class is a device class */
	uint16_t device_id;         /* virtio 1.2, section 5 */
	uint32_t pci_class;         /* 24-bit PCI class code */
	uint32_t config_size;       /* bytes of device configuration space */
	/*
	 * Read configuration space [offset, offset+len) into buf; lock held. Bytes past config_size
	 * never get here.
	 */
	void (*config_read)(struct virtio_device *vd, unsigned offset, void *buf, unsigned len);
	/*
	 * Optional: the driver wrote configuration space; lock held. Only between FEATURES_OK and
	 * reset, unless config_write_early allows it at any time.
	 */
	void (*config_write)(struct virtio_device *vd, unsigned offset, const void *buf,
			     unsigned len);
	bool config_write_early; /* 5.3.5: an emergency write needs no negotiation */
	/* Optional: the features that the driver accepted are final (FEATURES_OK). Lock held. */
	void (*features_set)(struct virtio_device *vd);
	/*
	 * Optional: the device may work on its queues from now on: DRIVER_OK, or it goes on
	 * (virtio_resume). Each enabled queue is kicked right after. Home loop, lock held.
	 */
	void (*activate)(struct virtio_device *vd);
	/* The driver rang queue `index`, which is enabled. Home loop, lock held. */
	void (*kick)(struct virtio_device *vd, unsigned index);
	/*
	 * Optional: there will be no more kicks; call virtio_drained(vd) once no backend holds a
	 * chain, at once or later on the home loop. Home loop, lock not held.
	 */
	void (*drain)(struct virtio_device *vd);
	/*
	 * Optional: the driver wants queue `index` reset (2.6.1), whether anything is in flight or
	 * not. For classes that hold chains for as long as nothing happens (event queues, receive
	 * buffers taken in advance): push those that no backend holds. The others come back when
	 * their work is done, as always; none is popped until the queue is enabled anew. For
	 * classes whose backend has the rings itself: take them back. Home loop, lock held.
	 */
	void (*drain_queue)(struct virtio_device *vd, unsigned index);
	/* Optional: the class's own state back to what it was after realize. Drained, lock held. */
	void (*reset)(struct virtio_device *vd);
	/*
	 * Optional: fields of its own, what features_set derived included. Drained, lock held. load
	 * parses, validates and commits; it comes before the generic state is committed.
	 */
	void (*save)(struct virtio_device *vd, struct state_writer *w);
	int (*load)(struct virtio_device *vd, struct state_reader *r, uint32_t version);
};

/* The functions of struct device_class that are the same for each virtio class. */
#define VIRTIO_DEVICE_FUNCTIONS                                                                \
	.kind = DEVICE_VIRTIO, .reset = virtio_device_reset, .quiesce = virtio_device_quiesce, \
	.save = virtio_device_save, .load = virtio_device_load

void virtio_device_reset(struct device *dev);
void virtio_device_quiesce(struct device *dev);
void virtio_device_save(struct device *dev, struct state_writer *w);
int virtio_device_load(struct device *dev, struct state_reader *r, uint32_t version);

/* How a transport tells the driver something. Any of the device's threads, lock held. */
struct virtio_transport_ops {
	void (*notify_queue)(struct virtio_transport *t, unsigned queue);
	void (*notify_config)(struct virtio_transport *t);
	/* The device is being reset: interrupts go away, registers to their defaults. */
	void (*reset)(struct virtio_transport *t);
	/* Optional: the registers of one queue to their defaults. */
	void (*reset_queue)(struct virtio_transport *t, unsigned queue);
};

struct virtio_transport {
	const struct virtio_transport_ops *ops;
};

struct virtio_queue {
	struct virtio_device *vd;
	unsigned index;
	struct virtq *vq;
	uint16_t max_size;
	struct virtq_layout layout; /* as the driver has set it */
	bool enabled;               /* the driver has enabled it */
	bool resetting;             /* the driver wants it reset, chains are still in flight */
	bool drain_asked;           /* of the class, for that reset */
	bool lent;                  /* somebody else serves the rings: virtio_lend */
	int kick_fd;                /* eventfd: doorbell */
	struct loop_fd kick;
};

/* Which transport the machine puts a device on. */
enum virtio_transport_kind { VIRTIO_TRANSPORT_PCI, VIRTIO_TRANSPORT_MMIO };

/* Options that all virtio devices have; set by VIRTIO_OPTIONS before realize, then constant. */
struct virtio_options {
	bool packed;            /* offer packed rings */
	bool notification_data; /* offer NOTIFICATION_DATA */
	int transport;          /* enum virtio_transport_kind */
};

struct virtio_device {
	struct device dev; /* first */
	struct virtio_options options;
	struct virtio_transport *transport;
	uint64_t features;        /* offered; final after realize */
	uint64_t driver_features; /* as written by the driver; a subset after FEATURES_OK */
	bool features_beyond;     /* the driver accepted a bit above 63 */
	uint8_t status;
	uint8_t config_generation; /* changes when configuration space does */
	bool active;               /* kicks are served: DRIVER_OK, and not draining or stopped */
	bool resetting;            /* the driver wrote 0, the device is still draining */
	bool draining;             /* home loop only */
	bool stopped;              /* quiesced or loaded: starts nothing until reset or resume */
	unsigned queue_count;
	struct virtio_queue *queues;
	struct loop_hook publish; /* end of batch: publish queues that have pushed chains */
	uint64_t dirty_queues[(VIRTIO_MAX_QUEUES + 63) / 64]; /* pushed since the last publish */
	struct loop_task reset_task, activate_task, queue_task;
	pthread_cond_t reset_done; /* `resetting` has become false; the device's lock */
};

static inline const struct virtio_class *virtio_class(const struct virtio_device *vd)
{
	return container_of(vd->dev.cls, const struct virtio_class, device);
}

static inline struct virtio_device *virtio_device(struct device *dev)
{
	return container_of(dev, struct virtio_device, dev);
}

/* ---- for classes ---- */

extern const char *const virtio_transport_names[];

/*
 * Rows for the option table of a class. owner: the class's struct; field: its struct virtio_device.
 */
/* clang-format off */
#define VIRTIO_OPTIONS(owner, field)                                                               \
	{.name = "transport", .type = OPTION_ENUM,                                                 \
	 .offset = offsetof(owner, field.options.transport), .fallback = "pci",                     \
	 .values = virtio_transport_names, .help = "how the guest reaches the device"},            \
	{.name = "packed", .type = OPTION_BOOL, .offset = offsetof(owner, field.options.packed),    \
	 .fallback = "off", .help = "offer packed virtqueues"},                                    \
	{.name = "notification-data", .type = OPTION_BOOL,                                         \
	 .offset = offsetof(owner, field.options.notification_data), .fallback = "off",            \
	 .help = "offer doorbells that say how far the driver has come"}
/* clang-format on */

/*
 * For a class's realize: make `count` queues of at most max_size entries, offer `features` (device
 * bits; the core adds its own of section 6). Undone by virtio_fini.
 * A backend that cannot do one of those: take it away from vd->features before realize ends.
 */
int virtio_init(struct virtio_device *vd, unsigned count, uint16_t max_size, uint64_t features,
		struct vmm_error *err) MUST_CHECK;
/* Drained. Harmless where virtio_init failed or was not called. */
void virtio_fini(struct virtio_device *vd);

/* True if the driver accepted the feature bit. */
static inline bool virtio_has(const struct virtio_device *vd, unsigned bit)
{
	return (vd->driver_features >> bit) & 1;
}

/*
 * Pop from a queue: 1, 0, or -errno after which the device already is in NEEDS_RESET and the caller
 * just leaves.
 */
int virtio_pop(struct virtio_device *vd, unsigned queue, struct virtq_chain **chain) MUST_CHECK;
/* The same; where there is none, the driver's next one rings the doorbell. */
int virtio_pop_or_wait(struct virtio_device *vd, unsigned queue,
		       struct virtq_chain **chain) MUST_CHECK;

/* Push and schedule the end-of-batch publication. Home loop, lock held. */
void virtio_push(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain,
		 uint32_t written);

/* What is done with a chain that was popped. */
typedef void virtio_chain_fn(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain);
/* Whether a chain may be popped now. Whoever says no calls virtio_kick when it may. */
typedef bool virtio_may_pop_fn(struct virtio_device *vd, unsigned queue);

/*
 * What most kicks are: hand each available chain to `fn`, without doorbells while chains keep
 * coming. At most a ring full for each kick; then the queue rings itself, so that other devices of
 * the loop have their turn. Home loop, lock held.
 */
void virtio_process(struct virtio_device *vd, unsigned queue, virtio_chain_fn *fn);
/* The same where a backend or a rate limit may have to be waited for: asks before each pop. */
void virtio_process_while(struct virtio_device *vd, unsigned queue, virtio_may_pop_fn *may_pop,
			  virtio_chain_fn *fn);

/*
 * Lend the rings of an enabled queue, of which nothing is in flight, to somebody who serves them in
 * the class's place (vhost): from here on nothing is popped or pushed, and doorbells are not read.
 * position: of the next chain, in both directions. Split rings only. Home loop, lock held.
 */
void virtio_lend(struct virtio_device *vd, unsigned queue, struct virtq_layout *layout,
		 uint16_t *position);
/* Go on where the other one has stopped, at the latest in `drain`. Home loop, lock held. */
void virtio_take_back(struct virtio_device *vd, unsigned queue, uint16_t position);
/* Interrupt the driver for a queue that is or was lent. Lock held. */
void virtio_interrupt(struct virtio_device *vd, unsigned queue);

/* Kick an enabled queue, unless the device does not work just now. Home loop, lock held. */
void virtio_kick(struct virtio_device *vd, unsigned queue);

/* The driver broke a rule: log it, set DEVICE_NEEDS_RESET, tell the driver (2.1.2). Lock held. */
void virtio_broken(struct virtio_device *vd, const char *fmt, ...) PRINTF(2, 3);

/* Configuration space has changed: new generation, configuration interrupt. Lock held. */
void virtio_config_changed(struct virtio_device *vd);

/* The answer to drain. Home loop, lock not held. The device may be gone when this returns. */
void virtio_drained(struct virtio_device *vd);

/*
 * Go on after a quiesce that no reset followed, or after a load, once the transport is loaded too.
 * Any thread, lock not held.
 */
void virtio_resume(struct virtio_device *vd);

/* ---- for transports; all take the device's lock themselves ---- */

uint64_t virtio_offered(struct virtio_device *vd);
uint32_t virtio_read_driver_features(struct virtio_device *vd, unsigned word);
/* word 0: bits 0 to 31, and so on. Ignored once FEATURES_OK is set. */
void virtio_write_driver_features(struct virtio_device *vd, unsigned word, uint32_t value);
uint8_t virtio_read_status(struct virtio_device *vd);
/* Writing 0 starts a reset; the status reads 0 once it is complete (2.4.1). */
void virtio_write_status(struct virtio_device *vd, uint8_t value);
/*
 * For a transport whose drivers do not look whether a reset is complete: wait until it is. Not on
 * the home loop; where no thread runs that, as far as it gets by itself. Lock not held.
 */
void virtio_reset_wait(struct virtio_device *vd);
uint8_t virtio_read_generation(struct virtio_device *vd);
/* Bytes past the end of configuration space read 0, writes there vanish. */
void virtio_read_config(struct virtio_device *vd, unsigned offset, void *buf, unsigned len);
void virtio_write_config(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len);

/* Any queue index is allowed: a queue that does not exist has size 0 and is never enabled. */
enum virtio_queue_part { VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_DRIVER, VIRTIO_QUEUE_DEVICE };

uint16_t virtio_queue_size(struct virtio_device *vd, unsigned queue);
/* The largest size that the driver may choose. */
uint16_t virtio_queue_max_size(struct virtio_device *vd, unsigned queue);
bool virtio_queue_enabled(struct virtio_device *vd, unsigned queue);
uint64_t virtio_queue_address(struct virtio_device *vd, unsigned queue,
			      enum virtio_queue_part part);
/* Ignored while the queue is enabled. The bits of `mask` are replaced by those of `value`. */
void virtio_queue_set_size(struct virtio_device *vd, unsigned queue, uint16_t size);
void virtio_queue_set_address(struct virtio_device *vd, unsigned queue, enum virtio_queue_part part,
			      uint64_t mask, uint64_t value);
/*
 * Between FEATURES_OK and DRIVER_OK, with RING_RESET also later; otherwise ignored. Bad rings:
 * NEEDS_RESET.
 */
void virtio_queue_enable(struct virtio_device *vd, unsigned queue);
/*
 * 2.6.1: chains in flight come back or are waited for, then the queue is as it was before it was
 * enabled. Ignored for a queue that is not enabled, or without RING_RESET. resetting: until then.
 */
void virtio_queue_reset(struct virtio_device *vd, unsigned queue);
bool virtio_queue_resetting(struct virtio_device *vd, unsigned queue);
/* The same without the feature, for a transport that has always had it (4.2.2.2: QueueReady). */
void virtio_queue_disable(struct virtio_device *vd, unsigned queue);
/* A doorbell that came as a register write. */
void virtio_queue_ring(struct virtio_device *vd, unsigned queue);

/* ---- the PCI transport (virtio 1.2, section 4.1) ---- */

struct virtio_pci;
/* Put a realized device on the PCI bus of its environment. devfn: -1 for the next free slot. */
int virtio_pci_create(struct virtio_pci **vp, struct virtio_device *vd, int devfn,
		      struct vmm_error *err) MUST_CHECK;
/* Quiesced, vCPUs stopped; before the device is destroyed. NULL is allowed. */
void virtio_pci_destroy(struct virtio_pci *vp);
/* The bus and slot it has; for messages and tests. */
unsigned virtio_pci_devfn(const struct virtio_pci *vp);

/*
 * Registers, vectors and configuration space as a section of their own. Quiesced. Load it after the
 * device, whose load resets the transport, and before virtio_resume. On error the transport is as
 * it was.
 */
void virtio_pci_save(struct virtio_pci *vp, struct state_writer *w);
int virtio_pci_load(struct virtio_pci *vp, struct state_reader *r) MUST_CHECK;

/* ---- the memory-mapped transport (virtio 1.2, section 4.2) ---- */

#define VIRTIO_MMIO_SIZE 0x200u /* of the registers, configuration space included */

struct virtio_mmio;
/*
 * Put the registers of a realized device at a guest physical address, on the memory bus of its
 * environment, and its interrupt on a line that no other device has (level-triggered, active high).
 * -EINVAL: its configuration space is too large; else what bus_map returns.
 */
int virtio_mmio_create(struct virtio_mmio **vm, struct virtio_device *vd, uint64_t address,
		       struct irq_line *line, struct vmm_error *err) MUST_CHECK;
/* Quiesced; before the device is destroyed. NULL is allowed. */
void virtio_mmio_destroy(struct virtio_mmio *vm);

/* As virtio_pci_save and virtio_pci_load. */
void virtio_mmio_save(struct virtio_mmio *vm, struct state_writer *w);
int virtio_mmio_load(struct virtio_mmio *vm, struct state_reader *r) MUST_CHECK;

#endif
