/* SPDX-License-Identifier: MIT */
/*
 * Virtio over memory-mapped registers: what a driver finds, and accesses that no driver should
 * make.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/virtio_driver.h"
#include "tests/unit/support/virtio_toy.h"

#define WINDOW      UINT64_C(0xfeb00000)
#define LINE        5
#define QUEUE_RESET 0xc0u

static struct fake_env fake;
static struct device *dev;
static struct virtio_device *vd;
static struct toy *toy;
static struct virtio_mmio *vm;
static struct virtio_driver driver;

static void create(const char *options)
{
	struct vmm_error err = {0};

	dev = fake_env_device(&fake, &toy_class.device, options);
	vd = virtio_device(dev);
	toy = toy_of(dev);
	cr_assert_eq(virtio_mmio_create(&vm, vd, WINDOW, &fake.irq[LINE].line, &err), 0, "%s",
		     err.message);
	virtio_driver_init_mmio(&driver, &fake, vd, WINDOW, gpa(MIB));
}

static void destroy(void)
{
	device_quiesce_wait(dev);
	virtio_mmio_destroy(vm);
	device_destroy(dev);
}

static void setup(void)
{
	fake_env_init(&fake, 16 * MIB);
	create("packed=on");
}

static void setup_packed(void)
{
	setup();
	driver.always = UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

static void teardown(void)
{
	destroy();
	fake_env_fini(&fake);
}

TestSuite(virtio_mmio, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(virtio_mmio_packed, .init = setup_packed, .fini = teardown, .timeout = 30);

static uint32_t reg(unsigned offset)
{
	return (uint32_t)fake_mmio_read(&fake, WINDOW + offset, 4);
}

static void set_reg(unsigned offset, uint32_t value)
{
	fake_mmio_write(&fake, WINDOW + offset, 4, value);
}

static bool line_is_high(void)
{
	return fake.irq[LINE].level;
}

/* A chain of 16 bytes there and back. */
static void add_echo(unsigned queue)
{
	struct driver_buffer b[2] = {{virtio_driver_alloc(&driver, 16), 16, false},
				     {virtio_driver_alloc(&driver, 16), 16, true}};

	driver_ring_add(&driver.rings[queue], b, 2);
}

static void echo(unsigned queue)
{
	add_echo(queue);
	virtio_driver_kick(&driver, queue);
	cr_assert_eq(virtio_driver_wait(&driver, queue, NULL), 16u);
}

/* ---- what a driver finds ---- */

