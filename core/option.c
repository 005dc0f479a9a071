/* SPDX-License-Identifier: MIT */
#include "core/option.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 64

/* ---- messages ---- */

struct text {
	char s[VMM_ERROR_MAX];
	size_t len;
};

static void PRINTF(2, 3) text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len = MIN(t->len + (size_t)n, sizeof(t->s) - 1);
}

/* "; did you mean "x"? Possible: a, b, c" */
static void text_add_choices(struct text *t, const char *word, const char *const *names)
{
	const char *near = nearest_name(word, names);

	if (near)
		text_add(t, "; did you mean \"%s\"?", near);
	text_add(t, "%s ", near ? " Possible:" : "; possible:");
	for (unsigned i = 0; names[i]; i++)
		text_add(t, "%s%s", i ? ", " : "", names[i]);
}

void describe_choices(char *buf, size_t size, const char *word, const char *const *names)
{
	struct text t = {.len = 0};

	text_add_choices(&t, word, names);
	snprintf(buf, size, "%s", t.s);
}

static int unknown_option(const struct option_desc *table, const char *what, const char *name,
			  struct vmm_error *err)
{
	const char *names[OPTIONS_MAX + 1] = {NULL};
	struct text t = {.len = 0};

	text_add(&t, "%s: unknown option \"%s\"", what, name);
	for (unsigned i = 0; table[i].name; i++) {
		assert(i < OPTIONS_MAX);
		names[i] = table[i].name;
	}
	if (names[0])
		text_add_choices(&t, name, names);
	else
		text_add(&t, ": it takes none");
	return error_set(err, EINVAL, "%s", t.s);
}

static int bad_number(const struct option_desc *desc, const char *what, const char *value,
		      struct vmm_error *err)
{
	struct text t = {.len = 0};

	text_add(&t, "%s: %s=%s: must be a %s", what, desc->name, value,
		 desc->type == OPTION_SIZE ? "size such as 4096, 512M or 4G" : "number");
	if (desc->min && desc->max)
		text_add(&t, " from %lu to %lu", desc->min, desc->max);
	else if (desc->max)
		text_add(&t, " of at most %lu", desc->max);
	else if (desc->min)
		text_add(&t, " of at least %lu", desc->min);
	return error_set(err, EINVAL, "%s", t.s);
}

static int bad_choice(const struct option_desc *desc, const char *what, const char *value,
		      const char *const *choices, struct vmm_error *err)
{
	struct text t = {.len = 0};

	text_add(&t, "%s: %s=%s: no such value", what, desc->name, value);
	text_add_choices(&t, value, choices);
	return error_set(err, EINVAL, "%s", t.s);
}

/* ---- one value ---- */

static const char *const bool_names[] = {"off", "on", "no", "yes", "false", "true", NULL};

static int index_of(const char *value, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (same_name(value, names[i]))
			return i;
	return -1;
}

static int set_number(const struct option_desc *desc, const char *what, const char *value,
		      void *field, struct vmm_error *err)
{
	uint64_t v;
	int r = desc->type == OPTION_SIZE ? parse_size(value, &v) : parse_uint(value, &v);

	if (r || v < desc->min || (desc->max && v > desc->max))
		return bad_number(desc, what, value, err);
	memcpy(field, &v, sizeof(v));
	return 0;
}

static int set_choice(const struct option_desc *desc, const char *what, const char *value,
		      void *field, struct vmm_error *err)
{
	bool is_bool = desc->type == OPTION_BOOL;
	const char *const *choices = is_bool ? bool_names : desc->values;
	int v = index_of(value, choices);

	if (v < 0)
		return bad_choice(desc, what, value, choices, err);
	if (is_bool)
		*(bool *)field = v & 1;
	else
		*(int *)field = v;
	return 0;
}

static int list_append(const struct option_desc *desc, const char *what, const char *value,
		       char ***list, struct vmm_error *err)
{
	size_t n = 0;
	char **longer;

	while (*list && (*list)[n])
		n++;
	if (n == OPTION_LIST_MAX)
		return error_set(err, EINVAL, "%s: %s is given more than %u times", what,
				 desc->name, OPTION_LIST_MAX);
	longer = reallocarray(*list, n + 2, sizeof(*longer));
	if (!longer)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	*list = longer;
	longer[n + 1] = NULL;
	longer[n] = strdup(value);
	return longer[n] ? 0 : error_set(err, ENOMEM, "%s: out of memory", what);
}

