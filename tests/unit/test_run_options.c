/* SPDX-License-Identifier: MIT */
/*
 * What the options of `vmm run` make of a command line, before any VM exists. Options whose device
 * this build may lack are looked at in their parts.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cli.h"

static struct run_options options;

/* Parse "vmm run --kernel k --defaults off ARGS", which has blanks between arguments. */
static int parse(const char *args)
{
	static char text[512];
	char *argv[64] = {"run", "--kernel", "k", "--defaults", "off"}, *rest = text, *arg;
	int argc = 5;

	snprintf(text, sizeof(text), "%s", args);
	while ((arg = strsep(&rest, " ")))
		if (*arg)
			argv[argc++] = arg;
	return run_options_parse(&options, argc, argv);
}

static void device_is(size_t index, const char *cls, const char *text)
{
	cr_assert_lt(index, options.device_count);
	cr_assert_str_eq(options.devices[index].cls, cls);
	if (text)
		cr_assert_str_eq(options.devices[index].options, text);
	else
		cr_assert_null(options.devices[index].options);
}

/* The command line is refused with one line that has this part. */
static void refused(const char *args, const char *part)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC), saved = dup(STDERR_FILENO), status;
	char line[1024] = "";

	cr_assert(fd >= 0 && saved >= 0);
	dup2(fd, STDERR_FILENO);
	status = parse(args);
	dup2(saved, STDERR_FILENO);
	close(saved);
	cr_assert_geq(pread(fd, line, sizeof(line) - 1, 0), 0);
	close(fd);
	cr_assert_eq(status, STATUS_USAGE, "%s", args);
	cr_assert_not_null(strstr(line, part), "%s: %s", args, line);
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "%s: %s", args, line);
}

/* ---- lists ---- */

Test(shorthand, a_value_is_found_and_its_commas_are_single)
{
	cr_assert_null(option_value(NULL, "id"));
	cr_assert_null(option_value("", "id"));
	cr_assert_null(option_value("path=a,,id=x,idx=1,id", "id"));
	cr_assert_str_eq(option_value("path=a,,b,,,id=x", "path"), "a,b,");
	cr_assert_str_eq(option_value("path=a,id=", "id"), "");
	cr_assert_str_eq(option_value("a=1,id=x,id=y", "id"), "x");
}

Test(shorthand, an_option_is_taken_away_and_the_rest_stays)
{
	cr_assert_str_eq(without_option("bus=scsi", "bus"), "");
	cr_assert_str_eq(without_option("a,,bus=x,bus=scsi,ro=on", "bus"), "a,,bus=x,ro=on");
	cr_assert_str_eq(without_option("a.img", "bus"), "a.img");
	cr_assert_str_eq(without_option("a.img,bus", "bus"), "a.img,bus");
	/* What is wrong stays wrong, for the one who says so. */
	cr_assert_str_eq(without_option("a.img,,", "bus"), "a.img,,");
	cr_assert_str_eq(without_option("a.img,", "bus"), "a.img,");
}

Test(shorthand, quoted_text_survives_one_reading)
{
	const char *text = "a,,b,c=,";

	cr_assert_str_eq(quote_option(text), "a,,,,b,,c=,,");
	cr_assert_str_eq(option_value(format("x=%s,y=1", quote_option(text)), "x"), text);
}

/* isa-serial has chardev, index and id. */
Test(shorthand, keys_of_the_device_go_to_the_device_and_the_rest_to_its_backend)
{
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		{"stdio", "chardev=stdio"},
		{"stdio,wait-for=x,index=1", "chardev=stdio,,wait-for=x,index=1"},
		{"stdio,id=a,signal=on,index=1,q=r", "chardev=stdio,,signal=on,,q=r,id=a,index=1"},
		/* Doubled commas stay in the value that they are in. */
		{"stdio,wait-for=a,,b", "chardev=stdio,,wait-for=a,,,,b"},
		{"stdio,id=a,,b", "chardev=stdio,id=a,,b"},
		{"unix:/a,,id=b", "chardev=unix:/a,,,,id=b"},
		/* The first item is never the device's, nor is a key without a value. */
		{"id=a,index=1", "chardev=id=a,index=1"},
		{"unix:/a,id,b", "chardev=unix:/a,,id,,b"},
		{"pty,", "chardev=pty,,"},
	};

	for (size_t i = 0; i < CLI_COUNT(cases); i++) {
		char *options_text = connected_options("isa-serial", "chardev", cases[i].text);

		cr_assert_str_eq(options_text, cases[i].wanted, "%s: %s", cases[i].text,
				 options_text);
	}
	/* Of a device that there is not, nothing is known. */
	cr_assert_str_eq(connected_options("no-such", "x", "a,id=b"), "x=a,,id=b");
}

/* ---- command lines ---- */

Test(run_options, a_serial_port_on_standard_input_comes_unasked)
{
	cr_assert_eq(parse(""), GO_ON);
	cr_assert_eq(options.device_count, 1);
	device_is(0, "isa-serial", "chardev=stdio");
	cr_assert(options.uses_stdin);
	cr_assert_str_eq(options.config.cmdline, "console=ttyS0");
}

