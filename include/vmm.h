/* SPDX-License-Identifier: MIT */
/*
 * libvmm: virtual machines for Linux guests, in the process that calls it.
 *
 * The library has no mutable globals, installs no signal handlers, prints nothing and never ends
 * the process. Errors are values: functions return 0 or a negative errno and fill a struct
 * vmm_error with one sentence for a person.
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
 * last call.
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

/* Zero and VMM_CONFIG_INIT are equal but for `size` and the documented defaults. */
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

#define VMM_CONFIG_INIT                                                      \
	{                                                                    \
		.size = sizeof(struct vmm_config), .log_level = VMM_LOG_WARN \
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
 * code runs yet. Strings of the config are copied. Errors: -EINVAL and others, with a sentence.
 */
VMM_API int vmm_create(struct vmm **vm, const struct vmm_config *config, struct vmm_error *err);

/*
 * Add a device. cls: a name that vmm_device_class lists; options: "key=value,…" or NULL. Every
 * class takes id=NAME, which must be unique in the VM; without it the id is the class's name and a
 * number. After vmm_start only devices that sit on another device (a disk on a SCSI controller, a
 * port on a serial controller) can be added; -EBUSY for the others, -ESHUTDOWN once the VM has
 * stopped.
 */
VMM_API int vmm_add_device(struct vmm *vm, const char *cls, const char *options,
			   struct vmm_error *err);

/*
 * Remove a device. Returns when what it has in flight is complete and it is gone. -ENOENT: there is
 * none with this id; -EBUSY: others sit on it, it is a part of the machine, or the VM was started
 * and it does not sit on another device; -ESHUTDOWN: the VM has stopped.
 */
VMM_API int vmm_remove_device(struct vmm *vm, const char *id, struct vmm_error *err);

/*
 * Do something to a device, as its class offers it (vmm_device_action_info). options:
 * "key=value,…" or NULL. json: NULL, or where the answer goes on success, a JSON object; the
 * caller's to free(). -ENOENT: no such device or action; -ESHUTDOWN: the VM has stopped.
 */
VMM_API int vmm_device_action(struct vmm *vm, const char *id, const char *action,
			      const char *options, char **json, struct vmm_error *err);

/*
 * The VM's devices in the order they were added: {"devices":[{"id":…,"class":…,"options":…,
 * "parent":…,"pci":…},…]}; options: what it was added with, parent: the id of the device that it
 * sits on, pci: its address, each where there is one. *json: the caller's to free(). Also after the
 * VM has stopped.
 */
VMM_API int vmm_device_list(struct vmm *vm, char **json, struct vmm_error *err);

/*
 * Let programs control the VM through a unix socket at `path`, mode 0600, in QMP (vmm(1),
 * "Control"). After vmm_create, once; until vmm_destroy, which removes it. A socket that a dead
 * process has left there is replaced. -EADDRINUSE: somebody listens there; -EEXIST: it is no
 * socket; -EBUSY: the VM has a control socket; -ENOTSUP: the library was built without jansson.
 * vmm_destroy waits for the command that is being carried out.
 */
VMM_API int vmm_control_listen(struct vmm *vm, const char *path, struct vmm_error *err);

/* Let the guest run. Returns when its threads are started. */
VMM_API int vmm_start(struct vmm *vm, struct vmm_error *err);

/* Stop and continue the vCPUs. Nested calls do not count. */
VMM_API int vmm_pause(struct vmm *vm, struct vmm_error *err);
VMM_API int vmm_resume(struct vmm *vm, struct vmm_error *err);

/* Press the power button: the guest decides what it does. */
VMM_API int vmm_powerdown(struct vmm *vm, struct vmm_error *err);

/* Press the reset button. */
VMM_API int vmm_reset(struct vmm *vm, struct vmm_error *err);

/* Ask the VM to stop at once. Does not wait. Safe to call in any state, from any thread. */
VMM_API void vmm_stop(struct vmm *vm);

/*
 * Wait until the VM has stopped: no vCPU runs any more and disks are quiet. -EINVAL: it was never
 * started.
 */
VMM_API int vmm_wait(struct vmm *vm, struct vmm_result *result);

/*
 * A descriptor that becomes readable when the VM has stopped; for poll. Owned by the VM. After
 * vmm_wait has returned it stays readable.
 */
VMM_API int vmm_event_fd(const struct vmm *vm);

/* Stop if need be, then release everything. NULL is allowed. */
VMM_API void vmm_destroy(struct vmm *vm);

/* The device classes: index 0, 1, … until NULL. Names and texts are static. */
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
VMM_API bool vmm_device_class(unsigned index, struct vmm_device_info *info);
VMM_API bool vmm_device_option(const char *cls, unsigned index, struct vmm_option_info *info);

/* What can be done to a device of a class, for vmm_device_action; likewise until false. */
struct vmm_action_info {
	const char *name;
	const char *help;
	const char *implied; /* the option that a first value without a name sets, or NULL */
};
VMM_API bool vmm_device_action_info(const char *cls, unsigned index, struct vmm_action_info *info);
/* The options of the class's action number `action`. */
VMM_API bool vmm_device_action_option(const char *cls, unsigned action, unsigned index,
				      struct vmm_option_info *info);

/* What the option `chardev` of a device may be, likewise until false. */
struct vmm_stream_info {
	const char *usage; /* "unix:PATH" */
	const char *help;
};
VMM_API bool vmm_stream_kind(unsigned index, struct vmm_stream_info *info);

/*
 * Are these options right for that class, before any VM exists? The files that they name are not
 * looked at. what: how messages name the device ("--disk").
 */
VMM_API int vmm_check_device(const char *cls, const char *options, const char *what,
			     struct vmm_error *err);

/* One finding about the host. consequence: what follows from it, or NULL. */
enum vmm_check_status { VMM_CHECK_OK, VMM_CHECK_NOTE, VMM_CHECK_BAD };
typedef void vmm_check_fn(void *opaque, enum vmm_check_status status, const char *topic,
			  const char *finding, const char *consequence);
/*
 * Examine what this host allows the calling user; calls fn once for each finding. Returns 0 if
 * Linux guests can run, -ENOTSUP if some finding is VMM_CHECK_BAD.
 */
VMM_API int vmm_check_host(vmm_check_fn *fn, void *opaque);

/* Helpers that the command line shares with the library. */
VMM_API int vmm_parse_size(const char *text, uint64_t *bytes);
VMM_API const char *vmm_nearest(const char *word, const char *const *names);
VMM_API const char *vmm_version(void);

#ifdef __cplusplus
}
#endif

#endif
