/* SPDX-License-Identifier: MIT */
/*
 * PCI: both ways into configuration space agree; BARs can be sized, moved and switched off while
 * the machine runs. Needs a virtio-blk device. `cf8=off`: a machine without ports CF8 and CFC.
 */
#include "lib/blk.h"

static bool has_cf8;
static struct disk disk;

/* ---- enumeration ---- */

static void check_same(unsigned devfn)
{
	unsigned wrong = 0;

	for (unsigned at = 0; has_cf8 && at < 256; at += 4)
		wrong += cf8_read(devfn, at, 4) != ecam_read(devfn, at, 4);
	check(!wrong, "cf8-and-ecam-agree", "%u words of %x.%u differ", wrong, devfn >> 3,
	      devfn & 7);
	for (unsigned at = 0; at < 16; at++)
		wrong += ecam_read(devfn, at, 1) !=
			 (ecam_read(devfn, at & ~3u, 4) >> at % 4 * 8 & 0xff);
	for (unsigned at = 0; has_cf8 && at < 16; at += 2)
		wrong += cf8_read(devfn, at, 2) !=
			 (cf8_read(devfn, at & ~3u, 4) >> at % 4 * 8 & 0xffff);
	check(!wrong, "config-widths-agree", "%u differ", wrong);
}

static void enumerate(void)
{
	unsigned found = 0;

	for (unsigned devfn = 0; devfn < 256; devfn += 8) {
		uint32_t id = ecam_read(devfn, PCI_VENDOR_ID, 4);

		if (has_cf8 && cf8_read(devfn, PCI_VENDOR_ID, 4) != id)
			check(false, "cf8-and-ecam-agree", "on slot %u", devfn >> 3);
		if (id == 0xffffffff)
			continue;
		found++;
		print("# %02x.0 %04x:%04x class %06x\n", devfn >> 3, id & 0xffff, id >> 16,
		      config_read32(devfn, PCI_CLASS_REVISION) >> 8);
		check_same(devfn);
	}
	check(found >= 2, "pci-devices", "%u found", found);
	check(config_read16(0, PCI_CLASS_DEVICE) == 0x0600, "host-bridge", "class 0x%x",
	      config_read16(0, PCI_CLASS_DEVICE));
	check_equal(ecam_read(31 << 3 | 7, PCI_VENDOR_ID, 4), 0xffffffff, "absent-reads-ones");
}

/* ---- BARs ---- */

static void check_bars(unsigned devfn)
{
	struct bar bar;

	for (unsigned i = 0; i < 6; i++) {
		uint32_t before = config_read32(devfn, PCI_BASE_ADDRESS_0 + i * 4);

		if (!bar_probe(devfn, i, &bar))
			continue;
		print("# bar %u: %s%s at 0x%lx, size 0x%lx\n", i, bar.io ? "io" : "memory",
		      bar.is64 ? "64" : "", bar.address, bar.size);
		check(!(bar.size & (bar.size - 1)), "bar-power-of-two", "0x%lx", bar.size);
		check(bar.address && !(bar.address & (bar.size - 1)), "bar-aligned", "0x%lx",
		      bar.address);
		check_equal(config_read32(devfn, PCI_BASE_ADDRESS_0 + i * 4), before,
			    "bar-sizing-restores");
		i += bar.is64;
	}
}

/* Reads of the common structure's num_queues at an address: all ones when nothing is there. */
static uint16_t queues_at(uint64_t common)
{
	return read16(common + 0x12);
}

static bool disk_works(void)
{
	static uint8_t sector[SECTOR];

	return disk_do(&disk, VIRTIO_BLK_T_IN, 0, sector, SECTOR, 0) == VIRTIO_BLK_S_OK;
}

static unsigned common_bar(unsigned devfn)
{
	unsigned cap = 0;

	while ((cap = pci_capability(devfn, PCI_CAP_ID_VNDR, cap)))
		if (config_read8(devfn, cap + 3) == 1)
			return config_read8(devfn, cap + 4);
	give_up("virtio-capability", "no common configuration");
}

/* Move the BAR with the device's registers; registers and doorbells must move with it. */
static void check_move(const struct bar *bar, uint64_t target, const char *name)
{
	uint64_t common = disk.dev.common, old = bar_address(disk.dev.devfn, bar->index);
	uint16_t queues = queues_at(common);

	print("# %s: to 0x%lx\n", name, target);
	bar_move(disk.dev.devfn, bar, target);
	check_equal(bar_address(disk.dev.devfn, bar->index), target, "bar-moved");
	check_equal(queues_at(common - old + target), queues, "answers-at-new-address");
	check_equal(queues_at(common), 0xffff, "silent-at-old-address");
	vdev_locate(&disk.dev);
	disk_start(&disk, 0, false);
	check(disk_works(), "disk-works-there", "a read failed");
}

static void check_decode(void)
{
	uint16_t queues = queues_at(disk.dev.common);

	pci_command(disk.dev.devfn, 0, PCI_COMMAND_MEMORY);
	check_equal(queues_at(disk.dev.common), 0xffff, "decode-off-is-silent");
	pci_command(disk.dev.devfn, PCI_COMMAND_MEMORY, 0);
	check_equal(queues_at(disk.dev.common), queues, "decode-on-answers");
	check(disk_works(), "disk-works-after-decode", "a read failed");
}

void guest_main(void)
{
	struct bar bar;
	uint64_t home;

	has_cf8 = !option_is("cf8", "off");
	enumerate();
	disk_start(&disk, 0, false);
	check_bars(disk.dev.devfn);
	if (!bar_probe(disk.dev.devfn, common_bar(disk.dev.devfn), &bar))
		give_up("virtio-bar", "it has no size");
	home = bar.address;
	check_decode();
	check_move(&bar, option_number("low", 0xd8000000), "below 4 GiB");
	if (bar.is64)
		check_move(&bar, home + 0x40000000, "above 4 GiB");
	check_move(&bar, home, "back");
	check_decode();
}
