/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine: one ring for each disk.
 *
 * submit only puts the operation in a list; the end-of-batch hook turns the list into submission
 * entries and enters the kernel once. Requests that the kernel can complete at once (page cache
 * hits) are reaped in the same hook; the others make the ring's descriptor readable.
 *
 * An operation is in one of three places: `staged` (not in the ring), `prepared` (in the
 * submission ring, not yet consumed by the kernel), or in the kernel. What the kernel holds never
 * exceeds the completion ring, so completions cannot overflow it.
 *
 * Buffered writes on most file systems may wait. The kernel gives those of one file to one worker
 * thread, one after the other; our own thread pool does them at once, so they go there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/engine.h"

#ifdef CONFIG_LIBURING

#include <liburing.h>

#define RING_ENTRIES 128

struct uring {
	struct engine engine;
	struct loop *loop;
	struct io_uring ring;
	struct loop_fd lfd;
	struct loop_hook hook;
	struct list staged;
	struct list prepared;
	unsigned prepared_count;
	unsigned in_kernel;
	struct engine *writers; /* the thread pool; NULL until it is needed */
	unsigned limit;         /* of in_kernel + prepared_count */
	int broken;             /* -errno that the ring itself failed with */
};

static void uring_prepare(struct io_uring_sqe *sqe, struct engine_op *op)
{
	switch (op->code) {
	case ENGINE_READ:
		io_uring_prep_readv(sqe, op->fd, op->iov, (unsigned)op->iovcnt, op->offset);
		break;
	case ENGINE_WRITE:
		io_uring_prep_writev(sqe, op->fd, op->iov, (unsigned)op->iovcnt, op->offset);
		break;
	case ENGINE_SYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case ENGINE_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, op->mode, (off_t)op->offset,
					(off_t)op->length);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

/* Move from `staged` into the submission ring as much as fits. */
static void uring_fill(struct uring *u)
{
	while (!list_empty(&u->staged) && u->in_kernel + u->prepared_count < u->limit) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

		if (!sqe)
			return;
		struct engine_op *op = list_entry(u->staged.next, struct engine_op, link);

		list_del(&op->link);
		list_add_tail(&u->prepared, &op->link);
		u->prepared_count++;
		uring_prepare(sqe, op);
	}
}

static void uring_fail_list(struct list *ops, int result)
{
	struct list local;

	list_take(&local, ops);
	while (!list_empty(&local)) {
		struct engine_op *op = list_entry(local.next, struct engine_op, link);

		list_del(&op->link);
		op->done(op, result);
	}
}

/* The ring refuses for good: nothing that it has not consumed will ever run. */
static void uring_break(struct uring *u, int result)
{
	u->broken = result;
	u->prepared_count = 0;
	uring_fail_list(&u->prepared, result);
	uring_fail_list(&u->staged, result);
}

/* Enter the kernel with what is prepared. False: not now, or never again. */
static bool uring_enter(struct uring *u)
{
	int n = io_uring_submit(&u->ring);

	if (n == -EINTR)
		return true;
	if (n == -EAGAIN || n == -EBUSY || n == -ENOMEM)
		return false;
	if (n < 0) {
		uring_break(u, n);
		return false;
	}
	for (int i = 0; i < n && !list_empty(&u->prepared); i++) {
		list_del(u->prepared.next);
		u->prepared_count--;
		u->in_kernel++;
	}
	return n > 0;
}

static void uring_reap(struct uring *u)
{
	struct io_uring_cqe *cqe;
	bool progress = false;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct engine_op *op = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->in_kernel--;
		progress = true;
		op->done(op, result);
	}
	/* Without progress only a completion can make room, and that comes here again. */
	if ((!list_empty(&u->staged) || u->prepared_count) && (progress || u->in_kernel == 0))
		loop_hook_schedule(u->loop, &u->hook);
}

