/* SPDX-License-Identifier: MIT */
/*
 * The commands of the control socket, with a VM on the machine's own KVM whose guest only loops.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/qmp_vm.h"

/* out 0x602, 1: the ACPI reset register */
static const uint8_t code_reset[] = {0x66, 0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xeb, 0xfe};
/* out 0x505, 1: pvpanic */
static const uint8_t code_panic[] = {0x66, 0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xeb, 0xfe};

TestSuite(qmp_commands, .init = setup, .fini = teardown, .timeout = 120);
TestSuite(qmp_guest_events, .fini = teardown, .timeout = 120);

/* ---- the machine ---- */

Test(qmp_commands, what_the_machine_is_can_be_asked)
{
	answers("{\"execute\":\"query-status\"}",
		"{\"return\":{\"running\":false,\"status\":\"prelaunch\"}}");
	start();
	answers("{\"execute\":\"query-status\"}",
		"{\"return\":{\"running\":true,\"status\":\"running\"}}");
	answers("{\"execute\":\"query-version\"}", "{\"return\":{\"package\":\"vmm-");
	answers("{\"execute\":\"query-name\"}", "{\"return\":{\"name\":\"test\"}}");
	answers("{\"execute\":\"query-uuid\"}", "0000");
	answers("{\"execute\":\"query-kvm\"}", "{\"return\":{\"enabled\":true,\"present\":true}}");
	answers("{\"execute\":\"query-memory-size-summary\"}", "\"base-memory\":67108864");
	answers("{\"execute\":\"query-iothreads\"}", "{\"return\":[]}");
	answers("{\"execute\":\"query-cpus-fast\"}", "\"cpu-index\":1,");
	answers("{\"execute\":\"query-pci\"}", "\"qdev_id\":\"d0\",\"regions\":[{\"address\":");
	answers("{\"execute\":\"query-commands\"}", "{\"name\":\"block_resize\"}");
	answers("{\"execute\":\"query-qmp-schema\"}",
		"{\"arg-type\":\"DEVICE_DELETED-arg\",\"meta-type\":\"event\"");
	answers("{\"execute\":\"vmm-status\"}", "\"status\":\"running\"");
	answers("{\"execute\":\"human-monitor-command\"}", "CommandNotFound");
}

Test(qmp_commands, each_command_of_the_table_is_in_the_schema_and_runs_or_refuses)
{
	char request[128];

	start();
	for (const struct qmp_command *c = control_commands; c->name; c++) {
		if (!strcmp(c->name, "quit"))
			continue;
		snprintf(request, sizeof(request), "{\"execute\":\"%s\"}", c->name);
		/* Without arguments, which those need that have some that are required. */
		if (c->args && !c->args->optional)
			answers(request, "is missing");
		else
			cr_assert_null(strstr(ask(request), "CommandNotFound"), "%s", c->name);
	}
}

Test(qmp_commands, pause_resume_and_reset_are_told_before_they_are_answered)
{
	start();
	does("{\"execute\":\"stop\"}");
	cr_assert_str_eq(seen, "STOP ");
	does("{\"execute\":\"stop\"}");
	answers("{\"execute\":\"query-status\"}", "\"paused\"");
	does("{\"execute\":\"system_reset\"}");
	does("{\"execute\":\"cont\"}");
	does("{\"execute\":\"system_powerdown\"}");
	cr_assert_str_eq(seen, "STOP RESET{\"guest\":false,\"reason\":\"host-qmp-system-reset\"} "
			       "RESUME POWERDOWN ");
}

Test(qmp_commands, quit_is_answered_told_and_ends_the_vm)
{
	struct vmm_result result;

	start();
	does("{\"execute\":\"quit\"}");
	wait_event("SHUTDOWN{\"guest\":false,\"reason\":\"host-qmp-quit\"}");
	cr_assert_eq(vmm_wait(vm, &result), 0);
	cr_assert_eq(result.kind, VMM_EXIT_STOPPED);
	/* Still there for questions, until it is destroyed. */
	answers("{\"execute\":\"query-status\"}", "\"shutdown\"");
	answers("{\"execute\":\"cont\"}", "has stopped");
	answers("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"p0\"}}", "has stopped");
}

