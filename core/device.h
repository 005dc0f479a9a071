/* SPDX-License-Identifier: MIT */
/*
 * A device is a const class plus an instance.
 *
 * The class says what the device is called, which options it takes, how large an instance is and
 * what its handful of functions are; everything generic is written once, here and in the bus code.
 * Bus-specific classes (struct virtio_class) embed this one as their first member.
 *
 * Life: device_create (options parsed, realize) -> the guest uses it -> reset any number of times
 * -> device_destroy (quiesced first, then unrealize).
 *
 * Locking: `lock` guards the device's state. vCPU register accesses take it, handlers on the home
 * loop take it; it is never held while waiting. Order: a PCI function's lock, the bus's map lock,
 * the device's, then leaves (MSI-X table, INTx line, the IOAPIC, a loop's list of posts). Outside
 * of them all is what the machine holds while it adds, removes, resets or acts on devices
 * (vmm/machine.h); a home loop never waits for that.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include <pthread.h>

#include "core/clock.h"
#include "core/irq.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/option.h"
#include "core/report.h"
#include "core/state.h"

struct bus;          /* mmio/bus.h */
struct pci_bus;      /* pci/pci.h */
struct provided_set; /* core/provided.h */
struct device;
struct device_class;

/* What a device may ask of the machine that it is part of. Any thread, never blocks. */
enum machine_event {
	MACHINE_EVENT_POWEROFF,
	MACHINE_EVENT_RESET,
	MACHINE_EVENT_PANIC,      /* value: pvpanic event bits */
	MACHINE_EVENT_DEBUG_EXIT, /* value: what the guest wrote */
	MACHINE_EVENT_EJECT,      /* value: PCI slots whose device the guest has let go of */
	MACHINE_EVENT_QUIT,       /* the user left the console */
};

/* What a device tells about itself; nothing follows from it. */
enum device_notice {
	DEVICE_NOTICE_ERROR, /* the driver broke a rule; text: which */
	DEVICE_NOTICE_PORT, /* the guest has opened (value 1) or closed (0) the port; text: its name
			     */
	DEVICE_NOTICE_BALLOON, /* value: bytes that the guest has given up, as its driver says */
	DEVICE_NOTICE_TRAY,    /* the drive's tray has opened (value 1) or closed (0) */
};

/*
 * The surroundings of a device: everything it may use, nothing it must find for itself. Filled by
 * the machine (or by a test), immutable afterwards, outlives every device.
 */
struct device_env {
	const struct log *log;
	struct clock *clock;
	struct guest_memory *memory;
	struct loop *loop; /* the home loop of devices that are given no other */
	struct bus *pio;
	struct bus *mmio;
	struct pci_bus *pci; /* NULL: no PCI */
	struct msi_sink *msi;
	struct apic_sink *apic;          /* NULL: the hypervisor emulates the IOAPIC */
	struct doorbell_sink *doorbells; /* NULL: every doorbell is a register write */
	/* Line of an ISA interrupt (0 to 15); NULL where there is none. Owned by the machine. */
	struct irq_line *(*isa_irq)(const struct device_env *env, unsigned irq);
	void (*event)(const struct device_env *env, enum machine_event event, uint32_t value);
	/* Optional: device_tell. Any thread, perhaps with the device's lock held; never blocks. */
	void (*notice)(const struct device *dev, enum device_notice notice, uint64_t value,
		       const char *text);
	/*
	 * The device with this id, or with NULL the first one of that class; NULL if there is none
	 * or it is of another class. For children that look for their parent in realize. The thread
	 * that adds and removes devices.
	 */
	struct device *(*find)(const struct device_env *env, const char *id,
			       const struct device_class *cls);
	struct provided_set *provided; /* what the program brings; NULL: nothing */
	void *opaque;                  /* the machine's own */
};

enum device_kind {
	DEVICE_PLATFORM, /* ports and ISA interrupts; struct device_class alone */
	DEVICE_VIRTIO,   /* struct virtio_class */
	DEVICE_CHILD,    /* sits on another device (a SCSI disk, a serial port); can come and go */
};

/*
 * What can be done to a device while it runs: resize a disk, set a balloon's target, take a link
 * down. One table per class, ended by a NULL name; the API, the control socket and the command line
 * offer what stands in it.
 */
struct device_action {
	const char *name;
	const char *help;                  /* one line */
	const struct option_desc *options; /* NULL: none; offsets are relative to args */
	const char *implied;               /* the option that a lone first value sets, or NULL */
	size_t args_size;                  /* at most DEVICE_ACTION_ARGS_MAX */
	/*
	 * Home loop, lock not held; must not wait for the guest. report: where the answer goes,
	 * inside an object that is already open.
	 */
	int (*run)(struct device *dev, const void *args, struct report *report,
		   struct vmm_error *err);
};
#define DEVICE_ACTION_ARGS_MAX 256

struct device_class {
	const char *name; /* as in --device NAME */
	const char *help; /* one line */
	enum device_kind kind;
	const struct option_desc *options; /* offsets are relative to the instance */
	size_t size;                       /* of the instance, struct device (or its heir) first */
	uint32_t state_version;            /* of what save writes; 1 and up */
	bool builtin;                      /* the machine adds it itself; hidden from --help */
	const struct device_action *actions; /* optional */

