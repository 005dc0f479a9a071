/* SPDX-License-Identifier: MIT */
/*
 * One client of the control socket: bytes in, bytes out, both bounded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/qmp_internal.h"

static size_t pending(const struct qmp_client *client)
{
	return client->output_end - client->output_at;
}

/* ---- leaving ---- */

static void release(struct qmp_client *client)
{
	json_decref(client->args);
	json_decref(client->id);
	free(client);
}

void qmp_client_close(struct qmp_client *client)
{
	if (client->closed)
		return;
	client->closed = true;
	loop_fd_del(&client->lfd);
	close(client->fd);
	list_del(&client->link);
	client->qmp->client_count--;
	qmp_parser_fini(&client->parser);
	free(client->output);
	client->output = NULL;
	qmp_accept_again(client->qmp);
	if (!client->busy)
		release(client);
}

/* ---- output ---- */

static void drop(struct qmp_client *client, const char *why)
{
	struct qmp *qmp = client->qmp;

	log_guest(qmp->config.log, &qmp->log_limit, "control", "%s: a client was disconnected: %s",
		  qmp->config.name, why);
	/* Not here: whoever calls still uses it. The loop reports the hang-up. */
	client->output_at = client->output_end = 0;
	shutdown(client->fd, SHUT_RDWR);
}

static bool make_room(struct qmp_client *client, size_t len)
{
	size_t room = client->output_room ? client->output_room : 4096;
	char *output;

	if (client->output_at)
		memmove(client->output, client->output + client->output_at, pending(client));
	client->output_end -= client->output_at;
	client->output_at = 0;
	while (room < client->output_end + len)
		room *= 2;
	if (room == client->output_room)
		return true;
	output = realloc(client->output, room);
	if (!output)
		return false;
	client->output = output;
	client->output_room = room;
	return true;
}

/* Nothing more is read from one that does not read, or whose request is at work. */
static void update_events(struct qmp_client *client)
{
	bool in = !client->busy && !client->ended && pending(client) < QMP_OUTPUT_LOW &&
		  client->input_at == client->input_end;

	loop_fd_set(&client->lfd, (in ? LOOP_IN : 0u) | (pending(client) ? LOOP_OUT : 0u));
}

void qmp_client_flush(struct qmp_client *client)
{
	while (pending(client)) {
		ssize_t n = send(client->fd, client->output + client->output_at, pending(client),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) /* it has gone: the loop reports that as well */
			client->output_at = client->output_end;
		if (n < 0)
			break;
		client->output_at += (size_t)n;
	}
	if (pending(client) == 0 && client->output_room > QMP_OUTPUT_LOW) {
		free(client->output);
		client->output = NULL;
		client->output_at = client->output_end = client->output_room = 0;
	}
}

void qmp_client_send(struct qmp_client *client, const char *text)
{
	static const char end[] = "\r\n";
	size_t len = text ? strlen(text) : 0;

	if (client->closed)
		return;
	if (!text || pending(client) + len > QMP_OUTPUT_MAX) {
		drop(client, text ? "it does not read" : "no memory for an answer");
		return;
	}
	if (client->output_room - client->output_end < len + 2 && !make_room(client, len + 2)) {
		drop(client, "no memory for an answer");
		return;
	}
	memcpy(client->output + client->output_end, text, len);
	memcpy(client->output + client->output_end + len, end, 2);
	client->output_end += len + 2;
	qmp_client_flush(client);
	update_events(client);
}

void qmp_client_send_json(struct qmp_client *client, json_t *value)
{
	char *text = qmp_text(value);

	qmp_client_send(client, text);
	free(text);
	json_decref(value);
}

/* ---- input ---- */

/* Go through what has been read, as far as it may be now. May close the client: the last thing. */
static void process(struct qmp_client *client)
{
	enum qmp_found found;

	while (!client->busy && client->input_at < client->input_end &&
	       pending(client) < QMP_OUTPUT_LOW) {
		client->input_at +=
			qmp_parser_feed(&client->parser, client->input + client->input_at,
					client->input_end - client->input_at, &found);
		if (found != QMP_FOUND_NOTHING)
			qmp_handle(client, found);
	}
	if (client->ended && !client->busy && client->input_at == client->input_end &&
	    !pending(client))
		qmp_client_close(client);
	else
		update_events(client);
}

static void read_in(struct qmp_client *client)
{
	ssize_t n = recv(client->fd, client->input, sizeof(client->input), MSG_DONTWAIT);

	if (n > 0) {
		client->input_at = 0;
		client->input_end = (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		client->ended = true; /* it may still wait for answers */
	}
}

static void on_event(struct loop_fd *lfd, unsigned events)
{
	struct qmp_client *client = container_of(lfd, struct qmp_client, lfd);

	if (events & LOOP_HUP) {
		qmp_client_close(client);
		return;
	}
	if (events & LOOP_OUT)
		qmp_client_flush(client);
	if ((events & LOOP_IN) && client->input_at == client->input_end)
		read_in(client);
	process(client);
}

void qmp_client_go_on(struct qmp_client *client)
{
	client->busy = false;
	client->command = NULL;
	if (client->closed)
		release(client);
	else
		process(client);
}

void qmp_client_submit(struct qmp_client *client)
{
	struct qmp *qmp = client->qmp;

	client->busy = true;
	pthread_mutex_lock(&qmp->lock);
	list_add_tail(&qmp->requests, &client->request);
	pthread_cond_signal(&qmp->work);
	pthread_mutex_unlock(&qmp->lock);
}

int qmp_client_open(struct qmp *qmp, int fd)
{
	struct qmp_client *client = calloc(1, sizeof(*client));
	int rc = -ENOMEM;

	if (client) {
		client->qmp = qmp;
		client->fd = fd;
		client->lfd.fd = -1;
		rc = loop_fd_add(qmp->loop, &client->lfd, fd, LOOP_IN, on_event);
	}
	if (rc) {
		close(fd);
		free(client);
		return rc;
	}
	list_add_tail(&qmp->clients, &client->link);
	qmp->client_count++;
	qmp_greet(client);
	return 0;
}
