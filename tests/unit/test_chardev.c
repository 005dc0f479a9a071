/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "console/chardev.h"
#include "tests/unit/support/fake_env.h"
#include "tests/unit/support/unix_peer.h"

/* A front end that remembers. */
struct front {
	char input[8192];
	size_t len;
	size_t room; /* takes so much more */
	unsigned writable, connects, disconnects, quits, breaks;
	unsigned columns, rows, resizes;
	bool connected;
};

static struct fake_env fake;
static struct front front;
static struct chardev *cd;
static char directory[] = "/tmp/test-chardev-XXXXXX";
static char path[64];

static size_t front_input(void *opaque, const uint8_t *data, size_t len)
{
	struct front *f = opaque;

	len = MIN(len, sizeof(f->input) - 1 - f->len);
	len = MIN(len, f->room);
	memcpy(f->input + f->len, data, len);
	f->len += len;
	f->input[f->len] = '\0';
	f->room -= len;
	return len;
}

static void front_writable(void *opaque)
{
	((struct front *)opaque)->writable++;
}

static void front_connected(void *opaque, bool connected)
{
	struct front *f = opaque;

	f->connected = connected;
	if (connected)
		f->connects++;
	else
		f->disconnects++;
}

static void front_quit(void *opaque)
{
	((struct front *)opaque)->quits++;
}

static void front_break(void *opaque)
{
	((struct front *)opaque)->breaks++;
}

static void front_resized(void *opaque, unsigned columns, unsigned rows)
{
	struct front *f = opaque;

	f->columns = columns;
	f->rows = rows;
	f->resizes++;
}

static const struct chardev_frontend frontend = {
	.input = front_input,
	.writable = front_writable,
	.connected = front_connected,
	.quit = front_quit,
	.send_break = front_break,
	.resized = front_resized,
};

static void setup(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/end", directory);
	fake_env_init(&fake, 0);
	front.room = SIZE_MAX;
}

static void teardown(void)
{
	chardev_destroy(cd);
	fake_env_fini(&fake);
	unlink(path);
	rmdir(directory);
}

TestSuite(chardev, .init = setup, .fini = teardown, .timeout = 30);

static void settle(void)
{
	fake_env_settle(&fake);
}

static void open_spec(const char *spec)
{
	struct vmm_error err = {0};

	cr_assert_eq(chardev_create(&cd, spec, "--serial", fake.env.loop, &fake.log, &err), 0, "%s",
		     err.message);
	chardev_attach(cd, &frontend, &front);
	settle();
}

static void open_at(const char *format)
{
	char spec[128];

	snprintf(spec, sizeof(spec), format, path);
	open_spec(spec);
}

static void expect_refused(const char *spec, int code, const char *sentence)
{
	struct vmm_error err = {0};

	cr_expect_eq(chardev_create(&cd, spec, "--serial", fake.env.loop, &fake.log, &err), code);
	cr_expect(strstr(err.message, sentence), "%s", err.message);
	cr_expect(strstr(err.message, "--serial: "), "%s", err.message);
}

static size_t put(const char *text)
{
	const size_t n = chardev_write(cd, (const uint8_t *)text, strlen(text));

	settle();
	return n;
}

