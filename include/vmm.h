/* SPDX-License-Identifier: MIT */
/*
 * libvmm: virtual machines for Linux guests, in the process that calls it.
 *
 * The library has no mutable globals, installs no signal handlers, prints nothing and never ends
 * the process. Errors are values: functions return 0 or a negative errno and fill a struct
 * vmm_error with one sentence for a person; that pointer may always be NULL. Texts may be NULL only
 * where that is said, else it is -EINVAL, or false for functions that describe.
 *
 * Life of a VM:
 *
 *     struct vmm_config config = VMM_CONFIG_INIT;
 *     config.kernel = "/boot/vmlinuz";
 *     vmm_create(&vm, &config, &err);
 *     vmm_add_device(vm, "virtio-blk", "path=root.img", &err);
 *     vmm_start(vm, &err);
 *     vmm_wait(vm, &result);
 *     vmm_destroy(vm);
 *
 * Threads: one VM may be used from several threads at once, except that vmm_destroy must be the
 * last call. Different VMs have nothing to do with each other. The library's own threads (vCPUs,
 * the event loop) call the functions that a program gives it; such a callback must return soon, and
 * must not call the library, other than what is said to be for callbacks.
 *
 * Ownership: strings and structs that a program passes are copied, pointers called `opaque` and
 * what they point to stay the program's. Handles belong to their VM and end with it.
 */
#ifndef VMM_H
#define VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VMM_VERSION "0.1.0"
#define VMM_API     __attribute__((visibility("default")))

#define VMM_ERROR_MAX 512

struct vmm_error {
	int code; /* a positive errno value; 0: no error */
	char message[VMM_ERROR_MAX];
};

enum vmm_log_level { VMM_LOG_ERROR, VMM_LOG_WARN, VMM_LOG_INFO, VMM_LOG_DEBUG };

/*
 * May be called from any of the VM's threads, also concurrently; must not call the VM's functions
 * other than vmm_stop. line has no newline.
 */
typedef void vmm_log_fn(void *opaque, enum vmm_log_level level, const char *source,
			const char *line);

enum vmm_on_reboot {
	VMM_ON_REBOOT_RESET, /* the guest really reboots */
	VMM_ON_REBOOT_EXIT,  /* the VM stops with VMM_EXIT_REBOOT */
};

/*
 * What a VM is made of. Begin with VMM_CONFIG_INIT: zero but for `size` and log_level. A program
 * that was compiled against an older header works with a newer library: fields that it does not
 * know are zero. A newer program works with an older library as long as it leaves at zero what that
 * does not know; else it is refused. The same holds for all structs that carry their size.
 */
struct vmm_config {
	size_t size;        /* sizeof(struct vmm_config) of the caller: lets the struct grow */
	const char *name;   /* of the VM, for messages and threads; NULL: "vm" */
	const char *kernel; /* path of a bzImage or ELF vmlinux; required */
	const char *const *initrds; /* NULL-terminated paths, concatenated; may be NULL */
	const char *cmdline;        /* kernel command line; NULL: empty */
	uint64_t memory;            /* bytes, a multiple of 4 KiB, at least 16 MiB; 0: 512 MiB */
	unsigned cpus;              /* 1 to 255 and at most what KVM allows; 0: 1 */
	bool hugepages;             /* back the memory with 2 MiB pages of hugetlbfs */
	bool prealloc;              /* touch all memory before the guest starts */
	bool shared;                /* memory that other processes can map (a memfd) */
	enum vmm_on_reboot on_reboot;
	vmm_log_fn *log; /* may be NULL */
	void *log_opaque;
	enum vmm_log_level log_level;
};

/* In the order of the fields: C++ before 2020 knows no other way. */
#define VMM_CONFIG_INIT                                                                       \
	{                                                                                     \
		sizeof(struct vmm_config), NULL, NULL, NULL, NULL, 0, 0, false, false, false, \
			VMM_ON_REBOOT_RESET, NULL, NULL, VMM_LOG_WARN                         \
	}

