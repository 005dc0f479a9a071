/* SPDX-License-Identifier: MIT */
/*
 * Where the control sockets of VMs are, and the one that `vmm run` opens.
 *
 *     $XDG_RUNTIME_DIR/vmm/NAME/control.sock
 *     $XDG_RUNTIME_DIR/vmm/NAME/console.sock   where `vmm attach` finds the serial port
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"

char *control_folder(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	return runtime && *runtime ? format("%s/vmm", runtime) : NULL;
}

char *control_path(const char *name)
{
	char *folder = strchr(name, '/') ? NULL : control_folder();

	if (strchr(name, '/'))
		return duplicate(name);
	return folder ? format("%s/%s/control.sock", folder, name) : NULL;
}

/* Whether a folder can have that name, `vmm ls` a line, and a command take it for no option. */
static bool can_be_controlled_by(const char *name)
{
	for (const char *c = name; *c; c++)
		if (*c == '/' || iscntrl((unsigned char)*c))
			return false;
	return *name && *name != '.' && *name != '-';
}

/* `vmm attach` may be started in another folder than the VM. NULL: this one has no name. */
static char *console_beside(const char *control)
{
	char folder[PATH_MAX];

	if (*control == '/')
		return format("%s.console", control);
	return getcwd(folder, sizeof(folder)) ? format("%s/%s.console", folder, control) : NULL;
}

char *console_path(const struct run_options *out)
{
	const char *name = out->config.name;
	char *path;

	if (out->control_asked)
		return out->control ? console_beside(out->control) : NULL;
	path = name && can_be_controlled_by(name) ? control_path(name) : NULL;
	if (!path)
		return NULL;
	*strrchr(path, '/') = '\0';
	return format("%s/" CONSOLE_SOCKET, path);
}

int set_control(struct run_options *out, const char *value)
{
	if (strcmp(value, "none") == 0)
		out->control = NULL;
	else if (strncmp(value, "unix:", 5) == 0 && value[5])
		out->control = value + 5;
	else
		return usage_error("--control %s: must be unix:PATH or none", value);
	out->control_asked = true;
	return GO_ON;
}

int complete_control(struct run_options *out)
{
	const char *name = out->config.name;

	if (!out->control_asked && name) {
		if (!can_be_controlled_by(name))
			return usage_error(
				"--name '%s': a VM is controlled by its name, which must "
				"not be empty, have a '/' or a control character, or begin "
				"with '.' or '-' (or give --control none)",
				name);
		out->control = control_path(name);
	}
	if (out->detach && !out->control && !out->control_asked && name)
		return usage_error("--detach: nothing could reach the VM: XDG_RUNTIME_DIR is not "
				   "set, so its name leads nowhere; set that, or give a --control "
				   "unix:PATH");
	if (out->detach && !out->control)
		return usage_error("--detach: nothing could reach the VM; give it a --name or a "
				   "--control unix:PATH");
	if (out->detach && out->uses_stdin)
		return usage_error("--detach: the terminal is given back, so no device can use it "
				   "(stdio)");
	return GO_ON;
}

/* The folder of the default socket: made if need be, for this user only. */
static int make_folder(const char *socket)
{
	char *parent = control_folder(), *folder = duplicate(socket);

	*strrchr(folder, '/') = '\0';
	if ((mkdir(parent, 0700) && errno != EEXIST) || (mkdir(folder, 0700) && errno != EEXIST))
		return -errno;
	return 0;
}

static int listen_by_name(struct vmm *vm, const struct run_options *options, struct vmm_error *err)
{
	int r = 0;

	/* Once more if a VM of that name, which ends just now, has removed the folder. */
	for (int i = 0; i < 2; i++) {
		r = make_folder(options->control);
		if (r == 0)
			r = vmm_control_listen(vm, options->control, err);
		else
			snprintf(err->message, sizeof(err->message),
				 "cannot make the folder of %s, below $XDG_RUNTIME_DIR: %s",
				 options->control, strerror(-r));
		if (r != -ENOENT)
			break;
	}
	if (r == -EADDRINUSE) {
		snprintf(err->message, sizeof(err->message),
			 "a VM with the name %s runs already ('vmm status %s' shows it)",
			 options->config.name, options->config.name);
		return r;
	}
	/* Nobody has asked for it. */
	if (r && !options->detach) {
		message_at(options->config.log_level, r == -ENOTSUP ? VMM_LOG_INFO : VMM_LOG_WARN,
			   "this VM cannot be controlled: %s", err->message);
		return 0;
	}
	return r;
}

int open_control(struct vmm *vm, const struct run_options *options, struct vmm_error *err)
{
	if (!options->control && options->config.name && !options->control_asked)
		message_at(options->config.log_level, VMM_LOG_WARN,
			   "the VM %s cannot be controlled by its name: XDG_RUNTIME_DIR is not set "
			   "(--control unix:PATH controls it without, --control none says that "
			   "nobody shall)",
			   options->config.name);
	if (!options->control)
		return 0;
	if (options->control_asked)
		return vmm_control_listen(vm, options->control, err);
	return listen_by_name(vm, options, err);
}

void remove_control_folder(const struct run_options *options)
{
	char *folder;

	if (!options->control || options->control_asked)
		return;
	folder = duplicate(options->control);
	*strrchr(folder, '/') = '\0';
	rmdir(folder); /* not if another VM has moved in */
}
