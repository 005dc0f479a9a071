/* SPDX-License-Identifier: MIT */
/*
 * What looks like a shell on COM1, for those who talk to one: a prompt, then lines. It knows
 * `echo WORD…` (with $? for the last status), `true`, `false` and `poweroff`. It sleeps until an
 * interrupt comes, so a hundred of them cost nothing.
 */
#include <linux/serial_reg.h>

#include "lib/rt.h"
#include "vmm/layout_x86.h"

#define VECTOR_UART 0x60

static char line[256];
static volatile unsigned length;
static volatile bool complete;

static uint8_t reg_in(unsigned reg)
{
	return inb((uint16_t)(X86_PORT_COM1 + reg));
}

/* The rest of the input stays where it is until the line has been dealt with. */
static void on_receive(void)
{
	while (!complete && reg_in(UART_LSR) & UART_LSR_DR) {
		char c = (char)reg_in(UART_RX);

		if (c == '\n' || c == '\r')
			complete = true;
		else if (length + 1 < sizeof(line))
			line[length++] = c;
	}
	reg_in(UART_IIR);
}

/* Interrupts come only while it sleeps: what comes before is found by looking. */
static void read_line(void)
{
	length = 0;
	complete = false;
	on_receive(); /* what came while nobody looked */
	while (!complete)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	line[length] = '\0';
}

static bool begins(const char *with)
{
	return strlen(line) >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

static void echo(const char *text, unsigned status)
{
	for (; *text; text++) {
		if (text[0] == '$' && text[1] == '?') {
			print("%u", status);
			text++;
		} else {
			print("%c", *text);
		}
	}
	print("\n");
}

static unsigned run(unsigned status)
{
	if (begins("echo ")) {
		echo(line + 5, status);
		return 0;
	}
	if (begins("true"))
		return 0;
	if (begins("false"))
		return 1;
	print("sh: %s: not found\n", line);
	return 127;
}

void guest_main(void)
{
	unsigned status = 0;

	irq_init();
	irq_disable();
	interrupt_handlers[VECTOR_UART] = on_receive;
	ioapic_route(X86_IRQ_COM1, VECTOR_UART, false);
	outb(X86_PORT_COM1 + UART_FCR, UART_FCR_ENABLE_FIFO);
	outb(X86_PORT_COM1 + UART_IER, UART_IER_RDI);
	for (;;) {
		print("# ");
		read_line();
		if (begins("poweroff"))
			return;
		if (*line)
			status = run(status);
	}
}
