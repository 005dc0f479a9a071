/* SPDX-License-Identifier: MIT */
/*
 * Values of options: numbers, sizes, choices. A bad one is reported with the option's name, the
 * value, and what would be right.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MIN_MEMORY (UINT64_C(16) << 20)
#define MAX_CPUS   255u

static const char *const reboot_names[] = {"reset", "exit", NULL};
static const char *const bool_names[] = {"off", "on", "no", "yes", "false", "true", NULL};

/* All that was allocated, so that leak checkers, too, see that it is meant to stay. */
static struct kept {
	struct kept *next;
	max_align_t memory[];
} * kept;

void *allocate(size_t size)
{
	struct kept *new = calloc(1, sizeof(*new) + size);

	if (!new) {
		message("out of memory");
		exit(STATUS_ERROR);
	}
	new->next = kept;
	kept = new;
	return new->memory;
}

char *duplicate(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(allocate(size), text, size);
}

void *with_room(void *array, size_t count, size_t size)
{
	void *longer;

	/* It has grown to the next power of two already. */
	if (count & (count - 1))
		return array;
	longer = allocate((2 * count + 2) * size);
	return count ? memcpy(longer, array, count * size) : longer;
}

char *format(const char *fmt, ...)
{
	char start[128], *text;
	va_list ap, again;
	size_t size;

	va_start(ap, fmt);
	va_copy(again, ap);
	size = (size_t)vsnprintf(start, sizeof(start), fmt, ap) + 1;
	text = allocate(size);
	if (size <= sizeof(start))
		memcpy(text, start, size);
	else
		vsnprintf(text, size, fmt, again);
	va_end(again);
	va_end(ap);
	return text;
}

int choose(const char *option, const char *value, const char *const *names)
{
	char list[128] = "", hint[64];
	size_t len = 0;

	for (int i = 0; names[i]; i++) {
		if (strcmp(names[i], value) == 0)
			return i;
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
					!i             ? ""
					: names[i + 1] ? ", "
						       : " or ",
					names[i]);
	}
	did_you_mean(hint, sizeof(hint), value, "", names);
	usage_error("%s%s: must be %s%s", option, value, list, hint);
	return -1;
}

/* Digits only; UINT64_MAX stands for what is too large. */
static bool parse_digits(const char **text, uint64_t *value)
{
	const char *p = *text;

	for (*value = 0; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(*value, UINT64_C(10), value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value)) {
			p += strspn(p, "0123456789");
			*value = UINT64_MAX;
			break;
		}
	}
	if (p == *text)
		return false;
	*text = p;
	return true;
}

int set_cpus(struct vmm_config *config, const char *value)
{
	const char *p = value;
	uint64_t n;

	if (!parse_digits(&p, &n) || *p || n < 1 || n > MAX_CPUS)
		return usage_error("--cpus %s: must be a number from 1 to %u", value, MAX_CPUS);
	config->cpus = (unsigned)n;
	return GO_ON;
}

int set_seconds(struct timespec *time, const char *option, const char *value)
{
	const char *p = value;
	uint64_t seconds, ns = 0;

	if (!parse_digits(&p, &seconds))
		goto bad;
	if (*p == '.') {
		uint64_t unit = 100000000;

		for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
			ns += unit * (uint64_t)(*p - '0');
	}
	if (*p || (seconds == 0 && ns == 0) || seconds > 1000000000)
		goto bad;
	time->tv_sec = (time_t)seconds;
	time->tv_nsec = (long)ns;
	return GO_ON;
bad:
	return usage_error("%s %s: must be a number of seconds above 0, such as 30 or 2.5", option,
			   value);
}

int set_timeout(struct timespec *timeout, const char *value)
{
	return set_seconds(timeout, "--timeout", value);
}

static int set_memory_size(struct vmm_config *config, const char *text)
{
	int r = vmm_parse_size(text, &config->memory);

	if (r)
		return usage_error("--memory %s: %s", text,
				   r == -ERANGE ? "too large for any machine"
						: "must be a size such as 512M or 4G");
	/* Bytes, where MiB were meant and would do. */
	if (config->memory < MIN_MEMORY && config->memory >= MIN_MEMORY >> 20 &&
	    text[strspn(text, "0123456789")] == '\0')
		return usage_error("--memory %s: a guest needs at least 16M; did you mean %sM?",
				   text, text);
	if (config->memory < MIN_MEMORY)
		return usage_error("--memory %s: a guest needs at least 16M", text);
	if (config->memory % 4096)
		return usage_error("--memory %s: must be a multiple of 4K", text);
	return GO_ON;
}

static int set_memory_item(struct vmm_config *config, char *item, bool first)
{
	static const char *const names[] = {"size", "hugepages", "prealloc", "shared", NULL};
	bool *const fields[] = {NULL, &config->hugepages, &config->prealloc, &config->shared};
	char what[32];
	unsigned i = 1;
	char *value = strchr(item, '=');
	char hint[64];
	int on = 1;

	if (first && !value)
		return set_memory_size(config, item);
	if (value)
		*value++ = '\0';
	if (value && strcmp(item, "size") == 0)
		return set_memory_size(config, value);
	while (names[i] && strcmp(item, names[i]) != 0)
		i++;
	if (!names[i]) {
		did_you_mean(hint, sizeof(hint), item, "", names);
		return usage_error("--memory: unknown option '%s'%s (there are size, hugepages, "
				   "prealloc and shared)",
				   item, hint);
	}
	snprintf(what, sizeof(what), "--memory %s=", names[i]);
	if (value)
		on = choose(what, value, bool_names);
	if (on < 0)
		return STATUS_USAGE;
	*fields[i] = on & 1;
	return GO_ON;
}

int set_memory(struct vmm_config *config, const char *value)
{
	char *rest = duplicate(value), *item;
	bool first = true;
	int status = GO_ON;

	while (status == GO_ON && (item = strsep(&rest, ","))) {
		status = set_memory_item(config, item, first);
		first = false;
	}
	return status;
}

int set_switch(bool *on, const char *option, const char *value)
{
	int what = choose(option, value, bool_names);

	if (what < 0)
		return STATUS_USAGE;
	*on = what & 1;
	return GO_ON;
}

int set_on_reboot(struct vmm_config *config, const char *value)
{
	int what = choose("--on-reboot ", value, reboot_names);

	if (what < 0)
		return STATUS_USAGE;
	config->on_reboot = what ? VMM_ON_REBOOT_EXIT : VMM_ON_REBOOT_RESET;
	return GO_ON;
}
