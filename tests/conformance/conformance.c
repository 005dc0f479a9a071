/* SPDX-License-Identifier: MIT */
/*
 * The same tests over every device class: what each device owes to the machine and can expect of no
 * guest. A new class needs a line here only if it has required options.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support/virtio_driver.h"
#include "vmm/device_classes.h"

#define IMAGE_SIZE (1 * MIB)
#define RAM_SIZE   (64 * MIB)
#define HEAP       gpa(MIB)
#define WINDOW     UINT64_C(0xfeb00000) /* of a device with transport=mmio */

/* Required options; the path of an image is appended. */
static const struct {
	const char *name, *options;
} required[] = {
	{"virtio-blk", "path="},
};

struct subject {
	struct fake_env fake;
	const struct device_class *cls;
	struct device *dev;
	/* virtio only: */
	const char *variant; /* options */
	struct virtio_pci *pci;
	struct virtio_mmio *mmio;
	struct virtio_driver driver;
};

/* Each virtio device is tested with each of these; drivers take all features that are offered. */
static const char *const variants[] = {
	"packed=off",
	"packed=on",
	"transport=mmio,packed=off",
	"transport=mmio,notification-data=on",
};

static char image[64];

static void setup(void)
{
	int fd;

	snprintf(image, sizeof(image), "/var/tmp/vmm-conformance-XXXXXX");
	fd = mkostemp(image, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, IMAGE_SIZE), 0);
	close(fd);
}

static void teardown(void)
{
	unlink(image);
}

TestSuite(conformance, .init = setup, .fini = teardown, .timeout = 120);

static const char *required_options(const struct device_class *cls)
{
	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!strcmp(required[i].name, cls->name))
			return required[i].options;
	return NULL;
}

static bool is_virtio(const struct subject *s)
{
	return s->cls->kind == DEVICE_VIRTIO;
}

/* A driver that knows nothing yet. */
static void init_driver(struct subject *s)
{
	struct virtio_device *vd = virtio_device(s->dev);

	if (s->mmio)
		virtio_driver_init_mmio(&s->driver, &s->fake, vd, WINDOW, HEAP);
	else
		virtio_driver_init_pci(&s->driver, &s->fake, vd, virtio_pci_devfn(s->pci), HEAP);
}

static int attach(struct subject *s, struct vmm_error *err)
{
	struct virtio_device *vd = virtio_device(s->dev);

	if (vd->options.transport == VIRTIO_TRANSPORT_MMIO)
		return virtio_mmio_create(&s->mmio, vd, WINDOW, &s->fake.irq[5].line, err);
	return virtio_pci_create(&s->pci, vd, -1, err);
}

static void create(struct subject *s)
{
	const char *prefix = required_options(s->cls);
	struct vmm_error err = {0};
	char options[256];

	snprintf(options, sizeof(options), "%s%s%s%s", prefix ? prefix : "", prefix ? image : "",
		 prefix && s->variant ? "," : "", s->variant ? s->variant : "");
	s->dev = fake_env_device(&s->fake, s->cls, options);
	if (!is_virtio(s))
		return;
	cr_assert_eq(attach(s, &err), 0, "%s: %s", s->cls->name, err.message);
	init_driver(s);
}

static void destroy(struct subject *s)
{
	device_quiesce_wait(s->dev);
	virtio_pci_destroy(s->pci);
	s->pci = NULL;
	virtio_mmio_destroy(s->mmio);
	s->mmio = NULL;
	device_destroy(s->dev);
}

static void with_subject(const struct device_class *cls, const char *variant,
			 void (*fn)(struct subject *s))
{
	struct subject *s = calloc(1, sizeof(*s));

	cr_assert(s);
	s->cls = cls;
	s->variant = variant;
	fake_env_init(&s->fake, RAM_SIZE);
	create(s);
	fn(s);
	destroy(s);
	fake_env_fini(&s->fake);
	free(s);
}

