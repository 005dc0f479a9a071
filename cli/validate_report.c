/* SPDX-License-Identifier: MIT */
/*
 * Results of `vmm validate`: the table, failures in full, JSON and JUnit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "validate.h"

#define TAIL_LINES 80

static const char *const outcomes[] = {"ok", "FAIL", "skip"};
static const char *const outcome_names[] = {"pass", "fail", "skip"};

void validate_print_head(void)
{
	printf("%-8s %-7s %-12s %-6s %8s  %s\n", "driver", "rings", "check", "result", "time",
	       "figure");
}

void validate_print_result(const struct validate_result *r)
{
	printf("%-8s %-7s %-12s %-6s %6u.%us  %s\n", r->driver->name, r->rings, r->check,
	       outcomes[r->outcome], r->ms / 1000, r->ms / 100 % 10, r->figure);
	fflush(stdout);
}

static unsigned count(const struct validate_report *report, enum validate_outcome outcome)
{
	unsigned n = 0;

	for (size_t i = 0; i < report->count; i++)
		n += report->results[i].outcome == outcome;
	return n;
}

/* ---- failures in full ---- */

/* Lines may come from a guest: nothing but text reaches the terminal. */
static void print_line(const char *line)
{
	printf("  | ");
	for (; *line && *line != '\n'; line++) {
		if (*line != '\r')
			putchar((unsigned char)*line < 0x20 && *line != '\t' ? '?' : *line);
	}
	putchar('\n');
}

/*
 * The last lines of a file; with `section`, of its part between the line "==== <section>" and the
 * next one of the kind, which is what the guest's console shows while that check runs.
 */
static void print_tail(const char *folder, const char *name, const char *section, const char *what)
{
	char *lines[TAIL_LINES] = {NULL}, *line = NULL;
	const char *mark = format("==== %s\n", section ? section : "");
	FILE *in = fopen(format("%s/%s", folder, name), "re");
	size_t size = 0, count = 0;
	bool inside = true;

	if (!in)
		return;
	while (getline(&line, &size, in) > 0) {
		char *end = strchr(line, '\r');

		if (end && end[1] == '\n')
			memcpy(end, "\n", 2);
		if (section && strncmp(line, "==== ", 5) == 0) {
			/* What came before the first mark, the boot, is shown if there is no other.
			 */
			inside = strcmp(line, mark) == 0;
			if (inside)
				count = 0;
		}
		if (!inside)
			continue;
		free(lines[count % TAIL_LINES]);
		lines[count++ % TAIL_LINES] = strdup(line);
	}
	free(line);
	fclose(in);
	if (count)
		printf("  %s:\n", what);
	for (size_t i = count > TAIL_LINES ? count - TAIL_LINES : 0; i < count; i++)
		print_line(lines[i % TAIL_LINES] ? lines[i % TAIL_LINES] : "");
	for (size_t i = 0; i < TAIL_LINES; i++)
		free(lines[i]);
}

void validate_print_end(const struct validate_report *report)
{
	const char *shown = "";

	for (size_t i = 0; i < report->count; i++) {
		const struct validate_result *r = &report->results[i];

		if (r->outcome != VALIDATE_FAIL)
			continue;
		printf("\n%s, %s rings, %s (%s): %s\n", r->driver->name, r->rings, r->check,
		       r->title, r->figure);
		print_tail(r->folder, "console", r->check, "the guest's console");
		if (strcmp(shown, r->folder) != 0) {
			print_tail(r->folder, "log", NULL, "the log of vmm");
			print_tail(r->folder, "errors", NULL, "its standard error");
		}
		shown = r->folder;
	}
	printf("\n");
	for (size_t i = 0; i < report->count; i++) {
		const struct validate_result *r = &report->results[i];

		if (r->outcome == VALIDATE_SKIP)
			printf("skipped: %s, %s rings, %s: %s\n", r->driver->name, r->rings,
			       r->check, r->figure);
	}
	printf("Linux %s: %u passed, %u failed, %u skipped\n", report->version,
	       count(report, VALIDATE_PASS), count(report, VALIDATE_FAIL),
	       count(report, VALIDATE_SKIP));
}

