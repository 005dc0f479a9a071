/* SPDX-License-Identifier: MIT */
/*
 * What check_host.c and kvm_check_host.c share: how findings are reported.
 */
#ifndef VMM_CHECK_HOST_H
#define VMM_CHECK_HOST_H

#include "core/types.h"

#include <vmm.h>

struct check {
	vmm_check_fn *fn;
	void *opaque;
	bool bad; /* some finding was VMM_CHECK_BAD */
};

/*
 * Report a finding, formatted by fmt. consequence: what follows from it; NULL where that is
 * obvious.
 */
void check_say(struct check *check, enum vmm_check_status status, const char *topic,
	       const char *consequence, const char *fmt, ...) PRINTF(5, 6);

/* kvm_check_host.c: /dev/kvm and what KVM can do. */
void check_kvm_host(struct check *check);

#endif
