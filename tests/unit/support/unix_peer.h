/* SPDX-License-Identifier: MIT */
/*
 * The other end of a Unix stream socket with a name in the file system. Any error fails the test.
 */
#ifndef SUPPORT_UNIX_PEER_H
#define SUPPORT_UNIX_PEER_H

/* A client of the server at this path; the descriptor is the caller's. */
int unix_connect(const char *path);
/* The same, with a stream socket that is there already. */
void unix_connect_fd(int fd, const char *path);
/* A server at this path, where nothing is yet. The file stays when the descriptor is closed. */
int unix_listen(const char *path, int backlog);

#endif
