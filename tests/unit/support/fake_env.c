/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/fake_env.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/unix_peer.h"
#include "virtio/virtio.h"

/* Interrupt lines. */

static void fake_irq_set(struct irq_line *line, bool level)
{
	struct fake_irq *irq = container_of(line, struct fake_irq, line);

	irq->sets++;
	if (level && !irq->level)
		irq->rises++;
	irq->level = level;
}

static struct irq_line *fake_isa_irq(const struct device_env *env, unsigned irq)
{
	struct fake_env *fake = env->opaque;

	return irq < FAKE_ISA_IRQS ? &fake->irq[irq].line : NULL;
}

static struct irq_line *fake_intx(void *opaque, unsigned slot, unsigned pin)
{
	struct fake_env *fake = opaque;

	return &fake->intx[(slot + pin - 1) % FAKE_INTX_LINES].line;
}

static unsigned fake_intx_gsi(void *opaque, unsigned slot, unsigned pin)
{
	(void)opaque;
	return FAKE_INTX_GSI + (slot + pin - 1) % FAKE_INTX_LINES;
}

/* Messages. */

struct fake_vector {
	struct msi_vector vector;
	struct fake_msi *msi;
	bool is_set;
	struct fake_msi_message message;
};

static int fake_vector_set(struct msi_vector *vector, uint64_t address, uint32_t data)
{
	struct fake_vector *v = container_of(vector, struct fake_vector, vector);
	int rc;

	pthread_mutex_lock(&v->msi->lock);
	rc = v->msi->set_error;
	if (rc == 0) {
		v->message = (struct fake_msi_message){address, data};
		v->is_set = true;
		v->msi->sets++;
	}
	pthread_mutex_unlock(&v->msi->lock);
	return rc;
}

static void fake_vector_signal(struct msi_vector *vector)
{
	struct fake_vector *v = container_of(vector, struct fake_vector, vector);
	struct fake_msi *msi = v->msi;

	pthread_mutex_lock(&msi->lock);
	if (v->is_set) {
		if (msi->signals < FAKE_MSI_LOG)
			msi->messages[msi->signals] = v->message;
		msi->signals++;
	}
	pthread_mutex_unlock(&msi->lock);
}

static void fake_vector_release(struct msi_vector *vector)
{
	struct fake_vector *v = container_of(vector, struct fake_vector, vector);

	pthread_mutex_lock(&v->msi->lock);
	v->msi->live--;
	pthread_mutex_unlock(&v->msi->lock);
	free(v);
}

static const struct msi_vector_ops fake_vector_ops = {
	.set = fake_vector_set,
	.signal = fake_vector_signal,
	.release = fake_vector_release,
};

static struct msi_vector *fake_msi_create(struct msi_sink *sink)
{
	struct fake_msi *msi = container_of(sink, struct fake_msi, sink);
	struct fake_vector *v = NULL;

	pthread_mutex_lock(&msi->lock);
	if (msi->live < msi->limit)
		v = calloc(1, sizeof(*v));
	if (v) {
		v->vector.ops = &fake_vector_ops;
		v->vector.refs = 1;
		v->msi = msi;
		msi->live++;
		msi->created++;
	}
	pthread_mutex_unlock(&msi->lock);
	return v ? &v->vector : NULL;
}

unsigned fake_msi_count(struct fake_env *fake, uint32_t data)
{
	struct fake_msi *msi = &fake->msi;
	unsigned n = 0;

	pthread_mutex_lock(&msi->lock);
	for (unsigned i = 0; i < msi->signals && i < FAKE_MSI_LOG; i++)
		n += msi->messages[i].data == data;
	pthread_mutex_unlock(&msi->lock);
	return n;
}

/* Local APICs. */

static void fake_apic_send(struct apic_sink *sink, const struct apic_message *message)
{
	struct fake_apic *apic = container_of(sink, struct fake_apic, sink);

	if (apic->sent < FAKE_MSI_LOG)
		apic->messages[apic->sent] = *message;
	apic->sent++;
}

static void fake_apic_watch(struct apic_sink *sink, unsigned pin,
			    const struct apic_message *message)
{
	struct fake_apic *apic = container_of(sink, struct fake_apic, sink);

	cr_assert_lt(pin, FAKE_APIC_PINS);
	apic->watched[pin] = message ? *message : (struct apic_message){0};
}

/* Doorbells. */

static int fake_doorbell_attach(struct doorbell_sink *sink, const struct doorbell *doorbell)
{
	struct fake_doorbells *d = container_of(sink, struct fake_doorbells, sink);

	if (d->attach_error)
		return d->attach_error;
	if (d->count == FAKE_DOORBELLS)
		return -ENOSPC;
	cr_assert(!doorbell->match || doorbell->size, "a value without a width");
	d->attached[d->count++] = *doorbell;
	return 0;
}

