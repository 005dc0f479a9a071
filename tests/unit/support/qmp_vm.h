/* SPDX-License-Identifier: MIT */
/*
 * A VM on the machine's own KVM, whose guest only loops, and a client of its control socket.
 */
#ifndef TESTS_QMP_VM_H
#define TESTS_QMP_VM_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/boot_image.h"
#include "tests/unit/support/unix_peer.h"
#include "vmm/control.h"

static const uint8_t code_loop[] = {0xeb, 0xfe};
static char dir[32], path[64], kernel[32], disk[32], disk_options[64];
static int kernel_fd, disk_fd;
static struct vmm *vm;
static struct vmm_error err;
static int client = -1;
static char text[4 << 20];
static size_t len;

/* ---- a client ---- */

/* The next message; NULL at the end of the connection. */
static inline json_t *next(void)
{
	json_t *value;
	char *end;

	while (!(end = memchr(text, '\n', len))) {
		struct pollfd p = {.fd = client, .events = POLLIN};
		ssize_t n;

		cr_assert_eq(poll(&p, 1, 60000), 1, "silence");
		cr_assert_lt(len, sizeof(text));
		n = recv(client, text + len, sizeof(text) - len, 0);
		if (n <= 0)
			return NULL;
		len += (size_t)n;
	}
	value = json_loadb(text, (size_t)(end - text), 0, NULL);
	cr_assert_not_null(value);
	len -= (size_t)(end + 1 - text);
	memmove(text, end + 1, len);
	return value;
}

static char seen[4096]; /* events, in the order in which they came */

static inline void note_event(json_t *message)
{
	json_t *data = json_object_get(message, "data");
	char *dump = data ? json_dumps(data, JSON_COMPACT) : NULL;
	size_t used = strlen(seen);

	snprintf(seen + used, sizeof(seen) - used, "%s%s ",
		 json_string_value(json_object_get(message, "event")), dump ? dump : "");
	free(dump);
}

/* The answer to a request, as text; events are noted. */
static inline const char *ask(const char *request)
{
	static char answer[1 << 20];
	json_t *message;
	char *dump;

	cr_assert_eq(send(client, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	while ((message = next()) && json_object_get(message, "event")) {
		note_event(message);
		json_decref(message);
	}
	cr_assert_not_null(message, "the connection was closed");
	dump = json_dumps(message, JSON_COMPACT | JSON_SORT_KEYS);
	snprintf(answer, sizeof(answer), "%s", dump);
	free(dump);
	json_decref(message);
	return answer;
}

static inline void answers(const char *request, const char *part)
{
	const char *answer = ask(request);

	cr_assert_not_null(strstr(answer, part), "%s: wanted %s, got %s", request, part, answer);
}

static inline void does(const char *request)
{
	answers(request, "{\"return\":{}}");
}

static inline void wait_event(const char *name)
{
	json_t *message;

	while (!strstr(seen, name)) {
		message = next();
		cr_assert_not_null(message, "no %s", name);
		note_event(message);
		json_decref(message);
	}
}

/* ---- a VM ---- */

static inline void need_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	close(fd);
}

static inline void add(const char *cls, const char *options)
{
	cr_assert_eq(vmm_add_device(vm, cls, options, &err), 0, "%s", err.message);
}

static inline void setup_guest(const uint8_t *code, size_t size)
{
	static uint8_t elf[IMAGE_SIZE];
	struct vmm_config config = VMM_CONFIG_INIT;

	need_kvm();
	image_elf(elf, true);
	memcpy(elf + IMAGE_TEXT_OFFSET + (IMAGE_PVH_ENTRY - IMAGE_TEXT_ADDR), code, size);
	kernel_fd = image_file(elf, sizeof(elf), kernel);
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(disk_fd, 1 << 20), 0);
	snprintf(disk, sizeof(disk), "/proc/self/fd/%d", disk_fd);
	snprintf(disk_options, sizeof(disk_options), "path=%s,id=d0", disk);
	snprintf(dir, sizeof(dir), "/tmp/vmm-qmp.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	config.kernel = kernel;
	config.memory = 64 << 20;
	config.cpus = 2;
	config.name = "test";
	cr_assert_eq(vmm_create(&vm, &config, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_control_listen(vm, path, &err), 0, "%s", err.message);
	add("virtio-blk", disk_options);
	add("virtio-net", "backend=none,id=net0");
	add("virtio-balloon", NULL);
	add("virtio-scsi", "id=scsi0");
	add("scsi-cd", "id=cd0");
	add("virtio-serial", "id=ser0");
	add("serial-port", "id=p0,name=port,chardev=ring");
	client = unix_connect(path);
	len = 0;
	seen[0] = '\0';
	json_decref(next());
	does("{\"execute\":\"qmp_capabilities\"}");
}

static inline void setup(void)
{
	setup_guest(code_loop, sizeof(code_loop));
}

static inline void start(void)
{
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	wait_event("RESUME");
	seen[0] = '\0';
}

static inline void teardown(void)
{
	if (!vm)
		return;
	vmm_destroy(vm);
	close(client);
	close(kernel_fd);
	close(disk_fd);
	cr_assert_eq(rmdir(dir), 0, "the socket was left behind");
}

#endif
