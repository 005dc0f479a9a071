/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/state.h"

struct blob {
	void *data;
	size_t len;
};

static struct blob sample(void)
{
	struct state_writer *w = state_writer_create();
	struct blob b;

	state_begin(w, "machine", 3);
	state_put_u64(w, "ticks", 0x1122334455667788);
	state_begin(w, "disk0", 1);
	state_put_bytes(w, "mac", "\1\2\3", 3);
	state_put_bytes(w, "empty", NULL, 0);
	state_end(w);
	state_put_u64(w, "last", 7);
	state_end(w);
	cr_assert_eq(state_writer_finish(w, &b.data, &b.len), 0);
	return b;
}

/* Read the sample; the first error. */
static int read_sample(const void *data, size_t len)
{
	struct state_reader *r;
	uint32_t version;
	char mac[3], rest[8];
	size_t n;
	uint64_t v;
	int code = state_reader_create(&r, data, len);

	if (!code)
		code = state_enter(r, "machine", 3, &version);
	if (!code)
		code = state_get_u64(r, "ticks", &v, 0, UINT64_MAX);
	if (!code)
		code = state_enter(r, "disk0", 1, &version);
	if (!code)
		code = state_get_bytes(r, "mac", mac, sizeof(mac));
	if (!code)
		code = state_get_blob(r, "empty", rest, sizeof(rest), &n);
	if (!code)
		code = state_leave(r);
	if (!code)
		code = state_get_u64(r, "last", &v, 0, 10);
	if (!code)
		code = state_leave(r);
	if (!code && !state_at_end(r))
		code = -EPROTO;
	state_reader_destroy(r);
	return code;
}

static struct state_reader *reader(struct blob b)
{
	struct state_reader *r;

	cr_assert_eq(state_reader_create(&r, b.data, b.len), 0);
	return r;
}

Test(state, what_is_written_is_read_back)
{
	struct blob b = sample();

	cr_assert_eq(read_sample(b.data, b.len), 0);
	free(b.data);
}

Test(state, the_byte_layout_is_what_the_header_says)
{
	static const uint8_t want[] = {'S', 2, 'a', 'b', 5,   0, 0, 0, 11, 0, 0, 0, 0, 0,
				       0,   0, 'U', 1,   'x', 8, 7, 6, 5,  4, 3, 2, 1};
	struct state_writer *w = state_writer_create();
	struct blob b;

	state_begin(w, "ab", 5);
	state_put_u64(w, "x", 0x0102030405060708);
	state_end(w);
	cr_assert_eq(state_writer_finish(w, &b.data, &b.len), 0);
	cr_assert_eq(b.len, sizeof(want));
	cr_assert_eq(memcmp(b.data, want, sizeof(want)), 0);
	free(b.data);
}

Test(state, equal_fields_give_equal_bytes)
{
	struct blob a = sample(), b = sample();

	cr_assert_eq(a.len, b.len);
	cr_assert_eq(memcmp(a.data, b.data, a.len), 0);
	free(a.data);
	free(b.data);
}

Test(state, every_truncation_is_an_error)
{
	struct blob b = sample();

	for (size_t len = 0; len < b.len; len++) {
		/* A copy of exactly this size, so that the sanitizer sees a read past it. */
		void *part = malloc(len ? len : 1);

		memcpy(part, b.data, len);
		cr_assert_lt(read_sample(part, len), 0, "%zu of %zu bytes were taken", len, b.len);
		free(part);
	}
	free(b.data);
}

Test(state, no_changed_byte_harms_the_reader)
{
	struct blob b = sample();
	uint8_t *bytes = b.data;

	for (size_t i = 0; i < b.len; i++) {
		for (unsigned flip = 1; flip < 256; flip++) {
			bytes[i] ^= (uint8_t)flip;
			(void)!read_sample(bytes, b.len);
			bytes[i] ^= (uint8_t)flip;
		}
	}
	free(b.data);
}

Test(state, trailing_bytes_are_seen)
{
	struct blob b = sample();
	uint8_t *longer = malloc(b.len + 1);

	memcpy(longer, b.data, b.len);
	longer[b.len] = 'U';
	cr_assert_eq(read_sample(longer, b.len + 1), -EPROTO);
	free(longer);
	free(b.data);
}

