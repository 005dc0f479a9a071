/* SPDX-License-Identifier: MIT */
/*
 * PCI devices that come and go through the public API, on the machine's own KVM, with a guest that
 * lets go of what it is asked for and with one that never does.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmm.h>

#include "core/types.h"
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
/* Has the BARs of slots 0 to 3 decoded, and ejects all slots, asked or not, again and again. */
static const uint8_t code_hostile[] = {
	0xb8, 0x04, 0x08, 0x00, 0x80, /* mov $0x80000804, %eax: command register of slot 1 */
	0x89, 0xc1,                   /* next: mov %eax, %ecx */
	0x66, 0xba, 0xf8, 0x0c,       /* mov $0xcf8, %dx */
	0xef,                         /* out %eax, (%dx) */
	0x66, 0xba, 0xfc, 0x0c,       /* mov $0xcfc, %dx */
	0xb8, 0x07, 0x00, 0x00, 0x00, /* mov $7, %eax */
	0xef,                         /* out %eax, (%dx) */
	0x66, 0xba, 0x10, 0x06,       /* mov $0x610, %dx: eject */
	0x83, 0xc8, 0xff,             /* or $-1, %eax */
	0xef,                         /* out %eax, (%dx) */
	0x89, 0xc8,                   /* mov %ecx, %eax */
	0x05, 0x00, 0x08, 0x00, 0x00, /* add $0x800, %eax: the next slot */
	0x25, 0x04, 0x18, 0x00, 0x80, /* and $0x80001804, %eax */
	0xeb, 0xd9,                   /* jmp next */
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

/* ---- all at once ---- */

#define ROUNDS  20
#define WORKERS 3

static _Atomic bool done;

/* Controllers with ports come and go, asked, pulled, or both; every fourth is the others' too. */
static void *come_and_go(void *arg)
{
	const unsigned self = (unsigned)(uintptr_t)arg;
	char device[32], port[32], *id = device + strlen("id=");
	struct vmm_error e;
	int rc;

	for (unsigned i = 0; i < ROUNDS; i++) {
		snprintf(device, sizeof(device), "id=%c%u", i % 4 ? 'd' : 'a', i % 4 ? self : 0);
		snprintf(port, sizeof(port), "id=p%u,name=p%u", self, self);
		rc = vmm_add_device(vm, "virtio-serial", device, &e);
		cr_assert(rc == 0 || rc == -EEXIST || rc == -ENOSPC, "%s", e.message);
		(void)vmm_add_device(vm, "serial-port", port, &e); /* somewhere, or nowhere */
		if (i % 2)
			(void)vmm_remove_device(vm, id, &e);
		*strchr(port, ',') = '\0';
		rc = vmm_remove_device(vm, port + strlen("id="), &e);
		cr_assert(rc == 0 || rc == -ENOENT, "%s", e.message);
		while ((rc = vmm_remove_device(vm, id, &e)) == 1)
			if (i % 5 == 0)
				(void)vmm_pull_device(vm, id, &e);
		cr_assert(rc == -ENOENT || rc == -EBUSY, "%s", e.message);
	}
	return NULL;
}

static void *disturb(void *arg UNUSED)
{
	struct vmm_error e;
	char *json;

	for (unsigned i = 0; !done; i++) {
		cr_assert_eq(vmm_pause(vm, &e), 0, "%s", e.message);
		cr_assert_eq(vmm_device_list(vm, &json, &e), 0, "%s", e.message);
		free(json);
		cr_assert_eq(vmm_resume(vm, &e), 0, "%s", e.message);
		if (i % 4 == 0)
			cr_assert_eq(vmm_reset(vm, &e), 0, "%s", e.message);
	}
	return NULL;
}

Test(api_hotplug, a_hostile_guest_and_many_users_at_once, .timeout = 300)
{
	pthread_t workers[WORKERS], other;

	start(code_hostile, sizeof(code_hostile));
	cr_assert_eq(pthread_create(&other, NULL, disturb, NULL), 0);
	for (uintptr_t i = 0; i < WORKERS; i++)
		cr_assert_eq(pthread_create(&workers[i], NULL, come_and_go, (void *)i), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	done = true;
	pthread_join(other, NULL);
	cr_assert_eq(vmm_get_state(vm), VMM_STATE_RUNNING);
	cr_assert_eq(vmm_reset(vm, &err), 0, "%s", err.message);
	cr_assert_not(listed("\"leaving\""));
	end();
}
