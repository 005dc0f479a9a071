/* SPDX-License-Identifier: MIT */
#include "virtio/scsi_cd.h"

#include <errno.h>

#include "virtio/virtio_classes.h"

#define BLOCK_SIZE 2048u

/* ---- media that come and go ---- */

/* One of path and drive. */
static int open_medium(struct scsi_cd *cd, char *path, char *drive, struct block **block,
		       struct vmm_error *err)
{
	const struct block_options options = {
		.path = path,
		.drive = drive,
		.readonly = !drive, /* nothing here writes */
		.cache = cd->cache,
		.engine = cd->engine,
		.logical_block_size = BLOCK_SIZE,
	};

	return block_acquire(block, &options, &cd->lun.dev, &cd->lun.bus->engines, err);
}

/* Home loop, lock not held. */
static void close_idle(struct scsi_cd *cd)
{
	for (unsigned i = 0; i < SCSI_CD_CLOSING; i++) {
		struct block *block = cd->closing[i];

		if (block && !block_in_flight(block)) {
			cd->closing[i] = NULL;
			block_release(block);
		}
	}
}

static void close_later(struct loop_task *task)
{
	close_idle(container_of(task, struct scsi_cd, close_task));
}

static void finished(struct scsi_lun *lun)
{
	struct scsi_cd *cd = scsi_cd(lun);

	/* Not from within a completion: it is the medium's. */
	for (unsigned i = 0; i < SCSI_CD_CLOSING; i++)
		if (cd->closing[i])
			loop_post(lun->dev.loop, &cd->close_task);
}

/* A place for the medium that is in the drive, once it is out. NULL: too many are on their way. */
static struct block **closing_place(struct scsi_cd *cd)
{
	for (unsigned i = 0; i < SCSI_CD_CLOSING; i++)
		if (!cd->closing[i])
			return &cd->closing[i];
	return NULL;
}

static void set_tray(struct scsi_cd *cd, bool open)
{
	if (cd->tray_open != open)
		device_tell(&cd->lun.dev, DEVICE_NOTICE_TRAY, open, NULL);
	cd->tray_open = open;
}

void scsi_cd_move_tray(struct scsi_cd *cd, bool open)
{
	if (cd->tray_open == open)
		return;
	set_tray(cd, open);
	cd->event = SCSI_CD_REMOVAL;
	if (!open) {
		cd->event = cd->block ? SCSI_CD_NEW_MEDIUM : SCSI_CD_NO_EVENT;
		if (cd->block)
			scsi_lun_attention(&cd->lun, SCSI_ATTENTION_MEDIUM);
	}
}

/* What the guest has not done itself it is told of. Lock held. */
static void tell_guest(struct scsi_cd *cd)
{
	struct scsi_bus *bus = cd->lun.bus;

	bus->ops->changed(bus, &cd->lun, SENSE_MEDIUM_CHANGED);
}

/* By the host. Lock not held. */
static void move_tray(struct scsi_cd *cd, bool open)
{
	device_lock(cd->lun.bus->dev);
	if (cd->tray_open != open) {
		scsi_cd_move_tray(cd, open);
		tell_guest(cd);
	}
	device_unlock(cd->lun.bus->dev);
}

/* Another medium, or NULL for none. Home loop, lock not held; there is a place for the old one. */
static void replace_medium(struct scsi_cd *cd, struct block *block)
{
	device_lock(cd->lun.bus->dev);
	if (cd->block)
		*closing_place(cd) = cd->block;
	cd->block = block;
	cd->locked = false;
	scsi_cd_move_tray(cd, true);
	if (block)
		scsi_cd_move_tray(cd, false);
	tell_guest(cd);
	device_unlock(cd->lun.bus->dev);
	close_idle(cd);
}

/* ---- actions ---- */

struct eject_args {
	bool force;
};

struct change_args {
	char *path;
	bool force;
};

static const struct option_desc eject_options[] = {
	{.name = "force",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct eject_args, force),
	 .fallback = "off",
	 .help = "even if the guest has locked the tray"},
	OPTION_END,
};

static const struct option_desc change_options[] = {
	{.name = "path",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct change_args, path),
	 .required = true,
	 .help = "the image to put in"},
	{.name = "force",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct change_args, force),
	 .fallback = "off",
	 .help = "even if the guest has locked the tray"},
	OPTION_END,
};

