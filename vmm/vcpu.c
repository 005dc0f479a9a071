/* SPDX-License-Identifier: MIT */
/*
 * The vCPU thread and what it does with each reason for leaving the guest.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/thread.h"
#include "core/trace.h"
#include "vmm/kvm_internal.h"

#define RESET_CS_BASE   0xffff0000u /* of a processor at power-on */
#define RESET_RIP       0xfff0u
#define KICK_SIGNAL     SIGUSR1
#define MAX_INSTRUCTION 15
#define BYTES_TEXT_MAX  (MAX_INSTRUCTION * 3 + 32)

struct vcpu {
	struct kvm_vm *vm;
	struct vcpu_owner *owner;
	unsigned index;
	int fd;
	struct kvm_run *run;
	struct kvm_power_on *power_on;
	pthread_t thread;
	bool thread_started;
	_Atomic pid_t thread_id;

	_Atomic bool park; /* read without the lock on the way into the guest */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool parked, quit, has_run; /* guarded by lock */
	struct kvm_exits exits;
};

/* ---- telling a person what went wrong ---- */

/* The bytes at linear address rip, or why they cannot be shown. */
static void describe_bytes(struct vcpu *vcpu, uint64_t rip, char *text, size_t size)
{
	struct kvm_translation tr = {.linear_address = rip};
	uint8_t bytes[MAX_INSTRUCTION];
	size_t used = 0;

	if (ioctl(vcpu->fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid) {
		snprintf(text, size, "not mapped");
		return;
	}
	for (size_t i = 0; i < sizeof(bytes); i++) {
		if (guest_read(vcpu->vm->memory, gpa(tr.physical_address + i), &bytes[i], 1) < 0)
			break;
		used += (size_t)snprintf(text + used, size - used, "%s%02x", i ? " " : "",
					 bytes[i]);
	}
	if (used == 0)
		snprintf(text, size, "not in RAM, at physical %#llx", tr.physical_address);
}

/* "at RIP 0x… (cr0 …), where the bytes are …" */
static void describe_place(struct vcpu *vcpu, char *text, size_t size)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};
	char bytes[BYTES_TEXT_MAX];

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ||
	    ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0) {
		snprintf(text, size, "at an unknown place");
		return;
	}
	/* On AMD a shutdown leaves the state undefined, and KVM has reset it: this is no place. */
	if (regs.rip == RESET_RIP && sregs.cs.base == RESET_CS_BASE) {
		snprintf(text, size, "at a place that this CPU does not tell");
		return;
	}
	describe_bytes(vcpu, sregs.cs.base + regs.rip, bytes, sizeof(bytes));
	snprintf(text, size, "at RIP %#llx (cs %#x, cr0 %#llx, cr3 %#llx), bytes there: %s",
		 regs.rip, sregs.cs.selector, sregs.cr0, sregs.cr3, bytes);
}

static void vcpu_fail(struct vcpu *vcpu, const char *what, const char *meaning)
{
	struct vmm_error err = {0};
	char place[256];

	describe_place(vcpu, place, sizeof(place));
	error_set(&err, EIO, "vCPU %u: %s %s; %s", vcpu->index, what, place, meaning);
	vcpu->owner->fail(vcpu->owner, &err);
	vcpu_park(vcpu);
}

static const char *emulation_meaning(void)
{
	if (kvm_host_has_hardware_virtualization())
		return "KVM's instruction emulator does not know this instruction, or the guest "
		       "jumped into memory that is no RAM";
	return "this host's KVM has no hardware virtualization (no vmx or svm) and emulates "
	       "kernel code with an incomplete emulator: stock kernels need another host";
}

static void exit_internal_error(struct vcpu *vcpu)
{
	char what[96];

	switch (vcpu->run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		vcpu_fail(vcpu, "KVM cannot emulate the instruction", emulation_meaning());
		return;
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		vcpu_fail(vcpu, "KVM met a second exception while it delivered one",
			  "the guest's interrupt table or stack is broken");
		return;
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		vcpu_fail(vcpu, "KVM cannot deliver an event", "the guest's tables are broken");
		return;
	default:
		snprintf(what, sizeof(what), "KVM reports an internal error (suberror %u)",
			 vcpu->run->internal.suberror);
		vcpu_fail(vcpu, what,
			  "this is a fault of the host's KVM; its kernel log may "
			  "say more");
	}
}

static void exit_fail_entry(struct vcpu *vcpu)
{
	char what[128];

	snprintf(what, sizeof(what), "the CPU refuses to enter the guest (hardware reason %#llx)",
		 vcpu->run->fail_entry.hardware_entry_failure_reason);
	vcpu_fail(vcpu, what, "the guest's state is invalid for this CPU");
}

