/* SPDX-License-Identifier: MIT */
/*
 * The public API on the machine's own KVM: life, errors, many VMs. Where /dev/kvm cannot be opened
 * the tests that need it say so and are skipped.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmm.h>

#include "support/boot_image.h"

/* What the guest does from its PVH entry on (32-bit code). */
static const uint8_t code_loop[] = {0xeb, 0xfe};
static const uint8_t code_exit[] = {0xb0, 0x2a, 0xe6, 0xf4, 0xeb, 0xfe}; /* out 0xf4, 42 */
static const uint8_t code_fault[] = {0x0f, 0x0b};                        /* ud2, no IDT */
/* out 0x602, 1: the ACPI reset register */
static const uint8_t code_reset[] = {0x66, 0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xeb, 0xfe};

struct guest {
	int fd;
	char path[32];
	struct vmm_config config;
	struct vmm *vm;
	struct vmm_error err;
};

static void need_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	close(fd);
}

static void guest_init(struct guest *g, const uint8_t *code, size_t len)
{
	static uint8_t elf[IMAGE_SIZE];

	memset(g, 0, sizeof(*g));
	image_elf(elf, true);
	memcpy(elf + IMAGE_TEXT_OFFSET + (IMAGE_PVH_ENTRY - IMAGE_TEXT_ADDR), code, len);
	g->fd = image_file(elf, sizeof(elf), g->path);
	g->config = (struct vmm_config)VMM_CONFIG_INIT;
	g->config.kernel = g->path;
	g->config.memory = 64 << 20;
}

static void guest_start(struct guest *g)
{
	cr_assert_eq(vmm_create(&g->vm, &g->config, &g->err), 0, "%s", g->err.message);
	cr_assert_eq(vmm_add_device(g->vm, "debug-exit", NULL, &g->err), 0, "%s", g->err.message);
	cr_assert_eq(vmm_start(g->vm, &g->err), 0, "%s", g->err.message);
}

static void guest_end(struct guest *g)
{
	vmm_destroy(g->vm);
	close(g->fd);
}

static void expect_not_given(const struct vmm_error *err, int result, const char *what)
{
	char begin[32];

	snprintf(begin, sizeof(begin), "no %s", what);
	cr_assert_eq(result, -EINVAL);
	cr_assert_eq(strncmp(err->message, begin, strlen(begin)), 0, "%s", err->message);
}

static unsigned count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

Test(api, a_guest_that_writes_the_debug_exit_port_ends_with_its_value)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_exit, sizeof(code_exit));
	guest_start(&g);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_DEBUG);
	cr_assert_eq(result.value, 42);
	guest_end(&g);
}

Test(api, the_event_descriptor_is_readable_once_the_vm_has_stopped)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	guest_start(&g);

	struct pollfd p = {.fd = vmm_event_fd(g.vm), .events = POLLIN};
	struct vmm_event event;

	cr_assert_eq(poll(&p, 1, -1), 1);
	cr_assert_eq(vmm_next_event(g.vm, &event), 1);
	cr_assert_eq(event.kind, VMM_EVENT_RUNNING);
	cr_assert_eq(poll(&p, 1, 0), 0);
	vmm_stop(g.vm);
	cr_assert_eq(poll(&p, 1, -1), 1);
	cr_assert_eq(vmm_next_event(g.vm, &event), 1);
	cr_assert_eq(event.kind, VMM_EVENT_STOPPED);
	cr_assert_eq(event.value, VMM_EXIT_STOPPED);
	cr_assert_eq(poll(&p, 1, 0), 0);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_STOPPED);
	guest_end(&g);
}

Test(api, pause_resume_and_reset_work_in_any_order)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	g.config.cpus = 2;
	guest_start(&g);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(vmm_pause(g.vm, &g.err), 0, "%s", g.err.message);
		cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
		cr_assert_eq(vmm_pause(g.vm, &g.err), 0, "%s", g.err.message);
		cr_assert_eq(vmm_resume(g.vm, &g.err), 0, "%s", g.err.message);
		cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
	}
	guest_end(&g);
}

