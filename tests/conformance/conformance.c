/* SPDX-License-Identifier: MIT */
/*
 * The same tests over every device class: what each device owes to the machine and can expect of no
 * guest. A new class needs a line in support/subject.c only if it has required options or sits on
 * another device.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/subject.h"
#include "vmm/device_classes.h"

TestSuite(conformance, .init = subject_setup, .fini = subject_teardown, .timeout = 120);

/* ---- the array ---- */

static void describes_options(const char *name, const struct option_desc *options, size_t size)
{
	for (const struct option_desc *o = options; o && o->name; o++) {
		cr_assert(o->help && *o->help, "%s: %s has no help", name, o->name);
		cr_assert_lt(o->offset, size, "%s: %s", name, o->name);
		cr_assert_str_neq(o->name, "id", "%s: the machine takes that", name);
	}
}

static void describes_actions(const struct device_class *cls)
{
	for (const struct device_action *a = cls->actions; a && a->name; a++) {
		bool found = !a->implied;

		cr_assert(*a->name && a->help && *a->help && !strchr(a->help, '\n'), "%s: %s",
			  cls->name, a->name);
		cr_assert(a->run, "%s: %s", cls->name, a->name);
		cr_assert_leq(a->args_size, DEVICE_ACTION_ARGS_MAX, "%s: %s", cls->name, a->name);
		describes_options(a->name, a->options, a->args_size);
		for (const struct option_desc *o = a->options; o && o->name; o++)
			found |= a->implied && !strcmp(o->name, a->implied);
		cr_assert(found, "%s: %s: %s is no option", cls->name, a->name, a->implied);
		for (const struct device_action *b = cls->actions; b != a; b++)
			cr_assert_str_neq(a->name, b->name, "%s", cls->name);
	}
}

Test(conformance, every_class_describes_itself)
{
	for (unsigned i = 0; device_classes[i]; i++) {
		const struct device_class *cls = device_classes[i];
		struct vmm_error err = {0};

		cr_assert(cls->name && *cls->name);
		cr_assert_eq(device_check_id("class", cls->name, &err), 0, "%s", err.message);
		cr_assert(cls->help && *cls->help && !strchr(cls->help, '\n'), "%s", cls->name);
		cr_assert(cls->state_version > 0 || (!cls->save && !cls->load), "%s", cls->name);
		describes_options(cls->name, cls->options, cls->size);
		describes_actions(cls);
		for (unsigned k = 0; k < i; k++)
			cr_assert_str_neq(device_classes[k]->name, cls->name);
	}
}

