/* SPDX-License-Identifier: MIT */
/*
 * The commands that list VMs, follow their events, and speak QMP as it is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control.h"

/* ---- ls ---- */

/*
 * A VM that died (or ends just now) has left its folder. One that begins just now may be there
 * instead: it holds a lock on the folder from before its socket has the name until it listens.
 */
static void clean_up(const char *name)
{
	char *path = control_path(name), *folder = duplicate(path);
	struct client client;
	int fd;

	*strrchr(folder, '/') = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		if (client_open(&client, name, true) == CONNECT_NOBODY) {
			unlink(format("%s/" CONSOLE_SOCKET, folder));
			unlink(path);
			rmdir(folder);
		}
		client_close(&client);
	}
	if (fd >= 0)
		close(fd);
}

/* What there is to say about the VM `name`, or NULL if it is dead. */
static json_t *examine(const char *name)
{
	struct client client;
	json_t *status = NULL;
	enum connect_result result = client_open(&client, name, true);

	if (result == CONNECT_NOBODY) {
		clean_up(name);
		return NULL;
	}
	if (result == CONNECTED) {
		status = client_call(&client, "vmm-status", NULL);
		client_close(&client);
	}
	if (status)
		return status;
	status = json_pack("{s:s,s:s}", "name", name, "status", "silent");
	if (client.pid)
		json_object_set_new(status, "pid", json_integer(client.pid));
	return status;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool control_names(const char ***names, size_t *count)
{
	const char *folder = control_folder();
	DIR *dir = folder ? opendir(folder) : NULL;
	const struct dirent *entry;

	*names = NULL;
	*count = 0;
	if (!folder) {
		message("XDG_RUNTIME_DIR is not set, so VMs have no names here");
		return false;
	}
	if (!dir && errno != ENOENT) {
		message("%s: %s", folder, strerror(errno));
		return false;
	}
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		*names = with_room(*names, *count, sizeof(**names));
		(*names)[(*count)++] = duplicate(entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (*count)
		qsort(*names, *count, sizeof(**names), by_name);
	return true;
}

static void print_vm(const json_t *vm)
{
	const char *name, *status;
	json_int_t memory = -1, cpus = 0, up = 0, pid = 0;

	if (json_unpack((json_t *)vm, "{s:s,s:s,s?I,s?I,s?I,s?I}", "name", &name, "status", &status,
			"memory", &memory, "cpus", &cpus, "uptime", &up, "pid", &pid))
		return;
	printf("%-20s %-14s ", name, status);
	if (memory < 0) /* it has not said */
		printf("%8s %4s %10s", "-", "-", "-");
	else
		printf("%7lldM %4lld %10s", (long long)memory >> 20, (long long)cpus,
		       format("%lld:%02lld:%02lld", (long long)up / 3600, (long long)up / 60 % 60,
			      (long long)up % 60));
	printf(" %8s\n", pid ? format("%lld", (long long)pid) : "-");
}

int verb_ls(const struct control_args *args)
{
	const char **names;
	size_t count, i;
	json_t *list, *vm;

	if (!control_names(&names, &count))
		return STATUS_ERROR;
	list = json_array();
	for (i = 0; i < count; i++)
		if ((vm = examine(names[i])))
			json_array_append_new(list, vm);
	if (args->json)
		return print_json(list);
	printf("%-20s %-14s %8s %4s %10s %8s\n", "NAME", "STATUS", "MEMORY", "CPUS", "UPTIME",
	       "PID");
	json_array_foreach(list, i, vm) print_vm(vm);
	json_decref(list);
	return finish_output();
}

/* ---- events ---- */

static void print_event(const json_t *event, bool json)
{
	json_t *data = json_object_get(event, "data");
	json_t *stamp = json_object_get(event, "timestamp");
	time_t when = (time_t)json_integer_value(json_object_get(stamp, "seconds"));
	char text[32] = "", *dump;
	struct tm tm;

	if (json) {
		json_dumpf(event, stdout, JSON_COMPACT);
	} else {
		dump = data ? json_dumps(data, 0) : NULL;
		if (localtime_r(&when, &tm))
			strftime(text, sizeof(text), "%H:%M:%S", &tm);
		printf("%s %s%s%s", text, json_string_value(json_object_get(event, "event")),
		       dump ? " " : "", dump ? dump : "");
		free(dump);
	}
	printf("\n");
}

int verb_events(const struct control_args *args)
{
	struct client client;
	json_t *event;
	int status = STATUS_OK;
	bool gone;

	if (client_open(&client, args->words[0], false) != CONNECTED)
		return STATUS_ERROR;
	client.patience_ms = -1;
	while (status == STATUS_OK && (event = client_next(&client, &gone))) {
		if (json_object_get(event, "event")) {
			print_event(event, args->json);
			status = finish_output();
		}
		json_decref(event);
	}
	if (status == STATUS_OK)
		status = client_finish(&client);
	client_close(&client);
	return status;
}

/* ---- qmp ---- */

/* Everything to the end of the input; with it what the VM says is still waited for. */
static bool pass_input(struct client *client)
{
	char data[65536];
	ssize_t n = read(STDIN_FILENO, data, sizeof(data)), sent = 0;

	if (n <= 0) {
		shutdown(client->fd, SHUT_WR);
		return false;
	}
	while (sent < n) {
		ssize_t m = send(client->fd, data + sent, (size_t)(n - sent), MSG_NOSIGNAL);

		if (m <= 0)
			return false;
		sent += m;
	}
	return true;
}

/* Between standard input and output, until the VM closes the connection. */
static int relay(struct client *client)
{
	struct pollfd fds[] = {{.fd = client->fd, .events = POLLIN},
			       {.fd = STDIN_FILENO, .events = POLLIN}};
	char data[65536];
	ssize_t n;

	for (;;) {
		if (poll(fds, CLI_COUNT(fds), -1) < 0 && errno != EINTR)
			return STATUS_ERROR;
		if (fds[1].revents && !pass_input(client))
			fds[1].fd = -1;
		if (!fds[0].revents)
			continue;
		n = recv(client->fd, data, sizeof(data), 0);
		if (n <= 0)
			return STATUS_OK;
		if (fwrite(data, 1, (size_t)n, stdout) != (size_t)n || finish_output() != STATUS_OK)
			return STATUS_ERROR;
	}
}

int verb_qmp(const struct control_args *args)
{
	struct client client;
	json_t *arguments = NULL, *answer;
	json_error_t error;
	int status;

	if (args->count == 3 && !(arguments = json_loads(args->words[2], 0, &error)))
		return usage_error("qmp: the arguments are no JSON object: %s", error.text);
	if (args->count > 1) {
		answer = call_once(args->words[0], args->words[1], arguments, &status);
		return answer ? print_json(answer) : status;
	}
	if (client_open(&client, args->words[0], false) != CONNECTED)
		return STATUS_ERROR;
	status = relay(&client);
	client_close(&client);
	return status;
}
