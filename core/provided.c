/* SPDX-License-Identifier: MIT */
#include "core/provided.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"

static const struct {
	const char *name, *none; /* none: how a sentence begins that says that there is none */
} kinds[] = {
	[PROVIDED_CHARDEV] = {"stream", "the program has made no"},
	[PROVIDED_NETDEV] = {"network", "the program has made no"},
	[PROVIDED_REGION] = {"region", "the program has made no"},
	[BACKEND_CHARDEV] = {"chardev", "there is no"},
	[BACKEND_DRIVE] = {"drive", "there is no"},
};

void provided_init(struct provided_set *set)
{
	pthread_mutex_init(&set->lock, NULL);
	list_init(&set->list);
}

/* It may be out of the list already. */
static void drop(struct provided *own)
{
	list_del(&own->link);
	free(own->name);
	own->release(own);
}

void provided_fini(struct provided_set *set)
{
	/* The latest first, for it may have an earlier one. */
	while (!list_empty(&set->list))
		drop(list_entry(set->list.prev, struct provided, link));
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

static int already_there(enum provided_kind kind, const char *name, struct vmm_error *err)
{
	return error_set(err, EEXIST, "there is already a %s %s", kinds[kind].name, name);
}

int provided_check(struct provided_set *set, enum provided_kind kind, const char *name,
		   struct vmm_error *err)
{
	bool there;
	int rc = device_check_id(kinds[kind].name, name, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&set->lock);
	there = find(set, kind, name);
	pthread_mutex_unlock(&set->lock);
	return there ? already_there(kind, name, err) : 0;
}

int provided_add(struct provided_set *set, struct provided *own, const char *name,
		 struct vmm_error *err)
{
	const char *kind = kinds[own->kind].name;
	int rc = device_check_id(kind, name, err);

	if (rc)
		return rc;
	own->name = strdup(name);
	if (!own->name)
		return error_set(err, ENOMEM, "%s %s: out of memory", kind, name);
	pthread_mutex_lock(&set->lock);
	if (find(set, own->kind, name))
		rc = already_there(own->kind, name, err);
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

/* Lock held. The name is valid as long. */
static const char *user_of(const struct provided *own)
{
	return own->user ? own->user : "another device";
}

int provided_take(struct provided_set *set, enum provided_kind kind, const char *name,
		  const char *what, const char *user, struct provided **out, struct vmm_error *err)
{
	struct provided *own = NULL;
	int rc = 0;

	if (set) {
		pthread_mutex_lock(&set->lock);
		own = find(set, kind, name);
		if (own && own->taken) {
			rc = error_set(err, EBUSY, "%s: %s has the %s %s", what, user_of(own),
				       kinds[kind].name, name);
		} else if (own) {
			own->taken = true;
			own->user = user;
		}
		pthread_mutex_unlock(&set->lock);
	}
	if (!own)
		return error_set(err, ENOENT, "%s: %s %s %s", what, kinds[kind].none,
				 kinds[kind].name, name);
	if (rc == 0)
		*out = own;
	return rc;
}

void provided_give_back(struct provided_set *set, struct provided *own)
{
	pthread_mutex_lock(&set->lock);
	own->taken = false;
	own->user = NULL;
	pthread_mutex_unlock(&set->lock);
}

int provided_remove(struct provided_set *set, enum provided_kind kind, const char *name,
		    struct vmm_error *err)
{
	struct provided *own;
	int rc = 0;

	pthread_mutex_lock(&set->lock);
	own = find(set, kind, name);
	if (!own)
		rc = error_set(err, ENOENT, "%s %s %s", kinds[kind].none, kinds[kind].name, name);
	else if (own->taken)
		rc = error_set(err, EBUSY, "%s has the %s %s: remove that first", user_of(own),
			       kinds[kind].name, name);
	else
		list_del(&own->link);
	pthread_mutex_unlock(&set->lock);
	if (rc == 0)
		drop(own);
	return rc;
}

void provided_clear(struct provided_set *set, enum provided_kind kind)
{
	struct list *it = set->list.prev;

	while (it != &set->list) {
		struct provided *own = list_entry(it, struct provided, link);

		it = it->prev;
		if (own->kind == kind)
			drop(own);
	}
}

void provided_each(struct provided_set *set, enum provided_kind kind,
		   void (*fn)(struct provided *own, void *arg), void *arg)
{
	pthread_mutex_lock(&set->lock);
	list_for_each (it, &set->list) {
		struct provided *own = list_entry(it, struct provided, link);

		if (own->kind == kind)
			fn(own, arg);
	}
	pthread_mutex_unlock(&set->lock);
}
