/* SPDX-License-Identifier: MIT */
/* Opening disks: what is refused and in which words, locks, sizes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/block_fixture.h"

#define SAYS(f, text) cr_assert(strstr((f)->err.message, text), "%s", (f)->err.message)

static struct block_fixture f;

static void setup(void)
{
	fixture_init(&f, MIB);
}

static void teardown(void)
{
	fixture_destroy(&f);
}

TestSuite(block_open, .init = setup, .fini = teardown);

static void expect(int code, const char *text)
{
	int r = fixture_try_open(&f);

	cr_assert_eq(r, -code, "%d: %s", r, f.err.message);
	SAYS(&f, text);
	cr_assert_null(f.block);
}

Test(block_open, a_missing_image_is_named)
{
	char path[] = "/nowhere/root.img";

	f.options.path = path;
	expect(ENOENT, "/nowhere/root.img");
}

Test(block_open, no_path)
{
	f.options.path = NULL;
	expect(EINVAL, "path");
}

Test(block_open, a_directory_is_refused)
{
	char path[] = "/tmp";

	f.options.path = path;
	expect(EISDIR, "directory");
	f.options.readonly = true;
	expect(EISDIR, "directory");
}

Test(block_open, an_empty_image_is_refused)
{
	cr_assert_eq(truncate(f.path, 0), 0);
	expect(EINVAL, "is empty");
}

Test(block_open, a_size_that_is_no_multiple_of_the_sector_is_refused_with_numbers)
{
	cr_assert_eq(truncate(f.path, 1000), 0);
	expect(EINVAL, "1000 bytes");
	SAYS(&f, "488 bytes too many");
	SAYS(&f, "truncate -s 1024");
	cr_assert_eq(truncate(f.path, 512 * 3), 0);
	f.options.logical_block_size = 4096;
	expect(EINVAL, "sector size 4096");
}

Test(block_open, a_fifo_does_not_hang)
{
	cr_assert_eq(unlink(f.path), 0);
	cr_assert_eq(mkfifo(f.path, 0600), 0);
	f.options.readonly = true;
	expect(EINVAL, "neither a file nor a block device");
}

Test(block_open, a_character_device_is_refused)
{
	char path[] = "/dev/full";

	f.options.path = path;
	expect(EINVAL, "neither a file nor a block device");
}

Test(block_open, sector_sizes_are_powers_of_two)
{
	f.options.logical_block_size = 1000;
	expect(EINVAL, "logical-block-size=1000");
	f.options.logical_block_size = 0;
	f.options.physical_block_size = 131072;
	expect(EINVAL, "physical-block-size=131072");
	f.options.physical_block_size = 512;
	f.options.logical_block_size = 4096;
	expect(EINVAL, "smaller than logical-block-size=4096");
	f.options.physical_block_size = 0;
	f.options.logical_block_size = 16384;
	cr_assert(fixture_open(&f));
	cr_assert_eq(block_info(f.block)->logical_block_size, 16384);
	cr_assert_eq(block_info(f.block)->physical_block_size, 16384);
}

Test(block_open, info_describes_the_image)
{
	cr_assert(fixture_open(&f));
	const struct block_info *info = block_info(f.block);

	cr_assert_eq(info->size, MIB);
	cr_assert_eq(info->logical_block_size, 512);
	cr_assert_geq(info->physical_block_size, 512);
	cr_assert_not(info->readonly);
	cr_assert(!strcmp(info->engine, "io_uring") || !strcmp(info->engine, "threads"));
}

Test(block_open, cache_none_on_tmpfs_is_refused)
{
	char path[] = "/dev/shm/vmm-disk-XXXXXX";
	struct statfs fs;
	int fd;

	if (statfs("/dev/shm", &fs) < 0 || fs.f_type != 0x01021994)
		cr_skip_test("no tmpfs at /dev/shm");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, MIB), 0);
	close(fd);
	f.options.path = path;
	f.options.cache = BLOCK_CACHE_NONE;
	int r = fixture_try_open(&f);

	unlink(path);
	cr_assert_eq(r, -EINVAL);
	SAYS(&f, "cache=none");
	SAYS(&f, "use cache=writeback");
}

Test(block_open, cache_none_needs_a_size_that_fits)
{
	cr_assert_eq(truncate(f.path, MIB + 512), 0);
	f.options.cache = BLOCK_CACHE_NONE;
	f.direct_align = 4096;
	cr_assert_eq(fixture_try_open(&f), -EINVAL);
	SAYS(&f, "cache=none");
}

/* --- locks --- */

