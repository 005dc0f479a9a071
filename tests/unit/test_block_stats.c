/* SPDX-License-Identifier: MIT */
/* What a disk counts. */
#include <criterion/criterion.h>
#include <errno.h>
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
	reports(&f, "\"in-flight\":0,\"read\":{\"operations\":0,\"bytes\":0,\"errors\":0}");
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 0, 8192, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_READ, 4096, 512, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, 0, 4096, data, 0), 0);
	cr_assert_eq(fixture_do(&f, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	/* Beyond the end: refused. */
	cr_assert_eq(fixture_do(&f, BLOCK_WRITE, MIB, 512, data, 0), -EINVAL);
	reports(&f, "\"read\":{\"operations\":2,\"bytes\":8704,\"errors\":0}");
	reports(&f, "\"write\":{\"operations\":1,\"bytes\":4096,\"errors\":1}");
	reports(&f, "\"flush\":{\"operations\":1,\"bytes\":0,\"errors\":0}");
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
	reports(&f, "\"read\":{\"operations\":1,\"bytes\":4096,\"errors\":1}");
	free(data);
	fixture_destroy(&f);
}