Test(api, a_running_vm_may_be_resumed)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	g.config.cpus = 2; /* the second waits in the kernel for its start */
	guest_start(&g);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(vmm_resume(g.vm, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_pause(g.vm, &g.err), 0, "%s", g.err.message);
	guest_end(&g);
}

Test(api, requests_to_a_stopped_vm_are_refused)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_exit, sizeof(code_exit));
	guest_start(&g);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(vmm_pause(g.vm, &g.err), -ESHUTDOWN);
	cr_assert_eq(vmm_resume(g.vm, &g.err), -ESHUTDOWN);
	cr_assert_eq(vmm_reset(g.vm, &g.err), -ESHUTDOWN);
	cr_assert_eq(vmm_powerdown(g.vm, &g.err), -ESHUTDOWN);
	cr_assert_eq(vmm_start(g.vm, &g.err), -EBUSY);
	cr_assert_eq(vmm_add_device(g.vm, "debug-exit", NULL, &g.err), -ESHUTDOWN);
	cr_assert_eq(vmm_remove_device(g.vm, "debug-exit0", &g.err), -ESHUTDOWN);
	cr_assert_eq(vmm_device_action(g.vm, "debug-exit0", "x", NULL, NULL, &g.err), -ESHUTDOWN);
	guest_end(&g);
}

Test(api, devices_of_a_running_vm_stay_and_can_be_listed)
{
	struct guest g;
	char *json;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	guest_start(&g);
	cr_assert_eq(vmm_add_device(g.vm, "debug-exit", "iobase=0x500", &g.err), -EBUSY);
	cr_assert_not_null(strstr(g.err.message, "before the VM starts"), "%s", g.err.message);
	cr_assert_eq(vmm_remove_device(g.vm, "debug-exit0", &g.err), -EBUSY);
	cr_assert_eq(vmm_remove_device(g.vm, "debug-exit1", &g.err), -ENOENT);
	cr_assert_eq(vmm_device_action(g.vm, "debug-exit0", "x", NULL, NULL, &g.err), -ENOENT);
	cr_assert_not_null(strstr(g.err.message, "no action"), "%s", g.err.message);
	cr_assert_eq(vmm_device_list(g.vm, &json, &g.err), 0, "%s", g.err.message);
	cr_assert_not_null(strstr(json, "{\"id\":\"debug-exit0\",\"class\":\"debug-exit\"}"), "%s",
			   json);
	free(json);
	guest_end(&g);
}

Test(api, a_disk_that_is_removed_before_the_start_gives_back_its_slot)
{
	struct guest g;
	char *json, options[64];

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	snprintf(options, sizeof(options), "path=%s,readonly=on,id=d", g.path);
	for (int i = 0; i < 40; i++) {
		cr_assert_eq(vmm_add_device(g.vm, "virtio-blk", options, &g.err), 0, "%s",
			     g.err.message);
		cr_assert_eq(vmm_remove_device(g.vm, "d", &g.err), 0, "%s", g.err.message);
	}
	cr_assert_eq(vmm_add_device(g.vm, "virtio-blk", options, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_device_list(g.vm, &json, &g.err), 0, "%s", g.err.message);
	cr_assert_not_null(strstr(json, "\"class\":\"virtio-blk\","), "%s", json);
	cr_assert_not_null(strstr(json, "\"pci\":\"00:01.0\"}"), "%s", json);
	free(json);
	guest_end(&g);
}

/* What a controlling program does, until the VM has stopped. */
struct controller {
	struct vmm *vm;
	bool children; /* this build has a class that comes and goes */
	unsigned rounds;
};

static void *control(void *arg)
{
	struct controller *c = arg;
	struct vmm_error err = {0};
	char *json;
	int r = 0;

	while (r != -ESHUTDOWN) {
		if (c->children) {
			r = vmm_add_device(c->vm, "serial-port", "id=p,name=port", &err);
			cr_assert(r == 0 || r == -ESHUTDOWN, "%s", err.message);
		}
		cr_assert_eq(vmm_device_list(c->vm, &json, &err), 0, "%s", err.message);
		free(json);
		r = vmm_device_action(c->vm, "debug-exit0", "none", NULL, NULL, &err);
		cr_assert(r == -ENOENT || r == -ESHUTDOWN, "%s", err.message);
		if (c->children) {
			r = vmm_remove_device(c->vm, "p", &err);
			cr_assert(r == 0 || r == -ESHUTDOWN, "%s", err.message);
		}
		c->rounds++;
	}
	return NULL;
}

Test(api, devices_may_be_acted_upon_while_the_vm_resets_and_stops, .timeout = 120)
{
	struct vmm_result result;
	struct controller c = {0};
	pthread_t thread;
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "debug-exit", NULL, &g.err), 0, "%s", g.err.message);
	c.vm = g.vm;
	c.children = vmm_check_device("serial-port", "name=port", "port", &g.err) == 0;
	if (c.children)
		cr_assert_eq(vmm_add_device(g.vm, "virtio-serial", NULL, &g.err), 0, "%s",
			     g.err.message);
	/* Before, during and after the life of the guest. */
	cr_assert_eq(pthread_create(&thread, NULL, control, &c), 0);
	cr_assert_eq(vmm_start(g.vm, &g.err), 0, "%s", g.err.message);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
	vmm_stop(g.vm);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_STOPPED);
	pthread_join(thread, NULL);
	cr_assert_gt(c.rounds, 0);
	guest_end(&g);
}