Test(state, newer_and_zero_versions_are_refused)
{
	struct blob b = sample();
	struct state_reader *r = reader(b);
	uint32_t version = 77;

	cr_assert_eq(state_enter(r, "machine", 2, &version), -ENOTSUP);
	cr_assert_eq(version, 77);
	cr_assert_eq(state_enter(r, "machine", 4, &version), 0);
	cr_assert_eq(version, 3);
	state_reader_destroy(r);
	((uint8_t *)b.data)[2 + strlen("machine")] = 0;
	cr_assert_eq(read_sample(b.data, b.len), -ENOTSUP);
	free(b.data);
}

Test(state, a_wrong_name_or_type_leaves_the_reader_where_it_was)
{
	struct blob b = sample();
	struct state_reader *r = reader(b);
	uint32_t version;
	uint64_t v = 42;
	char buf[8] = "before";

	cr_assert_eq(state_enter(r, "machin", 3, &version), -EPROTO);
	cr_assert_eq(state_enter(r, "machines", 3, &version), -EPROTO);
	cr_assert_eq(state_enter(r, "machine", 3, &version), 0);
	cr_assert_eq(state_get_u64(r, "tocks", &v, 0, UINT64_MAX), -EPROTO);
	cr_assert_eq(state_get_bytes(r, "ticks", buf, 8), -EPROTO);
	cr_assert_eq(state_enter(r, "ticks", 1, &version), -EPROTO);
	cr_assert_eq(v, 42);
	cr_assert_str_eq(buf, "before");
	cr_assert_eq(state_get_u64(r, "ticks", &v, 0, UINT64_MAX), 0);
	cr_assert_eq(v, 0x1122334455667788);
	state_reader_destroy(r);
	free(b.data);
}

Test(state, numbers_out_of_range_are_refused)
{
	struct blob b = sample();
	struct state_reader *r = reader(b);
	uint32_t version;
	uint64_t v = 42;

	cr_assert_eq(state_enter(r, "machine", 3, &version), 0);
	cr_assert_eq(state_get_u64(r, "ticks", &v, 0, 0x1122334455667787), -ERANGE);
	cr_assert_eq(state_get_u64(r, "ticks", &v, 0x1122334455667789, UINT64_MAX), -ERANGE);
	cr_assert_eq(v, 42);
	cr_assert_eq(state_get_u64(r, "ticks", &v, 0x1122334455667788, 0x1122334455667788), 0);
	state_reader_destroy(r);
	free(b.data);
}

Test(state, bytes_of_another_length_are_refused)
{
	struct blob b = sample();
	struct state_reader *r = reader(b);
	char buf[8] = "before";
	uint32_t version;
	uint64_t v;
	size_t n = 99;

	cr_assert_eq(state_enter(r, "machine", 3, &version), 0);
	cr_assert_eq(state_get_u64(r, "ticks", &v, 0, UINT64_MAX), 0);
	cr_assert_eq(state_enter(r, "disk0", 1, &version), 0);
	cr_assert_eq(state_get_bytes(r, "mac", buf, 2), -ERANGE);
	cr_assert_eq(state_get_bytes(r, "mac", buf, 4), -ERANGE);
	cr_assert_eq(state_get_blob(r, "mac", buf, 2, &n), -ERANGE);
	cr_assert_eq(n, 99);
	cr_assert_str_eq(buf, "before");
	cr_assert_eq(state_get_blob(r, "mac", buf, 8, &n), 0);
	cr_assert_eq(n, 3);
	state_reader_destroy(r);
	free(b.data);
}

Test(state, a_section_with_unread_fields_cannot_be_left)
{
	struct blob b = sample();
	struct state_reader *r = reader(b);
	uint32_t version;

	cr_assert_eq(state_leave(r), -EPROTO);
	cr_assert_eq(state_enter(r, "machine", 3, &version), 0);
	cr_assert_eq(state_leave(r), -EPROTO);
	state_reader_destroy(r);
	free(b.data);
}

Test(state, a_field_cannot_reach_past_its_section)
{
	/* Section "s" of 3 bytes, then a field whose head lies inside and whose value outside. */
	static const uint8_t bytes[] = {'S', 1, 's', 1, 0,   0, 0, 3, 0, 0, 0, 0, 0,
					0,   0, 'U', 1, 'x', 1, 0, 0, 0, 0, 0, 0, 0};
	struct blob b = {(void *)(uintptr_t)bytes, sizeof(bytes)};
	struct state_reader *r = reader(b);
	uint32_t version;
	uint64_t v;

	cr_assert_eq(state_enter(r, "s", 1, &version), 0);
	cr_assert_eq(state_get_u64(r, "x", &v, 0, UINT64_MAX), -EPROTO);
	state_reader_destroy(r);
}

