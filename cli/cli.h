/* SPDX-License-Identifier: MIT */
/*
 * What the files of the command line share. The command uses the library as any other program
 * would: vmm.h is the only header of the project that it includes.
 *
 * Messages go to standard error, one line each, without stdio: `vmm run` must start fast.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <signal.h>
#include <time.h>

#include <vmm.h>

/*
 * How the process ends; docs/exit-status.md explains the choice. The guest's own values
 * (debug-exit) are odd, so these are even but for 1, which every Unix command uses for failure.
 */
enum status {
	GO_ON = -1, /* from functions that would return a status if this were the end */
	STATUS_OK = 0,
	STATUS_ERROR = 1,
	STATUS_USAGE = 2,
	STATUS_PANIC = 4,
	STATUS_REBOOT = 6,
	STATUS_TIMEOUT = 124,
	STATUS_SIGNAL = 128, /* + the signal's number */
};

#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define CLI_COUNT(a)     (sizeof(a) / sizeof((a)[0]))

/* ---- message.c ---- */

/*
 * Print "vmm: <sentence>" on standard error, and in the log where that is another place. Control
 * characters become '?'. Any thread.
 */
void message(const char *fmt, ...) CLI_PRINTF(1, 2);

/* As message, if `level` shows messages of the level `of`. */
void message_at(enum vmm_log_level level, enum vmm_log_level of, const char *fmt, ...)
	CLI_PRINTF(3, 4);

/* What options are read from, for usage_error; NULL: the command line. Not copied. */
void usage_context(const char *what);

/* As message, after "<context>: "; returns STATUS_USAGE. */
int usage_error(const char *fmt, ...) CLI_PRINTF(1, 2);

/* A vmm_log_fn: "vmm: <level>: <source>: <line>". Any thread. */
void message_log(void *opaque, enum vmm_log_level level, const char *source, const char *line);

/* Flush standard output; STATUS_ERROR with a message if what was printed got lost. */
int finish_output(void);

/* ---- arguments.c: command line options, from a table ---- */

struct cli_option {
	const char *name;    /* without the dashes; NULL ends the table */
	char letter;         /* short form, or 0 */
	const char *metavar; /* what the value is; NULL: takes no value */
	const char *help;    /* for --help; may have several lines */
	int id;
};

struct arguments {
	const struct cli_option *table;
	const char *command; /* for "vmm COMMAND --help" in messages */
	int argc;
	char **argv;
	int next;            /* index of the next argument */
	const char *cluster; /* rest of "-abc", or NULL */
};

/*
 * The next option: its id, with *value set (NULL if it takes none); 0 at the end; -1 on an error,
 * which has been reported. There are no positional arguments.
 */
int next_option(struct arguments *args, const char **value);

/* The option of that name, of which the first `len` characters count, or NULL. */
const struct cli_option *find_option(const struct cli_option *table, const char *name, size_t len);

/* Print the table to standard output, as --help shows it. */
void print_options(const struct cli_option *table);

/* Set buf to "; did you mean <prefix>X?", or to "" if no name is near. Returns buf. */
const char *did_you_mean(char *buf, size_t size, const char *word, const char *prefix,
			 const char *const *names);

/* ---- devices.c ---- */

/* Does this build have such a device class? */
bool device_class_known(const char *cls);

/* The same; if not, that has been reported. what: as for check_device. */
bool device_class_exists(const char *what, const char *cls);

/*
 * GO_ON if there is such a device class and the options suit it, else STATUS_USAGE (reported).
 * what: the option of the command line that asks for it.
 */
int check_device(const char *what, const char *cls, const char *options);

/* Has the class an option of that name? */
bool device_class_takes(const char *cls, const char *key);
/* Is this no option of the class, but one of a network that its option `backend` can be? */
bool belongs_to_backend(const char *cls, const char *key);

/* Print the device classes, the options of one, or what a stream or a network can be. */
void print_device_classes(void);
void print_device_options(const char *cls);
void print_streams(void);
void print_networks(void);

/* ---- shorthand.c: lists of key=value. What is returned is allocated. ---- */