Test(virtio_mmio, device_says_what_it_is)
{
	cr_assert_eq(reg(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976u);
	cr_assert_eq(reg(VIRTIO_MMIO_VERSION), 2u);
	cr_assert_eq(reg(VIRTIO_MMIO_DEVICE_ID), 42u);
	cr_assert_eq(reg(VIRTIO_MMIO_VENDOR_ID), 0x1af4u);
	cr_assert_eq(driver.ops->get_features(&driver), vd->features);
	set_reg(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	cr_assert_eq(reg(VIRTIO_MMIO_DEVICE_FEATURES), 0u);
}

TEST_BOTH(virtio_mmio, driver_works_through_the_registers)
{
	virtio_driver_start(&driver, UINT64_C(1) << TOY_FEATURE, TOY_QUEUES);
	cr_assert(virtio_has(vd, TOY_FEATURE));
	for (unsigned i = 0; i < 3 * TOY_QUEUE_SIZE; i++)
		echo(i % TOY_QUEUES);
	virtio_driver_reset(&driver);
	cr_assert_eq(reg(VIRTIO_MMIO_STATUS), 0u);
	cr_assert_not(driver.ops->queue_enabled(&driver, 0));
	virtio_driver_start(&driver, 0, 1);
	echo(0);
}

Test(virtio_mmio, shared_memory_regions_do_not_exist)
{
	for (uint32_t id = 0; id < 3; id++) {
		set_reg(VIRTIO_MMIO_SHM_SEL, id);
		for (unsigned at = VIRTIO_MMIO_SHM_LEN_LOW; at <= VIRTIO_MMIO_SHM_BASE_HIGH;
		     at += 4)
			cr_assert_eq(reg(at), UINT32_MAX, "%#x", at);
	}
}

Test(virtio_mmio, queue_that_does_not_exist_has_no_size)
{
	const uint32_t queues[] = {TOY_QUEUES, 0x10000, UINT32_MAX};

	virtio_driver_start(&driver, 0, 1);
	for (size_t i = 0; i < ARRAY_SIZE(queues); i++) {
		set_reg(VIRTIO_MMIO_QUEUE_SEL, queues[i]);
		cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_NUM_MAX), 0u);
		set_reg(VIRTIO_MMIO_QUEUE_NUM, 4);
		set_reg(VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
		set_reg(VIRTIO_MMIO_QUEUE_READY, 1);
		cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
		set_reg(VIRTIO_MMIO_QUEUE_READY, 0);
		set_reg(QUEUE_RESET, 1);
		cr_assert_eq(reg(QUEUE_RESET), 0u);
		set_reg(VIRTIO_MMIO_QUEUE_NOTIFY, queues[i]);
	}
	cr_assert_not(virtio_driver_broken(&driver));
}

Test(virtio_mmio, addresses_have_two_halves)
{
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 1);
	set_reg(VIRTIO_MMIO_QUEUE_DESC_LOW, 0x55667788);
	set_reg(VIRTIO_MMIO_QUEUE_DESC_HIGH, 0x11223344);
	set_reg(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 1);
	set_reg(VIRTIO_MMIO_QUEUE_USED_LOW, 2);
	cr_assert_eq(virtio_queue_address(vd, 1, VIRTIO_QUEUE_DESC), UINT64_C(0x1122334455667788));
	cr_assert_eq(virtio_queue_address(vd, 1, VIRTIO_QUEUE_DRIVER), UINT64_C(1) << 32);
	cr_assert_eq(virtio_queue_address(vd, 1, VIRTIO_QUEUE_DEVICE), 2u);
	cr_assert_eq(virtio_queue_address(vd, 0, VIRTIO_QUEUE_DESC), 0u);
}

Test(virtio_mmio, size_that_no_queue_can_have_breaks_the_device)
{
	cr_assert(virtio_driver_negotiate(&driver, 0));
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 0);
	set_reg(VIRTIO_MMIO_QUEUE_NUM, 0x10004); /* not 4 */
	set_reg(VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert(virtio_driver_broken(&driver));
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
}

/* ---- reset ---- */

/* Linux looks neither whether the status is 0, nor at the rings before it takes them back. */
TEST_BOTH(virtio_mmio, driver_need_not_look_whether_a_reset_is_complete)
{
	virtio_driver_start(&driver, 0, 2);
	echo(0);
	set_reg(VIRTIO_MMIO_STATUS, 0);
	for (uint32_t queue = 0; queue < 2; queue++) {
		set_reg(VIRTIO_MMIO_QUEUE_SEL, queue);
		set_reg(VIRTIO_MMIO_QUEUE_READY, 0);
		cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
	}
	set_reg(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	cr_assert_eq(reg(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

static void *reset_as_vcpu(void *arg)
{
	uint32_t *status = arg;

	set_reg(VIRTIO_MMIO_STATUS, 0);
	*status = reg(VIRTIO_MMIO_STATUS);
	return NULL;
}

static void release_held(void *arg)
{
	toy_release(arg);
}

static bool resets(void)
{
	bool resetting;

	device_lock(dev);
	resetting = vd->resetting;
	device_unlock(dev);
	return resetting;
}

Test(virtio_mmio, reset_waits_for_what_is_in_flight)
{
	struct driver_buffer b = {virtio_driver_alloc(&driver, 16), 16, true};
	uint32_t status = UINT32_MAX;
	pthread_t vcpu;

	virtio_driver_start(&driver, 0, 1);
	toy->hold = true;
	driver_ring_add(&driver.rings[0], &b, 1);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	cr_assert_eq(loop_start(fake.env.loop, NULL), 0);
	cr_assert_eq(pthread_create(&vcpu, NULL, reset_as_vcpu, &status), 0);
	while (!resets())
		sched_yield();
	loop_call(fake.env.loop, release_held, toy);
	pthread_join(vcpu, NULL);
	loop_join(fake.env.loop);
	cr_assert_eq(status, 0u);
}

/* ---- stopping a queue ---- */

Test(virtio_mmio, queue_stops_at_once_before_the_device_works)
{
	cr_assert(virtio_driver_negotiate(&driver, 0));
	virtio_driver_queue(&driver, 0, 0);
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 0);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 1u);
	set_reg(VIRTIO_MMIO_QUEUE_READY, 0);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
	virtio_driver_queue(&driver, 0, 0);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 1u);
}

Test(virtio_mmio, queue_stops_when_ready_is_written_0)
{
	virtio_driver_start(&driver, 0, 2);
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 0);
	set_reg(VIRTIO_MMIO_QUEUE_READY, 0);
	fake_env_settle(&fake);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
	echo(1);
	/* Without RING_RESET it stays off. */
	virtio_driver_queue(&driver, 0, 0);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
}

