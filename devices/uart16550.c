/* SPDX-License-Identifier: MIT */
#include "devices/uart16550.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <string.h>

#define RX_BREAK   (UART_LSR_BI << 8)
#define MSR_STATUS (UART_MSR_DCD | UART_MSR_RI | UART_MSR_DSR | UART_MSR_CTS)

static bool fifo_enabled(const struct uart *u)
{
	return (u->fcr & UART_FCR_ENABLE_FIFO) != 0;
}

static unsigned rx_room(const struct uart *u)
{
	const unsigned size = fifo_enabled(u) ? UART_FIFO_SIZE : 1;

	return size > u->rx_count ? size - u->rx_count : 0;
}

static bool tx_empty(const struct uart *u)
{
	return UART_TX_SIZE - u->tx_count >= UART_FIFO_SIZE;
}

static bool looped_back(const struct uart *u)
{
	return (u->mcr & UART_MCR_LOOP) != 0;
}

/* Interrupts. */

static uint8_t rx_interrupt(const struct uart *u)
{
	static const uint8_t trigger[] = {1, 4, 8, 14};

	if (!fifo_enabled(u) || u->rx_count >= trigger[u->fcr >> 6])
		return UART_IIR_RDI;
	return UART_IIR_RX_TIMEOUT;
}

