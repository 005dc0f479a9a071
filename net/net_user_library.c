/* SPDX-License-Identifier: MIT */
#include "net/net_user.h"

#ifdef CONFIG_LIBSLIRP

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "net/slirp_library.h"

#define LIBRARY "libslirp.so.0"

/* GLib's log levels are bits above the two lowest. */
#define ALL_LEVELS (~3)

typedef void glib_log_fn(const char *domain, int level, const char *text, void *data);
typedef unsigned glib_log_set_handler_fn(const char *domain, int levels, glib_log_fn *fn,
					 void *data);

static void discard(const char *domain UNUSED, int level UNUSED, const char *text UNUSED,
		    void *data UNUSED)
{
}

/*
 * libslirp prints some complaints through GLib, also such as a guest provokes, and a library does
 * not print. What matters comes back as a return value or through guest_error.
 */
static void silence(void *handle)
{
	glib_log_set_handler_fn *set_handler;

	*(void **)&set_handler = dlsym(handle, "g_log_set_handler");
	if (set_handler)
		set_handler("Slirp", ALL_LEVELS, discard, NULL);
}

/* The library stays loaded for the life of the process: GLib cannot be unloaded. */
int user_library_load(struct slirp_library **out, const char *what, struct vmm_error *err)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	struct slirp_library *lib;

	if (!handle)
		return error_set(err, ENOENT,
				 "%s: the user network needs %s (Debian's package libslirp0): %s",
				 what, LIBRARY, dlerror());
	lib = calloc(1, sizeof(*lib));
	if (!lib)
		return error_set(err, ENOMEM, "%s: out of memory", what);
#define SLIRP_LOAD(name)                                                                         \
	*(void **)&lib->name = dlsym(handle, #name);                                             \
	if (!lib->name) {                                                                        \
		free(lib);                                                                       \
		return error_set(err, ENOENT,                                                    \
				 "%s: the " LIBRARY " of this host is too old: it has no " #name \
				 ", 4.5 and newer do",                                           \
				 what);                                                          \
	}
	SLIRP_FUNCTIONS(SLIRP_LOAD)
#undef SLIRP_LOAD
	silence(handle);
	*out = lib;
	return 0;
}

#endif