Test(virtio_mmio, queue_with_a_chain_in_flight_stays_ready_until_that_is_back)
{
	struct driver_buffer b = {virtio_driver_alloc(&driver, 16), 16, true};

	virtio_driver_start(&driver, 0, 1);
	toy->hold = true;
	driver_ring_add(&driver.rings[0], &b, 1);
	virtio_driver_kick(&driver, 0);
	fake_env_settle(&fake);
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 0);
	set_reg(VIRTIO_MMIO_QUEUE_READY, 0);
	fake_env_settle(&fake);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 1u);
	toy_release(toy);
	fake_env_settle(&fake);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
}

TEST_BOTH(virtio_mmio, queue_is_reset_through_its_register)
{
	virtio_driver_start(&driver, UINT64_C(1) << VIRTIO_F_RING_RESET, 2);
	echo(0);
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 0);
	set_reg(QUEUE_RESET, 0);
	cr_assert_eq(reg(QUEUE_RESET), 0u);
	set_reg(QUEUE_RESET, 1);
	cr_assert_eq(reg(QUEUE_RESET), 1u);
	fake_env_settle(&fake);
	cr_assert_eq(reg(QUEUE_RESET), 0u);
	cr_assert_eq(reg(VIRTIO_MMIO_QUEUE_READY), 0u);
	virtio_driver_queue(&driver, 0, 4);
	echo(0);
	echo(1);
}

/* ---- doorbells ---- */

Test(virtio_mmio, doorbells_of_the_queues_differ_by_their_value)
{
	const uint64_t at = WINDOW + VIRTIO_MMIO_QUEUE_NOTIFY;

	virtio_driver_start(&driver, 0, TOY_QUEUES);
	cr_assert_eq(fake.doorbells.count, TOY_QUEUES);
	for (unsigned q = 0; q < TOY_QUEUES; q++) {
		toy->kicks = 0;
		cr_assert(fake_doorbell_write(&fake, at, 4, q));
		fake_env_settle(&fake);
		cr_assert_eq(toy->kicks, 1u);
	}
	cr_assert_not(fake_doorbell_write(&fake, at, 4, TOY_QUEUES));
	cr_assert_not(fake_doorbell_write(&fake, at, 2, 0));
	destroy();
	cr_assert_eq(fake.doorbells.count, 0u);
	create("packed=on");
}

TEST_BOTH(virtio_mmio, doorbells_that_cannot_be_attached_are_register_writes)
{
	uint64_t always = driver.always;

	destroy();
	fake.doorbells.attach_error = -ENOSPC;
	create("packed=on");
	driver.always = always;
	cr_assert_eq(fake.doorbells.count, 0u);
	virtio_driver_start(&driver, 0, TOY_QUEUES);
	for (unsigned q = 0; q < TOY_QUEUES; q++)
		echo(q);
	fake.doorbells.attach_error = 0;
}

