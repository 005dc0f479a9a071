/* SPDX-License-Identifier: MIT */
/*
 * Throughput and system calls of a serial port and of a disk in one process: a line for each
 * figure. docs/performance.md tells what they mean.
 */
#include "bench/inproc.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virtio/virtio_classes.h"
#include "virtio/virtio_serial.h"

#define DEPTH      32u
#define DISK_BYTES (UINT64_C(256) * MIB)

/* What a workload does; set before it is forked. */
static struct {
	uint32_t request; /* bytes */
	uint64_t requests;
	bool to_host, socket, write, direct;
} job;

static char path[64];

/* ---- a serial port ---- */

#define QUEUES 6u /* port 0, control, port 1 */

static struct bench_ring rings[QUEUES];
static uint64_t buffers[DEPTH];
static void *buffer_hosts[DEPTH];

static void say(uint16_t event)
{
	struct bench_ring *r = &rings[VIRTIO_SERIAL_CONTROL_TX];
	struct virtio_console_control *m;
	void *host;
	const uint64_t at = bench_alloc(sizeof(*m), &host);
	uint32_t len;

	m = host;
	*m = (struct virtio_console_control){.id = 1, .event = event, .value = 1};
	bench_ring_add(r, (unsigned)bench_ring_next(r),
		       &(struct bench_buffer){at, sizeof(*m), false}, 1);
	bench_ring_kick(r);
	while (bench_ring_used(r, &len) < 0)
		loop_turn(bench_env()->loop, true);
}

static struct virtio_serial_port *start_port(void)
{
	char options[128];
	struct device *controller, *port;
	struct bench_ring *control = &rings[VIRTIO_SERIAL_CONTROL_RX];
	void *host;

	snprintf(options, sizeof(options), "chardev=%s%s", job.socket ? "unix:" : "ring",
		 job.socket ? path : "");
	controller = bench_device(&virtio_serial_class.device, NULL, "max-ports=2");
	port = bench_device(&serial_port_class, "port", options);
	bench_start(virtio_device(controller), rings, QUEUES, 1);
	for (unsigned i = 0; i < 8; i++) {
		const struct bench_buffer b = {bench_alloc(512, &host), 512, true};

		bench_ring_add(control, (unsigned)bench_ring_next(control), &b, 1);
	}
	bench_ring_kick(control);
	say(VIRTIO_CONSOLE_DEVICE_READY);
	say(VIRTIO_CONSOLE_PORT_READY);
	say(VIRTIO_CONSOLE_PORT_OPEN);
	for (unsigned i = 0; i < DEPTH; i++) {
		buffers[i] = bench_alloc(job.request, &buffer_hosts[i]);
		memset(buffer_hosts[i], (int)i, job.request);
	}
	return virtio_serial_port(port);
}

/* Queue every chain that is free, up to `left` of them; returns how many. */
static uint64_t refill(struct bench_ring *r, uint64_t left, bool writable)
{
	uint64_t added = 0;
	int chain;

	while (added < left && (chain = bench_ring_next(r)) >= 0) {
		const struct bench_buffer b = {buffers[chain], job.request, writable};

		bench_ring_add(r, (unsigned)chain, &b, 1);
		added++;
	}
	bench_ring_kick(r);
	return added;
}

static void guest_to_host(void)
{
	struct bench_ring *r = &rings[virtio_serial_tx(1)];
	uint64_t sent = 0, done = 0;
	uint32_t len;

	bench_ring_depth(r, DEPTH);
	bench_count_begin();
	while (done < job.requests) {
		sent += refill(r, job.requests - sent, false);
		loop_turn(bench_env()->loop, true);
		while (bench_ring_used(r, &len) >= 0)
			done++;
	}
	bench_count_end();
}