static bool has_option(const struct device_class *cls, const char *name)
{
	for (const struct option_desc *o = cls->options; o && o->name; o++)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

Test(conformance, every_virtio_class_has_the_common_options)
{
	for (unsigned i = 0; device_classes[i]; i++) {
		const struct device_class *cls = device_classes[i];

		if (cls->kind == DEVICE_VIRTIO)
			cr_assert(has_option(cls, "transport") && has_option(cls, "packed"),
				  "%s lacks VIRTIO_OPTIONS", cls->name);
	}
}

Test(conformance, bad_option_is_refused_with_a_sentence_of_the_device)
{
	for (unsigned i = 0; device_classes[i]; i++) {
		const struct device_class *cls = device_classes[i];
		struct vmm_error err = {0};
		struct fake_env fake;
		struct device *dev;

		fake_env_init(&fake, MIB);
		cr_assert_lt(
			device_create(&dev, cls, "subject", "no-such-option=1", &fake.env, &err), 0,
			"%s", cls->name);
		cr_assert(strstr(err.message, "subject") && strstr(err.message, "no-such-option"),
			  "%s: %s", cls->name, err.message);
		fake_env_fini(&fake);
	}
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void create_often(struct subject *s)
{
	unsigned before;

	/* The first time may leave something behind that is there for good. */
	subject_destroy(s);
	subject_create(s);
	before = count_fds();
	for (unsigned i = 0; i < 10; i++) {
		subject_destroy(s);
		subject_create(s);
	}
	cr_assert_eq(count_fds(), before, "%s leaks descriptors", s->cls->name);
}

Test(conformance, create_and_destroy_leak_nothing)
{
	subject_of_each_class(create_often);
}

static void reset_after_each_step(struct subject *s)
{
	for (unsigned end = 0; end <= SUBJECT_STEPS; end++) {
		for (unsigned n = 0; n < end; n++)
			subject_step(s, n);
		subject_reset(s);
		for (unsigned n = 0; n < SUBJECT_STEPS; n++)
			subject_step(s, n);
	}
}

Test(conformance, reset_at_any_point_leaves_a_device_that_works)
{
	subject_of_each_class(reset_after_each_step);
}

static void reset_to_fresh_state(struct subject *s)
{
	void *fresh, *after;
	size_t fresh_len, after_len;

	/* A clock's battery outlives a reset, so this holds for virtio devices. */
	if (!subject_is_virtio(s))
		return;
	fresh_len = fake_env_save(s->dev, &fresh);
	subject_reset(s);
	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
	subject_reset(s);
	after_len = fake_env_save(s->dev, &after);
	cr_assert_eq(fresh_len, after_len);
	cr_assert_arr_eq(fresh, after, fresh_len, "%s remembers", s->cls->name);
	free(fresh);
	free(after);
}

Test(conformance, reset_forgets_what_the_driver_did)
{
	subject_of_each_class(reset_to_fresh_state);
}

/* ---- children ---- */

static void come_and_go(struct subject *s)
{
	if (!s->parent)
		return;
	for (unsigned end = 0; end <= SUBJECT_STEPS; end++) {
		for (unsigned n = 0; n < end; n++)
			subject_step(s, n);
		subject_destroy(s);
		cr_assert_eq(s->parent->children, 0, "%s is still there", s->cls->name);
		for (unsigned n = end; n < SUBJECT_STEPS; n++)
			subject_step(s, n);
		subject_create(s);
		cr_assert_eq(s->dev->parent, s->parent, "%s has no parent", s->cls->name);
		cr_assert_eq(s->parent->children, 1, "%s", s->cls->name);
		fake_env_settle(&s->fake);
		if (subject_driven(s))
			cr_assert_not(virtio_driver_broken(&s->driver), "%s", s->cls->name);
	}
}

Test(conformance, children_come_and_go_at_any_point)
{
	subject_of_each_class(come_and_go);
}

Test(conformance, a_child_without_a_parent_is_refused_with_a_sentence)
{
	for (unsigned i = 0; device_classes[i]; i++) {
		struct subject s = {.cls = device_classes[i]};
		struct vmm_error err = {0};

		if (s.cls->kind != DEVICE_CHILD)
			continue;
		fake_env_init(&s.fake, MIB);
		cr_assert_lt(device_create(&s.dev, s.cls, "subject", subject_options(s.cls),
					   &s.fake.env, &err),
			     0, "%s", s.cls->name);
		cr_assert(strstr(err.message, "subject") && strstr(err.message, "virtio-"), "%s",
			  err.message);
		fake_env_fini(&s.fake);
	}
}

/* ---- actions ---- */

/* With no options at all: it is done, or a sentence says what is missing. */
static void act(struct subject *s)
{
	for (const struct device_action *a = s->cls->actions; a && a->name; a++) {
		struct report *report = report_create();
		struct vmm_error err = {0};
		char *json;
		int r = device_action(s->dev, a->name, NULL, report, &err);

		if (r)
			cr_assert_eq(strncmp(err.message, s->dev->id, strlen(s->dev->id)), 0,
				     "%s: %s: \"%s\"", s->cls->name, a->name, err.message);
		cr_assert_eq(report_finish(report, &json), 0);
		free(json);
		cr_assert_eq(device_action(s->dev, a->name, "no-such-option=1", NULL, &err),
			     -EINVAL, "%s: %s", s->cls->name, a->name);
		fake_env_settle(&s->fake);
	}
}

static void act_at_any_point(struct subject *s)
{
	for (unsigned end = 0; end <= SUBJECT_STEPS; end++) {
		for (unsigned n = 0; n < end; n++)
			subject_step(s, n);
		act(s);
		subject_reset(s);
	}
}

Test(conformance, actions_are_done_or_refused_with_a_sentence_at_any_point)
{
	subject_of_each_class(act_at_any_point);
}

/* ---- saved state ---- */

static void save_load_save(struct subject *s)
{
	for (unsigned end = 0; end <= SUBJECT_STEPS; end++) {
		void *first, *second;
		size_t len, again;

		for (unsigned n = 0; n < end; n++)
			subject_step(s, n);
		len = fake_env_save(s->dev, &first);
		subject_destroy(s);
		subject_create(s);
		cr_assert_eq(fake_env_load(s->dev, first, len), 0, "%s after %u steps",
			     s->cls->name, end);
		again = fake_env_save(s->dev, &second);
		cr_assert_eq(len, again, "%s after %u steps", s->cls->name, end);
		cr_assert_arr_eq(first, second, len, "%s after %u steps", s->cls->name, end);
		free(first);
		free(second);
		subject_reset(s);
	}
}

Test(conformance, save_load_save_gives_equal_bytes)
{
	subject_of_each_class(save_load_save);
}

static void load_damaged(struct subject *s)
{
	uint8_t *good, *bad, *after;
	uint64_t random = 88172645463325252;
	size_t len, after_len;

	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
	len = fake_env_save(s->dev, (void **)&good);
	bad = malloc(len);
	cr_assert(bad);
	for (size_t cut = 0; cut < len; cut++)
		cr_assert_neq(fake_env_load(s->dev, good, cut), 0, "%s: %zu of %zu bytes",
			      s->cls->name, cut, len);
	after_len = fake_env_save(s->dev, (void **)&after);
	cr_assert_eq(after_len, len);
	cr_assert_arr_eq(after, good, len, "%s is not as it was", s->cls->name);
	/* Flipped bits may still make sense; the device must live with them. */
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t r = next_random(&random);

		memcpy(bad, good, len);
		bad[r % len] ^= (uint8_t)(1u << (r >> 32) % 8);
		if (fake_env_load(s->dev, bad, len) == 0)
			fake_env_settle(&s->fake);
	}
	subject_reset(s);
	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
	free(good);
	free(bad);
	free(after);
}

Test(conformance, damaged_state_is_survived)
{
	subject_of_each_class(load_damaged);
}

/* ---- registers ---- */

static void random_ports(struct subject *s)
{
	uint64_t random = 2463534242;

	for (unsigned i = 0; i < 100000; i++) {
		uint64_t r = next_random(&random);
		/* Where devices are, more often than not. */
		unsigned port = (unsigned)(r & 1 ? (r >> 8) & 0xffff : (r >> 8) & 0x7ff);
		unsigned size = 1u << (r >> 32) % 3;

		if (port >= 0xcf8 && port <= 0xcff)
			continue;
		if (r & 2)
			fake_out(&s->fake, port, size, (uint32_t)(r >> 24));
		else
			fake_in(&s->fake, port, size);
		if (i % 1000 == 0)
			fake_env_settle(&s->fake);
	}
	fake_env_settle(&s->fake);
}

static void random_memory(struct subject *s)
{
	const uint64_t base = s->mmio ? SUBJECT_WINDOW : s->driver.bar;
	uint64_t random = 2463534242;

	for (unsigned i = 0; i < 100000; i++) {
		uint64_t r = next_random(&random);
		unsigned size = 1u << (r >> 60) % 4;
		uint64_t at = (r >> 8) & (s->mmio ? VIRTIO_MMIO_SIZE - 1 : 0x3fff);

		/* Mostly the registers that do something. */
		if (r & 1)
			at &= s->mmio ? 0xff : 0x303f;
		if (r & 2)
			at &= ~(uint64_t)(size - 1);
		if (r & 4)
			fake_mmio_write(&s->fake, base + at, size, next_random(&random));
		else
			fake_mmio_read(&s->fake, base + at, size);
		if (i % 64 == 0)
			fake_env_settle(&s->fake);
	}
}

static void random_registers(struct subject *s)
{
	if (subject_driven(s))
		random_memory(s);
	else
		random_ports(s);
	subject_reset(s);
	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
}

Test(conformance, random_register_accesses_are_survived)
{
	subject_of_each_class(random_registers);
}

/* ---- virtio ---- */

static void offer_unoffered(struct subject *s)
{
	struct virtio_driver *d = &s->driver;
	uint64_t offered;

	if (!subject_is_virtio(s))
		return;
	offered = d->ops->get_features(d);
	cr_assert(offered >> VIRTIO_F_VERSION_1 & 1, "%s", s->cls->name);
	for (unsigned bit = 0; bit < 64; bit++) {
		virtio_driver_reset(d);
		cr_assert_eq(virtio_driver_negotiate(d, UINT64_C(1) << bit), (offered >> bit) & 1,
			     "%s: bit %u", s->cls->name, bit);
	}
	virtio_driver_reset(d);
	cr_assert(virtio_driver_negotiate(d, offered));
}

Test(conformance, exactly_the_offered_features_are_accepted)
{
	subject_of_each_class(offer_unoffered);
}

enum { MISUSES = 8 };

/* Everything goes wrong that a ring can get wrong; the device may stop, and works after a reset. */
static void misuse_split(struct driver_ring *ring, unsigned kind)
{
	switch (kind) {
	case 0: /* index jumps */
		driver_ring_set_avail(ring, 0x8000);
		break;
	case 1: /* head out of range */
		driver_ring_offer(ring, ring->layout.size);
		break;
	case 2: /* loop */
		driver_ring_desc(ring, 0, SUBJECT_HEAP.v, 1, VRING_DESC_F_NEXT, 0);
		driver_ring_offer(ring, 0);
		break;
	case 3: /* not RAM */
		driver_ring_desc(ring, 0, SUBJECT_RAM, 1, 0, 0);
		driver_ring_offer(ring, 0);
		break;
	case 4: /* nothing to read, nothing to write */
		driver_ring_desc(ring, 0, SUBJECT_HEAP.v, 0, 0, 0);
		driver_ring_offer(ring, 0);
		break;
	case 5: /* only one byte to read */
		driver_ring_desc(ring, 0, SUBJECT_HEAP.v, 1, 0, 0);
		driver_ring_offer(ring, 0);
		break;
	case 6: /* only one byte to write */
		driver_ring_desc(ring, 0, SUBJECT_HEAP.v, 1, VRING_DESC_F_WRITE, 0);
		driver_ring_offer(ring, 0);
		break;
	default: /* every descriptor, twice */
		for (unsigned i = 0; i < 2u * ring->layout.size; i++) {
			driver_ring_desc(ring, (uint16_t)(i % ring->layout.size),
					 SUBJECT_HEAP.v + 16 * i, 16,
					 i & 1 ? VRING_DESC_F_WRITE : 0u, 0);
			driver_ring_offer(ring, (uint16_t)(i % ring->layout.size));
		}
		break;
	}
}

/* The same of a packed ring. */
static void misuse_packed(struct driver_ring *ring, unsigned kind)
{
	const uint16_t size = ring->layout.size;

	switch (kind) {
	case 0: /* one buffer id for all */
		for (unsigned i = 0; i < size; i++)
			driver_packed_desc(ring, SUBJECT_HEAP.v, 16,
					   i & 1 ? VRING_DESC_F_WRITE : 0u, 0);
		break;
	case 1: /* buffer id out of range */
		driver_packed_desc(ring, SUBJECT_HEAP.v, 16, 0, size);
		break;
	case 2: /* a chain that never ends */
		for (unsigned i = 0; i < size; i++)
			driver_packed_desc(ring, SUBJECT_HEAP.v, 16, VRING_DESC_F_NEXT, 0);
		break;
	case 3: /* not RAM */
		driver_packed_desc(ring, SUBJECT_RAM, 1, 0, 0);
		break;
	case 4: /* nothing to read, nothing to write */
		driver_packed_desc(ring, SUBJECT_HEAP.v, 0, 0, 0);
		break;
	case 5: /* only one byte to read */
		driver_packed_desc(ring, SUBJECT_HEAP.v, 1, 0, 0);
		break;
	case 6: /* only one byte to write */
		driver_packed_desc(ring, SUBJECT_HEAP.v, 1, VRING_DESC_F_WRITE, 0);
		break;
	default: /* every descriptor, twice */
		for (unsigned i = 0; i < 2u * size; i++)
			driver_packed_desc(ring, SUBJECT_HEAP.v + 16 * i, 16,
					   i & 1 ? VRING_DESC_F_WRITE : 0u, (uint16_t)(i % size));
		break;
	}
}

static void misuse(struct subject *s, unsigned kind)
{
	struct virtio_driver *d = &s->driver;

	if (d->rings[0].packed)
		misuse_packed(&d->rings[0], kind);
	else
		misuse_split(&d->rings[0], kind);
	virtio_driver_kick(d, 0);
	fake_env_settle(&s->fake);
}

static void misuse_queues(struct subject *s)
{
	if (!subject_is_virtio(s))
		return;
	for (unsigned kind = 0; kind < MISUSES; kind++) {
		for (unsigned n = 0; n < SUBJECT_STEPS; n++)
			subject_step(s, n);
		misuse(s, kind);
	}
	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
}

Test(conformance, misused_queues_work_again_after_a_reset)
{
	subject_of_each_class(misuse_queues);
}

static void refuse_rings(struct subject *s)
{
	struct virtio_driver *d = &s->driver;
	const uint16_t sizes[] = {0, 0x8000, 3};
	const uint64_t packed = UINT64_C(1) << VIRTIO_F_RING_PACKED;

	if (!subject_is_virtio(s))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(sizes) + 1; i++) {
		struct virtq_layout l = {16, SUBJECT_HEAP, gpa_add(SUBJECT_HEAP, 4096),
					 gpa_add(SUBJECT_HEAP, 8192)};
		uint64_t features = d->ops->get_features(d) & packed;

		if (i < ARRAY_SIZE(sizes))
			l.size = sizes[i];
		else
			l.desc = gpa(SUBJECT_RAM);
		virtio_driver_reset(d);
		cr_assert(virtio_driver_negotiate(d, features));
		d->ops->setup_queue(d, 0, &l);
		cr_assert_eq(virtio_driver_broken(d), !(features && l.size == 3),
			     "%s, %s: ring %zu", s->cls->name, s->variant, i);
	}
	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
}

