/* SPDX-License-Identifier: MIT */
/*
 * Interrupts into the guest and doorbells out of it: lines by KVM_IRQ_LINE (or messages of our own
 * IOAPIC by KVM_SIGNAL_MSI), MSI by irqfd over a routing table, doorbells by ioeventfd.
 *
 * A vector gets its GSI and eventfd when its message is first set, so that a device with 64 vectors
 * of which the guest uses two costs two.
 */
#include "vmm/kvm_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct msi_irqfd {
	struct msi_vector vector;
	struct kvm_vm *vm;
	_Atomic int fd; /* eventfd; -1: never set */
	uint32_t gsi;
};

/* ---- lines ---- */

static void line_set(struct irq_line *line, bool level)
{
	struct kvm_line *l = container_of(line, struct kvm_line, line);
	struct kvm_irq_level irq = {.irq = l->gsi, .level = level};

	if (atomic_exchange(&l->level, level) == level)
		return;
	if (ioctl(l->vm->vm_fd, KVM_IRQ_LINE, &irq) < 0)
		log_error(l->vm->log, "kvm", "cannot set interrupt line %u: errno %d", l->gsi,
			  errno);
}

struct irq_line *kvm_irq_line(struct kvm_vm *vm, unsigned gsi)
{
	return gsi < X86_IOAPIC_PINS ? &vm->lines[gsi].line : NULL;
}

/* ---- the routing table; routes_lock held ---- */

static struct kvm_irq_routing_entry *route_find(struct kvm_vm *vm, uint32_t gsi)
{
	for (uint32_t i = 0; i < vm->routes->nr; i++)
		if (vm->routes->entries[i].gsi == gsi &&
		    vm->routes->entries[i].type == KVM_IRQ_ROUTING_MSI)
			return &vm->routes->entries[i];
	return NULL;
}

static void route_drop(struct kvm_vm *vm, uint32_t gsi)
{
	struct kvm_irq_routing_entry *e = route_find(vm, gsi);

	if (e)
		*e = vm->routes->entries[--vm->routes->nr];
}

static int routes_commit(struct kvm_vm *vm)
{
	return ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, vm->routes) < 0 ? -errno : 0;
}

static void route_add_pin(struct kvm_vm *vm, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	vm->routes->entries[vm->routes->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

static int gsi_alloc(struct kvm_vm *vm, uint32_t *gsi)
{
	for (uint32_t i = X86_IOAPIC_PINS; i < KVM_MAX_GSI; i++) {
		if (vm->gsi_used[i / 64] & (UINT64_C(1) << (i % 64)))
			continue;
		vm->gsi_used[i / 64] |= UINT64_C(1) << (i % 64);
		*gsi = i;
		return 0;
	}
	return -ENOSPC;
}

static void gsi_free(struct kvm_vm *vm, uint32_t gsi)
{
	vm->gsi_used[gsi / 64] &= ~(UINT64_C(1) << (gsi % 64));
}

static void route_set_msi(struct kvm_irq_routing_entry *e, uint32_t gsi, uint64_t address,
			  uint32_t data)
{
	*e = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = (uint32_t)address,
			  .address_hi = (uint32_t)(address >> 32),
			  .data = data},
	};
}

/* ---- vectors ---- */

/* First message of a vector: a GSI, a route and an irqfd of its own. */
static int msi_attach(struct msi_irqfd *msi, uint64_t address, uint32_t data)
{
	struct kvm_vm *vm = msi->vm;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ret;

	if (fd < 0)
		return -errno;
	ret = gsi_alloc(vm, &msi->gsi);
	if (ret < 0)
		goto close_fd;
	route_set_msi(&vm->routes->entries[vm->routes->nr++], msi->gsi, address, data);
	ret = routes_commit(vm);
	if (ret < 0)
		goto drop_route;

	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = msi->gsi};

	if (ioctl(vm->vm_fd, KVM_IRQFD, &irqfd) < 0) {
		ret = -errno;
		goto drop_route;
	}
	atomic_store(&msi->fd, fd);
	return 0;

drop_route:
	vm->routes->nr--;
	gsi_free(vm, msi->gsi);
close_fd:
	close(fd);
	return ret;
}

static int msi_set(struct msi_vector *vector, uint64_t address, uint32_t data)
{
	struct msi_irqfd *msi = container_of(vector, struct msi_irqfd, vector);
	struct kvm_vm *vm = msi->vm;
	int ret;

	pthread_mutex_lock(&vm->routes_lock);
	if (atomic_load(&msi->fd) < 0) {
		ret = msi_attach(msi, address, data);
	} else {
		route_set_msi(route_find(vm, msi->gsi), msi->gsi, address, data);
		ret = routes_commit(vm);
	}
	pthread_mutex_unlock(&vm->routes_lock);
	return ret;
}

static void msi_signal(struct msi_vector *vector)
{
	struct msi_irqfd *msi = container_of(vector, struct msi_irqfd, vector);
	int fd = atomic_load(&msi->fd);

	/* EAGAIN: the counter is full, so the interrupt is pending anyway. */
	if (fd >= 0)
		(void)!eventfd_write(fd, 1);
}

static void msi_detach(struct msi_irqfd *msi, int fd)
{
	struct kvm_vm *vm = msi->vm;
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd, .gsi = msi->gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};

	pthread_mutex_lock(&vm->routes_lock);
	(void)ioctl(vm->vm_fd, KVM_IRQFD, &irqfd);
	/* The kernel keeps its copy until the next commit; without an irqfd nothing uses it. */
	route_drop(vm, msi->gsi);
	gsi_free(vm, msi->gsi);
	pthread_mutex_unlock(&vm->routes_lock);
}

