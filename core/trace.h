/* SPDX-License-Identifier: MIT */
/*
 * Trace points: USDT probes of provider `vmm`, for bpftrace, perf and SystemTap. Each is a `nop`
 * and a note in the ELF file that says where its arguments are; what it costs is having them at
 * hand, so an argument is something that the code has anyway. Without <sys/sdt.h> they are nothing.
 *
 * docs/tracing.md describes them; tests/library/50-tracing.sh compares. The arguments are numbers
 * and, for names, pointers to strings.
 */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include "core/types.h"

#ifdef CONFIG_SDT
#define SDT_USE_VARIADIC 1
#include <sys/sdt.h>
#define TRACE(name, ...) STAP_PROBEV(vmm, name, ##__VA_ARGS__)
#else
static inline void trace_nothing(int first UNUSED, ...)
{
}
#define TRACE(name, ...)                                 \
	do {                                             \
		if (0)                                   \
			trace_nothing(0, ##__VA_ARGS__); \
	} while (0)
#endif

/* clang-format off */
#define trace_vcpu_exit(vcpu, reason)                      TRACE(vcpu_exit, vcpu, reason)
#define trace_port_read(vcpu, port, size, value)           TRACE(port_read, vcpu, port, size, value)
#define trace_port_write(vcpu, port, size, value)          TRACE(port_write, vcpu, port, size, value)
#define trace_mmio_read(vcpu, address, size, value)        TRACE(mmio_read, vcpu, address, size, value)
#define trace_mmio_write(vcpu, address, size, value)       TRACE(mmio_write, vcpu, address, size, value)
#define trace_loop_turn(loop, ran)                         TRACE(loop_turn, loop, ran)
#define trace_virtio_kick(device, queue)                   TRACE(virtio_kick, device, queue)
#define trace_virtio_notify(device, queue)                 TRACE(virtio_notify, device, queue)
#define trace_virtq_pop(device, queue, head)               TRACE(virtq_pop, device, queue, head)
#define trace_virtq_push(device, queue, head, written)     TRACE(virtq_push, device, queue, head, written)
#define trace_block_submit(disk, req, op, offset, length)  TRACE(block_submit, disk, req, op, offset, length)
#define trace_block_complete(disk, req, op, offset, length, result) \
	TRACE(block_complete, disk, req, op, offset, length, result)
#define trace_net_tx(device, pair, bytes, result)          TRACE(net_tx, device, pair, bytes, result)
#define trace_net_rx(device, pair, bytes, verdict)         TRACE(net_rx, device, pair, bytes, verdict)
#define trace_vm_event(kind, device, value)                TRACE(vm_event, kind, device, value)
/* clang-format on */

#endif