/* ---- what there is ---- */

Test(api, every_class_takes_an_id)
{
	struct vmm_device_info cls;
	struct vmm_option_info option;
	unsigned ids;

	for (unsigned i = 0; vmm_device_class(i, &cls); i++) {
		ids = 0;
		for (unsigned n = 0; vmm_device_option(cls.name, n, &option); n++)
			ids += !strcmp(option.name, "id");
		cr_assert_eq(ids, 1, "%s", cls.name);
	}
	cr_assert_not(vmm_device_option("no-such-class", 0, &option));
}

Test(api, options_are_checked_without_a_vm)
{
	struct vmm_error e = {0};

	cr_assert_eq(vmm_check_device("virtio-blk", "path=/nonexistent,id=d0", "--disk", &e), 0);
	cr_assert_eq(vmm_check_device("virtio-blk", "path=/x,id=0d", "--disk", &e), -EINVAL);
	cr_assert_eq(strncmp(e.message, "--disk: id=0d: ", 15), 0, "%s", e.message);
	cr_assert_eq(vmm_check_device("virtio-blk", "path=/x,id=a,id=b", "--disk", &e), -EINVAL);
	cr_assert_eq(vmm_check_device("virtio-blk", "id=a", "--disk", &e), -EINVAL);
	cr_assert_eq(vmm_check_device("debug-exit", NULL, "--device", &e), 0);
	cr_assert_eq(vmm_check_device("no-such-class", NULL, "--device", &e), -EINVAL);
}

Test(api, a_vm_that_was_never_started_is_destroyed_without_harm)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_pause(g.vm, &g.err), -EINVAL);
	cr_assert_eq(vmm_wait(g.vm, &result), -EINVAL);
	vmm_stop(g.vm);
	guest_end(&g);
}

Test(api, a_guest_that_faults_forever_ends_with_an_error_that_names_the_place)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_fault, sizeof(code_fault));
	guest_start(&g);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_ERROR);
	cr_assert_not_null(strstr(result.error.message, "RIP 0x1000080"), "%s",
			   result.error.message);
	cr_assert_not_null(strstr(result.error.message, "0f 0b"), "%s", result.error.message);
	guest_end(&g);
}

Test(api, on_reboot_exit_ends_the_vm)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_reset, sizeof(code_reset));
	g.config.on_reboot = VMM_ON_REBOOT_EXIT;
	guest_start(&g);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_REBOOT);
	guest_end(&g);
}

