/* SPDX-License-Identifier: MIT */
/*
 * One VM of `vmm validate`, in a process of its own: a crash, a leak or a hang of the VMM is then
 * the failure of one check. The guest's console is a file; its second serial port is the control
 * channel, lines both ways:
 *
 *     hello              the guest's init is up; answer "go", or "resume CHECK" after a reboot
 *     begin CHECK SECONDS
 *     pass|fail|skip CHECK TEXT
 *     ask WORD...        answer "ok..." or "error..."
 *     done               all checks have run; the guest powers off
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "validate.h"

/* Seconds that a guest may take to boot, and to power off. */
#define BOOT_SECONDS 60
#define OFF_SECONDS  30
/* Amounts of data shrink on a slow host, so time need not grow as much. */
#define MAX_PATIENCE 4

static struct timespec now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t;
}

static long long ms_between(struct timespec from, struct timespec to)
{
	return (long long)(to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
}

/* A slow host gets more time: see --slow. */
static unsigned patience(const struct validate_vm *vm)
{
	return vm->run->slow < MAX_PATIENCE ? vm->run->slow : MAX_PATIENCE;
}

static void set_deadline(struct validate_vm *vm, unsigned seconds)
{
	vm->deadline = now();
	vm->deadline.tv_sec += (time_t)seconds * patience(vm);
}

/* To the parent process. */
static void CLI_PRINTF(2, 3) tell(struct validate_vm *vm, const char *fmt, ...)
{
	char line[VALIDATE_LINE];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	if (len > (int)sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	line[len] = '\n';
	if (write(vm->out, line, (size_t)len + 1) < 0)
		_exit(STATUS_ERROR); /* nobody is there any more */
}

static _Noreturn void CLI_PRINTF(2, 3) give_up(struct validate_vm *vm, const char *fmt, ...)
{
	char text[VMM_ERROR_MAX + 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	tell(vm, "end %s", text);
	_exit(STATUS_ERROR);
}

/* ---- the machine ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void write_log(void *opaque, enum vmm_log_level level, const char *source, const char *line)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	FILE *log = opaque;

	pthread_mutex_lock(&log_lock);
	fprintf(log, "%s: %s: %s\n", names[level], source ? source : "vmm", line);
	fflush(log);
	pthread_mutex_unlock(&log_lock);
}

char *validate_expand(const struct validate_run *run, const char *text)
{
	char *out = duplicate("");

	for (const char *at = strchr(text, '@'); at; at = strchr(text, '@')) {
		out = format("%s%.*s", out, (int)(at - text), text);
		text = at + 1;
		if (*text == '/')
			out = format("%s%s", out, run->folder);
		else if (strncmp(text, "cpus", 4) == 0)
			out = format("%s%u", out, run->driver->cpus), text += 4;
		else if (strncmp(text, "user", 4) == 0)
			out = format("%s%u:%u", out, geteuid(), getegid()), text += 4;
		else
			out = format("%s@", out);
	}
	return format("%s%s", out, text);
}

static bool has_option(const char *cls, const char *name)
{
	struct vmm_option_info info;

	for (unsigned i = 0; vmm_device_option(cls, i, &info); i++) {
		if (strcmp(info.name, name) == 0)
			return true;
	}
	return false;
}

/* "CLASS [OPTIONS]" */
static int try_device(struct validate_vm *vm, const char *value, struct vmm_error *err)
{
	char *text = validate_expand(vm->run, value);
	char *options = text + strcspn(text, " \t");

	if (*options)
		*options++ = '\0';
	if (has_option(text, "packed"))
		options = format("%s%spacked=%s", options, *options ? "," : "",
				 vm->run->packed ? "on" : "off");
	return vmm_add_device(vm->vm, text, *options ? options : NULL, err);
}

static void add_device(struct validate_vm *vm, const char *value)
{
	struct vmm_error err;

	if (try_device(vm, value, &err) != 0)
		give_up(vm, "%s", err.message);
}

/* For what not every host can do; the guest asks for what was left out, and skips its checks. */
static void add_optional_device(struct validate_vm *vm, const char *value)
{
	struct vmm_error err;

	if (try_device(vm, value, &err) == 0)
		return;
	fprintf(stderr, "left out: %s\n", err.message);
	vm->left_out = duplicate(err.message);
}

/* "NAME SIZE" */
static void make_file(struct validate_vm *vm, const char *value)
{
	char *name = duplicate(value);
	char *size = name + strcspn(name, " \t");
	char *argv[] = {"truncate", name, size, NULL};
	const char *answer;

	if (*size)
		*size++ = '\0';
	argv[2] = size + strspn(size, " \t");
	answer = validate_ask(vm, 3, argv);
	if (strncmp(answer, "ok", 2) != 0)
		give_up(vm, "cannot make a file: %s", answer);
}

/* "NAME LABEL": a CD-ROM whose one file has the label in it as well. */
static void make_iso(struct validate_vm *vm, const char *value)
{
	char *name = duplicate(value);
	char *label = name + strcspn(name, " \t");

	if (*label)
		*label++ = '\0';
	label += strspn(label, " \t");
	if (validate_iso(format("%s/%s", vm->run->folder, name), label, format("%s\n", label)))
		give_up(vm, "cannot make %s: %s", name, strerror(errno));
}

static char *with_number(const char *text, unsigned n)
{
	char *out = duplicate(""), *at;

	for (; (at = strstr(text, "@n")); text = at + 2)
		out = format("%s%.*s%u", out, (int)(at - text), text, n);
	return format("%s%s", out, text);
}

/* "N …": N of them, with "@n" counted from 0. */
static void repeat(struct validate_vm *vm, const char *value,
		   void (*fn)(struct validate_vm *vm, const char *value))
{
	char *rest;
	unsigned count = (unsigned)strtoul(value, &rest, 10);

	rest += strspn(rest, " \t");
	for (unsigned n = 0; n < count; n++)
		fn(vm, with_number(rest, n));
}

/* One line of the script's head. */
static void prepare(struct validate_vm *vm, const struct validate_line *line)
{
	if (strcmp(line->key, "file") == 0)
		make_file(vm, line->value);
	else if (strcmp(line->key, "files") == 0)
		repeat(vm, line->value, make_file);
	else if (strcmp(line->key, "iso") == 0)
		make_iso(vm, line->value);
	else if (strcmp(line->key, "device") == 0)
		add_device(vm, line->value);
	else if (strcmp(line->key, "devices") == 0)
		repeat(vm, line->value, add_device);
	else if (strcmp(line->key, "optional") == 0)
		add_optional_device(vm, line->value);
	else if (strcmp(line->key, "address") == 0)
		validate_interface(vm, line->value);
}

static void build(struct validate_vm *vm)
{
	const struct validate_run *run = vm->run;
	const struct validate_driver *driver = run->driver;
	const char *initrds[] = {run->initramfs, NULL};
	struct vmm_config config = VMM_CONFIG_INIT;
	struct vmm_error err;
	FILE *log = fopen(format("%s/log", run->folder), "we");

	for (size_t i = 0; i < driver->head_count; i++) {
		/* While there is but one thread: threads that are there stay behind. */
		if (strcmp(driver->head[i].key, "namespace") == 0)
			validate_namespace(vm);
		else if (strcmp(driver->head[i].key, "program") == 0)
			validate_program_start(vm, driver->head[i].value);
	}
	if (!log)
		give_up(vm, "cannot create %s/log: %s", run->folder, strerror(errno));
	config.name = driver->name;
	config.kernel = run->kernel->path;
	config.initrds = initrds;
	config.cmdline = format("console=ttyS0 panic=-1 oops=panic quiet loglevel=5 "
				"validate.slow=%u%s%s",
				run->slow, run->after ? " validate.after=" : "",
				run->after ? run->after : "");
	config.memory = driver->memory;
	config.cpus = driver->cpus;
	config.log = write_log;
	config.log_opaque = log;
	config.log_level = run->verbose ? VMM_LOG_DEBUG : VMM_LOG_INFO;
	if (vmm_create(&vm->vm, &config, &err) != 0)
		give_up(vm, "%s", err.message);
	for (size_t i = 0; i < driver->head_count; i++)
		prepare(vm, &driver->head[i]);
	add_device(vm, "isa-serial index=1,chardev=file:@/console");
	add_device(vm, "isa-serial index=2,chardev=unix:@/control");
}

static void connect_control(struct validate_vm *vm)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char *path = format("%s/control", vm->run->folder);

	if (strlen(path) >= sizeof(address.sun_path))
		give_up(vm, "the path %s is too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	vm->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(vm->control, (struct sockaddr *)&address, sizeof(address)) != 0)
		give_up(vm, "cannot connect to %s: %s", path, strerror(errno));
}

/* ---- the VM's events ---- */

/* True: the VM has stopped. */
static bool take_events(struct validate_vm *vm)
{
	struct vmm_event event;

	while (vmm_next_event(vm->vm, &event)) {
		if (event.kind == VMM_EVENT_STOPPED)
			return true;
		if (event.kind != VMM_EVENT_RESET)
			continue;
		/* The guest's init would notice only what comes in the middle of a check. */
		if (!vm->reboot_expected)
			give_up(vm, "the guest rebooted all by itself");
		vm->reboot_expected = false;
	}
	return false;
}

/* ---- the control channel ---- */

static void answer(struct validate_vm *vm, const char *text)
{
	char *line = format("%s\n", text);
	size_t len = strlen(line);

	while (len > 0) {
		ssize_t n = send(vm->control, line, len, MSG_NOSIGNAL);

		if (n < 0)
			give_up(vm, "the control channel is gone: %s", strerror(errno));
		line += n;
		len -= (size_t)n;
	}
}

/* With a check under way it comes after a reboot that the check has asked for: see take_events. */
static void hello(struct validate_vm *vm)
{
	if (!vm->check[0]) {
		set_deadline(vm, BOOT_SECONDS);
		answer(vm, "go");
	} else {
		answer(vm, format("resume %s", vm->check));
	}
}

static void begin(struct validate_vm *vm, const char *check, const char *seconds)
{
	snprintf(vm->check, sizeof(vm->check), "%s", check);
	vm->started = now();
	set_deadline(vm, (unsigned)strtoul(seconds, NULL, 10));
	tell(vm, "begin %s", check);
}

/* rest: the line behind the first word: "CHECK TEXT". */
static void result(struct validate_vm *vm, const char *outcome, const char *rest)
{
	const char *text = rest + strcspn(rest, " ");

	tell(vm, "%s %.*s %lld%s", outcome, (int)(text - rest), rest,
	     ms_between(vm->started, now()), *text ? text : " ");
	vm->check[0] = '\0';
	set_deadline(vm, BOOT_SECONDS);
}

/* True once the guest is done. */
static bool handle_line(struct validate_vm *vm, char *line)
{
	char *argv[VALIDATE_WORDS + 1] = {NULL}, *copy = duplicate(line), *rest;
	int argc = 0;

	for (char *w = strtok_r(copy, " ", &rest); w && argc < VALIDATE_WORDS;
	     w = strtok_r(NULL, " ", &rest))
		argv[argc++] = w;
	if (argc == 0)
		return false;
	if (strcmp(argv[0], "hello") == 0)
		hello(vm);
	else if (strcmp(argv[0], "begin") == 0 && argc == 3)
		begin(vm, argv[1], argv[2]);
	else if (strcmp(argv[0], "ask") == 0)
		answer(vm, validate_ask(vm, argc - 1, argv + 1));
	else if (argc >= 2 && (strcmp(argv[0], "pass") == 0 || strcmp(argv[0], "fail") == 0 ||
			       strcmp(argv[0], "skip") == 0))
		result(vm, argv[0], line + strlen(argv[0]) + 1);
	return strcmp(argv[0], "done") == 0;
}

/* ---- until the end ---- */

static const char *why_stopped(struct validate_vm *vm)
{
	struct vmm_result result;

	vmm_wait(vm->vm, &result);
	switch (result.kind) {
	case VMM_EXIT_PANIC:
		return "the guest's kernel panicked";
	case VMM_EXIT_ERROR:
		return format("%s", result.error.message);
	case VMM_EXIT_POWEROFF:
		return "the guest powered off too early";
	default:
		return format("the VM stopped (%d)", result.kind);
	}
}

/* Wait for the control channel, the VM's end or the deadline. True: there are bytes to read. */
static bool wait_for_bytes(struct validate_vm *vm)
{
	struct pollfd fds[] = {
		{.fd = vm->control, .events = POLLIN},
		{.fd = vmm_event_fd(vm->vm), .events = POLLIN},
	};
	long long left = ms_between(now(), vm->deadline);

	if (left < 0)
		left = 0;
	if (poll(fds, CLI_COUNT(fds), (int)left) < 0 && errno != EINTR)
		give_up(vm, "poll: %s", strerror(errno));
	if (fds[0].revents & POLLIN)
		return true;
	if (fds[1].revents && take_events(vm))
		give_up(vm, "%s", why_stopped(vm));
	if (ms_between(now(), vm->deadline) <= 0)
		give_up(vm, "%s took too long", vm->check[0] ? "it" : "the guest's start or end");
	return false;
}

static void serve(struct validate_vm *vm)
{
	char buf[VALIDATE_LINE];
	size_t used = 0;

	for (;;) {
		ssize_t n;
		char *end;

		if (!wait_for_bytes(vm))
			continue;
		n = read(vm->control, buf + used, sizeof(buf) - 1 - used);
		if (n <= 0)
			give_up(vm, "the control channel is gone");
		used += (size_t)n;
		buf[used] = '\0';
		while ((end = strchr(buf, '\n'))) {
			*end = '\0';
			end[-(end > buf && end[-1] == '\r')] = '\0';
			if (handle_line(vm, buf))
				return;
			used -= (size_t)(end + 1 - buf);
			memmove(buf, end + 1, used + 1);
		}
		if (used == sizeof(buf) - 1)
			give_up(vm, "the guest sent a line that is too long");
	}
}

static void wait_for_off(struct validate_vm *vm)
{
	struct pollfd p = {.fd = vmm_event_fd(vm->vm), .events = POLLIN};
	struct vmm_result result;

	do {
		if (poll(&p, 1, (int)(OFF_SECONDS * 1000 * patience(vm))) <= 0)
			give_up(vm, "the guest did not power off");
	} while (!take_events(vm));
	vmm_wait(vm->vm, &result);
	if (result.kind != VMM_EXIT_POWEROFF)
		give_up(vm, "wanted a power-off: %s", why_stopped(vm));
}

_Noreturn void validate_vm(const struct validate_run *run, int out)
{
	struct validate_vm vm = {.run = run, .out = out, .control = -1};
	struct vmm_error err;

	/* Whatever becomes of the parent: no VM stays behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	set_deadline(&vm, BOOT_SECONDS);
	build(&vm);
	connect_control(&vm);
	if (vmm_start(vm.vm, &err) != 0)
		give_up(&vm, "%s", err.message);
	serve(&vm);
	wait_for_off(&vm);
	vmm_destroy(vm.vm);
	_exit(STATUS_OK);
}
