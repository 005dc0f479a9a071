/* SPDX-License-Identifier: MIT */
/*
 * Interrupts of a virtio-blk device: MSI-X delivery, vector mask, function mask and pending bits
 * (PCI Local Bus 3.0, 6.8.2), then INTx through the IOAPIC with MSI-X off. `intx=GSI` overrides
 * the interrupt line register.
 */
#include "lib/blk.h"

#define VECTOR_CONFIG 0x40
#define VECTOR_QUEUE  0x41 /* and one more for each queue */
#define VECTOR_INTX   0x50

static struct disk disk;
static struct msix msix;
static uint8_t data[SECTOR];

/* One read on a queue; true when it has come back. */
static bool request(unsigned queue)
{
	static struct disk_request r;
	uint32_t head, written;

	disk_submit(&disk, queue, &r, VIRTIO_BLK_T_IN, 0, data, SECTOR, 0);
	vqueue_kick(&disk.queues[queue]);
	return vqueue_wait(&disk.queues[queue], &head, &written);
}

static unsigned count(unsigned queue)
{
	return interrupts[VECTOR_QUEUE + queue];
}

static void check_delivery(void)
{
	for (unsigned q = 0; q < disk.queue_count; q++) {
		unsigned before = count(q);

		check(request(q), "request", "queue %u did not complete", q);
		check(wait_until(count(q) == before + 1), "msix-delivery",
		      "%u interrupts of queue %u", count(q) - before, q);
	}
	check_equal(interrupts[VECTOR_CONFIG], 0, "msix-no-config-interrupt");
}

/* mask and unmask: what is masked becomes pending, and arrives once when unmasked. */
static void check_masked(const char *what, void (*mask)(bool))
{
	unsigned before = count(0);

	print("# %s\n", what);
	mask(true);
	check(request(0), "request", "did not complete while masked");
	check(wait_until(msix_pending(&msix, 1)), "msix-pending-set", "the bit never was set");
	check(count(0) == before, "msix-masked", "%u interrupts came", count(0) - before);
	mask(false);
	check(wait_until(count(0) != before), "msix-unmask-delivers", "nothing came");
	check(!msix_pending(&msix, 1), "msix-pending-clear", "the bit is still set");
	check(request(0) && wait_until(count(0) == before + 2), "msix-goes-on", "%u interrupts",
	      count(0) - before);
}

static void mask_vector(bool masked)
{
	msix_mask(&msix, 1, masked);
}

static void mask_function(bool masked)
{
	msix_control(&msix, true, masked);
}

static void check_table(void)
{
	check(msix.vectors >= disk.queue_count + 1, "msix-vectors", "%u", msix.vectors);
	check_equal(read32(msix.table + PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA), VECTOR_QUEUE,
		    "msix-data-reads-back");
	/* A vector can be changed while it is in use. */
	msix_set(&msix, 1, VECTOR_QUEUE + 5, false);
	check(request(0) && wait_until(count(5) == 1), "msix-retarget", "%u interrupts", count(5));
	msix_set(&msix, 1, VECTOR_QUEUE, false);
}

/* Reading the interrupt status lowers the line (virtio 1.2, 4.1.4.5). */
static volatile uint8_t isr_seen;

/* A line that is still up after the end of interrupt raises another, which finds nothing. */
static volatile unsigned spurious;

static void on_intx(void)
{
	uint8_t isr = vdev_isr(&disk.dev);

	isr_seen |= isr;
	spurious += !isr;
}

static unsigned intx_count(void)
{
	return interrupts[VECTOR_INTX] - spurious;
}

static void check_intx(void)
{
	unsigned line = config_read8(disk.dev.devfn, PCI_INTERRUPT_LINE);
	unsigned gsi = (unsigned)option_number("intx", line);

	print("# INTx, GSI %u\n", gsi);
	check_equal(config_read8(disk.dev.devfn, PCI_INTERRUPT_PIN), 1, "intx-pin");
	msix_control(&msix, false, false);
	pci_command(disk.dev.devfn, 0, PCI_COMMAND_INTX_DISABLE);
	disk_start(&disk, 0, false);
	interrupt_handlers[VECTOR_INTX] = on_intx;
	ioapic_route(gsi, VECTOR_INTX, true);
	check(request(0) && wait_until(intx_count() == 1), "intx-delivery", "%u interrupts",
	      intx_count());
	check_equal(isr_seen, 1, "intx-isr");
	check(request(0) && wait_until(intx_count() == 2), "intx-again", "%u interrupts",
	      intx_count());

	pci_command(disk.dev.devfn, PCI_COMMAND_INTX_DISABLE, 0);
	check(request(0), "request", "did not complete with INTx disabled");
	check(wait_until(config_read16(disk.dev.devfn, PCI_STATUS) & PCI_STATUS_INTERRUPT),
	      "intx-status", "the status bit never was set");
	check_equal(intx_count(), 2, "intx-disabled");
	pci_command(disk.dev.devfn, 0, PCI_COMMAND_INTX_DISABLE);
	check(wait_until(intx_count() == 3), "intx-enable-delivers", "%u interrupts", intx_count());
	ioapic_mask(gsi);
}

void guest_main(void)
{
	irq_init();
	irq_enable();
	if (!vdev_find(&disk.dev, VIRTIO_ID_BLOCK) || !msix_find(disk.dev.devfn, &msix))
		give_up("msix", "no virtio-blk device with MSI-X");
	msix_set(&msix, 0, VECTOR_CONFIG, false);
	for (unsigned i = 1; i < msix.vectors && i <= ARRAY_SIZE(disk.queues); i++)
		msix_set(&msix, i, (uint8_t)(VECTOR_QUEUE + i - 1), false);
	msix_control(&msix, true, false);
	disk_start(&disk, 0, true);
	check_delivery();
	check_masked("vector mask", mask_vector);
	check_masked("function mask", mask_function);
	check_table();
	check_intx();
}
