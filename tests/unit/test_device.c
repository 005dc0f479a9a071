/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"

/* A device that counts what is done to it and keeps one number. */
struct toy {
	struct device dev;
	uint64_t number;
	char *text;
	bool fail;
	bool slow; /* its quiesce needs a later turn */
	unsigned resets, quiesces;
	struct loop_task later;
};

static unsigned unrealized;

static const struct option_desc toy_options[] = {
	{.name = "number",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct toy, number),
	 .fallback = "7",
	 .max = 100},
	{.name = "text", .type = OPTION_STRING, .offset = offsetof(struct toy, text)},
	{.name = "fail", .type = OPTION_BOOL, .offset = offsetof(struct toy, fail)},
	{.name = "slow", .type = OPTION_BOOL, .offset = offsetof(struct toy, slow)},
	OPTION_END,
};

static struct toy *toy(struct device *dev)
{
	return container_of(dev, struct toy, dev);
}

static void toy_is_quiet(struct loop_task *task)
{
	device_quiesced(&container_of(task, struct toy, later)->dev);
}

static int toy_realize(struct device *dev, struct vmm_error *err)
{
	struct toy *t = toy(dev);

	if (t->fail && t->text)
		return error_set(err, EBUSY, "%s is in use", t->text);
	if (t->fail)
		return -ENXIO;
	loop_task_init(&t->later, toy_is_quiet);
	return 0;
}

static void toy_reset(struct device *dev)
{
	toy(dev)->resets++;
	toy(dev)->number = 0;
}

static void toy_quiesce(struct device *dev)
{
	struct toy *t = toy(dev);

	t->quiesces++;
	if (t->slow)
		loop_post(dev->loop, &t->later);
	else
		device_quiesced(dev);
}

static void toy_save(struct device *dev, struct state_writer *w)
{
	state_put_u64(w, "number", toy(dev)->number);
}

static int toy_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	uint64_t number;
	int code = state_get_u64(r, "number", &number, 0, 100);

	if (!code && version == 2)
		toy(dev)->number = number;
	return code;
}

static void toy_unrealize(struct device *dev UNUSED)
{
	unrealized++;
}

/* ---- its actions ---- */

struct add_args {
	uint64_t by;
	char *why;
	uint64_t filler[28]; /* as large as arguments can be */
};

static const struct option_desc add_options[] = {
	{.name = "by",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct add_args, by),
	 .fallback = "1",
	 .max = 100},
	{.name = "why", .type = OPTION_STRING, .offset = offsetof(struct add_args, why)},
	OPTION_END,
};

static int toy_add(struct device *dev, const void *args, struct report *report,
		   struct vmm_error *err)
{
	const struct add_args *a = args;

	cr_assert(loop_on_thread(dev->loop));
	cr_assert_eq((uintptr_t)args % _Alignof(max_align_t), 0);
	if (toy(dev)->number + a->by > 100)
		return error_set(err, ERANGE, "%lu is the most", 100 - toy(dev)->number);
	toy(dev)->number += a->by;
	report_u64(report, "number", toy(dev)->number);
	report_string(report, "why", a->why);
	return 0;
}

static int toy_fail(struct device *dev UNUSED, const void *args UNUSED,
		    struct report *report UNUSED, struct vmm_error *err UNUSED)
{
	return -EIO;
}

static const struct device_action toy_actions[] = {
	{.name = "add",
	 .help = "adds",
	 .options = add_options,
	 .implied = "by",
	 .args_size = sizeof(struct add_args),
	 .run = toy_add},
	{.name = "fail", .help = "fails", .run = toy_fail},
	{.name = NULL},
};

static int toy_check(const struct device *dev, const char *what, struct vmm_error *err)
{
	const struct toy *t = container_of(dev, struct toy, dev);

	if (t->text && !strcmp(t->text, "nonsense"))
		return error_set(err, EINVAL, "%s: text=%s makes none", what, t->text);
	return 0;
}

static const struct device_class toy_class = {
	.name = "toy",
	.help = "counts",
	.options = toy_options,
	.size = sizeof(struct toy),
	.state_version = 2,
	.actions = toy_actions,
	.check = toy_check,
	.realize = toy_realize,
	.reset = toy_reset,
	.quiesce = toy_quiesce,
	.save = toy_save,
	.load = toy_load,
	.unrealize = toy_unrealize,
};

/* Nothing but a name. */
static const struct device_class bare_class = {.name = "bare", .size = sizeof(struct device)};

static struct device_env env;
static struct vmm_error err;

static void setup(void)
{
	env = (struct device_env){.clock = clock_system()};
	cr_assert_eq(loop_create(&env.loop, "test", env.clock, &err), 0);
	unrealized = 0;
}

static void teardown(void)
{
	loop_destroy(env.loop);
}

