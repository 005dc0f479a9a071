/* SPDX-License-Identifier: MIT */
#include "net/net_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/* ---- addresses ---- */

int net_address_unix(struct net_address *address, const char *path, const char *what,
		     struct vmm_error *err)
{
	memset(address, 0, sizeof(*address));
	address->size = sizeof(address->un);
	return unix_socket_address(&address->un, path, what, err);
}

/* "ADDRESS:PORT" or "[ADDRESS]:PORT". */
static bool parse_tcp(struct net_address *address, const char *text)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t len;
	uint64_t port;

	memset(address, 0, sizeof(*address));
	if (!colon || parse_uint(colon + 1, &port) || !port || port > UINT16_MAX)
		return false;
	len = (size_t)(colon - text);
	if (len < 2 || len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		address->in6.sin6_family = AF_INET6;
		address->in6.sin6_port = htons((uint16_t)port);
		address->size = sizeof(address->in6);
		return inet_pton(AF_INET6, host + 1, &address->in6.sin6_addr) == 1;
	}
	address->in.sin_family = AF_INET;
	address->in.sin_port = htons((uint16_t)port);
	address->size = sizeof(address->in);
	return inet_pton(AF_INET, host, &address->in.sin_addr) == 1;
}

int net_address_parse(struct net_address *address, const char *text, bool tcp, const char *what,
		      struct vmm_error *err)
{
	if (!strncmp(text, "unix:", 5))
		return net_address_unix(address, text + 5, what, err);
	if (tcp && !strncmp(text, "tcp:", 4)) {
		if (parse_tcp(address, text + 4))
			return 0;
		return error_set(err, EINVAL,
				 "%s: %s: must be tcp:ADDRESS:PORT with a numeric address", what,
				 text);
	}
	return error_set(err, EINVAL, "%s: \"%s\" is no address: it must be unix:PATH%s", what,
			 text, tcp ? " or tcp:ADDRESS:PORT" : "");
}

/* ---- sockets ---- */

static int bind_tcp(int fd, const struct net_address *address)
{
	const int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, &address->sa, address->size) ? -errno : 0;
}

int net_bound_open(struct net_bound *bound, const struct net_address *address, int type)
{
	int r;

	*bound = (struct net_bound){0};
	bound->fd = socket(address->sa.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bound->fd < 0)
		r = -errno;
	else if (address->sa.sa_family == AF_UNIX)
		r = unix_socket_bind(&bound->file, bound->fd, type, &address->un);
	else
		r = bind_tcp(bound->fd, address);
	if (!r && type == SOCK_STREAM && listen(bound->fd, 4))
		r = -errno;
	if (r)
		net_bound_close(bound);
	return r;
}

void net_bound_close(struct net_bound *bound)
{
	if (bound->fd < 0)
		return;
	close(bound->fd);
	bound->fd = -1;
	unix_socket_remove(&bound->file);
}

int net_connect(const struct net_address *address, bool *pending)
{
	const int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;

	*pending = false;
	if (fd < 0)
		return -errno;
	if (address->sa.sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, &address->sa, address->size)) {
		const int code = errno;

		if (code != EINPROGRESS) {
			close(fd);
			return -code;
		}
		*pending = true;
	}
	return fd;
}
