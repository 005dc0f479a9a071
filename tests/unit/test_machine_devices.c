/* SPDX-License-Identifier: MIT */
/*
 * Devices that come and go, in a machine without KVM: a hub and the leaves that sit on it stand for
 * controllers and what is plugged into them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/fake_env.h"
#include "vmm/machine.h"

/* ---- classes ---- */

struct leaf {
	struct device dev;
	char *on;
	bool fail;
	struct loop_task later;
};

static char gone[256]; /* ids in the order in which they went */

static void note_gone(struct device *dev)
{
	size_t len = strlen(gone);

	snprintf(gone + len, sizeof(gone) - len, "%s ", dev->id);
}

static int hub_count(struct device *dev, const void *args UNUSED, struct report *report,
		     struct vmm_error *err UNUSED)
{
	report_u64(report, "children", dev->children);
	return 0;
}

static const struct device_action hub_actions[] = {
	{.name = "count", .help = "counts", .run = hub_count},
	{.name = NULL},
};

static const struct device_class hub_class = {
	.name = "hub",
	.help = "has leaves",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct device),
	.actions = hub_actions,
	.unrealize = note_gone,
};

static const struct device_class builtin_class = {
	.name = "builtin", .help = "is there", .size = sizeof(struct device), .builtin = true};

static void leaf_is_quiet(struct loop_task *task)
{
	device_quiesced(&container_of(task, struct leaf, later)->dev);
}

static int leaf_realize(struct device *dev, struct vmm_error *err)
{
	struct leaf *leaf = container_of(dev, struct leaf, dev);
	struct device *hub = dev->env->find(dev->env, leaf->on, &hub_class);

	if (!hub)
		return error_set(err, ENOENT, "there is no hub");
	if (leaf->fail)
		return error_set(err, EIO, "it fails");
	loop_task_init(&leaf->later, leaf_is_quiet);
	device_set_parent(dev, hub);
	return 0;
}

/* Something is always in flight. */
static void leaf_quiesce(struct device *dev)
{
	loop_post(dev->loop, &container_of(dev, struct leaf, dev)->later);
}

static void leaf_unrealize(struct device *dev)
{
	device_set_parent(dev, NULL);
	note_gone(dev);
}

static const struct option_desc leaf_options[] = {
	{.name = "on", .type = OPTION_STRING, .offset = offsetof(struct leaf, on)},
	{.name = "fail", .type = OPTION_BOOL, .offset = offsetof(struct leaf, fail)},
	OPTION_END,
};

static const struct device_class leaf_class = {
	.name = "leaf",
	.help = "sits on a hub",
	.kind = DEVICE_CHILD,
	.options = leaf_options,
	.size = sizeof(struct leaf),
	.realize = leaf_realize,
	.quiesce = leaf_quiesce,
	.unrealize = leaf_unrealize,
};

/* ---- a machine ---- */

static struct fake_env fake;
static struct vmm vm;
static struct vcpu *no_vcpus[1];
static struct vmm_error err;

static void setup(void)
{
	static char name[] = "test";

	fake_env_init(&fake, 0);
	vm = (struct vmm){.name = name};
	pthread_mutex_init(&vm.lock, NULL);
	machine_init_devices(&vm);
	vm.env = fake.env;
	vm.env.find = machine_find_device;
	vm.env.opaque = &vm;
	gone[0] = '\0';
}

static void teardown(void)
{
	machine_remove_devices(&vm);
	fake_env_fini(&fake);
}

TestSuite(machine_devices, .init = setup, .fini = teardown, .timeout = 60);

/* As after vmm_start. */
static void start(void)
{
	vm.vcpus = no_vcpus;
	cr_assert_eq(loop_start(vm.env.loop, &err), 0);
}

static void end(void)
{
	loop_join(vm.env.loop);
	vm.vcpus = NULL;
}

static void plug(const struct device_class *cls, const char *options)
{
	cr_assert_eq(machine_plug(&vm, cls, options, &err), 0, "%s", err.message);
}

static void refused(int code, int wanted, const char *sentence)
{
	cr_assert_eq(code, wanted, "%d: %s", code, err.message);
	cr_assert_str_eq(err.message, sentence);
}

static void list_is(const char *wanted)
{
	char *json;

	cr_assert_eq(vmm_device_list(&vm, &json, &err), 0, "%s", err.message);
	cr_assert_str_eq(json, wanted);
	free(json);
}

/* ---- ids ---- */

Test(machine_devices, without_an_id_a_device_gets_its_class_and_a_number)
{
	plug(&hub_class, NULL);
	plug(&hub_class, "id=hub1");
	plug(&hub_class, "");
	plug(&leaf_class, "on=hub2,id=x");
	list_is("{\"devices\":[{\"id\":\"hub0\",\"class\":\"hub\"},"
		"{\"id\":\"hub1\",\"class\":\"hub\"},{\"id\":\"hub2\",\"class\":\"hub\"},"
		"{\"id\":\"x\",\"class\":\"leaf\",\"options\":\"on=hub2\",\"parent\":\"hub2\"}]}");
}

