/* SPDX-License-Identifier: MIT */
#include "vmm/machine_watch.h"

void machine_watchers_init(struct machine_watchers *watchers)
{
	pthread_mutex_init(&watchers->lock, NULL);
	list_init(&watchers->list);
}

void machine_watchers_fini(struct machine_watchers *watchers)
{
	pthread_mutex_destroy(&watchers->lock);
}

void machine_watch(struct machine_watchers *watchers, struct machine_watcher *watcher)
{
	pthread_mutex_lock(&watchers->lock);
	list_add_tail(&watchers->list, &watcher->link);
	pthread_mutex_unlock(&watchers->lock);
}

void machine_unwatch(struct machine_watchers *watchers, struct machine_watcher *watcher)
{
	pthread_mutex_lock(&watchers->lock);
	list_del(&watcher->link);
	pthread_mutex_unlock(&watchers->lock);
}

void machine_notify(struct machine_watchers *watchers, const struct machine_notice *notice)
{
	pthread_mutex_lock(&watchers->lock);
	list_for_each (it, &watchers->list) {
		struct machine_watcher *watcher = list_entry(it, struct machine_watcher, link);

		watcher->notify(watcher, notice);
	}
	pthread_mutex_unlock(&watchers->lock);
}
