/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi behind PCI with a disk and a CD-ROM drive: the fuzzer plays a guest that writes
 * registers, configuration space and memory as it likes, and a host that moves media and units. The
 * controller lives on from input to input and is reset in between, as at a reboot.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtio/virtio_classes.h"
#include "virtio/virtio_scsi.h"

#include "tests/fuzz/pci_fuzz.h"

#define IMAGE      UINT64_C(0x20000)
#define QUEUE_SIZE 16u

/* Where the macro operations put things; the fuzzer may write there as well. */
#define QUEUES    3u
#define RING(q)   (UINT64_C(0x1000) + 0x1000 * (q))
#define AVAIL(q)  (RING(q) + 16 * QUEUE_SIZE)
#define USED(q)   (RING(q) + 0x800)
#define REQUESTS  UINT64_C(0x5000)
#define RESPONSES UINT64_C(0x6000)
#define DATA      UINT64_C(0x10000)

static struct device *disk, *cd, *late;
static char image_path[32], iso_path[32];

/* It stays open: the path leads there. */
static void memory_file(char *path, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0);
	must(ftruncate(fd, (off_t)IMAGE));
	snprintf(path, len, "/proc/self/fd/%d", fd);
}

static struct device *create_unit(const struct device_class *cls, const char *id, const char *path,
				  const char *rest)
{
	struct device *unit;
	char options[128];

	snprintf(options, sizeof(options), "path=%s,engine=threads,%s", path, rest);
	must(device_create(&unit, cls, id, options, &env, NULL));
	return unit;
}

static void create(void)
{
	char options[64];

	memory_file(image_path, sizeof(image_path));
	memory_file(iso_path, sizeof(iso_path));
	snprintf(options, sizeof(options), "queues=2,queue-size=%u", QUEUE_SIZE);
	create_device(&virtio_scsi_class, options);
	disk = create_unit(&scsi_disk_class.device, "disk", image_path, "target=0");
	cd = create_unit(&scsi_cd_class.device, "cd", iso_path, "target=1,lun=1");
}

static void remove_unit(struct device **unit)
{
	if (!*unit)
		return;
	device_quiesce_wait(*unit);
	device_destroy(*unit);
	*unit = NULL;
}

static void reset_all(void)
{
	remove_unit(&late);
	device_quiesce_wait(disk);
	device_quiesce_wait(cd);
	reset();
	device_reset(disk);
	device_reset(cd);
}

static void settle(void)
{
	struct virtio_scsi *scsi = virtio_scsi(virtio_device(dev));

	/* Bounded by what is in flight: nobody rings while we turn. */
	do {
		while (loop_turn(env.loop, false))
			;
	} while (scsi->bus.in_flight && loop_turn(env.loop, true));
}

/* What a good driver does, so that the fuzzer need not find it out. */
static void start(struct input *in)
{
	const uint64_t features = input_number(in, 4) | UINT64_C(1) << VIRTIO_F_VERSION_1;

	reg(20, 1, 0);
	settle();
	reg(20, 1, 3);
	reg(8, 4, 0);
	reg(12, 4, (uint32_t)features);
	reg(8, 4, 1);
	reg(12, 4, features >> 32);
	reg(20, 1, 11);
	for (unsigned q = 0; q < QUEUES; q++) {
		reg(22, 2, q);
		reg(32, 8, RING(q));
		reg(40, 8, AVAIL(q));
		reg(48, 8, USED(q));
		reg(28, 2, 1);
	}
	reg(20, 1, 15);
}

/* Descriptors `first` and so on of a queue, linked, and offered with a doorbell. */
static void offer(unsigned queue, uint16_t first, struct vring_desc *d, unsigned n)
{
	uint16_t idx = 0;

	for (unsigned i = 0; i < n; i++) {
		d[i].next = (uint16_t)((first + i + 1) % QUEUE_SIZE);
		if (i + 1 < n)
			d[i].flags |= VRING_DESC_F_NEXT;
		poke(RING(queue) + 16 * (uint64_t)((first + i) % QUEUE_SIZE), &d[i], sizeof(d[i]));
	}
	if (guest_read(env.memory, gpa(AVAIL(queue) + 2), &idx, sizeof(idx)))
		return;
	poke(AVAIL(queue) + 4 + 2u * (idx % QUEUE_SIZE), &first, sizeof(first));
	idx++;
	poke(AVAIL(queue) + 2, &idx, sizeof(idx));
	bus_write(env.mmio, bar + NOTIFY + 4 * queue, queue, 2);
}

