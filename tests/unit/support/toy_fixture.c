/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/toy_fixture.h"

struct fake_env fake;
struct device *dev;
struct virtio_device *vd;
struct toy *toy;
struct virtio_driver driver;

void toy_setup(void)
{
	fake_env_init(&fake, 16 * MIB);
	dev = fake_env_device(&fake, &toy_class.device, "packed=on");
	vd = virtio_device(dev);
	toy = toy_of(dev);
	virtio_driver_init(&driver, &fake, vd, gpa(MIB));
}

void toy_setup_packed(void)
{
	toy_setup();
	driver.always = UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

void toy_teardown(void)
{
	if (toy->held)
		toy_release(toy);
	fake_env_remove(dev);
	fake_env_fini(&fake);
}

void add_echo(unsigned queue)
{
	struct driver_buffer b[2] = {{virtio_driver_alloc(&driver, 16), 16, false},
				     {virtio_driver_alloc(&driver, 16), 16, true}};

	driver_ring_add(&driver.rings[queue], b, 2);
}

void break_queue(unsigned queue)
{
	driver_ring_break(&driver.rings[queue]);
	virtio_driver_kick(&driver, queue);
}
