/* SPDX-License-Identifier: MIT */
/* PCI Local Bus 3.0: configuration (3.2.2.3.2, 6.1), BARs (6.2.5), MSI-X (6.8.2). */
#include "pci.h"

#define CF8 0xcf8
#define CFC 0xcfc

static void cf8_select(unsigned devfn, unsigned offset)
{
	outl(CF8, 0x80000000u | devfn << 8 | (offset & 0xfc));
}

uint32_t cf8_read(unsigned devfn, unsigned offset, unsigned size)
{
	uint16_t port = (uint16_t)(CFC + (offset & 3));

	cf8_select(devfn, offset);
	return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

void cf8_write(unsigned devfn, unsigned offset, unsigned size, uint32_t v)
{
	uint16_t port = (uint16_t)(CFC + (offset & 3));

	cf8_select(devfn, offset);
	if (size == 1)
		outb(port, (uint8_t)v);
	else if (size == 2)
		outw(port, (uint16_t)v);
	else
		outl(port, v);
}

static uint64_t ecam_address(unsigned devfn, unsigned offset)
{
	static uint64_t mapped;
	uint64_t base = acpi()->ecam;

	if (!base)
		give_up("acpi-mcfg", "no ECAM in the MCFG");
	if (mapped != base)
		map_device(base, 0x100000);
	mapped = base;
	return base + (devfn << 12) + offset;
}

uint32_t ecam_read(unsigned devfn, unsigned offset, unsigned size)
{
	uint64_t a = ecam_address(devfn, offset);

	return size == 1 ? read8(a) : size == 2 ? read16(a) : read32(a);
}

void ecam_write(unsigned devfn, unsigned offset, unsigned size, uint32_t v)
{
	uint64_t a = ecam_address(devfn, offset);

	if (size == 1)
		write8(a, (uint8_t)v);
	else if (size == 2)
		write16(a, (uint16_t)v);
	else
		write32(a, v);
}

int pci_find(uint16_t vendor, uint16_t device, unsigned from)
{
	for (unsigned devfn = from; devfn < 256; devfn += 8)
		if (config_read32(devfn, PCI_VENDOR_ID) == ((uint32_t)device << 16 | vendor))
			return (int)devfn;
	return -1;
}

unsigned pci_capability(unsigned devfn, uint8_t id, unsigned after)
{
	unsigned at = config_read8(devfn, after ? after + 1 : PCI_CAPABILITY_LIST);

	if (!(config_read16(devfn, PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return 0;
	/* 48: more capabilities than the space holds means that the list loops. */
	for (unsigned n = 0; at >= 0x40 && n < 48; n++) {
		if (config_read8(devfn, at) == id)
			return at;
		at = config_read8(devfn, at + 1);
	}
	return 0;
}

void pci_command(unsigned devfn, uint16_t set, uint16_t clear)
{
	uint16_t command = config_read16(devfn, PCI_COMMAND);

	config_write16(devfn, PCI_COMMAND, (uint16_t)((command | set) & ~clear));
}

/* ---- BARs ---- */

static unsigned bar_offset(unsigned index)
{
	return PCI_BASE_ADDRESS_0 + index * 4;
}

static bool is_64(uint32_t low)
{
	return !(low & PCI_BASE_ADDRESS_SPACE_IO) &&
	       (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

uint64_t bar_address(unsigned devfn, unsigned index)
{
	uint32_t low = config_read32(devfn, bar_offset(index));

	if (low & PCI_BASE_ADDRESS_SPACE_IO)
		return low & ~3u;
	if (is_64(low))
		return (low & ~15u) | (uint64_t)config_read32(devfn, bar_offset(index + 1)) << 32;
	return low & ~15u;
}

static uint64_t size_mask(unsigned devfn, unsigned index, uint32_t low)
{
	unsigned offset = bar_offset(index);
	uint64_t mask;

	config_write32(devfn, offset, 0xffffffff);
	mask = config_read32(devfn, offset);
	config_write32(devfn, offset, low);
	if (low & PCI_BASE_ADDRESS_SPACE_IO)
		return mask ? ~0xffffull | (mask & ~3ull) : 0;
	if (is_64(low)) {
		uint32_t high = config_read32(devfn, offset + 4);

		config_write32(devfn, offset + 4, 0xffffffff);
		mask |= (uint64_t)config_read32(devfn, offset + 4) << 32;
		config_write32(devfn, offset + 4, high);
		return mask & ~15ull;
	}
	return mask ? ~0xffffffffull | (mask & ~15ull) : 0;
}

bool bar_probe(unsigned devfn, unsigned index, struct bar *bar)
{
	uint16_t command = config_read16(devfn, PCI_COMMAND);
	uint32_t low = config_read32(devfn, bar_offset(index));
	uint64_t mask;

	pci_command(devfn, 0, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	mask = size_mask(devfn, index, low);
	config_write16(devfn, PCI_COMMAND, command);
	*bar = (struct bar){
		.address = bar_address(devfn, index),
		.size = -mask,
		.index = index,
		.io = low & PCI_BASE_ADDRESS_SPACE_IO,
		.is64 = is_64(low),
		.prefetchable = low & PCI_BASE_ADDRESS_MEM_PREFETCH,
	};
	return mask != 0;
}

void bar_move(unsigned devfn, const struct bar *bar, uint64_t address)
{
	uint16_t command = config_read16(devfn, PCI_COMMAND);

	pci_command(devfn, 0, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	config_write32(devfn, bar_offset(bar->index), (uint32_t)address);
	if (bar->is64)
		config_write32(devfn, bar_offset(bar->index + 1), (uint32_t)(address >> 32));
	config_write16(devfn, PCI_COMMAND, command);
	if (!bar->io)
		map_device(address, bar->size);
}

/* ---- MSI-X ---- */

static uint64_t msix_address(unsigned devfn, unsigned offset)
{
	uint32_t v = config_read32(devfn, offset);

	return bar_address(devfn, v & PCI_MSIX_TABLE_BIR) + (v & PCI_MSIX_TABLE_OFFSET);
}

bool msix_find(unsigned devfn, struct msix *m)
{
	m->devfn = devfn;
	m->cap = pci_capability(devfn, PCI_CAP_ID_MSIX, 0);
	if (!m->cap)
		return false;
	m->vectors = (config_read16(devfn, m->cap + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;
	m->table = msix_address(devfn, m->cap + PCI_MSIX_TABLE);
	m->pba = msix_address(devfn, m->cap + PCI_MSIX_PBA);
	map_device(m->table, m->vectors * PCI_MSIX_ENTRY_SIZE);
	map_device(m->pba, (m->vectors + 63) / 64 * 8);
	return true;
}

void msix_set(const struct msix *m, unsigned index, uint8_t vector, bool masked)
{
	uint64_t entry = m->table + index * PCI_MSIX_ENTRY_SIZE;

	write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 1);
	write32(entry + PCI_MSIX_ENTRY_LOWER_ADDR,
		(uint32_t)LAPIC_MSI | (lapic_read(LAPIC_ID) >> 24) << 12);
	write32(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
	write32(entry + PCI_MSIX_ENTRY_DATA, vector);
	msix_mask(m, index, masked);
}

void msix_mask(const struct msix *m, unsigned index, bool masked)
{
	write32(m->table + index * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

bool msix_pending(const struct msix *m, unsigned index)
{
	return read64(m->pba + index / 64 * 8) >> (index % 64) & 1;
}

void msix_control(const struct msix *m, bool enable, bool mask_all)
{
	uint16_t v = config_read16(m->devfn, m->cap + PCI_MSIX_FLAGS);

	v = (uint16_t)(v & ~(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL));
	v = (uint16_t)(v | (enable ? PCI_MSIX_FLAGS_ENABLE : 0) |
		       (mask_all ? PCI_MSIX_FLAGS_MASKALL : 0));
	config_write16(m->devfn, m->cap + PCI_MSIX_FLAGS, v);
}
