/* SPDX-License-Identifier: MIT */
#include "virtio/virtio_balloon.h"

#include <errno.h>
#include <string.h>

#include "virtio/virtio_classes.h"

#define QUEUE_SIZE 128 /* a report of Linux has up to 32 segments */

/* About as many page numbers, or calls of the host's kernel, are a turn's work. */
#define TURN_WORK 4096

#define BIT(n) (UINT64_C(1) << (n))

_Static_assert(sizeof(struct virtio_balloon_config) == 16, "5.5.4");

/* ---- configuration space (5.5.4) ---- */

static void fill_config(const struct virtio_balloon *b, struct virtio_balloon_config *c)
{
	*c = (struct virtio_balloon_config){
		.num_pages = b->num_pages,
		.actual = b->actual,
		.free_page_hint_cmd_id = b->cmd_id,
		.poison_val = b->poison_val,
	};
}

static void config_read(struct virtio_device *vd, unsigned offset, void *buf, unsigned len)
{
	struct virtio_balloon_config c;

	fill_config(virtio_balloon(vd), &c);
	memcpy(buf, (const char *)&c + offset, len);
}

static void config_write(struct virtio_device *vd, unsigned offset, const void *buf, unsigned len)
{
	struct virtio_balloon *b = virtio_balloon(vd);
	struct virtio_balloon_config c;

	fill_config(b, &c);
	memcpy((char *)&c + offset, buf, len);
	if (b->actual != c.actual)
		device_tell(&vd->dev, DEVICE_NOTICE_BALLOON,
			    (uint64_t)c.actual << BALLOON_PAGE_SHIFT, NULL);
	b->actual = c.actual;
	if (c.poison_val == b->poison_val)
		return;
	/* 5.5.6.6.1: negotiated, and settled before DRIVER_OK. */
	if (virtio_has(vd, VIRTIO_BALLOON_F_PAGE_POISON) &&
	    !(vd->status & VIRTIO_CONFIG_S_DRIVER_OK))
		b->poison_val = c.poison_val;
	else
		device_guest_error(&vd->dev, "poison_val is written when it must not be: ignored");
}

/* ---- queues ---- */