Test(api, a_stop_overtakes_a_guest_that_resets_all_the_time)
{
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_reset, sizeof(code_reset));
	guest_start(&g);
	cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
	vmm_stop(g.vm);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_STOPPED);
	guest_end(&g);
}

Test(api, several_vms_run_in_one_process_and_leave_no_descriptor)
{
	struct guest guests[8];
	unsigned fds;

	need_kvm();
	/* Once before counting: what libraries keep for good. */
	guest_init(&guests[0], code_loop, sizeof(code_loop));
	guest_start(&guests[0]);
	guest_end(&guests[0]);
	fds = count_entries("/proc/self/fd");
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
			guest_init(&guests[i], code_loop, sizeof(code_loop));
			guest_start(&guests[i]);
		}
		for (size_t i = 0; i < ARRAY_SIZE(guests); i++)
			guest_end(&guests[i]);
	}
	cr_assert_eq(count_entries("/proc/self/fd"), fds);
}

/* ---- bad input: refused before anything exists, with a sentence ---- */

static void refused(struct guest *g, const char *part)
{
	struct vmm *vm = NULL;

	cr_assert_lt(vmm_create(&vm, &g->config, &g->err), 0);
	cr_assert_null(vm);
	cr_assert_not_null(strstr(g->err.message, part), "%s", g->err.message);
}

Test(api, bad_configurations_are_refused_with_a_sentence)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	g.config.memory = 4096;
	refused(&g, "too little");
	g.config.memory = (64 << 20) + 1;
	refused(&g, "multiple");
	g.config.memory = UINT64_C(1) << 50;
	refused(&g, "more than this host has");
	g.config.memory = 64 << 20;
	g.config.cpus = 10000;
	refused(&g, "10000 vCPUs");
	g.config.cpus = 1;
	g.config.kernel = NULL;
	refused(&g, "no kernel");
	g.config.kernel = "/nonexistent/vmlinuz";
	refused(&g, "/nonexistent/vmlinuz");
	g.config.kernel = g.path;
	g.config.size = 8;
	refused(&g, "struct vmm_config");
	close(g.fd);
}

Test(api, unknown_devices_and_options_are_refused_with_a_suggestion)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "virtio-blck", NULL, &g.err), -EINVAL);
	cr_assert_not_null(strstr(g.err.message, "virtio-blk"), "%s", g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "debug-exit", "iobse=1", &g.err), -EINVAL);
	cr_assert_not_null(strstr(g.err.message, "iobase"), "%s", g.err.message);
	/* The same ports twice. */
	cr_assert_eq(vmm_add_device(g.vm, "debug-exit", NULL, &g.err), 0, "%s", g.err.message);
	cr_assert_lt(vmm_add_device(g.vm, "debug-exit", NULL, &g.err), 0);
	guest_end(&g);
}

Test(api, null_for_a_text_is_refused_with_a_sentence)
{
	static const struct vmm_region_ops region = {.size = sizeof(region)};
	static const struct vmm_chardev_ops stream = {.size = sizeof(stream)};
	static const struct vmm_netdev_ops network = {.size = sizeof(network)};
	struct vmm_chardev *chardev;
	struct vmm_netdev *netdev;
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	expect_not_given(&g.err, vmm_add_device(g.vm, NULL, NULL, &g.err), "class");
	expect_not_given(&g.err, vmm_remove_device(g.vm, NULL, &g.err), "id");
	expect_not_given(&g.err, vmm_pull_device(g.vm, NULL, &g.err), "id");
	expect_not_given(&g.err, vmm_device_action(g.vm, NULL, "x", NULL, NULL, &g.err), "id");
	expect_not_given(&g.err, vmm_device_action(g.vm, "x", NULL, NULL, NULL, &g.err), "action");
	expect_not_given(&g.err,
			 vmm_add_region(g.vm, NULL, VMM_SPACE_PORT, 0x1000, 4, 0, &region, NULL,
					NULL, &g.err),
			 "id");
	expect_not_given(&g.err, vmm_add_chardev(g.vm, NULL, &stream, NULL, &chardev, &g.err),
			 "name");
	expect_not_given(&g.err, vmm_add_netdev(g.vm, NULL, &network, NULL, &netdev, &g.err),
			 "name");
#ifdef CONFIG_JANSSON
	expect_not_given(&g.err, vmm_control_listen(g.vm, NULL, &g.err), "path");
#endif
	guest_end(&g);
}

