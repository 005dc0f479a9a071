/* SPDX-License-Identifier: MIT */
/*
 * The registers of a 16550A UART, without a bus, a lock or a stream: devices/isa_serial.c gives it
 * those. (National Semiconductor PC16550D, 8.0; register names as in linux/serial_reg.h.)
 *
 * All functions: with the owner's lock held.
 */
#ifndef DEVICES_UART16550_H
#define DEVICES_UART16550_H

#include "core/irq.h"
#include "core/state.h"

#define UART_PORTS     8u
#define UART_FIFO_SIZE 16u
#define UART_TX_SIZE   4096u

struct uart {
	/* Set by the owner. */
	struct irq_line *irq;
	void (*transmit)(struct uart *uart); /* the ring has a byte; it was empty before */
	void (*receive)(
		struct uart *uart); /* the FIFO is empty, and uart_input has left some over */

	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	uint8_t lsr_errors; /* OE and BI, until LSR is read */
	bool thr_interrupt; /* the transmitter became empty; until IIR or THR is accessed */
	bool irq_level;     /* what the line was set to */
	bool input_waits;   /* uart_input has left some over */
	/* Receive FIFO: a byte, and its error bits of LSR in the upper half. */
	unsigned rx_start, rx_count;
	uint16_t rx[UART_FIFO_SIZE];
	/*
	 * Sent bytes that the owner has not taken yet. Behind the guest's back the ring is part of
	 * the wire: the transmitter is empty as long as there is room for another FIFO.
	 */
	unsigned tx_start, tx_count;
	uint8_t tx[UART_TX_SIZE];
};

/* Registers as after power-on. What was sent stays in the ring. */
void uart_reset(struct uart *uart);

uint8_t uart_read(struct uart *uart, unsigned reg);
void uart_write(struct uart *uart, unsigned reg, uint8_t value);
/* Set the interrupt line; after any number of the calls above and below. */
void uart_update_irq(struct uart *uart);

/* Receive bytes; returns how many fit. Then `receive` is called when the FIFO is empty. */
size_t uart_input(struct uart *uart, const uint8_t *data, size_t len);
void uart_break(struct uart *uart);

/* A run of sent bytes, which stay in place until uart_sent takes `count` of them away. */
const uint8_t *uart_to_send(struct uart *uart, size_t *len);
void uart_sent(struct uart *uart, size_t count);

/* Fields in a section that is open. On error nothing has changed. */
void uart_save(struct uart *uart, struct state_writer *w);
int uart_load(struct uart *uart, struct state_reader *r) MUST_CHECK;

#endif
