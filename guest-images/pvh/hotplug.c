/* SPDX-License-Identifier: MIT */
/*
 * Disks that come to a machine that runs, and go: `rounds=N` of them, one after another, each used
 * while it is there. Does by hand what ACPI has other guests do.
 */
#include "devices/ports_x86.h"
#include "lib/blk.h"

static struct disk disk;
static uint8_t sector[SECTOR];

/* Read until it is not 0: how long the host takes is its affair. */
static uint32_t await(unsigned reg)
{
	uint32_t slots;

	while (!(slots = inl((uint16_t)(X86_PORT_ACPI + reg))))
		__asm__ volatile("pause" : : : "memory");
	return slots;
}

static void check_io(uint8_t fill)
{
	memset(sector, fill, sizeof(sector));
	check_equal(disk_do(&disk, VIRTIO_BLK_T_OUT, 1, sector, SECTOR, 0), VIRTIO_BLK_S_OK,
		    "write");
	memset(sector, 0, sizeof(sector));
	check_equal(disk_do(&disk, VIRTIO_BLK_T_IN, 1, sector, SECTOR, 0), VIRTIO_BLK_S_OK, "read");
	check(sector[0] == fill && sector[SECTOR - 1] == fill, "data", "got 0x%x", sector[0]);
}

/* What is asked for is let go of in the middle of a request, by a driver that does not tidy up. */
static void let_go(uint32_t slots)
{
	static struct disk_request r;

	disk_submit(&disk, 0, &r, VIRTIO_BLK_T_IN, 1, sector, SECTOR, 0);
	vqueue_kick(&disk.queues[0]);
	outl(X86_PORT_ACPI + X86_ACPI_PCI_EJECT, slots);
	check_equal(config_read32(disk.dev.devfn, PCI_VENDOR_ID), 0xffffffff, "gone-from-the-bus");
	check_equal(read16(disk.dev.common + 0x12), 0xffff, "registers-gone");
}

void guest_main(void)
{
	uint64_t rounds = option_number("rounds", 1);

	for (uint64_t round = 1; round <= rounds; round++) {
		uint32_t slots = await(X86_ACPI_PCI_UP);

		disk_start(&disk, 0, true);
		check_equal(slots, 1u << (disk.dev.devfn >> 3), "the-slot-that-was-told");
		check_io((uint8_t)round);
		print("in use %lu\n", round);
		check_equal(await(X86_ACPI_PCI_DOWN), slots, "the-slot-that-is-asked-for");
		check_io((uint8_t)~round);
		let_go(slots);
		print("let go %lu\n", round); /* from now on the slot may have another */
	}
}
