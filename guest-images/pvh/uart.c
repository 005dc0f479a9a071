/* SPDX-License-Identifier: MIT */
/*
 * The 16550 at COM1: FIFO, loopback, interrupts through the IOAPIC, scratch register. With
 * `echo=on` it then reads a line of input by interrupts and prints it back as `echo: LINE`.
 */
#include <linux/serial_reg.h>

#include "lib/rt.h"
#include "vmm/layout_x86.h"

#define VECTOR_UART 0x60

static uint8_t reg_in(unsigned reg)
{
	return inb((uint16_t)(X86_PORT_COM1 + reg));
}

static void reg_out(unsigned reg, unsigned v)
{
	outb((uint16_t)(X86_PORT_COM1 + reg), (uint8_t)v);
}

static void check_registers(void)
{
	unsigned divisor;

	reg_out(UART_SCR, 0x5a);
	check_equal(reg_in(UART_SCR), 0x5a, "uart-scratch");
	/* No output while the divisor stands in the place of the data. */
	reg_out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	reg_out(UART_DLL, 12);
	reg_out(UART_DLM, 1);
	divisor = reg_in(UART_DLL) | (unsigned)reg_in(UART_DLM) << 8;
	reg_out(UART_DLL, 1);
	reg_out(UART_DLM, 0);
	reg_out(UART_LCR, UART_LCR_WLEN8);
	check_equal(divisor, 268, "uart-divisor");
	reg_out(UART_FCR, UART_FCR_ENABLE_FIFO);
	check_equal(reg_in(UART_IIR) & 0xc0, 0xc0, "uart-fifo");
	reg_out(UART_FCR, 0);
	check_equal(reg_in(UART_IIR) & 0xc0, 0, "uart-no-fifo");
}

/* What is sent comes back, and nothing of it reaches the host. */
static void check_loopback(void)
{
	unsigned status, wrong = 0;

	reg_out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	wait_until(reg_in(UART_LSR) & UART_LSR_TEMT);
	reg_out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_DTR);
	status = reg_in(UART_MSR) & 0xf0; /* DTR and OUT2 appear as DSR and DCD */
	for (unsigned i = 0; i < 8; i++)
		reg_out(UART_TX, 'a' + i);
	for (unsigned i = 0; i < 8; i++)
		wrong += !wait_until(reg_in(UART_LSR) & UART_LSR_DR) || reg_in(UART_RX) != 'a' + i;
	wrong += (reg_in(UART_LSR) & UART_LSR_DR) != 0;
	reg_out(UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	check_equal(status, UART_MSR_DSR | UART_MSR_DCD, "uart-loopback-modem");
	check(!wrong, "uart-loopback", "%u characters were wrong", wrong);
}

/* Transmitter empty: enabling the interrupt raises it; reading IIR takes it back (16550, 8.6). */
static volatile uint8_t iir_seen;

static void on_transmit(void)
{
	iir_seen = reg_in(UART_IIR);
}

static void check_transmit_interrupt(void)
{
	unsigned before;

	interrupt_handlers[VECTOR_UART] = on_transmit;
	ioapic_route(X86_IRQ_COM1, VECTOR_UART, false);
	reg_out(UART_IER, UART_IER_THRI);
	check(wait_until(interrupts[VECTOR_UART] != 0), "uart-thre-interrupt", "none came");
	check_equal(iir_seen & 0x0f, UART_IIR_THRI, "uart-iir");
	wait_until(reg_in(UART_IIR) & UART_IIR_NO_INT);
	before = interrupts[VECTOR_UART];
	print("# and another\n");
	check(wait_until(interrupts[VECTOR_UART] > before), "uart-thre-again", "none came");
	reg_out(UART_IER, 0);
}

static char line[256];
static volatile unsigned line_length;
static volatile bool line_complete;

static void on_receive(void)
{
	while (reg_in(UART_LSR) & UART_LSR_DR) {
		char c = (char)reg_in(UART_RX);

		if (c == '\n' || c == '\r')
			line_complete = true;
		else if (!line_complete && line_length + 1 < sizeof(line))
			line[line_length++] = c;
	}
	reg_in(UART_IIR);
}

static void echo(void)
{
	print("type a line\n");
	irq_disable();
	interrupt_handlers[VECTOR_UART] = on_receive;
	reg_out(UART_IER, UART_IER_RDI);
	on_receive(); /* what came before the interrupt was on */
	irq_enable();
	if (check(wait_until(line_complete), "uart-receive", "no line came, %u bytes", line_length))
		print("echo: %s\n", line);
	reg_out(UART_IER, 0);
}

void guest_main(void)
{
	irq_init();
	irq_enable();
	check_registers();
	check_loopback();
	check_transmit_interrupt();
	if (option_is("echo", "on"))
		echo();
}