/* Open the same image a second time; true when that worked. */
static bool second_open(bool readonly, bool snapshot)
{
	struct block_options options = f.options;
	struct block *second;

	options.readonly = readonly;
	options.snapshot = snapshot;
	f.err.message[0] = 0;
	int r = block_open(&second, &options, "disk1", f.loop, &f.log, &f.err);

	if (r == 0) {
		block_close(second);
		return true;
	}
	cr_assert_eq(r, -EAGAIN, "%s", f.err.message);
	SAYS(&f, f.path);
	SAYS(&f, "is locked");
	return false;
}

Test(block_open, a_writer_excludes_everybody)
{
	cr_assert(fixture_open(&f));
	cr_assert_not(second_open(false, false));
	cr_assert_not(second_open(true, false));
	cr_assert_not(second_open(false, true));
	fixture_close(&f);
	cr_assert(second_open(false, false));
}

Test(block_open, readers_share_and_exclude_a_writer)
{
	f.options.readonly = true;
	cr_assert(fixture_open(&f));
	cr_assert(second_open(true, false));
	cr_assert(second_open(false, true));
	cr_assert_not(second_open(false, false));
}

Test(block_open, a_snapshot_is_a_reader)
{
	f.options.snapshot = true;
	cr_assert(fixture_open(&f));
	cr_assert(second_open(false, true));
	cr_assert_not(second_open(false, false));
}

/* Open in a way that is refused; the image must not look changed. */
static void expect_untouched(int code)
{
	const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct stat st;

	cr_assert_eq(utimensat(AT_FDCWD, f.path, long_ago, 0), 0);
	cr_assert_eq(fixture_try_open(&f), -code, "%s", f.err.message);
	cr_assert_eq(stat(f.path, &st), 0);
	cr_assert_eq(st.st_mtim.tv_sec, 1000);
}

Test(block_open, a_refused_image_is_not_touched)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int fd = open(f.path, O_RDONLY);

	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	expect_untouched(EAGAIN);
	close(fd);
	cr_assert_eq(truncate(f.path, 1000), 0);
	expect_untouched(EINVAL);
	cr_assert_eq(truncate(f.path, 512 * 3), 0);
	f.options.logical_block_size = 4096;
	expect_untouched(EINVAL);
	f.options.logical_block_size = 0;
	f.options.cache = BLOCK_CACHE_NONE;
	f.direct_align = 4096;
	expect_untouched(EINVAL);
}

/* Open and close it as one of the disks that share *engines: whether it can discard. */
static bool shared_can_discard(struct block_engines *engines)
{
	struct block *block;
	bool can;

	cr_assert_eq(block_open_shared(&block, &f.options, "disk0", engines, &f.log, &f.err), 0,
		     "%s", f.err.message);
	can = block_info(block)->can_discard;
	block_close(block);
	return can;
}

static dev_t device_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_dev;
}

Test(block_open, what_is_known_of_the_file_system_is_not_tried_again)
{
	const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct block_engines engines = {
		.loop = f.loop,
		.file_system = {.known = true, .dev = device_of(f.path), .can_punch = true},
	};
	struct stat st;

	cr_assert_eq(utimensat(AT_FDCWD, f.path, long_ago, 0), 0);
	cr_assert(shared_can_discard(&engines));
	cr_assert_eq(stat(f.path, &st), 0);
	cr_assert_eq(st.st_mtim.tv_sec, 1000);
}

Test(block_open, what_another_file_system_can_do_does_not_count)
{
	struct block_engines engines = {.loop = f.loop};
	const bool can = shared_can_discard(&engines);
	const bool wait = engines.file_system.writes_wait;

	engines.file_system = (struct block_file_system){
		.known = true,
		.dev = device_of(f.path) + 1,
		.can_punch = !can,
		.writes_wait = !wait,
	};
	cr_assert_eq(shared_can_discard(&engines), can);
	cr_assert_eq(engines.file_system.dev, device_of(f.path));
	cr_assert_eq(engines.file_system.can_punch, can);
	cr_assert_eq(engines.file_system.writes_wait, wait);
}

