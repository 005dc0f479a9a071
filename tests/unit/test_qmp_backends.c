/* SPDX-License-Identifier: MIT */
/*
 * Backends with a name over the control socket: they are opened at once, a device at a time has
 * them, they stay when it goes, and the end of the VM closes what is left.
 */
#include <stdarg.h>
#include <sys/stat.h>

#include "support/qmp_vm.h"

TestSuite(qmp_backends, .init = setup, .fini = teardown, .timeout = 120);

/* ---- requests ---- */

/* A request of a command and its arguments, with ' for ". */
PRINTF(2, 3) static const char *request(const char *command, const char *fmt, ...)
{
	static char made[2048];
	char args[1536];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(args, sizeof(args), fmt, ap);
	va_end(ap);
	snprintf(made, sizeof(made), "{'execute':'%s','arguments':{%s}}", command, args);
	for (char *c = made; *c; c++)
		if (*c == '\'')
			*c = '"';
	return made;
}

/* A backend of this type with these data, likewise. */
static const char *chardev_add(const char *id, const char *type, const char *data)
{
	return request("chardev-add", "'id':'%s','backend':{'type':'%s','data':{%s}}", id, type,
		       data);
}

/* A server at the path "DIR/name". */
static const char *socket_add(const char *id, const char *name)
{
	char data[256];

	snprintf(data, sizeof(data),
		 "'addr':{'type':'unix','data':{'path':'%s/%s'}},'server':true,'wait':false", dir,
		 name);
	return chardev_add(id, "socket", data);
}

static const char *blockdev_add(const char *node, const char *file, const char *more)
{
	return request("blockdev-add",
		       "'driver':'raw','node-name':'%s',"
		       "'file':{'driver':'file','filename':'%s/%s'}%s",
		       node, dir, file, more);
}

static const char *removal(const char *command, const char *key, const char *name)
{
	return request(command, "'%s':'%s'", key, name);
}

/* It is an error of this class, and says so in these words. */
static void refuses(const char *text_of_request, const char *part)
{
	const char *answer = ask(text_of_request);

	cr_assert_not_null(strstr(answer, "\"class\":\"GenericError\""), "%s: %s", text_of_request,
			   answer);
	cr_assert_not_null(strstr(answer, part), "%s: wanted %s, got %s", text_of_request, part,
			   answer);
}

/* ---- files ---- */

static const char *in_dir(const char *name)
{
	static char full[96];

	snprintf(full, sizeof(full), "%s/%s", dir, name);
	return full;
}

static void make_image(const char *name, off_t size)
{
	const int fd = open(in_dir(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, size), 0);
	close(fd);
}

/* ---- streams ---- */

Test(qmp_backends, a_stream_stays_while_ports_come_and_go)
{
	int peer;

	start();
	does(socket_add("c0", "c0.sock"));
	peer = unix_connect(in_dir("c0.sock")); /* before there is any port */
	answers("{\"execute\":\"query-chardev\"}", "\"frontend-open\":false,\"label\":\"c0\"");
	for (int i = 0; i < 3; i++) {
		does(request("device_add", "'driver':'virtserialport','id':'p1','chardev':'c0',"
					   "'bus':'ser0.0','name':'org.x'"));
		refuses(request("device_add", "'driver':'serial-port','id':'p2','chardev':'c0'"),
			"p1 has the chardev c0");
		refuses(removal("chardev-remove", "id", "c0"),
			"p1 has the chardev c0: remove that first");
		answers("{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"p1\",\"action\":"
			"\"status\"}}",
			"\"chardev-id\":\"c0\",\"guest-open\":false,\"host-open\":true");
		answers("{\"execute\":\"query-chardev\"}", "\"label\":\"c0\"");
		cr_assert_null(strstr(ask("{\"execute\":\"query-chardev\"}"), "\"label\":\"p1\""));
		does(removal("device_del", "id", "p1"));
	}
	does(removal("chardev-remove", "id", "c0"));
	cr_assert_neq(access(in_dir("c0.sock"), F_OK), 0, "the socket was left behind");
	refuses(removal("chardev-remove", "id", "c0"), "there is no chardev c0");
	refuses(request("device_add", "'driver':'serial-port','chardev':'c0'"),
		"there is no chardev of that name");
	close(peer);
}

