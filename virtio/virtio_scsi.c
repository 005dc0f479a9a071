/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_scsi.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/scsi_lun.h"
#include "virtio/scsi_medium.h"
#include "virtio/virtio_classes.h"

#define MIN_QUEUE_SIZE   4 /* request, response, data; a power of two */
#define SENSE_SIZE       96u
#define CDB_SIZE         32u
#define COMMANDS_PER_LUN 128u

_Static_assert(sizeof(struct virtio_scsi_config) == 36, "5.6.4");

#define BIT(n) (UINT64_C(1) << (n))

/* ---- configuration space (5.6.4) ---- */

static void config_read(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	const struct virtio_scsi *scsi = virtio_scsi(vd);
	const struct virtio_scsi_config c = {
		.num_queues = (uint32_t)scsi->queues,
		/* Request and response have a descriptor each. */
		.seg_max = (uint32_t)scsi->queue_size - 2,
		.max_sectors = SCSI_MAX_SECTORS,
		.cmd_per_lun = MIN((uint32_t)scsi->queue_size, COMMANDS_PER_LUN),
		.event_info_size = sizeof(struct virtio_scsi_event),
		.sense_size = scsi->sense_size,
		.cdb_size = scsi->cdb_size,
		.max_channel = 0,
		.max_target = SCSI_MAX_TARGETS - 1,
		.max_lun = SCSI_MAX_LUNS - 1,
	};

	memcpy(buf, (const char *)&c + offset, len);
}

static void config_write(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);
	struct virtio_scsi_config c;

	/* Two fields are the driver's to write, and its writes may come byte by byte. */
	config_read(vd, 0, &c, sizeof(c));
	memcpy((char *)&c + offset, buf, len);
	if (c.sense_size > VIRTIO_SCSI_SIZE_MAX || c.cdb_size > VIRTIO_SCSI_SIZE_MAX) {
		virtio_broken(vd, "sense_size %u and cdb_size %u, of at most %u", c.sense_size,
			      c.cdb_size, VIRTIO_SCSI_SIZE_MAX);
		return;
	}
	scsi->sense_size = c.sense_size;
	scsi->cdb_size = c.cdb_size;
}

bool virtio_scsi_address(const uint8_t lun[8], unsigned *target, unsigned *unit)
{
	*target = lun[1];
	*unit = get_be16(lun + 2) & 0x3fff;
	/* Peripheral device addressing has 8 bits, flat space addressing 14. */
	return lun[0] == 1 && (lun[2] == 0 || lun[2] >> 6 == 1) && !get_be32(lun + 4);
}

/* ---- working ---- */

static void kick(struct virtio_device *vd, unsigned queue)
{
	switch (queue) {
	case VIRTIO_SCSI_CONTROL:
		virtio_process(vd, queue, virtio_scsi_control);
		break;
	case VIRTIO_SCSI_EVENT:
		virtio_scsi_events_flush(virtio_scsi(vd));
		break;
	default:
		virtio_process(vd, queue, virtio_scsi_start);
		break;
	}
}

static struct scsi_lun *next_lun(struct virtio_scsi *scsi, const struct scsi_lun *after)
{
	if (!after)
		return scsi_bus_next(&scsi->bus, 0, 0);
	return scsi_bus_next(&scsi->bus, (unsigned)after->target, (unsigned)after->lun + 1);
}

static void activate(struct virtio_device *vd)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);

	/* Where the machine goes on after a quiesce, so do the units. */
	for (struct scsi_lun *lun = next_lun(scsi, NULL); lun; lun = next_lun(scsi, lun))
		lun->stopped = false;
}

static void drained(struct loop_task *task)
{
	struct virtio_scsi *scsi = container_of(task, struct virtio_scsi, drained_task);
	bool done;

	device_lock(&scsi->vd.dev);
	done = scsi->draining && !scsi->bus.in_flight;
	if (done)
		scsi->draining = false;
	device_unlock(&scsi->vd.dev);
	if (done)
		virtio_drained(&scsi->vd);
}

static void drain(struct virtio_device *vd)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);
	bool wait;

	device_lock(&vd->dev);
	/* Activation undoes it. Nothing waits for a rate limit from here on. */
	for (struct scsi_lun *lun = next_lun(scsi, NULL); lun; lun = next_lun(scsi, lun)) {
		lun->stopped = true;
		scsi_lun_pump(lun);
	}
	/* Task management functions wait only for commands. */
	wait = scsi->draining = scsi->bus.in_flight > 0;
	device_unlock(&vd->dev);
	if (!wait)
		virtio_drained(vd);
}

/* 2.6.1: the commands of this queue that wait for a limit; those of others come along. */
static void drain_queue(struct virtio_device *vd, unsigned queue)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);

	if (queue < VIRTIO_SCSI_REQUEST)
		return;
	for (struct scsi_lun *lun = next_lun(scsi, NULL); lun; lun = next_lun(scsi, lun))
		scsi_lun_stop_waiting(lun);
}

static void reset(struct virtio_device *vd)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);

	assert(!scsi->bus.in_flight && list_empty(&scsi->tmfs_waiting));
	scsi->sense_size = SENSE_SIZE;
	scsi->cdb_size = CDB_SIZE;
	scsi->event_first = scsi->event_count = 0;
	scsi->events_missed = false;
	for (struct scsi_lun *lun = next_lun(scsi, NULL); lun; lun = next_lun(scsi, lun))
		scsi_lun_reset(lun, SCSI_ATTENTION_RESET);
}

/* ---- saved state ---- */