Test(block_open, a_disk_that_is_only_read_says_nothing_about_its_file_system)
{
	struct block_engines engines = {.loop = f.loop};
	const bool can = shared_can_discard(&engines);

	engines.file_system = (struct block_file_system){.known = false};
	f.options.readonly = true;
	cr_assert_not(shared_can_discard(&engines));
	cr_assert_not(engines.file_system.known);
	f.options.readonly = false;
	cr_assert_eq(shared_can_discard(&engines), can);
}

Test(block_open, a_process_that_holds_a_lock_is_named)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int ready[2], end[2];
	char byte = 0, text[32];

	cr_assert_eq(pipe(ready), 0);
	cr_assert_eq(pipe(end), 0);
	pid_t child = fork();

	if (child == 0) {
		int fd = open(f.path, O_RDWR);

		close(end[1]);
		if (fcntl(fd, F_SETLK, &lock) == 0 && write(ready[1], &byte, 1) == 1)
			_exit(read(end[0], &byte, 1) != 0);
		_exit(1);
	}
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	snprintf(text, sizeof(text), "process %d", (int)child);
	expect(EAGAIN, text);
	close(end[1]);
}

Test(block_open, permission_denied_hints_at_readonly)
{
	if (geteuid() == 0 && seteuid(65534) < 0)
		cr_skip_test("cannot give up root");
	char path[] = "/etc/passwd";

	f.options.path = path;
	int r = fixture_try_open(&f);

	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(r, -EACCES, "%s", f.err.message);
	SAYS(&f, "readonly=on");
}

/* As on a host that forbids io_uring: the answer to io_uring_setup is EPERM. */
static void forbid_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {ARRAY_SIZE(code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(77);
}

/* In a child, which the filter dies with. Returns what went wrong, 0: nothing. */
static int without_io_uring(void)
{
	f.options.engine = BLOCK_ENGINE_IO_URING;
	if (fixture_try_open(&f) >= 0 || !strstr(f.err.message, "engine=io_uring") ||
	    !strstr(f.err.message, "use engine=threads or auto"))
		return 1;
	f.options.engine = BLOCK_ENGINE_AUTO;
	if (fixture_try_open(&f) < 0)
		return 2;
	if (strcmp(block_info(f.block)->engine, "threads") != 0 ||
	    !strstr(f.lines, "disk requests use threads"))
		return 3;
	return fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0) ? 4 : 0;
}

Test(block_open, without_io_uring_auto_takes_threads_and_io_uring_says_why)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		forbid_io_uring();
		_exit(without_io_uring());
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		cr_skip_test("no seccomp here");
	cr_assert_eq(WEXITSTATUS(status), 0);
}

Test(block_open, an_image_of_another_format_is_raw_and_a_warning_says_so)
{
	static const char *const magic[] = {"QFI\xfb", "KDMV", "vhdxfile"};
	static const char *const name[] = {"qcow2", "VMDK", "VHDX"};

	fixture_open(&f);
	cr_assert_null(strstr(f.lines, "looks like"), "%s", f.lines);
	fixture_close(&f);
	for (size_t i = 0; i < 3; i++) {
		int fd = open(f.path, O_WRONLY | O_CLOEXEC);

		cr_assert_eq(pwrite(fd, magic[i], strlen(magic[i]), 0), (ssize_t)strlen(magic[i]));
		close(fd);
		fixture_open(&f);
		cr_assert_eq(block_info(f.block)->size, MIB);
		cr_assert(strstr(f.lines, name[i]), "%s", f.lines);
		fixture_close(&f);
	}
}

Test(block_open, names_of_options)
{
	static const struct option_desc table[] = {BLOCK_OPTIONS(struct block_fixture, options),
						   OPTION_END};
	struct block_fixture parsed = {0};

	cr_assert_eq(options_parse(table, "disk", "path",
				   "a.img,cache=none,engine=io_uring,discard=ignore,snapshot=on,"
				   "logical-block-size=4K",
				   &parsed, &f.err),
		     0, "%s", f.err.message);
	cr_assert_eq(parsed.options.cache, BLOCK_CACHE_NONE);
	cr_assert_eq(parsed.options.engine, BLOCK_ENGINE_IO_URING);
	cr_assert_eq(parsed.options.discard, BLOCK_DISCARD_IGNORE);
	cr_assert_eq(parsed.options.logical_block_size, 4096);
	cr_assert(parsed.options.snapshot);
	options_free(table, &parsed);
	cr_assert_lt(options_parse(table, "disk", "path", "a.img,format=qcow2", &parsed, &f.err),
		     0);
}
