/* SPDX-License-Identifier: MIT */
/*
 * How a logical unit comes, goes, rests and is saved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/scsi_lun.h"

#define SERIAL_MAX 36
#define VENDOR_MAX 8

/* ---- coming and going ---- */

static void at_rest(struct loop_task *task)
{
	struct scsi_lun *lun = container_of(task, struct scsi_lun, rest_task);
	bool rest;

	device_lock(lun->bus->dev);
	rest = lun->resting && list_empty(&lun->commands);
	if (rest)
		lun->resting = false;
	device_unlock(lun->bus->dev);
	if (rest)
		device_quiesced(&lun->dev);
}

static void on_limit_timer(struct loop_timer *timer)
{
	struct scsi_lun *lun = container_of(timer, struct scsi_lun, limit_timer);

	device_lock(lun->bus->dev);
	scsi_lun_pump(lun);
	device_unlock(lun->bus->dev);
}

static int check_options(const struct scsi_lun *lun, struct vmm_error *err)
{
	if (lun->serial && strlen(lun->serial) > SERIAL_MAX)
		return error_set(err, EINVAL, "serial=%s is longer than %d characters", lun->serial,
				 SERIAL_MAX);
	if (lun->vendor && strlen(lun->vendor) > VENDOR_MAX)
		return error_set(err, EINVAL, "vendor=%s is longer than %d characters", lun->vendor,
				 VENDOR_MAX);
	if (lun->product && strlen(lun->product) > 2 * VENDOR_MAX)
		return error_set(err, EINVAL, "product=%s is longer than %d characters",
				 lun->product, 2 * VENDOR_MAX);
	return rate_limit_check(&lun->limits, "", "iops", err);
}

int scsi_lun_init(struct scsi_lun *lun, struct vmm_error *err)
{
	int rc = check_options(lun, err);

	if (rc)
		return rc;
	lun->bus = scsi_bus_find(lun->dev.env, lun->bus_id);
	if (!lun->bus && lun->bus_id)
		return error_set(err, ENOENT, "bus=%s is not a virtio-scsi controller",
				 lun->bus_id);
	if (!lun->bus)
		return error_set(err, ENOENT,
				 "there is no SCSI controller: add --device virtio-scsi before it");
	list_init(&lun->commands);
	list_init(&lun->waiting);
	loop_task_init(&lun->rest_task, at_rest);
	loop_timer_init(lun->dev.loop, &lun->limit_timer, on_limit_timer);
	rate_limit_init(&lun->limit, lun->dev.env->clock);
	rc = rate_limit_set(&lun->limit, &lun->limits, err);
	if (rc)
		return rc;
	lun->attentions[0] = 1u << SCSI_ATTENTION_POWER_ON;
	for (unsigned i = 1; i < SCSI_PR_NEXUSES; i++)
		lun->attentions[i] = lun->attentions[0];
	lun->dev.loop = lun->bus->dev->loop;
	device_set_parent(&lun->dev, lun->bus->dev);
	return 0;
}

/* The other units of the target report that there is one more or one less. */
static void tell_target(const struct scsi_lun *lun)
{
	const struct scsi_target *t = scsi_bus_target(lun->bus, (unsigned)lun->target);

	if (!lun->bus->ops->driven(lun->bus))
		return;
	for (struct scsi_lun *l = scsi_target_next(t, 0); l;
	     l = scsi_target_next(t, (unsigned)l->lun + 1))
		if (l != lun)
			scsi_lun_attention(l, SCSI_ATTENTION_LUNS);
}

struct attach_call {
	struct scsi_lun *lun;
	const struct scsi_lun *taken_by;
	int result;
};

static void attach_on_loop(void *arg)
{
	struct attach_call *call = arg;
	struct scsi_lun *lun = call->lun;

	device_lock(lun->bus->dev);
	call->taken_by = scsi_bus_lun(lun->bus, (unsigned)lun->target, (unsigned)lun->lun);
	call->result = scsi_bus_attach(lun->bus, lun);
	if (!call->result) {
		tell_target(lun);
		lun->bus->ops->plugged(lun->bus, lun, true);
	}
	device_unlock(lun->bus->dev);
}

