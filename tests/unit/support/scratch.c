/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/scratch.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static char folder[] = "/tmp/vmm-unit.XXXXXX";
static int captured_fd, saved_fd, memory_fd;

void scratch_make(void)
{
	cr_assert_not_null(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void scratch_remove(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *scratch_path(const char *name)
{
	return format("%s/%s", folder, name);
}

char *scratch_file(const char *name, const void *data, size_t size)
{
	char *path = scratch_path(name);
	FILE *out;

	for (char *p = strchr(path + strlen(folder) + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	out = fopen(path, "we");
	cr_assert_not_null(out, "%s", path);
	cr_assert_eq(fwrite(data, 1, size, out), size);
	cr_assert_eq(fclose(out), 0);
	return path;
}

char *scratch_text(const char *name, const char *text)
{
	return scratch_file(name, text, strlen(text));
}

char *scratch_read(const char *path, size_t *size)
{
	FILE *in = fopen(path, "re");
	struct stat st;
	char *data;

	cr_assert_not_null(in, "%s", path);
	cr_assert_eq(fstat(fileno(in), &st), 0);
	data = allocate((size_t)st.st_size + 1);
	*size = fread(data, 1, (size_t)st.st_size, in);
	cr_assert_eq(*size, (size_t)st.st_size);
	fclose(in);
	return data;
}

void capture_begin(int fd)
{
	fflush(NULL);
	captured_fd = fd;
	saved_fd = dup(fd);
	memory_fd = memfd_create("captured", MFD_CLOEXEC);
	cr_assert(saved_fd >= 0 && memory_fd >= 0);
	dup2(memory_fd, fd);
}

const char *capture_end(void)
{
	off_t size;
	char *text;

	fflush(NULL);
	dup2(saved_fd, captured_fd);
	close(saved_fd);
	size = lseek(memory_fd, 0, SEEK_END);
	cr_assert_geq(size, 0);
	text = allocate((size_t)size + 1);
	cr_assert_eq(pread(memory_fd, text, (size_t)size, 0), size);
	close(memory_fd);
	return text;
}
