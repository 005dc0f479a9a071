/* SPDX-License-Identifier: MIT */
/*
 * The server's threads, and what goes from one to the other: requests to vmm-qmp-run, answers and
 * events back, in the order in which they came about.
 */
#include "vmm/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/thread.h"
#include "vmm/qmp_internal.h"

/* ---- to the clients ---- */

static void tell_all(struct qmp *qmp, const char *text)
{
	list_for_each (it, &qmp->clients) {
		struct qmp_client *client = list_entry(it, struct qmp_client, link);

		if (client->negotiated)
			qmp_client_send(client, text);
	}
}

static void deliver(struct loop_task *task)
{
	struct qmp *qmp = container_of(task, struct qmp, deliver);
	struct list messages;

	pthread_mutex_lock(&qmp->lock);
	list_take(&messages, &qmp->outbox);
	qmp->events = 0;
	pthread_mutex_unlock(&qmp->lock);
	while (!list_empty(&messages)) {
		struct qmp_message *m = list_entry(messages.next, struct qmp_message, link);
		struct qmp_client *to = m->to;

		list_del(&m->link);
		if (!to) {
			tell_all(qmp, m->text);
			free(m->text);
			free(m);
			continue;
		}
		qmp_client_send(to, m->text);
		free(m->text);
		qmp_client_go_on(to);
	}
}

static char *event_text(struct qmp *qmp, const char *event, json_t *data)
{
	int64_t now = qmp->config.clock->realtime_ns(qmp->config.clock);
	json_t *root = json_pack("{s:{s:I,s:I},s:s,s:o*}", "timestamp", "seconds",
				 (json_int_t)(now / (int64_t)NS_PER_SEC), "microseconds",
				 (json_int_t)(now % (int64_t)NS_PER_SEC / 1000), "event", event,
				 "data", data);
	char *text = qmp_text(root);

	json_decref(root);
	return text;
}

void qmp_tell(struct qmp *qmp, const char *event, json_t *data)
{
	struct qmp_message *message = calloc(1, sizeof(*message));
	char *text = event_text(qmp, event, data);
	bool room;

	pthread_mutex_lock(&qmp->lock);
	room = message && text && qmp->events < QMP_EVENTS_MAX;
	if (room) {
		message->text = text;
		list_add_tail(&qmp->outbox, &message->link);
		qmp->events++;
	}
	pthread_mutex_unlock(&qmp->lock);
	if (room) {
		loop_post(qmp->loop, &qmp->deliver);
		return;
	}
	log_guest(qmp->config.log, &qmp->log_limit, "control", "%s: the event %s was dropped",
		  qmp->config.name, event);
	free(text);
	free(message);
}

/* ---- commands ---- */

/* The next client with a request, or NULL at the end. */
static struct qmp_client *next_request(struct qmp *qmp)
{
	struct qmp_client *client = NULL;

	pthread_mutex_lock(&qmp->lock);
	while (list_empty(&qmp->requests) && !qmp->stopping)
		pthread_cond_wait(&qmp->work, &qmp->lock);
	/* At the end no more is begun: clients that ask on and on would put it off for ever. */
	if (!qmp->stopping) {
		client = list_entry(qmp->requests.next, struct qmp_client, request);
		list_del(&client->request);
	}
	pthread_mutex_unlock(&qmp->lock);
	return client;
}

static void *run_requests(void *arg)
{
	struct qmp *qmp = arg;
	struct qmp_client *client;

	while ((client = next_request(qmp))) {
		const struct qmp_command *command = client->command;
		bool success;
		char *text = qmp_run(client, &success);

		pthread_mutex_lock(&qmp->lock);
		client->message = (struct qmp_message){.to = client, .text = text};
		list_add_tail(&qmp->outbox, &client->message.link);
		pthread_mutex_unlock(&qmp->lock);
		loop_post(qmp->loop, &qmp->deliver);
		if (success && command->after)
			command->after(qmp->config.opaque);
	}
	return NULL;
}

/* ---- life ---- */

static void init(struct qmp *qmp, const struct qmp_config *config)
{
	qmp->config = *config;
	list_init(&qmp->clients);
	list_init(&qmp->requests);
	list_init(&qmp->outbox);
	pthread_mutex_init(&qmp->lock, NULL);
	pthread_cond_init(&qmp->work, NULL);
	loop_task_init(&qmp->deliver, deliver);
	qmp->listen_fd = -1;
}

static int start(struct qmp *qmp, struct vmm_error *err)
{
	int rc = loop_create(&qmp->loop, "vmm-qmp", qmp->config.clock, err);

	if (rc)
		return rc;
	qmp_listen_init(qmp);
	rc = loop_start(qmp->loop, err);
	if (rc)
		return rc;
	qmp->loop_runs = true;
	rc = thread_start(&qmp->runner, "vmm-qmp-run", run_requests, qmp);
	if (rc)
		return error_set_errno(err, -rc, "cannot start the thread of the control socket");
	qmp->runner_runs = true;
	return 0;
}

int qmp_create(struct qmp **out, const struct qmp_config *config, struct vmm_error *err)
{
	struct qmp *qmp = calloc(1, sizeof(*qmp));
	int rc;

	if (!qmp)
		return error_set(err, ENOMEM, "no memory for the control socket");
	init(qmp, config);
	rc = start(qmp, err);
	if (rc)
		qmp_destroy(qmp);
	else
		*out = qmp;
	return rc;
}

/* vmm-qmp-run has ended. */
static void close_clients(void *arg)
{
	struct qmp *qmp = arg;

	deliver(&qmp->deliver);
	/* Requests that vmm-qmp-run has not begun. */
	while (!list_empty(&qmp->requests)) {
		struct qmp_client *client =
			list_entry(qmp->requests.next, struct qmp_client, request);

		list_del(&client->request);
		if (client->closed)
			qmp_client_go_on(client);
		else
			client->busy = false;
	}
	while (!list_empty(&qmp->clients)) {
		struct qmp_client *client = list_entry(qmp->clients.next, struct qmp_client, link);

		qmp_client_flush(client);
		qmp_client_close(client);
	}
	loop_task_cancel(qmp->loop, &qmp->deliver);
	qmp_stop_listening(qmp);
}

static void end_runner(struct qmp *qmp)
{
	pthread_mutex_lock(&qmp->lock);
	qmp->stopping = true;
	pthread_cond_signal(&qmp->work);
	pthread_mutex_unlock(&qmp->lock);
	if (qmp->runner_runs)
		pthread_join(qmp->runner, NULL);
}

void qmp_destroy(struct qmp *qmp)
{
	if (!qmp)
		return;
	end_runner(qmp);
	if (qmp->loop_runs) {
		loop_call(qmp->loop, close_clients, qmp);
		loop_join(qmp->loop);
	}
	loop_destroy(qmp->loop);
	pthread_cond_destroy(&qmp->work);
	pthread_mutex_destroy(&qmp->lock);
	free(qmp);
}

struct open_call {
	struct qmp *qmp;
	int fd, rc;
};

static void open_client(void *arg)
{
	struct open_call *call = arg;

	call->rc = qmp_client_open(call->qmp, call->fd);
}

int qmp_add_client(struct qmp *qmp, int fd)
{
	struct open_call call = {.qmp = qmp, .fd = fd};

	loop_call(qmp->loop, open_client, &call);
	return call.rc;
}

struct loop *qmp_loop(struct qmp *qmp)
{
	return qmp->loop;
}
