/* SPDX-License-Identifier: MIT */
/*
 * PCI devices that come and go through the public API, on the machine's own KVM, with a guest that
 * lets go of what it is asked for and with one that never does.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmm.h>

#include "support/boot_image.h"

/* What the guest does from its PVH entry on (32-bit code). */
static const uint8_t code_deaf[] = {0xeb, 0xfe};
static const uint8_t code_polite[] = {
	0x66, 0xba, 0x0c, 0x06, /* next: mov $0x60c, %dx, the slots whose device shall leave */
	0xed,                   /* in (%dx), %eax */
	0x85, 0xc0,             /* test %eax, %eax */
	0x74, 0xf7,             /* jz next */
	0x66, 0xba, 0x10, 0x06, /* mov $0x610, %dx: eject */
	0xef,                   /* out %eax, (%dx) */
	0xeb, 0xf0,             /* jmp next */
};

static int fd;
static struct vmm *vm;
static struct vmm_error err;

static void start(const uint8_t *code, size_t len)
{
	static uint8_t elf[IMAGE_SIZE];
	static char path[32];
	struct vmm_config config = VMM_CONFIG_INIT;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	close(kvm);
	image_elf(elf, true);
	memcpy(elf + IMAGE_TEXT_OFFSET + (IMAGE_PVH_ENTRY - IMAGE_TEXT_ADDR), code, len);
	fd = image_file(elf, sizeof(elf), path);
	config.kernel = path;
	config.memory = 64 << 20;
	config.cpus = 2;
	cr_assert_eq(vmm_create(&vm, &config, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_add_device(vm, "virtio-rng", "id=m,transport=mmio", &err), 0, "%s",
		     err.message);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
}

static void end(void)
{
	vmm_destroy(vm);
	close(fd);
}

static void add(const char *options)
{
	cr_assert_eq(vmm_add_device(vm, "virtio-rng", options, &err), 0, "%s", err.message);
}

/* Wait for the event that tells of this device. */
static void wait_for(enum vmm_event_kind kind, const char *id)
{
	struct pollfd p = {.fd = vmm_event_fd(vm), .events = POLLIN};
	struct vmm_event event;

	do {
		cr_assert_eq(poll(&p, 1, -1), 1);
		cr_assert_eq(vmm_next_event(vm, &event), 1);
		cr_assert_neq(event.kind, VMM_EVENT_STOPPED);
	} while (event.kind != kind || strcmp(event.device, id) != 0);
}

static bool listed(const char *text)
{
	char *json;
	bool found;

	cr_assert_eq(vmm_device_list(vm, &json, &err), 0, "%s", err.message);
	found = strstr(json, text);
	free(json);
	return found;
}

Test(api_hotplug, a_guest_lets_go_of_what_comes_again_and_again, .timeout = 120)
{
	start(code_polite, sizeof(code_polite));
	for (int i = 0; i < 50; i++) {
		add("id=a");
		add("id=b");
		wait_for(VMM_EVENT_DEVICE_ADDED, "b");
		cr_assert_eq(vmm_remove_device(vm, "a", &err), 1, "%s", err.message);
		wait_for(VMM_EVENT_DEVICE_REMOVED, "a");
		cr_assert(listed("\"b\""));
		cr_assert_eq(vmm_remove_device(vm, "b", &err), 1, "%s", err.message);
		wait_for(VMM_EVENT_DEVICE_REMOVED, "b");
		cr_assert_eq(vmm_remove_device(vm, "b", &err), -ENOENT);
		cr_assert_not(listed("\"pci\""));
	}
	end();
}

Test(api_hotplug, a_guest_that_is_paused_answers_when_it_goes_on, .timeout = 120)
{
	start(code_polite, sizeof(code_polite));
	cr_assert_eq(vmm_pause(vm, &err), 0, "%s", err.message);
	add("id=a");
	cr_assert_eq(vmm_remove_device(vm, "a", &err), 1, "%s", err.message);
	cr_assert(listed("\"leaving\":true"));
	cr_assert_eq(vmm_resume(vm, &err), 0, "%s", err.message);
	wait_for(VMM_EVENT_DEVICE_REMOVED, "a");
	cr_assert_eq(vmm_get_state(vm), VMM_STATE_RUNNING);
	end();
}

Test(api_hotplug, a_guest_that_never_answers_keeps_the_device_until_it_restarts, .timeout = 120)
{
	start(code_deaf, sizeof(code_deaf));
	add("id=a");
	for (int i = 0; i < 3; i++)
		cr_assert_eq(vmm_remove_device(vm, "a", &err), 1, "%s", err.message);
	cr_assert(listed("\"leaving\":true"));
	cr_assert_eq(vmm_reset(vm, &err), 0, "%s", err.message);
	cr_assert_not(listed("\"a\""));
	wait_for(VMM_EVENT_DEVICE_REMOVED, "a");
	end();
}

Test(api_hotplug, a_device_can_be_pulled_out, .timeout = 120)
{
	start(code_deaf, sizeof(code_deaf));
	for (int i = 0; i < 3; i++) {
		add("id=a");
		cr_assert_eq(vmm_remove_device(vm, "a", &err), 1, "%s", err.message);
		cr_assert_eq(vmm_pull_device(vm, "a", &err), 0, "%s", err.message);
		cr_assert_not(listed("\"a\""));
		wait_for(VMM_EVENT_DEVICE_REMOVED, "a");
	}
	cr_assert_eq(vmm_pause(vm, &err), 0, "%s", err.message);
	add("id=a");
	cr_assert(listed("\"pci\":\"00:04.0\""));
	cr_assert_eq(vmm_pull_device(vm, "a", &err), 0, "%s", err.message);
	cr_assert_eq(vmm_get_state(vm), VMM_STATE_PAUSED);
	cr_assert_eq(vmm_reset(vm, &err), 0, "%s", err.message);
	add("id=a");
	cr_assert(listed("\"pci\":\"00:01.0\""));
	end();
}

Test(api_hotplug, what_is_not_on_the_pci_bus_stays, .timeout = 120)
{
	start(code_deaf, sizeof(code_deaf));
	cr_assert_eq(vmm_remove_device(vm, "m", &err), -EBUSY);
	cr_assert_str_eq(err.message,
			 "m: virtio-rng devices with transport=mmio cannot be removed while "
			 "the VM runs");
	cr_assert_eq(vmm_pull_device(vm, "m", &err), -EBUSY);
	cr_assert_eq(vmm_pull_device(vm, "n", &err), -ENOENT);
	vmm_stop(vm);
	end();
}

Test(api_hotplug, a_vm_that_stops_ends_the_wait, .timeout = 120)
{
	struct vmm_result result;

	start(code_deaf, sizeof(code_deaf));
	add("id=a");
	cr_assert_eq(vmm_remove_device(vm, "a", &err), 1, "%s", err.message);
	vmm_stop(vm);
	cr_assert_eq(vmm_wait(vm, &result), 0);
	cr_assert_eq(vmm_remove_device(vm, "a", &err), -ESHUTDOWN);
	cr_assert_eq(vmm_pull_device(vm, "a", &err), -ESHUTDOWN);
	end();
}
