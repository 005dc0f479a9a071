/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets with a name in the file system: names that fit, files that others have left behind,
 * files that must go when we do.
 */
#ifndef CORE_UNIX_SOCKET_H
#define CORE_UNIX_SOCKET_H

#include <sys/un.h>

#include "core/error.h"

/* The file of a socket that is bound, and whether it is ours to remove. All zero: none. */
struct unix_socket_file {
	bool ours;
	dev_t device;
	ino_t inode;
	struct sockaddr_un address;
};

/* Returns 0 or -errno with a sentence (no path, or one that is too long). what: "--net stream". */
int unix_socket_address(struct sockaddr_un *address, const char *path, const char *what,
			struct vmm_error *err) MUST_CHECK;

/*
 * Bind fd, a unix socket of this type (SOCK_STREAM or SOCK_DGRAM). A socket file that nobody has
 * open any more is replaced; any other file is left alone. Returns 0 or -errno: -EADDRINUSE if
 * somebody has the socket, -EEXIST if the file is no socket.
 */
int unix_socket_bind(struct unix_socket_file *file, int fd, int type,
		     const struct sockaddr_un *address) MUST_CHECK;

/* Remove the file, if it is still ours. */
void unix_socket_remove(struct unix_socket_file *file);

/*
 * After accept has failed with this error: true if the client still waits, because this process or
 * the system has no room for it. The loop would report that again and again.
 */
bool unix_socket_client_waits(int code);

#endif
