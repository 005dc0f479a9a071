/* SPDX-License-Identifier: MIT */
/*
 * Inside of the user-mode network; only net_user*.c include this.
 *
 *   net_user_options.c   the option table; addresses and forwards parsed and checked
 *   net_user.c           the backend: frames in and out, forwards set up
 *   net_user_poll.c      libslirp's descriptors and timers on our loop
 *   net_user_library.c   libslirp itself, loaded when the first user network is opened
 *   net_user_relay.c     guestfwd: connections of the guest to a service of the host
 *
 * libslirp believes in poll(2): before each wait it is asked what it waits for, afterwards it is
 * told what came. Here that happens in one hook at the end of a turn in which something concerned
 * it, and the loop waits for the same descriptors meanwhile.
 */
#ifndef NET_NET_USER_H
#define NET_NET_USER_H

#include <netinet/in.h>

#include "net/net_backend.h"
#include "net/packet_fifo.h"

/*
 * What a guest can make us open. Beyond that its frames that would open more are dropped. Some
 * room is left for what was on its way.
 */
#define USER_SOCKETS 512u
#define USER_FDS     (USER_SOCKETS + 128u)
#define USER_BUCKETS 256u

/* What IPv6 asks for; libslirp's own bound. */
#define USER_MIN_MTU 1280u
#define USER_MAX_MTU 65520u

/* Packets for a guest that has no buffers for the moment. */
#define USER_FIFO (1 * MIB)

/* Connections through all guestfwds of a network at once. */
#define USER_RELAYS 64u

union user_address {
	struct sockaddr sa; /* AF_UNSPEC: not given */
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct user_hostfwd {
	bool udp;
	union user_address host, guest;
	uint16_t port; /* that the host listens on, once it does */
};

struct user_guestfwd {
	struct in_addr guest; /* address and port that the guest connects to */
	uint16_t port;
	const char *unix_path; /* into the option's text; NULL: host */
	union user_address host;
};

struct user_fd {
	struct loop_fd lfd;
	struct user *user;
	struct user_fd *next; /* of the bucket, or of the free ones */
	int fd;               /* -1: free */
	unsigned wanted;      /* enum loop_events: what libslirp waits for */
	unsigned ready;       /* what has come since it was told last */
	bool listens;
};

struct slirp_library;
struct user_relay;

struct user {
	struct net net;

	/* The table's. */
	bool ipv4, ipv6, restricted;
	char *net_text, *host_text, *dhcp_text, *dns_text;
	char *net6_text, *host6_text, *dns6_text;
	char *hostname, *domain, **search;
	char *tftp, *tftp_server, *bootfile;
	char **hostfwd_texts, **guestfwd_texts;
	uint64_t mtu;

	/* Parsed; IPv4 in host byte order. */
	uint32_t network, netmask, host, dhcp, dns;
	struct in6_addr prefix6, host6, dns6;
	uint8_t prefix6_len;
	struct user_hostfwd hostfwds[OPTION_LIST_MAX];
	struct user_guestfwd guestfwds[OPTION_LIST_MAX];
	unsigned hostfwd_count, guestfwd_count;

	/* Open. */
	struct slirp_library *lib;
	struct Slirp *slirp;
	struct packet_fifo fifo;       /* for the guest */
	uint8_t frame[NET_MAX_PACKET]; /* from the guest: a copy that it cannot change */
	struct user_relay *relay;
	struct log_limit bound_log;

	/* net_user_poll.c's */
	struct loop_hook pump;
	struct loop_timer timer;
	struct user_fd fds[USER_FDS], *buckets[USER_BUCKETS], *free_fds;
	unsigned fd_count, fd_high; /* in use; all in use are below */
	unsigned fresh;             /* frames that may have opened a socket, not yet in fd_count */
	bool filled;                /* libslirp was asked; its answers are in `wanted` */
};

/* ---- options ---- */

extern const struct option_desc net_user_options[];
int net_user_check(struct net *net, struct vmm_error *err);
/* "127.0.0.1:22", "[::1]:22"; text has room for USER_ADDRESS_TEXT. */
#define USER_ADDRESS_TEXT 64
const char *user_address_text(const union user_address *address, char *text);
socklen_t user_address_size(const union user_address *address);
void user_address_set_port(union user_address *address, uint16_t port);

/* ---- library ---- */

int user_library_load(struct slirp_library **lib, const char *what,
		      struct vmm_error *err) MUST_CHECK;

/* ---- poll ---- */

void user_poll_init(struct user *user);
void user_poll_fini(struct user *user);
/* Something concerned libslirp: let it look at the end of the turn. */
void user_poll_soon(struct user *user);
/* libslirp's unregister_poll_fd: it closes the descriptor next. */
void user_poll_gone(int fd, void *opaque);
/* Ask it now what it waits for. */
void user_poll_fill(struct user *user);
/* No more sockets than there may be, and room for one. */
bool user_poll_room(struct user *user);
/* While none has gone: the descriptor that libslirp began to wait for last; -1: none. */
int user_poll_newest(const struct user *user);

/* ---- relay ---- */

int user_relay_open(struct user *user, struct vmm_error *err) MUST_CHECK;
/* libslirp has opened a connection: perhaps to the relay. */
void user_relay_accept(struct user *user);
void user_relay_close(struct user *user);

#endif