static void list_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

/* A default is not copied. */
static void free_string(const struct option_desc *desc, char **field)
{
	if (*field != desc->fallback)
		free(*field);
	*field = NULL;
}

static int set_string(const struct option_desc *desc, const char *what, const char *value,
		      char **field, struct vmm_error *err)
{
	char *copy;

	if (value == desc->fallback) {
		*(const char **)field = value;
		return 0;
	}
	copy = strdup(value);
	if (!copy)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	free_string(desc, field);
	*field = copy;
	return 0;
}

static int set_value(const struct option_desc *desc, const char *what, const char *value, void *out,
		     struct vmm_error *err)
{
	void *field = (char *)out + desc->offset;

	switch (desc->type) {
	case OPTION_UINT:
	case OPTION_SIZE:
		return set_number(desc, what, value, field, err);
	case OPTION_BOOL:
	case OPTION_ENUM:
		return set_choice(desc, what, value, field, err);
	case OPTION_LIST:
		return list_append(desc, what, value, field, err);
	case OPTION_STRING:
		return set_string(desc, what, value, field, err);
	}
	return 0;
}

static void clear_field(const struct option_desc *desc, void *out)
{
	void *field = (char *)out + desc->offset;

	switch (desc->type) {
	case OPTION_BOOL:
		*(bool *)field = false;
		break;
	case OPTION_UINT:
	case OPTION_SIZE:
		*(uint64_t *)field = 0;
		break;
	case OPTION_ENUM:
		*(int *)field = 0;
		break;
	case OPTION_STRING:
		*(char **)field = NULL;
		break;
	case OPTION_LIST:
		*(char ***)field = NULL;
		break;
	}
}

static int set_defaults(const struct option_desc *table, const char *what, void *out,
			struct vmm_error *err)
{
	int r = 0;

	/* Also after an error every field is cleared, for options_free. */
	for (const struct option_desc *desc = table; desc->name; desc++) {
		clear_field(desc, out);
		if (!r && desc->fallback)
			r = set_value(desc, what, desc->fallback, out, err);
	}
	return r;
}

/* ---- the whole text ---- */

/* Copy the item at `text` to `item`, ",," as ",". Returns where the next begins; NULL: was last. */
static const char *next_item(const char *text, char *item)
{
	const char *comma;

	for (; (comma = strchrnul(text, ','))[0] && comma[1] == ','; text = comma + 2)
		item = mempcpy(item, text, (size_t)(comma - text) + 1);
	*(char *)mempcpy(item, text, (size_t)(comma - text)) = '\0';
	return *comma ? comma + 1 : NULL;
}

static int missing_item(const char *what, struct vmm_error *err)
{
	return error_set(err, EINVAL, "%s: an option is missing beside a comma", what);
}

static int given_twice(const char *what, const char *name, struct vmm_error *err)
{
	return error_set(err, EINVAL, "%s: %s is given twice", what, name);
}

static int missing_value(const char *what, const char *name, struct vmm_error *err)
{
	return error_set(err, EINVAL, "%s: %s needs a value: %s=…", what, name, name);
}

static int parse_item(const struct option_desc *table, const char *what, const char *implied,
		      char *item, uint64_t *seen, void *out, struct vmm_error *err)
{
	const char *name = item, *value;
	char *equals = strchr(item, '=');
	unsigned i;

	if (!*item)
		return missing_item(what, err);
	if (equals) {
		*equals = '\0';
		value = equals + 1;
	} else if (implied) {
		name = implied;
		value = item;
	} else {
		value = NULL;
	}

	for (i = 0; table[i].name && !same_name(name, table[i].name); i++)
		;
	if (!table[i].name)
		return unknown_option(table, what, name, err);
	if (*seen & UINT64_C(1) << i && table[i].type != OPTION_LIST)
		return given_twice(what, name, err);
	*seen |= UINT64_C(1) << i;
	if (!value && table[i].type != OPTION_BOOL)
		return missing_value(what, name, err);
	return set_value(&table[i], what, value ? value : "on", out, err);
}

