/* SPDX-License-Identifier: MIT */
/*
 * A capture file that tcpdump and Wireshark read: the classic pcap format, little-endian,
 * microseconds, Ethernet. Records are written at the end of a batch. A file that cannot be written
 * any more is reported once and the capture ends; packets go on.
 */
#ifndef NET_NET_PCAP_H
#define NET_NET_PCAP_H

#include <sys/uio.h>

#include "core/log.h"
#include "core/loop.h"

struct net_pcap;

/* Create or truncate the file. loop's clock gives the time. Errors with a sentence. */
int net_pcap_open(struct net_pcap **pcap, const char *path, const char *what, struct loop *loop,
		  const struct log *log, struct vmm_error *err) MUST_CHECK;

/* What is buffered is written. NULL is allowed. */
void net_pcap_close(struct net_pcap *pcap);

/* Add a packet. A NULL pcap is a no-op. The loop's thread. */
void net_pcap_add(struct net_pcap *pcap, const struct iovec *iov, unsigned count);

/* Packets that are in the file or on their way. */
uint64_t net_pcap_packets(const struct net_pcap *pcap);

#endif
