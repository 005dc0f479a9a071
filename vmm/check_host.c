/* SPDX-License-Identifier: MIT */
/*
 * What this host allows the calling user, and what follows from it. Nothing is changed; every
 * descriptor that is opened to try it is closed again.
 */
#include "vmm/check_host.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPEN_FILES_WANTED 256

void check_say(struct check *check, enum vmm_check_status status, const char *topic,
	       const char *consequence, const char *fmt, ...)
{
	char finding[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(finding, sizeof(finding), fmt, ap);
	va_end(ap);
	if (status == VMM_CHECK_BAD)
		check->bad = true;
	check->fn(check->opaque, status, topic, finding, consequence);
}

/* The first line of a small file, without its newline. */
static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(buf, (int)size, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

static bool read_number(const char *path, uint64_t *value)
{
	char line[64], *end;

	if (!read_line(path, line, sizeof(line)))
		return false;
	errno = 0;
	*value = strtoull(line, &end, 10);
	return end != line && !*end && !errno;
}

/* The number behind "key" in a file of "key number…" lines, such as /proc/meminfo. */
static bool read_field(const char *path, const char *key, uint64_t *value)
{
	char line[256];
	FILE *f = fopen(path, "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		found = strncmp(line, key, strlen(key)) == 0;
		if (found)
			*value = strtoull(line + strlen(key), NULL, 10);
	}
	if (f)
		fclose(f);
	return found;
}

static void check_io_uring(struct check *check)
{
	struct io_uring_params params = {0};
	long fd = syscall(__NR_io_uring_setup, 1, &params);
	int code = errno;
	uint64_t disabled = 0, seccomp = 0;
	const char *why = "";

	if (fd >= 0) {
		close((int)fd);
		check_say(check, VMM_CHECK_OK, "io_uring", "disks use it", "permitted");
		return;
	}
	read_number("/proc/sys/kernel/io_uring_disabled", &disabled);
	read_field("/proc/self/status", "Seccomp:", &seccomp);
	if (code == ENOSYS && !seccomp)
		why = " (this kernel is built without it)";
	else if (disabled)
		why = " (the sysctl kernel.io_uring_disabled is set)";
	else if (seccomp)
		why = " (a seccomp filter, as of a container, forbids it)";
	check_say(check, VMM_CHECK_NOTE, "io_uring",
		  "disks use a thread pool instead, which costs more CPU time", "not usable: %s%s",
		  strerrordesc_np(code), why);
}

/* A device node that networking needs. */
static void check_node(struct check *check, const char *path, const char *good,
		       const char *otherwise)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int code = errno;

	if (fd >= 0) {
		close(fd);
		check_say(check, VMM_CHECK_OK, path, good, "opens");
	} else if (code == ENOENT) {
		check_say(check, VMM_CHECK_NOTE, path, otherwise, "is not there");
	} else {
		check_say(check, VMM_CHECK_NOTE, path, otherwise, "cannot be opened: %s",
			  strerrordesc_np(code));
	}
}

/* "1.5 GiB" */
static const char *size_text(char *buf, size_t size, uint64_t bytes)
{
	if (bytes >= GIB)
		snprintf(buf, size, "%" PRIu64 ".%" PRIu64 " GiB", bytes / GIB,
			 bytes % GIB * 10 / GIB);
	else
		snprintf(buf, size, "%" PRIu64 " MiB", bytes / MIB);
	return buf;
}

/* What the control group (version 2) of this process leaves; UINT64_MAX: no limit. */
static uint64_t cgroup_memory_left(void)
{
	char line[512], path[640];
	uint64_t max, current = 0;
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "0::/", 4) == 0;
	if (f)
		fclose(f);
	if (!found)
		return UINT64_MAX;
	line[strcspn(line, "\n")] = '\0';
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", line + 3);
	if (!read_number(path, &max)) /* also where it says "max" */
		return UINT64_MAX;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", line + 3);
	read_number(path, &current);
	return max > current ? max - current : 0;
}