static bool same_doorbell(const struct doorbell *a, const struct doorbell *b)
{
	return a->addr == b->addr && a->size == b->size && a->match == b->match &&
	       a->value == b->value && a->fd == b->fd;
}

static void fake_doorbell_detach(struct doorbell_sink *sink, const struct doorbell *doorbell)
{
	struct fake_doorbells *d = container_of(sink, struct fake_doorbells, sink);

	for (unsigned i = 0; i < d->count; i++) {
		if (same_doorbell(&d->attached[i], doorbell)) {
			d->attached[i] = d->attached[--d->count];
			return;
		}
	}
	cr_assert_fail("a doorbell that is not attached was detached");
}

bool fake_doorbell_write(struct fake_env *fake, uint64_t addr, unsigned size, uint64_t value)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < fake->doorbells.count; i++) {
		const struct doorbell *d = &fake->doorbells.attached[i];

		if (d->addr != addr || (d->size && d->size != size) ||
		    (d->match && d->value != value))
			continue;
		cr_assert_eq(write(d->fd, &one, sizeof(one)), 8);
		return true;
	}
	return false;
}

bool fake_doorbell_ring(struct fake_env *fake, uint64_t addr)
{
	return fake_doorbell_write(fake, addr, 2, 0);
}

/* Events and log lines. */

static void fake_event(const struct device_env *env, enum machine_event event, uint32_t value)
{
	struct fake_env *fake = env->opaque;

	fake->last_event = event;
	fake->last_value = value;
	fake->event_count[event]++;
	fake->events++;
}

static void fake_notice(const struct device *dev, enum device_notice notice, uint64_t value,
			const char *text)
{
	struct fake_env *fake = dev->env->opaque;

	if (notice == DEVICE_NOTICE_PORT)
		fake->last_port_name = text;
	fake->last_notice = notice;
	fake->last_notice_value = value;
	fake->notices++;
}

static void fake_log(void *opaque, enum vmm_log_level level, const char *source, const char *line)
{
	struct fake_env *fake = opaque;

	(void)level;
	snprintf(fake->last_log, sizeof(fake->last_log), "%s: %s", source ? source : "", line);
	fake->log_lines++;
}

/* Devices. */

static struct device *fake_find(const struct device_env *env, const char *id,
				const struct device_class *cls)
{
	struct fake_env *fake = env->opaque;

	for (unsigned i = 0; i < fake->device_count; i++) {
		struct device *dev = fake->devices[i];

		if (id ? !strcmp(dev->id, id) : dev->cls == cls)
			return dev->cls == cls ? dev : NULL;
	}
	return NULL;
}

static void remember(struct fake_env *fake, struct device *dev)
{
	fake->devices = reallocarray(fake->devices, fake->device_count + 1, sizeof(*fake->devices));
	cr_assert(fake->devices);
	fake->devices[fake->device_count++] = dev;
}

static void forget(struct fake_env *fake, const struct device *dev)
{
	for (unsigned i = 0; i < fake->device_count; i++) {
		if (fake->devices[i] != dev)
			continue;
		fake->device_count--;
		memmove(&fake->devices[i], &fake->devices[i + 1],
			(fake->device_count - i) * sizeof(*fake->devices));
		return;
	}
}

/* Life. */

static void init_sinks(struct fake_env *fake)
{
	for (unsigned i = 0; i < FAKE_ISA_IRQS; i++)
		fake->irq[i].line.set = fake_irq_set;
	for (unsigned i = 0; i < FAKE_INTX_LINES; i++)
		fake->intx[i].line.set = fake_irq_set;
	fake->msi.sink.create = fake_msi_create;
	fake->msi.limit = UINT32_MAX;
	pthread_mutex_init(&fake->msi.lock, NULL);
	fake->apic.sink.send = fake_apic_send;
	fake->apic.sink.watch = fake_apic_watch;
	fake->doorbells.sink.attach = fake_doorbell_attach;
	fake->doorbells.sink.detach = fake_doorbell_detach;
}

static void init_pci(struct fake_env *fake)
{
	const struct pci_bus_config config = {
		.pio = fake->env.pio,
		.mmio = fake->env.mmio,
		.ecam = {FAKE_ECAM, FAKE_ECAM_SIZE},
		.mem32 = {FAKE_MEM32, FAKE_MEM32_SIZE},
		.mem64 = {FAKE_MEM64, FAKE_MEM64_SIZE},
		.io = {FAKE_IO, FAKE_IO_SIZE},
		.intx = fake_intx,
		.intx_gsi = fake_intx_gsi,
		.opaque = fake,
		.log = &fake->log,
	};
	struct vmm_error err = {0};

	cr_assert_eq(pci_bus_create(&fake->env.pci, &config, &err), 0, "%s", err.message);
}