Test(qmp_backends, a_serial_port_takes_one_before_the_start)
{
	does(chardev_add("c0", "ringbuf", "'size':4096"));
	does(request("device_add", "'driver':'isa-serial','id':'com1','chardev':'c0'"));
	answers("{\"execute\":\"query-chardev\"}",
		"{\"filename\":\"ring\",\"frontend-open\":true,\"label\":\"c0\"}");
	refuses(removal("chardev-remove", "id", "c0"), "com1 has the chardev c0");
	does(removal("device_del", "id", "com1"));
	does(removal("chardev-remove", "id", "c0"));
}

Test(qmp_backends, each_type_of_stream_is_opened_at_once)
{
	char data[128];
	const char *answer, *path_of_pty;

	start();
	snprintf(data, sizeof(data), "'out':'%s/log'", dir);
	does(chardev_add("f", "file", data));
	cr_assert_eq(unlink(in_dir("log")), 0, "the file is not there");
	does(chardev_add("n", "null", ""));
	does(chardev_add("r", "ringbuf", ""));
	snprintf(data, sizeof(data), "'path':'%s/a,b'", dir);
	answer = ask(chardev_add("t", "pty", data));
	path_of_pty = strstr(answer, "{\"return\":{\"pty\":\"/dev/");
	cr_assert_not_null(path_of_pty, "%s", answer);
	cr_assert_eq(access(in_dir("a,b"), F_OK), 0, "the link is not there");
	does(removal("chardev-remove", "id", "t"));
	cr_assert_neq(access(in_dir("a,b"), F_OK), 0, "the link was left behind");
	does(removal("chardev-remove", "id", "f"));
	/* The others go with the VM. */
}

Test(qmp_backends, a_stream_that_cannot_be_is_refused_and_leaves_nothing)
{
	char data[256];

	start();
	does(socket_add("c0", "c0.sock"));
	refuses(socket_add("c0", "c0.sock"), "there is already a chardev c0");
	refuses(socket_add("c1", "c0.sock"), "in use by another program");
	refuses(chardev_add("stdio", "null", ""), "a kind of stream");
	refuses(chardev_add("0c", "null", ""), "begins with a letter");
	refuses(chardev_add("", "null", ""), "begins with a letter");
	refuses(chardev_add("c1", "spicevmc", ""), "socket, file, pty, null, ringbuf");
	refuses(chardev_add("c1", "null", "'x':1"), "'backend.data.x' is unexpected");
	refuses(chardev_add("c1", "file", ""), "'backend.data.out' is missing");
	refuses(chardev_add("c1", "file", "'out':1"), "'backend.data.out', expected: string");
	refuses(chardev_add("c1", "file", "'out':''"), "file needs a path");
	refuses(chardev_add("c1", "file", "'out':'/nonexistent/x'"), "/nonexistent/x");
	refuses(chardev_add("c1", "file", "'out':'/dev/null','append':true"), "only be false");
	refuses(chardev_add("c1", "ringbuf", "'size':-1"), "size=-1");
	refuses(chardev_add("c1", "ringbuf", "'size':'1'"), "expected: integer");
	refuses(request("chardev-add", "'id':'c1','backend':{'type':'null'}"),
		"'backend.data' is missing");
	refuses(request("chardev-add", "'id':'c1','backend':{'data':{}}"),
		"'backend.type' is missing");
	refuses(request("chardev-add", "'id':'c1','backend':[]"), "expected: object");
	refuses(request("chardev-add", "'id':'c1'"), "'backend' is missing");
	/* Sockets: what we do not do is refused, not left out. */
	refuses(chardev_add("c1", "socket", ""), "'backend.data.addr' is missing");
	refuses(chardev_add("c1", "socket", "'addr':{'type':'inet','data':{}}"), "only: unix");
	refuses(chardev_add("c1", "socket", "'addr':{'type':'unix','data':{}}"),
		"'backend.data.addr.data.path' is missing");
	refuses(chardev_add("c1", "socket",
			    "'addr':{'type':'unix','data':{'path':'/x'}},"
			    "'server':false"),
		"'server' can only be true");
	refuses(chardev_add("c1", "socket",
			    "'addr':{'type':'unix','data':{'path':'/x'}},"
			    "'wait':true"),
		"'wait' can only be false");
	refuses(chardev_add("c1", "socket",
			    "'addr':{'type':'unix','data':{'path':'/x',"
			    "'abstract':true}}"),
		"'abstract' can only be false");
	snprintf(data, sizeof(data), "'addr':{'type':'unix','data':{'path':'/%0150d'}}", 0);
	refuses(chardev_add("c1", "socket", data), "the system allows 107");
	refuses(removal("chardev-remove", "id", "c1"), "there is no chardev c1");
}

