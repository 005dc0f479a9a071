/* SPDX-License-Identifier: MIT */
#include "net/net_user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define TEXT(n, field, fb, h)                                                             \
	{                                                                                 \
		.name = n, .type = OPTION_STRING, .offset = offsetof(struct user, field), \
		.fallback = fb, .help = h                                                 \
	}
#define BOOL(n, field, fb, h)                                                           \
	{                                                                               \
		.name = n, .type = OPTION_BOOL, .offset = offsetof(struct user, field), \
		.fallback = fb, .help = h                                               \
	}
#define LIST(n, field, h)                                                                         \
	{                                                                                         \
		.name = n, .type = OPTION_LIST, .offset = offsetof(struct user, field), .help = h \
	}

const struct option_desc net_user_options[] = {
	BOOL("ipv4", ipv4, "on", "serve IPv4"),
	TEXT("net", net_text, "10.0.2.0/24", "the guest's network"),
	TEXT("host", host_text, NULL, "this host as the guest sees it (the network's .2)"),
	TEXT("dhcpstart", dhcp_text, NULL, "first address that DHCP gives (the network's .15)"),
	TEXT("dns", dns_text, NULL, "the guest's name server (the network's .3)"),
	BOOL("ipv6", ipv6, "on", "serve IPv6"),
	TEXT("ipv6-net", net6_text, "fec0::/64", "the guest's IPv6 network"),
	TEXT("ipv6-host", host6_text, NULL, "this host's IPv6 address (the network's ::2)"),
	TEXT("ipv6-dns", dns6_text, NULL, "the guest's IPv6 name server (the network's ::3)"),
	TEXT("hostname", hostname, NULL, "name that DHCP tells the guest"),
	TEXT("domainname", domain, NULL, "domain that DHCP tells the guest"),
	LIST("dnssearch", search, "domain to search names in"),
	TEXT("tftp", tftp, NULL, "folder that TFTP serves, read-only"),
	TEXT("tftp-server-name", tftp_server, NULL, "name of the TFTP server for DHCP"),
	TEXT("bootfile", bootfile, NULL, "boot file that DHCP names"),
	BOOL("restrict", restricted, "off",
	     "no way out, for names neither: only forwards, DHCP and TFTP"),
	LIST("hostfwd", hostfwd_texts,
	     "host port to guest port: [tcp|udp]:[HOST]:PORT-[GUEST]:PORT"),
	LIST("guestfwd", guestfwd_texts,
	     "guest's connections to the host: tcp:ADDR:PORT-unix:PATH or -tcp:ADDR:PORT"),
	{.name = "mtu",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct user, mtu),
	 .min = USER_MIN_MTU,
	 .max = USER_MAX_MTU,
	 .help = "largest packet, without the Ethernet header (default: the card's, or 1500)"},
	NET_OPTIONS(struct user),
	OPTION_END,
};

/* ---- addresses ---- */

socklen_t user_address_size(const union user_address *address)
{
	return address->sa.sa_family == AF_INET6 ? sizeof(address->in6) : sizeof(address->in);
}

void user_address_set_port(union user_address *address, uint16_t port)
{
	/* The port is at the same place in both. */
	_Static_assert(offsetof(struct sockaddr_in, sin_port) ==
			       offsetof(struct sockaddr_in6, sin6_port),
		       "sockaddr_in and sockaddr_in6 begin alike");
	address->in.sin_port = htons(port);
}

const char *user_address_text(const union user_address *address, char *text)
{
	char host[INET6_ADDRSTRLEN] = "";
	const bool v6 = address->sa.sa_family == AF_INET6;

	inet_ntop(address->sa.sa_family,
		  v6 ? (const void *)&address->in6.sin6_addr : &address->in.sin_addr, host,
		  sizeof(host));
	snprintf(text, USER_ADDRESS_TEXT, v6 ? "[%s]:%u" : "%s:%u", host,
		 ntohs(address->in.sin_port));
	return text;
}

/* "[ADDR]:PORT" with the address left out, IPv4, or IPv6 in brackets. Cuts `text` to pieces. */
static bool parse_endpoint(char *text, union user_address *address)
{
	char *colon = strrchr(text, ':');
	size_t len;
	uint64_t port;

	memset(address, 0, sizeof(*address));
	if (!colon || parse_uint(colon + 1, &port) || port > UINT16_MAX)
		return false;
	*colon = '\0';
	len = strlen(text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		address->sa.sa_family = AF_INET6;
		if (inet_pton(AF_INET6, text + 1, &address->in6.sin6_addr) != 1)
			return false;
	} else if (len) {
		address->sa.sa_family = AF_INET;
		if (inet_pton(AF_INET, text, &address->in.sin_addr) != 1)
			return false;
	}
	user_address_set_port(address, (uint16_t)port);
	return true;
}

