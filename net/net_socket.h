/* SPDX-License-Identifier: MIT */
/*
 * Addresses of the socket backends, and what is the same for all of them: listening, and connecting
 * without waiting.
 */
#ifndef NET_NET_SOCKET_H
#define NET_NET_SOCKET_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/unix_socket.h"
#include "net/net_backend.h"

struct net_address {
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t size;
};

/* "unix:PATH", or with `tcp` also "tcp:ADDRESS:PORT" (IPv6 in brackets). what: "--net stream". */
int net_address_parse(struct net_address *address, const char *text, bool tcp, const char *what,
		      struct vmm_error *err) MUST_CHECK;
int net_address_unix(struct net_address *address, const char *path, const char *what,
		     struct vmm_error *err) MUST_CHECK;

/* A bound socket, and its file in the file system if it has one. */
struct net_bound {
	int fd; /* -1: none */
	struct unix_socket_file file;
};

/*
 * Make and bind a socket (type: SOCK_STREAM, which then listens, or SOCK_DGRAM). A socket file that
 * nobody listens to any more is replaced. Returns 0 or -errno.
 */
int net_bound_open(struct net_bound *bound, const struct net_address *address, int type) MUST_CHECK;
/* The file goes if it is still ours. bound->fd -1: a no-op. */
void net_bound_close(struct net_bound *bound);

/* A stream connection. Returns its descriptor or -errno; *pending: connect is under way. */
int net_connect(const struct net_address *address, bool *pending) MUST_CHECK;

#endif
