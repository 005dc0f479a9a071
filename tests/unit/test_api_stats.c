/* SPDX-License-Identifier: MIT */
/*
 * vmm_stats, of a VM on the machine's own KVM.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmm.h>

#include "support/boot_image.h"

/* again: out 0x80, al; jmp again */
static const uint8_t code_ports[] = {0xe6, 0x80, 0xeb, 0xfc};

static int kernel_fd;
static struct vmm *vm;
static struct vmm_error err;

static void setup(void)
{
	static uint8_t elf[IMAGE_SIZE];
	struct vmm_config config = VMM_CONFIG_INIT;
	static char path[32];
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	close(kvm);
	image_elf(elf, true);
	memcpy(elf + IMAGE_TEXT_OFFSET + (IMAGE_PVH_ENTRY - IMAGE_TEXT_ADDR), code_ports,
	       sizeof(code_ports));
	kernel_fd = image_file(elf, sizeof(elf), path);
	config.kernel = path;
	config.name = "odd \"name\"";
	config.memory = 64 << 20;
	config.cpus = 2;
	cr_assert_eq(vmm_create(&vm, &config, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_add_device(vm, "virtio-balloon", "id=b0", &err), 0, "%s", err.message);
	cr_assert_eq(vmm_add_device(vm, "virtio-net", "id=n0,backend=none", &err), 0, "%s",
		     err.message);
	cr_assert_eq(vmm_add_device(vm, "virtio-scsi", NULL, &err), 0, "%s", err.message);
}

static void teardown(void)
{
	vmm_destroy(vm);
	close(kernel_fd);
}

TestSuite(api_stats, .init = setup, .fini = teardown, .timeout = 60);

/* The caller frees it. */
static char *stats(void)
{
	char *json = NULL;

	cr_assert_eq(vmm_stats(vm, &json, &err), 0, "%s", err.message);
	return json;
}

static void has(const char *part)
{
	char *json = stats();

	cr_expect(strstr(json, part), "wanted %s, got %s", part, json);
	free(json);
}

/* The number behind "name": the first time it stands there; 0: it does not. */
static unsigned long long number(const char *json, const char *name)
{
	char key[32];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(json, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static unsigned long long now(const char *name)
{
	char *json = stats();
	unsigned long long value = number(json, name);

	free(json);
	return value;
}

Test(api_stats, a_vm_that_has_not_run_has_done_nothing)
{
	has("\"name\":\"odd \\\"name\\\"\",\"state\":\"created\",\"uptime-ns\":0,");
	has("\"vcpus\":[]");
	has("\"memory\":{\"size\":67108864,");
	has("{\"id\":\"b0\",\"class\":\"virtio-balloon\",\"target\":67108864,"
	    "\"actual\":67108864,");
	has("{\"id\":\"n0\",\"class\":\"virtio-net\",\"rx\":{\"packets\":0,\"bytes\":0,"
	    "\"dropped\":0,\"filtered\":0},\"tx\":");
}

Test(api_stats, what_it_does_is_counted)
{
	unsigned long long exits, time, up;

	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	while ((exits = now("io")) < 100)
		;
	time = now("time-ns");
	up = now("uptime-ns");
	cr_expect_gt(time, 0);
	while (now("io") <= exits || now("time-ns") <= time || now("uptime-ns") <= up)
		;
	has("\"state\":\"running\"");
	has("{\"index\":1,\"time-ns\":");
}

Test(api_stats, a_vm_that_has_stopped_keeps_its_counts)
{
	struct vmm_result result;
	unsigned long long exits;

	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	while (now("io") < 100)
		;
	vmm_stop(vm);
	cr_assert_eq(vmm_wait(vm, &result), 0);
	has("\"state\":\"stopped\"");
	exits = now("io");
	cr_expect_geq(exits, 100);
	cr_expect_eq(now("io"), exits);
}

Test(api_stats, devices_that_come_and_go_are_in_it_while_they_are_there)
{
	char path[] = "/tmp/vmm-stats.XXXXXX", options[64];
	int fd = mkstemp(path);

	cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	snprintf(options, sizeof(options), "path=%s,id=d0", path);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_add_device(vm, "scsi-disk", options, &err), 0, "%s", err.message);
	has("{\"id\":\"d0\",\"class\":\"scsi-disk\",\"in-flight\":0,\"read\":{\"operations\":0,");
	cr_assert_eq(vmm_remove_device(vm, "d0", &err), 0, "%s", err.message);
	cr_expect_eq(now("operations"), 0);
	has("\"devices\":[{\"id\":\"b0\"");
	close(fd);
	unlink(path);
}
