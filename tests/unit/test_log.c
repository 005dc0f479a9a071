/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

struct sink {
	struct log log;
	struct clock_fake clock;
	_Atomic unsigned lines, left_out;
	char last[2048];
	char source[32];
	enum vmm_log_level level;
};

static void keep(void *opaque, enum vmm_log_level level, const char *source, const char *line)
{
	struct sink *s = opaque;

	s->lines++;
	s->level = level;
	strncpy(s->source, source, sizeof(s->source) - 1);
	strncpy(s->last, line, sizeof(s->last) - 1);
	s->last[sizeof(s->last) - 1] = '\0';
}

/* Count the lines, and the messages that they say were left out. Any thread. */
static void only_count(void *opaque, enum vmm_log_level level UNUSED, const char *source UNUSED,
		       const char *line)
{
	struct sink *s = opaque;
	const char *note = strchr(line, '(');

	s->lines++;
	if (note)
		s->left_out += (unsigned)strtoul(note + 1, NULL, 10);
}

static void sink_init(struct sink *s, enum vmm_log_level level)
{
	memset(s, 0, sizeof(*s));
	clock_fake_init(&s->clock);
	s->log = (struct log){.fn = keep, .opaque = s, .level = level, .clock = &s->clock.clock};
}

Test(log, lines_reach_the_callback_with_level_and_source)
{
	struct sink s;

	sink_init(&s, VMM_LOG_INFO);
	log_info(&s.log, "disk0", "%d sectors", 5);
	cr_assert_str_eq(s.last, "5 sectors");
	cr_assert_str_eq(s.source, "disk0");
	cr_assert_eq(s.level, VMM_LOG_INFO);
}

Test(log, more_verbose_levels_are_dropped)
{
	struct sink s;

	sink_init(&s, VMM_LOG_WARN);
	log_info(&s.log, "x", "no");
	log_debug(&s.log, "x", "no");
	cr_assert_eq(s.lines, 0);
	log_warn(&s.log, "x", "yes");
	log_error(&s.log, "x", "yes");
	cr_assert_eq(s.lines, 2);
}

Test(log, no_log_and_no_callback_discard)
{
	struct log log = {.fn = NULL, .level = VMM_LOG_DEBUG};
	struct log_limit limit = {0};

	log_error(NULL, "x", "lost");
	log_error(&log, "x", "lost");
	log_guest(NULL, &limit, "x", "lost");
	log_guest(&log, &limit, "x", "lost");
}

Test(log, long_lines_are_cut)
{
	struct sink s;
	char text[4096];

	sink_init(&s, VMM_LOG_WARN);
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_warn(&s.log, "x", "%s", text);
	cr_assert_eq(strlen(s.last), 1023);
}

Test(log, control_characters_do_not_reach_a_terminal)
{
	struct sink s;

	sink_init(&s, VMM_LOG_WARN);
	log_warn(&s.log, "x", "a\033[2Jb\nc\td\177e \303\244");
	cr_assert_str_eq(s.last, "a?[2Jb c d?e \303\244");
}

Test(log, guest_messages_pass_five_at_once_then_one_a_second)
{
	struct log_limit limit = {0};
	struct sink s;

	sink_init(&s, VMM_LOG_WARN);
	for (int i = 0; i < 1000; i++)
		log_guest(&s.log, &limit, "x", "bad");
	cr_assert_eq(s.lines, 5);
	cr_assert_eq(s.level, VMM_LOG_WARN);
	clock_fake_advance(&s.clock, NS_PER_SEC - 1);
	log_guest(&s.log, &limit, "x", "bad");
	cr_assert_eq(s.lines, 5);
	for (int i = 0; i < 10; i++) {
		clock_fake_advance(&s.clock, NS_PER_SEC);
		log_guest(&s.log, &limit, "x", "bad");
		log_guest(&s.log, &limit, "x", "bad");
	}
	cr_assert_eq(s.lines, 15);
}

Test(log, the_next_guest_message_counts_those_left_out)
{
	struct log_limit limit = {0};
	struct sink s;

	sink_init(&s, VMM_LOG_WARN);
	for (int i = 0; i < 12; i++)
		log_guest(&s.log, &limit, "x", "bad");
	clock_fake_advance(&s.clock, NS_PER_SEC);
	log_guest(&s.log, &limit, "x", "worse");
	cr_assert_str_eq(s.last, "worse (7 like it left out)");
	clock_fake_advance(&s.clock, NS_PER_SEC);
	log_guest(&s.log, &limit, "x", "worse");
	cr_assert_str_eq(s.last, "worse");
}

Test(log, the_burst_comes_back_after_silence)
{
	struct log_limit limit = {0};
	struct sink s;

	sink_init(&s, VMM_LOG_WARN);
	for (int i = 0; i < 100; i++)
		log_guest(&s.log, &limit, "x", "bad");
	clock_fake_advance(&s.clock, 60 * NS_PER_SEC);
	for (int i = 0; i < 100; i++)
		log_guest(&s.log, &limit, "x", "bad");
	cr_assert_eq(s.lines, 10);
}

struct flood {
	struct sink *s;
	struct log_limit *limit;
};

static void *flood(void *arg)
{
	struct flood *f = arg;

	for (int i = 0; i < 1000; i++)
		log_guest(&f->s->log, f->limit, "x", "bad");
	return NULL;
}

Test(log, the_limit_holds_for_all_threads_together)
{
	struct log_limit limit = {0};
	struct sink s;
	struct flood f = {&s, &limit};
	pthread_t threads[4];

	sink_init(&s, VMM_LOG_WARN);
	s.log.fn = only_count;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, flood, &f);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(s.lines, 5);
	cr_assert_eq(s.left_out + limit.suppressed, 4000 - 5);
}