static struct device *make(const char *id, const char *options)
{
	struct device *dev = NULL;

	cr_assert_eq(device_create(&dev, &toy_class, id, options, &env, &err), 0, "%s",
		     err.message);
	return dev;
}

TestSuite(device, .init = setup, .fini = teardown);

Test(device, options_are_parsed_into_the_instance)
{
	struct device *dev = make(NULL, "number=42,text=hi");

	cr_assert_str_eq(dev->id, "toy");
	cr_assert_eq(dev->loop, env.loop);
	cr_assert_eq(toy(dev)->number, 42);
	cr_assert_str_eq(toy(dev)->text, "hi");
	device_destroy(dev);
	cr_assert_eq(unrealized, 1);
	device_destroy(NULL);
}

Test(device, what_fails_is_undone_and_names_the_device)
{
	struct device *dev = NULL;
	char id[100];
	static const char *const bad_ids[] = {"", "0a", "-a", ".a", "_a", "a b", "a,b", "a/b", "ä"};

	cr_assert_eq(device_create(&dev, &toy_class, "t0", "nmber=1", &env, &err), -EINVAL);
	cr_assert_eq(strncmp(err.message, "t0: unknown option", 18), 0, "%s", err.message);
	cr_assert_eq(device_create(&dev, &toy_class, "t0", "fail,text=a.img", &env, &err), -EBUSY);
	cr_assert_str_eq(err.message, "t0: a.img is in use");
	cr_assert_eq(device_create(&dev, &toy_class, NULL, "fail", &env, &err), -ENXIO);
	cr_assert_str_eq(err.message, "toy: cannot set up the device: No such device or address");
	cr_assert_eq(device_create(&dev, &toy_class, NULL, "fail", &env, NULL), -ENXIO);
	for (size_t i = 0; i < ARRAY_SIZE(bad_ids); i++)
		cr_assert_eq(device_create(&dev, &toy_class, bad_ids[i], NULL, &env, &err), -EINVAL,
			     "%s", bad_ids[i]);
	memset(id, 'x', sizeof(id));
	id[64] = '\0';
	cr_assert_eq(device_create(&dev, &toy_class, id, NULL, &env, &err), -EINVAL);
	cr_assert_null(dev);
	cr_assert_eq(unrealized, 0);
}

Test(device, a_class_may_leave_everything_out)
{
	struct device *dev;
	struct state_writer *w = state_writer_create();
	struct state_reader *r;
	void *data;
	size_t len;

	cr_assert_eq(device_create(&dev, &bare_class, NULL, NULL, &env, &err), 0);
	device_quiesce_wait(dev);
	device_reset(dev);
	device_save(dev, w);
	cr_assert_eq(state_writer_finish(w, &data, &len), 0);
	cr_assert_eq(state_reader_create(&r, data, len), 0);
	cr_assert_eq(device_load(dev, r, &err), 0);
	state_reader_destroy(r);
	free(data);
	device_destroy(dev);
	cr_assert_eq(device_create(&dev, &bare_class, NULL, "x=1", &env, &err), -EINVAL);
}

static void count_done(struct device *dev UNUSED, void *arg)
{
	(*(unsigned *)arg)++;
}

Test(device, quiesce_reports_when_the_class_says_so)
{
	struct device *dev = make(NULL, "slow");
	unsigned done = 0;

	device_quiesced(dev); /* nobody asked */
	device_quiesce(dev, count_done, &done);
	cr_assert_eq(done, 0);
	loop_turn(env.loop, false);
	cr_assert_eq(done, 1);
	device_quiesced(dev);
	cr_assert_eq(done, 1);
	device_destroy(dev);
}

static void destroy_when_quiet(struct device *dev, void *arg)
{
	*(bool *)arg = true;
	device_destroy(dev);
}

Test(device, it_may_be_destroyed_as_soon_as_it_is_quiet)
{
	bool gone = false;

	device_quiesce(make(NULL, "slow"), destroy_when_quiet, &gone);
	loop_turn(env.loop, false);
	cr_assert(gone);
	cr_assert_eq(unrealized, 1);
}

Test(device, quiesce_wait_turns_a_loop_that_no_thread_runs)
{
	struct device *dev = make(NULL, "slow");

	device_quiesce_wait(dev);
	device_quiesce_wait(dev);
	cr_assert_eq(toy(dev)->quiesces, 2);
	device_destroy(dev);
}

Test(device, many_come_to_rest_side_by_side)
{
	struct device *devs[] = {make("a", "slow"), make("b", "slow"), make("c", NULL)};
	struct device_rest rest;

	device_rest_begin(&rest, env.loop);
	for (size_t i = 0; i < ARRAY_SIZE(devs); i++)
		device_rest_add(&rest, devs[i]);
	/* None waits for the one before. */
	for (size_t i = 0; i < ARRAY_SIZE(devs); i++)
		cr_assert_eq(toy(devs[i])->quiesces, 1u);
	cr_assert_eq(rest.left, 2u);
	device_rest_wait(&rest);
	cr_assert_eq(rest.left, 0u);
	for (size_t i = 0; i < ARRAY_SIZE(devs); i++)
		device_destroy(devs[i]);
}