Test(qmp_commands, a_stop_that_no_client_asked_for_is_told_as_such)
{
	start();
	vmm_stop(vm);
	wait_event("SHUTDOWN{\"guest\":false,\"reason\":\"host-signal\"}");
}

Test(qmp_commands, before_the_start_what_needs_a_guest_is_refused)
{
	answers("{\"execute\":\"stop\"}", "has not been started");
	answers("{\"execute\":\"query-cpus-fast\"}", "{\"return\":[]}");
}

Test(qmp_guest_events, a_reset_by_the_guest_is_told_as_such)
{
	setup_guest(code_reset, sizeof(code_reset));
	start();
	wait_event("RESET{\"guest\":true,\"reason\":\"guest-reset\"}");
	does("{\"execute\":\"quit\"}");
	wait_event("SHUTDOWN");
}

Test(qmp_guest_events, a_panic_is_told_and_why_the_vm_ended)
{
	setup_guest(code_panic, sizeof(code_panic));
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	wait_event("SHUTDOWN");
	cr_assert_not_null(strstr(seen, "GUEST_PANICKED{\"action\":\"poweroff\"} SHUTDOWN"
					"{\"guest\":true,\"reason\":\"guest-panic\"}"),
			   "%s", seen);
	answers("{\"execute\":\"query-status\"}", "guest-panicked");
}

/* ---- devices ---- */

Test(qmp_commands, children_come_and_go)
{
	char request[256];

	start();
	snprintf(
		request, sizeof(request),
		"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-disk\",\"id\":\"s0\","
		"\"bus\":\"scsi0\",\"target\":1,\"path\":\"%s\",\"readonly\":true,\"snapshot\":false}}",
		kernel);
	does(request);
	answers(request, "already a device");
	answers("{\"execute\":\"vmm-devices\"}", "\"id\":\"s0\"");
	answers("{\"execute\":\"query-block\"}", "\"device\":\"s0\"");
	does("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"s0\"}}");
	cr_assert_str_eq(seen,
			 "DEVICE_DELETED{\"device\":\"s0\",\"path\":\"/machine/peripheral/s0\"} ");
	answers("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"s0\"}}", "DeviceNotFound");
	answers("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"isa-serial\"}}",
		"before the VM starts");
	answers("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nonsense\"}}",
		"there is no device \\\"nonsense\\\"\"}");
}

Test(qmp_commands, pci_devices_come_and_go)
{
	start();
	does("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng\",\"id\":\"r\"}}");
	answers("{\"execute\":\"query-pci\"}", "\"qdev_id\":\"r\"");
	does("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"r\"}}");
	cr_assert_str_eq(seen, "", "the guest has not answered");
	answers("{\"execute\":\"vmm-devices\"}", "\"leaving\":true");
	does("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"r\",\"force\":true}}");
	cr_assert_str_eq(seen,
			 "DEVICE_DELETED{\"device\":\"r\",\"path\":\"/machine/peripheral/r\"} ");
	answers("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"r\",\"force\":1}}", "force");
}

Test(qmp_commands, a_value_with_commas_is_one_value)
{
	start();
	answers("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-disk\","
		"\"path\":\"/nonexistent/a,readonly=on\"}}",
		"/nonexistent/a,readonly=on");
}

