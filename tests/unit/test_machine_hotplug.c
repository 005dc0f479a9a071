/* SPDX-License-Identifier: MIT */
/*
 * PCI devices that come and go in a machine without KVM: the test does what the guest's ACPI
 * interpreter does, and what the control thread does when the guest has let go.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/ports_x86.h"
#include "support/fake_env.h"
#include "virtio/virtio_classes.h"
#include "vmm/machine.h"

#define SLOT(n) (UINT32_C(1) << (n))

static struct fake_env fake;
static struct vmm vm;
static struct vcpu *no_vcpus[1];
static struct vmm_error err;
static char gone[256]; /* ids in the order in which the machine told of them */

static void on_notice(struct machine_watcher *watcher UNUSED, const struct machine_notice *n)
{
	size_t len = strlen(gone);

	if (n->kind == MACHINE_NOTICE_DELETED)
		snprintf(gone + len, sizeof(gone) - len, "%s ", n->id);
}

static struct machine_watcher watcher = {.notify = on_notice};

/* Started, with nothing on the PCI bus but its bridge. */
static void setup(void)
{
	static char name[] = "test";

	fake_env_init(&fake, 16 * MIB);
	vm = (struct vmm){.name = name};
	pthread_mutex_init(&vm.lock, NULL);
	machine_init_devices(&vm);
	machine_watch(&vm.watchers, &watcher);
	vm.env = fake.env;
	vm.env.find = machine_find_device;
	vm.env.opaque = &vm;
	gone[0] = '\0';
	vm.acpi_pm = fake_env_device(&fake, &acpi_pm_class, NULL);
	vm.vcpus = no_vcpus;
	cr_assert_eq(loop_start(vm.env.loop, &err), 0);
}

static void teardown(void)
{
	loop_join(vm.env.loop);
	vm.vcpus = NULL;
	machine_remove_devices(&vm);
	fake_env_remove(vm.acpi_pm);
	fake_env_fini(&fake);
}

TestSuite(machine_hotplug, .init = setup, .fini = teardown, .timeout = 60);

/* ---- the guest ---- */

static uint32_t in(unsigned reg)
{
	return fake_in(&fake, X86_PORT_ACPI + reg, 4);
}

static void eject(uint32_t slots)
{
	fake_out(&fake, X86_PORT_ACPI + X86_ACPI_PCI_EJECT, 4, slots);
}

static bool present(unsigned slot)
{
	return pci_config_read(vm.env.pci, PCI_DEVFN(slot, 0), 0, 4) != UINT32_MAX;
}

/* ---- the machine ---- */

static void plug(const struct device_class *cls, const char *options)
{
	cr_assert_eq(machine_plug(&vm, cls, options, &err), 0, "%s", err.message);
}

static void ask(const char *id)
{
	cr_assert_eq(machine_unplug(&vm, id, false, &err), 1, "%s", err.message);
}

static void pull(const char *id)
{
	machine_find_id(&vm, id)->pulled = true;
	machine_eject(&vm);
}

/* What env->event leaves of the guest's write, and what the control thread does about it. */
static void let_go(uint32_t slots)
{
	vm.ejected |= slots;
	machine_eject(&vm);
}

static bool listed(const char *text)
{
	char *json;
	bool found;

	cr_assert_eq(vmm_device_list(&vm, &json, &err), 0, "%s", err.message);
	found = strstr(json, text);
	free(json);
	return found;
}

/* ---- coming ---- */

Test(machine_hotplug, the_guest_is_told_of_a_device_that_is_there)
{
	plug(&virtio_rng_class.device, "id=a");
	cr_assert(fake.irq[X86_IRQ_GED].level);
	cr_assert(present(1));
	cr_assert_eq(in(X86_ACPI_GED_EVENTS), X86_GED_PCI_HOTPLUG);
	cr_assert_not(fake.irq[X86_IRQ_GED].level);
	cr_assert_eq(in(X86_ACPI_PCI_DOWN), 0);
	cr_assert_eq(in(X86_ACPI_PCI_UP), SLOT(1));
	cr_assert_eq(in(X86_ACPI_PCI_UP), 0, "read once");
	plug(&virtio_rng_class.device, "id=b");
	plug(&virtio_rng_class.device, "id=c");
	cr_assert_eq(in(X86_ACPI_PCI_UP), SLOT(2) | SLOT(3));
	cr_assert(listed("\"pci\":\"00:03.0\"}"));
}

Test(machine_hotplug, all_slots_but_the_bridges_can_be_filled)
{
	for (unsigned slot = 1; slot < PCI_MAX_SLOTS; slot++)
		plug(&virtio_rng_class.device, NULL);
	cr_assert_eq(in(X86_ACPI_PCI_UP), ~SLOT(0));
	cr_assert_eq(machine_plug(&vm, &virtio_rng_class.device, "id=more", &err), -ENOSPC);
	cr_assert_str_eq(err.message, "more: all 32 PCI slots are taken");
	cr_assert_null(machine_find_id(&vm, "more"));
}

