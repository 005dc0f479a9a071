/* SPDX-License-Identifier: MIT */
#include "vmm/event_queue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/trace.h"

static enum vmm_event_kind kind_of(enum machine_notice_kind kind)
{
	static const enum vmm_event_kind kinds[] = {
		[MACHINE_NOTICE_RUNNING] = VMM_EVENT_RUNNING,
		[MACHINE_NOTICE_PAUSED] = VMM_EVENT_PAUSED,
		[MACHINE_NOTICE_RESET] = VMM_EVENT_RESET,
		[MACHINE_NOTICE_POWERDOWN] = VMM_EVENT_POWERDOWN,
		[MACHINE_NOTICE_PANIC] = VMM_EVENT_PANIC,
		[MACHINE_NOTICE_STOPPED] = VMM_EVENT_STOPPED,
		[MACHINE_NOTICE_DELETED] = VMM_EVENT_DEVICE_REMOVED,
		[MACHINE_NOTICE_ADDED] = VMM_EVENT_DEVICE_ADDED,
		[MACHINE_NOTICE_ERROR] = VMM_EVENT_DEVICE_ERROR,
		[MACHINE_NOTICE_PORT] = VMM_EVENT_PORT,
		[MACHINE_NOTICE_BALLOON] = VMM_EVENT_BALLOON,
		[MACHINE_NOTICE_TRAY] = VMM_EVENT_TRAY,
	};

	return kind < ARRAY_SIZE(kinds) ? kinds[kind] : 0;
}

/* Lock held. Room for one more; the oldest makes it. */
static struct vmm_event *next_place(struct event_queue *q)
{
	if (q->count == EVENT_QUEUE_SIZE) {
		q->lost += q->ring[q->first].lost + 1;
		q->first = (q->first + 1) % EVENT_QUEUE_SIZE;
		q->count--;
	}
	return &q->ring[(q->first + q->count) % EVENT_QUEUE_SIZE];
}

static void on_notice(struct machine_watcher *watcher, const struct machine_notice *notice)
{
	struct event_queue *q = container_of(watcher, struct event_queue, watcher);
	const enum vmm_event_kind kind = kind_of(notice->kind);
	struct vmm_event *event;

	trace_vm_event((int)kind, notice->id, notice->value);
	pthread_mutex_lock(&q->lock);
	if (kind && !q->closed) {
		event = next_place(q);
		*event = (struct vmm_event){
			.kind = kind,
			.value = kind == VMM_EVENT_RESET ? notice->guest : notice->value,
			.time_ns = (uint64_t)q->clock->realtime_ns(q->clock),
		};
		snprintf(event->device, sizeof(event->device), "%s", notice->id ? notice->id : "");
		snprintf(event->text, sizeof(event->text), "%s", notice->text ? notice->text : "");
		q->closed = kind == VMM_EVENT_STOPPED;
		if (q->count++ == 0)
			(void)!eventfd_write(q->fd, 1);
	}
	pthread_mutex_unlock(&q->lock);
}

int event_queue_init(struct event_queue *q, struct clock *clock)
{
	q->watcher.notify = on_notice;
	list_init(&q->watcher.link);
	q->clock = clock;
	pthread_mutex_init(&q->lock, NULL);
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->fd < 0 ? -errno : 0;
}

void event_queue_fini(struct event_queue *q)
{
	if (q->fd >= 0)
		close(q->fd);
	pthread_mutex_destroy(&q->lock);
}

bool event_queue_take(struct event_queue *q, struct vmm_event *event)
{
	eventfd_t count;
	bool found;

	pthread_mutex_lock(&q->lock);
	found = q->count > 0;
	if (found) {
		*event = q->ring[q->first];
		event->lost += q->lost;
		q->lost = 0;
		q->first = (q->first + 1) % EVENT_QUEUE_SIZE;
		if (--q->count == 0)
			(void)!eventfd_read(q->fd, &count);
	}
	pthread_mutex_unlock(&q->lock);
	return found;
}