static int parse_in4(struct user *user, const char *name, const char *text, uint32_t fallback,
		     uint32_t *address, struct vmm_error *err)
{
	struct in_addr in;

	*address = user->network + fallback;
	if (!text)
		return 0;
	if (inet_pton(AF_INET, text, &in) != 1)
		return error_set(err, EINVAL, "%s: %s=%s is not an IPv4 address", user->net.what,
				 name, text);
	*address = ntohl(in.s_addr);
	if ((*address & user->netmask) != user->network || *address == user->network ||
	    *address == (user->network | ~user->netmask))
		return error_set(err, EINVAL, "%s: %s=%s is not an address in net=%s",
				 user->net.what, name, text, user->net_text);
	return 0;
}

/* Split "ADDR/LEN" into `address` and *len (untouched where there is no slash). */
static bool split_prefix(const char *text, char *address, size_t size, uint64_t *len)
{
	const size_t n = strcspn(text, "/");

	if (n >= size)
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	return !text[n] || parse_uint(text + n + 1, len) == 0;
}

static int check_ipv4(struct user *user, struct vmm_error *err)
{
	char address[INET_ADDRSTRLEN];
	struct in_addr in;
	uint64_t len = 24;
	int r;

	if (!split_prefix(user->net_text, address, sizeof(address), &len) ||
	    inet_pton(AF_INET, address, &in) != 1 || len < 8 || len > 27)
		return error_set(err, EINVAL,
				 "%s: net=%s must be an IPv4 network such as 10.0.2.0/24, from /8 "
				 "to /27",
				 user->net.what, user->net_text);
	user->netmask = UINT32_MAX << (32 - len);
	user->network = ntohl(in.s_addr) & user->netmask;
	r = parse_in4(user, "host", user->host_text, 2, &user->host, err);
	if (!r)
		r = parse_in4(user, "dns", user->dns_text, 3, &user->dns, err);
	if (!r)
		r = parse_in4(user, "dhcpstart", user->dhcp_text, 15, &user->dhcp, err);
	if (!r && (user->host == user->dns || user->host == user->dhcp || user->dns == user->dhcp))
		r = error_set(err, EINVAL,
			      "%s: host, dns and dhcpstart must be different addresses",
			      user->net.what);
	return r;
}

static bool in_prefix(const struct user *user, const struct in6_addr *address)
{
	for (unsigned bit = 0; bit < user->prefix6_len; bit++)
		if ((address->s6_addr[bit / 8] ^ user->prefix6.s6_addr[bit / 8]) & 0x80u >> bit % 8)
			return false;
	return true;
}

static int parse_in6(struct user *user, const char *name, const char *text, uint8_t fallback,
		     struct in6_addr *address, struct vmm_error *err)
{
	*address = user->prefix6;
	address->s6_addr[15] |= fallback;
	if (!text)
		return 0;
	if (inet_pton(AF_INET6, text, address) != 1)
		return error_set(err, EINVAL, "%s: %s=%s is not an IPv6 address", user->net.what,
				 name, text);
	if (!in_prefix(user, address))
		return error_set(err, EINVAL, "%s: %s=%s is not in ipv6-net=%s", user->net.what,
				 name, text, user->net6_text);
	return 0;
}

