/* SPDX-License-Identifier: MIT */
/* A toy device with a driver, for the tests of what virtio devices have in common. */
#ifndef SUPPORT_TOY_FIXTURE_H
#define SUPPORT_TOY_FIXTURE_H

#include <criterion/criterion.h>

#include "tests/unit/support/virtio_driver.h"
#include "tests/unit/support/virtio_toy.h"

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)

extern struct fake_env fake;
extern struct device *dev;
extern struct virtio_device *vd;
extern struct toy *toy;
extern struct virtio_driver driver;

/* .init and .fini of a suite. */
void toy_setup(void);
void toy_setup_packed(void);
void toy_teardown(void);

/* Offer a chain of 16 bytes to be copied. */
void add_echo(unsigned queue);
/* Break the rules on this queue. */
void break_queue(unsigned queue);

#endif
