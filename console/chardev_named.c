/* SPDX-License-Identifier: MIT */
/*
 * Streams that are there before the device that uses them, under a name, and stay when it goes.
 */
#include "console/chardev_internal.h"

#include <assert.h>
#include <errno.h>

/* ---- coming and going ---- */

static void destroy(void *cd)
{
	chardev_destroy(cd);
}

static void release(struct provided *own)
{
	struct chardev *cd = container_of(own, struct chardev, own);

	loop_call(cd->loop, destroy, cd);
}

int chardev_add(struct chardev **out, struct provided_set *set, const char *name, const char *spec,
		struct loop *loop, const struct log *log, struct vmm_error *err)
{
	struct chardev *cd;
	int rc;

	if (chardev_is_spec(name))
		return error_set(err, EINVAL, "chardev %s: that is a kind of stream, not a name",
				 name);
	/* Before anything is opened: its own file or socket would be in its way. */
	rc = provided_check(set, BACKEND_CHARDEV, name, err);
	if (!rc)
		rc = chardev_create(&cd, spec, name, loop, log, err);
	if (rc)
		return rc;
	cd->provided = set;
	cd->own = (struct provided){.kind = BACKEND_CHARDEV, .release = release};
	rc = provided_add(set, &cd->own, name, err);
	if (rc) {
		chardev_destroy(cd);
		return rc;
	}
	cd->named = true;
	*out = cd;
	return 0;
}

/* ---- for a device ---- */

int chardev_acquire(struct chardev **out, const char *spec, const char *what,
		    const struct device *dev, struct vmm_error *err)
{
	struct provided *own;
	int rc;

	if (chardev_is_spec(spec))
		return chardev_create_for(out, spec, what, dev, err);
	rc = provided_take(dev->env->provided, BACKEND_CHARDEV, spec, what, dev->id, &own, err);
	if (rc == -ENOENT) /* which says what else it could have been */
		return chardev_create_for(out, spec, what, dev, err);
	if (rc)
		return rc;
	*out = container_of(own, struct chardev, own);
	assert((*out)->loop == dev->loop);
	return 0;
}

void chardev_release(struct chardev *cd)
{
	if (!cd || !cd->named) {
		chardev_destroy(cd);
		return;
	}
	chardev_attach(cd, NULL, NULL);
	provided_give_back(cd->provided, &cd->own);
}

/* ---- what there is ---- */

void chardev_report(const struct chardev *cd, struct report *report)
{
	report_string(report, "chardev", cd->describe);
	if (cd->named)
		report_string(report, "chardev-id", cd->own.name);
}

static void report_one(struct provided *own, void *report)
{
	report_begin(report, NULL);
	chardev_report(container_of(own, struct chardev, own), report);
	report_end(report);
}

void chardev_report_added(struct provided_set *set, struct report *report)
{
	provided_each(set, BACKEND_CHARDEV, report_one, report);
}
