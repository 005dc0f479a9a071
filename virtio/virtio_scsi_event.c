/* SPDX-License-Identifier: MIT */
/*
 * The event queue (5.6.6.3). The driver keeps buffers there; what happens while there are none
 * waits in a ring, and when that is full is lost, of which the driver is told.
 */
#include "virtio/scsi_lun.h"
#include "virtio/virtio_scsi.h"

_Static_assert(sizeof(struct virtio_scsi_event) == 16, "5.6.6.3");

void virtio_scsi_events_flush(struct virtio_scsi *scsi)
{
	struct virtio_device *vd = &scsi->vd;

	while (vd->active && (scsi->event_count || scsi->events_missed)) {
		struct virtio_scsi_event event = {.event = VIRTIO_SCSI_T_NO_EVENT};
		struct virtq_chain *chain;

		if (virtio_pop_or_wait(vd, VIRTIO_SCSI_EVENT, &chain) <= 0)
			return;
		if (chain->in_len < sizeof(event)) {
			virtio_broken(vd, "an event buffer of %llu bytes",
				      (unsigned long long)chain->in_len);
			return;
		}
		if (scsi->event_count) {
			event = scsi->events[scsi->event_first];
			scsi->event_first = (scsi->event_first + 1) % VIRTIO_SCSI_EVENTS;
			scsi->event_count--;
		}
		if (scsi->events_missed)
			event.event |= VIRTIO_SCSI_T_EVENTS_MISSED;
		scsi->events_missed = false;
		virtq_write_in(chain, 0, &event, sizeof(event));
		virtio_push(vd, VIRTIO_SCSI_EVENT, chain, sizeof(event));
	}
}

bool virtio_scsi_driven(const struct scsi_bus *bus)
{
	const struct virtio_device *vd = &container_of(bus, const struct virtio_scsi, bus)->vd;

	return (vd->status & VIRTIO_CONFIG_S_DRIVER_OK) && !vd->resetting;
}

static void report(struct scsi_bus *bus, const struct scsi_lun *lun, unsigned feature,
		   uint32_t event, uint32_t reason)
{
	struct virtio_scsi *scsi = container_of(bus, struct virtio_scsi, bus);
	struct virtio_device *vd = &scsi->vd;
	struct virtio_scsi_event *e;

	if (!virtio_scsi_driven(bus) || !virtio_has(vd, feature))
		return;
	if (scsi->event_count == VIRTIO_SCSI_EVENTS) {
		scsi->events_missed = true;
		return;
	}
	e = &scsi->events[(scsi->event_first + scsi->event_count++) % VIRTIO_SCSI_EVENTS];
	*e = (struct virtio_scsi_event){.event = event, .reason = reason};
	/* As in REPORT LUNS: Linux compares the two, and looks for unit 0 only at all zeroes. */
	scsi_lun_encode(e->lun + 2, (unsigned)lun->lun);
	e->lun[0] = 1;
	e->lun[1] = (uint8_t)lun->target;
	virtio_scsi_events_flush(scsi);
}

void virtio_scsi_plugged(struct scsi_bus *bus, const struct scsi_lun *lun, bool added)
{
	report(bus, lun, VIRTIO_SCSI_F_HOTPLUG, VIRTIO_SCSI_T_TRANSPORT_RESET,
	       added ? VIRTIO_SCSI_EVT_RESET_RESCAN : VIRTIO_SCSI_EVT_RESET_REMOVED);
}

void virtio_scsi_changed(struct scsi_bus *bus, const struct scsi_lun *lun, struct scsi_sense what)
{
	report(bus, lun, VIRTIO_SCSI_F_CHANGE, VIRTIO_SCSI_T_PARAM_CHANGE,
	       (uint32_t)(what.asc | what.ascq << 8));
}
