/* SPDX-License-Identifier: MIT */
/*
 * Kernel images made of any bytes. The first byte chooses: the image as it is, or a payload inside
 * of a bzImage whose header is good, which reaches the decompressors and the ELF parser at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/boot.h"

/* Small, so that "does not fit" is common; low enough that filling it is quick. */
#define RAM (24 * MIB)

static struct guest_memory *memory;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
	if (guest_memory_create(&memory, NULL) < 0 ||
	    guest_memory_add(memory, gpa(0), RAM, 0, NULL) < 0)
		abort();
	return 0;
}

static void put(int fd, off_t at, const void *data, size_t size)
{
	if (pwrite(fd, data, size, at) != (ssize_t)size)
		abort();
}

static void put16(int fd, off_t at, unsigned v)
{
	put(fd, at, &(uint16_t){(uint16_t)v}, 2);
}

static void put32(int fd, off_t at, uint32_t v)
{
	put(fd, at, &v, 4);
}

/* Offsets of Documentation/arch/x86/boot.rst. One setup sector; the payload at 0x400 + 0x400. */
static void put_bzimage(int fd, const uint8_t *payload, size_t size)
{
	if (ftruncate(fd, (off_t)(0x800 + align_up(size, 16))) < 0)
		abort();
	put(fd, 0x1f1, &(uint8_t){1}, 1);                              /* setup_sects */
	put32(fd, 0x1f4, (uint32_t)(0x400 + align_up(size, 16)) / 16); /* syssize */
	put16(fd, 0x1fe, 0xaa55);
	put16(fd, 0x200, 0x6aeb);
	put32(fd, 0x202, 0x53726448);     /* HdrS */
	put16(fd, 0x206, 0x20f);          /* version */
	put(fd, 0x211, &(uint8_t){1}, 1); /* loadflags */
	put16(fd, 0x236, 1);              /* xloadflags */
	put32(fd, 0x238, 255);            /* cmdline_size */
	put32(fd, 0x248, 0x400);          /* payload_offset */
	put32(fd, 0x24c, (uint32_t)size); /* payload_length */
	put32(fd, 0x258, 0x100000);       /* pref_address */
	put32(fd, 0x260, 20 << 20);       /* init_size */
	put(fd, 0x800, payload, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmm_error err = {0};
	struct boot_entry entry;
	struct boot *boot;
	char path[32];
	int fd;

	if (size < 1)
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	if (data[0] & 1)
		put_bzimage(fd, data + 1, size - 1);
	else
		put(fd, 0, data + 1, size - 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	const struct boot_config config = {.kernel = path, .cmdline = "quiet", .memory = memory};

	if (boot_open(&boot, &config, &err) == 0) {
		if (boot_load(boot, memory, gpa(0xe0000), &entry, &err) < 0 && !err.code)
			abort();
		boot_close(boot);
	} else if (!err.code || !err.message[0]) {
		abort();
	}
	close(fd);
	return 0;
}
