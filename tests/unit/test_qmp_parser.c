/* SPDX-License-Identifier: MIT */
/*
 * What the server of the control socket takes for a request, byte by byte, and what of QEMU's
 * specification goes beyond JSON; and its end while clients ask.
 */
#include "support/qmp_server.h"

#include <pthread.h>

#include "vmm/qmp_internal.h"

TestSuite(qmp_parser, .init = start, .fini = stop, .timeout = 120);

Test(qmp_parser, a_byte_that_no_json_has_forgets_what_was_begun_and_is_answered)
{
	static const char *const broken[] = {
		"\x01",  /* "cleanest way" of the specification to find one's place again */
		"\xff",  /* and the one for old servers */
		"{\x01", /* outside of a text */
		"{\"execute\":\"echo\",\"arg\xff",
		"{\"execute\":\"ec\xfe",
		"{\"execute\":\"echo\x1b",
		"{\"execute\":\"echo\n", /* a text ends with the line at the latest */
		"{\"execute\":\"a\t",
		"[[[[{'\x7f\\'\x1f",
		"garbage\x02",
	};
	struct client c = negotiated();

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		says(&c, broken[i]);
		if (*broken[i] == 'g')
			hears_text(&c, "begins with '{'");
		hears_text(&c, "invalid byte");
		is_served(&c);
	}
	leaves(&c);
}

Test(qmp_parser, a_long_request_that_is_skipped_ends_with_such_a_byte_too)
{
	static char text[QMP_REQUEST_MAX + 16];
	struct client c = negotiated();

	memset(text, 'x', sizeof(text));
	memcpy(text, "{\"", 2);
	sends(&c, text, sizeof(text));
	hears_text(&c, "at most 1048576 bytes");
	says(&c, "\x01");
	hears_text(&c, "invalid byte");
	is_served(&c);
	leaves(&c);
}

Test(qmp_parser, texts_in_single_quotes_are_taken_as_qemu_does)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{"{'execute':'echo','arguments':{'text':'a'},'id':'1'}",
		 "{\"return\": {\"text\": \"a\"}, \"id\": \"1\"}"},
		{"{'execute':'echo','arguments':{'text':'say \"}\" \\\"{'}}",
		 "{\"text\": \"say \\\"}\\\" \\\"{\"}"},
		{"{'execute':'echo','arguments':{'text':'it\\'s }'}}", "{\"text\": \"it's }\"}"},
		{"{\"execute\":\"echo\",\"arguments\":{\"text\":\"it's \\'so\\' {\"}}",
		 "{\"text\": \"it's 'so' {\"}"},
		{"{'execute':'echo','arguments':{'text':'\\\\'}}", "{\"text\": \"\\\\\"}"},
		{"{'execute':\"echo'}", "JSON parse error"},
	};
	struct client c = negotiated();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		says(&c, cases[i].request);
		if (i + 1 == ARRAY_SIZE(cases))
			says(&c, "\n");
		hears_text(&c, cases[i].answer);
	}
	is_served(&c);
	leaves(&c);
}

/* Each quote becomes two characters: what counts is how much is kept. */
Test(qmp_parser, a_request_does_not_grow_beyond_the_longest_by_its_quotes)
{
	struct qmp_parser parser = {0};
	enum qmp_found found;
	size_t sent = 0;

	cr_assert_eq(qmp_parser_feed(&parser, "['", 2, &found), 2);
	for (; found == QMP_FOUND_NOTHING; sent++) {
		cr_assert_eq(qmp_parser_feed(&parser, "\"", 1, &found), 1);
		cr_assert_leq(parser.len, QMP_REQUEST_MAX);
	}
	cr_assert_eq(found, QMP_FOUND_TOO_LONG);
	cr_assert_eq(sent, (QMP_REQUEST_MAX - 2) / 2 + 1);
	qmp_parser_fini(&parser);
}

/* That what is sent is ASCII is looked at in hears(). */
Test(qmp_parser, what_is_not_ascii_comes_back_as_what_it_was)
{
	struct client c = negotiated();
	json_t *answer;

	says(&c,
	     "{\"execute\":\"echo\",\"id\":\"\xc3\xa4\",\"arguments\":{\"text\":\"\xf0\x9f\x90\xa7\x7f\"}}");
	answer = hears(&c);
	cr_assert_str_eq(json_string_value(json_object_get(answer, "id")), "\xc3\xa4");
	cr_assert_str_eq(
		json_string_value(json_object_get(json_object_get(answer, "return"), "text")),
		"\xf0\x9f\x90\xa7\x7f");
	json_decref(answer);
	says(&c, "{\"execute\":\"\xe2\x82\xac\"}");
	hears_text(&c, "CommandNotFound");
	leaves(&c);
}

/* ---- the end ---- */

static void *destroy(void *arg)
{
	qmp_destroy(arg);
	return NULL;
}

/* Whether the server has been told to end. */
static bool ends(void)
{
	bool stopping;

	pthread_mutex_lock(&qmp->lock);
	stopping = qmp->stopping;
	pthread_mutex_unlock(&qmp->lock);
	return stopping;
}

Test(qmp_parser, at_its_end_no_more_commands_are_begun)
{
	struct client a = negotiated(), b = negotiated(), c = negotiated();
	pthread_t thread;
	int begun;

	says(&a, "{\"execute\":\"wait\"}");
	sem_wait(&entered);
	says(&b, "{\"execute\":\"none\"}{\"execute\":\"wait\"}");
	hears_text(&b, "CommandNotFound");
	says(&c, "{\"execute\":\"none\"}");
	hears_text(&c, "CommandNotFound"); /* by now that of b waits for its turn */
	cr_assert_eq(pthread_create(&thread, NULL, destroy, qmp), 0);
	while (!ends())
		sched_yield();
	sem_post(&go_on);
	sem_post(&go_on); /* one that should not be needed */
	pthread_join(thread, NULL);
	sem_getvalue(&entered, &begun);
	cr_assert_eq(begun, 0);
	hears_text(&a, "{\"return\": {}}");
	cr_assert_null(hears(&a));
	cr_assert_null(hears(&b));
	qmp = NULL;
	leaves(&a);
	leaves(&b);
	leaves(&c);
}
