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

#include "core/log.h"
#include "core/loop.h"

struct chardev;

/* What the front end gives. All on the loop; none may destroy the chardev. */
struct chardev_frontend {
	/*
	 * Input has arrived. Returns how many of the bytes were taken (0 to len); after a short
	 * take nothing is delivered until chardev_input_ready.
	 */
	size_t (*input)(void *opaque, const uint8_t *data, size_t len);
	/* Output space again after a short chardev_write. */
	void (*writable)(void *opaque);
	/* A peer is there / has gone. Optional. Backends without peers never call it. */
	void (*connected)(void *opaque, bool connected);
	/* The user asked to leave through the escape sequence. Optional. */
	void (*quit)(void *opaque);
	/* Send a break condition (Ctrl-a b). Optional. */
	void (*send_break)(void *opaque);
	/* The terminal's size in characters has changed. Optional. */
	void (*resized)(void *opaque, unsigned columns, unsigned rows);
};

/*
 * spec: `stdio[,wait-for=TEXT][,signal=on|off]`, `pty[,link=PATH]`, `unix:PATH` (server; a client
 * may come, go and come back), `file:PATH`, `none`. what: how messages name the option
 * ("--serial").
 *
 * stdio: a terminal is put into raw mode and restored by chardev_destroy; Ctrl-a x quits, Ctrl-a a
 * sends Ctrl-a, Ctrl-a b a break, Ctrl-a h helps. Standard input that is no terminal is passed on
 * as it is; at its end nothing more comes. wait-for: input is held until the guest has printed
 * TEXT.
 */
int chardev_create(struct chardev **chardev, const char *spec, const char *what, struct loop *loop,
		   const struct log *log, struct vmm_error *err) MUST_CHECK;

/* Flushes what it can without waiting. NULL is allowed. On the loop or when it does not run. */
void chardev_destroy(struct chardev *chardev);

/* Attach or (NULL) detach the front end; begins to deliver. */
void chardev_attach(struct chardev *chardev, const struct chardev_frontend *frontend, void *opaque);

/* Returns how many bytes were accepted (0 to len). With no peer, bytes are accepted and dropped. */
size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t len);

/* The front end can take input again. Delivers from the loop, never from within this call. */
void chardev_input_ready(struct chardev *chardev);

/* A person's description of where it is ("/dev/pts/3", "stdio"). Owned by the chardev. */
const char *chardev_describe(const struct chardev *chardev);

#endif