/* Why a VM has stopped. */
enum vmm_exit_kind {
	VMM_EXIT_NONE,     /* it has not */
	VMM_EXIT_POWEROFF, /* the guest switched itself off */
	VMM_EXIT_REBOOT,   /* the guest rebooted, and on_reboot is VMM_ON_REBOOT_EXIT */
	VMM_EXIT_PANIC,    /* the guest's kernel panicked (pvpanic) */
	VMM_EXIT_DEBUG,    /* the guest wrote the debug-exit port; `value` is what it wrote */
	VMM_EXIT_STOPPED,  /* vmm_stop */
	VMM_EXIT_QUIT,     /* the user left through the console's escape (Ctrl-a x) */
	VMM_EXIT_ERROR,    /* the VM cannot go on; `error` says why */
};

struct vmm_result {
	enum vmm_exit_kind kind;
	uint32_t value;
	struct vmm_error error;
};

struct vmm;

/*
 * Create a VM: memory, interrupt controllers and buses; the kernel is read and checked. No guest
 * code runs yet.
 *
 * Ownership: *vm is the caller's, for vmm_destroy; untouched on error.
 * Errors: -EINVAL (the configuration), -ENOMEM, -ENOENT and others of the files that it names,
 * -ENODEV or -EACCES (/dev/kvm).
 * Thread: any.
 */
VMM_API int vmm_create(struct vmm **vm, const struct vmm_config *config, struct vmm_error *err);

/*
 * Add a device. cls: a name that vmm_device_class lists; options: "key=value,…" or NULL. Every
 * class takes id=NAME, which must be unique in the VM; without it the id is the class's name and a
 * number. After vmm_start virtio devices on the PCI bus can be added, which the guest notices
 * through ACPI, and devices that sit on another device (a disk on a SCSI controller, a port on a
 * serial controller).
 *
 * Errors: -EINVAL (class or options), -EEXIST (the id), -EBUSY (the VM was started, and this is
 * another kind of device), -ENOSPC (no slot is free), -ESHUTDOWN (it has stopped), and others of
 * what the device opens.
 * Thread: any.
 */
VMM_API int vmm_add_device(struct vmm *vm, const char *cls, const char *options,
			   struct vmm_error *err);

/*
 * Remove a device. Returns 0 when what it has in flight is complete and it is gone. A device on the
 * PCI bus of a VM that was started is the guest's to let go of: then returns 1 when the guest has
 * been asked, and VMM_EVENT_DEVICE_REMOVED tells when it is gone, at the latest when the guest
 * restarts. A guest may never answer; it can be asked again.
 *
 * Errors: -EINVAL (no id), -ENOENT (there is none with this id), -EBUSY (others sit on it, it is a
 * part of the machine, or the VM was started and such devices stay), -ESHUTDOWN (the VM has
 * stopped).
 * Thread: any.
 */
VMM_API int vmm_remove_device(struct vmm *vm, const char *id, struct vmm_error *err);

/*
 * Remove a device without asking the guest. Returns when it is gone, like a card that is pulled
 * out; else as vmm_remove_device. The guest's driver may wait for it for ever. Its PCI slot stays
 * empty until the guest has restarted.
 *
 * Errors: as vmm_remove_device.
 * Thread: any.
 */
VMM_API int vmm_pull_device(struct vmm *vm, const char *id, struct vmm_error *err);

/*
 * Do something to a device, as its class offers it. action: a name that vmm_device_action_info
 * gives; options: "key=value,…" or NULL. json: NULL, or where the answer goes on success, a JSON
 * object.
 *
 * Ownership: *json is the caller's, for free().
 * Errors: -ENOENT (no such device or action), -ESHUTDOWN (the VM has stopped), -EINVAL, and others
 * of the action.
 * Thread: any.
 */
VMM_API int vmm_device_action(struct vmm *vm, const char *id, const char *action,
			      const char *options, char **json, struct vmm_error *err);

/*
 * List the VM's devices as a JSON object:
 *
 *     {"devices":[{"id":…,"class":…,"options":…,"parent":…,"pci":…,
 *                  "leaving":true},…]}
 *
 * They are in the order they were added. options: what it was added with, parent: the id of the
 * device that it sits on, pci: its address, leaving: the guest has been asked to let go of it, each
 * where there is one. Also after the VM has stopped.
 *
 * Ownership: *json is the caller's, for free().
 * Errors: -ENOMEM.
 * Thread: any.
 */