static bool has_role(const struct virtio_balloon *b, enum balloon_role role)
{
	switch (role) {
	case BALLOON_STATS:
		return virtio_has(&b->vd, VIRTIO_BALLOON_F_STATS_VQ);
	case BALLOON_HINT:
		return virtio_has(&b->vd, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
	case BALLOON_REPORT:
		return virtio_has(&b->vd, VIRTIO_BALLOON_F_REPORTING);
	default:
		return true;
	}
}

/*
 * By the specification the reporting queue is number 4, come what may. Drivers of Linux number the
 * queues that they have without a gap. Which it is, the queues tell that were enabled.
 */
static void assign_roles(struct virtio_balloon *b)
{
	bool by_number = true;
	unsigned queue = 0;

	for (unsigned role = 0; role < BALLOON_ROLES; role++)
		if (has_role(b, role) && !b->vd.queues[role].enabled)
			by_number = false;
	for (unsigned i = 0; i < BALLOON_ROLES; i++)
		b->roles[i] = BALLOON_ROLES;
	for (unsigned role = 0; role < BALLOON_ROLES; role++) {
		if (!has_role(b, role))
			continue;
		b->roles[by_number ? role : queue] = role;
		queue++;
	}
}

static void activate(struct virtio_device *vd)
{
	struct virtio_balloon *b = virtio_balloon(vd);

	assign_roles(b);
	balloon_stats_poll(b);
}

static void handle(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_balloon *b = virtio_balloon(vd);

	switch (b->roles[queue]) {
	case BALLOON_INFLATE:
		balloon_inflate(b, chain);
		break;
	case BALLOON_DEFLATE:
		balloon_deflate(b, chain);
		break;
	case BALLOON_STATS:
		balloon_stats_take(b, queue, chain);
		return;
	case BALLOON_HINT:
		balloon_hint(b, chain);
		break;
	default:
		balloon_report(b, chain);
		break;
	}
	virtio_push(vd, queue, chain, 0);
}

static bool may_pop(struct virtio_device *vd, unsigned queue)
{
	if (virtio_balloon(vd)->work < TURN_WORK)
		return true;
	/* The rest in the next turn. */
	virtio_queue_ring(vd, queue);
	return false;
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	struct virtio_balloon *b = virtio_balloon(vd);

	b->work = 0;
	if (b->roles[queue] < BALLOON_ROLES)
		virtio_process_while(vd, queue, may_pop, handle);
}

static void drain_queue(struct virtio_device *vd, unsigned queue)
{
	struct virtio_balloon *b = virtio_balloon(vd);

	if (b->stats.held && b->stats.queue == queue)
		balloon_stats_ask(b);
}

static void drain(struct virtio_device *vd)
{
	struct virtio_balloon *b = virtio_balloon(vd);

	device_lock(&vd->dev);
	/* A saved state has no chain in flight. The driver answers when the device goes on. */
	balloon_stats_ask(b);
	loop_timer_disarm(&b->stats.timer);
	device_unlock(&vd->dev);
	virtio_drained(vd);
}

static void reset(struct virtio_device *vd)
{
	struct virtio_balloon *b = virtio_balloon(vd);

	/* The next driver begins with an empty balloon: what was in it is ordinary memory again. */
	b->actual = b->poison_val = 0;
	b->cmd_id = VIRTIO_BALLOON_CMD_ID_STOP;
	b->hinting = b->hints_complete = false;
	balloon_pages_reset(b);
	balloon_stats_reset(b);
}

/* ---- saved state ---- */

static void save(struct virtio_device *vd, struct state_writer *w)
{
	const struct virtio_balloon *b = virtio_balloon(vd);

	state_put_u64(w, "num_pages", b->num_pages);
	state_put_u64(w, "actual", b->actual);
	state_put_u64(w, "poison_val", b->poison_val);
	state_put_u64(w, "cmd_id", b->cmd_id);
	state_put_u64(w, "last_cmd_id", b->last_cmd_id);
	state_put_u64(w, "hinting", b->hinting);
	state_put_u64(w, "hints_complete", b->hints_complete);
}

static int load(struct virtio_device *vd, struct state_reader *r, uint32_t version UNUSED)
{
	struct virtio_balloon *b = virtio_balloon(vd);
	const uint64_t pages = guest_memory_size(vd->dev.env->memory) >> BALLOON_PAGE_SHIFT;
	uint64_t num_pages, actual, poison, cmd_id, last, hinting, complete;
	int rc = state_get_u64(r, "num_pages", &num_pages, 0, MIN(pages, (uint64_t)UINT32_MAX));

	if (!rc)
		rc = state_get_u64(r, "actual", &actual, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "poison_val", &poison, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "cmd_id", &cmd_id, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "last_cmd_id", &last, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "hinting", &hinting, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "hints_complete", &complete, 0, 1);
	if (rc)
		return rc;
	b->num_pages = (uint32_t)num_pages;
	b->actual = (uint32_t)actual;
	b->poison_val = (uint32_t)poison;
	b->cmd_id = (uint32_t)cmd_id;
	b->last_cmd_id = (uint32_t)last;
	b->hinting = hinting;
	b->hints_complete = complete;
	/* Of large host pages that were half inside, the other half is awaited in vain: no harm. */
	balloon_pages_reset(b);
	balloon_stats_reset(b);
	return 0;
}

uint64_t virtio_balloon_size(struct device *dev)
{
	uint64_t bytes;

	device_lock(dev);
	bytes = (uint64_t)virtio_balloon(virtio_device(dev))->actual << BALLOON_PAGE_SHIFT;
	device_unlock(dev);
	return bytes;
}

/* ---- actions ---- */

struct target_args {
	uint64_t size;
};

static const struct option_desc target_options[] = {
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct target_args, size),
	 .min = MIB,
	 .required = true,
	 .help = "memory that the guest is to have left"},
	OPTION_END,
};

static int run_target(struct device *dev, const void *args, struct report *report UNUSED,
		      struct vmm_error *err)
{
	const uint64_t size = ((const struct target_args *)args)->size,
		       ram = guest_memory_size(dev->env->memory);
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));

	if (size > ram)
		return error_set(err, EINVAL, "size=%llu: the guest has %llu bytes of memory",
				 (unsigned long long)size, (unsigned long long)ram);
	if ((ram - size) >> BALLOON_PAGE_SHIFT > UINT32_MAX)
		return error_set(err, EINVAL, "size=%llu: a balloon has less than 16 TiB",
				 (unsigned long long)size);
	device_lock(dev);
	b->num_pages = (uint32_t)((ram - size) >> BALLOON_PAGE_SHIFT);
	virtio_config_changed(&b->vd);
	device_unlock(dev);
	return 0;
}

