/* SPDX-License-Identifier: MIT */
/*
 * A network of the run's own: a tap needs an address on its host's side, and the host's real
 * network is none of our business.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "validate.h"

static int set_flags_up(int fd, const char *name)
{
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &request) != 0)
		return -1;
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request);
}

static int set_address(int fd, const char *name, const char *address, unsigned prefix)
{
	struct ifreq request = {0};
	struct sockaddr_in in = {.sin_family = AF_INET};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
		return -1;
	memcpy(&request.ifr_addr, &in, sizeof(in));
	if (ioctl(fd, SIOCSIFADDR, &request) != 0)
		return -1;
	in.sin_addr.s_addr = htonl(prefix ? UINT32_MAX << (32 - prefix) : 0);
	memcpy(&request.ifr_netmask, &in, sizeof(in));
	return ioctl(fd, SIOCSIFNETMASK, &request);
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	close(fd);
}

/* Root has the right to it; others have it in a user namespace, where the host allows these. */
static bool unshare_network(void)
{
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(CLONE_NEWNET) == 0)
		return true;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	write_to("/proc/self/setgroups", "deny");
	write_to("/proc/self/uid_map", format("%u %u 1\n", uid, uid));
	write_to("/proc/self/gid_map", format("%u %u 1\n", gid, gid));
	return true;
}

void validate_namespace(struct validate_vm *vm)
{
	int fd;

	vm->own_network = unshare_network();
	if (!vm->own_network) {
		fprintf(stderr, "no network namespace: %s\n", strerror(errno));
		return;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	set_flags_up(fd, "lo");
	close(fd);
}

void validate_interface(struct validate_vm *vm, const char *value)
{
	char *copy = duplicate(value), *rest;
	const char *name = strtok_r(copy, " \t", &rest);
	const char *address = strtok_r(NULL, " \t", &rest);
	const char *prefix = strtok_r(NULL, " \t", &rest);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (vm->own_network && prefix &&
	    (set_address(fd, name, address, (unsigned)strtoul(prefix, NULL, 10)) != 0 ||
	     set_flags_up(fd, name) != 0))
		fprintf(stderr, "interface %s: %s\n", name, strerror(errno));
	close(fd);
}