Test(device, quiesce_wait_waits_for_a_loop_on_its_thread)
{
	struct device *slow = make("a", "slow"), *fast = make("b", NULL);

	cr_assert_eq(loop_start(env.loop, NULL), 0);
	for (int i = 0; i < 200; i++) {
		device_quiesce_wait(slow);
		device_quiesce_wait(fast);
	}
	loop_join(env.loop);
	cr_assert_eq(toy(slow)->quiesces, 200);
	cr_assert_eq(toy(fast)->quiesces, 200);
	device_destroy(slow);
	device_destroy(fast);
}

/* Holds the loop's thread until the test has asked for a quiesce, then ends an older drain. */
struct holder {
	struct loop_task task;
	struct device *dev;
	sem_t go;
	unsigned done, early;
};

static void hold(struct loop_task *task)
{
	struct holder *h = container_of(task, struct holder, task);

	sem_wait(&h->go);
	device_quiesced(h->dev);
	h->early = h->done;
}

static void nothing(void *arg UNUSED)
{
}

Test(device, the_end_of_an_older_drain_is_not_taken_for_the_quiesce)
{
	struct holder h = {.dev = make(NULL, NULL)};

	sem_init(&h.go, 0, 0);
	loop_task_init(&h.task, hold);
	cr_assert_eq(loop_start(env.loop, NULL), 0);
	loop_post(env.loop, &h.task);
	device_quiesce(h.dev, count_done, &h.done);
	sem_post(&h.go);
	loop_call(env.loop, nothing, NULL);
	loop_join(env.loop);
	cr_assert_eq(h.early, 0);
	cr_assert_eq(h.done, 1);
	device_destroy(h.dev);
}

Test(device, options_can_be_checked_with_no_device)
{
	cr_assert_eq(device_check_options(&toy_class, "--toy", "number=5,text=x", &err), 0);
	cr_assert_eq(device_check_options(&bare_class, "--bare", NULL, &err), 0);
	cr_assert_eq(device_check_options(&toy_class, "--toy", "number=101", &err), -EINVAL);
	cr_assert_eq(device_check_options(&toy_class, "--toy", "text=nonsense", &err), -EINVAL);
	cr_assert_str_eq(err.message, "--toy: text=nonsense makes none");
	cr_assert_eq(unrealized, 0);
}

Test(device, an_id_may_have_letters_digits_and_three_marks)
{
	char id[65];

	cr_assert_eq(device_check_id("--device", "a", &err), 0);
	cr_assert_eq(device_check_id("--device", "Disk.0_b-C", &err), 0);
	memset(id, 'x', sizeof(id));
	id[63] = '\0';
	cr_assert_eq(device_check_id("--device", id, &err), 0);
	id[63] = 'x';
	id[64] = '\0';
	cr_assert_eq(device_check_id("--device", id, &err), -EINVAL);
	cr_assert_eq(device_check_id("--device", "0a", &err), -EINVAL);
	cr_assert_eq(strncmp(err.message, "--device: id=0a: ", 17), 0, "%s", err.message);
}

/* ---- actions ---- */

Test(device, an_action_runs_on_the_home_loop_and_answers)
{
	struct device *dev = make("t", NULL);
	struct report *report = report_create();
	char *json;

	cr_assert_eq(loop_start(env.loop, NULL), 0);
	cr_assert_eq(device_action(dev, "add", "by=2,why=a,,b", report, &err), 0, "%s",
		     err.message);
	cr_assert_eq(report_finish(report, &json), 0);
	cr_assert_str_eq(json, "{\"number\":9,\"why\":\"a,b\"}");
	free(json);
	cr_assert_eq(device_action(dev, "add", "10", NULL, &err), 0);
	cr_assert_eq(device_action(dev, "add", NULL, NULL, NULL), 0);
	loop_join(env.loop);
	cr_assert_eq(toy(dev)->number, 20);
	device_destroy(dev);
}

Test(device, an_action_that_fails_says_which_and_why)
{
	struct device *dev = make("t", NULL);

	cr_assert_eq(device_action(dev, "add", "by=100,why=leak", NULL, &err), -ERANGE);
	cr_assert_str_eq(err.message, "t: add: 93 is the most");
	cr_assert_eq(device_action(dev, "add", "by=101", NULL, &err), -EINVAL);
	cr_assert_eq(strncmp(err.message, "t: add: by=101: ", 16), 0, "%s", err.message);
	cr_assert_eq(device_action(dev, "fail", NULL, NULL, &err), -EIO);
	cr_assert_str_eq(err.message, "t: fail: Input/output error");
	cr_assert_eq(device_action(dev, "fail", "x=1", NULL, &err), -EINVAL);
	cr_assert_eq(device_action(dev, "fail", NULL, NULL, NULL), -EIO);
	cr_assert_eq(toy(dev)->number, 7);
	device_destroy(dev);
}

