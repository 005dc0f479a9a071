/* SPDX-License-Identifier: MIT */
/*
 * The reset line of a keyboard controller that is otherwise not there.
 *
 * Linux calls a controller absent when its output buffer cannot be emptied, which takes it 16
 * reads; before it pulses the reset line it waits for the input buffer to be empty, which this one
 * always is.
 */
#include "devices/devices.h"
#include "devices/ports_x86.h"
#include "mmio/bus.h"

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_SELF_TESTED 0x04u
#define STATUS_UNLOCKED    0x10u

#define COMMAND_READ_OUTPUT  0xd0u
#define COMMAND_WRITE_OUTPUT 0xd1u
#define COMMAND_PULSE        0xf0u /* the low four bits: lines that are not pulsed */

#define OUTPUT_NOT_RESET 0x01u
#define OUTPUT_A20       0x02u
#define OUTPUT_INITIAL   (OUTPUT_NOT_RESET | OUTPUT_A20)

#define NO_DATA 0xffu

struct i8042 {
	struct device dev;
	struct bus_region data, command;
	uint8_t last_command;
	uint8_t output; /* the output port; the A20 gate has no effect */
};

static void reset_machine(struct i8042 *s)
{
	s->dev.env->event(s->dev.env, MACHINE_EVENT_RESET, 0);
}

static uint64_t command_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	(void)region;
	(void)offset;
	(void)size;
	return STATUS_OUTPUT_FULL | STATUS_SELF_TESTED | STATUS_UNLOCKED;
}

static void command_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *s = container_of(region, struct i8042, command);

	(void)offset;
	(void)size;
	device_lock(&s->dev);
	s->last_command = (uint8_t)value;
	if ((s->last_command & 0xf1) == COMMAND_PULSE)
		reset_machine(s);
	device_unlock(&s->dev);
}

static uint64_t data_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	struct i8042 *s = container_of(region, struct i8042, data);
	uint64_t v = NO_DATA;

	(void)offset;
	(void)size;
	device_lock(&s->dev);
	if (s->last_command == COMMAND_READ_OUTPUT)
		v = s->output;
	s->last_command = 0;
	device_unlock(&s->dev);
	return v;
}

static void data_write(struct bus_region *region, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *s = container_of(region, struct i8042, data);

	(void)offset;
	(void)size;
	device_lock(&s->dev);
	if (s->last_command == COMMAND_WRITE_OUTPUT) {
		s->output = (uint8_t)value;
		if (!(s->output & OUTPUT_NOT_RESET))
			reset_machine(s);
	}
	s->last_command = 0;
	device_unlock(&s->dev);
}

static void i8042_reset(struct device *dev)
{
	struct i8042 *s = container_of(dev, struct i8042, dev);

	s->last_command = 0;
	s->output = OUTPUT_INITIAL;
}

static int i8042_realize(struct device *dev, struct vmm_error *err)
{
	struct i8042 *s = container_of(dev, struct i8042, dev);
	int rc;

	i8042_reset(dev);
	s->data = (struct bus_region){
		.name = "i8042-data", .size = 1, .read = data_read, .write = data_write};
	s->command = (struct bus_region){
		.name = "i8042-command", .size = 1, .read = command_read, .write = command_write};
	rc = bus_map(dev->env->pio, &s->data, X86_PORT_I8042_DATA);
	if (rc == 0)
		rc = bus_map(dev->env->pio, &s->command, X86_PORT_I8042_COMMAND);
	if (rc == 0)
		return 0;
	bus_unmap(&s->data);
	return error_set_errno(err, -rc, "ports at %#x", X86_PORT_I8042_DATA);
}

static void i8042_unrealize(struct device *dev)
{
	struct i8042 *s = container_of(dev, struct i8042, dev);

	bus_unmap(&s->data);
	bus_unmap(&s->command);
}

static void i8042_save(struct device *dev, struct state_writer *w)
{
	struct i8042 *s = container_of(dev, struct i8042, dev);

	state_put_u64(w, "command", s->last_command);
	state_put_u64(w, "output", s->output);
}

static int i8042_load(struct device *dev, struct state_reader *r, uint32_t version)
{
	struct i8042 *s = container_of(dev, struct i8042, dev);
	uint64_t command, output;
	int rc;

	(void)version;
	rc = state_get_u64(r, "command", &command, 0, 0xff);
	if (rc == 0)
		rc = state_get_u64(r, "output", &output, 0, 0xff);
	if (rc)
		return rc;
	s->last_command = (uint8_t)command;
	s->output = (uint8_t)output;
	return 0;
}

const struct device_class i8042_class = {
	.name = "i8042",
	.help = "reset line of a keyboard controller",
	.kind = DEVICE_PLATFORM,
	.size = sizeof(struct i8042),
	.state_version = 1,
	.builtin = true,
	.realize = i8042_realize,
	.reset = i8042_reset,
	.save = i8042_save,
	.load = i8042_load,
	.unrealize = i8042_unrealize,
};