static void msi_release(struct msi_vector *vector)
{
	struct msi_irqfd *msi = container_of(vector, struct msi_irqfd, vector);
	int fd = atomic_load(&msi->fd);

	if (fd >= 0) {
		msi_detach(msi, fd);
		close(fd);
	}
	free(msi);
}

static const struct msi_vector_ops msi_ops = {
	.set = msi_set, .signal = msi_signal, .release = msi_release};

static struct msi_vector *msi_create(struct msi_sink *sink)
{
	struct msi_irqfd *msi = calloc(1, sizeof(*msi));

	if (!msi)
		return NULL;
	msi->vector.ops = &msi_ops;
	atomic_init(&msi->vector.refs, 1);
	atomic_init(&msi->fd, -1);
	msi->vm = container_of(sink, struct kvm_vm, msi);
	return &msi->vector;
}

struct msi_sink *kvm_msi_sink(struct kvm_vm *vm)
{
	return &vm->msi;
}

/* ---- messages of our own IOAPIC ---- */

static void apic_send(struct apic_sink *apic, const struct apic_message *message)
{
	struct kvm_vm *vm = container_of(apic, struct kvm_vm, apic);
	struct kvm_msi msi = {.address_lo = (uint32_t)message->address,
			      .address_hi = (uint32_t)(message->address >> 32),
			      .data = message->data};

	/*
	 * 0: the guest blocked it, or addressed nobody. Where it has switched its local APICs off,
	 * "nobody" is an error (EPERM), so that it can have as many of these as it likes.
	 */
	if (ioctl(vm->vm_fd, KVM_SIGNAL_MSI, &msi) < 0)
		log_guest(vm->log, &vm->guest_log, "kvm",
			  "cannot send interrupt message %#x to %#llx: errno %d", msi.data,
			  (unsigned long long)message->address, errno);
}

/*
 * KVM tells of the EOI of a vector if one of the first X86_IOAPIC_PINS routes carries it with a
 * level trigger. Nothing is signalled through these routes.
 */
static void apic_watch(struct apic_sink *apic, unsigned pin, const struct apic_message *message)
{
	struct kvm_vm *vm = container_of(apic, struct kvm_vm, apic);
	struct kvm_irq_routing_entry *e;
	int ret = 0;

	pthread_mutex_lock(&vm->routes_lock);
	e = route_find(vm, pin);
	if (e || message) {
		if (!message)
			route_drop(vm, pin);
		else
			route_set_msi(e ? e : &vm->routes->entries[vm->routes->nr++], pin,
				      message->address, message->data);
		ret = routes_commit(vm);
	}
	pthread_mutex_unlock(&vm->routes_lock);
	if (ret < 0)
		log_error(vm->log, "kvm", "cannot watch interrupt pin %u: errno %d", pin, -ret);
}

struct apic_sink *kvm_apic_sink(struct kvm_vm *vm)
{
	return vm->full_irqchip ? NULL : &vm->apic;
}

/* ---- doorbells ---- */

static int doorbell_ioctl(struct doorbell_sink *sink, const struct doorbell *doorbell,
			  uint32_t flags)
{
	struct kvm_vm *vm = container_of(sink, struct kvm_vm, doorbells);
	struct kvm_ioeventfd ioeventfd = {
		.addr = doorbell->addr,
		.len = doorbell->size,
		.fd = doorbell->fd,
		.datamatch = doorbell->value,
		.flags = flags | (doorbell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u),
	};

	return ioctl(vm->vm_fd, KVM_IOEVENTFD, &ioeventfd) < 0 ? -errno : 0;
}

static int doorbell_attach(struct doorbell_sink *sink, const struct doorbell *doorbell)
{
	return doorbell_ioctl(sink, doorbell, 0);
}

static void doorbell_detach(struct doorbell_sink *sink, const struct doorbell *doorbell)
{
	(void)doorbell_ioctl(sink, doorbell, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

struct doorbell_sink *kvm_doorbell_sink(struct kvm_vm *vm)
{
	return &vm->doorbells;
}

/* ---- set-up ---- */

int kvm_irq_init(struct kvm_vm *vm, struct vmm_error *err)
{
	/* One entry for each MSI GSI, and two (PIC and IOAPIC) for some of the pins. */
	size_t entries = KVM_MAX_GSI + X86_IOAPIC_PINS;

	vm->routes =
		calloc(1, sizeof(*vm->routes) + entries * sizeof(struct kvm_irq_routing_entry));
	if (!vm->routes)
		return error_set(err, ENOMEM, "no memory for the interrupt routes");
	for (uint32_t i = 0; vm->full_irqchip && i < X86_IOAPIC_PINS; i++) {
		struct kvm_line *l = &vm->lines[i];

		l->line.set = line_set;
		l->vm = vm;
		l->gsi = i;
		if (i < 16)
			route_add_pin(vm, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				      i % 8);
		route_add_pin(vm, i, KVM_IRQCHIP_IOAPIC, i);
	}
	vm->msi.create = msi_create;
	vm->apic.send = apic_send;
	vm->apic.watch = apic_watch;
	vm->doorbells.attach = doorbell_attach;
	vm->doorbells.detach = doorbell_detach;

	/* KVM's own table at this point is the same: commit with the first MSI. */
	return 0;
}

void kvm_irq_fini(struct kvm_vm *vm)
{
	free(vm->routes);
	vm->routes = NULL;
}
