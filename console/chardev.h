/* SPDX-License-Identifier: MIT */
/*
 * Character streams between a device (the front end: UART, serial port) and the host: a terminal,
 * a pty, a unix socket, a file, or memory.
 *
 * Everything runs on one loop. Buffers are fixed; flow control goes both ways: a front end that
 * cannot take more input says so and the backend stops reading; a backend that cannot take more
 * output accepts fewer bytes and calls `writable` later.
 */
#ifndef CONSOLE_CHARDEV_H
#define CONSOLE_CHARDEV_H

#include <sys/types.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/report.h"

struct chardev;
struct device;
struct provided_set;

/* What the front end gives. All on the loop; none may destroy the chardev. */
struct chardev_frontend {
	/*
	 * Input has arrived. Returns how many of the bytes were taken (0 to len); after a short
	 * take nothing is delivered until chardev_input_ready.
	 */
	size_t (*input)(void *opaque, const uint8_t *data, size_t len);
	/* Output space again after a short chardev_write. */
	void (*writable)(void *opaque);
	/* A peer is there / has gone. Optional. Backends without peers never call it: they have
	 * one for good (chardev_connected). */
	void (*connected)(void *opaque, bool connected);
	/* The user asked to leave through the escape sequence. Optional. */
	void (*quit)(void *opaque);
	/* Send a break condition (Ctrl-a b). Optional. */
	void (*send_break)(void *opaque);
	/* The terminal's size in characters, once it is known and when it has changed. Optional. */
	void (*resized)(void *opaque, unsigned columns, unsigned rows);
};

/*
 * spec: `stdio[,wait-for=TEXT][,signal=on|off]`, `pty[,link=PATH]`, `unix:PATH` (server; a client
 * may come, go and come back), `attach:/PATH` (the same for people: mode 0600, a client is sent the
 * latest 64 KiB of output first, takes over from the one before, and is disconnected if it keeps
 * the guest waiting for 5 seconds), `file:PATH`, `ring[:size=BYTES]` (memory that keeps the latest
 * output), `none`. what: how messages name the option ("--serial").
 *
 * stdio: a terminal is put into raw mode and restored by chardev_destroy; Ctrl-a x quits, Ctrl-a a
 * sends Ctrl-a, Ctrl-a b a break, Ctrl-a h helps. Standard input that is no terminal is passed on
 * as it is; at its end nothing more comes. wait-for: input is held until the guest has printed
 * TEXT.
 */
int chardev_create(struct chardev **chardev, const char *spec, const char *what, struct loop *loop,
		   const struct log *log, struct vmm_error *err) MUST_CHECK;

/* The same for a device: its program may also have made the other end itself (`api:NAME`). */
int chardev_create_for(struct chardev **chardev, const char *spec, const char *what,
		       const struct device *dev, struct vmm_error *err) MUST_CHECK;

/*
 * What a device does with its option `chardev`: as chardev_create_for, or the one that was added
 * under the name `spec`, which then is this device's until chardev_release. -EBUSY: another device
 * has it. Its input that no device has taken yet is still there. Home loop.
 */
int chardev_acquire(struct chardev **chardev, const char *spec, const char *what,
		    const struct device *dev, struct vmm_error *err) MUST_CHECK;
/* Detach; what has a name stays for the next device, else it is destroyed. NULL is allowed. */
void chardev_release(struct chardev *chardev);

/*
 * Open one that belongs to the set under a name, until provided_remove(BACKEND_CHARDEV) or the end
 * of the set, either on the loop. name: as device_check_id wants it, and no kind ("stdio").
 * *chardev: as long as it is in the set. -EINVAL, -EEXIST, and as chardev_create. On the loop.
 */
int chardev_add(struct chardev **chardev, struct provided_set *set, const char *name,
		const char *spec, struct loop *loop, const struct log *log,
		struct vmm_error *err) MUST_CHECK;
/* Where it is (`chardev`), and its name if it has one (`chardev-id`). Loop. */
void chardev_report(const struct chardev *chardev, struct report *report);
/* Of those in the set: an object each, with `chardev` and `chardev-id`. Loop. */
void chardev_report_added(struct provided_set *set, struct report *report);

/*
 * Whether such a spec can be right before there is any VM, and so any chardev with a name; nothing
 * is opened. Returns 0 or -EINVAL with a sentence.
 */
int chardev_check(const char *spec, const char *what, struct vmm_error *err) MUST_CHECK;

/* The kinds there are, for help; ended by a NULL name. */
struct chardev_kind {
	const char *name;
	const char *usage; /* "unix:PATH" */
	const char *help;  /* one line */
};
const struct chardev_kind *chardev_kinds(void);

/*
 * Flushes what it can: on the loop without waiting; when that does not run, with a second for a
 * slow reader of a file or of standard output. NULL is allowed.
 */
void chardev_destroy(struct chardev *chardev);

/* Attach or (NULL) detach the front end; begins to deliver. */
void chardev_attach(struct chardev *chardev, const struct chardev_frontend *frontend, void *opaque);

/* Returns how many bytes were accepted (0 to len). With no peer, bytes are accepted and dropped. */
size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t len);

/* The front end can take input again. Delivers from the loop, never from within this call. */
void chardev_input_ready(struct chardev *chardev);

/* Whether somebody is at the other end; always true of a backend without peers. */
bool chardev_connected(const struct chardev *chardev);

/* The terminal may have another size now (SIGWINCH): look, and call `resized` if so. */
void chardev_check_size(struct chardev *chardev);

/*
 * The other end of a `ring`. Both return a number of bytes, or -ENOTSUP for any other backend.
 * read: takes the oldest output, at most len bytes; *dropped (may be NULL): how many bytes were
 * overwritten since the last call before anybody read them. write: input for the device, as far as
 * there is room.
 */
ssize_t chardev_ring_read(struct chardev *chardev, void *data, size_t len, uint64_t *dropped);
ssize_t chardev_ring_write(struct chardev *chardev, const void *data, size_t len);
/* Output that waits to be read, and the most that can. 0 for any other backend. */
size_t chardev_ring_pending(const struct chardev *chardev);

/* A person's description of where it is ("/dev/pts/3", "stdio"). Owned by the chardev. */
const char *chardev_describe(const struct chardev *chardev);

#endif
