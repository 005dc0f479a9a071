/* SPDX-License-Identifier: MIT */
#include "core/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define HUGE_PAGE_SIZE (2 * MIB)

struct guest_memory {
	unsigned count;
	struct guest_region regions[GUEST_MEMORY_MAX_REGIONS]; /* sorted by base */
	_Atomic unsigned users;                                /* pins and guest_memory_get */
	/*
	 * One bit per page. Allocated when logging is first switched on and kept until the end, so
	 * that a thread that is just marking never sees it go away.
	 */
	_Atomic bool logging;
	_Atomic uint64_t *dirty[GUEST_MEMORY_MAX_REGIONS];
};

int guest_memory_create(struct guest_memory **memory, struct vmm_error *err)
{
	*memory = calloc(1, sizeof(**memory));
	if (!*memory)
		return error_set(err, ENOMEM, "out of memory");
	return 0;
}

static void region_release(struct guest_region *region)
{
	if (region->host)
		munmap(region->host, region->size);
	if (region->fd >= 0)
		close(region->fd);
}

void guest_memory_destroy(struct guest_memory *memory)
{
	if (!memory)
		return;
	assert(atomic_load_explicit(&memory->users, memory_order_acquire) == 0);
	for (unsigned i = 0; i < memory->count; i++) {
		region_release(&memory->regions[i]);
		free((void *)memory->dirty[i]);
	}
	free(memory);
}

/* ---- set-up ---- */

static int check_new_region(const struct guest_memory *memory, uint64_t base, uint64_t size,
			    unsigned flags, struct vmm_error *err)
{
	uint64_t align = flags & GUEST_MEMORY_HUGEPAGES ? HUGE_PAGE_SIZE : GUEST_PAGE_SIZE;

	if (size == 0 || size % align || base % align)
		return error_set(err, EINVAL,
				 "guest memory at %#lx: base and size must be multiples of %lu KiB",
				 base, align / KIB);
	if (base + size < base)
		return error_set(err, EINVAL, "guest memory at %#lx: %#lx bytes wrap around", base,
				 size);
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *r = &memory->regions[i];

		if (base < r->base.v + r->size && r->base.v < base + size)
			return error_set(err, EINVAL, "guest memory at %#lx: overlaps that at %#lx",
					 base, r->base.v);
	}
	if (memory->count == GUEST_MEMORY_MAX_REGIONS)
		return error_set(err, ENOSPC, "guest memory: more than %d regions",
				 GUEST_MEMORY_MAX_REGIONS);
	if (size > INT64_MAX - HUGE_PAGE_SIZE)
		return error_set(err, ENOMEM, "guest memory: %#lx bytes are too many", size);
	return 0;
}

static int memory_fd(uint64_t size, bool huge)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (huge)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	/* Kernels since 6.3 want to know whether it may be executed; older ones reject the flag. */
	fd = memfd_create("guest-memory", flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("guest-memory", flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size)) {
		int code = errno == EFBIG || errno == EINVAL ? ENOMEM : errno;

		close(fd);
		return -code;
	}
	/* Whoever gets the descriptor must not shrink the file: that would be our SIGBUS. */
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

/*
 * Map at an address that is congruent to `base` modulo 2 MiB: only then can the host back the guest
 * with large pages.
 */
