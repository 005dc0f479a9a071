/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "virtio/vhost.h"

int vhost_kernel_open(void)
{
	const int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void vhost_kernel_close(int fd)
{
	close(fd);
}

int vhost_kernel_control(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}