Test(virtio_mmio, doorbell_with_data_rings_the_queue_in_its_low_half)
{
	const uint32_t value = 1 | 7u << 16;

	destroy();
	create("packed=on,notification-data=on");
	virtio_driver_start(&driver, UINT64_C(1) << VIRTIO_F_NOTIFICATION_DATA, TOY_QUEUES);
	toy->kicks = 0;
	cr_assert_not(fake_doorbell_write(&fake, WINDOW + VIRTIO_MMIO_QUEUE_NOTIFY, 4, value));
	set_reg(VIRTIO_MMIO_QUEUE_NOTIFY, value);
	fake_env_settle(&fake);
	cr_assert_eq(toy->kicks, 1u);
	/* Without the feature that is the number of a queue that does not exist. */
	virtio_driver_start(&driver, 0, TOY_QUEUES);
	toy->kicks = 0;
	set_reg(VIRTIO_MMIO_QUEUE_NOTIFY, value);
	fake_env_settle(&fake);
	cr_assert_eq(toy->kicks, 0u);
}

/* ---- interrupts ---- */

Test(virtio_mmio, line_is_high_until_the_driver_has_seen_all_interrupts)
{
	virtio_driver_start(&driver, 0, 1);
	cr_assert_not(line_is_high());
	echo(0);
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	cr_assert(line_is_high());
	device_lock(dev);
	virtio_config_changed(vd);
	device_unlock(dev);
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS),
		     VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	cr_assert(line_is_high(), "one that was not acknowledged is lost");
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
	cr_assert_not(line_is_high());
	cr_assert_eq(fake.irq[LINE].rises, 1u);
	echo(0);
	cr_assert_eq(fake.irq[LINE].rises, 2u);
}

Test(virtio_mmio, interrupt_that_comes_between_status_and_acknowledgement_stays)
{
	uint32_t seen;

	virtio_driver_start(&driver, 0, 1);
	echo(0);
	seen = reg(VIRTIO_MMIO_INTERRUPT_STATUS);
	device_lock(dev);
	virtio_config_changed(vd);
	device_unlock(dev);
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, seen);
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	cr_assert(line_is_high());
}

Test(virtio_mmio, reset_lowers_the_line)
{
	virtio_driver_start(&driver, 0, 1);
	echo(0);
	cr_assert(line_is_high());
	virtio_driver_reset(&driver);
	cr_assert_not(line_is_high());
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
}

/* ---- accesses that no driver should make ---- */

