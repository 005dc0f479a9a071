/* SPDX-License-Identifier: MIT */
/*
 * Ports: what a program in the guest opens as /dev/virtio-ports/NAME (serial-port), or what the
 * guest takes for a terminal, hvc0 and up (console-port).
 */
#include "virtio/virtio_serial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX (256u * 1024)

static bool is_console(const struct virtio_serial_port *port)
{
	return port->dev.cls == &console_port_class;
}

/* ---- options ---- */

static int check_name(const struct virtio_serial_port *port, const char *what,
		      struct vmm_error *err)
{
	const char *name = port->name;

	if (!name)
		return 0;
	if (!*name || strlen(name) > VIRTIO_SERIAL_NAME_MAX)
		return error_set(err, EINVAL, "%sname=%s: a name has 1 to %u bytes", what, name,
				 VIRTIO_SERIAL_NAME_MAX);
	/* The guest makes a file of it. */
	if (strchr(name, '/') || strchr(name, '\n'))
		return error_set(err, EINVAL, "%sname=%s: a name has no '/' and no line end", what,
				 name);
	return 0;
}

/* *nr: VIRTIO_SERIAL_MAX_PORTS if it is not given. */
static int parse_nr(const struct virtio_serial_port *port, const char *what, unsigned *nr,
		    struct vmm_error *err)
{
	uint64_t value = VIRTIO_SERIAL_MAX_PORTS;

	if (port->nr_option &&
	    (parse_uint(port->nr_option, &value) || value >= VIRTIO_SERIAL_MAX_PORTS))
		return error_set(err, EINVAL, "%snr=%s is not a number of 0 to %u", what,
				 port->nr_option, VIRTIO_SERIAL_MAX_PORTS - 1);
	if (value == 0 && !is_console(port))
		return error_set(err, EINVAL, "%snr=0 is for a console-port", what);
	*nr = (unsigned)value;
	return 0;
}

static int check(const struct device *dev, const char *what, struct vmm_error *err)
{
	const struct virtio_serial_port *port =
		container_of(dev, const struct virtio_serial_port, dev);
	char prefix[128];
	unsigned nr;
	int rc;

	snprintf(prefix, sizeof(prefix), "%s: ", what);
	rc = check_name(port, prefix, err);
	if (!rc)
		rc = parse_nr(port, prefix, &nr, err);
	return rc ? rc : chardev_check(port->spec, what, err);
}

/* ---- coming and going ---- */

static int find_parent(struct virtio_serial_port *port, struct vmm_error *err)
{
	const struct device_env *env = port->dev.env;
	struct device *parent = NULL;

	if (env->find)
		parent = env->find(env, port->bus, &virtio_serial_class.device);
	if (!parent && port->bus)
		return error_set(err, ENOENT, "bus=%s is not a virtio-serial", port->bus);
	if (!parent)
		return error_set(err, ENOENT, "there is no virtio-serial for it to sit on");
	port->serial = virtio_serial(virtio_device(parent));
	return 0;
}

/* A number that was not given is the lowest that is free; 0 is kept for a console. */
static int choose_nr(struct virtio_serial_port *port, struct vmm_error *err)
{
	const struct virtio_serial *s = port->serial;
	int rc = parse_nr(port, "", &port->nr, err);

	if (rc)
		return rc;
	if (!port->nr_option) {
		port->nr = is_console(port) ? 0 : 1;
		while (port->nr < s->max_ports && s->slots[port->nr].port)
			port->nr++;
		if (port->nr >= s->max_ports)
			return error_set(err, ENOSPC, "%s has no port left of max-ports=%llu%s",
					 s->vd.dev.id, (unsigned long long)s->max_ports,
					 is_console(port) ? "" : " (port 0 is for a console)");
	}
	if (port->nr >= s->max_ports)
		return error_set(err, EINVAL, "nr=%u: %s has max-ports=%llu", port->nr,
				 s->vd.dev.id, (unsigned long long)s->max_ports);
	if (s->slots[port->nr].port)
		return error_set(err, EEXIST, "nr=%u is %s", port->nr,
				 s->slots[port->nr].port->dev.id);
	return 0;
}

