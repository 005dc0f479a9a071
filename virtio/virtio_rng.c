/* SPDX-License-Identifier: MIT */
/*
 * virtio-rng, the entropy device (virtio 1.2, section 5.4): one queue of buffers to be filled.
 *
 * Entropy is read into a pool first, and a chain is popped only when there is something to fill it
 * with. So no chain is ever in flight while a source is waited for; requests wait in the ring. Each
 * gets what the pool has, at most its size (5.4.6.2 allows less than was asked for): however long a
 * chain is, it takes one small copy.
 *
 * The source is getrandom, or a file that is read without blocking: a character device, a FIFO or a
 * regular file. A file that has nothing just now is watched by the loop; one that cannot be
 * watched, has ended or fails is tried again after a while. No byte is handed out twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/virtio_classes.h"
#include "virtio/virtio_throttle.h"

#define QUEUE_SIZE 64
#define POOL_SIZE  4096

/* When a source is asked again that cannot be watched / that has ended or failed. */
#define POLL_NS  (100 * NS_PER_MS)
#define RETRY_NS NS_PER_SEC

struct virtio_rng {
	struct virtio_device vd; /* first */
	char *filename;
	uint64_t max_bytes, period_ms;
	struct virtio_throttle throttle;
	int fd;             /* -1: getrandom */
	struct loop_fd lfd; /* added while the source has nothing */
	struct loop_timer retry;
	bool waiting; /* for one of these two */
	bool failed;  /* the source has been complained about */
	size_t have;  /* bytes at the start of the pool */
	uint8_t pool[POOL_SIZE];
};

static struct virtio_rng *virtio_rng(struct virtio_device *vd)
{
	return container_of(vd, struct virtio_rng, vd);
}

/* ---- the source ---- */

static void source_ready(struct virtio_rng *rng)
{
	device_lock(&rng->vd.dev);
	rng->waiting = false;
	virtio_kick(&rng->vd, 0);
	device_unlock(&rng->vd.dev);
}

static void on_readable(struct loop_fd *lfd, unsigned events UNUSED)
{
	/* Not watched while nobody waits: a hang-up would wake the loop for ever. */
	loop_fd_del(lfd);
	source_ready(container_of(lfd, struct virtio_rng, lfd));
}

static void on_retry(struct loop_timer *timer)
{
	source_ready(container_of(timer, struct virtio_rng, retry));
}

static void retry_after(struct virtio_rng *rng, uint64_t ns)
{
	rng->waiting = !loop_timer_arm(&rng->retry, clock_now(rng->vd.dev.env->clock) + ns);
	/* Without memory for a timer, the next turn is the next try. */
	if (!rng->waiting)
		virtio_queue_ring(&rng->vd, 0);
}

/* The source has nothing just now. */
static void wait_for_source(struct virtio_rng *rng)
{
	if (rng->fd >= 0 &&
	    !loop_fd_add(rng->vd.dev.loop, &rng->lfd, rng->fd, LOOP_IN, on_readable))
		rng->waiting = true;
	else
		retry_after(rng, POLL_NS);
}

static void source_failed(struct virtio_rng *rng, int code)
{
	/* Once, until it works again. */
	if (!rng->failed)
		log_warn(rng->vd.dev.env->log, rng->vd.dev.id, "%s: %s; the guest has to wait",
			 rng->filename ? rng->filename : "getrandom",
			 code ? strerrordesc_np(code) : "has ended");
	rng->failed = true;
	retry_after(rng, RETRY_NS);
}

