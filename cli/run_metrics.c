/* SPDX-License-Identifier: MIT */
/*
 * `vmm run --metrics FILE`: the VM's metrics in a file that is replaced as a whole every few
 * seconds, for collectors that read files (node_exporter's textfile collector). A thread of its own
 * does it: looking at the VM may have to wait for a disk, signals must not.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"

#define INTERVAL_S     10
#define INTERVAL_MAX_S 86400

#ifdef CONFIG_JANSSON

struct metrics {
	struct vmm *vm;
	const char *path, *temporary;
	int interval_ms;
	int stop_fd;
	bool failed; /* the last time, which was reported */
	bool written;
	dev_t device;
	ino_t inode; /* of what was put there last */
	pthread_t thread;
};

int set_metrics(struct run_options *out, const char *value)
{
	char *path = duplicate(value), *comma = strchr(path, ',');
	struct timespec interval = {.tv_sec = INTERVAL_S};
	int status = GO_ON;

	if (comma) {
		*comma++ = '\0';
		if (strncmp(comma, "interval=", 9) != 0)
			return usage_error("--metrics %s: after the file there may be "
					   "interval=SECONDS, and nothing else",
					   value);
		status = set_seconds(&interval, "--metrics: interval", comma + 9);
	}
	if (status != GO_ON)
		return status;
	if (!*path)
		return usage_error("--metrics needs a value: --metrics FILE[,interval=SECONDS]");
	if (interval.tv_sec > INTERVAL_MAX_S ||
	    (interval.tv_sec == 0 && interval.tv_nsec < 1000000))
		return usage_error("--metrics %s: the interval must be from 0.001 to %d seconds",
				   value, INTERVAL_MAX_S);
	out->metrics = path;
	out->metrics_ms = (int)(interval.tv_sec * 1000 + interval.tv_nsec / 1000000);
	return GO_ON;
}

/* ---- the file ---- */

static int print_stats(struct metrics *m, FILE *out, struct vmm_error *err)
{
	char *text;
	json_t *vms;
	int r = vmm_stats(m->vm, &text, err);

	if (r)
		return r;
	vms = json_pack("[o*]", json_loads(text, 0, NULL));
	prometheus_print(out, vms);
	json_decref(vms);
	free(text);
	return 0;
}

static int fail(const struct metrics *m, struct vmm_error *err)
{
	int code = errno;

	snprintf(err->message, sizeof(err->message), "--metrics %s: cannot write it: %s", m->path,
		 strerror(code));
	err->code = code;
	return -code;
}

/* Closes out. */
static int finish_file(struct metrics *m, FILE *out, struct vmm_error *err)
{
	struct stat st;
	bool lost = ferror(out) || fflush(out) || fstat(fileno(out), &st);

	if (fclose(out) || lost || rename(m->temporary, m->path)) {
		int r = fail(m, err);

		unlink(m->temporary);
		return r;
	}
	m->written = true;
	m->device = st.st_dev;
	m->inode = st.st_ino;
	return 0;
}

/* Readers find the old one or the new one, never a part. */
static int write_file(struct metrics *m, struct vmm_error *err)
{
	FILE *out;
	int fd, r;

	/* Its name can be guessed, and the folder may be one that others write to, too. */
	unlink(m->temporary);
	fd = open(m->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out)
		return fail(m, err);
	r = print_stats(m, out, err);
	if (r == 0)
		return finish_file(m, out, err);
	fclose(out);
	unlink(m->temporary);
	return r;
}

static int refuse_target(const struct metrics *m, const char *what, struct vmm_error *err)
{
	snprintf(err->message, sizeof(err->message), "--metrics %s: it is there already, and %s",
		 m->path, what);
	err->code = EEXIST;
	return -EEXIST;
}

/* Whether a VM may have written it, or it is empty. */
static bool has_metrics(const char *path)
{
	static const char start[] = "# HELP vmm_";
	char text[sizeof(start)] = "";
	FILE *file = fopen(path, "re");
	size_t len = file ? fread(text, 1, strlen(start), file) : 1;

	if (file)
		fclose(file);
	return len == 0 || strcmp(text, start) == 0;
}

/* Metrics that are there are replaced; anything else was a slip. */
static int check_target(const struct metrics *m, struct vmm_error *err)
{
	struct stat st;

	if (lstat(m->path, &st))
		return 0;
	if (!S_ISREG(st.st_mode))
		return refuse_target(m, "is no ordinary file", err);
	return has_metrics(m->path) ? 0 : refuse_target(m, "is not a file of metrics", err);
}

/* ---- the thread ---- */

static void *metrics_main(void *arg)
{
	struct metrics *m = arg;
	struct pollfd stop = {.fd = m->stop_fd, .events = POLLIN};
	struct vmm_error err;
	int r;

	while (poll(&stop, 1, m->interval_ms) <= 0) {
		r = write_file(m, &err);
		if (r && !m->failed)
			message("%s", err.message);
		m->failed = r != 0;
	}
	return NULL;
}

static int start_thread(struct metrics *m)
{
	sigset_t all, old;
	int r;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(&m->thread, NULL, metrics_main, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int metrics_start(struct metrics **out, struct vmm *vm, const struct run_options *options,
		  struct vmm_error *err)
{
	struct metrics *m;
	int r;

	if (!options->metrics)
		return 0;
	m = allocate(sizeof(*m));
	m->vm = vm;
	m->path = options->metrics;
	m->temporary = format("%s.%d.tmp", m->path, (int)getpid());
	m->interval_ms = options->metrics_ms;
	r = check_target(m, err);
	if (!r)
		r = write_file(m, err);
	if (r)
		return r;
	m->stop_fd = eventfd(0, EFD_CLOEXEC);
	errno = m->stop_fd < 0 ? errno : start_thread(m);
	if (m->stop_fd < 0 || errno) {
		unlink(m->path);
		return fail(m, err);
	}
	*out = m;
	return 0;
}

void metrics_stop(struct metrics *m)
{
	struct stat st;

	if (!m)
		return;
	eventfd_write(m->stop_fd, 1);
	pthread_join(m->thread, NULL);
	close(m->stop_fd);
	/* A VM that has ended has no metrics. But the file may be another's by now. */
	if (m->written && lstat(m->path, &st) == 0 && st.st_dev == m->device &&
	    st.st_ino == m->inode)
		unlink(m->path);
}

#else

int set_metrics(struct run_options *out, const char *value)
{
	(void)out;
	return usage_error(
		"--metrics %s: this build has no metrics: it was made without libjansson", value);
}

int metrics_start(struct metrics **out, struct vmm *vm, const struct run_options *options,
		  struct vmm_error *err)
{
	(void)out, (void)vm, (void)options, (void)err;
	return 0;
}

void metrics_stop(struct metrics *m)
{
	(void)m;
}

#endif
