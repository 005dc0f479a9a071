/* SPDX-License-Identifier: MIT */
/*
 * The program's own end of a character stream, behind vmm_add_chardev: `api:NAME`.
 */
#ifndef CONSOLE_CHARDEV_API_H
#define CONSOLE_CHARDEV_API_H

#include "core/loop.h"
#include "core/provided.h"

#include <vmm.h>

/*
 * Make one and put it into the set, which has it from then on; it must live as long as the loop.
 * Any thread.
 */
int chardev_api_create(struct vmm_chardev **chardev, struct provided_set *set, const char *name,
		       const struct vmm_chardev_ops *ops, void *opaque, struct loop *loop,
		       struct vmm_error *err) MUST_CHECK;

/* As vmm_chardev_input and vmm_chardev_ready. */
size_t chardev_api_input(struct vmm_chardev *chardev, const void *data, size_t len);
void chardev_api_ready(struct vmm_chardev *chardev);

#endif
