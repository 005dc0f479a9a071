/* SPDX-License-Identifier: MIT */
/*
 * The control queue (5.6.6.2): task management, and asynchronous notification, of which we have
 * none to offer.
 *
 * A command that the disk is working on cannot be taken back: it is marked, ends when the disk lets
 * go of it, and the function is answered after the last such command.
 */
#include "virtio/scsi_lun.h"
#include "virtio/virtio_scsi.h"

_Static_assert(sizeof(struct virtio_scsi_ctrl_tmf_req) == 24, "5.6.6.2");
_Static_assert(sizeof(struct virtio_scsi_ctrl_an_req) == 16, "5.6.6.2");
_Static_assert(sizeof(struct virtio_scsi_ctrl_an_resp) == 5, "5.6.6.2");

/* ---- which commands a function is about ---- */

/* The next unit in its scope, behind `after` (NULL: the first). */
static struct scsi_lun *scope_next(struct virtio_scsi *scsi, const struct virtio_scsi_tmf *tmf,
				   const struct scsi_lun *after)
{
	if (tmf->function == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET)
		return scsi_target_next(scsi_bus_target(&scsi->bus, tmf->target),
					after ? (unsigned)after->lun + 1 : 0);
	return after ? NULL : scsi_bus_lun(&scsi->bus, tmf->target, tmf->lun);
}

static bool about_one_task(const struct virtio_scsi_tmf *tmf)
{
	return tmf->function == VIRTIO_SCSI_T_TMF_ABORT_TASK ||
	       tmf->function == VIRTIO_SCSI_T_TMF_QUERY_TASK;
}

/* Whether a command that it is about has not ended. */
static bool has_commands(struct virtio_scsi *scsi, const struct virtio_scsi_tmf *tmf)
{
	for (struct scsi_lun *lun = scope_next(scsi, tmf, NULL); lun;
	     lun = scope_next(scsi, tmf, lun)) {
		list_for_each (it, &lun->commands) {
			const struct scsi_command *cmd = list_entry(it, struct scsi_command, link);

			if (cmd->sequence > tmf->sequence)
				break;
			if (!about_one_task(tmf) || cmd->tag == tmf->tag)
				return true;
		}
	}
	return false;
}

/* ---- task management ---- */

static void answer(struct virtio_scsi *scsi, struct virtq_chain *chain, uint8_t response)
{
	virtq_write_in(chain, 0, &response, 1);
	virtio_push(&scsi->vd, VIRTIO_SCSI_CONTROL, chain, 1);
}

/* Everything that it was about has ended. */
static void finish(struct virtio_scsi *scsi, struct virtio_scsi_tmf *tmf)
{
	if (tmf->function == VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET ||
	    tmf->function == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET)
		for (struct scsi_lun *lun = scope_next(scsi, tmf, NULL); lun;
		     lun = scope_next(scsi, tmf, lun))
			scsi_lun_reset(lun, SCSI_ATTENTION_RESET);
	answer(scsi, tmf->chain, VIRTIO_SCSI_S_OK);
}

void virtio_scsi_tmfs_check(struct virtio_scsi *scsi)
{
	list_for_each (it, &scsi->tmfs_waiting) {
		struct virtio_scsi_tmf *tmf = list_entry(it, struct virtio_scsi_tmf, link);

		if (has_commands(scsi, tmf))
			continue;
		list_del(&tmf->link);
		finish(scsi, tmf);
	}
}

static void abort_scope(struct virtio_scsi *scsi, struct virtio_scsi_tmf *tmf,
			enum scsi_outcome why)
{
	const uint64_t *tag = about_one_task(tmf) ? &tmf->tag : NULL;

	for (struct scsi_lun *lun = scope_next(scsi, tmf, NULL); lun;
	     lun = scope_next(scsi, tmf, lun))
		scsi_lun_abort(lun, 0, tag, why);
	/* Only now, or the end of the first command of several could look like the last. */
	if (has_commands(scsi, tmf))
		list_add_tail(&scsi->tmfs_waiting, &tmf->link);
	else
		finish(scsi, tmf);
}

