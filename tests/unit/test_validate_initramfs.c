/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: what is in a guest's initramfs. The kernel and its modules are made up; so is the
 * host's busybox, while libraries are looked at with a program that really has some.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/validate.h"
#include "tests/unit/support/scratch.h"

#define HEADER 110 /* bytes of an entry's header ("newc") */

static struct validate_kernel kernel;
static struct validate_driver driver;

/* A tool of the host's; a script, so that it has no libraries. */
static void tool(const char *name)
{
	chmod(scratch_text(format("bin/%s", name), format("#!/bin/sh\necho %s\n", name)), 0755);
}

static void prepare(void)
{
	scratch_make();
	tool("busybox");
	tool("modprobe");
	setenv("PATH", format("%s:%s", scratch_path("bin"), getenv("PATH")), 1);
	scratch_text("m/modules.dep", "k/virtio_pci.ko: k/virtio.ko\nk/virtio.ko:\n"
				      "k/virtio_toy.ko: k/virtio.ko\nk/other.ko:\n");
	scratch_text("m/k/virtio.ko", "virtio");
	scratch_text("m/k/virtio_pci.ko", "pci");
	scratch_text("m/k/virtio_toy.ko", "toy's");
	kernel = (struct validate_kernel){
		.path = "k", .version = duplicate("6.1-x"), .modules = scratch_path("m")};
}

TestSuite(validate_initramfs, .init = prepare, .fini = scratch_remove);

static int make(const char *path, const char *script)
{
	driver = (struct validate_driver){.name = "toy", .script = script};
	cr_assert(validate_parse(&driver));
	return validate_initramfs(path, &driver, &kernel);
}

/* ---- reading an archive ---- */

struct entry {
	const char *name, *data;
	unsigned mode, inode, links;
	size_t size;
};

static struct entry entries[512];
static size_t entry_count;

static unsigned field(const char *header, unsigned n)
{
	char digits[9] = "", *end;
	unsigned value;

	memcpy(digits, header + 6 + (size_t)n * 8, 8);
	value = (unsigned)strtoul(digits, &end, 16);
	cr_assert_eq(*end, 0, "%s", digits);
	return value;
}