Test(machine_devices, a_device_that_failed_takes_no_number)
{
	plug(&hub_class, NULL);
	refused(machine_plug(&vm, &leaf_class, "fail", &err), -EIO, "leaf0: it fails");
	plug(&leaf_class, NULL);
	cr_assert_not_null(machine_find_id(&vm, "leaf0"));
}

Test(machine_devices, an_id_is_unique_and_well_formed)
{
	plug(&hub_class, "id=a");
	refused(machine_plug(&vm, &hub_class, "id=a", &err), -EEXIST,
		"hub: there is already a device with id=a");
	refused(machine_plug(&vm, &hub_class, "id=b,id=c", &err), -EINVAL,
		"hub: id is given twice");
	refused(machine_plug(&vm, &hub_class, "id", &err), -EINVAL, "hub: id needs a value: id=…");
	cr_assert_eq(machine_plug(&vm, &hub_class, "id=", &err), -EINVAL);
	cr_assert_eq(machine_plug(&vm, &hub_class, "id=0", &err), -EINVAL);
	cr_assert_eq(machine_plug(&vm, &hub_class, "id=a,,b", &err), -EINVAL);
	list_is("{\"devices\":[{\"id\":\"a\",\"class\":\"hub\"}]}");
}

Test(machine_devices, a_device_is_found_by_its_id_and_class)
{
	plug(&hub_class, "id=a");
	plug(&hub_class, "id=b");
	plug(&leaf_class, "id=c");
	cr_assert_str_eq(vm.env.find(&vm.env, NULL, &hub_class)->id, "a");
	cr_assert_str_eq(vm.env.find(&vm.env, "b", &hub_class)->id, "b");
	cr_assert_null(vm.env.find(&vm.env, "c", &hub_class));
	cr_assert_null(vm.env.find(&vm.env, "d", &hub_class));
	cr_assert_null(vm.env.find(&vm.env, NULL, &builtin_class));
}

Test(machine_devices, a_thousand_devices_have_a_thousand_ids)
{
	plug(&hub_class, NULL);
	for (unsigned i = 0; i < 1024; i++)
		plug(&leaf_class, NULL);
	cr_assert_eq(machine_find_id(&vm, "hub0")->dev->children, 1024);
	cr_assert_str_eq(machine_find_id(&vm, "leaf1023")->dev->id, "leaf1023");
}

/* ---- coming and going ---- */

Test(machine_devices, parents_outlive_their_children)
{
	plug(&hub_class, "id=a");
	plug(&hub_class, "id=b");
	plug(&leaf_class, "id=c,on=b");
	plug(&leaf_class, "id=d,on=a");
	machine_remove_devices(&vm);
	cr_assert_str_eq(gone, "d c b a ");
}

/* Some have no place in some machines: an IOAPIC where the hypervisor has one. */
Test(machine_devices, what_the_machine_adds_itself_nobody_else_adds)
{
	refused(machine_plug(&vm, &builtin_class, NULL, &err), -EBUSY,
		"builtin is a part of the machine");
	list_is("{\"devices\":[]}");
}

Test(machine_devices, before_the_start_all_but_the_machines_own_may_go)
{
	plug(&hub_class, NULL);
	cr_assert_eq(machine_add_device(&vm, &builtin_class, NULL, NULL, &err), 0);
	cr_assert_eq(machine_unplug(&vm, "hub0", false, &err), 0, "%s", err.message);
	refused(machine_unplug(&vm, "builtin0", false, &err), -EBUSY,
		"builtin0 is a part of the machine");
	refused(machine_unplug(&vm, "hub0", false, &err), -ENOENT,
		"VM test has no device with id=hub0");
	list_is("{\"devices\":[{\"id\":\"builtin0\",\"class\":\"builtin\"}]}");
}

Test(machine_devices, once_started_only_children_come_and_go)
{
	plug(&hub_class, NULL);
	start();
	refused(machine_plug(&vm, &hub_class, NULL, &err), -EBUSY,
		"hub devices can only be added before the VM starts");
	plug(&leaf_class, "id=x");
	refused(machine_unplug(&vm, "hub0", false, &err), -EBUSY,
		"hub0: hub devices cannot be removed while the VM runs");
	cr_assert_eq(machine_unplug(&vm, "x", false, &err), 0, "%s", err.message);
	cr_assert_str_eq(gone, "x ");
	plug(&leaf_class, "id=x");
	end();
}

