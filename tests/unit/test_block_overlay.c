/* SPDX-License-Identifier: MIT */
/* snapshot=on, its map, and disks that fill up. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/overlay_map.h"
#include "support/block_fixture.h"

static const int engines[] = {BLOCK_ENGINE_IO_URING, BLOCK_ENGINE_THREADS};

/* --- the map --- */

Test(overlay_map, runs_agree_with_a_plain_array)
{
	enum { SECTORS = 4096 * 5 + 77, ROUNDS = 300 };
	struct overlay_map map;
	bool *held = calloc(SECTORS, sizeof(bool));
	struct dice dice = {9};

	cr_assert_eq(overlay_map_init(&map, SECTORS * 512ul), 0);
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t reach = dice_roll(&dice, 20) ? 200 : 9000;
		uint32_t first = dice_roll(&dice, SECTORS);
		uint32_t count = 1 + dice_roll(&dice, MIN(reach, SECTORS - first));

		cr_assert_eq(overlay_map_prepare(&map, first * 512ul, count * 512ul), 0);
		overlay_map_set(&map, first * 512ul, count * 512ul);
		memset(held + first, 1, count);
		for (uint32_t at = dice_roll(&dice, 300); at < SECTORS;) {
			uint32_t limit = 1 + dice_roll(&dice, SECTORS - at), n = 0;
			uint64_t run;

			while (n < limit && held[at + n] == held[at])
				n++;
			cr_assert_eq(overlay_map_test(&map, at * 512ul, limit * 512ul, &run),
				     held[at]);
			cr_assert_eq(run, n * 512ul);
			at += n;
		}
	}
	overlay_map_destroy(&map);
	free(held);
}

Test(overlay_map, a_huge_disk_that_is_discarded_costs_little)
{
	struct overlay_map map;
	const uint64_t size = 64 * GIB;
	uint64_t run;

	cr_assert_eq(overlay_map_init(&map, size), 0);
	cr_assert_eq(overlay_map_prepare(&map, 512, size - 1024), 0);
	overlay_map_set(&map, 512, size - 1024);
	cr_assert_not(overlay_map_test(&map, 0, size, &run));
	cr_assert_eq(run, 512);
	cr_assert(overlay_map_test(&map, 512, size - 512, &run));
	cr_assert_eq(run, size - 1024);
	overlay_map_destroy(&map);
}

/* --- the overlay --- */

static void write_base(const struct block_fixture *f, char value)
{
	char sector[512];
	struct stat st;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);

	memset(sector, value, sizeof(sector));
	cr_assert_eq(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 512)
		cr_assert_eq(pwrite(fd, sector, 512, at), 512);
	close(fd);
}

static void on_both_engines(void (*fn)(struct block_fixture *f))
{
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		struct block_fixture f;

		fixture_init(&f, 4 * MIB);
		write_base(&f, 'b');
		f.options.engine = engines[e];
		f.options.snapshot = true;
		if (fixture_open(&f))
			fn(&f);
		fixture_destroy(&f);
	}
}

static void scattered(struct block_fixture *f)
{
	char *data = pages(256 * 512), *base = pages(256 * 512);
	struct iovec iov[3] = {{data + 7, 1000}, {data + 1500, 0}, {data + 2000, 256 * 512 - 3000}};

	memset(data, 'o', 512);
	for (unsigned s = 0; s < 256; s += 2)
		cr_assert_eq(fixture_do(f, BLOCK_WRITE, s * 512, 512, data, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_DISCARD, 100 * 512, 3 * 512, NULL, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_WRITE_ZEROES, 201 * 512, 512, NULL, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, 256 * 512, data, 0), 0);
	for (unsigned s = 0; s < 256; s++) {
		bool zero = (s >= 100 && s < 103) || s == 201;
		char expected = zero ? 0 : s % 2 ? 'b' : 'o';

		cr_assert_eq(data[s * 512], expected, "sector %u", s);
		cr_assert_eq(data[s * 512 + 511], expected, "sector %u", s);
	}
	/* The same through pieces that fit no sector; 1000 + the rest is 252 sectors + 24. */
	iov[2].iov_len = 252 * 512 - 1000;
	cr_assert_eq(fixture_dov(f, BLOCK_READ, 2 * 512, iov, 3, 0), 0);
	cr_assert_eq(data[7], 'o');
	cr_assert_eq(data[7 + 511], 'o');
	cr_assert_eq(data[7 + 512], 'b');
	fixture_peek(f, 0, base, 256 * 512);
	for (unsigned i = 0; i < 256 * 512; i++)
		cr_assert_eq(base[i], 'b');
	free(data);
	free(base);
}

Test(block_overlay, reads_mix_both_and_the_base_stays)
{
	on_both_engines(scattered);
}

Test(block_overlay, a_new_snapshot_starts_from_the_base)
{
	struct block_fixture f;
	char *data = pages(4096);

	fixture_init(&f, MIB);
	write_base(&f, 'b');
	f.options.snapshot = true;
	cr_assert(fixture_open(&f));
	memset(data, 'x', 4096);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, BLOCK_FUA), 0);
	fixture_close(&f);
	cr_assert(fixture_open(&f));
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), 0);
	cr_assert_eq(data[0], 'b');
	fixture_destroy(&f);
	free(data);
}

