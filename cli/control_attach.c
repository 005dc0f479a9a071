/* SPDX-License-Identifier: MIT */
/*
 * `vmm attach`: the console of a running VM, from another terminal. Unlike in `vmm run`, Ctrl-a x
 * only ends this process: the VM goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"

#define ESCAPE 0x01 /* Ctrl-a */
#define ATTACH "attach:"
#define ROOM   65536
/* What fits into whatever poll calls writable. */
#define CAREFUL_CHUNK 512
#define RESIZE_ARGS   "{s:s,s:s,s:{s:i,s:i}}"

struct attach {
	const char *name;  /* of the VM */
	const char *label; /* of the console's device */
	int fd, signal_fd;
	bool terminal; /* input is one, and raw */
	bool escaped;  /* the last key was Ctrl-a */
	bool detached, ended;
	int status;
	size_t len; /* input that the VM has yet to take */
	char input[ROOM];
	int out;
	size_t out_chunk; /* how much may be written at once */
	size_t out_start, out_len;
	char output[ROOM];
};

const char *console_in(const json_t *chardevs, const char *id, const char **label)
{
	const json_t *chardev;
	size_t i;

	json_array_foreach(chardevs, i, chardev)
	{
		const char *stream = json_string_value(json_object_get(chardev, "filename"));
		const char *name = json_string_value(json_object_get(chardev, "label"));

		if (!stream || !name || strncmp(stream, ATTACH, strlen(ATTACH)) != 0 ||
		    (id && strcmp(id, name) != 0))
			continue;
		if (label)
			*label = name;
		return stream + strlen(ATTACH);
	}
	return NULL;
}

/* ---- connecting ---- */

static int connect_console(struct attach *a, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) < sizeof(address.sun_path)) {
		memcpy(address.sun_path, path, strlen(path));
		a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	} else {
		errno = ENAMETOOLONG;
	}
	if (a->fd >= 0 && connect(a->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return STATUS_OK;
	message("%s: cannot connect to its console, %s: %s", a->name, path, strerror(errno));
	return STATUS_ERROR;
}

static int open_console(struct attach *a, const char *id)
{
	int status;
	json_t *chardevs = call_once(a->name, "query-chardev", NULL, &status);
	const char *path;

	if (!chardevs)
		return status;
	path = console_in(chardevs, id, &a->label);
	if (path) {
		a->label = duplicate(a->label);
		status = connect_console(a, path);
	} else if (id) {
		message("%s: its device %s is no console that can be attached to", a->name, id);
		status = STATUS_ERROR;
	} else {
		message("%s: it has no console that can be attached to: start it with --detach or "
			"--serial attach",
			a->name);
		status = STATUS_ERROR;
	}
	json_decref(chardevs);
	return status;
}

/* ---- what is typed ---- */

static void put_input(struct attach *a, char byte)
{
	/* The guest does not listen. Who types must still be able to leave. */
	if (a->len < sizeof(a->input))
		a->input[a->len++] = byte;
}

static void show_help(const struct attach *a)
{
	static const char text[] = "\r\n"
				   "Ctrl-a h  this help\r\n"
				   "Ctrl-a x  detach: the VM goes on\r\n"
				   "Ctrl-a a  send Ctrl-a\r\n";

	(void)!write(a->out, text, sizeof(text) - 1);
}

static void take_key(struct attach *a, char key)
{
	if (!a->escaped) {
		a->escaped = key == ESCAPE;
		if (!a->escaped)
			put_input(a, key);
		return;
	}
	a->escaped = false;
	if (key == 'x')
		a->detached = true;
	else if (key == 'h' || key == '?')
		show_help(a);
	else if (key == 'a' || key == ESCAPE)
		put_input(a, ESCAPE);
}

/* As far as the VM takes it now. */
static void send_input(struct attach *a)
{
	ssize_t n = send(a->fd, a->input, a->len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0) {
		a->len -= (size_t)n;
		memmove(a->input, a->input + n, a->len);
	}
	if (a->ended && !a->len)
		shutdown(a->fd, SHUT_WR);
}

static void read_input(struct attach *a)
{
	char data[4096];
	size_t most = a->terminal ? sizeof(data) : sizeof(a->input) - a->len;
	ssize_t n = read(STDIN_FILENO, data, most < sizeof(data) ? most : sizeof(data));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		a->ended = true;
		a->detached = a->terminal; /* hung up */
	}
	for (ssize_t i = 0; i < n && !a->detached; i++) {
		if (a->terminal)
			take_key(a, data[i]);
		else
			put_input(a, data[i]);
	}
	send_input(a);
}

/* ---- what the guest prints ---- */

/*
 * Whoever reads our output may have stopped, and Ctrl-a x and signals are still to be heard: no
 * write may wait. O_NONBLOCK would be the shell's, too, unless there is a description of our own.
 */
static void open_output(struct attach *a)
{
	struct stat st;

	a->out = -1;
	if (fstat(STDOUT_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(STDOUT_FILENO)))
		a->out = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	a->out_chunk = a->out >= 0 ? sizeof(a->output) : CAREFUL_CHUNK;
	if (a->out < 0)
		a->out = STDOUT_FILENO;
}

