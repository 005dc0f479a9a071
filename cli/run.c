/* SPDX-License-Identifier: MIT */
/*
 * `vmm run`: start a VM, wait for it, the clock and signals, and turn the outcome into an exit
 * status.
 *
 * SIGTERM, SIGINT and SIGHUP press the power button; a second one ends the VM at once.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "log.h"

/* How long the VM may take to stop once it was told to, before the process just ends. */
#define STOP_SECONDS 5

struct run {
	const struct run_options *options;
	struct vmm *vm;
	struct metrics *metrics;
	int signal_fd;
	struct detach detach;
	int timer_fd;
	bool button_pressed;
	int forced; /* exit status that we have decided on, or 0 */
};

/*
 * From now on the signals that run.c handles arrive through a descriptor. Until here they simply
 * end the process: nothing is held yet that would have to be given back.
 */
static int open_signals(struct run *run)
{
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	/* nohup means it. */
	if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* A reader of our output that has gone is an error of that write, not of the guest. */
	signal(SIGPIPE, SIG_IGN);
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd < 0 ? -errno : 0;
}

static int set_timer(struct run *run, struct timespec delay)
{
	struct itimerspec timer = {.it_value = delay};

	if (run->timer_fd < 0)
		run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return run->timer_fd < 0 ? -1 : timerfd_settime(run->timer_fd, 0, &timer, NULL);
}

/* The VM has not stopped in time, or the user insists. Async-signal-safe. */
static _Noreturn void end_process(int status)
{
	terminal_restore();
	_exit(status);
}

static void force_stop(struct run *run, int status)
{
	run->forced = status;
	vmm_stop(run->vm);
	set_timer(run, (struct timespec){.tv_sec = STOP_SECONDS});
}

static void end_requested(struct run *run, int sig)
{
	struct vmm_error err;

	if (run->forced)
		end_process(run->forced);
	if (!run->button_pressed && vmm_powerdown(run->vm, &err) == 0) {
		run->button_pressed = true;
		message_at(run->options->config.log_level, VMM_LOG_WARN,
			   "%s: asked the guest to power off; once more ends it at once",
			   sig == SIGINT   ? "interrupted"
			   : sig == SIGHUP ? "hung up"
					   : "terminated");
		return;
	}
	force_stop(run, STATUS_SIGNAL + sig);
}

static void handle_signals(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTSTP:
			terminal_suspend();
			break;
		case SIGCONT:
			terminal_continue();
			break;
		default:
			end_requested(run, (int)info.ssi_signo);
			break;
		}
	}
}

static void handle_timer(struct run *run)
{
	uint64_t expirations;

	if (read(run->timer_fd, &expirations, sizeof(expirations)) != sizeof(expirations))
		return;
	if (run->forced) {
		message("the VM did not stop within %d seconds", STOP_SECONDS);
		end_process(run->forced);
	}
	message("the guest still ran after %s seconds (--timeout): stopped",
		run->options->timeout_text);
	force_stop(run, STATUS_TIMEOUT);
}

/* Take all events that wait; true if the VM has stopped. */
static bool has_stopped(struct vmm *vm)
{
	struct vmm_event event;

	while (vmm_next_event(vm, &event))
		if (event.kind == VMM_EVENT_STOPPED)
			return true;
	return false;
}

