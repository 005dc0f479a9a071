/* SPDX-License-Identifier: MIT */
/*
 * Memory that goes back to the host: put into the balloon, reported or hinted to be free.
 *
 * What the driver says is a permission, never an order: pages that are not RAM, or more of them
 * than one request may sensibly have, are left alone. So each request costs a bounded amount of
 * work, and a driver that lies harms its own guest only.
 *
 * The balloon counts in pages of 4 KiB. Where the host's are larger, one can go back only when all
 * that is in it is in the balloon, and must stay from the moment that any of it leaves. A bit for
 * each page keeps count; it relies on the driver saying what it takes before it uses it, which is
 * what VIRTIO_BALLOON_F_MUST_TELL_HOST is for. From a driver that did not accept that, only whole
 * host pages in one request go back.
 */
#include "virtio/virtio_balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Linux puts 256 page numbers into a request. */
#define MAX_PFNS   4096
#define BATCH_PFNS 256

/* Of one report or hint; Linux reports up to 128 MiB at once. */
#define MAX_FREE_BYTES (512 * MIB)

/* Pages that follow each other go back with one system call. */
struct run {
	uint64_t first, end; /* page numbers */
};

/* Returns the number of bytes that went back. */
static uint64_t discard(struct virtio_balloon *b, gpa_t addr, uint64_t len)
{
	struct device *dev = &b->vd.dev;
	uint64_t given;
	int rc = guest_memory_discard(dev->env->memory, addr, len, &given);

	if (rc && !b->discard_failed)
		log_warn(dev->env->log, dev->id, "memory cannot be given back to the host: %s",
			 strerrordesc_np(-rc));
	b->discard_failed |= rc != 0;
	return given;
}

/* ---- large host pages ---- */

int balloon_pages_init(struct virtio_balloon *b)
{
	const struct guest_memory *memory = b->vd.dev.env->memory;

	for (unsigned i = 0; i < guest_memory_count(memory); i++) {
		const struct guest_region *r = guest_memory_region(memory, i);

		if (r->page_size <= BALLOON_PAGE_SIZE)
			continue;
		b->large_pages = true;
		b->inside[i] = calloc((r->size / BALLOON_PAGE_SIZE + 63) / 64, sizeof(uint64_t));
		if (!b->inside[i])
			return -ENOMEM;
	}
	return 0;
}

void balloon_pages_fini(struct virtio_balloon *b)
{
	for (unsigned i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++) {
		free(b->inside[i]);
		b->inside[i] = NULL;
	}
}

void balloon_pages_reset(struct virtio_balloon *b)
{
	const struct guest_memory *memory = b->vd.dev.env->memory;

	for (unsigned i = 0; i < guest_memory_count(memory); i++)
		if (b->inside[i])
			memset(b->inside[i], 0,
			       (guest_memory_region(memory, i)->size / BALLOON_PAGE_SIZE + 63) /
				       64 * sizeof(uint64_t));
}

/* The region of a page whose host page is larger, and the page's bit in it; NULL: it is not. */
static const struct guest_region *large_region(const struct virtio_balloon *b, gpa_t page,
					       uint64_t **bits, uint64_t *bit)
{
	const struct guest_memory *memory = b->vd.dev.env->memory;

	for (unsigned i = 0; b->large_pages && i < guest_memory_count(memory); i++) {
		const struct guest_region *r = guest_memory_region(memory, i);

		if (page.v - r->base.v >= r->size || !b->inside[i])
			continue;
		*bits = b->inside[i];
		*bit = (page.v - r->base.v) / BALLOON_PAGE_SIZE;
		return r;
	}
	return NULL;
}

static bool all_inside(const uint64_t *bits, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		if (!(bits[i / 64] >> (i % 64) & 1))
			return false;
	return true;
}

/* A page has come into the balloon: does that complete a host page? */
static void put_inside(struct virtio_balloon *b, const struct guest_region *r, uint64_t *bits,
		       uint64_t bit)
{
	const uint64_t count = r->page_size / BALLOON_PAGE_SIZE, first = bit - bit % count;

	bits[bit / 64] |= UINT64_C(1) << (bit % 64);
	if (all_inside(bits, first, count))
		b->inflated_bytes +=
			discard(b, gpa_add(r->base, first * BALLOON_PAGE_SIZE), r->page_size);
}

/* ---- the balloon (5.5.6) ---- */

static void flush_run(struct virtio_balloon *b, struct run *run)
{
	if (run->first < run->end)
		b->inflated_bytes += discard(b, gpa(run->first << BALLOON_PAGE_SHIFT),
					     (run->end - run->first) << BALLOON_PAGE_SHIFT);
	*run = (struct run){0};
}

/* Linux hands pages out in either direction. */
static void add_to_run(struct virtio_balloon *b, struct run *run, uint64_t pfn)
{
	if (run->first < run->end && pfn == run->end) {
		run->end++;
	} else if (run->first < run->end && pfn + 1 == run->first) {
		run->first--;
	} else {
		flush_run(b, run);
		*run = (struct run){pfn, pfn + 1};
	}
}