/* ---- disks ---- */

Test(qmp_backends, a_drive_stays_while_disks_come_and_go)
{
	make_image("d.img", 1 << 20);
	start();
	does(blockdev_add("d1", "d.img", ",'discard':'unmap','cache':{'direct':false}"));
	answers("{\"execute\":\"query-named-block-nodes\"}", "\"node-name\":\"d1\"");
	/* It is open, and so locked. */
	refuses(blockdev_add("d2", "d.img", ""), "lock");
	for (int i = 0; i < 3; i++) {
		does(request("device_add", "'driver':'scsi-hd','id':'s1','drive':'d1',"
					   "'bus':'scsi0.0','scsi-id':1"));
		refuses(request("device_add", "'driver':'scsi-disk','target':2,'drive':'d1'"),
			"drive: s1 has the drive d1");
		refuses(removal("blockdev-del", "node-name", "d1"),
			"s1 has the drive d1: remove that first");
		answers("{\"execute\":\"query-block\"}", "\"node-name\":\"d1\"");
		answers("{\"execute\":\"query-blockstats\"}",
			"\"device\":\"s1\",\"node-name\":\"d1\"");
		does(removal("device_del", "id", "s1"));
	}
	does(removal("blockdev-del", "node-name", "d1"));
	refuses(removal("blockdev-del", "node-name", "d1"), "there is no drive d1");
	refuses(request("device_add", "'driver':'scsi-hd','drive':'d1'"), "there is no drive d1");
	does(blockdev_add("d2", "d.img", ""));
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, a_pci_disk_takes_one_and_gives_it_back)
{
	make_image("d.img", 1 << 20);
	does(request("blockdev-add", "'driver':'file','node-name':'d1','filename':'%s'",
		     in_dir("d.img")));
	does(request("device_add", "'driver':'virtio-blk-pci','id':'v1','drive':'d1',"
				   "'bus':'pcie.0','logical_block_size':4096"));
	start();
	answers("{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"v1\",\"action\":\"status\"}}",
		"\"drive\":\"d1\",\"drive-driver\":\"file\"");
	answers("{\"execute\":\"query-block\"}", "\"drv\":\"file\"");
	does(request("device_del", "'id':'v1','force':true"));
	does(removal("blockdev-del", "node-name", "d1"));
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, a_drive_is_a_medium_until_it_is_ejected)
{
	char medium[128];

	make_image("cd.iso", 1 << 20);
	start();
	does(blockdev_add("iso", "cd.iso", ",'read-only':true"));
	does(request("device_add", "'driver':'scsi-cd','id':'cd1','target':3,'drive':'iso'"));
	answers("{\"execute\":\"query-block\"}", "\"node-name\":\"iso\"");
	snprintf(medium, sizeof(medium), "\"medium\":\"%s\"", in_dir("cd.iso"));
	answers(request("vmm-action", "'id':'cd1','action':'status'"), medium);
	does(request("eject", "'id':'cd1','force':true"));
	does(removal("blockdev-del", "node-name", "iso"));
	cr_assert_eq(unlink(in_dir("cd.iso")), 0);
}

/* What libvirt does. */
Test(qmp_backends, a_node_on_another_by_its_name)
{
	const char *nodes = "{\"execute\":\"query-named-block-nodes\"}";
	const char *add_format = "'driver':'raw','node-name':'libvirt-1-format','read-only':%s,"
				 "'discard':'unmap','cache':{'direct':false,'no-flush':false},"
				 "'file':'libvirt-1-storage'";
	const char *answer;

	make_image("d.img", 1 << 20);
	start();
	does(request("blockdev-add",
		     "'driver':'file','filename':'%s','node-name':'libvirt-1-storage',"
		     "'auto-read-only':true,'discard':'unmap',"
		     "'cache':{'direct':false,'no-flush':false}",
		     in_dir("d.img")));
	for (int i = 0; i < 2; i++) {
		does(request("blockdev-add", add_format, i ? "true" : "false"));
		answers(nodes, "\"node-name\":\"libvirt-1-storage\",\"ro\":false");
		answers(nodes, "\"drv\":\"raw\"");
		answers(nodes, "\"drv\":\"file\"");
		answers(nodes, i ? "\"node-name\":\"libvirt-1-format\",\"ro\":true"
				 : "\"node-name\":\"libvirt-1-format\",\"ro\":false");
		does(request("device_add",
			     "'driver':'scsi-hd','id':'s1','bus':'scsi0.0','scsi-id':1,"
			     "'drive':'libvirt-1-format'"));
		refuses(removal("blockdev-del", "node-name", "libvirt-1-format"),
			"s1 has the drive libvirt-1-format: remove that");
		refuses(removal("blockdev-del", "node-name", "libvirt-1-storage"),
			"libvirt-1-format has the drive libvirt-1-storage: remove that");
		answer = ask("{\"execute\":\"query-block\"}");
		cr_assert_not_null(strstr(answer, "\"node-name\":\"libvirt-1-format\""), "%s",
				   answer);
		cr_assert_null(strstr(answer, "libvirt-1-storage"), "%s", answer);
		answers(request("vmm-action", "'id':'s1','action':'status'"),
			i ? "\"readonly\":true" : "\"readonly\":false");
		does(removal("device_del", "id", "s1"));
		does(removal("blockdev-del", "node-name", "libvirt-1-format"));
	}
	does(removal("blockdev-del", "node-name", "libvirt-1-storage"));
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

static off_t size_of(const char *name)
{
	const int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);
	const off_t size = lseek(fd, 0, SEEK_END);

	close(fd);
	return size;
}