static ssize_t read_source(struct virtio_rng *rng)
{
	ssize_t n;

	do {
		n = rng->fd < 0 ? getrandom(rng->pool, sizeof(rng->pool), GRND_NONBLOCK)
				: read(rng->fd, rng->pool, sizeof(rng->pool));
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Whether the pool has anything in it; if not, the queue is kicked when the source has. */
static bool fill_pool(struct virtio_rng *rng)
{
	ssize_t n;

	if (rng->have)
		return true;
	if (rng->waiting)
		return false;
	n = read_source(rng);
	if (n > 0) {
		rng->have = (size_t)n;
		rng->failed = false;
	} else if (n < 0 && errno == EAGAIN) {
		wait_for_source(rng);
	} else {
		source_failed(rng, n < 0 ? errno : 0);
	}
	return n > 0;
}

/* ---- working ---- */

static bool may_pop(struct virtio_device *vd, unsigned queue)
{
	struct virtio_rng *rng = virtio_rng(vd);

	return virtio_throttle_may_pop(&rng->throttle, queue) && fill_pool(rng);
}

static void fill_chain(struct virtio_device *vd, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_rng *rng = virtio_rng(vd);
	size_t n = rng->have;

	/* 5.4.6.1; and a buffer without room could not be given the byte that 5.4.6.2 demands. */
	if (chain->out_len || !chain->in_len) {
		virtio_broken(vd, "queue %u: a request of %llu and %llu bytes", queue,
			      (unsigned long long)chain->out_len,
			      (unsigned long long)chain->in_len);
		return;
	}
	if (rng->max_bytes)
		n = MIN(n, rng->max_bytes);
	/* From the end of the pool, so that what is left need not move; given out, it is erased. */
	n = MIN(n, chain->in_len);
	rng->have -= n;
	virtq_write_in(chain, 0, rng->pool + rng->have, n);
	explicit_bzero(rng->pool + rng->have, n);
	virtio_throttle_charge(&rng->throttle, n);
	virtio_push(vd, queue, chain, (uint32_t)n);
}

static void kick(struct virtio_device *vd, unsigned queue)
{
	virtio_process_while(vd, queue, may_pop, fill_chain);
}

/* ---- life ---- */

static int open_source(struct virtio_rng *rng, struct vmm_error *err)
{
	struct stat st;

	if (!rng->filename)
		return 0;
	/* O_NONBLOCK: a FIFO without a writer must not keep us here either. */
	rng->fd = open(rng->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (rng->fd < 0)
		return error_set_errno(err, errno, "filename=%s: cannot open it", rng->filename);
	if (fstat(rng->fd, &st))
		return error_set_errno(err, errno, "filename=%s", rng->filename);
	if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode) && !S_ISFIFO(st.st_mode))
		return error_set(err, EINVAL,
				 "filename=%s: must be a character device, a FIFO or a file",
				 rng->filename);
	return 0;
}

static void leave_loop(void *arg)
{
	struct virtio_rng *rng = arg;

	loop_fd_del(&rng->lfd);
	loop_timer_disarm(&rng->retry);
}

static void unrealize(struct device *dev)
{
	struct virtio_rng *rng = virtio_rng(virtio_device(dev));

	loop_call(dev->loop, leave_loop, rng);
	virtio_throttle_fini(&rng->throttle);
	virtio_fini(&rng->vd);
	if (rng->fd >= 0)
		close(rng->fd);
	rng->fd = -1;
	explicit_bzero(rng->pool, sizeof(rng->pool));
}

static int realize(struct device *dev, struct vmm_error *err)
{
	const struct rate_limit_options unlimited = {0};
	struct virtio_rng *rng = virtio_rng(virtio_device(dev));
	int rc;

	rng->fd = rng->lfd.fd = -1;
	loop_timer_init(dev->loop, &rng->retry, on_retry);
	rc = virtio_throttle_init(&rng->throttle, &rng->vd, &unlimited, err);
	token_bucket_set(&rng->throttle.limit.bytes, rng->max_bytes, rng->period_ms * NS_PER_MS,
			 rng->max_bytes);
	if (!rc)
		rc = open_source(rng, err);
	if (!rc)
		rc = virtio_init(&rng->vd, 1, QUEUE_SIZE, 0, err);
	if (rc)
		unrealize(dev);
	return rc;
}

static const struct option_desc options[] = {
	{.name = "filename",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_rng, filename),
	 .help = "where entropy comes from, such as /dev/hwrng; not given: the kernel's getrandom"},
	{.name = "max-bytes",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct virtio_rng, max_bytes),
	 .help = "bytes in each period at most; 0: no limit"},
	{.name = "period",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_rng, period_ms),
	 .fallback = "65536",
	 .min = 1,
	 .max = TOKEN_BUCKET_MAX_PERIOD_NS / NS_PER_MS,
	 .help = "milliseconds in which max-bytes may be taken"},
	VIRTIO_OPTIONS(struct virtio_rng, vd),
	OPTION_END,
};

const struct virtio_class virtio_rng_class = {
	.device =
		{
			.name = "virtio-rng",
			.help = "source of entropy",
			VIRTIO_DEVICE_FUNCTIONS,
			.options = options,
			.size = sizeof(struct virtio_rng),
			.state_version = 1,
			.realize = realize,
			.unrealize = unrealize,
		},
	.device_id = VIRTIO_ID_RNG,
	.pci_class = 0x00ff00, /* unclassified, as other hypervisors have it */
	.kick = kick,
};
