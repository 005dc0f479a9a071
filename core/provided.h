/* SPDX-License-Identifier: MIT */
/*
 * What is there before the device that uses it: what the program that embeds a machine brings
 * itself, which is the other ends of serial ports and network cards ("chardev=api:NAME") and
 * registers, and backends that were made under a name ("chardev=NAME", "drive=NAME"). A device's
 * options name them, and one device at a time has each.
 */
#ifndef CORE_PROVIDED_H
#define CORE_PROVIDED_H

#include <pthread.h>

#include "core/error.h"
#include "core/list.h"

#define PROVIDED_PREFIX "api:"

enum provided_kind {
	/* The program's. */
	PROVIDED_CHARDEV,
	PROVIDED_NETDEV,
	PROVIDED_REGION,
	/* Backends of ours. */
	BACKEND_CHARDEV,
	BACKEND_DRIVE,
};

struct provided {
	struct list link;
	enum provided_kind kind;
	char *name;
	bool taken;                            /* guarded by the set's lock, as is: */
	const char *user;                      /* who has it; NULL: free, or not known */
	void (*release)(struct provided *own); /* frees it: at the end of the set, or removed */
};

struct provided_set {
	pthread_mutex_t lock; /* a leaf */
	struct list list;
};

void provided_init(struct provided_set *set);
/* Releases all. Nobody has any of them. */
void provided_fini(struct provided_set *set);

/* Could one be added under this name? -EINVAL, -EEXIST. Any thread. */
int provided_check(struct provided_set *set, enum provided_kind kind, const char *name,
		   struct vmm_error *err) MUST_CHECK;
/*
 * Make `own`, of which kind and release are set, known by a copy of this name; from now on it
 * belongs to the set. -EINVAL, -EEXIST (there is one of its kind), -ENOMEM. Any thread.
 */
int provided_add(struct provided_set *set, struct provided *own, const char *name,
		 struct vmm_error *err) MUST_CHECK;
/* Take it out again; the caller frees it, and its name is freed. Nobody has it. */
void provided_del(struct provided_set *set, struct provided *own);

/*
 * Take the one of this name. set may be NULL, which has none. what: begins the sentence. user: the
 * name of who takes it, for the sentence that another one hears; stays valid until it is given
 * back; NULL: not known. -ENOENT, -EBUSY. Any thread.
 */
int provided_take(struct provided_set *set, enum provided_kind kind, const char *name,
		  const char *what, const char *user, struct provided **own,
		  struct vmm_error *err) MUST_CHECK;
void provided_give_back(struct provided_set *set, struct provided *own);

/*
 * Take the one of this name out and release it. -ENOENT; -EBUSY: somebody has it. Any thread that
 * `release` may run on.
 */
int provided_remove(struct provided_set *set, enum provided_kind kind, const char *name,
		    struct vmm_error *err) MUST_CHECK;

/* Remove all of a kind, the latest first. Nobody but a later one has any of them. */
void provided_clear(struct provided_set *set, enum provided_kind kind);

/* Call fn for each of a kind, in the order in which they came. fn must not wait. Any thread. */
void provided_each(struct provided_set *set, enum provided_kind kind,
		   void (*fn)(struct provided *own, void *arg), void *arg);

#endif
