/* SPDX-License-Identifier: MIT */
#include "net/net_pcap.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCAP_MAGIC    0xa1b2c3d4u
#define PCAP_ETHERNET 1u
#define PCAP_SNAPLEN  65550u
#define BUFFER_SIZE   (256 * KIB)

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, snaplen, link;
};
_Static_assert(sizeof(struct file_header) == 24, "the format's");

struct record_header {
	uint32_t seconds, microseconds;
	uint32_t kept, original;
};
_Static_assert(sizeof(struct record_header) == 16, "the format's");

struct net_pcap {
	int fd; /* -1: ended by an error */
	char *path;
	char what[48];
	struct loop *loop;
	const struct log *log;
	struct loop_hook flush;
	uint64_t packets;
	size_t used;
	uint8_t buffer[BUFFER_SIZE];
};

/* A pipe whose reader is slow would stall the guest; losing the capture is better. */
static void write_out(struct net_pcap *pcap)
{
	size_t done = 0;
	ssize_t n;

	while (pcap->fd >= 0 && done < pcap->used) {
		n = write(pcap->fd, pcap->buffer + done, pcap->used - done);
		if (n > 0) {
			done += (size_t)n;
		} else if (n == 0 || errno != EINTR) {
			log_warn(pcap->log, pcap->what, "pcap=%s: the capture ends here: %s",
				 pcap->path, n ? strerror(errno) : "nothing was written");
			close(pcap->fd);
			pcap->fd = -1;
		}
	}
	pcap->used = 0;
}

static void flush(struct loop_hook *hook)
{
	write_out(container_of(hook, struct net_pcap, flush));
}

static void append(struct net_pcap *pcap, const void *data, size_t len)
{
	memcpy(pcap->buffer + pcap->used, data, len);
	pcap->used += len;
}

void net_pcap_add(struct net_pcap *pcap, const struct iovec *iov, unsigned count)
{
	struct record_header record;
	int64_t now;
	size_t len = 0, kept;

	if (!pcap || pcap->fd < 0)
		return;
	for (unsigned i = 0; i < count; i++)
		len += iov[i].iov_len;
	kept = MIN(len, (size_t)PCAP_SNAPLEN);
	if (pcap->used + sizeof(record) + kept > BUFFER_SIZE)
		write_out(pcap);
	now = loop_clock(pcap->loop)->realtime_ns(loop_clock(pcap->loop));
	record = (struct record_header){
		.seconds = htole32((uint32_t)(now / (int64_t)NS_PER_SEC)),
		.microseconds = htole32((uint32_t)(now % (int64_t)NS_PER_SEC / 1000)),
		.kept = htole32((uint32_t)kept),
		.original = htole32((uint32_t)len),
	};
	append(pcap, &record, sizeof(record));
	for (unsigned i = 0; kept; i++) {
		const size_t part = MIN(kept, iov[i].iov_len);

		append(pcap, iov[i].iov_base, part);
		kept -= part;
	}
	pcap->packets++;
	loop_hook_schedule(pcap->loop, &pcap->flush);
}

uint64_t net_pcap_packets(const struct net_pcap *pcap)
{
	return pcap->packets;
}

int net_pcap_open(struct net_pcap **out, const char *path, const char *what, struct loop *loop,
		  const struct log *log, struct vmm_error *err)
{
	const struct file_header header = {
		.magic = htole32(PCAP_MAGIC),
		.major = htole16(2),
		.minor = htole16(4),
		.snaplen = htole32(PCAP_SNAPLEN),
		.link = htole32(PCAP_ETHERNET),
	};
	struct net_pcap *pcap = calloc(1, sizeof(*pcap));

	if (!pcap)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	/* Not a pipe without a reader: opening it would wait. */
	pcap->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
	pcap->path = strdup(path);
	if (pcap->fd < 0 || !pcap->path) {
		const int r = error_set_errno(err, errno, "%s: cannot create pcap=%s", what, path);

		if (pcap->fd >= 0)
			close(pcap->fd);
		free(pcap->path);
		free(pcap);
		return r;
	}
	snprintf(pcap->what, sizeof(pcap->what), "%s", what);
	pcap->loop = loop;
	pcap->log = log;
	loop_hook_init(&pcap->flush, flush);
	append(pcap, &header, sizeof(header));
	write_out(pcap);
	*out = pcap;
	return 0;
}

void net_pcap_close(struct net_pcap *pcap)
{
	if (!pcap)
		return;
	loop_hook_cancel(pcap->loop, &pcap->flush);
	write_out(pcap);
	if (pcap->fd >= 0)
		close(pcap->fd);
	free(pcap->path);
	free(pcap);
}
