/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: the scripts, made-up ones and those that are built in.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "cli/validate.h"
#include "tests/unit/support/scratch.h"

static struct validate_driver driver;

static bool parse(const char *script)
{
	driver = (struct validate_driver){.name = "toy", .script = script};
	return validate_parse(&driver);
}

/* The script cannot be taken, and one message has this part. */
static void refused(const char *script, const char *part)
{
	const char *text;
	bool good;

	capture_begin(2);
	good = parse(script);
	text = capture_end();
	cr_assert_not(good, "%s", script);
	cr_assert_not_null(strstr(text, part), "%s: %s", script, text);
	cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1, "%s: %s", script, text);
}

Test(validate_script, a_head_says_what_the_vm_looks_like)
{
	cr_assert(parse("# a comment\n"
			"#: title   a toy: with a colon\n"
			"#: class   virtio-toy\n"
			"#: cpus    3\n"
			"#: memory\t96M\n"
			"#: device  virtio-toy id=a,path=@/x\n"
			"#: device  virtio-toy id=b\n"
			"\n"
			"check one 30 'the first one'\n"
			"check_one() {\n"
			"\techo 'check two 30'\n"
			"}\n"
			"check two-b 60 'it'\\''s the second'\n"
			"#:nothing of ours"));
	cr_assert_str_eq(driver.title, "a toy: with a colon");
	cr_assert_str_eq(driver.class, "virtio-toy");
	cr_assert_eq(driver.cpus, 3);
	cr_assert_eq(driver.memory, 96u << 20);
	cr_assert_eq(driver.head_count, 6);
	cr_assert_str_eq(driver.head[5].key, "device");
	cr_assert_str_eq(driver.head[5].value, "virtio-toy id=b");
	cr_assert_eq(driver.check_count, 2);
	cr_assert_str_eq(driver.checks[0].name, "one");
	cr_assert_str_eq(driver.checks[0].title, "the first one");
	cr_assert_str_eq(driver.checks[1].name, "two-b");
	cr_assert_str_eq(driver.checks[1].title, "it'\\''s the second");
}

Test(validate_script, what_a_head_leaves_out_has_defaults)
{
	cr_assert(parse("check one 30 'x'"));
	cr_assert_eq(driver.cpus, 2);
	cr_assert_eq(driver.memory, 512u << 20);
	cr_assert_null(driver.class);
	cr_assert_eq(driver.head_count, 0);
	cr_assert_eq(driver.check_count, 1);
	cr_assert(parse(""));
}

Test(validate_script, a_bad_head_is_refused)
{
	refused("#: devise virtio-blk path=@/x\n", "toy: cannot read '#: devise virtio-blk");
	refused("#: Title x\n", "'#: Title x'");
	refused("#: \n", "cannot read");
	refused("#: class\n", "'#: class ");
	refused("#: device   \n", "'#: device ");
	refused("#: cpus 0\n", "'#: cpus 0'");
	refused("#: cpus -1\n", "'#: cpus -1'");
	refused("#: cpus two\n", "'#: cpus two'");
	refused("#: cpus 2x\n", "'#: cpus 2x'");
	refused("#: cpus\n", "'#: cpus ");
	refused("#: memory much\n", "'#: memory much'");
	refused("#: memory 1M 2M\n", "'#: memory 1M 2M'");
}

Test(validate_script, a_bad_check_is_refused)
{
	refused("check one\n", "'check one'");
	refused("check one 30 no title\nx 'y'\n", "'check one 30 no title'");
	refused("check one 30 'half\n", "'check one 30 'half'");
	refused("check  30 'title'\n", "cannot take");
	refused("check 'one' 30\n", "cannot take");
}

Test(validate_script, checks_beyond_the_table_are_refused)
{
	char *script = duplicate("");

	for (unsigned i = 0; i < VALIDATE_CHECKS; i++)
		script = format("%scheck c%u 1 't'\n", script, i);
	cr_assert(parse(script));
	cr_assert_eq(driver.check_count, VALIDATE_CHECKS);
	refused(format("%scheck more 1 't'\n", script), "'check more 1 't''");
	cr_assert_eq(driver.check_count, VALIDATE_CHECKS);
}