/* Run fn on an instance of each class, of virtio devices on one of each variant. */
static void for_each_class(void (*fn)(struct subject *s))
{
	for (unsigned i = 0; device_classes[i]; i++) {
		const struct device_class *cls = device_classes[i];

		if (cls->kind != DEVICE_VIRTIO) {
			with_subject(cls, NULL, fn);
			continue;
		}
		for (size_t k = 0; k < ARRAY_SIZE(variants); k++)
			with_subject(cls, variants[k], fn);
	}
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- the array ---- */

Test(conformance, every_class_describes_itself)
{
	for (unsigned i = 0; device_classes[i]; i++) {
		const struct device_class *cls = device_classes[i];

		cr_assert(cls->name && *cls->name);
		cr_assert(cls->help && *cls->help && !strchr(cls->help, '\n'), "%s", cls->name);
		cr_assert(cls->state_version > 0 || (!cls->save && !cls->load), "%s", cls->name);
		for (const struct option_desc *o = cls->options; o && o->name; o++)
			cr_assert(o->help && *o->help, "%s: %s has no help", cls->name, o->name);
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
	destroy(s);
	create(s);
	before = count_fds();
	for (unsigned i = 0; i < 10; i++) {
		destroy(s);
		create(s);
	}
	cr_assert_eq(count_fds(), before, "%s leaks descriptors", s->cls->name);
}

Test(conformance, create_and_destroy_leak_nothing)
{
	for_each_class(create_often);
}

/* ---- a life in steps ---- */

enum { STEPS = 8 };

/* One step of what a driver does; of a platform device some ports are touched. */
static void step(struct subject *s, unsigned n)
{
	struct virtio_driver *d = &s->driver;
	uint64_t random = 88172645463325252 + n;

	if (!is_virtio(s)) {
		for (unsigned i = 0; i < 100; i++) {
			uint64_t r = next_random(&random);

			fake_out(&s->fake, r & 0xfff, 1u << (r >> 16) % 3, (uint32_t)(r >> 20));
		}
		return;
	}
	switch (n) {
	case 0:
		d->next = HEAP;
		virtio_driver_reset(d);
		break;
	case 1:
		d->ops->set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
		break;
	case 2:
		cr_assert(virtio_driver_negotiate(d, d->ops->get_features(d)), "%s", s->cls->name);
		break;
	case 3:
		virtio_driver_queue(d, 0, 0);
		break;
	case 4:
		virtio_driver_ok(d);
		break;
	case 5:
		fake_env_settle(&s->fake);
		break;
	case 6:
		virtio_driver_kick(d, 0);
		break;
	default:
		fake_env_settle(&s->fake);
		cr_assert_not(virtio_driver_broken(d), "%s: %s", s->cls->name, s->fake.last_log);
		break;
	}
}

static void system_reset(struct subject *s)
{
	device_quiesce_wait(s->dev);
	pci_bus_reset(s->fake.env.pci);
	device_reset(s->dev);
	if (is_virtio(s))
		init_driver(s);
}

static void reset_after_each_step(struct subject *s)
{
	for (unsigned end = 0; end <= STEPS; end++) {
		for (unsigned n = 0; n < end; n++)
			step(s, n);
		system_reset(s);
		for (unsigned n = 0; n < STEPS; n++)
			step(s, n);
	}
}

Test(conformance, reset_at_any_point_leaves_a_device_that_works)
{
	for_each_class(reset_after_each_step);
}

static void reset_to_fresh_state(struct subject *s)
{
	void *fresh, *after;
	size_t fresh_len, after_len;

	/* A clock's battery outlives a reset, so this holds for virtio devices. */
	if (!is_virtio(s))
		return;
	fresh_len = fake_env_save(s->dev, &fresh);
	system_reset(s);
	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
	system_reset(s);
	after_len = fake_env_save(s->dev, &after);
	cr_assert_eq(fresh_len, after_len);
	cr_assert_arr_eq(fresh, after, fresh_len, "%s remembers", s->cls->name);
	free(fresh);
	free(after);
}

Test(conformance, reset_forgets_what_the_driver_did)
{
	for_each_class(reset_to_fresh_state);
}

/* ---- saved state ---- */

static void save_load_save(struct subject *s)
{
	for (unsigned end = 0; end <= STEPS; end++) {
		void *first, *second;
		size_t len, again;

		for (unsigned n = 0; n < end; n++)
			step(s, n);
		len = fake_env_save(s->dev, &first);
		destroy(s);
		create(s);
		cr_assert_eq(fake_env_load(s->dev, first, len), 0, "%s after %u steps",
			     s->cls->name, end);
		again = fake_env_save(s->dev, &second);
		cr_assert_eq(len, again, "%s after %u steps", s->cls->name, end);
		cr_assert_arr_eq(first, second, len, "%s after %u steps", s->cls->name, end);
		free(first);
		free(second);
		system_reset(s);
	}
}

Test(conformance, save_load_save_gives_equal_bytes)
{
	for_each_class(save_load_save);
}

static void load_damaged(struct subject *s)
{
	uint8_t *good, *bad, *after;
	uint64_t random = 88172645463325252;
	size_t len, after_len;

	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
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
	system_reset(s);
	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
	free(good);
	free(bad);
	free(after);
}

Test(conformance, damaged_state_is_survived)
{
	for_each_class(load_damaged);
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
	const uint64_t base = s->mmio ? WINDOW : s->driver.bar;
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
	if (is_virtio(s))
		random_memory(s);
	else
		random_ports(s);
	system_reset(s);
	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
}

Test(conformance, random_register_accesses_are_survived)
{
	for_each_class(random_registers);
}

/* ---- virtio ---- */

static void offer_unoffered(struct subject *s)
{
	struct virtio_driver *d = &s->driver;
	uint64_t offered;

	if (!is_virtio(s))
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
	for_each_class(offer_unoffered);
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
		driver_ring_desc(ring, 0, HEAP.v, 1, VRING_DESC_F_NEXT, 0);
		driver_ring_offer(ring, 0);
		break;
	case 3: /* not RAM */
		driver_ring_desc(ring, 0, RAM_SIZE, 1, 0, 0);
		driver_ring_offer(ring, 0);
		break;
	case 4: /* nothing to read, nothing to write */
		driver_ring_desc(ring, 0, HEAP.v, 0, 0, 0);
		driver_ring_offer(ring, 0);
		break;
	case 5: /* only one byte to read */
		driver_ring_desc(ring, 0, HEAP.v, 1, 0, 0);
		driver_ring_offer(ring, 0);
		break;
	case 6: /* only one byte to write */
		driver_ring_desc(ring, 0, HEAP.v, 1, VRING_DESC_F_WRITE, 0);
		driver_ring_offer(ring, 0);
		break;
	default: /* every descriptor, twice */
		for (unsigned i = 0; i < 2u * ring->layout.size; i++) {
			driver_ring_desc(ring, (uint16_t)(i % ring->layout.size), HEAP.v + 16 * i,
					 16, i & 1 ? VRING_DESC_F_WRITE : 0u, 0);
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
			driver_packed_desc(ring, HEAP.v, 16, i & 1 ? VRING_DESC_F_WRITE : 0u, 0);
		break;
	case 1: /* buffer id out of range */
		driver_packed_desc(ring, HEAP.v, 16, 0, size);
		break;
	case 2: /* a chain that never ends */
		for (unsigned i = 0; i < size; i++)
			driver_packed_desc(ring, HEAP.v, 16, VRING_DESC_F_NEXT, 0);
		break;
	case 3: /* not RAM */
		driver_packed_desc(ring, RAM_SIZE, 1, 0, 0);
		break;
	case 4: /* nothing to read, nothing to write */
		driver_packed_desc(ring, HEAP.v, 0, 0, 0);
		break;
	case 5: /* only one byte to read */
		driver_packed_desc(ring, HEAP.v, 1, 0, 0);
		break;
	case 6: /* only one byte to write */
		driver_packed_desc(ring, HEAP.v, 1, VRING_DESC_F_WRITE, 0);
		break;
	default: /* every descriptor, twice */
		for (unsigned i = 0; i < 2u * size; i++)
			driver_packed_desc(ring, HEAP.v + 16 * i, 16,
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
	if (!is_virtio(s))
		return;
	for (unsigned kind = 0; kind < MISUSES; kind++) {
		for (unsigned n = 0; n < STEPS; n++)
			step(s, n);
		misuse(s, kind);
	}
	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
}

Test(conformance, misused_queues_work_again_after_a_reset)
{
	for_each_class(misuse_queues);
}

static void refuse_rings(struct subject *s)
{
	struct virtio_driver *d = &s->driver;
	const uint16_t sizes[] = {0, 0x8000, 3};
	const uint64_t packed = UINT64_C(1) << VIRTIO_F_RING_PACKED;

	if (!is_virtio(s))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(sizes) + 1; i++) {
		struct virtq_layout l = {16, HEAP, gpa_add(HEAP, 4096), gpa_add(HEAP, 8192)};
		uint64_t features = d->ops->get_features(d) & packed;

		if (i < ARRAY_SIZE(sizes))
			l.size = sizes[i];
		else
			l.desc = gpa(RAM_SIZE);
		virtio_driver_reset(d);
		cr_assert(virtio_driver_negotiate(d, features));
		d->ops->setup_queue(d, 0, &l);
		cr_assert_eq(virtio_driver_broken(d), !(features && l.size == 3),
			     "%s, %s: ring %zu", s->cls->name, s->variant, i);
	}
	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
}

Test(conformance, rings_that_cannot_be_used_are_refused)
{
	for_each_class(refuse_rings);
}

/* Chains that the device can only write to, or only read, stay with it or come back: as it likes.
 */
static void reset_queues(struct subject *s)
{
	struct virtio_driver *d = &s->driver;
	unsigned queues;

	if (!is_virtio(s))
		return;
	queues = MIN(virtio_device(s->dev)->queue_count, (unsigned)DRIVER_QUEUES);
	for (unsigned round = 0; round < 2u * queues; round++) {
		struct driver_buffer b = {HEAP, 4096, round & 1};

		d->next = HEAP;
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
	for (unsigned n = 0; n < STEPS; n++)
		step(s, n);
}

Test(conformance, reset_of_a_queue_ends_and_the_queue_can_be_enabled_anew)
{
	for_each_class(reset_queues);
}