static int parse_items(const struct option_desc *table, const char *what, const char *implied,
		       const char *text, uint64_t *seen, void *out, struct vmm_error *err)
{
	char *item = malloc(strlen(text) + 1);
	int r = 0;

	if (!item)
		return error_set(err, ENOMEM, "%s: out of memory", what);
	while (text && !r) {
		text = next_item(text, item);
		r = parse_item(table, what, implied, item, seen, out, err);
		implied = NULL;
	}
	free(item);
	return r;
}

static bool is_seen(const struct option_desc *table, const char *name, uint64_t seen)
{
	for (unsigned i = 0; name && table[i].name; i++)
		if (same_name(table[i].name, name))
			return seen & UINT64_C(1) << i;
	return false;
}

static int check_required(const struct option_desc *table, const char *what, uint64_t seen,
			  struct vmm_error *err)
{
	for (unsigned i = 0; table[i].name; i++) {
		assert(i < OPTIONS_MAX);
		if (table[i].required && !(seen & UINT64_C(1) << i) &&
		    !is_seen(table, table[i].unless, seen))
			return error_set(err, EINVAL, "%s: %s=… is required: %s", what,
					 table[i].name,
					 table[i].help ? table[i].help : "no default");
	}
	return 0;
}

int options_parse(const struct option_desc *table, const char *what, const char *implied,
		  const char *text, void *out, struct vmm_error *err)
{
	uint64_t seen = 0;
	int r;

	r = set_defaults(table, what, out, err);
	if (!r && text && *text)
		r = parse_items(table, what, implied, text, &seen, out, err);
	if (!r)
		r = check_required(table, what, seen, err);
	if (r)
		options_free(table, out);
	return r;
}

/* ---- one item by itself ---- */

struct taking {
	const char *what, *name;
	char *value;      /* NULL: not seen yet */
	char *rest, *end; /* the other items, as they are written */
};

/* item: what the `len` characters at `text` mean. */
static int take_item(struct taking *t, const char *text, size_t len, const char *item,
		     struct vmm_error *err)
{
	size_t name_len = strlen(t->name);

	if (!*item)
		return missing_item(t->what, err);
	if (strncmp(item, t->name, name_len) || (item[name_len] && item[name_len] != '=')) {
		if (t->end != t->rest)
			*t->end++ = ',';
		memcpy(t->end, text, len);
		t->end += len;
		return 0;
	}
	if (!item[name_len])
		return missing_value(t->what, t->name, err);
	if (t->value)
		return given_twice(t->what, t->name, err);
	t->value = strdup(item + name_len + 1);
	return t->value ? 0 : error_set(err, ENOMEM, "%s: out of memory", t->what);
}

static int take_items(struct taking *t, const char *text, struct vmm_error *err)
{
	char *item = malloc(strlen(text) + 1);
	int r = 0;

	if (!item)
		return error_set(err, ENOMEM, "%s: out of memory", t->what);
	while (text && !r) {
		const char *next = next_item(text, item);

		r = take_item(t, text, next ? (size_t)(next - text) - 1 : strlen(text), item, err);
		text = next;
	}
	*t->end = '\0';
	free(item);
	return r;
}

int options_take(const char *text, const char *what, const char *name, char **value, char **rest,
		 struct vmm_error *err)
{
	struct taking t = {.what = what, .name = name};
	int r = 0;

	text = text ? text : "";
	t.rest = t.end = strdup(text);
	if (!t.rest)
		r = error_set(err, ENOMEM, "%s: out of memory", what);
	else if (strstr(text, name)) /* most have no such item, and the rest is all */
		r = take_items(&t, text, err);
	if (r) {
		free(t.value);
		free(t.rest);
		t.value = t.rest = NULL;
	}
	*value = t.value;
	*rest = t.rest;
	return r;
}

void options_free(const struct option_desc *table, void *out)
{
	for (; table->name; table++) {
		void *field = (char *)out + table->offset;

		if (table->type == OPTION_STRING) {
			free_string(table, field);
		} else if (table->type == OPTION_LIST) {
			list_free(*(char ***)field);
			*(char ***)field = NULL;
		}
	}
}
