/* SPDX-License-Identifier: MIT */
/* Console, command line, test lines, and the end of a guest. */
#include "rt.h"
#include "vmm/layout_x86.h"

/* Xen's struct hvm_start_info, version 1 (xen/include/public/arch-x86/hvm/start_info.h). */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

#define HVM_START_MAGIC 0x336ec578

extern uint32_t start_info;
uint64_t rt_rsdp(void);
void rt_main(void);

static unsigned failures;
static char cmdline[1024];

/* ---- console ---- */

static void put(char c)
{
	/* A VMM may hold output back: wait for room as a real UART wants it. */
	while (!(inb(X86_PORT_COM1 + 5) & 0x20))
		;
	outb(X86_PORT_COM1, (uint8_t)c);
}

static void put_number(uint64_t v, unsigned base, unsigned width, char fill)
{
	char digits[24];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n < width && n < sizeof(digits))
		digits[n++] = fill;
	while (n)
		put(digits[--n]);
}

static void put_signed(int64_t v, unsigned width, char fill)
{
	if (v < 0)
		put('-');
	put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, fill);
}

static void vprint(const char *fmt, va_list args)
{
	for (; *fmt; fmt++) {
		unsigned width = 0;
		bool is_long = false;
		char fill = ' ';

		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		if (*++fmt == '0')
			fill = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (unsigned)(*fmt - '0');
		for (; *fmt == 'l'; fmt++)
			is_long = true;
		if (*fmt == 's') {
			for (const char *s = va_arg(args, const char *); *s; s++)
				put(*s);
		} else if (*fmt == 'c') {
			put((char)va_arg(args, int));
		} else if (*fmt == 'd') {
			put_signed(is_long ? va_arg(args, int64_t) : va_arg(args, int), width,
				   fill);
		} else if (*fmt == 'u' || *fmt == 'x') {
			put_number(is_long ? va_arg(args, uint64_t) : va_arg(args, unsigned),
				   *fmt == 'u' ? 10 : 16, width, fill);
		} else {
			put(*fmt);
		}
	}
}

void print(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprint(fmt, args);
	va_end(args);
}

/* ---- test lines ---- */

static void not_ok(const char *name, const char *why, va_list args)
{
	failures++;
	print("not ok %s ", name);
	vprint(why, args);
	print("\n");
}

bool check(bool passed, const char *name, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	if (passed)
		print("ok %s\n", name);
	else
		not_ok(name, why, args);
	va_end(args);
	return passed;
}

bool check_equal(uint64_t got, uint64_t wanted, const char *name)
{
	return check(got == wanted, name, "got 0x%lx, wanted 0x%lx", got, wanted);
}

void give_up(const char *name, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	not_ok(name, why, args);
	va_end(args);
	debug_exit(EXIT_FAILED);
}

/* ---- command line ---- */

/* The value of `key` inside cmdline, up to the next blank, or NULL. */
static const char *find_option(const char *key)
{
	size_t len = strlen(key);
	const char *p = cmdline;

	while (*p) {
		while (*p == ' ')
			p++;
		if (!memcmp(p, key, len) && p[len] == '=')
			return p + len + 1;
		while (*p && *p != ' ')
			p++;
	}
	return NULL;
}

bool option(const char *key, char *buf, size_t size)
{
	const char *value = find_option(key);
	size_t n = 0;

	if (!value)
		return false;
	for (; value[n] && value[n] != ' ' && n + 1 < size; n++)
		buf[n] = value[n];
	buf[n] = 0;
	return true;
}

uint64_t option_number(const char *key, uint64_t fallback)
{
	const char *value = find_option(key);
	uint64_t n = 0;

	if (!value)
		return fallback;
	for (; *value >= '0' && *value <= '9'; value++)
		n = n * 10 + (uint64_t)(*value - '0');
	return n;
}

bool option_is(const char *key, const char *value)
{
	char buf[64];

	return option(key, buf, sizeof(buf)) && strlen(buf) == strlen(value) &&
	       !memcmp(buf, value, strlen(value));
}

/* ---- start and end ---- */

void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

void debug_exit(uint8_t value)
{
	outb(X86_PORT_DEBUG_EXIT, value);
	halt();
}

void power_off(void)
{
	/* SLP_TYP and SLP_EN (ACPI 6, 4.8.3.7). Without these registers the write goes nowhere. */
	acpi_write(&acpi()->sleep_control, X86_ACPI_S5 << 2 | 0x20);
	wait_until(false);
	debug_exit(EXIT_STUCK);
}

static const struct hvm_start_info *info(void)
{
	return (const struct hvm_start_info *)(uintptr_t)start_info;
}

uint64_t rt_rsdp(void)
{
	return info()->rsdp;
}

void rt_main(void)
{
	const char *text;

	if (info()->magic != HVM_START_MAGIC)
		debug_exit(EXIT_EXCEPTION);
	text = (const char *)info()->cmdline;
	for (size_t n = 0; text && text[n] && n + 1 < sizeof(cmdline); n++)
		cmdline[n] = text[n];
	guest_main();
	if (failures)
		debug_exit(EXIT_FAILED);
	power_off();
}

/* ---- what the compiler calls ---- */

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}

void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}