VMM_API int vmm_device_list(struct vmm *vm, char **json, struct vmm_error *err);

/*
 * Let programs control the VM. They speak QMP (vmm(1), "Control") over a unix socket at `path`,
 * which is made with mode 0600. Once, until vmm_destroy, which removes the socket and waits for the
 * command that is being carried out. A socket that a dead process has left there is replaced.
 *
 * Ownership: path is copied.
 * Errors: -EINVAL (no path), -EADDRINUSE (somebody listens there), -EEXIST (it is no socket),
 * -EBUSY (the VM has a control socket), -ENOTSUP (the library was built without jansson).
 * Thread: any.
 */
VMM_API int vmm_control_listen(struct vmm *vm, const char *path, struct vmm_error *err);

/*
 * Let the guest run. Returns when its threads are started.
 *
 * Errors: -EBUSY (it was started before), -ENOMEM, and others of KVM. A VM whose start has failed
 * can only be destroyed.
 * Thread: any.
 */
VMM_API int vmm_start(struct vmm *vm, struct vmm_error *err);

/*
 * Stop the vCPUs until vmm_resume. Returns when none runs. Nested calls do not count.
 *
 * Errors: -EINVAL (the VM was never started), -ESHUTDOWN (it has stopped).
 * Thread: any.
 */
VMM_API int vmm_pause(struct vmm *vm, struct vmm_error *err);

/*
 * Let the vCPUs go on. A VM that runs is left alone.
 *
 * Errors: -EINVAL (the VM was never started), -ESHUTDOWN (it has stopped).
 * Thread: any.
 */
VMM_API int vmm_resume(struct vmm *vm, struct vmm_error *err);

/*
 * Press the power button: the guest decides what it does.
 *
 * Errors: -ESHUTDOWN (the VM has stopped).
 * Thread: any.
 */
VMM_API int vmm_powerdown(struct vmm *vm, struct vmm_error *err);

/*
 * Press the reset button. Returns when devices, memory and vCPUs are as at the start; a paused VM
 * stays paused.
 *
 * Errors: -EINVAL (the VM was never started), -ESHUTDOWN (it has stopped).
 * Thread: any.
 */
VMM_API int vmm_reset(struct vmm *vm, struct vmm_error *err);

/*
 * Ask the VM to stop at once. Does not wait. In any state.
 *
 * Thread: any, also from callbacks.
 */
VMM_API void vmm_stop(struct vmm *vm);

/*
 * Wait until the VM has stopped: no vCPU runs any more, disks are quiet, and VMM_EVENT_STOPPED can
 * be taken.
 *
 * Errors: -EINVAL (it was never started).
 * Thread: any, several at once.
 */
VMM_API int vmm_wait(struct vmm *vm, struct vmm_result *result);

enum vmm_state {
	VMM_STATE_CREATED, /* not started */
	VMM_STATE_RUNNING,
	VMM_STATE_PAUSED,
	VMM_STATE_STOPPED, /* for good */
};

/*
 * Tell what state the VM is in. It may be another one by the time that this returns.
 *
 * Thread: any, also from callbacks.
 */
VMM_API enum vmm_state vmm_get_state(struct vmm *vm);

/*
 * Stop if need be, then release everything. NULL is allowed.
 *
 * Thread: any but the VM's own (not from callbacks); nobody uses the VM any more.
 */
VMM_API void vmm_destroy(struct vmm *vm);

/* ---- events ---- */

enum vmm_event_kind {
	VMM_EVENT_RUNNING = 1,    /* the vCPUs run: at the start, after a pause */
	VMM_EVENT_PAUSED,         /* they do not */
	VMM_EVENT_RESET,          /* value: 1 if the guest wanted it, else 0 */
	VMM_EVENT_POWERDOWN,      /* the power button was pressed */
	VMM_EVENT_PANIC,          /* the guest's kernel panicked; value: what pvpanic got */
	VMM_EVENT_DEVICE_ADDED,   /* while the VM runs */
	VMM_EVENT_DEVICE_REMOVED, /* likewise */
	VMM_EVENT_DEVICE_ERROR,   /* the guest's driver broke a rule; text: which */
	/*
	 * The guest has opened (value 1) or closed (0) a serial port; text: the port's name, if it
	 * has one. With that of an agent ("org.qemu.guest_agent.0", "com.redhat.spice.0",
	 * "com.redhat.rhevm.vdsm") it says that the agent has come or gone.
	 */
	VMM_EVENT_PORT,
	VMM_EVENT_BALLOON, /* value: bytes of memory that the balloon leaves to the guest */
	VMM_EVENT_STOPPED, /* value: an enum vmm_exit_kind; nothing follows it */
	VMM_EVENT_TRAY,    /* the tray of a CD-ROM drive has opened (value 1) or closed (0) */
};

