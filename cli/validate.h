/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: what its files share.
 *
 * A driver is one shell script, cli/validate/NAME.sh, which is built into the command. Its head
 * says what the VM looks like, its body runs inside the guest, and whatever has to be done or seen
 * from outside the guest asks for over a serial port ("ask WORD..."); docs/validation.md describes
 * both. So the C code here knows no driver: it makes the initramfs, runs each VM in a process of
 * its own, answers what is asked, and reports.
 *
 *     validate.c             which VMs run when, the results as they come
 *     validate_options.c     the command line
 *     validate_script.c      the embedded scripts: heads and checks
 *     validate_initramfs.c   the guest's user space, from the host's tools and the kernel's modules
 *     validate_modules.c     a kernel's version, and the closure of the modules that a driver needs
 *     validate_vm.c          one VM: its devices, its control channel, time limits (own process)
 *     validate_ask.c         what a guest can ask for
 *     validate_stream.c      the outer ends of sockets: data both ways, with sums
 *     validate_network.c     a network namespace of the run's own, for what a tap needs
 *     validate_program.c     programs that run beside a VM, such as passt
 *     validate_iso.c         an image for CD-ROM drives
 *     validate_report.c      the table, failures in full, JSON, JUnit
 */
#ifndef CLI_VALIDATE_H
#define CLI_VALIDATE_H

#include <stdio.h>
#include <sys/types.h>

#include "cli.h"

#define VALIDATE_WORDS  16 /* words of a line that a guest sends */
#define VALIDATE_LINE   1024
#define VALIDATE_CHECKS 64 /* of one driver */

/* ---- validate_script.c ---- */

struct validate_check {
	char *name;
	char *title;
};

/* "#: KEY VALUE" lines of a script's head, in their order. */
struct validate_line {
	char *key, *value;
};

struct validate_driver {
	const char *name;
	const char *script; /* its text */
	const char *title;
	char *class; /* the device class that it is about */
	unsigned cpus;
	uint64_t memory;
	struct validate_line *head;
	size_t head_count;
	struct validate_check checks[VALIDATE_CHECKS];
	size_t check_count;
};

/* A file of cli/validate/ as it is built in; NULL if there is none of this name. */
const char *validate_script(const char *name);

/*
 * Fill in what d->script says; name and script are set, all else is clear. False if a line of the
 * head or a check cannot be taken, with a message for each.
 */
bool validate_parse(struct validate_driver *d);

/* The drivers in the order in which they run; *count of them. */
struct validate_driver *validate_drivers(size_t *count);

/* Calls fn for each word in the value of each line of the head that has this key. */
void validate_words(const struct validate_driver *driver, const char *key,
		    void (*fn)(void *opaque, const char *word), void *opaque);

/* ---- validate_options.c ---- */

#define VALIDATE_DRIVERS 16 /* at most */
#define VALIDATE_JOBS    64

struct validate_options {
	const char *kernel, *modules, *json, *junit, *keep; /* NULL: not given */
	bool chosen[VALIDATE_DRIVERS];                      /* by --only */
	bool any_chosen;
	bool split, packed, list, verbose;
	unsigned jobs_at_once, slow;
	const struct validate_driver *drivers; /* that there are */
	size_t driver_count;
};

/* Returns GO_ON if there is something to do; else the exit status (reported, or help printed). */
int validate_options_parse(struct validate_options *o, const struct validate_driver *drivers,
			   size_t driver_count, int argc, char **argv);

/*
 * The folder for consoles, logs and images: `keep`, which may be there if it is empty, or a
 * temporary one if NULL. NULL: reported.
 */
char *validate_folder(const char *keep);

/* ---- validate_modules.c ---- */

/* What `uname -r` will say of the kernel in this file; NULL with a message if that cannot be told.
 */
char *validate_kernel_version(const char *kernel);

/* The folder that has modules.dep, below `modules` (or /lib/modules if NULL); NULL: reported. */
char *validate_modules_folder(const char *modules, const char *version);

/*
 * Calls fn with the path (relative to the folder) of each module in `names` and of all that these
 * need. Modules that are not there are left out: the guest finds that out where it matters.
 */
void validate_modules(const char *folder, const char *const *names,
		      void (*fn)(void *opaque, const char *path), void *opaque);

/* ---- validate_initramfs.c ---- */

struct validate_kernel {
	const char *path;
	char *version;
	char *modules; /* folder with modules.dep */
};

/* Write the initramfs for a driver to the file `path`. 0, or -1 with a message. */
int validate_initramfs(const char *path, const struct validate_driver *driver,
		       const struct validate_kernel *kernel);

/* The file of a tool of the host; NULL: it has none of this name. */
char *validate_find_tool(const char *name);

/* Print what to install for the tools and programs that validate_initramfs has missed so far. */
void validate_missing_tools(FILE *out);

