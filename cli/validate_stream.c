/* SPDX-License-Identifier: MIT */
/*
 * The outer end of a socket: sends a stream of pseudo-random bytes and receives another at the same
 * time, with a SHA-256 of each. One thread for each stream, so that any number run at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "validate.h"

#define CHUNK 65536u

struct validate_stream {
	struct validate_stream *next;
	const char *name;
	int fd;
	bool listens, paused;
	uint64_t to_send, to_receive; /* bytes that are left */
	uint64_t random;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	int error; /* errno, once done */
	uint64_t sent, received;
	unsigned ms;
	char sent_sum[SHA256_TEXT], received_sum[SHA256_TEXT];
};

/* ---- the thread ---- */

/* xorshift64*: fast, and no two places of the stream look alike. */
static void fill(struct validate_stream *s, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v;

		s->random ^= s->random >> 12;
		s->random ^= s->random << 25;
		s->random ^= s->random >> 27;
		v = s->random * UINT64_C(0x2545f4914f6cdd1d);
		memcpy(data + i, &v, 8);
	}
}

struct transfer {
	struct validate_stream *s;
	struct sha256 out, in;
	uint8_t out_data[CHUNK], in_data[CHUNK];
	size_t out_start, out_len;
};

static void count(struct validate_stream *s, uint64_t *counter, size_t n)
{
	pthread_mutex_lock(&s->lock);
	*counter += n;
	pthread_mutex_unlock(&s->lock);
}