Test(device, an_unknown_action_gets_a_suggestion_and_the_list)
{
	struct device *dev = make("t", NULL), *bare;

	cr_assert_eq(device_action(dev, "ad", NULL, NULL, &err), -ENOENT);
	cr_assert_str_eq(err.message, "t: there is no action \"ad\"; did you mean \"add\"? "
				      "Possible: add, fail");
	cr_assert_eq(device_create(&bare, &bare_class, NULL, NULL, &env, &err), 0);
	cr_assert_eq(device_action(bare, "add", NULL, NULL, &err), -ENOENT);
	cr_assert_str_eq(err.message, "bare: there is no action \"add\": bare has none");
	device_destroy(bare);
	device_destroy(dev);
}

/* ---- children ---- */

Test(device, a_parent_counts_its_children)
{
	struct device *parent = make("p", NULL), *a = make("a", NULL), *b = make("b", NULL);

	device_set_parent(a, parent);
	device_set_parent(b, parent);
	cr_assert_eq(parent->children, 2);
	cr_assert_eq(a->parent, parent);
	device_set_parent(a, NULL);
	device_set_parent(a, NULL);
	cr_assert_eq(parent->children, 1);
	cr_assert_null(a->parent);
	/* Who is gone is nobody's child. */
	device_destroy(b);
	cr_assert_eq(parent->children, 0);
	device_destroy(a);
	device_destroy(parent);
}

/* ---- saved state ---- */

static void save(struct device *dev, void **data, size_t *len)
{
	struct state_writer *w = state_writer_create();

	device_save(dev, w);
	cr_assert_eq(state_writer_finish(w, data, len), 0);
}

static int load(struct device *dev, const void *data, size_t len)
{
	struct state_reader *r;
	int code;

	cr_assert_eq(state_reader_create(&r, data, len), 0);
	code = device_load(dev, r, &err);
	state_reader_destroy(r);
	return code;
}

Test(device, save_load_save_gives_equal_bytes)
{
	struct device *a = make("t", "number=42"), *b = make("t", NULL);
	void *first, *second;
	size_t n, m;

	save(a, &first, &n);
	cr_assert_eq(load(b, first, n), 0, "%s", err.message);
	cr_assert_eq(toy(b)->number, 42);
	save(b, &second, &m);
	cr_assert_eq(n, m);
	cr_assert_eq(memcmp(first, second, n), 0);
	free(first);
	free(second);
	device_destroy(a);
	device_destroy(b);
}

Test(device, state_of_another_device_is_refused)
{
	struct device *a = make("a", "number=42"), *b = make("b", NULL);
	void *data;
	size_t n;

	save(a, &data, &n);
	cr_assert_eq(load(b, data, n), -EPROTO);
	cr_assert_eq(toy(b)->number, 7);
	cr_assert_eq(load(a, data, n - 1), -EPROTO);
	cr_assert_eq(load(a, data, 0), -EPROTO);
	free(data);
	device_destroy(a);
	device_destroy(b);
}

/* A section for "t" as a hostile file might hold it. */
static void forge(uint32_t version, uint64_t number, bool extra, void **data, size_t *len)
{
	struct state_writer *w = state_writer_create();

	state_begin(w, "t", 1);
	state_begin(w, "toy", version);
	state_put_u64(w, "number", number);
	if (extra)
		state_put_u64(w, "surprise", 1);
	state_end(w);
	state_end(w);
	cr_assert_eq(state_writer_finish(w, data, len), 0);
}

Test(device, bad_values_newer_versions_and_extra_fields_are_refused)
{
	struct device *dev = make("t", NULL);
	void *data;
	size_t n;

	forge(2, 101, false, &data, &n);
	cr_assert_eq(load(dev, data, n), -ERANGE);
	cr_assert_eq(toy(dev)->number, 7);
	free(data);
	forge(3, 5, false, &data, &n);
	cr_assert_eq(load(dev, data, n), -ENOTSUP);
	cr_assert_eq(toy(dev)->number, 7);
	free(data);
	forge(2, 5, true, &data, &n);
	cr_assert_eq(load(dev, data, n), -EPROTO);
	cr_assert_eq(toy(dev)->resets, 1);
	free(data);
	forge(2, 5, false, &data, &n);
	cr_assert_eq(load(dev, data, n), 0);
	cr_assert_eq(toy(dev)->number, 5);
	free(data);
	device_destroy(dev);
}
