/* SPDX-License-Identifier: MIT */
/*
 * Surroundings for a device under test: real memory, loop, buses and PCI root; a clock that moves
 * by hand; interrupts, messages, doorbells, machine events and log lines that are only counted.
 *
 * No thread runs the loop: tests turn it with loop_turn or fake_env_settle.
 */
#ifndef SUPPORT_FAKE_ENV_H
#define SUPPORT_FAKE_ENV_H

#include <pthread.h>

#include "core/device.h"
#include "mmio/bus.h"
#include "pci/pci.h"

#define FAKE_ISA_IRQS       16
#define FAKE_INTX_LINES     8
#define FAKE_INTX_GSI       16
#define FAKE_MSI_LOG        256
#define FAKE_APIC_PINS      24
#define FAKE_DOORBELLS      64
#define FAKE_MACHINE_EVENTS (MACHINE_EVENT_QUIT + 1)

/* Where things are; the same shape as a real machine. */
#define FAKE_ECAM       UINT64_C(0xe0000000)
#define FAKE_ECAM_SIZE  UINT64_C(0x100000)
#define FAKE_MEM32      UINT64_C(0xc0000000)
#define FAKE_MEM32_SIZE UINT64_C(0x20000000)
#define FAKE_MEM64      UINT64_C(0x100000000)
#define FAKE_MEM64_SIZE UINT64_C(0x400000000)
#define FAKE_IO         UINT64_C(0xc000)
#define FAKE_IO_SIZE    UINT64_C(0x2000)

struct fake_irq {
	struct irq_line line;
	_Atomic bool level;
	_Atomic unsigned sets;  /* calls of set */
	_Atomic unsigned rises; /* low to high */
};

/* A message that was sent. */
struct fake_msi_message {
	uint64_t address;
	uint32_t data;
};

/* A sink of MSI messages. Guarded by `lock`; tests on one thread may read it directly. */
struct fake_msi {
	struct msi_sink sink;
	pthread_mutex_t lock;
	unsigned limit;           /* vectors that may live at once; default: no limit */
	int set_error;            /* what msi_vector_ops.set returns; default 0 */
	unsigned live;            /* vectors that exist */
	unsigned created;         /* ever */
	unsigned sets;            /* calls of set that succeeded */
	_Atomic unsigned signals; /* messages sent; the first FAKE_MSI_LOG are in `messages` */
	struct fake_msi_message messages[FAKE_MSI_LOG];
};

/* Local APICs: what was sent to them, and of which messages they report the end. */
struct fake_apic {
	struct apic_sink sink;
	unsigned sent; /* the first FAKE_MSI_LOG are in `messages` */
	struct apic_message messages[FAKE_MSI_LOG];
	struct apic_message watched[FAKE_APIC_PINS]; /* address 0: none */
};

struct fake_doorbells {
	struct doorbell_sink sink;
	int attach_error; /* what attach returns; default 0 */
	unsigned count;
	struct doorbell attached[FAKE_DOORBELLS];
};

struct fake_env {
	struct device_env env;
	struct clock_fake clock;
	struct log log;

	struct fake_irq irq[FAKE_ISA_IRQS];
	struct fake_irq intx[FAKE_INTX_LINES];
	struct fake_msi msi;
	struct fake_apic apic;
	struct fake_doorbells doorbells;

	_Atomic unsigned events; /* all machine events */
	_Atomic unsigned event_count[FAKE_MACHINE_EVENTS];
	enum machine_event last_event;
	uint32_t last_value;

	_Atomic unsigned notices; /* of devices */
	_Atomic enum device_notice last_notice;
	_Atomic uint64_t last_notice_value;
	_Atomic(const char *) last_port_name; /* of DEVICE_NOTICE_PORT; the port's */

	struct device **devices; /* for env->find; see fake_env_device */
	unsigned device_count;

	_Atomic unsigned log_lines;
	char last_log[1024]; /* "source: line" */
};

/*
 * Build it. ram_bytes: RAM at guest address 0, a multiple of 4 KiB, at most 3 GiB; 0: none. Fails
 * the test on any error. The monotonic clock starts at 1000 s, the real-time one at 2024-01-02
 * 03:04:05 UTC.
 */
void fake_env_init(struct fake_env *fake, uint64_t ram_bytes);

/* Devices and functions must be gone. Fails the test if MSI vectors or doorbells were leaked. */
void fake_env_fini(struct fake_env *fake);

/* Turn the loop until nothing is left to do (at most 1000 turns, then the test fails). */
void fake_env_settle(struct fake_env *fake);

/* Connect to the Unix stream socket at this path and settle; the descriptor is the caller's. */
int fake_env_connect(struct fake_env *fake, const char *path);

/* Move the clock and settle. */
void fake_env_advance(struct fake_env *fake, uint64_t ns);

/*
 * Create a device in it, or fail the test with the sentence. id NULL: the class's name. Children
 * find it until fake_env_remove; where there are none it may as well be destroyed by itself.
 */
struct device *fake_env_device(struct fake_env *fake, const struct device_class *cls,
			       const char *options);
struct device *fake_env_device_id(struct fake_env *fake, const struct device_class *cls,
				  const char *id, const char *options);
/* Quiesce and destroy. */
void fake_env_remove(struct device *dev);

/* How often a message with this data was sent. */
unsigned fake_msi_count(struct fake_env *fake, uint32_t data);

/* As the guest's write to a doorbell: signal what is attached there. False: nothing is. */
bool fake_doorbell_write(struct fake_env *fake, uint64_t addr, unsigned size, uint64_t value);
/* The same, of a width and value that any doorbell takes that asks for none. */
bool fake_doorbell_ring(struct fake_env *fake, uint64_t addr);

/* Accesses as a vCPU makes them; unclaimed reads give all ones. */
uint32_t fake_in(struct fake_env *fake, unsigned port, unsigned size);
void fake_out(struct fake_env *fake, unsigned port, unsigned size, uint32_t value);
uint64_t fake_mmio_read(struct fake_env *fake, uint64_t addr, unsigned size);
void fake_mmio_write(struct fake_env *fake, uint64_t addr, unsigned size, uint64_t value);

/* Save a device as a section of its own; *data is malloc'ed. */
size_t fake_env_save(struct device *dev, void **data);
/* Load such a section and go on. Returns what device_load does. */
int fake_env_load(struct device *dev, const void *data, size_t len);

#endif
