/* SPDX-License-Identifier: MIT */
/*
 * The public API from several threads at once, and from the functions that it calls.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/boot_image.h"
#include "vmm/machine.h"

static const uint8_t code_loop[] = {0xeb, 0xfe};
/* mov $0x1000, %dx; in (%dx), %al; jmp back to the in */
static const uint8_t code_read[] = {0x66, 0xba, 0x00, 0x10, 0xec, 0xeb, 0xfd};

static struct vmm *vm;
static struct vmm_error err;
static int kernel_fd;

static void make(const uint8_t *code, size_t size, struct vmm_config config)
{
	static uint8_t elf[IMAGE_SIZE];
	static char kernel[32];
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	close(fd);
	image_elf(elf, true);
	memcpy(elf + IMAGE_TEXT_OFFSET + (IMAGE_PVH_ENTRY - IMAGE_TEXT_ADDR), code, size);
	kernel_fd = image_file(elf, sizeof(elf), kernel);
	config.kernel = kernel;
	config.memory = 64 << 20;
	config.cpus = 2;
	cr_assert_eq(vmm_create(&vm, &config, &err), 0, "%s", err.message);
}

static void teardown(void)
{
	vmm_destroy(vm);
	close(kernel_fd);
}

TestSuite(api_threads, .fini = teardown, .timeout = 120);

/* ---- the end ---- */

static sem_t waited;

static void *wait_for_end(void *arg UNUSED)
{
	struct vmm_result result;

	cr_assert_eq(vmm_wait(vm, &result), 0);
	sem_post(&waited);
	return NULL;
}

static int early;

/* The end is being told: nobody may be told by vmm_wait before. */
static void on_notice(struct machine_watcher *watcher UNUSED, const struct machine_notice *notice)
{
	struct timespec limit;

	if (notice->kind != MACHINE_NOTICE_STOPPED)
		return;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_nsec += 200 * 1000 * 1000;
	limit.tv_sec += limit.tv_nsec / 1000000000;
	limit.tv_nsec %= 1000000000;
	early = sem_timedwait(&waited, &limit) == 0;
}

Test(api_threads, who_has_waited_for_the_end_finds_its_event)
{
	struct machine_watcher watcher = {.notify = on_notice};
	struct vmm_event event = {0};
	pthread_t thread;

	make(code_loop, sizeof(code_loop), (struct vmm_config)VMM_CONFIG_INIT);
	sem_init(&waited, 0, 0);
	machine_watch(&vm->watchers, &watcher);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	cr_assert_eq(pthread_create(&thread, NULL, wait_for_end, NULL), 0);
	vmm_stop(vm);
	pthread_join(thread, NULL);
	cr_assert_not(early, "vmm_wait returned while the end was being told");
	while (vmm_next_event(vm, &event) == 1)
		;
	cr_assert_eq(event.kind, VMM_EVENT_STOPPED);
	machine_unwatch(&vm->watchers, &watcher);
}

/* ---- all at once ---- */

static int act(unsigned what, struct vmm_error *e)
{
	struct vmm_memory_stats stats;
	struct vmm_event event;
	char *json;
	int rc = 0;

	switch (what) {
	case 0:
		return vmm_pause(vm, e);
	case 1:
		return vmm_resume(vm, e);
	case 2:
		return vmm_reset(vm, e);
	case 3:
		return vmm_powerdown(vm, e);
	case 4:
		return vmm_memory_stats(vm, &stats, e);
	case 5:
		vmm_next_event(vm, &event);
		return vmm_get_state(vm) == VMM_STATE_STOPPED ? -ESHUTDOWN : 0;
	default:
		rc = vmm_device_list(vm, &json, e);
		free(json);
		return rc;
	}
}

static void *act_until_it_ends(void *arg)
{
	unsigned what = (unsigned)(uintptr_t)arg;
	struct vmm_error e;
	int rc = 0;

	while (rc != -ESHUTDOWN && vmm_get_state(vm) != VMM_STATE_STOPPED) {
		rc = act(what, &e);
		cr_assert(rc == 0 || rc == -ESHUTDOWN, "%u: %s", what, e.message);
	}
	return NULL;
}

Test(api_threads, every_function_may_be_called_while_every_other_is)
{
	pthread_t threads[7];

	make(code_loop, sizeof(code_loop), (struct vmm_config)VMM_CONFIG_INIT);
	cr_assert_eq(vmm_add_device(vm, "virtio-balloon", NULL, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, act_until_it_ends, (void *)i), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(vmm_reset(vm, &err), 0, "%s", err.message);
	vmm_stop(vm);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(vmm_pause(vm, &err), -ESHUTDOWN);
}

/* ---- from callbacks ---- */

static struct vmm_region *region;

static uint64_t read_and_stop(void *opaque UNUSED, uint64_t offset UNUSED, unsigned size UNUSED)
{
	vmm_region_irq(region, true);
	cr_assert_neq(vmm_get_state(vm), VMM_STATE_CREATED);
	vmm_stop(vm);
	return 0;
}

Test(api_threads, a_register_may_stop_the_vm_that_reads_it)
{
	static const struct vmm_region_ops ops = {sizeof(ops), read_and_stop, NULL, NULL};
	struct vmm_result result;

	make(code_read, sizeof(code_read), (struct vmm_config)VMM_CONFIG_INIT);
	cr_assert_eq(
		vmm_add_region(vm, "r", VMM_SPACE_PORT, 0x1000, 1, 5, &ops, NULL, &region, &err), 0,
		"%s", err.message);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_wait(vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_STOPPED);
}

static void log_and_stop(void *opaque, enum vmm_log_level level UNUSED, const char *source UNUSED,
			 const char *line)
{
	if (strcmp(line, "reset") == 0)
		vmm_stop(*(struct vmm **)opaque);
}

Test(api_threads, a_log_function_may_stop_the_vm_that_logs)
{
	struct vmm_config config = VMM_CONFIG_INIT;
	struct vmm_result result;

	config.log = log_and_stop;
	config.log_opaque = &vm;
	config.log_level = VMM_LOG_DEBUG;
	make(code_loop, sizeof(code_loop), config);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	(void)vmm_reset(vm, &err);
	cr_assert_eq(vmm_wait(vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_STOPPED);
}
