/* SPDX-License-Identifier: MIT */
/*
 * The scripts that are built in: what their heads ("#: KEY VALUE") and their lines "check NAME
 * LIMIT 'TITLE'" say.
 */
#include <stdlib.h>
#include <string.h>

#include "validate.h"
#include "validate_scripts.h"

#define DEFAULT_MEMORY (UINT64_C(512) << 20)
#define MAX_CPUS       64

/* What a head may say; docs/validation.md has what each means. */
static const char *const keys[] = {
	"title",   "class",    "include",   "modules", "tools",  "cpus",
	"memory",  "file",     "files",     "iso",     "device", "devices",
	"program", "optional", "namespace", "address", NULL,
};

const char *validate_script(const char *name)
{
	for (size_t i = 0; validate_scripts[i].name; i++) {
		if (strcmp(validate_scripts[i].name, name) == 0)
			return validate_scripts[i].text;
	}
	return NULL;
}

static char *cut(const char *start, size_t len)
{
	char *text = allocate(len + 1);

	return memcpy(text, start, len);
}

static bool is_key(const char *word)
{
	const char *const *key = keys;

	while (*key && strcmp(*key, word) != 0)
		key++;
	return *key;
}

/* What a head says of the driver as a whole. False: the value makes no sense. */
static bool take_head(struct validate_driver *d, const struct validate_line *line)
{
	char *end;

	if (strcmp(line->key, "title") == 0) {
		d->title = line->value;
	} else if (strcmp(line->key, "class") == 0) {
		d->class = line->value;
	} else if (strcmp(line->key, "cpus") == 0) {
		d->cpus = (unsigned)strtoul(line->value, &end, 10);
		return !*end && d->cpus >= 1 && d->cpus <= MAX_CPUS;
	} else if (strcmp(line->key, "memory") == 0) {
		return vmm_parse_size(line->value, &d->memory) == 0;
	}
	return is_key(line->key) && line->value[0];
}

/* "#: KEY VALUE" */
static bool add_head(struct validate_driver *d, const char *line, size_t len)
{
	const char *key = line + strspn(line, " \t");
	const char *value = key + strcspn(key, " \t\n");
	struct validate_line *head = allocate((d->head_count + 1) * sizeof(*head));
	char *k = cut(key, (size_t)(value - key)), *v;

	value += strspn(value, " \t");
	v = cut(value, (size_t)(line + len - value));
	if (d->head_count)
		memcpy(head, d->head, d->head_count * sizeof(*head));
	head[d->head_count++] = (struct validate_line){k, v};
	d->head = head;
	if (take_head(d, &head[d->head_count - 1]))
		return true;
	message("%s: cannot read '#: %s %s'", d->name, k, v);
	return false;
}

/* "check NAME LIMIT 'TITLE'" */
static bool add_check(struct validate_driver *d, const char *line, size_t len)
{
	const char *end = memchr(line, ' ', len);
	const char *open = memchr(line, '\'', len);
	const char *close = memrchr(line, '\'', len);

	if (!end || end == line || !open || open < end || close <= open ||
	    d->check_count == VALIDATE_CHECKS) {
		message("%s: cannot take 'check %.*s'", d->name, (int)len, line);
		return false;
	}
	d->checks[d->check_count++] = (struct validate_check){
		.name = cut(line, (size_t)(end - line)),
		.title = cut(open + 1, (size_t)(close - open - 1)),
	};
	return true;
}

bool validate_parse(struct validate_driver *d)
{
	const char *end;
	bool good = true;

	d->cpus = 2;
	d->memory = DEFAULT_MEMORY;
	for (const char *line = d->script; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		if (strncmp(line, "#: ", 3) == 0)
			good &= add_head(d, line + 3, (size_t)(end - line) - 3);
		else if (strncmp(line, "check ", 6) == 0)
			good &= add_check(d, line + 6, (size_t)(end - line) - 6);
	}
	return good;
}

struct validate_driver *validate_drivers(size_t *count)
{
	static const char *const order[] = {"blk",    "scsi",    "net", "vhost", "uplink",
					    "serial", "balloon", "rng", "mmio"};
	struct validate_driver *drivers = allocate(CLI_COUNT(order) * sizeof(*drivers));

	*count = 0;
	for (size_t i = 0; i < CLI_COUNT(order); i++) {
		struct validate_driver *d = &drivers[*count];

		d->script = validate_script(format("%s.sh", order[i]));
		if (!d->script)
			continue;
		d->name = order[i];
		*count += validate_parse(d);
	}
	return drivers;
}

void validate_words(const struct validate_driver *driver, const char *key,
		    void (*fn)(void *opaque, const char *word), void *opaque)
{
	for (size_t i = 0; i < driver->head_count; i++) {
		char *copy, *rest, *word;

		if (strcmp(driver->head[i].key, key) != 0)
			continue;
		copy = duplicate(driver->head[i].value);
		for (word = strtok_r(copy, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest))
			fn(opaque, word);
	}
}