/* False: the console is gone. */
static bool read_output(struct attach *a)
{
	ssize_t n = recv(a->fd, a->output, sizeof(a->output), 0);

	a->out_start = 0;
	a->out_len = n > 0 ? (size_t)n : 0;
	return n > 0 || (n < 0 && errno == EINTR);
}

static void write_output(struct attach *a)
{
	size_t len = a->out_len < a->out_chunk ? a->out_len : a->out_chunk;
	ssize_t n = write(a->out, a->output + a->out_start, len);

	if (n >= 0) {
		a->out_start += (size_t)n;
		a->out_len -= (size_t)n;
	} else if (errno != EINTR && errno != EAGAIN) {
		message("cannot write: %s", strerror(errno));
		a->status = STATUS_ERROR;
		a->detached = true;
	}
}

/*
 * The console is gone: with the VM, or because somebody else has it now. A VM that ends in order
 * removes its socket before it stops listening there.
 */
static void explain_end(struct attach *a)
{
	struct client client;
	const char *socket = control_path(a->name);
	enum connect_result result = CONNECT_DROPPED;

	/* A process that ends just now takes a connection and drops it: the next one tells. */
	for (unsigned i = 0; i < 10 && result == CONNECT_DROPPED; i++)
		result = client_open(&client, a->name, true);
	if (result == CONNECTED) {
		client_close(&client);
		message("%s: detached: another vmm attach has the console now, or nothing was read "
			"here for 5 seconds",
			a->name);
		a->status = STATUS_ERROR;
	} else if (result == CONNECT_NOBODY && socket && access(socket, F_OK) == 0) {
		message("%s: the VM was killed or has crashed", a->name);
		a->status = STATUS_ERROR;
	} else if (result == CONNECT_FAILED) {
		message("%s: detached, and the VM does not answer", a->name);
		a->status = STATUS_ERROR;
	} else if (a->terminal) {
		message("%s: the VM has ended", a->name);
	}
}

/* ---- the terminal ---- */

/* Consoles have sizes, serial ports have none: then the VM says so, and nobody minds. */
static void tell_size(const struct attach *a)
{
	struct winsize size;
	struct client client;

	if (!a->terminal || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) || !size.ws_col ||
	    client_open(&client, a->name, true) != CONNECTED)
		return;
	json_decref(
		client_call(&client, "vmm-action",
			    json_pack(RESIZE_ARGS, "id", a->label, "action", "resize", "options",
				      "columns", (int)size.ws_col, "rows", (int)size.ws_row)));
	client_close(&client);
}

static void handle_signals(struct attach *a)
{
	struct signalfd_siginfo info;

	while (read(a->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTSTP:
			terminal_suspend();
			break;
		case SIGCONT:
			terminal_continue();
			break;
		case SIGWINCH:
			tell_size(a);
			break;
		default:
			a->status = STATUS_SIGNAL + (int)info.ssi_signo;
			a->detached = true;
			break;
		}
	}
}

static int open_signals(struct attach *a)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < CLI_COUNT(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Whoever reads our output may go first; the terminal is still to be put back. */
	signal(SIGPIPE, SIG_IGN);
	a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a->signal_fd >= 0)
		return STATUS_OK;
	message("cannot receive signals: %s", strerror(errno));
	return STATUS_ERROR;
}

static void relay(struct attach *a)
{
	struct pollfd fds[] = {
		{.fd = -1},
		{.fd = -1},
		{.fd = a->signal_fd, .events = POLLIN},
		{.fd = -1, .events = POLLOUT},
	};

	while (!a->detached) {
		/* More is read once that is written. */
		fds[0].fd = a->out_len ? -1 : a->fd;
		fds[0].events = (short)(POLLIN | (a->len ? POLLOUT : 0));
		fds[3].fd = a->out_len ? a->out : -1;
		fds[1].fd = a->ended ? -1 : STDIN_FILENO;
		/* A program that writes here waits for the guest; a person's keys are read. */
		fds[1].events = (short)(a->terminal || a->len < sizeof(a->input) ? POLLIN : 0);
		if (poll(fds, CLI_COUNT(fds), -1) < 0)
			continue;
		if (fds[2].revents)
			handle_signals(a);
		if (fds[1].revents && fds[1].events)
			read_input(a);
		if (fds[0].revents & POLLOUT)
			send_input(a);
		if (fds[3].revents)
			write_output(a);
		if ((fds[0].revents & ~POLLOUT) && !read_output(a))
			break;
	}
}

int verb_attach(const struct control_args *args)
{
	static struct attach a = {.fd = -1, .signal_fd = -1};

	a.name = args->words[0];
	a.status = open_console(&a, args->count > 1 ? args->words[1] : NULL);
	if (a.status == STATUS_OK)
		a.status = open_signals(&a);
	if (a.status != STATUS_OK)
		return a.status;
	terminal_guard(true);
	if (isatty(STDIN_FILENO))
		message("attached to %s: Ctrl-a x detaches, and the VM goes on", a.name);
	a.terminal = terminal_make_raw();
	open_output(&a);
	tell_size(&a);
	relay(&a);
	terminal_restore();
	if (a.terminal)
		(void)!write(STDERR_FILENO, "\n", 1);
	if (!a.detached)
		explain_end(&a);
	else if (a.terminal && a.status == STATUS_OK)
		message("detached from %s, which goes on", a.name);
	return a.status;
}