static void host_to_guest(const struct virtio_serial_port *port)
{
	static uint8_t block[64 * 1024];
	struct bench_ring *r = &rings[virtio_serial_rx(1)];
	const uint64_t total = job.requests * job.request;
	uint64_t given = 0, got = 0;
	uint32_t len;

	bench_ring_depth(r, DEPTH);
	refill(r, DEPTH, true);
	bench_count_begin();
	while (got < total) {
		if (!job.socket && given < total)
			given += (uint64_t)chardev_ring_write(port->chardev, block,
							      MIN(sizeof(block), total - given));
		loop_turn(bench_env()->loop, true);
		while (bench_ring_used(r, &len) >= 0)
			got += len;
		refill(r, DEPTH, true);
	}
	bench_count_end();
}

/* The other end of a socket: takes everything or gives without end. */
static void *peer(void *arg)
{
	static char block[256 * 1024];
	const int fd = *(const int *)arg;

	while ((job.to_host ? recv(fd, block, sizeof(block), 0)
			    : send(fd, block, sizeof(block), MSG_NOSIGNAL)) > 0)
		;
	return NULL;
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		bench_fail("cannot connect to %s", path);
	while (loop_turn(bench_env()->loop, false))
		;
	return fd;
}

static double begun, ended;

static void serial(void)
{
	const struct virtio_serial_port *port = start_port();
	pthread_t thread;
	int fd = -1;

	if (job.socket) {
		fd = dial();
		if (pthread_create(&thread, NULL, peer, &fd))
			bench_fail("cannot start a thread");
	}
	begun = bench_seconds();
	if (job.to_host)
		guest_to_host();
	else
		host_to_guest(port);
	ended = bench_seconds();
	if (job.socket) {
		shutdown(fd, SHUT_RDWR);
		pthread_join(thread, NULL);
		close(fd);
		unlink(path);
	}
}

/* ---- a disk ---- */

static void make_disk(void)
{
	static char block[MIB];
	const int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		bench_fail("cannot make %s", path);
	/* Blocks that exist, and in the page cache: the figures are the device's, not the disk's.
	 */
	for (uint64_t at = 0; at < DISK_BYTES; at += sizeof(block))
		if (pwrite(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block))
			bench_fail("cannot write %s", path);
	close(fd);
}

struct disk_request {
	struct virtio_blk_outhdr *header;
	uint64_t header_at, data_at, status_at;
};

static void submit_disk(struct bench_ring *r, const struct disk_request *d, unsigned chain,
			uint64_t n)
{
	const struct bench_buffer b[3] = {
		{d->header_at, sizeof(*d->header), false},
		{d->data_at, job.request, !job.write},
		{d->status_at, 1, true},
	};

	/* Scattered, and never twice the same while it is in flight. */
	d->header->type = job.write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	d->header->sector = n * 7919 % (DISK_BYTES / job.request) * (job.request / 512);
	bench_ring_add(r, chain, b, 3);
}

static void disk(void)
{
	struct disk_request requests[DEPTH];
	char options[128];
	struct device *dev;
	uint64_t sent = 0, done = 0;
	uint32_t len;
	void *host;
	int chain;

	snprintf(options, sizeof(options), "path=%s,engine=io_uring,cache=%s", path,
		 job.direct ? "none" : "writeback");
	dev = bench_device(&virtio_blk_class.device, NULL, options);
	bench_start(virtio_device(dev), rings, 1, 3);
	bench_ring_depth(&rings[0], DEPTH);
	for (unsigned i = 0; i < DEPTH; i++) {
		requests[i].header_at = bench_alloc(sizeof(struct virtio_blk_outhdr), &host);
		requests[i].header = host;
		requests[i].data_at = bench_alloc(job.request, &host);
		requests[i].status_at = bench_alloc(1, &host);
	}
	begun = bench_seconds();
	bench_count_begin();
	while (done < job.requests) {
		while (sent < job.requests && (chain = bench_ring_next(&rings[0])) >= 0)
			submit_disk(&rings[0], &requests[chain], (unsigned)chain, sent++);
		bench_ring_kick(&rings[0]);
		loop_turn(bench_env()->loop, true);
		while (bench_ring_used(&rings[0], &len) >= 0)
			done++;
	}
	bench_count_end();
	ended = bench_seconds();
}