static void *map_aligned(uint64_t base, uint64_t size, int fd, bool huge)
{
	/* hugetlb pages are reserved at mmap, so that lack of them is an error here, not a SIGBUS.
	 */
	int flags =
		(fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (huge ? 0 : MAP_NORESERVE);
	uint64_t offset = base & (HUGE_PAGE_SIZE - 1), room = size + HUGE_PAGE_SIZE;
	char *area, *host;

	if (huge || size < HUGE_PAGE_SIZE)
		return mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	area = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return MAP_FAILED;
	host = area + ((offset - (uintptr_t)area) & (HUGE_PAGE_SIZE - 1));
	if (mmap(host, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		munmap(area, room);
		return MAP_FAILED;
	}
	if (host > area)
		munmap(area, (size_t)(host - area));
	munmap(host + size, room - size - (size_t)(host - area));
	return host;
}

static int populate(const struct guest_region *region)
{
	if (!madvise(region->host, region->size, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return errno == EFAULT ? -ENOMEM : -errno;
	/* Before Linux 5.14. A file is asked first: touching a page it has no room for is SIGBUS.
	 */
	if (region->fd >= 0)
		return fallocate(region->fd, 0, 0, (off_t)region->size) ? -errno : 0;
	for (uint64_t at = 0; at < region->size; at += GUEST_PAGE_SIZE)
		((volatile char *)region->host)[at] = 0;
	return 0;
}

int guest_memory_add(struct guest_memory *memory, gpa_t base, uint64_t size, unsigned flags,
		     struct vmm_error *err)
{
	bool huge = flags & GUEST_MEMORY_HUGEPAGES;
	struct guest_region region = {
		.base = base,
		.size = size,
		.fd = -1,
		.page_size = huge ? HUGE_PAGE_SIZE : (uint64_t)sysconf(_SC_PAGESIZE),
		.promised = flags & (GUEST_MEMORY_HUGEPAGES | GUEST_MEMORY_PREALLOC),
	};
	unsigned at = memory->count;
	int r;

	r = check_new_region(memory, base.v, size, flags, err);
	if (r)
		return r;

	if (flags & (GUEST_MEMORY_HUGEPAGES | GUEST_MEMORY_SHARED)) {
		region.fd = memory_fd(size, huge);
		if (region.fd < 0) {
			r = region.fd;
			goto fail;
		}
	}
	region.host = map_aligned(base.v, size, region.fd, huge);
	if (region.host == MAP_FAILED) {
		region.host = NULL;
		r = errno == EOVERFLOW ? -ENOMEM : -errno;
		goto fail;
	}
	madvise(region.host, size, MADV_DONTDUMP);
	/* A child that has copies of the pages would cost both a copy at the next write. */
	if (region.fd < 0)
		madvise(region.host, size, MADV_DONTFORK);
	if (!huge && size >= HUGE_PAGE_SIZE)
		madvise(region.host, size, MADV_HUGEPAGE);
	if (flags & GUEST_MEMORY_PREALLOC) {
		r = populate(&region);
		if (r)
			goto fail;
	}

	for (; at > 0 && memory->regions[at - 1].base.v > base.v; at--)
		memory->regions[at] = memory->regions[at - 1];
	memory->regions[at] = region;
	memory->count++;
	return 0;

fail:
	region_release(&region);
	if (huge && r == -ENOMEM)
		return error_set(
			err, ENOMEM,
			"guest memory: %lu huge pages of 2 MiB are not free; reserve more in "
			"/proc/sys/vm/nr_hugepages",
			size / HUGE_PAGE_SIZE);
	return error_set_errno(err, -r, "guest memory: cannot get %lu MiB", size / MIB);
}

unsigned guest_memory_count(const struct guest_memory *memory)
{
	return memory->count;
}

const struct guest_region *guest_memory_region(const struct guest_memory *memory, unsigned index)
{
	return index < memory->count ? &memory->regions[index] : NULL;
}

uint64_t guest_memory_size(const struct guest_memory *memory)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < memory->count; i++)
		size += memory->regions[i].size;
	return size;
}

/* ---- access ---- */

/* Index of the region that holds addr, or -1. */
static int find_region(const struct guest_memory *memory, uint64_t addr)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *r = &memory->regions[i];

		/* One comparison does for both ends: below the base the difference wraps. */
		if (addr - r->base.v < r->size)
			return (int)i;
	}
	return -1;
}

void *guest_resolve(const struct guest_memory *memory, gpa_t addr, uint64_t len,
		    uint64_t *contiguous)
{
	int i = find_region(memory, addr.v);
	const struct guest_region *r;
	uint64_t offset;

	if (i < 0) {
		*contiguous = 0;
		return NULL;
	}
	r = &memory->regions[i];
	offset = addr.v - r->base.v;
	*contiguous = MIN(len, r->size - offset);
	return (char *)r->host + offset;
}

