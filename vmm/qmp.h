/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the control socket, QMP as QEMU's clients speak it: a server of JSON requests,
 * answers and events over unix sockets. What the commands do stands in a table that its owner
 * brings; from it come the checks of arguments, query-commands and query-qmp-schema.
 *
 * Threads. `vmm-qmp` runs a loop of its own: clients come and go, bytes become requests, answers
 * and events become bytes. `vmm-qmp-run` runs the commands, one after another: they may wait for
 * the machine (a pause waits for its vCPUs, a removal for a disk), and meanwhile clients connect,
 * are told of events and are disconnected as ever. Neither is a thread of the machine, so a client
 * never holds a VM.
 *
 * Bounds. A client has at most one request at work or waiting, and is not read on while it does; a
 * request has at most QMP_REQUEST_MAX bytes and QMP_DEPTH_MAX levels. While more than
 * QMP_OUTPUT_LOW bytes wait for a client to read them it is not read on either, and one that lets
 * QMP_OUTPUT_MAX bytes pile up (of events) is disconnected.
 */
#ifndef VMM_QMP_H
#define VMM_QMP_H

#include <jansson.h>

#include "core/error.h"
#include "core/log.h"
#include "core/loop.h"

#define QMP_CLIENTS_MAX 32
#define QMP_REQUEST_MAX (1 * MIB)
#define QMP_DEPTH_MAX   64
#define QMP_OUTPUT_LOW  (64 * KIB)
#define QMP_OUTPUT_MAX  (16 * MIB) /* holds any report (core/report.h), in ASCII */
#define QMP_EVENTS_MAX  4096       /* that the loop has yet to pass on; more are dropped */

/* ---- tables ---- */

enum qmp_type {
	QMP_STRING,
	QMP_BOOL,
	QMP_INT,
	QMP_OBJECT,
	QMP_ANY,
	QMP_STRINGS, /* arrays of these; only in answers */
	QMP_INTS,
	QMP_OBJECTS,
};

/* An argument of a command, or something that an event says. */
struct qmp_member {
	const char *name; /* NULL ends the table */
	enum qmp_type type;
	bool optional;
};

/* One call of a command. */
struct qmp_call {
	void *opaque;        /* of the server's owner */
	json_t *args;        /* an object that suits the table; not NULL */
	json_t *result;      /* where the answer goes; NULL: an empty object. Given away */
	const char *failure; /* class of the error; NULL: GenericError. Static */
	struct vmm_error err;
};

struct qmp_command {
	const char *name;                  /* NULL ends the table */
	const struct qmp_member *args;     /* NULL: none */
	bool open;                         /* takes arguments beyond those */
	bool answers;                      /* returns something other than an empty object */
	const char *const *features;       /* what differs from QEMU; NULL-terminated, or NULL */
	int (*run)(struct qmp_call *call); /* 0, or -errno with err set. On vmm-qmp-run */
	void (*after)(void *opaque); /* optional: when the answer to a success is on its way */
};

/* What an answer has in it. Objects of the same name are the same. */
struct qmp_field {
	const char *name; /* NULL ends the table */
	enum qmp_type type;
	bool optional;
	const struct qmp_object *of; /* QMP_OBJECT, QMP_OBJECTS */
};

struct qmp_object {
	const char *name; /* of the type, in the schema */
	const struct qmp_field *fields;
};

/* What a command that `answers` returns. */
struct qmp_return {
	const char *command; /* NULL ends the table */
	enum qmp_type type;
	const struct qmp_object *of; /* QMP_OBJECT, QMP_OBJECTS */
};

struct qmp_event {
	const char *name; /* NULL ends the table */
	const struct qmp_member *data;
};

/* ---- the server ---- */

struct qmp;

/* All of it outlives the server. */
struct qmp_config {
	const char *name; /* of the VM, for log lines */
	struct clock *clock;
	const struct log *log;
	const struct qmp_command *commands;
	const struct qmp_event *events;
	void *opaque; /* of the calls */
};

/* Start both threads. Any thread. */
int qmp_create(struct qmp **qmp, const struct qmp_config *config, struct vmm_error *err) MUST_CHECK;

/*
 * End: no more clients; the command at work is waited for (it must come to its end), what waits to
 * be sent is sent as far as the sockets take it. Not on the server's own threads. NULL is allowed.
 */
void qmp_destroy(struct qmp *qmp);

/*
 * Listen on a unix socket of this path, mode 0600. A socket that a dead process left is replaced.
 * -EADDRINUSE: somebody listens there; -EEXIST: it is something else. Once.
 */
int qmp_listen(struct qmp *qmp, const char *path, struct vmm_error *err) MUST_CHECK;

/* Serve a connected stream socket, which becomes the server's, also on an error. Any thread. */
int qmp_add_client(struct qmp *qmp, int fd);

/*
 * Does the object suit the table? open: it may have members beyond those. where: begins the names
 * in messages ("backend.data."), or "". args: may be NULL, which is empty. -EINVAL.
 */
int qmp_check_members(const struct qmp_member *members, bool open, const json_t *args,
		      const char *where, struct vmm_error *err) MUST_CHECK;

/* Tell all clients. data: an object, given away; NULL: none. Any thread, never blocks. */
void qmp_tell(struct qmp *qmp, const char *event, json_t *data);

struct loop *qmp_loop(struct qmp *qmp);

/* A string of any bytes: what is not UTF-8 becomes '?'. */
json_t *qmp_string(const char *text);

/*
 * The answers of query-commands and query-qmp-schema. A command that answers and is not among
 * `returns` may return anything.
 */
json_t *qmp_list_commands(const struct qmp_command *commands);
json_t *qmp_schema(const struct qmp_command *commands, const struct qmp_return *returns,
		   const struct qmp_event *events);

#endif