/* ---- one VM: validate_vm.c, validate_ask.c, validate_stream.c ---- */

struct validate_run {
	const struct validate_driver *driver;
	const struct validate_kernel *kernel;
	const char *initramfs;
	const char *folder; /* of its own: console, log, sockets, images */
	bool packed;
	bool verbose;
	unsigned slow;     /* see --slow */
	const char *after; /* run only the checks behind this one; NULL: all */
};

/*
 * Run the VM to its end, in a process of its own; never returns. On the descriptor `out`:
 *
 *     begin CHECK               a check is under way
 *     pass|fail|skip CHECK MS TEXT
 *     end TEXT                  the VM came to an end before its guest was done: why
 */
_Noreturn void validate_vm(const struct validate_run *run, int out);

struct validate_vm {
	const struct validate_run *run;
	struct vmm *vm;
	int out;
	int control;              /* socket to the guest's second serial port */
	struct timespec deadline; /* of the check under way, CLOCK_MONOTONIC */
	bool reboot_expected;
	char check[64]; /* under way; "": none */
	struct timespec started;
	struct validate_stream *streams;
	bool own_network; /* a network namespace in which nobody else is */
	struct validate_program *programs;
	const char *left_out; /* why an optional device is not there; NULL: all are */
};

/* Replaces each "@/" by the run's folder and a slash, "@cpus", and "@user" by our UID:GID. */
char *validate_expand(const struct validate_run *run, const char *text);

/*
 * Do what the guest asks for. Returns the answer, which begins with "ok" or "error"; allocated as
 * everything here is.
 */
const char *validate_ask(struct validate_vm *vm, int argc, char **argv);

/*
 * stream NAME ADDRESS SEND RECEIVE [pause]: start to send SEND bytes and to receive as many as
 * RECEIVE tells, over a connection of its own; or to do nothing with it. ADDRESS: unix:PATH,
 * tcp:PORT (connect to this machine), listen:PORT (0: any; the answer has the one that was taken),
 * listen:PATH (absolute).
 */
const char *validate_stream_start(struct validate_vm *vm, int argc, char **argv);
/* stream-wait NAME: "ok SHA256-SENT SHA256-RECEIVED MILLISECONDS". */
const char *validate_stream_wait(struct validate_vm *vm, const char *name);
/* stream-stat NAME: "ok BYTES-SENT BYTES-RECEIVED" so far. */
const char *validate_stream_stat(struct validate_vm *vm, const char *name);

/* ---- validate_network.c ---- */

/*
 * Give this process a network of its own, with a loopback device that is up; where the host does
 * not allow that, nothing happens. Before there is a second thread.
 */
void validate_namespace(struct validate_vm *vm);

/*
 * "NAME ADDRESS PREFIX": set up an interface of that network. One that is not there (its device is
 * optional) is left out.
 */
void validate_interface(struct validate_vm *vm, const char *value);

/* ---- validate_program.c ---- */

/*
 * "NAME ARGUMENT...": start a program of the host, which ends with this process, however that ends.
 * One that is not installed is left out. Before there is a second thread.
 */
void validate_program_start(struct validate_vm *vm, const char *value);
/* program NAME: "ok" while it runs, else why it does not. */
const char *validate_program_state(struct validate_vm *vm, const char *name);

/* ---- validate_iso.c ---- */

/* Write a CD-ROM image with a label (in capitals) and one file, FILE.TXT. 0, or -1 with errno. */
int validate_iso(const char *path, const char *label, const char *text);

/* ---- validate_sha256.c ---- */

struct sha256 {
	uint32_t state[8];
	uint64_t length;
	uint8_t block[64];
};

#define SHA256_TEXT 65 /* hexadecimal, with the final zero */

void sha256_init(struct sha256 *sum);
void sha256_add(struct sha256 *sum, const void *data, size_t len);
void sha256_end(struct sha256 *sum, char text[SHA256_TEXT]);

/* ---- validate_report.c ---- */

enum validate_outcome { VALIDATE_PASS, VALIDATE_FAIL, VALIDATE_SKIP };

struct validate_result {
	const struct validate_driver *driver;
	const char *rings;
	const char *check, *title;
	enum validate_outcome outcome;
	unsigned ms;
	char *figure;       /* or why it failed or was skipped */
	const char *folder; /* of the run: console and log */
};

struct validate_report {
	const char *kernel, *version;
	struct validate_result *results;
	size_t count;
};

void validate_print_head(void);
void validate_print_result(const struct validate_result *result);
/* The console and the log of each run in which something failed, and the sums. */
void validate_print_end(const struct validate_report *report);
/* 0, or -1 with a message. */
int validate_write_json(const struct validate_report *report, const char *path);
int validate_write_junit(const struct validate_report *report, const char *path);

#endif