Test(state, huge_lengths_do_not_wrap)
{
	static const uint8_t section[] = {'S', 1,   's', 1,   0,   0,   0,  255,
					  255, 255, 255, 255, 255, 255, 255};
	static const uint8_t bytes[] = {'B', 1, 'b', 255, 255, 255, 255, 255, 255, 255, 255, 1};
	struct state_reader *r = reader((struct blob){(void *)(uintptr_t)section, sizeof(section)});
	uint32_t version;
	size_t n;
	char c;

	cr_assert_eq(state_enter(r, "s", 1, &version), -EPROTO);
	state_reader_destroy(r);
	r = reader((struct blob){(void *)(uintptr_t)bytes, sizeof(bytes)});
	cr_assert_eq(state_get_blob(r, "b", &c, SIZE_MAX, &n), -EPROTO);
	state_reader_destroy(r);
}

Test(state, depth_is_bounded)
{
	uint8_t bytes[64 * 15];
	size_t at = sizeof(bytes);
	struct state_reader *r;
	uint32_t version;
	unsigned depth = 0;

	for (uint64_t inner = 0; at >= 15; inner += 15) {
		at -= 15;
		memcpy(bytes + at, (const uint8_t[]){'S', 1, 's', 1, 0, 0, 0}, 7);
		memcpy(bytes + at + 7, &inner, 8);
	}
	r = reader((struct blob){bytes, sizeof(bytes)});
	while (!state_enter(r, "s", 1, &version))
		depth++;
	cr_assert_eq(depth, 16);
	state_reader_destroy(r);
}

Test(state, next_is_and_at_end_guide_a_reader_with_defaults)
{
	struct blob b = sample();
	struct state_reader *r = reader(b);
	uint32_t version;

	cr_assert(state_next_is(r, "machine"));
	cr_assert_not(state_next_is(r, "machine2"));
	cr_assert_not(state_next_is(r, "m"));
	cr_assert_not(state_at_end(r));
	cr_assert_eq(state_enter(r, "machine", 3, &version), 0);
	cr_assert(state_next_is(r, "ticks"));
	state_reader_destroy(r);
	free(b.data);

	r = reader((struct blob){NULL, 0});
	cr_assert(state_at_end(r));
	cr_assert_not(state_next_is(r, "x"));
	cr_assert_eq(state_enter(r, "x", 1, &version), -EPROTO);
	state_reader_destroy(r);
}

Test(state, large_fields_grow_the_writer)
{
	struct state_writer *w = state_writer_create();
	size_t len = 5 << 20, n;
	char *big = malloc(len), *back = malloc(len);
	struct state_reader *r;
	struct blob b;

	memset(big, 'z', len);
	for (int i = 0; i < 1000; i++)
		state_put_u64(w, "n", (uint64_t)i);
	state_put_bytes(w, "big", big, len);
	cr_assert_eq(state_writer_finish(w, &b.data, &b.len), 0);
	r = reader(b);
	for (uint64_t i = 0, v; i < 1000; i++)
		cr_assert_eq(state_get_u64(r, "n", &v, i, i), 0);
	cr_assert_eq(state_get_blob(r, "big", back, len, &n), 0);
	cr_assert_eq(memcmp(big, back, len), 0);
	cr_assert(state_at_end(r));
	state_reader_destroy(r);
	free(b.data);
	free(back);
	free(big);
}

Test(state, a_writer_that_could_not_be_made_reports_it_at_the_end)
{
	struct blob b;

	state_begin(NULL, "x", 1);
	state_put_u64(NULL, "x", 1);
	state_put_bytes(NULL, "x", "", 0);
	state_end(NULL);
	cr_assert_eq(state_writer_finish(NULL, &b.data, &b.len), -ENOMEM);
	state_writer_destroy(NULL);
}

Test(state, an_empty_stream_is_valid)
{
	struct blob b;

	cr_assert_eq(state_writer_finish(state_writer_create(), &b.data, &b.len), 0);
	cr_assert_eq(b.len, 0);
	free(b.data);
}