static int send_some(struct transfer *t)
{
	struct validate_stream *s = t->s;
	ssize_t n;

	if (t->out_start == t->out_len) {
		t->out_start = 0;
		t->out_len = s->to_send < CHUNK ? (size_t)s->to_send : CHUNK;
		fill(s, t->out_data, CHUNK);
	}
	n = send(s->fd, t->out_data + t->out_start, t->out_len - t->out_start,
		 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : errno;
	sha256_add(&t->out, t->out_data + t->out_start, (size_t)n);
	t->out_start += (size_t)n;
	s->to_send -= (uint64_t)n;
	count(s, &s->sent, (size_t)n);
	return 0;
}

static int receive_some(struct transfer *t)
{
	struct validate_stream *s = t->s;
	size_t want = s->to_receive < CHUNK ? (size_t)s->to_receive : CHUNK;
	ssize_t n = recv(s->fd, t->in_data, want, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : errno;
	if (n == 0)
		return ECONNRESET;
	sha256_add(&t->in, t->in_data, (size_t)n);
	s->to_receive -= (uint64_t)n;
	count(s, &s->received, (size_t)n);
	return 0;
}

static int transfer(struct transfer *t)
{
	struct validate_stream *s = t->s;
	int error = 0;

	while (!error && (s->to_send || s->to_receive)) {
		struct pollfd p = {.fd = s->fd,
				   .events = (short)((s->to_send ? POLLOUT : 0) |
						     (s->to_receive ? POLLIN : 0))};

		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return errno;
		if (s->to_receive && p.revents & (POLLIN | POLLHUP | POLLERR))
			error = receive_some(t);
		if (!error && s->to_send && p.revents & (POLLOUT | POLLHUP | POLLERR))
			error = send_some(t);
	}
	return error;
}

static int accept_one(struct validate_stream *s)
{
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return errno;
	close(s->fd);
	s->fd = fd;
	return 0;
}

static void *run(void *arg)
{
	struct validate_stream *s = arg;
	struct transfer *t = calloc(1, sizeof(*t));
	struct timespec start, end;
	int error = t ? 0 : ENOMEM;

	if (!error && s->listens)
		error = accept_one(s);
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (!error) {
		t->s = s;
		sha256_init(&t->out);
		sha256_init(&t->in);
		error = transfer(t);
		sha256_end(&t->out, s->sent_sum);
		sha256_end(&t->in, s->received_sum);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	free(t);
	close(s->fd);
	pthread_mutex_lock(&s->lock);
	s->ms = (unsigned)((end.tv_sec - start.tv_sec) * 1000 +
			   (end.tv_nsec - start.tv_nsec) / 1000000);
	s->error = error;
	s->done = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- what the guest asks for ---- */

static int open_unix(const char *path, bool listens)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (strlen(path) >= sizeof(address.sun_path)) {
		close(fd);
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (listens)
		rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1);
	else
		rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (rc == 0)
		return fd;
	close(fd);
	return -1;
}

/* To or on this machine; on all of its interfaces only where no one else can reach them. */
static int open_tcp(const char *port, bool listens, bool everywhere, unsigned *taken)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
		.sin_addr.s_addr = htonl(everywhere && listens ? INADDR_ANY : INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (listens)
		rc = bind(fd, (struct sockaddr *)&address, len) || listen(fd, 1) ||
		     getsockname(fd, (struct sockaddr *)&address, &len);
	else
		rc = connect(fd, (struct sockaddr *)&address, len);
	*taken = ntohs(address.sin_port);
	if (rc == 0)
		return fd;
	close(fd);
	return -1;
}

static struct validate_stream *find(struct validate_vm *vm, const char *name)
{
	for (struct validate_stream *s = vm->streams; s; s = s->next) {
		if (strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

const char *validate_stream_start(struct validate_vm *vm, int argc, char **argv)
{
	struct validate_stream *s = allocate(sizeof(*s));
	const char *address;
	pthread_condattr_t attributes;
	unsigned port = 0;

	if (argc != 5 && argc != 6)
		return "error stream NAME ADDRESS SEND RECEIVE";
	address = validate_expand(vm->run, argv[2]);
	s->listens = strncmp(address, "listen:", 7) == 0;
	if (strncmp(address, "unix:", 5) == 0 || strncmp(address, "listen:/", 8) == 0)
		s->fd = open_unix(strchr(address, ':') + 1, s->listens);
	else
		s->fd = open_tcp(strchrnul(address, ':') + 1, s->listens, vm->own_network, &port);
	if (s->fd < 0)
		return format("error %s: %s", address, strerror(errno));
	s->name = duplicate(argv[1]);
	s->paused = argc == 6;
	if (vmm_parse_size(argv[3], &s->to_send) || vmm_parse_size(argv[4], &s->to_receive))
		return "error sizes";
	for (const char *c = s->name; *c; c++)
		s->random = s->random * 31 + (unsigned char)*c;
	s->random |= UINT64_C(1) << 32;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attributes);
	if (!s->paused && pthread_create(&s->thread, NULL, run, s) != 0)
		return "error no thread";
	if (!s->paused)
		pthread_detach(s->thread);
	s->next = vm->streams;
	vm->streams = s;
	return format("ok %u", port);
}

const char *validate_stream_wait(struct validate_vm *vm, const char *name)
{
	struct validate_stream *s = find(vm, name);
	const char *answer;

	if (!s)
		return "error no such stream";
	pthread_mutex_lock(&s->lock);
	while (!s->done &&
	       pthread_cond_timedwait(&s->changed, &s->lock, &vm->deadline) != ETIMEDOUT)
		;
	if (!s->done)
		answer = format("error in time: %llu bytes sent, %llu received",
				(unsigned long long)s->sent, (unsigned long long)s->received);
	else if (s->error)
		answer = format("error %s after %llu bytes sent, %llu received", strerror(s->error),
				(unsigned long long)s->sent, (unsigned long long)s->received);
	else
		answer = format("ok %s %s %u", s->sent_sum, s->received_sum, s->ms);
	pthread_mutex_unlock(&s->lock);
	return answer;
}

const char *validate_stream_stat(struct validate_vm *vm, const char *name)
{
	struct validate_stream *s = find(vm, name);
	const char *answer;

	if (!s)
		return "error no such stream";
	pthread_mutex_lock(&s->lock);
	answer = format("ok %llu %llu", (unsigned long long)s->sent,
			(unsigned long long)s->received);
	pthread_mutex_unlock(&s->lock);
	return answer;
}
