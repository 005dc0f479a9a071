/* SPDX-License-Identifier: MIT */
/*
 * The run time of the PVH guests: console, command line, test lines, ports, interrupts, ACPI.
 *
 * A guest defines guest_main and includes this file. It prints `ok NAME` and `not ok NAME WHY`
 * lines on COM1. When guest_main returns, the machine is switched off through ACPI if every check
 * passed (exit status 0 of vmm); else the debug-exit port gets EXIT_FAILED (exit status 3).
 *
 * Nothing here waits for a fixed time: a wait ends with its event, or fails after WAIT_CYCLES.
 */
#ifndef PVH_RT_H
#define PVH_RT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Values for the debug-exit port; the exit status of the VMM is value * 2 + 1. */
#define EXIT_FAILED    1 /* a check failed */
#define EXIT_EXCEPTION 2 /* an exception that the guest does not expect */
#define EXIT_STUCK     3 /* a reset or power-off did nothing */

#define WAIT_CYCLES 30000000000ull /* 10 s or more on any machine of today */

void guest_main(void);

/* ---- console and test lines ---- */

/* printf with %c %s %d %u %x %% and the length l; width with 0 for numbers. */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Print `ok NAME`, or `not ok NAME WHY`; returns passed. */
bool check(bool passed, const char *name, const char *why, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for "is this the value that it should be". */
bool check_equal(uint64_t got, uint64_t wanted, const char *name);

/* A check failed that makes the rest pointless: ends the guest. */
_Noreturn void give_up(const char *name, const char *why, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- command line: words `key=value` ---- */

/* Copies the value of `key` to buf; false: not there. */
bool option(const char *key, char *buf, size_t size);
uint64_t option_number(const char *key, uint64_t fallback);
bool option_is(const char *key, const char *value);

/* ---- the machine ---- */

_Noreturn void debug_exit(uint8_t value);
_Noreturn void power_off(void); /* ACPI S5 */
_Noreturn void halt(void);

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

/* Device registers. Plain mov instructions, which every emulator knows. */
#define DEFINE_MMIO(bits)                                                  \
	static inline uint##bits##_t read##bits(uint64_t address)          \
	{                                                                  \
		return *(volatile uint##bits##_t *)address;                \
	}                                                                  \
	static inline void write##bits(uint64_t address, uint##bits##_t v) \
	{                                                                  \
		*(volatile uint##bits##_t *)address = v;                   \
	}
DEFINE_MMIO(8)
DEFINE_MMIO(16)
DEFINE_MMIO(32)
DEFINE_MMIO(64)

/* Map the 2 MiB pages around [address, address + size) one to one, for registers above 4 GiB. */
void map_device(uint64_t address, uint64_t size);

static inline uint64_t cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/* Wait until the condition holds; false when it never did. */
#define wait_until(condition)                                                              \
	({                                                                                 \
		uint64_t wait_start_ = cycles();                                           \
		bool wait_met_;                                                            \
		while (!(wait_met_ = (condition)) && cycles() - wait_start_ < WAIT_CYCLES) \
			__asm__ volatile("pause" : : : "memory");                          \
		wait_met_;                                                                 \
	})

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

/* ---- interrupts ---- */

struct rt_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

#define VECTORS 256

/* How often each vector has arrived. An exception (vector < 32) ends the guest instead. */
extern volatile unsigned interrupts[VECTORS];
/* Called before the end of interrupt, or NULL. */
extern void (*volatile interrupt_handlers[VECTORS])(void);

/* Load the table and switch the local APIC on; then irq_enable. */
void irq_init(void);
/* Only load the table, for processors after the first. */
void irq_init_ap(void);

static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

#define LAPIC_BASE 0xfee00000ull
#define LAPIC_ID   0x020
#define LAPIC_EOI  0x0b0
#define LAPIC_SVR  0x0f0
#define LAPIC_ICR  0x300
#define LAPIC_ICR2 0x310
#define LAPIC_MSI  0xfee00000ull /* message address: processor 0, physical, fixed */

static inline uint32_t lapic_read(unsigned offset)
{
	return read32(LAPIC_BASE + offset);
}

static inline void lapic_write(unsigned offset, uint32_t v)
{
	write32(LAPIC_BASE + offset, v);
}

/* Route a GSI to a vector of processor 0, unmasked. */
void ioapic_route(unsigned gsi, uint8_t vector, bool level);
void ioapic_mask(unsigned gsi);
/* The redirection entry's low half; bit 14 is remote IRR. */
uint32_t ioapic_entry(unsigned gsi);

/* ---- ACPI ---- */

struct acpi_address {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));

struct acpi {
	struct acpi_address reset, sleep_control;
	uint8_t reset_value;
	bool hardware_reduced;
	uint64_t ecam, ioapic;
	unsigned ecam_buses;
	unsigned cpus;
	uint32_t apic_ids[256];
};

/* Parsed at the first call, from the RSDP in hvm_start_info. Checksums are checked. */
const struct acpi *acpi(void);
void acpi_write(const struct acpi_address *address, uint8_t v);

/* ---- other processors ---- */

/* Called on each of them, index from 0. */
void ap_main(unsigned index);
/* INIT and SIPI to every other processor. */
void start_aps(void);
extern volatile uint32_t ap_started;

/* The C library's, as the compiler wants them. */
void *memset(void *dst, int c, size_t n);
void *memcpy(void *dst, const void *src, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#endif
