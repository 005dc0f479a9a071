/* SPDX-License-Identifier: MIT */
/*
 * The machine: memory, hypervisor, buses and devices put together, and its life.
 *
 * Threads of a machine:
 *   control  owns the life cycle: start, pause, reset, stop happen here, one after another
 *   io       the home loop of the devices
 *   vcpuN    run the guest
 *
 * Everything that wants a change of state (API calls, devices, vCPUs) leaves a request and wakes
 * the control thread. API calls that wait for their request do so on `changed`.
 *
 * Devices are added, removed and acted upon by whoever calls the API, under `devices_lock`; the
 * control thread holds it while it resets or stops them. It is the outermost lock and the only one
 * that is held while waiting (for the io loop); vCPUs and the io loop never take it.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <pthread.h>

#include "block/drive.h"
#include "core/device.h"
#include "core/provided.h"
#include "devices/devices.h"
#include "mmio/bus.h"
#include "pci/pci.h"
#include "vmm/boot.h"
#include "vmm/device_classes.h"
#include "vmm/event_queue.h"
#include "vmm/kvm.h"
#include "vmm/machine_watch.h"
#include "vmm/vcpu.h"

enum machine_state {
	MACHINE_CREATED, /* devices may be added */
	MACHINE_RUNNING,
	MACHINE_PAUSED,
	MACHINE_STOPPED, /* for good */
};

enum machine_request {
	/* Run or pause: the later one of two that are both waiting is the one that counts. */
	MACHINE_REQUEST_RUN = 1 << 0,
	MACHINE_REQUEST_PAUSE = 1 << 1,
	MACHINE_REQUEST_RESET = 1 << 2,
	MACHINE_REQUEST_STOP = 1 << 3,
	MACHINE_REQUEST_EJECT = 1 << 4, /* take PCI devices out */
};

#define MACHINE_ID_BUCKETS 256 /* a disk controller may have a thousand disks */
/* Each has 128 KiB of buffers or a descriptor; unless paths are long, a report has room for all. */
#define MACHINE_BACKENDS_MAX 4096

/* A device of the machine and what connects it. */
struct machine_device {
	struct list link;    /* vmm.devices */
	struct list id_link; /* vmm.ids */
	char *options;       /* as it was asked for, without the id; NULL: none */
	struct device *dev;
	struct virtio_pci *pci; /* for virtio devices: one of the two */
	struct virtio_mmio *mmio;
	unsigned mmio_slot;
	bool pulled; /* to be taken out with the next MACHINE_REQUEST_EJECT */
};

struct control;

struct vmm {
	/* Set at creation, then constant. */
	char *name;
	unsigned cpus;
	uint64_t memory_size;
	enum vmm_on_reboot on_reboot;
	struct log log;

	struct guest_memory *memory;
	struct kvm_vm *kvm;
	struct bus *pio, *mmio;
	struct pci_bus *pci;
	struct loop *io;
	struct boot *boot;
	uint64_t pci_mem64, pci_mem64_size; /* the 64-bit window; size 0: none */
	uint32_t irqs_taken; /* by the program's regions: a bit for each ISA interrupt */
	uint32_t mmio_slots; /* places of virtio devices over MMIO: a bit for each that is taken */
	struct device_env env;
	struct vcpu_owner owner;
	struct vcpu **vcpus; /* `cpus` of them; NULL until vmm_start */
	struct device *acpi_pm;
	struct device *ioapic; /* NULL: the kernel has it */
	struct machine_watchers watchers;
	struct provided_set provided;       /* what the program brings, and backends with a name */
	struct block_engines drive_engines; /* of all drives */
	struct event_queue events;          /* for the API: one of the watchers */
	_Atomic(struct control *) control_socket; /* NULL: none; see vmm/control.h */