Test(qmp_commands, disks_are_resized_limited_and_counted)
{
	start();
	answers("{\"execute\":\"query-block\"}", "\"virtual-size\":1048576");
	does("{\"execute\":\"block_resize\",\"arguments\":{\"device\":\"d0\",\"size\":2097152}}");
	answers("{\"execute\":\"query-block\"}", "\"virtual-size\":2097152");
	answers("{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"d0\",\"size\":0}}",
		"above 0");
	answers("{\"execute\":\"block_resize\",\"arguments\":{\"device\":\"d0\",\"size\":512}}",
		"GenericError");
	answers("{\"execute\":\"block_resize\",\"arguments\":{\"size\":512}}",
		"'device' or 'node-name' is missing");
	answers("{\"execute\":\"block_resize\",\"arguments\":{\"device\":\"d0\","
		"\"node-name\":\"d0\",\"size\":4194304}}",
		"'device' and 'node-name' exclude each other");
	answers("{\"execute\":\"block_resize\",\"arguments\":{\"device\":\"x\",\"size\":512}}",
		"DeviceNotFound");
	does("{\"execute\":\"block_set_io_throttle\",\"arguments\":{\"id\":\"d0\",\"bps\":1000000,"
	     "\"bps_rd\":0,\"bps_wr\":0,\"iops\":100,\"iops_rd\":0,\"iops_wr\":0}}");
	answers("{\"execute\":\"block_set_io_throttle\",\"arguments\":{\"id\":\"d0\",\"bps\":0,"
		"\"bps_rd\":1,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0}}",
		"only totals");
	answers("{\"execute\":\"block_set_io_throttle\",\"arguments\":{\"id\":\"d0\",\"bps\":-1,"
		"\"bps_rd\":0,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0}}",
		"negative");
	answers("{\"execute\":\"query-blockstats\"}", "\"rd_operations\":0");
}

#define TRAY(open) "DEVICE_TRAY_MOVED{\"device\":\"cd0\",\"id\":\"cd0\",\"tray-open\":" open "} "

Test(qmp_commands, media_change)
{
	char request[256];

	start();
	snprintf(request, sizeof(request),
		 "{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		 "\"filename\":\"%s\",\"format\":\"raw\"}}",
		 disk);
	/* The disk has it locked as its own. */
	answers(request, "GenericError");
	snprintf(request, sizeof(request),
		 "{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		 "\"filename\":\"%s\"}}",
		 kernel);
	does(request);
	cr_assert_str_eq(seen, TRAY("true") TRAY("false"));
	answers("{\"execute\":\"query-block\"}", kernel);
	does("{\"execute\":\"eject\",\"arguments\":{\"id\":\"cd0\",\"force\":true}}");
	answers("{\"execute\":\"query-block\"}", "\"tray_open\":true");
	does("{\"execute\":\"blockdev-close-tray\",\"arguments\":{\"id\":\"cd0\"}}");
	does("{\"execute\":\"blockdev-close-tray\",\"arguments\":{\"id\":\"cd0\"}}");
	does("{\"execute\":\"blockdev-open-tray\",\"arguments\":{\"id\":\"cd0\"}}");
	/* As they happened, before they were answered. */
	cr_assert_str_eq(seen, TRAY("true") TRAY("false") TRAY("true") TRAY("false") TRAY("true"));
	answers("{\"execute\":\"eject\",\"arguments\":{\"id\":\"d0\"}}", "no action");
	answers("{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		"\"filename\":\"x\",\"format\":\"qcow2\"}}",
		"only raw");
}

Test(qmp_commands, network_balloon_ports_and_any_action)
{
	start();
	does("{\"execute\":\"set_link\",\"arguments\":{\"name\":\"net0\",\"up\":false}}");
	answers("{\"execute\":\"set_link\",\"arguments\":{\"name\":\"d0\",\"up\":false}}",
		"is no network card");
	answers("{\"execute\":\"set_link\",\"arguments\":{\"name\":\"no\",\"up\":false}}",
		"DeviceNotFound");
	answers("{\"execute\":\"query-rx-filter\"}", "\"name\":\"net0\"");
	answers("{\"execute\":\"query-rx-filter\",\"arguments\":{\"name\":\"d0\"}}",
		"no receive filter");
	answers("{\"execute\":\"query-balloon\"}", "{\"return\":{\"actual\":67108864}}");
	does("{\"execute\":\"balloon\",\"arguments\":{\"value\":33554432}}");
	answers("{\"execute\":\"balloon\",\"arguments\":{\"value\":-1}}", "GenericError");
	answers("{\"execute\":\"query-chardev\"}",
		"{\"filename\":\"ring\",\"frontend-open\":false,\"label\":\"p0\"}");
	answers("{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"virtio-balloon0\","
		"\"action\":\"status\"}}",
		"\"target\":33554432");
	answers("{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"net0\",\"action\":\"link\","
		"\"options\":{\"state\":\"up\"}}}",
		"return");
	answers("{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"net0\",\"action\":\"link\","
		"\"options\":\"sideways\"}}",
		"GenericError");
	answers("{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"net0\",\"action\":\"link\","
		"\"options\":[]}}",
		"an object or a string");
}

