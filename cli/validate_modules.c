/* SPDX-License-Identifier: MIT */
/*
 * Kernels and their modules: the version of a kernel image, and modules.dep.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "validate.h"

/* Linux boot protocol: "HdrS" at 0x202, at 0x20e where the version's text is, less 0x200. */
#define BOOT_MAGIC   0x202u
#define BOOT_VERSION 0x20eu

struct file {
	const char *data;
	size_t size;
};

static int map(struct file *file, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			errno = EISDIR;
		else if (st.st_size == 0)
			errno = ENODATA;
		else
			data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	if (data == MAP_FAILED)
		return -1;
	*file = (struct file){data, (size_t)st.st_size};
	return 0;
}

static char *word_at(const char *text, size_t room)
{
	size_t len = 0;

	while (len < room && text[len] > ' ' && text[len] < 0x7f)
		len++;
	return len ? format("%.*s", (int)len, text) : NULL;
}

char *validate_kernel_version(const char *kernel)
{
	static const char banner[] = "Linux version ";
	const char *found;
	struct file file;
	uint16_t offset;
	char *version = NULL;

	if (map(&file, kernel) != 0) {
		message("--kernel %s: %s", kernel, strerror(errno));
		return NULL;
	}
	if (file.size > BOOT_VERSION + 2 && memcmp(file.data + BOOT_MAGIC, "HdrS", 4) == 0) {
		memcpy(&offset, file.data + BOOT_VERSION, sizeof(offset));
		if (offset && offset + 0x200u < file.size)
			version = word_at(file.data + offset + 0x200, file.size - offset - 0x200);
	} else {
		found = memmem(file.data, file.size, banner, sizeof(banner) - 1);
		if (found)
			version = word_at(found + sizeof(banner) - 1,
					  (size_t)(file.data + file.size - found) - sizeof(banner) +
						  1);
	}
	munmap((void *)(uintptr_t)file.data, file.size);
	if (!version)
		message("--kernel %s: neither a bzImage nor an ELF vmlinux of Linux", kernel);
	return version;
}

char *validate_modules_folder(const char *modules, const char *version)
{
	char *tries[] = {
		modules ? duplicate(modules) : format("/lib/modules/%s", version),
		format("%s/%s", modules ? modules : "/lib/modules", version),
		format("%s/lib/modules/%s", modules ? modules : "/usr", version),
	};

	for (size_t i = 0; i < CLI_COUNT(tries); i++) {
		if (access(format("%s/modules.dep", tries[i]), R_OK) == 0)
			return tries[i];
	}
	if (modules)
		usage_error(
			"--modules %s: no modules.dep of kernel %s there (nor in lib/modules/%s "
			"below)",
			modules, version, version);
	else
		usage_error("there are no modules of kernel %s in /lib/modules; say where with "
			    "--modules DIR",
			    version);
	return NULL;
}

/* Is path (…/virtio-rng.ko.xz) the module of this name (virtio_rng)? */
static bool is_module(const char *path, size_t len, const char *name)
{
	const char *slash = memrchr(path, '/', len);
	const char *p = slash ? slash + 1 : path;
	const char *end = path + len;

	for (; p < end && *name; p++, name++) {
		if (*p != *name && !(*p == '-' && *name == '_'))
			return false;
	}
	return !*name && end - p >= 3 && memcmp(p, ".ko", 3) == 0;
}

static bool wanted(const char *path, size_t len, const char *const *names)
{
	for (; *names; names++) {
		if (is_module(path, len, *names))
			return true;
	}
	return false;
}

/* A line of modules.dep, "PATH: NEEDED NEEDED…"; the list is complete, down to the last one. */
static void take_line(const char *line, size_t len, void (*fn)(void *opaque, const char *path),
		      void *opaque)
{
	const char *end = line + len;

	while (line < end) {
		size_t n = 0;

		while (line + n < end && line[n] != ' ' && line[n] != ':')
			n++;
		if (n)
			fn(opaque, format("%.*s", (int)n, line));
		line += n + 1;
	}
}

void validate_modules(const char *folder, const char *const *names,
		      void (*fn)(void *opaque, const char *path), void *opaque)
{
	struct file file;
	const char *end;

	if (map(&file, format("%s/modules.dep", folder)) != 0)
		return;
	for (const char *line = file.data; line < file.data + file.size; line = end + 1) {
		size_t left = (size_t)(file.data + file.size - line);
		const char *colon;

		end = memchr(line, '\n', left);
		if (!end)
			break;
		colon = memchr(line, ':', (size_t)(end - line));
		if (colon && wanted(line, (size_t)(colon - line), names))
			take_line(line, (size_t)(end - line), fn, opaque);
	}
	munmap((void *)(uintptr_t)file.data, file.size);
}
