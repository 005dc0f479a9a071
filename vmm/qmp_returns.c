/* SPDX-License-Identifier: MIT */
/*
 * What the commands of the control socket answer, for query-qmp-schema. Names of types are QEMU's
 * where it has one. tests/unit/test_qmp_schema.c compares with what the commands really say.
 */
#include "vmm/control.h"

/* clang-format off */
#define STR(name)           {name, QMP_STRING, false, NULL}
#define INT(name)           {name, QMP_INT, false, NULL}
#define BOOL(name)          {name, QMP_BOOL, false, NULL}
#define ANY(name)           {name, QMP_ANY, false, NULL}
#define STRS(name)          {name, QMP_STRINGS, false, NULL}
#define INTS(name)          {name, QMP_INTS, false, NULL}
#define OBJ(name, of)       {name, QMP_OBJECT, false, &(of)}
#define OBJS(name, of)      {name, QMP_OBJECTS, false, &(of)}
#define MAY(type, name)     {name, QMP_##type, true, NULL}
#define MAY_OBJ(name, of)   {name, QMP_OBJECT, true, &(of)}
#define MAY_OBJS(name, of)  {name, QMP_OBJECTS, true, &(of)}
#define OBJECT(var, type, ...)                                                                     \
	static const struct qmp_object var = {                                                     \
		type, (const struct qmp_field[]){__VA_ARGS__, {.name = NULL}}}

/* ---- the protocol ---- */

OBJECT(version_triple, "VersionTriple", INT("major"), INT("minor"), INT("micro"));
OBJECT(version_info, "VersionInfo", OBJ("qemu", version_triple), STR("package"));
OBJECT(command_info, "CommandInfo", STR("name"));
OBJECT(schema_member, "SchemaInfoObjectMember", STR("name"), STR("type"), MAY(ANY, "default"));
OBJECT(schema_info, "SchemaInfo", STR("name"), STR("meta-type"), MAY(STRING, "json-type"),
       MAY(STRING, "element-type"), MAY_OBJS("members", schema_member), MAY(STRING, "arg-type"),
       MAY(STRING, "ret-type"), MAY(STRINGS, "features"));

/* ---- the machine ---- */

OBJECT(status_info, "StatusInfo", STR("status"), BOOL("running"));
OBJECT(name_info, "NameInfo", STR("name"));
OBJECT(uuid_info, "UuidInfo", STR("UUID"));
OBJECT(kvm_info, "KvmInfo", BOOL("enabled"), BOOL("present"));
OBJECT(cpu_place, "CpuInstanceProperties", INT("socket-id"), INT("core-id"), INT("thread-id"));
OBJECT(cpu_info, "CpuInfoFast", INT("cpu-index"), STR("qom-path"), INT("thread-id"), STR("target"),
       OBJ("props", cpu_place));
OBJECT(memory_info, "MemoryInfo", INT("base-memory"), INT("plugged-memory"));
OBJECT(iothread_info, "IOThreadInfo", STR("id"), INT("thread-id"));
OBJECT(vmm_status, "VmmStatus", STR("name"), STR("status"), INT("memory"), INT("cpus"), INT("pid"),
       INT("uptime"), STR("version"));

/* ---- PCI ---- */

OBJECT(pci_region, "PciMemoryRegion", INT("bar"), STR("type"), INT("address"), INT("size"),
       MAY(BOOL, "prefetch"), MAY(BOOL, "mem_type_64"));
OBJECT(pci_class, "PciDeviceClass", INT("class"));
OBJECT(pci_id, "PciDeviceId", INT("device"), INT("vendor"), INT("subsystem"),
       INT("subsystem-vendor"));
OBJECT(pci_device, "PciDeviceInfo", INT("bus"), INT("slot"), INT("function"),
       OBJ("class_info", pci_class), OBJ("id", pci_id), INT("irq_pin"), MAY(INT, "irq"),
       STR("qdev_id"), OBJS("regions", pci_region));
OBJECT(pci_info, "PciInfo", INT("bus"), OBJS("devices", pci_device));

/* ---- disks ---- */

OBJECT(image_info, "ImageInfo", STR("filename"), STR("format"), INT("virtual-size"));
OBJECT(cache_info, "BlockdevCacheInfo", BOOL("writeback"), BOOL("direct"), BOOL("no-flush"));
OBJECT(medium_info, "BlockDeviceInfo", STR("file"), STR("node-name"), BOOL("ro"), STR("drv"),
       INT("backing_file_depth"), BOOL("encrypted"), STR("detect_zeroes"), INT("write_threshold"),
       OBJ("cache", cache_info), OBJ("image", image_info), INT("bps"), INT("bps_rd"),
       INT("bps_wr"), INT("iops"), INT("iops_rd"), INT("iops_wr"));
OBJECT(drive_info, "BlockInfo", STR("device"), STR("qdev"), STR("type"), BOOL("removable"),
       BOOL("locked"), MAY(BOOL, "tray_open"), MAY_OBJ("inserted", medium_info));