static void save(struct virtio_device *vd, struct state_writer *w)
{
	const struct virtio_scsi *scsi = virtio_scsi(vd);

	state_put_u64(w, "sense_size", scsi->sense_size);
	state_put_u64(w, "cdb_size", scsi->cdb_size);
	state_put_u64(w, "events_missed", scsi->events_missed);
	state_put_u64(w, "events", scsi->event_count);
	for (unsigned i = 0; i < scsi->event_count; i++)
		state_put_bytes(w, "event",
				&scsi->events[(scsi->event_first + i) % VIRTIO_SCSI_EVENTS],
				sizeof(scsi->events[0]));
}

static int load(struct virtio_device *vd, struct state_reader *r, uint32_t version UNUSED)
{
	struct virtio_scsi_event events[VIRTIO_SCSI_EVENTS];
	struct virtio_scsi *scsi = virtio_scsi(vd);
	uint64_t sense_size, cdb_size, missed, count = 0;
	int rc = state_get_u64(r, "sense_size", &sense_size, 0, VIRTIO_SCSI_SIZE_MAX);

	if (!rc)
		rc = state_get_u64(r, "cdb_size", &cdb_size, 0, VIRTIO_SCSI_SIZE_MAX);
	if (!rc)
		rc = state_get_u64(r, "events_missed", &missed, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "events", &count, 0, VIRTIO_SCSI_EVENTS);
	for (unsigned i = 0; !rc && i < count; i++)
		rc = state_get_bytes(r, "event", &events[i], sizeof(events[i]));
	if (rc)
		return rc;
	scsi->sense_size = (uint32_t)sense_size;
	scsi->cdb_size = (uint32_t)cdb_size;
	scsi->events_missed = missed;
	memcpy(scsi->events, events, count * sizeof(events[0]));
	scsi->event_first = 0;
	scsi->event_count = (unsigned)count;
	return 0;
}

/* ---- life ---- */

static const struct scsi_bus_ops bus_ops = {
	.complete = virtio_scsi_complete,
	.driven = virtio_scsi_driven,
	.plugged = virtio_scsi_plugged,
	.changed = virtio_scsi_changed,
};

struct scsi_bus *scsi_bus_find(const struct device_env *env, const char *id)
{
	struct device *dev = env->find ? env->find(env, id, &virtio_scsi_class.device) : NULL;

	return dev ? &virtio_scsi(virtio_device(dev))->bus : NULL;
}

static void free_requests(struct virtio_scsi *scsi)
{
	for (unsigned q = 0; scsi->requests && q < scsi->queues; q++)
		free(scsi->requests[q]);
	free(scsi->requests);
	free(scsi->tmfs);
	scsi->requests = NULL;
	scsi->tmfs = NULL;
}

static int alloc_requests(struct virtio_scsi *scsi)
{
	scsi->tmfs = calloc(scsi->queue_size, sizeof(*scsi->tmfs));
	scsi->requests = calloc(scsi->queues, sizeof(struct virtio_scsi_request *));
	if (!scsi->requests || !scsi->tmfs)
		return -ENOMEM;
	for (unsigned q = 0; q < scsi->queues; q++) {
		scsi->requests[q] = calloc(scsi->queue_size, sizeof(struct virtio_scsi_request));
		if (!scsi->requests[q])
			return -ENOMEM;
	}
	return 0;
}

static void cancel_task(void *arg)
{
	struct virtio_scsi *scsi = arg;

	loop_task_cancel(scsi->vd.dev.loop, &scsi->drained_task);
}

static void unrealize(struct device *dev)
{
	struct virtio_scsi *scsi = virtio_scsi(virtio_device(dev));

	loop_call(dev->loop, cancel_task, scsi);
	virtio_fini(&scsi->vd);
	scsi_bus_fini(&scsi->bus);
	free_requests(scsi);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_scsi *scsi = virtio_scsi(virtio_device(dev));
	int rc;

	if (!is_power_of_two(scsi->queue_size))
		return error_set(err, EINVAL, "queue-size=%llu is not a power of two",
				 (unsigned long long)scsi->queue_size);
	scsi_bus_init(&scsi->bus, dev, &bus_ops);
	list_init(&scsi->tmfs_waiting);
	loop_task_init(&scsi->drained_task, drained);
	scsi->sense_size = SENSE_SIZE;
	scsi->cdb_size = CDB_SIZE;
	rc = alloc_requests(scsi);
	if (rc)
		error_set_errno(err, -rc, "no room for its requests");
	else
		rc = virtio_init(&scsi->vd, VIRTIO_SCSI_REQUEST + (unsigned)scsi->queues,
				 (uint16_t)scsi->queue_size,
				 BIT(VIRTIO_SCSI_F_HOTPLUG) | BIT(VIRTIO_SCSI_F_CHANGE), err);
	if (rc)
		free_requests(scsi);
	return rc;
}

static const struct option_desc options[] = {
	{.name = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_scsi, queues),
	 .fallback = "1",
	 .min = 1,
	 .max = VIRTIO_SCSI_MAX_QUEUES,
	 .help = "request queues; as many as the guest has CPUs is best"},
	{.name = "queue-size",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_scsi, queue_size),
	 .fallback = "256",
	 .min = MIN_QUEUE_SIZE,
	 .max = VIRTQ_MAX_SIZE,
	 .help = "entries of each queue, a power of two"},
	VIRTIO_OPTIONS(struct virtio_scsi, vd),
	OPTION_END,
};

const struct virtio_class virtio_scsi_class = {
	.device =
		{
			.name = "virtio-scsi",
			.help = "SCSI controller for scsi-disk and scsi-cd",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.size = sizeof(struct virtio_scsi),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
		},
	.device_id = VIRTIO_ID_SCSI,
	.pci_class = 0x010000, /* mass storage, SCSI */
	.config_size = sizeof(struct virtio_scsi_config),
	.config_read = config_read,
	.config_write = config_write,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.drain_queue = drain_queue,
	.reset = reset,
	.save = save,
	.load = load,
};