static void manage(struct virtio_scsi *scsi, struct virtio_scsi_tmf *tmf)
{
	switch (tmf->function) {
	case VIRTIO_SCSI_T_TMF_ABORT_TASK:
	case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
	case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
		abort_scope(scsi, tmf, SCSI_ABORTED);
		break;
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		abort_scope(scsi, tmf, SCSI_RESET);
		break;
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
	case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
		answer(scsi, tmf->chain,
		       has_commands(scsi, tmf) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED
					       : VIRTIO_SCSI_S_OK);
		break;
	default: /* CLEAR ACA too: there is none */
		answer(scsi, tmf->chain, VIRTIO_SCSI_S_FUNCTION_REJECTED);
		break;
	}
}

/* VIRTIO_SCSI_S_OK, or what is wrong with an address. */
static uint8_t check_address(struct virtio_scsi *scsi, const uint8_t lun[8], bool any_unit,
			     unsigned *target, unsigned *unit)
{
	if (!virtio_scsi_address(lun, target, unit) || !scsi_bus_target(&scsi->bus, *target))
		return VIRTIO_SCSI_S_BAD_TARGET;
	if (!any_unit && !scsi_bus_lun(&scsi->bus, *target, *unit))
		return VIRTIO_SCSI_S_INCORRECT_LUN;
	return VIRTIO_SCSI_S_OK;
}

static void task_management(struct virtio_scsi *scsi, struct virtq_chain *chain)
{
	struct virtio_scsi_tmf *tmf = &scsi->tmfs[chain->slot];
	struct virtio_scsi_ctrl_tmf_req req;
	uint8_t response;

	virtq_read_out(chain, 0, &req, sizeof(req));
	*tmf = (struct virtio_scsi_tmf){
		.chain = chain,
		.function = req.subtype,
		.tag = req.tag,
		.sequence = scsi->bus.sequence,
	};
	response = check_address(scsi, req.lun, req.subtype == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET,
				 &tmf->target, &tmf->lun);
	if (response == VIRTIO_SCSI_S_OK)
		manage(scsi, tmf);
	else
		answer(scsi, chain, response);
}

/* ---- asynchronous notification ---- */

static void notification(struct virtio_scsi *scsi, struct virtq_chain *chain)
{
	struct virtio_scsi_ctrl_an_resp resp = {.event_actual = 0};
	struct virtio_scsi_ctrl_an_req req;
	unsigned target, unit;

	virtq_read_out(chain, 0, &req, sizeof(req));
	resp.response = check_address(scsi, req.lun, false, &target, &unit);
	virtq_write_in(chain, 0, &resp, sizeof(resp));
	virtio_push(&scsi->vd, VIRTIO_SCSI_CONTROL, chain, sizeof(resp));
}

void virtio_scsi_control(struct virtio_device *vd, unsigned queue UNUSED, struct virtq_chain *chain)
{
	struct virtio_scsi *scsi = virtio_scsi(vd);
	uint32_t type = UINT32_MAX;

	virtq_read_out(chain, 0, &type, sizeof(type));
	if (type == VIRTIO_SCSI_T_TMF && chain->in_len &&
	    chain->out_len >= sizeof(struct virtio_scsi_ctrl_tmf_req))
		task_management(scsi, chain);
	else if ((type == VIRTIO_SCSI_T_AN_QUERY || type == VIRTIO_SCSI_T_AN_SUBSCRIBE) &&
		 chain->out_len >= sizeof(struct virtio_scsi_ctrl_an_req) &&
		 chain->in_len >= sizeof(struct virtio_scsi_ctrl_an_resp))
		notification(scsi, chain);
	else
		virtio_broken(vd, "control request %u of %llu and %llu bytes", type,
			      (unsigned long long)chain->out_len,
			      (unsigned long long)chain->in_len);
}