Test(api, null_for_a_text_is_refused_without_a_vm)
{
	struct vmm_error e = {0};
	struct vmm_option_info option;
	struct vmm_action_info action;
	uint64_t bytes;

	expect_not_given(&e, vmm_check_device(NULL, NULL, "--device", &e), "class");
	expect_not_given(&e, vmm_check_device("debug-exit", NULL, NULL, &e), "name");
	cr_assert_not(vmm_device_option(NULL, 0, &option));
	cr_assert_not(vmm_device_action_info(NULL, 0, &action));
	cr_assert_not(vmm_device_action_option(NULL, 0, 0, &option));
	cr_assert_eq(vmm_parse_size(NULL, &bytes), -EINVAL);
	cr_assert_null(vmm_nearest(NULL, (const char *const[]){"x", NULL}));
}

/* In a machine whose IOAPIC is the kernel's there is nothing that ours could send to. */
Test(api, an_ioapic_cannot_be_added)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	g.config.cmdline = "acpi=off";
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "ioapic", NULL, &g.err), -EBUSY);
	cr_assert_eq(vmm_start(g.vm, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
	guest_end(&g);
}

/* ---- events and statistics ---- */

static void expect_event(struct vmm *vm, enum vmm_event_kind kind, uint64_t value)
{
	struct pollfd p = {.fd = vmm_event_fd(vm), .events = POLLIN};
	struct vmm_event event;

	cr_assert_eq(poll(&p, 1, -1), 1);
	cr_assert_eq(vmm_next_event(vm, &event), 1);
	cr_assert_eq(event.kind, kind, "%d, not %d", event.kind, kind);
	cr_assert_eq(event.value, value);
	cr_assert_neq(event.time_ns, 0);
}

Test(api, every_change_of_state_is_an_event)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "virtio-serial", NULL, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_get_state(g.vm), VMM_STATE_CREATED);
	cr_assert_eq(vmm_start(g.vm, &g.err), 0, "%s", g.err.message);
	expect_event(g.vm, VMM_EVENT_RUNNING, 0);
	cr_assert_eq(vmm_get_state(g.vm), VMM_STATE_RUNNING);
	cr_assert_eq(vmm_pause(g.vm, &g.err), 0, "%s", g.err.message);
	expect_event(g.vm, VMM_EVENT_PAUSED, 0);
	cr_assert_eq(vmm_get_state(g.vm), VMM_STATE_PAUSED);
	cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
	expect_event(g.vm, VMM_EVENT_RESET, 0);
	cr_assert_eq(vmm_resume(g.vm, &g.err), 0, "%s", g.err.message);
	expect_event(g.vm, VMM_EVENT_RUNNING, 0);
	cr_assert_eq(vmm_powerdown(g.vm, &g.err), 0, "%s", g.err.message);
	expect_event(g.vm, VMM_EVENT_POWERDOWN, 0);
	cr_assert_eq(vmm_add_device(g.vm, "serial-port", "id=p,name=p", &g.err), 0, "%s",
		     g.err.message);
	expect_event(g.vm, VMM_EVENT_DEVICE_ADDED, 0);
	cr_assert_eq(vmm_remove_device(g.vm, "p", &g.err), 0, "%s", g.err.message);
	expect_event(g.vm, VMM_EVENT_DEVICE_REMOVED, 0);
	vmm_stop(g.vm);
	expect_event(g.vm, VMM_EVENT_STOPPED, VMM_EXIT_STOPPED);
	cr_assert_eq(vmm_get_state(g.vm), VMM_STATE_STOPPED);
	guest_end(&g);
}