/* The next thing that can be read from fd. */
static const char *get(int fd)
{
	static char text[1024];
	const ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void say(int fd, const char *text)
{
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	settle();
}

/* What goes through a terminal arrives in its own time. */
#define until(condition)                                \
	do {                                            \
		while (!(condition))                    \
			loop_turn(fake.env.loop, true); \
	} while (0)

/* Write until no more is accepted; returns how much was. */
static size_t fill(void)
{
	static uint8_t block[4096];
	size_t total = 0, n;

	do {
		n = chardev_write(cd, block, sizeof(block));
		total += n;
		settle();
		cr_assert(total < 100 * MIB, "it is never full");
	} while (n == sizeof(block));
	return total;
}

/* Specs. */

Test(chardev, specs_that_are_wrong_get_a_sentence)
{
	expect_refused("stdoi", -EINVAL, "did you mean stdio?");
	expect_refused("", -EINVAL, "not stdio, pty");
	expect_refused("none,x", -EINVAL, "not stdio, pty");
	expect_refused("unix:", -EINVAL, "needs a path");
	expect_refused("file", -EINVAL, "needs a path");
	expect_refused("stdio,wait=x", -EINVAL, "wait-for");
	expect_refused("file:/nonexistent/x", -ENOENT, "/nonexistent/x");
}

Test(chardev, specs_are_checked_without_opening_anything)
{
	static const struct {
		const char *spec, *sentence; /* NULL: right */
	} cases[] = {
		{"stdio", NULL},
		{"stdio,wait-for=login:", NULL},
		{"stdio,wait=x", "wait-for"},
		{"pty,link=/nonexistent/x", NULL},
		{"pty,lnk=x", "link"},
		{"unix:/nonexistent/x", NULL},
		{"unix:", "needs a path"},
		{"file:/nonexistent/x", NULL},
		{"file:", "needs a path"},
		{"ring", NULL},
		{"ring:size=1M", NULL},
		{"ring:size=0", "size"},
		{"ring:size=1G", "size"},
		{"rnig", "did you mean ring?"},
		{"none", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmm_error err = {0};
		const int rc = chardev_check(cases[i].spec, "--port", &err);

		cr_expect_eq(rc == 0, !cases[i].sentence, "%s: %s", cases[i].spec, err.message);
		if (cases[i].sentence)
			cr_expect(strstr(err.message, "--port") &&
					  strstr(err.message, cases[i].sentence),
				  "%s", err.message);
	}
}

Test(chardev, every_kind_is_known_by_its_name)
{
	for (const struct chardev_kind *k = chardev_kinds(); k->name; k++) {
		struct vmm_error err = {0};

		cr_expect(*k->usage && *k->help);
		if (chardev_check(k->name, "--port", &err))
			cr_expect(strstr(err.message, "needs a path"), "%s", err.message);
	}
}

/* Memory. */

Test(chardev, ring_keeps_the_latest_output)
{
	char text[32] = "";
	uint64_t dropped;

	open_spec("ring:size=8");
	cr_expect(chardev_connected(cd));
	cr_expect_eq(put("abcdef"), 6u);
	cr_expect_eq(chardev_ring_read(cd, text, 2, &dropped), 2);
	cr_expect_str_eq(text, "ab");
	cr_expect_eq(dropped, 0u);
	cr_expect_eq(put("ghijkl"), 6u);
	cr_expect_eq(chardev_ring_pending(cd), 8u);
	cr_expect_eq(chardev_ring_read(cd, text, sizeof(text), &dropped), 8);
	cr_expect_arr_eq(text, "efghijkl", 8);
	cr_expect_eq(dropped, 2u);
	cr_expect_eq(put("0123456789abcdef"), 16u);
	cr_expect_eq(chardev_ring_read(cd, text, sizeof(text), &dropped), 8);
	cr_expect_arr_eq(text, "89abcdef", 8);
	cr_expect_eq(dropped, 8u);
	cr_expect_eq(chardev_ring_read(cd, text, sizeof(text), &dropped), 0);
	cr_expect_eq(dropped, 0u);
}

Test(chardev, ring_matches_a_model_whatever_the_lengths)
{
	uint8_t model[100], data[250], got[100];
	size_t len = 0;
	uint8_t next = 0;

	open_spec("ring:size=100");
	for (unsigned i = 0; i < 5000; i++) {
		const size_t n = i * 7919 % sizeof(data), take = i * 31 % 60;
		const size_t kept = MIN(n, sizeof(model)), old = MIN(len, sizeof(model) - kept);
		size_t taken;

		for (size_t k = 0; k < n; k++)
			data[k] = next++;
		chardev_write(cd, data, n);
		memmove(model, model + len - old, old);
		memcpy(model + old, data + n - kept, kept);
		len = old + kept;
		taken = MIN(take, len);
		cr_assert_eq(chardev_ring_read(cd, got, take, NULL), (ssize_t)taken);
		cr_assert(!memcmp(got, model, taken));
		len -= taken;
		memmove(model, model + taken, len);
	}
}

Test(chardev, ring_takes_input_as_far_as_there_is_room)
{
	static uint8_t block[40 * 1024];

	open_spec("ring");
	front.room = 0;
	cr_expect_eq(chardev_ring_write(cd, "hello", 5), 5);
	cr_expect_eq(chardev_ring_write(cd, block, sizeof(block)), (ssize_t)sizeof(block));
	cr_expect_lt(chardev_ring_write(cd, block, sizeof(block)), (ssize_t)sizeof(block));
	cr_expect_eq(chardev_ring_write(cd, block, sizeof(block)), 0);
	settle();
	front.room = 5;
	chardev_input_ready(cd);
	settle();
	cr_expect_str_eq(front.input, "hello");
	cr_expect_eq(chardev_ring_write(cd, block, sizeof(block)), 5);
}

Test(chardev, only_a_ring_can_be_read)
{
	char text[8];

	open_spec("none");
	cr_expect_eq(chardev_ring_read(cd, text, sizeof(text), NULL), -ENOTSUP);
	cr_expect_eq(chardev_ring_write(cd, text, sizeof(text)), -ENOTSUP);
	cr_expect_eq(chardev_ring_pending(cd), 0u);
}

Test(chardev, none_takes_everything)
{
	open_spec("none");
	cr_expect_eq(put("gone"), 4u);
	cr_expect_str_eq(chardev_describe(cd), "none");
	cr_expect_eq(front.connects + front.writable, 0u);
}

Test(chardev, file_is_truncated_and_written)
{
	char text[32] = "";
	FILE *f = fopen(path, "w");

	fputs("something older and longer", f);
	fclose(f);
	open_at("file:%s");
	put("hello ");
	chardev_write(cd, (const uint8_t *)"world", 5);
	chardev_destroy(cd); /* writes what is left */
	cd = NULL;
	f = fopen(path, "r");
	cr_assert_not_null(f);
	cr_expect_eq(fread(text, 1, sizeof(text), f), 11u);
	cr_expect_str_eq(text, "hello world");
	fclose(f);
}

/* unix */

Test(chardev, a_client_comes_and_goes_and_comes_back)
{
	int client;

	open_at("unix:%s");
	cr_expect(strstr(fake.last_log, "listening on unix:"), "%s", fake.last_log);
	cr_expect_eq(put("nobody listens"), 14u);
	cr_expect_eq(front.connects, 0u);

	client = fake_env_connect(&fake, path);
	cr_expect(front.connected);
	put("hello");
	cr_expect_str_eq(get(client), "hello");
	say(client, "hi");
	cr_expect_str_eq(front.input, "hi");
	close(client);
	settle();
	cr_expect_not(front.connected);

	client = fake_env_connect(&fake, path);
	cr_expect_eq(front.connects, 2u);
	put("again");
	cr_expect_str_eq(get(client), "again", "nothing of what nobody heard");
	close(client);
}

Test(chardev, a_second_client_is_refused)
{
	int first, second;

	open_at("unix:%s");
	first = fake_env_connect(&fake, path);
	second = fake_env_connect(&fake, path);
	cr_expect_eq(read(second, path, 1), 0, "closed at once");
	cr_expect_eq(front.connects, 1u);
	put("still here");
	cr_expect_str_eq(get(first), "still here");
	close(first);
	close(second);
}

Test(chardev, the_socket_file_goes_with_the_server)
{
	open_at("unix:%s");
	cr_expect_eq(access(path, F_OK), 0);
	chardev_destroy(cd);
	cd = NULL;
	cr_expect_eq(access(path, F_OK), -1);
}

Test(chardev, a_stale_socket_file_is_replaced_and_a_live_one_is_not)
{
	const int fd = unix_listen(path, 1);
	char spec[128];
	FILE *f;

	snprintf(spec, sizeof(spec), "unix:%s", path);
	expect_refused(spec, -EADDRINUSE, "in use");
	close(fd);
	open_spec(spec);
	close(fake_env_connect(&fake, path));
	chardev_destroy(cd);
	cd = NULL;

	f = fopen(path, "w"); /* a file that is no socket is somebody's */
	fclose(f);
	expect_refused(spec, -EEXIST, "is there already, and is not a socket");
	snprintf(spec, sizeof(spec), "attach:%s", path);
	expect_refused(spec, -EEXIST, "is there already, and is not a socket");
	cr_expect_eq(access(path, F_OK), 0);
}

Test(chardev, a_path_that_is_too_long_is_named)
{
	char spec[256] = "unix:/tmp/";

	memset(spec + strlen(spec), 'x', 150);
	expect_refused(spec, -ENAMETOOLONG, "155 characters, the system allows 107");
}

Test(chardev, a_client_that_only_stops_sending_still_gets_output)
{
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	say(client, "command");
	shutdown(client, SHUT_WR);
	settle();
	cr_expect(front.connected);
	cr_expect_str_eq(front.input, "command");
	put("answer");
	cr_expect_str_eq(get(client), "answer");
	close(client);
	settle();
	cr_expect_not(front.connected);
}

Test(chardev, input_waits_while_the_front_end_takes_none)
{
	char block[1000];
	size_t sent = 0;
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	front.room = 10;
	memset(block, 'b', sizeof(block));
	fcntl(client, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 7; i++) {
		sent += (size_t)write(client, block, sizeof(block));
		settle();
	}
	cr_expect_eq(front.len, 10u);
	front.room = 100;
	settle();
	cr_expect_eq(front.len, 10u, "not before it says so");
	chardev_input_ready(cd);
	cr_expect_eq(front.len, 10u, "not from within the call");
	settle();
	cr_expect_eq(front.len, 110u);

	/* What the client sent before it went arrives as well. */
	close(client);
	settle();
	front.room = SIZE_MAX;
	chardev_input_ready(cd);
	settle();
	cr_expect_eq(front.len, sent);
	cr_expect_not(front.connected);
}

Test(chardev, one_that_left_unread_input_behind_makes_room_for_the_next)
{
	char block[6000];
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	front.room = 0;
	memset(block, 'b', sizeof(block));
	cr_assert_eq(write(client, block, sizeof(block)), (ssize_t)sizeof(block));
	settle();
	close(client);
	settle();
	client = fake_env_connect(&fake, path);
	cr_expect_eq(front.connects, 2u);
	put("welcome");
	cr_expect_str_eq(get(client), "welcome");
	close(client);
}

Test(chardev, output_stops_at_a_peer_that_does_not_read)
{
	static char text[65536];
	size_t total, got = 0;
	ssize_t n;
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	total = fill();
	cr_expect_eq(front.writable, 0u);
	cr_expect_eq(chardev_write(cd, (const uint8_t *)"x", 1), 0u);
	while ((n = recv(client, text, sizeof(text), MSG_DONTWAIT)) > 0) {
		got += (size_t)n;
		settle();
	}
	cr_expect_eq(got, total);
	cr_expect_geq(front.writable, 1u);
	cr_expect_eq(put("x"), 1u);
	fill();
	front.writable = 0;
	close(client); /* with nobody there, output is taken again */
	settle();
	cr_expect_eq(front.writable, 1u);
	cr_expect_eq(put("dropped"), 7u);
}

Test(chardev, output_does_not_wait_for_one_that_left_unread_input_behind)
{
	static char block[8192];
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	front.room = 0;
	cr_assert_eq(write(client, block, sizeof(block)), (ssize_t)sizeof(block));
	settle();
	fill();
	cr_expect_eq(chardev_write(cd, (const uint8_t *)"x", 1), 0u);
	close(client);
	settle();
	cr_expect_geq(front.writable, 1u);
	for (unsigned i = 0; i < 100; i++)
		cr_expect_eq(chardev_write(cd, (const uint8_t *)block, sizeof(block)),
			     sizeof(block));
	cr_expect(front.connected, "what was sent is still to be read");
}

Test(chardev, no_spinning_while_there_is_no_descriptor_for_a_client)
{
	struct rlimit limit, none;
	int client, last;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	close(client);
	settle();
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	last = dup(client);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)last;
	close(last);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	unix_connect_fd(client, path);
	settle(); /* fails if the loop finds something to do for ever */
	cr_expect_not(front.connected);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fake_env_advance(&fake, UINT64_C(1000) * NS_PER_MS);
	cr_expect(front.connected);
	close(client);
	settle();
	cr_expect_not(front.connected);
}

Test(chardev, last_words_of_a_client_come_before_its_hang_up)
{
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	front.room = 4;
	cr_assert_eq(write(client, "last words", 10), 10);
	settle();
	close(client);
	settle();
	cr_expect_str_eq(front.input, "last");
	cr_expect(front.connected);
	front.room = 100;
	chardev_input_ready(cd);
	settle();
	cr_expect_str_eq(front.input, "last words");
	cr_expect_not(front.connected);
}

Test(chardev, a_detached_front_end_gets_nothing)
{
	int client;

	open_at("unix:%s");
	client = fake_env_connect(&fake, path);
	chardev_attach(cd, NULL, NULL);
	say(client, "later");
	cr_expect_eq(front.len, 0u);
	chardev_attach(cd, &frontend, &front);
	settle();
	cr_expect_str_eq(front.input, "later");
	cr_expect_eq(front.connects, 2u, "a new front end is told who is there");
	close(client);
}

/* pty */

static int attach_pty(void)
{
	const int fd = open(chardev_describe(cd), O_RDWR | O_NOCTTY);

	cr_assert_geq(fd, 0);
	settle();
	return fd;
}

Test(chardev, people_attach_to_a_pty_and_leave)
{
	int slave;

	open_spec("pty");
	cr_expect_eq(strncmp(chardev_describe(cd), "/dev/pts/", 9), 0);
	cr_expect_eq(put("nobody there"), 12u);
	cr_expect_eq(loop_turn(fake.env.loop, false), 0u, "at rest");

	for (unsigned i = 1; i <= 3; i++) {
		slave = attach_pty();
		cr_expect_eq(front.connects, i);
		put("out\n");
		cr_expect_str_eq(get(slave), "out\n", "raw, and nothing older");
		front.len = 0;
		say(slave, "in\r");
		until(front.len == 3);
		cr_expect_str_eq(front.input, "in\r");
		close(slave);
		until(front.disconnects == i);
		settle(); /* fails the test where it never comes to rest */
	}
}

Test(chardev, what_somebody_wrote_to_a_pty_who_left_at_once_arrives)
{
	int slave;

	open_spec("pty");
	slave = open(chardev_describe(cd), O_RDWR | O_NOCTTY);
	cr_assert_eq(write(slave, "quick", 5), 5);
	close(slave);
	until(front.disconnects == 1);
	cr_expect_str_eq(front.input, "quick");
	settle();
}

Test(chardev, a_pty_that_is_not_read_stops_output)
{
	int slave;

	open_spec("pty");
	slave = attach_pty();
	fill();
	close(slave);
	until(front.writable == 1);
}

Test(chardev, the_link_to_a_pty_comes_and_goes)
{
	char target[64];
	ssize_t n;

	cr_assert_eq(symlink("/dev/pts/999999", path), 0); /* of an earlier run */
	open_at("pty,link=%s");
	n = readlink(path, target, sizeof(target) - 1);
	cr_assert_gt(n, 0);
	target[n] = '\0';
	cr_expect_str_eq(target, chardev_describe(cd));
	chardev_destroy(cd);
	cd = NULL;
	cr_expect_eq(access(path, F_OK), -1);
	cr_expect_eq(readlink(path, target, sizeof(target)), -1);
}

Test(chardev, a_link_does_not_replace_a_file)
{
	char spec[128];

	snprintf(spec, sizeof(spec), "pty,link=%s", path);
	fclose(fopen(path, "w"));
	expect_refused(spec, -EEXIST, path);
	cr_expect_eq(access(path, F_OK), 0);
}

/* stdio: every test is a process of its own, so it may replace its standard descriptors. */

static int input_pipe(void)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	dup2(fds[0], STDIN_FILENO);
	close(fds[0]);
	return fds[1];
}

