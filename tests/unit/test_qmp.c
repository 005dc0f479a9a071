/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the control socket, over socket pairs and with commands of its own: what clients
 * do by habit, and what hostile ones do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/qmp_server.h"
#include "support/unix_peer.h"

TestSuite(qmp, .init = start, .fini = stop, .timeout = 120);

/* ---- the conversation ---- */

Test(qmp, before_negotiation_only_capabilities_are_accepted)
{
	struct client c = greeted();

	says(&c, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\"},\"id\":1}");
	hears_text(&c, "{\"error\": {\"class\": \"CommandNotFound\"");
	qmp_tell(qmp, "HAPPENED", NULL); /* not for it */
	says(&c, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}");
	hears_text(&c, "is not available");
	says(&c, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enabled\":[]}}");
	hears_text(&c, "Parameter 'enabled' is unexpected");
	says(&c, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]},\"id\":[1,{}]}");
	hears_text(&c, "{\"return\": {}, \"id\": [1, {}]}");
	says(&c, "{\"execute\":\"qmp_capabilities\"}");
	hears_text(&c, "already complete");
	is_served(&c);
	leaves(&c);
}

Test(qmp, answers_carry_the_id_whatever_it_is)
{
	static const char *const ids[] = {"1", "\"x\"", "null", "{\"a\": [1.5]}", "[]", "true"};
	struct client c = negotiated();
	char text[128];

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		snprintf(text, sizeof(text), "{\"execute\":\"fail\",\"id\":%s}", ids[i]);
		says(&c, text);
		snprintf(text, sizeof(text), "\"id\": %s}", ids[i]);
		hears_text(&c, text);
	}
	leaves(&c);
}

Test(qmp, errors_have_class_and_sentence)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{"{\"execute\":\"fail\"}",
		 "{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no such ? thing\"}}"},
		{"{\"execute\":\"none\"}", "\"CommandNotFound\""},
		{"{\"execute\":\"lose\"}", "out of memory"},
		{"{\"execute\":1}", "must be a string"},
		{"{\"id\":1}", "lacks member 'execute'"},
		{"{\"execute\":\"echo\",\"arguments\":[]}", "must be an object"},
		{"{\"execute\":\"echo\",\"argument\":{}}", "'argument' is unexpected"},
		{"{\"exec-oob\":\"echo\"}", "'exec-oob' is unexpected"},
		{"{\"execute\":\"echo\"}", "'text' is missing"},
		{"{\"execute\":\"echo\",\"arguments\":{\"text\":1}}", "expected: string"},
		{"{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"flag\":1}}",
		 "expected: boolean"},
		{"{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"number\":1.5}}",
		 "expected: integer"},
		{"{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"b\":1}}",
		 "'b' is unexpected"},
		{"{\"execute\":\"open\",\"arguments\":{\"text\":\"\",\"b\":1}}",
		 "{\"return\": {\"text\": \"\", \"b\": 1}}"},
		{"[]", "must be a JSON object"},
		{"{\"execute\":\"fail\",\"execute\":\"fail\"}", "JSON parse error"},
		{"{\"execute\":\"fail\"]", "JSON parse error"},
		{"{\"execute\":99999999999999999999}", "JSON parse error"},
	};
	struct client c = negotiated();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		says(&c, cases[i].request);
		hears_text(&c, cases[i].answer);
	}
	is_served(&c);
	leaves(&c);
}

/* ---- habits ---- */

Test(qmp, a_request_may_come_in_several_packets)
{
	static const char request[] =
		"{ \"execute\" :\n \"echo\",\t\"arguments\": {\"text\": \"a\\\"}{[\\\\\"}\r\n}";
	struct client c = negotiated();

	for (size_t i = 0; i < sizeof(request) - 1; i++)
		sends(&c, request + i, 1);
	hears_text(&c, "{\"return\": {\"text\": \"a\\\"}{[\\\\\"}}");
	leaves(&c);
}

