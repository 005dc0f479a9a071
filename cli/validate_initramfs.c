/* SPDX-License-Identifier: MIT */
/*
 * The guest's user space: an initramfs (cpio, "newc") of the host's own tools with the libraries
 * that they are linked with, the modules that a driver needs, and the scripts that are built in.
 *
 * Everything keeps the path that it has here, so that libraries find each other in the guest as
 * they do on the host; tools and scripts are in /bin.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "validate.h"

extern char **environ;

/* Tools without which no guest runs. */
static const char *const base_tools[] = {"busybox", "modprobe"};
/* What finds the devices and tells of a panic. */
static const char *const base_modules[] = {"virtio_pci", "virtio_mmio", "pvpanic_mmio"};

/* Debian's packages, where the name is not the tool's. A name that ends in '*' is a beginning. */
static const struct {
	const char *tool, *package;
} packages[] = {
	{"busybox", "busybox-static"}, {"modprobe", "kmod"},  {"ip", "iproute2"},
	{"rngtest", "rng-tools5"},     {"sg_*", "sg3-utils"}, {"blkdiscard", "util-linux"},
};

struct archive {
	FILE *out;
	unsigned inode;
	char **names; /* what is in it */
	size_t count, room;
	bool failed;
	const char *folder; /* of the modules */
	const char *version;
};

/* ---- cpio ---- */

/* True if the name is new, and remembered from now on. */
static bool remember(struct archive *a, const char *name)
{
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->names[i], name) == 0)
			return false;
	}
	if (a->count == a->room) {
		char **names = allocate((2 * a->room + 64) * sizeof(*names));

		if (a->count)
			memcpy(names, a->names, a->count * sizeof(*names));
		a->names = names;
		a->room = 2 * a->room + 64;
	}
	a->names[a->count++] = duplicate(name);
	return true;
}

static void pad(struct archive *a)
{
	while (ftell(a->out) % 4)
		fputc(0, a->out);
}

static void put_header(struct archive *a, const char *name, unsigned mode, size_t size)
{
	size_t len = strlen(name) + 1;

	fprintf(a->out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++a->inode,
		mode, 0, 0, 1, 0, (unsigned)size, 0, 0, 0, 0, (unsigned)len, 0);
	fwrite(name, 1, len, a->out);
	pad(a);
}

/* The folders above a path that has no slash at its start. */
static void put_folders(struct archive *a, const char *path)
{
	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		char *folder = format("%.*s", (int)(p - path), path);

		if (remember(a, folder))
			put_header(a, folder, S_IFDIR | 0755, 0);
	}
}

static void put_text(struct archive *a, const char *path, const char *text)
{
	if (!remember(a, path))
		return;
	put_folders(a, path);
	put_header(a, path, S_IFREG | 0755, strlen(text));
	fputs(text, a->out);
	pad(a);
}

/* A host's file, at the path `to`; symbolic links are followed. */
static void put_file(struct archive *a, const char *to, const char *from)
{
	char buf[65536];
	struct stat st;
	int fd;
	off_t left;

	if (!remember(a, to))
		return;
	fd = open(from, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		message("cannot read %s: %s", from, fd < 0 ? strerror(errno) : "not a file");
		a->failed = true;
		if (fd >= 0)
			close(fd);
		return;
	}
	put_folders(a, to);
	put_header(a, to, S_IFREG | 0755, (size_t)st.st_size);
	for (left = st.st_size; left > 0;) {
		size_t want = left < (off_t)sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n = read(fd, buf, want);

		if (n <= 0) {
			message("cannot read %s: %s", from, n ? strerror(errno) : "it shrinks");
			a->failed = true;
			break;
		}
		fwrite(buf, 1, (size_t)n, a->out);
		left -= n;
	}
	close(fd);
	pad(a);
}

/* ---- tools ---- */

char *validate_find_tool(const char *name)
{
	const char *path = getenv("PATH");
	char *folders = format("%s:/usr/local/sbin:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
	char *rest;

	for (char *f = strtok_r(folders, ":", &rest); f; f = strtok_r(NULL, ":", &rest)) {
		char *file = format("%s/%s", f, name);
		struct stat st;

		if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0)
			return file;
	}
	return NULL;
}

