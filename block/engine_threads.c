/* SPDX-License-Identifier: MIT */
/*
 * The thread pool engine: a few threads that make blocking system calls.
 *
 * Threads: submit, the hook and the completion handler run on the loop; workers run worker(). They
 * meet in `queue` and `finished` under `lock`. A batch is handed over by one hook, and all
 * completions that gather while the loop is busy cost one eventfd wake-up. Workers start with the
 * first request, one more whenever there is work and none is idle, with every signal blocked.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/engine.h"
#include "core/thread.h"

#define WORKERS_MAX 8

struct pool {
	struct engine engine;
	struct loop *loop;
	struct loop_hook hook;
	struct loop_fd lfd;
	int event_fd;
	struct list staged; /* the loop's own */
	pthread_t workers[WORKERS_MAX];
	unsigned worker_count;

	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list queue;
	struct list finished;
	unsigned queued;
	unsigned idle;
	bool stop;
};

static int64_t op_call(const struct engine_op *op)
{
	switch (op->code) {
	case ENGINE_READ:
		return preadv(op->fd, op->iov, op->iovcnt, (off_t)op->offset);
	case ENGINE_WRITE:
		return pwritev(op->fd, op->iov, op->iovcnt, (off_t)op->offset);
	case ENGINE_SYNC:
		return fdatasync(op->fd);
	case ENGINE_FALLOCATE:
		return fallocate(op->fd, op->mode, (off_t)op->offset, (off_t)op->length);
	}
	errno = ENOSYS;
	return -1;
}

static int64_t op_run(const struct engine_op *op)
{
	int64_t r;

	do {
		r = op_call(op);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static void pool_notify(struct pool *pool)
{
	uint64_t one = 1;

	/* Cannot fail: the counter is far from its end, as each wake-up resets it. */
	while (write(pool->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Take one operation from the queue, or NULL when the pool stops. Lock held. */
static struct engine_op *pool_take(struct pool *pool)
{
	while (list_empty(&pool->queue)) {
		if (pool->stop)
			return NULL;
		pool->idle++;
		pthread_cond_wait(&pool->work, &pool->lock);
		pool->idle--;
	}
	struct engine_op *op = list_entry(pool->queue.next, struct engine_op, link);

	list_del(&op->link);
	pool->queued--;
	return op;
}

static void *worker(void *arg)
{
	struct pool *pool = arg;
	struct engine_op *op;

	pthread_mutex_lock(&pool->lock);
	while ((op = pool_take(pool)) != NULL) {
		pthread_mutex_unlock(&pool->lock);
		op->result = op_run(op);
		pthread_mutex_lock(&pool->lock);
		bool first = list_empty(&pool->finished);

		list_add_tail(&pool->finished, &op->link);
		/* The loop takes the whole list: only its first entry needs a wake-up. */
		if (first)
			pool_notify(pool);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static int pool_start_worker(struct pool *pool)
{
	int ret = thread_start(&pool->workers[pool->worker_count], "disk-worker", worker, pool);

	if (ret == 0)
		pool->worker_count++;
	return ret;
}

static void pool_run_done(struct list *ops)
{
	while (!list_empty(ops)) {
		struct engine_op *op = list_entry(ops->next, struct engine_op, link);

		list_del(&op->link);
		op->done(op, op->result);
	}
}

/* No worker could be started: what is queued fails instead of waiting for ever. */
static void pool_fail(struct pool *pool, int result)
{
	struct list failed;

	pthread_mutex_lock(&pool->lock);
	list_take(&failed, &pool->queue);
	pool->queued = 0;
	pthread_mutex_unlock(&pool->lock);
	list_for_each (it, &failed)
		list_entry(it, struct engine_op, link)->result = result;
	pool_run_done(&failed);
}

static void pool_flush(struct loop_hook *hook)
{
	struct pool *pool = container_of(hook, struct pool, hook);
	int r = 0;

	pthread_mutex_lock(&pool->lock);
	while (!list_empty(&pool->staged)) {
		struct list *item = pool->staged.next;

		list_del(item);
		list_add_tail(&pool->queue, item);
		pool->queued++;
	}
	unsigned queued = pool->queued;
	unsigned idle = pool->idle;

	if (queued > 1 && idle > 1)
		pthread_cond_broadcast(&pool->work);
	else
		pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);

	for (; queued > idle && pool->worker_count < WORKERS_MAX && r == 0; queued--)
		r = pool_start_worker(pool);
	if (r < 0 && pool->worker_count == 0)
		pool_fail(pool, r);
}

static void pool_ready(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct pool *pool = container_of(lfd, struct pool, lfd);
	struct list finished;
	uint64_t count;

	if (read(pool->event_fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&pool->lock);
	list_take(&finished, &pool->finished);
	pthread_mutex_unlock(&pool->lock);
	pool_run_done(&finished);
}

static void pool_submit(struct engine *engine, struct engine_op *op)
{
	struct pool *pool = container_of(engine, struct pool, engine);

	list_add_tail(&pool->staged, &op->link);
	loop_hook_schedule(pool->loop, &pool->hook);
}

static void pool_destroy(struct engine *engine)
{
	struct pool *pool = container_of(engine, struct pool, engine);

	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->worker_count; i++)
		pthread_join(pool->workers[i], NULL);
	loop_fd_del(&pool->lfd);
	loop_hook_cancel(pool->loop, &pool->hook);
	close(pool->event_fd);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static const struct engine_class pool_class = {
	.name = "threads",
	.submit = pool_submit,
	.destroy = pool_destroy,
};

int engine_threads_create(struct engine **engine, struct loop *loop, struct vmm_error *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return error_set(err, ENOMEM, "out of memory");
	pool->engine.cls = &pool_class;
	pool->loop = loop;
	list_init(&pool->staged);
	list_init(&pool->queue);
	list_init(&pool->finished);
	loop_hook_init(&pool->hook, pool_flush);
	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->event_fd < 0) {
		int r = error_set_errno(err, errno, "engine=threads: eventfd");

		free(pool);
		return r;
	}
	pool->lfd.fd = -1;
	int r = loop_fd_add(loop, &pool->lfd, pool->event_fd, LOOP_IN, pool_ready);

	if (r < 0) {
		close(pool->event_fd);
		free(pool);
		return error_set_errno(err, -r, "engine=threads: eventfd cannot be polled");
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	*engine = &pool->engine;
	return 0;
}
