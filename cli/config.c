/* SPDX-License-Identifier: MIT */
/*
 * `vmm config`: a command line of `vmm run` as a config file.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CONFIG_JANSSON

static int print(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;

	json_decref(json);
	if (!text) {
		message("out of memory");
		return STATUS_ERROR;
	}
	puts(text);
	free(text);
	return finish_output();
}

int command_config(int argc, char **argv)
{
	struct config_record record = {.sections = NULL};
	int status;

	if (argc == 2 && strcmp(argv[1], "--schema") == 0)
		return print(config_schema());
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--schema") == 0)
			return usage_error("--schema stands alone: the schema is the same for all "
					   "config files");
	status = run_options_record(&record, argc, argv);
	return status == GO_ON ? print(config_record_result(&record)) : status;
}

#else

int command_config(int argc, char **argv)
{
	(void)argc;
	message("%s: this build has no config files: it was made without libjansson", argv[0]);
	return STATUS_ERROR;
}

int config_read(const char *path, config_take_fn *take, void *opaque)
{
	(void)take;
	(void)opaque;
	return usage_error("--config %s: this build has no config files: it was made without "
			   "libjansson",
			   path);
}

int config_note(struct config_record *record, const struct run_options *out, const char *name,
		const char *value)
{
	(void)record;
	(void)out;
	(void)name;
	(void)value;
	return GO_ON;
}

#endif
