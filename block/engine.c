/* SPDX-License-Identifier: MIT */
/* The choice of an engine. */
#include <errno.h>

#include "block/engine.h"

int engine_create(struct engine **engine, enum block_engine which, const char *what,
		  struct loop *loop, const struct log *log, struct vmm_error *err)
{
	struct vmm_error why = {0};

	if (which == BLOCK_ENGINE_THREADS)
		return engine_threads_create(engine, loop, err);
	if (engine_uring_create(engine, loop, &why) == 0)
		return 0;
	if (which == BLOCK_ENGINE_IO_URING)
		return error_set(err, why.code, "engine=io_uring: %s; use engine=threads or auto",
				 why.message);
	log_info(log, what, "%s; disk requests use threads", why.message);
	return engine_threads_create(engine, loop, err);
}