bool guest_memory_contains(const struct guest_memory *memory, gpa_t addr, uint64_t len)
{
	uint64_t n;

	/* Ends: no region reaches past 2^64, and each step consumes at least one byte. */
	for (; len; len -= n, addr.v += n)
		if (!guest_resolve(memory, addr, len, &n))
			return false;
	return true;
}

/* The guest may change the bytes at any time: later uses must not be turned into new reads. */
static inline void copied(void)
{
	__asm__ volatile("" ::: "memory");
}

int guest_read(const struct guest_memory *memory, gpa_t addr, void *dst, size_t len)
{
	uint64_t n;

	if (!guest_memory_contains(memory, addr, len))
		return -EFAULT;
	for (char *to = dst; len; len -= n, addr.v += n, to += n) {
		void *from = guest_resolve(memory, addr, len, &n);

		memcpy(to, from, n);
	}
	copied();
	return 0;
}

int guest_write(struct guest_memory *memory, gpa_t addr, const void *src, size_t len)
{
	gpa_t start = addr;
	uint64_t n, left = len;

	if (!guest_memory_contains(memory, addr, len))
		return -EFAULT;
	for (const char *from = src; left; left -= n, addr.v += n, from += n) {
		void *to = guest_resolve(memory, addr, left, &n);

		memcpy(to, from, n);
	}
	guest_mark_dirty(memory, start, len);
	return 0;
}

int guest_fill(struct guest_memory *memory, gpa_t addr, int byte, uint64_t len)
{
	gpa_t start = addr;
	uint64_t n, left = len;

	if (!guest_memory_contains(memory, addr, len))
		return -EFAULT;
	for (; left; left -= n, addr.v += n) {
		void *to = guest_resolve(memory, addr, left, &n);

		memset(to, byte, n);
	}
	guest_mark_dirty(memory, start, len);
	return 0;
}

bool guest_address(const struct guest_memory *memory, const void *host, gpa_t *addr)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *r = &memory->regions[i];
		uint64_t offset = (uintptr_t)host - (uintptr_t)r->host;

		if (offset < r->size) {
			*addr = gpa_add(r->base, offset);
			return true;
		}
	}
	return false;
}

static int region_discard(const struct guest_region *r, uint64_t offset, uint64_t len)
{
	int rc;

	/* A file keeps its pages when they are unmapped. */
	if (r->fd >= 0)
		rc = fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)(r->fd_offset + offset), (off_t)len);
	else
		rc = madvise((char *)r->host + offset, len, MADV_DONTNEED);
	return rc ? -errno : 0;
}

int guest_memory_discard(struct guest_memory *memory, gpa_t addr, uint64_t len, uint64_t *given)
{
	uint64_t total = 0, n;
	int rc = 0;

	if (!guest_memory_contains(memory, addr, len))
		rc = -EFAULT;
	for (; !rc && len; len -= n, addr.v += n) {
		const struct guest_region *r = &memory->regions[find_region(memory, addr.v)];
		uint64_t offset = addr.v - r->base.v, start, end;

		n = MIN(len, r->size - offset);
		start = align_up(offset, r->page_size);
		end = align_down(offset + n, r->page_size);
		if (start >= end)
			continue;
		rc = region_discard(r, start, end - start);
		if (rc)
			break;
		guest_mark_dirty(memory, gpa_add(r->base, start), end - start);
		total += end - start;
	}
	if (given)
		*given = total;
	return rc;
}

void guest_memory_get(struct guest_memory *memory)
{
	atomic_fetch_add_explicit(&memory->users, 1, memory_order_relaxed);
}

void guest_memory_put(struct guest_memory *memory)
{
	unsigned before = atomic_fetch_sub_explicit(&memory->users, 1, memory_order_release);

	assert(before > 0);
	(void)before;
}

int guest_pin(struct guest_memory *memory, gpa_t addr, uint64_t len, struct guest_pin *pin)
{
	uint64_t n;
	void *host;

	*pin = (struct guest_pin){0};
	if (len == 0)
		return -EFAULT;
	host = guest_resolve(memory, addr, len, &n);
	if (!host || n != len)
		return -EFAULT;
	guest_memory_get(memory);
	*pin = (struct guest_pin){.host = host, .len = len, .addr = addr, .memory = memory};
	return 0;
}

