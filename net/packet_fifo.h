/* SPDX-License-Identifier: MIT */
/*
 * A bounded queue of packets in one piece of memory, in order, of any sizes. For backends that
 * cannot be told to hold a packet back.
 */
#ifndef NET_PACKET_FIFO_H
#define NET_PACKET_FIFO_H

#include <sys/uio.h>

#include "core/types.h"

struct packet_fifo {
	uint8_t *data;
	size_t size;
	size_t head, tail; /* the oldest record; where the next begins */
	size_t wrap;       /* where the records before the wrap end; size: none */
	unsigned count;
};

/* size: bytes for all packets, each with a little overhead. Returns 0 or -ENOMEM. */
int packet_fifo_init(struct packet_fifo *fifo, size_t size) MUST_CHECK;
/* All zero is allowed. */
void packet_fifo_fini(struct packet_fifo *fifo);

/* Copy a packet to the end. False: there is no room. */
bool packet_fifo_push(struct packet_fifo *fifo, const void *data, size_t len) MUST_CHECK;

/* The oldest packet, which stays where it is until packet_fifo_pop. False: there is none. */
bool packet_fifo_peek(const struct packet_fifo *fifo, struct iovec *packet);
void packet_fifo_pop(struct packet_fifo *fifo);

static inline bool packet_fifo_empty(const struct packet_fifo *fifo)
{
	return fifo->count == 0;
}

#endif