static int check_ipv6(struct user *user, struct vmm_error *err)
{
	char address[INET6_ADDRSTRLEN];
	uint64_t len = 64;
	int r;

	if (!split_prefix(user->net6_text, address, sizeof(address), &len) ||
	    inet_pton(AF_INET6, address, &user->prefix6) != 1 || len < 8 || len > 120)
		return error_set(err, EINVAL,
				 "%s: ipv6-net=%s must be an IPv6 network such as fec0::/64, from "
				 "/8 to /120",
				 user->net.what, user->net6_text);
	user->prefix6_len = (uint8_t)len;
	for (unsigned bit = user->prefix6_len; bit < 128; bit++)
		user->prefix6.s6_addr[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
	r = parse_in6(user, "ipv6-host", user->host6_text, 2, &user->host6, err);
	if (!r)
		r = parse_in6(user, "ipv6-dns", user->dns6_text, 3, &user->dns6, err);
	if (!r && !memcmp(&user->host6, &user->dns6, sizeof(user->host6)))
		r = error_set(err, EINVAL, "%s: ipv6-host and ipv6-dns must be different addresses",
			      user->net.what);
	return r;
}

/* ---- forwards ---- */

/* Fill in what was left out. Returns what is wrong with it, or NULL. */
static const char *complete_hostfwd(struct user *user, struct user_hostfwd *fwd)
{
	const bool v6 = fwd->host.sa.sa_family == AF_INET6 || fwd->guest.sa.sa_family == AF_INET6;
	const sa_family_t family = v6 ? AF_INET6 : AF_INET;

	if ((fwd->host.sa.sa_family && fwd->host.sa.sa_family != family) ||
	    (fwd->guest.sa.sa_family && fwd->guest.sa.sa_family != family))
		return "both sides must be IPv4, or both IPv6";
	if (v6 ? !user->ipv6 : !user->ipv4)
		return v6 ? "ipv6 is off" : "ipv4 is off";
	if (!fwd->guest.in.sin_port)
		return "the guest's port is missing";
	if (!fwd->guest.sa.sa_family && v6)
		return "the guest's address is missing";
	if (!fwd->guest.sa.sa_family)
		fwd->guest.in.sin_addr.s_addr = htonl(user->dhcp);
	if (!fwd->host.sa.sa_family && v6)
		fwd->host.in6.sin6_addr = in6addr_loopback;
	else if (!fwd->host.sa.sa_family)
		fwd->host.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fwd->host.sa.sa_family = fwd->guest.sa.sa_family = family;
	return NULL;
}

static const char *parse_hostfwd(struct user *user, char *text, struct user_hostfwd *fwd)
{
	char *colon = strchr(text, ':'), *guest = strchr(text, '-');

	if (!colon || !guest || colon > guest)
		return "must be [tcp|udp]:[HOST]:PORT-[GUEST]:PORT";
	*colon = *guest = '\0';
	fwd->udp = !strcmp(text, "udp");
	if (*text && !fwd->udp && strcmp(text, "tcp") != 0)
		return "the protocol must be tcp or udp";
	if (!parse_endpoint(colon + 1, &fwd->host))
		return "the host's side must be [ADDRESS]:PORT";
	if (!parse_endpoint(guest + 1, &fwd->guest))
		return "the guest's side must be [ADDRESS]:PORT";
	return complete_hostfwd(user, fwd);
}

/* original: the option's text; what is kept of it points there. */
static const char *parse_guestfwd(struct user *user, char *text, const char *original,
				  struct user_guestfwd *fwd)
{
	char *colon = strchr(text, ':'), *target = strchr(text, '-');
	union user_address guest;
	uint32_t address;

	if (!colon || !target || colon > target)
		return "must be tcp:ADDR:PORT-unix:PATH or tcp:ADDR:PORT-tcp:ADDR:PORT";
	*colon = *target++ = '\0';
	if (*text && strcmp(text, "tcp") != 0)
		return "the protocol must be tcp";
	if (!parse_endpoint(colon + 1, &guest) || guest.sa.sa_family != AF_INET ||
	    !guest.in.sin_port)
		return "the guest's side must be an IPv4 ADDRESS:PORT";
	address = ntohl(guest.in.sin_addr.s_addr);
	if (!user->ipv4 || (address & user->netmask) != user->network)
		return "the address must be in the guest's network";
	if (address == user->host || address == user->dns)
		return "the address must be another than the host's and the name server's";
	fwd->guest = guest.in.sin_addr;
	fwd->port = ntohs(guest.in.sin_port);
	if (!strncmp(target, "unix:", 5)) {
		fwd->unix_path = original + (target + 5 - text);
		if (!*fwd->unix_path)
			return "unix: needs a path";
		if (strlen(fwd->unix_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
			return "the socket's path is longer than the 107 characters that the "
			       "system allows";
		return NULL;
	}
	if (strncmp(target, "tcp:", 4) != 0 || !parse_endpoint(target + 4, &fwd->host) ||
	    !fwd->host.sa.sa_family || !fwd->host.in.sin_port)
		return "must lead to unix:PATH or tcp:ADDRESS:PORT";
	return NULL;
}

static int check_forwards(struct user *user, struct vmm_error *err)
{
	const char *name = "hostfwd", *original = NULL, *wrong = NULL;
	char text[256];

	for (char **p = user->hostfwd_texts; p && *p && !wrong; p++) {
		snprintf(text, sizeof(text), "%s", original = *p);
		wrong = parse_hostfwd(user, text, &user->hostfwds[user->hostfwd_count++]);
	}
	if (!wrong)
		name = "guestfwd";
	for (char **p = user->guestfwd_texts; p && *p && !wrong; p++) {
		snprintf(text, sizeof(text), "%s", original = *p);
		wrong = parse_guestfwd(user, text, original,
				       &user->guestfwds[user->guestfwd_count++]);
	}
	if (wrong)
		return error_set(err, EINVAL, "%s: %s=%s: %s", user->net.what, name, original,
				 wrong);
	return 0;
}

int net_user_check(struct net *net, struct vmm_error *err)
{
	struct user *user = container_of(net, struct user, net);
	int r = 0;

	if (!user->ipv4 && !user->ipv6)
		return error_set(err, EINVAL, "%s: ipv4 and ipv6 are both off", net->what);
	if (user->ipv4)
		r = check_ipv4(user, err);
	if (!r && user->ipv6)
		r = check_ipv6(user, err);
	return r ? r : check_forwards(user, err);
}
