/* SPDX-License-Identifier: MIT */
/*
 * guestfwd: what the guest connects to at an address of its network is a service on the host.
 *
 * libslirp can connect to a unix socket for that, but it waits for the connection: a service that
 * does not accept would stop the machine. So it connects to a socket of ours, which takes each
 * connection at once, and bytes go from there to the service through fixed buffers, without waiting
 * and with both sides' back-pressure.
 */
#include "net/net_user.h"

#ifdef CONFIG_LIBSLIRP

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/slirp_library.h"

#define RELAY_BUFFER (32 * KIB)

/* One end of a connection, with what has been read from it and not yet written to the other. */
struct relay_end {
	struct loop_fd lfd;
	struct relay_link *link;
	int fd;
	size_t start, len;
	bool ended;   /* nothing more comes from it */
	bool told;    /* and the other end was told so */
	bool pending; /* connect is under way */
	uint8_t buffer[RELAY_BUFFER];
};

struct relay_link {
	struct user_relay *relay;
	struct list list;
	struct relay_end end[2]; /* libslirp's, the service's */
};

struct user_relay {
	struct user *user;
	char folder[80];
	int listeners[OPTION_LIST_MAX];
	unsigned listener_count;
	struct list links;
	unsigned link_count;
};

/* ---- bytes ---- */

static void link_destroy(struct relay_link *link)
{
	for (unsigned i = 0; i < 2; i++) {
		loop_fd_del(&link->end[i].lfd);
		if (link->end[i].fd >= 0)
			close(link->end[i].fd);
	}
	list_del(&link->list);
	link->relay->link_count--;
	free(link);
}

