/* SPDX-License-Identifier: MIT */
/*
 * Who wants to know what happens to a machine: the control socket, and what the library tells its
 * caller.
 */
#ifndef VMM_MACHINE_WATCH_H
#define VMM_MACHINE_WATCH_H

#include <pthread.h>

#include "core/list.h"

enum machine_notice_kind {
	MACHINE_NOTICE_RUNNING,   /* vCPUs run: started or resumed */
	MACHINE_NOTICE_PAUSED,    /* vCPUs are parked */
	MACHINE_NOTICE_RESET,     /* guest: it asked for it */
	MACHINE_NOTICE_POWERDOWN, /* the power button was pressed */
	MACHINE_NOTICE_PANIC,     /* value: pvpanic event bits */
	MACHINE_NOTICE_STOPPED, /* for good; value: enum vmm_exit_kind; client: one asked for it */
	MACHINE_NOTICE_DELETED, /* the device `id` is gone */
	MACHINE_NOTICE_ADDED,   /* the device `id` has come while the VM runs */
	MACHINE_NOTICE_ERROR,   /* the driver of `id` broke a rule; text: which */
	MACHINE_NOTICE_PORT, /* the guest opened (value 1) or closed (0) the port `id`; text: name
			      */
	MACHINE_NOTICE_BALLOON, /* value: bytes that the guest has left */
	MACHINE_NOTICE_TRAY,    /* the tray of the drive `id` has opened (value 1) or closed (0) */
};

struct machine_notice {
	enum machine_notice_kind kind;
	bool guest, client; /* client: of the control socket */
	uint64_t value;
	const char *id, *text; /* only for the time of the call; may be NULL */
};

/* notify: any thread, perhaps with locks of the machine held; must not block or call it. */
struct machine_watcher {
	struct list link;
	void (*notify)(struct machine_watcher *watcher, const struct machine_notice *notice);
};

struct machine_watchers {
	pthread_mutex_t lock; /* a leaf; held while watchers are notified */
	struct list list;
};

void machine_watchers_init(struct machine_watchers *watchers);
void machine_watchers_fini(struct machine_watchers *watchers);
void machine_watch(struct machine_watchers *watchers, struct machine_watcher *watcher);
/* Afterwards it is not called any more. */
void machine_unwatch(struct machine_watchers *watchers, struct machine_watcher *watcher);
void machine_notify(struct machine_watchers *watchers, const struct machine_notice *notice);

#endif
