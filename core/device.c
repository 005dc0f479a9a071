/* SPDX-License-Identifier: MIT */
#include "core/device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option_desc no_options[] = {OPTION_END};

static const struct option_desc *options_of(const struct device_class *cls)
{
	return cls->options ? cls->options : no_options;
}

static void device_free(struct device *dev)
{
	device_set_parent(dev, NULL);
	options_free(options_of(dev->cls), dev);
	pthread_mutex_destroy(&dev->lock);
	free(dev->id);
	free(dev);
}

static void begin_quiesce(struct loop_task *task)
{
	struct device *dev = container_of(task, struct device, quiesce_task);

	/*
	 * Only now, on the loop: a drain for another reason (a reset by the driver) that completes
	 * before this must not be taken for the one that was asked for.
	 */
	assert(!dev->quiesce_done);
	dev->quiesce_done = dev->quiesce_wanted;
	if (dev->cls->quiesce)
		dev->cls->quiesce(dev);
	else
		device_quiesced(dev);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct vmm_error own;
	int r;

	/* A sentence is wanted whatever the class does, and the caller's may be a stale one. */
	if (!err)
		err = &own;
	err->code = 0;
	r = dev->cls->realize ? dev->cls->realize(dev, err) : 0;
	if (!r)
		return 0;
	if (err->code)
		error_prefix(err, "%s", dev->id);
	else
		error_set_errno(err, -r, "%s: cannot set up the device", dev->id);
	return r;
}

