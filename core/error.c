/* SPDX-License-Identifier: MIT */
#include "core/error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_message(struct vmm_error *err, int code, const char *fmt, va_list ap)
{
	/* Through a copy: an argument may be the message that is in *err now. */
	char text[VMM_ERROR_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	err->code = code;
	memcpy(err->message, text, strlen(text) + 1);
}

int error_set(struct vmm_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code > 0);
	if (err) {
		va_start(ap, fmt);
		set_message(err, code, fmt, ap);
		va_end(ap);
	}
	return -code;
}

int error_set_errno(struct vmm_error *err, int code, const char *fmt, ...)
{
	/* Not strerror: it is not thread-safe, and this one does not depend on the locale. */
	const char *what = strerrordesc_np(code);
	va_list ap;
	size_t len;

	assert(code > 0);
	if (err) {
		va_start(ap, fmt);
		set_message(err, code, fmt, ap);
		va_end(ap);
		len = strlen(err->message);
		if (what)
			snprintf(err->message + len, sizeof(err->message) - len, ": %s", what);
		else
			snprintf(err->message + len, sizeof(err->message) - len, ": error %d",
				 code);
	}
	return -code;
}

int error_prefix(struct vmm_error *err, const char *fmt, ...)
{
	char old[VMM_ERROR_MAX];
	va_list ap;
	size_t len;

	if (!err)
		return -EINVAL;
	memcpy(old, err->message, sizeof(old));
	old[sizeof(old) - 1] = '\0';
	va_start(ap, fmt);
	set_message(err, err->code, fmt, ap);
	va_end(ap);
	len = strlen(err->message);
	snprintf(err->message + len, sizeof(err->message) - len, ": %s", old);
	return -err->code;
}

int error_unless_given(const char *text, const char *what, struct vmm_error *err)
{
	return text ? 0 : error_set(err, EINVAL, "no %s is given", what);
}
