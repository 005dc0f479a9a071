/* SPDX-License-Identifier: MIT */
/*
 * The lines of the log of `vmm run`, and its option.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/log.h"

/* 2026-01-15 12:00:31.0075 */
static const struct timespec now = {1768478431, 7500000};

static char buf[LOG_LINE_SIZE];

static void json_is(enum vmm_log_level level, const char *source, const char *text,
		    const char *wanted)
{
	size_t len = log_json(buf, now, level, source, text);

	cr_assert_eq(len, strlen(wanted), "%.*s", (int)len, buf);
	cr_assert_eq(memcmp(buf, wanted, len), 0, "%.*s", (int)len, buf);
}

Test(log_lines, an_object_has_time_level_source_and_message)
{
	json_is(VMM_LOG_WARN, "virtio-blk0", "is slow",
		"{\"time\":\"2026-01-15T12:00:31.007Z\",\"level\":\"warn\","
		"\"source\":\"virtio-blk0\",\"message\":\"is slow\"}\n");
	json_is(VMM_LOG_ERROR, NULL, "",
		"{\"time\":\"2026-01-15T12:00:31.007Z\",\"level\":\"error\","
		"\"source\":\"vmm\",\"message\":\"\"}\n");
	json_is(VMM_LOG_DEBUG, "", "x",
		"{\"time\":\"2026-01-15T12:00:31.007Z\",\"level\":\"debug\","
		"\"source\":\"vmm\",\"message\":\"x\"}\n");
}

/* What a guest, a client or a file name says cannot leave its string, nor the line. */
static void message_is(const char *text, const char *wanted)
{
	char *start;

	buf[log_json(buf, now, VMM_LOG_INFO, "x", text)] = '\0';
	start = strstr(buf, "\"message\":") + strlen("\"message\":");
	cr_assert_eq(strncmp(start, wanted, strlen(wanted)), 0, "%s", buf);
	cr_assert_str_eq(start + strlen(wanted), "}\n");
}

Test(log_lines, hostile_text_is_escaped)
{
	message_is("a\"},{\"b", "\"a\\\"},{\\\"b\"");
	message_is("a\\", "\"a\\\\\"");
	message_is("a\r\n\t\033[2J\177", "\"a\\u000d\\u000a\\u0009\\u001b[2J\\u007f\"");
	message_is("Gr\xc3\xbc\xc3\x9f"
		   "e \xe2\x82\xac \xf0\x9f\x98\x80",
		   "\"Gr\xc3\xbc\xc3\x9f"
		   "e \xe2\x82\xac \xf0\x9f\x98\x80\"");
}

/* U+009B begins what terminals obey, as U+001B does. */
Test(log_lines, control_characters_beyond_ascii_are_escaped)
{
	message_is("a\xc2\x9b"
		   "2J\xc2\xa0",
		   "\"a\\u009b2J\xc2\xa0\"");
	message_is("\xc2\x80\xc2\x9f", "\"\\u0080\\u009f\"");
}

Test(log_lines, what_is_no_utf8_is_replaced)
{
	message_is("\x80", "\"\\ufffd\"");
	message_is("\xc0\xaf", "\"\\ufffd\\ufffd\"");                       /* overlong */
	message_is("\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\"");            /* likewise */
	message_is("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");            /* a surrogate */
	message_is("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* beyond Unicode */
	/* The end of the text ends a character, too. */
	message_is("a\xf0\x9f\x98", "\"a\\ufffd\\ufffd\\ufffd\"");
	message_is("\xc3", "\"\\ufffd\"");
}

Test(log_lines, a_text_that_is_too_long_is_cut_between_characters)
{
	char *text = allocate(LOG_LINE_SIZE + 1);
	size_t len;

	memset(text, '\001', LOG_LINE_SIZE);
	len = log_json(buf, now, VMM_LOG_INFO, "x", text);
	cr_assert_leq(len, LOG_LINE_SIZE);
	cr_assert_gt(len, LOG_LINE_SIZE - 12);
	cr_assert_eq(memcmp(buf + len - 9, "\\u0001\"}\n", 9), 0, "%.*s", 12, buf + len - 12);
}

/* ---- the option ---- */

static struct run_options options;

static void refused(const char *value, const char *part)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC), saved = dup(STDERR_FILENO), status;
	char line[1024] = "";

	cr_assert(fd >= 0 && saved >= 0);
	dup2(fd, STDERR_FILENO);
	status = set_log(&options, value);
	dup2(saved, STDERR_FILENO);
	close(saved);
	cr_assert_geq(pread(fd, line, sizeof(line) - 1, 0), 0);
	close(fd);
	cr_assert_eq(status, STATUS_USAGE, "%s", value);
	cr_assert_not_null(strstr(line, part), "%s: %s", value, line);
}