Test(run_options, the_last_serial_port_counts)
{
	cr_assert_eq(parse("--serial pty --serial file:/tmp/x,id=com"), GO_ON);
	cr_assert_eq(options.device_count, 1);
	device_is(0, "isa-serial", "chardev=file:/tmp/x,id=com");
	cr_assert_not(options.uses_stdin);
	refused("--serial ptty --serial pty", "did you mean pty?");
}

Test(run_options, a_serial_port_as_a_device_is_the_only_one)
{
	cr_assert_eq(parse("--device isa-serial,chardev=none"), GO_ON);
	cr_assert_eq(options.device_count, 1);
	cr_assert_not(options.uses_stdin);
}

Test(run_options, the_first_disk_is_the_root)
{
	cr_assert_eq(parse("--disk a.img,readonly --disk b/c=d.img"), GO_ON);
	device_is(0, "virtio-blk", "path=a.img,readonly");
	device_is(1, "virtio-blk", "path=b/c=d.img");
	cr_assert_str_eq(options.config.cmdline, "console=ttyS0 root=/dev/vda rw");
	cr_assert_eq(parse("--disk bus=virtio,path=a.img,media=disk --initrd i"), GO_ON);
	device_is(0, "virtio-blk", "path=a.img");
	cr_assert_str_eq(options.config.cmdline, "console=ttyS0");
}

Test(run_options, a_scsi_disk_brings_its_controller_once)
{
	if (!device_class_known("virtio-scsi") || !device_class_known("scsi-disk") ||
	    !device_class_known("scsi-cd"))
		cr_skip_test("this build has no virtio-scsi");
	cr_assert_eq(parse("--disk a,bus=scsi --disk c,media=cdrom,bus=scsi --disk b"), GO_ON);
	device_is(0, "virtio-scsi", NULL);
	device_is(1, "scsi-disk", "path=a,target=0");
	device_is(2, "scsi-cd", "path=c,target=1");
	device_is(3, "virtio-blk", "path=b");
	cr_assert_str_eq(options.config.cmdline, "console=ttyS0 root=/dev/sda rw");
	cr_assert_eq(parse("--device virtio-scsi,id=s --disk a,bus=scsi,id=d"), GO_ON);
	device_is(0, "virtio-scsi", "id=s");
	device_is(1, "scsi-disk", "path=a,id=d,target=0");
}

Test(run_options, scsi_disks_take_the_targets_that_are_free)
{
	if (!device_class_known("scsi-disk") || !device_class_known("scsi-cd"))
		cr_skip_test("this build has no virtio-scsi");
	cr_assert_eq(parse("--disk a,bus=scsi,target=1 --disk b,bus=scsi --disk c,bus=scsi,lun=1 "
			   "--disk bus=scsi,media=cdrom"),
		     GO_ON);
	device_is(1, "scsi-disk", "path=a,target=1");
	device_is(2, "scsi-disk", "path=b,target=0");
	device_is(3, "scsi-disk", "path=c,lun=1");
	device_is(4, "scsi-cd", "target=2");
}

Test(run_options, ports_and_consoles_share_a_controller)
{
	if (!device_class_known("virtio-serial") || !device_class_known("serial-port") ||
	    !device_class_known("console-port"))
		cr_skip_test("this build has no virtio-serial");
	cr_assert_eq(parse("--port a,b=unix:/x --console stdio --port c=pty,id=p"), GO_ON);
	device_is(0, "virtio-serial", NULL);
	device_is(1, "serial-port", "name=a,,b,chardev=unix:/x");
	device_is(2, "console-port", "chardev=stdio");
	device_is(3, "serial-port", "name=c,chardev=pty,id=p");
	device_is(4, "isa-serial", "chardev=none");
	cr_assert(options.uses_stdin);
	cr_assert_str_eq(options.config.cmdline, "console=hvc0");
	cr_assert_eq(parse("--console pty"), GO_ON);
	cr_assert_str_eq(options.config.cmdline, "console=ttyS0 console=hvc0");
	refused("--port a=pty --port a=none", "already a port");
	refused("--console stdio --serial stdio", "standard input cannot be shared");
}

Test(run_options, a_network_card_has_the_backend_that_is_named)
{
	if (!device_class_known("virtio-net"))
		cr_skip_test("this build has no virtio-net");
	cr_assert_eq(parse("--net none"), GO_ON);
	cr_assert_eq(options.device_count, 1);
	cr_assert_eq(parse("--net user,hostfwd=tcp::2222-:22,mac=52:54:00:12:34:56,id=n"), GO_ON);
	device_is(0, "virtio-net",
		  "backend=user,,hostfwd=tcp::2222-:22,mac=52:54:00:12:34:56,id=n");
}