	pthread_mutex_t devices_lock; /* outermost; guards what follows */
	unsigned backends;            /* with a name: at most MACHINE_BACKENDS_MAX */
	struct list devices; /* struct machine_device: as they were added, so parents come first */
	struct list ids[MACHINE_ID_BUCKETS];  /* the same by a hash of the id */
	unsigned numbers[DEVICE_CLASSES_MAX]; /* of each class: the next one that has no id */
	/* PCI slots whose device was pulled out, which the guest may not know until it restarts. */
	uint32_t pulled_slots;

	/* Changed by the thread that sets up. */
	bool io_running;

	pthread_t control;
	_Atomic bool control_started;

	pthread_mutex_t lock; /* guards what follows; innermost */
	pthread_cond_t changed;
	enum machine_state state;
	unsigned requests; /* enum machine_request, not yet taken by the control thread */
	uint64_t asked;    /* requests so far: each has its number as a ticket */
	uint64_t answered; /* tickets up to this one have been dealt with */
	struct vmm_result result;
	bool client_quit;      /* result: stopped, as a client of the control socket asked for */
	bool end_told;         /* the watchers know that it has stopped */
	bool guest_reset;      /* the next reset is the guest's wish */
	uint32_t ejected;      /* PCI slots whose device the guest has let go of */
	uint64_t start_ns;     /* when the VM was started; 0: not yet */
	uint64_t boot_time_ns; /* when the guest was last started */
	unsigned early_faults; /* triple faults in a row soon after a start */
};

/* machine.c: leave a request; returns its ticket. Any thread, never blocks. */
uint64_t machine_request(struct vmm *vm, enum machine_request request);
/*
 * Wait until the request with this ticket has been dealt with. False: the VM stopped before. Not on
 * the machine's own threads.
 */
bool machine_answered(struct vmm *vm, uint64_t ticket);
/* Stop for good with this result; the first result counts. */
void machine_finish(struct vmm *vm, enum vmm_exit_kind kind, uint32_t value,
		    const struct vmm_error *err);
/* As vmm_stop, for a client of the control socket that asked for it. */
void machine_quit(struct vmm *vm);

/* env->event of the machine's devices. */
void machine_device_event(const struct device_env *env, enum machine_event event, uint32_t value);

/* env->notice of the machine's devices. */
void machine_device_notice(const struct device *dev, enum device_notice notice, uint64_t value,
			   const char *text);

/* Start vCPUs and the io loop. Called once, by vmm_start; devices_lock held. */
int machine_start(struct vmm *vm, struct vmm_error *err) MUST_CHECK;

/*
 * machine_devices.c. Those of the first group: devices_lock held, or nobody else knows the VM yet
 * or any more.
 */
/* Nobody watches yet, no device is there. */
void machine_init_devices(struct vmm *vm);
/* options: with or without id=…; out may be NULL. */
int machine_add_device(struct vmm *vm, const struct device_class *cls, const char *options,
		       struct device **dev, struct vmm_error *err) MUST_CHECK;
/* Release all devices. vCPUs stopped, the io loop has ended. */
void machine_remove_devices(struct vmm *vm);
/* The device with this id, or NULL / the error that there is none. */
struct machine_device *machine_find_id(struct vmm *vm, const char *id);
int machine_no_device(const struct vmm *vm, const char *id, struct vmm_error *err);
/* env->find of the machine's devices. */
struct device *machine_find_device(const struct device_env *env, const char *id,
				   const struct device_class *cls);

/*
 * For the API, on any thread but the machine's own. Take devices_lock; -ESHUTDOWN, without it, if
 * the VM has stopped.
 */
int machine_lock_devices(struct vmm *vm, struct vmm_error *err) MUST_CHECK;
void machine_unlock_devices(struct vmm *vm);
/* Add a device at any time: once the VM has been started, a child or one on the PCI bus. */
int machine_plug(struct vmm *vm, const struct device_class *cls, const char *options,
		 struct vmm_error *err) MUST_CHECK;
/*
 * Remove one. Once the VM has been started a PCI device is the guest's to let go of: returns 1 when
 * it has been asked. pull: it is not asked, and the device is gone.
 */
