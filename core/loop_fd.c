/* SPDX-License-Identifier: MIT */
/* Descriptors of the event loop. */
#include "core/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

static uint32_t to_epoll(unsigned events)
{
	return (events & LOOP_IN ? (uint32_t)EPOLLIN : 0) |
	       (events & LOOP_OUT ? (uint32_t)EPOLLOUT : 0);
}

static unsigned from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? (unsigned)LOOP_IN : 0) |
	       (events & EPOLLOUT ? (unsigned)LOOP_OUT : 0) |
	       (events & (EPOLLHUP | EPOLLERR) ? (unsigned)LOOP_HUP : 0);
}

int loop_fd_add(struct loop *loop, struct loop_fd *lfd, int fd, unsigned events,
		void (*fn)(struct loop_fd *lfd, unsigned events))
{
	struct epoll_event event = {.events = to_epoll(events), .data.ptr = lfd};

	*lfd = (struct loop_fd){.fd = -1, .events = events, .fn = fn, .loop = loop};
	list_init(&lfd->link);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return -errno;
	lfd->fd = fd;
	list_add_tail(&loop->fds, &lfd->link);
	return 0;
}

void loop_fd_set(struct loop_fd *lfd, unsigned events)
{
	struct epoll_event event = {.events = to_epoll(events), .data.ptr = lfd};

	if (lfd->fd < 0 || lfd->events == events)
		return;
	lfd->events = events;
	epoll_ctl(lfd->loop->epoll_fd, EPOLL_CTL_MOD, lfd->fd, &event);
}

void loop_fd_del(struct loop_fd *lfd)
{
	/* Never added: all zero or with fd -1. */
	if (!lfd->loop || lfd->fd < 0)
		return;
	/* Fails where the owner has closed the descriptor first; epoll has then forgotten it. */
	epoll_ctl(lfd->loop->epoll_fd, EPOLL_CTL_DEL, lfd->fd, NULL);
	list_del(&lfd->link);
	for (struct batch *b = lfd->loop->batch; b; b = b->outer)
		for (int i = b->next; i < b->count; i++)
			if (b->events[i].data.ptr == lfd)
				b->events[i].data.ptr = NULL;
	lfd->fd = -1;
}

unsigned loop_run_fds(struct loop *loop, struct batch *batch)
{
	unsigned ran = 0;
	uint64_t count;

	while (batch->next < batch->count) {
		struct epoll_event *event = &batch->events[batch->next++];
		struct loop_fd *lfd = event->data.ptr;
		unsigned events = from_epoll(event->events);

		if (event->data.ptr == loop) {
			if (read(loop->wake_fd, &count, sizeof(count)) < 0)
				assert(errno == EAGAIN || errno == EINTR);
			continue;
		}
		/* An earlier handler of the batch may have taken it off or want less by now. */
		if (!lfd || !(events &= lfd->events | LOOP_HUP))
			continue;
		lfd->fn(lfd, events);
		ran++;
	}
	return ran;
}