/* A write that fails leaves the old data readable. */
static void fail_writes(void *arg, const struct engine_op *op, struct tap_action *action)
{
	if (op->code == ENGINE_WRITE && *(int *)arg)
		action->error = *(int *)arg;
}

Test(block_overlay, a_failed_write_leaves_the_base_visible)
{
	struct block_fixture f;
	char *data = pages(4096);
	int error = ENOSPC;

	fixture_init(&f, MIB);
	write_base(&f, 'b');
	f.options.snapshot = true;
	f.watch = (struct tap_watch){fail_writes, NULL, &error};
	cr_assert(fixture_open(&f));
	memset(data, 'x', 4096);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), -ENOSPC);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), 0);
	cr_assert_eq(data[100], 'b');
	error = 0;
	memset(data, 'x', 4096);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), 0);
	fixture_destroy(&f);
	free(data);
}

Test(block_overlay, a_bad_temporary_folder_is_named)
{
	struct block_fixture f;

	fixture_init(&f, MIB);
	f.options.snapshot = true;
	setenv("TMPDIR", "/nowhere/tmp", 1);
	cr_assert_eq(fixture_try_open(&f), -ENOENT);
	cr_assert(strstr(f.err.message, "/nowhere/tmp"), "%s", f.err.message);
	fixture_destroy(&f);
}

/* --- full --- */

/* A tmpfs of 1 MiB that only this process sees. */
static void mount_small(char *dir)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !mkdtemp(dir) || mount("none", dir, "tmpfs", 0, "size=1m") < 0)
		cr_skip_test("cannot mount a tmpfs here");
}

static void unmount_small(const char *dir)
{
	cr_assert_eq(umount2(dir, MNT_DETACH), 0);
	rmdir(dir);
}

/* Fill the disk, learn -ENOSPC, make room by a discard, go on. */
static void fill_up(struct block_fixture *f)
{
	char *data = pages(MIB);
	uint64_t at = 0;
	int r = 0;

	memset(data, 'f', MIB);
	for (; at < 4 * MIB && r == 0; at += 256 * KIB)
		r = fixture_do(f, BLOCK_WRITE, at, 256 * KIB, data, BLOCK_FUA);
	cr_assert_eq(r, -ENOSPC);
	cr_assert_eq(fixture_do(f, BLOCK_READ, 0, MIB / 2, data, 0), 0);
	cr_assert_eq(data[4096], 'f');
	cr_assert_eq(fixture_do(f, BLOCK_DISCARD, 0, MIB / 2, NULL, 0), 0);
	cr_assert_eq(fixture_do(f, BLOCK_WRITE, 3 * MIB, 256 * KIB, data, BLOCK_FUA), 0);
	cr_assert_eq(fixture_do(f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	free(data);
}

static void full_temporary_folder(int engine)
{
	char dir[] = "/tmp/vmm-test-XXXXXX";
	struct block_fixture f;

	fixture_init(&f, 4 * MIB);
	write_base(&f, 'b');
	mount_small(dir);
	setenv("TMPDIR", dir, 1);
	f.options.snapshot = true;
	f.options.engine = engine;
	if (fixture_open(&f))
		fill_up(&f);
	fixture_destroy(&f);
	unmount_small(dir);
}

Test(block_overlay, a_full_temporary_folder_reaches_the_guest)
{
	full_temporary_folder(BLOCK_ENGINE_THREADS);
}

Test(block_overlay, a_full_temporary_folder_reaches_the_guest_io_uring)
{
	full_temporary_folder(BLOCK_ENGINE_IO_URING);
}

static void full_file_system(int engine)
{
	char dir[] = "/tmp/vmm-test-XXXXXX";
	struct block_fixture f;

	mount_small(dir);
	setenv("TMPDIR", dir, 1);
	fixture_init(&f, 4 * MIB);
	f.options.engine = engine;
	if (fixture_open(&f))
		fill_up(&f);
	fixture_destroy(&f);
	unmount_small(dir);
}

Test(block_full, a_full_file_system_reaches_the_guest)
{
	full_file_system(BLOCK_ENGINE_THREADS);
}

Test(block_full, a_full_file_system_reaches_the_guest_io_uring)
{
	full_file_system(BLOCK_ENGINE_IO_URING);
}

Test(block_full, a_file_size_limit_reaches_the_guest)
{
	struct rlimit limit = {MIB, MIB};
	char *data = pages(4096);

	signal(SIGXFSZ, SIG_IGN);
	for (size_t e = 0; e < ARRAY_SIZE(engines); e++) {
		struct block_fixture f;

		fixture_init(&f, 4 * MIB);
		if (e == 0)
			cr_assert_eq(truncate(f.path, 4 * MIB), 0);
		f.options.engine = engines[e];
		struct rlimit before;

		getrlimit(RLIMIT_FSIZE, &before);
		limit.rlim_max = before.rlim_max;
		cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
		if (fixture_open(&f)) {
			cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 2 * MIB, 4096, data, 0), -ENOSPC);
			cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, BLOCK_FUA), 0);
		}
		setrlimit(RLIMIT_FSIZE, &before);
		fixture_destroy(&f);
	}
	free(data);
}