static int check_unique(const struct virtio_serial_port *port, struct vmm_error *err)
{
	const struct virtio_serial *s = port->serial;

	for (unsigned nr = 0; port->name && nr < s->max_ports; nr++) {
		const struct virtio_serial_port *other = s->slots[nr].port;

		if (other && other->name && !strcmp(other->name, port->name))
			return error_set(err, EEXIST, "name=%s is the name of %s", port->name,
					 other->dev.id);
	}
	return 0;
}

struct coming {
	struct virtio_serial_port *port;
	struct vmm_error *err;
	int rc;
};

static void come(void *arg)
{
	struct coming *c = arg;
	struct virtio_serial_port *port = c->port;
	struct virtio_serial *s = port->serial;

	c->rc = chardev_acquire(&port->chardev, port->spec, "chardev", &port->dev, c->err);
	if (c->rc)
		return;
	device_lock(&s->vd.dev);
	port->host_open = is_console(port) || chardev_connected(port->chardev);
	s->slots[port->nr].port = port;
	virtio_serial_tell_added(s, port->nr);
	device_unlock(&s->vd.dev);
	chardev_attach(port->chardev, &virtio_serial_frontend, port);
}

static int realize(struct device *dev, struct vmm_error *err)
{
	struct virtio_serial_port *port = virtio_serial_port(dev);
	struct coming coming = {.port = port, .err = err};
	int rc = check_name(port, "", err);

	if (!rc)
		rc = find_parent(port, err);
	if (!rc)
		rc = choose_nr(port, err);
	if (!rc)
		rc = check_unique(port, err);
	if (rc)
		return rc;
	loop_call(dev->loop, come, &coming);
	if (!coming.rc)
		device_set_parent(dev, &port->serial->vd.dev);
	return coming.rc;
}

static void go(void *arg)
{
	struct virtio_serial_port *port = arg;
	struct virtio_serial *s = port->serial;

	device_lock(&s->vd.dev);
	/*
	 * The driver takes its buffers back once it hears of this: what it queued to be sent is
	 * returned before, and what it queued to be filled is not remembered.
	 */
	virtio_serial_take_back(port);
	s->slots[port->nr].port = NULL;
	if (s->vd.active) {
		virtio_serial_discard(s, port->nr);
		virtq_unpop(s->vd.queues[virtio_serial_rx(port->nr)].vq, NULL);
	}
	virtio_serial_tell_removed(s, port->nr);
	device_unlock(&s->vd.dev);
	chardev_release(port->chardev);
}

static void unrealize(struct device *dev)
{
	loop_call(dev->loop, go, virtio_serial_port(dev));
}

/* ---- saved state ---- */

static void save(struct device *dev, struct state_writer *w)
{
	const struct virtio_serial_port *port = virtio_serial_port(dev);
	struct device *controller = &port->serial->vd.dev;

	device_lock(controller);
	state_put_u64(w, "ready", port->ready);
	state_put_u64(w, "guest_open", port->guest_open);
	state_put_u64(w, "host_open", port->host_open);
	state_put_u64(w, "tx_done", port->tx_done);
	state_put_u64(w, "columns", port->columns);
	state_put_u64(w, "rows", port->rows);
	device_unlock(controller);
}

/* The guest was told about another chardev and another terminal: say what has changed. */
static void catch_up(struct virtio_serial_port *port, bool host_open, uint16_t columns,
		     uint16_t rows)
{
	const uint16_t now_columns = port->columns, now_rows = port->rows;

	if (port->ready && host_open != port->host_open)
		virtio_serial_tell_open(port->serial, port->nr, port->host_open);
	port->columns = columns;
	port->rows = rows;
	if (now_columns)
		virtio_serial_set_size(port, now_columns, now_rows);
}

