/* SPDX-License-Identifier: MIT */
#include "core/provided.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"

static const char *const kind_names[] = {
	[PROVIDED_CHARDEV] = "stream",
	[PROVIDED_NETDEV] = "network",
	[PROVIDED_REGION] = "region",
};

void provided_init(struct provided_set *set)
{
	pthread_mutex_init(&set->lock, NULL);
	list_init(&set->list);
}

void provided_fini(struct provided_set *set)
{
	list_for_each (it, &set->list) {
		struct provided *own = list_entry(it, struct provided, link);

		free(own->name);
		own->release(own);
	}
	pthread_mutex_destroy(&set->lock);
}

/* Lock held. */
static struct provided *find(struct provided_set *set, enum provided_kind kind, const char *name)
{
	list_for_each (it, &set->list) {
		struct provided *own = list_entry(it, struct provided, link);

		if (own->kind == kind && !strcmp(own->name, name))
			return own;
	}
	return NULL;
}

int provided_add(struct provided_set *set, struct provided *own, const char *name,
		 struct vmm_error *err)
{
	const char *kind = kind_names[own->kind];
	int rc = device_check_id(kind, name, err);

	if (rc)
		return rc;
	own->name = strdup(name);
	if (!own->name)
		return error_set(err, ENOMEM, "%s %s: out of memory", kind, name);
	pthread_mutex_lock(&set->lock);
	if (find(set, own->kind, name))
		rc = error_set(err, EEXIST, "there is already a %s %s", kind, name);
	else
		list_add_tail(&set->list, &own->link);
	pthread_mutex_unlock(&set->lock);
	if (rc)
		free(own->name);
	return rc;
}

void provided_del(struct provided_set *set, struct provided *own)
{
	pthread_mutex_lock(&set->lock);
	list_del(&own->link);
	pthread_mutex_unlock(&set->lock);
	free(own->name);
}

int provided_take(struct provided_set *set, enum provided_kind kind, const char *name,
		  const char *what, struct provided **out, struct vmm_error *err)
{
	struct provided *own = NULL;
	bool taken = false;

	if (set) {
		pthread_mutex_lock(&set->lock);
		own = find(set, kind, name);
		if (own) {
			taken = own->taken;
			own->taken = true;
		}
		pthread_mutex_unlock(&set->lock);
	}
	if (!own)
		return error_set(err, ENOENT, "%s: the program has made no %s %s", what,
				 kind_names[kind], name);
	if (taken)
		return error_set(err, EBUSY, "%s: another device has the %s %s", what,
				 kind_names[kind], name);
	*out = own;
	return 0;
}

void provided_give_back(struct provided_set *set, struct provided *own)
{
	pthread_mutex_lock(&set->lock);
	own->taken = false;
	pthread_mutex_unlock(&set->lock);
}