static size_t round_up(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* All entries, down to the one that ends the archive. */
static void read_archive(const char *path)
{
	size_t size, at = 0;
	const char *data = scratch_read(path, &size);

	for (entry_count = 0; entry_count < CLI_COUNT(entries); entry_count++) {
		struct entry *e = &entries[entry_count];
		size_t name_size;

		cr_assert_leq(at + HEADER, size, "no end");
		cr_assert_eq(memcmp(data + at, "070701", 6), 0, "at %zu", at);
		name_size = field(data + at, 11);
		*e = (struct entry){
			.name = data + at + HEADER,
			.inode = field(data + at, 0),
			.mode = field(data + at, 1),
			.links = field(data + at, 4),
			.size = field(data + at, 6),
		};
		cr_assert_leq(at + HEADER + name_size, size);
		cr_assert_eq(strnlen(e->name, name_size) + 1, name_size);
		at += round_up(HEADER + name_size);
		e->data = data + at;
		at += round_up(e->size);
		cr_assert_leq(at, size, "%s", e->name);
		if (strcmp(e->name, "TRAILER!!!") == 0) {
			cr_assert_eq(at, size, "something behind the end");
			return;
		}
	}
	cr_assert_fail("too many entries");
}

static const struct entry *find(const char *name)
{
	for (size_t i = 0; i < entry_count; i++) {
		if (strcmp(entries[i].name, name) == 0)
			return &entries[i];
	}
	return NULL;
}

static void has(const char *name, const char *text)
{
	const struct entry *e = find(name);

	cr_assert_not_null(e, "no %s", name);
	cr_assert_eq(e->mode, S_IFREG | 0755, "%s: %o", name, e->mode);
	cr_assert_eq(e->size, strlen(text), "%s", name);
	cr_assert_eq(memcmp(e->data, text, e->size), 0, "%s", name);
}

/* ---- the tests ---- */

static const char script[] = "#: modules virtio_toy virtio_pci none\n"
			     "#: tools toytool toytool\n"
			     "check one 1 't'\n";

Test(validate_initramfs, scripts_tools_and_modules)
{
	char *path = scratch_path("initramfs");

	tool("toytool");
	cr_assert_eq(make(path, script), 0);
	read_archive(path);
	has("init", validate_script("init"));
	has("bin/lib.sh", validate_script("lib.sh"));
	has("bin/devices.sh", validate_script("devices.sh"));
	has("bin/driver.sh", script);
	has("bin/busybox", "#!/bin/sh\necho busybox\n");
	has("bin/modprobe", "#!/bin/sh\necho modprobe\n");
	has("bin/toytool", "#!/bin/sh\necho toytool\n");
	has("lib/modules/6.1-x/k/virtio.ko", "virtio");
	has("lib/modules/6.1-x/k/virtio_pci.ko", "pci");
	has("lib/modules/6.1-x/k/virtio_toy.ko", "toy's");
	cr_assert_not_null(find("lib/modules/6.1-x/modules.dep"));
	cr_assert_null(find("lib/modules/6.1-x/k/other.ko"), "nobody needs it");
}

Test(validate_initramfs, folders_come_first_and_nothing_comes_twice)
{
	char *path = scratch_path("initramfs");

	tool("toytool");
	cr_assert_eq(make(path, script), 0);
	read_archive(path);
	for (size_t i = 0; i < entry_count; i++) {
		const char *slash = strrchr(entries[i].name, '/');
		char *folder =
			slash ? format("%.*s", (int)(slash - entries[i].name), entries[i].name)
			      : NULL;
		const struct entry *e = folder ? find(folder) : NULL;

		cr_assert_eq(find(entries[i].name), &entries[i], "%s twice", entries[i].name);
		cr_assert_neq(entries[i].name[0], '/');
		cr_assert_eq(entries[i].links, 1);
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(entries[i].inode, entries[k].inode);
		if (folder) {
			cr_assert(e && e < &entries[i], "%s before its folder", entries[i].name);
			cr_assert_eq(e->mode, S_IFDIR | 0755);
			cr_assert_eq(e->size, 0);
		}
	}
}

Test(validate_initramfs, programs_bring_their_libraries)
{
	char *path = scratch_path("initramfs"), *program = realpath("/proc/self/exe", NULL), *data;
	const struct entry *e;
	size_t size;

	cr_assert_eq(symlink(program, scratch_path("bin/toytool")), 0);
	cr_assert_eq(make(path, script), 0);
	read_archive(path);
	e = find("bin/toytool");
	data = scratch_read(program, &size);
	cr_assert(e && S_ISREG(e->mode) && e->size == size, "a link is followed");
	cr_assert_eq(memcmp(e->data, data, size), 0);
	/* Each at the path that it has here; the C library is surely among them. */
	for (e = entries; e < entries + entry_count; e++) {
		const char *slash = strrchr(e->name, '/');

		if (slash && strncmp(slash, "/libc.so", 8) == 0)
			break;
	}
	cr_assert_lt(e, entries + entry_count, "no C library");
	data = scratch_read(format("/%s", e->name), &size);
	cr_assert_eq(e->size, size);
	cr_assert_eq(memcmp(e->data, data, size), 0);
	free(program);
}

/* What vmm says of tools that are not there. */
static const char *missing(void)
{
	char *text = NULL, *kept;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	validate_missing_tools(out);
	fclose(out);
	kept = duplicate(text);
	free(text);
	return kept;
}

Test(validate_initramfs, a_tool_that_is_missing_is_named_with_its_package)
{
	char *path = scratch_path("initramfs");

	cr_assert_str_empty(missing());
	cr_assert_eq(make(path, "#: tools no-such-tool sg_no_such sg_nor_this\n"), 0);
	cr_assert_eq(make(path, "#: tools no-such-tool\n"), 0);
	cr_assert_str_eq(missing(), "Not on this host: no-such-tool sg_no_such sg_nor_this. To "
				    "install:\n  apt install no-such-tool sg3-utils\n");
	read_archive(path);
	cr_assert_null(find("bin/no-such-tool"));
}

/* It fails, and one of the messages has this part. */
static void fails(const char *path, const char *text, const char *part)
{
	const char *said;
	int rc;

	capture_begin(2);
	rc = make(path, text);
	said = capture_end();
	cr_assert_eq(rc, -1);
	cr_assert_not_null(strstr(said, part), "%s", said);
}

Test(validate_initramfs, there_is_no_guest_without_busybox)
{
	cr_assert_eq(unlink(scratch_path("bin/busybox")), 0);
	setenv("PATH", scratch_path("bin"), 1);
	fails(scratch_path("initramfs"), "",
	      "busybox is missing; install it (Debian package busybox-static)");
}

Test(validate_initramfs, what_cannot_be_read_or_written_is_an_error)
{
	fails(scratch_path("none/initramfs"), "", "cannot create ");
	cr_assert_eq(unlink(scratch_path("m/k/virtio_toy.ko")), 0);
	fails(scratch_path("initramfs"), "#: modules virtio_toy\n", "m/k/virtio_toy.ko: No such");
	cr_assert_eq(mkdir(scratch_path("m/k/virtio_toy.ko"), 0700), 0);
	fails(scratch_path("initramfs"), "#: modules virtio_toy\n",
	      "m/k/virtio_toy.ko: not a file");
}

/* A disk that becomes full in the middle: a limit of the process stands in for it. */
Test(validate_initramfs, a_full_disk_is_an_error)
{
	static const struct rlimit limit = {10001, 10001};

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	/* Standard error is a file of a few bytes meanwhile. */
	fails(scratch_path("initramfs"), "", "cannot write ");
}
