/* SPDX-License-Identifier: MIT */
/*
 * A device of one's own: a register in memory that counts how often the guest reads it, and a port
 * that the guest writes its verdict to.
 *
 *   device KERNEL
 *
 * The guest is guest-images/pvh/counter.c, or anything that does the same.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <vmm.h>

#define COUNTER_ADDRESS 0xf0000000
#define VERDICT_PORT    0x1000

struct counter {
	atomic_uint reads; /* vCPUs may read at the same time */
	atomic_uint verdict;
	struct vmm *vm;
};

static uint64_t counter_read(void *opaque, uint64_t offset, unsigned size)
{
	struct counter *c = opaque;

	(void)size;
	return offset == 0 ? atomic_fetch_add(&c->reads, 1) + 1 : 0;
}

static void counter_reset(void *opaque)
{
	struct counter *c = opaque;

	atomic_store(&c->reads, 0);
}

static void verdict_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct counter *c = opaque;

	(void)offset;
	(void)size;
	atomic_store(&c->verdict, (unsigned)value);
	vmm_stop(c->vm);
}

static const struct vmm_region_ops counter_ops = {sizeof(counter_ops), counter_read, NULL,
						  counter_reset};
static const struct vmm_region_ops verdict_ops = {sizeof(verdict_ops), NULL, verdict_write, NULL};

int main(int argc, char **argv)
{
	struct vmm_config config = VMM_CONFIG_INIT;
	struct counter counter = {0};
	struct vmm_result result;
	struct vmm_error err;
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: device KERNEL\n");
		return 2;
	}
	config.kernel = argv[1];
	failed = vmm_create(&counter.vm, &config, &err) ||
		 vmm_add_region(counter.vm, "counter", VMM_SPACE_MEMORY, COUNTER_ADDRESS, 4, 0,
				&counter_ops, &counter, NULL, &err) ||
		 vmm_add_region(counter.vm, "verdict", VMM_SPACE_PORT, VERDICT_PORT, 4, 0,
				&verdict_ops, &counter, NULL, &err) ||
		 vmm_start(counter.vm, &err);
	if (!failed)
		vmm_wait(counter.vm, &result);
	vmm_destroy(counter.vm);
	if (failed) {
		fprintf(stderr, "device: %s\n", err.message);
		return 1;
	}
	printf("the guest read %u times and says %u\n", atomic_load(&counter.reads),
	       atomic_load(&counter.verdict));
	return 0;
}
