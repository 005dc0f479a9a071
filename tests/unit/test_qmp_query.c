/* SPDX-License-Identifier: MIT */
/*
 * What the control socket's query commands tell, next to what QEMU documents: members that its
 * clients count on are there, and of the right type.
 */
#include "support/qmp_vm.h"

TestSuite(qmp_query, .init = setup, .fini = teardown, .timeout = 120);

/* What a command returns; the caller's. */
static json_t *returned(const char *command)
{
	char request[128];
	json_t *answer, *result;

	snprintf(request, sizeof(request), "{\"execute\":\"%s\"}", command);
	answer = json_loads(ask(request), 0, NULL);
	result = json_incref(json_object_get(answer, "return"));
	cr_assert_not_null(result, "%s", command);
	json_decref(answer);
	return result;
}

static json_t *entry(const json_t *list, const char *key, const char *value)
{
	json_t *it;
	size_t i;

	json_array_foreach(list, i, it)
	{
		if (!strcmp(json_string_value(json_object_get(it, key)), value))
			return it;
	}
	cr_assert_fail("nothing with %s=%s", key, value);
	return NULL;
}

/* members: ended by a NULL name; all are mandatory in QEMU's schema. */
struct member {
	const char *name;
	json_type type;
};

static void has_members(const json_t *object, const struct member *members)
{
	for (; members->name; members++) {
		const json_t *value = json_object_get(object, members->name);
		/* Both are "bool" there. */
		json_type type = value && json_is_false(value) ? JSON_TRUE
				 : value                       ? json_typeof(value)
							       : JSON_NULL;

		cr_assert_not_null(value, "no %s", members->name);
		cr_assert_eq(type, members->type, "%s", members->name);
	}
}

Test(qmp_query, a_disk_has_what_clients_look_for)
{
	static const struct member disk_members[] = {
		{"device", JSON_STRING}, {"type", JSON_STRING},     {"removable", JSON_TRUE},
		{"locked", JSON_TRUE},   {"inserted", JSON_OBJECT}, {NULL, 0}};
	static const struct member medium[] = {{"file", JSON_STRING},
					       {"ro", JSON_TRUE},
					       {"drv", JSON_STRING},
					       {"backing_file_depth", JSON_INTEGER},
					       {"encrypted", JSON_TRUE},
					       {"detect_zeroes", JSON_STRING},
					       {"bps", JSON_INTEGER},
					       {"bps_rd", JSON_INTEGER},
					       {"bps_wr", JSON_INTEGER},
					       {"iops", JSON_INTEGER},
					       {"iops_rd", JSON_INTEGER},
					       {"iops_wr", JSON_INTEGER},
					       {"image", JSON_OBJECT},
					       {"cache", JSON_OBJECT},
					       {"write_threshold", JSON_INTEGER},
					       {NULL, 0}};
	static const struct member image[] = {{"filename", JSON_STRING},
					      {"format", JSON_STRING},
					      {"virtual-size", JSON_INTEGER},
					      {NULL, 0}};
	static const struct member cache[] = {{"writeback", JSON_TRUE},
					      {"direct", JSON_TRUE},
					      {"no-flush", JSON_TRUE},
					      {NULL, 0}};
	json_t *list, *inserted;

	start();
	does("{\"execute\":\"block_set_io_throttle\",\"arguments\":{\"id\":\"d0\",\"bps\":1000000,"
	     "\"bps_rd\":0,\"bps_wr\":0,\"iops\":100,\"iops_rd\":0,\"iops_wr\":0}}");
	list = returned("query-block");
	has_members(entry(list, "device", "d0"), disk_members);
	inserted = json_object_get(entry(list, "device", "d0"), "inserted");
	has_members(inserted, medium);
	has_members(json_object_get(inserted, "image"), image);
	has_members(json_object_get(inserted, "cache"), cache);
	cr_assert_eq(json_integer_value(json_object_get(inserted, "bps")), 1000000);
	cr_assert_eq(json_integer_value(json_object_get(inserted, "iops")), 100);
	cr_assert(json_is_true(json_object_get(json_object_get(inserted, "cache"), "writeback")));
	/* A drive without a medium. */
	cr_assert_null(json_object_get(entry(list, "device", "cd0"), "inserted"));
	cr_assert_not_null(json_object_get(entry(list, "device", "cd0"), "tray_open"));
	json_decref(list);
}

Test(qmp_query, a_medium_in_a_drive_is_told_as_that_of_a_disk)
{
	char request[256];
	json_t *list;

	start();
	snprintf(request, sizeof(request),
		 "{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		 "\"filename\":\"%s\",\"read-only-mode\":\"retain\",\"force\":false}}",
		 kernel);
	does(request);
	list = returned("query-block");
	cr_assert(json_is_true(
		json_object_get(json_object_get(entry(list, "device", "cd0"), "inserted"), "ro")));
	json_decref(list);
	answers("{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		"\"filename\":\"x\",\"read-only-mode\":\"read-write\"}}",
		"retain, read-only");
	answers("{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd0\","
		"\"filename\":\"x\",\"read-only-mode\":\"whatever\"}}",
		"whatever");
}