static void exit_triple_fault(struct vcpu *vcpu)
{
	struct vmm_error err = {0};
	char place[256];

	describe_place(vcpu, place, sizeof(place));
	error_set(&err, EIO,
		  "vCPU %u: the guest triple-faulted (an exception while its handlers do not work, "
		  "or a reboot by triple fault) %s",
		  vcpu->index, place);
	vcpu->owner->triple_fault(vcpu->owner, &err);
}

static void exit_unexpected(struct vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;
	const char *name = kvm_exit_name(reason);
	char what[128];

	if (reason == KVM_EXIT_UNKNOWN)
		snprintf(what, sizeof(what), "KVM left the guest for hardware reason %#llx",
			 vcpu->run->hw.hardware_exit_reason);
	else
		snprintf(what, sizeof(what), "KVM left the guest with KVM_EXIT_%s (%u)",
			 name ? name : "?", reason);
	vcpu_fail(vcpu, what, "vmm did not ask KVM for this; the host's kernel log may say more");
}

static void exit_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vcpu->owner->poweroff(vcpu->owner);
		return;
	case KVM_SYSTEM_EVENT_RESET:
		vcpu->owner->reset(vcpu->owner);
		return;
	default:
		vcpu_fail(vcpu, "the guest reported a crash through KVM",
			  "its kernel log may say why");
	}
}

/* ---- accesses ---- */

static void exit_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, size);
			trace_port_write(vcpu->index, run->io.port, size, value);
			bus_write(vcpu->owner->pio, run->io.port, value, size);
		} else {
			bus_read(vcpu->owner->pio, run->io.port, size, &value);
			trace_port_read(vcpu->index, run->io.port, size, value);
			memcpy(data, &value, size);
		}
	}
}

static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t value = 0;

	if (run->mmio.len > sizeof(value))
		return;
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, run->mmio.len);
		trace_mmio_write(vcpu->index, run->mmio.phys_addr, run->mmio.len, value);
		bus_write(vcpu->owner->mmio, run->mmio.phys_addr, value, run->mmio.len);
	} else {
		bus_read(vcpu->owner->mmio, run->mmio.phys_addr, run->mmio.len, &value);
		trace_mmio_read(vcpu->index, run->mmio.phys_addr, run->mmio.len, value);
		memcpy(run->mmio.data, &value, sizeof(value));
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(vcpu);
		break;
	case KVM_EXIT_IOAPIC_EOI:
		vcpu->owner->eoi(vcpu->owner, vcpu->run->eoi.vector);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		exit_triple_fault(vcpu);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		exit_system_event(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		exit_fail_entry(vcpu);
		break;
	default:
		exit_unexpected(vcpu);
		break;
	}
}

/* ---- the thread ---- */

static void run_failed(struct vcpu *vcpu, int error)
{
	char what[96];

	snprintf(what, sizeof(what), "KVM_RUN failed (%s)", strerrorname_np(error));
	vcpu_fail(
		vcpu, what,
		error == EFAULT || error == EHWPOISON
			? "the host could not provide guest memory: it is out of memory or of huge "
			  "pages"
			: "this is a fault of the host's KVM; its kernel log may say more");
}

/* The kick has done its work: take the signal off the queue so that the next KVM_RUN enters. */
static void consume_kick(void)
{
	const struct timespec none = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	while (sigtimedwait(&set, NULL, &none) > 0)
		;
}

/* True if the guest left for an access whose result it has not got yet. */
static bool handle_access_or_other(struct vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;

	trace_vcpu_exit(vcpu->index, reason);
	handle_exit(vcpu);
	return reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO;
}

/*
 * A port or memory access is complete, from the kernel's view, only at the next KVM_RUN. Before
 * registers are read or changed, enter without running the guest so that it is. One instruction can
 * make several accesses (16 bytes, a page crossed, a string): KVM_RUN then asks for the next.
 */
static void complete_access(struct vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	while (ioctl(vcpu->fd, KVM_RUN, 0) == 0 && handle_access_or_other(vcpu))
		;
	vcpu->run->immediate_exit = 0;
	consume_kick();
}

static void run_guest(struct vcpu *vcpu)
{
	bool pending = false; /* an access whose result the guest has not got yet */

	while (!atomic_load_explicit(&vcpu->park, memory_order_acquire)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			kvm_exits_count(&vcpu->exits, vcpu->run->exit_reason);
			pending = handle_access_or_other(vcpu);
			continue;
		}
		pending = false;
		if (errno == EINTR) {
			kvm_exits_count(&vcpu->exits, vcpu->run->exit_reason); /* KVM_EXIT_INTR */
			consume_kick();
		} else if (errno != EAGAIN) {
			run_failed(vcpu, errno);
			break;
		}
	}
	if (pending)
		complete_access(vcpu);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;

	vcpu->thread_id = gettid();
	pthread_mutex_lock(&vcpu->lock);
	while (!vcpu->quit) {
		if (atomic_load(&vcpu->park)) {
			vcpu->parked = true;
			pthread_cond_broadcast(&vcpu->changed);
			pthread_cond_wait(&vcpu->changed, &vcpu->lock);
			continue;
		}
		vcpu->parked = false;
		pthread_mutex_unlock(&vcpu->lock);
		run_guest(vcpu);
		pthread_mutex_lock(&vcpu->lock);
	}
	pthread_mutex_unlock(&vcpu->lock);
	return NULL;
}