static int output_pipe(void)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDOUT_FILENO);
	close(fds[1]);
	return fds[0];
}

Test(chardev, stdio_passes_pipes_through)
{
	const int in = input_pipe(), out = output_pipe();

	open_spec("stdio");
	say(in, "in\001x");
	cr_expect_str_eq(front.input, "in\001x", "no escapes where there is no terminal");
	cr_expect_eq(front.quits, 0u);
	put("out");
	cr_expect_str_eq(get(out), "out");
	cr_expect_not(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK);
	cr_expect_not(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK);
	say(in, "last words");
	close(in);
	settle();
	cr_expect_str_eq(front.input, "in\001xlast words");
	put("more");
	cr_expect_str_eq(get(out), "more", "output goes on");
}

static void stdin_from(const char *name)
{
	const int fd = open(name, O_RDONLY);

	cr_assert_geq(fd, 0);
	dup2(fd, STDIN_FILENO);
	close(fd);
}

Test(chardev, stdio_takes_a_file_at_the_pace_of_the_front_end)
{
	FILE *f = fopen(path, "w");
	const int out = output_pipe();

	for (unsigned i = 0; i < 1000; i++)
		fprintf(f, "%03u\n", i);
	fclose(f);
	stdin_from(path);
	front.room = 6;
	open_spec("stdio");
	cr_expect_str_eq(front.input, "000\n00");
	front.room = SIZE_MAX;
	chardev_input_ready(cd);
	settle();
	cr_expect_eq(front.len, 4000u);
	cr_expect_str_eq(front.input + 3996, "999\n");
	put("x");
	cr_expect_str_eq(get(out), "x");
}

