/* SPDX-License-Identifier: MIT */
/*
 * The terminal is as the user left it however the process ends. The library restores it when a
 * console is destroyed; this is for the ways in which that never happens: signals that kill.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

/* Everything that ends a process by default and can be caught; run.c looks after the others. */
static const int deadly[] = {
	SIGSEGV, SIGBUS,  SIGABRT, SIGFPE,  SIGILL,    SIGQUIT, SIGSYS,  SIGTRAP, SIGXCPU,
	SIGXFSZ, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR,  SIGSTKFLT,
};

static struct {
	bool modes_saved;
	struct termios modes;
	struct termios raw;
	bool raw_saved;
	int flags[3]; /* of descriptors 0 to 2; -1: not open */
	struct sigaction previous[CLI_COUNT(deadly)];
} guard = {.flags = {-1, -1, -1}};

/* In the background the terminal is somebody else's: hands off. */
static bool terminal_is_ours(void)
{
	pid_t foreground = tcgetpgrp(STDIN_FILENO);

	return foreground < 0 || foreground == getpgrp();
}

static void set_modes(const struct termios *modes)
{
	sigset_t block, old;

	/* Should we be moved to the background just now, this must not stop us. */
	sigemptyset(&block);
	sigaddset(&block, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	while (tcsetattr(STDIN_FILENO, TCSANOW, modes) != 0 && errno == EINTR)
		;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void terminal_restore(void)
{
	int saved_errno = errno;

	/* The shell shares these open files with us, and O_NONBLOCK would break it. */
	for (int fd = 0; fd < 3; fd++) {
		if (guard.flags[fd] >= 0 && fcntl(fd, F_GETFL) != guard.flags[fd])
			fcntl(fd, F_SETFL, guard.flags[fd]);
	}
	if (guard.modes_saved && terminal_is_ours())
		set_modes(&guard.modes);
	errno = saved_errno;
}

static void die_of_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	terminal_restore();
	for (size_t i = 0; i < CLI_COUNT(deadly); i++) {
		if (deadly[i] == sig)
			sigaction(sig, &guard.previous[i], NULL);
	}
	/*
	 * A fault happens again when the handler returns, with the right address for a core dump or
	 * a sanitizer's report. A signal that was sent must be sent again.
	 */
	if (!info || info->si_code <= 0)
		raise(sig);
}

static void catch_deadly_signals(void)
{
	static char alternate_stack[16384]; /* a stack overflow, too, gets its handler */
	stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof(alternate_stack)};
	struct sigaction action = {
		.sa_sigaction = die_of_signal,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	sigaltstack(&stack, NULL);
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < CLI_COUNT(deadly); i++) {
		struct sigaction *previous = &guard.previous[i];

		/* Who started us with a signal ignored (nohup) meant it. */
		if (sigaction(deadly[i], NULL, previous) == 0 && previous->sa_handler != SIG_IGN)
			sigaction(deadly[i], &action, NULL);
	}
}

void terminal_guard(bool restore_modes)
{
	for (int fd = 0; fd < 3; fd++)
		guard.flags[fd] = fcntl(fd, F_GETFL);
	if (restore_modes)
		guard.modes_saved = tcgetattr(STDIN_FILENO, &guard.modes) == 0;
	catch_deadly_signals();
}

bool terminal_make_raw(void)
{
	struct termios raw = guard.modes;

	if (!guard.modes_saved)
		return false;
	/* As the library does for a console on stdio: output processing stays on. */
	raw.c_iflag &=
		~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0)
		return false;
	terminal_note_raw();
	return true;
}

void terminal_note_raw(void)
{
	if (guard.modes_saved)
		guard.raw_saved = tcgetattr(STDIN_FILENO, &guard.raw) == 0;
}

void terminal_suspend(void)
{
	terminal_restore();
	raise(SIGSTOP);
}

void terminal_continue(void)
{
	if (guard.raw_saved && terminal_is_ours())
		set_modes(&guard.raw);
}
