/* SPDX-License-Identifier: MIT */
/*
 * Config files: each option comes back from JSON as it was, mistakes are named, and the schema has
 * all that there is.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/config.h"

#define MAX_ARGS 64

/* Cut at blanks. Returns argc; what is pointed to lasts. */
static int split(char **argv, const char *command, const char *args)
{
	char *rest = duplicate(args), *arg;
	int argc = 0;

	argv[argc++] = duplicate(command);
	while ((arg = strsep(&rest, " ")))
		if (*arg && argc < MAX_ARGS)
			argv[argc++] = arg;
	return argc;
}

/* What `vmm config ARGS` prints; NULL: refused. */
static char *config_of(const char *args)
{
	struct config_record record = {.sections = NULL};
	char *argv[MAX_ARGS], *text;
	json_t *json;
	int argc = split(argv, "config", args);

	if (run_options_record(&record, argc, argv) != GO_ON) {
		json_decref(record.sections);
		return NULL;
	}
	json = config_record_result(&record);
	text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
	json_decref(json);
	return text;
}

/* A path that reads as this text. */
static char *file_of(const char *text, size_t len)
{
	int fd = memfd_create("config", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, len), (ssize_t)len);
	return format("/proc/self/fd/%d", fd);
}

static void parse(struct run_options *options, const char *args)
{
	char *argv[MAX_ARGS];
	int argc = split(argv, "run", args);

	cr_assert_eq(run_options_parse(options, argc, argv), GO_ON, "%s", args);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/*
 * The same options, whatever their order and however a truth value is written: those of one device
 * as JSON.
 */
static char *device_json(const struct run_device *device)
{
	struct config_record record = {.sections = NULL};
	const char *options = device->options && *device->options ? device->options : NULL;
	char *text = format("%s%s%s", device->cls, options ? "," : "", options ? options : "");
	json_t *json;

	cr_assert_eq(config_note(&record, NULL, "device", text), GO_ON);
	json = config_record_result(&record);
	text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(json);
	return text;
}

static void same_devices(const struct run_options *a, const struct run_options *b, const char *args)
{
	cr_assert_eq(a->device_count, b->device_count, "%s", args);
	for (size_t i = 0; i < a->device_count; i++) {
		char *one = device_json(&a->devices[i]), *other = device_json(&b->devices[i]);

		cr_assert_str_eq(one, other, "%s", args);
		cr_assert_eq(a->devices[i].unasked, b->devices[i].unasked, "%s", args);
		free(one);
		free(other);
	}
}

static void same_options(const struct run_options *a, const struct run_options *b, const char *args)
{
	const struct vmm_config *x = &a->config, *y = &b->config;

	cr_assert(same_text(x->kernel, y->kernel), "%s", args);
	cr_assert(same_text(x->cmdline, y->cmdline), "%s", args);
	cr_assert(same_text(x->name, y->name), "%s", args);
	cr_assert(x->memory == y->memory && x->cpus == y->cpus, "%s", args);
	cr_assert(x->hugepages == y->hugepages && x->prealloc == y->prealloc, "%s", args);
	cr_assert(x->shared == y->shared && x->on_reboot == y->on_reboot, "%s", args);
	cr_assert_eq(x->log_level, y->log_level, "%s", args);
	cr_assert_eq(a->initrd_count, b->initrd_count, "%s", args);
	for (size_t i = 0; i < a->initrd_count; i++)
		cr_assert_str_eq(a->initrds[i], b->initrds[i], "%s", args);
	cr_assert_eq(a->timeout.tv_sec, b->timeout.tv_sec, "%s", args);
	cr_assert_eq(a->timeout.tv_nsec, b->timeout.tv_nsec, "%s", args);
	cr_assert(same_text(a->control, b->control), "%s", args);
	cr_assert(a->control_asked == b->control_asked && a->detach == b->detach, "%s", args);
	cr_assert(same_text(a->metrics, b->metrics) && a->metrics_ms == b->metrics_ms, "%s", args);
	cr_assert(same_text(a->log_file, b->log_file) && a->log_json == b->log_json, "%s", args);
	same_devices(a, b, args);
}

/* `vmm run ARGS` and `vmm run --config <(vmm config ARGS)` are the same. */
static void comes_back(const char *args)
{
	struct run_options before, after;
	char *json, *again, *path;

	args = format("--kernel k %s", args);
	json = config_of(args);
	cr_assert_not_null(json, "%s", args);
	path = file_of(json, strlen(json));
	parse(&before, args);
	parse(&after, format("--config %s", path));
	same_options(&before, &after, args);
	again = config_of(format("--config %s", path));
	cr_assert_str_eq(again, json);
	free(json);
	free(again);
}

/* ---- there and back ---- */

/* One line for each option at least; `needs`: a device that this build may lack. */
static const struct {
	const char *option, *needs, *args;
} cases[] = {
	{"kernel", NULL, "--kernel a --kernel b,c"},
	{"initrd", NULL, "--initrd a --initrd b"},
	{"append", NULL, "--append quiet --append a=\"b,c\" --append \\\\x"},
	{"disk", NULL, "--disk a.img --disk b/c=d.img,readonly,cache=none,bps=1M,id=x"},
	{"disk", NULL, "--disk a,,b.img,queues=0x2 --disk queue-size=64,path=x,packed=no"},
	{"disk", "scsi-disk", "--disk a,bus=scsi,target=3,wwn=0xffffffffffffffff"},
	{"disk", "scsi-cd", "--disk media=cdrom,bus=scsi --disk bus=scsi,media=cdrom,path=c"},
	{"net", NULL, "--net none"},
	{"net", "virtio-net", "--net tap,ifname=t0,vhost=on --net none"},
	{"net", "virtio-net",
	 "--net stream:unix:/a,,b,server=on,queue-size=512 --net stream:tcp:127.0.0.1:5,reconnect=3"},
	{"net", "virtio-net", "--net none,id=n --net dgram:unix:/a,local=/b,pcap=/c,,d"},
	{"cpus", NULL, "--cpus 255"},
	{"memory", NULL, "--memory 1G"},
	{"memory", NULL, "--memory 20480000000,hugepages --memory size=64M,prealloc=yes,shared=on"},
	{"memory", NULL, "--memory hugepages=on --memory 1G,hugepages=off"},
	{"serial", NULL, "--serial file:/a,,b,append=on,index=2,id=c --serial pty,link=/x"},
	{"serial", NULL, "--serial unix:/x,wait-for=a,,b,id=c"},
	{"console", "console-port", "--console none --console ring:size=64K,name=x"},
	{"port", "serial-port", "--port a,b=unix:/x,nr=3,id=p --port c=none"},
	{"balloon", "virtio-balloon", "--balloon on"},
	{"balloon", "virtio-balloon", "--balloon off"},
	{"balloon", "virtio-balloon", "--balloon deflate-on-oom=off,stats-interval=5"},
	{"rng", "virtio-rng", "--rng on --rng off --rng max-bytes=1K"},
	{"device", NULL,
	 "--device debug-exit,iobase=0xf4 --device isa-serial,chardev=pty,,link=/x"},
	{"device", "virtio-net", "--device virtio-net,backend=none,id=n --net none"},
	{"defaults", NULL, "--defaults off"},
	{"defaults", NULL, "--defaults off --defaults yes"},
	{"on-reboot", NULL, "--on-reboot exit"},
	{"timeout", NULL, "--timeout 30"},
	{"timeout", NULL, "--timeout 86400.000000001"},
	{"timeout", NULL, "--timeout 0.1"},
	{"name", NULL, "--name a --control none"},
	{"control", NULL, "--control unix:/a,b"},
	{"detach", NULL, "--detach --control unix:/a"},
	{"metrics", NULL, "--metrics vm.prom"},
	{"metrics", NULL, "--metrics vm.prom,interval=2.5"},
	{"log", NULL, "--log debug,file=/a,,b,json"},
	{"log", NULL, "--quiet --log json --verbose --verbose"},
	/* Orders that an object cannot have. */
	{"disk", "virtio-net", "--disk a --net none,id=x --disk b --device debug-exit"},
	{"device", NULL, "--device debug-exit --disk a --device virtio-blk,path=b --disk c"},
	{"disk", "scsi-disk", "--device virtio-scsi,id=s --disk a,bus=scsi --kernel z"},
};

Test(config, every_option_comes_back_as_it_was)
{
	for (size_t i = 0; i < CLI_COUNT(cases); i++) {
		if (!cases[i].needs || device_class_known(cases[i].needs))
			comes_back(cases[i].args);
	}
}

/* Whoever adds an option adds it to config_options, too, and here. */
Test(config, every_option_has_a_case_and_a_kind)
{
	static const char *const elsewhere[] = {"config", "verbose", "quiet", "help"};
	char *help = NULL, *rest, *line;
	size_t size, known = 0;
	FILE *old = stdout;

	stdout = open_memstream(&help, &size);
	run_options_help();
	fclose(stdout);
	stdout = old;
	rest = help;
	while ((line = strsep(&rest, "\n"))) {
		char *name = strstr(line, "--");
		size_t i, len;

		if (!name || line[2] == ' ' ? strspn(line, " ") != 6 : strspn(line, " ") != 2)
			continue;
		name = strstr(line, "--") + 2;
		len = strcspn(name, " ");
		name[len] = '\0';
		for (i = 0; i < CLI_COUNT(elsewhere) && strcmp(elsewhere[i], name) != 0; i++)
			;
		if (i < CLI_COUNT(elsewhere))
			continue;
		cr_assert_not_null(config_option_named(name), "%s", name);
		for (i = 0; i < CLI_COUNT(cases) && strcmp(cases[i].option, name) != 0; i++)
			;
		cr_assert_lt(i, CLI_COUNT(cases), "--%s has no case", name);
		known++;
	}
	free(help);
	for (size_t i = 0; config_options[i].name; i++) {
		cr_assert_not_null(run_option_help(config_options[i].name));
		known--;
	}
	cr_assert_eq(known, 0);
}

/* ---- the command line after it ---- */

static struct run_options with_file(const char *json, const char *args)
{
	struct run_options options;

	parse(&options, format("--config %s %s", file_of(json, strlen(json)), args));
	return options;
}

Test(config, the_command_line_adds_and_overrides)
{
	struct run_options o =
		with_file("{\"kernel\":\"k\",\"cpus\":2,\"append\":\"a\",\"defaults\""
			  ":false,\"disk\":[{\"path\":\"x\"}],\"memory\":{\"size\":"
			  "\"1G\",\"shared\":true},\"initrd\":[\"i\"]}",
			  "--cpus 3 --append b --disk y --memory 64M --initrd j");

	cr_assert_eq(o.config.cpus, 3);
	cr_assert_str_eq(o.config.cmdline, "a b");
	cr_assert_eq(o.config.memory, UINT64_C(64) << 20);
	cr_assert(o.config.shared);
	cr_assert_eq(o.initrd_count, 2);
	cr_assert_eq(o.device_count, 3);
	cr_assert_str_eq(o.devices[0].options, "path=x");
	cr_assert_str_eq(o.devices[1].options, "path=y");
	/* And what stands before the file is overridden by it. */
	parse(&o, format("--kernel k --cpus 3 --config %s", file_of("{\"cpus\":2}", 10)));
	cr_assert_eq(o.config.cpus, 2);
}

Test(config, a_file_may_be_a_part)
{
	struct run_options o = with_file("{\"$schema\":\"x\",\"net\":[],\"rng\":false,\"balloon\":"
					 "{},\"memory\":{},\"detach\":false,\"disk\":[]}",
					 "--kernel k");

	cr_assert_eq(o.device_count, device_class_known("virtio-balloon") ? 2u : 1u);
	cr_assert_not(o.detach);
	cr_assert_eq(with_file("[]", "--kernel k --defaults off").device_count, 1);
}

/* ---- mistakes ---- */

static void refused_text(const char *json, size_t len, const char *part, int wanted)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC), saved = dup(STDERR_FILENO), status;
	char *argv[] = {duplicate("run"), duplicate("--config"), file_of(json, len)};
	struct run_options options;
	char line[1024] = "";

	cr_assert(fd >= 0 && saved >= 0);
	dup2(fd, STDERR_FILENO);
	status = run_options_parse(&options, 3, argv);
	dup2(saved, STDERR_FILENO);
	close(saved);
	cr_assert_geq(pread(fd, line, sizeof(line) - 1, 0), 0);
	close(fd);
	cr_assert_eq(status, wanted, "%s", json);
	cr_assert_not_null(strstr(line, argv[2]), "%s: %s", json, line);
	cr_assert_not_null(strstr(line, part), "%s: %s", json, line);
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "%s: %s", json, line);
}