Test(chardev, stdio_works_without_any_input_or_output)
{
	const int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	open_spec("stdio");
	cr_expect_eq(put("dropped"), 7u);
	cr_expect_eq(front.len, 0u);
	chardev_destroy(cd);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	open_spec("stdio");
	cr_expect_eq(put("dropped"), 7u);
}

Test(chardev, stdio_writes_to_a_file)
{
	const int fd = open(path, O_RDWR | O_CREAT, 0600);
	const int in = input_pipe();
	char text[8] = "";

	dup2(fd, STDOUT_FILENO);
	open_spec("stdio");
	put("kept");
	cr_expect_eq(pread(fd, text, sizeof(text), 0), 4);
	cr_expect_str_eq(text, "kept");
	close(in);
	close(fd);
}

Test(chardev, a_reader_that_has_gone_does_not_kill_the_process)
{
	const int in = input_pipe(), out = output_pipe();

	open_spec("stdio");
	close(out);
	cr_expect_eq(put("into the void"), 13u);
	cr_expect_eq(put("again"), 5u);
	say(in, "input goes on");
	cr_expect_str_eq(front.input, "input goes on");
	close(in);
}

Test(chardev, stdio_stops_at_a_pipe_that_is_not_read)
{
	const int in = input_pipe(), out = output_pipe();
	static char text[65536];
	size_t total, got = 0;
	ssize_t n;

	open_spec("stdio");
	total = fill();
	fcntl(out, F_SETFL, O_NONBLOCK);
	while ((n = read(out, text, sizeof(text))) > 0) {
		got += (size_t)n;
		settle();
	}
	cr_expect_eq(got, total);
	cr_expect_geq(front.writable, 1u);
	close(in);
}