/* Until the VM has stopped. */
static void wait_for_end(struct run *run)
{
	struct pollfd fds[] = {
		{.fd = vmm_event_fd(run->vm), .events = POLLIN},
		{.fd = run->signal_fd, .events = POLLIN},
		{.fd = run->timer_fd, .events = POLLIN},
	};

	for (;;) {
		fds[2].fd = run->timer_fd; /* a forced stop may have created it */
		if (poll(fds, CLI_COUNT(fds), -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && has_stopped(run->vm))
			return;
		if (fds[1].revents)
			handle_signals(run);
		if (fds[2].revents)
			handle_timer(run);
	}
}

/* ---- the end: the VM is being destroyed, nobody reads the descriptors any more ---- */

static volatile sig_atomic_t asked_to_end; /* by a signal, so far */
static volatile sig_atomic_t late_status;  /* once the time of a forced stop is over */

static void on_late_signal(int sig)
{
	if (sig == SIGALRM)
		end_process(late_status);
	/* As ever, the first one is a polite request; and all that it asks for is under way. */
	if (asked_to_end)
		end_process(late_status ? (int)late_status : STATUS_SIGNAL + sig);
	asked_to_end = 1;
}

/*
 * What is left can take long: data that are on their way to a slow disk, a pipe that nobody reads.
 * Whoever insists need not wait for it.
 */
static void let_signals_end_us(const struct run *run)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
	struct sigaction action = {.sa_handler = on_late_signal}, old;
	sigset_t set;

	asked_to_end = run->button_pressed || run->forced;
	late_status = run->forced;
	sigemptyset(&set);
	for (size_t i = 0; i < CLI_COUNT(signals); i++) {
		/* Who started us with a signal ignored (nohup) meant it. */
		if (sigaction(signals[i], NULL, &old) != 0 || old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &action, NULL);
		sigaddset(&set, signals[i]);
	}
	if (run->forced) {
		sigaction(SIGALRM, &action, NULL);
		sigaddset(&set, SIGALRM);
		alarm(STOP_SECONDS);
	}
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int exit_status(const struct run *run, const struct vmm_result *result)
{
	switch (result->kind) {
	case VMM_EXIT_POWEROFF:
	case VMM_EXIT_QUIT:
		return STATUS_OK;
	case VMM_EXIT_REBOOT:
		return STATUS_REBOOT;
	case VMM_EXIT_PANIC:
		message("the guest's kernel panicked");
		return STATUS_PANIC;
	case VMM_EXIT_DEBUG:
		return (int)((result->value << 1 | 1) & 0xff);
	case VMM_EXIT_STOPPED:
		if (run->forced)
			return run->forced;
		message("the VM was ended over its control socket");
		return STATUS_ERROR;
	case VMM_EXIT_ERROR:
		message("%s", result->error.message);
		return STATUS_ERROR;
	case VMM_EXIT_NONE:
		break;
	}
	message("the VM ended for no known reason");
	return STATUS_ERROR;
}

static int fail_errno(struct vmm_error *err, const char *what)
{
	err->code = errno;
	snprintf(err->message, sizeof(err->message), "%s: %s", what, strerror(errno));
	return -err->code;
}

static int add_devices(struct run *run, struct vmm_error *err)
{
	const struct run_options *options = run->options;

	for (size_t i = 0; i < options->device_count; i++) {
		const struct run_device *device = &options->devices[i];
		int r = vmm_add_device(run->vm, device->cls, device->options, err);

		if (r && !device->unasked)
			return r;
		if (r)
			message_at(options->config.log_level, VMM_LOG_INFO, "%s", err->message);
	}
	return 0;
}

/*
 * Each queue of a device takes a descriptor, and the guest's connections one each: all that this
 * user may have, rather than the 1,024 that are usual for programs with select().
 */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int start(struct run *run, struct vmm_error *err)
{
	const struct run_options *options = run->options;
	int r;

	raise_descriptors();
	r = vmm_create(&run->vm, &options->config, err);

	if (!r)
		r = open_control(run->vm, options, err);

	if (!r && open_signals(run) != 0)
		r = fail_errno(err, "cannot receive signals");
	if (!r)
		r = add_devices(run, err);
	if (!r)
		r = metrics_start(&run->metrics, run->vm, options, err);
	if (!r)
		r = vmm_start(run->vm, err);
	if (!r)
		terminal_note_raw();
	if (!r && run->detach.fd >= 0)
		detach_done(&run->detach);
	return r;
}

/* The VM is destroyed before anything is reported: the console must give back the terminal. */
static int start_and_wait(struct run *run)
{
	struct vmm_result result = {.kind = VMM_EXIT_ERROR};

	if (start(run, &result.error) == 0) {
		wait_for_end(run);
		vmm_wait(run->vm, &result);
		let_signals_end_us(run);
	}
	metrics_stop(run->metrics);
	vmm_destroy(run->vm);
	remove_control_folder(run->options);
	terminal_restore();
	return exit_status(run, &result);
}

int command_run(int argc, char **argv)
{
	struct run_options options;
	struct run run = {.options = &options, .signal_fd = -1, .timer_fd = -1, .detach.fd = -1};
	int status = run_options_parse(&options, argc, argv);

	if (status == GO_ON)
		status = open_log(&options);
	if (status == GO_ON && options.detach)
		status = detach_begin(&run.detach);
	if (status != GO_ON)
		return status;
	terminal_guard(options.uses_stdin);
	if (options.timeout_text && set_timer(&run, options.timeout) != 0) {
		message("cannot set a timer for --timeout: %s", strerror(errno));
		return STATUS_ERROR;
	}
	return start_and_wait(&run);
}