#define VMM_EVENT_DEVICE_MAX 64
#define VMM_EVENT_TEXT_MAX   128

struct vmm_event {
	enum vmm_event_kind kind;
	uint64_t value;                    /* as the kind says, else 0 */
	uint64_t time_ns;                  /* since 1970-01-01 UTC */
	uint64_t lost;                     /* events right before this one that had no room */
	char device[VMM_EVENT_DEVICE_MAX]; /* id of the device that it is about, or "" */
	char text[VMM_EVENT_TEXT_MAX];     /* as the kind says, else "" */
};

/*
 * Get a descriptor that is readable while events wait: for poll, epoll and the like. Do not read
 * it; vmm_next_event does.
 *
 * Ownership: the VM's; vmm_destroy closes it.
 * Thread: any.
 */
VMM_API int vmm_event_fd(const struct vmm *vm);

/*
 * Take the oldest event. A VM keeps the latest 256: whatever a guest does, no more memory than that
 * is used, and the next event tells how many were lost. The last event is VMM_EVENT_STOPPED, and
 * that one is never lost. Returns 1, or 0 if there is none.
 *
 * Thread: any; an event goes to one caller only.
 */
VMM_API int vmm_next_event(struct vmm *vm, struct vmm_event *event);

/* ---- statistics ---- */

struct vmm_memory_stats {
	uint64_t size;      /* bytes that the VM was made with */
	uint64_t resident;  /* of these, in the host's memory now */
	uint64_t ballooned; /* of these, in the guest's balloon; by the guest's word */
};

/*
 * Count the guest's memory. Looks at every page table entry: about a millisecond for each GiB.
 *
 * Errors: -ENOMEM.
 * Thread: any.
 */
VMM_API int vmm_memory_stats(struct vmm *vm, struct vmm_memory_stats *stats, struct vmm_error *err);

/*
 * Tell what the VM has done so far, as a JSON object:
 *
 *     {"name":…,"state":…,"uptime-ns":…,"io-time-ns":…,
 *      "vcpus":[{"index":…,"time-ns":…,"exits":{REASON:…,…}},…],
 *      "memory":{"size":…,"resident":…,"ballooned":…},
 *      "devices":[{"id":…,"class":…,…},…]}
 *
 * state: "created", "running", "paused" or "stopped". uptime-ns: since vmm_start. time-ns: CPU time
 * of the vCPU's thread, in the guest and out of it; io-time-ns: of the event loop's. exits: how
 * often the vCPU has come out of KVM to the VMM, by KVM's reasons ("io", "mmio", "intr"). memory:
 * as vmm_memory_stats. devices: those that count something: disks (operations, bytes, errors and
 * "time-ns" of "read", "write", "flush", "discard" and "write-zeroes"; the time is that from
 * submission to completion, of all requests added up), network cards (packets, bytes and dropped of
 * "rx" and "tx"; what the host's kernel moves by itself under vhost is not in it) and balloons
 * ("actual", "target", and the guest's own statistics where they are on). Counts begin at 0 when
 * the VM or the device comes and never fall. Members may be added. Takes as long as
 * vmm_memory_stats. Also after the VM has stopped.
 *
 * Ownership: *json is the caller's, for free().
 * Errors: -ENOMEM.
 * Thread: any.
 */
VMM_API int vmm_stats(struct vmm *vm, char **json, struct vmm_error *err);

/* ---- what a program brings itself ---- */

enum vmm_space { VMM_SPACE_PORT, VMM_SPACE_MEMORY };