Test(chardev, input_is_held_until_the_text_has_appeared)
{
	const int in = input_pipe(), out = output_pipe();

	open_spec("stdio,wait-for=aab");
	say(in, "secret");
	put("login: a");
	put("aa");
	cr_expect_eq(front.len, 0u);
	put("b");
	cr_expect_str_eq(front.input, "secret");
	say(in, "!");
	cr_expect_str_eq(front.input, "secret!");
	cr_expect_str_eq(get(out), "login: aaab");
	close(in);
}

/* A pty as the terminal: returns the person's side. */
static int terminal(void)
{
	const int master = posix_openpt(O_RDWR | O_NOCTTY);
	char name[64];
	int slave;

	cr_assert_eq(grantpt(master), 0);
	cr_assert_eq(unlockpt(master), 0);
	cr_assert_eq(ptsname_r(master, name, sizeof(name)), 0);
	slave = open(name, O_RDWR | O_NOCTTY);
	cr_assert_geq(slave, 0);
	dup2(slave, STDIN_FILENO);
	dup2(slave, STDOUT_FILENO);
	close(slave);
	return master;
}

/* A process group of its own, which waits to be killed. */
static pid_t somebody_else(void)
{
	const pid_t child = fork();

	if (child == 0)
		for (;;)
			pause();
	setpgid(child, child);
	return child;
}