static void accepted(const char *value, enum vmm_log_level level, const char *file, bool json)
{
	options = (struct run_options){.config = VMM_CONFIG_INIT};
	cr_assert_eq(set_log(&options, value), GO_ON);
	cr_assert_eq(options.config.log_level, level, "%s", value);
	cr_assert_eq(options.log_json, json, "%s", value);
	if (file)
		cr_assert_str_eq(options.log_file, file);
	else
		cr_assert_null(options.log_file);
}

Test(log_option, has_a_level_a_file_and_a_format)
{
	accepted("debug", VMM_LOG_DEBUG, NULL, false);
	accepted("json", VMM_LOG_WARN, NULL, true);
	accepted("info,file=/tmp/a,,b,format=json", VMM_LOG_INFO, "/tmp/a,b", true);
	accepted("json,text,level=error,file=a=b", VMM_LOG_ERROR, "a=b", false);
}

Test(log_option, refuses_the_rest)
{
	refused("", "--log : must be error, warn");
	refused("inof", "did you mean info?");
	refused("info,", "must be");
	refused("level=loud", "--log level=loud: must be error, warn, info or debug");
	refused("info,fiel=x", "did you mean file?");
	refused("info,file=", "file=PATH");
	refused("format=xml", "--log format=xml: must be text or json");
}

Test(log_option, a_file_is_private_and_appended_to)
{
	char path[] = "/tmp/vmm-test-log.XXXXXX", text[1024] = "";
	int fd = mkstemp(path);
	struct stat st;

	cr_assert_geq(fd, 0);
	cr_assert_eq(unlink(path), 0);
	options = (struct run_options){.log_file = path, .log_json = true};
	cr_assert_eq(open_log(&options), GO_ON);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600, "%o", st.st_mode);
	log_line(VMM_LOG_INFO, "a", "first");
	options.log_json = false;
	cr_assert_eq(open_log(&options), GO_ON);
	log_line(VMM_LOG_WARN, "b", "sec\nond");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	unlink(path);
	cr_assert_not_null(strstr(text, "\"source\":\"a\",\"message\":\"first\"}\n2"), "%s", text);
	cr_assert_not_null(strstr(text, "Z vmm: warning: b: sec?ond\n"), "%s", text);
}

/* The log is a pipe of one page, which a longer line fills. */
Test(log_option, a_line_that_was_cut_short_does_not_spoil_the_next)
{
	char folder[] = "/tmp/vmm-test-log.XXXXXX", text[8192] = "", *path, *lines;
	int fd;

	cr_assert_not_null(mkdtemp(folder));
	path = format("%s/pipe", folder);
	cr_assert_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_eq(fcntl(fd, F_SETPIPE_SZ, 4096), 4096);
	options = (struct run_options){.log_file = path};
	cr_assert_eq(open_log(&options), GO_ON);
	log_line(VMM_LOG_INFO, "a", memset(allocate(5001), 'x', 5000));
	log_line(VMM_LOG_INFO, "a", "there is no room");
	cr_assert_eq(read(fd, text, sizeof(text)), 4096);
	log_line(VMM_LOG_INFO, "a", "second");
	log_line(VMM_LOG_INFO, "a", "third \xc2\x9b \x9b \xc3\x9b");
	memset(text, 0, sizeof(text));
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	cr_assert_eq(text[0], '\n', "%s", text);
	lines = strchr(text + 1, '\n') + 1;
	cr_assert_not_null(strstr(text, "a: second\n2"), "%s", text);
	cr_assert_not_null(strstr(lines, "a: third ?? ? \xc3\x9b\n"), "%s", text);
	close(fd);
	unlink(path);
	rmdir(folder);
}