Test(conformance, rings_that_cannot_be_used_are_refused)
{
	subject_of_each_class(refuse_rings);
}

/* Chains that the device can only write to, or only read, stay with it or come back: as it likes.
 */
static void reset_queues(struct subject *s)
{
	struct virtio_driver *d = &s->driver;
	unsigned queues;

	if (!subject_is_virtio(s))
		return;
	queues = MIN(virtio_device(s->dev)->queue_count, (unsigned)DRIVER_QUEUES);
	for (unsigned round = 0; round < 2u * queues; round++) {
		struct driver_buffer b = {SUBJECT_HEAP, 4096, round & 1};

		d->next = SUBJECT_HEAP;
		virtio_driver_alloc(d, 4096);
		virtio_driver_start(d, d->ops->get_features(d), queues);
		driver_ring_add(&d->rings[round / 2], &b, 1);
		virtio_driver_kick(d, round / 2);
		fake_env_settle(&s->fake);
		d->ops->reset_queue(d, round / 2);
		for (unsigned turns = 0; d->ops->queue_resetting(d, round / 2); turns++) {
			cr_assert_lt(turns, 1000u, "%s, %s: the reset of queue %u never ends",
				     s->cls->name, s->variant, round / 2);
			fake_env_settle(&s->fake);
			sched_yield();
		}
		cr_assert_not(d->ops->queue_enabled(d, round / 2));
		virtio_driver_queue(d, round / 2, 0);
		virtio_driver_kick(d, round / 2);
		fake_env_settle(&s->fake);
	}
	for (unsigned n = 0; n < SUBJECT_STEPS; n++)
		subject_step(s, n);
}

Test(conformance, reset_of_a_queue_ends_and_the_queue_can_be_enabled_anew)
{
	subject_of_each_class(reset_queues);
}
