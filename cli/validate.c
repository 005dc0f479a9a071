/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: boot a stock kernel and let its own drivers show that each device works.
 *
 * Each driver has a VM for split rings and one for packed rings, each in a process of its own,
 * --jobs of them at a time. When a VM ends before its checks are through, the check under way has
 * failed, and the ones behind it run in a fresh VM.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "validate.h"

/* One driver with one layout of rings; several VMs if one ends too early. */
struct job {
	struct validate_run run;
	bool done;
	char *title; /* "blk-split" */
	pid_t pid;   /* 0: not running */
	int fd;
	char line[VALIDATE_LINE];
	size_t used;
	unsigned attempts;
	size_t reached; /* checks that have a result, or are under way */
	bool under_way;
	bool began;              /* this VM's guest has come as far as a check */
	char end[VALIDATE_LINE]; /* why the VM ended, as its process tells */
};

struct validate {
	struct validate_options options;
	struct validate_kernel kernel;
	struct validate_driver *drivers;
	size_t driver_count;
	char *folder;
	struct job *jobs;
	size_t job_count;
	int signals;
	struct validate_report report;
};

static bool is_chosen(const struct validate *v, size_t driver)
{
	return !v->options.any_chosen || v->options.chosen[driver];
}

static int list_drivers(const struct validate *v)
{
	for (size_t i = 0; i < v->driver_count; i++) {
		const struct validate_driver *d = &v->drivers[i];

		if (!is_chosen(v, i))
			continue;
		printf("%s: %s\n", d->name, d->title);
		for (size_t c = 0; c < d->check_count; c++)
			printf("  %-12s %s\n", d->checks[c].name, d->checks[c].title);
	}
	return finish_output();
}

/* ---- results ---- */

static void add_result(struct validate *v, const struct job *job,
		       const struct validate_check *check, enum validate_outcome outcome,
		       unsigned ms, const char *text)
{
	struct validate_result *r = &v->report.results[v->report.count++];

	*r = (struct validate_result){
		.driver = job->run.driver,
		.rings = job->run.packed ? "packed" : "split",
		.check = check->name,
		.title = check->title,
		.outcome = outcome,
		.ms = ms,
		.figure = duplicate(text),
		.folder = job->run.folder,
	};
	validate_print_result(r);
}

/* Index of a check of the job's driver, or that of none. */
static size_t find_check(const struct job *job, const char *name, size_t len)
{
	const struct validate_driver *d = job->run.driver;
	size_t i = 0;

	while (i < d->check_count &&
	       (strncmp(d->checks[i].name, name, len) != 0 || d->checks[i].name[len]))
		i++;
	return i;
}

/* "pass CHECK MS TEXT" and so on. A check has one result, whatever a guest says. */
static void take_result(struct validate *v, struct job *job, enum validate_outcome outcome,
			const char *rest)
{
	size_t len = strcspn(rest, " "), i = find_check(job, rest, len);
	char *end;
	unsigned ms = (unsigned)strtoul(rest + len, &end, 10);

	if (!job->under_way || i + 1 != job->reached)
		return;
	job->under_way = false;
	add_result(v, job, &job->run.driver->checks[i], outcome, ms, end + strspn(end, " "));
}

static void take_line(struct validate *v, struct job *job, const char *line)
{
	static const char *const words[] = {"pass ", "fail ", "skip "};

	if (strncmp(line, "begin ", 6) == 0) {
		size_t i = find_check(job, line + 6, strlen(line + 6));

		if (i >= job->reached && i < job->run.driver->check_count) {
			job->reached = i + 1;
			job->under_way = job->began = true;
		}
	} else if (strncmp(line, "end ", 4) == 0) {
		snprintf(job->end, sizeof(job->end), "%s", line + 4);
	}
	for (size_t i = 0; i < CLI_COUNT(words); i++) {
		if (strncmp(line, words[i], 5) == 0)
			take_result(v, job, (enum validate_outcome)i, line + 5);
	}
}

/* ---- processes ---- */

