/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/serial_reg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "tests/unit/support/fake_env.h"

static struct fake_env fake;
static struct fake_irq *irq;
static struct device *uart;
static char directory[] = "/tmp/test-uart-XXXXXX";
static char path[64];
static int peer; /* the other end of the line */

static uint8_t in(unsigned reg)
{
	return (uint8_t)fake_in(&fake, X86_PORT_COM1 + reg, 1);
}

static void out(unsigned reg, unsigned value)
{
	fake_out(&fake, X86_PORT_COM1 + reg, 1, value);
}

static void send_text(const char *text)
{
	cr_assert_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
	fake_env_settle(&fake);
}

/* What has come out of the line so far. */
static const char *received(void)
{
	static char text[256];
	ssize_t n;

	fake_env_settle(&fake);
	n = recv(peer, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static struct device *new_uart(void)
{
	char options[96];

	snprintf(options, sizeof(options), "chardev=unix:%s", path);
	return fake_env_device(&fake, &isa_serial_class, options);
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/line", directory);
	fake_env_init(&fake, 0);
	irq = &fake.irq[X86_IRQ_COM1];
	uart = new_uart();
	peer = fake_env_connect(&fake, path);
}

static void teardown(void)
{
	close(peer);
	fake_env_remove(uart);
	fake_env_fini(&fake);
	cr_expect_eq(access(path, F_OK), -1);
	rmdir(directory);
}

TestSuite(uart, .init = setup, .fini = teardown);

Test(uart, after_reset_it_is_ready_and_silent)
{
	cr_expect_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	cr_expect_eq(in(UART_IIR), UART_IIR_NO_INT);
	cr_expect_eq(in(UART_IER), 0u);
	cr_expect_eq(in(UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	cr_expect_not(irq->level);
}

Test(uart, output_leaves_in_order_in_one_piece)
{
	for (const char *c = "hello, world\n"; *c; c++)
		out(UART_TX, (uint8_t)*c);
	cr_expect_str_eq(received(), "hello, world\n");
}

Test(uart, the_divisor_hides_data_and_interrupt_enable)
{
	out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(UART_DLL, 1);
	out(UART_DLM, 2);
	cr_expect_eq(in(UART_DLL), 1u);
	cr_expect_eq(in(UART_DLM), 2u);
	out(UART_LCR, UART_LCR_WLEN8);
	cr_expect_eq(in(UART_IER), 0u);
	out(UART_IER, 0xff);
	cr_expect_eq(in(UART_IER), 0x0fu);
	out(UART_SCR, 0xa5);
	cr_expect_eq(in(UART_SCR), 0xa5u);
	cr_expect_str_eq(received(), "");
}

Test(uart, a_wide_access_is_a_row_of_narrow_ones)
{
	fake_out(&fake, X86_PORT_COM1 + UART_LCR, 2, UART_LCR_WLEN8 | UART_MCR_RTS << 8);
	cr_expect_eq(in(UART_LCR), UART_LCR_WLEN8);
	cr_expect_eq(in(UART_MCR), UART_MCR_RTS);
	cr_expect_eq(fake_in(&fake, X86_PORT_COM1 + UART_LCR, 2),
		     UART_LCR_WLEN8 | UART_MCR_RTS << 8);
}

Test(uart, transmitter_interrupt_comes_when_enabled_and_goes_when_read)
{
	out(UART_IER, UART_IER_THRI);
	cr_expect(irq->level);
	cr_expect_eq(in(UART_IIR), UART_IIR_THRI);
	cr_expect_not(irq->level);
	cr_expect_eq(in(UART_IIR), UART_IIR_NO_INT);
	out(UART_TX, 'x');
	cr_expect(irq->level, "empty again at once");
	out(UART_TX, 'y');
	cr_expect_eq(irq->rises, 3u, "an edge for each byte");
	/* The driver's test for a UART that does not raise it twice. */
	in(UART_IIR);
	out(UART_IER, 0);
	out(UART_IER, UART_IER_THRI);
	cr_expect_eq(in(UART_IIR), UART_IIR_THRI);
}

Test(uart, without_a_fifo_one_byte_is_taken_at_a_time)
{
	out(UART_IER, UART_IER_RDI);
	send_text("ab");
	cr_expect(irq->level);
	cr_expect_eq(in(UART_IIR), UART_IIR_RDI);
	cr_expect_eq(in(UART_LSR)&UART_LSR_DR, UART_LSR_DR);
	cr_expect_eq(in(UART_RX), 'a');
	cr_expect_not(irq->level);
	cr_expect_eq(in(UART_LSR)&UART_LSR_DR, 0);
	fake_env_settle(&fake);
	cr_expect(irq->level);
	cr_expect_eq(in(UART_RX), 'b');
	cr_expect_eq(in(UART_LSR) & (UART_LSR_DR | UART_LSR_OE), 0);
}

Test(uart, the_fifo_has_a_trigger_level_and_a_timeout)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_4);
	out(UART_IER, UART_IER_RDI);
	cr_expect_eq(in(UART_IIR), 0xc0u | UART_IIR_NO_INT);
	send_text("abc");
	cr_expect_eq(in(UART_IIR), 0xc0u | UART_IIR_RX_TIMEOUT);
	send_text("d");
	cr_expect_eq(in(UART_IIR), 0xc0u | UART_IIR_RDI);
	for (const char *c = "abcd"; *c; c++)
		cr_expect_eq(in(UART_RX), (uint8_t)*c);
	cr_expect_eq(in(UART_IIR), 0xc0u | UART_IIR_NO_INT);
	cr_expect_eq(in(UART_RX), 0u);
}

Test(uart, input_waits_outside_and_none_is_lost)
{
	char text[101];

	for (unsigned i = 0; i < 100; i++)
		text[i] = (char)('0' + i % 75);
	text[100] = '\0';
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	send_text(text);
	for (unsigned i = 0; i < 100; i++) {
		if (!(in(UART_LSR)&UART_LSR_DR))
			fake_env_settle(&fake);
		cr_assert_eq(in(UART_RX), (uint8_t)text[i], "byte %u", i);
	}
	cr_expect_eq(in(UART_LSR) & (UART_LSR_DR | UART_LSR_OE), 0);
}

Test(uart, clearing_the_fifo_lets_the_next_input_in)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	send_text("0123456789abcdefXY");
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	cr_expect_eq(in(UART_LSR)&UART_LSR_DR, 0);
	fake_env_settle(&fake);
	cr_expect_eq(in(UART_RX), 'X');
	cr_expect_eq(in(UART_RX), 'Y');
}

Test(uart, loopback_connects_the_outputs_to_the_inputs)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	cr_expect_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_CTS, "as autoconfig tests it");
	out(UART_TX, 'l');
	send_text("outside");
	cr_expect_eq(in(UART_RX), 'l');
	cr_expect_eq(in(UART_LSR)&UART_LSR_DR, 0);
	for (unsigned i = 0; i < 17; i++)
		out(UART_TX, i);
	cr_expect_eq(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE, "the guest overran itself");
	cr_expect_eq(in(UART_LSR)&UART_LSR_OE, 0, "reading clears it");
	for (unsigned i = 0; i < 16; i++)
		cr_expect_eq(in(UART_RX), i);
	out(UART_MCR, UART_MCR_OUT2);
	cr_expect_str_eq(received(), "");
	cr_expect_eq(in(UART_RX), 'o', "what came meanwhile has waited");
}

