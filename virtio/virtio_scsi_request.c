/* SPDX-License-Identifier: MIT */
/*
 * The way of a command from a request queue to the bus and back (5.6.6.1).
 *
 * A chain is: the request, data out | the response, data in. The two data parts go to the unit as
 * they lie; request and response have the sizes that the driver has set in configuration space.
 */
#include "virtio/virtio_scsi.h"

#include <string.h>

_Static_assert(sizeof(struct virtio_scsi_cmd_req) == 19, "5.6.6.1");
_Static_assert(sizeof(struct virtio_scsi_cmd_resp) == 12, "5.6.6.1");

/* ---- the answer ---- */

static uint8_t response_of(const struct scsi_command *cmd)
{
	switch (cmd->outcome) {
	case SCSI_COMPLETE:
		return VIRTIO_SCSI_S_OK;
	case SCSI_OVERRUN:
		return VIRTIO_SCSI_S_OVERRUN;
	case SCSI_ABORTED:
		return VIRTIO_SCSI_S_ABORTED;
	case SCSI_RESET:
		break;
	}
	return VIRTIO_SCSI_S_RESET;
}

/* The chain is the driver's from here on. */
static void answer(struct virtio_scsi_request *r, uint8_t response)
{
	struct scsi_command *cmd = &r->cmd;
	struct virtio_device *vd = &r->scsi->vd;
	struct {
		struct virtio_scsi_cmd_resp head;
		uint8_t sense[VIRTIO_SCSI_SIZE_MAX];
	} __attribute__((packed)) out = {.head.response = response};
	uint64_t in_done = 0;

	if (r->cut)
		*r->cut = r->whole;
	out.head.resid = (uint32_t)r->data_len;
	if (response == VIRTIO_SCSI_S_OK) {
		out.head.status = cmd->status;
		out.head.sense_len =
			MIN(cmd->sense_len, r->response_size - (uint32_t)sizeof(out.head));
		memcpy(out.sense, cmd->sense, out.head.sense_len);
		out.head.resid = (uint32_t)(r->data_len - cmd->transferred);
		in_done = r->chain->in_len > r->response_size ? cmd->transferred : 0;
	}
	virtq_write_in(r->chain, 0, &out, r->response_size);
	/* A read that failed half-way has written something that is not reported. */
	if (r->chain->in_len > r->response_size + in_done)
		virtq_dirty_in(vd->queues[r->queue].vq, r->chain);
	virtio_push(vd, r->queue, r->chain, r->response_size + (uint32_t)in_done);
}

void virtio_scsi_complete(struct scsi_bus *bus, struct scsi_command *cmd)
{
	struct virtio_scsi_request *r = container_of(cmd, struct virtio_scsi_request, cmd);
	struct virtio_scsi *scsi = r->scsi;

	/*
	 * A reset waits for the units, so that the chain is still ours. Were that ever broken, a
	 * completion of the time before must not land in a request of the time after.
	 */
	if (r->generation == virtq_generation(scsi->vd.queues[r->queue].vq))
		answer(r, response_of(cmd));
	virtio_scsi_tmfs_check(scsi);
	if (scsi->draining && !bus->in_flight)
		loop_post(scsi->vd.dev.loop, &scsi->drained_task);
}

/* ---- the question ---- */

/* The writable part behind the response, in place. */
static void split_in(struct virtio_scsi_request *r)
{
	struct virtq_chain *c = r->chain;
	struct iovec *iov = virtq_chain_in(c);
	uint64_t skip = r->response_size;
	unsigned i = 0;

	while (i < c->in_count && skip >= iov[i].iov_len)
		skip -= iov[i++].iov_len;
	r->cmd.in = (struct scsi_data){iov + i, c->in_count - i, c->in_len - r->response_size};
	r->cut = i < c->in_count ? &iov[i] : NULL;
	if (!r->cut)
		return;
	/* What the response needs of it is put back when it is written. */
	r->whole = *r->cut;
	r->cut->iov_base = (char *)r->cut->iov_base + skip;
	r->cut->iov_len -= (size_t)skip;
}

static void execute(struct virtio_scsi_request *r, const uint8_t lun[8])
{
	static const uint8_t well_known[8] = {0xc1, 0x01};
	struct scsi_bus *bus = &r->scsi->bus;
	unsigned target, unit;

	if (r->cmd.out.len && r->cmd.in.len) {
		answer(r, VIRTIO_SCSI_S_FAILURE); /* both ways: needs VIRTIO_SCSI_F_INOUT */
		return;
	}
	if (!memcmp(lun, well_known, sizeof(well_known))) {
		scsi_bus_execute_well_known(bus, &r->cmd);
		return;
	}
	if (!virtio_scsi_address(lun, &target, &unit) ||
	    scsi_bus_execute(bus, target, unit, &r->cmd))
		answer(r, VIRTIO_SCSI_S_BAD_TARGET);
}

void virtio_scsi_start(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);
	struct virtio_scsi_request *r = &scsi->requests[queue - VIRTIO_SCSI_REQUEST][chain->slot];
	const uint32_t request_size = (uint32_t)sizeof(struct virtio_scsi_cmd_req) + scsi->cdb_size;
	struct virtio_scsi_cmd_req head;

	memset(r, 0, sizeof(*r));
	r->scsi = scsi;
	r->queue = queue;
	r->chain = chain;
	r->generation = chain->generation;
	r->response_size = (uint32_t)sizeof(struct virtio_scsi_cmd_resp) + scsi->sense_size;
	if (chain->out_len < request_size || chain->in_len < r->response_size) {
		virtio_broken(vd, "queue %u: a command of %llu and %llu bytes", queue,
			      (unsigned long long)chain->out_len,
			      (unsigned long long)chain->in_len);
		return;
	}
	virtq_read_out(chain, 0, &head, sizeof(head));
	virtq_read_out(chain, sizeof(head), r->cmd.cdb, MIN(scsi->cdb_size, SCSI_CDB_SIZE));
	virtq_skip_out(chain, request_size);
	r->cmd.tag = head.tag;
	r->cmd.ordered = head.task_attr == VIRTIO_SCSI_S_ORDERED;
	r->cmd.out = (struct scsi_data){virtq_chain_out(chain), chain->out_count, chain->out_len};
	split_in(r);
	r->data_len = r->cmd.out.len + r->cmd.in.len;
	execute(r, head.lun);
}
