/* SPDX-License-Identifier: MIT */
/*
 * Relative paths in the options that a running VM is given become absolute ones.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/control.h"

static void becomes(const char *key, const char *value, const char *wanted)
{
	char *absolute = absolute_option(key, value);

	cr_assert_not_null(absolute);
	cr_assert_str_eq(absolute, wanted);
}

static void list_becomes(const char *list, const char *implied, const char *wanted)
{
	char *absolute = absolute_options(list, implied);

	cr_assert_not_null(absolute);
	cr_assert_str_eq(absolute, wanted);
}

TestSuite(control_paths);

Test(control_paths, those_of_each_kind_of_option_and_nothing_else)
{
	cr_assert_eq(chdir("/usr"), 0);
	becomes("path", "a.img", "/usr/a.img");
	becomes("path", "a=b", "/usr/a=b");
	becomes("path", "/a.img", "/a.img");
	becomes("path", "", "");
	becomes("filename", "hwrng", "/usr/hwrng");
	becomes("id", "path", "path");
	becomes("name", "unix:x", "unix:x");
	becomes("chardev", "c0", "c0");
	becomes("chardev", "unix:a,b", "unix:/usr/a,b");
	becomes("chardev", "file:/a", "file:/a");
	becomes("chardev", "pty,link=l", "pty,link=/usr/l");
	becomes("backend", "user,hostfwd=tcp::2222-:22,tftp=t",
		"user,hostfwd=tcp::2222-:22,tftp=/usr/t");
	becomes("backend", "user,guestfwd=tcp:10.0.2.9:1-unix:s,guestfwd=tcp:10.0.2.9:2-tcp:h:3",
		"user,guestfwd=tcp:10.0.2.9:1-unix:/usr/s,guestfwd=tcp:10.0.2.9:2-tcp:h:3");
	becomes("backend", "stream:unix:s,server,pcap=p", "stream:unix:/usr/s,server,pcap=/usr/p");
	becomes("backend", "dgram:unix:d,local=e", "dgram:unix:/usr/d,local=/usr/e");
	becomes("backend", "stream,address=unix:s", "stream,address=unix:/usr/s");
	becomes("backend", "stream:tcp:1.2.3.4:5", "stream:tcp:1.2.3.4:5");
}

Test(control_paths, in_a_list_the_first_value_may_stand_alone)
{
	cr_assert_eq(chdir("/usr"), 0);
	list_becomes("a.img,force", "path", "/usr/a.img,force");
	list_becomes("a,,b.img", "path", "/usr/a,,b.img");
	list_becomes("force,path=a.img", "", "force,path=/usr/a.img");
	list_becomes("", "path", "");
}

Test(control_paths, the_folder_may_have_a_comma_or_be_gone)
{
	char folder[] = "/tmp/vmm,test.XXXXXX", wanted[64];

	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
	snprintf(wanted, sizeof(wanted), "/tmp/vmm,,test.%s/a", strrchr(folder, '.') + 1);
	list_becomes("a", "path", wanted);
	cr_assert_eq(rmdir(folder), 0);
	cr_assert_null(absolute_option("path", "a"));
	becomes("path", "/a", "/a");
}

Test(control_paths, below_the_root_there_is_one_slash)
{
	cr_assert_eq(chdir("/"), 0);
	becomes("path", "a", "/a");
}