/* What the guest has, and what it says about that. */
static void stats(struct device *dev, struct report *report)
{
	const uint64_t ram = guest_memory_size(dev->env->memory);
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));

	device_lock(dev);
	report_u64(report, "target", ram - ((uint64_t)b->num_pages << BALLOON_PAGE_SHIFT));
	/* The driver's word: it may be anything. */
	report_u64(report, "actual", ram - MIN(ram, (uint64_t)b->actual << BALLOON_PAGE_SHIFT));
	balloon_stats_report(b, report);
	device_unlock(dev);
}

static int run_status(struct device *dev, const void *args UNUSED, struct report *report,
		      struct vmm_error *err UNUSED)
{
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));

	report_u64(report, "memory", guest_memory_size(dev->env->memory));
	stats(dev, report);
	device_lock(dev);
	report_bool(report, "driver", b->vd.status & VIRTIO_CONFIG_S_DRIVER_OK);
	report_u64(report, "returned-inflated", b->inflated_bytes);
	report_u64(report, "returned-reported", b->reported_bytes);
	report_u64(report, "returned-hinted", b->hinted_bytes);
	report_bool(report, "hinting", b->cmd_id > VIRTIO_BALLOON_CMD_ID_DONE);
	report_bool(report, "hints-complete", b->hints_complete);
	device_unlock(dev);
	return 0;
}

static int run_stats(struct device *dev, const void *args UNUSED, struct report *report,
		     struct vmm_error *err)
{
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));
	bool able;

	device_lock(dev);
	able = virtio_has(&b->vd, VIRTIO_BALLOON_F_STATS_VQ);
	balloon_stats_report(b, report);
	if (b->vd.active)
		balloon_stats_ask(b);
	device_unlock(dev);
	return able ? 0 : error_set(err, ENOTSUP, "the guest's driver has no statistics");
}

struct interval_args {
	uint64_t seconds;
};

static const struct option_desc interval_options[] = {
	{.name = "seconds",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct interval_args, seconds),
	 .max = UINT32_MAX,
	 .required = true,
	 .help = "seconds between two requests for statistics; 0: only when asked"},
	OPTION_END,
};

static int run_interval(struct device *dev, const void *args, struct report *report UNUSED,
			struct vmm_error *err UNUSED)
{
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));

	device_lock(dev);
	b->stats.interval_s = ((const struct interval_args *)args)->seconds;
	balloon_stats_poll(b);
	device_unlock(dev);
	return 0;
}

static int set_hinting(struct device *dev, bool start, struct vmm_error *err)
{
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));
	bool able;

	device_lock(dev);
	able = virtio_has(&b->vd, VIRTIO_BALLOON_F_FREE_PAGE_HINT) &&
	       (b->vd.status & VIRTIO_CONFIG_S_DRIVER_OK);
	if (able) {
		/* Past the values that are reserved; 2^32 rounds later the first is long over. */
		if (start && ++b->last_cmd_id <= VIRTIO_BALLOON_CMD_ID_DONE)
			b->last_cmd_id = VIRTIO_BALLOON_CMD_ID_DONE + 1;
		b->cmd_id = start ? b->last_cmd_id : VIRTIO_BALLOON_CMD_ID_DONE;
		b->hinting = false;
		b->hints_complete &= !start;
		virtio_config_changed(&b->vd);
	}
	device_unlock(dev);
	return able ? 0 : error_set(err, ENOTSUP, "the guest's driver gives no hints");
}

static int run_hint_start(struct device *dev, const void *args UNUSED, struct report *report UNUSED,
			  struct vmm_error *err)
{
	return set_hinting(dev, true, err);
}

static int run_hint_stop(struct device *dev, const void *args UNUSED, struct report *report UNUSED,
			 struct vmm_error *err)
{
	return set_hinting(dev, false, err);
}

