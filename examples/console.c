/* SPDX-License-Identifier: MIT */
/*
 * Boot a kernel and print its console until the guest switches itself off.
 *
 *   console KERNEL [INITRD [COMMANDLINE]]
 *
 * The exit status is 0 if the guest switched itself off.
 */
#include <stdio.h>
#include <string.h>
#include <vmm.h>

/* What the guest prints. On the VM's event loop. */
static size_t print(void *opaque, const void *data, size_t len)
{
	(void)opaque;
	fwrite(data, 1, len, stdout);
	fflush(stdout);
	return len;
}

static const struct vmm_chardev_ops serial_ops = {sizeof(serial_ops), print, NULL};

static int run(struct vmm *vm, struct vmm_result *result)
{
	struct vmm_chardev *serial;
	int r = vmm_add_chardev(vm, "out", &serial_ops, NULL, &serial, &result->error);

	if (r == 0)
		r = vmm_add_device(vm, "isa-serial", "chardev=api:out", &result->error);
	if (r == 0)
		r = vmm_start(vm, &result->error);
	return r ? r : vmm_wait(vm, result);
}

int main(int argc, char **argv)
{
	struct vmm_config config = VMM_CONFIG_INIT;
	struct vmm_result result = {VMM_EXIT_ERROR, 0, {0, ""}};
	const char *initrds[] = {argc > 2 ? argv[2] : NULL, NULL};
	struct vmm *vm = NULL;

	if (argc < 2) {
		fprintf(stderr, "usage: console KERNEL [INITRD [COMMANDLINE]]\n");
		return 2;
	}
	config.kernel = argv[1];
	config.initrds = initrds;
	config.cmdline = argc > 3 ? argv[3] : "console=ttyS0";
	if (vmm_create(&vm, &config, &result.error) == 0)
		run(vm, &result);
	vmm_destroy(vm);
	if (result.kind == VMM_EXIT_POWEROFF)
		return 0;
	fprintf(stderr, "console: %s\n",
		result.error.code ? result.error.message : "the guest ended otherwise");
	return 1;
}