Test(api, a_reset_by_the_guest_is_told_from_one_by_the_program)
{
	struct guest g;

	need_kvm();
	guest_init(&g, code_reset, sizeof(code_reset));
	guest_start(&g);
	expect_event(g.vm, VMM_EVENT_RUNNING, 0);
	expect_event(g.vm, VMM_EVENT_RESET, 1);
	guest_end(&g);
}

Test(api, memory_is_resident_once_it_was_touched)
{
	struct vmm_memory_stats before, after;
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_memory_stats(g.vm, &before, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(before.size, g.config.memory);
	cr_assert_lt(before.resident, before.size);
	cr_assert_eq(before.ballooned, 0);
	vmm_destroy(g.vm);
	g.config.prealloc = true;
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_memory_stats(g.vm, &after, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(after.resident, after.size);
	guest_end(&g);
}

Test(api, a_config_of_another_version_is_taken_unless_it_asks_for_what_is_not_known)
{
	struct {
		struct vmm_config config;
		uint64_t newer;
	} big = {.config = VMM_CONFIG_INIT};
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	big.config = g.config;
	big.config.size = sizeof(big);
	cr_assert_eq(vmm_create(&g.vm, &big.config, &g.err), 0, "%s", g.err.message);
	vmm_destroy(g.vm);
	big.newer = 1;
	g.vm = NULL;
	cr_assert_eq(vmm_create(&g.vm, &big.config, &g.err), -EINVAL);
	cr_assert_not_null(strstr(g.err.message, "does not know"), "%s", g.err.message);
	guest_end(&g);
}

/* ---- what a program brings itself ---- */

/* in 0x1000; out 0x1000, that + 1; the same from 0xf0000000 to 0xf0000004; exit */
static const uint8_t code_region[] = {
	0x66, 0xba, 0x00, 0x10, 0xed, 0x40, 0xef, 0xa1, 0x00, 0x00, 0x00, 0xf0,
	0x40, 0xa3, 0x04, 0x00, 0x00, 0xf0, 0xb0, 0x00, 0xe6, 0xf4, 0xeb, 0xfe,
};
/* COM1: what comes is sent back */
static const uint8_t code_echo[] = {
	0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7,
	0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xef,
};

struct registers {
	uint64_t value, written, at;
	unsigned resets;
};

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	struct registers *r = opaque;

	return offset == 0 && size == 4 ? r->value : 0;
}

static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct registers *r = opaque;

	r->at = offset;
	r->written = size == 4 ? value : 0;
}

static void registers_reset(void *opaque)
{
	((struct registers *)opaque)->resets++;
}

static const struct vmm_region_ops registers_ops = {sizeof(registers_ops), registers_read,
						    registers_write, registers_reset};

static int add_region(struct guest *g, const char *id, enum vmm_space space, uint64_t address,
		      unsigned irq, struct registers *r)
{
	struct vmm_region *region;

	return vmm_add_region(g->vm, id, space, address, 8, irq, &registers_ops, r, &region,
			      &g->err);
}

