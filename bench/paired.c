/* SPDX-License-Identifier: MIT */
/*
 * Runs two commands in turns and compares them as whole processes: wall-clock time from start to
 * the first byte on standard output (where both write some) and to the end, and peak memory
 * (ru_maxrss).
 *
 *     paired LABEL PAIRS NAME STATUS COMMAND... -- NAME STATUS COMMAND...
 *
 * STATUS is the exit status that a good run has; any other ends the measurement. One pair more is
 * run first and not counted. Which command goes first alternates, so that a drift of the machine
 * hits both alike. Prints a line for each measure: medians, the median of the pairs' ratios, and
 * their range.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PAIRS 1000

struct command {
	const char *name;
	int status;
	char **argv;
	bool speaks;                  /* each run so far wrote something */
	double first_byte[MAX_PAIRS]; /* milliseconds */
	double milliseconds[MAX_PAIRS];
	double mebibytes[MAX_PAIRS];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Standard input is the null device; what goes to standard error is kept. */
static void child(const struct command *c, int null, int output, int errors)
{
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0)
		_exit(127);
	execvp(c->argv[0], c->argv);
	fprintf(stderr, "%s: %s\n", c->argv[0], strerror(errno));
	_exit(127);
}

static void complain(const struct command *c, int wstatus, int errors)
{
	char buf[4096];
	ssize_t n;

	fprintf(stderr, "paired: %s ended with %s %d, not with status %d\n", c->name,
		WIFEXITED(wstatus) ? "status" : "signal",
		WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : WTERMSIG(wstatus), c->status);
	lseek(errors, 0, SEEK_SET);
	while ((n = read(errors, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, stderr);
}

/* Reads to the end. Returns when the first byte came; 0: none did. */
static double drain(int fd)
{
	char buf[65536];
	double first = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && !first)
			first = now();
	return first;
}

static int run_once(struct command *c, int index)
{
	int output[2];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int errors = memfd_create("stderr", MFD_CLOEXEC);
	struct rusage usage;
	double start, first;
	int wstatus;
	pid_t pid;

	if (pipe2(output, O_CLOEXEC) < 0) {
		perror("paired");
		return -1;
	}
	start = now();
	pid = fork();
	if (pid == 0)
		child(c, null, output[1], errors);
	close(output[1]);
	first = drain(output[0]);
	if (pid < 0 || wait4(pid, &wstatus, 0, &usage) != pid) {
		perror("paired");
		return -1;
	}
	c->milliseconds[index] = now() - start;
	c->first_byte[index] = first - start;
	c->speaks &= first > 0;
	c->mebibytes[index] = (double)usage.ru_maxrss / 1024;
	if (!WIFEXITED(wstatus) || WEXITSTATUS(wstatus) != c->status) {
		complain(c, wstatus, errors);
		return -1;
	}
	close(null);
	close(output[0]);
	close(errors);
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof(*values), by_value);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static void print_line(const char *label, const char *unit, const struct command c[2],
		       double *const values[2], int count)
{
	double ratios[MAX_PAIRS], middle;

	for (int i = 0; i < count; i++)
		ratios[i] = values[0][i] / values[1][i];
	middle = median(ratios, count);
	printf("%s: %s %.1f %s, %s %.1f %s, ratio %.2f (%.2f to %.2f), %d pairs\n", label,
	       c[0].name, median(values[0], count), unit, c[1].name, median(values[1], count), unit,
	       middle, ratios[0], ratios[count - 1], count);
}

static void print_results(const char *label, struct command c[2], int count)
{
	double *const firsts[2] = {c[0].first_byte, c[1].first_byte};
	double *const times[2] = {c[0].milliseconds, c[1].milliseconds};
	double *const peaks[2] = {c[0].mebibytes, c[1].mebibytes};
	char what[256];

	if (c[0].speaks && c[1].speaks) {
		snprintf(what, sizeof(what), "%s, first output", label);
		print_line(what, "ms", c, firsts, count);
	}
	snprintf(what, sizeof(what), "%s, time", label);
	print_line(what, "ms", c, times, count);
	snprintf(what, sizeof(what), "%s, peak memory", label);
	print_line(what, "MiB", c, peaks, count);
}

/* Takes NAME STATUS COMMAND... up to "--" or the end. */
static char **take_command(struct command *c, char **argv)
{
	if (!argv[0] || !argv[1] || !argv[2])
		return NULL;
	c->speaks = true;
	c->name = argv[0];
	c->status = (int)strtol(argv[1], NULL, 10);
	c->argv = argv + 2;
	for (argv += 2; *argv && strcmp(*argv, "--"); argv++)
		;
	return argv;
}

int main(int argc, char **argv)
{
	static struct command c[2];
	long pairs = argc > 3 ? strtol(argv[2], NULL, 10) : 0;
	char **rest = pairs > 0 && pairs <= MAX_PAIRS ? take_command(&c[0], argv + 3) : NULL;

	if (rest && *rest) {
		*rest = NULL;
		rest = take_command(&c[1], rest + 1);
	}
	if (!rest || !c[1].argv) {
		fprintf(stderr, "usage: paired LABEL PAIRS NAME STATUS COMMAND... -- "
				"NAME STATUS COMMAND...\n");
		return 2;
	}
	/* Index 0 is the pair that does not count: the first real one overwrites it. */
	for (int i = -1; i < pairs; i++) {
		int at = i < 0 ? 0 : i, first = i & 1;

		if (run_once(&c[first], at) < 0 || run_once(&c[!first], at) < 0)
			return 1;
	}
	print_results(argv[1], c, (int)pairs);
	return 0;
}