Test(uart, modem_changes_interrupt_once)
{
	in(UART_MSR);
	out(UART_IER, UART_IER_MSI);
	cr_expect_not(irq->level);
	out(UART_MCR, UART_MCR_LOOP);
	cr_expect(irq->level);
	cr_expect_eq(in(UART_IIR), UART_IIR_MSI);
	cr_expect_eq(in(UART_MSR), UART_MSR_DDCD | UART_MSR_DDSR | UART_MSR_DCTS);
	cr_expect_not(irq->level);
	cr_expect_eq(in(UART_MSR), 0u);
}

Test(uart, a_stream_that_takes_no_more_stops_the_transmitter_and_nothing_is_lost)
{
	static char text[512];
	size_t sent = 0, got = 0;
	ssize_t n;

	out(UART_IER, UART_IER_THRI);
	while (in(UART_LSR)&UART_LSR_THRE) {
		for (unsigned i = 0; i < 16; i++)
			out(UART_TX, sent++ & 0x7f);
		fake_env_settle(&fake);
		cr_assert(sent < 10000000, "nothing ever stops it");
	}
	in(UART_IIR);
	cr_expect_not(irq->level);
	/* The peer reads again. */
	do {
		n = recv(peer, text, sizeof(text), MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++, got++)
			cr_assert_eq((uint8_t)text[i], got & 0x7f, "byte %zu", got);
		fake_env_settle(&fake);
	} while (n > 0);
	cr_expect_eq(got, sent);
	cr_expect(in(UART_LSR)&UART_LSR_THRE);
	cr_expect_eq(in(UART_IIR), UART_IIR_THRI);
}

