/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/unix_peer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "core/unix_socket.h"

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address;
	struct vmm_error err = {0};

	cr_assert_eq(unix_socket_address(&address, path, "test", &err), 0, "%s", err.message);
	return address;
}

static int new_socket(void)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0, "%s", strerror(errno));
	return fd;
}

void unix_connect_fd(int fd, const char *path)
{
	const struct sockaddr_un address = address_of(path);

	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0, "%s: %s",
		     path, strerror(errno));
}

int unix_connect(const char *path)
{
	const int fd = new_socket();

	unix_connect_fd(fd, path);
	return fd;
}

int unix_listen(const char *path, int backlog)
{
	const struct sockaddr_un address = address_of(path);
	const int fd = new_socket();

	cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0, "%s: %s",
		     path, strerror(errno));
	cr_assert_eq(listen(fd, backlog), 0, "%s", strerror(errno));
	return fd;
}