/* Returns false when the connection is broken. */
static bool read_end(struct relay_end *from)
{
	ssize_t n;

	if (from->pending || from->ended || from->len)
		return true;
	from->start = 0;
	n = recv(from->fd, from->buffer, sizeof(from->buffer), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	from->len = (size_t)n;
	from->ended = n == 0;
	return true;
}

static bool write_end(struct relay_end *to, struct relay_end *from)
{
	ssize_t n;

	if (to->pending)
		return true;
	if (from->len) {
		n = send(to->fd, from->buffer + from->start, from->len,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		from->start += (size_t)n;
		from->len -= (size_t)n;
	}
	if (from->ended && !from->len && !from->told) {
		from->told = true;
		shutdown(to->fd, SHUT_WR);
	}
	return true;
}

static unsigned wanted(const struct relay_end *end, const struct relay_end *other)
{
	return (!end->pending && !end->ended && !end->len ? (unsigned)LOOP_IN : 0) |
	       (end->pending || other->len ? (unsigned)LOOP_OUT : 0);
}

static void end_event(struct loop_fd *lfd, unsigned events);

static bool watch_end(struct relay_end *end, const struct relay_end *other)
{
	const unsigned events = wanted(end, other);

	/* Not with no events: a hang-up would be reported again and again. */
	if (!events)
		loop_fd_del(&end->lfd);
	else if (end->lfd.loop && end->lfd.fd >= 0)
		loop_fd_set(&end->lfd, events);
	else
		return !loop_fd_add(end->link->relay->user->net.loop, &end->lfd, end->fd, events,
				    end_event);
	return true;
}

static void link_run(struct relay_link *link)
{
	struct relay_end *a = &link->end[0], *b = &link->end[1];

	if (!read_end(a) || !read_end(b) || !write_end(a, b) || !write_end(b, a) ||
	    (a->told && b->told) || !watch_end(a, b) || !watch_end(b, a))
		link_destroy(link);
}

static bool connected(struct relay_end *end)
{
	int code = 0;
	socklen_t len = sizeof(code);

	if (getsockopt(end->fd, SOL_SOCKET, SO_ERROR, &code, &len) || code)
		return false;
	end->pending = false;
	return true;
}

static void end_event(struct loop_fd *lfd, unsigned events)
{
	struct relay_end *end = container_of(lfd, struct relay_end, lfd);
	struct relay_link *link = end->link;

	/* A hang-up with nothing to write to it and nothing to read is one that cannot be used. */
	if ((end->pending && !connected(end)) ||
	    (events & LOOP_HUP && !(events & LOOP_IN) && end->ended)) {
		link_destroy(link);
		return;
	}
	link_run(link);
}

/* ---- connections ---- */

/* A connection to the service, perhaps still under way. Returns its descriptor or -errno. */
static int connect_service(const struct user_guestfwd *fwd, bool *pending)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const struct sockaddr *address = fwd->unix_path ? (struct sockaddr *)&un : &fwd->host.sa;
	const socklen_t len = fwd->unix_path ? sizeof(un) : user_address_size(&fwd->host);
	const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (fwd->unix_path)
		memcpy(un.sun_path, fwd->unix_path, strlen(fwd->unix_path));
	*pending = false;
	if (connect(fd, address, len)) {
		const int code = errno;

		if (code != EINPROGRESS) {
			close(fd);
			return -code;
		}
		*pending = true;
	}
	return fd;
}

static void link_create(struct user_relay *relay, const struct user_guestfwd *fwd, int guest)
{
	struct relay_link *link = NULL;
	bool pending = false;
	int service = -EMFILE;

	if (relay->link_count < USER_RELAYS)
		service = connect_service(fwd, &pending);
	if (service >= 0)
		link = calloc(1, sizeof(*link));
	if (!link) {
		net_log_peer(&relay->user->net, "guestfwd: the guest's connection is refused: %s",
			     strerror(service < 0 ? -service : ENOMEM));
		if (service >= 0)
			close(service);
		close(guest);
		return;
	}
	link->relay = relay;
	link->end[0].fd = guest;
	link->end[1].fd = service;
	link->end[1].pending = pending;
	link->end[0].link = link->end[1].link = link;
	list_add_tail(&relay->links, &link->list);
	relay->link_count++;
	link_run(link);
}

void user_relay_accept(struct user *user)
{
	struct user_relay *relay = user->relay;
	int fd;

	for (unsigned i = 0; relay && i < relay->listener_count; i++)
		while ((fd = accept4(relay->listeners[i], NULL, NULL,
				     SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
			link_create(relay, &user->guestfwds[i], fd);
}

/* ---- life ---- */

static void listener_path(const struct user_relay *relay, unsigned i, struct sockaddr_un *un)
{
	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path, sizeof(un->sun_path), "%s/%u", relay->folder, i);
}

static int listener_open(struct user_relay *relay, unsigned i, struct vmm_error *err)
{
	const struct user_guestfwd *fwd = &relay->user->guestfwds[i];
	struct in_addr guest = fwd->guest;
	struct sockaddr_un un;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	listener_path(relay, i, &un);
	relay->listeners[i] = fd;
	relay->listener_count = i + 1;
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) || listen(fd, SOMAXCONN))
		return error_set_errno(err, errno, "%s: guestfwd: %s", relay->user->net.what,
				       un.sun_path);
	if (relay->user->lib->slirp_add_unix(relay->user->slirp, un.sun_path, &guest, fwd->port))
		return error_set(err, EINVAL, "%s: guestfwd=%s: the address cannot be used",
				 relay->user->net.what, relay->user->guestfwd_texts[i]);
	return 0;
}

int user_relay_open(struct user *user, struct vmm_error *err)
{
	const char *base = secure_getenv("XDG_RUNTIME_DIR");
	struct user_relay *relay = calloc(1, sizeof(*relay));
	int r = 0;

	if (!relay)
		return error_set(err, ENOMEM, "%s: out of memory", user->net.what);
	user->relay = relay;
	relay->user = user;
	list_init(&relay->links);
	/* Readable by nobody else: mkdtemp sees to that. */
	if (!base || strlen(base) > 40 || access(base, W_OK))
		base = "/tmp";
	snprintf(relay->folder, sizeof(relay->folder), "%s/vmm-net-XXXXXX", base);
	if (!mkdtemp(relay->folder)) {
		relay->folder[0] = '\0';
		return error_set_errno(err, errno, "%s: guestfwd: a folder for sockets in %s",
				       user->net.what, base);
	}
	for (unsigned i = 0; !r && i < user->guestfwd_count; i++)
		r = listener_open(relay, i, err);
	return r;
}

void user_relay_close(struct user *user)
{
	struct user_relay *relay = user->relay;
	struct sockaddr_un un;

	if (!relay)
		return;
	list_for_each (it, &relay->links)
		link_destroy(list_entry(it, struct relay_link, list));
	for (unsigned i = 0; i < relay->listener_count; i++) {
		if (relay->listeners[i] >= 0)
			close(relay->listeners[i]);
		listener_path(relay, i, &un);
		unlink(un.sun_path);
	}
	if (relay->folder[0])
		rmdir(relay->folder);
	free(relay);
	user->relay = NULL;
}

#endif
