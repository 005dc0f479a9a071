/* SPDX-License-Identifier: MIT */
/*
 * Virtqueues from ring 0, split or packed (ring=packed), on PCI or MMIO (transport=mmio): rings of
 * several sizes over many laps, doorbells only where they are wanted, interrupts only where they
 * are, and the reset of one queue while the other works. Reads the start of the disk.
 */
#include "lib/blk.h"

#define FEATURES                                                                     \
	((1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX) | \
	 (1ull << VIRTIO_F_VERSION_1) | F_RING_RESET)
#define VECTOR   0x50
#define REQUESTS 200u
#define IN_RING  (QUEUE_MAX / 3)

static struct disk disk;
static struct disk_request requests[QUEUE_MAX];
static uint8_t buffers[QUEUE_MAX][SECTOR];

static void start(uint16_t size)
{
	if (!vdev_find(&disk.dev, VIRTIO_ID_BLOCK) || !vdev_negotiate(&disk.dev, FEATURES))
		give_up("rings", "no virtio-blk device that takes the features");
	check_equal(disk.dev.features & FEATURES, FEATURES, "features");
	check_equal(disk.dev.features & F_RING_PACKED,
		    option_is("ring", "packed") ? F_RING_PACKED : 0, "ring-format");
	disk.queue_count = 2;
	vdev_config_vector(&disk.dev, NO_VECTOR);
	for (uint16_t i = 0; i < 2; i++)
		if (!vqueue_enable_sized(&disk.queues[i], &disk.dev, i, size))
			give_up("rings", "queue %u of size %u was refused", i, size);
	if (!vdev_driver_ok(&disk.dev))
		give_up("rings", "status 0x%x after DRIVER_OK", vdev_status(&disk.dev));
}

static void submit(unsigned queue, unsigned n, unsigned flags)
{
	disk_submit(&disk, queue, &requests[n], VIRTIO_BLK_T_IN, n, buffers[n], SECTOR, flags);
}

/* The next one that is back is one of the first n, and complete. */
static bool take_one(unsigned queue, unsigned n, uint64_t *seen)
{
	uint32_t head, written;

	if (!vqueue_wait(&disk.queues[queue], &head, &written) || written != SECTOR + 1)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (requests[i].head != head || *seen >> i & 1)
			continue;
		*seen |= 1ull << i;
		return *(volatile uint8_t *)&requests[i].status == VIRTIO_BLK_S_OK;
	}
	return false;
}

/* As many as fit, with one doorbell; every third is indirect. Until all laps are done. */
static void check_laps(unsigned queue, uint16_t size)
{
	unsigned burst = size / 3u < IN_RING ? size / 3u : IN_RING, done = 0;

	while (done < REQUESTS) {
		uint64_t seen = 0;
		unsigned n;

		for (n = 0; n < burst; n++)
			submit(queue, n, n % 3 == 2 ? DISK_INDIRECT : 0);
		vqueue_kick(&disk.queues[queue]);
		for (n = 0; n < burst && take_one(queue, burst, &seen); n++)
			;
		if (n < burst)
			give_up("laps", "request %u of size %u did not come back", done + n, size);
		done += burst;
	}
	check(true, "laps", "-");
}

/* A doorbell only where the device wants one: it must not wait for one that it did not ask for. */
static void check_doorbells(void)
{
	unsigned rung = 0;

	for (unsigned i = 0; i < REQUESTS; i++) {
		uint64_t seen = 0;

		submit(0, 0, DISK_INDIRECT);
		if (vqueue_wants_kick(&disk.queues[0])) {
			vqueue_kick(&disk.queues[0]);
			rung++;
		}
		if (!take_one(0, 1, &seen))
			give_up("doorbells", "request %u got lost after %u doorbells", i, rung);
	}
	print("# %u doorbells for %u requests\n", rung, REQUESTS);
	check(true, "doorbells", "-");
}

static volatile unsigned seen_interrupts;

static void on_interrupt(void)
{
	if (vdev_isr(&disk.dev))
		seen_interrupts = seen_interrupts + 1;
}

/* Requests one by one: the interrupt comes with the one that was named, and with no other. */
static void check_interrupts(void)
{
	unsigned gsi =
		disk.dev.window ? MMIO_FIRST_GSI : config_read8(disk.dev.devfn, PCI_INTERRUPT_LINE);

	if (!disk.dev.window)
		pci_command(disk.dev.devfn, 0, PCI_COMMAND_INTX_DISABLE);
	interrupt_handlers[VECTOR] = on_interrupt;
	vdev_isr(&disk.dev);
	seen_interrupts = 0;
	ioapic_route(gsi, VECTOR, true);
	for (unsigned round = 1; round <= 50; round++) {
		unsigned wanted = round % 4;

		vqueue_interrupt_after(&disk.queues[0], wanted);
		for (unsigned i = 0; i <= wanted; i++) {
			uint64_t seen = 0;

			submit(0, 0, DISK_INDIRECT);
			vqueue_kick(&disk.queues[0]);
			if (!take_one(0, 1, &seen))
				give_up("interrupts", "request %u of round %u got lost", i, round);
		}
		if (!wait_until(seen_interrupts >= round) || seen_interrupts != round)
			give_up("interrupts", "%u in round %u", seen_interrupts, round);
	}
	ioapic_mask(gsi);
	check(true, "interrupts", "-");
}

static void check_queue_reset(void)
{
	const uint16_t sizes[] = {8, QUEUE_MAX};
	uint64_t seen;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* With a request in flight: it comes back, or not, but before the queue is off. */
		submit(0, 0, 0);
		vqueue_kick(&disk.queues[0]);
		check(vdev_reset_queue(&disk.dev, 0), "queue-reset", "it never ends");
		memset(buffers, 0x5a, sizeof(buffers));
		seen = 1; /* not the one of the other queue */
		submit(1, 1, 0);
		vqueue_kick(&disk.queues[1]);
		check(take_one(1, 2, &seen), "other-queue", "it stopped as well");
		check_equal(buffers[0][0], 0x5a, "queue-reset-quiet");
		if (!vqueue_enable_sized(&disk.queues[0], &disk.dev, 0, sizes[i]))
			give_up("queue-enable", "size %u was refused after the reset", sizes[i]);
		check_laps(0, sizes[i]);
	}
}

void guest_main(void)
{
	const bool packed = option_is("ring", "packed");
	const uint16_t sizes[] = {packed ? 13 : 16, packed ? 3 : 4, QUEUE_MAX};

	irq_init();
	irq_enable();
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		start(sizes[i]);
		check_laps(0, sizes[i]);
		check_laps(1, sizes[i]);
		check_doorbells();
	}
	check_interrupts();
	check_queue_reset();
}