/* Whether the tray may move now; if not, the guest is asked to unlock it. */
static int may_open(struct scsi_cd *cd, bool force, struct vmm_error *err)
{
	bool locked;

	device_lock(cd->lun.bus->dev);
	locked = cd->locked && !cd->tray_open && !force;
	if (locked)
		cd->event = SCSI_CD_EJECT_REQUEST;
	device_unlock(cd->lun.bus->dev);
	if (locked)
		return error_set(err, EBUSY,
				 "the guest has locked the tray and was asked to open it "
				 "(force=on does not wait for that)");
	if (!closing_place(cd))
		return error_set(err, EBUSY, "the guest still reads earlier media");
	return 0;
}

static int eject(struct device *dev, const void *args, struct report *report UNUSED,
		 struct vmm_error *err)
{
	const struct eject_args *a = args;
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));
	int rc = may_open(cd, a->force, err);

	if (!rc)
		replace_medium(cd, NULL);
	return rc;
}

static int change(struct device *dev, const void *args, struct report *report,
		  struct vmm_error *err)
{
	const struct change_args *a = args;
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));
	struct block *block;
	int rc = may_open(cd, a->force, err);

	if (!rc)
		rc = open_medium(cd, a->path, NULL, &block, err);
	if (rc)
		return rc;
	replace_medium(cd, block);
	report_u64(report, "size", block_info(block)->size);
	return 0;
}

static int open_tray(struct device *dev, const void *args, struct report *report UNUSED,
		     struct vmm_error *err)
{
	const struct eject_args *a = args;
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));
	int rc = may_open(cd, a->force, err);

	if (!rc)
		move_tray(cd, true);
	return rc;
}

static int close_tray(struct device *dev, const void *args UNUSED, struct report *report UNUSED,
		      struct vmm_error *err UNUSED)
{
	move_tray(scsi_cd(scsi_lun(dev)), false);
	return 0;
}

static int status(struct device *dev, const void *args UNUSED, struct report *report,
		  struct vmm_error *err UNUSED)
{
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));

	device_lock(cd->lun.bus->dev);
	report_bool(report, "tray-open", cd->tray_open);
	report_bool(report, "locked", cd->locked);
	report_string(report, "medium", cd->block ? block_path(cd->block) : NULL);
	device_unlock(cd->lun.bus->dev);
	if (cd->block)
		block_report(cd->block, report);
	scsi_lun_report(&cd->lun, report);
	return 0;
}

/* Of the medium: another one begins at 0. */
static void stats(struct device *dev, struct report *report)
{
	const struct scsi_cd *cd = scsi_cd(scsi_lun(dev));

	if (cd->block)
		block_stats(cd->block, report);
}

static const struct device_action actions[] = {
	{.name = "eject",
	 .help = "take the medium out; the tray stays open",
	 .options = eject_options,
	 .args_size = sizeof(struct eject_args),
	 .run = eject},
	{.name = "change",
	 .help = "put another image in",
	 .options = change_options,
	 .implied = "path",
	 .args_size = sizeof(struct change_args),
	 .run = change},
	{.name = "open",
	 .help = "open the tray; the medium stays in it",
	 .options = eject_options,
	 .args_size = sizeof(struct eject_args),
	 .run = open_tray},
	{.name = "close", .help = "close the tray", .run = close_tray},
	SCSI_LUN_THROTTLE_ACTION,
	{.name = "status", .help = "tray, medium, requests so far", .run = status},
	{.name = NULL},
};

/* ---- what the drive says about itself ---- */

static bool mode_page(const struct scsi_lun *lun, unsigned index, bool defaults,
		      struct scsi_mode_page *page)
{
	switch (index) {
	case 0:
		page->code = 0x01; /* read error recovery */
		page->len = 12;
		return true;
	case 1:
		page->code = 0x2a; /* capabilities (MMC-3, 5.5.10), which Linux still asks for */
		page->len = 22;
		page->data[2] = 0x0b; /* reads CD-R, CD-RW, DVD-ROM */
		page->data[4] = 0x70; /* mode 2 form 1 and 2, several sessions */
		page->data[6] = 0x29; /* a tray, which can be ejected and locked … */
		if (scsi_cd(lun)->locked && !defaults)
			page->data[6] |= 0x02;       /* … and is locked */
		put_be16(page->data + 8, 50 * 176);  /* KiB/s, most */
		put_be16(page->data + 12, 2048);     /* KiB of buffer */
		put_be16(page->data + 14, 50 * 176); /* KiB/s, now */
		return true;
	default:
		return false;
	}
}

/* Nothing in these pages is changeable. */
static void mode_select(struct scsi_lun *lun UNUSED, const struct scsi_mode_page *page UNUSED)
{
}

static uint8_t mode_parameter(const struct scsi_lun *lun UNUSED)
{
	return 0;
}