/* Not of ctype.h: what a letter is must not depend on the locale. */
static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_other(char c)
{
	return (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

int device_check_id(const char *what, const char *id, struct vmm_error *err)
{
	size_t len = 0;

	while (is_letter(id[len]) || (len && is_other(id[len])))
		len++;
	if (len && !id[len] && len <= DEVICE_ID_MAX)
		return 0;
	return error_set(err, EINVAL,
			 "%s: id=%s: an id has 1 to %d letters, digits, '.', '_' and '-', and "
			 "begins with a letter",
			 what, id, DEVICE_ID_MAX);
}

int device_check_options(const struct device_class *cls, const char *what, const char *options,
			 struct vmm_error *err)
{
	struct device *scratch = calloc(1, cls->size);
	int r;

	if (!scratch)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	scratch->cls = cls;
	r = options_parse(options_of(cls), what, NULL, options, scratch, err);
	if (!r) {
		r = cls->check ? cls->check(scratch, what, err) : 0;
		options_free(options_of(cls), scratch);
	}
	free(scratch);
	return r;
}

int device_create(struct device **out, const struct device_class *cls, const char *id,
		  const char *options, const struct device_env *env, struct vmm_error *err)
{
	struct device *dev;
	int r;

	assert(cls->size >= sizeof(struct device));
	id = id ? id : cls->name;
	r = device_check_id(cls->name, id, err);
	if (r)
		return r;
	dev = calloc(1, cls->size);
	if (!dev)
		return error_set(err, ENOMEM, "%s: out of memory", id);
	dev->cls = cls;
	dev->env = env;
	dev->loop = env->loop;
	pthread_mutex_init(&dev->lock, NULL);
	loop_task_init(&dev->quiesce_task, begin_quiesce);
	dev->id = strdup(id);
	r = dev->id ? options_parse(options_of(cls), id, NULL, options, dev, err)
		    : error_set(err, ENOMEM, "%s: out of memory", cls->name);
	if (!r)
		r = realize(dev, err);
	if (r) {
		device_free(dev);
		return r;
	}
	*out = dev;
	return 0;
}

void device_destroy(struct device *dev)
{
	if (!dev)
		return;
	assert(!dev->quiesce_done && !dev->children);
	if (dev->cls->unrealize)
		dev->cls->unrealize(dev);
	device_free(dev);
}

void device_quiesce(struct device *dev, void (*done)(struct device *dev, void *arg), void *arg)
{
	dev->quiesce_wanted = done;
	dev->quiesce_arg = arg;
	if (loop_on_thread(dev->loop))
		begin_quiesce(&dev->quiesce_task);
	else
		loop_post(dev->loop, &dev->quiesce_task);
}

void device_quiesced(struct device *dev)
{
	void (*done)(struct device * dev, void *arg) = dev->quiesce_done;

	if (!done)
		return;
	/* Cleared first: done may quiesce again or destroy the device. */
	dev->quiesce_done = NULL;
	done(dev, dev->quiesce_arg);
}

static void at_rest(struct device *dev UNUSED, void *arg)
{
	struct device_rest *rest = arg;

	pthread_mutex_lock(&rest->lock);
	if (!--rest->left)
		pthread_cond_signal(&rest->cond);
	pthread_mutex_unlock(&rest->lock);
}

void device_rest_begin(struct device_rest *rest, struct loop *loop)
{
	*rest = (struct device_rest){.loop = loop};
	pthread_mutex_init(&rest->lock, NULL);
	pthread_cond_init(&rest->cond, NULL);
}

void device_rest_add(struct device_rest *rest, struct device *dev)
{
	assert(dev->loop == rest->loop);
	pthread_mutex_lock(&rest->lock);
	rest->left++;
	pthread_mutex_unlock(&rest->lock);
	device_quiesce(dev, at_rest, rest);
}

void device_rest_wait(struct device_rest *rest)
{
	const bool turn = loop_on_thread(rest->loop);

	pthread_mutex_lock(&rest->lock);
	while (rest->left) {
		if (!turn) {
			pthread_cond_wait(&rest->cond, &rest->lock);
			continue;
		}
		pthread_mutex_unlock(&rest->lock);
		loop_turn(rest->loop, true);
		pthread_mutex_lock(&rest->lock);
	}
	pthread_mutex_unlock(&rest->lock);
	pthread_cond_destroy(&rest->cond);
	pthread_mutex_destroy(&rest->lock);
}

void device_quiesce_wait(struct device *dev)
{
	struct device_rest rest;

	device_rest_begin(&rest, dev->loop);
	device_rest_add(&rest, dev);
	device_rest_wait(&rest);
}

void device_reset(struct device *dev)
{
	if (dev->cls->reset)
		dev->cls->reset(dev);
}

void device_set_parent(struct device *dev, struct device *parent)
{
	if (dev->parent)
		dev->parent->children--;
	dev->parent = parent;
	if (!parent)
		return;
	assert(parent->loop == dev->loop);
	parent->children++;
}

/* ---- actions ---- */

struct action_call {
	struct device *dev;
	const struct device_action *action;
	const void *args;
	struct report *report;
	struct vmm_error *err;
	int result;
};

static void run_action(void *arg)
{
	struct action_call *call = arg;

	call->result = call->action->run(call->dev, call->args, call->report, call->err);
}

static const struct device_action *find_action(const struct device_class *cls, const char *name)
{
	for (const struct device_action *a = cls->actions; a && a->name; a++)
		if (!strcmp(a->name, name))
			return a;
	return NULL;
}

static int no_such_action(const struct device *dev, const char *name, struct vmm_error *err)
{
	const struct device_action *actions = dev->cls->actions;
	const char *names[32] = {NULL};
	char choices[256];

	if (!actions || !actions->name)
		return error_set(err, ENOENT, "%s: there is no action \"%s\": %s has none", dev->id,
				 name, dev->cls->name);
	for (unsigned i = 0; i < ARRAY_SIZE(names) - 1 && actions[i].name; i++)
		names[i] = actions[i].name;
	describe_choices(choices, sizeof(choices), name, names);
	return error_set(err, ENOENT, "%s: there is no action \"%s\"%s", dev->id, name, choices);
}

static int call_action(struct action_call *call)
{
	const char *id = call->dev->id, *name = call->action->name;

	call->err->code = 0;
	loop_call(call->dev->loop, run_action, call);
	if (!call->result)
		return 0;
	if (call->err->code)
		error_prefix(call->err, "%s: %s", id, name);
	else
		error_set_errno(call->err, -call->result, "%s: %s", id, name);
	return call->result;
}

int device_action(struct device *dev, const char *name, const char *options, struct report *report,
		  struct vmm_error *err)
{
	const struct device_action *action = find_action(dev->cls, name);
	const struct option_desc *table = action && action->options ? action->options : no_options;
	_Alignas(max_align_t) unsigned char args[DEVICE_ACTION_ARGS_MAX] = {0};
	struct vmm_error own;
	struct action_call call = {
		.dev = dev,
		.action = action,
		.args = args,
		.report = report,
		.err = err ? err : &own, /* a class always has where to put a sentence */
	};
	char what[DEVICE_ID_MAX + 64];
	int r;

	if (!action)
		return no_such_action(dev, name, err);
	assert(action->args_size <= sizeof(args));
	snprintf(what, sizeof(what), "%s: %s", dev->id, action->name);
	r = options_parse(table, what, action->implied, options, args, err);
	if (r)
		return r;
	r = call_action(&call);
	options_free(table, args);
	return r;
}

/* ---- saved state ---- */

void device_save(struct device *dev, struct state_writer *w)
{
	state_begin(w, dev->id, 1);
	state_begin(w, dev->cls->name, MAX(dev->cls->state_version, 1u));
	if (dev->cls->save)
		dev->cls->save(dev, w);
	state_end(w);
	state_end(w);
}

int device_load(struct device *dev, struct state_reader *r, struct vmm_error *err)
{
	const struct device_class *cls = dev->cls;
	uint32_t version;
	int code;

	code = state_enter(r, dev->id, 1, &version);
	if (!code)
		code = state_enter(r, cls->name, MAX(cls->state_version, 1u), &version);
	if (code == -ENOTSUP)
		return error_set(err, ENOTSUP, "%s: the saved state is of a newer version",
				 dev->id);
	if (code)
		return error_set(err, -code, "%s: its saved state is not here", dev->id);
	if (cls->load)
		code = cls->load(dev, r, version);
	if (code)
		return error_set_errno(err, -code, "%s: bad saved state", dev->id);
	if (state_leave(r) || state_leave(r)) {
		/* Too late to be as it was; at least be something that a device can be. */
		device_reset(dev);
		return error_set(err, EPROTO, "%s: bad saved state: fields that nobody reads",
				 dev->id);
	}
	return 0;
}