static void check_memory(struct check *check)
{
	uint64_t total = 0, available = 0, left = cgroup_memory_left();
	char total_text[32], available_text[32], left_text[32], consequence[160];
	struct rlimit as = {RLIM_INFINITY, RLIM_INFINITY};

	read_field("/proc/meminfo", "MemTotal:", &total);
	read_field("/proc/meminfo", "MemAvailable:", &available);
	total *= KIB;
	available *= KIB;
	snprintf(consequence, sizeof(consequence),
		 "guests that use more than %s between them make the host swap or kill",
		 size_text(left_text, sizeof(left_text), MIN(available, left)));
	check_say(check, MIN(available, left) < 512 * MIB ? VMM_CHECK_NOTE : VMM_CHECK_OK, "memory",
		  consequence, "%s, of which %s are free%s",
		  size_text(total_text, sizeof(total_text), total),
		  size_text(available_text, sizeof(available_text), available),
		  left < available ? "; this control group may use less" : "");

	getrlimit(RLIMIT_AS, &as);
	if (as.rlim_cur != RLIM_INFINITY)
		check_say(check, VMM_CHECK_NOTE, "address space",
			  "a guest's memory must fit below it (ulimit -v)", "limited to %s",
			  size_text(total_text, sizeof(total_text), as.rlim_cur));
}

static void check_overcommit(struct check *check)
{
	uint64_t mode;

	if (!read_number("/proc/sys/vm/overcommit_memory", &mode))
		return;
	if (mode == 2)
		check_say(check, VMM_CHECK_NOTE, "overcommit",
			  "the memory of a guest counts in full from its start, and may be refused",
			  "strict (vm.overcommit_memory is 2)");
	else
		check_say(check, VMM_CHECK_OK, "overcommit",
			  "a guest takes memory from the host when it first touches it",
			  "permitted (vm.overcommit_memory is %" PRIu64 ")", mode);
}

static void check_hugepages(struct check *check)
{
	uint64_t pages = 0;
	char line[128] = "", size[32];

	read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", &pages);
	if (pages)
		check_say(check, VMM_CHECK_OK, "huge pages",
			  "--memory SIZE,hugepages=on up to that",
			  "%" PRIu64 " of 2 MiB are free (%s)", pages,
			  size_text(size, sizeof(size), pages * 2 * MIB));
	else
		check_say(
			check, VMM_CHECK_NOTE, "huge pages",
			"--memory SIZE,hugepages=on needs some: sysctl vm.nr_hugepages=N, as root",
			"none of 2 MiB are free");

	if (read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof(line)) &&
	    strstr(line, "[never]"))
		check_say(check, VMM_CHECK_NOTE, "huge pages (THP)",
			  "guest memory is mapped in pages of 4 KiB unless hugepages=on",
			  "off (transparent_hugepage/enabled: never)");
	else if (read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", line,
			   sizeof(line)) &&
		 (strstr(line, "[never]") || strstr(line, "[deny]")))
		check_say(check, VMM_CHECK_NOTE, "huge pages (THP)",
			  "--memory SIZE,shared=on is mapped in pages of 4 KiB",
			  "off for shared memory (shmem_enabled: %s)",
			  strstr(line, "[deny]") ? "deny" : "never");
}

static void check_limits(struct check *check)
{
	struct rlimit files = {0, 0}, locked = {0, 0};
	char size[32];

	getrlimit(RLIMIT_NOFILE, &files);
	check_say(check, files.rlim_cur < OPEN_FILES_WANTED ? VMM_CHECK_NOTE : VMM_CHECK_OK,
		  "open files",
		  files.rlim_cur < OPEN_FILES_WANTED
			  ? "VMs with many vCPUs, disks and queues run out of them: ulimit -n 1024"
			  : "enough: each vCPU takes one, each disk about four, each queue two",
		  "up to %" PRIu64 " in a process", (uint64_t)files.rlim_cur);

	getrlimit(RLIMIT_MEMLOCK, &locked);
	if (locked.rlim_cur == RLIM_INFINITY)
		check_say(check, VMM_CHECK_OK, "locked memory", NULL, "no limit");
	else
		check_say(check, VMM_CHECK_OK, "locked memory",
			  "enough: the memory of guests is not locked", "up to %s (RLIMIT_MEMLOCK)",
			  size_text(size, sizeof(size), locked.rlim_cur));
}

int vmm_check_host(vmm_check_fn *fn, void *opaque)
{
	struct check check = {.fn = fn, .opaque = opaque};

	check_kvm_host(&check);
	check_io_uring(&check);
	check_node(&check, "/dev/net/tun",
		   "--net tap is possible: on an interface of this user, or as root on a new one",
		   "no --net tap; --net user needs nothing of the host");
	check_node(
		&check, "/dev/vhost-net",
		"--net tap,vhost=on is possible: the kernel moves the packets",
		"no --net tap,vhost=on, which takes the module vhost_net; without it packets pass "
		"through vmm");
	check_memory(&check);
	check_overcommit(&check);
	check_hugepages(&check);
	check_limits(&check);
	return check.bad ? -ENOTSUP : 0;
}
