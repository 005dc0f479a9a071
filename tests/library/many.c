/* SPDX-License-Identifier: MIT */
/*
 * Many VMs in one process: a hundred at once, and a thousand one after the other, of which nothing
 * is left. A program as any other that uses the library: it has the public header and the shared
 * object. Prints TAP.
 */
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmm.h>

#define VMS     100
#define CYCLES  1000
#define THREADS 2
#define WARM_UP 20 /* cycles, until libraries have what they keep for good */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* malloc is another one; leaks are its own to find */
#else
#define SANITIZED 0
#endif

static char shell[4096], quick[4096], disk[4096];

static void die(const char *what, const struct vmm_error *err)
{
	printf("Bail out! %s: %s\n", what, err ? err->message : "");
	exit(1);
}

/* ---- a guest that is talked to ---- */

struct talk {
	struct vmm *vm;
	struct vmm_chardev *serial;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t len;
	char text[512];
};

static size_t on_output(void *opaque, const void *data, size_t len)
{
	struct talk *t = opaque;
	size_t room;

	pthread_mutex_lock(&t->lock);
	room = sizeof(t->text) - 1 - t->len;
	memcpy(t->text + t->len, data, len < room ? len : room);
	t->len += len < room ? len : room;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
	return len;
}

static const struct vmm_chardev_ops serial_ops = {sizeof(serial_ops), on_output, NULL};

static void start(struct talk *t, const char *kernel)
{
	struct vmm_config config = VMM_CONFIG_INIT;
	struct vmm_error err;

	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	config.kernel = kernel;
	config.memory = 32 << 20;
	if (vmm_create(&t->vm, &config, &err) ||
	    vmm_add_chardev(t->vm, "serial", &serial_ops, t, &t->serial, &err) ||
	    vmm_add_device(t->vm, "isa-serial", "chardev=api:serial", &err) ||
	    vmm_add_device(t->vm, "debug-exit", NULL, &err) ||
	    vmm_add_device(t->vm, "virtio-rng", NULL, &err) ||
	    vmm_add_device(t->vm, "virtio-serial", NULL, &err) ||
	    vmm_add_device(t->vm, "serial-port", "name=a", &err) ||
	    vmm_add_device(t->vm, "virtio-net", "backend=none", &err) ||
	    vmm_add_device(t->vm, "virtio-blk", disk, &err) || vmm_start(t->vm, &err))
		die("a VM does not start", &err);
}

static void end(struct talk *t)
{
	vmm_destroy(t->vm);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
}

static void expect(struct talk *t, const char *what)
{
	pthread_mutex_lock(&t->lock);
	while (t->text[t->len] = '\0', !strstr(t->text, what))
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

static int hundred_at_once(void)
{
	struct talk *talks = calloc(VMS, sizeof(*talks));
	struct vmm_result result;
	char text[64];
	int wrong = 0;

	if (!talks)
		return -1;
	for (int i = 0; i < VMS; i++)
		start(&talks[i], shell);
	for (int i = 0; i < VMS; i++)
		expect(&talks[i], "# ");
	/* All of them are there, and each has its own memory and devices. */
	for (int i = 0; i < VMS; i++)
		wrong += vmm_get_state(talks[i].vm) != VMM_STATE_RUNNING;
	for (int i = 0; i < VMS; i++) {
		size_t len = (size_t)snprintf(text, sizeof(text), "echo I am %d.\n", i);

		wrong += vmm_chardev_input(talks[i].serial, text, len) != len;
	}
	for (int i = 0; i < VMS; i++) {
		snprintf(text, sizeof(text), "I am %d.\r", i);
		text[strlen(text) - 1] = '\0';
		expect(&talks[i], text);
	}
	for (int i = 0; i < VMS; i++)
		wrong += vmm_chardev_input(talks[i].serial, "poweroff\n", 9) != 9;
	for (int i = 0; i < VMS; i++) {
		wrong += vmm_wait(talks[i].vm, &result) || result.kind != VMM_EXIT_POWEROFF;
		end(&talks[i]);
	}
	free(talks);
	return wrong;
}

/* ---- what a process has ---- */

struct holdings {
	unsigned descriptors, threads, mappings;
	size_t bytes;
};

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/*
 * From proc(5): PF_EXITING is set in the flags, the seventh field after the name in parentheses.
 * Such a thread may have been joined already: its entry goes a little later.
 */
static int is_ending(int tasks, const char *tid)
{
	const unsigned pf_exiting = 4;
	char path[64], text[512], *rest;
	unsigned flags = pf_exiting; /* of a thread that is gone meanwhile */
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/stat", tid);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = '\0';
	rest = strrchr(text, ')');
	if (rest)
		sscanf(rest, ") %*c %*d %*d %*d %*d %*d %u", &flags);
	return (flags & pf_exiting) != 0;
}

static unsigned threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	for (struct dirent *e; d && (e = readdir(d));)
		n += e->d_name[0] != '.' && !is_ending(dirfd(d), e->d_name);
	if (d)
		closedir(d);
	if (!n)
		die("the threads cannot be counted", NULL);
	return n;
}