Test(machine_devices, a_parent_stays_while_it_has_children)
{
	plug(&hub_class, NULL);
	plug(&leaf_class, "id=x");
	refused(machine_unplug(&vm, "hub0", false, &err), -EBUSY,
		"hub0: remove the 1 device on it first");
	plug(&leaf_class, "id=y");
	refused(machine_unplug(&vm, "hub0", false, &err), -EBUSY,
		"hub0: remove the 2 devices on it first");
	cr_assert_eq(machine_unplug(&vm, "x", false, &err), 0);
	cr_assert_eq(machine_unplug(&vm, "y", false, &err), 0);
	cr_assert_eq(machine_unplug(&vm, "hub0", false, &err), 0, "%s", err.message);
}

Test(machine_devices, what_cannot_be_added_leaves_nothing)
{
	refused(machine_plug(&vm, &leaf_class, NULL, &err), -ENOENT, "leaf0: there is no hub");
	plug(&hub_class, NULL);
	refused(machine_plug(&vm, &leaf_class, "fail,id=x", &err), -EIO, "x: it fails");
	cr_assert_null(machine_find_id(&vm, "x"));
	cr_assert_eq(machine_find_id(&vm, "hub0")->dev->children, 0);
}

Test(machine_devices, a_stopped_vm_refuses_everything_but_the_list)
{
	plug(&hub_class, NULL);
	plug(&leaf_class, NULL);
	vm.state = MACHINE_STOPPED;
	refused(machine_plug(&vm, &leaf_class, NULL, &err), -ESHUTDOWN, "VM test has stopped");
	refused(machine_unplug(&vm, "leaf0", false, &err), -ESHUTDOWN, "VM test has stopped");
	refused(vmm_device_action(&vm, "hub0", "count", NULL, NULL, &err), -ESHUTDOWN,
		"VM test has stopped");
	list_is("{\"devices\":[{\"id\":\"hub0\",\"class\":\"hub\"},"
		"{\"id\":\"leaf0\",\"class\":\"leaf\",\"parent\":\"hub0\"}]}");
}

/* ---- actions ---- */

Test(machine_devices, an_action_answers_in_json)
{
	char *json = NULL;

	plug(&hub_class, NULL);
	plug(&leaf_class, NULL);
	cr_assert_eq(vmm_device_action(&vm, "hub0", "count", NULL, &json, &err), 0, "%s",
		     err.message);
	cr_assert_str_eq(json, "{\"children\":1}");
	free(json);
	cr_assert_eq(vmm_device_action(&vm, "hub0", "count", NULL, NULL, &err), 0);
}

Test(machine_devices, an_action_that_is_refused_gives_no_json)
{
	char *json = NULL;

	plug(&hub_class, NULL);
	refused(vmm_device_action(&vm, "hub1", "count", NULL, &json, &err), -ENOENT,
		"VM test has no device with id=hub1");
	refused(vmm_device_action(&vm, "hub0", "coutn", NULL, &json, &err), -ENOENT,
		"hub0: there is no action \"coutn\"; did you mean \"count\"? Possible: count");
	cr_assert_eq(vmm_device_action(&vm, "hub0", "count", "x=1", &json, &err), -EINVAL);
	cr_assert_null(json);
}

/* ---- threads ---- */

enum { ROUNDS = 200 };

static void *come_and_go(void *arg)
{
	const char *id = arg;
	struct vmm_error e;
	char options[32];

	snprintf(options, sizeof(options), "id=%s", id);
	for (unsigned i = 0; i < ROUNDS; i++) {
		cr_assert_eq(machine_plug(&vm, &leaf_class, options, &e), 0, "%s", e.message);
		cr_assert_eq(vmm_device_action(&vm, "hub0", "count", NULL, NULL, &e), 0, "%s",
			     e.message);
		cr_assert_eq(machine_unplug(&vm, id, false, &e), 0, "%s", e.message);
	}
	return NULL;
}

/* What the control thread does at a reset, see machine.c. */
static void *reset_often(void *arg UNUSED)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&vm.devices_lock);
		list_for_each (it, &vm.devices)
			device_quiesce_wait(list_entry(it, struct machine_device, link)->dev);
		list_for_each (it, &vm.devices)
			device_reset(list_entry(it, struct machine_device, link)->dev);
		pthread_mutex_unlock(&vm.devices_lock);
	}
	return NULL;
}

Test(machine_devices, several_threads_add_act_reset_and_remove_at_once)
{
	static char a[] = "a", b[] = "b";
	pthread_t threads[3];

	plug(&hub_class, NULL);
	start();
	cr_assert_eq(pthread_create(&threads[0], NULL, come_and_go, a), 0);
	cr_assert_eq(pthread_create(&threads[1], NULL, come_and_go, b), 0);
	cr_assert_eq(pthread_create(&threads[2], NULL, reset_often, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	end();
	list_is("{\"devices\":[{\"id\":\"hub0\",\"class\":\"hub\"}]}");
}