/* ---- figures ---- */

/* In a process of its own, like everything here: each starts from nothing. */
static double timed(void (*workload)(void))
{
	int fds[2];
	double seconds = 0;
	pid_t child;

	if (pipe(fds))
		bench_fail("no pipe");
	fflush(NULL);
	child = fork();
	if (!child) {
		workload();
		seconds = ended - begun;
		_exit(write(fds[1], &seconds, sizeof(seconds)) != (ssize_t)sizeof(seconds));
	}
	close(fds[1]);
	if (read(fds[0], &seconds, sizeof(seconds)) != (ssize_t)sizeof(seconds))
		bench_fail("a workload failed");
	close(fds[0]);
	waitpid(child, NULL, 0);
	return seconds;
}

static void counted(void (*workload)(void))
{
	uint64_t calls, doorbells;

	fflush(NULL);
	if (!bench_count(workload, &calls, &doorbells)) {
		printf("  system calls were not counted: no tracing here\n");
		return;
	}
	/* Under KVM the guest's doorbell is no system call of the VMM. */
	printf("  %.3f system calls per request, %.3f without the driver's doorbells\n",
	       (double)calls / (double)job.requests,
	       (double)(calls - doorbells) / (double)job.requests);
}

static void measure_serial(bool to_host, bool over_socket, uint32_t request)
{
	double seconds;

	job.request = request;
	job.to_host = to_host;
	job.socket = over_socket;
	job.requests = (over_socket ? UINT64_C(1) : UINT64_C(4)) * GIB / request;
	snprintf(path, sizeof(path), "/tmp/vmm-bench-%d", (int)getpid());
	seconds = timed(serial);
	printf("serial %s %s, %u-byte buffers, depth %u: %.0f MiB/s\n",
	       to_host ? "guest to host" : "host to guest",
	       over_socket ? "through a socket" : "in memory", request, DEPTH,
	       (double)(job.requests * request) / MIB / seconds);
	if (over_socket)
		return; /* the other end's would be counted with it */
	job.requests = 20000;
	counted(serial);
}

static void measure_disk(bool write_it, bool direct)
{
	double seconds;

	job.request = 4096;
	job.write = write_it;
	job.direct = direct;
	job.requests = direct ? 100000 : 400000;
	seconds = timed(disk);
	printf("virtio-blk on io_uring, %s of %u bytes, cache=%s, depth %u: %.0f requests/s\n",
	       write_it ? "writes" : "reads", job.request, direct ? "none" : "writeback", DEPTH,
	       (double)job.requests / seconds);
	job.requests = 20000;
	counted(disk);
}

static void measure_memory(void)
{
	/* Linux sends up to 32 KiB in one buffer, and receives into pages. */
	measure_serial(true, false, 4096);
	measure_serial(true, false, 32768);
	measure_serial(false, false, 4096);
}

static void measure_sockets(void)
{
	measure_serial(true, true, 32768);
	measure_serial(false, true, 4096);
}

static void measure_slower_disks(void)
{
	measure_disk(true, false);
	measure_disk(false, true);
	measure_disk(true, true);
}

static void measure_disks(bool reads_only)
{
	const char *folder = getenv("VMM_BENCH_FOLDER");

	/* Not /tmp, which may be in memory, where cache=none is refused. */
	snprintf(path, sizeof(path), "%s/vmm-bench-XXXXXX", folder ? folder : "/var/tmp");
	make_disk();
	measure_disk(false, false);
	if (!reads_only)
		measure_slower_disks();
	unlink(path);
}

/*
 * "inproc memory": what needs neither sockets nor a disk; "inproc reads": the disk where the host
 * costs least.
 */
int main(int argc, char **argv)
{
	const char *only = argc == 2 ? argv[1] : NULL;

	if (!only || strcmp(only, "memory") == 0)
		measure_memory();
	if (!only)
		measure_sockets();
	if (!only || strcmp(only, "reads") == 0)
		measure_disks(only);
	return 0;
}
