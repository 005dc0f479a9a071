/* SPDX-License-Identifier: MIT */
/*
 * Unpacking a kernel's payload straight into guest memory. The stream is taken in order: its first
 * page has the ELF headers, and from then on every byte goes to where its segment says. So an
 * unpacked kernel never exists as a whole on the host.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/boot_internal.h"

#define DISCARD_SIZE (64 * KIB)
#define INPUT_SIZE   (256 * KIB)

/* Linux appends the unpacked size to compressions that do not tell it (scripts/Makefile.lib). */
#define SIZE_TRAILER 4u

int boot_sink_init(struct boot_sink *sink, struct guest_memory *memory, uint64_t low, uint64_t high,
		   uint64_t size)
{
	memset(sink, 0, sizeof(*sink));
	sink->memory = memory;
	sink->low = low;
	sink->high = high;
	sink->size = size;
	sink->discard = malloc(DISCARD_SIZE);
	return sink->discard ? 0 : -ENOMEM;
}

void boot_sink_destroy(struct boot_sink *sink)
{
	for (unsigned i = 0; i < BOOT_MAX_SEGMENTS; i++)
		guest_unpin(&sink->pins[i], GUEST_WRITE, sink->pins[i].len);
	free(sink->discard);
}

static int refuse(struct boot_sink *sink, const char *why)
{
	sink->why = why;
	return -EINVAL;
}

/* What lies in the first page was taken before the segments were known. */
static void copy_from_head(struct boot_sink *sink, const struct boot_segment *s, uint8_t *to)
{
	if (s->offset < BOOT_HEAD_SIZE)
		memcpy(to, sink->head + s->offset,
		       (size_t)MIN(s->filesz, BOOT_HEAD_SIZE - s->offset));
}

static int open_segment(struct boot_sink *sink, unsigned index)
{
	const struct boot_segment *s = &sink->elf.segments[index];
	struct guest_pin *pin = &sink->pins[index];

	if (s->paddr < sink->low || s->paddr > sink->high || s->memsz > sink->high - s->paddr)
		return refuse(sink, "a segment lies outside the kernel's own memory");
	if (index > 0 && s->offset - s[-1].offset < s[-1].filesz)
		return refuse(sink, "segments overlap");
	if (guest_pin(sink->memory, gpa(s->paddr), s->memsz, pin) < 0)
		return refuse(sink, "a segment lies outside of memory");
	/* One system call in place of a page fault for each page; where it fails, faults do. */
	if (s->filesz >= GUEST_PAGE_SIZE) {
		uintptr_t first = (uintptr_t)align_down((uintptr_t)pin->host, GUEST_PAGE_SIZE);
		uintptr_t last = (uintptr_t)pin->host + s->filesz;

		(void)madvise((void *)first, last - first, MADV_POPULATE_WRITE);
	}
	copy_from_head(sink, s, pin->host);
	memset((uint8_t *)pin->host + s->filesz, 0, s->memsz - s->filesz);
	return 0;
}

static int take_headers(struct boot_sink *sink, size_t size)
{
	int ret = boot_elf_parse(&sink->elf, sink->head, size, sink->size, &sink->why);

	if (ret < 0)
		return ret;
	if (!sink->elf.is64 || sink->elf.entry == 0)
		return refuse(sink, "it is no 64-bit kernel");
	for (unsigned i = 0; i < sink->elf.count; i++) {
		ret = open_segment(sink, i);
		if (ret < 0)
			return ret;
	}
	sink->parsed = true;
	return 0;
}

uint8_t *boot_sink_space(struct boot_sink *sink, size_t *len)
{
	uint64_t next = sink->size; /* where the gap that pos is in ends */

	if (sink->pos < BOOT_HEAD_SIZE) {
		*len = (size_t)(BOOT_HEAD_SIZE - sink->pos);
		return sink->head + sink->pos;
	}
	for (unsigned i = 0; i < sink->elf.count; i++) {
		const struct boot_segment *s = &sink->elf.segments[i];

		if (sink->pos < s->offset) {
			next = s->offset;
			break;
		}
		if (sink->pos - s->offset < s->filesz) {
			*len = (size_t)(s->offset + s->filesz - sink->pos);
			return (uint8_t *)sink->pins[i].host + (sink->pos - s->offset);
		}
	}
	*len = (size_t)MIN(next - sink->pos, DISCARD_SIZE);
	return sink->discard;
}

int boot_sink_advance(struct boot_sink *sink, size_t n)
{
	bool had_headers = sink->pos >= BOOT_HEAD_SIZE;

	sink->pos += n;
	if (!had_headers && sink->pos >= BOOT_HEAD_SIZE)
		return take_headers(sink, BOOT_HEAD_SIZE);
	return 0;
}

