/* SPDX-License-Identifier: MIT */
/*
 * What a guest asks for: things that can be done or seen only from outside. The guest is our own,
 * but paths stay inside the run's folder all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "validate.h"

static const char *failed(const char *what)
{
	return format("error %s: %s", what, strerror(errno));
}

/* A file of the run's folder; NULL if the name would leave it. */
static char *file_of(const struct validate_vm *vm, const char *name)
{
	return strchr(name, '/') ? NULL : format("%s/%s", vm->run->folder, name);
}

static const char *ask_sha256(struct validate_vm *vm, char **argv)
{
	char *path = file_of(vm, argv[1]), text[SHA256_TEXT];
	static char buf[1 << 18];
	struct sha256 sum;
	ssize_t n = -1;
	uint64_t left = UINT64_MAX;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (argv[2])
		left = strtoull(argv[2], NULL, 10);
	sha256_init(&sum);
	while (fd >= 0 && left > 0 &&
	       (n = read(fd, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf))) > 0) {
		sha256_add(&sum, buf, (size_t)n);
		left -= (uint64_t)n;
	}
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return failed(argv[1]);
	sha256_end(&sum, text);
	return format("ok %s", text);
}

/* stat FILE: "ok SIZE ALLOCATED", in bytes. */
static const char *ask_stat(struct validate_vm *vm, char **argv)
{
	char *path = file_of(vm, argv[1]);
	struct stat st;

	if (!path || stat(path, &st) != 0)
		return failed(argv[1]);
	return format("ok %llu %llu", (unsigned long long)st.st_size,
		      (unsigned long long)st.st_blocks * 512);
}

/* truncate FILE SIZE */
static const char *ask_truncate(struct validate_vm *vm, char **argv)
{
	char *path = file_of(vm, argv[1]);
	uint64_t size;
	int fd = -1;

	if (!path || vmm_parse_size(argv[2], &size) != 0 ||
	    (fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0)
		return failed(argv[1]);
	if (ftruncate(fd, (off_t)size) != 0) {
		close(fd);
		return failed(argv[1]);
	}
	close(fd);
	return "ok";
}

/* grep FILE TEXT: "ok" if the file has the text (its words joined by blanks). */
static const char *ask_grep(struct validate_vm *vm, int argc, char **argv)
{
	char *path = file_of(vm, argv[1]), *text = duplicate(argv[2]);
	struct stat st;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *data = MAP_FAILED;
	bool found;

	for (int i = 3; i < argc; i++)
		text = format("%s %s", text, argv[i]);
	if (fd >= 0 && fstat(fd, &st) == 0)
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		close(fd);
	if (data == MAP_FAILED)
		return failed(argv[1]);
	found = memmem(data, (size_t)st.st_size, text, strlen(text));
	munmap(data, (size_t)st.st_size);
	return found ? "ok" : format("error no '%s' in %s", text, argv[1]);
}

/* rss: "ok BYTES" of memory that this process has. */
static const char *ask_rss(void)
{
	char line[256];
	FILE *in = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;

	if (!in)
		return failed("/proc/self/status");
	while (fgets(line, sizeof(line), in)) {
		if (strncmp(line, "VmRSS:", 6) == 0)
			kib = strtoull(line + 6, NULL, 10);
	}
	fclose(in);
	return format("ok %llu", kib * 1024);
}

/* pause: the vCPUs stop, and go on. */
static const char *ask_pause(struct validate_vm *vm)
{
	struct vmm_error err;

	if (vmm_pause(vm->vm, &err) != 0 || vmm_resume(vm->vm, &err) != 0)
		return format("error %s", err.message);
	return "ok";
}

/* action ID ACTION [OPTIONS], add CLASS [OPTIONS], remove ID, devices */
static const char *ask_device(struct validate_vm *vm, int argc, char **argv)
{
	const char *options = argc > 2 ? validate_expand(vm->run, argv[argc - 1]) : NULL;
	struct vmm_error err = {0};
	char *json = NULL;
	const char *answer;
	int rc = -EINVAL;

	if (strcmp(argv[0], "action") == 0 && argc >= 3)
		rc = vmm_device_action(vm->vm, argv[1], argv[2], argc > 3 ? options : NULL, &json,
				       &err);
	else if (strcmp(argv[0], "add") == 0)
		rc = vmm_add_device(vm->vm, argv[1], options, &err);
	else if (strcmp(argv[0], "remove") == 0)
		rc = vmm_remove_device(vm->vm, argv[1], &err);
	answer = rc < 0 ? format("error %s", err.message) : format("ok %s", json ? json : "");
	free(json);
	return answer;
}

const char *validate_ask(struct validate_vm *vm, int argc, char **argv)
{
	const char *what = argc ? argv[0] : "";

	if (strcmp(what, "reboot") == 0) {
		vm->reboot_expected = true;
		return "ok";
	}
	if (strcmp(what, "rss") == 0)
		return ask_rss();
	if (strcmp(what, "pause") == 0)
		return ask_pause(vm);
	if (strcmp(what, "left-out") == 0)
		return format("ok %s", vm->left_out ? vm->left_out : "");
	if (strcmp(what, "stream") == 0)
		return validate_stream_start(vm, argc, argv);
	if (argc >= 2 && strcmp(what, "stream-wait") == 0)
		return validate_stream_wait(vm, argv[1]);
	if (argc >= 2 && strcmp(what, "stream-stat") == 0)
		return validate_stream_stat(vm, argv[1]);
	if (argc >= 2 && strcmp(what, "program") == 0)
		return validate_program_state(vm, argv[1]);
	if (argc >= 2 && strcmp(what, "sha256") == 0)
		return ask_sha256(vm, argv);
	if (argc >= 2 && strcmp(what, "stat") == 0)
		return ask_stat(vm, argv);
	if (argc >= 3 && strcmp(what, "truncate") == 0)
		return ask_truncate(vm, argv);
	if (argc >= 3 && strcmp(what, "grep") == 0)
		return ask_grep(vm, argc, argv);
	if (argc >= 2)
		return ask_device(vm, argc, argv);
	return format("error cannot '%s'", what);
}