Test(qmp, several_requests_in_one_packet_are_answered_in_order)
{
	struct client c = negotiated();
	char text[8192] = "", part[64];
	size_t len = 0;

	for (int i = 0; i < 100; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"{\"execute\":\"%s\",\"id\":%d}", i % 2 ? "fail" : "none",
					i);
	says(&c, text);
	for (int i = 0; i < 100; i++) {
		snprintf(part, sizeof(part), "\"id\": %d}", i);
		hears_text(&c, part);
	}
	leaves(&c);
}

Test(qmp, garbage_between_requests_is_reported_once)
{
	struct client c = negotiated();

	says(&c, "GET / HTTP/1.1\r\n");
	hears_text(&c, "JSON parse error");
	says(&c, "]]]}}}\n\n \r\n");
	hears_text(&c, "JSON parse error");
	says(&c, "true,false;{\"execute\":\"fail\",\"id\":7}");
	hears_text(&c, "JSON parse error");
	hears_text(&c, "\"id\": 7}");
	is_served(&c);
	leaves(&c);
}

Test(qmp, invalid_utf8_is_refused)
{
	struct client c = negotiated();

	says(&c, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"\xc3\x28\"}}");
	hears_text(&c, "JSON parse error");
	says(&c, "{\"execute\":\"\xed\xa0\x80\"}");
	hears_text(&c, "JSON parse error");
	is_served(&c);
	leaves(&c);
}

Test(qmp, a_thousand_nested_arrays_are_refused)
{
	char deep[2048];
	struct client c = negotiated();

	/* Closed and not closed, as an argument and bare. */
	memset(deep, '[', 1000);
	memset(deep + 1000, ']', 1000);
	says(&c, "{\"execute\":\"echo\",\"arguments\":{\"text\":");
	sends(&c, deep, 2000);
	says(&c, "}}");
	hears_text(&c, "nested more than");
	is_served(&c);
	sends(&c, deep, 1000);
	hears_text(&c, "nested more than");
	says(&c, "\n");
	is_served(&c);
	leaves(&c);
}

Test(qmp, a_line_of_64_mib_is_refused_and_not_kept)
{
	static char block[MIB];
	struct client c = negotiated();

	memset(block, 'x', sizeof(block));
	says(&c, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"");
	for (int i = 0; i < 64; i++)
		sends(&c, block, sizeof(block));
	says(&c, "\"}}");
	hears_text(&c, "at most 1048576 bytes");
	is_served(&c);
	leaves(&c);
}

