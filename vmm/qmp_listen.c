/* SPDX-License-Identifier: MIT */
/*
 * The socket that clients of a VM connect to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/qmp_internal.h"

#define RETRY_NS (UINT64_C(1000) * NS_PER_MS)

/* ---- accepting ---- */

void qmp_accept_again(struct qmp *qmp)
{
	if (qmp->listen_fd < 0)
		return;
	loop_timer_disarm(&qmp->retry);
	loop_fd_set(&qmp->listener, LOOP_IN);
}

static void on_retry(struct loop_timer *retry)
{
	qmp_accept_again(container_of(retry, struct qmp, retry));
}

/* A client waits that cannot be accepted, and the loop would report it again and again. */
static void pause_accepting(struct qmp *qmp, const char *why)
{
	log_guest(qmp->config.log, &qmp->log_limit, "control", "%s: cannot accept a client: %s",
		  qmp->config.name, why);
	loop_fd_set(&qmp->listener, 0);
	/* Without a timer it stays so until a client leaves. */
	if (loop_timer_arm(&qmp->retry, clock_now(qmp->config.clock) + RETRY_NS))
		log_guest(qmp->config.log, &qmp->log_limit, "control", "%s: no memory for a timer",
			  qmp->config.name);
}

static void on_connection(struct loop_fd *lfd, unsigned events UNUSED)
{
	struct qmp *qmp = container_of(lfd, struct qmp, listener);
	int fd;

	if (qmp->client_count >= QMP_CLIENTS_MAX) {
		/* Those that are there go first; the next one waits in the socket's queue. */
		loop_fd_set(lfd, 0);
		return;
	}
	fd = accept4(qmp->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		(void)!qmp_client_open(qmp, fd);
	/* Anything else is a client that went away again. */
	else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		pause_accepting(qmp, strerror(errno));
}

void qmp_listen_init(struct qmp *qmp)
{
	qmp->listen_fd = qmp->listener.fd = -1;
	loop_timer_init(qmp->loop, &qmp->retry, on_retry);
}

/* ---- the name in the file system ---- */

/*
 * Of two processes that find the same dead socket one must not remove what the other has just made.
 * Returns a descriptor that holds a lock on the folder, or -1: in folders of others there is none,
 * since those could hold it for ever.
 */
static int lock_folder(const char *path)
{
	char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;
	struct stat st;
	int fd = -1;

	if (slash)
		slash[slash == folder] = '\0';
	if (folder)
		fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid()) {
		(void)!flock(fd, LOCK_EX);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Remove a socket at which nobody listens any more. Returns 0 or -errno. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, rc;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
	close(fd);
	if (rc != ECONNREFUSED)
		return rc == ENOENT ? 0 : -EADDRINUSE;
	return unlink(address->sun_path) && errno != ENOENT ? -errno : 0;
}

static int bind_socket(struct qmp *qmp, const struct sockaddr_un *address)
{
	int folder = lock_folder(address->sun_path);
	int rc = remove_stale(address);
	struct stat st;

	/* The mode of the descriptor becomes that of the file: at no time can others connect. */
	if (rc == 0 && (fchmod(qmp->listen_fd, 0600) ||
			bind(qmp->listen_fd, (const struct sockaddr *)address, sizeof(*address)) ||
			lstat(address->sun_path, &st)))
		rc = -errno;
	if (rc == 0) {
		qmp->device = st.st_dev;
		qmp->inode = st.st_ino;
		qmp->path = strdup(address->sun_path);
		rc = listen(qmp->listen_fd, 64) ? -errno : 0;
	}
	if (folder >= 0)
		close(folder);
	return rc;
}

struct listen_call {
	struct qmp *qmp;
	int rc;
};

static void start_listening(void *arg)
{
	struct listen_call *call = arg;
	struct qmp *qmp = call->qmp;

	call->rc = loop_fd_add(qmp->loop, &qmp->listener, qmp->listen_fd, LOOP_IN, on_connection);
}

static int explain(int rc, const char *path, struct vmm_error *err)
{
	switch (rc) {
	case -EADDRINUSE:
		return error_set(err, EADDRINUSE, "another VM is already controlled through %s",
				 path);
	case -EEXIST:
		return error_set(err, EEXIST, "%s is there already, and is not a socket", path);
	default:
		return error_set_errno(err, -rc, "cannot listen on %s", path);
	}
}

int qmp_listen(struct qmp *qmp, const char *path, struct vmm_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct listen_call call = {.qmp = qmp};

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return error_set(
			err, ENAMETOOLONG,
			"the control socket's path has %zu characters, the system allows 1 "
			"to %zu: %s",
			strlen(path), sizeof(address.sun_path) - 1, path);
	memcpy(address.sun_path, path, strlen(path));
	qmp->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	call.rc = qmp->listen_fd < 0 ? -errno : bind_socket(qmp, &address);
	if (call.rc == 0)
		loop_call(qmp->loop, start_listening, &call);
	return call.rc ? explain(call.rc, path, err) : 0;
}

void qmp_stop_listening(struct qmp *qmp)
{
	struct stat st;

	loop_timer_disarm(&qmp->retry);
	loop_fd_del(&qmp->listener);
	/* Somebody may have taken the name over. */
	if (qmp->path && lstat(qmp->path, &st) == 0 && st.st_dev == qmp->device &&
	    st.st_ino == qmp->inode)
		unlink(qmp->path);
	if (qmp->listen_fd >= 0)
		close(qmp->listen_fd);
	qmp->listen_fd = -1;
	free(qmp->path);
	qmp->path = NULL;
}
