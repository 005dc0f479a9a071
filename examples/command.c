/* SPDX-License-Identifier: MIT */
/*
 * Run a command in a guest, print what it prints, and end with its status.
 *
 *   command KERNEL INITRD COMMAND
 *
 * It types into a shell on the serial port, so the guest must start one there by itself. With a
 * Linux kernel: one that has its 8250 console and initramfs built in, and an initramfs with /bin/sh
 * (Debian's has), which the command line below makes the first process. The shell has only what is
 * in that initramfs. INITRD may be "" for guests that need none.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmm.h>

#define MARK "vmm-command-status-"

struct session {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t len;
	char text[1 << 20]; /* all that was printed; what has no room is left out */
};
static struct session session = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, ""};

/* On the VM's event loop: keep it, and wake whoever waits for it. */
static size_t keep(void *opaque, const void *data, size_t len)
{
	struct session *s = opaque;
	size_t room, taken;

	pthread_mutex_lock(&s->lock);
	room = sizeof(s->text) - 1 - s->len;
	taken = len < room ? len : room;
	memcpy(s->text + s->len, data, taken);
	s->len += taken;
	s->text[s->len] = '\0';
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return len;
}

static const struct vmm_chardev_ops serial_ops = {sizeof(serial_ops), keep, NULL};

/* The VM may also end before it has said what is wanted. */
static void *watch(void *vm)
{
	struct vmm_result result;

	vmm_wait(vm, &result);
	pthread_mutex_lock(&session.lock);
	pthread_cond_signal(&session.changed);
	pthread_mutex_unlock(&session.lock);
	return NULL;
}

/* Where `what`, followed by a character of `next` (any, if NULL), stands; NULL: the VM has ended.
 */
static char *expect(struct vmm *vm, char *from, const char *what, const char *next)
{
	char *found = NULL;

	pthread_mutex_lock(&session.lock);
	for (;;) {
		for (found = strstr(from, what); found; found = strstr(found + 1, what))
			if (!next || (found[strlen(what)] && strchr(next, found[strlen(what)])))
				break;
		if (found || vmm_get_state(vm) == VMM_STATE_STOPPED)
			break;
		pthread_cond_wait(&session.changed, &session.lock);
	}
	pthread_mutex_unlock(&session.lock);
	return found;
}

/* Returns the command's status, or -1. */
static int converse(struct vmm *vm, struct vmm_chardev *serial, const char *command)
{
	static const char ask[] = "\necho " MARK "$?.\n";
	char *prompt = expect(vm, session.text, "# ", NULL), *start, *mark, *end;

	if (!prompt)
		return -1;
	start = session.text + session.len;
	vmm_chardev_input(serial, command, strlen(command));
	vmm_chardev_input(serial, ask, strlen(ask));
	/* The terminal echoes what is typed; there no digit follows. */
	mark = expect(vm, start, MARK, "0123456789");
	if (!mark || !(end = expect(vm, mark, ".", NULL)))
		return -1;
	*mark = '\0';
	fputs(start, stdout);
	return (int)strtol(mark + strlen(MARK), NULL, 10);
}

static int run(struct vmm *vm, const char *command, struct vmm_error *err)
{
	struct vmm_chardev *serial;
	pthread_t watcher;
	int status;

	if (vmm_add_chardev(vm, "shell", &serial_ops, &session, &serial, err) ||
	    vmm_add_device(vm, "isa-serial", "chardev=api:shell", err) || vmm_start(vm, err))
		return -1;
	if (pthread_create(&watcher, NULL, watch, vm))
		return -1;
	status = converse(vm, serial, command);
	vmm_stop(vm);
	pthread_join(watcher, NULL);
	return status;
}

int main(int argc, char **argv)
{
	struct vmm_config config = VMM_CONFIG_INIT;
	struct vmm_error err = {0, "the guest has shown no shell"};
	const char *initrds[2] = {NULL, NULL};
	struct vmm *vm = NULL;
	int status = -1;

	if (argc != 4) {
		fprintf(stderr, "usage: command KERNEL INITRD COMMAND\n");
		return 125;
	}
	config.kernel = argv[1];
	initrds[0] = *argv[2] ? argv[2] : NULL;
	config.initrds = initrds;
	config.cmdline = "console=ttyS0 quiet rdinit=/bin/sh";
	if (vmm_create(&vm, &config, &err) == 0)
		status = run(vm, argv[3], &err);
	vmm_destroy(vm);
	if (status >= 0)
		return status;
	fprintf(stderr, "command: %s\n", err.message);
	return 125;
}