/* ---- files ---- */

static int close_report(FILE *out, const char *option, const char *path)
{
	bool failed = ferror(out);

	if (fclose(out) == 0 && !failed)
		return 0;
	message("%s %s: cannot write: %s", option, path, strerror(errno));
	return -1;
}

static FILE *open_report(const char *option, const char *path)
{
	FILE *out = fopen(path, "we");

	if (!out)
		message("%s %s: %s", option, path, strerror(errno));
	return out;
}

static void put_json(FILE *out, const char *name, const char *text)
{
	fprintf(out, "\"%s\":\"", name);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			fprintf(out, "\\u%04x", *p);
		else
			fputc(*p, out);
	}
	fputc('"', out);
}

int validate_write_json(const struct validate_report *report, const char *path)
{
	FILE *out = open_report("--json", path);

	if (!out)
		return -1;
	fprintf(out, "{");
	put_json(out, "vmm", vmm_version());
	fprintf(out, ",");
	put_json(out, "kernel", report->kernel);
	fprintf(out, ",");
	put_json(out, "version", report->version);
	fprintf(out, ",\"passed\":%u,\"failed\":%u,\"skipped\":%u,\"results\":[",
		count(report, VALIDATE_PASS), count(report, VALIDATE_FAIL),
		count(report, VALIDATE_SKIP));
	for (size_t i = 0; i < report->count; i++) {
		const struct validate_result *r = &report->results[i];

		fprintf(out, "%s\n{", i ? "," : "");
		put_json(out, "driver", r->driver->name);
		fprintf(out, ",");
		put_json(out, "rings", r->rings);
		fprintf(out, ",");
		put_json(out, "check", r->check);
		fprintf(out, ",");
		put_json(out, "title", r->title);
		fprintf(out, ",");
		put_json(out, "result", outcome_names[r->outcome]);
		fprintf(out, ",\"seconds\":%u.%03u,", r->ms / 1000, r->ms % 1000);
		put_json(out, "figure", r->figure);
		fprintf(out, "}");
	}
	fprintf(out, "\n]}\n");
	return close_report(out, "--json", path);
}

static void put_xml(FILE *out, const char *name, const char *text)
{
	fprintf(out, " %s=\"", name);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '<' || *p == '>' || *p == '&')
			fprintf(out, "&#%u;", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			fputc('?', out);
		else
			fputc(*p, out);
	}
	fputc('"', out);
}

static void put_testcase(FILE *out, const struct validate_result *r)
{
	fprintf(out, "  <testcase");
	put_xml(out, "classname", format("%s.%s", r->driver->name, r->rings));
	put_xml(out, "name", r->check);
	fprintf(out, " time=\"%u.%03u\">", r->ms / 1000, r->ms % 1000);
	if (r->outcome != VALIDATE_PASS) {
		fprintf(out, "<%s", r->outcome == VALIDATE_FAIL ? "failure" : "skipped");
		put_xml(out, "message", r->figure);
		fprintf(out, "/>");
	}
	fprintf(out, "</testcase>\n");
}

int validate_write_junit(const struct validate_report *report, const char *path)
{
	FILE *out = open_report("--junit", path);

	if (!out)
		return -1;
	fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite");
	put_xml(out, "name", format("vmm validate, Linux %s", report->version));
	fprintf(out, " tests=\"%zu\" failures=\"%u\" skipped=\"%u\">\n", report->count,
		count(report, VALIDATE_FAIL), count(report, VALIDATE_SKIP));
	for (size_t i = 0; i < report->count; i++)
		put_testcase(out, &report->results[i]);
	fprintf(out, "</testsuite>\n");
	return close_report(out, "--junit", path);
}