static void refused(const char *json, const char *part)
{
	refused_text(json, strlen(json), part, STATUS_USAGE);
}

Test(config, what_is_no_json_is_refused_with_its_place)
{
	char *deep = allocate(4096);

	refused("", ":1:0: ");
	refused("{\"cpus\": 1,\n \"name\": }", ":2:10: ");
	refused("{\"cpus\": 1} x", ":1:13: ");
	refused("{\"cpus\":1,\"cpus\":1}", "duplicate object key near '\"cpus\"'");
	refused("{\"name\":\"\xff\"}", "unable to decode byte 0xff");
	refused("{\"name\":\"a\\u0000\"}", ":1:");
	memset(deep, '[', 4095);
	refused(deep, "depth");
	refused_text("\0", 1, ":1:", STATUS_USAGE);
}

Test(config, a_file_that_is_too_large_is_refused)
{
	size_t size = ((size_t)1 << 20) + 1;
	char *blanks = allocate(size);

	memset(blanks, ' ', size);
	refused_text(blanks, size, "larger than 1 MiB", STATUS_ERROR);
}

Test(config, what_is_wrong_is_named_by_its_path)
{
	refused("3", ":1:1: '[' or '{' expected");
	refused("[{},[]]", ": [1]: must be an object");
	refused("{\"kernal\":\"x\"}", ": kernal: there is no such key; did you mean kernel?");
	refused("[{\"kernal\":\"x\"}]", ": [0].kernal: ");
	refused("{\"kernel\":1}", ": kernel: must be a string");
	refused("{\"initrd\":\"a\"}", ": initrd: must be an array of strings");
	refused("{\"initrd\":[\"a\",null]}", ": initrd[1]: must be a string");
	refused("{\"disk\":{\"path\":\"a\"}}", ": disk: must be an array of objects");
	refused("{\"disk\":[{\"path\":\"a\"},{\"pth\":1}]}",
		"disk[1].pth: there is no such key; did");
	refused("{\"disk\":[{\"path\":1}]}", ": disk[0].path: must be a string");
	refused("{\"disk\":[{\"path\":\"a\",\"readonly\":\"on\"}]}",
		"readonly: must be true or false");
	refused("{\"disk\":[{\"path\":\"a\",\"queues\":true}]}",
		"disk[0].queues: must be a number");
	refused("{\"disk\":[{\"path\":\"a\",\"queues\":-1}]}",
		": disk[0]: --disk: queues=-1: must");
	refused("{\"disk\":[{\"path\":\"a\",\"bps\":1.5}]}", ": disk[0].bps: must be a number of");
	refused("{\"disk\":[{\"path\":\"a\",\"cache\":\"nnone\"}]}", "did you mean \"none\"?");
	refused("{\"disk\":[{}]}", ": disk[0]: --disk needs a value");
	refused("{\"serial\":{}}", ": serial.chardev: is missing");
	refused("{\"serial\":{\"chardev\":\"help\"}}", ": serial.chardev: 'help' is for");
	refused("{\"serial\":{\"chardev\":\"stdoi\"}}", ": serial: --serial: ");
	refused("{\"device\":[{\"iobase\":1}]}", ": device[0].class: is missing");
	refused("{\"device\":[{\"class\":\"debug-exi\"}]}", ": device[0]: --device debug-exi: ");
	refused("{\"device\":[{\"class\":\"debug-exit\",\"iobas\":1}]}",
		"device[0].iobas: there is");
	/* A comma in it would hide the other keys. */
	refused("{\"device\":[{\"class\":\"debug-exit,id=a\",\"bogus\":1}]}",
		": device[0].class: must be the name of a class alone");
	refused("{\"cpus\":1.5}", ": cpus: must be a whole number");
	refused("{\"cpus\":0}", ": cpus: --cpus 0: must be a number from 1 to 255");
	refused("{\"timeout\":-1}", ": timeout: --timeout -1");
	refused("{\"timeout\":\"5\"}", ": timeout: must be a number");
	refused("{\"memory\":\"1G\"}", ": memory: must be an object");
	refused("{\"memory\":{\"size\":512}}", "did you mean 512M?");
	refused("{\"defaults\":\"off\"}", ": defaults: must be true or false");
	refused("{\"balloon\":[]}", ": balloon: must be true, false or an object");
	refused("{\"on-reboot\":\"rest\"}", ": on-reboot: --on-reboot rest: must be reset");
	refused("{\"log\":{\"level\":\"loud\"}}", ": log: --log level=loud");
	refused("{\"config\":\"x\"}", ": config: there is no such key");
}