static int load(struct device *dev, struct state_reader *r, uint32_t version UNUSED)
{
	struct virtio_serial_port *port = virtio_serial_port(dev);
	struct virtio_serial *s = port->serial;
	uint64_t ready, guest_open, host_open, tx_done, columns, rows;
	int rc = state_get_u64(r, "ready", &ready, 0, 1);

	if (!rc)
		rc = state_get_u64(r, "guest_open", &guest_open, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "host_open", &host_open, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "tx_done", &tx_done, 0, UINT32_MAX);
	if (!rc)
		rc = state_get_u64(r, "columns", &columns, 0, UINT16_MAX);
	if (!rc)
		rc = state_get_u64(r, "rows", &rows, 0, UINT16_MAX);
	if (rc)
		return rc;
	device_lock(&s->vd.dev);
	port->ready = ready;
	port->guest_open = guest_open;
	port->tx_done = tx_done;
	catch_up(port, host_open, (uint16_t)columns, (uint16_t)rows);
	device_unlock(&s->vd.dev);
	return 0;
}

/* ---- actions ---- */

struct read_args {
	uint64_t max;
	int as;
};

static const char *const read_formats[] = {"text", "base64", NULL};

static const struct option_desc read_options[] = {
	{.name = "max",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct read_args, max),
	 .fallback = "64K",
	 .min = 1,
	 .max = READ_MAX,
	 .help = "bytes to take at most"},
	{.name = "as",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct read_args, as),
	 .fallback = "text",
	 .values = read_formats,
	 .help = "text, where what is no UTF-8 is replaced, or base64, which keeps every byte"},
	OPTION_END,
};

static char *to_base64(const uint8_t *data, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc((len + 2) / 3 * 4 + 1), *p = text;

	for (size_t i = 0; text && i < len; i += 3) {
		const size_t n = MIN(len - i, (size_t)3);
		const uint32_t v = (uint32_t)data[i] << 16 |
				   (n > 1 ? (uint32_t)data[i + 1] << 8 : 0u) |
				   (n > 2 ? (uint32_t)data[i + 2] : 0u);

		*p++ = digits[v >> 18];
		*p++ = digits[v >> 12 & 63];
		*p++ = n > 1 ? digits[v >> 6 & 63] : '=';
		*p++ = n > 2 ? digits[v & 63] : '=';
	}
	if (text)
		*p = '\0';
	return text;
}

/* A NUL ends a string: like all that is no text it becomes U+FFFD in the report. */
static char *to_text(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);

	for (size_t i = 0; text && i < len; i++)
		text[i] = data[i] ? (char)data[i] : (char)0xff;
	if (text)
		text[len] = '\0';
	return text;
}

static int not_a_ring(const struct virtio_serial_port *port, struct vmm_error *err)
{
	return error_set(err, ENOTSUP, "only chardev=ring can be read and written here, not %s",
			 chardev_describe(port->chardev));
}

static int read_ring(struct device *dev, const void *arg, struct report *report,
		     struct vmm_error *err)
{
	const struct virtio_serial_port *port = virtio_serial_port(dev);
	const struct read_args *args = arg;
	uint8_t *data = malloc(args->max);
	uint64_t dropped = 0;
	char *text = NULL;
	ssize_t n;

	if (!data)
		return error_set(err, ENOMEM, "out of memory");
	n = chardev_ring_read(port->chardev, data, args->max, &dropped);
	if (n >= 0)
		text = args->as ? to_base64(data, (size_t)n) : to_text(data, (size_t)n);
	free(data);
	if (n < 0)
		return not_a_ring(port, err);
	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	report_u64(report, "bytes", (uint64_t)n);
	report_u64(report, "dropped", dropped);
	report_u64(report, "left", chardev_ring_pending(port->chardev));
	report_string(report, read_formats[args->as], text);
	free(text);
	return 0;
}

struct write_args {
	char *text;
};

static const struct option_desc write_options[] = {
	{.name = "text",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct write_args, text),
	 .help = "input for the guest",
	 .required = true},
	OPTION_END,
};

static int write_ring(struct device *dev, const void *arg, struct report *report,
		      struct vmm_error *err)
{
	const struct virtio_serial_port *port = virtio_serial_port(dev);
	const struct write_args *args = arg;
	const ssize_t n = chardev_ring_write(port->chardev, args->text, strlen(args->text));

	if (n < 0)
		return not_a_ring(port, err);
	report_u64(report, "bytes", (uint64_t)n);
	return 0;
}