Test(qmp, the_longest_request_that_is_allowed_is_answered)
{
	static char text[QMP_REQUEST_MAX + 1];
	static const char head[] = "{\"execute\":\"echo\",\"arguments\":{\"text\":\"",
			  tail[] = "\"}}";
	struct client c = negotiated();

	memset(text, 'x', sizeof(text));
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + QMP_REQUEST_MAX - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
	sends(&c, text, QMP_REQUEST_MAX);
	hears_text(&c, "{\"return\": {\"text\": \"xxx");
	/* One more, with the last bracket as the one too many. */
	text[QMP_REQUEST_MAX - 3] = 'x';
	memcpy(text + QMP_REQUEST_MAX + 1 - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
	sends(&c, text, QMP_REQUEST_MAX + 1);
	hears_text(&c, "at most 1048576 bytes");
	is_served(&c);
	leaves(&c);
}

Test(qmp, who_closes_its_sending_half_still_gets_its_answers)
{
	struct client c = greeted();

	says(&c, "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"fail\",\"id\":1}"
		 "{\"execute\":\"fail\",\"id\":2}{\"execute\"");
	shutdown(c.fd, SHUT_WR);
	hears_text(&c, "{\"return\": {}}");
	hears_text(&c, "\"id\": 1}");
	hears_text(&c, "\"id\": 2}");
	cr_assert_null(hears(&c));
	leaves(&c);
}

/* ---- events ---- */

Test(qmp, events_reach_all_who_have_negotiated_with_a_timestamp)
{
	struct client a = negotiated(), b = negotiated();
	json_t *event;

	qmp_tell(qmp, "HAPPENED", json_pack("{s:i}", "number", 1));
	hears_text(&a, "\"event\": \"HAPPENED\", \"data\": {\"number\": 1}}");
	event = hears(&b);
	cr_assert_gt(
		json_integer_value(json_object_get(json_object_get(event, "timestamp"), "seconds")),
		1500000000);
	json_decref(event);
	leaves(&a);
	leaves(&b);
}

Test(qmp, an_event_does_not_wait_for_a_command_that_does)
{
	struct client a = negotiated(), b;

	says(&a, "{\"execute\":\"wait\"}");
	sem_wait(&entered);
	qmp_tell(qmp, "HAPPENED", NULL);
	hears_text(&a, "HAPPENED");
	/* Others come, negotiate, are told of their mistakes and go. */
	b = negotiated();
	says(&b, "{\"execute\":\"none\"}");
	hears_text(&b, "CommandNotFound");
	leaves(&b);
	sem_post(&go_on);
	hears_text(&a, "{\"return\": {}}");
	sem_wait(&left);
	leaves(&a);
}

/* ---- clients that hold or leave ---- */

Test(qmp, a_client_may_die_while_its_command_runs)
{
	struct client a = negotiated(), b = negotiated();

	says(&a, "{\"execute\":\"wait\"}");
	sem_wait(&entered);
	leaves(&a);
	says(&b, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"b\"}}");
	sem_post(&go_on);
	hears_text(&b, "{\"return\": {\"text\": \"b\"}}");
	leaves(&b);
}

Test(qmp, a_client_that_never_reads_holds_nobody_and_is_disconnected)
{
	struct client slow = negotiated(), other = negotiated();
	static char padding[60000];
	struct pollfd p = {.fd = slow.fd, .events = 0};

	memset(padding, 'x', sizeof(padding) - 1);
	/* Its answers stop it, not us; then events make more than it may leave unread. */
	for (int i = 0; i < 1000 && !(p.revents & POLLHUP); i++) {
		qmp_tell(qmp, "HAPPENED", json_pack("{s:s}", "text", padding));
		hears_text(&other, "HAPPENED");
		is_served(&other);
		cr_assert_geq(poll(&p, 1, 0), 0);
	}
	cr_assert(p.revents & POLLHUP);
	leaves(&slow);
	leaves(&other);
}

Test(qmp, who_sends_and_never_reads_is_not_read_either)
{
	struct client c = negotiated(), other = negotiated();
	static const char request[] = "{\"execute\":\"none\",\"id\":\"0123456789abcdef\"}\n";
	size_t sent = 0;
	ssize_t n;

	/* Until the server reads no more: it keeps no more than its bounds and the socket's. */
	for (;;) {
		struct pollfd p = {.fd = c.fd, .events = POLLOUT};

		if (poll(&p, 1, 500) == 0)
			break;
		n = send(c.fd, request, sizeof(request) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		cr_assert(n > 0 || errno == EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		cr_assert_lt(sent, 16 * MIB);
	}
	is_served(&other);
	leaves(&c);
	leaves(&other);
}

Test(qmp, the_number_of_clients_is_bounded_and_the_next_waits)
{
	char dir[] = "/tmp/vmm-qmp.XXXXXX", path[64];
	struct client clients[QMP_CLIENTS_MAX];
	struct client next = {0};
	struct pollfd p = {.events = POLLIN};

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	cr_assert_eq(qmp_listen(qmp, path, &err), 0, "%s", err.message);
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		clients[i] = negotiated();
	next.fd = p.fd = unix_connect(path);
	is_served(&clients[0]); /* so much time has passed */
	cr_assert_eq(poll(&p, 1, 0), 0);
	leaves(&clients[0]);
	hears_text(&next, "QMP");
	leaves(&next);
	for (size_t i = 1; i < ARRAY_SIZE(clients); i++)
		leaves(&clients[i]);
	qmp_destroy(qmp);
	qmp = NULL;
	cr_assert_eq(rmdir(dir), 0, "the socket was left behind");
}

static unsigned count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

Test(qmp, ten_thousand_clients_leave_no_descriptor)
{
	char dir[] = "/tmp/vmm-qmp.XXXXXX", path[64];
	struct client c;
	unsigned before;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	cr_assert_eq(qmp_listen(qmp, path, &err), 0, "%s", err.message);
	before = count_descriptors();
	for (int i = 0; i < 10000; i++) {
		int fd = unix_connect(path);

		if (i % 3 == 1)
			cr_assert_eq(send(fd, "{\"execute", 9, MSG_NOSIGNAL), 9);
		close(fd);
	}
	/* The server takes them in order: when this one is served, the others are gone. */
	c = (struct client){.fd = unix_connect(path)};
	hears_text(&c, "QMP");
	leaves(&c);
	c = negotiated();
	leaves(&c);
	qmp_destroy(qmp);
	start();
	cr_assert_leq(count_descriptors(), before);
	cr_assert_eq(rmdir(dir), 0);
}

/* ---- the socket ---- */

Test(qmp, the_socket_is_for_its_owner_only_and_stale_ones_are_replaced)
{
	char dir[] = "/tmp/vmm-qmp.XXXXXX", path[64];
	struct stat st;
	int fd;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	/* Left by a process that died. */
	fd = unix_listen(path, 1);
	cr_assert_eq(qmp_listen(qmp, path, &err), -EADDRINUSE);
	cr_assert_not_null(strstr(err.message, "another VM"), "%s", err.message);
	close(fd);
	qmp_destroy(qmp);
	start();
	cr_assert_eq(qmp_listen(qmp, path, &err), 0, "%s", err.message);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	qmp_destroy(qmp);
	cr_assert_neq(access(path, F_OK), 0, "the socket was left behind");
	/* What is no socket is let be. */
	start();
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	cr_assert_eq(qmp_listen(qmp, path, &err), -EEXIST);
	qmp_destroy(qmp);
	cr_assert_eq(access(path, F_OK), 0);
	start();
	cr_assert_lt(qmp_listen(qmp, "/nonexistent/s", &err), 0);
	cr_assert_eq(qmp_listen(qmp, "", &err), -ENAMETOOLONG);
	unlink(path);
	rmdir(dir);
}

/* ---- what it says about itself ---- */

static const json_t *find_name(const json_t *list, const char *name)
{
	size_t i;
	json_t *entry;

	json_array_foreach(list, i,
			   entry) if (!strcmp(json_string_value(json_object_get(entry, "name")),
					      name)) return entry;
	return NULL;
}

Test(qmp, the_schema_names_commands_events_and_only_types_that_are_in_it)
{
	json_t *schema = qmp_schema(commands, NULL, events), *list = qmp_list_commands(commands),
	       *entry;
	static const char *const refers[] = {"arg-type", "ret-type"};
	const json_t *echo;
	size_t i;

	for (const struct qmp_command *c = commands; c->name; c++) {
		cr_assert_not_null(find_name(schema, c->name));
		cr_assert_not_null(find_name(list, c->name));
	}
	cr_assert_not_null(find_name(schema, "HAPPENED"));
	json_array_foreach(schema, i, entry) for (size_t k = 0; k < ARRAY_SIZE(refers); k++)
	{
		const char *type = json_string_value(json_object_get(entry, refers[k]));

		cr_assert(!type || find_name(schema, type), "%s", type);
	}
	echo = find_name(schema, "echo-arg");
	cr_assert_eq(json_array_size(json_object_get(echo, "members")), 3);
	json_decref(schema);
	json_decref(list);
}