Test(config, keys_of_networks_are_typed_too)
{
	if (!device_class_known("virtio-net"))
		cr_skip_test("this build has no virtio-net");
	refused("{\"net\":[{\"backend\":\"user\",\"hostfwd\":\"a\"}]}",
		"hostfwd: must be an array of");
	refused("{\"net\":[{\"backend\":\"user\",\"hostfwd\":[1]}]}",
		": net[0].hostfwd[0]: must be");
	refused("{\"net\":[{\"backend\":\"none\",\"vhots\":true}]}", "did you mean vhost?");
}

Test(config, a_name_that_is_no_utf8_cannot_be_printed)
{
	cr_assert_null(config_of("--disk \xff"));
	cr_assert_null(config_of("--kernel \xff"));
	cr_assert_null(config_of("--log file=\xff"));
}

/* ---- the schema ---- */

static void has_keys(json_t *object, const struct config_option *option, const char *cls)
{
	json_t *keys = json_object_get(object, "properties");
	struct vmm_option_info key;
	size_t count = 0;

	cr_assert(json_is_false(json_object_get(object, "additionalProperties")));
	while (config_key(option, cls, (unsigned)count, &key)) {
		json_t *schema = json_object_get(keys, key.name);

		cr_assert_not_null(schema, "%s %s", option->name, key.name);
		if (!json_object_get(schema, "const"))
			cr_assert_not_null(json_object_get(schema, "description"));
		count++;
	}
	cr_assert_eq(json_object_size(keys), count, "%s", option->name);
}