static uint8_t interrupt_id(const struct uart *u)
{
	if ((u->ier & UART_IER_RLSI) && u->lsr_errors)
		return UART_IIR_RLSI;
	if ((u->ier & UART_IER_RDI) && u->rx_count)
		return rx_interrupt(u);
	if ((u->ier & UART_IER_THRI) && u->thr_interrupt)
		return UART_IIR_THRI;
	if ((u->ier & UART_IER_MSI) && (u->msr & UART_MSR_ANY_DELTA))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

void uart_update_irq(struct uart *u)
{
	const bool level = interrupt_id(u) != UART_IIR_NO_INT;

	if (level == u->irq_level)
		return;
	u->irq_level = level;
	irq_line_set(u->irq, level);
}

/* Modem lines: a peer that is always ready, or what the guest loops back to itself. */

static void update_msr(struct uart *u)
{
	const uint8_t old = u->msr & MSR_STATUS;
	uint8_t now = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	uint8_t changed;

	if (looped_back(u))
		now = (uint8_t)((u->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
				(u->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
				(u->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
				(u->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
	changed = old ^ now;
	changed &= (uint8_t) ~(now & UART_MSR_RI); /* the ring indicator counts when it ends */
	u->msr = (uint8_t)(now | (u->msr & UART_MSR_ANY_DELTA) | changed >> 4);
}

/* Receiver. */

/* An error counts when its character is the next to be read. */
static void look_at_top(struct uart *u)
{
	if (u->rx_count)
		u->lsr_errors |= (uint8_t)(u->rx[u->rx_start] >> 8);
}

static void rx_push(struct uart *u, uint16_t entry)
{
	if (rx_room(u) == 0) {
		u->lsr_errors |= UART_LSR_OE;
		return;
	}
	u->rx[(u->rx_start + u->rx_count++) % UART_FIFO_SIZE] = entry;
	if (u->rx_count == 1)
		look_at_top(u);
}

static void ask_for_input(struct uart *u)
{
	if (u->rx_count || !u->input_waits || looped_back(u))
		return;
	u->input_waits = false;
	u->receive(u);
}

static uint8_t rx_pop(struct uart *u)
{
	uint8_t byte;

	if (u->rx_count == 0)
		return 0;
	byte = (uint8_t)u->rx[u->rx_start];
	u->rx_start = (u->rx_start + 1) % UART_FIFO_SIZE;
	u->rx_count--;
	look_at_top(u);
	ask_for_input(u);
	return byte;
}

static void rx_clear(struct uart *u)
{
	u->rx_start = u->rx_count = 0;
	u->lsr_errors = 0;
	ask_for_input(u);
}

size_t uart_input(struct uart *u, const uint8_t *data, size_t len)
{
	size_t taken = 0;

	/* In loopback the input pin is not connected: what comes waits outside. */
	while (taken < len && rx_room(u) && !looped_back(u))
		rx_push(u, data[taken++]);
	u->input_waits = taken < len;
	return taken;
}

void uart_break(struct uart *u)
{
	rx_push(u, RX_BREAK);
}

/* Transmitter. */

static void tx_push(struct uart *u, uint8_t byte)
{
	/* The line falls and rises again, as an edge-triggered interrupt controller needs it. */
	u->thr_interrupt = false;
	uart_update_irq(u);
	if (looped_back(u)) {
		rx_push(u, byte);
	} else if (u->tx_count < UART_TX_SIZE) {
		u->tx[(u->tx_start + u->tx_count) % UART_TX_SIZE] = byte;
		if (u->tx_count++ == 0)
			u->transmit(u);
	}
	u->thr_interrupt = tx_empty(u);
}

const uint8_t *uart_to_send(struct uart *u, size_t *len)
{
	*len = MIN(u->tx_count, UART_TX_SIZE - u->tx_start);
	return u->tx + u->tx_start;
}

void uart_sent(struct uart *u, size_t count)
{
	const bool was_empty = tx_empty(u);

	u->tx_start = (u->tx_start + (unsigned)count) % UART_TX_SIZE;
	u->tx_count -= (unsigned)count;
	if (!was_empty && tx_empty(u))
		u->thr_interrupt = true;
}

/* Registers. */

void uart_reset(struct uart *u)
{
	u->ier = u->fcr = u->lcr = u->scr = u->dlm = 0;
	u->dll = 12; /* 9600 */
	u->mcr = UART_MCR_OUT2;
	u->thr_interrupt = false;
	update_msr(u);
	u->msr &= MSR_STATUS;
	rx_clear(u);
}

static uint8_t read_iir(struct uart *u)
{
	const uint8_t id = interrupt_id(u);

	if (id == UART_IIR_THRI)
		u->thr_interrupt = false;
	return id | (fifo_enabled(u) ? 0xc0 : 0);
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t v = u->lsr_errors;

	if (u->rx_count)
		v |= UART_LSR_DR;
	if (tx_empty(u))
		v |= UART_LSR_THRE | UART_LSR_TEMT;
	u->lsr_errors = 0;
	return v;
}

static uint8_t read_msr(struct uart *u)
{
	const uint8_t v = u->msr;

	u->msr &= MSR_STATUS;
	return v;
}

uint8_t uart_read(struct uart *u, unsigned reg)
{
	const bool dlab = (u->lcr & UART_LCR_DLAB) != 0;

	switch (reg) {
	case UART_RX:
		return dlab ? u->dll : rx_pop(u);
	case UART_IER:
		return dlab ? u->dlm : u->ier;
	case UART_IIR:
		return read_iir(u);
	case UART_LCR:
		return u->lcr;
	case UART_MCR:
		return u->mcr;
	case UART_LSR:
		return read_lsr(u);
	case UART_MSR:
		return read_msr(u);
	default:
		return u->scr;
	}
}

static void write_ier(struct uart *u, uint8_t v)
{
	v &= UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI;
	/* Enabling it raises the interrupt where the transmitter is empty already. */
	if (v & ~u->ier & UART_IER_THRI)
		u->thr_interrupt = tx_empty(u);
	u->ier = v;
}

static void write_fcr(struct uart *u, uint8_t v)
{
	const bool toggled = ((v ^ u->fcr) & UART_FCR_ENABLE_FIFO) != 0;

	u->fcr = v & (UART_FCR_TRIGGER_MASK | UART_FCR_ENABLE_FIFO);
	if (!fifo_enabled(u))
		u->fcr = 0;
	/* What is in the ring has been sent as far as the guest is concerned: no clearing that. */
	if (toggled || (v & UART_FCR_CLEAR_RCVR))
		rx_clear(u);
	if (toggled || (v & UART_FCR_CLEAR_XMIT))
		u->thr_interrupt = tx_empty(u);
}

static void write_mcr(struct uart *u, uint8_t v)
{
	u->mcr = v & (UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_OUT1 | UART_MCR_RTS | UART_MCR_DTR);
	update_msr(u);
	ask_for_input(u);
}

void uart_write(struct uart *u, unsigned reg, uint8_t v)
{
	const bool dlab = (u->lcr & UART_LCR_DLAB) != 0;

	switch (reg) {
	case UART_TX:
		if (dlab)
			u->dll = v;
		else
			tx_push(u, v);
		break;
	case UART_IER:
		if (dlab)
			u->dlm = v;
		else
			write_ier(u, v);
		break;
	case UART_FCR:
		write_fcr(u, v);
		break;
	case UART_LCR:
		u->lcr = v;
		break;
	case UART_MCR:
		write_mcr(u, v);
		break;
	case UART_SCR:
		u->scr = v;
		break;
	default:
		break; /* LSR and MSR */
	}
}

/* Saved state. */

void uart_save(struct uart *u, struct state_writer *w)
{
	uint8_t rx[2 * UART_FIFO_SIZE], tx[UART_TX_SIZE];

	state_put_u64(w, "ier", u->ier);
	state_put_u64(w, "fcr", u->fcr);
	state_put_u64(w, "lcr", u->lcr);
	state_put_u64(w, "mcr", u->mcr);
	state_put_u64(w, "msr", u->msr);
	state_put_u64(w, "scr", u->scr);
	state_put_u64(w, "divisor", (uint64_t)u->dlm << 8 | u->dll);
	state_put_u64(w, "lsr-errors", u->lsr_errors);
	state_put_u64(w, "thr-interrupt", u->thr_interrupt);
	for (unsigned i = 0; i < u->rx_count; i++) {
		const uint16_t entry = u->rx[(u->rx_start + i) % UART_FIFO_SIZE];

		rx[2 * i] = (uint8_t)entry;
		rx[2 * i + 1] = (uint8_t)(entry >> 8);
	}
	state_put_bytes(w, "rx", rx, 2 * (size_t)u->rx_count);
	for (unsigned i = 0; i < u->tx_count; i++)
		tx[i] = u->tx[(u->tx_start + i) % UART_TX_SIZE];
	state_put_bytes(w, "tx", tx, u->tx_count);
}

struct loaded {
	uint64_t ier, fcr, lcr, mcr, msr, scr, divisor, lsr_errors, thr_interrupt;
	uint8_t rx[2 * UART_FIFO_SIZE], tx[UART_TX_SIZE];
	size_t rx_len, tx_len;
};

static bool valid(const struct loaded *l)
{
	const bool fifo = (l->fcr & UART_FCR_ENABLE_FIFO) != 0;

	if (l->rx_len % 2 || (!fifo && (l->fcr || l->rx_len > 2)))
		return false;
	for (size_t i = 1; i < l->rx_len; i += 2)
		if (l->rx[i] & ~UART_LSR_BI)
			return false;
	return (l->fcr & ~(uint64_t)(UART_FCR_TRIGGER_MASK | UART_FCR_ENABLE_FIFO)) == 0 &&
	       (l->lsr_errors & ~(uint64_t)(UART_LSR_OE | UART_LSR_BI)) == 0;
}

static int parse(struct state_reader *r, struct loaded *l)
{
	const struct {
		const char *name;
		uint64_t *value, max;
	} fields[] = {
		{"ier", &l->ier, 0x0f},
		{"fcr", &l->fcr, 0xff},
		{"lcr", &l->lcr, 0xff},
		{"mcr", &l->mcr, 0x1f},
		{"msr", &l->msr, 0xff},
		{"scr", &l->scr, 0xff},
		{"divisor", &l->divisor, 0xffff},
		{"lsr-errors", &l->lsr_errors, 0xff},
		{"thr-interrupt", &l->thr_interrupt, 1},
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(fields); i++)
		rc = state_get_u64(r, fields[i].name, fields[i].value, 0, fields[i].max);
	if (rc == 0)
		rc = state_get_blob(r, "rx", l->rx, sizeof(l->rx), &l->rx_len);
	if (rc == 0)
		rc = state_get_blob(r, "tx", l->tx, sizeof(l->tx), &l->tx_len);
	return rc == 0 && !valid(l) ? -EPROTO : rc;
}

static void commit(struct uart *u, const struct loaded *l)
{
	u->ier = (uint8_t)l->ier;
	u->fcr = (uint8_t)l->fcr;
	u->lcr = (uint8_t)l->lcr;
	u->mcr = (uint8_t)l->mcr;
	u->msr = (uint8_t)l->msr;
	u->scr = (uint8_t)l->scr;
	u->dll = (uint8_t)l->divisor;
	u->dlm = (uint8_t)(l->divisor >> 8);
	u->lsr_errors = (uint8_t)l->lsr_errors;
	u->thr_interrupt = l->thr_interrupt != 0;
	u->rx_start = 0;
	u->rx_count = (unsigned)l->rx_len / 2;
	for (unsigned i = 0; i < u->rx_count; i++)
		u->rx[i] = (uint16_t)(l->rx[2 * i] | l->rx[2 * i + 1] << 8);
	u->tx_start = 0;
	u->tx_count = (unsigned)l->tx_len;
	memcpy(u->tx, l->tx, l->tx_len);
}

int uart_load(struct uart *u, struct state_reader *r)
{
	struct loaded l;
	const int rc = parse(r, &l);

	if (rc)
		return rc;
	commit(u, &l);
	if (u->tx_count)
		u->transmit(u);
	ask_for_input(u);
	return 0;
}
