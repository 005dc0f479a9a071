/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: its command line, and the folder that it works in.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/validate.h"
#include "tests/unit/support/scratch.h"

TestSuite(validate_options, .init = scratch_make, .fini = scratch_remove);

static const struct validate_driver drivers[] = {{.name = "blk"}, {.name = "net"}, {.name = "rng"}};
static struct validate_options options;

/* "vmm validate ARGS", which has blanks between arguments; '' stands for an empty one. */
static int parse(const char *args)
{
	char *argv[64] = {(char[]){"validate"}}, *rest = duplicate(args), *arg;
	int argc = 1;

	while ((arg = strsep(&rest, " "))) {
		if (*arg)
			argv[argc++] = strcmp(arg, "''") == 0 ? duplicate("") : arg;
	}
	return validate_options_parse(&options, drivers, CLI_COUNT(drivers), argc, argv);
}

/* The command line is refused with one line that has this part. */
static void refused(const char *args, const char *part)
{
	const char *line;
	int status;

	capture_begin(2);
	status = parse(args);
	line = capture_end();
	cr_assert_eq(status, STATUS_USAGE, "%s: %d", args, status);
	cr_assert_not_null(strstr(line, part), "%s: %s", args, line);
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "%s: %s", args, line);
}

Test(validate_options, defaults)
{
	cr_assert_eq(parse("--kernel k"), GO_ON);
	cr_assert_str_eq(options.kernel, "k");
	cr_assert(options.split && options.packed);
	cr_assert_not(options.any_chosen || options.list || options.verbose);
	cr_assert_eq(options.jobs_at_once, 1);
	cr_assert_eq(options.slow, 1);
	cr_assert(!options.modules && !options.json && !options.junit && !options.keep);
}

Test(validate_options, all_of_them)
{
	cr_assert_eq(parse("-k k --modules m --only rng --ring packed -j 64 --json a --junit b "
			   "--slow 1000 --keep d -v"),
		     GO_ON);
	cr_assert_str_eq(options.modules, "m");
	cr_assert_str_eq(options.json, "a");
	cr_assert_str_eq(options.junit, "b");
	cr_assert_str_eq(options.keep, "d");
	cr_assert_eq(options.jobs_at_once, 64);
	cr_assert_eq(options.slow, 1000);
	cr_assert(options.packed && !options.split && options.verbose);
	cr_assert_eq(parse("-k k --ring split"), GO_ON);
	cr_assert(options.split && !options.packed);
	cr_assert_eq(parse("-k k --ring split --ring both"), GO_ON);
	cr_assert(options.split && options.packed);
}

Test(validate_options, drivers_that_are_chosen_add_up)
{
	cr_assert_eq(parse("-k k --only rng --only blk,,rng"), GO_ON);
	cr_assert(options.any_chosen);
	cr_assert(options.chosen[0] && !options.chosen[1] && options.chosen[2]);
}

Test(validate_options, a_list_needs_no_kernel)
{
	cr_assert_eq(parse("--list"), GO_ON);
	cr_assert(options.list);
	refused("", "which kernel? Give one with --kernel PATH");
	refused("--only net", "which kernel?");
}

Test(validate_options, an_unknown_driver_is_refused)
{
	refused("-k k --only nett", "--only nett: there is no driver 'nett'; did you mean net?");
	refused("-k k --only blk,tpm", "--only blk,tpm: there is no driver 'tpm'");
	refused("-k k --only Net", "there is no driver 'Net'");
	refused("-k k --only ''", "--only needs a value");
	refused("-k k --only ,", "--only needs a value");
	refused("-k k --only", "--only");
}

Test(validate_options, bad_numbers_are_refused)
{
	static const char *const bad[] = {"0",  "65", "-1",  "+1",  "x",
					  "1x", "''", "1.5", "0x1", "99999999999999999999"};

	for (size_t i = 0; i < CLI_COUNT(bad); i++) {
		refused(format("-k k --jobs %s", bad[i]), "must be a number from 1 to 64");
		if (strcmp(bad[i], "65") != 0)
			refused(format("-k k --slow %s", bad[i]),
				"must be a number from 1 to 1000");
	}
	refused("-k k --slow 1001", "--slow 1001: must be a number from 1 to 1000");
	refused("-k k --jobs 0", "--jobs 0: ");
}

Test(validate_options, other_mistakes_are_refused)
{
	refused("-k k --ring round", "--ring round: must be split, packed or both");
	refused("-k k --ring ''", "must be split, packed or both");
	refused("-k k --kernal x", "--kernal");
	refused("-k k vmlinuz", "vmlinuz");
	refused("-k k --list=yes", "--list");
	refused("--kernel", "--kernel");
}

/* ---- the folder ---- */

static void no_folder(const char *keep, const char *part)
{
	const char *line;
	char *folder;

	capture_begin(2);
	folder = validate_folder(keep);
	line = capture_end();
	cr_assert_null(folder);
	cr_assert_not_null(strstr(line, format("--keep %s: ", keep)), "%s", line);
	cr_assert_not_null(strstr(line, part), "%s", line);
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "%s", line);
}

Test(validate_options, a_folder_is_made)
{
	char *path = scratch_path("new");
	struct stat st;

	cr_assert_str_eq(validate_folder(path), path);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(S_ISDIR(st.st_mode));
	cr_assert_eq(st.st_mode & 0777, 0700);
	/* It is there now, and still empty. */
	cr_assert_str_eq(validate_folder(path), path);
}

Test(validate_options, a_folder_that_is_not_empty_is_refused)
{
	char *file = scratch_text("used/.hidden", "");
	size_t size;

	no_folder(scratch_path("used"), "there is something in it; name a new folder or an empty");
	cr_assert_str_empty(scratch_read(file, &size));
	no_folder(file, "Not a directory");
	no_folder(scratch_path("none/deep"), "No such file or directory");
}

Test(validate_options, a_temporary_folder_stands_where_the_environment_says)
{
	char *tmp = scratch_path("tmp"), *one, *two;

	cr_assert_eq(mkdir(tmp, 0700), 0);
	setenv("TMPDIR", tmp, 1);
	one = validate_folder(NULL);
	two = validate_folder(NULL);
	cr_assert_str_neq(one, two);
	cr_assert_eq(strncmp(one, tmp, strlen(tmp)), 0);
	cr_assert_eq(access(one, W_OK), 0);
	setenv("TMPDIR", scratch_path("none"), 1);
	capture_begin(2);
	cr_assert_null(validate_folder(NULL));
	cr_assert_not_null(strstr(capture_end(), "cannot create "));
}
