/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/subject.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/device_classes.h"

#define IMAGE_SIZE (1 * MIB)

struct needs {
	const char *name;
	const char *options; /* the required ones; @ stands for the path of an image */
	const char *parent;  /* the class that a child sits on */
};
/* clang-format off */
static const struct needs table[] = {
	{"virtio-blk", "path=@", NULL},
	{"scsi-disk", "path=@", "virtio-scsi"},
	{"scsi-cd", "path=@", "virtio-scsi"},
	{"serial-port", "name=port", "virtio-serial"},
	{"console-port", NULL, "virtio-serial"},
};
/* clang-format on */

static char image[64];

void subject_setup(void)
{
	int fd;

	snprintf(image, sizeof(image), "/var/tmp/vmm-conformance-XXXXXX");
	fd = mkostemp(image, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, IMAGE_SIZE), 0);
	close(fd);
}

void subject_teardown(void)
{
	unlink(image);
}

static struct needs needs_of(const struct device_class *cls)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(table[i].name, cls->name))
			return table[i];
	return (struct needs){cls->name, NULL, NULL};
}

bool subject_is_virtio(const struct subject *s)
{
	return s->cls->kind == DEVICE_VIRTIO;
}

struct device *subject_driven(const struct subject *s)
{
	if (subject_is_virtio(s))
		return s->dev;
	return s->parent && s->parent->cls->kind == DEVICE_VIRTIO ? s->parent : NULL;
}

const char *subject_options(const struct device_class *cls)
{
	static char options[256];
	const char *in = needs_of(cls).options;
	char *out = options;

	for (; in && *in; in++) {
		if (*in == '@')
			out = stpcpy(out, image);
		else
			*out++ = *in;
	}
	*out = '\0';
	return options;
}

static int attach(struct subject *s, struct virtio_device *vd, struct vmm_error *err)
{
	if (s->pci || s->mmio)
		return 0;
	if (vd->options.transport == VIRTIO_TRANSPORT_MMIO)
		return virtio_mmio_create(&s->mmio, vd, SUBJECT_WINDOW, &s->fake.irq[5].line, err);
	return virtio_pci_create(&s->pci, vd, -1, err);
}

/* A driver that knows nothing yet. */
static void connect_driver(struct subject *s)
{
	struct device *driven = subject_driven(s);
	struct virtio_device *vd;
	struct vmm_error err = {0};

	if (!driven)
		return;
	vd = virtio_device(driven);
	cr_assert_eq(attach(s, vd, &err), 0, "%s: %s", s->cls->name, err.message);
	if (s->mmio)
		virtio_driver_init_mmio(&s->driver, &s->fake, vd, SUBJECT_WINDOW, SUBJECT_HEAP);
	else
		virtio_driver_init_pci(&s->driver, &s->fake, vd, virtio_pci_devfn(s->pci),
				       SUBJECT_HEAP);
}

static void disconnect_driver(struct subject *s)
{
	virtio_pci_destroy(s->pci);
	s->pci = NULL;
	virtio_mmio_destroy(s->mmio);
	s->mmio = NULL;
}

/* With the variant's options, where they are for it. */
static struct device *create(struct subject *s, const struct device_class *cls)
{
	const char *needed = subject_options(cls);
	char options[512];

	snprintf(options, sizeof(options), "%s", needed);
	if (cls->kind == DEVICE_VIRTIO && s->variant)
		snprintf(options, sizeof(options), "%s%s%s", needed, *needed ? "," : "",
			 s->variant);
	return fake_env_device(&s->fake, cls, options);
}

void subject_create(struct subject *s)
{
	s->dev = create(s, s->cls);
	if (subject_is_virtio(s))
		connect_driver(s);
}

void subject_destroy(struct subject *s)
{
	device_quiesce_wait(s->dev);
	if (subject_is_virtio(s))
		disconnect_driver(s);
	fake_env_remove(s->dev);
}

static void create_parent(struct subject *s)
{
	const char *name = needs_of(s->cls).parent;
	const struct device_class *cls = name ? device_class_find(name) : NULL;

	if (s->cls->kind != DEVICE_CHILD)
		return;
	cr_assert(cls, "%s: which parent?", s->cls->name);
	s->parent = create(s, cls);
	connect_driver(s);
}

static void destroy_parent(struct subject *s)
{
	if (!s->parent)
		return;
	device_quiesce_wait(s->parent);
	disconnect_driver(s);
	fake_env_remove(s->parent);
}

static void with_subject(const struct device_class *cls, const char *variant,
			 void (*fn)(struct subject *s))
{
	struct subject *s = calloc(1, sizeof(*s));

	cr_assert(s);
	s->cls = cls;
	s->variant = variant;
	fake_env_init(&s->fake, SUBJECT_RAM);
	create_parent(s);
	subject_create(s);
	fn(s);
	subject_destroy(s);
	destroy_parent(s);
	fake_env_fini(&s->fake);
	free(s);
}

void subject_of_each_class(void (*fn)(struct subject *s))
{
	static const char *const variants[] = {
		"packed=off",
		"packed=on",
		"transport=mmio,packed=off",
		"transport=mmio,notification-data=on",
	};

	for (unsigned i = 0; device_classes[i]; i++) {
		const struct device_class *cls = device_classes[i];

		if (cls->kind == DEVICE_PLATFORM) {
			with_subject(cls, NULL, fn);
			continue;
		}
		for (size_t k = 0; k < ARRAY_SIZE(variants); k++)
			with_subject(cls, variants[k], fn);
	}
}

void subject_step(struct subject *s, unsigned n)
{
	struct virtio_driver *d = &s->driver;
	uint64_t random = 88172645463325252 + n;

	if (!subject_driven(s)) {
		for (unsigned i = 0; i < 100; i++) {
			uint64_t r = next_random(&random);

			fake_out(&s->fake, r & 0xfff, 1u << (r >> 16) % 3, (uint32_t)(r >> 20));
		}
		return;
	}
	switch (n) {
	case 0:
		d->next = SUBJECT_HEAP;
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

void subject_reset(struct subject *s)
{
	if (s->parent)
		device_quiesce_wait(s->parent);
	device_quiesce_wait(s->dev);
	if (s->parent)
		device_reset(s->parent);
	device_reset(s->dev);
	pci_bus_reset(s->fake.env.pci);
	connect_driver(s);
}
