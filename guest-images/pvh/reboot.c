/* SPDX-License-Identifier: MIT */
/*
 * Reboots once: the first boot writes a marker to the last sector of the disk and resets the
 * machine by=acpi|i8042|triple; the second boot finds the marker, removes it and switches off.
 */
#include "lib/blk.h"
#include "vmm/layout_x86.h"

#define I8042_PULSE_RESET 0xfe

static struct disk disk;
static uint8_t sector[SECTOR];
static const char marker[] = "vmm-reboot-marker";

static void transfer(uint32_t type)
{
	if (disk_do(&disk, type, disk.sectors - 1, sector, SECTOR, 0) != VIRTIO_BLK_S_OK)
		give_up("disk-request", "type %u failed", type);
}

static void triple_fault(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void reset(void)
{
	if (option_is("by", "triple"))
		triple_fault();
	else if (option_is("by", "i8042"))
		outb(X86_PORT_I8042_COMMAND, I8042_PULSE_RESET);
	else
		acpi_write(&acpi()->reset, acpi()->reset_value);
	wait_until(false);
	give_up("reset", "the machine still runs");
}

void guest_main(void)
{
	/* Zero in a fresh image of the program: a reset must load it again. */
	static volatile unsigned boots_in_memory;

	boots_in_memory++;
	check_equal(boots_in_memory, 1, "memory-is-fresh");
	disk_start(&disk, 0, false);
	transfer(VIRTIO_BLK_T_IN);
	if (memcmp(sector, marker, sizeof(marker))) {
		print("first boot\n");
		memcpy(sector, marker, sizeof(marker));
		transfer(VIRTIO_BLK_T_OUT);
		reset();
	}
	print("second boot\n");
	memset(sector, 0, SECTOR);
	transfer(VIRTIO_BLK_T_OUT);
	check(true, "rebooted", "-");
}
