/* SPDX-License-Identifier: MIT */
#include "net/net_user.h"

#ifdef CONFIG_LIBSLIRP

#include <errno.h>
#include <sys/socket.h>

#include "net/slirp_library.h"

/* ---- the table of descriptors ---- */

static struct user_fd **bucket(struct user *user, int fd)
{
	return &user->buckets[(unsigned)fd % USER_BUCKETS];
}

static struct user_fd *find_fd(struct user *user, int fd)
{
	struct user_fd *ufd = *bucket(user, fd);

	while (ufd && ufd->fd != fd)
		ufd = ufd->next;
	return ufd;
}

static bool is_listener(int fd)
{
	int listens = 0;
	socklen_t len = sizeof(listens);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) && listens;
}

static struct user_fd *add_fd(struct user *user, int fd)
{
	struct user_fd *ufd = user->free_fds;

	if (!ufd)
		return NULL;
	user->free_fds = ufd->next;
	ufd->next = *bucket(user, fd);
	*bucket(user, fd) = ufd;
	ufd->fd = fd;
	ufd->wanted = ufd->ready = 0;
	ufd->listens = is_listener(fd);
	user->fd_count++;
	user->fd_high = MAX(user->fd_high, (unsigned)(ufd - user->fds) + 1);
	return ufd;
}

static void remove_fd(struct user *user, struct user_fd *ufd)
{
	struct user_fd **p = bucket(user, ufd->fd);

	while (*p != ufd)
		p = &(*p)->next;
	*p = ufd->next;
	loop_fd_del(&ufd->lfd);
	ufd->fd = -1;
	ufd->wanted = ufd->ready = 0;
	ufd->next = user->free_fds;
	user->free_fds = ufd;
	user->fd_count--;
}

void user_poll_gone(int fd, void *opaque)
{
	struct user *user = opaque;
	struct user_fd *ufd = find_fd(user, fd);

	if (ufd)
		remove_fd(user, ufd);
}

/* ---- what libslirp waits for ---- */

static int add_poll(int fd, int events, void *opaque)
{
	struct user *user = opaque;
	struct user_fd *ufd = find_fd(user, fd);

	if (!ufd)
		ufd = add_fd(user, fd);
	if (!ufd)
		return -1;
	/* Urgent data is in line and only not marked: nothing else is SLIRP_POLL_PRI good for. */
	ufd->wanted = (events & SLIRP_POLL_IN ? (unsigned)LOOP_IN : 0) |
		      (events & SLIRP_POLL_OUT ? (unsigned)LOOP_OUT : 0);
	return (int)(ufd - user->fds);
}

/* What the loop may report now of what libslirp wants. */
static unsigned allowed(const struct user *user, const struct user_fd *ufd)
{
	/* While packets wait for the guest, no more are made; at the bound nobody is let in. */
	if (!packet_fifo_empty(&user->fifo) || (ufd->listens && user->fd_count >= USER_SOCKETS))
		return ufd->wanted & ~(unsigned)LOOP_IN;
	return ufd->wanted;
}

static void fd_event(struct loop_fd *lfd, unsigned events)
{
	struct user_fd *ufd = container_of(lfd, struct user_fd, lfd);

	/* After a hang-up neither reading nor writing waits. */
	ufd->ready |= events & LOOP_HUP ? ufd->wanted | LOOP_HUP : events;
	user_poll_soon(ufd->user);
}

static void watch_fd(struct user *user, struct user_fd *ufd)
{
	const unsigned events = allowed(user, ufd);

	/* Not with no events: a hang-up would be reported again and again. */
	if (!events)
		loop_fd_del(&ufd->lfd);
	else if (ufd->lfd.loop && ufd->lfd.fd >= 0)
		loop_fd_set(&ufd->lfd, events);
	else if (loop_fd_add(user->net.loop, &ufd->lfd, ufd->fd, events, fd_event))
		remove_fd(user, ufd);
}

void user_poll_fill(struct user *user)
{
	uint32_t timeout_ms = UINT32_MAX;
	const uint64_t now = clock_now(loop_clock(user->net.loop));

	for (unsigned i = 0; i < user->fd_high; i++)
		user->fds[i].wanted = 0;
	user->lib->slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
	user->filled = true;
	user->fresh = 0;
	for (unsigned i = 0; i < user->fd_high; i++)
		if (user->fds[i].fd >= 0)
			watch_fd(user, &user->fds[i]);
	/* A second is its answer to "for ever"; without sockets nothing is lost by taking it so. */
	if (timeout_ms >= 1000 && !user->fd_count)
		loop_timer_disarm(&user->timer);
	else if (loop_timer_arm(&user->timer, now + timeout_ms * NS_PER_MS))
		user_poll_soon(user);
}

bool user_poll_room(struct user *user)
{
	if (user->fd_count + user->fresh >= USER_SOCKETS && user->fresh)
		user_poll_fill(user);
	if (user->fd_count >= USER_SOCKETS)
		return false;
	user->fresh++;
	return true;
}

int user_poll_newest(const struct user *user)
{
	/* Free entries are used lowest first as long as none was given back. */
	return user->fd_high ? user->fds[user->fd_high - 1].fd : -1;
}

/* ---- what has come ---- */

static int get_revents(int index, void *opaque)
{
	struct user *user = opaque;
	struct user_fd *ufd;
	unsigned ready;

	if (index < 0 || (unsigned)index >= user->fd_high)
		return 0;
	ufd = &user->fds[index];
	ready = ufd->ready & (allowed(user, ufd) | LOOP_HUP);
	ufd->ready = 0;
	return (ready & LOOP_IN ? SLIRP_POLL_IN : 0) | (ready & LOOP_OUT ? SLIRP_POLL_OUT : 0) |
	       (ready & LOOP_HUP ? SLIRP_POLL_HUP : 0);
}

static void pump(struct loop_hook *hook)
{
	struct user *user = container_of(hook, struct user, pump);

	if (user->filled) {
		user->filled = false;
		user->lib->slirp_pollfds_poll(user->slirp, 0, get_revents, user);
	}
	user_poll_fill(user);
}

static void timer_due(struct loop_timer *timer)
{
	user_poll_soon(container_of(timer, struct user, timer));
}

void user_poll_soon(struct user *user)
{
	loop_hook_schedule(user->net.loop, &user->pump);
}

/* ---- life ---- */

void user_poll_init(struct user *user)
{
	loop_hook_init(&user->pump, pump);
	loop_timer_init(user->net.loop, &user->timer, timer_due);
	user->free_fds = NULL;
	for (unsigned i = USER_FDS; i-- > 0;) {
		struct user_fd *ufd = &user->fds[i];

		ufd->fd = -1;
		ufd->user = user;
		ufd->next = user->free_fds;
		user->free_fds = ufd;
	}
}

void user_poll_fini(struct user *user)
{
	loop_hook_cancel(user->net.loop, &user->pump);
	loop_timer_disarm(&user->timer);
	for (unsigned i = 0; i < user->fd_high; i++)
		if (user->fds[i].fd >= 0)
			remove_fd(user, &user->fds[i]);
}

#endif
