/* SPDX-License-Identifier: MIT */
/*
 * What the character backends share. Nothing outside console/ includes it.
 *
 * The common part (chardev.c) owns the buffers and the flow control. A backend gives it one or two
 * ports (descriptors) to read and write, says when a peer is there, and closes what it opened.
 */
#ifndef CONSOLE_CHARDEV_INTERNAL_H
#define CONSOLE_CHARDEV_INTERNAL_H

#include "console/chardev.h"
#include "core/device.h"
#include "core/option.h"
#include "core/provided.h"

#define CHARDEV_OUT_SIZE (64u * 1024)
#define CHARDEV_IN_SIZE  (64u * 1024)

/* A descriptor that may be shared with other processes: it is never made O_NONBLOCK itself. */
struct chardev_port {
	int fd;        /* -1: none; owned */
	bool socket;   /* recv and send with MSG_DONTWAIT */
	bool blocking; /* a shared description: poll before each short access */
	bool sigpipe;  /* a write may raise SIGPIPE */
	bool terminal; /* has a size */
	bool pollable; /* the loop watches it; else it is always ready (files) */
	struct loop_fd lfd;
	struct chardev *owner;
};

struct chardev_ops {
	size_t size;    /* of the backend's struct, struct chardev first */
	bool has_peers; /* a peer may be absent: `connected` is called */
	/* Optional: are the arguments in order? Opens nothing; open checks the same. */
	int (*check)(const char *args, const char *what, struct vmm_error *err);
	/* Open everything. args: what follows the name and its separator, or "". */
	int (*open)(struct chardev *cd, const char *args, struct vmm_error *err);
	/* Close everything, also after an open that failed. Ports are closed by the caller. */
	void (*close)(struct chardev *cd);
	/* Input has ended, or the peer has hung up and all that it sent was read. */
	void (*ended)(struct chardev *cd, bool hangup);
	/* Optional: false while a read would do harm; asked again a little later. */
	bool (*may_read)(struct chardev *cd);
	/* Optional: edit input in place; returns the new length. */
	size_t (*filter)(struct chardev *cd, uint8_t *data, size_t len);
	/* Optional: see output that was accepted. */
	void (*watch)(struct chardev *cd, const uint8_t *data, size_t len);
	/* Optional: takes output in place of a port; returns how much. */
	size_t (*write)(struct chardev *cd, const uint8_t *data, size_t len);
	/* Optional: the front end has taken input, so that chardev_feed may have room again. */
	void (*room)(struct chardev *cd);
	int drain_ms; /* how long destroy may wait, when the loop does not run */
};

struct chardev {
	const struct chardev_ops *ops;
	struct loop *loop;
	const struct log *log;
	struct provided_set *provided; /* may be NULL */
	struct provided own;           /* in that set, if it has a name */
	bool named;
	char what[32];
	char *describe;
	const struct chardev_frontend *frontend;
	void *opaque;

	struct chardev_port in, out; /* a bidirectional backend uses `in` alone */
	bool both;                   /* output goes to `in` */
	bool peer;                   /* somebody is there */
	bool peer_told;              /* what the front end knows */
	bool ended;                  /* no more input */
	bool hung;                   /* the peer is gone; what it sent is still being read */
	bool out_broken;             /* output is dropped from now on */
	bool out_blocked;            /* waits for LOOP_OUT */
	bool out_short;              /* the front end waits for `writable` */
	bool in_blocked;             /* the front end waits to say that it can take input */
	bool in_held;                /* a backend holds input back */
	bool in_paused;              /* may_read said no; until `resume` */

	unsigned columns, rows; /* what the front end was told; 0: nothing yet */

	struct loop_hook flush;
	struct loop_task pump;
	struct loop_timer resume;
	size_t out_start, out_len;
	size_t in_start, in_len;
	uint8_t out_ring[CHARDEV_OUT_SIZE];
	uint8_t in_buffer[CHARDEV_IN_SIZE];
};

extern const struct chardev_ops chardev_stdio_ops;
extern const struct chardev_ops chardev_pty_ops;
extern const struct chardev_ops chardev_unix_ops;
extern const struct chardev_ops chardev_attach_ops;
extern const struct chardev_ops chardev_file_ops;
extern const struct chardev_ops chardev_none_ops;
extern const struct chardev_ops chardev_ring_ops;
extern const struct chardev_ops chardev_api_ops;

/* chardev.c */

/* Whether the spec begins as one of the kinds does, right or not. */
bool chardev_is_spec(const char *spec);

/* The same, for backends. */

/* Keep a description of where it is. */
int chardev_set_describe(struct chardev *cd, struct vmm_error *err, const char *fmt, ...)
	PRINTF(3, 4);
/* Let the loop watch the ports; afterwards the common part reads and writes them. */
int chardev_watch_ports(struct chardev *cd);
/* A peer has come (its port is set and watched) or gone (drops pending output). */
void chardev_set_peer(struct chardev *cd, bool peer);
/* Append to the input as far as there is room; returns how much that was. */
size_t chardev_feed(struct chardev *cd, const uint8_t *data, size_t len);
/* Deliver held input, report a peer, read a port that is not pollable: soon, on the loop. */
void chardev_kick(struct chardev *cd);

/* chardev_port.c */
void chardev_port_init(struct chardev_port *port);
/* Take over fd, whose kind is found out. */
void chardev_port_set(struct chardev_port *port, int fd);
/*
 * Take a standard descriptor: a description of its own where the kernel gives one (terminals,
 * pipes), else a duplicate that is treated with care.
 */
int chardev_port_open_shared(struct chardev_port *port, int fd, int access) MUST_CHECK;
void chardev_port_close(struct chardev_port *port);
/* As read and write; -1 with errno EAGAIN where they would wait. */
ssize_t chardev_port_read(struct chardev_port *port, void *data, size_t len);
ssize_t chardev_port_write(struct chardev_port *port, const void *data, size_t len);

#endif
