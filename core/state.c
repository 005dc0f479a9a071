/* SPDX-License-Identifier: MIT */
#include "core/state.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 63
#define DEPTH_MAX      16

/* The first byte of everything. */
enum kind { KIND_SECTION = 'S', KIND_U64 = 'U', KIND_BYTES = 'B' };

/* ---- writer ---- */

struct state_writer {
	uint8_t *data;
	size_t len, room;
	bool failed; /* out of memory */
	unsigned depth;
	size_t section[DEPTH_MAX]; /* where the length of each open section stands */
};

struct state_writer *state_writer_create(void)
{
	return calloc(1, sizeof(struct state_writer));
}

void state_writer_destroy(struct state_writer *w)
{
	if (!w)
		return;
	free(w->data);
	free(w);
}

int state_writer_finish(struct state_writer *w, void **data, size_t *len)
{
	bool failed = !w || w->failed;

	if (!failed) {
		assert(w->depth == 0);
		*data = w->data;
		*len = w->len;
		w->data = NULL;
		/* Nothing was written: still something that the caller can free and pass on. */
		if (!*data && !(*data = malloc(1)))
			failed = true;
	}
	state_writer_destroy(w);
	return failed ? -ENOMEM : 0;
}

static void append(struct state_writer *w, const void *data, size_t len)
{
	if (w->failed)
		return;
	if (len > w->room - w->len) {
		size_t room = MAX(2 * w->room, w->len + len + 256);
		uint8_t *bigger = len < SIZE_MAX / 4 ? realloc(w->data, room) : NULL;

		if (!bigger) {
			w->failed = true;
			return;
		}
		w->data = bigger;
		w->room = room;
	}
	if (len)
		memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void append_u64(struct state_writer *w, uint64_t v)
{
	v = htole64(v);
	append(w, &v, sizeof(v));
}

static void append_head(struct state_writer *w, enum kind kind, const char *name)
{
	size_t len = strlen(name);
	uint8_t head[2] = {(uint8_t)kind, (uint8_t)len};

	assert(len > 0 && len <= NAME_MAX_BYTES);
	append(w, head, sizeof(head));
	append(w, name, len);
}

void state_begin(struct state_writer *w, const char *name, uint32_t version)
{
	uint32_t v = htole32(version);

	if (!w)
		return;
	assert(version > 0 && w->depth < DEPTH_MAX);
	append_head(w, KIND_SECTION, name);
	append(w, &v, sizeof(v));
	w->section[w->depth++] = w->len;
	append_u64(w, 0);
}

void state_end(struct state_writer *w)
{
	uint64_t len;
	size_t at;

	if (!w)
		return;
	assert(w->depth > 0);
	at = w->section[--w->depth];
	if (w->failed)
		return;
	len = htole64(w->len - at - sizeof(len));
	memcpy(w->data + at, &len, sizeof(len));
}

void state_put_u64(struct state_writer *w, const char *name, uint64_t v)
{
	if (!w)
		return;
	append_head(w, KIND_U64, name);
	append_u64(w, v);
}

void state_put_bytes(struct state_writer *w, const char *name, const void *data, size_t len)
{
	if (!w)
		return;
	append_head(w, KIND_BYTES, name);
	append_u64(w, len);
	append(w, data, len);
}

/* ---- reader: the input may be anything ---- */

struct state_reader {
	const uint8_t *data;
	size_t pos;
	unsigned depth;
	size_t end[DEPTH_MAX + 1]; /* of each section that was entered; [0]: of the input */
};

int state_reader_create(struct state_reader **r, const void *data, size_t len)
{
	*r = calloc(1, sizeof(**r));
	if (!*r)
		return -ENOMEM;
	(*r)->data = data;
	(*r)->end[0] = len;
	return 0;
}

void state_reader_destroy(struct state_reader *r)
{
	free(r);
}

/*
 * Parsing goes through a cursor, which is written back when all was well: a call that fails leaves
 * the reader where it was.
 */
struct cursor {
	const uint8_t *p;
	size_t left;
};

static struct cursor cursor_at(const struct state_reader *r)
{
	return (struct cursor){r->data + r->pos, r->end[r->depth] - r->pos};
}

static void commit(struct state_reader *r, struct cursor c)
{
	r->pos = r->end[r->depth] - c.left;
}

static int take(struct cursor *c, void *to, size_t len)
{
	if (len > c->left)
		return -EPROTO;
	if (len)
		memcpy(to, c->p, len);
	c->p += len;
	c->left -= len;
	return 0;
}

static int take_u64(struct cursor *c, uint64_t *v)
{
	int r = take(c, v, sizeof(*v));

	*v = r ? 0 : le64toh(*v);
	return r;
}

static int take_head(struct cursor *c, enum kind kind, const char *name)
{
	char found[NAME_MAX_BYTES];
	uint8_t head[2];

	if (take(c, head, sizeof(head)) || head[0] != kind || head[1] != strlen(name) ||
	    head[1] > NAME_MAX_BYTES || take(c, found, head[1]) || memcmp(found, name, head[1]))
		return -EPROTO;
	return 0;
}

int state_enter(struct state_reader *r, const char *name, uint32_t max, uint32_t *version)
{
	struct cursor c = cursor_at(r);
	uint32_t v;
	uint64_t len;

	if (take_head(&c, KIND_SECTION, name) || take(&c, &v, sizeof(v)) || take_u64(&c, &len) ||
	    len > c.left || r->depth == DEPTH_MAX)
		return -EPROTO;
	v = le32toh(v);
	if (v == 0 || v > max)
		return -ENOTSUP;
	commit(r, c);
	r->end[++r->depth] = r->pos + (size_t)len;
	*version = v;
	return 0;
}

int state_leave(struct state_reader *r)
{
	if (r->depth == 0 || r->pos != r->end[r->depth])
		return -EPROTO;
	r->depth--;
	return 0;
}

bool state_next_is(const struct state_reader *r, const char *name)
{
	struct cursor c = cursor_at(r);
	size_t len = strlen(name);

	return c.left >= 2 + len && c.p[1] == len && !memcmp(c.p + 2, name, len);
}

bool state_at_end(const struct state_reader *r)
{
	return r->pos == r->end[r->depth];
}

int state_get_u64(struct state_reader *r, const char *name, uint64_t *v, uint64_t min, uint64_t max)
{
	struct cursor c = cursor_at(r);
	uint64_t value;

	if (take_head(&c, KIND_U64, name) || take_u64(&c, &value))
		return -EPROTO;
	if (value < min || value > max)
		return -ERANGE;
	commit(r, c);
	*v = value;
	return 0;
}

int state_get_blob(struct state_reader *r, const char *name, void *data, size_t max, size_t *len)
{
	struct cursor c = cursor_at(r);
	uint64_t n;

	if (take_head(&c, KIND_BYTES, name) || take_u64(&c, &n) || n > c.left)
		return -EPROTO;
	if (n > max)
		return -ERANGE;
	if (take(&c, data, (size_t)n))
		return -EPROTO;
	commit(r, c);
	*len = (size_t)n;
	return 0;
}

int state_get_bytes(struct state_reader *r, const char *name, void *data, size_t len)
{
	struct cursor c = cursor_at(r);
	uint64_t n;

	/* The length is checked first: `data` stays as it is unless all of it is replaced. */
	if (take_head(&c, KIND_BYTES, name) || take_u64(&c, &n) || n > c.left)
		return -EPROTO;
	if (n != len)
		return -ERANGE;
	if (take(&c, data, len))
		return -EPROTO;
	commit(r, c);
	return 0;
}