int scsi_lun_attach(struct scsi_lun *lun, struct vmm_error *err)
{
	struct attach_call call = {.lun = lun};

	loop_call(lun->dev.loop, attach_on_loop, &call);
	if (call.result == -EEXIST)
		return error_set(
			err, EEXIST,
			"target=%u,lun=%u of '%s' is taken by '%s': give another target or lun",
			(unsigned)lun->target, (unsigned)lun->lun, lun->bus->dev->id,
			call.taken_by->dev.id);
	if (call.result)
		return error_set(err, -call.result, "out of memory");
	return 0;
}

static void detach_on_loop(void *arg)
{
	struct scsi_lun *lun = arg;

	device_lock(lun->bus->dev);
	tell_target(lun);
	lun->bus->ops->plugged(lun->bus, lun, false);
	scsi_bus_detach(lun->bus, lun);
	device_unlock(lun->bus->dev);
}

static void disarm(void *arg)
{
	loop_timer_disarm(arg);
}

void scsi_lun_fini(struct scsi_lun *lun)
{
	if (!lun->bus)
		return;
	if (scsi_bus_lun(lun->bus, (unsigned)lun->target, (unsigned)lun->lun) == lun) {
		loop_call(lun->dev.loop, detach_on_loop, lun);
		/* What came after the quiesce that preceded this has been refused, or ends now. */
		device_quiesce_wait(&lun->dev);
	}
	loop_call(lun->dev.loop, disarm, &lun->limit_timer);
	device_set_parent(&lun->dev, NULL);
	lun->bus = NULL;
}

/* ---- resting, resetting ---- */

void scsi_lun_quiesce(struct device *dev)
{
	struct scsi_lun *lun = scsi_lun(dev);
	bool wait;

	device_lock(lun->bus->dev);
	/* Or a busy guest would keep it from ever coming to rest. */
	lun->stopped = true;
	scsi_lun_pump(lun);
	wait = lun->resting = !list_empty(&lun->commands);
	device_unlock(lun->bus->dev);
	if (!wait)
		device_quiesced(dev);
}

void scsi_lun_reset_device(struct device *dev)
{
	struct scsi_lun *lun = scsi_lun(dev);

	device_lock(lun->bus->dev);
	lun->stopped = false;
	scsi_lun_reset(lun, SCSI_ATTENTION_POWER_ON);
	device_unlock(lun->bus->dev);
}

/* ---- the limit ---- */

struct throttle_args {
	struct rate_limit_options limits;
};

const struct option_desc scsi_lun_throttle_options[] = {
	RATE_LIMIT_OPTIONS(struct throttle_args, limits),
	OPTION_END,
};

void scsi_lun_report(struct scsi_lun *lun, struct report *report)
{
	device_lock(lun->bus->dev);
	rate_limit_report(&lun->limit, report);
	device_unlock(lun->bus->dev);
}

int scsi_lun_throttle(struct device *dev, const void *args, struct report *report UNUSED,
		      struct vmm_error *err)
{
	struct scsi_lun *lun = scsi_lun(dev);
	int rc;

	device_lock(lun->bus->dev);
	rc = rate_limit_set(&lun->limit, args, err);
	/* Who waits looks again. */
	loop_timer_disarm(&lun->limit_timer);
	scsi_lun_pump(lun);
	device_unlock(lun->bus->dev);
	return rc;
}

/* ---- saved state ---- */

void scsi_lun_save(const struct scsi_lun *lun, struct state_writer *w)
{
	for (unsigned i = 0; i < SCSI_PR_NEXUSES; i++)
		state_put_u64(w, "attentions", lun->attentions[i]);
	state_put_u64(w, "descriptor_sense", lun->descriptor_sense);
	scsi_pr_save(&lun->reservations, w);
}

int scsi_lun_parse(struct scsi_lun_state *state, struct state_reader *r)
{
	uint64_t v = 0;
	int rc = 0;

	for (unsigned i = 0; !rc && i < SCSI_PR_NEXUSES; i++) {
		rc = state_get_u64(r, "attentions", &v, 0, (1u << SCSI_ATTENTIONS) - 1);
		state->attentions[i] = (uint32_t)v;
	}
	if (!rc)
		rc = state_get_u64(r, "descriptor_sense", &v, 0, 1);
	state->descriptor_sense = v;
	return rc ? rc : scsi_pr_load(&state->reservations, r);
}

void scsi_lun_commit(struct scsi_lun *lun, const struct scsi_lun_state *state)
{
	memcpy(lun->attentions, state->attentions, sizeof(lun->attentions));
	lun->descriptor_sense = state->descriptor_sense;
	lun->reservations = state->reservations;
	lun->stopped = false;
}
