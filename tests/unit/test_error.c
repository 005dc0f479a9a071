/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core/error.h"

Test(error, set_fills_code_and_sentence_and_returns_the_negative_code)
{
	struct vmm_error err;

	cr_assert_eq(error_set(&err, ENOENT, "--disk %s: missing", "a.img"), -ENOENT);
	cr_assert_eq(err.code, ENOENT);
	cr_assert_str_eq(err.message, "--disk a.img: missing");
}

Test(error, null_error_is_allowed_everywhere)
{
	cr_assert_eq(error_set(NULL, EBUSY, "x"), -EBUSY);
	cr_assert_eq(error_set_errno(NULL, EBUSY, "x"), -EBUSY);
	cr_assert_lt(error_prefix(NULL, "x"), 0);
}

Test(error, a_text_that_is_not_given_is_refused)
{
	struct vmm_error err = {0};

	cr_assert_eq(error_unless_given("", "kernel", &err), 0);
	cr_assert_eq(err.code, 0);
	cr_assert_eq(error_unless_given(NULL, "kernel", &err), -EINVAL);
	cr_assert_str_eq(err.message, "no kernel is given");
}

Test(error, set_errno_appends_the_description)
{
	struct vmm_error err;

	error_set_errno(&err, ENOENT, "a.img");
	cr_assert_str_eq(err.message, "a.img: No such file or directory");
	error_set_errno(&err, 99999, "a.img");
	cr_assert_str_eq(err.message, "a.img: error 99999");
}

Test(error, prefix_keeps_code_and_sentence)
{
	struct vmm_error err;

	error_set(&err, EINVAL, "bad %d%%", 5);
	cr_assert_eq(error_prefix(&err, "device %s", "disk0"), -EINVAL);
	cr_assert_str_eq(err.message, "device disk0: bad 5%");
	cr_assert_eq(err.code, EINVAL);
}

Test(error, too_long_sentences_are_cut_and_terminated)
{
	char text[2 * VMM_ERROR_MAX];
	struct vmm_error err;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_set(&err, EINVAL, "%s", text);
	cr_assert_eq(strlen(err.message), VMM_ERROR_MAX - 1);
	error_set_errno(&err, EINVAL, "%s", text);
	cr_assert_eq(strlen(err.message), VMM_ERROR_MAX - 1);
	error_prefix(&err, "%s", text);
	cr_assert_eq(strlen(err.message), VMM_ERROR_MAX - 1);
}

Test(error, the_message_may_be_its_own_argument)
{
	struct vmm_error err;

	error_set(&err, EINVAL, "inner");
	error_set(&err, EIO, "outer (%s)", err.message);
	cr_assert_str_eq(err.message, "outer (inner)");
}
