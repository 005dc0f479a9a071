/* SPDX-License-Identifier: MIT */
/*
 * Any device class under test: made with what it needs (a disk image, the parent of a child),
 * connected to a driver, and led through a life in steps.
 */
#ifndef SUPPORT_SUBJECT_H
#define SUPPORT_SUBJECT_H

#include "tests/unit/support/virtio_driver.h"

#define SUBJECT_RAM    (64 * MIB)
#define SUBJECT_HEAP   gpa(MIB)             /* where the driver's rings begin */
#define SUBJECT_WINDOW UINT64_C(0xfeb00000) /* of a device with transport=mmio */

struct subject {
	struct fake_env fake;
	const struct device_class *cls;
	struct device *dev;
	struct device *parent; /* of a child */
	/* Of the device or of its parent, whichever is virtio: */
	const char *variant; /* options */
	struct virtio_pci *pci;
	struct virtio_mmio *mmio;
	struct virtio_driver driver;
};

/* .init and .fini of a suite: the disk image that classes with a path get. */
void subject_setup(void);
void subject_teardown(void);

/*
 * Run fn on an instance of each class, of virtio devices with each transport and ring format.
 * Drivers take all features that are offered.
 */
void subject_of_each_class(void (*fn)(struct subject *s));

/* Destroy the device (not its parent) / make it again. */
void subject_destroy(struct subject *s);
void subject_create(struct subject *s);

/* Is the device itself a virtio device? */
bool subject_is_virtio(const struct subject *s);
/* The one that a virtio driver sees: the device or its parent; NULL: neither. */
struct device *subject_driven(const struct subject *s);
/* The options that the class needs; valid until the next call. */
const char *subject_options(const struct device_class *cls);

/* One step of what a driver does, from 0 on; of a platform device some ports are touched. */
enum { SUBJECT_STEPS = 8 };
void subject_step(struct subject *s, unsigned n);
/* As a reset of the machine. */
void subject_reset(struct subject *s);

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