static bool is_ram(struct virtio_balloon *b, uint32_t pfn)
{
	gpa_t page = gpa((uint64_t)pfn << BALLOON_PAGE_SHIFT);

	if (guest_memory_contains(b->vd.dev.env->memory, page, BALLOON_PAGE_SIZE))
		return true;
	device_guest_error(&b->vd.dev, "page %#x is not RAM: ignored", pfn);
	return false;
}

static void inflate_page(struct virtio_balloon *b, struct run *run, uint32_t pfn)
{
	const struct guest_region *r;
	uint64_t *bits, bit;

	if (!is_ram(b, pfn))
		return;
	r = large_region(b, gpa((uint64_t)pfn << BALLOON_PAGE_SHIFT), &bits, &bit);
	if (r && virtio_has(&b->vd, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		put_inside(b, r, bits, bit);
	else
		add_to_run(b, run, pfn);
}

static void deflate_page(struct virtio_balloon *b, struct run *run UNUSED, uint32_t pfn)
{
	uint64_t *bits, bit;

	/* The memory itself comes back when it is touched. */
	if (is_ram(b, pfn) &&
	    large_region(b, gpa((uint64_t)pfn << BALLOON_PAGE_SHIFT), &bits, &bit))
		bits[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* Call `fn` for each page number in the chain. False: there are more than MAX_PFNS. */
static bool for_each_page(struct virtio_balloon *b, struct virtq_chain *chain,
			  void (*fn)(struct virtio_balloon *b, struct run *run, uint32_t pfn))
{
	uint64_t left = chain->out_len / sizeof(uint32_t), offset = 0;
	const bool complete = left <= MAX_PFNS;
	uint32_t pfns[BATCH_PFNS];
	struct run run = {0};

	left = MIN(left, (uint64_t)MAX_PFNS);
	b->work += (unsigned)left;
	while (left) {
		size_t n = (size_t)MIN(left, (uint64_t)BATCH_PFNS);

		virtq_read_out(chain, offset, pfns, n * sizeof(pfns[0]));
		for (size_t i = 0; i < n; i++)
			fn(b, &run, pfns[i]);
		offset += n * sizeof(pfns[0]);
		left -= n;
	}
	flush_run(b, &run);
	if (!complete)
		device_guest_error(&b->vd.dev,
				   "a request of more than %d pages: the rest is ignored",
				   MAX_PFNS);
	return complete;
}

void balloon_inflate(struct virtio_balloon *b, struct virtq_chain *chain)
{
	for_each_page(b, chain, inflate_page);
}

void balloon_deflate(struct virtio_balloon *b, struct virtq_chain *chain)
{
	/* Without knowing all that has left, nothing is known to be inside. */
	if (!for_each_page(b, chain, deflate_page))
		balloon_pages_reset(b);
}

/* ---- free pages ---- */

/* Give the writable segments of a chain back. Returns the number of bytes. */
static uint64_t discard_segments(struct virtio_balloon *b, struct virtq_chain *chain)
{
	const struct iovec *iov = virtq_chain_in(chain);
	uint64_t left = MAX_FREE_BYTES, given = 0;

	/* 5.5.6.7.2: pages that the guest keeps filled with a value must not become zeroes. */
	if (virtio_has(&b->vd, VIRTIO_BALLOON_F_PAGE_POISON) && b->poison_val)
		return 0;
	for (unsigned i = 0; i < chain->in_count && left; i++) {
		uint64_t n = MIN(left, (uint64_t)iov[i].iov_len);
		gpa_t addr;

		if (guest_address(b->vd.dev.env->memory, iov[i].iov_base, &addr))
			given += discard(b, addr, n);
		left -= n;
	}
	/* As many large pages as that would be, and a system call for each segment. */
	b->work += (unsigned)((MAX_FREE_BYTES - left) / (256 * KIB)) + chain->in_count;
	return given;
}

void balloon_report(struct virtio_balloon *b, struct virtq_chain *chain)
{
	b->reported_bytes += discard_segments(b, chain);
}

/* The driver begins or ends a round of hints (5.5.6.5). */
static void hint_command(struct virtio_balloon *b, struct virtq_chain *chain)
{
	uint32_t id = 0;

	if (chain->out_len != sizeof(id)) {
		device_guest_error(&b->vd.dev, "a hint command of %llu bytes: ignored",
				   (unsigned long long)chain->out_len);
		return;
	}
	virtq_read_out(chain, 0, &id, sizeof(id));
	if (id == VIRTIO_BALLOON_CMD_ID_STOP && b->hinting)
		b->hints_complete = true;
	/* Anything but the current round's: hints that follow are stale. */
	b->hinting = b->cmd_id > VIRTIO_BALLOON_CMD_ID_DONE && id == b->cmd_id;
}

/*
 * A hinted page goes back at once. 5.5.6.5.2 allows that only while the guest has not written to it
 * since the round began, and 5.5.6.5.1 lets a driver take pages back before the device has seen
 * the hint: Linux does so when memory runs short. Who asks for hints must know that it does not;
 * hence free-page-hint is off unless it is asked for, and rounds begin by hand.
 */
void balloon_hint(struct virtio_balloon *b, struct virtq_chain *chain)
{
	b->work++;
	if (chain->out_len)
		hint_command(b, chain);
	else if (b->hinting)
		b->hinted_bytes += discard_segments(b, chain);
}
