/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/boot_internal.h"

int boot_file_open(struct boot_file *file, const char *what, const char *path,
		   struct vmm_error *err)
{
	struct stat st;

	/* A FIFO without a writer would block: it is refused below. */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0)
		return error_set_errno(err, errno, "cannot open the %s '%s'", what, path);
	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "cannot examine the %s '%s'", what, path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "the %s '%s' is not a regular file", what, path);
	if (st.st_size <= 0)
		return error_set(err, EINVAL, "the %s '%s' is empty", what, path);
	file->size = (uint64_t)st.st_size;
	file->path = strdup(path);
	if (!file->path)
		return error_set(err, ENOMEM, "out of memory");
	return 0;
}

void boot_file_close(struct boot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	free(file->path);
	file->path = NULL;
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (offset > file->size || len > file->size - offset)
		return -ENODATA;
	while (len > 0) {
		ssize_t n = pread(file->fd, to, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) /* truncated since boot_file_open */
			return -ENODATA;
		to += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int boot_file_to_guest(const struct boot_file *file, uint64_t offset, struct guest_memory *memory,
		       gpa_t addr, uint64_t len, struct vmm_error *err)
{
	struct guest_pin pin;
	int ret;

	if (len == 0)
		return 0;
	ret = guest_pin(memory, addr, len, &pin);
	if (ret < 0)
		return error_set(
			err, ENOMEM, "'%s' needs memory from %#llx to %#llx, which this VM lacks",
			file->path, (unsigned long long)addr.v, (unsigned long long)(addr.v + len));
	ret = boot_file_read(file, offset, pin.host, len);
	guest_unpin(&pin, GUEST_WRITE, len);
	if (ret == -ENODATA)
		return error_set(err, EIO, "'%s' has become shorter since it was opened",
				 file->path);
	if (ret < 0)
		return error_set_errno(err, -ret, "cannot read '%s'", file->path);
	return 0;
}