/* The first item, as written; *list becomes the rest, NULL after the last. */
char *take_list_item(const char **list);
/* The text with doubled commas made single, as one item means it. */
char *unquote_item(const char *text);

/* The value of the first item KEY=VALUE, commas single; NULL: there is none. list: may be NULL. */
char *option_value(const char *list, const char *key);
/* The list without the items KEY=VALUE. */
char *without_option(const char *list, const char *key);
/* The text with its commas doubled, as a value in a list. */
char *quote_option(const char *text);
/*
 * The options of a device of class `cls` from "BACKEND[,item]...", where `option` is the one that
 * says what the device is connected to; the rule stands in shorthand.c.
 */
char *connected_options(const char *cls, const char *option, const char *text);

/* ---- values.c ---- */

/*
 * Memory is never given back: as argv, it lasts as long as the process. Out of memory ends it.
 * `allocate` clears.
 */
void *allocate(size_t size);
char *duplicate(const char *text);
/* The array of `count` items of `size` bytes, with room for two more, which are zero. */
void *with_room(void *array, size_t count, size_t size);
char *format(const char *fmt, ...) CLI_PRINTF(1, 2);

/*
 * Index of value in names (NULL-terminated), or -1 (reported). option: what stands before the
 * value.
 */
int choose(const char *option, const char *value, const char *const *names);

/* Parse the value of one option. Each returns GO_ON or STATUS_USAGE (reported). */
int set_cpus(struct vmm_config *config, const char *value);
int set_memory(struct vmm_config *config, const char *value);
int set_seconds(struct timespec *time, const char *option, const char *value);
int set_timeout(struct timespec *timeout, const char *value);
int set_switch(bool *on, const char *option, const char *value);
int set_on_reboot(struct vmm_config *config, const char *value);

/* ---- run_options.c ---- */

struct run_device {
	const char *cls;     /* allocated, or static */
	const char *options; /* "key=value,…" or NULL */
	bool unasked;        /* a default: where it cannot be had, the VM does without */
};

struct run_options {
	struct vmm_config config;
	struct run_device *devices;
	size_t device_count;
	const char **initrds;
	size_t initrd_count;
	struct timespec timeout;  /* all zero: none */
	const char *timeout_text; /* as the user wrote it */
	bool uses_stdin;          /* some device reads standard input */
	const char *control;      /* path of the control socket; NULL: none */
	bool control_asked;       /* the user has decided about it */
	bool detach;              /* run in a process of its own */
	const char *metrics;      /* a file; NULL: none */
	int metrics_ms;           /* between two times that it is written */
	const char *log_file;     /* NULL: standard error */
	bool log_json;
};

/* Returns GO_ON if the VM is to run; else the exit status (usage error reported, or help printed).
 */
int run_options_parse(struct run_options *options, int argc, char **argv);

/* Note what they say for `vmm config`, without completing it. Likewise. */
struct config_record;
int run_options_record(struct config_record *record, int argc, char **argv);

/* Print the options of `vmm run`. */
void run_options_help(void);
/* The help of one of them; NULL: there is no such. */
const char *run_option_help(const char *name);

/* ---- config*.c: config files; config.h has the rest ---- */

/* GO_ON, or the exit status (reported, or help printed). name: of an option; value: allocated. */
typedef int config_take_fn(void *opaque, const char *name, const char *value);

/*
 * Call take for each option that the file stands for, in the order of the file; "-": standard
 * input. Returns GO_ON, what take has returned, STATUS_ERROR (no such file) or STATUS_USAGE (both
 * reported).
 */
int config_read(const char *path, config_take_fn *take, void *opaque);

/* Note an option that has been taken. GO_ON or STATUS_USAGE (it cannot be written as JSON). */
int config_note(struct config_record *record, const struct run_options *out, const char *name,
		const char *value);

/* ---- run_control.c ---- */

/* The value of --control: GO_ON or STATUS_USAGE. */
int set_control(struct run_options *out, const char *value);
/*
 * Where the console of a VM with these options is attached to: beside its control socket. Once all
 * of them have been read; NULL: it has none.
 */