Test(uart, reset_keeps_what_was_sent)
{
	out(UART_IER, UART_IER_THRI);
	out(UART_TX, 'z');
	device_reset(uart);
	cr_expect_not(irq->level);
	cr_expect_eq(in(UART_IER), 0u);
	cr_expect_str_eq(received(), "z");
}

Test(uart, quiescing_hands_everything_over)
{
	out(UART_TX, 'q');
	device_quiesce_wait(uart);
	cr_expect_str_eq(received(), "q");
}

Test(uart, saved_state_comes_back)
{
	void *first, *second;
	size_t len, again;

	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14);
	out(UART_IER, UART_IER_RDI | UART_IER_THRI);
	out(UART_LCR, UART_LCR_WLEN8);
	out(UART_SCR, 0x77);
	send_text("waiting");
	len = fake_env_save(uart, &first);
	close(peer);
	fake_env_remove(uart);

	uart = new_uart();
	peer = fake_env_connect(&fake, path);
	cr_assert_eq(fake_env_load(uart, first, len), 0);
	again = fake_env_save(uart, &second);
	cr_assert_eq(len, again);
	cr_expect_eq(memcmp(first, second, len), 0);
	cr_expect(irq->level);
	cr_expect_eq(in(UART_SCR), 0x77u);
	for (const char *c = "waiting"; *c; c++)
		cr_expect_eq(in(UART_RX), (uint8_t)*c);
	cr_expect_neq(fake_env_load(uart, first, len - 3), 0);
	free(first);
	free(second);
}

Test(uart, a_second_one_is_refused_with_a_sentence)
{
	struct vmm_error err = {0};
	struct device *other;

	cr_expect_eq(device_create(&other, &isa_serial_class, "serial2", NULL, &fake.env, &err),
		     -EBUSY);
	cr_expect(strstr(err.message, "serial2: there is a COM1 already"), "%s", err.message);
	cr_expect_eq(device_create(&other, &isa_serial_class, "serial2", "chardev=stdoi", &fake.env,
				   &err),
		     -EINVAL);
	cr_expect(strstr(err.message, "did you mean stdio?"), "%s", err.message);
}

/* ---- COM2 to COM4 ---- */

Test(uart, each_com_port_has_its_own_ports_and_line)
{
	static const struct {
		const char *options;
		uint16_t port;
		unsigned irq;
	} com[] = {
		{"index=2", X86_PORT_COM2, X86_IRQ_COM2},
		{"index=3", X86_PORT_COM3, X86_IRQ_COM3},
		{"index=4", X86_PORT_COM4, X86_IRQ_COM4},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(com); i++) {
		struct device *dev = fake_env_device(&fake, &isa_serial_class, com[i].options);

		cr_expect_eq(isa_serial_com(dev), i + 2);
		fake_out(&fake, com[i].port + UART_SCR, 1, 0x50 + i);
		cr_expect_eq(fake_in(&fake, com[i].port + UART_SCR, 1), 0x50 + i);
		/* The transmitter is empty: with its interrupt enabled the line goes up. */
		fake_out(&fake, com[i].port + UART_IER, 1, UART_IER_THRI);
		fake_env_settle(&fake);
		cr_expect(fake.irq[com[i].irq].level, "%s", com[i].options);
		fake_env_remove(dev);
	}
	cr_expect_not(irq->level, "COM1 is left alone");
}