OBJECT(timed_stats, "BlockDeviceTimedStats", INT("interval_length"));
OBJECT(block_device_stats, "BlockDeviceStats", INT("rd_bytes"), INT("rd_operations"),
       INT("failed_rd_operations"), INT("wr_bytes"), INT("wr_operations"),
       INT("failed_wr_operations"), INT("flush_operations"), INT("failed_flush_operations"),
       INT("unmap_bytes"), INT("unmap_operations"), INT("failed_unmap_operations"),
       INT("rd_total_time_ns"), INT("wr_total_time_ns"), INT("flush_total_time_ns"),
       INT("unmap_total_time_ns"), MAY(INT, "idle_time_ns"), INT("rd_merged"), INT("wr_merged"),
       INT("unmap_merged"), INT("wr_highest_offset"), INT("invalid_rd_operations"),
       INT("invalid_wr_operations"), INT("invalid_flush_operations"),
       INT("invalid_unmap_operations"), BOOL("account_failed"), BOOL("account_invalid"),
       OBJS("timed_stats", timed_stats));
OBJECT(drive_stats, "BlockStats", STR("device"), STR("qdev"), STR("node-name"),
       OBJ("stats", block_device_stats));

/* ---- other devices ---- */

OBJECT(chardev_info, "ChardevInfo", STR("label"), STR("filename"), BOOL("frontend-open"));
OBJECT(chardev_return, "ChardevReturn", MAY(STRING, "pty"));
OBJECT(balloon_info, "BalloonInfo", INT("actual"));
OBJECT(filter_info, "RxFilterInfo", STR("name"), STR("main-mac"), BOOL("promiscuous"),
       STR("unicast"), STR("multicast"), BOOL("broadcast-allowed"), BOOL("unicast-overflow"),
       BOOL("multicast-overflow"), STRS("unicast-table"), STRS("multicast-table"), STR("vlan"),
       INTS("vlan-table"));
OBJECT(vmm_device, "VmmDevice", STR("id"), STR("class"), MAY(STRING, "options"),
       MAY(STRING, "parent"), MAY(STRING, "pci"), MAY(BOOL, "leaving"));

/* ---- statistics; see vmm_stats ---- */

OBJECT(disk_counts, "VmmDiskCounts", INT("operations"), INT("bytes"), INT("errors"),
       INT("time-ns"));
OBJECT(packet_counts, "VmmPacketCounts", INT("packets"), INT("bytes"), INT("dropped"),
       MAY(INT, "filtered"));
OBJECT(device_stats, "VmmDeviceStats", STR("id"), STR("class"), MAY(INT, "in-flight"),
       MAY_OBJ("read", disk_counts), MAY_OBJ("write", disk_counts), MAY_OBJ("flush", disk_counts),
       MAY_OBJ("discard", disk_counts), MAY_OBJ("write-zeroes", disk_counts),
       MAY_OBJ("rx", packet_counts), MAY_OBJ("tx", packet_counts),
       MAY(INT, "vhost-queue-pairs"), MAY(INT, "target"),
       MAY(INT, "actual"), MAY(INT, "stats-interval"),
       MAY(ANY, "stats")); /* whatever the guest's driver knows */
OBJECT(vcpu_stats, "VmmVcpuStats", INT("index"), INT("time-ns"),
       ANY("exits")); /* by KVM's reasons, of which every kernel may have more */
OBJECT(memory_stats, "VmmMemoryStats", INT("size"), INT("resident"), INT("ballooned"));
OBJECT(vmm_stats_info, "VmmStats", STR("name"), STR("state"), INT("uptime-ns"), INT("io-time-ns"),
       OBJS("vcpus", vcpu_stats), OBJ("memory", memory_stats), OBJS("devices", device_stats));

const struct qmp_return control_returns[] = {
	{"query-version", QMP_OBJECT, &version_info},
	{"query-commands", QMP_OBJECTS, &command_info},
	{"query-qmp-schema", QMP_OBJECTS, &schema_info},
	{"query-status", QMP_OBJECT, &status_info},
	{"query-name", QMP_OBJECT, &name_info},
	{"query-uuid", QMP_OBJECT, &uuid_info},
	{"query-kvm", QMP_OBJECT, &kvm_info},
	{"query-cpus-fast", QMP_OBJECTS, &cpu_info},
	{"query-memory-size-summary", QMP_OBJECT, &memory_info},
	{"query-iothreads", QMP_OBJECTS, &iothread_info},
	{"query-pci", QMP_OBJECTS, &pci_info},
	{"query-block", QMP_OBJECTS, &drive_info},
	{"query-named-block-nodes", QMP_OBJECTS, &medium_info},
	{"query-blockstats", QMP_OBJECTS, &drive_stats},
	{"query-chardev", QMP_OBJECTS, &chardev_info},
	{"chardev-add", QMP_OBJECT, &chardev_return},
	{"query-balloon", QMP_OBJECT, &balloon_info},
	{"query-rx-filter", QMP_OBJECTS, &filter_info},
	{"vmm-status", QMP_OBJECT, &vmm_status},
	{"vmm-stats", QMP_OBJECT, &vmm_stats_info},
	{"vmm-devices", QMP_OBJECTS, &vmm_device},
	{"vmm-action", QMP_ANY, NULL}, /* as the device's class has it */
	{.command = NULL},
};
/* clang-format on */