/* In a session of its own, whose terminal this is. Returns true if all is as it should be. */
static bool goes_to_the_background_and_returns(int person)
{
	pid_t other;
	bool quiet;

	if (setsid() < 0 || ioctl(STDIN_FILENO, TIOCSCTTY, 0))
		return false;
	open_spec("stdio");
	other = somebody_else();
	if (other < 0 || tcsetpgrp(STDIN_FILENO, other) || write(person, "x", 1) != 1)
		return false;
	while (!loop_turn(fake.env.loop, true))
		;
	settle(); /* not stopped, and not busy */
	quiet = front.len == 0;
	signal(SIGTTOU, SIG_IGN);
	if (tcsetpgrp(STDIN_FILENO, getpgrp()))
		return false;
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	fake_env_advance(&fake, UINT64_C(500) * NS_PER_MS);
	until(front.len == 1);
	return quiet;
}

Test(chardev, a_terminal_is_not_read_from_its_background)
{
	const int person = terminal();
	const pid_t session = fork();
	int status;

	if (session == 0)
		_exit(!goes_to_the_background_and_returns(person));
	cr_assert_eq(waitpid(session, &status, WUNTRACED), session);
	if (WIFSTOPPED(status))
		kill(session, SIGKILL);
	cr_assert_not(WIFSTOPPED(status), "the terminal has stopped it");
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0);
	close(person);
}

