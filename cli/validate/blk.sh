# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#: title   virtio-blk: disks
#: class   virtio-blk
#: modules virtio_blk crc32c_generic crc32c_intel
#: tools   fio blkdiscard
#: cpus    2
#: memory  768M
#: file    data 128M
#: file    discard 64M
#: file    large-sectors 64M
#: file    readonly 4M
#: device  virtio-blk id=data,path=@/data,serial=data,queues=@cpus
#: device  virtio-blk path=@/discard,serial=discard
#: device  virtio-blk id=large,path=@/large-sectors,serial=large-sectors,logical-block-size=4096
#: device  virtio-blk path=@/readonly,serial=readonly,readonly=on

prepare() {
	modprobe virtio_blk
	wait_until 10 count_disks 4
}

check probe 60 'disks are there, with serial number, size and flags'
check_probe() {
	prepare
	disk data
	[ "$(cat /sys/block/$dev/size)" = $((128 << 11)) ]
	[ "$(cat /sys/block/$dev/ro)" = 0 ]
	disk readonly
	[ "$(cat /sys/block/$dev/ro)" = 1 ]
	figure '4 disks'
}

# devices.sh has the functions of what all disks must pass.
check verify 120 'fio --verify=crc32c: random writes of mixed sizes, read back'
check outside 60 'the image holds what the guest wrote, and the guest reads what the image holds'
check flush 60 'fsync reaches the device as a flush'
check discard 60 'discard frees blocks in the image'
check zeroes 60 'write-zeroes: the range reads as zeroes, its neighbours stay'
check sectors 120 '4 KiB sectors'

# interrupts DISK QUEUE: how many there were; nothing if the queue has no interrupt of its own.
interrupts() {
	awk -v name="$(basename "$(readlink -f "/sys/block/$1/device")")-req.$2" '
		$NF == name {
			for (i = 2; $i ~ /^[0-9]+$/; i++)
				n += $i
			print n
		}' /proc/interrupts
}

check multiqueue 60 'each CPU has its queue and its interrupt'
check_multiqueue() {
	disk data
	cpus=$(nproc)
	[ "$(find /sys/block/$dev/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" = "$cpus" ]
	cpu=0
	while [ "$cpu" -lt "$cpus" ]; do
		before=$(interrupts "$dev" "$cpu")
		[ -n "$before" ] || fail "queue $cpu has no interrupt"
		taskset "$((1 << cpu))" dd if=/dev/$dev of=/dev/null bs=4k count=32 iflag=direct
		[ "$(interrupts "$dev" "$cpu")" -gt "$before" ] || fail "queue $cpu stayed idle"
		cpu=$((cpu + 1))
	done
	figure "$cpus queues"
}

check readonly 30 'writes to a read-only disk are refused'
check resize 30 'a larger image is noticed'
check limit 120 'rate limits: bytes and operations, set and lifted while the guest runs'

check bind 60 'unbind and bind'
check_bind() {
	keeps_data bind_cycle virtio_blk
}

check module 60 'module unload and load'
check_module() {
	keeps_data module_cycle virtio_blk
}

check reboot 120 'guest reboot with the disk busy; what was flushed is there'

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
