/* SPDX-License-Identifier: MIT */
/* What the files of the QMP server share. */
#ifndef VMM_QMP_INTERNAL_H
#define VMM_QMP_INTERNAL_H

#include <pthread.h>

#include "vmm/qmp.h"
#include "vmm/qmp_parser.h"

/* Something on its way from another thread to the clients. */
struct qmp_message {
	struct list link;
	struct qmp_client *to; /* whose request it answers; NULL: an event, for all */
	char *text;            /* of json_dumps; NULL: there was no memory for it */
};

/* A connection. Everything but `request` and `message`: the loop's thread. */
struct qmp_client {
	struct list link; /* qmp.clients */
	struct qmp *qmp;
	int fd;
	struct loop_fd lfd;
	struct qmp_parser parser;
	char input[4096]; /* read and not parsed yet: from input_at to input_end */
	size_t input_at, input_end;
	char *output; /* from output_at to output_end */
	size_t output_at, output_end, output_room;
	bool negotiated; /* qmp_capabilities has been given */
	bool ended;      /* it will send no more */
	bool closed;     /* gone; freed when its command is done */
	bool busy;       /* its request is with vmm-qmp-run, or waits for it */

	/* The request; vmm-qmp-run's alone while busy. */
	struct list request;               /* qmp.requests */
	const struct qmp_command *command; /* NULL: none */
	json_t *args, *id;
	struct qmp_message message; /* the answer: there is never more than one */
};

struct qmp {
	struct qmp_config config;
	struct loop *loop;
	bool loop_runs;
	pthread_t runner;
	struct log_limit log_limit; /* clients can provoke all that is said */
	bool runner_runs;

	/* Loop's thread. */
	struct list clients;
	unsigned client_count;
	int listen_fd;
	struct loop_fd listener;
	struct loop_timer retry; /* accepts again after the process had no descriptor left */
	char *path;              /* of the socket that we have made, with its inode; or NULL */
	dev_t device;
	ino_t inode;

	pthread_mutex_t lock; /* guards what follows; a leaf */
	pthread_cond_t work;  /* requests, or stopping */
	struct list requests; /* struct qmp_client */
	struct list outbox;   /* struct qmp_message, in the order of what happened */
	unsigned events;      /* in the outbox */
	bool stopping;
	struct loop_task deliver; /* takes what is in the outbox */
};

/* qmp_session.c: what a client says, and what it is told. Loop's thread. */
void qmp_greet(struct qmp_client *client);
/* Something was found in the input. Leaves a request for vmm-qmp-run, or answers at once. */
void qmp_handle(struct qmp_client *client, enum qmp_found found);
/* As it is sent: ASCII, as QEMU's specification wants it. Allocated; NULL: no memory. */
char *qmp_text(const json_t *value);
/* Run the client's request. On vmm-qmp-run. Returns the answer as text, or NULL. */
char *qmp_run(struct qmp_client *client, bool *success);

/* qmp_schema.c: the one command that stands in no table; its `run` is not used. */
extern const struct qmp_command qmp_capabilities;

/* qmp_client.c */
/* Append a line to what is sent to it. Closes it if that is too much. */
void qmp_client_send(struct qmp_client *client, const char *text);
void qmp_client_send_json(struct qmp_client *client, json_t *value);
/* The answer to its request has come: go on with what else it sent. */
void qmp_client_go_on(struct qmp_client *client);
/* Leave its request for vmm-qmp-run. */
void qmp_client_submit(struct qmp_client *client);
/* Send what is there, as far as the socket takes it. */
void qmp_client_flush(struct qmp_client *client);
void qmp_client_close(struct qmp_client *client);
/* Serve this descriptor; it is the server's from now on. */
int qmp_client_open(struct qmp *qmp, int fd);

/* qmp_listen.c */
void qmp_listen_init(struct qmp *qmp);
void qmp_stop_listening(struct qmp *qmp);
/* A client has left: there is room for another one. */
void qmp_accept_again(struct qmp *qmp);

#endif
