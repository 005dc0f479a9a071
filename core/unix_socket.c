/* SPDX-License-Identifier: MIT */
#include "core/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int unix_socket_address(struct sockaddr_un *address, const char *path, const char *what,
			struct vmm_error *err)
{
	const size_t len = strlen(path), most = sizeof(address->sun_path) - 1;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0)
		return error_set(err, EINVAL, "%s: unix needs a path: unix:PATH", what);
	if (len > most)
		return error_set(err, ENAMETOOLONG,
				 "%s: the socket's path has %zu characters, the system allows %zu: "
				 "%s",
				 what, len, most, path);
	memcpy(address->sun_path, path, len);
	return 0;
}

/*
 * What is in the way: 0 if the file was left behind by somebody who no longer has the socket, else
 * -EADDRINUSE or, for a file that is no socket, -EEXIST.
 */
static int examine_file(const struct sockaddr_un *address, int type)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(address->sun_path, &st))
		return -EADDRINUSE;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -EADDRINUSE;
	refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused ? 0 : -EADDRINUSE;
}

int unix_socket_bind(struct unix_socket_file *file, int fd, int type,
		     const struct sockaddr_un *address)
{
	const struct sockaddr *sa = (const struct sockaddr *)address;
	struct stat st;
	int rc;

	*file = (struct unix_socket_file){.address = *address};
	if (bind(fd, sa, sizeof(*address))) {
		rc = errno == EADDRINUSE ? examine_file(address, type) : -errno;
		if (rc)
			return rc;
		unlink(address->sun_path);
		if (bind(fd, sa, sizeof(*address)))
			return -errno;
	}
	if (stat(address->sun_path, &st) == 0) {
		file->ours = true;
		file->device = st.st_dev;
		file->inode = st.st_ino;
	}
	return 0;
}

void unix_socket_remove(struct unix_socket_file *file)
{
	struct stat st;

	/* Somebody may have taken the name over. */
	if (file->ours && stat(file->address.sun_path, &st) == 0 && st.st_dev == file->device &&
	    st.st_ino == file->inode)
		unlink(file->address.sun_path);
	file->ours = false;
}

bool unix_socket_client_waits(int code)
{
	return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM;
}
