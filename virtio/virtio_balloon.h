/* SPDX-License-Identifier: MIT */
/*
 * virtio-balloon (virtio 1.2, section 5.5). For virtio_balloon*.c only.
 *
 * virtio_balloon.c is the device: options, features, configuration space, queues, actions.
 * virtio_balloon_pages.c gives memory back to the host: what the driver puts into the balloon, and
 * what it reports or hints to be free. virtio_balloon_stats.c is the guest's statistics.
 */
#ifndef VIRTIO_VIRTIO_BALLOON_H
#define VIRTIO_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "virtio/virtio.h"

#define BALLOON_PAGE_SHIFT 12 /* of page numbers, whatever the guest's or the host's pages are */
#define BALLOON_PAGE_SIZE  (UINT64_C(1) << BALLOON_PAGE_SHIFT)

/* What a queue is for; also its number where the driver goes by the specification (5.5.2). */
enum balloon_role {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINT,
	BALLOON_REPORT,
	BALLOON_ROLES,
};

/* Whether free page reporting is offered; by itself only where no memory was promised. */
enum balloon_reporting { BALLOON_REPORTING_OFF, BALLOON_REPORTING_ON, BALLOON_REPORTING_AUTO };

#define BALLOON_STATS_MAX 16 /* tags that have a name */

struct balloon_stats {
	uint64_t interval_s; /* 0: only when asked */
	struct loop_timer timer;
	struct virtq_chain *held; /* the buffer that asks for new ones when it is returned */
	unsigned queue;
	uint64_t values[BALLOON_STATS_MAX];
	uint32_t present;   /* bit: tag */
	uint64_t update_ns; /* monotonic; 0: never */
};

struct virtio_balloon {
	struct virtio_device vd; /* first */
	bool deflate_on_oom, free_page_hint;
	int free_page_reporting; /* enum balloon_reporting */
	enum balloon_role
		roles[BALLOON_ROLES]; /* of queues; BALLOON_ROLES: none. Set by activate */
	unsigned work;                /* done in this kick */

	/* Configuration space. */
	uint32_t num_pages; /* what the host wants: survives a reset */
	uint32_t actual;    /* what the driver says that the balloon has */
	uint32_t cmd_id;    /* of free page hinting */
	uint32_t poison_val;

	uint32_t last_cmd_id; /* so that none is used twice */
	bool hinting;         /* the driver has announced cmd_id, hints belong to it */
	bool hints_complete;  /* the driver has no more */

	/*
	 * Where host pages are larger than the balloon's: a bit for each of the latter that is in
	 * the balloon, by region. NULL where they are not.
	 */
	uint64_t *inside[GUEST_MEMORY_MAX_REGIONS];
	bool large_pages;
	bool discard_failed; /* has been complained about */

	/* Bytes given back to the host, ever. */
	uint64_t inflated_bytes, reported_bytes, hinted_bytes;
	struct balloon_stats stats;
};

static inline struct virtio_balloon *virtio_balloon(struct virtio_device *vd)
{
	return container_of(vd, struct virtio_balloon, vd);
}

/* ---- virtio_balloon_pages.c; home loop, lock held ---- */

/* Returns 0 or -ENOMEM. */
int balloon_pages_init(struct virtio_balloon *b) MUST_CHECK;
void balloon_pages_fini(struct virtio_balloon *b);
/* Nothing is in the balloon. */
void balloon_pages_reset(struct virtio_balloon *b);

/* Handle a chain, without pushing it. */
void balloon_inflate(struct virtio_balloon *b, struct virtq_chain *chain);
void balloon_deflate(struct virtio_balloon *b, struct virtq_chain *chain);
void balloon_report(struct virtio_balloon *b, struct virtq_chain *chain);
void balloon_hint(struct virtio_balloon *b, struct virtq_chain *chain);

/* ---- virtio_balloon_stats.c; home loop, lock held but where it says otherwise ---- */

/* Bytes in the balloon, as its driver says: it may be anything. Any thread, lock not held. */
uint64_t virtio_balloon_size(struct device *dev);

void balloon_stats_init(struct virtio_balloon *b);
/* Lock not held. */
void balloon_stats_fini(struct virtio_balloon *b);
/* (Re)start polling at the interval; nothing if it is 0 or the device does not work. */
void balloon_stats_poll(struct virtio_balloon *b);
/* A chain with statistics. It is held. */
void balloon_stats_take(struct virtio_balloon *b, unsigned queue, struct virtq_chain *chain);
/* Return the chain that is held, if any: the driver answers with new statistics. */
void balloon_stats_ask(struct virtio_balloon *b);
/* Forget what was learnt. The chain that is held belongs to the queue, which drops it. */
void balloon_stats_reset(struct virtio_balloon *b);
void balloon_stats_report(const struct virtio_balloon *b, struct report *report);

#endif
