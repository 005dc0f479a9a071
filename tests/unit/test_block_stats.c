/* SPDX-License-Identifier: MIT */
/* What a disk counts. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/block_fixture.h"

static void reports(struct block_fixture *f, const char *wanted)
{
	struct report *report = report_create();
	char *json;

	block_stats(f->block, report);
	cr_assert_eq(report_finish(report, &json), 0);
	cr_expect(strstr(json, wanted), "wanted %s, got %s", wanted, json);
	free(json);
}

Test(block_stats, requests_bytes_and_failures_are_counted_by_kind)
{
	struct block_fixture f;
	char *data;

	fixture_init(&f, MIB);
	cr_assert(fixture_open(&f));
	data = pages(8192);
	reports(&f, "\"in-flight\":0,\"read\":{\"operations\":0,\"bytes\":0,\"errors\":0,"
		    "\"time-ns\":0}");
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 8192, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 4096, 512, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	/* Beyond the end: refused. */
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, MIB, 512, data, 0), -EINVAL);
	reports(&f, "\"read\":{\"operations\":2,\"bytes\":8704,\"errors\":0,");
	reports(&f, "\"write\":{\"operations\":1,\"bytes\":4096,\"errors\":1,");
	reports(&f, "\"flush\":{\"operations\":1,\"bytes\":0,\"errors\":0,");
	free(data);
	fixture_destroy(&f);
}

static void fails(void *arg UNUSED, const struct engine_op *op UNUSED, struct tap_action *action)
{
	action->error = EIO;
}

Test(block_stats, what_the_host_fails_is_an_error)
{
	struct block_fixture f;
	char *data;

	fixture_init(&f, MIB);
	f.watch.start = fails;
	cr_assert(fixture_open(&f));
	data = pages(4096);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), -EIO);
	reports(&f, "\"read\":{\"operations\":1,\"bytes\":4096,\"errors\":1,");
	free(data);
	fixture_destroy(&f);
}

/* The file needs 5 ms for each operation. */
static void takes_time(void *arg, const struct engine_op *op UNUSED,
		       struct tap_action *action UNUSED)
{
	clock_fake_advance(arg, 5 * NS_PER_MS);
}

static void fails_late(void *arg, const struct engine_op *op, struct tap_action *action)
{
	takes_time(arg, op, action);
	fails(arg, op, action);
}

static const char *described(struct block_fixture *f)
{
	static char text[2048];
	struct report *report = report_create();
	char *json;

	block_report(f->block, report);
	cr_assert_eq(report_finish(report, &json), 0);
	snprintf(text, sizeof(text), "%s", json);
	free(json);
	return text;
}

Test(block_stats, the_time_of_requests_is_added_up_by_kind)
{
	struct block_fixture f;
	char *data;

	fixture_init(&f, MIB);
	f.watch = (struct tap_watch){.start = takes_time, .arg = &f.clock};
	cr_assert(fixture_open(&f));
	data = pages(4096);
	cr_assert_null(strstr(described(&f), "idle-ns"), "nothing has ended yet");
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	clock_fake_advance(&f.clock, 7 * NS_PER_MS);
	/* Refused, or nothing to do: that took no time, and the disk is idle as before. */
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, MIB, 512, data, 0), -EINVAL);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 0, NULL, 0), 0);
	reports(&f, "\"read\":{\"operations\":2,\"bytes\":8192,\"errors\":0,\"time-ns\":10000000}");
	reports(&f, "\"write\":{\"operations\":1,\"bytes\":4096,\"errors\":1,\"time-ns\":5000000}");
	reports(&f, "\"flush\":{\"operations\":1,\"bytes\":0,\"errors\":0,\"time-ns\":5000000}");
	cr_assert_not_null(strstr(described(&f), "\"idle-ns\":7000000"), "%s", described(&f));
	free(data);
	fixture_destroy(&f);
}

Test(block_stats, what_the_host_fails_took_its_time)
{
	struct block_fixture f;
	char *data;

	fixture_init(&f, MIB);
	f.watch = (struct tap_watch){.start = fails_late, .arg = &f.clock};
	cr_assert(fixture_open(&f));
	data = pages(4096);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 4096, data, 0), -EIO);
	reports(&f, "\"read\":{\"operations\":1,\"bytes\":4096,\"errors\":1,\"time-ns\":5000000}");
	free(data);
	fixture_destroy(&f);
}
