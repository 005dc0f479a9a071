/* SPDX-License-Identifier: MIT */
/*
 * Memory statistics of the guest (virtio 1.2, section 5.5.6.3).
 *
 * The driver's one buffer stays with the device. Returning it asks for new statistics, which come
 * in the next buffer.
 */
#include "virtio/virtio_balloon.h"

/* In the order of their tags; those above 9 are Linux's. */
static const char *const names[BALLOON_STATS_MAX] = {
	"swap-in",           "swap-out",       "major-faults",     "minor-faults",
	"free-memory",       "total-memory",   "available-memory", "disk-caches",
	"hugetlb-allocated", "hugetlb-failed", "oom-kills",        "alloc-stalls",
	"async-scans",       "direct-scans",   "async-reclaims",   "direct-reclaims",
};

/* More than any driver has; what is beyond is not read. */
#define MAX_ENTRIES 64

_Static_assert(sizeof(struct virtio_balloon_stat) == 10, "5.5.6.3");

static void on_timer(struct loop_timer *timer)
{
	struct virtio_balloon *b = container_of(timer, struct virtio_balloon, stats.timer);

	device_lock(&b->vd.dev);
	balloon_stats_ask(b);
	balloon_stats_poll(b);
	device_unlock(&b->vd.dev);
}

void balloon_stats_init(struct virtio_balloon *b)
{
	loop_timer_init(b->vd.dev.loop, &b->stats.timer, on_timer);
}

static void disarm(void *arg)
{
	loop_timer_disarm(arg);
}

void balloon_stats_fini(struct virtio_balloon *b)
{
	loop_call(b->vd.dev.loop, disarm, &b->stats.timer);
}

void balloon_stats_poll(struct virtio_balloon *b)
{
	loop_timer_disarm(&b->stats.timer);
	if (!b->stats.interval_s || !b->vd.active)
		return;
	if (loop_timer_arm(&b->stats.timer,
			   clock_now(b->vd.dev.env->clock) + b->stats.interval_s * NS_PER_SEC))
		log_warn(b->vd.dev.env->log, b->vd.dev.id, "no memory to poll statistics");
}

void balloon_stats_ask(struct virtio_balloon *b)
{
	struct virtq_chain *chain = b->stats.held;

	b->stats.held = NULL;
	if (chain)
		virtio_push(&b->vd, b->stats.queue, chain, 0);
}

void balloon_stats_take(struct virtio_balloon *b, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_balloon_stat entries[MAX_ENTRIES];
	size_t n = virtq_read_out(chain, 0, entries, sizeof(entries)) / sizeof(entries[0]);

	/* At most one (5.5.6.3.1). */
	balloon_stats_ask(b);
	b->stats.held = chain;
	b->stats.queue = queue;
	if (!n)
		return;
	b->stats.present = 0;
	for (size_t i = 0; i < n; i++) {
		if (entries[i].tag >= BALLOON_STATS_MAX)
			continue;
		b->stats.values[entries[i].tag] = entries[i].val;
		b->stats.present |= UINT32_C(1) << entries[i].tag;
	}
	b->stats.update_ns = clock_now(b->vd.dev.env->clock);
}

void balloon_stats_reset(struct virtio_balloon *b)
{
	b->stats.held = NULL;
	b->stats.present = 0;
	b->stats.update_ns = 0;
}

void balloon_stats_report(const struct virtio_balloon *b, struct report *report)
{
	const uint64_t now = clock_now(b->vd.dev.env->clock);

	report_u64(report, "stats-interval", b->stats.interval_s);
	if (!b->stats.update_ns)
		return;
	report_begin(report, "stats");
	/* The guest's numbers can be anything; beyond this, readers of JSON refuse the whole of it.
	 */
	report_u64(report, "age-ms", (now - b->stats.update_ns) / NS_PER_MS);
	for (unsigned tag = 0; tag < BALLOON_STATS_MAX; tag++)
		if (b->stats.present >> tag & 1)
			report_u64(report, names[tag],
				   MIN(b->stats.values[tag], (uint64_t)INT64_MAX));
	report_end(report);
}
