/* SPDX-License-Identifier: MIT */
/*
 * The commands that talk to running VMs: what their files share. Those named control_*.c need
 * jansson.
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include "cli.h"

/* ---- run_control.c: names and sockets ---- */

#define CONSOLE_SOCKET "console.sock" /* beside the control socket of a VM with a name */

/* The folder with one folder for each VM; NULL: $XDG_RUNTIME_DIR is not set. Allocated. */
char *control_folder(void);
/* The socket of a VM: of that name, or, where it has a '/', at that path. NULL as above. */
char *control_path(const char *name);

#ifdef CONFIG_JANSSON
#include <jansson.h>
#include <stdio.h>

/* ---- control_client.c ---- */

/* A connection to a VM, negotiated. */
struct client {
	const char *name; /* for messages */
	int fd;
	pid_t pid;  /* of the VM; 0: not known */
	char *text; /* read and not parsed yet */
	size_t len, room;
	bool quiet;      /* report nothing */
	bool shut_down;  /* the VM has said SHUTDOWN, the last of its events */
	int patience_ms; /* how long an answer may take; -1: any time */
};

enum connect_result { CONNECTED, CONNECT_NOBODY, CONNECT_DROPPED, CONNECT_FAILED };

/*
 * Connect to the VM `name`. Unless quiet, failures are reported. CONNECT_NOBODY: there is no such
 * VM, or it is dead. CONNECT_DROPPED: it ended just then.
 */
enum connect_result client_open(struct client *client, const char *name, bool quiet);
void client_close(struct client *client);

/* The next message; NULL: the VM has gone (*gone), or it is silent. */
json_t *client_next(struct client *client, bool *gone);

/*
 * Run a command: what it returns, or NULL (reported). args: given away, may be NULL. A VM that
 * goes while it does counts as an answer to `quit` only.
 */
json_t *client_call(struct client *client, const char *command, json_t *args);

/*
 * No more comes from the VM, or nothing came in time: STATUS_OK if it has said SHUTDOWN, also in
 * what was not read yet; otherwise STATUS_ERROR (reported, even if the client is quiet).
 */
int client_finish(struct client *client);

/* ---- verbs ---- */

struct control_args {
	const char *verb;
	const char *words[8]; /* what stands there beside options */
	unsigned count;
	bool json, follow, prometheus, force;
	const char *timeout, *interval; /* as written, or NULL */
};

/* Each returns the exit status. */
int verb_ls(const struct control_args *args);
int verb_status(const struct control_args *args);
int verb_simple(const struct control_args *args); /* pause, resume, reset, powerdown, kill */
int verb_stop(const struct control_args *args);
int verb_balloon(const struct control_args *args);
int verb_device(const struct control_args *args);
int verb_disk(const struct control_args *args);
int verb_net(const struct control_args *args);
int verb_events(const struct control_args *args);
int verb_qmp(const struct control_args *args);
int verb_attach(const struct control_args *args);
int verb_stats(const struct control_args *args);

/* ---- control_watch.c ---- */

/* The names of VMs that have a folder, sorted. *names: as `allocate`. False: not to be had
 * (reported). */
bool control_names(const char ***names, size_t *count);

/* ---- control_attach.c ---- */

/*
 * Of what query-chardev tells: the socket of the console that can be attached to, with this id or
 * (NULL) the first; NULL: there is none. *label (may be NULL): its id. They are the list's.
 */
const char *console_in(const json_t *chardevs, const char *id, const char **label);

/* ---- control_paths.c: what is returned is allocated; NULL: reported ---- */

/* The value of a device's option KEY, commas single, with an absolute path where it has one. */
char *absolute_option(const char *key, const char *value);
/*
 * The same for a list of KEY=VALUE. implied: the key of a first value that stands alone; NULL: it
 * is what a stream or a network is connected to.
 */
char *absolute_options(const char *list, const char *implied);

/* ---- control_prometheus.c ---- */

/* Print the statistics of VMs (an array of what vmm_stats tells) in the text format 0.0.4. */
void prometheus_print(FILE *out, const json_t *vms);

/* Connect, run one command, report what goes wrong. NULL: *status is the exit status. */
json_t *call_once(const char *name, const char *command, json_t *args, int *status);
/* Print as JSON; consumes value. Returns the exit status. */
int print_json(json_t *value);
#endif

#endif