static const struct device_action actions[] = {
	{.name = "target",
	 .help = "how much memory the guest is to have left",
	 .options = target_options,
	 .implied = "size",
	 .args_size = sizeof(struct target_args),
	 .run = run_target},
	{.name = "status",
	 .help = "target, actual size, what went back to the host, statistics",
	 .run = run_status},
	{.name = "stats",
	 .help = "the statistics of last time; asks the guest for new ones",
	 .run = run_stats},
	{.name = "stats-interval",
	 .help = "how often the guest is asked for statistics",
	 .options = interval_options,
	 .implied = "seconds",
	 .args_size = sizeof(struct interval_args),
	 .run = run_interval},
	{.name = "hint-start",
	 .help = "have the guest hint all that is free, to make a snapshot small",
	 .run = run_hint_start},
	{.name = "hint-stop",
	 .help = "no more hints; the guest may use what it hinted",
	 .run = run_hint_stop},
	{.name = NULL},
};

/* ---- life ---- */

/*
 * Who has reserved huge pages or had all memory touched at the start counts on it; what a guest
 * reports might be somebody else's when it is needed again, and then the VM ends.
 */
static bool offers_reporting(const struct virtio_balloon *b)
{
	const struct guest_memory *memory = b->vd.dev.env->memory;

	for (unsigned i = 0; i < guest_memory_count(memory); i++)
		if (guest_memory_region(memory, i)->promised)
			return b->free_page_reporting == BALLOON_REPORTING_ON;
	return b->free_page_reporting != BALLOON_REPORTING_OFF;
}

static uint64_t offered(const struct virtio_balloon *b)
{
	uint64_t f = BIT(VIRTIO_BALLOON_F_STATS_VQ) | BIT(VIRTIO_BALLOON_F_PAGE_POISON);

	/* Memory comes back by itself when it is touched: only large pages need the order. */
	if (b->large_pages)
		f |= BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST);
	if (b->deflate_on_oom)
		f |= BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
	if (b->free_page_hint)
		f |= BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
	if (offers_reporting(b))
		f |= BIT(VIRTIO_BALLOON_F_REPORTING);
	return f;
}

static void unrealize(struct device *dev)
{
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));

	balloon_stats_fini(b);
	virtio_fini(&b->vd);
	balloon_pages_fini(b);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_balloon *b = virtio_balloon(virtio_device(dev));
	int rc;

	balloon_stats_init(b);
	rc = balloon_pages_init(b);
	if (rc)
		error_set_errno(err, -rc, "no room for a bit for each page");
	else
		rc = virtio_init(&b->vd, BALLOON_ROLES, QUEUE_SIZE, offered(b), err);
	if (rc)
		unrealize(dev);
	return rc;
}

static const char *const reporting_names[] = {"off", "on", "auto", NULL};

static const struct option_desc options[] = {
	{.name = "deflate-on-oom",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct virtio_balloon, deflate_on_oom),
	 .fallback = "on",
	 .help = "the guest takes memory from the balloon before it kills a process"},
	{.name = "free-page-reporting",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct virtio_balloon, free_page_reporting),
	 .values = reporting_names,
	 .fallback = "auto",
	 .help = "free memory goes back to the host; auto: unless it is hugepages or prealloc"},
	{.name = "free-page-hint",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct virtio_balloon, free_page_hint),
	 .fallback = "off",
	 .help = "the guest can be asked for all of its free memory; not while it is short of it"},
	{.name = "stats-interval",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_balloon, stats.interval_s),
	 .fallback = "0",
	 .max = UINT32_MAX,
	 .help = "seconds between two requests for statistics; 0: only when asked"},
	VIRTIO_OPTIONS(struct virtio_balloon, vd),
	OPTION_END,
};

const struct virtio_class virtio_balloon_class = {
	.device =
		{
			.name = "virtio-balloon",
			.help = "takes memory from the guest and gives it back",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.actions = actions,
			.size = sizeof(struct virtio_balloon),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
			.stats = stats,
		},
	.device_id = VIRTIO_ID_BALLOON,
	.pci_class = 0x00ff00, /* unclassified, as other hypervisors have it */
	.config_size = sizeof(struct virtio_balloon_config),
	.config_read = config_read,
	.config_write = config_write,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.drain_queue = drain_queue,
	.reset = reset,
	.save = save,
	.load = load,
};