Test(api, a_guest_reaches_registers_that_the_program_brings)
{
	struct registers ports = {.value = 41}, memory = {.value = 0x1000};
	struct vmm_result result;
	struct guest g;

	need_kvm();
	guest_init(&g, code_region, sizeof(code_region));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "debug-exit", NULL, &g.err), 0);
	cr_assert_eq(add_region(&g, "ports", VMM_SPACE_PORT, 0x1000, 0, &ports), 0, "%s",
		     g.err.message);
	cr_assert_eq(add_region(&g, "regs", VMM_SPACE_MEMORY, 0xf0000000, 0, &memory), 0, "%s",
		     g.err.message);
	cr_assert_eq(vmm_start(g.vm, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_wait(g.vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_DEBUG, "%s", result.error.message);
	cr_assert(ports.written == 42 && ports.at == 0);
	cr_assert(memory.written == 0x1001 && memory.at == 4);
	guest_end(&g);
}

Test(api, regions_are_reset_with_the_machine)
{
	struct registers r = {0};
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(add_region(&g, "r", VMM_SPACE_PORT, 0x1000, 5, &r), 0, "%s", g.err.message);
	cr_assert_eq(vmm_start(g.vm, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_reset(g.vm, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(r.resets, 1);
	cr_assert_eq(add_region(&g, "late", VMM_SPACE_PORT, 0x2000, 0, &r), -EBUSY);
	guest_end(&g);
}

Test(api, regions_that_are_in_the_way_are_refused_with_a_sentence)
{
	struct registers r = {0};
	struct guest g;

	need_kvm();
	guest_init(&g, code_loop, sizeof(code_loop));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(add_region(&g, "ram", VMM_SPACE_MEMORY, 0x100000, 0, &r), -EINVAL);
	cr_assert_not_null(strstr(g.err.message, "must lie in"), "%s", g.err.message);
	cr_assert_eq(add_region(&g, "wrap", VMM_SPACE_MEMORY, UINT64_MAX - 3, 0, &r), -EINVAL);
	cr_assert_eq(add_region(&g, "pci", VMM_SPACE_PORT, 0xbffc, 0, &r), -EINVAL);
	cr_assert_eq(add_region(&g, "com", VMM_SPACE_PORT, 0x1000, 4, &r), -EINVAL);
	cr_assert_eq(add_region(&g, "a", VMM_SPACE_PORT, 0x1000, 5, &r), 0, "%s", g.err.message);
	cr_assert_eq(add_region(&g, "a", VMM_SPACE_PORT, 0x2000, 0, &r), -EEXIST);
	cr_assert_eq(add_region(&g, "b", VMM_SPACE_PORT, 0x1004, 0, &r), -EBUSY);
	cr_assert_not_null(strstr(g.err.message, "something else is at or behind 0x1004"), "%s",
			   g.err.message);
	cr_assert_eq(add_region(&g, "c", VMM_SPACE_PORT, 0x2000, 5, &r), -EBUSY);
	/* And a virtio device over MMIO takes the next interrupt. */
	cr_assert_eq(vmm_add_device(g.vm, "virtio-rng", "transport=mmio", &g.err), 0, "%s",
		     g.err.message);
	cr_assert_eq(add_region(&g, "d", VMM_SPACE_PORT, 0x2000, 6, &r), -EBUSY);
	cr_assert_eq(vmm_remove_device(g.vm, "a", &g.err), 0, "%s", g.err.message);
	cr_assert_eq(add_region(&g, "a", VMM_SPACE_PORT, 0x1000, 5, &r), 0, "%s", g.err.message);
	guest_end(&g);
}

struct collected {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char text[64];
	size_t len;
};

static size_t collect(void *opaque, const void *data, size_t len)
{
	struct collected *c = opaque;

	pthread_mutex_lock(&c->lock);
	len = len < sizeof(c->text) - 1 - c->len ? len : sizeof(c->text) - 1 - c->len;
	memcpy(c->text + c->len, data, len);
	c->len += len;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return len;
}

Test(api, a_program_is_the_other_end_of_a_serial_port)
{
	static const struct vmm_chardev_ops ops = {sizeof(ops), collect, NULL};
	struct collected c = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
	struct vmm_chardev *chardev;
	struct guest g;

	need_kvm();
	guest_init(&g, code_echo, sizeof(code_echo));
	cr_assert_eq(vmm_create(&g.vm, &g.config, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_add_chardev(g.vm, "me", &ops, &c, &chardev, &g.err), 0, "%s",
		     g.err.message);
	cr_assert_eq(vmm_add_device(g.vm, "isa-serial", "chardev=api:me", &g.err), 0, "%s",
		     g.err.message);
	cr_assert_eq(vmm_start(g.vm, &g.err), 0, "%s", g.err.message);
	cr_assert_eq(vmm_chardev_input(chardev, "hello", 5), 5);
	pthread_mutex_lock(&c.lock);
	while (c.len < 5)
		pthread_cond_wait(&c.changed, &c.lock);
	cr_assert_str_eq(c.text, "hello");
	pthread_mutex_unlock(&c.lock);
	guest_end(&g);
}