/* As a guest would that plays with its balloon. */
Test(qmp_commands, a_balloon_that_changes_all_the_time_is_told_now_and_then)
{
	const struct device balloon = {.env = &vm->env, .id = (char[]){"virtio-balloon0"}};

	start();
	for (uint32_t i = 1; i <= 100000; i++)
		device_tell(&balloon, DEVICE_NOTICE_BALLOON, i % 1000 * 4096, NULL);
	device_tell(&balloon, DEVICE_NOTICE_BALLOON, 4096, NULL);
	/* The last word counts, and is heard. */
	wait_event("BALLOON_CHANGE{\"actual\":67104768}");
	cr_assert_lt(strlen(seen), 1000, "%s", seen);
}

/* As a guest would that opens and closes a port all the time. */
Test(qmp_commands, a_port_that_opens_and_closes_all_the_time_is_told_now_and_then)
{
	struct device port = {.env = &vm->env, .id = (char[]){"p0"}};

	start();
	for (uint64_t i = 0; i <= 100000; i++)
		device_tell(&port, DEVICE_NOTICE_PORT, i % 2, NULL);
	device_tell(&port, DEVICE_NOTICE_PORT, 1, NULL);
	/* At the latest with its end the last word is heard. */
	does("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"p0\"}}");
	wait_event("DEVICE_DELETED");
	cr_assert_not_null(strstr(seen, "VSERPORT_CHANGE{\"id\":\"p0\",\"open\":true} "
					"DEVICE_DELETED"),
			   "%s", seen);
	cr_assert_lt(strlen(seen), 3000, "%s", seen);
}

/* ---- together with the rest of the API ---- */

static void *ask_all_the_time(void *arg UNUSED)
{
	static const char requests[] = "{\"execute\":\"qmp_capabilities\"}"
				       "{\"execute\":\"stop\"}{\"execute\":\"cont\"}"
				       "{\"execute\":\"query-block\"}{\"execute\":\"query-pci\"}"
				       "{\"execute\":\"query-cpus-fast\"}"
				       "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"p0\"}}"
				       "{\"execute\":\"device_add\",\"arguments\":{\"driver\":"
				       "\"serial-port\",\"id\":\"p0\",\"name\":\"port\"}}";
	char answer[65536];
	int fd = unix_connect(path);

	for (;;) {
		if (send(fd, requests, sizeof(requests) - 1, MSG_NOSIGNAL) < 0 ||
		    recv(fd, answer, sizeof(answer), 0) <= 0)
			break;
	}
	close(fd);
	return NULL;
}

Test(qmp_commands, clients_ask_while_the_vm_starts_resets_stops_and_goes)
{
	pthread_t threads[3];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, ask_all_the_time, NULL), 0);
	/* The first client must not be told more than it reads. */
	shutdown(client, SHUT_RDWR);
	cr_assert_eq(vmm_start(vm, &err), 0, "%s", err.message);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(vmm_reset(vm, &err), 0, "%s", err.message);
	vmm_stop(vm);
	vmm_destroy(vm);
	vm = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	close(client);
	cr_assert_eq(rmdir(dir), 0);
}

Test(qmp_commands, one_socket_each_and_one_vm_at_each)
{
	struct vmm_config config = VMM_CONFIG_INIT;
	struct vmm *other;

	cr_assert_eq(vmm_control_listen(vm, "/tmp/another", &err), -EBUSY);
	config.kernel = kernel;
	config.memory = 64 << 20;
	cr_assert_eq(vmm_create(&other, &config, &err), 0, "%s", err.message);
	cr_assert_eq(vmm_control_listen(other, path, &err), -EADDRINUSE);
	vmm_destroy(other);
	answers("{\"execute\":\"query-name\"}", "test"); /* whose socket is still there */
	close(unix_connect(path));
}
