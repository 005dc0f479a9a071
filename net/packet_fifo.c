/* SPDX-License-Identifier: MIT */
#include "net/packet_fifo.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A record: its length as a size_t, then the bytes; records are aligned for the length. */

static size_t record_size(size_t len)
{
	return sizeof(size_t) + align_up(len, sizeof(size_t));
}

int packet_fifo_init(struct packet_fifo *fifo, size_t size)
{
	*fifo = (struct packet_fifo){.size = align_down(size, sizeof(size_t))};
	fifo->wrap = fifo->size;
	fifo->data = malloc(fifo->size);
	return fifo->data ? 0 : -ENOMEM;
}

void packet_fifo_fini(struct packet_fifo *fifo)
{
	free(fifo->data);
	*fifo = (struct packet_fifo){0};
}

/* Where a record of `need` bytes can go; SIZE_MAX: nowhere. Records are never split. */
static size_t find_room(struct packet_fifo *fifo, size_t need)
{
	if (!fifo->count) {
		fifo->head = fifo->tail = 0;
		fifo->wrap = fifo->size;
	}
	/* Wrapped already, or full: between tail and head. */
	if (fifo->count && fifo->tail <= fifo->head)
		return need <= fifo->head - fifo->tail ? fifo->tail : SIZE_MAX;
	if (need <= fifo->size - fifo->tail)
		return fifo->tail;
	if (need > fifo->head)
		return SIZE_MAX;
	fifo->wrap = fifo->tail;
	return 0;
}

bool packet_fifo_push(struct packet_fifo *fifo, const void *data, size_t len)
{
	size_t at;

	if (len > fifo->size)
		return false;
	at = find_room(fifo, record_size(len));
	if (at == SIZE_MAX)
		return false;
	memcpy(fifo->data + at, &len, sizeof(len));
	if (len)
		memcpy(fifo->data + at + sizeof(len), data, len);
	fifo->tail = at + record_size(len);
	fifo->count++;
	return true;
}

bool packet_fifo_peek(const struct packet_fifo *fifo, struct iovec *packet)
{
	if (!fifo->count)
		return false;
	memcpy(&packet->iov_len, fifo->data + fifo->head, sizeof(size_t));
	packet->iov_base = fifo->data + fifo->head + sizeof(size_t);
	return true;
}

void packet_fifo_pop(struct packet_fifo *fifo)
{
	struct iovec packet;
	const bool any = packet_fifo_peek(fifo, &packet);

	assert(any);
	if (!any)
		return;
	fifo->head += record_size(packet.iov_len);
	fifo->count--;
	if (fifo->head == fifo->wrap) {
		fifo->head = 0;
		fifo->wrap = fifo->size;
	}
}