/* Registers. All functions are called with `opaque`. */
struct vmm_region_ops {
	size_t size; /* sizeof(struct vmm_region_ops) */
	/*
	 * An access of 1, 2, 4 or (in memory) 8 bytes, within the region. On vCPU threads, several
	 * at once: the program locks. read returns the value in its low bytes.
	 */
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
	void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
	/* Optional. The machine is reset; no vCPU runs. */
	void (*reset)(void *opaque);
};

struct vmm_region;

/*
 * Add a device of the program's own: `length` bytes of registers at `address`. id: as of any
 * device; vmm_device_list shows it and vmm_remove_device removes it. irq: an ISA interrupt for
 * vmm_region_irq, of 5, 6, 7, 10, 11, 12, 14 and 15, or 0 for none. region: where the handle goes;
 * may be NULL without irq. Before vmm_start only. Memory that is free for regions: from 0xf0000000
 * to 0xfe000000 (not included); ports: from 0x1000 to 0xc000.
 *
 * Ownership: the handle is the VM's, valid until the region is removed or the VM destroyed.
 * Errors: -EINVAL, -EEXIST (the id), -EBUSY (something else is there, or the VM was started).
 * Thread: any.
 */
VMM_API int vmm_add_region(struct vmm *vm, const char *id, enum vmm_space space, uint64_t address,
			   uint64_t length, unsigned irq, const struct vmm_region_ops *ops,
			   void *opaque, struct vmm_region **region, struct vmm_error *err);

/*
 * Set the level of the region's interrupt line. Without one nothing happens.
 *
 * Thread: any, also from callbacks.
 */
VMM_API void vmm_region_irq(struct vmm_region *region, bool level);

/* The other end of a serial port. All functions are called with `opaque`, on the VM's event loop.
 */
struct vmm_chardev_ops {
	size_t size; /* sizeof(struct vmm_chardev_ops) */
	/*
	 * The guest's output. Returns how many bytes were taken; after fewer than `len` it is asked
	 * again once vmm_chardev_ready was called, and the guest waits.
	 */
	size_t (*output)(void *opaque, const void *data, size_t len);
	/* Optional. There is room again after vmm_chardev_input took less than it was given. */
	void (*input_ready)(void *opaque);
};

struct vmm_chardev;

/*
 * Make a stream that a device can be connected to. Once, as "chardev=api:NAME". name: as a device's
 * id.
 *
 * Ownership: the handle is the VM's, valid until vmm_destroy.
 * Errors: -EINVAL, -EEXIST (the name), -ENOMEM.
 * Thread: any.
 */
VMM_API int vmm_add_chardev(struct vmm *vm, const char *name, const struct vmm_chardev_ops *ops,
			    void *opaque, struct vmm_chardev **chardev, struct vmm_error *err);

/*
 * Send input to the guest. Returns how many bytes were taken: 64 KiB wait at the most. Input for a
 * device that is not there yet waits for it.
 *
 * Thread: any, also from callbacks.
 */
VMM_API size_t vmm_chardev_input(struct vmm_chardev *chardev, const void *data, size_t len);

/*
 * Ask again for output that ops->output did not take.
 *
 * Thread: any, also from callbacks.
 */
VMM_API void vmm_chardev_ready(struct vmm_chardev *chardev);

/* The other end of a network card. All functions are called with `opaque`, on the VM's event loop.
 */
struct vmm_netdev_ops {
	size_t size; /* sizeof(struct vmm_netdev_ops) */
	/*
	 * An Ethernet frame of the guest, without FCS, of 14 to 65550 bytes. False: not now; it is
	 * offered again once vmm_netdev_ready was called, and the guest waits.
	 */
	bool (*send)(void *opaque, const void *frame, size_t len);
	/* Optional. There is room again after vmm_netdev_receive gave -EAGAIN. */
	void (*receive_ready)(void *opaque);
};

struct vmm_netdev;

/*
 * Make a network that a card can be connected to. Once, as "backend=api:NAME". name: as a device's
 * id.
 *
 * Ownership: the handle is the VM's, valid until vmm_destroy.
 * Errors: -EINVAL, -EEXIST (the name), -ENOMEM.
 * Thread: any.
 */