static unsigned lines(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;

	for (int c; f && (c = getc(f)) != EOF;)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static struct holdings look(void)
{
	return (struct holdings){
		.descriptors = entries("/proc/self/fd"),
		.threads = threads(),
		.mappings = lines("/proc/self/maps"),
		.bytes = SANITIZED ? 0 : mallinfo2().uordblks,
	};
}

/* Half of the guests end by themselves, the other half is stopped. */
static void *cycle(void *arg)
{
	const int cycles = *(const int *)arg;
	struct vmm_result result;

	for (int i = 0; i < cycles; i++) {
		struct talk t = {0};

		start(&t, i % 2 ? quick : shell);
		if (i % 2 == 0)
			vmm_stop(t.vm);
		if (vmm_wait(t.vm, &result) ||
		    result.kind != (i % 2 ? VMM_EXIT_DEBUG : VMM_EXIT_STOPPED))
			die("a VM ended otherwise", &result.error);
		end(&t);
	}
	return NULL;
}

static void cycles_on_threads(int cycles)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, cycle, &cycles))
			die("no thread", NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static int number;

static int report(int passed, const char *name)
{
	printf("%sok %d - %s\n", passed ? "" : "not ", ++number, name);
	fflush(stdout);
	return !passed;
}

static int same(unsigned before, unsigned after, const char *name)
{
	if (before != after)
		printf("# %u before, %u after\n", before, after);
	return report(before == after, name);
}

static int leaks(void)
{
	struct holdings before, after;
	unsigned slack;
	int failed = 0;

	cycles_on_threads(WARM_UP);
	before = look();
	cycles_on_threads(CYCLES / THREADS);
	after = look();
	failed += same(before.descriptors, after.descriptors,
		       "1000 VMs one after the other leave no descriptor");
	failed += same(before.threads, after.threads, "1000 VMs leave no thread");
	/* An allocator keeps an arena more or less; a sanitizer's keeps what was freed for a while.
	 */
	slack = SANITIZED ? CYCLES / 10 : 8;
	if (after.mappings > before.mappings + slack)
		printf("# %u before, %u after\n", before.mappings, after.mappings);
	failed += report(after.mappings <= before.mappings + slack, "1000 VMs leave no mapping");
	if (after.bytes > before.bytes + CYCLES)
		printf("# %zu before, %zu after\n", before.bytes, after.bytes);
	failed += report(after.bytes <= before.bytes + CYCLES, "1000 VMs leave no byte");
	return failed;
}

int main(void)
{
	const char *build = getenv("VMM_BUILD");
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), image, failed;
	char file[] = "/tmp/vmm-many.XXXXXX";

	if (fd < 0) {
		printf("1..0 # SKIP /dev/kvm cannot be opened\n");
		return 0;
	}
	close(fd);
	snprintf(shell, sizeof(shell), "%s/guest/shell.elf", build ? build : "build");
	snprintf(quick, sizeof(quick), "%s/guest/exit.elf", build ? build : "build");
	image = mkstemp(file);
	if (image < 0 || ftruncate(image, 1 << 20))
		die("no disk", NULL);
	snprintf(disk, sizeof(disk), "path=%s,readonly=on", file);
	failed = report(hundred_at_once() == 0, "100 VMs run at once");
	failed += leaks();
	printf("1..%d\n", number);
	unlink(file);
	close(image);
	return failed != 0;
}