/* What `ldd FILE` prints: a stream, or NULL. */
static FILE *ldd(const char *file, pid_t *pid)
{
	char *argv[] = {(char[]){"ldd"}, duplicate(file), NULL};
	posix_spawn_file_actions_t actions;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(pid, "ldd", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (rc == 0)
		return fdopen(fds[0], "r");
	close(fds[0]);
	errno = rc;
	return NULL;
}

/* "name => /path (0x…)" or "/path (0x…)"; nothing of a static program. */
static void put_libraries(struct archive *a, const char *file)
{
	char line[1024];
	pid_t pid;
	FILE *in = ldd(file, &pid);

	if (!in) {
		message("cannot run ldd: %s", strerror(errno));
		a->failed = true;
		return;
	}
	while (fgets(line, sizeof(line), in)) {
		char *start = strchr(line, '/');

		if (!start)
			continue;
		start[strcspn(start, " \n")] = '\0';
		put_file(a, start + 1, start);
	}
	fclose(in);
	waitpid(pid, NULL, 0);
}

#define MAX_TOOLS 64
static char *missing_tools[MAX_TOOLS];

static void note_missing(const char *tool)
{
	for (size_t i = 0; i < MAX_TOOLS; i++) {
		if (missing_tools[i] && strcmp(missing_tools[i], tool) == 0)
			return;
		if (!missing_tools[i]) {
			missing_tools[i] = duplicate(tool);
			return;
		}
	}
}

static void put_tool(void *opaque, const char *name)
{
	struct archive *a = opaque;
	char *file = validate_find_tool(name);
	char *to = format("bin/%s", name);

	if (!file) {
		note_missing(name);
		return;
	}
	put_file(a, to, file);
	put_libraries(a, file);
}

/* What a VM needs beside it is not part of the guest, but of what there is to install. */
static void note_programs(const struct validate_driver *driver)
{
	for (size_t i = 0; i < driver->head_count; i++) {
		const char *value = driver->head[i].value;
		char *name = format("%.*s", (int)strcspn(value, " \t"), value);

		if (strcmp(driver->head[i].key, "program") == 0 && !validate_find_tool(name))
			note_missing(name);
	}
}

static const char *package_of(const char *tool)
{
	for (size_t i = 0; i < CLI_COUNT(packages); i++) {
		size_t len = strcspn(packages[i].tool, "*");

		if (strncmp(packages[i].tool, tool, len) == 0 &&
		    (packages[i].tool[len] || !tool[len]))
			return packages[i].package;
	}
	return tool;
}

void validate_missing_tools(FILE *out)
{
	if (!missing_tools[0])
		return;
	fprintf(out, "Not on this host:");
	for (size_t i = 0; i < MAX_TOOLS && missing_tools[i]; i++)
		fprintf(out, " %s", missing_tools[i]);
	fprintf(out, ". To install:\n  apt install");
	for (size_t i = 0; i < MAX_TOOLS && missing_tools[i]; i++) {
		const char *package = package_of(missing_tools[i]);

		/* Once is enough for the tools of one package, which stand side by side. */
		if (i == 0 || strcmp(package, package_of(missing_tools[i - 1])) != 0)
			fprintf(out, " %s", package);
	}
	fprintf(out, "\n");
}

static void put_script(void *opaque, const char *name)
{
	put_text(opaque, format("bin/%s", name), validate_script(name));
}

/* ---- modules ---- */

static void put_module(void *opaque, const char *path)
{
	struct archive *a = opaque;

	put_file(a, format("lib/modules/%s/%s", a->version, path),
		 format("%s/%s", a->folder, path));
}

struct words {
	const char *list[64];
	size_t count;
};

static void add_word(void *opaque, const char *word)
{
	struct words *words = opaque;

	if (words->count < CLI_COUNT(words->list) - 1)
		words->list[words->count++] = duplicate(word);
}

static void put_modules(struct archive *a, const struct validate_driver *driver)
{
	static const char *const indexes[] = {
		"modules.dep",     "modules.dep.bin",     "modules.alias.bin",
		"modules.softdep", "modules.builtin.bin", "modules.builtin.modinfo",
		"modules.builtin", "modules.order",       "modules.builtin.alias.bin",
	};
	struct words words = {0};

	for (size_t i = 0; i < CLI_COUNT(base_modules); i++)
		add_word(&words, base_modules[i]);
	validate_words(driver, "modules", add_word, &words);
	validate_modules(a->folder, words.list, put_module, a);
	for (size_t i = 0; i < CLI_COUNT(indexes); i++) {
		if (access(format("%s/%s", a->folder, indexes[i]), R_OK) == 0)
			put_module(a, indexes[i]);
	}
}

int validate_initramfs(const char *path, const struct validate_driver *driver,
		       const struct validate_kernel *kernel)
{
	struct archive a = {.folder = kernel->modules, .version = kernel->version};
	bool failed;

	a.out = fopen(path, "we");
	if (!a.out) {
		message("cannot create %s: %s", path, strerror(errno));
		return -1;
	}
	put_text(&a, "init", validate_script("init"));
	put_script(&a, "lib.sh");
	put_script(&a, "devices.sh");
	put_text(&a, "bin/driver.sh", driver->script);
	validate_words(driver, "include", put_script, &a);
	for (size_t i = 0; i < CLI_COUNT(base_tools); i++) {
		if (!validate_find_tool(base_tools[i])) {
			message("%s is missing; install it (Debian package %s)", base_tools[i],
				package_of(base_tools[i]));
			a.failed = true;
		} else {
			put_tool(&a, base_tools[i]);
		}
	}
	validate_words(driver, "tools", put_tool, &a);
	note_programs(driver);
	if (access("/etc/ld.so.cache", R_OK) == 0)
		put_file(&a, "etc/ld.so.cache", "/etc/ld.so.cache");
	put_modules(&a, driver);
	put_header(&a, "TRAILER!!!", 0, 0);
	failed = ferror(a.out);
	if (fclose(a.out) != 0 || failed) {
		message("cannot write %s: %s", path, strerror(errno));
		return -1;
	}
	return a.failed ? -1 : 0;
}
