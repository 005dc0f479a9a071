/* SPDX-License-Identifier: MIT */
/* Events that a guest provokes without end, and what a client hears of them. */
#include "support/qmp_server.h"
#include "vmm/qmp_limit.h"

static struct clock_fake fake;
static struct qmp_limiter limiter;
static struct client c;

static json_t *data(const char *id, uint64_t value)
{
	return json_pack("{s:s,s:I}", "text", id, "number", (json_int_t)value);
}

static const struct qmp_limited once = {"HAPPENED", 1, data};
static const struct qmp_limited thrice = {"HAPPENED", 3, data};

static void setup(void)
{
	static const struct log log;

	clock_fake_init(&fake);
	start_with(&fake.clock);
	qmp_limiter_init(&limiter, qmp, &fake.clock, &log);
	c = negotiated();
}

static void teardown(void)
{
	qmp_limiter_fini(&limiter);
	leaves(&c);
	stop();
}

TestSuite(qmp_limit, .init = setup, .fini = teardown, .timeout = 60);

static void hears_of(const char *id, int value)
{
	char part[128];

	snprintf(part, sizeof(part), "\"data\": {\"text\": \"%s\", \"number\": %d}}", id, value);
	hears_text(&c, part);
}

static void nothing(void *arg UNUSED)
{
}

/* The next second; all that is due in it has happened when this returns. */
static void next_second(void)
{
	clock_fake_advance(&fake, QMP_LIMIT_NS);
	loop_wake(qmp_loop(qmp));
	for (int turns = 0; turns < 3; turns++)
		loop_call(qmp_loop(qmp), nothing, NULL);
}

Test(qmp_limit, so_many_are_told_as_they_happen_and_then_the_last_one)
{
	for (uint64_t i = 1; i <= 100000; i++)
		qmp_limiter_tell(&limiter, &thrice, "a", i);
	for (int i = 1; i <= 3; i++)
		hears_of("a", i);
	is_served(&c); /* and was told nothing else */
	next_second();
	hears_of("a", 100000);
	next_second();
	is_served(&c);
	cr_assert(list_empty(&limiter.recent), "what is over is forgotten");
	qmp_limiter_tell(&limiter, &thrice, "a", 7);
	hears_of("a", 7);
}

Test(qmp_limit, what_is_as_it_was_told_is_not_told_again)
{
	qmp_limiter_tell(&limiter, &once, "a", 1);
	hears_of("a", 1);
	qmp_limiter_tell(&limiter, &once, "a", 0);
	qmp_limiter_tell(&limiter, &once, "a", 1);
	next_second();
	is_served(&c);
	/* Also where there is room for more. */
	qmp_limiter_tell(&limiter, &thrice, "a", 1);
	qmp_limiter_tell(&limiter, &thrice, "a", 1);
	hears_of("a", 1);
	is_served(&c);
}

Test(qmp_limit, one_device_does_not_silence_another)
{
	for (uint64_t i = 1; i <= 1000; i++)
		qmp_limiter_tell(&limiter, &once, "a", i);
	qmp_limiter_tell(&limiter, &once, "b", 5);
	qmp_limiter_tell(&limiter, &thrice, "a", 6); /* another event of the same */
	hears_of("a", 1);
	hears_of("b", 5);
	hears_of("a", 6);
	is_served(&c);
	clock_fake_advance(&fake, QMP_LIMIT_NS / 2);
	qmp_limiter_tell(&limiter, &once, "c", 1);
	qmp_limiter_tell(&limiter, &once, "c", 2);
	hears_of("c", 1);
	clock_fake_advance(&fake, QMP_LIMIT_NS / 2);
	loop_wake(qmp_loop(qmp));
	hears_of("a", 1000);
	is_served(&c);
	next_second();
	hears_of("c", 2);
}

Test(qmp_limit, the_last_word_of_a_device_that_goes_comes_before_its_end)
{
	qmp_limiter_tell(&limiter, &once, "a", 1);
	qmp_limiter_tell(&limiter, &once, "a", 2);
	qmp_limiter_tell(&limiter, &once, "b", 3);
	qmp_limiter_tell(&limiter, &once, "b", 4);
	qmp_limiter_end(&limiter, "a");
	hears_of("a", 1);
	hears_of("b", 3);
	hears_of("a", 2);
	is_served(&c);
	/* Another one of that name is another one. */
	qmp_limiter_tell(&limiter, &once, "a", 2);
	hears_of("a", 2);
	qmp_limiter_end(&limiter, NULL);
	hears_of("b", 4);
	is_served(&c);
	cr_assert(list_empty(&limiter.recent));
}