int machine_unplug(struct vmm *vm, const char *id, bool pull, struct vmm_error *err) MUST_CHECK;
/* Remove a device and what sits on it, and say so. For PCI devices: vCPUs parked, or none yet. */
void machine_take_out(struct vmm *vm, struct machine_device *md);

/*
 * machine_backends.c: what is there under a name before the device that uses it, and stays when it
 * goes. On any thread but the machine's own; -ESHUTDOWN if the VM has stopped.
 */
/*
 * Add a stream / an image, opened at once. spec: as chardev_create wants it; *place: where it is,
 * allocated. -EEXIST, -ENOSPC (there are as many as there may be), and as chardev_add and
 * drive_add.
 */
int machine_add_chardev(struct vmm *vm, const char *name, const char *spec, char **place,
			struct vmm_error *err) MUST_CHECK;
int machine_add_drive(struct vmm *vm, const char *name, const struct drive_options *options,
		      struct vmm_error *err) MUST_CHECK;
/* Remove one that no device has. -ENOENT, -EBUSY. */
int machine_remove_backend(struct vmm *vm, enum provided_kind kind, const char *name,
			   struct vmm_error *err) MUST_CHECK;
/* As drive_resize. */
int machine_resize_drive(struct vmm *vm, const char *name, uint64_t size,
			 struct vmm_error *err) MUST_CHECK;
/* {"backends": […]}: as chardev_report_added or drive_report_all. Also when stopped. */
int machine_list_backends(struct vmm *vm, enum provided_kind kind, char **json,
			  struct vmm_error *err) MUST_CHECK;
/* Release all. No device is left, the io loop has ended. */
void machine_remove_backends(struct vmm *vm);

/* machine_hotplug.c: PCI devices of a machine that was started. devices_lock held. */
/* It has come / the guest shall let go of it / it goes. */
void machine_tell_slot(struct vmm *vm, const struct machine_device *md, enum acpi_slot_event event);
/* Take out what the guest has let go of (vm->ejected), and what is pulled. vCPUs parked. */
void machine_eject(struct vmm *vm);
/* The guest restarts: what shall leave does so now. vCPUs parked, before devices are reset. */
void machine_eject_at_reset(struct vmm *vm);
/* An address that is free, also in the guest's view; -1: none. */
int machine_free_devfn(const struct vmm *vm);

/* machine_virtio.c: put md->dev, a virtio device, on its transport / take it off. */
int machine_attach_virtio(struct vmm *vm, struct machine_device *md,
			  struct vmm_error *err) MUST_CHECK;
void machine_detach_virtio(struct vmm *vm, struct machine_device *md);

/* Where a virtio device over MMIO is. */
struct machine_mmio_place {
	uint64_t address;
	struct irq_line *line;
};

/* machine_x86.c: what the architecture decides. */
/* Place number `slot`; false: there are not as many. */
bool machine_arch_mmio_place(struct vmm *vm, unsigned slot, struct machine_mmio_place *place);
/* Whether the place, or its interrupt, is another device's. */
bool machine_arch_mmio_taken(const struct vmm *vm, unsigned slot);
/* May a program have registers there? Whether they are free is the bus's to say. */
int machine_arch_check_region(const char *id, enum vmm_space space, uint64_t address,
			      uint64_t length, struct vmm_error *err) MUST_CHECK;
/* An ISA interrupt that no device of ours has, for a region of the program. devices_lock held. */
int machine_arch_take_irq(struct vmm *vm, unsigned irq, struct irq_line **line,
			  struct vmm_error *err) MUST_CHECK;
void machine_arch_give_back_irq(struct vmm *vm, unsigned irq);
int machine_arch_memory(struct vmm *vm, unsigned flags, struct vmm_error *err) MUST_CHECK;
int machine_arch_buses(struct vmm *vm, struct vmm_error *err) MUST_CHECK;
int machine_arch_devices(struct vmm *vm, struct vmm_error *err) MUST_CHECK;
/* Kernel and tables into memory, boot vCPU to its entry. vCPUs parked. */
int machine_arch_load(struct vmm *vm, struct vmm_error *err) MUST_CHECK;

#endif
