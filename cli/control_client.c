/* SPDX-License-Identifier: MIT */
/*
 * A client of a VM's control socket.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"

#define GREETING_MS 10000 /* a VM greets at once, and the command may be one that ends it */
#define PATIENCE_MS 60000
#define MESSAGE_MAX (64u << 20) /* longer ones are not the VM's */

static void complain(const struct client *client, const char *fmt, ...) CLI_PRINTF(2, 3);
static void complain(const struct client *client, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (client->quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	message("%s: %s", client->name, text);
}

/* ---- messages ---- */

/* More bytes. False: none will come, or not in time. */
static bool read_more(struct client *client, bool *gone)
{
	struct pollfd p = {.fd = client->fd, .events = POLLIN};
	ssize_t n;
	int r;

	if (client->len == client->room) {
		char *text = client->room < MESSAGE_MAX
				     ? realloc(client->text, client->room + 65536)
				     : NULL;

		if (!text)
			return false;
		client->text = text;
		client->room += 65536;
	}
	do {
		r = poll(&p, 1, client->patience_ms);
	} while (r < 0 && errno == EINTR);
	if (r <= 0)
		return false;
	n = recv(client->fd, client->text + client->len, client->room - client->len, 0);
	*gone = n <= 0;
	client->len += n > 0 ? (size_t)n : 0;
	return n > 0;
}

json_t *client_next(struct client *client, bool *gone)
{
	size_t looked = 0;
	const char *event;
	json_t *value;
	char *end;

	*gone = false;
	while (!(end = client->len ? memchr(client->text + looked, '\n', client->len - looked)
				   : NULL)) {
		looked = client->len;
		if (!read_more(client, gone))
			return NULL;
	}
	value = json_loadb(client->text, (size_t)(end - client->text), JSON_DECODE_ANY, NULL);
	client->len -= (size_t)(end + 1 - client->text);
	memmove(client->text, end + 1, client->len);
	event = json_string_value(json_object_get(value, "event"));
	client->shut_down = client->shut_down || (event && strcmp(event, "SHUTDOWN") == 0);
	return value;
}

static bool send_command(struct client *client, const char *command, json_t *args)
{
	json_t *request = json_pack("{s:s,s:o*}", "execute", command, "arguments", args);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0, sent = 0;

	if (text)
		text[len++] = '\n'; /* in place of the end */
	while (sent < len) {
		ssize_t n = send(client->fd, text + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	free(text);
	json_decref(request);
	return text && sent == len;
}

/* What a command was answered; events are passed over. */
static json_t *wait_answer(struct client *client, bool *gone)
{
	json_t *answer;

	while ((answer = client_next(client, gone))) {
		if (!json_object_get(answer, "event"))
			return answer;
		json_decref(answer);
	}
	return NULL;
}

json_t *client_call(struct client *client, const char *command, json_t *args)
{
	bool quits = strcmp(command, "quit") == 0, gone = false;
	json_t *answer, *result;
	const char *desc, *cls;

	answer = send_command(client, command, args) ? wait_answer(client, &gone) : NULL;
	if (!answer && quits && gone)
		return json_object();
	if (!answer) {
		complain(client, gone ? "the VM has ended" : "the VM does not answer");
		return NULL;
	}
	result = json_incref(json_object_get(answer, "return"));
	desc = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
	cls = json_string_value(json_object_get(json_object_get(answer, "error"), "class"));
	if (!result && desc && cls && strcmp(cls, "DeviceNotFound") == 0)
		complain(client, "%s ('vmm device ls %s' lists them)", desc, client->name);
	else if (!result && desc && cls && strcmp(cls, "CommandNotFound") == 0)
		complain(client, "%s ('vmm qmp %s query-commands' lists them)", desc, client->name);
	else if (!result)
		complain(client, "%s", desc ? desc : "the VM's answer makes no sense");
	json_decref(answer);
	return result;
}

int client_finish(struct client *client)
{
	bool gone = false;
	json_t *message_left;

	client->patience_ms = 0;
	while ((message_left = client_next(client, &gone)))
		json_decref(message_left);
	if (client->shut_down)
		return STATUS_OK;
	if (gone)
		message("%s: the connection is lost and there was no SHUTDOWN: the VM was killed or "
			"has crashed, or its events were not read here",
			client->name);
	else
		message("%s: the VM does not answer", client->name);
	return STATUS_ERROR;
}

/* ---- connecting ---- */

static enum connect_result fail_connect(const struct client *client, const char *path)
{
	if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) {
		if (strchr(client->name, '/'))
			complain(client, "no VM listens there");
		else
			complain(client, "there is no VM of that name ('vmm ls' lists them)");
		return CONNECT_NOBODY;
	}
	complain(client, "cannot connect to %s: %s", path, strerror(errno));
	return CONNECT_FAILED;
}

static enum connect_result connect_socket(struct client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = control_path(client->name);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (!path) {
		complain(client, "XDG_RUNTIME_DIR is not set, so VMs have no names here; give the "
				 "path of its control socket");
		return CONNECT_FAILED;
	}
	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return fail_connect(client, path);
	}
	memcpy(address.sun_path, path, strlen(path));
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 ||
	    connect(client->fd, (const struct sockaddr *)&address, sizeof(address)))
		return fail_connect(client, path);
	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		client->pid = peer.pid;
	return CONNECTED;
}

static void complain_of_silence(const struct client *client, bool gone)
{
	if (gone)
		complain(client, "the VM has ended");
	else if (client->pid)
		complain(client,
			 "the VM does not answer: it has too many clients, or its process, %d, "
			 "is held up ('kill -KILL %d' ends it)",
			 (int)client->pid, (int)client->pid);
	else
		complain(client, "the VM does not answer");
}

enum connect_result client_open(struct client *client, const char *name, bool quiet)
{
	enum connect_result result;
	json_t *message;
	bool gone;

	*client = (struct client){.name = name, .fd = -1, .quiet = quiet};
	client->patience_ms = quiet ? 2000 : GREETING_MS;
	result = connect_socket(client);
	if (result == CONNECTED) {
		message = client_next(client, &gone);
		if (!json_object_get(message, "QMP")) {
			complain_of_silence(client, gone);
			result = gone ? CONNECT_DROPPED : CONNECT_FAILED;
		}
		json_decref(message);
		client->patience_ms = quiet ? 2000 : PATIENCE_MS;
	}
	if (result == CONNECTED) {
		message = client_call(client, "qmp_capabilities", NULL);
		if (!message)
			result = CONNECT_FAILED;
		json_decref(message);
	}
	if (result != CONNECTED)
		client_close(client);
	return result;
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	free(client->text);
	client->text = NULL;
}