void fake_env_init(struct fake_env *fake, uint64_t ram_bytes)
{
	struct device_env *env = &fake->env;
	struct vmm_error err = {0};

	memset(fake, 0, sizeof(*fake));
	init_sinks(fake);
	clock_fake_init(&fake->clock);
	fake->clock.monotonic_ns = 1000 * NS_PER_SEC;
	fake->clock.realtime_ns = INT64_C(1704164645) * (int64_t)NS_PER_SEC;
	fake->log = (struct log){fake_log, fake, VMM_LOG_DEBUG, &fake->clock.clock};

	env->log = &fake->log;
	env->clock = &fake->clock.clock;
	env->msi = &fake->msi.sink;
	env->apic = &fake->apic.sink;
	env->doorbells = &fake->doorbells.sink;
	env->isa_irq = fake_isa_irq;
	env->event = fake_event;
	env->notice = fake_notice;
	env->find = fake_find;
	env->opaque = fake;
	cr_assert_eq(guest_memory_create(&env->memory, &err), 0, "%s", err.message);
	if (ram_bytes)
		cr_assert_eq(guest_memory_add(env->memory, gpa(0), ram_bytes, 0, &err), 0, "%s",
			     err.message);
	cr_assert_eq(loop_create(&env->loop, "test", env->clock, &err), 0, "%s", err.message);
	cr_assert_eq(bus_create(&env->pio, "pio", 0x10000, &err), 0, "%s", err.message);
	cr_assert_eq(bus_create(&env->mmio, "mmio", UINT64_C(1) << 46, &err), 0, "%s", err.message);
	init_pci(fake);
}

void fake_env_fini(struct fake_env *fake)
{
	pci_bus_destroy(fake->env.pci);
	bus_destroy(fake->env.mmio);
	bus_destroy(fake->env.pio);
	loop_destroy(fake->env.loop);
	guest_memory_destroy(fake->env.memory);
	cr_expect_eq(fake->msi.live, 0u, "%u MSI vectors leaked", fake->msi.live);
	cr_expect_eq(fake->doorbells.count, 0u, "%u doorbells leaked", fake->doorbells.count);
	pthread_mutex_destroy(&fake->msi.lock);
	free(fake->devices);
}

void fake_env_settle(struct fake_env *fake)
{
	for (unsigned turns = 0; loop_turn(fake->env.loop, false) != 0; turns++)
		cr_assert(turns < 1000, "the loop never comes to rest");
}

int fake_env_connect(struct fake_env *fake, const char *path)
{
	const int fd = unix_connect(path);

	fake_env_settle(fake);
	return fd;
}

void fake_env_advance(struct fake_env *fake, uint64_t ns)
{
	clock_fake_advance(&fake->clock, ns);
	fake_env_settle(fake);
}

struct device *fake_env_device_id(struct fake_env *fake, const struct device_class *cls,
				  const char *id, const char *options)
{
	struct vmm_error err = {0};
	struct device *dev = NULL;

	cr_assert_eq(device_create(&dev, cls, id, options, &fake->env, &err), 0, "%s", err.message);
	remember(fake, dev);
	return dev;
}

struct device *fake_env_device(struct fake_env *fake, const struct device_class *cls,
			       const char *options)
{
	return fake_env_device_id(fake, cls, NULL, options);
}

void fake_env_remove(struct device *dev)
{
	forget(dev->env->opaque, dev);
	device_quiesce_wait(dev);
	device_destroy(dev);
}

/* Accesses. */

uint32_t fake_in(struct fake_env *fake, unsigned port, unsigned size)
{
	uint64_t v = 0;

	bus_read(fake->env.pio, port, size, &v);
	return (uint32_t)v;
}

void fake_out(struct fake_env *fake, unsigned port, unsigned size, uint32_t value)
{
	bus_write(fake->env.pio, port, value, size);
}

uint64_t fake_mmio_read(struct fake_env *fake, uint64_t addr, unsigned size)
{
	uint64_t v = 0;

	bus_read(fake->env.mmio, addr, size, &v);
	return v;
}

void fake_mmio_write(struct fake_env *fake, uint64_t addr, unsigned size, uint64_t value)
{
	bus_write(fake->env.mmio, addr, value, size);
}

/* State. */

size_t fake_env_save(struct device *dev, void **data)
{
	struct state_writer *w = state_writer_create();
	size_t len = 0;

	device_quiesce_wait(dev);
	device_save(dev, w);
	cr_assert_eq(state_writer_finish(w, data, &len), 0);
	return len;
}

int fake_env_load(struct device *dev, const void *data, size_t len)
{
	struct state_reader *r = NULL;
	struct vmm_error err = {0};
	int rc;

	cr_assert_eq(state_reader_create(&r, data, len), 0);
	device_quiesce_wait(dev);
	rc = device_load(dev, r, &err);
	state_reader_destroy(r);
	if (!rc && dev->cls->kind == DEVICE_VIRTIO)
		virtio_resume(virtio_device(dev));
	return rc;
}