void guest_unpin(struct guest_pin *pin, enum guest_access access, uint64_t written)
{
	struct guest_memory *memory = pin->memory;

	if (!memory)
		return;
	if (access == GUEST_WRITE)
		guest_mark_dirty(memory, pin->addr, MIN(written, pin->len));
	pin->memory = NULL;
	pin->host = NULL;
	guest_memory_put(memory);
}

/* ---- dirty pages ---- */

static void mark_pages(_Atomic uint64_t *bits, uint64_t first, uint64_t last)
{
	for (uint64_t page = first; page <= last; page++) {
		_Atomic uint64_t *word = &bits[page / 64];
		uint64_t mask = UINT64_C(1) << (page % 64);

		/* Most marks find the bit set: a read keeps the cache line shared. */
		if (!(atomic_load_explicit(word, memory_order_relaxed) & mask))
			atomic_fetch_or_explicit(word, mask, memory_order_release);
	}
}

void guest_mark_dirty(struct guest_memory *memory, gpa_t addr, uint64_t len)
{
	uint64_t n;

	if (!atomic_load_explicit(&memory->logging, memory_order_acquire))
		return;
	for (; len; len -= n, addr.v += n) {
		int i = find_region(memory, addr.v);
		uint64_t offset;

		if (i < 0)
			return;
		offset = addr.v - memory->regions[i].base.v;
		n = MIN(len, memory->regions[i].size - offset);
		mark_pages(memory->dirty[i], offset / GUEST_PAGE_SIZE,
			   (offset + n - 1) / GUEST_PAGE_SIZE);
	}
}

static size_t bitmap_words(const struct guest_region *region)
{
	return (region->size / GUEST_PAGE_SIZE + 63) / 64;
}

int guest_dirty_log(struct guest_memory *memory, bool on)
{
	for (unsigned i = 0; on && i < memory->count; i++) {
		size_t words = bitmap_words(&memory->regions[i]);

		if (!memory->dirty[i]) {
			memory->dirty[i] = calloc(words, sizeof(uint64_t));
			if (!memory->dirty[i])
				return -ENOMEM;
			continue;
		}
		for (size_t w = 0; w < words; w++)
			atomic_store_explicit(&memory->dirty[i][w], 0, memory_order_relaxed);
	}
	atomic_store_explicit(&memory->logging, on, memory_order_release);
	return 0;
}

bool guest_dirty_test_clear(struct guest_memory *memory, gpa_t addr)
{
	int i = find_region(memory, addr.v);
	uint64_t page, mask;

	if (i < 0 || !memory->dirty[i])
		return false;
	page = (addr.v - memory->regions[i].base.v) / GUEST_PAGE_SIZE;
	mask = UINT64_C(1) << (page % 64);
	return atomic_fetch_and_explicit(&memory->dirty[i][page / 64], ~mask,
					 memory_order_acquire) &
	       mask;
}

/* Pages of [host, host + size) that are there. */
static int count_resident(const struct guest_region *region, uint64_t *bytes)
{
	unsigned char there[4096];
	const uint64_t step = sizeof(there) * GUEST_PAGE_SIZE;

	for (uint64_t at = 0; at < region->size; at += step) {
		const uint64_t len = MIN(step, region->size - at);

		if (mincore((char *)region->host + at, len, there) < 0)
			return -errno;
		for (uint64_t page = 0; page < len / GUEST_PAGE_SIZE; page++)
			*bytes += there[page] & 1 ? GUEST_PAGE_SIZE : 0;
	}
	return 0;
}

int guest_memory_resident(const struct guest_memory *memory, uint64_t *bytes)
{
	int rc = 0;

	*bytes = 0;
	for (unsigned i = 0; rc == 0 && i < memory->count; i++)
		rc = count_resident(&memory->regions[i], bytes);
	return rc;
}