Test(run_options, what_comes_unasked_comes_once_and_not_when_refused)
{
	char *argv[] = {"run",   "--kernel", "k",         "--net", "none",
			"--rng", "off",      "--balloon", "off",   NULL};

	cr_assert_eq(run_options_parse(&options, 9, argv), GO_ON);
	cr_assert_eq(options.device_count, 1);
	/* All that this build has, and each once. */
	cr_assert_eq(run_options_parse(&options, 3, argv), GO_ON);
	cr_assert_eq(options.device_count, (device_class_known("virtio-net") ? 1u : 0) +
						   (device_class_known("virtio-rng") ? 1u : 0) +
						   (device_class_known("virtio-balloon") ? 1u : 0) +
						   1u);
	for (size_t i = 0; i + 1 < options.device_count; i++)
		cr_assert(options.devices[i].unasked);
	cr_assert_not(options.devices[options.device_count - 1].unasked);
}

Test(run_options, ids_are_unique)
{
	refused("--disk a,id=x --disk b,id=x", "already a device with id=x");
	refused("--disk a,id=x --serial pty,id=x", "already a device with id=x");
	refused("--disk a,id=0", "id=0: an id has 1 to 63");
	refused("--disk a,id=x,id=y", "id is given twice");
	refused("--disk a,id", "id needs a value");
}

Test(run_options, options_of_a_stream_are_checked)
{
	refused("--serial stdio,bogus=1", "bogus");
	refused("--serial stdio,wait-fo=x", "did you mean \"wait-for\"?");
	refused("--device isa-serial,chardev=stdoi", "did you mean stdio?");
}

Test(run_options, what_a_disk_sits_on_is_one_of_two)
{
	refused("--disk a,bus=scis", "did you mean scsi?");
	refused("--disk a,media=dvd,bus=scsi", "must be disk or cdrom");
	refused("--disk a,media=cdrom", "add bus=scsi");
}

Test(run_options, a_port_has_a_name_and_a_stream)
{
	refused("--port stdio", "must be NAME=STREAM");
	refused("--port =stdio", "must be NAME=STREAM");
	refused("--port a=", "must be NAME=STREAM");
}

/* ---- consoles for vmm attach ---- */

Test(run_options, in_the_background_the_serial_port_can_be_attached_to)
{
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	cr_assert_eq(parse("--detach --name web"), GO_ON);
	device_is(0, "isa-serial", "chardev=attach:/run/user/1/vmm/web/console.sock");
	/* Wherever the name stands, and whatever is in it. */
	cr_assert_eq(parse("--serial pty --serial attach --name a,b"), GO_ON);
	device_is(0, "isa-serial", "chardev=attach:/run/user/1/vmm/a,,b/console.sock");
	cr_assert_eq(parse("--detach --control unix:/x/c"), GO_ON);
	device_is(0, "isa-serial", "chardev=attach:/x/c.console");
	cr_assert_eq(parse("--serial attach --serial none --name web"), GO_ON);
	device_is(0, "isa-serial", "chardev=none");
}

Test(run_options, a_name_that_leads_nowhere_is_refused_and_the_reason_said)
{
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	refused("--name a/b", "have a '/'");
	refused("--name .a", "begin with '.'");
	refused("--name -x", "or '-'");
	refused("--name a\tb", "control character");
	refused("--detach", "give it a --name");
	refused("--detach --name web --control none", "give it a --name");
	cr_assert_eq(parse("--name -x --control none"), GO_ON);
	cr_assert_eq(parse("--name \u00fc"), GO_ON);
	cr_assert_eq(parse("--name a-b"), GO_ON);
	unsetenv("XDG_RUNTIME_DIR");
	refused("--detach --name web", "XDG_RUNTIME_DIR is not set");
}

Test(run_options, where_it_could_not_be_found_there_is_no_such_console)
{
	char text[300] = "--detach --control unix:/";

	unsetenv("XDG_RUNTIME_DIR");
	refused("--serial attach", "give the VM a --name");
	refused("--serial attach --name web", "set XDG_RUNTIME_DIR");
	refused("--serial attach:here", "begins with /");
	/* From another folder, too. */
	cr_assert_eq(chdir("/tmp"), 0);
	cr_assert_eq(parse("--detach --control unix:here"), GO_ON);
	device_is(0, "isa-serial", "chardev=attach:/tmp/here.console");
	memset(text + strlen(text), 'x', 105);
	cr_assert_eq(parse(text), GO_ON);
	device_is(0, "isa-serial", "chardev=none");
}

#ifdef CONFIG_JANSSON
Test(run_options, metrics_go_to_a_file_in_an_interval)
{
	cr_assert_eq(parse("--metrics /x/web.prom"), GO_ON);
	cr_assert_str_eq(options.metrics, "/x/web.prom");
	cr_assert_eq(options.metrics_ms, 10000);
	cr_assert_eq(parse("--metrics a,interval=2.5"), GO_ON);
	cr_assert_str_eq(options.metrics, "a");
	cr_assert_eq(options.metrics_ms, 2500);
	refused("--metrics ,interval=1", "needs a value");
	refused("--metrics a,interval=0", "above 0");
	refused("--metrics a,interval=0.0001", "from 0.001");
	refused("--metrics a,interval=86401", "from 0.001");
	refused("--metrics a,every=1", "nothing else");
}
#endif