Test(qmp_backends, a_drive_is_resized_with_and_without_a_disk)
{
	make_image("d.img", 1 << 20);
	start();
	does(blockdev_add("d1", "d.img", ""));
	does(request("block_resize", "'node-name':'d1','size':2097152"));
	cr_assert_eq(size_of("d.img"), 2 << 20);
	does(request("device_add", "'driver':'scsi-hd','id':'s1','lun':1,'drive':'d1'"));
	answers("{\"execute\":\"query-block\"}", "\"virtual-size\":2097152");
	does(request("block_resize", "'node-name':'d1','size':4194304"));
	cr_assert_eq(size_of("d.img"), 4 << 20);
	answers("{\"execute\":\"query-block\"}", "\"virtual-size\":4194304");
	refuses(request("block_resize", "'node-name':'d1','size':512"), "cut off");
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, cache_and_access_of_both_nodes_count)
{
	const char *nodes = "{\"execute\":\"query-named-block-nodes\"}";

	make_image("d.img", 1 << 20);
	start();
	does(request("blockdev-add",
		     "'driver':'raw','node-name':'d1','detect-zeroes':'off',"
		     "'force-share':false,'discard':'unmap','file':{'driver':'file','filename':"
		     "'%s','read-only':true,'aio':'threads','locking':'auto',"
		     "'cache':{'no-flush':true}}",
		     in_dir("d.img")));
	answers(nodes, "\"no-flush\":true");
	answers(nodes, "\"node-name\":\"d1\",\"ro\":true");
	does(removal("blockdev-del", "node-name", "d1"));
	does(blockdev_add("d1", "d.img", ""));
	answers(nodes, "\"node-name\":\"d1\",\"ro\":false");
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, a_node_on_one_that_is_read_only_is_read_only_but_not_unasked)
{
	const char *nodes = "{\"execute\":\"query-named-block-nodes\"}";
	static const char *const ways[] = {"'file':'base'", "'file':'base','read-only':true",
					   "'file':'base','read-only':false,'auto-read-only':true"};

	make_image("d.img", 1 << 20);
	start();
	refuses(request("blockdev-add", "'driver':'raw','node-name':'top','read-only':false,'file':"
					"{'driver':'file','filename':'/x','read-only':true}"),
		"'file' is read-only");
	does(request("blockdev-add",
		     "'driver':'file','node-name':'base','filename':'%s','read-only':true",
		     in_dir("d.img")));
	refuses(request("blockdev-add",
			"'driver':'raw','node-name':'top','file':'base','read-only':false"),
		"the node base is read-only");
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		does(request("blockdev-add", "'driver':'raw','node-name':'top',%s", ways[i]));
		answers(nodes, "\"node-name\":\"top\",\"ro\":true");
		does(removal("blockdev-del", "node-name", "top"));
	}
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, auto_read_only_reads_what_cannot_be_written)
{
	make_image("d.img", 1 << 20);
	cr_assert_eq(chmod(in_dir("d.img"), 0444), 0);
	cr_assert_eq(chmod(dir, 0755), 0);
	/* Not started: all threads are to change, and vCPUs do not hear of it. */
	if (geteuid() == 0 && seteuid(65534) < 0)
		cr_skip_test("cannot give up root");
	refuses(blockdev_add("d1", "d.img", ""), "denied");
	does(blockdev_add("d1", "d.img", ",'auto-read-only':true"));
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
	answers("{\"execute\":\"query-named-block-nodes\"}", "\"node-name\":\"d1\",\"ro\":true");
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, auto_read_only_shares_an_image_that_others_read)
{
	make_image("d.img", 1 << 20);
	start();
	does(blockdev_add("d1", "d.img", ",'read-only':true"));
	refuses(blockdev_add("d2", "d.img", ""), "lock");
	does(blockdev_add("d2", "d.img", ",'auto-read-only':true"));
	answers("{\"execute\":\"query-named-block-nodes\"}", "\"node-name\":\"d2\",\"ro\":true");
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, a_drive_that_cannot_be_is_refused_and_leaves_nothing)
{
	static const char *const wrong[][2] = {
		{"'driver':'qcow2'", "raw, file, host_device"},
		{"'driver':'raw'", "'file' is missing"},
		{"'driver':'raw','file':'other'", "there is no drive other"},
		{"'driver':'raw','file':'d1'", "there is no drive d1"},
		{"'driver':'raw','file':1", "'file', expected: object or string"},
		{"'driver':'raw','filename':'/x','file':'other'", "'filename' is unexpected"},
		{"'driver':'raw','aio':'threads','file':'other'", "'aio' is unexpected"},
		{"'driver':'raw','filename':'/x','file':{'driver':'file','filename':'/x'}",
		 "'filename' is unexpected"},
		{"'driver':'raw','file':{'driver':'file'}", "'file.filename' is missing"},
		{"'driver':'raw','file':{'driver':'nbd','filename':'/x'}", "only: file"},
		{"'driver':'raw','file':{'driver':'file','filename':'/x','y':1}",
		 "'file.y' is unexpected"},
		{"'driver':'file'", "'filename' is missing"},
		{"'driver':'file','filename':1", "'filename', expected: string"},
		{"'driver':'file','filename':'/x','file':{}", "'file' is unexpected"},
		{"'driver':'file','filename':'/nonexistent/x'", "/nonexistent/x"},
		{"'driver':'file','filename':''", "path is missing"},
		{"'driver':'file','filename':'/tmp'", "directory"},
		{"'driver':'file','filename':'/x','discard':'maybe'", "only: ignore, unmap"},
		{"'driver':'file','filename':'/x','detect-zeroes':'unmap'", "only: off"},
		{"'driver':'file','filename':'/x','aio':'posix'", "only: threads"},
		{"'driver':'file','filename':'/x','locking':'off'", "only: auto, on"},
		{"'driver':'file','filename':'/x','force-share':true", "can only be false"},
		{"'driver':'file','filename':'/x','cache':{'direct':1}", "'cache.direct'"},
		{"'driver':'file','filename':'/x','cache':{'direct':true,'no-flush':true}",
		 "together"},
		{"'driver':'file','filename':'/x','read-only':1", "expected: boolean"},
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		refuses(request("blockdev-add", "'node-name':'d1',%s", wrong[i][0]), wrong[i][1]);
	refuses(request("blockdev-add", "'driver':'file','filename':'/x'"),
		"'node-name' is missing");
	refuses(request("blockdev-add", "'driver':'file','filename':'%s','node-name':'d1'", disk),
		"lock"); /* d0 has it */
	refuses(request("blockdev-add", "'driver':'file','filename':'%s','node-name':'1d'", kernel),
		"begins with a letter");
	does(request("blockdev-add",
		     "'driver':'file','filename':'%s','node-name':'d1',"
		     "'read-only':true",
		     kernel));
	refuses(request("blockdev-add",
			"'driver':'file','filename':'%s','node-name':'d1',"
			"'read-only':true",
			kernel),
		"there is already a drive d1");
	refuses(request("device_add", "'driver':'scsi-hd','drive':'d1','path':'/x'"),
		"exclude each other");
	refuses(request("device_add", "'driver':'scsi-hd','drive':'d1','readonly':true"),
		"were decided");
	refuses(request("device_add", "'driver':'scsi-hd','drive':'d1',"
				      "'logical_block_size':1000"),
		"logical-block-size");
	refuses(request("device_add", "'driver':'scsi-hd','drive':'d1','bus':'nowhere.0'"),
		"bus=nowhere");
	/* None of these has kept it. */
	does(removal("blockdev-del", "node-name", "d1"));
}

/* What libvirt says of its disks and network cards. */
Test(qmp_backends, what_has_no_meaning_here_is_taken_if_it_changes_nothing)
{
	static const char *const wrong[][2] = {
		{"'driver':'virtio-rng-pci','addr':'0x20'", "'addr' accepts only a PCI slot"},
		{"'driver':'virtio-rng-pci','addr':'03.8'", "'addr' accepts only a PCI slot"},
		{"'driver':'virtio-rng-pci','addr':'03.0x'", "'addr' accepts only a PCI slot"},
		{"'driver':'virtio-rng-pci','addr':''", "'addr' accepts only a PCI slot"},
		{"'driver':'virtio-rng-pci','addr':[]", "'addr' accepts only a PCI slot"},
		{"'driver':'virtio-rng-pci','addr':256", "'addr' accepts only a PCI slot"},
		{"'driver':'virtio-rng-pci','addr':-8", "'addr' accepts only a PCI slot"},
		{"'driver':'scsi-hd','drive':'d1','channel':1", "'channel' accepts only 0"},
		{"'driver':'scsi-hd','drive':'d1','bootindex':'x'", "'bootindex' accepts only"},
		{"'driver':'scsi-hd','drive':'d1','write-cache':'off'",
		 "'write-cache' accepts only"},
		{"'driver':'scsi-hd','drive':'d1','device_id':7.5", "'device_id' accepts only"},
		/* Of devices that have no such thing. */
		{"'driver':'virtio-rng-pci','bootindex':1", "bootindex"},
		{"'driver':'virtio-rng-pci','channel':0", "channel"},
		{"'driver':'scsi-hd','drive':'d1','addr':'0x3'", "addr"},
	};

	make_image("d.img", 1 << 20);
	start();
	does(blockdev_add("d1", "d.img", ""));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		refuses(request("device_add", "'id':'x1',%s", wrong[i][0]), wrong[i][1]);
	does(request(
		"device_add",
		"'driver':'scsi-hd','id':'scsi0-0-0-1','bus':'scsi0.0','channel':0,'scsi-id':1,"
		"'lun':0,'drive':'d1','device_id':'drive-scsi0-0-0-1','bootindex':1,"
		"'write-cache':'on'"));
	does(removal("device_del", "id", "scsi0-0-0-1"));
	does(request("device_add", "'driver':'virtio-blk-pci','id':'v1','bus':'pci.0','addr':'0x3',"
				   "'drive':'d1','bootindex':2,'write-cache':'auto'"));
	does(request("device_add", "'driver':'virtio-rng-pci','id':'r1','bus':'pcie.0',"
				   "'addr':'1f.7'"));
	does(request("device_add", "'driver':'virtio-rng-pci','id':'r2','addr':255"));
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

/* ---- the end ---- */

Test(qmp_backends, there_are_not_more_than_a_bound)
{
	make_image("d.img", 1 << 20);
	does(chardev_add("c0", "null", ""));
	vm->backends += MACHINE_BACKENDS_MAX - 1; /* as if there were so many */
	refuses(chardev_add("c1", "null", ""), "at most 4096");
	refuses(blockdev_add("d1", "d.img", ""), "at most 4096");
	refuses(removal("chardev-remove", "id", "c1"), "there is no chardev c1");
	refuses(chardev_add("c1", "null", ""), "at most 4096");
	does(removal("chardev-remove", "id", "c0"));
	does(blockdev_add("d1", "d.img", ""));
	refuses(chardev_add("c1", "null", ""), "at most 4096");
	does(removal("blockdev-del", "node-name", "d1"));
	refuses(blockdev_add("d1", "none.img", ""), "none.img");
	does(chardev_add("c1", "null", ""));
	cr_assert_eq(unlink(in_dir("d.img")), 0);
}

Test(qmp_backends, a_vm_that_has_stopped_takes_none_and_closes_what_it_has)
{
	make_image("d.img", 1 << 20);
	start();
	does(socket_add("c0", "c0.sock"));
	does(blockdev_add("d1", "d.img", ""));
	does("{\"execute\":\"quit\"}");
	wait_event("SHUTDOWN");
	answers("{\"execute\":\"query-chardev\"}", "\"label\":\"c0\"");
	refuses(socket_add("c1", "c1.sock"), "has stopped");
	refuses(blockdev_add("d2", "d.img", ""), "has stopped");
	refuses(removal("chardev-remove", "id", "c0"), "has stopped");
	refuses(removal("blockdev-del", "node-name", "d1"), "has stopped");
	cr_assert_eq(unlink(in_dir("d.img")), 0);
	/* teardown finds the folder empty */
}