void vcpu_park(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	if (!atomic_exchange(&vcpu->park, true) && vcpu->thread_started && !vcpu->parked)
		pthread_kill(vcpu->thread, KICK_SIGNAL);
	pthread_mutex_unlock(&vcpu->lock);
}

pid_t vcpu_thread_id(const struct vcpu *vcpu)
{
	return vcpu->thread_id;
}

void vcpu_report(const struct vcpu *vcpu, struct report *report)
{
	struct timespec time = {0};
	clockid_t clock;

	if (pthread_getcpuclockid(vcpu->thread, &clock) == 0)
		clock_gettime(clock, &time);
	report_u64(report, "time-ns", (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec);
	kvm_exits_report(&vcpu->exits, report);
}

void vcpu_wait_parked(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	while (!vcpu->parked)
		pthread_cond_wait(&vcpu->changed, &vcpu->lock);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_run(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	/* Tell a guest with kvmclock that it was held, so that its watchdogs keep quiet. */
	if (vcpu->has_run)
		(void)ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	vcpu->has_run = true;
	atomic_store(&vcpu->park, false);
	vcpu->parked = false;
	pthread_cond_broadcast(&vcpu->changed);
	pthread_mutex_unlock(&vcpu->lock);
}

int vcpu_reset(struct vcpu *vcpu)
{
	return kvm_state_reset(vcpu->fd, vcpu->power_on);
}

int vcpu_boot(struct vcpu *vcpu, const struct boot_entry *entry)
{
	return kvm_state_boot(vcpu->fd, entry);
}

/* The signal mask that holds inside KVM_RUN: everything blocked but the kick. */
static int set_run_mask(struct vcpu *vcpu)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t mask[8]; /* the kernel's sigset_t */
	} arg = {.head.len = sizeof(arg.mask)};
	uint64_t mask = ~(UINT64_C(1) << (KICK_SIGNAL - 1));

	memcpy((uint8_t *)&arg + offsetof(struct kvm_signal_mask, sigset), &mask, sizeof(mask));
	return ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &arg) < 0 ? -errno : 0;
}

static int vcpu_open(struct vcpu *vcpu, struct vmm_error *err)
{
	vcpu->fd = ioctl(vcpu->vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->fd < 0)
		return error_set_errno(err, errno, "cannot create vCPU %u", vcpu->index);

	void *run = mmap(NULL, vcpu->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);

	if (run == MAP_FAILED)
		return error_set_errno(err, errno, "cannot map the run area of vCPU %u",
				       vcpu->index);
	vcpu->run = run;

	int ret = set_run_mask(vcpu);

	if (ret < 0)
		return error_set_errno(err, -ret, "KVM_SET_SIGNAL_MASK");
	return kvm_state_init(vcpu->vm, vcpu->fd, vcpu->index, &vcpu->power_on, err);
}

int vcpu_create(struct vcpu **out, struct kvm_vm *vm, unsigned index, struct vcpu_owner *owner,
		struct vmm_error *err)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
	char name[16];
	int ret;

	if (!vcpu)
		return error_set(err, ENOMEM, "no memory for vCPU %u", index);
	vcpu->vm = vm;
	vcpu->owner = owner;
	vcpu->index = index;
	vcpu->fd = -1;
	atomic_init(&vcpu->park, true);
	pthread_mutex_init(&vcpu->lock, NULL);
	pthread_cond_init(&vcpu->changed, NULL);
	snprintf(name, sizeof(name), "vcpu%u", index);
	ret = vcpu_open(vcpu, err);
	if (ret == 0) {
		ret = thread_start(&vcpu->thread, name, vcpu_main, vcpu);
		vcpu->thread_started = ret == 0;
		if (ret < 0)
			error_set_errno(err, -ret, "cannot start the thread of vCPU %u", index);
	}
	if (ret < 0) {
		vcpu_destroy(vcpu);
		return ret;
	}
	*out = vcpu;
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (!vcpu)
		return;
	if (vcpu->thread_started) {
		vcpu_park(vcpu);
		vcpu_wait_parked(vcpu);
		pthread_mutex_lock(&vcpu->lock);
		vcpu->quit = true;
		pthread_cond_broadcast(&vcpu->changed);
		pthread_mutex_unlock(&vcpu->lock);
		pthread_join(vcpu->thread, NULL);
	}
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	kvm_state_free(vcpu->power_on);
	pthread_cond_destroy(&vcpu->changed);
	pthread_mutex_destroy(&vcpu->lock);
	free(vcpu);
}
