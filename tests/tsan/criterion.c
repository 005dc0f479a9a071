/* SPDX-License-Identifier: MIT */
/*
 * A small runtime for Criterion's macros, linked instead of the library for `make tsan`: the
 * library's own process isolation maps memory where ThreadSanitizer has its shadow. Each test runs
 * in a forked child; results are written as TAP. What the tests here use is what it has.
 */
#include <criterion/criterion.h>
#include <criterion/options.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_FAILED  90
#define STATUS_SKIPPED 91

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;

static struct criterion_test *current;
static struct criterion_test_extra_data *suite;
static bool failed;

void criterion_internal_test_setup(void)
{
	if (suite && suite->init)
		suite->init();
	if (current->data->init)
		current->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
	fn();
}

void criterion_internal_test_teardown(void)
{
	if (current->data->fini)
		current->data->fini();
	if (suite && suite->fini)
		suite->fini();
}

void criterion_abort_test(void)
{
	_exit(STATUS_FAILED);
}

void criterion_continue_test(void)
{
}

void criterion_skip_test(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(STATUS_SKIPPED);
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	failed = true;
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

void cri_asserts_passed_incr(void)
{
}

char *cr_translate_assert_msg(int msg_index, ...)
{
	(void)msg_index;
	return strdup("assertion failed");
}

int cr_asprintf(char **strp, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(strp, fmt, ap);
	va_end(ap);
	return n;
}

void cr_asprintf_free(char *strp)
{
	free(strp);
}

static void run_child(void)
{
	for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
		if (*s && !strcmp((*s)->name, current->category))
			suite = (*s)->data;
	alarm(120);
	current->test();
	/* Not _exit: the sanitizer reports and sets the status when the process ends. */
	exit(failed ? STATUS_FAILED : 0);
}

static int signal_wanted(void)
{
	return current->data->signal;
}

/* What TAP says of the current test. */
static const char *run(void)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		run_child();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return "not ok";
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == signal_wanted() ? "ok" : "not ok";
	if (WEXITSTATUS(status) == STATUS_SKIPPED)
		return "skip";
	return WEXITSTATUS(status) == current->data->exit_code && !signal_wanted() ? "ok"
										   : "not ok";
}

int main(int argc, char **argv)
{
	unsigned bad = 0;
	FILE *tap = stdout;

	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], "--tap=", 6))
			tap = fopen(argv[i] + 6, "w");
	if (!tap)
		return 1;
	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
		const char *result;

		if (!*t || (*t)->data->disabled)
			continue;
		current = *t;
		fprintf(stderr, "--- %s::%s\n", current->category, current->name);
		result = run();
		bad += !strcmp(result, "not ok");
		if (!strcmp(result, "skip"))
			fprintf(tap, "ok - %s::%s # SKIP see the log\n", current->category,
				current->name);
		else
			fprintf(tap, "%s - %s::%s\n", result, current->category, current->name);
	}
	fclose(tap);
	return bad ? 1 : 0;
}