static int start_job(struct validate *v, struct job *job)
{
	int fds[2];

	job->run.folder = format("%s/%s%s", v->folder, job->title,
				 job->attempts ? format("-%u", job->attempts + 1) : "");
	job->attempts++;
	job->used = 0;
	job->began = false;
	job->end[0] = '\0';
	if (mkdir(job->run.folder, 0700) != 0 || pipe2(fds, O_CLOEXEC) != 0) {
		message("%s: %s", job->run.folder, strerror(errno));
		return -1;
	}
	job->pid = fork();
	if (job->pid == 0) {
		sigset_t none;
		int err = open(format("%s/errors", job->run.folder), O_WRONLY | O_CREAT | O_CLOEXEC,
			       0600);

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(err, STDERR_FILENO);
		validate_vm(&job->run, fds[1]);
	}
	close(fds[1]);
	job->fd = fds[0];
	if (job->pid > 0)
		return 0;
	message("cannot start a process: %s", strerror(errno));
	job->pid = 0;
	return -1;
}

/* Why the process ended, where it did not tell by itself. */
static void explain_end(struct job *job, int status)
{
	if (WIFSIGNALED(status))
		snprintf(job->end, sizeof(job->end), "vmm died of signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (!job->end[0] && WEXITSTATUS(status) != 0)
		snprintf(job->end, sizeof(job->end), "vmm ended with status %d",
			 WEXITSTATUS(status));
}

/*
 * The VM has ended. What was under way has failed, and what lies behind it gets a fresh VM; but not
 * if the guest did not come as far as any check.
 */
static void end_job(struct validate *v, struct job *job)
{
	static const struct validate_check start = {"start", "the guest boots"},
					   end = {"end", "the guest powers off"};
	const struct validate_driver *d = job->run.driver;
	int status = 0;

	close(job->fd);
	waitpid(job->pid, &status, 0);
	job->pid = 0;
	explain_end(job, status);
	if (job->under_way)
		add_result(v, job, &d->checks[job->reached - 1], VALIDATE_FAIL, 0,
			   job->end[0] ? job->end : "the guest left it out");
	else if (job->end[0])
		add_result(v, job, job->began ? &end : &start, VALIDATE_FAIL, 0, job->end);
	job->under_way = false;
	job->done = !job->began || job->reached == d->check_count;
	job->run.after = job->reached ? d->checks[job->reached - 1].name : NULL;
}

static void read_job(struct validate *v, struct job *job)
{
	ssize_t n = read(job->fd, job->line + job->used, sizeof(job->line) - 1 - job->used);
	char *end;

	if (n <= 0) {
		end_job(v, job);
		return;
	}
	job->used += (size_t)n;
	job->line[job->used] = '\0';
	while ((end = strchr(job->line, '\n'))) {
		*end = '\0';
		take_line(v, job, job->line);
		job->used -= (size_t)(end + 1 - job->line);
		memmove(job->line, end + 1, job->used + 1);
	}
	if (job->used == sizeof(job->line) - 1)
		job->used = 0; /* no line of ours is that long */
}

/* True: something ran, or was started. */
static int start_jobs(struct validate *v)
{
	unsigned running = 0;

	for (size_t i = 0; i < v->job_count; i++)
		running += v->jobs[i].pid != 0;
	for (size_t i = 0; i < v->job_count && running < v->options.jobs_at_once; i++) {
		if (v->jobs[i].pid || v->jobs[i].done)
			continue;
		if (start_job(v, &v->jobs[i]) != 0)
			return -1;
		running++;
	}
	return (int)running;
}

static int stop_all(struct validate *v, int status)
{
	for (size_t i = 0; i < v->job_count; i++) {
		if (v->jobs[i].pid) {
			kill(v->jobs[i].pid, SIGKILL);
			waitpid(v->jobs[i].pid, NULL, 0);
		}
	}
	return status;
}

/* GO_ON when all jobs are done, else the exit status. */
static int run_jobs(struct validate *v)
{
	struct pollfd fds[VALIDATE_JOBS + 1];
	struct job *jobs[VALIDATE_JOBS];
	struct signalfd_siginfo info;
	int running;

	while ((running = start_jobs(v)) > 0) {
		nfds_t n = 0;

		for (size_t i = 0; i < v->job_count; i++) {
			if (!v->jobs[i].pid)
				continue;
			jobs[n] = &v->jobs[i];
			fds[n++] = (struct pollfd){.fd = v->jobs[i].fd, .events = POLLIN};
		}
		fds[n] = (struct pollfd){.fd = v->signals, .events = POLLIN};
		if (poll(fds, n + 1, -1) < 0 && errno != EINTR)
			return stop_all(v, STATUS_ERROR);
		if (fds[n].revents && read(v->signals, &info, sizeof(info)) == sizeof(info))
			return stop_all(v, STATUS_SIGNAL + (int)info.ssi_signo);
		for (nfds_t i = 0; i < n; i++) {
			if (fds[i].revents)
				read_job(v, jobs[i]);
		}
	}
	return running < 0 ? stop_all(v, STATUS_ERROR) : GO_ON;
}

/* ---- preparation and end ---- */

static bool class_exists(const char *cls)
{
	struct vmm_device_info info;

	for (unsigned i = 0; vmm_device_class(i, &info); i++) {
		if (strcmp(info.name, cls) == 0)
			return true;
	}
	return false;
}

static int add_jobs(struct validate *v, const struct validate_driver *driver)
{
	char *initramfs = format("%s/%s.initramfs", v->folder, driver->name);

	if (!driver->class || !class_exists(driver->class)) {
		message("%s: left out, this vmm has no %s", driver->name,
			driver->class ? driver->class : "device for it");
		return 0;
	}
	if (validate_initramfs(initramfs, driver, &v->kernel) != 0)
		return -1;
	for (int packed = 0; packed < 2; packed++) {
		struct job *job = &v->jobs[v->job_count];

		if (!(packed ? v->options.packed : v->options.split))
			continue;
		job->title = format("%s-%s", driver->name, packed ? "packed" : "split");
		job->run = (struct validate_run){
			.driver = driver,
			.kernel = &v->kernel,
			.initramfs = initramfs,
			.packed = packed,
			.verbose = v->options.verbose,
			.slow = v->options.slow,
		};
		v->job_count++;
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

static void open_signals(struct validate *v)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	v->signals = signalfd(-1, &set, SFD_CLOEXEC);
}

static int prepare(struct validate *v)
{
	size_t most = 2 * v->driver_count;

	v->kernel.version = validate_kernel_version(v->kernel.path);
	if (!v->kernel.version)
		return STATUS_ERROR;
	v->kernel.modules = validate_modules_folder(v->options.modules, v->kernel.version);
	if (!v->kernel.modules)
		return STATUS_USAGE;
	v->folder = validate_folder(v->options.keep);
	if (!v->folder)
		return STATUS_ERROR;
	v->jobs = allocate(most * sizeof(*v->jobs));
	v->report.kernel = v->kernel.path;
	v->report.version = v->kernel.version;
	/* "start" or "end" of each VM come on top of the script's checks. */
	v->report.results = allocate(most * 2 * (VALIDATE_CHECKS + 1) * sizeof(*v->report.results));
	open_signals(v);
	for (size_t i = 0; i < v->driver_count; i++) {
		if (is_chosen(v, i) && add_jobs(v, &v->drivers[i]) != 0)
			return STATUS_ERROR;
	}
	return GO_ON;
}

/* All results are there: report them, and say with the exit status whether something failed. */
static int conclude(struct validate *v)
{
	int status = STATUS_OK;

	validate_print_end(&v->report);
	validate_missing_tools(stdout);
	for (size_t i = 0; i < v->report.count; i++) {
		if (v->report.results[i].outcome == VALIDATE_FAIL)
			status = STATUS_ERROR;
	}
	if (v->report.count == 0) {
		message("nothing was checked");
		status = STATUS_ERROR;
	}
	if ((v->options.json && validate_write_json(&v->report, v->options.json) != 0) ||
	    (v->options.junit && validate_write_junit(&v->report, v->options.junit) != 0) ||
	    finish_output() != STATUS_OK)
		status = STATUS_ERROR;
	return status;
}

int command_validate(int argc, char **argv)
{
	struct validate v = {0};
	int status;

	v.drivers = validate_drivers(&v.driver_count);
	status = validate_options_parse(&v.options, v.drivers, v.driver_count, argc, argv);
	v.kernel.path = v.options.kernel;
	if (status != GO_ON)
		return status;
	if (v.options.list)
		return list_drivers(&v);
	status = prepare(&v);
	if (status == GO_ON) {
		validate_print_head();
		status = run_jobs(&v);
		if (status == GO_ON)
			status = conclude(&v);
	}
	if (v.folder && !v.options.keep)
		nftw(v.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return status;
}