Test(config, the_schema_has_every_option_class_and_key)
{
	json_t *schema = config_schema(), *section, *keys, *each;
	struct vmm_device_info info;
	struct vmm_option_info key;
	unsigned i;

	cr_assert_str_eq(json_string_value(json_object_get(schema, "$schema")),
			 "https://json-schema.org/draft/2020-12/schema");
	section = json_object_get(json_object_get(schema, "$defs"), "section");
	keys = json_object_get(section, "properties");
	for (const struct config_option *option = config_options; option->name; option++) {
		json_t *value = json_object_get(keys, option->name);

		cr_assert_not_null(value, "%s", option->name);
		cr_assert_not_null(json_object_get(value, "description"));
		if (strcmp(option->name, "device") == 0)
			continue;
		if (option->kind == CONFIG_OBJECT)
			has_keys(value, option, NULL);
		else if (option->kind == CONFIG_OBJECTS)
			has_keys(json_object_get(value, "items"), option, NULL);
		else if (option->kind == CONFIG_SWITCHED)
			has_keys(json_array_get(json_object_get(value, "anyOf"), 1), option, NULL);
	}
	each = json_object_get(json_object_get(json_object_get(keys, "device"), "items"), "oneOf");
	for (i = 0; vmm_device_class(i, &info); i++) {
		json_t *object = json_array_get(each, i);

		has_keys(object, config_option_named("device"), info.name);
		for (unsigned k = 0; vmm_device_option(info.name, k, &key); k++)
			cr_assert_not_null(
				json_object_get(json_object_get(object, "properties"), key.name),
				"%s %s", info.name, key.name);
	}
	cr_assert_eq(json_array_size(each), i);
	json_decref(schema);
}

/* A class with an option `class` could not be written. */
Test(config, no_device_has_an_option_that_is_named_class)
{
	struct vmm_device_info info;
	struct vmm_option_info key;

	for (unsigned i = 0; vmm_device_class(i, &info); i++)
		for (unsigned k = 0; vmm_device_option(info.name, k, &key); k++)
			cr_assert_str_neq(key.name, "class");
}