Test(chardev, a_terminal_has_a_size_that_changes)
{
	const int person = terminal();
	struct winsize size = {.ws_col = 80, .ws_row = 25};

	cr_assert_eq(ioctl(person, TIOCSWINSZ, &size), 0);
	open_spec("stdio");
	cr_expect_eq(front.columns, 80u);
	cr_expect_eq(front.rows, 25u);
	size.ws_col = 132;
	cr_assert_eq(ioctl(person, TIOCSWINSZ, &size), 0);
	chardev_check_size(cd);
	cr_expect_eq(front.columns, 132u);
	cr_expect_eq(front.resizes, 2u);
	chardev_check_size(cd);
	cr_expect_eq(front.resizes, 2u);
	close(person);
}

Test(chardev, a_terminal_is_made_raw_and_restored)
{
	const int person = terminal();
	struct termios before = {0}, during, after = {0};

	tcgetattr(STDIN_FILENO, &before);
	open_spec("stdio");
	tcgetattr(STDIN_FILENO, &during);
	cr_expect_eq(during.c_lflag & (ICANON | ECHO | ISIG), 0u);
	cr_expect_eq(during.c_iflag & ICRNL, 0u);
	say(person, "a\r\003");
	until(front.len == 3);
	cr_expect_str_eq(front.input, "a\r\003");
	put("x");
	cr_expect_str_eq(get(person), "x", "no echo");
	cr_expect_not(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK);
	chardev_destroy(cd);
	cd = NULL;
	tcgetattr(STDIN_FILENO, &after);
	cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0);
	close(person);
}

Test(chardev, a_terminal_may_keep_its_signals)
{
	const int person = terminal();
	struct termios during;

	open_spec("stdio,signal=on");
	tcgetattr(STDIN_FILENO, &during);
	cr_expect(during.c_lflag & ISIG);
	close(person);
}

Test(chardev, escapes_at_a_terminal)
{
	const int person = terminal();

	open_spec("stdio");
	say(person, "a\001");
	say(person, "ab\001bc\001zd");
	until(front.len == 5);
	cr_expect_str_eq(front.input, "a\001bcd");
	cr_expect_eq(front.breaks, 1u);
	say(person, "\001he");
	until(front.len == 6);
	settle();
	cr_expect(strstr(get(person), "Ctrl-a h"));
	cr_expect_eq(front.quits, 0u);
	say(person, "\001x");
	until(front.quits == 1);
	close(person);
	settle();
}

Test(chardev, escapes_work_while_input_is_held)
{
	const int person = terminal();

	open_spec("stdio,wait-for=never");
	say(person, "text\001x");
	until(front.quits == 1);
	cr_expect_eq(front.len, 0u);
	close(person);
}
