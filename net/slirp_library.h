/* SPDX-License-Identifier: MIT */
/*
 * libslirp, loaded at run time: it brings GLib with it, which a machine without a user network
 * shall neither need nor pay for. Only its own header is needed to build.
 */
#ifndef NET_SLIRP_LIBRARY_H
#define NET_SLIRP_LIBRARY_H

#include <slirp/libslirp.h>

/* What is used of it. 4.5 and newer have all of them. */
#define SLIRP_FUNCTIONS(X)      \
	X(slirp_new)            \
	X(slirp_cleanup)        \
	X(slirp_version_string) \
	X(slirp_input)          \
	X(slirp_pollfds_fill)   \
	X(slirp_pollfds_poll)   \
	X(slirp_add_hostxfwd)   \
	X(slirp_add_unix)

struct slirp_library {
#define SLIRP_MEMBER(name) __typeof__(name) *name;
	SLIRP_FUNCTIONS(SLIRP_MEMBER)
#undef SLIRP_MEMBER
};

#endif