Test(qmp_query, the_counters_of_a_disk_are_all_there)
{
	static const char *const names[] = {"rd_bytes",
					    "wr_bytes",
					    "unmap_bytes",
					    "rd_operations",
					    "wr_operations",
					    "flush_operations",
					    "unmap_operations",
					    "rd_total_time_ns",
					    "wr_total_time_ns",
					    "flush_total_time_ns",
					    "unmap_total_time_ns",
					    "wr_highest_offset",
					    "rd_merged",
					    "wr_merged",
					    "unmap_merged",
					    "failed_rd_operations",
					    "failed_wr_operations",
					    "failed_flush_operations",
					    "failed_unmap_operations",
					    "invalid_rd_operations",
					    "invalid_wr_operations",
					    "invalid_flush_operations",
					    "invalid_unmap_operations"};
	json_t *list, *stats;

	start();
	list = returned("query-blockstats");
	stats = json_object_get(entry(list, "device", "d0"), "stats");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		cr_assert(json_is_integer(json_object_get(stats, names[i])), "%s", names[i]);
	cr_assert(json_is_array(json_object_get(stats, "timed_stats")));
	cr_assert(json_is_boolean(json_object_get(stats, "account_failed")));
	cr_assert(json_is_boolean(json_object_get(stats, "account_invalid")));
	json_decref(list);
}

Test(qmp_query, pci_functions_have_their_bars_where_the_guest_has_put_them)
{
	json_t *buses, *bar;
	uint64_t address;

	start();
	/* As a guest would: bus 0, slot 1, memory decoding on. */
	pci_config_write(vm->pci, PCI_DEVFN(1, 0), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	address = pci_config_read(vm->pci, PCI_DEVFN(1, 0), PCI_BASE_ADDRESS_0, 4) & ~UINT64_C(15);
	address |= (uint64_t)pci_config_read(vm->pci, PCI_DEVFN(1, 0), PCI_BASE_ADDRESS_1, 4) << 32;
	buses = returned("query-pci");
	bar = json_object_get(
		entry(json_object_get(json_array_get(buses, 0), "devices"), "qdev_id", "d0"),
		"regions");
	cr_assert_gt(json_array_size(bar), 0);
	bar = json_array_get(bar, 0);
	cr_assert_eq(json_integer_value(json_object_get(bar, "bar")), 0);
	cr_assert_eq((uint64_t)json_integer_value(json_object_get(bar, "address")), address);
	cr_assert_gt(json_integer_value(json_object_get(bar, "size")), 0);
	cr_assert_str_eq(json_string_value(json_object_get(bar, "type")), "memory");
	cr_assert(json_is_true(json_object_get(bar, "mem_type_64")));
	json_decref(buses);
	pci_config_write(vm->pci, PCI_DEVFN(1, 0), PCI_COMMAND, 2, 0);
	answers("{\"execute\":\"query-pci\"}", "\"address\":-1,");
}

Test(qmp_query, vcpus_have_a_thread_and_a_place)
{
	json_t *cpus, *cpu;

	start();
	does("{\"execute\":\"stop\"}"); /* by now their threads are there */
	cpus = returned("query-cpus-fast");
	cr_assert_eq(json_array_size(cpus), 2);
	cpu = json_array_get(cpus, 1);
	cr_assert_eq(json_integer_value(json_object_get(cpu, "cpu-index")), 1);
	cr_assert_gt(json_integer_value(json_object_get(cpu, "thread-id")), 0);
	cr_assert_str_eq(json_string_value(json_object_get(cpu, "target")), "x86_64");
	cr_assert_eq(json_integer_value(json_object_get(json_object_get(cpu, "props"), "core-id")),
		     1);
	json_decref(cpus);
}

Test(qmp_query, a_stream_is_told_by_where_it_really_is)
{
	json_t *list;
	const char *place;

	add("isa-serial", "chardev=pty,id=com1");
	add("serial-port", "id=p1,name=two,chardev=pty");
	list = returned("query-chardev");
	cr_assert_str_eq(json_string_value(json_object_get(entry(list, "label", "p0"), "filename")),
			 "ring");
	place = json_string_value(json_object_get(entry(list, "label", "com1"), "filename"));
	cr_assert_eq(strncmp(place, "pty:/dev/", 9), 0, "%s", place);
	cr_assert_eq(access(place + 4, F_OK), 0);
	cr_assert(json_is_true(json_object_get(entry(list, "label", "com1"), "frontend-open")));
	place = json_string_value(json_object_get(entry(list, "label", "p1"), "filename"));
	cr_assert_eq(strncmp(place, "pty:/dev/", 9), 0, "%s", place);
	json_decref(list);
}

/* ---- arguments that become options ---- */

Test(qmp_query, what_no_option_can_be_is_refused_and_not_left_out)
{
	static const char *const wrong[] = {"1.5", "null", "[]", "{\"a\":1}"};
	char request[256];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(request, sizeof(request),
			 "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng\","
			 "\"max-bytes\":%s}}",
			 wrong[i]);
		answers(request, "Invalid parameter type for 'max-bytes'");
		snprintf(request, sizeof(request),
			 "{\"execute\":\"vmm-action\",\"arguments\":{\"id\":\"net0\","
			 "\"action\":\"link\",\"options\":{\"state\":%s}}}",
			 wrong[i]);
		answers(request, "Invalid parameter type for 'state'");
	}
	/* Nor does a name smuggle in another. */
	answers("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk\","
		"\"path=/dev/null,readonly\":true}}",
		"is unexpected");
	answers("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng\",\"\":1}}",
		"is unexpected");
}
