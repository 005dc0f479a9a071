/* SPDX-License-Identifier: MIT */
/*
 * What this host allows the calling user, the part about KVM: may it be opened, and what can it do?
 */
#include "vmm/check_host.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/kvm.h"

static void report_no_permission(struct check *check)
{
	struct stat st = {0};
	struct group group, *found = NULL;
	char buf[4096], consequence[256];

	if (stat("/dev/kvm", &st) != 0 ||
	    getgrgid_r(st.st_gid, &group, buf, sizeof(buf), &found) != 0)
		found = NULL;
	if (found && st.st_gid != 0 && (st.st_mode & 0060) == 0060)
		snprintf(consequence, sizeof(consequence),
			 "join the group that may: usermod -aG %s USER, as root; then log in again",
			 found->gr_name);
	else
		snprintf(consequence, sizeof(consequence),
			 "give it to a group and join that, as root: groupadd -rf kvm && "
			 "chgrp kvm /dev/kvm && chmod 0660 /dev/kvm && usermod -aG kvm USER; then "
			 "log in again");
	check_say(check, VMM_CHECK_BAD, "KVM", consequence,
		  "no permission to open /dev/kvm (group %s, mode %04o)",
		  found ? found->gr_name : "unknown", (unsigned)st.st_mode & 07777);
}

static int open_kvm(struct check *check)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case EACCES:
	case EPERM:
		report_no_permission(check);
		break;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		check_say(check, VMM_CHECK_BAD, "KVM",
			  "load kvm_intel or kvm_amd, switch virtualization on in the firmware, or "
			  "pass the device into this container",
			  "there is no /dev/kvm");
		break;
	default:
		check_say(check, VMM_CHECK_BAD, "KVM", "no VM can run", "cannot open /dev/kvm: %s",
			  strerrordesc_np(errno));
		break;
	}
	return -1;
}

static void check_version(struct check *check, int kvm)
{
	int version = ioctl(kvm, KVM_GET_API_VERSION, 0);

	if (version == KVM_API_VERSION)
		check_say(check, VMM_CHECK_OK, "KVM", NULL, "/dev/kvm opens, API version %d",
			  version);
	else
		check_say(check, VMM_CHECK_BAD, "KVM", "no VM can run",
			  "/dev/kvm has API version %d instead of %d", version, KVM_API_VERSION);
}

static void check_virtualization(struct check *check)
{
	if (kvm_host_has_hardware_virtualization())
		check_say(check, VMM_CHECK_OK, "virtualization",
			  "kernels of any distribution run, at native speed",
			  "the CPU has hardware virtualization (vmx or svm)");
	else
		check_say(
			check, VMM_CHECK_BAD, "virtualization",
			"small guests of our own run, but stock kernels do not boot: KVM emulates "
			"kernel code, and not all of it; the test host (tests/testhost/run) can",
			"the CPU shows neither vmx nor svm: this is a software KVM");
}

/* What the library cannot do without. */
static void check_capabilities(struct check *check, int kvm)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {
		{KVM_CAP_USER_MEMORY, "user memory"}, {KVM_CAP_IRQCHIP, "in-kernel irqchip"},
		{KVM_CAP_EXT_CPUID, "CPUID"},         {KVM_CAP_MP_STATE, "MP state"},
		{KVM_CAP_IRQ_ROUTING, "IRQ routing"}, {KVM_CAP_IRQFD, "irqfd"},
		{KVM_CAP_IOEVENTFD, "ioeventfd"},     {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	};
	char missing[128] = "";
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			len += (size_t)snprintf(missing + len, sizeof(missing) - len, "%s%s",
						len ? ", " : "", needed[i].name);
	}
	if (len)
		check_say(check, VMM_CHECK_BAD, "KVM features",
			  "no VM can run; a newer host kernel has them", "missing: %s", missing);
	else
		check_say(check, VMM_CHECK_OK, "KVM features",
			  "doorbells and interrupts of devices do not stop a vCPU",
			  "irqfd, ioeventfd, irqchip and all else that is needed");
	if (ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) <= 0)
		check_say(check, VMM_CHECK_NOTE, "timer", "timers of guests cost more exits",
			  "KVM has no TSC-deadline timer");
}

static void check_vcpus(struct check *check, int kvm)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	int most = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	int usual = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS);
	char consequence[128];

	if (most <= 0)
		most = usual > 0 ? usual : 4; /* as Documentation/virt/kvm/api.rst, 4.4 says */
	snprintf(consequence, sizeof(consequence),
		 "--cpus up to %d; more than %ld share the CPUs of the host", MIN(most, 255),
		 online);
	check_say(check, VMM_CHECK_OK, "vCPUs", consequence,
		  "KVM allows %d for a VM; this host has %ld CPUs", most, online);
}

/* Another hypervisor may hold the CPU's virtualization: only the attempt shows that. */
static void check_create(struct check *check, int kvm)
{
	int fd;

	do {
		fd = ioctl(kvm, KVM_CREATE_VM, 0);
	} while (fd < 0 && errno == EINTR);
	if (fd >= 0)
		close(fd);
	else
		check_say(check, VMM_CHECK_BAD, "creating a VM",
			  errno == EBUSY ? "another hypervisor (VirtualBox, VMware) uses the CPU's "
					   "virtualization: end it"
					 : "no VM can run",
			  "fails: %s", strerrordesc_np(errno));
}

void check_kvm_host(struct check *check)
{
	int kvm = open_kvm(check);

	if (kvm < 0)
		return;
	check_version(check, kvm);
	check_virtualization(check);
	check_capabilities(check, kvm);
	check_vcpus(check, kvm);
	check_create(check, kvm);
	close(kvm);
}
