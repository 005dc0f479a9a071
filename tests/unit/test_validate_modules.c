/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: kernels and their modules, in a tree that is made up.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/validate.h"
#include "tests/unit/support/scratch.h"

#define HDRS     0x202
#define POINTER  0x20e
#define IMAGE    4096
#define ADDITION 0x200 /* what the boot protocol leaves off the pointer */

TestSuite(validate_modules, .init = scratch_make, .fini = scratch_remove);

/* ---- versions ---- */

/* A bzImage whose version stands at `at`, which the header has as `pointer`. */
static char *bzimage(unsigned at, unsigned pointer, const char *version)
{
	static char image[IMAGE];

	memset(image, 0, sizeof(image));
	memcpy(image + HDRS, "HdrS", 4);
	image[POINTER] = (char)pointer;
	image[POINTER + 1] = (char)(pointer >> 8);
	memcpy(image + at, version, strnlen(version, IMAGE - at));
	return scratch_file("bzImage", image, sizeof(image));
}

static void no_version(const char *path, const char *part)
{
	const char *line;
	char *version;

	capture_begin(2);
	version = validate_kernel_version(path);
	line = capture_end();
	cr_assert_null(version, "%s", version);
	cr_assert_not_null(strstr(line, format("--kernel %s: %s", path, part)), "%s", line);
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "%s", line);
}

Test(validate_modules, the_version_of_a_bzimage)
{
	char *path = bzimage(0x800, 0x800 - ADDITION, "6.1.0-9-amd64 (x@y) #1 SMP");

	cr_assert_str_eq(validate_kernel_version(path), "6.1.0-9-amd64");
	/* Up to the last byte of the file. */
	path = bzimage(IMAGE - 3, IMAGE - 3 - ADDITION, "6.1.0");
	cr_assert_str_eq(validate_kernel_version(path), "6.1");
}

Test(validate_modules, the_version_of_an_elf_kernel)
{
	char *path = scratch_text("vmlinux", "\177ELF .. Linux versionLinux version 6.12.5+x (a)");

	cr_assert_str_eq(validate_kernel_version(path), "6.12.5+x");
	path = scratch_text("vmlinux", "\177ELF Linux version 6.12");
	cr_assert_str_eq(validate_kernel_version(path), "6.12");
}

Test(validate_modules, what_is_no_kernel_is_refused)
{
	static const char what[] = "neither a bzImage nor an ELF vmlinux of Linux";

	no_version(scratch_path("none"), "No such file");
	no_version(scratch_text("empty", ""), "No data");
	no_version(scratch_text("short", "x"), what);
	no_version(scratch_text("banner", "Linux version "), what);
	no_version(scratch_text("blank", "Linux version  6.1"), what);
	no_version(bzimage(0x800, 0, "6.1"), what);
	no_version(bzimage(0x800, IMAGE - ADDITION, "6.1"), what);
	no_version(bzimage(0x800, 0xffff, "6.1"), what);
	no_version(bzimage(0x800, 0x700 - ADDITION, "6.1"), what);
	cr_assert_eq(mkdir(scratch_path("folder"), 0700), 0);
	no_version(scratch_path("folder"), "Is a directory");
}

/* ---- folders ---- */

Test(validate_modules, the_folder_of_modules_is_found)
{
	scratch_text("a/modules.dep", "");
	scratch_text("b/6.1-x/modules.dep", "");
	scratch_text("c/lib/modules/6.1-x/modules.dep", "");
	cr_assert_str_eq(validate_modules_folder(scratch_path("a"), "6.1-x"), scratch_path("a"));
	cr_assert_str_eq(validate_modules_folder(scratch_path("b"), "6.1-x"),
			 scratch_path("b/6.1-x"));
	cr_assert_str_eq(validate_modules_folder(scratch_path("c"), "6.1-x"),
			 scratch_path("c/lib/modules/6.1-x"));
}

Test(validate_modules, a_folder_without_modules_is_refused)
{
	const char *line;

	scratch_text("b/6.1-y/modules.dep", "");
	capture_begin(2);
	cr_assert_null(validate_modules_folder(scratch_path("b"), "6.1-x"));
	line = capture_end();
	cr_assert_not_null(strstr(line, format("--modules %s: no modules.dep of kernel 6.1-x",
					       scratch_path("b"))),
			   "%s", line);
	capture_begin(2);
	cr_assert_null(validate_modules_folder(NULL, "0.0-none"));
	line = capture_end();
	cr_assert_not_null(strstr(line, "no modules of kernel 0.0-none in /lib/modules"), "%s",
			   line);
}

/* ---- dependencies ---- */

static void join(void *opaque, const char *path)
{
	char **text = opaque;

	*text = format("%s%s;", *text, path);
}

static const char *resolve(const char *dep, const char *const *names)
{
	char *text = duplicate("");

	scratch_text("modules.dep", dep);
	validate_modules(scratch_path(""), names, join, &text);
	return text;
}

static const char tree[] =
	"kernel/virtio/virtio.ko: kernel/virtio/virtio_ring.ko\n"
	"kernel/virtio/virtio_ring.ko:\n"
	"kernel/net/virtio_net.ko.xz: kernel/net/failover.ko.xz kernel/v/ring.ko\n"
	"kernel/net/failover.ko.xz:\n"
	"kernel/char/virtio-rng.ko: kernel/core/rng-core.ko\n"
	"kernel/scsi/sg.ko:\n"
	"kernel/virtio_net/other.ko:\n"
	"sd_mod.ko: kernel/t10.ko\n";

Test(validate_modules, a_module_comes_with_all_that_it_needs)
{
	cr_assert_str_eq(resolve(tree, (const char *const[]){"virtio_net", NULL}),
			 "kernel/net/virtio_net.ko.xz;kernel/net/failover.ko.xz;kernel/v/ring.ko;");
	cr_assert_str_eq(resolve(tree, (const char *const[]){"sg", "sd_mod", NULL}),
			 "kernel/scsi/sg.ko;sd_mod.ko;kernel/t10.ko;");
}

Test(validate_modules, hyphens_in_file_names_are_underscores)
{
	cr_assert_str_eq(resolve(tree, (const char *const[]){"virtio_rng", NULL}),
			 "kernel/char/virtio-rng.ko;kernel/core/rng-core.ko;");
}

Test(validate_modules, names_are_compared_as_a_whole)
{
	cr_assert_str_eq(resolve(tree, (const char *const[]){"virtio", NULL}),
			 "kernel/virtio/virtio.ko;kernel/virtio/virtio_ring.ko;");
	cr_assert_str_empty(resolve(tree, (const char *const[]){"irtio_net", "virtio_ne", "rng",
								"kernel", "", "none", NULL}));
	cr_assert_str_empty(resolve(tree, (const char *const[]){NULL}));
}

Test(validate_modules, a_broken_list_gives_what_can_be_read)
{
	cr_assert_str_eq(resolve("\n:\nno colon sg.ko\n: x.ko\nsg.ko:\nsg.ko",
				 (const char *const[]){"sg", NULL}),
			 "sg.ko;");
	cr_assert_str_empty(resolve("", (const char *const[]){"sg", NULL}));
}