VMM_API int vmm_add_netdev(struct vmm *vm, const char *name, const struct vmm_netdev_ops *ops,
			   void *opaque, struct vmm_netdev **netdev, struct vmm_error *err);

/*
 * Send a frame to the guest: 14 to 65550 bytes, without FCS. Frames for a card that is not there
 * yet wait for it.
 *
 * Errors: -EMSGSIZE, -EAGAIN (256 KiB wait already; receive_ready will be called).
 * Thread: any, also from callbacks.
 */
VMM_API int vmm_netdev_receive(struct vmm_netdev *netdev, const void *frame, size_t len);

/*
 * Ask again for a frame that ops->send did not take.
 *
 * Thread: any, also from callbacks.
 */
VMM_API void vmm_netdev_ready(struct vmm_netdev *netdev);

/* ---- what there is; all of it may be called from any thread, without a VM ---- */

/* Names and texts of these structs are static. */
struct vmm_device_info {
	const char *name;
	const char *help;
};
struct vmm_option_info {
	const char *name;
	const char *type;           /* "bool", "number", "size", "text", "choice", "list" (texts) */
	const char *fallback;       /* default as text, or NULL */
	const char *const *choices; /* NULL-terminated, for "choice" */
	const char *help;
	bool required;
};
struct vmm_action_info {
	const char *name;
	const char *help;
	const char *implied; /* the option that a first value without a name sets, or NULL */
};
struct vmm_stream_info {
	const char *usage; /* "unix:PATH" */
	const char *help;
};

/* Describe the device class number `index`: 0, 1, … until false. */
VMM_API bool vmm_device_class(unsigned index, struct vmm_device_info *info);

/* Describe an option of a class: index 0, 1, … until false. */
VMM_API bool vmm_device_option(const char *cls, unsigned index, struct vmm_option_info *info);

/* Describe an action of a class: index 0, 1, … until false. vmm_device_action does it. */
VMM_API bool vmm_device_action_info(const char *cls, unsigned index, struct vmm_action_info *info);

/* Describe an option of a class's action: index 0, 1, … until false. action: index of that one. */
VMM_API bool vmm_device_action_option(const char *cls, unsigned action, unsigned index,
				      struct vmm_option_info *info);

/* Describe what the option `chardev` of a device may be: index 0, 1, … until false. */
VMM_API bool vmm_stream_kind(unsigned index, struct vmm_stream_info *info);

/* Describe what the option `backend` of a card may be: index 0, 1, … until false. */
struct vmm_network_info {
	const char *usage; /* "stream:unix:PATH" */
	const char *help;
};
VMM_API bool vmm_network_kind(unsigned index, struct vmm_network_info *info);
/* Describe an option of network number `network`: index 0, 1, … until false. */
VMM_API bool vmm_network_option(unsigned network, unsigned index, struct vmm_option_info *info);

/*
 * Check a device's options before any VM exists. The files that they name are not looked at. what:
 * how messages name the device ("--disk").
 *
 * Errors: -EINVAL.
 */
VMM_API int vmm_check_device(const char *cls, const char *options, const char *what,
			     struct vmm_error *err);

/* One finding about the host. consequence: what follows from it, or NULL. */
enum vmm_check_status { VMM_CHECK_OK, VMM_CHECK_NOTE, VMM_CHECK_BAD };
typedef void vmm_check_fn(void *opaque, enum vmm_check_status status, const char *topic,
			  const char *finding, const char *consequence);
/*
 * Examine what this host allows the calling user. Calls fn once for each finding, before it
 * returns.
 *
 * Errors: -ENOTSUP (Linux guests cannot run: some finding is VMM_CHECK_BAD).
 */
VMM_API int vmm_check_host(vmm_check_fn *fn, void *opaque);

/*
 * Read a size as options have it: a number with K, M, G or T.
 *
 * Errors: -EINVAL, -ERANGE.
 */
VMM_API int vmm_parse_size(const char *text, uint64_t *bytes);

/* Find the name that a mistyped word was meant for, or NULL. names: NULL-terminated. */
VMM_API const char *vmm_nearest(const char *word, const char *const *names);

/* Tell the library's version. VMM_VERSION is the header's. */
VMM_API const char *vmm_version(void);

#ifdef __cplusplus
}
#endif

#endif
