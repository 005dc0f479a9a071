/* SPDX-License-Identifier: MIT */
/*
 * Guest memory that cannot be misused.
 *
 * A guest physical address is a type of its own (gpa_t), so that it cannot be taken for a host
 * pointer or a length. Access is by copying accessors that check the whole range, or by a pin that
 * yields a host pointer and keeps the region alive until it is unpinned. Only RAM is here: an
 * address that belongs to a device's registers does not resolve, so device DMA cannot re-enter a
 * device.
 *
 * The set of regions is fixed before the guest starts and is then read without locks by any thread.
 * The bytes are shared with the guest, which may change them at any time: copy once and use the
 * copy.
 */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include "core/error.h"

typedef struct {
	uint64_t v;
} gpa_t;

static inline gpa_t gpa(uint64_t v)
{
	return (gpa_t){v};
}

static inline gpa_t gpa_add(gpa_t a, uint64_t off)
{
	return (gpa_t){a.v + off};
}

#define GUEST_MEMORY_MAX_REGIONS 16
#define GUEST_PAGE_SIZE          4096u

struct guest_memory;

enum guest_memory_flags {
	GUEST_MEMORY_HUGEPAGES = 1 << 0, /* memfd with MFD_HUGETLB (2 MiB pages) */
	GUEST_MEMORY_PREALLOC = 1 << 1,  /* touch every page at creation */
	/*
	 * A memfd that another process can map. Without it memory is anonymous, which the host's
	 * kernel backs with large pages where it can; a memfd gets those only where the host's
	 * administrator has switched them on (shmem_enabled).
	 */
	GUEST_MEMORY_SHARED = 1 << 2,
};

/* What the hypervisor needs to know about a region. */
struct guest_region {
	gpa_t base;
	uint64_t size; /* bytes, a multiple of the page size */
	void *host;
	int fd; /* memfd, owned by guest_memory; -1: anonymous memory */
	uint64_t fd_offset;
	uint64_t page_size; /* of the host pages behind it: what can be given back at once */
	bool promised;      /* huge pages or preallocated: what went back might not come again */
};

/* Create an empty set. Ownership: the caller destroys it after the last user is gone. */
int guest_memory_create(struct guest_memory **memory, struct vmm_error *err) MUST_CHECK;

/*
 * Release all regions. No pin may be outstanding (checked by assert: that is our own bug). NULL is
 * allowed.
 */
void guest_memory_destroy(struct guest_memory *memory);

/*
 * Add RAM at `base`, zero-filled, lazily populated. A process that forks does not hand anonymous
 * memory down.
 *
 * base, size: bytes, multiples of 4 KiB (2 MiB with HUGEPAGES); flags: enum guest_memory_flags.
 * Errors: -EINVAL (overlap, alignment, wrap), -ENOMEM, -ENOSPC (too many regions). Set-up only.
 */
int guest_memory_add(struct guest_memory *memory, gpa_t base, uint64_t size, unsigned flags,
		     struct vmm_error *err) MUST_CHECK;

unsigned guest_memory_count(const struct guest_memory *memory);
const struct guest_region *guest_memory_region(const struct guest_memory *memory, unsigned index);

/* Total bytes of RAM. */
uint64_t guest_memory_size(const struct guest_memory *memory);

/* True if all of [addr, addr + len) is RAM (a range may span adjacent regions). len 0 is true. */
bool guest_memory_contains(const struct guest_memory *memory, gpa_t addr, uint64_t len);

/*
 * Copy from or to guest memory. The whole range is checked first: either all is copied or nothing.
 * Returns 0 or -EFAULT. Any thread. A write marks the pages dirty.
 */
int guest_read(const struct guest_memory *memory, gpa_t addr, void *dst, size_t len) MUST_CHECK;
int guest_write(struct guest_memory *memory, gpa_t addr, const void *src, size_t len) MUST_CHECK;
int guest_fill(struct guest_memory *memory, gpa_t addr, int byte, uint64_t len) MUST_CHECK;

/*
 * A pin: a host pointer to [addr, addr + len), which must lie in one region.
 * The region lives at least until the unpin.
 */
struct guest_pin {
	void *host;
	uint64_t len;
	gpa_t addr;
	struct guest_memory *memory; /* NULL: not pinned */
};

enum guest_access { GUEST_READ, GUEST_WRITE };

/* Returns 0, or -EFAULT if the range is not RAM or crosses regions. len > 0. Any thread. */
int guest_pin(struct guest_memory *memory, gpa_t addr, uint64_t len,
	      struct guest_pin *pin) MUST_CHECK;

/*
 * Give the pin back. With GUEST_WRITE the first `written` bytes are marked dirty.
 * Idempotent (pin->memory becomes NULL).
 */
void guest_unpin(struct guest_pin *pin, enum guest_access access, uint64_t written);

/*
 * The hot path's form of pin: resolve without the reference count, for descriptor chains whose
 * owner (a virtqueue) holds one pin on the memory as a whole with guest_memory_get. *contiguous is
 * set to the number of bytes, at most len, that follow in the same region. NULL (and 0) if addr is
 * not RAM.
 */
void *guest_resolve(const struct guest_memory *memory, gpa_t addr, uint64_t len,
		    uint64_t *contiguous);

/* The reverse: where a pointer that guest_resolve gave lies. False: it is not guest memory. */
bool guest_address(const struct guest_memory *memory, const void *host, gpa_t *addr);

/*
 * Give memory back to the host: [addr, addr + len) reads as zero until it is written again, and is
 * marked dirty. Only whole host pages that lie in the range; what is left over at its ends stays as
 * it is. *given (may be NULL) is set to the number of bytes. Memory that was populated in advance
 * is not any more.
 *
 * Large pages (HUGEPAGES) go back to the host's pool, for anybody to take: a host that has none
 * left when the guest touches such memory again ends the guest.
 *
 * The caller answers for nobody using these pages. A transfer by the host's kernel that is under
 * way keeps the page that it has: it harms nothing else, but what it reads from a disk or a socket
 * is not seen by the guest. (Memory that hardware reaches by itself must not be discarded.)
 *
 * Returns 0, -EFAULT (not all of it is RAM; nothing was done) or what the kernel says. Any thread.
 */
int guest_memory_discard(struct guest_memory *memory, gpa_t addr, uint64_t len,
			 uint64_t *given) MUST_CHECK;

/*
 * *bytes: how much of the RAM is in the host's memory now. Returns 0 or -errno. Any thread; the
 * answer may be old by the time it is there.
 */
int guest_memory_resident(const struct guest_memory *memory, uint64_t *bytes) MUST_CHECK;

/* Count a user that resolves pointers. Any thread. */
void guest_memory_get(struct guest_memory *memory);
void guest_memory_put(struct guest_memory *memory);

/* Mark [addr, addr + len) dirty; a no-op unless dirty logging is on. Any thread. */
void guest_mark_dirty(struct guest_memory *memory, gpa_t addr, uint64_t len);

/* Start or stop dirty logging (all pages clean at start). One thread at a time. 0 or -ENOMEM. */
int guest_dirty_log(struct guest_memory *memory, bool on) MUST_CHECK;

/* Whether the page at addr was dirtied since the last call for it; clears it. */
bool guest_dirty_test_clear(struct guest_memory *memory, gpa_t addr);

#endif