Test(machine_hotplug, over_mmio_nothing_comes_to_a_guest_that_runs)
{
	cr_assert_eq(machine_plug(&vm, &virtio_rng_class.device, "id=m,transport=mmio", &err),
		     -EBUSY);
	cr_assert_str_eq(err.message,
			 "m: a device with transport=mmio can only be added before the "
			 "VM starts; with transport=pci it can");
	cr_assert_eq(in(X86_ACPI_GED_EVENTS), 0);
}

/* ---- going ---- */

Test(machine_hotplug, a_device_goes_when_the_guest_lets_go)
{
	plug(&virtio_rng_class.device, "id=a");
	ask("a");
	cr_assert(listed("\"leaving\":true"));
	cr_assert(in(X86_ACPI_GED_EVENTS)&X86_GED_PCI_HOTPLUG);
	cr_assert_eq(in(X86_ACPI_PCI_DOWN), SLOT(1));
	cr_assert(present(1));
	eject(SLOT(1));
	cr_assert_eq(fake.last_event, MACHINE_EVENT_EJECT);
	cr_assert_eq(fake.last_value, SLOT(1));
	let_go(fake.last_value);
	cr_assert_not(present(1));
	cr_assert_str_eq(gone, "a ");
	cr_assert_not(listed("\"a\""));
	plug(&virtio_rng_class.device, "id=b");
	cr_assert(present(1), "the slot is free");
}

Test(machine_hotplug, a_guest_cannot_eject_what_nobody_asked_for)
{
	plug(&virtio_rng_class.device, "id=a");
	plug(&virtio_rng_class.device, "id=b");
	eject(UINT32_MAX);
	cr_assert_eq(fake.events, 0);
	ask("b");
	eject(UINT32_MAX);
	cr_assert_eq(fake.last_value, SLOT(2));
	let_go(fake.last_value);
	cr_assert_str_eq(gone, "b ");
	eject(UINT32_MAX);
	cr_assert_eq(fake.events, 1);
	cr_assert(present(1));
}

Test(machine_hotplug, a_guest_can_be_asked_again)
{
	plug(&virtio_rng_class.device, "id=a");
	for (int i = 0; i < 3; i++) {
		ask("a");
		cr_assert_eq(in(X86_ACPI_PCI_DOWN), SLOT(1));
		cr_assert_eq(in(X86_ACPI_PCI_DOWN), 0);
	}
	let_go(SLOT(1));
	cr_assert_str_eq(gone, "a ");
}

Test(machine_hotplug, a_late_ejection_does_not_hit_the_next_device_in_the_slot)
{
	plug(&virtio_rng_class.device, "id=a");
	ask("a");
	/* One vCPU ejects, and another resets before the control thread comes to it. */
	vm.ejected = SLOT(1);
	machine_eject_at_reset(&vm);
	cr_assert_str_eq(gone, "a ");
	plug(&virtio_rng_class.device, "id=b");
	ask("b");
	machine_eject(&vm);
	cr_assert(present(1), "the guest has not let go of this one");
	cr_assert_str_eq(gone, "a ");
}

Test(machine_hotplug, a_guest_that_restarts_has_let_go)
{
	plug(&virtio_rng_class.device, "id=a");
	plug(&virtio_rng_class.device, "id=b");
	plug(&virtio_rng_class.device, "id=c");
	ask("a");
	ask("c");
	machine_eject_at_reset(&vm);
	device_reset(vm.acpi_pm);
	cr_assert_str_eq(gone, "a c ");
	cr_assert(present(2));
	cr_assert_eq(in(X86_ACPI_GED_EVENTS), 0);
	cr_assert_eq(in(X86_ACPI_PCI_UP) | in(X86_ACPI_PCI_DOWN), 0);
}

Test(machine_hotplug, a_controller_takes_with_it_what_sits_on_it)
{
	plug(&virtio_serial_class.device, "id=s");
	plug(&serial_port_class, "id=p,name=p");
	cr_assert_eq(machine_unplug(&vm, "s", false, &err), -EBUSY);
	cr_assert_str_eq(err.message, "s: remove the 1 device on it first");
	cr_assert_eq(machine_unplug(&vm, "p", false, &err), 0, "%s", err.message);
	ask("s");
	/* While the guest thinks about it. */
	plug(&serial_port_class, "id=q,name=q");
	plug(&serial_port_class, "id=r,name=r");
	let_go(SLOT(1));
	cr_assert_str_eq(gone, "p r q s ");
}

Test(machine_hotplug, what_is_pulled_leaves_its_slot_empty_until_the_guest_restarts)
{
	plug(&virtio_rng_class.device, "id=a");
	ask("a");
	pull("a");
	cr_assert_str_eq(gone, "a ");
	cr_assert_not(present(1));
	cr_assert_eq(in(X86_ACPI_PCI_DOWN), 0, "the guest is not asked any more");
	for (unsigned slot = 2; slot < PCI_MAX_SLOTS; slot++)
		plug(&virtio_rng_class.device, NULL);
	cr_assert_not(present(1));
	cr_assert_eq(machine_plug(&vm, &virtio_rng_class.device, "id=more", &err), -ENOSPC);
	cr_assert_not_null(strstr(err.message, "when the guest has restarted"), "%s", err.message);
	machine_eject_at_reset(&vm);
	plug(&virtio_rng_class.device, "id=more");
	cr_assert(present(1));
}