static struct scsi_sense ready(const struct scsi_lun *lun)
{
	if (scsi_cd(lun)->tray_open)
		return SENSE_NO_MEDIUM_TRAY_OPEN;
	return scsi_cd(lun)->block ? SENSE_NONE : SENSE_NO_MEDIUM;
}

static size_t vpd(const struct scsi_lun *lun UNUSED, uint8_t page UNUSED, uint8_t *buf UNUSED)
{
	return 0;
}

/* ---- saved state ---- */

static uint64_t capacity(const struct scsi_cd *cd)
{
	return cd->block ? block_info(cd->block)->size : 0;
}

static void save(struct device *dev, struct state_writer *w)
{
	const struct scsi_cd *cd = scsi_cd(scsi_lun(dev));

	scsi_lun_save(&cd->lun, w);
	state_put_u64(w, "capacity", capacity(cd));
	state_put_u64(w, "tray_open", cd->tray_open);
	state_put_u64(w, "locked", cd->locked);
	state_put_u64(w, "event", cd->event);
}

static int load(struct device *dev, struct state_reader *r, uint32_t version UNUSED)
{
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));
	struct scsi_lun_state state = {0};
	uint64_t size, open, locked, event;
	int rc = scsi_lun_parse(&state, r);

	if (!rc) /* of another size it is another medium */
		rc = state_get_u64(r, "capacity", &size, capacity(cd), capacity(cd));
	if (!rc)
		rc = state_get_u64(r, "tray_open", &open, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "locked", &locked, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "event", &event, 0, SCSI_CD_REMOVAL);
	if (rc)
		return rc;
	scsi_lun_commit(&cd->lun, &state);
	cd->tray_open = open;
	cd->locked = locked;
	cd->event = (enum scsi_cd_event)event;
	return 0;
}

/* ---- life ---- */

static void reset(struct scsi_lun *lun)
{
	struct scsi_cd *cd = scsi_cd(lun);

	/* Whoever locked the tray is gone, and it is drawn in (MMC-6, 4.1.8). */
	cd->locked = false;
	set_tray(cd, false);
	cd->event = SCSI_CD_NO_EVENT;
}

static void cancel_close(void *arg)
{
	struct scsi_cd *cd = arg;

	loop_task_cancel(cd->lun.dev.loop, &cd->close_task);
	close_idle(cd);
}

static void unrealize(struct device *dev)
{
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));

	scsi_lun_fini(&cd->lun);
	loop_call(dev->loop, cancel_close, cd);
	block_release(cd->block);
	cd->block = NULL;
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct scsi_cd *cd = scsi_cd(scsi_lun(dev));
	int rc = scsi_lun_init(&cd->lun, err);

	if (rc)
		return rc;
	cd->lun.removable = true;
	loop_task_init(&cd->close_task, close_later);
	if (cd->path || cd->drive)
		rc = open_medium(cd, cd->path, cd->drive, &cd->block, err);
	if (!rc)
		rc = scsi_lun_attach(&cd->lun, err);
	if (rc)
		unrealize(dev);
	return rc;
}

static const struct option_desc options[] = {
	{.name = "path",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct scsi_cd, path),
	 .help = "ISO image (default: the drive is empty)"},
	{.name = "drive",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct scsi_cd, drive),
	 .help = "name of a drive that is open already, in place of a path"},
	{.name = "cache",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct scsi_cd, cache),
	 .fallback = "writeback",
	 .values = block_cache_names,
	 .help = "what the host caches"},
	{.name = "engine",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct scsi_cd, engine),
	 .fallback = "auto",
	 .values = block_engine_names,
	 .help = "how requests reach the kernel"},
	SCSI_LUN_OPTIONS,
	{.name = "product",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct scsi_cd, lun.product),
	 .fallback = "CD-ROM",
	 .help = "product name (at most 16 characters)"},
	OPTION_END,
};

const struct scsi_lun_class scsi_cd_class = {
	.device =
		{
			.name = "scsi-cd",
			.help = "SCSI CD-ROM drive of a virtio-scsi controller, with an ISO image",
			.kind = DEVICE_CHILD,
			.options = options,
			.actions = actions,
			.size = sizeof(struct scsi_cd),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
			.stats = stats,
			.quiesce = scsi_lun_quiesce,
			.reset = scsi_lun_reset_device,
			.save = save,
			.load = load,
		},
	.type = SCSI_TYPE_CD,
	.opcodes = scsi_cd_opcodes,
	.mode_page = mode_page,
	.mode_select = mode_select,
	.mode_parameter = mode_parameter,
	.ready = ready,
	.vpd = vpd,
	.finished = finished,
	.reset = reset,
};