struct resize_args {
	uint64_t columns, rows;
};

static const struct option_desc resize_options[] = {
	{.name = "columns",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct resize_args, columns),
	 .min = 0,
	 .max = UINT16_MAX,
	 .help = "0, with rows=0: as many as the terminal has"},
	{.name = "rows",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct resize_args, rows),
	 .min = 0,
	 .max = UINT16_MAX,
	 .help = "0, with columns=0: as many as the terminal has"},
	OPTION_END,
};

static int resize(struct device *dev, const void *arg, struct report *report UNUSED,
		  struct vmm_error *err)
{
	struct virtio_serial_port *port = virtio_serial_port(dev);
	const struct resize_args *args = arg;

	if (!args->columns != !args->rows)
		return error_set(err, EINVAL, "columns and rows belong together");
	if (!args->columns) {
		chardev_check_size(port->chardev);
		return 0;
	}
	device_lock(&port->serial->vd.dev);
	virtio_serial_set_size(port, (uint16_t)args->columns, (uint16_t)args->rows);
	device_unlock(&port->serial->vd.dev);
	return 0;
}

static int status(struct device *dev, const void *arg UNUSED, struct report *report,
		  struct vmm_error *err UNUSED)
{
	struct virtio_serial_port *port = virtio_serial_port(dev);

	chardev_report(port->chardev, report);
	device_lock(&port->serial->vd.dev);
	report_bool(report, "guest-open", port->guest_open);
	report_bool(report, "host-open", port->host_open);
	device_unlock(&port->serial->vd.dev);
	return 0;
}

#define STATUS_ACTION                                                                   \
	{                                                                               \
		.name = "status", .help = "who has it open, and where it is connected", \
		.run = status                                                           \
	}

#define RING_ACTIONS                                                             \
	{.name = "read",                                                         \
	 .help = "take what the guest has written (chardev=ring)",               \
	 .options = read_options,                                                \
	 .implied = "max",                                                       \
	 .args_size = sizeof(struct read_args),                                  \
	 .run = read_ring},                                                      \
	{                                                                        \
		.name = "write", .help = "send the guest a text (chardev=ring)", \
		.options = write_options, .implied = "text",                     \
		.args_size = sizeof(struct write_args), .run = write_ring        \
	}

static const struct device_action port_actions[] = {RING_ACTIONS, STATUS_ACTION, {.name = NULL}};

static const struct device_action console_actions[] = {
	RING_ACTIONS,
	STATUS_ACTION,
	{.name = "resize",
	 .help = "the terminal has another size",
	 .options = resize_options,
	 .args_size = sizeof(struct resize_args),
	 .run = resize},
	{.name = NULL},
};

/* ---- classes ---- */

static const struct option_desc options[] = {
	{.name = "bus",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_serial_port, bus),
	 .help = "id of the virtio-serial that it sits on (default: the first)"},
	{.name = "nr",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_serial_port, nr_option),
	 .help = "port number (default: the lowest that is free; 0 is kept for a console)"},
	{.name = "name",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_serial_port, name),
	 .help = "the guest finds it as /dev/virtio-ports/NAME (at most 255 bytes)"},
	{.name = "chardev",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_serial_port, spec),
	 .fallback = "none",
	 .help = "the other end: stdio, pty, unix:PATH, attach:/PATH, file:PATH, ring, none, or "
		 "the id of a chardev"},
	OPTION_END,
};

#define PORT_FUNCTIONS                                                                       \
	.kind = DEVICE_CHILD, .options = options, .size = sizeof(struct virtio_serial_port), \
	.state_version = 1, .check = check, .realize = realize, .save = save, .load = load,  \
	.unrealize = unrealize

const struct device_class serial_port_class = {
	.name = "serial-port",
	.help = "named stream between the guest and the host, on a virtio-serial",
	PORT_FUNCTIONS,
	.actions = port_actions,
};

const struct device_class console_port_class = {
	.name = "console-port",
	.help = "terminal of the guest (hvc0 and up), on a virtio-serial",
	PORT_FUNCTIONS,
	.actions = console_actions,
};