static void uring_flush(struct loop_hook *hook)
{
	struct uring *u = container_of(hook, struct uring, hook);

	if (u->broken) {
		uring_fail_list(&u->staged, u->broken);
		return;
	}
	do {
		uring_fill(u);
	} while (u->prepared_count && uring_enter(u));
	uring_reap(u);
}

static void uring_ready(struct loop_fd *lfd, unsigned events UNUSED)
{
	uring_reap(container_of(lfd, struct uring, lfd));
}

static void uring_submit(struct engine *engine, struct engine_op *op)
{
	struct uring *u = container_of(engine, struct uring, engine);

	if (op->code == ENGINE_WRITE && op->may_wait) {
		/* Without the pool the ring does it, only more slowly. */
		if (u->writers || engine_threads_create(&u->writers, u->loop, NULL) == 0) {
			engine_submit(u->writers, op);
			return;
		}
	}
	list_add_tail(&u->staged, &op->link);
	loop_hook_schedule(u->loop, &u->hook);
}

static void uring_destroy(struct engine *engine)
{
	struct uring *u = container_of(engine, struct uring, engine);

	engine_destroy(u->writers);
	loop_fd_del(&u->lfd);
	loop_hook_cancel(u->loop, &u->hook);
	io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct engine_class uring_class = {
	.name = "io_uring",
	.submit = uring_submit,
	.destroy = uring_destroy,
};

/* The newer flags spare interrupts to the loop's thread; older kernels refuse them. */
static int uring_setup(struct io_uring *ring)
{
	struct io_uring_params params = {0};
	int r = -EINVAL;

#ifdef IORING_SETUP_COOP_TASKRUN
	params.flags = IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN;
	r = io_uring_queue_init_params(RING_ENTRIES, ring, &params);
#endif
	if (r == -EINVAL) {
		memset(&params, 0, sizeof(params));
		r = io_uring_queue_init_params(RING_ENTRIES, ring, &params);
	}
	return r;
}

static bool uring_has_operations(struct io_uring *ring)
{
	static const int needed[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				     IORING_OP_FALLOCATE};
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool all = probe != NULL;

	for (size_t i = 0; all && i < ARRAY_SIZE(needed); i++)
		all = io_uring_opcode_supported(probe, needed[i]);
	io_uring_free_probe(probe);
	return all;
}

static const char *uring_reason(int code)
{
	switch (code) {
	case EPERM:
		return "this host forbids io_uring (sysctl kernel.io_uring_disabled or a sandbox)";
	case ENOSYS:
		return "this kernel has no io_uring";
	case ENOMEM:
		return "no memory for an io_uring (see ulimit -l)";
	default:
		return "io_uring cannot be set up";
	}
}

int engine_uring_create(struct engine **engine, struct loop *loop, struct vmm_error *err)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return error_set(err, ENOMEM, "out of memory");
	int r = uring_setup(&u->ring);

	if (r < 0) {
		free(u);
		return error_set_errno(err, -r, "%s", uring_reason(-r));
	}
	if (!uring_has_operations(&u->ring)) {
		r = error_set(err, ENOSYS,
			      "this kernel's io_uring is too old (Linux 5.6 is needed)");
		goto fail;
	}
	u->engine.cls = &uring_class;
	u->loop = loop;
	u->limit = u->ring.cq.ring_entries;
	list_init(&u->staged);
	list_init(&u->prepared);
	loop_hook_init(&u->hook, uring_flush);
	u->lfd.fd = -1;
	r = loop_fd_add(loop, &u->lfd, u->ring.ring_fd, LOOP_IN, uring_ready);
	if (r < 0) {
		r = error_set_errno(err, -r, "io_uring cannot be polled");
		goto fail;
	}
	*engine = &u->engine;
	return 0;
fail:
	io_uring_queue_exit(&u->ring);
	free(u);
	return r;
}

#else

int engine_uring_create(struct engine **engine UNUSED, struct loop *loop UNUSED,
			struct vmm_error *err)
{
	return error_set(err, ENOSYS, "this build has no io_uring");
}

#endif