	/*
	 * Optional. Can options that are a language of their own (what a stream or a network is
	 * connected to) be right? Only the options are set; nothing is opened. what: begins the
	 * sentence. Any thread.
	 */
	int (*check)(const struct device *dev, const char *what, struct vmm_error *err);
	/* Acquire host resources and claim registers. On error undo everything. */
	int (*realize)(struct device *dev, struct vmm_error *err);
	/* Back to the state after realize. Quiesced, lock not held. */
	void (*reset)(struct device *dev);
	/*
	 * Optional. Stop starting work, and call device_quiesced(dev) once nothing is in flight:
	 * either at once or later, on the home loop. Called on the home loop, lock not held.
	 */
	void (*quiesce)(struct device *dev);
	/*
	 * Optional. What the device has done so far, as numbers that only grow unless they are
	 * amounts: into an object that is open. Home loop, lock not held; costs next to nothing.
	 */
	void (*stats)(struct device *dev, struct report *report);
	/* Save fields into a section that is already open. Quiesced. */
	void (*save)(struct device *dev, struct state_writer *w);
	/* Parse, validate, commit: on error the device is as it was. Quiesced. */
	int (*load)(struct device *dev, struct state_reader *r, uint32_t version);
	/* Release what realize acquired. Quiesced. */
	void (*unrealize)(struct device *dev);
};

struct device {
	const struct device_class *cls;
	char *id; /* unique in the VM; names the device in messages */
	const struct device_env *env;
	struct loop *loop;     /* home loop */
	struct device *parent; /* of a child; outlives it */
	unsigned children;     /* the thread that adds and removes devices */
	pthread_mutex_t lock;
	struct log_limit guest_log;
	/* What the caller of device_quiesce wants; read on the home loop once that has begun. */
	void (*quiesce_wanted)(struct device *dev, void *arg);
	void *quiesce_arg;
	void (*quiesce_done)(struct device *dev, void *arg); /* home loop: while it is under way */
	struct loop_task quiesce_task;
};

/*
 * Create, parse the options and realize. id: as device_check_id wants it, NULL for the class's
 * name. Not while the loop's thread waits for the caller. Returns 0 or -errno with a sentence that
 * begins with the device.
 */
int device_create(struct device **dev, const struct device_class *cls, const char *id,
		  const char *options, const struct device_env *env,
		  struct vmm_error *err) MUST_CHECK;

/*
 * An id names a device in messages, requests and saved state: 1 to DEVICE_ID_MAX letters, digits,
 * '.', '_' and '-', the first one a letter. what: begins the sentence. Returns 0 or -EINVAL.
 */
#define DEVICE_ID_MAX 63
int device_check_id(const char *what, const char *id, struct vmm_error *err) MUST_CHECK;

/*
 * Check options (without id) as device_create would, with no device made and nothing opened. what:
 * begins the sentence.
 */
int device_check_options(const struct device_class *cls, const char *what, const char *options,
			 struct vmm_error *err) MUST_CHECK;

/*
 * Unrealize and free. The device must be quiescent (use device_quiesce_wait first) and have no
 * children. NULL is allowed.
 */
void device_destroy(struct device *dev);

/*
 * Begin to quiesce on the home loop; done(dev, arg) runs on the home loop when the device is at
 * rest, perhaps before this returns. Any thread, lock not held. Only one at a time.
 */
void device_quiesce(struct device *dev, void (*done)(struct device *dev, void *arg), void *arg);

/*
 * For classes: the quiesce that was asked for is complete; a no-op if none was. Home loop, lock not
 * held. The device may be gone when this returns.
 */
void device_quiesced(struct device *dev);

/* Quiesce and wait for it. Not on the home loop, unless no thread runs it (then turns it). */
void device_quiesce_wait(struct device *dev);

/*
 * The same for many devices of one loop, which come to rest side by side: begin, add each, wait.
 * None goes before the wait has returned.
 */
struct device_rest {
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned left;
};

void device_rest_begin(struct device_rest *rest, struct loop *loop);
void device_rest_add(struct device_rest *rest, struct device *dev);
void device_rest_wait(struct device_rest *rest);

/* Reset a quiescent device. */
void device_reset(struct device *dev);

/*
 * Save or load as a section with the device's id and class. Quiesced. After a failed load the
 * device is as it was, or reset if the section had more in it than the class reads.
 */
void device_save(struct device *dev, struct state_writer *w);
int device_load(struct device *dev, struct state_reader *r, struct vmm_error *err) MUST_CHECK;

/*
 * For the realize and unrealize of a child: it sits on `parent` (same home loop), or with NULL no
 * longer. A parent is never destroyed before its children. The thread that adds and removes
 * devices.
 */
void device_set_parent(struct device *dev, struct device *parent);

/*
 * Run an action on the home loop and wait for it. options: "key=value,…" or NULL. report may be
 * NULL. -ENOENT: the class has no such action (the sentence lists those it has). Every sentence
 * begins with the device. Any thread but vCPUs', lock not held.
 */
int device_action(struct device *dev, const char *action, const char *options,
		  struct report *report, struct vmm_error *err) MUST_CHECK;

static inline void device_lock(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
}

static inline void device_unlock(struct device *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

/* Tell whoever watches the machine. text: NULL, or only for the time of the call. Any thread. */
static inline void device_tell(const struct device *dev, enum device_notice notice, uint64_t value,
			       const char *text)
{
	if (dev->env->notice)
		dev->env->notice(dev, notice, value, text);
}

/* A message that the guest provoked, rate-limited. */
#define device_guest_error(dev, ...) \
	log_guest((dev)->env->log, &(dev)->guest_log, (dev)->id, __VA_ARGS__)

#endif