Test(virtio_mmio, registers_take_only_aligned_words)
{
	static const unsigned sizes[] = {1, 2, 8};

	virtio_driver_start(&driver, 0, 1);
	for (unsigned at = 0; at < VIRTIO_MMIO_CONFIG; at++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			cr_assert_eq(fake_mmio_read(&fake, WINDOW + at, sizes[i]), 0u, "%#x", at);
			fake_mmio_write(&fake, WINDOW + at, sizes[i], 0);
		}
		if (at % 4)
			fake_mmio_write(&fake, WINDOW + at, 4, 0);
	}
	cr_assert(reg(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
	echo(0);
}

Test(virtio_mmio, registers_that_can_only_be_read_ignore_writes)
{
	static const unsigned read_only[] = {
		VIRTIO_MMIO_MAGIC_VALUE,      VIRTIO_MMIO_VERSION,
		VIRTIO_MMIO_DEVICE_ID,        VIRTIO_MMIO_QUEUE_NUM_MAX,
		VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_CONFIG_GENERATION,
	};

	for (size_t i = 0; i < ARRAY_SIZE(read_only); i++) {
		uint32_t before = reg(read_only[i]);

		set_reg(read_only[i], 0x5a5a5a5a);
		cr_assert_eq(reg(read_only[i]), before);
	}
}

Test(virtio_mmio, configuration_space_has_any_width_and_an_end)
{
	uint8_t bytes[4];

	cr_assert(virtio_driver_negotiate(&driver, 0));
	fake_mmio_write(&fake, WINDOW + VIRTIO_MMIO_CONFIG, 4, 0x64636261);
	fake_mmio_write(&fake, WINDOW + VIRTIO_MMIO_CONFIG + 4, 8, UINT64_MAX);
	fake_mmio_write(&fake, WINDOW + VIRTIO_MMIO_SIZE - 1, 1, 1);
	driver.ops->read_config(&driver, 0, bytes, 4);
	cr_assert_eq(memcmp(bytes, "abcd", 4), 0);
	cr_assert_eq(fake_mmio_read(&fake, WINDOW + VIRTIO_MMIO_CONFIG + 2, 8), 0xffff6463u);
	cr_assert_eq(fake_mmio_read(&fake, WINDOW + VIRTIO_MMIO_SIZE - 4, 4), 0u);
}

/* ---- life ---- */

Test(virtio_mmio, registers_that_are_taken_are_an_error_with_a_sentence)
{
	struct device *other = fake_env_device(&fake, &toy_class.device, "packed=on");
	struct vmm_error err = {0};
	struct virtio_mmio *second;

	cr_assert_eq(virtio_mmio_create(&second, virtio_device(other), WINDOW + 0x100,
					&fake.irq[6].line, &err),
		     -EBUSY);
	cr_assert(strstr(err.message, "registers"), "%s", err.message);
	cr_assert_null(virtio_device(other)->transport);
	fake_env_remove(other);
}

static void *save(size_t *len)
{
	struct state_writer *w = state_writer_create();
	void *data;

	device_quiesce_wait(dev);
	device_save(dev, w);
	virtio_mmio_save(vm, w);
	cr_assert_eq(state_writer_finish(w, &data, len), 0);
	return data;
}

static int load(const void *data, size_t len)
{
	struct state_reader *r;
	int rc;

	cr_assert_eq(state_reader_create(&r, data, len), 0);
	device_quiesce_wait(dev);
	rc = device_load(dev, r, NULL);
	/* However long it takes to get to the next section. */
	fake_env_settle(&fake);
	if (!rc)
		rc = virtio_mmio_load(vm, r);
	if (!rc)
		virtio_resume(vd);
	state_reader_destroy(r);
	return rc;
}

TEST_BOTH(virtio_mmio, saved_transport_goes_on_in_another_instance)
{
	struct driver_ring ring;
	size_t len, again;
	void *data, *second;
	gpa_t next;

	virtio_driver_start(&driver, 0, 1);
	echo(0);
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 1);
	set_reg(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	data = save(&len);
	ring = driver.rings[0];
	next = driver.next;
	destroy();
	cr_assert_not(line_is_high());
	create("packed=on");
	driver.rings[0] = ring;
	driver.next = next;
	cr_assert_eq(load(data, len), 0);
	cr_assert(line_is_high());
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	second = save(&again);
	cr_assert_eq(again, len);
	cr_assert_arr_eq(second, data, len);
	cr_assert_eq(load(data, len), 0);
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	cr_assert_not(line_is_high());
	echo(0);
	free(data);
	free(second);
}

TEST_BOTH(virtio_mmio, interrupt_right_after_a_load_is_not_lost)
{
	size_t len;
	void *data;

	virtio_driver_start(&driver, 0, 1);
	device_quiesce_wait(dev);
	add_echo(0);
	data = save(&len);
	cr_assert_eq(load(data, len), 0);
	fake_env_settle(&fake);
	cr_assert(driver_ring_has_used(&driver.rings[0]));
	cr_assert(line_is_high());
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	free(data);
}

Test(virtio_mmio, damaged_state_is_refused)
{
	static const char field[] = "interrupts";
	uint8_t *data, *at;
	size_t len;

	virtio_driver_start(&driver, 0, 1);
	data = save(&len);
	at = memmem(data, len, field, strlen(field));
	cr_assert(at);
	at[strlen(field)] = 4;
	cr_assert_neq(load(data, len), 0);
	cr_assert_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
	for (size_t cut = len - 1; cut > len - 60; cut--)
		cr_assert_neq(load(data, cut), 0);
	free(data);
}
