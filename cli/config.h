/* SPDX-License-Identifier: MIT */
/*
 * Config files: the options of `vmm run` as JSON, both ways, and a schema of them. An option's name
 * is its key; what it has as KEY=VALUE are the members of an object, typed as the library's option
 * tables say. Files named config_*.c need jansson.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include "cli.h"

/* What stands in the file for an option. */
enum config_kind {
	CONFIG_TEXT,
	CONFIG_TEXTS,    /* an array of strings */
	CONFIG_CPUS,     /* a number */
	CONFIG_SECONDS,  /* a number with a fraction */
	CONFIG_SWITCH,   /* true or false, for on and off */
	CONFIG_FLAG,     /* true: the option is given, false: not */
	CONFIG_CHOICE,   /* one of some words */
	CONFIG_OBJECT,   /* an object */
	CONFIG_OBJECTS,  /* an array of objects, each a device */
	CONFIG_SWITCHED, /* true, false or an object: a device, or none */
};

struct config_option {
	const char *name; /* as of the option; NULL ends the table */
	enum config_kind kind;
	const char *first;                 /* the key whose value has no name in the option */
	const char *const *classes;        /* devices whose options are keys; NULL: none */
	const struct vmm_option_info *own; /* keys that are no device's; NULL: none */
	bool networks;                     /* the options of networks are keys, too */
	const char *const *choices;        /* of CONFIG_CHOICE */
};

extern const struct config_option config_options[];

/* NULL: there is none. */
const struct config_option *config_option_named(const char *name);

/*
 * Key number `index` of the option's objects, each once; false: there are no more. cls: the class,
 * of `device`, where it is an item of the object; else NULL.
 */
bool config_key(const struct config_option *option, const char *cls, unsigned index,
		struct vmm_option_info *key);
bool config_key_named(const struct config_option *option, const char *cls, const char *name,
		      struct vmm_option_info *key);

#ifdef CONFIG_JANSSON
#include <jansson.h>

/* ---- config_write.c ---- */

/* What `vmm config` prints so far: sections, each an object. All zero is the initial state. */
struct config_record {
	json_t *sections;
	const char *last; /* the option of the latest device */
};

/* The value as a number, a truth value or a string; NULL: it is no UTF-8. */
json_t *config_value(const struct vmm_option_info *key, const char *text);
/* The whole: an object, or an array of them where the order wants it. */
json_t *config_record_result(struct config_record *record);

/* ---- config_schema.c ---- */

json_t *config_schema(void);
#endif

#endif