int boot_sink_write(struct boot_sink *sink, const void *data, size_t n)
{
	const uint8_t *from = data;

	while (n > 0) {
		size_t space;
		uint8_t *to = boot_sink_space(sink, &space);
		int ret;

		if (space == 0)
			return refuse(sink, "it is larger than its header says");
		space = MIN(space, n);
		if (to != sink->discard)
			memcpy(to, from, space);
		from += space;
		n -= space;
		ret = boot_sink_advance(sink, space);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int boot_sink_finish(struct boot_sink *sink)
{
	const struct boot_segment *last;

	if (!sink->parsed)
		return refuse(sink, "it is too short to be a kernel");
	last = &sink->elf.segments[sink->elf.count - 1];
	if (sink->pos < last->offset + last->filesz)
		return refuse(sink, "it ends within a segment");
	return 0;
}

/* Decompress what is in `in`, *len bytes. Returns as boot_codec.code; *len: what is left. */
static int feed(const struct boot_codec *codec, void *state, const uint8_t *in, size_t *len,
		bool last, struct boot_sink *sink)
{
	int ret = 0;

	for (;;) {
		size_t used = *len;
		size_t space;
		uint8_t *out = boot_sink_space(sink, &space);

		if (space == 0)
			return refuse(sink, "it is larger than its header says");
		ret = codec->code(state, in, &used, out, &space);
		if (ret < 0) {
			sink->why = "its data is damaged";
			return ret;
		}
		in += used;
		*len -= used;
		if (boot_sink_advance(sink, space) < 0)
			return -EINVAL;
		if (ret == 1)
			return 1;
		/* Every turn consumes or produces, or is the last. */
		if (used == 0 && space == 0)
			return last ? refuse(sink, "it is cut off") : 0;
	}
}

static int run_codec(const struct boot_codec *codec, const struct boot_file *file, uint64_t offset,
		     uint64_t size, struct boot_sink *sink)
{
	uint8_t *in = malloc(INPUT_SIZE);
	void *state = codec->open();
	size_t left = 0; /* bytes in `in` that were not used yet */
	int ret = in && state ? 0 : -ENOMEM;

	while (ret == 0) {
		size_t n = (size_t)MIN(size, INPUT_SIZE - left);
		size_t have = left + n;

		ret = boot_file_read(file, offset, in + left, n);
		if (ret < 0)
			break;
		offset += n;
		size -= n;
		left = have;
		ret = feed(codec, state, in, &left, size == 0, sink);
		if (ret == 0 && left == INPUT_SIZE)
			ret = refuse(sink, "its data is damaged");
		memmove(in, in + have - left, left);
	}
	if (state)
		codec->close(state);
	free(in);
	return ret < 0 ? ret : 0;
}

/* A kernel that was built without compression (CONFIG_KERNEL_UNCOMPRESSED). */
static int copy_plain(const struct boot_file *file, uint64_t offset, uint64_t size,
		      struct boot_sink *sink)
{
	while (size > 0) {
		size_t space;
		uint8_t *to = boot_sink_space(sink, &space);
		int ret;

		if (space == 0)
			return refuse(sink, "it is larger than its header says");
		space = (size_t)MIN(space, size);
		ret = boot_file_read(file, offset, to, space);
		if (ret == 0)
			ret = boot_sink_advance(sink, space);
		if (ret < 0)
			return ret;
		offset += space;
		size -= space;
	}
	return 0;
}

int boot_unpack(const struct boot_file *file, uint64_t offset, uint64_t size,
		struct boot_sink *sink, const char **method)
{
	static const uint8_t lz4_magic[] UNUSED = {0x02, 0x21, 0x4c, 0x18};
	uint8_t magic[8];
	int ret;

	if (size < sizeof(magic) + SIZE_TRAILER)
		return refuse(sink, "it is too short to be a kernel");
	ret = boot_file_read(file, offset, magic, sizeof(magic));
	if (ret < 0)
		return ret;
	if (memcmp(magic, ELFMAG, SELFMAG) == 0) {
		*method = "not compressed";
		return copy_plain(file, offset, size, sink);
	}
#ifdef CONFIG_LIBLZ4
	if (memcmp(magic, lz4_magic, sizeof(lz4_magic)) == 0) {
		*method = "LZ4";
		return boot_unlz4(file, offset, size - SIZE_TRAILER, sink);
	}
#endif
	for (const struct boot_codec *const *c = boot_codecs; *c; c++) {
		if (memcmp(magic, (*c)->magic, (*c)->magic_len) == 0) {
			*method = (*c)->name;
			return run_codec(*c, file, offset, size, sink);
		}
	}
	sink->why = "no library for it when this was built";
	return -ENOTSUP;
}