/* A command whose CDB and parameters are the fuzzer's. */
static void request(struct input *in)
{
	const uint16_t index = input_u8(in) % QUEUE_SIZE;
	const uint8_t where = input_u8(in);
	const uint64_t at = REQUESTS + 64u * index, response = RESPONSES + 128u * index;
	struct virtio_scsi_cmd_req head = {.lun = {1, where & 3, 0x40, where >> 2 & 3}};
	uint8_t cdb[32] = {0}, parameters[32];
	struct vring_desc d[3] = {{at, 51, 0, 0}};
	unsigned n = 1;

	head.tag = index;
	head.task_attr = where >> 4 & 1;
	input_bytes(in, cdb, 16);
	poke(at, &head, sizeof(head));
	poke(at + sizeof(head), cdb, sizeof(cdb));
	if (where & 0x20) {
		input_bytes(in, parameters, sizeof(parameters));
		poke(DATA + 0x800u * index, parameters, sizeof(parameters));
		d[n++] = (struct vring_desc){DATA + 0x800u * index, input_u16(in), 0, 0};
	}
	d[n++] = (struct vring_desc){response, 108, VRING_DESC_F_WRITE, 0};
	if (where & 0x40 && n < 3)
		d[n++] = (struct vring_desc){DATA + 0x800u * index, input_u16(in),
					     VRING_DESC_F_WRITE, 0};
	offer(2, index, d, n);
}

/* A task management function, or something like it. */
static void control(struct input *in)
{
	const uint16_t index = input_u8(in) % QUEUE_SIZE;
	const uint64_t at = REQUESTS + 64u * index;
	struct virtio_scsi_ctrl_tmf_req req = {.lun = {1}};
	struct vring_desc d[2] = {{at, sizeof(req), 0, 0}, {at + 32, 5, VRING_DESC_F_WRITE, 0}};

	req.type = input_u8(in) & 3;
	req.subtype = input_u8(in) & 7;
	req.lun[1] = input_u8(in) & 1;
	req.lun[3] = input_u8(in) & 1;
	req.tag = input_u8(in) % QUEUE_SIZE;
	poke(at, &req, sizeof(req));
	offer(0, index, d, 2);
}

static void event_buffer(struct input *in)
{
	const uint16_t index = input_u8(in) % QUEUE_SIZE;
	struct vring_desc d = {RESPONSES + 16u * index, 16, VRING_DESC_F_WRITE, 0};

	offer(1, index, &d, 1);
}

/* What the host does meanwhile. */
static void host(struct input *in)
{
	static const char *const actions[] = {"eject", "change", "open", "close"};
	const unsigned what = input_u8(in) % 8;
	char options[64] = "";

	if (what == 6) {
		clock_fake_advance(&fake_clock, input_u16(in) * NS_PER_MS);
	} else if (what == 7) {
		snprintf(options, sizeof(options), "iops=%u,bps=%u", input_u8(in), input_u16(in));
		must(device_action(disk, "throttle", options, NULL, NULL));
	} else if (what == 4) {
		remove_unit(&late);
	} else if (what == 5) {
		if (!late)
			late = create_unit(&scsi_disk_class.device, "late", iso_path,
					   "readonly=on,target=1,lun=2");
	} else {
		if (what == 1)
			snprintf(options, sizeof(options), "path=%s", iso_path);
		if (device_action(cd, actions[what], options, NULL, NULL))
			return; /* locked */
	}
}

static void step(struct input *in)
{
	switch (input_u8(in) % 12) {
	case 0:
		start(in);
		break;
	case 1:
		any_register(in);
		break;
	case 2:
		any_memory(in);
		break;
	case 3:
		any_config(in);
		break;
	case 4:
		settle();
		break;
	case 5:
		reset();
		break;
	case 6:
		control(in);
		break;
	case 7:
		event_buffer(in);
		break;
	case 8:
		host(in);
		break;
	default:
		request(in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!dev) {
		create_env();
		create();
	}
	reset_all();
	/* As much as the limits let pass; what an earlier input owes is forgotten. */
	must(device_action(disk, "throttle", NULL, NULL, NULL));
	must(device_action(disk, "throttle", "iops=1000,iops-burst=8", NULL, NULL));
	must(guest_fill(env.memory, gpa(0), 0, RAM));
	for (unsigned i = 0; i < MAX_OPS && in.left; i++)
		step(&in);
	settle();
	return 0;
}
