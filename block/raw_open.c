/* SPDX-License-Identifier: MIT */
/* The raw layer: open and close. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/raw.h"

static void raw_close(struct block_layer *layer)
{
	struct raw *raw = container_of(layer, struct raw, layer);

	while (!list_empty(&raw->spare)) {
		struct list *item = raw->spare.next;

		list_del(item);
		free(list_entry(item, struct raw_io, link));
	}
	close(raw->file.fd);
	free(raw->zeroes);
	free(raw);
}

static int raw_resize(struct block_layer *layer, uint64_t size, struct vmm_error *err)
{
	struct raw *raw = container_of(layer, struct raw, layer);
	int r = raw_file_resize(&raw->file, size, err);

	layer->info.size = raw->file.size;
	return r;
}

static const struct block_layer_ops raw_ops = {
	.submit = raw_submit,
	.resize = raw_resize,
	.sync = raw_sync_now,
	.close = raw_close,
};

/* Takes file->fd over. Nothing refuses the image any more. */
static int raw_create(struct block_layer **layer, const struct raw_params *params,
		      struct raw_file *file, struct vmm_error *err)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	if (!raw) {
		close(file->fd);
		return error_set(err, ENOMEM, "out of memory");
	}
	raw_file_probe(file, params->file_system);
	raw->layer.ops = &raw_ops;
	raw->layer.info = (struct block_info){
		.size = file->size,
		.logical_block_size = file->sector_size,
		.physical_block_size = file->physical_size,
		.optimal_io_size = file->optimal_io_size,
		.readonly = !file->writable,
		.can_discard = file->writable && file->can_punch,
		.discard_alignment = file->discard_alignment,
	};
	raw->file = *file;
	raw->no_punch = !file->can_punch;
	raw->gate = file->direct && file->offset_alignment > BLOCK_SECTOR_SIZE;
	raw->what = params->what;
	raw->engine = params->engine;
	raw->log = params->log;
	list_init(&raw->spare);
	list_init(&raw->gate_waiting);
	raw_sync_init(raw);
	*layer = &raw->layer;
	return 0;
}

static int check_size(const struct raw_file *file, const struct raw_params *params,
		      struct vmm_error *err)
{
	const uint32_t sector = params->sector_size ? params->sector_size : file->sector_size;
	const uint64_t excess = file->size % sector;

	if (excess)
		return error_set(
			err, EINVAL,
			"the size of '%s', %" PRIu64 " bytes, is not a multiple of the sector size "
			"%u (%" PRIu64 " bytes too many); resize it with truncate -s %" PRIu64,
			params->path, file->size, sector, excess, file->size - excess + sector);
	if (file->direct && (file->size & (file->offset_alignment - 1)))
		return error_set(err, EINVAL,
				 "cache=none: the size of '%s', %" PRIu64
				 " bytes, is not a multiple of %u, which O_DIRECT needs there; use "
				 "cache=writeback or enlarge the image",
				 params->path, file->size, file->offset_alignment);
	return 0;
}

/*
 * Images of other formats are taken as they are, for what a guest writes must not choose a format;
 * but who gave one most likely did not mean that.
 */
static void warn_of_format(const struct raw_file *file, const struct raw_params *params)
{
	static const struct {
		const char *magic, *name;
	} formats[] = {{"QFI\xfb", "qcow2"}, {"KDMV", "VMDK"}, {"vhdxfile", "VHDX"}};
	/* Powers of two; 0 where O_DIRECT is not used. */
	const size_t alignment = MAX(file->offset_alignment, file->memory_alignment);
	const size_t len = MAX(alignment, BLOCK_SECTOR_SIZE);
	char *start = file->empty ? NULL : aligned_alloc(len, len);
	const ssize_t n = start ? pread(file->fd, start, len, 0) : 0;

	for (size_t i = 0; n >= (ssize_t)BLOCK_SECTOR_SIZE && i < ARRAY_SIZE(formats); i++)
		if (memcmp(start, formats[i].magic, strlen(formats[i].magic)) == 0)
			log_warn(params->log, params->what,
				 "'%s' looks like a %s image, but is a raw one to the guest; "
				 "qemu-img convert -O raw makes that of it",
				 params->path, formats[i].name);
	free(start);
}

int raw_open(struct block_layer **layer, const struct raw_params *params, struct vmm_error *err)
{
	struct raw_file file;
	int r = raw_file_open(&file, params->what, params->path, params->writable, params->direct,
			      params->log, err);

	if (r < 0)
		return r;
	if (file.direct && params->seams && params->seams->direct_align) {
		file.offset_alignment = params->seams->direct_align;
		file.memory_alignment = params->seams->direct_align;
	}
	r = check_size(&file, params, err);
	if (r < 0) {
		close(file.fd);
		return r;
	}
	warn_of_format(&file, params);
	return raw_create(layer, params, &file, err);
}

int raw_open_temporary(struct block_layer **layer, const struct raw_params *params, uint64_t size,
		       struct vmm_error *err)
{
	struct raw_file file;
	int r = raw_file_open_temporary(&file, size, err);

	if (r < 0)
		return r;
	return raw_create(layer, params, &file, err);
}