static void join(void *opaque, const char *word)
{
	char **text = opaque;

	*text = format("%s%s;", *text, word);
}

Test(validate_script, words_of_all_lines_with_a_key)
{
	char *text = duplicate("");

	cr_assert(parse("#: tools a  b\tc\n#: modules m\n#: tools d \n"));
	validate_words(&driver, "tools", join, &text);
	cr_assert_str_eq(text, "a;b;c;d;");
	validate_words(&driver, "file", join, &text);
	cr_assert_str_eq(text, "a;b;c;d;");
}

/* ---- those that are built in ---- */

/* Is there such a function in one of the files that a guest of this driver reads? */
static bool has_function(const struct validate_driver *d, const char *name)
{
	char *text = format("\n%s() {\n", name);

	return strstr(d->script, text) || strstr(validate_script("devices.sh"), text) ||
	       strstr(validate_script("lib.sh"), text);
}

/* It is about what a card is connected to: for the card "net" shows what all must. */
static bool is_more_of_net(const struct validate_driver *d)
{
	return strcmp(d->name, "uplink") == 0;
}

Test(validate_script, all_files_are_built_in)
{
	cr_assert_not_null(validate_script("init"));
	cr_assert_not_null(validate_script("lib.sh"));
	cr_assert_not_null(validate_script("devices.sh"));
	cr_assert_null(validate_script("none.sh"));
	cr_assert_null(validate_script(""));
}

Test(validate_script, every_driver_can_be_taken)
{
	static const char *const names[] = {"blk",    "scsi",    "net", "vhost", "uplink",
					    "serial", "balloon", "rng", "mmio"};
	struct validate_driver *drivers;
	const char *text;
	size_t count;

	capture_begin(2);
	drivers = validate_drivers(&count);
	text = capture_end();
	cr_assert_str_empty(text);
	cr_assert_eq(count, CLI_COUNT(names));
	cr_assert_leq(count, VALIDATE_DRIVERS);
	for (size_t i = 0; i < count; i++) {
		cr_assert_str_eq(drivers[i].name, names[i]);
		cr_assert_not_null(drivers[i].title);
		cr_assert_not_null(drivers[i].class);
	}
}

Test(validate_script, every_check_has_its_function)
{
	size_t count;
	const struct validate_driver *drivers = validate_drivers(&count);

	for (const struct validate_driver *d = drivers; d < drivers + count; d++) {
		cr_assert_gt(d->check_count, 0);
		cr_assert(is_more_of_net(d) || strcmp(d->checks[0].name, "probe") == 0, "%s",
			  d->name);
		for (size_t i = 0; i < d->check_count; i++) {
			const char *name = d->checks[i].name;

			cr_assert(has_function(d, format("check_%s", name)), "%s: %s", d->name,
				  name);
			for (size_t k = 0; k < i; k++)
				cr_assert_str_neq(name, d->checks[k].name, "%s", d->name);
		}
		cr_assert(has_function(d, "prepare"), "%s", d->name);
	}
}

Test(validate_script, every_driver_shows_what_all_must)
{
	static const char *const musts[] = {"bind", "module", "reboot", "log"};
	size_t count;
	const struct validate_driver *drivers = validate_drivers(&count);

	for (const struct validate_driver *d = drivers; d < drivers + count; d++) {
		if (is_more_of_net(d))
			continue;
		for (size_t m = 0; m < CLI_COUNT(musts); m++) {
			size_t i = 0;

			while (i < d->check_count && strcmp(d->checks[i].name, musts[m]) != 0)
				i++;
			cr_assert_lt(i, d->check_count, "%s: %s", d->name, musts[m]);
		}
		cr_assert(has_function(d, "resume_reboot"), "%s", d->name);
	}
}
