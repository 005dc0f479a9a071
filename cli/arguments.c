/* SPDX-License-Identifier: MIT */
/*
 * Options of a command, from a table: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, -ab.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define MAX_OPTIONS 64

const char *did_you_mean(char *buf, size_t size, const char *word, const char *prefix,
			 const char *const *names)
{
	const char *near = vmm_nearest(word, names);

	buf[0] = '\0';
	if (near)
		snprintf(buf, size, "; did you mean %s%s?", prefix, near);
	return buf;
}

const struct cli_option *find_option(const struct cli_option *table, const char *name, size_t len)
{
	for (const struct cli_option *o = table; o->name; o++) {
		if (strncmp(o->name, name, len) == 0 && o->name[len] == '\0')
			return o;
	}
	return NULL;
}

static const struct cli_option *find_short(const struct cli_option *table, char letter)
{
	for (const struct cli_option *o = table; o->name; o++) {
		if (o->letter == letter)
			return o;
	}
	return NULL;
}

static int unknown_option(const struct arguments *args, const char *shown, const char *name)
{
	const char *names[MAX_OPTIONS + 1];
	char hint[128];
	size_t n = 0;

	for (const struct cli_option *o = args->table; o->name && n < MAX_OPTIONS; o++)
		names[n++] = o->name;
	names[n] = NULL;
	did_you_mean(hint, sizeof(hint), name, "--", names);
	usage_error("unknown option %s%s ('vmm %s --help' lists the options)", shown, hint,
		    args->command);
	return -1;
}

/* The value of an option that stands in an argument of its own. */
static int separate_value(struct arguments *args, const struct cli_option *option,
			  const char **value)
{
	const char *next = args->next < args->argc ? args->argv[args->next] : NULL;
	const char *end = next ? strchr(next, '=') : NULL;

	/* Most likely the value was forgotten; who means it writes --option=VALUE. */
	if (next && strncmp(next, "--", 2) == 0 &&
	    find_option(args->table, next + 2, end ? (size_t)(end - next - 2) : strlen(next + 2)))
		next = NULL;
	if (!next) {
		usage_error("--%s needs a value: --%s %s", option->name, option->name,
			    option->metavar);
		return -1;
	}
	args->next++;
	*value = next;
	return option->id;
}

static int long_option(struct arguments *args, const char *arg, const char **value)
{
	const char *equals = strchr(arg, '=');
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
	const struct cli_option *option = find_option(args->table, arg, len);
	char name[64];

	if (!option) {
		snprintf(name, sizeof(name), "--%.*s", (int)len, arg);
		return unknown_option(args, name, name + 2);
	}
	if (!option->metavar) {
		if (equals) {
			usage_error("--%s takes no value, but got '%s'", option->name, equals + 1);
			return -1;
		}
		return option->id;
	}
	if (!equals)
		return separate_value(args, option, value);
	*value = equals + 1;
	return option->id;
}

static int short_option(struct arguments *args, const char **value)
{
	char letter = *args->cluster++;
	const struct cli_option *option = find_short(args->table, letter);
	const char *rest = *args->cluster ? args->cluster : NULL;

	if (!rest)
		args->cluster = NULL;
	if (!option) {
		char name[] = {'-', letter, '\0'};

		return unknown_option(args, name, "");
	}
	if (!option->metavar)
		return option->id;
	args->cluster = NULL;
	if (!rest)
		return separate_value(args, option, value);
	*value = rest[0] == '=' ? rest + 1 : rest;
	return option->id;
}

int next_option(struct arguments *args, const char **value)
{
	const char *arg;

	*value = NULL;
	if (args->cluster)
		return short_option(args, value);
	if (args->next >= args->argc)
		return 0;
	arg = args->argv[args->next++];
	if (arg[0] == '-' && arg[1] == '-' && arg[2])
		return long_option(args, arg + 2, value);
	if (arg[0] != '-' || !arg[1] || arg[1] == '-') {
		usage_error("unexpected argument '%s' ('vmm %s --help' lists the options)", arg,
			    args->command);
		return -1;
	}
	/* As QEMU writes them: -kernel. Taken apart into letters it would make no sense. */
	if (arg[2] && find_option(args->table, arg + 1, strcspn(arg + 1, "=")))
		return unknown_option(args, arg, arg + 1);
	args->cluster = arg + 1;
	return short_option(args, value);
}

void print_options(const struct cli_option *table)
{
	for (const struct cli_option *o = table; o->name; o++) {
		const char *line = o->help;

		if (o->letter)
			printf("  -%c, ", o->letter);
		else
			printf("      ");
		printf("--%s%s%s\n", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
		while (line) {
			const char *end = strchr(line, '\n');

			printf("          %.*s\n", end ? (int)(end - line) : (int)strlen(line),
			       line);
			line = end ? end + 1 : NULL;
		}
	}
}
