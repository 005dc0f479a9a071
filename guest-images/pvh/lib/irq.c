/* SPDX-License-Identifier: MIT */
/* Interrupt table, local APIC, IOAPIC, other processors, and device mappings above 4 GiB. */
#include "rt.h"
#include "start.h"

struct gate {
	uint16_t offset_low, selector, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern const char isr_stubs[VECTORS][16];
extern const char ap_start[], ap_end[];
extern uint64_t pdpt[512];

volatile unsigned interrupts[VECTORS];
void (*volatile interrupt_handlers[VECTORS])(void);

void rt_interrupt(const struct rt_frame *frame);

static struct gate idt[VECTORS];

void rt_interrupt(const struct rt_frame *f)
{
	uint64_t cr2;

	if (f->vector < 32) {
		__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
		print("not ok exception vector %lu at 0x%lx, error 0x%lx, cr2 0x%lx\n", f->vector,
		      f->rip, f->error, cr2);
		debug_exit(EXIT_EXCEPTION);
	}
	interrupts[f->vector]++;
	if (interrupt_handlers[f->vector])
		interrupt_handlers[f->vector]();
	/* A spurious interrupt gets no end of interrupt. */
	if (f->vector != 255)
		lapic_write(LAPIC_EOI, 0);
}

void irq_init_ap(void)
{
	struct table_pointer p = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lidt %0" : : "m"(p));
	lapic_write(LAPIC_SVR, 0x1ff);
}

void irq_init(void)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		uint64_t stub = (uint64_t)isr_stubs[i];

		idt[i] = (struct gate){
			.offset_low = (uint16_t)stub,
			.offset_mid = (uint16_t)(stub >> 16),
			.selector = SEL_CODE64,
			.type = 0x8e00, /* present, 64-bit interrupt gate */
		};
	}
	/* The 8259s, where there are any, keep quiet. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	irq_init_ap();
}

/* ---- IOAPIC (82093AA) ---- */

static uint32_t ioapic_read(unsigned reg)
{
	write32(acpi()->ioapic, reg);
	return read32(acpi()->ioapic + 0x10);
}

static void ioapic_write(unsigned reg, uint32_t v)
{
	write32(acpi()->ioapic, reg);
	write32(acpi()->ioapic + 0x10, v);
}

void ioapic_route(unsigned gsi, uint8_t vector, bool level)
{
	ioapic_write(0x11 + gsi * 2, lapic_read(LAPIC_ID) & 0xff000000);
	ioapic_write(0x10 + gsi * 2, vector | (level ? 1u << 15 : 0));
}

void ioapic_mask(unsigned gsi)
{
	ioapic_write(0x10 + gsi * 2, 1u << 16);
}

uint32_t ioapic_entry(unsigned gsi)
{
	return ioapic_read(0x10 + gsi * 2);
}

/* ---- other processors (MP specification, B.4) ---- */

static void send_ipi_to_others(uint32_t command)
{
	lapic_write(LAPIC_ICR2, 0);
	lapic_write(LAPIC_ICR, command | 3u << 18);
	wait_until(!(lapic_read(LAPIC_ICR) & 1u << 12));
}

void start_aps(void)
{
	memcpy((void *)AP_TRAMPOLINE, ap_start, (size_t)(ap_end - ap_start));
	send_ipi_to_others(0x4500);                       /* INIT, assert */
	send_ipi_to_others(0x4600 | AP_TRAMPOLINE >> 12); /* SIPI */
	send_ipi_to_others(0x4600 | AP_TRAMPOLINE >> 12); /* ignored by who already runs */
}

__attribute__((weak)) void ap_main(unsigned index)
{
	(void)index;
	halt();
}

/* ---- devices above 4 GiB ---- */

static uint64_t directories[4][512] __attribute__((aligned(4096)));

static uint64_t *directory_of(uint64_t address)
{
	static unsigned used;
	uint64_t *slot = &pdpt[address >> 30];

	if (address >> 39 || (!*slot && used == ARRAY_SIZE(directories)))
		give_up("map_device", "no page directory left for 0x%lx", address);
	if (!*slot)
		*slot = (uint64_t)directories[used++] | 3;
	return (uint64_t *)(*slot & ~0xfffull);
}

void map_device(uint64_t address, uint64_t size)
{
	const uint64_t page = 0x200000;
	uint64_t end = address + size;

	if (end <= 0x100000000ull)
		return;
	for (address &= ~(page - 1); address < end; address += page) {
		directory_of(address)[address / page % 512] = address | 0x9b;
		__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
	}
}
