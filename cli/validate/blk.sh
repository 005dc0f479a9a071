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
#: device  virtio-blk path=@/data,serial=data,queues=@cpus
#: device  virtio-blk path=@/discard,serial=discard
#: device  virtio-blk id=large,path=@/large-sectors,serial=large-sectors,logical-block-size=4096
#: device  virtio-blk path=@/readonly,serial=readonly,readonly=on

# Sets $dev to the name of the disk with the serial number $1.
disk() {
	for dev in /sys/block/vd*; do
		[ "$(cat "$dev/serial")" = "$1" ] && dev=${dev##*/} && return 0
	done
	fail "no disk with the serial number $1"
}

have_disks() {
	[ "$(find /sys/block -name 'vd*' | wc -l)" = 4 ]
}

# verify DEVICE MIB SECTOR: random writes of mixed sizes at several depths, read back with their sums.
verify() {
	fio --output=/run/fio --name=v --filename="/dev/$1" --direct=1 --size="$2m" --ioengine=io_uring \
		--rw=randwrite --bsrange="$3-64k" --blockalign="$3" --iodepth=16 --numjobs=1 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0
	grep -E 'err= 0' /run/fio
}

# write_pattern DEVICE MIB: sets $sum to what was written.
write_pattern() {
	head -c "$2m" /dev/urandom >/tmp/pattern
	sum=$(sha256sum </tmp/pattern | cut -d' ' -f1)
	dd if=/tmp/pattern of="/dev/$1" bs=1M oflag=direct conv=fsync
}

sum_of() { # DEVICE MIB
	dd if="/dev/$1" bs=1M count="$2" iflag=direct | sha256sum | cut -d' ' -f1
}

prepare() {
	modprobe virtio_blk
	wait_until 10 have_disks
}

check probe 60 'disks are there, with serial number, size and flags'
check_probe() {
	prepare
	disk data
	[ "$(cat /sys/block/$dev/size)" = $((128 << 11)) ]
	[ "$(cat /sys/block/$dev/ro)" = 0 ]
	[ "$(cat /sys/block/$dev/queue/write_cache)" = 'write back' ]
	disk readonly
	[ "$(cat /sys/block/$dev/ro)" = 1 ]
	figure '4 disks'
}

check verify 120 'fio --verify=crc32c: random writes of mixed sizes, read back'
check_verify() {
	need fio
	disk data
	n=$(mib 64)
	verify "$dev" "$n" 512
	figure "$n MiB, $(sed -n 's/^ *write: IOPS=\([^,]*\), BW=\([^ ]*\).*/\1 IOPS, \2/p' /run/fio)"
}

check outside 60 'the image holds what the guest wrote, and the guest reads what the image holds'
check_outside() {
	disk data
	n=$(mib 64)
	write_pattern "$dev" "$n"
	ask sha256 data $((n << 20))
	[ "$answer" = "$sum" ] || fail "wrote $sum, the image has $answer"
	[ "$(sum_of "$dev" "$n")" = "$sum" ] || fail 'reads back something else'
	figure "$n MiB with sha256"
}

check flush 60 'fsync reaches the device as a flush'
check_flush() {
	disk data
	# The sixteenth number in stat counts flushes.
	before=$(awk '{print $16}' /sys/block/$dev/stat)
	dd if=/dev/zero of=/dev/$dev bs=4k count=16 conv=fsync
	after=$(awk '{print $16}' /sys/block/$dev/stat)
	[ "$after" -gt "$before" ] || fail 'no flush'
	figure "$((after - before)) flushes"
}

check discard 60 'discard frees blocks in the image'
check_discard() {
	disk discard
	n=$(mib 32)
	write_pattern "$dev" "$n"
	ask stat discard
	before=${answer#* }
	[ "$before" -ge $((n << 20)) ] || fail "only $before bytes were allocated"
	blkdiscard -l $((n << 20)) "/dev/$dev"
	ask stat discard
	now=${answer#* }
	[ "$now" -lt $((before / 8)) ] || fail "$now of $before bytes are still allocated"
	[ "$(sum_of "$dev" "$n")" = "$(head -c "$n"m /dev/zero | sha256sum | cut -d' ' -f1)" ]
	figure "$((before >> 20)) to $((now >> 20)) MiB"
}

check zeroes 60 'write-zeroes: the range reads as zeroes, its neighbours stay'
check_zeroes() {
	need blkdiscard
	disk data
	write_pattern "$dev" 4
	[ "$(cat /sys/block/$dev/queue/write_zeroes_max_bytes)" -gt 0 ]
	# BLKZEROOUT, which the driver turns into a write-zeroes command.
	blkdiscard -z -o 1048576 -l 1048576 "/dev/$dev"
	dd if=/dev/zero of=/tmp/pattern bs=1M seek=1 count=1 conv=notrunc
	[ "$(sum_of "$dev" 4)" = "$(sha256sum </tmp/pattern | cut -d' ' -f1)" ] || fail 'wrong bytes'
}

check sectors 120 '4 KiB sectors'
check_sectors() {
	need fio
	disk large-sectors
	[ "$(cat /sys/block/$dev/queue/logical_block_size)" = 4096 ]
	n=$(mib 32)
	verify "$dev" "$n" 4k
	figure "$n MiB verified"
}

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
check_readonly() {
	disk readonly
	ask sha256 readonly
	sum=$answer
	! dd if=/dev/urandom of="/dev/$dev" bs=4k count=1 oflag=direct || fail 'a write was taken'
	blockdev --setrw "/dev/$dev" || :
	! dd if=/dev/urandom of="/dev/$dev" bs=4k count=1 oflag=direct || fail 'a write was taken after setrw'
	ask sha256 readonly
	[ "$answer" = "$sum" ] || fail 'the image has changed'
}

has_size() {
	[ "$(cat "/sys/block/$1/size")" = "$2" ]
}

check resize 30 'a larger image is noticed'
check_resize() {
	disk large-sectors
	ask action large resize size=96M
	wait_until 10 has_size "$dev" $((96 << 11)) || fail "the size is $(cat /sys/block/$dev/size)"
	dd if=/dev/urandom of=/dev/$dev bs=1M seek=95 count=1 oflag=direct
}

check bind 60 'unbind and bind'
check_bind() {
	disk data
	write_pattern "$dev" 1
	bind_cycle virtio_blk
	wait_until 10 have_disks
	disk data
	[ "$(sum_of "$dev" 1)" = "$sum" ] || fail 'other data than before'
}

check module 60 'module unload and load'
check_module() {
	disk data
	write_pattern "$dev" 1
	module_cycle virtio_blk
	wait_until 10 have_disks
	disk data
	[ "$(sum_of "$dev" 1)" = "$sum" ] || fail 'other data than before'
}

check reboot 120 'guest reboot with the disk busy; what was flushed is there'
check_reboot() {
	disk data
	write_pattern "$dev" 4
	ask truncate reboot.sum 0
	# Behind the pattern, for as long as the guest lives.
	while :; do dd if=/dev/urandom of="/dev/$dev" bs=256k seek=32 count=64 oflag=direct; done &
	while :; do dd if="/dev/$dev" of=/dev/null bs=64k count=512 iflag=direct; done &
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	disk data
	ask sha256 data $((4 << 20))
	[ "$(sum_of "$dev" 4)" = "$answer" ] || fail 'guest and image differ'
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