char *console_path(const struct run_options *out);
/* All options have been read: the default, and what does not go together. Likewise. */
int complete_control(struct run_options *out);
/* Open the control socket, if there is to be one. Returns 0 or -errno with err set. */
int open_control(struct vmm *vm, const struct run_options *options, struct vmm_error *err);
/* After vmm_destroy, which has removed the socket. */
void remove_control_folder(const struct run_options *options);

/* ---- run_metrics.c ---- */

struct metrics;
/* The value of --metrics: GO_ON or STATUS_USAGE. */
int set_metrics(struct run_options *out, const char *value);
/* Write the file, if there is to be one, and go on doing so. Returns 0 or -errno with err set. */
int metrics_start(struct metrics **metrics, struct vmm *vm, const struct run_options *options,
		  struct vmm_error *err);
/* Before vmm_destroy. The file goes. NULL is allowed. */
void metrics_stop(struct metrics *metrics);

/* ---- detach.c ---- */

struct detach {
	int fd;         /* to the parent; -1: there is none */
	int *inherited; /* descriptors of the caller */
	size_t count;
};

/*
 * Go on in a child, which has *detach; no thread may run yet. In the parent: returns its exit
 * status when the child has called detach_done or has ended.
 */
int detach_begin(struct detach *detach);
/* The guest runs: let the parent end, and let go of the terminal and of what was inherited. */
void detach_done(struct detach *detach);

/* ---- run_devices.c ---- */

/* The value of --disk without `bus` and `media`; its first item has a key. Allocated. */
char *disk_options(const char *value);

/* What the options read so far say about devices; most of it is in out->devices at once. */
struct wishes {
	struct run_options *out;
	const char *serial;     /* options of the serial port; NULL: not asked for */
	bool attach;            /* --serial attach: they are known in the end */
	const char *root;       /* the first disk in the guest; NULL: no disk */
	bool console;           /* there is a virtio console */
	bool net, balloon, rng; /* the user has decided: no default */
	bool defaults;
};

/*
 * Act upon the value of one option. Each returns GO_ON or the exit status (a mistake reported, or
 * help printed).
 */
int add_disk(struct wishes *wishes, const char *value);
int add_net(struct wishes *wishes, const char *value);
int set_serial(struct wishes *wishes, const char *value);
int add_console(struct wishes *wishes, const char *value);
int add_port(struct wishes *wishes, const char *value);
int add_balloon(struct wishes *wishes, const char *value);
int add_rng(struct wishes *wishes, const char *value);
int add_any_device(struct wishes *wishes, const char *value);

/* All options have been read: add what comes unasked. */
int complete_devices(struct wishes *wishes);
/* The kernel's command line for these devices. */
char *default_cmdline(const struct wishes *wishes);

/* ---- terminal.c ---- */

/*
 * Remember the state of standard input, output and error, and put it back should the process die
 * of a signal. restore_modes: the terminal on standard input will be made raw.
 */
void terminal_guard(bool restore_modes);

/* Put the remembered state back. Async-signal-safe; harmless when called again. */
void terminal_restore(void);

/* After terminal_guard(true): no echo, no lines, no signals. False: standard input is no terminal.
 */
bool terminal_make_raw(void);

/*
 * SIGTSTP: restore and stop. After SIGCONT, terminal_continue makes the terminal again what it was
 * at terminal_note_raw.
 */
void terminal_note_raw(void);
void terminal_suspend(void);
void terminal_continue(void);

/* ---- commands: each returns the exit status; argv[0] is the command's name ---- */

int command_run(int argc, char **argv);
int command_config(int argc, char **argv);
int command_validate(int argc, char **argv);
void validate_options_help(void);
int command_check_host(int argc, char **argv);
int command_help(int argc, char **argv);

/* ---- control.c: the commands that talk to running VMs ---- */

/* The name of number `index`, or NULL. */
const char *control_command(unsigned index);
int command_control(int argc, char **argv);
/* The lines of the overview that list them / the help of one; false: there is no such. */
void control_overview(void);
bool control_help(const char *command);
int print_help(const char *topic);

#endif
