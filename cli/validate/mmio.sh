# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Every class of device behind memory-mapped registers instead of PCI, in all eight slots. The kernel finds them
# by ACPI; each has one interrupt line for everything.
#
#: title   virtio-mmio: the other transport
#: class   virtio-blk
#: include lib-net.sh
#: modules virtio_mmio virtio_blk virtio_scsi sd_mod virtio_net virtio_console virtio_balloon virtio_rng
#: modules crc32c_generic crc32c_intel
#: tools   fio ip ethtool
#: cpus    2
#: memory  768M
#: file    data 128M
#: file    large-sectors 64M
#: file    unit 64M
#: device  virtio-blk id=data,transport=mmio,path=@/data,serial=data,queues=@cpus
#: device  virtio-blk id=large,transport=mmio,path=@/large-sectors,serial=large-sectors,logical-block-size=4096
#: device  virtio-scsi id=scsi,transport=mmio,queues=@cpus
#: device  scsi-disk id=unit,bus=scsi,path=@/unit,serial=unit
#: device  virtio-net id=user,transport=mmio,backend=user
#: device  virtio-serial id=bus,transport=mmio
#: devices 2 serial-port id=port@n,bus=bus,name=port@n,chardev=unix:@/port@n
#: device  virtio-balloon id=balloon,transport=mmio
#: device  virtio-rng id=rng0,transport=mmio
#: device  virtio-rng id=rng1,transport=mmio

. /bin/lib-net.sh

full=$((768 << 20))
drivers='virtio_blk virtio_scsi virtio_net virtio_console virtio_balloon virtio_rng'
slots=/sys/bus/platform/drivers/virtio-mmio

have_devices() {
	count_disks 3 && count_ports 2 && [ -e /sys/class/net/eth0 ] && [ "$(rngs | wc -l)" = 2 ]
}

rngs() {
	tr ' ' '\n' </sys/class/misc/hw_random/rng_available | grep '^virtio_rng'
}

# There again, by their names, and with an address.
settle() {
	wait_until 20 have_devices
	name_ports
	dhcp eth0
}

prepare() {
	modprobe -a virtio_mmio sd_mod $drivers
	settle
}

# disk_works SERIAL FILE MIB
disk_works() {
	disk "$1"
	same_outside "$dev" "$2" "$3"
}

ports_work() { # NAME MIB
	make_data "$2"
	for port in port0 port1; do
		ask stream "$1-$port" unix:@/$port "$2M" "$2M"
		exchange $port "$2"
		finished "$1-$port" $port
	done
}

rngs_work() {
	for name in $(rngs); do
		echo "$name" >/sys/class/misc/hw_random/rng_current
		[ "$(cat /sys/class/misc/hw_random/rng_current)" = "$name" ]
		head -c 8192 /dev/hwrng >"/tmp/$name"
		[ "$(stat -c %s "/tmp/$name")" = 8192 ]
	done
	! cmp /tmp/virtio_rng.* || fail 'both give the same bytes'
	rm /tmp/virtio_rng.*
}

balloon_works() { # MIB
	target $((full - ($1 << 20)))
	balloon_status
	[ "$(value returned-inflated)" -ge $(($1 << 20)) ] || fail "only $(value returned-inflated) bytes went back"
	target $full
}

# all_work NAME: a little of each.
all_work() {
	disk_works data data 1
	disk_works large-sectors large-sectors 1
	disk_works unit unit 1
	outward "$1" 10.0.2.2 1
	ports_work "$1" 1
	rngs_work
	balloon_works 4
}

check probe 60 'the kernel has found all eight by ACPI, and its drivers have taken them'
check_probe() {
	prepare
	count=0
	for slot in "$slots"/LNRO0005:*; do
		[ -n "$(find "$slot/" -maxdepth 2 -path '*/virtio*/driver')" ] || fail "${slot##*/} has no driver"
		count=$((count + 1))
	done
	[ $count = 8 ] || fail "$count devices"
	[ "$(ls /sys/bus/virtio/devices | wc -l)" = 8 ] || fail 'there are others, too'
	figure "$count devices"
}

check interrupts 60 'each has an interrupt line of its own, which works'
check_interrupts() {
	all_work interrupts
	awk '$NF ~ /^virtio[0-9]+$/ {
		n = 0
		for (i = 2; $i ~ /^[0-9]+$/; i++)
			n += $i
		print $NF, $1, n
	}' /proc/interrupts >/run/lines
	[ "$(cut -d' ' -f2 /run/lines | sort -u | wc -l)" = 8 ] || fail 'not eight lines'
	idle=$(awk '$3 == 0 {print $1}' /run/lines)
	[ -z "$idle" ] || fail "none for $idle"
	figure '8 lines'
}

check blk 180 'virtio-blk: fio --verify=crc32c, and the image holds what the guest wrote'
check_blk() {
	need fio
	n=$(mib 64)
	disk data
	verify "$dev" "$n" 512
	disk_works data data "$n"
	disk large-sectors
	[ "$(cat /sys/block/$dev/queue/logical_block_size)" = 4096 ]
	verify "$dev" "$(mib 32)" 4k
	figure "$n MiB verified, $n MiB with sha256"
}

check resize 30 'virtio-blk: a change of the configuration is noticed'

check scsi 180 'virtio-scsi: fio --verify=crc32c, and the image holds what the guest wrote'
check_scsi() {
	need fio
	n=$(mib 32)
	disk unit
	verify "$dev" "$n" 512
	disk_works unit unit "$n"
	figure "$n MiB verified, $n MiB with sha256"
}

check net 180 'virtio-net: an address by DHCP, and TCP both ways at once with sha256'
check_net() {
	dhcp eth0
	read -r address _ </run/dhcp
	n=$(mib 64)
	outward net 10.0.2.2 "$n"
	figure "$address, $n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check serial 180 'virtio-serial: two ports, both ways at once with sha256'
check_serial() {
	n=$(mib 16)
	ports_work serial "$n"
	figure "2 x $n MiB both ways"
}

check rng 60 'virtio-rng: both give bytes, and not the same'
check_rng() {
	rngs_work
	figure "$(rngs | wc -l) devices"
}

check balloon 60 'virtio-balloon: inflate to a target, and deflate'
check_balloon() {
	n=$(mib 256 16)
	balloon_works "$n"
	figure "$n MiB"
}

check bind 180 'unbind and bind: each driver, and the transport itself'
check_bind() {
	for driver in $drivers; do
		bind_cycle $driver
	done
	settle
	all_work bind-drivers
	bind_cycle virtio-mmio platform LNRO0005:
	settle
	all_work bind-transport
}

check module 180 'module unload and load: each driver, and the transport itself'
check_module() {
	count=0
	for driver in $drivers; do
		built_in $driver || {
			module_cycle $driver
			count=$((count + 1))
		}
	done
	[ $count -gt 0 ] || fail 'all drivers are built into this kernel'
	settle
	all_work module-drivers
	module_cycle virtio_mmio
	settle
	all_work module-transport
	figure "$((count + 1)) modules"
}

check reboot 120 'guest reboot with all of them busy'
check_reboot() {
	sends_plainly eth0
	wait_until 10 reaches 10.0.2.2
	for serial in data unit; do
		disk $serial
		load_disk "$dev"
	done
	ask stream busy listen:0 1G 1G
	nc 10.0.2.2 "$answer" </dev/zero >/dev/null &
	cat /dev/zero >$ports/port0 &
	cat /dev/hwrng >/dev/null &
	ask action balloon target "size=$((full / 2))"
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	all_work after
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
